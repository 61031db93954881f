# The hand-over to the package cicero itself, where it is installed (tools/cicero_fixture.R).

test_that("cicero goes on from our groups and finds what RunCicero() finds", {
  skip_if_not_installed("cicero")
  suppressMessages(loadNamespace("cicero"))
  cicero <- function(name) getExportedValue("cicero", name)
  case <- cicero_case("raw")
  groups <- AggregateCells(case$latent, k = case$k, seed.use = case$seed, verbose = FALSE)
  cds <- as_cicero_cds(case$counts, groups)
  models <- cicero("generate_cicero_models")(
    cds, case$distance_parameter,
    genomic_coords = case$genome
  )
  theirs <- connections_by_pair(cicero("assemble_connections")(models, silent = TRUE))
  ours <- connections_by_pair(RunCicero(
    case$counts,
    groups = groups, genome = case$genome, distance.parameter = case$distance_parameter,
    verbose = FALSE
  ))
  expect_identical(names(ours), names(theirs))
  expect_identical(is.na(ours), is.na(theirs))
  expect_lt(max(abs(ours - theirs), na.rm = TRUE), 1e-6)

  # without size factors: the plain sums of the groups
  plain <- as_cicero_cds(case$counts, groups, size_factor_normalize = FALSE)
  sums <- getExportedValue("Biobase", "exprs")(plain)
  expect_equal(colSums(sums), Matrix::colSums(case$counts %*% groups))
})

test_that("without cicero it says what to install", {
  skip_if(rlang::is_installed("cicero"), "cicero is installed")
  case <- cicero_case("raw")
  expect_error(
    as_cicero_cds(case$counts, AggregateCells(case$latent, k = case$k, verbose = FALSE)),
    class = "scmvp_error_package"
  )
})
