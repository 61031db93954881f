# Every verb on every kind of object. The names of these tests are read by tools/test_matrix.R:
# "<kind of object> | <verb>".

latent_in <- function(object) unname(latent_of(object, "scmvp"))

clusters_in <- function(object) {
  if (inherits(object, "scMVPFit")) return(unname(object$cluster))
  if (inherits(object, "toy_cells")) return(object$cells$scmvp_cluster)
  if (inherits(object, "MultiAssayExperiment")) object <- object[[home_of(object, "scmvp")]]
  unname(object$scmvp_cluster)
}

# What the same counts give as matrices.
reference_fit <- function(rna, peaks) {
  if (is.null(remembered$reference)) {
    remembered$reference <- quick_fit(rna, peaks = peaks)
  }
  remembered$reference
}

for (name in names(object_cases)) local({
  kind <- name
  verb <- function(what) paste(kind, "|", what)

  test_that(verb("run"), {
    made <- fitted_case(kind)
    fit <- made$fit
    # the class that came in; matrices have a class of their own, a path is read as Seurat object
    expected <- if (is.character(made$object)) {
      "Seurat"
    } else if (is_matrix_like(made$object)) {
      "scMVPFit"
    } else {
      class(made$object)
    }
    expect_true(inherits(fit, expected))
    expect_equal(dim(latent_in(fit)), c(n_cells, 20))
    expect_identical(rownames(latent_of(fit, "scmvp")), cell_names)
    expect_length(clusters_in(fit), n_cells)
    # names differ and nothing else: the fit is that of any other kind
    expect_equal(latent_in(fit), latent_in(reference_fit(made$rna, made$peaks)), tolerance = 1e-6)
  })

  test_that(verb("counts"), {
    made <- fitted_case(kind)
    expect_length(made$seen, 1)
    expect_reached_python(made$seen[[1]], made$rna, made$peaks)
  })

  test_that(verb("impute"), {
    made <- fitted_case(kind)
    some <- rownames(made$peaks)[c(7, 1)]
    values <- impute_matrix(made$fit, "peaks", features = some)
    expect_identical(dimnames(values), list(some, cell_names))
    genes <- impute_matrix(made$fit, "rna", features = rownames(made$rna)[1:3])
    expect_true(all(is.finite(genes)) && all(genes >= 0))
    means <- ImputeSCMVP(made$fit, "peaks", features = some, by = "scmvp_cluster")
    expect_identical(rownames(means), some)
    if (inherits(made$fit, "scMVPFit")) return()
    more <- ImputeSCMVP(made$fit, "peaks", features = some)
    expect_true(inherits(more, class(made$fit)))
    part <- parts_of(more)$scMVP_ATAC
    expect_setequal(part$features, some)
    if (is_chromatin(made$object)) expect_s4_class(part$source, "ChromatinAssay")
  })

  test_that(verb("save/load"), {
    made <- fitted_case(kind)
    some <- rownames(made$peaks)[1:2]
    before <- impute_matrix(made$fit, "peaks", features = some)
    file <- tempfile(fileext = ".rds")
    saveRDS(made$fit, file)
    expect_equal(impute_matrix(readRDS(file), "peaks", features = some), before)
    folder <- tempfile("model")
    SaveSCMVP(made$fit, folder)
    expect_identical(LoadSCMVP(folder), model_of(made$fit, "scmvp"))
  })

  test_that(verb("project"), {
    made <- fitted_case(kind)
    query <- do.call(ProjectSCMVP, c(
      list(made$fit, made$object), made$arguments, list(verbose = FALSE)
    ))
    expect_true(inherits(query, class(made$fit)))
    expect_equal(latent_in(query), latent_in(made$fit), tolerance = 1e-4)
    expect_identical(clusters_in(query), clusters_in(made$fit))
  })

  test_that(verb("plot"), {
    skip_if_not_installed("ggplot2")
    made <- fitted_case(kind)
    # where the counts are not in the result, they are given
    measured <- if (inherits(made$fit, "scMVPFit") || "peaks" %in% names(made$arguments)) made$peaks
    peaks <- rownames(made$peaks)[1:2]
    points <- PlotSCMVPImputation(made$fit, peaks, "peaks", measured = measured)
    counts <- as.matrix(made$peaks)
    drawn <- ggplot2::layer_data(points)
    expect_equal(
      drawn$y[drawn$PANEL == 1], counts[1, ] / pmax(colSums(counts), 1) * 1e4,
      ignore_attr = TRUE
    )
    genes <- if (inherits(made$fit, "scMVPFit")) made$rna
    boxes <- PlotSCMVPImputation(
      made$fit, rownames(made$rna)[2],
      group.by = "scmvp_cluster", measured = genes
    )
    plots <- list(
      boxes, PlotSCMVPHistory(made$fit), PlotSCMVPClusters(made$fit),
      PlotSCMVPClusters(made$fit, "entropy")
    )
    for (plot in plots) expect_gt(nrow(ggplot2::layer_data(plot, length(plot$layers))), 0)
    if (!inherits(made$fit, "Seurat") || !requireNamespace("Seurat", quietly = TRUE)) return()
    cells <- Seurat::DimPlot(made$fit, reduction = "scmvp", group.by = "scmvp_cluster")
    expect_s3_class(cells, "gg")
    expect_s3_class(Seurat::FeaturePlot(made$fit, "scmvprna_MT.ND1", reduction = "scmvp"), "gg")
  })
})

# ---- counts that reach Python, the cases beside the table ----------------------------------------

test_that("a process of its own gets the same counts", {
  skip_slow()
  skip_without_core()
  counts <- named_counts(genes = c("A_1", odd_genes[-1]), peaks = odd_peaks(":", "-", "KI_711.1"))
  run <- recording(function() {
    quick_fit(counts$rna, peaks = counts$peaks[, n_cells:1], backend = "process", max.epochs = 1)
  }, backend = "process")
  expect_length(run$seen, 1)
  expect_reached_python(run$seen[[1]], counts$rna, counts$peaks)
})

test_that("cells in an assay in another order than the object's get there in the object's", {
  skip_without_core()
  counts <- named_counts()
  order <- with_seed(5, sample(cell_names))
  objects <- list()
  objects$v3 <- seurat_with(v3_assay(counts$rna))
  objects$v3[["ATAC"]] <- suppressWarnings(v3_assay(counts$peaks[, order]))
  if (is.null(seurat_5())) {
    objects$v5 <- SeuratObject::CreateSeuratObject(v5_assay(counts$rna), assay = "RNA")
    objects$v5[["ATAC"]] <- suppressWarnings(v5_assay(counts$peaks[, order]))
  }
  for (object in objects) {
    run <- recording(function() quick_fit(object, max.epochs = 1, impute = "none"))
    expect_reached_python(run$seen[[1]], counts$rna, counts$peaks)
  }
})

test_that("of an assay with fewer cells than the object, the cells of both get there", {
  skip_without_core()
  reason <- seurat_5()
  skip_if(!is.null(reason), reason)
  counts <- named_counts()
  kept <- cell_names[-c(3, 40)]
  object <- SeuratObject::CreateSeuratObject(v5_assay(counts$rna), assay = "RNA")
  object[["ATAC"]] <- v5_assay(counts$peaks[, kept])
  # what the refusal says to do
  object <- subset(object, cells = colnames(object[["ATAC"]]))
  run <- recording(function() quick_fit(object, max.epochs = 1, impute = "none"))
  expect_reached_python(run$seen[[1]], counts$rna[, kept], counts$peaks[, kept])
})

test_that("chosen features of split layers get there as they are in the object", {
  skip_without_core()
  reason <- seurat_5()
  skip_if(!is.null(reason), reason)
  made <- object_cases[["Seurat, Assay5 in split layers"]]$make()
  genes <- rownames(made$rna)[c(2, 40, 7)]
  run <- recording(function() {
    quick_fit(made$object, max.epochs = 1, impute = "none", rna.features = genes, min.cells = 1)
  })
  expect_reached_python(run$seen[[1]], made$rna[genes, ], made$peaks)
})
