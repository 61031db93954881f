# Groups of cells: cicero's own (fixture made by tools/cicero_fixture.R), and brute force.

cicero_fixture <- function() readRDS(testthat::test_path("fixtures", "cicero.rds"))

test_that("the same seed gives cicero's groups and its aggregated matrix", {
  fixture <- cicero_fixture()
  for (name in c("raw", "dense", "multi")) {
    case <- cicero_case(name)
    numbers <- fixture[[name]]
    groups <- AggregateCells(case$latent, k = case$k, seed.use = case$seed, verbose = FALSE)
    expect_identical(colnames(groups), numbers$groups)
    for (group in c(1, ncol(groups))) {
      label <- colnames(groups)[group]
      expect_setequal(
        rownames(groups)[groups[, group] > 0], numbers$cells[[sub("agg", "agg_", label)]]
      )
    }
    grouped <- grouped_accessibility(case$counts, groups)
    aggregated <- t(group_values(grouped, seq_len(nrow(case$counts))))
    expect_lt(max(abs(rowSums(aggregated) - numbers$row_sums)), 1e-10)
    expect_lt(max(abs(colSums(aggregated) - numbers$column_sums)), 1e-10)
    expect_lt(max(abs(aggregated[1:10, ] - numbers$first_rows)), 1e-10)
  }
})

test_that("neighbors are those of all distances, and no two groups share nine tenths", {
  latent <- cicero_case("raw")$latent
  near <- nearest_cells(latent, 9)
  distance <- as.matrix(stats::dist(latent))
  diag(distance) <- Inf
  for (cell in c(1, 50, 160)) {
    expect_setequal(near[, cell], order(distance[, cell])[1:9])
  }
  groups <- AggregateCells(latent, k = 20, verbose = FALSE)
  expect_true(all(Matrix::colSums(groups) == 20))
  shared <- as.matrix(Matrix::crossprod(groups))
  expect_lt(max(shared[upper.tri(shared)]), 0.9 * 20)
})

test_that("cells in the same place do not break the search for neighbors", {
  latent <- matrix(rep(c(0, 1), each = 30), 60, 2, dimnames = list(paste0("c", 1:60), NULL))
  groups <- AggregateCells(latent, k = 10, verbose = FALSE)
  sides <- Matrix::crossprod(groups, latent[, 1])
  expect_true(all(as.vector(sides) %in% c(0, 10)))
})

test_that("groups come from the seed alone and leave R's random numbers alone", {
  latent <- cicero_case("raw")$latent
  set.seed(99)
  before <- .Random.seed
  one <- AggregateCells(latent, k = 20, seed.use = 5, verbose = FALSE)
  expect_identical(.Random.seed, before)
  with_seed(1, stats::runif(3))
  expect_identical(AggregateCells(latent, k = 20, seed.use = 5, verbose = FALSE), one)
  other <- AggregateCells(latent, k = 20, seed.use = 6, verbose = FALSE)
  expect_false(identical(colnames(one), colnames(other)))
})

test_that("a Seurat object and a SingleCellExperiment give the groups of their reduction", {
  skip_slow()
  case <- cicero_case("raw")
  object <- peak_object(case)
  groups <- AggregateCells(object, reduction = "latent", k = 20, verbose = FALSE)
  expect_identical(groups, AggregateCells(case$latent, k = 20, verbose = FALSE))
  two <- AggregateCells(object, reduction = "latent", dims = 1:2, k = 20, verbose = FALSE)
  expect_identical(two, AggregateCells(case$latent[, 1:2], k = 20, verbose = FALSE))
  expect_refused(AggregateCells(object), "no reduction 'scmvp' \\(reductions: latent\\)")
  expect_refused(
    AggregateCells(object, reduction = "latent", dims = 1:9), "dims must be among the 4 dimensions"
  )
  skip_if_not_installed("SingleCellExperiment")
  sce <- peak_sce(case)
  expect_identical(AggregateCells(sce, reduction = "latent", k = 20, verbose = FALSE), groups)
})

test_that("wrong input is refused in one sentence", {
  latent <- cicero_case("raw")$latent
  expect_refused(AggregateCells(latent, k = 1), "k must be a whole number of at least 2, not 1")
  expect_refused(AggregateCells(latent, k = 500), "groups of k = 500 cells .* 160 cells")
  expect_refused(AggregateCells("latent.csv"), "numeric matrix of coordinates")
  expect_refused(AggregateCells(latent, K = 5), "unknown argument 'K'; did you mean k")
  latent[3, 2] <- NA
  expect_refused(AggregateCells(latent), "coordinates of 1 cell are .*'cell3'")
})

test_that("much overlap is said", {
  latent <- cicero_case("raw")$latent
  expect_warning(
    expect_message(AggregateCells(latent, k = 50), "groups of 50 cells; two of them have"),
    "more than 10 %", class = "scmvp_warning_overlap"
  )
})
