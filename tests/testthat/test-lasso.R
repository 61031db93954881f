# The solver against glmnet, coordinate descent and closed forms.

lambdas <- exp(seq(log(10), log(0.001), length.out = 100))

lasso_data <- function(n, p, seed) {
  draw <- function() {
    x <- matrix(stats::rpois(n * p, 0.4), n)
    if (p > 2) x[, 2] <- x[, 1] + x[, 3] # correlated peaks
    list(
      x = scale(log(x + 0.1)), y = as.vector(scale(x %*% stats::rnorm(p) + 2 * stats::rnorm(n))),
      fold = sample(rep(1:10, length.out = n))
    )
  }
  with_seed(seed, draw())
}

ours <- function(data, n_free = 0, alpha = 1) {
  order <- order(data$fold)
  design <- cbind(1, data$x, data$y)[order, ]
  cross_validate(fold_products(design, cumsum(tabulate(data$fold))), n_free, lambdas, alpha)
}

expect_cv_glmnet <- function(data, fit, ...) {
  theirs <- glmnet::cv.glmnet(
    data$x, data$y,
    lambda = lambdas, foldid = data$fold, thresh = 1e-13, ...
  )
  expect_identical(lambdas[fit$min], theirs$lambda.min)
  expect_identical(lambdas[fit$`1se`], theirs$lambda.1se)
  expect_lt(max(abs(fit$cvm - theirs$cvm)), 1e-6)
  expect_lt(max(abs(fit$cvsd - theirs$cvsd)), 1e-6)
  expect_lt(max(abs(fit$coefficients - as.matrix(stats::coef(theirs$glmnet.fit)))), 1e-5)
}

test_that("cross-validation is cv.glmnet's: errors, penalties, coefficients", {
  skip_slow()
  skip_if_not_installed("glmnet")
  for (p in c(2, 5, 20)) {
    data <- lasso_data(300, p, seed = p)
    expect_cv_glmnet(data, ours(data))
  }
  data <- lasso_data(300, 6, seed = 30)
  expect_cv_glmnet(data, ours(data, alpha = 0.5), alpha = 0.5)
})

test_that("covariates are unpenalized, as with penalty.factor = 0", {
  skip_if_not_installed("glmnet")
  data <- lasso_data(300, 6, seed = 31)
  factor <- c(0, 0, 1, 1, 1, 1)
  fit <- ours(data, n_free = 2)
  # glmnet rescales penalty factors to a mean of 1
  theirs <- glmnet::cv.glmnet(
    data$x, data$y,
    lambda = lambdas * mean(factor), foldid = data$fold, penalty.factor = factor, thresh = 1e-13
  )
  expect_lt(max(abs(fit$coefficients - as.matrix(stats::coef(theirs$glmnet.fit)))), 1e-5)
  expect_lt(max(abs(fit$cvm - theirs$cvm)), 1e-6)
})

test_that("a peak constant in a fold's cells, and copies of a peak, are no obstacle", {
  skip_if_not_installed("glmnet")
  data <- lasso_data(200, 5, seed = 32)
  data$x[, 4] <- 0
  data$x[data$fold == 2, 4] <- with_seed(1, stats::rnorm(sum(data$fold == 2)))
  expect_cv_glmnet(data, ours(data))
  data$x[, 5] <- data$x[, 1]
  fit <- ours(data)
  theirs <- glmnet::cv.glmnet(data$x, data$y, lambda = lambdas, foldid = data$fold, thresh = 1e-13)
  expect_lt(max(abs(fit$cvm - theirs$cvm)), 1e-6)
})

test_that("the paths solve the LASSO, where peaks leave again too", {
  skip_slow()
  gram <- matrix(c(1, .9, .6, .9, 1, .8, .6, .8, 1), 3)
  for (seed in 1:20) {
    moment <- with_seed(seed, as.vector(gram %*% stats::rnorm(3)))
    path <- follow_paths(matrix(gram, 9), matrix(moment), lowest = 1e-3)
    b <- path_at(path, 1, lambdas)
    expect_true(solves_lasso(b, gram, moment, lambdas))
    expect_equal(b, coordinate_descent(gram, moment, lambdas), tolerance = 1e-6)
    largest <- which.max(abs(moment))
    expect_identical(path$entered[largest, 1], max(abs(moment)))
  }
})

test_that("one peak has the closed form", {
  data <- lasso_data(100, 1, seed = 33)
  fit <- ours(data)
  x <- data$x / sqrt(mean(data$x^2))
  moment <- mean(x * data$y)
  expected <- sign(moment) * pmax(abs(moment) - lambdas, 0) / sqrt(mean(data$x^2))
  expect_equal(fit$coefficients[2, ], expected, tolerance = 1e-10)
})

test_that("the permutation rate is expected false calls over calls, made monotone", {
  observed <- c(5, 4, 3, 0.5)
  permuted <- c(3.5, 1, 0.4, 0.2)
  # at least as large as 5, 4, 3, .5 in two permutations: 0, 0, 1, 2; over calls: 1/3, 1/6, 2/9, 1/4
  expect_equal(permutation_fdr(observed, permuted, 2), c(1 / 6, 1 / 6, 2 / 9, 1 / 4))
  expect_equal(permutation_fdr(rev(observed), permuted, 2), rev(c(1 / 6, 1 / 6, 2 / 9, 1 / 4)))
  expect_length(permutation_fdr(numeric(), permuted, 2), 0)
})

test_that("without any link, the permutation rate is the probability of a call, or more", {
  set.seed(1)
  lowest <- replicate(2000, min(permutation_fdr(rexp(30), rexp(300), 10)))
  for (rate in c(0.01, 0.05, 0.1, 0.2)) {
    expect_lt(mean(lowest <= rate), rate + 3 * sqrt(rate / 2000))
  }
})

test_that("peaks that are not standardized, with a ridge, are glmnet's on augmented data", {
  skip_if_not_installed("glmnet")
  data <- lasso_data(300, 6, seed = 33)
  x <- scale(data$x * rep(c(0.1, 1, 3, 1, 0.5, 2), each = 300), scale = FALSE)
  ridge <- 0.3
  products <- fold_products(
    cbind(1, x, data$y)[order(data$fold), ], cumsum(tabulate(data$fold))
  )
  fit <- cross_validate(products, 0, lambdas, standardize = FALSE, ridge = ridge)
  y <- data$y - mean(data$y)
  theirs <- glmnet::glmnet(
    rbind(x, diag(sqrt(300 * ridge), 6)), c(y, numeric(6)),
    lambda = lambdas * 300 / 306, standardize = FALSE, intercept = FALSE, thresh = 1e-15
  )
  expect_lt(max(abs(fit$coefficients[-1, ] - as.matrix(theirs$beta))), 1e-5)
})
