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
  skip_slow()
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

test_that("an assay that was made one of Seurat 5 is extended as well", {
  skip_before_seurat5()
  fit <- fitted_object()
  one <- ImputeSCMVP(fit, "peaks", features = peak_names[1:6], verbose = FALSE)
  other <- fit
  other[["scMVP_ATAC"]] <- suppressWarnings(methods::as(fit[["scMVP_ATAC"]], "Assay5"))
  other <- ImputeSCMVP(other, "peaks", features = peak_names[1:6], verbose = FALSE)
  expect_equal(
    as.matrix(layer_data(other, "scMVP_ATAC", "data")),
    as.matrix(layer_data(one, "scMVP_ATAC", "data"))
  )
  skip_if_not_installed("HDF5Array")
  add <- function(object, features, name = "disk", ...) {
    ImputeSCMVP(
      object, "rna", features = gene_names[features], assay.name = name, as = "object",
      verbose = FALSE, ...
    )
  }
  disk <- add(fit, 1:3, file = tempfile(fileext = ".h5"))
  expect_refused(add(disk, 2:5), "'disk' of the object holds values on disk.*another assay.name")
  expect_identical(rownames(add(disk, 1:2)[["disk"]]), gene_names[1:3])
  expect_identical(rownames(add(disk, 2:5, "more")[["more"]]), gene_names[2:5])
})

test_that("a one-feature assay and a peaks assay can be made without any at the fit", {
  skip_slow()
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
  skip_slow()
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
  skip_slow()
  object <- fitted_object()
  expect_refused(
    ImputeSCMVP(object, features = c("Gene1", "SOX2")),
    "1 of 2 names is not in the model \\('SOX2'\\)"
  )
  expect_refused(ImputeSCMVP(object, cells = "cell1", as = "object"), "as = \"matrix\"")
  expect_refused(ImputeSCMVP(object, cells = "nobody", as = "matrix"), "not in the object")
  expect_refused(
    ImputeSCMVP(object, cells = c("cell2", "cell1", "cell2"), as = "matrix"),
    "'cell2' given more than once"
  )
  expect_refused(ImputeSCMVP(object, assay.name = "scmvp"), "'scmvp' is the name of a reduction")
  expect_refused(ImputeSCMVP(object, "proteins"), "modality must be one of \"rna\", \"peaks\"")
  expect_refused(ImputeSCMVP(object, "protein"), "the model has no proteins")
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

test_that("a threshold leaves out small values and nothing else", {
  object <- fitted_object()
  dense <- ImputeSCMVP(object, "peaks", as = "matrix")
  cut <- stats::median(dense)
  sparse <- ImputeSCMVP(object, "peaks", as = "matrix", threshold = cut)
  expect_s4_class(sparse, "dgCMatrix")
  dense[dense < cut] <- 0
  expect_equal(as.matrix(sparse), dense)
  assay <- ImputeSCMVP(object, "peaks", threshold = cut, assay.name = "open")[["open"]]
  expect_s4_class(methods::slot(assay, "data"), "dgCMatrix")
  expect_refused(
    ImputeSCMVP(object, "peaks", threshold = cut, max.gb = 1e-5, as = "matrix"),
    "would take about .* GB \\(.* % of 120 features x 90 cells are at least",
    class = "scmvp_error_memory"
  )
})

test_that("means of groups are those of the values", {
  skip_slow()
  object <- fitted_object()
  dense <- ImputeSCMVP(object, "rna", as = "matrix")
  group <- factor(rep(c("b", "a"), length.out = n_cells))
  means <- ImputeSCMVP(object, "rna", by = group)
  expected <- vapply(levels(group), function(g) log1p(rowMeans(expm1(dense[, group == g]))),
    numeric(60))
  expect_equal(means, expected, tolerance = 1e-5)
  expect_identical(
    colnames(ImputeSCMVP(object, "rna", by = "scmvp_cluster", features = "Gene1")),
    levels(object$scmvp_cluster)
  )
  some <- ImputeSCMVP(object, "rna", by = group, cells = cell_names[c(2, 1)], log = FALSE)
  # 'a' is the group of the second cell
  expect_equal(some, expm1(dense[, 2:1]), ignore_attr = TRUE, tolerance = 1e-5)
  expect_refused(ImputeSCMVP(object, by = "nothing"), "no cell metadata 'nothing'")
  expect_refused(ImputeSCMVP(object, by = 1:3), "one value per cell \\(90\\)")
  expect_refused(ImputeSCMVP(object, by = group, as = "object"), "holds cells, not groups")
  expect_refused(ImputeSCMVP(object, by = group, threshold = 1), "either threshold")
})

test_that("a file holds the values, for R and for AnnData", {
  skip_slow()
  skip_if_not_installed("HDF5Array")
  object <- fitted_object()
  path <- tempfile(fileext = ".h5ad")
  for (backend in c("reticulate", "process")) {
    unlink(path)
    on_disk <- ImputeSCMVP(object, "rna", file = path, verbose = FALSE, backend = backend)
    expect_s4_class(on_disk, "DelayedMatrix")
    expect_equal(
      as.matrix(on_disk), ImputeSCMVP(object, "rna", as = "matrix"), tolerance = 1e-6
    )
  }
  anndata <- reticulate::import("anndata", convert = FALSE)$read_h5ad(path)
  expect_identical(as.character(reticulate::py_to_r(anndata$var_names$tolist())), gene_names)
  expect_identical(as.character(reticulate::py_to_r(anndata$obs_names$tolist())), cell_names)
  expect_refused(ImputeSCMVP(object, file = path), "exists already")
  expect_refused(ImputeSCMVP(object, file = file.path(tempdir(), "no", "x")), "there is no folder")
  other <- tempfile(fileext = ".h5")
  expect_refused(
    ImputeSCMVP(object, file = other, max.gb = 1e-6), "up to .* GB on disk",
    class = "scmvp_error_memory"
  )
  if (utils::packageVersion("HDF5Array") < "1.28") {
    expect_refused(ImputeSCMVP(object, file = other, threshold = 1), "cannot open sparse HDF5")
  } else {
    sparse <- ImputeSCMVP(object, file = other, threshold = 4, verbose = FALSE)
    expect_equal(
      as.matrix(sparse), as.matrix(ImputeSCMVP(object, threshold = 4, as = "matrix")),
      tolerance = 1e-6
    )
  }
  if (utils::packageVersion("SeuratObject") < "5.0.0") {
    expect_refused(
      ImputeSCMVP(object, file = tempfile(), as = "object"), "cannot hold values on disk"
    )
  } else {
    with_file <- ImputeSCMVP(
      object, file = tempfile(fileext = ".h5"), as = "object", assay.name = "disk", verbose = FALSE
    )
    expect_equal(
      as.matrix(layer_data(with_file, "disk", "data")), ImputeSCMVP(object, as = "matrix"),
      tolerance = 1e-6
    )
  }
})

test_that("a full disk leaves nothing, and is told as what it is", {
  skip_slow()
  skip_if_not_installed("HDF5Array")
  skip_on_os(c("windows", "mac"))
  object <- fitted_object()
  disk <- tempfile("disk")
  dir.create(disk)
  mounted <- suppressWarnings(
    system2("mount", c("-t", "tmpfs", "-o", "size=16k", "tmpfs", disk), stderr = FALSE)
  )
  skip_if(mounted != 0, "needs the right to mount a small file system")
  on.exit(system2("umount", disk))
  for (backend in c("reticulate", "process")) {
    expect_refused(
      ImputeSCMVP(
        object, "peaks",
        file = file.path(disk, "x.h5"), backend = backend, verbose = FALSE
      ),
      "cannot be written or read: .*No space left on device",
      class = "scmvp_error_file"
    )
    expect_identical(list.files(disk, all.files = TRUE, no.. = TRUE), character())
  }
})
