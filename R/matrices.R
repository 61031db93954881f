# Objects to sparse counts and back. The only file that knows Seurat v4 slots from v5 layers.
#
# v3/v4 assays (Assay, ChromatinAssay) are read and written by slot: accessors take slot= in one
# version of SeuratObject and layer= in another, and the wrong one silently returns other data.
# v5 assays (Assay5) are read and written by layer.

is_v5 <- function(assay) inherits(assay, "StdAssay")

# Functions that exist from SeuratObject 5 on.
from_v5 <- function(name) getExportedValue("SeuratObject", name)

# Layers of a v5 assay: the one of this name, or those that it is split into. Not Layers(search =),
# which warns where there is none.
layers_of <- function(assay, layer) {
  layers <- from_v5("Layers")(assay)
  if (layer %in% layers) layer else layers[startsWith(layers, paste0(layer, "."))]
}

# The values of a layer; those that it is split into are joined.
joined_layer <- function(assay, layer) {
  found <- layers_of(assay, layer)
  if (length(found) > 1) {
    # JoinLayers() takes all whose names begin so
    others <- setdiff(from_v5("Layers")(assay), found)
    for (other in others[startsWith(others, layer)]) {
      assay <- from_v5("LayerData<-")(assay, layer = other, value = NULL)
    }
    assay <- from_v5("JoinLayers")(assay, layers = layer)
    found <- layer
  }
  from_v5("LayerData")(assay, layer = found)
}

# Whether an assay holds counts at all (integrated and imputed ones do not).
has_counts <- function(assay) {
  if (is_v5(assay)) {
    return(length(layers_of(assay, "counts")) > 0)
  }
  all(dim(methods::slot(assay, "counts")) > 0)
}

# Whether a v3/v4 assay has counts, all of them 0.
has_only_zeros <- function(assay) {
  if (is_v5(assay) || !has_counts(assay)) {
    return(FALSE)
  }
  counts <- methods::slot(assay, "counts")
  stored <- if (inherits(counts, "dgCMatrix")) counts@x else counts
  length(stored) == 0 || (stored[1] == 0 && all(stored == 0))
}

# Layers of counts of which some hold the same cells; NULL where a cell is in one layer at most.
layers_of_same_cells <- function(assay) {
  if (!is_v5(assay)) {
    return(NULL)
  }
  layers <- layers_of(assay, "counts")
  cells <- lapply(layers, function(layer) SeuratObject::Cells(assay, layer = layer))
  if (anyDuplicated(unlist(cells))) layers
}

# Counts of an assay, features x cells, dgCMatrix.
assay_counts <- function(assay) {
  if (!is_v5(assay)) {
    return(as_dgc(methods::slot(assay, "counts")))
  }
  as_dgc(joined_layer(assay, "counts"))
}

refuse_text <- function(x) {
  if (is.matrix(x) && !is.numeric(x) && !is.logical(x)) {
    refuse(
      "a matrix holds text (such as ", some_names(x[which(!is.na(x))[1]]), ") where numbers are ",
      "needed: leave out columns of names."
    )
  }
}

# A data frame whose rows have numbers instead of names, as a tibble's always have.
is_without_row_names <- function(x) is.data.frame(x) && .row_names_info(x) < 0

names_of_rows <- function(x) if (!is_without_row_names(x)) rownames(x)

refuse_names_in_column <- function(x, where) {
  if (!is_without_row_names(x)) {
    return(invisible())
  }
  text <- names(x)[vapply(x, function(column) is.character(column) || is.factor(column), NA)]
  if (length(text) > 0) {
    refuse(
      where, " has no row names but a column of text, '", text[1], "': take it as the row names, ",
      "with data.frame(x, row.names = \"", text[1], "\", check.names = FALSE)."
    )
  }
}

# Any matrix R knows (dense, sparse of another kind, on disk) as dgCMatrix.
as_dgc <- function(x) {
  if (inherits(x, "dgCMatrix")) {
    return(x)
  }
  if (is.data.frame(x)) {
    refuse_names_in_column(x, "a data frame")
    x <- as.matrix(x)
  }
  refuse_text(x)
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
    are_ranges(assay_features(assay))
}

# By slot, as generics need the package of the class (Signac), and a ChromatinAssay is to be read
# without it.
assay_features <- function(assay) {
  if (is_v5(assay)) {
    return(rownames(assay))
  }
  features <- rownames(methods::slot(assay, "counts"))
  if (length(features) > 0) features else rownames(methods::slot(assay, "data"))
}

# Metadata of the features, one row each.
feature_table <- function(assay) {
  table <- methods::slot(assay, if (is_v5(assay)) "meta.data" else "meta.features")
  # a v5 assay keeps the rows of it without names
  if (is_v5(assay)) rownames(table) <- rownames(assay)
  table
}

variable_features <- function(assay) {
  if (is_v5(assay)) SeuratObject::VariableFeatures(assay) else methods::slot(assay, "var.features")
}

# Names of the layers with values; those that are split by sample have one name.
assay_layers <- function(assay) {
  if (is_v5(assay)) {
    return(whole_layers(from_v5("Layers")(assay)))
  }
  Filter(function(slot) {
    all(dim(methods::slot(assay, slot)) > 0)
  }, c("counts", "data", "scale.data"))
}

# Names of layers, of which those split by sample (counts.1, counts.2) have one. Others may have a
# point in their name.
whole_layers <- function(names) unique(sub("^(counts|data|scale[.]data)[.].*$", "\\1", names))

# ---- paired cells as Seurat object ---------------------------------------------------------------

# A new assay of the kind this Seurat makes by default. `version5`: whether it may be of Seurat 5.
new_assay <- function(counts, version5 = TRUE) {
  by_default <- utils::packageVersion("SeuratObject") >= "5.0.0" &&
    identical(getOption("Seurat.object.assay.version", "v5"), "v5")
  if (version5 && by_default) {
    from_v5("CreateAssay5Object")(counts = counts)
  } else {
    SeuratObject::CreateAssayObject(counts = counts)
  }
}

# Cells as Seurat object with an assay for each modality (RNA, ATAC, ADT), for methylation with two;
# cells that have no counts of one have none in its assay.
seurat_of <- function(paired) {
  kinds <- all_kinds[of_kind(all_kinds, "core") %in% names(paired)]
  levels <- intersect(layers_of_levels, names(paired))
  parts <- paired[c(of_kind(kinds, "core"), levels)]
  names <- unique(unlist(lapply(parts, function(part) colnames(part$counts))))
  titles <- c(of_kind(kinds, "assay"), levels)
  assays <- Map(function(part, title) {
    part$counts <- cells_or_empty(part$counts, names)
    assay_of(part, paste0(tolower(title), "_"))
  }, parts, titles)
  cells <- paired$cells
  object <- SeuratObject::CreateSeuratObject(assays[[1]], assay = titles[1], project = "scMVP")
  for (i in seq_along(titles)[-1]) object[[titles[i]]] <- assays[[i]]
  # ':' is for Python; Seurat warns of it
  names(cells) <- make.unique(sub("^(atac|protein|methylation):", "\\1_", names(cells)))
  # what Seurat counts itself (nCount_RNA, ...) stays: it is of these counts
  counted <- setdiff(names(object[[]]), "orig.ident")
  cells <- cells[colnames(object), setdiff(names(cells), counted), drop = FALSE]
  object <- with_cell_columns(object, cells)
  if ("orig.ident" %in% names(cells) && !anyNA(cells$orig.ident)) {
    SeuratObject::Idents(object) <- "orig.ident"
  }
  object
}

# A Seurat object with columns of a data frame as metadata of its cells, under their names:
# AddMetaData() makes 'leiden 1' and 'leiden-1' the column 'leiden.1'.
with_cell_columns <- function(object, table) {
  columns <- attr(object, "meta.data")
  columns[names(table)] <- table[match(rownames(columns), rownames(table)), , drop = FALSE]
  attr(object, "meta.data") <- columns
  object
}

# Seurat warns separately about each character that it replaces in feature names; the function that
# creates an assay reports this in one sentence instead.
with_renamed_features <- function(expr) {
  withCallingHandlers(expr, warning = function(w) {
    if (grepl("Feature names cannot have", conditionMessage(w))) invokeRestart("muffleWarning")
  })
}

# Names of features as Seurat has them. Where two become one name, one that had it before keeps it.
seurat_names <- function(names) {
  spelled <- seurat_spelling(names)
  first <- order(spelled != names)
  spelled[first] <- make.unique(spelled[first])
  spelled
}

assay_of <- function(modality, key) {
  counts <- modality$counts
  features <- modality$features
  renamed <- grep("[_|]", rownames(counts))
  if (length(renamed) > 0) {
    message(
      "Seurat does not allow '_' or '|' in feature names: ", count_of(length(renamed), "name"),
      " changed to '-' (first: '", rownames(counts)[renamed[1]], "')"
    )
    rownames(counts) <- seurat_names(rownames(counts))
  }
  assay <- new_assay(counts)
  rownames(features) <- rownames(assay)
  if (ncol(features) > 0) assay <- SeuratObject::AddMetaData(assay, features)
  SeuratObject::Key(assay) <- key
  assay
}

# One layer of an assay, features x cells, as it is stored ("counts" or "data" for a v3/v4 assay);
# those of a split assay are joined.
assay_layer <- function(assay, layer, name) {
  if (layer == "counts" && has_counts(assay)) {
    return(assay_counts(assay))
  }
  found <- if (is_v5(assay)) layers_of(assay, layer)
  if (!layer %in% c(found, assay_layers(assay))) {
    available <- assay_layers(assay)
    refuse(
      "assay '", name, "' has no layer '", layer, "' with values; it has ",
      if (length(available) > 0) paste(available, collapse = ", ") else "none", "."
    )
  }
  if (!is_v5(assay)) {
    return(methods::slot(assay, layer))
  }
  joined_layer(assay, layer)
}
