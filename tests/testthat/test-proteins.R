# Three types, and proteins of which each has four, above a background.
cells_with_proteins <- function() {
  object <- SimulateSCMVP(
    n.cells = 150, n.genes = 150, n.peaks = 250, n.types = 3, seed = 1
  )
  kind <- as.integer(factor(object$cell_type))
  set.seed(1)
  on <- outer(seq_len(12) %% 3 + 1, kind, "==")
  counts <- matrix(stats::rpois(12 * 150, 5 + 80 * on), 12)
  dimnames(counts) <- list(paste0("CD", seq_len(12)), colnames(object))
  # in another order: cells go by name
  list(object = object, counts = counts[, rev(colnames(object))], on = on)
}

test_that("proteins of a Seurat object are a third modality, imputed without background", {
  skip_without_core()
  given <- cells_with_proteins()
  object <- given$object
  object[["ADT"]] <- SeuratObject::CreateAssayObject(given$counts[, colnames(object)])
  said <- capture.output(
    object <- RunSCMVP(
      object,
      protein.assay = "ADT", n.clusters = 3, max.epochs = 12, impute = "none",
      impute.proteins = TRUE
    ),
    type = "message"
  )
  expect_match(said, "protein assay 'ADT' \\(12 proteins\\)", all = FALSE)
  expect_match(said, "12 of 12 proteins, without their background", all = FALSE)
  values <- layer_data(object, "scMVP_ADT", "data")
  expect_identical(dimnames(values), list(paste0("CD", 1:12), colnames(object)))
  expect_gt(stats::median(expm1(values)[given$on]), 10 * stats::median(expm1(values)[!given$on]))
  again <- ImputeSCMVP(object, "protein", features = c("CD3", "CD1"), as = "matrix")
  expect_equal(again, values[c("CD3", "CD1"), ], tolerance = 1e-5)
  expect_identical(results_of(object)$options$protein.assay, "ADT")
  # the rest goes on with RNA and peaks
  table <- DifferentialSCMVP(object, features = rownames(object[["RNA"]])[1:5])
  expect_s3_class(table, "data.frame")
})

test_that("proteins of an alternative experiment are one, too", {
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  given <- cells_with_proteins()
  counts <- function(name) layer_data(given$object, name, "counts")
  object <- SingleCellExperiment::SingleCellExperiment(assays = list(counts = counts("RNA")))
  alt <- function(x) SingleCellExperiment::SingleCellExperiment(assays = list(counts = x))
  SingleCellExperiment::altExp(object, "ATAC") <- alt(counts("ATAC"))
  SingleCellExperiment::altExp(object, "ADT") <- alt(given$counts[, colnames(object)])
  object <- RunSCMVP(
    object,
    protein.experiment = "ADT", n.clusters = 3, max.epochs = 3, verbose = FALSE
  )
  object <- ImputeSCMVP(object, "protein", verbose = FALSE)
  imputed <- SingleCellExperiment::altExp(object, "scMVP_ADT")
  expect_identical(dim(imputed), c(12L, 150L))
  expect_identical(SummarizedExperiment::assayNames(imputed), "logcounts")
})

test_that("proteins that are not there are refused", {
  object <- cells_with_proteins()$object
  fit <- function(...) RunSCMVP(object, n.clusters = 3, max.epochs = 1, verbose = FALSE, ...)
  expect_refused(fit(protein.assay = "ADT"), "no assay 'ADT' \\(protein.assay\\)")
  expect_refused(fit(protein.assay = "RNA", rna.assay = "RNA"), "is also the assay of RNA or peaks")
  expect_refused(fit(impute.proteins = TRUE), "there are no proteins: name their assay")
  expect_refused(fit(protein.experiment = "ADT"), "protein.experiment is not for a Seurat object")
})

test_that("proteins of a file become an assay", {
  skip_without_core()
  given <- cells_with_proteins()
  parts <- list(
    "Gene Expression" = layer_data(given$object, "RNA", "counts"),
    Peaks = layer_data(given$object, "ATAC", "counts"),
    "Antibody Capture" = as(given$counts[, colnames(given$object)], "CsparseMatrix")
  )
  written <- function(types) {
    folder <- tempfile("matrix-")
    dir.create(folder)
    all <- do.call(rbind, unname(parts[types]))
    Matrix::writeMM(all, file.path(folder, "matrix.mtx"))
    writeLines(colnames(all), file.path(folder, "barcodes.tsv"))
    type <- rep(types, vapply(parts[types], nrow, 1L))
    writeLines(
      paste(rownames(all), rownames(all), type, sep = "\t"), file.path(folder, "features.tsv")
    )
    folder
  }
  object <- ReadSCMVP(written(names(parts)), verbose = FALSE)
  expect_identical(SeuratObject::Assays(object), c("RNA", "ATAC", "ADT"))
  expect_equal(
    as.matrix(layer_data(object, "ADT", "counts")), given$counts[, colnames(object)],
    ignore_attr = FALSE
  )
  expect_refused(
    ReadSCMVP(written(names(parts)[c(1, 3)]), verbose = FALSE), "the file has rna and protein"
  )
})
