# Objects to sparse counts and back. The only file that knows Seurat v4 slots from v5 layers.
#
# v3/v4 assays (Assay, ChromatinAssay) are read and written by slot: accessors take slot= in one
# version of SeuratObject and layer= in another, and the wrong one silently returns other data.
# v5 assays (Assay5) are read and written by layer.

is_v5 <- function(assay) inherits(assay, "StdAssay")

# Functions that exist from SeuratObject 5 on.
from_v5 <- function(name) getExportedValue("SeuratObject", name)

# Whether an assay holds counts at all (integrated and imputed ones do not).
has_counts <- function(assay) {
  if (is_v5(assay)) {
    return(length(from_v5("Layers")(assay, search = "counts")) > 0)
  }
  all(dim(methods::slot(assay, "counts")) > 0)
}

# Layers of counts of which some hold the same cells; NULL where a cell is in one layer at most.
layers_of_same_cells <- function(assay) {
  if (!is_v5(assay)) {
    return(NULL)
  }
  layers <- from_v5("Layers")(assay, search = "counts")
  cells <- lapply(layers, function(layer) SeuratObject::Cells(assay, layer = layer))
  if (anyDuplicated(unlist(cells))) layers
}

# Counts of an assay, features x cells, dgCMatrix.
assay_counts <- function(assay) {
  if (!is_v5(assay)) {
    return(as_dgc(methods::slot(assay, "counts")))
  }
  if (length(from_v5("Layers")(assay, search = "counts")) > 1) {
    assay <- from_v5("JoinLayers")(assay, layers = "counts")
  }
  as_dgc(from_v5("LayerData")(assay, layer = "counts"))
}

# Any matrix R knows (dense, sparse of another kind, on disk) as dgCMatrix.
as_dgc <- function(x) {
  if (inherits(x, "dgCMatrix")) {
    return(x)
  }
  if (is.data.frame(x)) x <- as.matrix(x)
  # base matrices and Matrix classes go one step at a time; others (on disk) know dgCMatrix only
  if (is.matrix(x) || methods::is(x, "Matrix")) {
    x <- methods::as(x, "CsparseMatrix")
    x <- methods::as(methods::as(x, "dMatrix"), "generalMatrix")
    return(x)
  }
  if (inherits(x, "DelayedMatrix")) {
    return(delayed_to_dgc(x))
  }
  methods::as(x, "dgCMatrix")
}

# A delayed matrix, some columns at a time: as() would make a dense matrix of the whole of one that
# is dense on disk. `block`: values held at a time.
delayed_to_dgc <- function(x, block = 2^24) {
  check_installed("DelayedArray", "a DelayedMatrix of counts")
  sparse <- bioc("DelayedArray", "is_sparse")(x)
  width <- max(1, block %/% max(1, nrow(x)))
  parts <- lapply(seq(1, max(1, ncol(x)), by = width), function(first) {
    part <- x[, first:min(ncol(x), first + width - 1), drop = FALSE]
    if (sparse) methods::as(part, "dgCMatrix") else as_dgc(as.matrix(part))
  })
  do.call(cbind, parts)
}

is_matrix_like <- function(x) {
  is.matrix(x) || is.data.frame(x) || methods::is(x, "Matrix") ||
    inherits(x, c("IterableMatrix", "DelayedMatrix"))
}

is_peak_assay <- function(assay) {
  inherits(assay, c("ChromatinAssay", "ChromatinAssay5", "GRangesAssay")) ||
    are_ranges(rownames(assay))
}

# ---- to Python -----------------------------------------------------------------------------------

# (data, indices, indptr) of the cells x features CSR, which are x, i and p of the features x cells
# dgCMatrix. as.array(): a plain vector would arrive as a list of boxed numbers.
csr_parts <- function(x) {
  reticulate::tuple(as.array(x@x), as.array(x@i), as.array(x@p))
}

to_mudata <- function(rna, peaks, batch = NULL) {
  from_core(core("data.joining")$from_parts(
    rna = csr_parts(rna), atac = csr_parts(peaks), cells = as.array(colnames(rna)),
    genes = as.array(rownames(rna)), peaks = as.array(rownames(peaks)),
    obs = if (!is.null(batch)) lapply(batch, as.array)
  ))
}

# ---- from Python ---------------------------------------------------------------------------------

# One modality of a MuData as features x cells dgCMatrix.
modality_counts <- function(adata) {
  csr <- core("data.matrices")$entries_once(adata$X)
  vector_of <- function(x) as.vector(reticulate::py_to_r(x))
  features <- py_strings(adata$var_names)
  cells <- py_strings(adata$obs_names)
  methods::new(
    "dgCMatrix",
    x = as.numeric(vector_of(csr$data)),
    i = as.integer(vector_of(csr$indices)),
    p = as.integer(vector_of(csr$indptr)),
    Dim = c(length(features), length(cells)),
    Dimnames = list(features, cells)
  )
}

py_strings <- function(x) as.character(unlist(reticulate::py_to_r(x$tolist())))

# A pandas DataFrame column by column: what reticulate makes of one depends on the versions of both,
# and what a process writes of it has to be the same.
data_frame_of <- function(frame) {
  columns <- reticulate::py_to_r(core("r.tables")$table_columns(frame))
  table <- data.frame(row.names = py_strings(frame$index$astype("str")))
  for (name in names(columns)) table[[name]] <- column_of(columns[[name]])
  table
}

# A column of the core's plain columns: list of kind, values, and levels of a factor.
column_of <- function(column) {
  values <- lapply(column$values, function(value) if (is.null(value)) NA else value)
  values <- unlist(values)
  switch(column$kind,
    factor = {
      levels <- as.character(unlist(column$levels))
      factor(levels[as.integer(values) + 1L], levels = levels)
    },
    logical = as.logical(values),
    number = {
      values <- as.numeric(values)
      values[is.na(values)] <- NaN
      values
    },
    as.character(values)
  )
}

# A new assay of the kind this Seurat makes by default.
new_assay <- function(counts) {
  version5 <- utils::packageVersion("SeuratObject") >= "5.0.0" &&
    identical(getOption("Seurat.object.assay.version", "v5"), "v5")
  if (version5) {
    from_v5("CreateAssay5Object")(counts = counts)
  } else {
    SeuratObject::CreateAssayObject(counts = counts)
  }
}

# A MuData of paired cells in R: for each modality counts (features x cells) and a data frame of the
# features, and a data frame of the cells.
paired_of <- function(mdata) {
  modality <- function(name) {
    adata <- mdata$mod$`__getitem__`(name)
    list(counts = modality_counts(adata), features = data_frame_of(adata$var))
  }
  list(rna = modality("rna"), atac = modality("atac"), cells = data_frame_of(mdata$obs))
}

# What simulate() knows of its cells: links, and the profile of each type.
truth_of <- function(mdata) {
  types <- py_strings(mdata$uns$`__getitem__`("types"))
  profiles <- lapply(c(rna = "rna", atac = "atac"), function(modality) {
    adata <- mdata$mod$`__getitem__`(modality)
    profile <- reticulate::py_to_r(adata$varm$`__getitem__`("true_profile"))
    dimnames(profile) <- list(py_strings(adata$var_names), types)
    profile
  })
  c(list(links = data_frame_of(mdata$uns$`__getitem__`("links"))), profiles)
}

# Paired cells as Seurat object with assays RNA and ATAC; cells of one modality have no counts in
# the other.
seurat_of <- function(paired) {
  names <- union(colnames(paired$rna$counts), colnames(paired$atac$counts))
  assays <- Map(function(modality, key) {
    modality$counts <- cells_or_empty(modality$counts, names)
    assay_of(modality, key)
  }, paired[c("rna", "atac")], c("rna_", "atac_"))
  cells <- paired$cells
  object <- SeuratObject::CreateSeuratObject(assays$rna, assay = "RNA", project = "scMVP")
  object[["ATAC"]] <- assays$atac
  # ':' is for Python; Seurat warns of it
  names(cells) <- make.unique(sub("^atac:", "atac_", names(cells)))
  # what Seurat counts itself (nCount_RNA, ...) stays: it is of these counts
  counted <- setdiff(names(object[[]]), "orig.ident")
  cells <- cells[colnames(object), setdiff(names(cells), counted), drop = FALSE]
  if (ncol(cells) > 0) object <- SeuratObject::AddMetaData(object, cells)
  if ("orig.ident" %in% names(cells) && !anyNA(cells$orig.ident)) {
    SeuratObject::Idents(object) <- "orig.ident"
  }
  object
}

assay_of <- function(modality, key) {
  counts <- modality$counts
  features <- modality$features
  renamed <- grep("[_|]", rownames(counts))
  # Seurat warns about each of the two characters; one sentence with the number is said instead
  assay <- withCallingHandlers(
    new_assay(counts),
    warning = function(w) {
      if (grepl("Feature names cannot have", conditionMessage(w))) invokeRestart("muffleWarning")
    }
  )
  if (length(renamed) > 0) {
    message(
      "Seurat does not allow '_' or '|' in feature names: ", count_of(length(renamed), "name"),
      " changed to '-' (first: '", rownames(counts)[renamed[1]], "')"
    )
  }
  rownames(features) <- rownames(assay)
  if (ncol(features) > 0) assay <- SeuratObject::AddMetaData(assay, features)
  SeuratObject::Key(assay) <- key
  assay
}

# One layer of an assay, features x cells, as it is stored ("counts" or "data" for a v3/v4 assay).
assay_layer <- function(assay, layer, name) {
  if (layer == "counts" && has_counts(assay)) {
    return(assay_counts(assay))
  }
  available <- if (is_v5(assay)) {
    from_v5("Layers")(assay)
  } else {
    Filter(function(slot) all(dim(methods::slot(assay, slot)) > 0), c("counts", "data"))
  }
  if (!layer %in% available) {
    refuse(
      "assay '", name, "' has no layer '", layer, "' with values; it has ",
      if (length(available) > 0) paste(available, collapse = ", ") else "none", "."
    )
  }
  if (is_v5(assay)) from_v5("LayerData")(assay, layer = layer) else methods::slot(assay, layer)
}
