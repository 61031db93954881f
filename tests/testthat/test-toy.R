# The verbs beside those of test-classes.R on a class that one file adds (helper-toy.R): each gives
# what it gives for a Seurat object of the same cells.

test_that("a class of one file has every verb", {
  skip_slow()
  toy <- fitted_case("a class added in one file")$fit
  seurat <- fitted_case("Seurat, Assay (v3, v4)")$fit
  both <- function(f, ...) lapply(list(toy = toy, seurat = seurat), f, ...)
  expect_same <- function(f, ...) {
    found <- both(f, ...)
    expect_equal(found$toy, found$seurat, tolerance = 1e-5)
  }
  expect_same(DifferentialSCMVP, "peaks", ident.1 = "0", verbose = FALSE)
  expect_same(AggregateCells, k = 10, verbose = FALSE)
  groups <- AggregateCells(toy, k = 10, verbose = FALSE)
  expect_same(RunCicero, groups = groups, distance.parameter = 0.1, verbose = FALSE)
  # sums over groups are smooth, and that is warned of
  linked <- function(object, ...) {
    suppressWarnings(LinkPeaksLASSO(object, ...), classes = "scmvp_warning_smoothed")
  }
  expect_same(
    linked,
    gene.coords = data.frame(gene = rownames(toy$counts$genes), chr = "chr1", tss = 1000 * 1:60),
    groups = groups, n.permutations = 0, verbose = FALSE
  )
  starts <- data.frame(gene = "Gene4", chr = "chr1", tss = 5000, strand = "+")
  expect_same(ClassifyCRE, starts)
  motifs <- matrix(
    rep_len(c(TRUE, FALSE, FALSE, FALSE), 3 * length(peak_names)), length(peak_names),
    dimnames = list(peak_names, c("A", "B", "C"))
  )
  expect_same(RunMotifSCMVP, motifs, as = "matrix", verbose = FALSE)
  genes <- data.frame(gene = "Gene4", chr = "chr1", start = 5000, end = 9000, strand = "-")
  expect_same(GeneActivitySCMVP, genes, as = "matrix", verbose = FALSE)
  active <- RunMotifSCMVP(toy, motifs, verbose = FALSE)
  expect_identical(dim(active$imputed$motif$values), as.integer(c(3, n_cells)))
  activated <- function(f) {
    function(object, ...) f(RunMotifSCMVP(object, motifs, verbose = FALSE), ...)
  }
  expect_same(activated(RankMotifsSCMVP))
  of_genes <- c(A = "Gene4", B = "Gene5", C = "Gene6")
  expect_same(activated(MotifExpressionSCMVP), genes = of_genes, verbose = FALSE)
  links <- data.frame(gene = "Gene4", peak = peak_names[5], score = 1)
  expect_same(RegulonsSCMVP, links, motifs, verbose = FALSE)
  labelled <- both(function(object) {
    TransferLabelsSCMVP(object, object, labels = rep(c("a", "b"), length.out = n_cells))
  })
  expect_equal(labelled$toy$cells$scmvp_transfer_label, unname(
    labelled$seurat$scmvp_transfer_label
  ))
  time <- seq_len(n_cells)
  expect_same(FeaturesAlongSCMVP, pseudotime = time)
})

test_that("and an order of its cells", {
  skip_if_not_installed("destiny")
  skip_if_not_installed("igraph")
  made <- fitted_case("a class added in one file")
  ordered <- RunDiffusionSCMVP(made$fit, root = cell_names[1], n.neighbors = 60)
  expect_identical(dim(ordered$reductions$scmvp_diffusion), as.integer(c(n_cells, 10)))
  expect_identical(ordered$cells$scmvp_pseudotime[1], 0)
})
