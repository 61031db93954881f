# Links as Signac keeps them, written into its assays without needing Signac.

#' Convert connections to links of Signac
#'
#' Converts co-accessible pairs to a GRanges in the format of Signac's `Links()`: from the center of
#' one peak to the center of the other, with a score. `CoveragePlot()` and `LinkPlot()` can then
#' draw them.
#'
#' @param connections A data frame with `Peak1`, `Peak2` and `coaccess`, of [RunCicero()] or of the
#'   package cicero. Pairs that are listed in both directions count once.
#' @param ccans A data frame of [FindCCANs()] for column `group`, or `NULL`.
#' @param threshold Pairs with `coaccess` at or below this value, or with a missing value, are
#'   omitted.
#' @return A GRanges with the columns of `Signac::ConnectionsToLinks()`, `score` (the
#'   co-accessibility) and `group` (CCAN of the first peak, else of the second, or `NA`), and then
#'   `peak1` and `peak2`.
#' @section Errors:
#' `scmvp_error_input` for a data frame with other columns; `scmvp_error_package` without
#' GenomicRanges.
#' @seealso [RunCicero()] with `as = "object"` writes them into a Seurat object.
#' @examplesIf requireNamespace("GenomicRanges", quietly = TRUE)
#' connections <- data.frame(
#'   Peak1 = "chr1-1000-1500", Peak2 = "chr1-9000-9500", coaccess = 0.4
#' )
#' CiceroLinks(connections)
#' @export
CiceroLinks <- function(connections, ccans = NULL, threshold = 0) {
  check_connections(connections)
  threshold <- check_number(threshold, "threshold")
  kept <- which(connections$coaccess > threshold)
  pairs <- pairs_once(connections, kept)
  peaks <- pairs$peaks
  one <- pairs$one
  other <- pairs$other
  table <- ranges_table(NULL, peaks)
  apart <- which(table$seqnames[one] != table$seqnames[other])
  if (length(apart) > 0) {
    refuse(
      count_of(length(apart), "pair"), " of connections ", is_are(length(apart)), " of peaks on ",
      "two chromosomes (", peaks[one[apart[1]]], " and ", peaks[other[apart[1]]], "): leave ",
      one_or_many(length(apart), "it", "them"), " out."
    )
  }
  center <- floor((table$start + table$end) / 2)
  group <- rep(NA_integer_, length(one))
  if (!is.null(ccans)) {
    if (!is.data.frame(ccans) || !all(c("Peak", "CCAN") %in% names(ccans))) {
      refuse(
        "ccans must be a data frame with columns Peak and CCAN, as FindCCANs() returns, not ",
        in_words(ccans), "."
      )
    }
    of_peak <- ccans$CCAN[match(peaks, ccans$Peak)]
    group <- ifelse(is.na(of_peak[one]), of_peak[other], of_peak[one])
  }
  # in the order of the genome, the earlier peak first
  swap <- center[one] > center[other]
  make_links(
    table$seqnames[one], ifelse(swap, center[other], center[one]),
    ifelse(swap, center[one], center[other]),
    score = connections$coaccess[pairs$rows], group = group,
    peak1 = peaks[ifelse(swap, other, one)], peak2 = peaks[ifelse(swap, one, other)]
  )
}

# The pairs of peaks in some rows of connections, each once, as first listed: list(rows, one, other,
# peaks), the last their names, to which one and other are places.
pairs_once <- function(connections, rows) {
  first <- as.character(connections$Peak1)[rows]
  second <- as.character(connections$Peak2)[rows]
  peaks <- unique(c(first, second))
  one <- match(first, peaks)
  other <- match(second, peaks)
  # as.numeric(): the product is beyond the integers
  once <- !duplicated(as.numeric(pmin(one, other)) * length(peaks) + pmax(one, other))
  list(rows = rows[once], one = one[once], other = other[once], peaks = peaks)
}

check_connections <- function(connections) {
  needed <- c("Peak1", "Peak2", "coaccess")
  if (!is.data.frame(connections) || !all(needed %in% names(connections))) {
    refuse(
      "connections must be a data frame with columns Peak1, Peak2 and coaccess, as RunCicero() ",
      "returns, not ", in_words(connections), "."
    )
  }
  if (!is.numeric(connections$coaccess) || any(is.infinite(connections$coaccess))) {
    refuse("column coaccess of connections must be numbers that are finite or missing.")
  }
}

# A sorted GRanges of links.
make_links <- function(seqnames, start, end, ...) {
  check_installed("GenomicRanges", "a GRanges of links")
  table <- data.frame(seqnames = seqnames, start = start, end = end, ...)
  if (nrow(table) == 0) {
    # makeGRangesFromDataFrame() of Bioconductor 3.16 refuses a table without rows
    links <- GenomicRanges::GRanges()
    S4Vectors::mcols(links) <- S4Vectors::DataFrame(list(...))
    return(links)
  }
  table <- table[order(seqnames, start, end, method = "radix"), ]
  rownames(table) <- NULL # which would become names of the links
  GenomicRanges::makeGRangesFromDataFrame(table, keep.extra.columns = TRUE)
}

# The same from the start of the gene to the center of the peak.
links_to_genes <- function(links, ...) {
  center <- floor(links$center)
  make_links(links$seqnames, pmin(links$tss, center), pmax(links$tss, center), ...)
}

# An assay that can hold links: a ChromatinAssay of Signac 1 or one of Signac 2. `part`: NULL where
# the object has no peaks.
check_links_home <- function(words, part) {
  if (words$part != "assay") refuse(words$class, " cannot hold links: use as = \"links\".")
  if (is.null(part)) {
    refuse("the object has no peak assay, which would hold the links: use as = \"links\".")
  }
  if (!methods::.hasSlot(part$source, "links")) {
    refuse(
      "assay '", part$name, "' is not a ChromatinAssay, so it cannot hold links: convert it ",
      "with Signac::CreateChromatinAssay(sep = ", separators_in(part$features), "), or use as = ",
      "\"links\"."
    )
  }
}

# What Signac takes for `sep`: c(":", "-") for names such as chr1:100-200.
separators_in <- function(names) {
  first <- names[!is.na(parse_ranges(names)$start)][1]
  found <- regmatches(first, regexec("([:_.-])[0-9]+([-_.:])[0-9]+$", first))[[1]][-1]
  paste0("c(\"", found[1], "\", \"", found[2], "\")")
}

# The Seurat object with the links in its peak assay and the table in its Misc: list(part, ranges,
# key, table). Signac 1 keeps one GRanges, Signac 2 a named list of GInteractions.
keep_links <- function(object, links) {
  assay <- links$part$source
  if (methods::is(methods::slot(assay, "links"), "list")) {
    check_installed("InteractionSet", "links in an assay of Signac 2")
    all <- methods::slot(assay, "links")
    all[[links$key]] <- as_interactions(links$ranges)
    methods::slot(assay, "links") <- all
  } else {
    methods::slot(assay, "links") <- links$ranges
  }
  object <- put_assay(object, links$part$name, assay)
  # Misc<- would take the class of a data frame away
  methods::slot(object, "misc")[[links$key]] <- links$table
  object
}

# Links in a GRanges (of CiceroLinks(), or to genes, as of LinkPeaksSCMVP() and Signac) as the table
# that they are of, which names their peaks: the ranges are those of the arcs. Other ranges as they
# are.
table_of_links <- function(ranges) {
  columns <- S4Vectors::mcols(ranges)
  if (all(c("peak1", "peak2") %in% names(columns))) {
    return(data.frame(
      Peak1 = as.character(columns$peak1), Peak2 = as.character(columns$peak2),
      coaccess = columns$score
    ))
  }
  if (all(c("gene", "peak") %in% names(columns))) as.data.frame(columns) else ranges
}

# The links of which no peak is missing among `peaks`, in the form of either Signac.
links_among <- function(links, peaks) {
  if (is.list(links)) {
    return(lapply(links, links_among, peaks = peaks))
  }
  columns <- S4Vectors::mcols(links)
  for (name in intersect(c("peak", "peak1", "peak2"), names(columns))) {
    links <- links[S4Vectors::mcols(links)[[name]] %in% peaks]
  }
  links
}

# Signac 2's form: both ends as ranges.
as_interactions <- function(links) {
  bare <- GenomicRanges::granges(links)
  pairs <- InteractionSet::GInteractions(
    IRanges::narrow(bare, start = 1, width = 1), IRanges::narrow(bare, end = -1, width = 1)
  )
  S4Vectors::mcols(pairs) <- S4Vectors::mcols(links)
  pairs
}
