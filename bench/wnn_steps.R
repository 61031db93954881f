# The steps of Seurat's vignette "Weighted Nearest Neighbor Analysis", for the comparisons.

# LSI as Signac has it (RunTFIDF, FindTopFeatures, RunSVD), which need not be installed: written out
# where it is not.
lsi_of <- function(counts, n) {
  if (requireNamespace("Signac", quietly = TRUE)) {
    tfidf <- Signac::RunTFIDF(counts, verbose = FALSE)
    return(Seurat::Embeddings(Signac::RunSVD(tfidf, n = n, assay = "ATAC", verbose = FALSE)))
  }
  tf <- counts %*% Matrix::Diagonal(x = 1 / Matrix::colSums(counts))
  tfidf <- Matrix::Diagonal(x = ncol(counts) / Matrix::rowSums(counts)) %*% tf
  tfidf@x <- log1p(tfidf@x * 1e4)
  embedding <- scale(irlba::irlba(Matrix::t(tfidf), nv = n, work = 3 * n, tol = 1e-5)$u)
  rownames(embedding) <- colnames(counts)
  embedding
}

# A Seurat object of two matrices, features x cells, with the graphs of weighted neighbors.
wnn_of <- function(rna, peaks, seed) {
  n_cells <- ncol(rna)
  dims <- min(50, n_cells - 1)
  cells <- Seurat::CreateSeuratObject(rna)
  cells <- Seurat::NormalizeData(cells, verbose = FALSE)
  cells <- Seurat::FindVariableFeatures(cells, verbose = FALSE)
  cells <- Seurat::ScaleData(cells, verbose = FALSE)
  cells <- Seurat::RunPCA(cells, npcs = dims, seed.use = seed, verbose = FALSE)
  cells[["ATAC"]] <- Seurat::CreateAssayObject(peaks)
  lsi <- lsi_of(peaks, dims)
  colnames(lsi) <- paste0("LSI_", seq_len(dims))
  cells[["lsi"]] <- Seurat::CreateDimReducObject(lsi, key = "LSI_", assay = "ATAC")
  Seurat::FindMultiModalNeighbors(
    cells,
    reduction.list = list("pca", "lsi"),
    dims.list = list(seq_len(dims), 2:dims), # the first component of LSI is depth
    knn.range = min(200, n_cells - 1),
    verbose = FALSE
  )
}
