write_pair <- function(folder, peaks = peak_names) {
  dir.create(folder)
  mdata <- to_mudata(rna_counts(), atac_counts(peaks))
  type <- rep(c("A", "B", "C"), length.out = n_cells)
  for (modality in c("rna", "atac")) {
    adata <- mdata$mod$`__getitem__`(modality)
    adata$obs$`__setitem__`("cell_type", as.list(type))
    adata$write_h5ad(file.path(folder, paste0(modality, ".h5ad")))
  }
  type
}

test_that("a folder of h5ad files becomes a Seurat object with its metadata", {
  skip_without_core()
  folder <- tempfile("pair")
  type <- write_pair(folder)
  object <- ReadSCMVP(folder)
  expect_s4_class(object, "Seurat")
  expect_setequal(SeuratObject::Assays(object), c("RNA", "ATAC"))
  expect_equal(as.matrix(layer_data(object, "RNA", "counts")), as.matrix(rna_counts()))
  expect_equal(as.matrix(layer_data(object, "ATAC", "counts")), as.matrix(atac_counts()))
  expect_identical(as.character(object$cell_type), type)
  expect_identical(find_assays(object, NULL, NULL), list(rna = "RNA", peaks = "ATAC"))
})

test_that("names that Seurat cannot hold are told once", {
  skip_without_core()
  folder <- tempfile("pair")
  write_pair(folder, gsub("-", "_", peak_names))
  expect_warning(said <- testthat::capture_messages(object <- ReadSCMVP(folder)), NA)
  expect_match(said, "120 names changed to '-' \\(first: 'chr1_1000_1500'\\)", all = FALSE)
  expect_identical(rownames(object[["ATAC"]]), peak_names)
})

test_that("an .rds is read by R", {
  file <- tempfile(fileext = ".rds")
  saveRDS(paired_object(), file)
  expect_s4_class(ReadSCMVP(file), "Seurat")
  saveRDS(1:3, file)
  expect_refused(ReadSCMVP(file), "class integer, not a Seurat object")
  writeBin(as.raw(1:30), file)
  expect_refused(ReadSCMVP(file), "not a readable .rds file")
})

test_that("missing and damaged files are refused with the path", {
  expect_refused(ReadSCMVP(tempfile("nothing")), "nothing.* does not exist")
  skip_without_core()
  folder <- tempfile("pair")
  write_pair(folder)
  file <- file.path(folder, "atac.h5ad")
  writeBin(readBin(file, "raw", 3000), file)
  expect_refused(ReadSCMVP(folder), "atac.h5ad is not a readable h5ad file")
  unlink(file)
  expect_refused(ReadSCMVP(folder), "holds rna.h5ad but no atac.h5ad")
})
