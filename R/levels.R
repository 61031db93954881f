# DNA methylation in R: two counts of each region, of which one is a part. They go to the core, and
# through everything before it, as one matrix with all methylated rows before all unmethylated ones.

layers_of_levels <- c("methylated", "covered")

# Names of rows that are the other counts of a region.
unmethylated <- function(regions) paste(regions, "(unmethylated)")

# Both counts, features x cells, in one dgCMatrix. `where`: what has them, in refusals.
stack_levels <- function(methylated, covered, where) {
  regions <- rownames(methylated)
  cells <- colnames(methylated)
  if (!setequal(regions, rownames(covered)) || !setequal(cells, colnames(covered))) {
    refuse(
      "the methylated and the covered counts of ", where, " are not of the same regions and ",
      "cells: give both with the same row names and column names."
    )
  }
  methylated <- as_dgc(methylated)
  rest <- as_dgc(covered)[regions, cells, drop = FALSE] - methylated
  below <- which(rest@x < 0)
  if (length(below) > 0) {
    at <- below[1]
    refuse(
      where, " has more methylated than covered positions (region ", regions[rest@i[at] + 1],
      ", cell ", cells[findInterval(at - 1, rest@p)], "): the covered counts have to include ",
      "methylated and unmethylated positions."
    )
  }
  stacked <- as_dgc(rbind(methylated, Matrix::drop0(rest)))
  dimnames(stacked) <- list(c(regions, unmethylated(regions)), cells)
  stacked
}

# The matrices that a user gives as list(methylated =, covered =), stacked; NULL for none, where
# they are not `needed`.
levels_given <- function(methylation, needed = FALSE) {
  if (is.null(methylation) && !needed) {
    return(NULL)
  }
  usable <- is.list(methylation) && all(layers_of_levels %in% names(methylation)) &&
    all(vapply(methylation[layers_of_levels], is_matrix_like, NA))
  if (!usable) {
    refuse(
      "methylation must be a list of two matrices of counts (regions x cells), called ",
      "'methylated' and 'covered', not ", in_words(methylation), "."
    )
  }
  for (name in layers_of_levels) {
    check_matrix_names(
      methylation[[name]], paste0("the matrix '", name, "' of methylation"), "regions"
    )
  }
  stack_levels(methylation$methylated, methylation$covered, "methylation")
}

# Names of the features that the rows of counts are of.
features_of_rows <- function(counts, kind) {
  if (kind != "methylation") {
    return(rownames(counts))
  }
  rownames(counts)[seq_len(nrow(counts) / 2)]
}

# Rows of features, by number among n, NA for one that is not there; and names of rows.
rows_of_features <- function(at, n, kind) if (kind == "methylation") c(at, at + n) else at

row_names_of <- function(features, kind) {
  if (kind == "methylation") c(features, unmethylated(features)) else features
}

# The parts of an object; where two of them are called methylated and covered, with the part that
# they make together in their place.
with_levels <- function(parts) {
  pair <- parts[intersect(layers_of_levels, names(parts))]
  if (length(pair) < 2) {
    return(parts)
  }
  for (part in pair) part$kind <- "other"
  name <- paste(layers_of_levels, collapse = " + ")
  parts[[name]] <- new_part(
    name, pair$methylated$features, "methylation",
    counts = function(home = NULL, mosaic = NULL) {
      found <- lapply(pair, function(part) part$counts(home, mosaic))
      stack_levels(found$methylated, found$covered, paste0("'", name, "'"))
    },
    table = pair$covered$table, ranges = pair$covered$ranges, source = pair$covered$source
  )
  parts
}

# Said where methylation is to be fitted and is not there. `words`: of about().
refuse_no_methylation <- function(parts, words, kinds) {
  if ("methylation" %in% kinds && length(candidates_of(parts, "methylation")) == 0) {
    refuse(
      "no methylation found: ", words$class, " needs two assays, 'methylated' and 'covered', of ",
      "the same regions", if (words$part == "experiment") " in one experiment", "."
    )
  }
}
