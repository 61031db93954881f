# Says in what an object that has been to Python differs from the one it was read from:
#   Rscript r_compare.R BEFORE.rds AFTER.rds same     written anew: data, metadata, reductions
#   Rscript r_compare.R BEFORE.rds AFTER.rds added    results were added: all of it, bit for bit
# and, of what was added, the imputed values of features of an assay in the second cell:
#   Rscript r_compare.R BEFORE.rds AFTER.rds added ASSAY FEATURE...
arguments <- commandArgs(TRUE)
before <- readRDS(arguments[1])
after <- readRDS(arguments[2])
seurat <- inherits(before, "Seurat")
suppressMessages({
  library(Matrix)
  if (seurat) {
    library(SeuratObject)
    requireNamespace("Signac", quietly = TRUE)
    Assays <- SeuratObject::Assays # SummarizedExperiment, if attached, has another
  } else {
    library(SingleCellExperiment) # takes seconds
  }
})
invisible(methods::validObject(after))
expect <- function(what, x, y) {
  if (!identical(x, y)) cat(what, ": ", paste(all.equal(x, y), collapse = "; "), "\n", sep = "")
}
bare <- function(x) list(x@i, x@p, x@x, dim(x), dimnames(x))
is_v5 <- function(x) inherits(x, "StdAssay")
layer <- function(assay, name) {
  if (!is_v5(assay)) return(methods::slot(assay, name))
  if (length(Layers(assay, search = name)) > 1) assay <- JoinLayers(assay, layers = name)
  suppressWarnings(LayerData(assay, layer = name))
}

seurat_same <- function() {
  expect("assays", Assays(before), Assays(after))
  for (name in Assays(before)) {
    old <- before@assays[[name]]
    new <- after@assays[[name]]
    layers <- if (is_v5(old)) unique(sub("[.].*", "", Layers(old))) else c("counts", "data")
    for (one in layers) expect(paste(name, one), bare(layer(old, one)), bare(layer(new, one)))
    expect(paste(name, "variable features"), VariableFeatures(old), VariableFeatures(new))
    features <- function(x) {
      x <- if (is_v5(x)) x@meta.data else x@meta.features
      x[setdiff(names(x), grep("^(vf_|var.features)", names(x), value = TRUE))]
    }
    expect(paste(name, "feature metadata"), as.list(features(old)), as.list(features(new)))
    expect(paste(name, "key"), Key(old), Key(new))
    if (inherits(old, "ChromatinAssay")) {
      expect("class", class(old), class(new))
      expect("ranges", old@ranges, new@ranges)
    }
  }
  expect("metadata", before@meta.data, after@meta.data)
  expect("identities", Idents(before), Idents(after))
  reductions()
}

reductions <- function() {
  for (name in Reductions(before)) {
    for (slot in c("cell.embeddings", "feature.loadings", "stdev", "key", "assay.used", "global")) {
      expect(
        paste(name, slot), methods::slot(before[[name]], slot), methods::slot(after[[name]], slot)
      )
    }
  }
}

experiment_same <- function(old, new, alternative = FALSE) {
  expect("assays", assayNames(old), assayNames(new))
  for (one in assayNames(old)) expect(one, bare(assay(old, one)), bare(assay(new, one)))
  expect("rowData", rowData(old), rowData(new))
  expect("rowRanges", rowRanges(old), rowRanges(new))
  if (alternative) return(invisible())
  expect("colData", colData(old), colData(new))
  expect("reductions", reducedDims(old), reducedDims(new))
  expect("names", c(mainExpName(old), altExpNames(old)), c(mainExpName(new), altExpNames(new)))
  for (one in altExpNames(old)) experiment_same(altExp(old, one), altExp(new, one), TRUE)
}

seurat_added <- function() {
  for (name in Assays(before)) expect(name, before@assays[[name]], after@assays[[name]])
  expect("metadata", before@meta.data, after@meta.data[names(before@meta.data)])
  for (name in Reductions(before)) expect(name, before[[name]], after[[name]])
  for (slot in c("active.assay", "active.ident", "graphs", "images", "misc", "tools", "commands")) {
    expect(slot, methods::slot(before, slot), methods::slot(after, slot))
  }
}

experiment_added <- function() {
  expect("colData", colData(before), colData(after)[names(colData(before))])
  reducedDims(after) <- reducedDims(after)[reducedDimNames(before)]
  altExps(after) <- altExps(after)[altExpNames(before)]
  colData(after) <- colData(after)[names(colData(before))]
  expect("experiment", before, after)
}

switch(arguments[3],
  same = if (seurat) seurat_same() else experiment_same(before, after),
  added = if (seurat) seurat_added() else experiment_added()
)
features <- arguments[-(1:4)]
if (length(features) > 0) {
  name <- paste0("scMVP_", arguments[4])
  imputed <- if (seurat) attr(after@assays[[name]], "data") else logcounts(altExp(after, name))
  cat(as.matrix(imputed)[features, 2])
}
