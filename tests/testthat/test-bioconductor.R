skip_if_not_installed("SingleCellExperiment")

sce_latent <- function(object) SingleCellExperiment::reducedDim(object, "scmvp")

test_that("a SingleCellExperiment comes back with what the Seurat object of it has", {
  skip_slow()
  sce <- fitted_sce()
  object <- fitted_object()
  expect_equal(
    sce_latent(sce), SeuratObject::Embeddings(object[["scmvp"]]),
    ignore_attr = TRUE
  )
  expect_identical(dimnames(sce_latent(sce)), dimnames(SeuratObject::Embeddings(object[["scmvp"]])))
  expect_identical(sce$scmvp_cluster, unname(object$scmvp_cluster))
  expect_identical(sce$scmvp_cluster_prob, unname(object$scmvp_cluster_prob))
  rna <- SingleCellExperiment::altExp(sce, "scMVP_RNA")
  expect_equal(
    SummarizedExperiment::assay(rna, "logcounts")[gene_names[1:20], ],
    layer_data(object, "scMVP_RNA", "data")[gene_names[1:20], ],
    ignore_attr = TRUE
  )
  atac <- SingleCellExperiment::altExp(sce, "scMVP_ATAC")
  expect_identical(rownames(atac), peak_names[1:4])
  expect_identical(
    GenomicRanges::start(SummarizedExperiment::rowRanges(atac)), 1000L * 1:4
  )
  expect_identical(SummarizedExperiment::assay(sce, "counts"), rna_counts())
})

test_that("imputation extends the altExp, saves, loads and survives readRDS()", {
  skip_slow()
  sce <- fitted_sce()
  more <- ImputeSCMVP(sce, "peaks", features = peak_names[9])
  expect_identical(
    rownames(SingleCellExperiment::altExp(more, "scMVP_ATAC")), peak_names[c(1:4, 9)]
  )
  expect_refused(ImputeSCMVP(sce, "peaks", library.size = 1), "imputed with another library.size")
  file <- tempfile(fileext = ".rds")
  saveRDS(sce, file)
  expect_equal(
    ImputeSCMVP(readRDS(file), as = "matrix"), ImputeSCMVP(fitted_object(), as = "matrix"),
    tolerance = 1e-6
  )
  means <- ImputeSCMVP(sce, "peaks", by = "scmvp_cluster")
  expect_identical(dim(means), c(120L, 3L))
  folder <- tempfile("model")
  SaveSCMVP(sce, folder)
  expect_identical(LoadSCMVP(folder)$weights, results_of(fitted_object())$model$weights)
})

test_that("peaks may be the main experiment, or come in an object of their own", {
  skip_slow()
  skip_without_core()
  turned <- sce_with(
    atac_counts(),
    altExps = list(rna = SummarizedExperiment::SummarizedExperiment(list(counts = rna_counts())))
  )
  turned <- quick_fit(turned)
  expect_equal(sce_latent(turned), sce_latent(fitted_sce()))
  rna <- sce_with(rna_counts())
  ranged <- SummarizedExperiment::SummarizedExperiment(
    list(counts = Matrix::Matrix(unname(atac_counts()[, n_cells:1]))),
    rowRanges = GenomicRanges::GRanges(
      rep(paste0("chr", 1:4), each = 30), IRanges::IRanges(1000 * 1:120, 1000 * 1:120 + 500)
    )
  )
  colnames(ranged) <- rev(cell_names)
  two <- quick_fit(rna, peaks = ranged, impute.peaks = "chr1:1000-1500")
  expect_equal(sce_latent(two), sce_latent(fitted_sce()))
  expect_identical(
    rownames(SingleCellExperiment::altExp(two, "scMVP_ATAC")), "chr1:1000-1500"
  )
})

test_that("ranges of genes are those of the rows, whatever names and columns they have", {
  skip_slow()
  ranges <- GenomicRanges::GRanges(
    rep(paste0("chr", 1:4), 15), IRanges::IRanges(1000 * 1:60, width = 200), "-"
  )
  rna <- SummarizedExperiment::SummarizedExperiment(list(counts = rna_counts()))
  peaks <- c("chr1-5190-5300", "chr4-60100-60198", "chr3-60500-60700")
  peaks <- c(peaks, grep("chr2", peak_names, value = TRUE))
  atac <- atac_counts()[seq_along(peaks), ]
  rownames(atac) <- peaks
  atac <- SummarizedExperiment::SummarizedExperiment(list(counts = atac))
  of_ids <- named <- ranges
  of_ids$gene_id <- sprintf("ENSG%011d", 1:60)
  of_ids$type <- "exon"
  names(named) <- rev(gene_names)
  for (of_genes in list(ranges, of_ids, named)) {
    SummarizedExperiment::rowRanges(rna) <- of_genes
    rownames(rna) <- gene_names
    object <- methods::as(rna, "SingleCellExperiment")
    SingleCellExperiment::altExp(object, "ATAC") <- atac
    # on '-' gene i begins at 1000 i + 199, on chromosome (i - 1) %% 4 + 1
    found <- ClassifyCRE(object)[1:3, ]
    expect_identical(found$gene, c("Gene5", "Gene60", "Gene59"))
    expect_equal(abs(found$distance), c(0, 1, 1301))
  }
})

test_that("other assays than counts are taken by name", {
  skip_without_core()
  sce <- sce_of()
  SummarizedExperiment::assayNames(sce) <- "umi"
  expect_refused(quick_fit(sce), "experiment 'main' has no assay 'counts' \\(its assays: umi\\)")
})

test_that("values are imputed where scMVP made them, whatever their assay is called", {
  counts <- rna_counts()
  sce <- sce_of()
  SummarizedExperiment::assays(sce) <- list(logcounts = log1p(counts), raw = counts)
  taken <- function(layer = NULL, assay.type = "counts", part = "main") {
    part <- parts_of(sce, assay.type = assay.type, fitted = TRUE)[[part]]
    part$values(layer, "layer")[c("layer", "imputed")]
  }
  expect_identical(taken(), list(layer = "logcounts", imputed = FALSE))
  expect_identical(taken("raw"), list(layer = "raw", imputed = FALSE))
  # that of a fit where none is named
  S4Vectors::metadata(sce)$scmvp <- list(
    model = new_model(raw(), raw()), options = list(assay.type = "raw")
  )
  expect_identical(counts_assay(sce, "scmvp"), "raw")
  expect_identical(counts_assay(sce, "other"), "counts")
  SummarizedExperiment::assay(sce, "counts") <- counts
  expect_identical(taken(assay.type = "raw")$layer, "raw")
  expect_identical(taken()$layer, "counts")
  mark <- list(reduction = "scmvp", modality = "rna", log = TRUE)
  sce <- put_alt_exp(sce, "scMVP_RNA", log1p(as.matrix(counts)), NULL, mark)
  expect_identical(taken(part = "scMVP_RNA"), list(layer = "logcounts", imputed = TRUE))
})

test_that("a MultiAssayExperiment: cells by the sample map, results with the RNA", {
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  skip_without_core()
  object <- MultiAssayExperiment::MultiAssayExperiment(
    list(rna = rna_counts(), atac = atac_counts()[, n_cells:1])
  )
  object <- quick_fit(object)
  expect_s4_class(object, "MultiAssayExperiment")
  expect_equal(sce_latent(object[["rna"]]), sce_latent(fitted_sce()))
  expect_identical(object$scmvp_cluster, fitted_sce()$scmvp_cluster)
  object <- ImputeSCMVP(object, "peaks", features = peak_names[2])
  expect_identical(
    rownames(SingleCellExperiment::altExp(object[["rna"]], "scMVP_ATAC")), peak_names[2]
  )
  # other cell names in either: the sample map knows which belong together
  renamed <- atac_counts()
  colnames(renamed) <- paste0("atac_", cell_names)
  map <- rbind(
    data.frame(assay = "rna", primary = cell_names, colname = cell_names),
    data.frame(assay = "atac", primary = cell_names, colname = colnames(renamed))
  )
  mapped <- MultiAssayExperiment::MultiAssayExperiment(
    list(rna = sce_of(), atac = renamed[, n_cells:1]),
    colData = S4Vectors::DataFrame(row.names = cell_names),
    sampleMap = S4Vectors::DataFrame(
      assay = factor(map$assay), primary = map$primary, colname = map$colname
    )
  )
  expect_equal(sce_latent(quick_fit(mapped)[["rna"]]), sce_latent(fitted_sce()))
  expect_refused(
    quick_fit(MultiAssayExperiment::MultiAssayExperiment(
      list(rna = rna_counts(), atac = atac_counts()[, 1:80])
    )),
    "10 only in 'rna', 0 only in 'atac'; keep the shared ones with .*intersectColumns"
  )
})

test_that("columns of the experiment that gets the results stay, wherever it is", {
  skip_if_not_installed("MultiAssayExperiment")
  rna <- sce_with(rna_counts(), colData = S4Vectors::DataFrame(
    scmvp_cluster = rep("mine", n_cells), row.names = cell_names
  ))
  object <- MultiAssayExperiment::MultiAssayExperiment(list(atac = atac_counts(), rna = rna))
  expect_refused(quick_fit(object), "already has cell metadata 'scmvp_cluster' that scMVP did not")
})

test_that("columns of the whole MultiAssayExperiment describe its cells", {
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  skip_without_core()
  # of donors with half of the cells each; the experiment's own colData gets none of it
  donor <- rep(c("d1", "d2"), length.out = n_cells)
  map <- data.frame(
    assay = rep(c("rna", "atac"), each = n_cells), primary = rep(donor, 2), colname = cell_names
  )
  mae <- MultiAssayExperiment::MultiAssayExperiment(
    list(rna = sce_of(), atac = atac_counts()),
    colData = S4Vectors::DataFrame(lane = c("A", "B"), row.names = c("d1", "d2")),
    sampleMap = S4Vectors::DataFrame(
      assay = factor(map$assay), primary = map$primary, colname = map$colname
    )
  )
  fitted <- quick_fit(mae, batch = "lane")
  lanes <- data.frame(lane = ifelse(donor == "d1", "A", "B"), row.names = cell_names)
  same <- quick_fit(rna_counts(), atac_counts(), batch = lanes)
  expect_equal(sce_latent(fitted[["rna"]]), same$latent, ignore_attr = TRUE)
  holder <- SummarizedExperiment::colData(fitted[["rna"]])
  expect_false("lane" %in% names(holder))
  table <- DifferentialSCMVP(quick_fit(mae), group.by = "lane", ident.1 = "A", verbose = FALSE)
  expect_identical(as.character(unique(table$group)), "A")
  query <- ProjectSCMVP(fitted, mae, verbose = FALSE)
  expect_equal(sce_latent(query[["rna"]]), sce_latent(fitted[["rna"]]), tolerance = 1e-5)
})

test_that("queries of these classes are projected", {
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  sce <- fitted_sce()
  both <- ProjectSCMVP(sce, sce_of(), verbose = FALSE)
  expect_equal(sce_latent(both), sce_latent(sce), tolerance = 1e-5)
  rna <- sce_with(rna_counts())
  rna <- ProjectSCMVP(sce, rna, impute.peaks = peak_names[1:2], verbose = FALSE)
  inside <- ProjectSCMVP(sce, rna_counts(), verbose = FALSE)
  expect_equal(sce_latent(rna), inside$latent, ignore_attr = TRUE)
  expect_identical(rownames(SingleCellExperiment::altExp(rna, "scMVP_ATAC")), peak_names[1:2])
  atac <- MultiAssayExperiment::MultiAssayExperiment(list(atac = atac_counts()))
  atac <- ProjectSCMVP(sce, atac, verbose = FALSE)
  expect_identical(dim(sce_latent(atac[["atac"]])), c(90L, 20L))
  expect_s4_class(ImputeSCMVP(atac, "rna", features = "Gene1"), "MultiAssayExperiment")
})

test_that("matrices on disk or delayed become the same dgCMatrix, block by block", {
  skip_slow()
  skip_if_not_installed("HDF5Array")
  counts <- rna_counts()
  on_disk <- HDF5Array::writeHDF5Array(as.matrix(counts), tempfile(), "x", with.dimnames = TRUE)
  expect_identical(as_dgc(on_disk), counts)
  delayed <- DelayedArray::DelayedArray(counts)[60:1, ]
  expect_equal(as_dgc(delayed), counts[60:1, ])
  expect_equal(as_dgc(on_disk * 2), counts * 2)
  expect_equal(delayed_to_dgc(on_disk, block = 100), counts)
})

test_that("experiments that cannot be told apart, or are missing, are refused", {
  skip_slow()
  expect_refused(
    RunSCMVP(sce_with(rna_counts())),
    "no peak experiment found"
  )
  two <- sce_of()
  SingleCellExperiment::altExp(two, "more") <- SingleCellExperiment::altExp(two, "peaks")
  expect_refused(RunSCMVP(two), "2 experiments could be the peak experiment \\(peaks, more\\)")
  expect_refused(RunSCMVP(two, peak.experiment = "no"), "the object has no experiment 'no'")
  expect_refused(RunSCMVP(sce_of(), maxepochs = 3), "unknown argument 'maxepochs'; did you mean")
  expect_refused(
    ImputeSCMVP(sce_of()), "the object has no reduction 'scmvp'", class = "scmvp_error_model"
  )
})

test_that("an experiment without the assay of counts is not taken for one with counts", {
  skip_slow()
  alone <- sce_with(rna_counts(), altExps = list(peaks = sce_with(atac_counts())))
  logged <- SingleCellExperiment::SingleCellExperiment(list(logcounts = as.matrix(rna_counts())))
  more <- alone
  SingleCellExperiment::altExp(more, "corrected") <- logged
  expect_identical(found_assays(more), found_assays(alone))
  expect_refused(
    RunSCMVP(more, rna.experiment = "corrected"), "'corrected' .*has no counts: scMVP needs raw"
  )
  # where none has it, it may have another name
  renamed <- sce_with(rna_counts(), altExps = list(peaks = sce_with(atac_counts())))
  SummarizedExperiment::assayNames(renamed) <- "umi"
  expect_refused(RunSCMVP(renamed), "'main' has no assay 'counts' .*its assays: umi.*assay.type =")
})

test_that("columns of cells may have any name, be runs, and stand beside matrices", {
  skip_slow()
  sce <- sce_of()
  n <- ncol(sce)
  sce$"my donor" <- rep(c("a", "b"), length.out = n)
  sce$my.donor <- "another column"
  sce$run <- S4Vectors::Rle(rep(c("x", "y", "z"), each = n / 3))
  sce$places <- matrix(0, n, 2)
  sce$lists <- rep(list(1:2), n)
  for (column in c("places", "lists")) {
    expect_refused(PseudobulkSCMVP(sce, "run", column), "group.by: column '.*' holds lists")
  }
  expect_refused(PseudobulkSCMVP(sce, "run", sce$lists), "one value per cell [(][0-9]+[)], not")
  fit <- quick_fit(sce, batch = "my donor", impute = "none", max.epochs = 1)
  expect_setequal(stored_results(fit, "scmvp")$summary$account$batch, "my donor")
  expect_identical(fit$"my donor", sce$"my donor")
  file <- tempfile(fileext = ".html")
  ReportSCMVP(fit, file, verbose = FALSE)
  page <- paste(readLines(file), collapse = "")
  expect_true(all(vapply(c("my donor", "run"), grepl, NA, page, fixed = TRUE)))
  sums <- PseudobulkSCMVP(
    sce, sample = "run", group.by = "my donor", min.cells = 1, verbose = FALSE
  )
  plain <- PseudobulkSCMVP(
    sce, sample = as.character(sce$run), group.by = sce$"my donor", min.cells = 1, verbose = FALSE
  )
  expect_identical(sums$counts, plain$counts)
})

test_that("a fit whose reduction was taken out says so", {
  skip_slow()
  fit <- fitted_sce()
  SingleCellExperiment::reducedDim(fit, "scmvp") <- NULL
  for (use in list(ImputeSCMVP, DifferentialSCMVP, DoubletScoreSCMVP)) {
    expect_refused(
      use(fit), "no reduction 'scmvp'.* as after as.SingleCellExperiment[(][)], which keeps no",
      "scmvp_error_model"
    )
  }
})
