# Label transfer as in Seurat's vignette "Mapping and annotating query datasets".
#
#   Rscript transfer.R FOLDER SEED
#
# FOLDER has reference.mtx and query.mtx, RNA counts, features x cells, and labels.csv, one label of
# the reference per line; it gets predicted.csv (label, score, mapping: MappingScore()).

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
set.seed(as.integer(arguments[2]))

read_object <- function(name) {
  counts <- as(readMM(file.path(folder, paste0(name, ".mtx"))), "CsparseMatrix")
  dimnames(counts) <- list(
    paste0("gene", seq_len(nrow(counts))), paste0(name, seq_len(ncol(counts)))
  )
  NormalizeData(CreateSeuratObject(counts), verbose = FALSE)
}

reference <- read_object("reference")
reference$label <- readLines(file.path(folder, "labels.csv"))
reference <- FindVariableFeatures(reference, verbose = FALSE)
reference <- ScaleData(reference, verbose = FALSE)
reference <- RunPCA(reference, verbose = FALSE)
query <- read_object("query")
anchors <- FindTransferAnchors(
  reference, query,
  dims = 1:30, reference.reduction = "pca", verbose = FALSE
)
found <- TransferData(anchors, refdata = reference$label, dims = 1:30, verbose = FALSE)
write.csv(
  data.frame(
    label = found$predicted.id, score = found$prediction.score.max,
    mapping = MappingScore(anchors, ndim = 30, verbose = FALSE)[colnames(query)]
  ),
  file.path(folder, "predicted.csv"),
  row.names = FALSE
)
