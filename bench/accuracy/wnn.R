# Weighted nearest neighbours as in Seurat's vignette "Weighted Nearest Neighbor Analysis".
#
#   Rscript wnn.R FOLDER SEED
#
# FOLDER has rna.mtx and atac.mtx, counts, features x cells; it gets umap.csv (cells x 2) and
# wsnn.mtx (cells x cells). TF-IDF and SVD are those of Signac (RunTFIDF, RunSVD), written out
# because Signac need not be installed.

suppressPackageStartupMessages({
  library(Matrix)
  library(Seurat)
})

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

lsi <- function(counts, n) {
  tf <- counts %*% Diagonal(x = 1 / colSums(counts))
  tfidf <- Diagonal(x = ncol(counts) / rowSums(counts)) %*% tf
  tfidf@x <- log1p(tfidf@x * 1e4)
  embedding <- scale(irlba::irlba(t(tfidf), nv = n, work = 3 * n, tol = 1e-5)$u)
  rownames(embedding) <- colnames(counts)
  colnames(embedding) <- paste0("LSI_", seq_len(n))
  embedding
}

cells <- CreateSeuratObject(read_counts("rna.mtx", "gene"))
n_cells <- ncol(cells)
dims <- min(50, n_cells - 1)
cells <- NormalizeData(cells, verbose = FALSE)
cells <- FindVariableFeatures(cells, verbose = FALSE)
cells <- ScaleData(cells, verbose = FALSE)
cells <- RunPCA(cells, npcs = dims, seed.use = seed, verbose = FALSE)

peaks <- read_counts("atac.mtx", "peak")
cells[["ATAC"]] <- CreateAssayObject(peaks)
cells[["lsi"]] <- CreateDimReducObject(lsi(peaks, dims), key = "LSI_", assay = "ATAC")

# The first LSI component is depth.
cells <- FindMultiModalNeighbors(
  cells,
  reduction.list = list("pca", "lsi"),
  dims.list = list(seq_len(dims), 2:dims),
  knn.range = min(200, n_cells - 1),
  verbose = FALSE
)
cells <- RunUMAP(cells, nn.name = "weighted.nn", reduction.name = "wnn.umap",
                 reduction.key = "wnnUMAP_", seed.use = seed, verbose = FALSE)

write.csv(Embeddings(cells, "wnn.umap"), file.path(folder, "umap.csv"), row.names = FALSE)
invisible(writeMM(as(cells[["wsnn"]], "CsparseMatrix"), file.path(folder, "wsnn.mtx")))
