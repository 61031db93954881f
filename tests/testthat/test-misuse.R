# What a newcomer tried, and got a wrong result or an error of R itself.

test_that("labels are not carried between two models, wherever these are kept", {
  skip_slow()
  skip_without_core()
  fit <- function(seed) {
    quick_fit(paired_object(), seed.use = seed, impute = "none", model.file = tempfile("model"))
  }
  one <- fit(1)
  other <- fit(2)
  label <- rep(c("a", "b", "c"), length.out = n_cells)
  expect_refused(TransferLabelsSCMVP(one, other, label), "embedded by different models")
  expect_s4_class(TransferLabelsSCMVP(one, one, label), "Seurat")
  expect_refused(TransferLabelsSCMVP(one, one, cell_names), "labels has 90 values for 90 cells")
})

test_that("counts that were given beside an object are not taken from it later", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  skip_without_core()
  peaks <- atac_counts()
  others <- peaks[, n_cells:1]
  colnames(others) <- cell_names
  fit <- quick_fit(sce_with(rna_counts(), altExps = list(ATAC = sce_with(others))), peaks = peaks)
  test <- function(...) DifferentialSCMVP(fit, "peaks", ident.1 = "0", verbose = FALSE, ...)
  expect_refused(test(), "not in the object: give them with peaks =")
  given <- DifferentialSCMVP(
    fitted_matrices(), "peaks",
    rna = rna_counts(), peaks = peaks, ident.1 = "0", verbose = FALSE
  )
  expect_equal(test(peaks = peaks)$lfc, given$lfc, tolerance = 1e-4)
})

test_that("cells of an altExp have the names of the object's, or are refused", {
  skip_if_not_installed("SingleCellExperiment")
  peaks <- atac_counts()
  colnames(peaks) <- paste0("other", seq_len(n_cells))
  # Bioconductor warns, too
  object <- suppressWarnings(sce_with(rna_counts(), altExps = list(peaks = sce_with(peaks))))
  expect_refused(RunSCMVP(object), "has other cells .* under the same names")
})

test_that("features along a pseudotime are tested on raw counts only", {
  skip_slow()
  counts <- rna_counts()
  time <- seq_len(n_cells)
  logged <- counts
  logged@x <- log1p(logged@x)
  expect_refused(FeaturesAlongSCMVP(logged, pseudotime = time), "not whole numbers: give raw")
  skip_if_not_installed("SingleCellExperiment")
  imputed <- sce_with(counts)
  imputed <- put_alt_exp(
    imputed, "scMVP_RNA", as.matrix(counts), NULL, list(log = TRUE, modality = "rna")
  )
  along <- function(...) FeaturesAlongSCMVP(imputed, pseudotime = time, ...)
  expect_refused(along(experiment = "scMVP_RNA"), "no raw counts")
  expect_refused(along(assay.type = "none"), "name the one with raw counts with assay.type =")
  seurat <- paired_object()
  expect_refused(
    FeaturesAlongSCMVP(seurat, pseudotime = time, experiment = "x"), "name its assay with assay"
  )
})

test_that("what says something of an object is refused beside a matrix", {
  latent <- matrix(seq_len(200) %% 7 + 0, 50, dimnames = list(paste0("c", 1:50), NULL))
  expect_refused(AggregateCells(latent, dims = 1:2), "dims is for an object, not for a matrix")
  expect_refused(RunCicero(atac_counts(), assay = "ATAC"), "assay is for an object")
  expect_refused(
    RunCicero(atac_counts(), sample_num = 2, n.windows = 3), "give either sample_num or n.windows"
  )
  # by do.call() of the function itself, as the bridge of Python calls it
  expect_message(
    groups <- do.call(AggregateCells, list(latent, k = 5, silent = TRUE)), "is now called verbose"
  )
  expect_s4_class(groups, "dgCMatrix")
  expect_refused(RunSCMVP(NULL, atac_counts()), "object must be a matrix of RNA counts")
})

test_that("what is for other objects or values than those given is refused by every verb", {
  skip_slow()
  fit <- fitted_object()
  starts <- data.frame(gene = gene_names, seqnames = "chr1", tss = 1000 * 1:60, strand = "+")
  motifs <- matrix(1, 120, 1, dimnames = list(peak_names, "TF1"))
  gc <- stats::setNames(seq_len(120) / 200, peak_names)
  refused <- function(expr, argument, input) {
    expect_refused(expr, paste0("^", argument, " is for ", input, ": leave it out.$"))
  }
  refused(LinkPeaksLASSO(fit, ranges = 1), "ranges", "matrices, as an object has its own")
  for (verb in list(
    function(...) GeneActivitySCMVP(fit, starts, ..., verbose = FALSE),
    function(...) RunMotifSCMVP(fit, motifs, gc, ..., verbose = FALSE)
  )) {
    refused(verb(peaks = atac_counts()), "peaks", "values = \"measured\"")
    given <- verb(values = "measured", peaks = 2 * atac_counts(), as = "matrix")
    expect_equal(dim(given)[2], n_cells)
    refused(verb(assay.name = "x", as = "matrix"), "assay.name", "as = \"object\"")
  }
  refused(
    GeneActivitySCMVP(fit, starts, values = "measured", library.size = 5), "library.size",
    "values = \"imputed\""
  )
  refused(ImputeSCMVP(fit, cells = "cell1", assay.name = "x"), "assay.name", "as = \"object\"")
  scored <- RunMotifSCMVP(fit, motifs, gc, verbose = FALSE)
  own <- "the fit's expression, not beside other expression"
  express <- function(...) MotifExpressionSCMVP(scored, expression = rna_counts(), ...)
  refused(express(values = "imputed"), "values", own)
  refused(express(batch = "x"), "batch", own)
  links <- data.frame(gene = "Gene1", peak = peak_names[1], score = 1)
  refused(RegulonsSCMVP(fit, links, expression = rna_counts(), batch = "x"), "batch", own)
  refused(
    ClassifyCRE(peak_names, starts, assay = "x"), "assay", "an object, not for peaks or links"
  )
})

test_that("names of reductions are refused where there is no object that has them", {
  skip_slow()
  fit <- fitted_object()
  latent <- latent_of(fit)
  label <- rep(c("a", "b", "c"), length.out = n_cells)
  transfer <- function(one, other, ...) TransferLabelsSCMVP(one, other, label, ...)
  expect_refused(transfer(latent, latent, reduction = "x"), "reduction is for a reference in an")
  expect_refused(
    transfer(latent, fit, reduction = "x", query.reduction = "scmvp"), "reduction is for a refer"
  )
  expect_s4_class(transfer(latent, fit, reduction = "scmvp"), "Seurat")
  expect_refused(transfer(fit, latent, query.reduction = "x"), "query.reduction is for a query in")
  expect_refused(transfer(fit, latent, prefix = "x"), "prefix is for a query in an object")
  model <- results_of(fit)$model
  expect_refused(
    SaveSCMVP(model, tempfile(), reduction = "x"), "^reduction is for an object with the model"
  )
  expect_refused(
    ProjectSCMVP(model, fit, model.reduction = "x"), "model.reduction is for an object with the"
  )
})

test_that("a reduction that is not one name is refused under the argument that gave it", {
  skip_slow()
  fit <- fitted_object()
  latent <- latent_of(fit)
  label <- rep(c("a", "b", "c"), length.out = n_cells)
  starts <- data.frame(gene = gene_names, seqnames = "chr1", tss = 1000 * 1:60, strand = "+")
  said <- function(argument) paste0("^", argument, " must be one non-empty string, not ")
  for (wrong in list(character(), c("scmvp", "umap"), 1, list("scmvp"), NA, NULL)) {
    for (verb in list(
      function(x) TransferLabelsSCMVP(fit, fit, label, reduction = x),
      function(x) TransferLabelsSCMVP(latent, fit, label, reduction = x),
      function(x) LinkPeaksLASSO(fit, gene.coords = starts, reduction = x),
      function(x) RunCicero(fit, reduction = x)
    )) {
      expect_refused(verb(wrong), said("reduction"))
    }
    if (is.null(wrong)) next
    expect_refused(
      TransferLabelsSCMVP(fit, fit, label, query.reduction = wrong), said("query.reduction")
    )
  }
  for (wrong in list(character(), c("scmvp", "umap"), NA_character_)) {
    expect_refused(TransferLabelsSCMVP(fit, fit, label, calibration = wrong), said("calibration"))
  }
  expect_refused(
    LinkPeaksLASSO(fit, gene.coords = starts, reduction = "nosuch"), "has no reduction 'nosuch'"
  )
  pairs <- data.frame(Peak1 = peak_names[1], Peak2 = peak_names[2], coaccess = 0.4)
  expect_refused(FindCCANs(pairs, verbose = NA), "verbose must be TRUE or FALSE, not NA")
})

test_that("the beginning of a name is not taken for the whole", {
  expect_refused(RunSCMVP(paired_object(), model = "x"), "unknown argument 'model'")
  expect_false(file.exists("x"))
})

test_that("a column of the user's own is not overwritten", {
  object <- paired_object()
  object$scmvp_cluster <- "mine"
  expect_refused(RunSCMVP(object), "cell metadata 'scmvp_cluster' that scMVP did not make")
})

test_that("means of one group are means", {
  skip_slow()
  fit <- fitted_object()
  values <- ImputeSCMVP(fit, "peaks", features = peak_names[1:2], as = "matrix")
  means <- ImputeSCMVP(fit, "peaks", features = peak_names[1:2], by = rep("all", n_cells))
  expect_equal(means[, "all"], rowMeans(values))
  some <- ImputeSCMVP(
    fit, "peaks",
    features = peak_names[1:2], by = c(rep(NA, n_cells - 2), "a", "a")
  )
  expect_equal(some[, "a"], rowMeans(values[, n_cells - 1:0]))
})

test_that("an object without a fit is refused by every verb", {
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  skip_if_not_installed("SingleCellExperiment")
  mae <- MultiAssayExperiment::MultiAssayExperiment(list(rna = rna_counts(), atac = atac_counts()))
  for (object in list(mae, sce_with(rna_counts()), paired_object())) {
    for (verb in list(ImputeSCMVP, DifferentialSCMVP, AggregateCells, PlotSCMVPClusters)) {
      expect_refused(verb(object), "no reduction 'scmvp'", class = "scmvp_error")
    }
    expect_refused(SaveSCMVP(object, tempfile()), "no reduction 'scmvp'", class = "scmvp_error")
    expect_refused(TransferLabelsSCMVP(object, object, "x"), "no reduction 'scmvp'")
  }
  expect_refused(RunSCMVP(mae, peaks = "atac"), "peaks must be a SingleCellExperiment")
})

test_that("a wrong argument is said to be NA where it is, and of which class", {
  object <- paired_object()
  expect_refused(RunSCMVP(NA_character_), "^object must be one non-empty string, not NA[.]$")
  expect_refused(RunSCMVP(c(NA, "x")), "^object must be .*, not 2 values of class character with")
  expect_refused(RunSCMVP(c(a = "x", a = "y")), "^the names of object must be different")
  expect_refused(ReadSCMVP(NA), "^path must be one non-empty string, not NA[.]$")
  expect_refused(RunSCMVP(object, impute.peaks = factor("Gene1")), "names, not class factor[.]$")
  expect_refused(RunSCMVP(object, impute.peaks = NA_character_), "names, not NA[.]$")
  expect_refused(RunSCMVP(object, max.epochs = Sys.Date()), "or NULL, not class Date[.]$")
  expect_refused(RunSCMVP(object, modalities = NA_character_), ", not NA[.]$")
  expect_refused(RunSCMVP(object, reduction.name = "NA b"), "not \"NA b\"[.]$")
})

test_that("no number depends on the decimal mark of the session", {
  skip_slow()
  skip_without_core()
  said <- function(mark) {
    old <- options(OutDec = mark, warn = 2)
    on.exit(options(old))
    text <- testthat::capture_messages(object <- quick_fit(paired_object(), verbose = TRUE))
    # its times differ between runs
    text <- c(text[!grepl("^epoch|^starting|epochs in", text)], vapply(list(
      quote(RunSCMVP(object, min.cells = 0.5)),
      quote(ImputeSCMVP(object, "peaks", max.gb = 1.5e-6)),
      quote(DifferentialSCMVP(object, fdr = 1.25))
    ), function(call) conditionMessage(tryCatch(eval(call), error = identity)), ""))
    list(text = text, object = object, table = DifferentialSCMVP(object, verbose = FALSE))
  }
  point <- said(".")
  comma <- said(",")
  expect_identical(comma$text, point$text)
  expect_match(comma$text, "not 0.5.", fixed = TRUE, all = FALSE)
  expect_match(comma$text, "max.gb = 1.5e-06", fixed = TRUE, all = FALSE)
  expect_match(comma$text, "not 1.25", fixed = TRUE, all = FALSE)
  expect_identical(latent_of(comma$object), latent_of(point$object))
  expect_identical(comma$table, point$table)
  old <- options(OutDec = ",", warn = 2)
  on.exit(options(old))
  expect_identical(format_count(1234567), "1,234,567")
  expect_identical(sentence_of("half is ", 0.5), "half is 0.5")
  expect_identical(getOption("OutDec"), ",")
})
