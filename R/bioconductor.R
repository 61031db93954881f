# SingleCellExperiment and MultiAssayExperiment: which experiment is RNA and which is peaks, their
# counts, and where results go. The Bioconductor packages are suggested, not imported, so their
# functions are looked up by name.

bioc <- function(package, name) getExportedValue(package, name)

# A SingleCellExperiment of what an experiment is; a matrix becomes its assay `assay.type`.
as_sce <- function(object, assay.type = "counts") {
  if (inherits(object, "SingleCellExperiment")) {
    return(object)
  }
  if (is_matrix_like(object)) {
    assays <- stats::setNames(list(object), assay.type)
    return(bioc("SingleCellExperiment", "SingleCellExperiment")(assays = assays))
  }
  methods::as(object, "SingleCellExperiment")
}

# ---- which experiments ---------------------------------------------------------------------------

# The experiments of an object by name: the main one and the alternatives of a SingleCellExperiment
# (or `peaks`, given beside it), all of a MultiAssayExperiment.
experiments_of <- function(object, peaks = NULL) {
  if (inherits(object, "MultiAssayExperiment")) {
    list <- bioc("MultiAssayExperiment", "experiments")(object)
    return(stats::setNames(lapply(seq_along(list), function(i) list[[i]]), names(list)))
  }
  main <- bioc("SingleCellExperiment", "mainExpName")(object)
  found <- stats::setNames(list(object), if (is.null(main)) "main" else main)
  if (!is.null(peaks)) {
    if (!inherits(peaks, "SummarizedExperiment") && !is_matrix_like(peaks)) {
      refuse(
        "peaks must be a SingleCellExperiment, a SummarizedExperiment or a matrix of counts, not ",
        "class ", class(peaks)[1], "."
      )
    }
    return(c(found, list(peaks = peaks)))
  }
  others <- bioc("SingleCellExperiment", "altExpNames")(object)
  c(found, stats::setNames(lapply(others, function(name) alt_exp(object, name)), others))
}

# An alternative experiment with the cells of the object. altExp() gives its columns the names of
# the object's, whatever their own are; where these are the same cells, they are matched by name.
alt_exp <- function(object, name) {
  experiment <- bioc("SingleCellExperiment", "altExp")(object, name, withDimnames = FALSE)
  own <- colnames(experiment)
  cells <- colnames(object)
  if (is.null(own) || is.null(cells) || !any(own %in% cells)) {
    return(bioc("SingleCellExperiment", "altExp")(object, name))
  }
  if (!setequal(own, cells)) {
    strange <- setdiff(own, cells)
    differ <- if (length(strange) > 0) strange else setdiff(cells, own)
    refuse(
      "alternative experiment '", name, "' holds other cells than the object (", some_names(differ),
      " ", is_are(length(differ)), " not in ", if (length(strange) > 0) "the object" else "it",
      "): give both the same cells."
    )
  }
  if (identical(own, cells)) experiment else experiment[, cells]
}

# The RNA and the peak experiment: those named, else the only candidates. list(rna, peaks,
# rna_name, peaks_name).
find_experiments <- function(experiments, rna.experiment, peak.experiment) {
  check_experiment(experiments, rna.experiment, "rna.experiment")
  check_experiment(experiments, peak.experiment, "peak.experiment")
  if (!is.null(rna.experiment) && identical(rna.experiment, peak.experiment)) {
    refuse(
      "rna.experiment and peak.experiment are both '", rna.experiment, "': name two different ",
      "experiments."
    )
  }
  usable <- Filter(function(name) {
    is.null(experiment_mark(experiments[[name]]))
  }, setdiff(names(experiments), c(rna.experiment, peak.experiment)))
  with_ranges <- vapply(usable, function(name) {
    are_ranges(experiment_features(experiments[[name]]))
  }, logical(1))
  rna <- only_candidate(
    rna.experiment, usable[!with_ranges], names(experiments), "RNA", "rna.experiment",
    "counts of genes", "experiment"
  )
  peaks <- only_candidate(
    peak.experiment, usable[with_ranges], names(experiments), "peak", "peak.experiment",
    "counts of genomic ranges such as 'chr1:100-200' (as row names or rowRanges)", "experiment"
  )
  list(
    rna = experiments[[rna]], peaks = experiments[[peaks]], rna_name = rna, peaks_name = peaks
  )
}

check_experiment <- function(experiments, name, argument) {
  name <- check_string(name, argument, optional = TRUE)
  if (!is.null(name) && !name %in% names(experiments)) {
    refuse(
      "the object has no experiment '", name, "' (", argument, "); its experiments are ",
      paste(names(experiments), collapse = ", "), "."
    )
  }
}

# Names of the rows; of a ranged experiment without any, its ranges.
experiment_features <- function(experiment) {
  features <- rownames(experiment)
  if (!is.null(features) || !inherits(experiment, "RangedSummarizedExperiment")) {
    return(features)
  }
  ranges <- bioc("SummarizedExperiment", "rowRanges")(experiment)
  if (inherits(ranges, "GRanges") && length(ranges) > 0) as.character(ranges) else NULL
}

# Counts of an experiment (or matrix), features x cells, with names.
experiment_counts <- function(experiment, assay.type, name) {
  counts <- experiment
  if (!is_matrix_like(counts)) counts <- chosen_assay(experiment, assay.type, name)
  features <- experiment_features(experiment)
  if (is.null(features)) {
    refuse("experiment '", name, "' has no row names: scMVP needs the names of its features.")
  }
  check_unique(features, paste0("feature names of experiment '", name, "'"))
  if (is.null(colnames(experiment))) {
    refuse("experiment '", name, "' has no column names: scMVP needs the names of its cells.")
  }
  counts <- as_dgc(counts)
  dimnames(counts) <- list(features, colnames(experiment))
  counts
}

chosen_assay <- function(experiment, assay.type, name) {
  check_string(assay.type, "assay.type")
  available <- bioc("SummarizedExperiment", "assayNames")(experiment)
  if (!assay.type %in% available) {
    refuse(
      "experiment '", name, "' has no assay '", assay.type, "' (its assays: ",
      if (length(available) > 0) paste(available, collapse = ", ") else "none with a name",
      "): name the one with raw counts with assay.type =."
    )
  }
  bioc("SummarizedExperiment", "assay")(experiment, assay.type)
}

# Counts of an experiment in these cells, in this order.
experiment_cells <- function(experiment, assay.type, name, cells) {
  counts <- experiment_counts(experiment, assay.type, name)
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

# ---- cells of a MultiAssayExperiment -------------------------------------------------------------

# Both experiments with the cells of the RNA experiment, in its order and under its names. Cells are
# matched through the sample map where each primary unit is one cell, else (units are donors) by
# their names.
pair_cells <- function(object, pair) {
  rna <- sample_map(object, pair$rna_name)
  peaks <- sample_map(object, pair$peaks_name)
  pair$by_unit <- !anyDuplicated(rna$primary) && !anyDuplicated(peaks$primary)
  column <- if (pair$by_unit) "primary" else "colname"
  cells <- colnames(pair$rna)
  key <- as.character(rna[[column]][match(cells, rna$colname)])
  at <- match(key, peaks[[column]])
  alone <- c(sum(is.na(at)), sum(!peaks[[column]] %in% key))
  if (any(alone > 0)) {
    n_shared <- sum(!is.na(at))
    refuse(
      "the two experiments do not hold the same cells: ", format_count(alone[1]), " only in '",
      pair$rna_name, "', ", format_count(alone[2]), " only in '", pair$peaks_name, "'; ",
      if (n_shared == 0) {
        "give both the same cells in the sample map."
      } else if (pair$by_unit) {
        "keep the shared ones with MultiAssayExperiment::intersectColumns(object)."
      } else {
        # intersectColumns() keeps the donors of both, with cells of one alone
        paste0(
          "keep the shared ones with object[, list(", pair$rna_name, " = cells, ",
          pair$peaks_name, " = cells)], where cells are their names."
        )
      }
    )
  }
  pair$units <- if (pair$by_unit) key
  pair$peaks <- pair$peaks[, match(as.character(peaks$colname)[at], colnames(pair$peaks))]
  colnames(pair$peaks) <- cells
  pair
}

# The same of one experiment alone.
own_units <- function(object, name, cells) {
  map <- sample_map(object, name)
  by_unit <- !anyDuplicated(map$primary)
  list(by_unit = by_unit, units = if (by_unit) map$primary[match(cells, map$colname)])
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
  data <- bioc("SummarizedExperiment", "colData")(object)
  data[match(map$primary[match(cells, map$colname)], rownames(data)), , drop = FALSE]
}

# colData of an experiment and, of what it lacks, of the MultiAssayExperiment it is in.
cell_data <- function(holder, unit_data = NULL) {
  data <- bioc("SummarizedExperiment", "colData")(holder)
  more <- setdiff(colnames(unit_data), colnames(data))
  if (length(more) > 0) data[more] <- unit_data[more]
  data
}

# The experiment of a MultiAssayExperiment that has the results, with all that is known of its
# cells.
described_holder <- function(object, reduction) {
  name <- holder_of(object, reduction)
  holder <- object[[name]]
  data <- cell_data(holder, data_of_units(object, name, colnames(holder)))
  bioc("SummarizedExperiment", "colData<-")(holder, value = data)
}

# The RNA experiment with the results goes back; where a unit is a cell, clusters are colData of the
# whole as well.
put_experiment <- function(object, pair, holder, names, home = pair$rna_name) {
  object[[home]] <- holder
  if (pair$by_unit) {
    data <- bioc("SummarizedExperiment", "colData")(object)
    of_holder <- bioc("SummarizedExperiment", "colData")(holder)
    at <- match(rownames(data), pair$units)
    for (column in c(names$cluster, names$cluster_prob)) data[[column]] <- of_holder[[column]][at]
    object <- bioc("MultiAssayExperiment", "colData<-")(object, value = data)
  }
  object
}

# The experiment of a MultiAssayExperiment that has the results.
holder_of <- function(object, reduction, argument = "reduction") {
  for (name in names(object)) {
    experiment <- object[[name]]
    if (inherits(experiment, "SingleCellExperiment") && has_results(experiment, reduction)) {
      return(name)
    }
  }
  refuse_no_model(reduction, "any of the experiments", argument)
}

has_results <- function(object, reduction) {
  inherits(bioc("S4Vectors", "metadata")(object)[[reduction]]$model, "scMVPModel")
}

# ---- the fit and its results ---------------------------------------------------------------------

run_on_experiments <- function(holder, pair, assay.type, impute, impute.genes, impute.peaks, names,
                               settings) {
  counts <- list(
    rna = experiment_cells(pair$rna, assay.type, pair$rna_name, colnames(holder)),
    peaks = experiment_cells(pair$peaks, assay.type, pair$peaks_name, colnames(holder))
  )
  if (settings$verbose) {
    tell_pair(
      "experiment", pair$rna_name, nrow(counts$rna), pair$peaks_name, nrow(counts$peaks),
      ncol(holder)
    )
  }
  in_experiment <- function(name) paste0("in experiment '", name, "'")
  if (!is.null(impute.genes)) {
    impute.genes <- check_names_known(
      impute.genes, rownames(counts$rna), "impute.genes", in_experiment(pair$rna_name)
    )
  }
  impute.peaks <- check_wanted_peaks(
    impute.peaks, rownames(counts$peaks), in_experiment(pair$peaks_name)
  )
  fit <- fit_with(
    settings, counts$rna, counts$peaks,
    impute = impute, impute.genes = impute.genes, impute.peaks = impute.peaks,
    batch = batch_columns(
      settings$batch, colnames(holder), cell_data(holder, pair$unit_data),
      paste0("colData of experiment '", pair$rna_name, "'")
    )
  )
  on.exit(discard_model(fit$staged))
  fit$options <- c(fit$options, list(
    rna.experiment = pair$rna_name, peak.experiment = pair$peaks_name, assay.type = assay.type
  ))
  holder <- add_fit_to_experiment(holder, fit, names, pair)
  keep_model(fit$staged)
  warn_interrupted(fit)
  holder
}

# Names of what is added, refused before the fit where something else has them.
experiment_names_for <- function(object, reduction.name, reduction.key) {
  names <- names_for(reduction.name, reduction.key)
  ours <- has_results(object, reduction.name)
  taken <- bioc("SingleCellExperiment", "reducedDimNames")(object)
  if (reduction.name %in% taken && !ours) {
    refuse(
      "the object already has a reducedDim '", reduction.name, "' that scMVP did not make: choose ",
      "another reduction.name."
    )
  }
  others <- bioc("SingleCellExperiment", "altExpNames")(object)
  for (name in intersect(unlist(names$assays), others)) {
    mark <- experiment_mark(bioc("SingleCellExperiment", "altExp")(object, name))
    if (!identical(mark$reduction, reduction.name)) {
      refuse(
        "the object already has an altExp '", name, "' that was not made from reduction '",
        reduction.name, "': rename or remove it, or choose another reduction.name."
      )
    }
  }
  names
}

add_fit_to_experiment <- function(object, fit, names, pair) {
  colnames(fit$latent) <- paste0(names$key, seq_len(ncol(fit$latent)))
  object <- bioc("SingleCellExperiment", "reducedDim<-")(
    object, names$reduction, withDimnames = TRUE, value = fit$latent
  )
  object <- set_col_data(object, stats::setNames(
    list(fit$cluster, fit$cluster_prob), c(names$cluster, names$cluster_prob)
  ))
  data <- bioc("S4Vectors", "metadata")(object)
  # cbind() of fitted objects leaves several of the name
  data <- data[!names(data) %in% names$reduction]
  data[[names$reduction]] <- fit_record(fit)
  object <- bioc("S4Vectors", "metadata<-")(object, value = data)
  for (modality in names(names$assays)) {
    name <- names$assays[[modality]]
    object <- drop_alt_exp(object, name)
    values <- fit$imputed[[modality]]
    if (is.null(values)) next
    mark <- list(
      reduction = names$reduction, fit = fit$id, modality = modality, library.size = 1e4,
      log = modality == "rna"
    )
    parent <- if (modality == "rna") pair$rna else pair$peaks
    object <- put_alt_exp(object, name, values, parent, mark)
  }
  object
}

set_col_data <- function(object, columns) {
  data <- bioc("SummarizedExperiment", "colData")(object)
  for (name in names(columns)) data[[name]] <- unname(columns[[name]])
  bioc("SummarizedExperiment", "colData<-")(object, value = data)
}

drop_alt_exp <- function(object, name) {
  if (name %in% bioc("SingleCellExperiment", "altExpNames")(object)) {
    object <- bioc("SingleCellExperiment", "altExp<-")(object, name, value = NULL)
  }
  object
}

# Imputed values as alternative experiment; with the rowData or ranges of the features in `parent`.
put_alt_exp <- function(object, name, values, parent, mark) {
  assays <- stats::setNames(list(values), if (mark$log) "logcounts" else "imputed")
  rows <- match(rownames(values), experiment_features(parent))
  known <- inherits(parent, "SummarizedExperiment") && !anyNA(rows)
  ranges <- if (known && inherits(parent, "RangedSummarizedExperiment")) {
    bioc("SummarizedExperiment", "rowRanges")(parent)[rows]
  }
  if (!inherits(ranges, "GRanges")) {
    ranges <- if (mark$modality == "atac") ranges_of_names(rownames(values))
  }
  make <- bioc("SummarizedExperiment", "SummarizedExperiment")
  if (inherits(ranges, "GRanges")) {
    names(ranges) <- rownames(values)
    experiment <- make(assays = assays, rowRanges = ranges)
  } else {
    experiment <- make(assays = assays)
  }
  if (known) {
    data <- bioc("SummarizedExperiment", "rowData")(parent)[rows, , drop = FALSE]
    experiment <- bioc("SummarizedExperiment", "rowData<-")(experiment, value = data)
    rownames(experiment) <- rownames(values)
  }
  experiment <- bioc("S4Vectors", "metadata<-")(experiment, value = list(scMVP = mark))
  # a RangedSummarizedExperiment would lose its ranges on the way in
  bioc("SingleCellExperiment", "altExp<-")(object, name, value = as_sce(experiment))
}

experiment_mark <- function(experiment) {
  if (inherits(experiment, "SummarizedExperiment")) bioc("S4Vectors", "metadata")(experiment)$scMVP
}

# The experiment that a modality was read from, for the rowData of imputed features; NULL when it is
# not in the object.
source_experiment <- function(object, record, modality) {
  name <- record$options[[if (modality == "rna") "rna.experiment" else "peak.experiment"]]
  if (!is.null(name)) experiments_of(object)[[name]]
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
