test_that("matrices of every kind become the same dgCMatrix", {
  sparse <- rna_counts()
  kinds <- list(
    dense = as.matrix(sparse),
    integer = matrix(as.integer(as.matrix(sparse)), nrow(sparse), dimnames = dimnames(sparse)),
    frame = as.data.frame(as.matrix(sparse)),
    triplet = methods::as(sparse, "TsparseMatrix"),
    row_sparse = methods::as(sparse, "RsparseMatrix"),
    dgeMatrix = methods::as(as.matrix(sparse), "unpackedMatrix")
  )
  for (kind in names(kinds)) {
    expect_s4_class(as_dgc(kinds[[kind]]), "dgCMatrix")
    expect_equal(as.matrix(as_dgc(kinds[[kind]])), as.matrix(sparse), info = kind)
  }
  logical <- as_dgc(methods::as(sparse > 0, "lMatrix"))
  expect_s4_class(logical, "dgCMatrix")
  expect_true(all(logical@x == 1))
  expect_identical(as_dgc(sparse), sparse)
})

test_that("symmetric sparse matrices lose nothing", {
  symmetric <- Matrix::forceSymmetric(Matrix::Matrix(matrix(c(1, 2, 2, 5), 2), sparse = TRUE))
  expect_equal(as.matrix(as_dgc(symmetric)), matrix(c(1, 2, 2, 5), 2), ignore_attr = TRUE)
})

test_that("counts are read from the counts of an assay, not from its normalized data", {
  object <- paired_object()
  skip_if_not_installed("Seurat")
  object <- Seurat::NormalizeData(object, verbose = FALSE)
  expect_equal(as.matrix(assay_counts(object[["RNA"]])), as.matrix(rna_counts()))
  expect_true(has_counts(object[["RNA"]]))
})

test_that("an assay without counts is not taken for one with counts", {
  values <- matrix(runif(20), 2, dimnames = list(c("a", "b"), paste0("cell", 1:10)))
  expect_false(has_counts(SeuratObject::CreateAssayObject(data = values)))
})

test_that("split layers of a v5 assay are joined, in the order of the object", {
  skip_before_seurat5()
  object <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  expect_true(is_v5(object[["RNA"]]))
  batch <- rep(c("b", "a", "c"), length.out = n_cells)
  object[["RNA"]] <- split(object[["RNA"]], f = batch)
  expect_gt(length(SeuratObject::Layers(object[["RNA"]], search = "counts")), 1)
  joined <- cells_of(object[["RNA"]], object, "RNA")
  expect_equal(as.matrix(joined), as.matrix(rna_counts()))
  expect_gt(length(SeuratObject::Layers(object[["RNA"]], search = "counts")), 1)
})

test_that("the parts of a split layer have one name, and a point in a name is no split", {
  expect_identical(
    whole_layers(c("counts.a", "counts.b", "data", "scale.data", "my.layer", "counts_x.1")),
    c("counts", "data", "scale.data", "my.layer", "counts_x.1")
  )
  expect_identical(whole_layers(c("scale.data.1", "scale.data.2")), "scale.data")
})

test_that("a layer whose name only begins with that of the counts is none of them", {
  skip_before_seurat5()
  object <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  corrected <- rna_counts() * 2
  with_corrected <- function(assay) {
    getExportedValue("SeuratObject", "LayerData<-")(assay, "counts_decontX", value = corrected)
  }
  whole <- with_corrected(object[["RNA"]])
  split <- with_corrected(split(object[["RNA"]], f = rep(c("b", "a"), length.out = n_cells)))
  for (assay in list(whole, split)) {
    expect_null(layers_of_same_cells(assay))
    counts <- as.matrix(assay_counts(assay))
    expect_equal(counts[gene_names, cell_names], as.matrix(rna_counts()))
  }
  only <- suppressWarnings(
    getExportedValue("SeuratObject", "LayerData<-")(whole, "counts", value = NULL)
  )
  expect_false(has_counts(only))
})

test_that("a 10x list that was given whole is told from layers split by cells", {
  skip_before_seurat5()
  object <- SeuratObject::CreateSeuratObject(
    list("Gene Expression" = rna_counts(), Peaks = atac_counts())
  )
  expect_refused(
    RunSCMVP(object), "layers 'counts.Gene Expression', 'counts.Peaks'.*an assay of each element"
  )
  split <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  split[["RNA"]] <- split(split[["RNA"]], f = rep(c("b", "a"), length.out = n_cells))
  expect_null(layers_of_same_cells(split[["RNA"]]))
})

test_that("a v5 assay with fewer cells than the object is refused with the names", {
  skip_before_seurat5()
  object <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  object[["ATAC"]] <- SeuratObject::CreateAssay5Object(atac_counts()[, -(1:2)])
  expect_refused(
    cells_of(object[["ATAC"]], object, "ATAC"),
    "assay 'ATAC' lacks 2 cells of the object \\('cell1', 'cell2'\\)"
  )
})

test_that("counts reach Python and come back unchanged", {
  skip_without_core()
  rna <- rna_counts()
  mdata <- to_mudata(rna, atac_counts())
  paired <- paired_of(mdata)
  back <- paired$rna$counts
  expect_identical(back@i, rna@i)
  expect_identical(back@p, rna@p)
  expect_equal(back, rna)
  expect_identical(colnames(paired$atac$counts), cell_names)
})

test_that("pandas columns become R vectors of their kind, missing values included", {
  skip_without_core()
  core()
  pandas <- reticulate::import("pandas", convert = FALSE)
  numpy <- reticulate::import("numpy", convert = FALSE)
  frame <- pandas$DataFrame(
    list(
      number = c(1.5, NaN), whole = c(1L, 2L), flag = c(TRUE, FALSE), text = c("x", "y"),
      kind = pandas$Categorical(c("b", "none"), categories = c("b", "a"))
    ),
    index = c("one", "two")
  )
  got <- data_frame_of(frame)
  expect_identical(rownames(got), c("one", "two"))
  expect_equal(got$number, c(1.5, NA))
  expect_equal(got$whole, c(1, 2))
  expect_identical(got$flag, c(TRUE, FALSE))
  expect_identical(got$text, c("x", "y"))
  expect_identical(got$kind, factor(c("b", NA), levels = c("b", "a")))
})

test_that("features that become one name in Seurat are told apart, or refused", {
  counts <- rna_counts()[1:3, ]
  rownames(counts) <- c("A_B", "A-B", "C")
  table <- data.frame(row.names = rownames(counts))
  expect_message(
    assay <- assay_of(list(counts = counts, features = table), "rna_"), "2 names|1 name changed"
  )
  expect_identical(rownames(assay), c("A-B.1", "A-B", "C")) # the second had this name before
  expect_equal(unname(as.matrix(assay_counts(assay))), unname(as.matrix(counts)))
  expect_refused(
    imputed_assay(as.matrix(counts), NULL, "x_", list()), "'A_B', 'A-B' are one name in a Seurat"
  )
})
