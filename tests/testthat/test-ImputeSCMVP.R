test_that("decoding later gives what the fit gave, twice the same", {
  object <- fitted_object()
  from_fit <- layer_data(object, "scMVP_RNA", "data")
  later <- ImputeSCMVP(object, features = rownames(from_fit), as = "matrix")
  expect_equal(later, from_fit)
  expect_identical(ImputeSCMVP(object, as = "matrix"), ImputeSCMVP(object, as = "matrix"))
})

test_that("features, cells, library size and log are as asked for", {
  object <- fitted_object()
  values <- ImputeSCMVP(
    object, "rna", features = c("Gene9", "Gene2"), cells = c("cell7", "cell3"), as = "matrix",
    log = FALSE
  )
  expect_identical(dimnames(values), list(c("Gene9", "Gene2"), c("cell7", "cell3")))
  logged <- ImputeSCMVP(object, features = "Gene9", cells = "cell7", as = "matrix")
  expect_equal(logged[1, 1], log1p(values["Gene9", "cell7"]), tolerance = 1e-6)
  double <- ImputeSCMVP(
    object, features = "Gene9", cells = "cell7", as = "matrix", log = FALSE, library.size = 2e4
  )
  expect_equal(double[1, 1], 2 * values["Gene9", "cell7"], tolerance = 1e-6)
  whole <- ImputeSCMVP(object, "peaks", as = "matrix")
  expect_identical(dim(whole), c(120L, 90L))
  expect_true(all(whole >= 0))
})

test_that("an assay is extended and stays one assay of one model", {
  object <- fitted_object()
  before <- layer_data(object, "scMVP_RNA", "data")
  expect_silent(more <- ImputeSCMVP(object, features = c("Gene1", "Gene40", "Gene41")))
  after <- layer_data(more, "scMVP_RNA", "data")
  expect_identical(rownames(after), c(rownames(before), "Gene40", "Gene41"))
  expect_identical(after[rownames(before), ], before)
  expect_identical(SeuratObject::DefaultAssay(more), "RNA")
  expect_identical(SeuratObject::Key(more[["scMVP_RNA"]]), "scmvprna_", ignore_attr = TRUE)
  expect_refused(
    ImputeSCMVP(object, features = "Gene40", library.size = 100),
    "imputed with another library.size"
  )
  apart <- ImputeSCMVP(object, features = "Gene40", library.size = 100, assay.name = "per100")
  expect_identical(rownames(apart[["per100"]]), "Gene40")
  expect_refused(ImputeSCMVP(object, assay.name = "ATAC"), "already has a 'ATAC'")
})

test_that("a one-feature assay and a peaks assay can be made without any at the fit", {
  object <- quick_fit_all()
  object <- ImputeSCMVP(object, "peaks", features = peak_names[7])
  expect_identical(rownames(object[["scMVP_ATAC"]]), peak_names[7])
})

test_that("imputation works on a subset of the cells", {
  object <- fitted_object()
  half <- subset(object, cells = cell_names[31:60])
  expect_equal(
    ImputeSCMVP(half, features = "Gene5", as = "matrix"),
    ImputeSCMVP(object, features = "Gene5", cells = cell_names[31:60], as = "matrix"),
    tolerance = 1e-6
  )
})

test_that("everything survives saveRDS and a new session", {
  object <- fitted_object()
  file <- tempfile(fileext = ".rds")
  on.exit(unlink(file))
  saveRDS(object, file)
  lines <- in_new_session(c(
    sprintf("object <- readRDS('%s')", file),
    "values <- ImputeSCMVP(object, features = 'Gene50', as = 'matrix')",
    "cat(sprintf('VALUE %.10f', values[1, 'cell3']), class(object$scmvp_cluster), '\\n')"
  ))
  value <- grep("^VALUE", lines, value = TRUE)
  expect_length(value, 1)
  here <- ImputeSCMVP(object, features = "Gene50", as = "matrix")[1, "cell3"]
  expect_equal(as.numeric(strsplit(value, " ")[[1]][2]), here, tolerance = 1e-6)
})

test_that("what cannot be imputed is refused in one sentence", {
  object <- fitted_object()
  expect_refused(
    ImputeSCMVP(object, features = c("Gene1", "SOX2")),
    "1 of 2 names are not in the model \\('SOX2'\\)"
  )
  expect_refused(ImputeSCMVP(object, cells = "cell1"), "as = \"matrix\"")
  expect_refused(ImputeSCMVP(object, cells = "nobody", as = "matrix"), "not in the object")
  expect_refused(ImputeSCMVP(object, "proteins"), "modality must be one of \"rna\", \"peaks\"")
  expect_refused(ImputeSCMVP(object, library.size = 0), "library.size must be a number above 0")
  expect_refused(ImputeSCMVP(object, gene = "Gene1"), "unknown argument 'gene'")
  expect_refused(
    ImputeSCMVP(object, "peaks", max.gb = 1e-6), "would take .* GB \\(120 features x 90 cells",
    class = "scmvp_error_memory"
  )
  expect_refused(
    ImputeSCMVP(object, reduction = "pca"), "no reduction 'pca' \\(reductions: scmvp\\)",
    class = "scmvp_error_model"
  )
  object[["bare"]] <- SeuratObject::CreateDimReducObject(
    SeuratObject::Embeddings(object[["scmvp"]]), key = "bare_", assay = "RNA"
  )
  expect_refused(
    ImputeSCMVP(object, reduction = "bare"), "holds no scMVP model",
    class = "scmvp_error_model"
  )
})
