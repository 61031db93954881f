test_that("methylation of a Seurat object is a modality, and its levels are imputed", {
  skip_slow()
  given <- fitted_with_methylation()
  object <- ImputeSCMVP(given$object, "methylation", verbose = FALSE)
  values <- layer_data(object, "scMVP_Methylation", "data")
  expect_identical(dim(values), c(120L, 150L))
  expect_true(all(values >= 0 & values <= 1))
  level <- given$given$level
  expect_gt(stats::cor(as.vector(as.matrix(values)), as.vector(level)), 0.9)
  # levels, not counts per 10,000: they are on the scale of the truth
  expect_equal(mean(values[level == 0.9]), 0.9, tolerance = 0.1)
  expect_equal(mean(values[level == 0.4]), 0.4, tolerance = 0.1)
  expect_identical(results_of(object)$options$methylation.assay, "methylated + covered")
})

test_that("the fit says what is modeled", {
  skip_slow()
  skip_without_core()
  object <- with_methylation_assays(cells_with_methylation())
  said <- capture.output(
    fit <- RunSCMVP(object, modalities = "methylation", n.clusters = 3, max.epochs = 2),
    type = "message"
  )
  expect_match(said, "methylation assay 'methylated \\+ covered' \\(120 regions\\)", all = FALSE)
  expect_match(said, "modeling 120 of 120 regions", all = FALSE)
  expect_identical(dim(latent_of(fit)), c(150L, 20L))
})

test_that("the class of the object makes no difference, nor the order of its cells", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  given <- cells_with_methylation()
  rna <- layer_data(given$object, "RNA", "counts")
  experiment <- function(...) SingleCellExperiment::SingleCellExperiment(list(...))
  sce <- experiment(counts = rna)
  SingleCellExperiment::altExp(sce, "meth") <- experiment(
    methylated = given$methylated[, colnames(sce)], covered = given$covered[, colnames(sce)]
  )
  fit <- function(x, ...) {
    RunSCMVP(
      x, ...,
      modalities = c("rna", "methylation"), n.clusters = 3, max.epochs = 2, impute = "none",
      verbose = FALSE
    )
  }
  both <- given[c("methylated", "covered")]
  of_matrices <- fit(rna, methylation = both, backend = "process")
  of_assays <- fit(with_methylation_assays(given))
  of_experiment <- fit(sce)
  for (object in list(of_assays, of_experiment)) {
    latent <- latent_of(object)
    expect_equal(unname(latent), unname(of_matrices$latent[rownames(latent), ]), tolerance = 1e-6)
    table <- DifferentialSCMVP(object, "methylation", verbose = FALSE)
    same <- DifferentialSCMVP(
      of_matrices, "methylation",
      rna = rna, methylation = both, verbose = FALSE
    )
    expect_equal(table$lfc, same$lfc, tolerance = 1e-5)
    again <- ProjectSCMVP(of_matrices, object, reduction.name = "again", verbose = FALSE)
    expect_equal(unname(latent_of(again, "again")), unname(latent), tolerance = 1e-4)
  }
})

test_that("regions that differ are called", {
  given <- fitted_with_methylation()
  kind <- given$given$kind
  table <- DifferentialSCMVP(
    given$object, "methylation",
    group.by = as.character(kind), only.pos = TRUE, verbose = FALSE
  )
  number <- match(table$feature, rownames(given$given$covered))
  own <- number %% 3 + 1 == as.integer(as.character(table$group))
  expect_true(all(table$is_de[own]) && sum(table$is_de[!own]) < 0.05 * sum(own))
  one <- table[1, ]
  rows <- given$given[c("methylated", "covered")]
  cells <- colnames(given$plain)[kind == as.integer(as.character(one$group))]
  sums <- vapply(rows, function(m) sum(m[one$feature, cells]), 0)
  expect_equal(one$mean_group, sums[[1]] / sums[[2]], tolerance = 1e-6)
})

test_that("cells are embedded from their methylation, with regions by name", {
  given <- fitted_with_methylation()
  latent <- latent_of(given$object)
  cells <- rev(colnames(given$plain))[1:80]
  query <- subset(given$plain, cells = cells)
  again <- latent_of(ProjectSCMVP(given$object, query, verbose = FALSE))
  expect_equal(unname(again), unname(latent[rownames(again), ]), tolerance = 1e-4)
  some <- lapply(given$given[c("methylated", "covered")], function(m) m[115:1, cells])
  alone <- ProjectSCMVP(given$object, methylation = some, verbose = FALSE)
  expect_identical(rownames(alone$latent), cells)
  at <- apply(alone$probabilities, 1, which.max)
  expect_gt(mean(at - 1 == as.integer(as.character(given$object$scmvp_cluster[cells]))), 0.9)
})

test_that("a report and doublet scores have methylation", {
  skip_slow()
  given <- fitted_with_methylation()
  file <- tempfile(fileext = ".html")
  ReportSCMVP(given$object, file, verbose = FALSE)
  expect_match(paste(readLines(file), collapse = " "), "log2 odds ratio")
  scored <- DoubletScoreSCMVP(given$object, verbose = FALSE)
  expect_true(all(scored$scmvp_doublet_score >= 0, na.rm = TRUE))
})

test_that("methylation that makes no sense is refused, and what is advised works", {
  skip_slow()
  skip_without_core()
  given <- cells_with_methylation()
  rna <- layer_data(given$object, "RNA", "counts")
  fit <- function(x, ...) {
    RunSCMVP(x, ..., n.clusters = 3, max.epochs = 1, impute = "none", verbose = FALSE)
  }
  both <- given[c("methylated", "covered")]
  kinds <- c("rna", "methylation")
  expect_error(
    fit(given$object, modalities = kinds), "no methylation found: a Seurat object needs two",
    class = "scmvp_error_input"
  )
  expect_error(
    fit(rna, modalities = kinds), "methylation must be a list of two .* not NULL",
    class = "scmvp_error_input"
  )
  expect_error(
    fit(rna, modalities = kinds, methylation = both[1]), "methylation must be a list of two",
    class = "scmvp_error_input"
  )
  unnamed <- both
  rownames(unnamed$covered) <- NULL
  expect_error(
    fit(rna, modalities = kinds, methylation = unnamed), "'covered' of methylation needs row names",
    class = "scmvp_error_input"
  )
  other <- both
  other$covered <- other$covered[-1, ]
  expect_error(
    fit(rna, modalities = kinds, methylation = other), "not of the same regions and cells",
    class = "scmvp_error_input"
  )
  more <- both
  more$covered[3, 5] <- more$methylated[3, colnames(more$covered)[5]] - 1
  expect_error(
    fit(rna, modalities = kinds, methylation = list(
      methylated = both$methylated + 10, covered = both$covered
    )),
    "more methylated than covered positions \\(region chr1-1000-1999, cell",
    class = "scmvp_error_input"
  )
  expect_error(
    fit(rna, methylation = both), "peaks must be a matrix",
    class = "scmvp_error_input"
  )
  expect_error(
    PseudobulkSCMVP(given$object, "cell_type", modality = "methylation"),
    "modality must be", class = "scmvp_error_input"
  )
  expect_s3_class(fit(rna, modalities = kinds, methylation = both), "scMVPFit")
})

test_that("files with methylation become two assays", {
  skip_slow()
  skip_without_core()
  file <- in_python(c(
    "import sys, numpy as np, scmvp, anndata, mudata, scipy.sparse as sp",
    "pair = scmvp.simulate(n_cells=60, n_genes=80, n_peaks=120, n_types=2, seed=1)",
    "n = sp.csr_matrix(np.random.default_rng(0).poisson(3, (60, 20)).astype('float32'))",
    "m = n.copy()",
    "m.data = np.floor(m.data / 2)",
    "layers = {'methylated': m, 'covered': n}",
    "part = anndata.AnnData(obs=pair['rna'].obs[[]].copy(), layers=layers)",
    "part.var_names = [f'chr1-{i}00-{i}99' for i in range(1, 21)]",
    "mudata.MuData({'rna': pair['rna'], 'methylation': part}).write(sys.argv[1])"
  ), tempfile(fileext = ".h5mu"))
  object <- ReadSCMVP(file, verbose = FALSE)
  expect_true(all(c("RNA", "methylated", "covered") %in% SeuratObject::Assays(object)))
  covered <- layer_data(object, "covered", "counts")
  methylated <- layer_data(object, "methylated", "counts")
  expect_identical(dim(covered), c(20L, 60L))
  expect_equal(as.matrix(methylated), floor(as.matrix(covered) / 2), ignore_attr = TRUE)
})
