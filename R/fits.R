# Which fits an object holds, what they were made on, and what is left of fits that it holds no
# more: merge() of Seurat keeps their columns and assays but drops reductions, models and marks;
# cbind() of SingleCellExperiments keeps all of both under the same names.

# Records of the fits in an object (see fit_record()), by the name of their reduction.
fits_of <- function(object) {
  records <- if (inherits(object, "Seurat")) {
    reductions <- SeuratObject::Reductions(object)
    lapply(stats::setNames(reductions, reductions), function(name) {
      SeuratObject::Misc(object[[name]])
    })
  } else if (inherits(object, "SingleCellExperiment")) {
    bioc("S4Vectors", "metadata")(object)
  }
  Filter(function(x) is.list(x) && inherits(x$model, "scMVPModel"), records)
}

# What a fit was made on, where it is still there: list(rna, peaks) of names of assays (of
# experiments), NULL where it is not known. Without a fit of that name, what all others say.
fitted_names <- function(object, reduction = NULL) {
  fits <- fits_of(object)
  if (any(names(fits) == reduction)) fits <- fits[names(fits) == reduction]
  seurat <- inherits(object, "Seurat")
  if (length(fits) == 0) {
    return(list(rna = NULL, peaks = NULL))
  }
  there <- if (seurat) SeuratObject::Assays(object) else names(experiments_of(object))
  options <- paste0(c(rna = "rna.", peaks = "peak."), if (seurat) "assay" else "experiment")
  lapply(stats::setNames(options, c("rna", "peaks")), function(option) {
    names <- intersect(unlist(lapply(fits, function(fit) fit$options[[option]])), there)
    if (length(names) == 1) names
  })
}

# The assay of a modality of a fit: the one it was made on, else, where that was renamed, the only
# candidate; NULL without one.
assay_of_fit <- function(object, reduction, modality) {
  name <- fitted_names(object, reduction)[[if (modality == "rna") "rna" else "peaks"]]
  if (!is.null(name)) {
    return(name)
  }
  usable <- assay_candidates(object, character())[[modality]]
  if (length(usable) == 1) usable
}

# Two fits under one name: their latents and clusters have nothing in common.
refuse_joined_fits <- function(object, reduction) {
  fits <- fits_of(object)
  models <- unique(lapply(fits[names(fits) == reduction], `[[`, "model"))
  if (length(models) > 1) {
    refuse(
      "the object holds ", length(models), " fits named '", reduction, "', as cbind() of fitted ",
      "objects leaves them, and the latents and clusters of one say nothing of the other: run ",
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

cell_columns <- function(object) {
  if (inherits(object, "Seurat")) object[[]] else bioc("SummarizedExperiment", "colData")(object)
}

# Whether an assay was imputed by scMVP: it says so, or it has lost its mark in a merge and has the
# name and the key of such an assay of a fit that has left its columns.
is_imputed <- function(object, name) {
  if (!is.null(assay_mark(object[[name]]))) {
    return(TRUE)
  }
  any(vapply(fits_in_columns(names(object[[]])), function(fit) {
    names <- names_for(fit)
    at <- match(name, unlist(names$assays))
    !is.na(at) && identical(SeuratObject::Key(object[[name]])[[1]], names$assay_keys[[at]])
  }, logical(1)))
}

# Said after "there is no such reduction", where the cells still have its columns.
why_lost <- function(object, reduction) {
  columns <- paste0(reduction, c("_cluster", "_cluster_prob"))
  if (!all(columns %in% colnames(cell_columns(object)))) {
    return("")
  }
  paste0(
    "; it has the column '", columns[1], "' of a fit whose reduction was dropped, as by merge() ",
    "and DietSeurat(), and after a merge cluster 0 of one fit is not cluster 0 of another"
  )
}

# A reduction that merge(merge.dr = ) has put together of two has no model any more.
warn_lost_model <- function(object, reduction) {
  lost <- reduction %in% fits_in_columns(colnames(cell_columns(object))) &&
    !reduction %in% names(fits_of(object))
  if (lost) {
    warn_of(
      "merged", "reduction '", reduction, "' has lost its model, as in merge(merge.dr = ): if its ",
      "cells are of two fits, their places cannot be compared. Run RunSCMVP() on this object."
    )
  }
}

# The columns of the cells, of which `by` names one to group by: said where it holds the clusters of
# a fit that is not in the object.
grouping_columns <- function(object, by) {
  data <- cell_columns(object)
  fit <- if (is.character(by) && length(by) == 1) sub("_cluster$", "", by)
  if (is.null(fit) || !fit %in% fits_in_columns(colnames(data)) || fit == by) {
    return(data)
  }
  record <- fits_of(object)[[fit]]
  if (is.null(record)) {
    warn_of(
      "merged", "column '", by, "' holds clusters of a fit that is not in the object, as after ",
      "merge(): where its cells are of two fits, cluster 0 of one is not cluster 0 of the other."
    )
    return(data)
  }
  differ <- cells_of_other_clusters(data, by, record$probabilities)
  if (differ > 0) {
    warn_of(
      "merged", "column '", by, "' differs from the clusters of the fit '", fit, "' in ",
      count_of(differ, "cell"), ": it was changed, or is of another fit."
    )
  }
  data
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
