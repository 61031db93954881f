# The fits in an object, the data they were made on, and remains of fits that are no longer there:
# merge() of Seurat keeps their columns and assays but drops reductions, models and marks;
# cbind() of SingleCellExperiments keeps all of both under the same names.

# What fits_of() keeps of the records of reductions.
only_records <- function(records) {
  Filter(function(x) is.list(x) && inherits(x$model, "scMVPModel"), records)
}

only_diffusions <- function(records) {
  Filter(function(x) is.list(x) && all(c("eigenvalues", "root") %in% names(x)), records)
}

# The record of a fit (see fit_record()). `argument`: by which the user names the reduction.
stored_results <- function(object, reduction, argument = "reduction") {
  check_string(reduction, argument)
  fits <- fits_of(object)
  if (!reduction %in% names(fits)) {
    maker <- "run RunSCMVP() first"
    check_reduction(object, reduction, reduction_role(argument = argument, maker = maker), "model")
    refuse(
      "reduction '", reduction, "' holds no scMVP model (merge() drops it, and other functions ",
      "make reductions without one): run RunSCMVP() on this object, or ProjectSCMVP() with a ",
      "saved model of these cells.",
      class = "model"
    )
  }
  refuse_joined_fits(object, reduction)
  record <- fits[[reduction]]
  # what the features of a kind are called in the object now; not kept in it
  record$present <- function(kind) fitted_part(object, record, reduction, kind)$features
  record
}

# `taker` takes only what a fit was put into, with `what` of it.
check_fitted <- function(object, taker, what) {
  if (!is_container(object)) {
    refuse(
      taker, " takes the result of RunSCMVP(), with ", what, ", not an object of class ",
      class(object)[1], "."
    )
  }
}

# What a fit was made on, where it is still there: names of parts by kind, NULL where it is not
# known. Without a fit of that name, what all others say.
fitted_names <- function(object, reduction = NULL, parts = parts_of(object, fitted = TRUE)) {
  fits <- fits_of(object)
  words <- about(object)
  if (any(names(fits) == reduction)) fits <- fits[names(fits) == reduction]
  without_nulls(by_kind(intersect(all_kinds, names(words)), function(kind) {
    names <- unlist(lapply(fits, function(fit) fit$options[[words[[kind]]]]))
    names <- intersect(names, names(parts))
    if (length(names) == 1) names
  }))
}

# The part of a kind that a fit was made on, else, where that was renamed, the only candidate; NULL
# without one.
part_of_fit <- function(object, parts, reduction, kind) {
  name <- fitted_names(object, reduction, parts)[[kind]]
  if (is.null(name)) {
    usable <- candidates_of(parts, kind)
    name <- if (length(usable) == 1) usable
  }
  if (!is.null(name)) parts[[name]]
}

# The same of an object with the record of its fit.
fitted_part <- function(object, record, reduction, kind) {
  if (about(object)$part == "matrix") {
    return(NULL)
  }
  parts <- parts_of(object, assay.type = record$options$assay.type, fitted = TRUE)
  part_of_fit(object, parts, reduction, kind)
}

# The assay of an experiment that a fit was made on; "counts" without a fit, and where it had none.
counts_assay <- function(object, reduction) {
  fitted <- fits_of(object)[[reduction]]$options$assay.type
  if (is.null(fitted)) "counts" else fitted
}

# Two fits under one name: their latents and clusters have nothing in common.
refuse_joined_fits <- function(object, reduction) {
  fits <- fits_of(object)
  models <- unique(lapply(fits[names(fits) == reduction], `[[`, "model"))
  if (length(models) > 1) {
    refuse(
      "the object holds ", length(models), " fits named '", reduction, "', as after cbind() of ",
      "fitted objects, and the latents and clusters of different fits cannot be compared: run ",
      "RunSCMVP() on this object.",
      class = "model"
    )
  }
}

# ---- left of fits --------------------------------------------------------------------------------

# Names of fits of which a table of cells has the columns.
fits_in_columns <- function(columns) {
  fits <- sub("_cluster_prob$", "", grep("_cluster_prob$", columns, value = TRUE))
  fits[paste0(fits, "_cluster") %in% columns & make.names(fits) == fits]
}

# Said after "there is no such reduction", where the cells still have its columns.
why_lost <- function(object, reduction) {
  columns <- paste0(reduction, c("_cluster", "_cluster_prob"))
  if (!all(columns %in% colnames(cell_data(object, home_of(object, reduction))))) {
    return("")
  }
  paste0(
    "; it has the column '", columns[1], "' of a fit ",
    if (about(object)$part == "assay") {
      paste0(
        "whose reduction was dropped, as by merge() and DietSeurat(), and after a merge cluster 0 ",
        "of one fit is not cluster 0 of another"
      )
    } else {
      "that it does not hold, as after as.SingleCellExperiment(), which keeps no model"
    }
  )
}

# A reduction that merge(merge.dr = ) has put together of two has no model any more.
warn_lost_model <- function(object, reduction) {
  lost <- reduction %in% fits_in_columns(colnames(cell_data(object, home_of(object, reduction)))) &&
    !reduction %in% names(fits_of(object))
  if (lost) {
    warn_of(
      "merged", "reduction '", reduction, "' has lost its model, as after merge(merge.dr = ): if ",
      "its cells belong to two fits, their coordinates cannot be compared. Run RunSCMVP() on ",
      "this object."
    )
  }
}

# The columns of the cells, of which `by` names one to group by: said where it holds the clusters of
# a fit that is not in the object.
grouping_columns <- function(object, by, home = NULL) {
  data <- cell_data(object, home)
  fit <- if (is.character(by) && length(by) == 1) sub("_cluster$", "", by)
  if (is.null(fit) || !fit %in% fits_in_columns(colnames(data)) || fit == by) {
    return(data)
  }
  record <- fits_of(object)[[fit]]
  if (is.null(record)) {
    warn_of(
      "merged", "column '", by, "' holds clusters of a fit that is not in the object, as after ",
      "merge(): if its cells belong to two fits, cluster 0 of one is not cluster 0 of the other."
    )
    return(data)
  }
  differ <- cells_of_other_clusters(data, by, record$probabilities)
  # or they have the names of other cells of the fit since, and the latent says where they are
  if (differ > 0) {
    differ <- cells_of_other_clusters(data, by, probabilities_now(object, fit, record))
  }
  if (differ > 0) {
    warn_of(
      "merged", "column '", by, "' differs from the clusters of the fit '", fit, "' in ",
      count_of(differ, "cell"), ": it was changed, or belongs to another fit."
    )
  }
  data
}

# Those of the fit where there is no Python to compute them. In a process of its own, as a verb that
# needs no Python must not bind the session to one.
probabilities_now <- function(object, fit, record) {
  tryCatch(
    cluster_probabilities(object, fit, "process"),
    scmvp_error = function(e) record$probabilities
  )
}

# How many cells are not where the others of their cluster in the fit are: clusters may have got
# other names, or been put together.
cells_of_other_clusters <- function(data, column, probabilities) {
  cells <- intersect(rownames(data), rownames(probabilities))
  if (length(cells) == 0) {
    return(0)
  }
  own <- max.col(probabilities[cells, , drop = FALSE], ties.method = "first")
  counts <- table(own, as.character(data[cells, column]), useNA = "no")
  sum(counts) - sum(apply(counts, 1, max))
}

# ---- counts of a fit -----------------------------------------------------------------------------

# Counts of the modalities of a fit by kind, features x cells of the latent; NULL where they are not
# in the object. `rna`, `peaks`, `protein`, `methylation`: given beside it.
counts_of_fit <- function(object, record, reduction, home, cells, rna = NULL, peaks = NULL,
                          protein = NULL, methylation = NULL) {
  given <- list(
    rna = rna, peaks = peaks, protein = protein, methylation = levels_given(methylation)
  )
  kinds <- kinds_of_model(record$model)
  useless <- setdiff(names(without_nulls(given)), kinds)
  if (length(useless) > 0) {
    refuse(
      of_kind(useless[1], "argument"), " is given, but the model was fitted to ",
      listed_kinds(kinds), ": leave it out."
    )
  }
  by_kind(kinds, function(kind) {
    if (is.null(given[[kind]])) {
      kept_counts(object, record, reduction, home, kind, cells)
    } else {
      given_counts(given[[kind]], of_kind(kind, "argument"), cells, record)
    }
  })
}

# Counts of one kind in the object, in these cells.
kept_counts <- function(object, record, reduction, home, kind, cells) {
  if (is.null(record$options[[about(object)[[kind]]]]) || kind %in% record$options$beside) {
    return(NULL)
  }
  parts <- parts_of(object, assay.type = record$options$assay.type, fitted = TRUE)
  part <- part_of_fit(object, parts, reduction, kind)
  if (!is.null(part) && part$has_counts) {
    fitted <- record$options[[about(object)[[kind]]]]
    if (!identical(part$name, fitted)) {
      message(
        about(object)$part, " '", fitted, "', which the model was fitted to, is not in the ",
        "object: the counts of '", part$name, "' are taken"
      )
    }
    cells_or_empty(part$counts(home, if (isTRUE(record$options$mosaic)) TRUE), cells)
  }
}

# Counts beside an object: a matrix, or an experiment.
given_counts <- function(counts, name, cells, record) {
  if (inherits(counts, "SummarizedExperiment")) {
    fitted <- record$options$assay.type
    return(if (is.null(fitted)) {
      experiment_cells(counts, "counts", name, cells, fitted = NA)
    } else {
      experiment_cells(counts, fitted, name, cells, fitted = TRUE)
    })
  }
  if (!is_matrix_like(counts)) {
    refuse(
      name, " must be a matrix of counts, features x cells, not ", in_words(counts), "."
    )
  }
  check_matrix_names(counts, name, "features")
  if (!isTRUE(record$options$mosaic) || !any(cells %in% colnames(counts))) {
    check_names_known(
      cells, colnames(counts), "cells of the fit", paste("in", name),
      "give the counts of the same cells"
    )
  }
  cells_or_empty(counts, cells)
}
