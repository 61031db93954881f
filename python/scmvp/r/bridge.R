# What R does for Python: one call from a file, its result into another. Run by rengine.py, in an R
# process of its own (Rscript bridge.R REQUEST RESULT) or inside Python by rpy2.
#
# Reading and writing objects needs the packages of their classes, not the R package scMVP; slots of
# assays are read as attributes, so that a ChromatinAssay can be read where Signac is absent. v3/v4
# assays are read by slot and v5 assays by layer: the accessors of one version silently return other
# data in the other.

or_else <- function(x, y) if (is.null(x)) y else x

refuse <- function(..., class = "input") {
  stop(structure(
    class = c(paste0("scmvp_error_", class), "error", "condition"),
    list(message = paste0(...), call = NULL)
  ))
}

# What is told once the work is done.
note <- function(...) {
  warning(structure(
    class = c("scmvp_warning", "warning", "condition"), list(message = paste0(...), call = NULL)
  ))
}

quoted <- function(x, shown = 5) {
  if (length(x) == 0) {
    return("none")
  }
  text <- paste0("'", utils::head(x, shown), "'", collapse = ", ")
  if (length(x) > shown) paste0(text, " and ", length(x) - shown, " more") else text
}

needs <- function(package, at_least = NULL) {
  remedy <- switch(package,
    scMVP = "install it in R, from the folder of scMVP: R CMD INSTALL .",
    SeuratObject = "install it in R: install.packages(\"SeuratObject\")",
    paste0("install it in R: BiocManager::install(\"", package, "\")")
  )
  if (!requireNamespace(package, quietly = TRUE)) {
    refuse(
      "the R package ", package, " is needed, which ", R.version.string, " (", R.home(), ") does ",
      "not find in ", quoted(.libPaths()), "; ", remedy,
      class = "package"
    )
  }
  if (!is.null(at_least) && utils::packageVersion(package) < at_least) {
    refuse(
      "the R package ", package, " is version ", format(utils::packageVersion(package)),
      ", and at least ", at_least, " is needed; ", remedy,
      class = "package"
    )
  }
  function(name) getExportedValue(package, name)
}

installed <- function(package) requireNamespace(package, quietly = TRUE)

# ---- parts of objects ----------------------------------------------------------------------------

is_v5 <- function(assay) any(class(assay) %in% c("Assay5", "ChromatinAssay5", "StdAssay"))

as_dgc <- function(x, what) {
  if (is.data.frame(x)) x <- as.matrix(x)
  if (!inherits(x, "dgCMatrix")) {
    if (is.matrix(x) || methods::is(x, "Matrix")) {
      x <- methods::as(methods::as(x, "CsparseMatrix"), "dMatrix")
      x <- methods::as(x, "generalMatrix")
    } else {
      x <- methods::as(x, "dgCMatrix")
    }
  }
  if (is.null(rownames(x)) || is.null(colnames(x))) refuse(what, " has no names")
  x
}

# A layer as it is: dense ones (imputed values) stay dense.
as_layer <- function(x, what) if (is.matrix(x)) unname(x) else as_dgc(x, what)

# Layers of an assay beside the counts: those named, or all when TRUE; in the shape of the counts.
further_layers <- function(wanted, available, get, counts, what) {
  available <- setdiff(available, "counts")
  if (isFALSE(wanted)) {
    return(list())
  }
  chosen <- if (isTRUE(wanted)) available else intersect(wanted, available)
  values <- lapply(chosen, function(name) {
    x <- get(name)
    if (identical(dimnames(x), dimnames(counts))) {
      return(as_layer(x, name))
    }
    note(
      what, ": layer '", name, "' holds other features or cells than the counts and is left out"
    )
    NULL
  })
  names(values) <- chosen
  values[lengths(values) > 0]
}

seurat_layers <- function(assay) {
  if (is_v5(assay)) {
    return(unique(sub("[.].*$", "", needs("SeuratObject")("Layers")(assay))))
  }
  Filter(function(slot) all(dim(attr(assay, slot)) > 0), c("counts", "data", "scale.data"))
}

seurat_layer <- function(assay, layer) {
  if (!is_v5(assay)) {
    return(attr(assay, layer))
  }
  seurat <- needs("SeuratObject")
  found <- seurat("Layers")(assay, search = layer)
  if (length(found) == 0) {
    return(NULL)
  }
  # the counts of a split assay are in one layer per sample
  if (length(found) > 1) assay <- seurat("JoinLayers")(assay, layers = layer)
  seurat("LayerData")(assay, layer = layer)
}

are_ranges <- function(x) length(x) > 0 && mean(grepl("^.+[:_.-][0-9]+[-_.:][0-9]+$", x)) >= 0.9

# chrom, start, end of GRanges, else of the names.
coordinates_of <- function(ranges, names) {
  if (methods::is(ranges, "GRanges") && length(ranges) == length(names) &&
        installed("GenomicRanges")) {
    table <- as.data.frame(unname(ranges))
    return(data.frame(
      chrom = as.character(table$seqnames), start = table$start, end = table$end, row.names = names
    ))
  }
  pattern <- "^(.+)[:_.-]([0-9]+)[-_.:]([0-9]+)$"
  if (!all(grepl(pattern, names))) {
    return(NULL)
  }
  data.frame(
    chrom = sub(pattern, "\\1", names), start = whole(sub(pattern, "\\2", names)),
    end = whole(sub(pattern, "\\3", names)), row.names = names
  )
}

whole <- function(x) {
  x <- as.numeric(x)
  if (all(x <= .Machine$integer.max)) as.integer(x) else x
}

with_coordinates <- function(table, coordinates) {
  new <- setdiff(names(coordinates), names(table))
  table[new] <- coordinates[new]
  list(table = table, added = new)
}

# Columns Python has a counterpart of; the others are told.
plain_frame <- function(frame, rows, what) {
  frame <- as.data.frame(frame, optional = TRUE)
  columns <- lapply(frame, plain_column)
  lost <- vapply(columns, is.null, NA)
  if (any(lost)) {
    note(
      "columns of ", what, " that are no vectors of numbers, text or factors are left out: ",
      quoted(names(columns)[lost])
    )
  }
  structure(columns[!lost], row.names = as.character(rows), class = "data.frame")
}

plain_column <- function(x) {
  if (inherits(x, c("Date", "POSIXt"))) {
    return(as.character(x))
  }
  if (is.factor(x)) {
    return(factor(as.character(x), levels = levels(x), ordered = is.ordered(x)))
  }
  if (!is.null(dim(x)) || !(is.character(x) || is.logical(x) || is.numeric(x))) {
    return(NULL)
  }
  if (is.object(x)) as.numeric(x) else unname(x)
}

pick <- function(wanted, candidates, all, what, argument) {
  if (!is.null(wanted)) {
    if (wanted %in% all) {
      return(wanted)
    }
    refuse("it has no assay '", wanted, "' (assays: ", quoted(all), ")")
  }
  if (length(candidates) == 1) {
    return(candidates)
  }
  if (length(candidates) == 0) {
    refuse("it has no ", what, " assay with counts (assays: ", quoted(all), ")")
  }
  refuse(
    "it has several candidates for the ", what, " assay: ", quoted(candidates),
    "; remove all but one from the object, or name it with ", argument, " of scmvp.read_rds"
  )
}

# ---- Seurat, in ----------------------------------------------------------------------------------

from_seurat <- function(object, options) {
  # classes of slots and generics; a ChromatinAssay does without Signac
  needs("SeuratObject")
  assays <- attr(object, "assays")
  counts <- lapply(assays, seurat_layer, "counts")
  # What scMVP imputed into the object says so, and is not data.
  own <- vapply(assays, function(x) !is.null(attr(x, "misc")$scMVP), logical(1))
  usable <- names(counts)[vapply(counts, function(x) all(dim(x) > 0) && length(x) > 0, NA) & !own]
  chromatin <- c("ChromatinAssay", "ChromatinAssay5", "GRangesAssay")
  is_chromatin <- vapply(assays, function(x) any(class(x) %in% chromatin), NA)
  peaks <- vapply(usable, function(name) {
    is_chromatin[[name]] || are_ranges(rownames(counts[[name]]))
  }, NA)
  sct <- vapply(usable, function(name) "SCTAssay" %in% class(assays[[name]]), NA)
  rna <- pick(options$rna_assay, usable[!peaks & !sct], names(assays), "RNA", "rna_assay")
  atac <- pick(options$peak_assay, usable[peaks], names(assays), "peak", "peak_assay")
  modality <- function(name, coordinates) {
    seurat_modality(assays[[name]], name, counts[[name]], options$layers, coordinates)
  }
  cells <- colnames(counts[[rna]])
  metadata <- attr(object, "meta.data")
  obs <- plain_frame(metadata[cells, , drop = FALSE], cells, "the cells")
  identity <- attr(object, "active.ident")[cells]
  known <- vapply(obs, function(x) identical(as.character(x), as.character(identity)), NA)
  if (!any(known) && !"ident" %in% names(obs)) obs$ident <- factor(unname(identity))
  list(
    kind = "Seurat", rna = modality(rna, FALSE), atac = modality(atac, TRUE), obs = obs,
    identity = names(obs)[c(which(known), match("ident", names(obs)))][1],
    reductions = lapply(attr(object, "reductions"), seurat_reduction, cells)
  )
}

seurat_modality <- function(assay, name, counts, layers, coordinates) {
  counts <- as_dgc(counts, paste0("assay '", name, "'"))
  table <- attr(assay, if (is_v5(assay)) "meta.data" else "meta.features")
  if (is_v5(assay)) {
    # the rows of a v5 assay's metadata are those of the assay, which may be more than the counts'
    table <- table[match(rownames(counts), rownames(assay)), , drop = FALSE]
  } else {
    table <- table[rownames(counts), , drop = FALSE]
  }
  table <- plain_frame(table, rownames(counts), paste0("the features of '", name, "'"))
  # of older assays by slot: the generic needs Signac for a ChromatinAssay
  variable <- if (is_v5(assay)) {
    needs("SeuratObject")("VariableFeatures")(assay)
  } else {
    attr(assay, "var.features")
  }
  if (length(variable) > 0) {
    table$highly_variable <- rownames(counts) %in% variable
    table$highly_variable_rank <- as.numeric(match(rownames(counts), variable)) - 1
  }
  added <- character()
  if (coordinates) {
    extended <- with_coordinates(table, coordinates_of(attr(assay, "ranges"), rownames(counts)))
    table <- extended$table
    added <- extended$added
  }
  list(
    name = name, class = class(assay)[1], counts = counts, var = table, added = added,
    key = as.character(attr(assay, "key")),
    layers = further_layers(
      layers, seurat_layers(assay), function(layer) seurat_layer(assay, layer), counts,
      paste0("assay '", name, "'")
    )
  )
}

seurat_reduction <- function(reduction, cells) {
  embeddings <- attr(reduction, "cell.embeddings")
  loadings <- attr(reduction, "feature.loadings")
  list(
    values = unname(embeddings[match(cells, rownames(embeddings)), , drop = FALSE]),
    columns = colnames(embeddings), key = as.character(attr(reduction, "key")),
    assay = as.character(attr(reduction, "assay.used")), global = attr(reduction, "global"),
    stdev = if (length(attr(reduction, "stdev")) > 0) as.numeric(attr(reduction, "stdev")),
    loadings = if (length(loadings) > 0) unname(loadings),
    loadings_features = if (length(loadings) > 0) rownames(loadings)
  )
}

# ---- Bioconductor, in ----------------------------------------------------------------------------

from_experiment <- function(object, options) {
  experiment <- needs("SingleCellExperiment")
  summarized <- needs("SummarizedExperiment")
  main <- experiment("mainExpName")(object)
  others <- experiment("altExpNames")(object)
  alternatives <- stats::setNames(lapply(others, experiment("altExp"), x = object), others)
  imputed <- vapply(alternatives, is_imputed, NA)
  peaks <- vapply(alternatives, holds_peaks, NA)
  atac <- pick(options$peak_assay, others[peaks & !imputed], others, "peak (altExp)", "peak_assay")
  label <- if (is.null(main)) "the main experiment" else main
  if (!is.null(options$rna_assay) && !identical(options$rna_assay, main)) {
    refuse("the RNA is the main experiment (", quoted(main), "), not '", options$rna_assay, "'")
  }
  peak_experiment <- alternatives[[atac]]
  colnames(peak_experiment) <- colnames(object)
  cells <- colnames(object)
  list(
    kind = "SingleCellExperiment",
    rna = experiment_modality(object, label, options$layers, FALSE),
    atac = experiment_modality(peak_experiment, atac, options$layers, TRUE),
    obs = plain_frame(summarized("colData")(object), cells, "the cells"),
    reductions = experiment_reductions(object)
  )
}

is_imputed <- function(x) {
  methods::is(x, "SummarizedExperiment") && !is.null(needs("S4Vectors")("metadata")(x)$scMVP)
}

row_ranges <- function(x) {
  if (!methods::is(x, "RangedSummarizedExperiment")) {
    return(NULL)
  }
  ranges <- needs("SummarizedExperiment")("rowRanges")(x)
  # an empty GRangesList stands for "none"
  if (methods::is(ranges, "GRanges") && length(ranges) == nrow(x)) ranges
}

holds_peaks <- function(x) are_ranges(rownames(x)) || !is.null(row_ranges(x))

experiment_features <- function(x) {
  if (is.null(rownames(x)) && !is.null(row_ranges(x))) as.character(row_ranges(x)) else rownames(x)
}

experiment_modality <- function(x, name, layers, coordinates) {
  summarized <- needs("SummarizedExperiment")
  if (!methods::is(x, "SummarizedExperiment")) {
    counts <- as_dgc(x, name)
    table <- plain_frame(data.frame(row.names = rownames(counts)), rownames(counts), name)
    get <- NULL
    available <- character()
  } else {
    available <- summarized("assayNames")(x)
    if (!"counts" %in% available) refuse(name, " has no assay 'counts'")
    rownames(x) <- experiment_features(x)
    get <- function(layer) summarized("assay")(x, layer)
    counts <- as_dgc(get("counts"), name)
    table <- plain_frame(
      summarized("rowData")(x), rownames(counts), paste0("the features of ", name)
    )
  }
  added <- character()
  if (coordinates || !is.null(row_ranges(x))) {
    extended <- with_coordinates(table, coordinates_of(row_ranges(x), rownames(counts)))
    table <- extended$table
    added <- extended$added
  }
  list(
    name = name, class = class(x)[1], counts = counts, var = table, added = added,
    layers = further_layers(layers, available, get, counts, name)
  )
}

experiment_reductions <- function(object) {
  if (!methods::is(object, "SingleCellExperiment")) {
    return(list())
  }
  experiment <- needs("SingleCellExperiment")
  names <- experiment("reducedDimNames")(object)
  stats::setNames(lapply(names, function(name) {
    values <- experiment("reducedDim")(object, name)
    rotation <- attr(values, "rotation")
    dense <- as.matrix(values)
    list(
      values = matrix(as.numeric(dense), nrow(dense)), columns = colnames(dense),
      percent_var = attr(values, "percentVar"),
      loadings = if (is.matrix(rotation)) unname(rotation),
      loadings_features = if (is.matrix(rotation)) rownames(rotation)
    )
  }), names)
}

from_multi_assay <- function(object, options) {
  multi <- needs("MultiAssayExperiment")
  experiments <- multi("experiments")(object)
  found <- stats::setNames(lapply(seq_along(experiments), function(i) experiments[[i]]),
    names(experiments))
  usable <- names(found)[!vapply(found, is_imputed, NA)]
  peaks <- vapply(found[usable], holds_peaks, NA)
  rna <- pick(options$rna_assay, usable[!peaks], names(found), "RNA", "rna_assay")
  atac <- pick(options$peak_assay, usable[peaks], names(found), "peak", "peak_assay")
  map <- as.data.frame(multi("sampleMap")(object))
  of <- function(name) map[as.character(map$assay) == name, ]
  # each unit one cell: cells are matched through it; units are donors: by the names of the cells
  by_unit <- !anyDuplicated(of(rna)$primary) && !anyDuplicated(of(atac)$primary)
  unit_of <- function(name, cells) as.character(of(name)$primary)[match(cells, of(name)$colname)]
  cells <- colnames(found[[rna]])
  peak_experiment <- found[[atac]]
  if (by_unit) {
    at <- match(unit_of(atac, colnames(peak_experiment)), unit_of(rna, cells))
    colnames(peak_experiment) <- ifelse(is.na(at), colnames(peak_experiment), cells[at])
  }
  obs <- plain_frame(
    multi("colData")(object)[unit_of(rna, cells), , drop = FALSE], cells, "the units"
  )
  if (methods::is(found[[rna]], "SummarizedExperiment")) {
    own <- plain_frame(
      needs("SummarizedExperiment")("colData")(found[[rna]]), cells, paste0("the cells of ", rna)
    )
    obs[names(own)] <- own
  }
  list(
    kind = "MultiAssayExperiment",
    rna = experiment_modality(found[[rna]], rna, options$layers, FALSE),
    atac = experiment_modality(peak_experiment, atac, options$layers, TRUE),
    obs = obs, reductions = experiment_reductions(found[[rna]])
  )
}

read_object <- function(path) {
  tryCatch(readRDS(path), error = function(e) {
    refuse(
      "it is not a readable .rds file (damaged or truncated?), ", conditionMessage(e),
      "; copy or write it again"
    )
  })
}

kind_of <- function(object) {
  kind <- intersect(
    c("Seurat", "SingleCellExperiment", "MultiAssayExperiment"), class(object)
  )
  if (length(kind) == 0) {
    refuse(
      "it holds an object of class ", class(object)[1], ", not a Seurat, SingleCellExperiment or ",
      "MultiAssayExperiment object"
    )
  }
  kind[1]
}

call_read <- function(path, ...) {
  object <- read_object(path)
  reader <- switch(kind_of(object),
    Seurat = from_seurat, SingleCellExperiment = from_experiment, from_multi_assay
  )
  reader(object, list(...))
}

# ---- out -----------------------------------------------------------------------------------------

# Written beside, then moved by the caller: a file is whole or not there.
call_write <- function(path, kind, ...) {
  object <- if (kind == "Seurat") to_seurat(...) else to_experiment(...)
  saveRDS(object, path)
  list(class = class(object)[1])
}

call_add <- function(input, path, cells, only_these, obs, reductions, assays) {
  object <- read_object(input)
  kind <- kind_of(object)
  if (kind == "MultiAssayExperiment") {
    refuse(
      "results cannot be added to a MultiAssayExperiment from Python; take its experiment with ",
      "the RNA, or add them in R"
    )
  }
  here <- colnames(object)
  if (is.null(here)) refuse("its cells have no names")
  unknown <- setdiff(cells, here)
  if (length(unknown) > 0) {
    refuse(
      length(unknown), " cells of the results are not in it (", quoted(unknown, 3),
      "); give the results of cells of this object"
    )
  }
  missing <- setdiff(here, cells)
  if (length(missing) > 0 && !only_these) {
    refuse(
      "the results lack ", length(missing), " of its ", length(here), " cells (",
      quoted(missing, 3), "); compute them for all cells, or keep only the cells with results: ",
      "cells=\"shared\""
    )
  }
  if (length(missing) > 0) {
    # the generic of SeuratObject or of SummarizedExperiment, which is loaded with the object
    needs(if (kind == "Seurat") "SeuratObject" else "SingleCellExperiment")
    object <- object[, here[here %in% cells]]
  }
  at <- match(colnames(object), cells)
  rows <- function(x) x[at, , drop = FALSE]
  obs <- differing_columns(rows(obs), if (kind == "Seurat") {
    attr(object, "meta.data")
  } else {
    needs("SummarizedExperiment")("colData")(object)
  })
  reductions <- lapply(reductions, function(one) {
    one$values <- rows(one$values)
    one
  })
  reductions <- differing_reductions(reductions, object, kind)
  assays <- lapply(assays, function(one) {
    one$values <- one$values[, at, drop = FALSE]
    dimnames(one$values) <- list(one$features, colnames(object))
    one
  })
  add <- if (kind == "Seurat") add_to_seurat else add_to_experiment
  object <- add(object, obs, reductions, assays)
  saveRDS(object, path)
  list(class = kind, cells = ncol(object))
}

# What is in the object already stays as it is: a column that has been to Python may have lost its
# class on the way.
differing_columns <- function(new, old) {
  same <- vapply(names(new), function(name) {
    name %in% names(old) && isTRUE(all.equal(as_text(new[[name]]), as_text(old[[name]])))
  }, NA)
  new[!same]
}

as_text <- function(x) if (is.numeric(x)) as.numeric(x) else as.character(x)

differing_reductions <- function(new, object, kind) {
  there <- if (kind == "Seurat") {
    lapply(attr(object, "reductions"), attr, "cell.embeddings")
  } else {
    experiment <- needs("SingleCellExperiment")
    names <- stats::setNames(nm = experiment("reducedDimNames")(object))
    lapply(names, function(name) as.matrix(experiment("reducedDim")(object, name)))
  }
  same <- vapply(names(new), function(name) {
    name %in% names(there) && identical(dim(new[[name]]$values), dim(there[[name]])) &&
      all(new[[name]]$values == there[[name]])
  }, NA)
  new[!same %in% TRUE]
}

seurat_assay <- function(part, chromatin) {
  seurat <- needs("SeuratObject")
  counts <- part$counts
  ranges <- peak_ranges(part$var)
  use_signac <- chromatin && installed("Signac") && !is.null(ranges)
  renamed <- grep("[_|]", rownames(counts))
  v5 <- utils::packageVersion("SeuratObject") >= "5.0.0" && !identical(part$class, "Assay") &&
    identical(getOption("Seurat.object.assay.version", "v5"), "v5")
  assay <- withCallingHandlers(
    if (use_signac) {
      getExportedValue("Signac", "CreateChromatinAssay")(counts = counts, ranges = ranges)
    } else if (v5) {
      seurat("CreateAssay5Object")(counts = counts)
    } else {
      seurat("CreateAssayObject")(counts = counts)
    },
    warning = function(w) {
      if (grepl("Feature names cannot have", conditionMessage(w))) invokeRestart("muffleWarning")
    }
  )
  changed <- which(rownames(assay) != rownames(counts))
  if (length(changed) > 0) {
    note(
      "assay '", part$name, "': Seurat has changed ", length(changed), " feature names (first: '",
      rownames(counts)[changed[1]], "' is now '", rownames(assay)[changed[1]], "')"
    )
  }
  assay <- with_layers(assay, part)
  assay <- with_features(assay, part, c(part$added, if (use_signac) c("chrom", "start", "end")))
  key <- or_else(part$key, tolower(key_for(part$name)))
  seurat("Key<-")(assay, value = key)
}

with_layers <- function(assay, part) {
  seurat <- needs("SeuratObject")
  for (layer in names(part$layers)) {
    values <- part$layers[[layer]]
    dimnames(values) <- dimnames(assay)
    if (is_v5(assay)) {
      assay <- seurat("LayerData<-")(assay, layer = layer, value = values)
    } else if (layer %in% c("data", "scale.data")) {
      attr(assay, layer) <- if (layer == "data") values else as.matrix(values)
    } else {
      note(
        "assay '", part$name, "': layer '", layer, "' is left out, as an assay of Seurat before 5 ",
        "holds only counts, data and scale.data"
      )
    }
  }
  assay
}

# Metadata of the features and the variable ones. `left_out`: columns that say what ranges say.
with_features <- function(assay, part, left_out) {
  seurat <- needs("SeuratObject")
  table <- part$var
  rank <- table$highly_variable_rank
  table <- table[setdiff(names(table), c("highly_variable", "highly_variable_rank", left_out))]
  rownames(table) <- rownames(assay)
  if (ncol(table) > 0) assay <- seurat("AddMetaData")(assay, table)
  if (any(part$var$highly_variable %in% TRUE)) {
    variable <- rownames(assay)[part$var$highly_variable %in% TRUE]
    if (!is.null(rank)) variable <- rownames(assay)[order(rank, na.last = NA)]
    assay <- seurat("VariableFeatures<-")(assay, value = variable)
  }
  assay
}

# GRanges of chrom, start and end; NULL where there are none, or not for every feature.
peak_ranges <- function(table) {
  columns <- c("chrom", "start", "end")
  if (!all(columns %in% names(table)) || !installed("GenomicRanges") ||
        !all(stats::complete.cases(table[columns]))) {
    return(NULL)
  }
  getExportedValue("GenomicRanges", "GRanges")(
    as.character(table$chrom), getExportedValue("IRanges", "IRanges")(table$start, table$end)
  )
}

to_seurat <- function(rna, atac, obs, identity, reductions) {
  seurat <- needs("SeuratObject")
  object <- seurat("CreateSeuratObject")(
    seurat_assay(rna, FALSE), assay = rna$name, project = "scMVP"
  )
  object[[atac$name]] <- seurat_assay(atac, TRUE)
  object <- add_to_seurat(object, obs, reductions, list(), identity)
  # in the order of obs, not after what CreateSeuratObject() has computed itself
  columns <- attr(object, "meta.data")
  attr(object, "meta.data") <- columns[union(intersect(names(obs), names(columns)), names(columns))]
  object
}

add_to_seurat <- function(object, obs, reductions, assays, identity = NULL) {
  seurat <- needs("SeuratObject")
  if (ncol(obs) > 0) object <- seurat("AddMetaData")(object, obs)
  if (!is.null(identity)) {
    object <- seurat("Idents<-")(
      object, value = stats::setNames(obs[[identity]], rownames(obs))
    )
    # a column 'ident' stands for identities that no column of the object had
    if (identity == "ident") object[["ident"]] <- NULL
  }
  default <- seurat("DefaultAssay")(object)
  for (name in names(reductions)) {
    object[[name]] <- seurat_dimreduc(reductions[[name]], name, default, object)
  }
  for (name in names(assays)) object <- put_imputed(object, name, assays[[name]])
  object
}

seurat_dimreduc <- function(one, name, default, object) {
  seurat <- needs("SeuratObject")
  own <- name == "scmvp"
  key <- or_else(one$key, if (own) "scMVP_" else key_for(name))
  keys <- unlist(seurat("Key")(object))
  owner <- setdiff(names(keys)[keys == key], name)
  if (length(owner) > 0) {
    refuse("the key '", key, "' of reduction '", name, "' already belongs to '", owner[1], "'")
  }
  if (name %in% setdiff(names(object), seurat("Reductions")(object))) {
    refuse("'", name, "' is the name of something else in the object; rename the reduction")
  }
  values <- one$values
  columns <- or_else(one$columns, paste0(key, seq_len(ncol(values))))
  dimnames(values) <- list(colnames(object), columns)
  keep <- !is.na(rowSums(values))
  loadings <- one$loadings
  if (!is.null(loadings)) dimnames(loadings) <- list(one$loadings_features, colnames(values))
  assay <- if (isTRUE(one$assay %in% names(object))) one$assay else default
  seurat("CreateDimReducObject")(
    embeddings = values[keep, , drop = FALSE],
    loadings = or_else(loadings, methods::new("matrix")),
    # as RunSCMVP() does
    stdev = as.numeric(or_else(one$stdev, if (own) apply(values, 2, stats::sd))),
    assay = assay, key = key, global = or_else(one$global, TRUE)
  )
}

key_for <- function(name) {
  key <- sub("^[0-9]+", "", gsub("[^A-Za-z0-9]", "", name))
  paste0(if (nzchar(key)) key else "reduction", "_")
}

# As ImputeSCMVP() marks it: imputed values, not data.
imputed_mark <- function(one) {
  list(
    reduction = "scmvp", fit = "python", modality = one$modality,
    library.size = one$library_size, log = one$log
  )
}

put_imputed <- function(object, name, one) {
  seurat <- needs("SeuratObject")
  if (name %in% setdiff(names(object), seurat("Assays")(object))) {
    refuse("'", name, "' is the name of something else in the object; rename that")
  }
  if (name %in% names(object) && is.null(attr(object[[name]], "misc")$scMVP)) {
    refuse("the object already has an assay '", name, "' that scMVP did not make; rename it")
  }
  assay <- imputed_assay(object, one)
  attr(assay, "misc") <- list(scMVP = imputed_mark(one), calcN = FALSE)
  assay <- seurat("Key<-")(assay, value = tolower(key_for(name)))
  withCallingHandlers(
    object[[name]] <- assay,
    warning = function(w) {
      if (grepl("existing assay", conditionMessage(w))) invokeRestart("muffleWarning")
    }
  )
  object
}

# As RunSCMVP() makes it: imputed peaks of a ChromatinAssay keep ranges, annotation and motifs.
imputed_assay <- function(object, one) {
  if (one$modality == "atac" && installed("Signac")) {
    for (parent in attr(object, "assays")) {
      if (!"ChromatinAssay" %in% class(parent) || !all(one$features %in% rownames(parent))) next
      assay <- subset(parent, features = one$features)
      attr(assay, "data") <- one$values[rownames(assay), colnames(assay), drop = FALSE]
      attr(assay, "scale.data") <- methods::new("matrix")
      return(assay)
    }
  }
  needs("SeuratObject")("CreateAssayObject")(data = one$values)
}

experiment_of <- function(part) {
  rows <- part$var
  ranges <- peak_ranges(rows)
  layers <- part$layers
  for (layer in names(layers)) dimnames(layers[[layer]]) <- dimnames(part$counts)
  # rowData of ranges must not repeat what the ranges say
  if (!is.null(ranges)) rows <- rows[setdiff(names(rows), c("chrom", "start", "end"))]
  clash <- c("seqnames", "ranges", "strand", "start", "end", "width", "element", "seqlevels")
  if (!is.null(ranges)) names(rows)[names(rows) %in% clash] <- paste0(
    "feature_", names(rows)[names(rows) %in% clash]
  )
  x <- needs("SingleCellExperiment")("SingleCellExperiment")(
    assays = c(list(counts = part$counts), layers)
  )
  summarized <- needs("SummarizedExperiment")
  if (!is.null(ranges)) {
    names(ranges) <- rownames(part$counts)
    x <- summarized("rowRanges<-")(x, value = ranges)
  }
  frame <- needs("S4Vectors")("DataFrame")(rows, check.names = FALSE)
  rownames(frame) <- rownames(part$counts)
  summarized("rowData<-")(x, value = frame)
}

to_experiment <- function(rna, atac, obs, identity, reductions) {
  experiment <- needs("SingleCellExperiment")
  object <- experiment_of(rna)
  object <- experiment("altExp<-")(object, atac$name, value = experiment_of(atac))
  if (rna$name != "the main experiment") {
    object <- experiment("mainExpName<-")(object, value = rna$name)
  }
  add_to_experiment(object, obs[colnames(object), , drop = FALSE], reductions, list())
}

add_to_experiment <- function(object, obs, reductions, assays) {
  experiment <- needs("SingleCellExperiment")
  summarized <- needs("SummarizedExperiment")
  data <- summarized("colData")(object)
  for (name in names(obs)) data[[name]] <- obs[[name]]
  object <- summarized("colData<-")(object, value = data)
  for (name in names(reductions)) {
    one <- reductions[[name]]
    key <- or_else(one$key, if (name == "scmvp") "scMVP_" else key_for(name))
    values <- one$values
    columns <- or_else(one$columns, paste0(key, seq_len(ncol(values))))
  dimnames(values) <- list(colnames(object), columns)
    if (!is.null(one$loadings)) {
      attr(values, "rotation") <- structure(
        one$loadings, dimnames = list(one$loadings_features, colnames(values))
      )
    }
    if (!is.null(one$percent_var)) values <- structure(values, percentVar = one$percent_var)
    object <- experiment("reducedDim<-")(object, name, value = values)
  }
  for (name in names(assays)) {
    one <- assays[[name]]
    taken <- name %in% experiment("altExpNames")(object)
    if (taken && !is_imputed(experiment("altExp")(object, name))) {
      refuse(
        "the object already has an altExp '", name, "' that scMVP did not make; rename it"
      )
    }
    holder <- experiment("SingleCellExperiment")(
      assays = stats::setNames(list(one$values), if (one$log) "logcounts" else "imputed")
    )
    holder <- needs("S4Vectors")("metadata<-")(holder, value = list(scMVP = imputed_mark(one)))
    object <- experiment("altExp<-")(object, name, value = holder)
  }
  object
}

# ---- functions of the R package scMVP ------------------------------------------------------------

# Sentences of R name its arguments: as they are called in Python.
spelled <- new.env()

in_python <- function(sentence) {
  for (name in spelled$dotted) {
    ours <- if (name == "gene.coords") "gene_coordinates" else gsub(".", "_", name, fixed = TRUE)
    pattern <- paste0("(^|[^A-Za-z.])", gsub(".", "[.]", name, fixed = TRUE), "($|[^A-Za-z])")
    sentence <- gsub(pattern, paste0("\\1", ours, "\\2"), sentence)
  }
  sentence
}

# Calls an exported function with arguments named in snake_case; what it has no argument for is
# refused with the names it has.
call_scmvp <- function(name, arguments, options) {
  scmvp <- needs("scMVP", at_least = "0.1.0")
  verb <- scmvp(name)
  method <- utils::getS3method(name, "default", optional = TRUE, envir = asNamespace("scMVP"))
  known <- names(formals(or_else(method, verb)))
  snake <- gsub(".", "_", known, fixed = TRUE)
  unknown <- setdiff(names(options), snake)
  if (length(unknown) > 0) {
    hidden <- c("...", "object", "BPPARAM", names(arguments), gsub(".", "_", names(arguments)))
    refuse(
      name, "() has no argument ", quoted(unknown), "; its arguments are ",
      paste(setdiff(snake, hidden), collapse = ", ")
    )
  }
  names(options) <- known[match(names(options), snake)]
  spelled$dotted <- setdiff(grep(".", known, fixed = TRUE, value = TRUE), "...")
  do.call(verb, c(arguments, options))
}

as_frame_and_attributes <- function(table, attributes) {
  text <- vapply(table, is.character, NA)
  # names of peaks repeat many times: as factors they cross once
  table[text] <- lapply(table[text], function(x) factor(x, levels = unique(x)))
  rownames(table) <- NULL
  list(table = as.data.frame(table), attributes = attributes)
}

call_aggregate <- function(coordinates, cells, options) {
  dimnames(coordinates) <- list(cells, NULL)
  list(groups = call_scmvp("AggregateCells", list(coordinates), options))
}

call_cicero <- function(values, ranges, coordinates, groups, options) {
  arguments <- list(values, ranges = ranges, reduced_coordinates = coordinates, groups = groups)
  if (!is.null(coordinates)) rownames(arguments$reduced_coordinates) <- colnames(values)
  connections <- call_scmvp("RunCicero", arguments, options)
  as_frame_and_attributes(connections, list(
    distance_parameter = attr(connections, "distance_parameter"),
    groups = attr(connections, "groups")
  ))
}

call_ccans <- function(connections, options) {
  connections$Peak1 <- as.character(connections$Peak1)
  connections$Peak2 <- as.character(connections$Peak2)
  ccans <- call_scmvp("FindCCANs", list(connections), options)
  as_frame_and_attributes(ccans, list(cutoff = attr(ccans, "cutoff")))
}

call_lasso <- function(rna, peaks, ranges, gene_coords, coordinates, groups, options) {
  arguments <- list(rna, peaks = peaks, ranges = ranges, gene.coords = gene_coords,
    coordinates = coordinates, groups = groups)
  if (!is.null(coordinates)) rownames(arguments$coordinates) <- colnames(rna)
  links <- call_scmvp("LinkPeaksLASSO", arguments, options)
  as_frame_and_attributes(links, list(genes = attr(links, "genes")))
}

# ---- one call ------------------------------------------------------------------------------------

answer <- function(request, result) {
  warnings <- character()
  asked <- list(verb = "")
  outcome <- tryCatch(
    withCallingHandlers(
      {
        if (getRversion() < "4.2") {
          refuse(R.version.string, " is too old: R 4.2 or later is needed", class = "package")
        }
        requireNamespace("Matrix", quietly = TRUE)
        asked <- readRDS(request)
        verb <- get(paste0("call_", asked$verb), mode = "function")
        list(value = do.call(verb, asked$arguments))
      },
      message = function(m) {
        # nothing about the loading of packages
        if (!inherits(m, "packageStartupMessage")) {
          cat(conditionMessage(m), file = stderr(), sep = "")
        }
        invokeRestart("muffleMessage")
      },
      warning = function(w) {
        # of objects only what is said here: classes without their package, renamed keys and the
        # like are no news to who reads a file
        told <- inherits(w, "scmvp_warning") || !asked$verb %in% c("read", "write", "add")
        if (told) warnings <<- c(warnings, conditionMessage(w))
        invokeRestart("muffleWarning")
      }
    ),
    error = function(e) {
      where <- if (!inherits(e, c("scmvp_error", "scmvp_error_input", "scmvp_error_package"))) {
        deparse(conditionCall(e))[1]
      }
      list(error = paste(c(conditionMessage(e), where), collapse = ", in "), class = class(e))
    }
  )
  outcome$warnings <- enc2utf8(in_python(unique(warnings)))
  if (!is.null(outcome$error)) outcome$error <- enc2utf8(in_python(outcome$error))
  connection <- file(result, "wb")
  on.exit(close(connection))
  serialize(outcome, connection, version = 2, xdr = FALSE)
  invisible(NULL)
}

if (exists("scmvp_inside")) {
  answer
} else {
  paths <- commandArgs(trailingOnly = TRUE)
  answer(paths[1], paths[2])
}
