# Seurat objects: what they hold (see containers.R) and where results go. Slots of v3/v4 assays and
# layers of v5 assays are behind matrices.R.

#' @export
about.Seurat <- function(object) {
  reductions <- SeuratObject::Reductions(object)
  list(
    class = "a Seurat object", part = "assay", rna = "rna.assay", peaks = "peak.assay",
    protein = "protein.assay", methylation = "methylation.assay",
    data = "the metadata", main = SeuratObject::DefaultAssay(object),
    takes = c(
      "rna.assay", "peak.assay", "protein.assay", "assay", "reduction", "reduction.name",
      "reduction.key", "assay.name"
    ),
    # object[[name]] is the column where both have the name
    reductions = reductions, others = c(setdiff(names(object), reductions), names(object[[]])),
    keys = keys_of(object), default = SeuratObject::DefaultAssay(object),
    on_disk = utils::packageVersion("SeuratObject") >= "5.0.0"
  )
}

# By slot: the generic needs Signac for a ChromatinAssay.
keys_of <- function(object) {
  holders <- c(
    methods::slot(object, "assays"), methods::slot(object, "reductions"),
    methods::slot(object, "images")
  )
  unlist(lapply(holders, attr, "key"))
}

#' @export
parts_of.Seurat <- function(object, peaks = NULL, assay.type = "counts", fitted = FALSE) {
  names <- SeuratObject::Assays(object)
  if (!fitted) for (name in names) refuse_layers_of_modalities(object[[name]], name)
  with_levels(stats::setNames(lapply(names, function(name) seurat_part(object, name)), names))
}

seurat_part <- function(object, name) {
  assay <- object[[name]]
  measured <- if (inherits(assay, "SCTAssay")) "other" else kind_of(character(), name)
  new_part(
    name, assay_features(assay),
    kind = if (is_peak_assay(assay)) "peaks" else measured,
    has_counts = has_counts(assay), own = is_imputed(object, name), mark = assay_mark(assay),
    counts = function(home = NULL, mosaic = NULL) cells_of(assay, object, name, mosaic),
    layers = function() assay_layers(assay),
    values = function(layer, argument, home = NULL) seurat_values(object, name, layer, argument),
    empty = has_only_zeros(assay),
    table = function() feature_table(assay),
    imputed = function() assay_layer(assay, "data", name),
    ranges = function() slot_if_any(assay, "ranges", nrow(assay)),
    annotation = function() slot_if_any(assay, "annotation"),
    variable = function() as.character(variable_features(assay)),
    source = assay
  )
}

# A slot with a GRanges of ChromatinAssays; NULL where there is none, or none of each feature.
slot_if_any <- function(assay, slot, length = NULL) {
  if (!methods::.hasSlot(assay, slot)) {
    return(NULL)
  }
  ranges <- methods::slot(assay, slot)
  usable <- methods::is(ranges, "GRanges") && length(ranges) > 0
  if (usable && (is.null(length) || length(ranges) == length)) ranges
}

#' @export
cell_data.Seurat <- function(object, home = NULL) {
  data <- object[[]]
  # as in Seurat, whatever a column of this name holds
  data$ident <- unname(SeuratObject::Idents(object))
  data
}

#' @export
latent_of.Seurat <- function(object, reduction) SeuratObject::Embeddings(object[[reduction]])

#' @export
fits_of.Seurat <- function(object, keep = only_records) {
  reductions <- SeuratObject::Reductions(object)
  records <- lapply(stats::setNames(reductions, reductions), function(name) {
    SeuratObject::Misc(object[[name]])
  })
  keep(records)
}

#' @export
put_results.Seurat <- function(object, results) {
  for (name in results$dropped) object[[name]] <- NULL
  new <- results$reduction
  if (!is.null(new)) {
    colnames(new$values) <- paste0(new$key, seq_len(ncol(new$values)))
    object[[new$name]] <- SeuratObject::CreateDimReducObject(
      embeddings = new$values, key = new$key, global = TRUE, misc = new$misc,
      assay = if (is.null(new$made_from)) {
        assay_named(object, new$part)
      } else {
        SeuratObject::DefaultAssay(object[[new$made_from]])
      },
      stdev = if (is.null(new$made_from)) apply(new$values, 2, stats::sd) else numeric()
    )
  }
  if (!is.null(results$record)) {
    reduction <- object[[results$record$name]]
    methods::slot(reduction, "misc") <- results$record$value
    object[[results$record$name]] <- reduction
  }
  if (!is.null(results$columns)) object <- SeuratObject::AddMetaData(object, results$columns)
  for (one in results$imputed) {
    object <- put_assay(object, one$name, imputed_assay(one$values, one$source, one$key, one$mark))
  }
  if (!is.null(results$links)) object <- keep_links(object, results$links)
  if (!is.null(results$command)) {
    command <- results$command()
    used <- methods::slot(command, "assay.used")
    methods::slot(command, "assay.used") <- assay_named(object, used)
    object[[methods::slot(command, "name")]] <- command
  }
  object
}

# The assay that a part is, or the second of the two that make it (see with_levels()).
assay_named <- function(object, part) {
  if (part %in% SeuratObject::Assays(object)) part else layers_of_levels[2]
}

# ---- assays --------------------------------------------------------------------------------------

# Counts of an assay in all cells of the object, in its order. `mosaic`: TRUE, cells that the assay
# lacks have none; FALSE, they are refused with a word of it; NULL, without.
cells_of <- function(assay, object, name, mosaic = NULL) {
  counts <- assay_counts(assay)
  missing <- setdiff(colnames(object), colnames(counts))
  if (length(missing) > 0 && !isTRUE(mosaic)) {
    refuse_lacking_cells(
      name, missing, if (!is.null(mosaic)) ", or use all cells with mosaic = TRUE"
    )
  }
  cells_or_empty(counts, colnames(object))
}

refuse_lacking_cells <- function(name, missing, also = NULL) {
  refuse(
    "assay '", name, "' lacks ", count_of(length(missing), "cell"), " of the object (",
    some_names(missing), "): take subset(object, cells = colnames(object[[\"", name, "\"]]))",
    also, "."
  )
}

# Layers of an Assay5 that was made of the whole list of Read10X() are not cells but modalities, and
# cannot be joined.
refuse_layers_of_modalities <- function(assay, name) {
  layers <- layers_of_same_cells(assay)
  if (length(layers) > 0) {
    refuse(
      "assay '", name, "' holds several counts of the same cells (layers ",
      some_names(layers), "), as CreateSeuratObject() gives for the whole list of Read10X(): ",
      "make an assay of each element of the list."
    )
  }
}

# Values, features x cells of the object in its order, and whether they are imputed.
seurat_values <- function(object, name, layer, argument = "layer") {
  layer <- check_string(layer, argument, optional = TRUE)
  assay <- object[[name]]
  imputed <- is_imputed(object, name) && !is_measured_activity(assay_mark(assay))
  counted <- has_counts(assay) && !has_only_zeros(assay)
  if (is.null(layer)) layer <- if (imputed || !counted) "data" else "counts"
  values <- assay_layer(assay, layer, name)
  cells <- colnames(object)
  missing <- setdiff(cells, colnames(values))
  if (length(missing) > 0) refuse_lacking_cells(name, missing)
  if (!identical(cells, colnames(values))) values <- values[, cells, drop = FALSE]
  list(values = values, imputed = imputed && layer == "data", layer = layer)
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
    # merge() may make another key of the name: scMVP_RNA_ instead of scmvprna_
    key <- SeuratObject::Key(object[[name]])[[1]]
    !is.na(at) && tolower(key_for(key)) == names$assay_keys[[at]]
  }, logical(1)))
}

# ---- imputed assays ------------------------------------------------------------------------------

# What scMVP itself added says so in its misc slot.
mark_assay <- function(assay, mark) {
  misc <- methods::slot(assay, "misc")
  misc$scMVP <- mark
  misc$calcN <- FALSE
  methods::slot(assay, "misc") <- misc
  assay
}

assay_mark <- function(assay) methods::slot(assay, "misc")$scMVP

# A new assay of imputed values. `values`: dense, features x cells. `parent`: the assay they were
# imputed from; a ChromatinAssay passes on its ranges, annotation, motifs and counts.
imputed_assay <- function(values, parent, key, mark) {
  assay <- if (is_measured_activity(mark)) {
    plain_assay(values, counts = TRUE)
  } else if (!inherits(parent, "ChromatinAssay")) {
    plain_assay(values)
  } else if (all(rownames(values) %in% rownames(parent))) {
    same_peaks_assay(values, parent)
  } else {
    other_peaks_assay(values, parent)
  }
  SeuratObject::Key(assay) <- key
  mark_assay(assay, mark)
}

# `counts`: whether the values are counts, from which NormalizeData() makes the data.
plain_assay <- function(values, counts = FALSE) {
  # Assay5 would turn dense values into a sparse matrix, larger than the dense one; only it takes
  # values on disk
  spelled <- seurat_spelling(rownames(values))
  if (anyDuplicated(spelled)) {
    same <- spelled == spelled[anyDuplicated(spelled)]
    refuse(
      some_names(rownames(values)[same]), " are one name in a Seurat object, which turns '_' ",
      "and '|' into '-': rename one of them, or use as = \"matrix\"."
    )
  }
  with_renamed_features(if (inherits(values, "DelayedMatrix")) {
    from_v5("CreateAssay5Object")(data = values)
  } else if (counts) {
    SeuratObject::CreateAssayObject(counts = values)
  } else {
    SeuratObject::CreateAssayObject(data = values)
  })
}

# A ChromatinAssay with all that the parent knows of these peaks.
same_peaks_assay <- function(values, parent) {
  # in the parent's order: subset() of Signac 1 puts rows into another, but not their ranges
  assay <- subset(parent, features = intersect(rownames(parent), rownames(values)))
  lacking <- setdiff(colnames(values), colnames(assay))
  if (length(lacking) > 0) {
    message(
      "the measured peaks lack ", count_of(length(lacking), "cell"), " (", some_names(lacking),
      "), so the imputed assay has no counts"
    )
    methods::slot(assay, "counts") <- methods::new("matrix")
  }
  cells <- if (length(lacking) > 0) colnames(values) else colnames(assay)
  methods::slot(assay, "data") <- values[rownames(assay), cells, drop = FALSE]
  methods::slot(assay, "scale.data") <- methods::new("matrix")
  with_links_of(assay, parent)
}

# A ChromatinAssay of which the parent lacks some peaks, so that nobody knows their counts, motifs
# or metadata. Where a name is no range, which each peak of such an assay needs, a plain assay.
other_peaks_assay <- function(values, parent) {
  new <- setdiff(rownames(values), rownames(parent))
  ranges <- if (requireNamespace("Signac", quietly = TRUE)) ranges_of_names(rownames(values))
  message(
    count_of(length(new), "imputed peak"), " ", is_are(length(new)), " not among the measured ",
    "ones (", some_names(new), "), so the imputed assay has no counts, motifs or metadata of peaks",
    if (is.null(ranges)) ", nor ranges, annotation or fragments"
  )
  assay <- plain_assay(values)
  if (is.null(ranges)) {
    return(assay)
  }
  assay <- getExportedValue("Signac", "as.ChromatinAssay")(assay, ranges = ranges)
  for (slot in c("annotation", "fragments", "seqinfo", "bias", "positionEnrichment")) {
    methods::slot(assay, slot) <- methods::slot(parent, slot)
  }
  with_links_of(assay, parent)
}

# subset() of a ChromatinAssay drops its links: those of the peaks that are left stay.
with_links_of <- function(assay, parent) {
  methods::slot(assay, "links") <- links_among(methods::slot(parent, "links"), rownames(assay))
  assay
}

# Puts an imputed assay into the object, where an earlier one of the same name may have other
# features: meant here, but Seurat 5 warns of it.
put_assay <- function(object, name, assay) {
  withCallingHandlers(
    {
      object[[name]] <- assay
      object
    },
    warning = function(w) {
      if (grepl("existing assay", conditionMessage(w))) invokeRestart("muffleWarning")
    }
  )
}

# What LogSeuratCommand() records, without the names of thousands of features and without the whole
# object, which do.call() leaves in the call.
seurat_command <- function(verb, call, frame, reduction.name, assay) {
  skipped <- c(
    "object", "query", "model", "peaks", "...", "impute.peaks", "impute.genes", "rna.features",
    "peak.features"
  )
  call[[1]] <- as.name(verb)
  for (name in intersect(c("object", "query", "model"), names(call))) call[[name]] <- as.name(name)
  long <- vapply(as.list(call), function(x) utils::object.size(x) > 1000, logical(1))
  call[long] <- rep(list(quote(...)), sum(long))
  methods::new(
    methods::getClass("SeuratCommand", where = asNamespace("SeuratObject")),
    name = paste0(verb, ".", reduction.name),
    time.stamp = Sys.time(),
    assay.used = assay,
    call.string = paste(deparse(call), collapse = " "),
    params = mget(setdiff(names(formals(verb)), skipped), envir = frame)
  )
}
