test_that("the object comes back with latent, clusters and imputed expression", {
  object <- fitted_object()
  latent <- SeuratObject::Embeddings(object[["scmvp"]])
  expect_identical(dim(latent), c(90L, 20L))
  expect_identical(rownames(latent), cell_names)
  expect_identical(colnames(latent), paste0("scMVP_", 1:20))
  expect_true(all(is.finite(latent)))
  expect_equal(
    SeuratObject::Stdev(object[["scmvp"]]), apply(latent, 2, sd),
    ignore_attr = TRUE
  )
  expect_true(SeuratObject::IsGlobal(object[["scmvp"]]))

  expect_s3_class(object$scmvp_cluster, "factor")
  expect_true(all(levels(object$scmvp_cluster) %in% c("0", "1", "2")))
  expect_true(all(object$scmvp_cluster_prob > 1 / 3 - 1e-6 & object$scmvp_cluster_prob <= 1))

  expect_setequal(rownames(object[["scMVP_RNA"]]), gene_names[1:20])
  imputed <- layer_data(object, "scMVP_RNA", "data")
  expect_true(is.matrix(imputed))
  expect_identical(colnames(imputed), cell_names)
  expect_true(all(imputed >= 0 & imputed < log1p(1e4)))
  expect_identical(rownames(object[["scMVP_ATAC"]]), peak_names[1:4])
  expect_identical(SeuratObject::DefaultAssay(object), "RNA")
})

test_that("how many clusters there are is found where it is not told", {
  skip_slow()
  skip_without_core()
  object <- SimulateSCMVP(n.cells = 250, n.genes = 500, n.peaks = 900, n.types = 4, seed = 3)
  suppressMessages(
    expect_message(
      object <- RunSCMVP(object, max.epochs = 24, impute = "none"), "clusters to be found"
    )
  )
  expect_equal(results_of(object)$summary$n_clusters, 4)
  expect_true(results_of(object)$summary$account$n_clusters_estimated)
  shares <- prop.table(table(object$scmvp_cluster, object$cell_type), 1)
  expect_identical(dim(shares), c(4L, 4L))
  expect_true(all(apply(shares, 1, max) > 0.9))
})

test_that("parameters, history and the model are kept", {
  results <- results_of(fitted_object())
  expect_s3_class(results$model, "scMVPModel")
  expect_s3_class(results$history, "data.frame")
  expect_identical(nrow(results$history), 3L)
  expect_true(all(c("epoch", "phase", "elbo_train", "elbo_validation") %in% names(results$history)))
  expect_identical(results$options$max.epochs, 3L)
  expect_identical(results$options$peak.assay, "ATAC")
  expect_equal(results$summary$n_cells, n_cells)
  command <- SeuratObject::Command(fitted_object(), "RunSCMVP.scmvp")
  expect_s4_class(command, "SeuratCommand")
  expect_equal(methods::slot(command, "params")$n.clusters, 3)
})

test_that("the command log stays small, even when feature names or the object are in the call", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  object <- do.call(RunSCMVP, list(
    object, n.clusters = 3, max.epochs = 1, verbose = FALSE, rna.features = gene_names,
    peak.features = peak_names
  ))
  command <- SeuratObject::Command(object, "RunSCMVP.scmvp")
  expect_lt(as.numeric(object.size(command)), 20000)
})

test_that("imputed expression is on the scale of NormalizeData()", {
  object <- quick_fit_all()
  skip_if_not_installed("Seurat")
  measured <- layer_data(Seurat::NormalizeData(object, verbose = FALSE), "RNA", "data")
  imputed <- layer_data(object, "scMVP_RNA", "data")
  expect_equal(colSums(expm1(imputed)), rep(1e4, n_cells), tolerance = 1e-4, ignore_attr = TRUE)
  expect_equal(colSums(expm1(as.matrix(measured))), rep(1e4, n_cells), ignore_attr = TRUE)
})

test_that("what is added works with Seurat's own functions", {
  skip_slow()
  object <- fitted_object()
  expect_silent(gene <- SeuratObject::FetchData(object, "scmvprna_Gene1"))
  expect_identical(dim(gene), c(90L, 1L))
  expect_silent(SeuratObject::FetchData(object, c("scMVP_1", "scmvp_cluster_prob")))
  half <- subset(object, cells = cell_names[1:40])
  expect_identical(dim(SeuratObject::Embeddings(half[["scmvp"]])), c(40L, 20L))
  expect_s3_class(results_of(half)$model, "scMVPModel")
  skip_if_not_installed("Seurat")
  expect_error(Seurat::FindNeighbors(object, reduction = "scmvp", dims = 1:10, verbose = FALSE), NA)
})

test_that("removing the RNA assay keeps the reduction", {
  object <- fitted_object()
  SeuratObject::DefaultAssay(object) <- "ATAC"
  object[["RNA"]] <- NULL
  expect_true("scmvp" %in% SeuratObject::Reductions(object))
})

test_that("nothing is said and no warning given with verbose = FALSE", {
  skip_slow()
  skip_without_core()
  expect_silent(quick_fit(paired_object(), max.epochs = 1, impute.peaks = peak_names[1]))
})

test_that("progress is shown and names the assays taken", {
  skip_slow()
  skip_without_core()
  said <- testthat::capture_messages(quick_fit(paired_object(), max.epochs = 2, verbose = TRUE))
  expect_match(
    said[1], "RNA assay 'RNA' (60 genes), peak assay 'ATAC' (120 peaks), 90 cells",
    fixed = TRUE
  )
  expect_length(grep("^epoch [12]/2 ", said), 2)
})

test_that("the same seed gives the same result, another seed another", {
  skip_slow()
  first <- fitted_object()
  same <- quick_fit(paired_object(), impute = "none")
  other <- quick_fit(paired_object(), impute = "none", seed.use = 1)
  latent <- function(object) SeuratObject::Embeddings(object[["scmvp"]])
  expect_identical(latent(same), latent(first))
  expect_gt(max(abs(latent(other) - latent(first))), 1e-3)
})

test_that("R's random numbers are not touched", {
  skip_slow()
  skip_without_core()
  set.seed(7)
  before <- .Random.seed
  quick_fit(paired_object(), max.epochs = 1)
  expect_identical(.Random.seed, before)
  SimulateSCMVP(n.cells = 30, n.genes = 60, n.peaks = 60, n.types = 2)
  expect_identical(.Random.seed, before)
})

test_that("the result is that of Python alone", {
  skip_slow()
  skip_without_core()
  latent <- in_python(c(
    "import sys, numpy, scmvp",
    "cells = scmvp.simulate(n_cells=120, n_genes=150, n_peaks=200, n_types=3, seed=3)",
    "model = scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=4)",
    "numpy.savetxt(sys.argv[1], model.get_latent_representation(), delimiter=',')"
  ), tempfile(fileext = ".csv"))
  object <- SimulateSCMVP(n.cells = 120, n.genes = 150, n.peaks = 200, n.types = 3, seed = 3)
  object <- quick_fit(object, max.epochs = 4)
  python <- as.matrix(utils::read.csv(latent, header = FALSE))
  expect_equal(
    SeuratObject::Embeddings(object[["scmvp"]]), python,
    tolerance = 1e-5, ignore_attr = TRUE
  )
})

test_that("cells keep their names when the order changes", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  shuffled <- with_seed(5, sample(cell_names))
  reordered <- SeuratObject::CreateSeuratObject(rna_counts()[, shuffled])
  reordered[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts()[, shuffled])
  reordered <- quick_fit(reordered, max.epochs = 1, impute = "none")
  expect_identical(rownames(SeuratObject::Embeddings(reordered[["scmvp"]])), shuffled)
})

test_that("impute: none, all, and all modeled genes when there are no variable features", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  none <- quick_fit(object, impute = "none", max.epochs = 1)
  expect_false(any(c("scMVP_RNA", "scMVP_ATAC") %in% SeuratObject::Assays(none)))
  expect_setequal(rownames(quick_fit_all()[["scMVP_RNA"]]), gene_names)
  plain <- SeuratObject::CreateSeuratObject(rna_counts())
  plain[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts())
  expect_identical(nrow(quick_fit(plain, max.epochs = 1)[["scMVP_RNA"]]), 60L)
})

test_that("only the features asked for and seen in min.cells cells are modeled", {
  skip_slow()
  skip_without_core()
  object <- object_with_rare_gene()
  fit <- quick_fit(object, impute = "all", max.epochs = 1, peak.features = peak_names[1:80])
  expect_setequal(rownames(fit[["scMVP_RNA"]]), gene_names[1:59])
  account <- results_of(fit)$summary$account
  expect_equal(account$n_genes, 59)
  expect_equal(account$n_peaks, 80)
  expect_refused(
    quick_fit(object, peak.features = peak_names[1:80], impute.peaks = peak_names[80:81]),
    "impute.peaks: 1 of 2 names is not in the model"
  )
})

test_that("another reduction.name gives other names throughout", {
  skip_slow()
  skip_without_core()
  object <- quick_fit(
    fitted_object(), reduction.name = "joint.2", impute.peaks = peak_names[1:2], max.epochs = 1
  )
  expect_true(all(c("scmvp", "joint.2") %in% SeuratObject::Reductions(object)))
  expect_true(all(c("joint.2_RNA", "joint.2_ATAC", "scMVP_RNA") %in% SeuratObject::Assays(object)))
  expect_true(all(c("joint.2_cluster", "joint.2_cluster_prob") %in% names(object[[]])))
  expect_identical(SeuratObject::Key(object[["joint.2"]]), "joint2_", ignore_attr = TRUE)
  expect_silent(SeuratObject::FetchData(object, c("joint2_1", "joint.2_cluster")))
})

test_that("a second fit under the same name replaces the first, imputed assays included", {
  skip_slow()
  skip_without_core()
  expect_silent(other <- quick_fit(fitted_object(), impute = "all", max.epochs = 1))
  expect_identical(nrow(other[["scMVP_RNA"]]), 60L)
  expect_false("scMVP_ATAC" %in% SeuratObject::Assays(other))
  again <- quick_fit(fitted_object(), impute = "none", max.epochs = 1)
  expect_identical(sum(SeuratObject::Reductions(again) == "scmvp"), 1L)
  expect_false(any(c("scMVP_RNA", "scMVP_ATAC") %in% SeuratObject::Assays(again)))
  current <- fitted_object()
  SeuratObject::DefaultAssay(current) <- "scMVP_RNA"
  expect_refused(quick_fit(current, impute = "none"), "default assay 'scMVP_RNA'")
})

test_that("names and keys taken by something else are refused before the fit", {
  skip_slow()
  object <- paired_object()
  expect_refused(RunSCMVP(object, reduction.name = "ATAC"), "already the name of something else")
  expect_refused(RunSCMVP(object, reduction.name = "rna"), "key 'rna_' already belongs to 'RNA'")
  expect_refused(RunSCMVP(object, reduction.name = "my latent"), "valid R name")
  expect_refused(RunSCMVP(object, reduction.key = "a b"), "reduction.key must be a letter")
  for (name in c("\u00e9", ".")) {
    expect_refused(
      RunSCMVP(object, reduction.name = name), "^the key of reduction.name .* choose another redu"
    )
  }
  foreign <- SeuratObject::CreateAssayObject(rna_counts())
  SeuratObject::Key(foreign) <- "foreign_"
  object[["scMVP_RNA"]] <- foreign
  expect_refused(
    RunSCMVP(object, rna.assay = "RNA"), "already has a 'scMVP_RNA' that was not made from"
  )
})

test_that("a result is not named like a metadata column, which object[[name]] would be", {
  object <- paired_object()
  object$lane <- "A"
  taken <- "reduction.name 'lane' is already the name of something else in the object"
  expect_refused(RunSCMVP(object, reduction.name = "lane"), taken)
  skip_slow()
  fit <- fitted_object()
  fit$lane <- "A"
  genes <- data.frame(gene = "Gene1", seqnames = "chr1", start = 1000, end = 9000)
  motifs <- matrix(TRUE, length(peak_names), dimnames = list(peak_names, "A"))
  expect_refused(ProjectSCMVP(fit, object, reduction.name = "lane"), taken)
  expect_refused(ImputeSCMVP(fit, assay.name = "lane"), "already has a 'lane' that was not imputed")
  expect_refused(GeneActivitySCMVP(fit, genes, assay.name = "lane"), "already has a 'lane'")
  expect_refused(RunMotifSCMVP(fit, motifs, assay.name = "lane"), "already has a 'lane'")
})

test_that("a model.file is written in the end only, and used by ImputeSCMVP()", {
  skip_slow()
  skip_without_core()
  folder <- tempfile("models")
  dir.create(folder)
  file <- file.path(folder, "model")
  object <- quick_fit(paired_object(), model.file = file, max.epochs = 1)
  expect_setequal(list.files(file), c("model.json", "weights.safetensors"))
  expect_identical(list.files(folder), "model")
  expect_lt(as.numeric(object.size(results_of(object)$model)), 5000)
  expect_identical(dim(ImputeSCMVP(object, features = "Gene50", as = "matrix")), c(1L, 90L))
  expect_refused(quick_fit(paired_object(), model.file = file), "exists already")
  expect_refused(
    quick_fit(paired_object(), model.file = file.path(folder, "no", "model")), "there is no folder"
  )
  expect_error(
    quick_fit(paired_object(), model.file = file.path(folder, "other"), n.clusters = 80),
    class = "scmvp_error_input"
  )
  expect_identical(list.files(folder), "model")
  unlink(file, recursive = TRUE)
  expect_refused(
    ImputeSCMVP(object, features = "Gene50", as = "matrix"), "no longer exists",
    class = "scmvp_error_model"
  )
})

test_that("two matrices give the same fit as the Seurat object of them", {
  skip_slow()
  skip_without_core()
  peaks <- atac_counts()[, rev(cell_names)]
  fit <- RunSCMVP(
    rna_counts(), peaks, n.clusters = 3, max.epochs = 3, verbose = FALSE,
    impute.peaks = peak_names[1:2]
  )
  object <- fitted_object()
  expect_s3_class(fit, "scMVPFit")
  expect_equal(fit$latent, SeuratObject::Embeddings(object[["scmvp"]]), ignore_attr = TRUE)
  expect_identical(rownames(fit$latent), cell_names)
  expect_identical(unname(fit$cluster), unname(object$scmvp_cluster))
  expect_equal(rowSums(fit$probabilities), rep(1, n_cells), tolerance = 1e-5, ignore_attr = TRUE)
  expect_null(fit$rna)
  expect_equal(fit$peaks, layer_data(object, "scMVP_ATAC", "data")[1:2, ], ignore_attr = TRUE)
  imputed <- ImputeSCMVP(fit, features = gene_names[1:2], cells = cell_names[1:3])
  expect_equal(
    imputed, layer_data(object, "scMVP_RNA", "data")[gene_names[1:2], cell_names[1:3]],
    tolerance = 1e-6
  )
  expect_output(print(fit), "90 cells")
})

test_that("what Python returns after an interrupt is not lost on its way to R", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  lines <- in_new_session(c(
    "invisible(scMVP:::core())",
    "reticulate::py_run_string(paste(",
    "  'import os, signal, time', 'def heard():', '  try:',",
    "  '    os.kill(os.getpid(), signal.SIGINT)', '    time.sleep(5)',",
    "  '  except KeyboardInterrupt:', '    return 42', sep = '\n'))",
    "value <- NULL",
    # R looks for interrupts now and then while it evaluates
    "seen <- scMVP:::interruptible({",
    "  found <- reticulate::py$heard()",
    "  for (i in 1:1e5) sqrt(i)",
    "  value <- found",
    "})",
    "Sys.sleep(0.1)",
    "cat('VALUE', value, seen, '\n')",
    # what it breaks on the way is no error of its own
    "seen <- tryCatch(scMVP:::interruptible({",
    "  tools::pskill(Sys.getpid(), tools::SIGINT)",
    "  stop('attempt to apply non-function')",
    "}), error = conditionMessage)",
    "cat('SEEN', seen, '\n')",
    "said <- tryCatch(scMVP:::interruptible(stop('own')), error = conditionMessage)",
    "cat('SAID', said, '\n')"
  ))
  # that R has seen it, too, is so with older versions of reticulate alone
  expect_match(lines, "^VALUE 42 ", all = FALSE)
  expect_match(lines, "^SEEN TRUE", all = FALSE)
  expect_match(lines, "^SAID own", all = FALSE)
})

test_that("an interrupt keeps the best state and R goes on", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  lines <- in_new_session(c(
    "object <- SimulateSCMVP(n.cells = 200, n.genes = 300, n.peaks = 400, n.types = 3)",
    "interrupt <- function() tools::pskill(Sys.getpid(), tools::SIGINT)",
    "busy <- function(s) { t <- proc.time()[[3]]; while (proc.time()[[3]] - t < s) sqrt(2) }",
    "signals <- list(",
    "  in_python = function() interrupt_in(0.1),",
    "  in_r = function() { interrupt(); busy(0.2) }",
    ")",
    "for (signal in signals) {",
    "  fit <- withCallingHandlers(at_message(",
    "    RunSCMVP(object, n.clusters = 3, max.epochs = 200, batch.size = 8, impute = 'none'),",
    "    '^epoch 3/', signal",
    "  ), scmvp_warning_interrupted = function(w) cat('WARNED', conditionMessage(w), '\\n'))",
    "  history <- SeuratObject::Misc(fit[['scmvp']])$history",
    "  cat('KEPT', nrow(history), nrow(history) < 150, dim(fit[['scmvp']]), '\\n')",
    "}",
    "cat('DONE', exists('fit'), '\\n')"
  ))
  expect_line(lines, "WARNED the fit was interrupted", 2)
  expect_line(lines, "^KEPT [0-9]+ TRUE", 2)
  expect_line(lines, "^DONE TRUE")
})
