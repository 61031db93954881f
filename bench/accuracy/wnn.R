# Weighted nearest neighbours as in Seurat's vignette "Weighted Nearest Neighbor Analysis".
#
#   Rscript wnn.R FOLDER SEED
#
# FOLDER has rna.mtx and atac.mtx, counts, features x cells; it gets umap.csv (cells x 2) and
# wsnn.mtx (cells x cells).

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
source(file.path(here, "..", "wnn_steps.R"))

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
seed <- as.integer(arguments[2])
set.seed(seed)

read_counts <- function(name, prefix) {
  counts <- as(readMM(file.path(folder, name)), "CsparseMatrix")
  dimnames(counts) <- list(
    paste0(prefix, seq_len(nrow(counts))),
    paste0("cell", seq_len(ncol(counts)))
  )
  counts
}

cells <- wnn_of(read_counts("rna.mtx", "gene"), read_counts("atac.mtx", "peak"), seed)
cells <- RunUMAP(cells, nn.name = "weighted.nn", reduction.name = "wnn.umap",
                 reduction.key = "wnnUMAP_", seed.use = seed, verbose = FALSE)

write.csv(Embeddings(cells, "wnn.umap"), file.path(folder, "umap.csv"), row.names = FALSE)
invisible(writeMM(as(cells[["wsnn"]], "CsparseMatrix"), file.path(folder, "wsnn.mtx")))
