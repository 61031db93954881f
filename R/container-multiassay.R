# MultiAssayExperiment (see containers.R): the experiments are the parts, each with cells of its
# own. Results are kept in the experiment whose cells they are of, its home: the RNA, which becomes
# a SingleCellExperiment.

#' @export
about.MultiAssayExperiment <- function(object) {
  check_installed("SingleCellExperiment", "results in this object")
  words <- list(
    class = "a MultiAssayExperiment", part = "experiment", rna = "rna.experiment",
    peaks = "peak.experiment", protein = "protein.experiment",
    methylation = "methylation.experiment", data = "colData", main = NULL,
    takes = experiment_arguments
  )
  words$reductions <- unique(unlist(lapply(names(object), function(name) {
    if (is_sce(object[[name]])) bioc("SingleCellExperiment", "reducedDimNames")(object[[name]])
  })))
  words
}

#' @export
parts_of.MultiAssayExperiment <- function(object, peaks = NULL, assay.type = "counts",
                                          fitted = FALSE) {
  names <- names(object)
  parts <- lapply(names, function(name) {
    experiment_part(
      object[[name]], name, assay.type, fitted,
      cells = function(home) colnames(object[[if (is.null(home)) name else home]]),
      under = function(experiment, home) with_cells_of(object, experiment, name, home)
    )
  })
  names(parts) <- names
  parts <- with_counts_of_other_names(parts)
  if (!is.null(peaks)) {
    check_peaks_beside(peaks)
    cells <- function(home) colnames(object[[home]])
    parts <- c(
      Filter(function(part) part$kind != "peaks", parts),
      list(peaks = experiment_part(peaks, "peaks", assay.type, fitted, cells, beside = TRUE))
    )
  }
  # what was imputed into the home is a part as well
  for (name in names[vapply(names, function(name) is_sce(object[[name]]), NA)]) {
    inside <- parts_of(object[[name]], assay.type = assay.type, fitted = fitted)[-1]
    inside <- Filter(function(part) part$own, inside)
    parts[names(inside)] <- inside
  }
  parts
}

#' @export
cell_data.MultiAssayExperiment <- function(object, home = NULL) {
  if (is.null(home)) home <- names(object)[1]
  holder <- object[[home]]
  cells <- colnames(holder)
  units <- data_of_units(object, home, cells)
  data <- if (is_matrix_like(holder)) units[0] else cell_data(holder)
  more <- setdiff(colnames(units), colnames(data))
  if (length(more) > 0) data[more] <- units[more]
  rownames(data) <- cells
  data
}

# Values without names are in the order of the colData, where each row of it is one cell.
#' @export
values_at.MultiAssayExperiment <- function(object, values, home, argument) {
  if (!are_nameless(values)) {
    return(values)
  }
  map <- sample_map(object, home)
  if (anyDuplicated(map$primary)) {
    refuse(
      argument, " has no names, and rows of colData are not single cells of experiment '", home,
      "': give it the names of the cells, or add it as a column to the colData of that experiment."
    )
  }
  units <- rownames(bioc("SummarizedExperiment", "colData")(object))
  if (NROW(values) != length(units)) {
    refuse(
      argument, " has no names, so it must have one value for each of the ",
      count_of(length(units), "row"), " of colData, not ", in_words(values), "."
    )
  }
  cells <- colnames(object[[home]])
  at <- match(map$primary[match(cells, map$colname)], units)
  if (length(dim(values)) == 2) values[at, , drop = FALSE] else values[at]
}

#' @export
latent_of.MultiAssayExperiment <- function(object, reduction) {
  latent_of(object[[home_of(object, reduction)]], reduction)
}

#' @export
fits_of.MultiAssayExperiment <- function(object, keep = only_records) {
  fits <- list()
  for (name in names(object)) {
    new <- if (is_sce(object[[name]])) fits_of(object[[name]], keep)
    fits <- c(fits, new[!names(new) %in% names(fits)])
  }
  fits
}

# The clusters are columns of the whole as well, where each of its units is one cell.
#' @export
put_results.MultiAssayExperiment <- function(object, results) {
  home <- results$home
  object[[home]] <- put_results(as_sce(object[[home]], results$assay.type), results)
  map <- sample_map(object, home)
  if (is.null(results$columns) || anyDuplicated(map$primary)) {
    return(object)
  }
  data <- bioc("SummarizedExperiment", "colData")(object)
  cells <- map$colname[match(rownames(data), map$primary)]
  at <- match(cells, rownames(results$columns))
  for (column in names(results$columns)) data[[column]] <- results$columns[[column]][at]
  bioc("MultiAssayExperiment", "colData<-")(object, value = data)
}

# The experiment that has a reduction.
#' @export
home_of.MultiAssayExperiment <- function(object, reduction) {
  has <- vapply(names(object), function(name) {
    is_sce(object[[name]]) && reduction %in% c(
      names(fits_of(object[[name]])),
      bioc("SingleCellExperiment", "reducedDimNames")(object[[name]])
    )
  }, NA)
  if (any(has)) names(object)[has][1]
}

# ---- cells ---------------------------------------------------------------------------------------

# An experiment with the cells of the home, in its order and under its names. Cells are matched
# through the sample map where each primary unit is one cell, else (units are donors) by their
# names.
with_cells_of <- function(object, experiment, name, home) {
  if (is.null(home) || home == name) {
    return(experiment)
  }
  own <- sample_map(object, name)
  other <- sample_map(object, home)
  by_unit <- !anyDuplicated(own$primary) && !anyDuplicated(other$primary)
  column <- if (by_unit) "primary" else "colname"
  cells <- colnames(object[[home]])
  key <- as.character(other[[column]][match(cells, other$colname)])
  at <- match(key, own[[column]])
  refuse_other_cells(c(sum(is.na(at)), sum(!own[[column]] %in% key)), home, name, sum(!is.na(at)),
    by_unit)
  experiment <- experiment[, match(as.character(own$colname)[at], colnames(experiment))]
  colnames(experiment) <- cells
  experiment
}

refuse_other_cells <- function(alone, home, name, n_shared, by_unit) {
  if (all(alone == 0)) {
    return(invisible())
  }
  refuse(
    "the two experiments do not hold the same cells: ", format_count(alone[1]), " only in '",
    home, "', ", format_count(alone[2]), " only in '", name, "'; ",
    if (n_shared == 0) {
      "give both the same cells in the sample map."
    } else if (by_unit) {
      "keep the shared ones with MultiAssayExperiment::intersectColumns(object)."
    } else {
      # intersectColumns() keeps the donors of both, with cells of one alone
      paste0(
        "keep the shared ones with object[, list(", home, " = cells, ", name,
        " = cells)], where cells are their names."
      )
    }
  )
}

# Which primary unit each cell of an experiment belongs to.
sample_map <- function(object, name) {
  map <- as.data.frame(bioc("MultiAssayExperiment", "sampleMap")(object))
  map[as.character(map$assay) == name, ]
}

# What the colData of a MultiAssayExperiment says of cells of an experiment, one row per cell: of
# the cells themselves, or of the donors or samples they come from.
data_of_units <- function(object, name, cells) {
  map <- sample_map(object, name)
  data <- plain_table(bioc("SummarizedExperiment", "colData")(object))
  data[match(map$primary[match(cells, map$colname)], rownames(data)), , drop = FALSE]
}
