# Values of cells that are given without names to a MultiAssayExperiment: in the order of its
# colData, whichever experiment they are used with.

shuffled <- with_seed(3, sample(cell_names))
types <- rep(c("x", "y", "z"), length.out = n_cells)
times <- stats::setNames(seq_len(n_cells) / n_cells, cell_names)

mixed_object <- function() {
  MultiAssayExperiment::MultiAssayExperiment(
    list(gex = rna_counts()[, shuffled], acc = atac_counts()[, n_cells:1]),
    colData = S4Vectors::DataFrame(type = types, time = unname(times), row.names = cell_names)
  )
}

test_that("unnamed values of a MultiAssayExperiment are in the order of its colData", {
  skip_if_not_installed("MultiAssayExperiment")
  mae <- mixed_object()
  sums <- function(modality) {
    found <- PseudobulkSCMVP(
      mae, sample = rep("s", n_cells), group.by = types, modality = modality, min.cells = 1,
      verbose = FALSE
    )
    found$counts[, match(c("x", "y", "z"), found$samples$group)]
  }
  truth <- function(counts) t(rowsum(as.matrix(Matrix::t(counts)), types))
  expect_equal(as.matrix(sums("rna")), truth(rna_counts()), ignore_attr = "dimnames")
  expect_equal(as.matrix(sums("peaks")), truth(atac_counts()), ignore_attr = "dimnames")

  skip_without_core()
  size <- rev(seq_len(n_cells))
  along <- function(object, time, size, ...) FeaturesAlongSCMVP(object, time, size = size, ...)
  expect_equal(along(mae, unname(times), size), along(rna_counts(), times, size))
  expect_equal(
    along(mae, unname(times), size, experiment = "acc"), along(atac_counts(), times, size)
  )
  expect_equal(along(mae, times, size), along(mae, "time", size))
})

test_that("groups of a fitted MultiAssayExperiment are those of its cells", {
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  skip_without_core()
  mae <- quick_fit(mixed_object(), impute = "none")
  named <- stats::setNames(types, cell_names)
  verbs <- list(
    function(by) DifferentialSCMVP(mae, group.by = by, verbose = FALSE),
    function(by) ImputeSCMVP(mae, "rna", by = by, as = "matrix", verbose = FALSE),
    function(by) TransferLabelsSCMVP(mae, mae, labels = by)[["gex"]]$scmvp_transfer_label,
    function(by) PlotSCMVPImputation(mae, gene_names[1], group.by = by)$data
  )
  for (verb in verbs) expect_equal(verb(types), verb(named))
})

test_that("folds and covariates of cells are those of the cells", {
  skip_if_not_installed("MultiAssayExperiment")
  mae <- mixed_object()
  genes <- data.frame(
    gene = gene_names[1:4], seqnames = "chr1", start = 1000 * 1:4, end = 1000 * 1:4 + 100,
    strand = "+"
  )
  folds <- stats::setNames(rep(1:5, length.out = n_cells), cell_names)
  depth <- matrix(sin(seq_len(n_cells)), dimnames = list(cell_names, NULL))
  links <- function(folds, covariates) {
    LinkPeaksLASSO(
      mae, gene.coords = genes, genes = gene_names[1:4], folds = folds, covariates = covariates,
      n.permutations = 2, verbose = FALSE
    )
  }
  expect_equal(links(unname(folds), unname(depth)), links(folds, depth))
})

test_that("values of a MultiAssayExperiment that name no cells are refused", {
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  mae <- mixed_object()
  along <- function(time) FeaturesAlongSCMVP(mae, pseudotime = time)
  expect_refused(along(1:5), "must have one value for each of the 90 rows of colData")
  map <- data.frame(
    assay = factor("gex"), primary = rep(c("d1", "d2"), n_cells / 2), colname = shuffled
  )
  mae <- MultiAssayExperiment::MultiAssayExperiment(
    list(gex = sce_with(rna_counts()[, shuffled])),
    colData = S4Vectors::DataFrame(row.names = c("d1", "d2")),
    sampleMap = S4Vectors::DataFrame(map)
  )
  expect_refused(along(unname(times)), "rows of colData are not single cells of experiment 'gex'")
  skip_without_core()
  truth <- FeaturesAlongSCMVP(rna_counts(), times)
  expect_equal(along(times), truth)
  # as the message says
  SummarizedExperiment::colData(mae[["gex"]])$time <- times[shuffled]
  expect_equal(along("time"), truth)
})
