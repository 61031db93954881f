# Lengths of chromosomes, and which peaks lie in which window.

# One name for a chromosome in whatever spelling: chr1, Chr1, CHR1 and 1; chrM, MT and M; and
# chr1_KI270706v1_random, in which Seurat turns '_' into '-'. To compare by, not to show.
bare_chromosome <- function(x) {
  bare <- sub("^chr(omosome)?[_-]?(?=.)", "", x, ignore.case = TRUE, perl = TRUE)
  bare[tolower(bare) %in% c("m", "mt", "mtdna", "mito")] <- "M"
  seurat_spelling(bare)
}

# chromosome (bare), length; from any of the forms users have. Without any, a chromosome ends
# where its last peak does. Chromosomes missing from the table, and peaks beyond a chromosome end,
# are reported, and the table is extended to include them.
genome_table <- function(genome, ranges, verbose = TRUE) {
  chromosomes <- bare_chromosome(ranges$seqnames)
  reach <- tapply(ranges$end, chromosomes, max)
  needed <- data.frame(chromosome = names(reach), length = as.numeric(reach))
  if (is.null(genome)) {
    if (verbose) message("no genome: each chromosome ends at its last peak")
    return(needed[order(needed$chromosome, method = "radix"), ])
  }
  given <- read_genome(genome)
  labels <- given$chromosome
  given$chromosome <- bare_chromosome(given$chromosome)
  given <- given[!duplicated(given$chromosome), ]
  lacking <- setdiff(needed$chromosome, given$chromosome)
  shown <- ranges$seqnames[match(lacking, chromosomes)]
  if (length(lacking) == nrow(needed)) {
    refuse(
      "no peak lies on a chromosome of genome (peaks: ",
      some_names(unique(ranges$seqnames)), "; genome: ", some_names(labels),
      "): give the chromosomes of the same genome under the same names."
    )
  }
  if (length(lacking) > 0) {
    warn_of(
      "genome", "genome lacks ", count_of(length(lacking), "chromosome"), " with ",
      count_of(sum(chromosomes %in% lacking), "peak"), " (", some_names(shown),
      "): ", one_or_many(length(lacking), "it is", "they are"), " taken to end at ",
      one_or_many(length(lacking), "its", "their"), " last peak."
    )
    given <- rbind(given, needed[needed$chromosome %in% lacking, ])
  }
  beyond <- which(ranges$end > given$length[match(chromosomes, given$chromosome)])
  if (length(beyond) > 0) {
    warn_of(
      "genome", count_of(length(beyond), "peak"), " ",
      one_or_many(length(beyond), "lies", "lie"), " beyond the end of the chromosome in ",
      "genome (", some_names(ranges$name[beyond]), "): is it the table of ",
      "another genome build? The chromosomes are extended to hold them."
    )
    short <- match(needed$chromosome, given$chromosome)
    given$length[short] <- pmax(given$length[short], needed$length)
  }
  given
}

# Cicero takes the chromosomes in sorted order, and those of a factor in the order of its levels;
# which windows a seed draws depends on it.
read_genome <- function(x) {
  x <- genome_frame(x)
  bad <- which(!is.finite(x[[2]]) | x[[2]] < 1)
  if (length(bad) > 0) {
    refuse(
      "genome: the length of ", some_names(as.character(x[[1]])[bad]), " is not above 0."
    )
  }
  table <- data.frame(chromosome = as.character(x[[1]]), length = as.numeric(x[[2]]))
  first <- if (is.factor(x[[1]])) as.integer(x[[1]]) else table$chromosome
  table <- table[order(first, method = "radix"), ]
  table[!duplicated(table$chromosome), ]
}

genome_frame <- function(x) {
  if (is.character(x) && length(x) == 1) {
    if (!file.exists(x)) refuse("genome: there is no file '", x, "'.")
    x <- utils::read.table(x, sep = "\t", stringsAsFactors = FALSE)
  } else if (methods::is(x, "Seqinfo")) {
    x <- data.frame(methods::slot(x, "seqnames"), as.numeric(methods::slot(x, "seqlengths")))
    x <- x[!is.na(x[[2]]), ]
  } else if (methods::is(x, "GRanges")) {
    table <- as_ranges(x, "genome")
    ends <- tapply(table$end, table$seqnames, max)
    x <- data.frame(names(ends), as.numeric(ends))
  }
  if (!is_length_table(x)) {
    refuse(
      "genome must give the length of each chromosome: a data frame or tab-separated file ",
      "of name and length, a Seqinfo or a GRanges, not ", in_words(x), "."
    )
  }
  x
}

is_length_table <- function(x) {
  is.data.frame(x) && ncol(x) >= 2 && nrow(x) > 0 && is.numeric(x[[2]])
}

# Seqinfo of ranges, when it says how long the chromosomes are.
known_seqinfo <- function(ranges) {
  if (!methods::is(ranges, "GRanges")) {
    return(NULL)
  }
  info <- methods::slot(ranges, "seqinfo")
  lengths <- methods::slot(info, "seqlengths")[
    match(unique(as_ranges(ranges, "ranges")$seqnames), methods::slot(info, "seqnames"))
  ]
  if (anyNA(lengths)) NULL else info
}

# Cicero's windows: of the given width, every half width, from 1 on. A peak is in a window when
# its start or its end lies strictly inside. Returns `count`, the number of windows of the genome,
# and `members`, a list by window (empty ones left out, named by their number) of the rows of
# `ranges` in their order.
genome_windows <- function(ranges, genome, window) {
  step <- window / 2
  per_chromosome <- floor((genome$length - 1) / step) + 1
  first <- cumsum(c(0, per_chromosome))
  chromosome <- match(bare_chromosome(ranges$seqnames), genome$chromosome)
  inside <- function(x) {
    # windows w = 0, 1, ... begin at 1 + w step and end at w step + window
    low <- pmax(floor((x - window) / step) + 1, 0)
    high <- pmin(ceiling((x - 1) / step) - 1, per_chromosome[chromosome] - 1)
    n <- pmax(high - low + 1, 0)
    peak <- rep(seq_along(x), n)
    # one number for a window and a peak, in the order of both
    (first[chromosome[peak]] + low[peak] + sequence(n)) * nrow(ranges) + peak - 1
  }
  both <- sort(unique(c(inside(ranges$start), inside(ranges$end))))
  peak <- as.integer(both %% nrow(ranges)) + 1L
  list(count = first[length(first)], members = split(peak, level_factor(both %/% nrow(ranges))))
}
