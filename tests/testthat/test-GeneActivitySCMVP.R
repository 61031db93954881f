skip_without_core()

# A gene at every fifth peak, on either strand, one on a chromosome without peaks.
some_genes <- function() {
  places <- parse_ranges(peak_names)[seq(1, length(peak_names), by = 5), ]
  n <- nrow(places)
  genes <- data.frame(
    gene = c(gene_names[seq_len(n)], "far"), seqnames = c(sub("chr", "", places$seqnames), "9"),
    start = c(places$start + 100, 1), end = c(places$start + 1300, 9)
  )
  genes$strand <- rep_len(c("+", "-"), n + 1)
  genes
}

activity_matrix <- function(object, ...) {
  GeneActivitySCMVP(object, some_genes(), as = "matrix", verbose = FALSE, ...)
}

test_that("activities are those of Python, of the genes with a peak in their order", {
  skip_slow()
  object <- fitted_object()
  model <- python_model(object)
  genes <- reticulate::r_to_py(some_genes())
  for (method in c("body", "decay")) {
    wanted <- values_of(model$gene_activity(genes, method = method))
    expect_identical(rownames(wanted), some_genes()$gene[some_genes()$gene != "far"])
    expect_equal(activity_matrix(object, method = method), wanted)
    measured <- activity_matrix(object, method = method, values = "measured")
    expect_s4_class(measured, "dgCMatrix")
    wanted <- values_of(
      core()$gene_activity(to_mudata(rna_counts(), atac_counts()), genes, method = method)
    )
    expect_equal(as.matrix(measured), wanted)
  }
})

test_that("the result is an assay of a Seurat object, and an alternative experiment", {
  skip_slow()
  object <- fitted_object()
  activity <- activity_matrix(object)
  with_assay <- GeneActivitySCMVP(object, some_genes(), verbose = FALSE)
  expect_equal(as.matrix(assay_layer(with_assay[["ACTIVITY"]], "data", "ACTIVITY")), activity)
  expect_identical(SeuratObject::DefaultAssay(with_assay), "RNA")
  measured <- GeneActivitySCMVP(object, some_genes(), values = "measured", verbose = FALSE)
  expect_s4_class(measured[["ACTIVITY"]], "Assay")
  skip_if_not_installed("SingleCellExperiment")
  experiment <- GeneActivitySCMVP(fitted_sce(), some_genes(), verbose = FALSE)
  found <- SingleCellExperiment::altExp(experiment, "ACTIVITY")
  expect_identical(SummarizedExperiment::assayNames(found), "activity")
  expect_equal(
    GeneActivitySCMVP(fitted_matrices(), some_genes(), verbose = FALSE),
    SummarizedExperiment::assay(found, "activity"),
    tolerance = 1e-4
  )
  expect_equal(activity_matrix(object, backend = "process"), activity, tolerance = 1e-6)
})

test_that("measured sums are counts of a Seurat assay, which can be normalized", {
  skip_slow()
  object <- fitted_object()
  sums <- activity_matrix(object, values = "measured")
  kept <- GeneActivitySCMVP(object, some_genes(), values = "measured", verbose = FALSE)
  expect_equal(as.matrix(assay_counts(kept[["ACTIVITY"]])), as.matrix(sums))
  normal <- Seurat::NormalizeData(kept, assay = "ACTIVITY", verbose = FALSE)
  expect_equal(
    as.matrix(assay_layer(normal[["ACTIVITY"]], "data", "ACTIVITY")),
    log1p(sweep(as.matrix(sums), 2, Matrix::colSums(sums), `/`) * 1e4)
  )
  # which changes neither what is computed from the sums, nor which assay is fitted
  links <- function(object, peaks = NULL, ...) {
    LinkPeaksLASSO(
      object, peaks, gene.coords = some_genes(), n.permutations = 2, nfolds = 3, verbose = FALSE,
      ...
    )
  }
  truth <- suppressWarnings(links(sums, atac_counts(), coordinates = NULL))
  expect_equal(suppressWarnings(links(normal, rna.assay = "ACTIVITY")), truth)
  expect_equal(
    SeuratObject::Embeddings(quick_fit(normal, impute = "none"), "scmvp"),
    SeuratObject::Embeddings(quick_fit(object, impute = "none"), "scmvp")
  )
})

test_that("cells in which no peak was measured are told", {
  peaks <- atac_counts()
  peaks[, 1:20] <- 0
  object <- quick_fit(paired_object(peaks), impute = "none")
  expect_message(
    found <- GeneActivitySCMVP(object, some_genes(), values = "measured"),
    "20 cells have no counts of peaks"
  )
  wanted <- activity_matrix(fitted_object(), values = "measured")
  expect_gt(min(Matrix::colSums(wanted[, 1:20])), 0)
  wanted[, 1:20] <- 0
  values <- assay_layer(found[["ACTIVITY"]], "data", "ACTIVITY")
  expect_equal(as.matrix(values), as.matrix(wanted))
})

test_that("cells projected without peaks, or without genes, need coordinates of genes", {
  skip_slow()
  fit <- fitted_object()
  rna <- ProjectSCMVP(fit, SeuratObject::CreateSeuratObject(rna_counts()), verbose = FALSE)
  no_peaks <- "^the object has no assay of peaks and so no gene annotation: give gene.coords"
  expect_refused(GeneActivitySCMVP(rna, verbose = FALSE), no_peaks)
  expect_refused(LinkPeaksSCMVP(rna, verbose = FALSE), no_peaks)
  expect_refused(
    LinkPeaksSCMVP(rna, some_genes(), as = "object", verbose = FALSE),
    "no peak assay, which would hold the links: use as = \"links\"[.]$"
  )
  expect_s4_class(
    LinkPeaksSCMVP(rna, some_genes(), as = "links", fdr = 1, verbose = FALSE), "GRanges"
  )
  expect_refused(RunMotifSCMVP(rna, verbose = FALSE), "a file with fasta\\)[.]$")
  # the same latent, the same activities as with peaks in the object
  both <- rna
  both[["ATAC"]] <- paired_object()[["ATAC"]]
  expect_equal(activity_matrix(rna), activity_matrix(both))
  skip_if_not_installed("SingleCellExperiment")
  atac <- ProjectSCMVP(fit, sce_with(atac_counts()), verbose = FALSE)
  expect_refused(GeneActivitySCMVP(atac, verbose = FALSE), "no experiment of genes and so no gene")
  expect_identical(rownames(activity_matrix(atac)), rownames(activity_matrix(fit)))
})

test_that("what cannot be summed is refused", {
  skip_slow()
  object <- fitted_object()
  run <- function(...) GeneActivitySCMVP(object, ..., verbose = FALSE)
  far <- some_genes()[25, ]
  expect_refused(run(far), "no gene has a peak \\(genes are on '9'")
  expect_refused(run(), "give gene.coords")
  expect_refused(run(some_genes(), assay.name = "ATAC"), "was not made from reduction 'scmvp'")
  expect_refused(run(some_genes(), method = "sum"), "method")
  # what the same model gave otherwise is not replaced either
  table <- matrix(seq_len(2 * length(peak_names)) %% 3 == 0, length(peak_names))
  dimnames(table) <- list(peak_names, c("A", "B"))
  motifs <- suppressMessages(RunMotifSCMVP(object, table, verbose = FALSE))
  expect_refused(
    GeneActivitySCMVP(motifs, some_genes(), assay.name = "motif", verbose = FALSE),
    "was not made from reduction 'scmvp' in the same way"
  )
  expect_refused(run(some_genes(), assay.name = "scMVP_ATAC"), "in the same way")
  expect_refused(
    ImputeSCMVP(motifs, "rna", assay.name = "motif", verbose = FALSE),
    "was not imputed from reduction 'scmvp' in the same way"
  )
  alone <- fitted_matrices()
  expect_refused(GeneActivitySCMVP(alone), "gene.coords is needed for a scMVPFit")
  expect_refused(
    GeneActivitySCMVP(alone, some_genes(), as = "object"), "holds no assays: use as = \"matrix\""
  )
  expect_refused(
    GeneActivitySCMVP(alone, some_genes(), values = "measured"), "give them with peaks ="
  )
})
