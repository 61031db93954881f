# SummarizedExperiment and SingleCellExperiment (see containers.R): the main and the alternative
# experiments are the parts; results are a reducedDim, columns of colData, and alternative
# experiments.

# A SingleCellExperiment of what an experiment is; a matrix becomes its assay `assay.type`.
as_sce <- function(object, assay.type = "counts") {
  if (inherits(object, "SingleCellExperiment")) {
    return(object)
  }
  check_installed("SingleCellExperiment", "results in this object")
  if (is_matrix_like(object)) {
    assays <- stats::setNames(list(object), assay.type)
    return(bioc("SingleCellExperiment", "SingleCellExperiment")(assays = assays))
  }
  methods::as(object, "SingleCellExperiment")
}

is_sce <- function(object) inherits(object, "SingleCellExperiment")

# Of class_arguments, those for what has experiments.
experiment_arguments <- c(
  "peaks", "rna.experiment", "peak.experiment", "protein.experiment", "assay.type", "assay",
  "experiment", "reduction", "reduction.name", "reduction.key", "assay.name"
)

#' @export
about.SummarizedExperiment <- function(object) {
  check_installed("SingleCellExperiment", "results in this object")
  experiments <- experiment_names(object)
  list(
    class = "a SingleCellExperiment", part = "experiment", rna = "rna.experiment",
    peaks = "peak.experiment", protein = "protein.experiment",
    methylation = "methylation.experiment", data = "colData",
    main = experiments[1],
    takes = experiment_arguments,
    reductions = if (is_sce(object)) bioc("SingleCellExperiment", "reducedDimNames")(object)
  )
}

# The main experiment first.
experiment_names <- function(object) {
  if (!is_sce(object)) {
    return("main")
  }
  main <- bioc("SingleCellExperiment", "mainExpName")(object)
  c(if (is.null(main)) "main" else main, bioc("SingleCellExperiment", "altExpNames")(object))
}

#' @export
parts_of.SummarizedExperiment <- function(object, peaks = NULL, assay.type = "counts",
                                          fitted = FALSE) {
  names <- experiment_names(object)
  found <- c(list(object), lapply(names[-1], function(name) alt_exp(object, name)))
  names(found) <- names
  cells <- function(home) colnames(object)
  parts <- Map(function(experiment, name) {
    experiment_part(experiment, name, assay.type, fitted, cells)
  }, found, names(found))
  parts <- with_counts_of_other_names(parts)
  if (is.null(peaks)) {
    return(parts)
  }
  check_peaks_beside(peaks)
  # peaks beside the object are meant, and none that are in it
  c(
    parts[1], Filter(function(part) part$kind != "peaks", parts[-1]),
    list(peaks = experiment_part(peaks, "peaks", assay.type, fitted, cells, beside = TRUE))
  )
}

# `cells(home)`: the cells of the results, in the experiment under these names or as `under` says.
experiment_part <- function(experiment, name, assay.type, fitted, cells, under = NULL,
                            beside = FALSE) {
  mark <- experiment_mark(experiment)
  features <- experiment_features(experiment)
  available <- if (!is_matrix_like(experiment)) {
    bioc("SummarizedExperiment", "assayNames")(experiment)
  }
  of_levels <- all(layers_of_levels %in% available)
  renamed <- function(home) if (is.null(under)) experiment else under(experiment, home)
  new_part(
    name, features,
    kind = if (of_levels) "methylation" else kind_of(features, name),
    has_counts = is.null(available) || of_levels || assay.type %in% available,
    own = !is.null(mark), mark = mark,
    counts = function(home = NULL, mosaic = NULL) {
      take <- function(assay) experiment_cells(renamed(home), assay, name, cells(home), fitted)
      if (!of_levels) {
        return(take(assay.type))
      }
      both <- lapply(layers_of_levels, take)
      stack_levels(both[[1]], both[[2]], paste0("experiment '", name, "'"))
    },
    values = function(layer, argument, home = NULL) {
      experiment_values(
        renamed(home), layer, argument, name, cells(home), assay.type,
        own = !is.null(mark) && !is_measured_activity(mark)
      )
    },
    layers = function() if (is.null(available)) "counts" else available,
    table = function() {
      if (is.null(available)) {
        return(data.frame(row.names = features))
      }
      as.data.frame(bioc("SummarizedExperiment", "rowData")(experiment), row.names = features)
    },
    imputed = function() bioc("SummarizedExperiment", "assay")(experiment, 1),
    ranges = function() row_ranges(experiment), source = experiment, beside = beside
  )
}

# Where no experiment of a kind has the assay of counts, it has another name, which is asked for
# once they are taken.
with_counts_of_other_names <- function(parts) {
  measured <- Filter(function(part) !part$own, parts)
  lack <- Filter(function(part) !part$has_counts, measured)
  if (length(lack) == 0) {
    return(parts)
  }
  kinds <- unique(unlist(lapply(setdiff(names(measured), names(lack)), function(name) {
    measured[[name]]$kind
  })))
  for (part in lack) part$has_counts <- !part$kind %in% kinds
  parts
}

#' @export
cell_data.SummarizedExperiment <- function(object, home = NULL) {
  plain_table(bioc("SummarizedExperiment", "colData")(object))
}

# A DataFrame as a data frame whose columns keep their names, those of runs as vectors.
plain_table <- function(data) {
  columns <- lapply(as.list(data), function(x) {
    if (methods::is(x, "Rle")) bioc("S4Vectors", "decode")(x) else x
  })
  names(columns) <- colnames(data)
  structure(columns, row.names = rownames(data), class = "data.frame")
}

#' @export
latent_of.SummarizedExperiment <- function(object, reduction) {
  role <- reduction_role(argument = "reduction", maker = "run RunSCMVP() first")
  check_reduction(object, reduction, role, "model")
  coordinates <- as.matrix(bioc("SingleCellExperiment", "reducedDim")(object, reduction))
  rownames(coordinates) <- colnames(object)
  coordinates
}

#' @export
fits_of.SummarizedExperiment <- function(object, keep = only_records) {
  keep(bioc("S4Vectors", "metadata")(object))
}

#' @export
put_results.SummarizedExperiment <- function(object, results) {
  object <- as_sce(object)
  for (name in results$dropped) object <- drop_alt_exp(object, name)
  new <- results$reduction
  if (!is.null(new)) {
    if (!is.null(new$key)) colnames(new$values) <- paste0(new$key, seq_len(ncol(new$values)))
    object <- bioc("SingleCellExperiment", "reducedDim<-")(
      object, new$name,
      withDimnames = TRUE, value = new$values[colnames(object), , drop = FALSE]
    )
    object <- with_record(object, new$name, new$misc)
  }
  if (!is.null(results$record)) {
    object <- with_record(object, results$record$name, results$record$value)
  }
  if (!is.null(results$columns)) object <- set_col_data(object, results$columns)
  for (one in results$imputed) {
    object <- put_alt_exp(object, one$name, one$values, one$source, one$mark)
  }
  object
}

with_record <- function(object, name, record) {
  data <- bioc("S4Vectors", "metadata")(object)
  # cbind() of fitted objects leaves several of the name
  data <- data[!names(data) %in% name]
  data[[name]] <- record
  bioc("S4Vectors", "metadata<-")(object, value = data)
}

set_col_data <- function(object, columns) {
  data <- bioc("SummarizedExperiment", "colData")(object)
  at <- match(rownames(data), rownames(columns))
  for (name in names(columns)) data[[name]] <- unname(columns[[name]])[at]
  bioc("SummarizedExperiment", "colData<-")(object, value = data)
}

# ---- experiments ---------------------------------------------------------------------------------

# An alternative experiment with the cells of the object. altExp() gives its columns the names of
# the object's, whatever their own are; where these are the same cells, they are matched by name.
alt_exp <- function(object, name) {
  experiment <- bioc("SingleCellExperiment", "altExp")(object, name, withDimnames = FALSE)
  own <- colnames(experiment)
  cells <- colnames(object)
  check_cell_names(cells, "of the object")
  if (is.null(own) || is.null(cells)) {
    return(bioc("SingleCellExperiment", "altExp")(object, name))
  }
  if (!setequal(own, cells)) {
    strange <- setdiff(own, cells)
    differ <- if (length(strange) > 0) strange else setdiff(cells, own)
    refuse(
      "alternative experiment '", name, "' has other cells than the object (", some_names(differ),
      " ", is_are(length(differ)), " not in ", if (length(strange) > 0) "the object" else "it",
      "): give both the same cells, under the same names; where the cells of the object were ",
      "renamed, put it back with SingleCellExperiment::altExp(object, \"", name, "\") <- ",
      "SingleCellExperiment::altExp(object, \"", name, "\")."
    )
  }
  if (identical(own, cells)) experiment else experiment[, cells]
}

# Names of the rows; of a ranged experiment without any, its ranges.
experiment_features <- function(experiment) {
  features <- rownames(experiment)
  if (!is.null(features)) {
    return(features)
  }
  ranges <- row_ranges(experiment)
  if (!is.null(ranges)) as.character(ranges)
}

# NULL where the rows have no ranges: an empty GRangesList stands for "none".
row_ranges <- function(experiment) {
  if (!inherits(experiment, "RangedSummarizedExperiment")) {
    return(NULL)
  }
  ranges <- bioc("SummarizedExperiment", "rowRanges")(experiment)
  if (methods::is(ranges, "GRanges") && length(ranges) == nrow(experiment)) ranges
}

# Counts of an experiment (or matrix), features x cells, with names.
experiment_counts <- function(experiment, assay.type, name, fitted = FALSE) {
  counts <- experiment
  if (!is_matrix_like(counts)) counts <- chosen_assay(experiment, assay.type, name, fitted)
  features <- experiment_features(experiment)
  if (is.null(features)) {
    refuse("experiment '", name, "' has no row names: scMVP needs the names of its features.")
  }
  check_feature_names(features, paste0("feature names of experiment '", name, "'"))
  if (is.null(colnames(experiment))) {
    refuse("experiment '", name, "' has no column names: scMVP needs the names of its cells.")
  }
  check_cell_names(colnames(experiment), paste0("of experiment '", name, "'"))
  counts <- as_dgc(counts)
  dimnames(counts) <- list(features, colnames(experiment))
  counts
}

# `fitted`: assay.type is that of a fit; NA, of a fit that was made on no experiment.
chosen_assay <- function(experiment, assay.type, name, fitted = FALSE) {
  check_string(assay.type, "assay.type")
  available <- bioc("SummarizedExperiment", "assayNames")(experiment)
  if (!assay.type %in% available) {
    refuse(
      "experiment '", name, "' has no assay '", assay.type, "'",
      if (isTRUE(fitted)) {
        ", which the model was fitted to: put it back."
      } else {
        paste0(
          " (its assays: ",
          if (length(available) > 0) paste(available, collapse = ", ") else "none with a name",
          "): ", if (is.na(fitted)) "give the one with raw counts as a matrix."
          else "name the one with raw counts with assay.type =."
        )
      }
    )
  }
  bioc("SummarizedExperiment", "assay")(experiment, assay.type)
}

# Counts of an experiment in these cells, in this order.
experiment_cells <- function(experiment, assay.type, name, cells, fitted = FALSE) {
  counts <- experiment_counts(experiment, assay.type, name, fitted)
  missing <- setdiff(cells, colnames(counts))
  if (length(missing) > 0) {
    n_shared <- length(cells) - length(missing)
    refuse(
      "experiment '", name, "' lacks ", count_of(length(missing), "cell"), " of the object (",
      some_names(missing), "): ",
      if (n_shared == 0) "give both the same cell names."
      else paste0("keep the ", count_of(n_shared, "cell"), " that both have.")
    )
  }
  if (identical(colnames(counts), cells)) counts else counts[, cells, drop = FALSE]
}

# Any assay of an experiment, as it is; where none is named that of counts, or the first. `own`:
# whether scMVP imputed it.
experiment_values <- function(experiment, layer, argument, name, cells, assay.type, own) {
  layer <- check_string(layer, argument, optional = TRUE)
  if (is_matrix_like(experiment)) {
    return(list(values = experiment, imputed = FALSE, layer = "counts"))
  }
  available <- bioc("SummarizedExperiment", "assayNames")(experiment)
  if (is.null(layer)) layer <- c(intersect(c(assay.type, "counts"), available), available)[1]
  if (is.null(layer) || !layer %in% available) {
    refuse(
      "experiment '", name, "' has no assay '", layer, "' (", argument, "); ",
      if (length(available) > 0) paste0("it has ", paste(available, collapse = ", "), ".")
      else "give its assays names."
    )
  }
  values <- bioc("SummarizedExperiment", "assay")(experiment, layer)
  dimnames(values) <- list(experiment_features(experiment), colnames(experiment))
  if (!identical(colnames(values), cells)) values <- values[, cells, drop = FALSE]
  list(values = values, imputed = own, layer = layer)
}

# ---- imputed experiments -------------------------------------------------------------------------

experiment_mark <- function(experiment) {
  if (inherits(experiment, "SummarizedExperiment")) bioc("S4Vectors", "metadata")(experiment)$scMVP
}

drop_alt_exp <- function(object, name) {
  if (name %in% bioc("SingleCellExperiment", "altExpNames")(object)) {
    object <- bioc("SingleCellExperiment", "altExp<-")(object, name, value = NULL)
  }
  object
}

# Imputed values as alternative experiment; with the rowData or ranges of the features in `parent`.
put_alt_exp <- function(object, name, values, parent, mark) {
  cells <- colnames(object)
  if (!identical(colnames(values), cells)) values <- values[, cells, drop = FALSE]
  layer <- if (!is.null(mark$layer)) mark$layer else if (mark$log) "logcounts" else "imputed"
  assays <- stats::setNames(list(values), layer)
  rows <- if (!is.null(parent)) match(rownames(values), experiment_features(parent))
  known <- inherits(parent, "SummarizedExperiment") && !anyNA(rows)
  ranges <- if (known) row_ranges(parent)[rows]
  if (is.null(ranges) && mark$modality == "atac") ranges <- ranges_of_names(rownames(values))
  make <- bioc("SummarizedExperiment", "SummarizedExperiment")
  if (is.null(ranges)) {
    experiment <- make(assays = assays)
  } else {
    names(ranges) <- rownames(values)
    experiment <- make(assays = assays, rowRanges = ranges)
  }
  if (known) {
    data <- bioc("SummarizedExperiment", "rowData")(parent)[rows, , drop = FALSE]
    experiment <- bioc("SummarizedExperiment", "rowData<-")(experiment, value = data)
    rownames(experiment) <- rownames(values)
  }
  experiment <- bioc("S4Vectors", "metadata<-")(experiment, value = list(scMVP = mark))
  # a RangedSummarizedExperiment would lose its ranges on the way in
  bioc("SingleCellExperiment", "altExp<-")(
    drop_alt_exp(object, name), name,
    value = as_sce(experiment)
  )
}

# Names of peaks as GRanges; NULL when one of them is no range.
ranges_of_names <- function(x) {
  ranges <- parse_ranges(x)
  if (anyNA(ranges$start)) {
    return(NULL)
  }
  bioc("GenomicRanges", "GRanges")(
    ranges$seqnames, bioc("IRanges", "IRanges")(ranges$start, ranges$end)
  )
}
