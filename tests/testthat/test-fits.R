# A fitted object knows what it was fitted to; and what merge() and its like leave of fits is not
# taken for one.

# Two assays that could be RNA, two that could be peaks; the fit is of the second of each.
two_of_each <- function() {
  object <- paired_object()
  object[["spliced"]] <- SeuratObject::CreateAssayObject(rna_counts())
  object[["tiles"]] <- SeuratObject::CreateAssayObject(atac_counts())
  object
}

fitted_to_second <- function() {
  skip_without_core()
  if (is.null(remembered$second)) {
    remembered$second <- quick_fit(two_of_each(), rna.assay = "spliced", peak.assay = "tiles")
  }
  remembered$second
}

test_that("counts of a fit are in the order of the cells that are asked for", {
  skip_slow()
  fit <- fitted_to_second()
  cells <- rev(colnames(fit))[c(7, 1, 20)]
  found <- kept_counts(fit, stored_results(fit, "scmvp"), "scmvp", NULL, "peaks", cells)
  expect_identical(as.matrix(found), as.matrix(atac_counts()[, cells]))
})

test_that("verbs use the assays that the fit was named", {
  skip_slow()
  object <- two_of_each()
  expect_refused(quick_fit(object), "2 assays could be the RNA assay")
  fit <- fitted_to_second()
  expect_identical(fitted_names(fit, "scmvp"), list(rna = "spliced", peaks = "tiles"))
  expect_identical(find_peak_part(fit, parts_of(fit), NULL, reduction = "scmvp")$name, "tiles")
  expect_identical(find_rna_part(fit, parts_of(fit), NULL, "rna.assay", "scmvp")$name, "spliced")
  # with any reduction, and where none is asked for
  expect_identical(find_peak_part(fit, parts_of(fit), NULL, reduction = "umap")$name, "tiles")
  starts <- data.frame(gene = gene_names, chr = "chr1", tss = 1000 * 1:60, strand = "+")
  expect_identical(nrow(ClassifyCRE(fit, starts)), 120L)
  # what is named goes before
  expect_identical(find_peak_part(fit, parts_of(fit), "ATAC", reduction = "scmvp")$name, "ATAC")
  run <- function(...) {
    RunCicero(fit, ..., k = 20, distance.parameter = 0.1, verbose = FALSE)
  }
  expect_identical(run(), run(assay = "tiles"))
  links <- LinkPeaksLASSO(fit, gene.coords = starts, verbose = FALSE, n.permutations = 0)
  expect_s3_class(links, "data.frame")
})

test_that("a query with the assays of the model's object needs no names for them", {
  skip_slow()
  fit <- fitted_to_second()
  query <- two_of_each()
  projected <- ProjectSCMVP(fit, query, verbose = FALSE)
  expect_identical(fitted_names(projected, "scmvp"), list(rna = "spliced", peaks = "tiles"))
  expect_equal(latent_of(projected), latent_of(fit), tolerance = 1e-4, ignore_attr = TRUE)
  folder <- tempfile()
  SaveSCMVP(fit, folder)
  expect_refused(ProjectSCMVP(folder, query), "2 assays could be the RNA assay")
})

test_that("two fits that were made on other assays do not speak for each other", {
  skip_slow()
  fit <- fitted_to_second()
  fit <- quick_fit(
    fit,
    rna.assay = "RNA", peak.assay = "ATAC", reduction.name = "other", impute = "none"
  )
  expect_identical(find_peak_part(fit, parts_of(fit), NULL, reduction = "scmvp")$name, "tiles")
  expect_identical(find_peak_part(fit, parts_of(fit), NULL, reduction = "other")$name, "ATAC")
  expect_refused(find_peak_part(fit, parts_of(fit), NULL), "2 assays could be the peak assay")
})

test_that("an experiment that was named at the fit is used later", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  object <- sce_with(rna_counts(), altExps = list(
    tiles = sce_with(atac_counts()[120:1, ]), peaks = sce_with(atac_counts())
  ))
  fit <- quick_fit(object, peak.experiment = "peaks")
  run <- function(...) RunCicero(fit, ..., k = 20, distance.parameter = 0.1, verbose = FALSE)
  expect_identical(run(), run(assay = "peaks"))
})

test_that("an assay that was renamed or taken away after the fit is found or named", {
  skip_slow()
  fit <- fitted_object()
  expected <- DifferentialSCMVP(fit, ident.1 = "0", verbose = FALSE)
  renamed <- fit
  renamed[["GEX"]] <- SeuratObject::CreateAssayObject(rna_counts())
  SeuratObject::DefaultAssay(renamed) <- "GEX"
  renamed[["RNA"]] <- NULL
  expect_equal(DifferentialSCMVP(renamed, ident.1 = "0", verbose = FALSE), expected)
  expect_s3_class(PlotSCMVPImputation(renamed, "Gene1"), "ggplot")
  renamed[["GEX2"]] <- SeuratObject::CreateAssayObject(rna_counts())
  expect_refused(DifferentialSCMVP(renamed, verbose = FALSE), "put assay 'RNA' back")
  # another kind of assay under its name
  replaced <- fit
  replaced[["ATAC"]] <- NULL
  other <- atac_counts(sub("chr", "chr1", peak_names))
  replaced[["ATAC"]] <- SeuratObject::CreateAssayObject(other)
  expect_refused(
    DifferentialSCMVP(replaced, "peaks", verbose = FALSE), "only 0 of the model's 120 peaks"
  )
})

test_that("after subset(), RenameCells(), SplitObject() and an update values are the same", {
  skip_slow()
  skip_if_not_installed("Seurat")
  fit <- fitted_object()
  whole <- ImputeSCMVP(fit, features = "Gene1", as = "matrix")
  some <- rev(cell_names[11:60])
  shares <- cluster_probabilities(fit, "scmvp")
  same <- function(object, cells = colnames(object)) {
    values <- ImputeSCMVP(object, features = "Gene1", as = "matrix")
    expect_equal(unname(values[1, ]), unname(whole[1, cells]))
    kept <- cluster_probabilities(object, "scmvp")
    expect_equal(unname(kept), unname(shares[cells, ]), tolerance = 1e-4)
    expect_s3_class(PlotSCMVPImputation(object, "Gene1", group.by = "scmvp_cluster"), "ggplot")
    expect_s3_class(DifferentialSCMVP(object, verbose = FALSE), "data.frame")
    groups <- AggregateCells(object, k = 10, verbose = FALSE)
    expect_equal(rownames(groups), colnames(object), ignore_attr = TRUE) # Seurat 5: names
  }
  expect_no_warning({
    same(subset(fit, cells = some))
    same(SeuratObject::UpdateSeuratObject(fit))
    renamed <- SeuratObject::RenameCells(fit, new.names = paste0("x_", cell_names))
    same(renamed, cell_names)
    halves <- Seurat::SplitObject(
      SeuratObject::AddMetaData(fit, rep(1:2, 45), "half"), "half"
    )
    same(halves[[2]])
  })
})

test_that("of a merge nothing is taken for a fit", {
  skip_slow()
  fit <- fitted_object()
  first <- subset(fit, cells = cell_names[1:45])
  second <- subset(fit, cells = cell_names[46:90])
  merged <- merge(first, second)
  why <- "column 'scmvp_cluster' of a fit whose reduction was dropped, as by merge\\(\\) and Diet"
  expect_refused(DifferentialSCMVP(merged), why, "scmvp_error_model")
  expect_refused(ImputeSCMVP(merged), why, "scmvp_error_model")
  expect_refused(PlotSCMVPClusters(merged), why, "scmvp_error_model")
  expect_refused(AggregateCells(merged), why)
  expect_refused(RunCicero(merged), why)
  # imputed values that lost their mark are no counts, and make way for the new ones
  expect_true(all(c("scMVP_RNA", "scMVP_ATAC") %in% SeuratObject::Assays(merged)))
  expect_identical(found_assays(merged, NULL, NULL), list(rna = "RNA", peaks = "ATAC"))
  expect_message(
    again <- RunSCMVP(merged, n.clusters = 3, max.epochs = 2), "removing assay 'scMVP_ATAC'"
  )
  expect_identical(assay_mark(again[["scMVP_RNA"]])$fit, results_of(again)$fit)
  expect_no_warning(DifferentialSCMVP(again, verbose = FALSE))
  # the columns of the old fits beside a new one
  both <- quick_fit(merged, reduction.name = "joint", impute = "none")
  for (use in list(
    function(by) DifferentialSCMVP(both, group.by = by, reduction = "joint", verbose = FALSE),
    function(by) ImputeSCMVP(both, features = "Gene1", by = by, reduction = "joint")
  )) {
    expect_warning(
      use("scmvp_cluster"), "clusters of a fit that is not in the object",
      class = "scmvp_warning_merged"
    )
    expect_no_warning(use("joint_cluster"))
  }
})

test_that("latents that merge() has put together have no model, and that is said", {
  fit <- fitted_object()
  halves <- lapply(list(1:45, 46:90), function(i) subset(fit, cells = cell_names[i]))
  # Seurat 5 warns that it merges all reductions
  merged <- suppressWarnings(merge(halves[[1]], halves[[2]], merge.dr = "scmvp"))
  expect_refused(ImputeSCMVP(merged), "holds no scMVP model \\(merge", "scmvp_error_model")
  expect_warning(
    AggregateCells(merged, k = 10, verbose = FALSE), "'scmvp' has lost its model",
    class = "scmvp_warning_merged"
  )
})

test_that("clusters of another fit in the column of this one are told", {
  skip_slow()
  fit <- fitted_object()
  expect_no_warning(grouping_columns(fit, "scmvp_cluster"))
  renamed <- fit
  renamed$scmvp_cluster <- c("B", "T", "T")[fit$scmvp_cluster] # names, two put together
  expect_no_warning(grouping_columns(renamed, "scmvp_cluster"))
  other <- fit
  other$scmvp_cluster <- as.character(fit$scmvp_cluster)
  three <- colnames(fit)[fit$scmvp_cluster == "0"][1:3]
  other$scmvp_cluster[three] <- "1"
  expect_warning(
    DifferentialSCMVP(other, verbose = FALSE), "differs .* of the fit 'scmvp' in 3 cells",
    class = "scmvp_warning_merged"
  )
  # both columns of another fit
  other$scmvp_cluster <- sort(unname(fit$scmvp_cluster))
  other$scmvp_cluster_prob <- seq(0.5, 0.6, length.out = n_cells)
  forget_worker()
  expect_warning(
    grouping_columns(other, "scmvp_cluster"), "differs .* of the fit 'scmvp'",
    class = "scmvp_warning_merged"
  )
  # found out in a process of its own: functions that need no Python start none in that of R
  expect_false(is.null(session$worker))
})

test_that("cells with names that others of the fit had before have their own clusters", {
  fit <- fitted_object()
  # of three types in turn, so that no cell has the cluster of the one whose name it gets
  some <- setdiff(1:90, c(1:40, 43, 45))
  last <- subset(fit, cells = cell_names[some])
  last <- SeuratObject::RenameCells(last, new.names = cell_names[seq_along(some)])
  expect_no_warning(data <- grouping_columns(last, "scmvp_cluster"))
  expect_identical(data$scmvp_cluster, unname(fit$scmvp_cluster[some]))
})

test_that("experiments that cbind() has joined are not read with the model of the first", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  half <- function(i, ...) {
    counts <- list(rna = rna_counts()[, i], peaks = atac_counts()[, i])
    quick_fit(sce_with(counts$rna, altExps = list(peaks = sce_with(counts$peaks))), ...)
  }
  first <- half(1:45)
  joined <- SingleCellExperiment::cbind(first, half(46:90, seed.use = 2))
  said <- "2 fits named 'scmvp', as after cbind\\(\\) of fitted objects"
  for (use in list(DifferentialSCMVP, ImputeSCMVP, PlotSCMVPClusters)) {
    expect_refused(use(joined), said, "scmvp_error_model")
  }
  expect_refused(AggregateCells(joined), said, "scmvp_error_model")
  again <- quick_fit(joined)
  expect_s3_class(PlotSCMVPClusters(again), "ggplot")
  # two parts of one fit are one fit
  parts <- SingleCellExperiment::cbind(first[, 30:45], first[, 1:29])
  expect_equal(
    ImputeSCMVP(parts, features = "Gene1", as = "matrix"),
    ImputeSCMVP(first, features = "Gene1", as = "matrix")[, c(30:45, 1:29), drop = FALSE]
  )
})

test_that("layers of Seurat 5 are joined where a merge has split them", {
  skip_before_seurat5()
  skip_without_core()
  fit <- fitted_object()
  halves <- lapply(list(1:45, 46:90), function(i) subset(fit, cells = cell_names[i]))
  merged <- merge(halves[[1]], halves[[2]])
  expect_refused(DifferentialSCMVP(merged), "whose reduction was dropped", "scmvp_error_model")
  expect_identical(found_assays(merged, NULL, NULL), list(rna = "RNA", peaks = "ATAC"))
})

test_that("what is left of the latent that a fit replaces is told", {
  skip_slow()
  object <- fitted_object()
  object$scmvp_pseudotime <- object$scmvp_doublet_score <- 0
  again <- function(object) {
    quick_fit(object, max.epochs = 1, impute = "none", verbose = TRUE)
  }
  expect_message(
    again(object), "'scmvp_pseudotime', 'scmvp_doublet_score': of the latent that this one replaces"
  )
  object$scmvp_pseudotime <- NULL
  expect_message(again(object), "run DoubletScoreSCMVP\\(\\) again")
})

test_that("counts of another assay than that of the fit are told", {
  skip_slow()
  object <- fitted_object()
  test <- function(object) {
    DifferentialSCMVP(object, group.by = "half", ident.1 = "a", verbose = FALSE)
  }
  object$half <- rep(c("a", "b"), length.out = ncol(object))
  truth <- expect_no_message(test(object))
  object[["renamed"]] <- SeuratObject::CreateAssayObject(rna_counts())
  SeuratObject::DefaultAssay(object) <- "renamed"
  object[["RNA"]] <- NULL
  expect_message(found <- test(object), "assay 'RNA', which the model was fitted to, is not")
  expect_equal(found, truth)
})

test_that("an experiment beside a fit that was made on none has its counts in 'counts'", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  given <- function(assay, record, as = identity) {
    peaks <- sce_with(atac_counts())
    SummarizedExperiment::assayNames(peaks) <- assay
    given_counts(as(peaks), "peaks", rev(cell_names), record)
  }
  turned <- atac_counts()[, n_cells:1]
  of_matrices <- list(options = list())
  expect_equal(given("counts", of_matrices), turned)
  expect_refused(
    given("raw", of_matrices), "no assay 'counts' .its assays: raw.: give .* counts as a matrix.$"
  )
  expect_equal(
    given("raw", of_matrices, function(x) SummarizedExperiment::assay(x, "raw")), turned
  )
  of_experiment <- list(options = list(assay.type = "raw"))
  expect_equal(given("raw", of_experiment), turned)
  expect_refused(given("counts", of_experiment), "no assay 'raw', which the model was fitted to")
})

test_that("in an object of one cell a column is a column", {
  object <- fitted_object()
  one <- object[, colnames(object)[1]]
  means <- ImputeSCMVP(one, "rna", gene_names[1:2], by = "scmvp_cluster", verbose = FALSE)
  expect_identical(colnames(means), as.character(one$scmvp_cluster[[1]]))
  given <- ImputeSCMVP(one, "rna", gene_names[1:2], by = "other", verbose = FALSE)
  expect_identical(colnames(given), "other")
})

test_that("identities are a column whatever else begins with their name", {
  object <- fitted_object()
  object$identity <- "x"
  data <- cell_data(object)
  expect_identical(data[["ident"]], unname(SeuratObject::Idents(object)))
})

test_that("what was imputed from a fit does not outlive it in a merge with other cells", {
  skip_slow()
  fit <- fitted_object()
  other <- SeuratObject::RenameCells(paired_object(), add.cell.id = "other")
  merged <- suppressWarnings(merge(fit, other))
  # as Seurat 4 may make the key of the name; Seurat 5 has no such keys
  if (utils::packageVersion("SeuratObject") < "5") {
    suppressWarnings(SeuratObject::Key(merged[["scMVP_RNA"]]) <- "scMVP_RNA_")
  }
  expect_true(is_imputed(merged, "scMVP_RNA"))
  again <- suppressWarnings(quick_fit(merged, impute = "none", max.epochs = 1))
  expect_setequal(SeuratObject::Assays(again), c("RNA", "ATAC"))
})
