# Objects of every kind that scmvp.read_rds takes, written into the folder given as argument, with
# what they hold beside them. Each kind whose package is missing is left out; the names of those
# written are printed.
suppressMessages({
  library(SeuratObject)
  library(Matrix)
})
setwd(commandArgs(TRUE)[1])
set.seed(1)

counts <- function(names, cells) {
  x <- rsparsematrix(length(names), length(cells), 0.3, rand.x = function(n) rpois(n, 2) + 1)
  dimnames(x) <- list(names, cells)
  x
}
cells <- paste0("cell", 1:30)
genes <- paste0("Gene", 1:50)
ranges <- paste0("chr", rep(1:2, each = 40), "-", 1:80 * 1000, "-", 1:80 * 1000 + 500)
rna <- counts(genes, cells)
peaks <- counts(ranges, cells)
data <- rna
data@x <- log1p(data@x * 1.1)
invisible(writeMM(rna, "rna.mtx"))
invisible(writeMM(peaks, "atac.mtx"))

columns <- data.frame(
  type = factor(rep(c("A", "B", NA), 10), levels = c("C", "B", "A")),
  stage = factor(rep(c("late", "early", "mid"), 10), c("early", "mid", "late"), ordered = TRUE),
  good = rep(c(TRUE, FALSE, NA), 10), all_good = TRUE,
  sample = rep(c("s1", NA, "s\u00e93"), 10), age = c(NA, 2:30), score = c(NA, seq(0.1, 2.9, 0.1)),
  row.names = cells
)
pca <- matrix(rnorm(30 * 3), 30, dimnames = list(cells, paste0("PC_", 1:3)))
loadings <- matrix(rnorm(20 * 3), 20, dimnames = list(genes[20:1], paste0("PC_", 1:3)))
written <- character()
keep <- function(object, name) {
  saveRDS(object, paste0(name, ".rds"))
  written <<- c(written, name)
}

seurat <- function(rna_assay, peak_assay) {
  object <- suppressWarnings(CreateSeuratObject(rna_assay))
  object[["peaks"]] <- peak_assay
  object <- AddMetaData(object, columns)
  object[["pca"]] <- CreateDimReducObject(
    pca, loadings, stdev = c(3, 2, 1), key = "PC_", assay = "RNA"
  )
  object[["umap"]] <- CreateDimReducObject(
    unname(pca[, 1:2]) |> `dimnames<-`(list(cells, paste0("UMAP_", 1:2))), key = "UMAP_",
    assay = "RNA", global = TRUE
  )
  Idents(object) <- factor(rep(c("x", "y"), 15), levels = c("y", "x"))
  object
}
with_features <- function(assay) {
  assay <- AddMetaData(assay, data.frame(gc = seq_len(50) / 50, row.names = genes))
  VariableFeatures(assay) <- genes[c(7, 3, 11)]
  assay
}

v3 <- with_features(CreateAssayObject(counts = rna))
v3@data <- data
keep(seurat(v3, CreateAssayObject(counts = peaks)), "v3")

# 2^40 + 1, -5 and NA of the package bit64, which may be missing: two integers in each double
halves <- rep(c(1L, 256L, -5L, -1L, 0L, NA), 10)
other <- CreateSeuratObject(v3)
other@meta.data$id <- structure(
  readBin(writeBin(halves, raw(), endian = "little"), "double", 30, endian = "little"),
  class = "integer64"
)
other@meta.data$day <- as.Date("2024-02-28") + 1:30
other@meta.data$time <- as.POSIXct("2024-01-01 23:59:59.25", tz = "Etc/GMT+5") + 0:29
other@meta.data$small <- 1:30 * 1e-9
other@meta.data$type <- columns$type
saveRDS(other, "classes.rds")

adt <- counts(paste0("CD", 1:8), cells)
invisible(writeMM(adt, "protein.mtx"))
three <- seurat(v3, CreateAssayObject(counts = peaks))
three[["Prot"]] <- CreateAssayObject(counts = adt)
keep(three, "v3_proteins")
three[["peaks"]] <- NULL
keep(three, "citeseq")

two <- CreateSeuratObject(v3)
two[["peaks"]] <- CreateAssayObject(counts = peaks)
two[["again"]] <- CreateAssayObject(counts = rna)
saveRDS(two, "two.rds")
two[["again"]] <- NULL
two[["peaks"]] <- NULL
saveRDS(two, "no_peaks.rds")
two[["peaks"]] <- CreateAssayObject(data = as.matrix(two[["RNA"]]@counts) / 2)
DefaultAssay(two) <- "peaks"
two[["RNA"]] <- NULL
saveRDS(two, "none.rds")
saveRDS(1:3, "numbers.rds")

if (packageVersion("SeuratObject") >= "5.0.0") {
  v5 <- with_features(CreateAssay5Object(counts = rna, data = data))
  keep(seurat(v5, CreateAssay5Object(counts = peaks)), "v5")
  v5 <- split(v5, f = rep(c("a", "b"), each = 15), layers = c("counts", "data"))
  keep(seurat(v5, CreateAssay5Object(counts = peaks)), "v5_split")
}
if (requireNamespace("Signac", quietly = TRUE)) {
  chromatin <- Signac::CreateChromatinAssay(
    counts = peaks, ranges = Signac::StringToGRanges(ranges), genome = NULL
  )
  keep(seurat(v3, chromatin), "chromatin")
}
if (requireNamespace("SingleCellExperiment", quietly = TRUE)) {
  suppressMessages(library(SingleCellExperiment))
  parts <- GenomicRanges::GRanges(
    rep(c("chr1", "chr2"), each = 40), IRanges::IRanges(1:80 * 1000, 1:80 * 1000 + 500),
    width_class = rep(c("a", "b"), 40)
  )
  names(parts) <- ranges
  pca <- structure(pca, rotation = loadings, percentVar = c(30, 20, 10))
  sce <- SingleCellExperiment(
    list(counts = rna, logcounts = data), colData = columns, reducedDims = list(PCA = pca),
    mainExpName = "genes"
  )
  rowRanges(sce) <- GenomicRanges::GRanges(
    "chr1", IRanges::IRanges(1:50 * 900, width = 1:50 * 7), rep(c("+", "-"), 25),
    gc = seq_len(50) / 50
  ) |> `names<-`(genes)
  altExp(sce, "open") <- SingleCellExperiment(list(counts = peaks), rowRanges = parts)
  keep(sce, "sce")
  altExp(sce, "again") <- altExp(sce, "open")
  saveRDS(sce, "peaks_twice.rds")
  altExp(sce, "again") <- NULL
  altExp(sce, "ADT") <- SingleCellExperiment(list(counts = adt))
  keep(sce, "sce_proteins")
  altExp(sce, "ADT") <- NULL
  if (requireNamespace("MultiAssayExperiment", quietly = TRUE)) {
    open <- altExp(sce, "open")[, 30:1]
    colnames(open) <- paste0("atac_", colnames(open))
    altExps(sce) <- NULL
    map <- data.frame(
      assay = factor(rep(c("genes", "open"), each = 30)), primary = c(cells, rev(cells)),
      colname = c(cells, colnames(open))
    )
    keep(MultiAssayExperiment::MultiAssayExperiment(
      list(genes = sce, open = open), colData = S4Vectors::DataFrame(columns["sample"]),
      sampleMap = map
    ), "mae")
  }
}
cat(written, sep = "\n")
