# The compiled part of RunCicero(): the graphical lasso against the conditions that its solution
# alone fulfills, sums and covariances against R's own.

solve_glasso <- function(covariance, rho) .Call(scmvp_window_glasso, covariance, rho)

# Some variables that go together, `near` of which carry no penalty between them.
glasso_case <- function(n, penalty, seed, near = integer()) {
  drawn <- with_seed(seed, {
    x <- matrix(stats::rnorm(40 * n), 40) + matrix(stats::rnorm(40), 40, n) * stats::runif(1)
    list(x = x, rho = stats::runif(n * (n - 1) / 2, 0.5, 1.5) * penalty)
  })
  rho <- matrix(0, n, n)
  rho[lower.tri(rho)] <- drawn$rho
  rho <- rho + t(rho)
  rho[near, near] <- 0
  list(covariance = stats::cov(drawn$x) + diag(1e-4, n), rho = rho)
}

# W is the inverse of theta, W = S + rho sign(theta) where theta is not 0, and within rho elsewhere.
expect_solves <- function(found, case, tolerance = 1e-8) {
  expect_true(found$converged)
  expect_identical(found$w, t(found$w))
  expect_lt(max(abs(found$w %*% found$wi - diag(nrow(found$w)))), 1e-6)
  away <- (found$w - case$covariance) - case$rho * sign(found$wi)
  edge <- found$wi != 0
  expect_lt(max(abs(away[edge])), tolerance)
  expect_lt(max(abs(found$w - case$covariance) - case$rho), tolerance)
}

test_that("the graphical lasso fulfills the conditions of its optimum", {
  for (penalty in c(0, 0.05, 0.2, 0.5, 5)) {
    for (n in c(1, 2, 3, 12, 30)) {
      case <- glasso_case(n, penalty, seed = n, near = seq_len(min(n, 3)))
      found <- solve_glasso(case$covariance, case$rho)
      expect_solves(found, case)
      skip_if_not_installed("glasso")
      if (n < 3) next
      exact <- glasso::glasso(case$covariance, case$rho, thr = 1e-10)
      expect_equal(found$w, exact$w, tolerance = 1e-6)
      expect_equal(found$wi, exact$wi, tolerance = 1e-5)
    }
  }
})

test_that("peaks that are nearly the same are no obstacle", {
  x <- with_seed(7, matrix(stats::rnorm(600), 100))
  x <- 100 * cbind(x, x[, 1], x[, 1] + with_seed(8, stats::rnorm(100, 0, 1e-3)))
  case <- list(covariance = stats::cov(x) + diag(1e-4, 8), rho = matrix(200, 8, 8))
  case$rho[c(1, 7, 8), c(1, 7, 8)] <- 0
  found <- solve_glasso(case$covariance, case$rho)
  expect_true(found$converged)
  expect_lt(max(abs(found$w - case$covariance) - case$rho), 1e-5) # variances are 1e4
  expect_equal(found$w[c(1, 7, 8), c(1, 7, 8)], case$covariance[c(1, 7, 8), c(1, 7, 8)])
})

test_that("covariances are those of R, at every number of columns and rows", {
  for (rows in c(3, 7, 513, 1030)) {
    x <- with_seed(rows, matrix(stats::rnorm(rows * 9, 5), rows))
    x <- scale(x, scale = FALSE)
    for (n in c(1, 2, 5, 9)) {
      some <- rev(seq_len(n))
      found <- .Call(scmvp_covariance, x, some, 1e-4)
      expect_equal(found, unname(stats::cov(x[, some, drop = FALSE])) + diag(1e-4, n))
      # the value of a pair does not depend on the columns beside it
      alone <- .Call(scmvp_covariance, x, some[c(n, 1)], 1e-4)
      if (n > 1) expect_identical(found[n, 1], alone[1, 2])
    }
  }
})

test_that("values of groups are products of matrices, from sparse and dense values", {
  drawn <- with_seed(9, list(
    x = matrix(stats::rpois(12 * 30, 0.7), 12), groups = matrix(stats::rbinom(30 * 8, 1, 0.4), 30)
  ))
  storage.mode(drawn$x) <- "double"
  rownames(drawn$x) <- paste0("peak", 1:12)
  sparse <- methods::as(drawn$x, "CsparseMatrix")
  groups <- methods::as(drawn$groups, "CsparseMatrix")
  for (x in list(sparse, drawn$x)) {
    for (of in list(groups, NULL)) {
      sums <- if (is.null(of)) t(drawn$x) else t(drawn$x %*% drawn$groups)
      totals <- rowSums(sums)
      expected <- unname(sums / (totals / exp(mean(log(totals)))))
      grouped <- grouped_accessibility(x, of)
      expect_equal(group_values(grouped, 1:12), expected)
      expect_equal(group_values(grouped, c(7, 2)), expected[, c(7, 2)])
      centered <- scale(expected, scale = FALSE)
      expect_equal(group_values(grouped, 1:12, center = TRUE), centered, ignore_attr = TRUE)
      relative <- t(t(expected) / colMeans(expected))
      expect_equal(group_values(relative_accessibility(grouped), 3:5), relative[, 3:5])
      exact <- group_values(grouped_accessibility(x, of, FALSE), 1:12)
      expect_equal(exact, unname(sums), tolerance = 1e-14)
    }
  }
})

test_that("long edges vanish where the precision matrix says so", {
  skip_if_not_installed("glasso")
  options <- list(distance.constraint = 250000, s = 0.75)
  for (seed in 1:4) {
    position <- sort(with_seed(seed, stats::runif(15, 1, 5e5)))
    covariance <- glasso_case(15, 0, seed)$covariance
    distance <- abs(outer(position, position, "-"))
    long <- distance > 250000
    said <- vapply(2^(-8:2), long_edges_vanish, NA,
      covariance = covariance, position = position, options = options
    )
    expected <- vapply(2^(-8:2), function(parameter) {
      wi <- glasso::glasso(
        covariance, distance_penalty(distance, parameter, 0.75),
        thr = 1e-9
      )$wi
      mean(wi[long] != 0) <= 0.05 && mean(wi == 0) >= 0.2
    }, NA)
    expect_identical(said, expected)
    expect_true(any(said) && !all(said))
  }
})

test_that("pairs in both directions are in order", {
  i <- c(1L, 1L, 2L, 4L)
  j <- c(2L, 5L, 4L, 5L)
  both <- .Call(scmvp_both_directions, i, j, c(.1, .2, NA, .4), 5L)
  first <- c(i, j)
  second <- c(j, i)
  order <- order(first, second)
  expect_identical(both$i, first[order])
  expect_identical(both$j, second[order])
  expect_identical(both$value, rep(c(.1, .2, NA, .4), 2)[order])
})

test_that("a window has the same values whichever windows are computed with it", {
  skip_slow()
  case <- cicero_case("multi")
  groups <- AggregateCells(case$latent, k = case$k, seed.use = case$seed, verbose = FALSE)
  grouped <- grouped_accessibility(case$counts, groups)
  ranges <- ranges_table(NULL, rownames(case$counts))
  windows <- genome_windows(ranges, genome_table(case$genome, ranges), 5e5)
  members <- windows$members[lengths(windows$members) > 1][1:8]
  center <- (ranges$start + ranges$end) / 2
  found <- function(members) window_connections(members, grouped, center, 0.2, 0.75)
  together <- found(members)
  alone <- lapply(seq_along(members), function(w) found(members[w]))
  for (part in c("i", "j", "value")) {
    expect_identical(together[[part]], unlist(lapply(alone, `[[`, part)))
  }
  expect_identical(sort(found(rev(members))$value), sort(together$value))
})
