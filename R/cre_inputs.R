# Ranges and values of peaks as the analyses of regulatory elements take them.

# seqnames, start, end of each peak, in the order of `names`; refuses what is no range.
ranges_table <- function(ranges, names, argument = NULL) {
  if (is.null(ranges)) {
    table <- parse_ranges(names)
  } else {
    table <- in_order_of(as_ranges(ranges, "ranges"), names_of_ranges(ranges), names)
    if (nrow(table) != length(names)) {
      refuse(
        "ranges describes ", count_of(nrow(table), "peak"), ", the matrix has ",
        format_count(length(names)), ": give one range per row, in the same order."
      )
    }
  }
  bad <- which(is.na(table$seqnames) | is.na(table$start) | is.na(table$end))
  if (length(bad) > 0) {
    refuse(
      count_of(length(bad), "feature"), " of ", format_count(length(names)),
      " cannot be read as genomic ranges (", some_names(names[bad]),
      "): leave ", one_or_many(length(bad), "it", "them"), " out",
      if (!is.null(argument)) paste0(", or give ", argument, " ="), "."
    )
  }
  table$name <- names
  table
}

# Names that ranges have of their own, or NULL. A data frame that was given none has numbers.
names_of_ranges <- function(ranges) {
  if (methods::is(ranges, "GenomicRanges")) {
    return(names(ranges))
  }
  if (is.data.frame(ranges) && is.character(attr(ranges, "row.names"))) rownames(ranges)
}

# Ranges in the order of the peaks: by their names, where these are the peaks'; else, where the
# names of the peaks say the same ranges in another order, by these.
in_order_of <- function(table, own, names) {
  if (!is.null(own) && all(names %in% own)) {
    return(table[match(names, own), ])
  }
  said <- parse_ranges(names)
  if (nrow(table) != length(names) || anyNA(said$start)) {
    return(table)
  }
  key <- function(x) {
    paste(bare_chromosome(as.character(x$seqnames)), format_whole(x$start), format_whole(x$end))
  }
  at <- match(key(said), key(table))
  if (anyNA(at)) table else table[at, ]
}

# What the columns of ranges are called, in the tables of several packages.
range_columns <- list(
  seqnames = c("seqnames", "chr", "chrom", "chromosome", "seqname", "chromosome_name"),
  start = c("start", "bp1", "chromStart", "start_position"),
  end = c("end", "bp2", "chromEnd", "stop", "end_position")
)

# Any description of ranges as data frame of seqnames, start, end and what else is there.
as_ranges <- function(x, argument) {
  if (methods::is(x, "GenomicRanges")) {
    check_installed("GenomicRanges", argument)
    table <- as.data.frame(unname(x))
    table$seqnames <- as.character(table$seqnames)
    return(table)
  }
  if (is.character(x)) {
    return(parse_ranges(x))
  }
  if (is.data.frame(x)) {
    for (column in names(range_columns)) {
      there <- intersect(range_columns[[column]], names(x))
      if (length(there) == 0) {
        refuse(
          argument, " needs a column '", column, "' (seqnames, start, end); it has ",
          paste(names(x), collapse = ", "), "."
        )
      }
      names(x)[match(there[1], names(x))] <- column
    }
    x$seqnames <- as.character(x$seqnames)
    for (column in c("start", "end")) {
      x[[column]] <- as_positions(x[[column]], paste0("column ", column, " of ", argument))
    }
    refuse_reversed(x, argument)
    return(x)
  }
  refuse(
    argument, " must be a GRanges, a data frame with seqnames, start and end, or names such as ",
    "'chr1-100-200', not ", in_words(x), "."
  )
}

# Numbers, also those that a factor or text spells out.
as_positions <- function(x, what) {
  if (is.factor(x)) x <- as.character(x)
  found <- suppressWarnings(as.numeric(x))
  strange <- which(is.na(found) & !is.na(x) & nzchar(x))
  if (length(strange) > 0) {
    refuse(what, " must hold base pairs as numbers, not ", some_names(unique(x[strange])), ".")
  }
  found
}

refuse_reversed <- function(table, argument) {
  reversed <- which(table$start > table$end)
  if (length(reversed) > 0) {
    first <- reversed[1]
    refuse(
      argument, ": ", count_of(length(reversed), "row"), " ",
      one_or_many(length(reversed), "begins", "begin"), " after ",
      one_or_many(length(reversed), "its", "their"), " end (row ", first, ": ",
      format_count(table$start[first]), " to ", format_count(table$end[first]), "): the start is ",
      "the smaller coordinate on both strands."
    )
  }
}

# A matrix that can be multiplied: sparse as dgCMatrix, dense as it is.
as_values <- function(x, what) {
  if (is.data.frame(x)) {
    refuse_names_in_column(x, what)
    x <- as.matrix(x)
  }
  if (is.matrix(x)) {
    if (!is.numeric(x)) refuse(what, " must be numeric, not ", typeof(x), ".")
    return(x)
  }
  if (methods::is(x, "dgeMatrix")) {
    return(as.matrix(x))
  }
  as_dgc(x)
}

# Counts and imputed values of peaks (or genes) are not negative and not missing.
check_nonnegative <- function(values, what = "peaks") {
  if (nrow(values) == 0) refuse("the matrix of ", what, " has no rows.")
  if (is.null(rownames(values))) {
    refuse("the matrix of ", what, " needs row names (", what, ").")
  }
  check_feature_names(rownames(values), paste("names of", what))
  x <- if (is.matrix(values)) values else values@x
  if (length(x) > 0 && !all(is.finite(range(x)))) {
    refuse("the matrix of ", what, " holds missing or infinite values: remove them.")
  }
  if (length(x) > 0 && min(x) < 0) {
    refuse(
      "the matrix of ", what, " holds negative values, so it is not ",
      if (what == "peaks") "accessibility" else "expression", ": give counts, or imputed values ",
      "that are not centered."
    )
  }
  values
}
