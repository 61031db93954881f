# The one parser of peak names. Names themselves are never rewritten.

# chr1-100-200, chr1:100-200, chr1_100_200, 1:100-200, chrUn_KI270742v1-100-200, GL000195.1_10_20
# ...: whatever comes before the last two numbers is the sequence. A data.frame of seqnames, start
# and end, with NA where a name is no range.
parse_ranges <- function(x) {
  match <- regexpr("(?s)^(.+)[:_.-]([0-9]+)[-_.:]([0-9]+)$", x, perl = TRUE)
  parsed <- !is.na(match) & match > 0
  none <- rep(NA, length(x)) # a lone NA would not become zero rows
  ranges <- data.frame(
    seqnames = as.character(none), start = as.numeric(none), end = as.numeric(none)
  )
  if (any(parsed)) {
    first <- attr(match, "capture.start")[parsed, , drop = FALSE]
    last <- first + attr(match, "capture.length")[parsed, , drop = FALSE] - 1
    part <- function(k) substring(x[parsed], first[, k], last[, k])
    ranges$seqnames[parsed] <- part(1)
    ranges$start[parsed] <- as.numeric(part(2))
    ranges$end[parsed] <- as.numeric(part(3))
    backwards <- which(ranges$end < ranges$start)
    ranges[backwards, ] <- NA
  }
  ranges
}

# A few names of another kind (a spike-in, a contig with an odd name) do not make it an RNA assay.
are_ranges <- function(x, share = 0.9) {
  length(x) > 0 && mean(!is.na(parse_ranges(x)$start)) >= share
}

# Seurat has no '_' and no '|' in names of features: it turns them into '-'.
seurat_spelling <- function(x) gsub("[_|]", "-", x)
