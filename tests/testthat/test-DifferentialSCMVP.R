columns <- c(
  "feature", "group", "reference", "lfc", "lfc_sd", "lfc_low", "lfc_high", "lfc_model",
  "lfc_model_sd", "mean_group", "mean_reference", "detected_group", "detected_reference",
  "prob_de", "log_bayes_factor", "q_value", "is_de"
)

# The three types of block_counts().
typed_object <- function() {
  object <- fitted_object()
  object$type <- factor(paste0("t", rep(1:3, length.out = ncol(object))))
  object
}

test_that("marked genes and peaks are found, with means of the counts", {
  object <- typed_object()
  table <- DifferentialSCMVP(object, group.by = "type", ident.1 = "t2", verbose = FALSE)
  expect_named(table, columns)
  expect_setequal(rownames(table), gene_names)
  marks <- rep(1:3, length.out = length(gene_names)) == 2
  called <- table[gene_names, "is_de"] & table[gene_names, "lfc"] > 0
  expect_gt(mean(called[marks]), 0.8)
  expect_lt(sum(called[!marks]), 3)
  counts <- as.matrix(rna_counts())
  inside <- object$type == "t2"
  expect_equal(
    table[gene_names, "mean_group"],
    unname(1e4 * rowSums(counts[, inside]) / sum(counts[, inside])),
    tolerance = 1e-6
  )
  expect_equal(table[gene_names, "detected_reference"], unname(rowMeans(counts[, !inside] > 0)))

  peaks <- DifferentialSCMVP(
    object, "peaks",
    group.by = "type", ident.1 = "t1", ident.2 = "t3", features = peak_names[1:30], verbose = FALSE
  )
  expect_setequal(peaks$feature, peak_names[1:30])
  expect_gt(mean(peaks[peak_names[c(1, 4, 7, 10)], "lfc"]), 0.5)
  expect_equal(as.character(unique(peaks$reference)), "t3")
})

test_that("both engines give the same table", {
  skip_slow()
  object <- typed_object()
  tables <- lapply(c("reticulate", "process"), function(backend) {
    DifferentialSCMVP(
      object,
      group.by = "type", ident.1 = "t1", backend = backend, verbose = FALSE
    )
  })
  expect_equal(tables[[1]], tables[[2]], tolerance = 1e-5)
})

test_that("groups may be given in any way", {
  object <- typed_object()
  run <- function(...) DifferentialSCMVP(object, ..., n.samples = 1, verbose = FALSE)
  numbers <- c("lfc", "q_value", "mean_group", "mean_reference")
  by_label <- run(group.by = "type", ident.1 = c("t1", "t2"))
  SeuratObject::Idents(object) <- "type"
  by_ident <- run(group.by = "ident", ident.1 = c("t1", "t2"), ident.2 = "t3")
  by_cell <- run(ident.1 = colnames(object)[object$type != "t3"])
  expect_equal(by_ident[gene_names, numbers], by_label[gene_names, numbers])
  expect_equal(by_cell[gene_names, numbers], by_label[gene_names, numbers])
  each <- run(group.by = as.character(object$type))
  expect_equal(levels(each$group), c("t1", "t2", "t3"))
  expect_equal(nrow(each), 3 * length(gene_names))
  expect_named(attr(each, "typical_lfc"))
  clusters <- run()
  expect_true(all(levels(clusters$group) %in% levels(object$scmvp_cluster)))
})

test_that("Bioconductor objects and matrices give the table of the Seurat object", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  object <- typed_object()
  truth <- DifferentialSCMVP(object, group.by = "type", ident.1 = "t1", verbose = FALSE)
  numbers <- c("lfc", "q_value", "mean_group", "detected_group")
  sce <- SingleCellExperiment::SingleCellExperiment(
    list(counts = rna_counts()),
    altExps = list(peaks = SummarizedExperiment::SummarizedExperiment(list(counts = atac_counts())))
  )
  sce <- quick_fit(sce)
  sce$type <- object$type
  table <- DifferentialSCMVP(sce, group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_equal(table[gene_names, numbers], truth[gene_names, numbers], tolerance = 1e-6)
  peaks <- DifferentialSCMVP(sce, "peaks", group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_setequal(peaks$feature, peak_names)

  skip_if_not_installed("MultiAssayExperiment")
  mae <- MultiAssayExperiment::MultiAssayExperiment(list(RNA = rna_counts(), ATAC = atac_counts()))
  mae <- quick_fit(mae)
  by_mae <- DifferentialSCMVP(
    mae, "peaks",
    group.by = as.character(object$type), ident.1 = "t1", verbose = FALSE
  )
  expect_equal(by_mae[peak_names, numbers], peaks[peak_names, numbers], tolerance = 1e-6)

  fit <- quick_fit(rna_counts(), peaks = atac_counts())
  by_matrix <- DifferentialSCMVP(
    fit,
    rna = rna_counts(), peaks = atac_counts(), group.by = object$type, ident.1 = "t1",
    verbose = FALSE
  )
  expect_equal(by_matrix[gene_names, numbers], truth[gene_names, numbers], tolerance = 1e-6)
  expect_refused(DifferentialSCMVP(fit, group.by = object$type), "give them with rna =")
})

test_that("cells with RNA alone are compared in their genes", {
  object <- typed_object()
  query <- object
  query[["ATAC"]] <- NULL
  query <- ProjectSCMVP(object, query, verbose = FALSE)
  table <- DifferentialSCMVP(query, group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_setequal(table$feature, gene_names)
  expect_refused(DifferentialSCMVP(query, "peaks", group.by = "type"), "counts of the peaks")
})

test_that("imputed assays work with FindMarkers", {
  skip_if_not_installed("Seurat")
  object <- typed_object()
  SeuratObject::Idents(object) <- "type"
  markers <- suppressWarnings(
    Seurat::FindMarkers(object, ident.1 = "t1", assay = "scMVP_RNA", verbose = FALSE)
  )
  expect_true(all(rownames(markers) %in% gene_names))
  expect_gt(nrow(markers), 0)
})

test_that("wrong groups are refused", {
  object <- typed_object()
  run <- function(...) DifferentialSCMVP(object, ..., verbose = FALSE)
  expect_refused(run(group.by = "nothing"), "no cell metadata 'nothing'")
  expect_refused(run(group.by = "type", ident.1 = "t9"), "no cell has the label 't9'")
  expect_refused(run(group.by = "type", ident.2 = "t1"), "without ident.1")
  expect_refused(run(group.by = "type", ident.1 = "t1", ident.2 = "t1"), "both name 't1': take")
  expect_refused(run(ident.1 = cell_names[1:9], ident.2 = cell_names[9:20]), "share cells")
  expect_refused(run(ident.1 = cell_names[1:2]), "has 2 cells")
  expect_refused(run(group.by = "type", fdr = 1), "below 1")
  expect_refused(run(group.by = "type", features = "none"), "features")
  expect_refused(run(groupby = "type"), "did you mean group.by")
  expect_refused(DifferentialSCMVP(1), "not an object of class numeric")
})

test_that("R's random stream is left alone", {
  object <- typed_object()
  set.seed(1)
  before <- .Random.seed
  DifferentialSCMVP(object, group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_identical(.Random.seed, before)
})
