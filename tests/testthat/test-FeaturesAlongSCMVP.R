# Features along pseudotime, against glm() and against the Python core.

course_counts <- function(n = 400) {
  with_seed(4, {
    time <- stats::runif(n, 0, 2)
    size <- exp(stats::rnorm(n, sd = 0.5))
    mean <- rbind(1, exp(time - 1), exp(1 - time), exp(sin(3 * time)), 0.05)
    counts <- matrix(stats::rnbinom(5 * n, mu = t(t(mean) * size), size = 3), 5)
    rownames(counts) <- c("flat", "rising", "falling", "waving", "rare")
    colnames(counts) <- paste0("cell", seq_len(n))
    list(counts = counts, time = time, size = size)
  })
}

test_that("without overdispersion it is anova(test = \"Rao\") of glm()", {
  n <- 500
  time <- with_seed(5, stats::runif(n))
  size <- with_seed(6, exp(stats::rnorm(n, sd = 0.3)))
  size <- size / mean(size)
  # less than Poisson, so that a is 0
  y <- with_seed(7, stats::rbinom(n, 2, pmin(1, 0.05 * size * exp(time))))
  counts <- matrix(y, 1, dimnames = list("gene", paste0("cell", seq_len(n))))
  table <- FeaturesAlongSCMVP(counts, pseudotime = time, size = size, df = 5)
  null <- stats::glm(y ~ 1 + offset(log(size)), family = stats::poisson)
  spline <- stats::glm(
    y ~ splines::bs(time, df = 5) + offset(log(size)),
    family = stats::poisson, control = list(epsilon = 1e-12)
  )
  rao <- stats::anova(null, spline, test = "Rao")$Rao[2]
  pearson <- sum(stats::residuals(null, "pearson")^2)
  dispersion <- max((pearson - rao) / (n - 6), 1)
  expect_equal(table$f, rao / 5 / dispersion, tolerance = 1e-4)
  expect_equal(table$p_value, stats::pf(table$f, 5, n - 6, lower.tail = FALSE))
})

test_that("with overdispersion it is the F test of lm() with weights", {
  course <- course_counts()
  table <- FeaturesAlongSCMVP(course$counts, pseudotime = course$time, size = course$size)
  s <- course$size / mean(course$size)
  y <- course$counts["waving", ]
  mean <- sum(y) / sum(s)
  a <- sum((y - mean * s)^2 - mean * s) / (mean * sum(s^2))
  levels <- 0.1 * 2^(0:13)
  w <- s / (1 + levels[which.min(abs(log(levels / a)))] * s)
  large <- stats::lm(y / s ~ splines::bs(course$time, df = 4), weights = w)
  f <- stats::anova(stats::lm(y / s ~ 1, weights = w), large)$F[2]
  dispersion <- sum(w * stats::residuals(large)^2) / large$df.residual
  dispersion <- dispersion / stats::weighted.mean(y / s, w)
  expect_equal(table$f[table$feature == "waving"], f * min(dispersion, 1))
  expect_setequal(table$feature[1:3], c("rising", "falling", "waving"))
  expect_gt(table$peak[table$feature == "rising"], 1.8)
  expect_lt(table$peak[table$feature == "falling"], 0.2)
  expect_equal(table$log2_fold_change[table$feature == "rising"], 2 / log(2), tolerance = 0.35)
})

test_that("of a Seurat object, of some features and cells", {
  object <- line_object()
  table <- FeaturesAlongSCMVP(object, pseudotime = "place")
  expect_setequal(table$feature[1:2], c("rising", "falling"))
  expect_gt(min(table$p_value[-(1:2)]), 1e-4)
  some <- FeaturesAlongSCMVP(
    object, "place",
    features = c("flat1", "rising"), cells = paste0("cell", 1:99)
  )
  expect_identical(some$feature, c("rising", "flat1"))
  expect_true(all(some$n_cells <= 99))
  expect_refused(FeaturesAlongSCMVP(object), "no cell metadata 'scmvp_pseudotime'")
  expect_refused(FeaturesAlongSCMVP(object, "place", assay = "ATAC"), "no assay 'ATAC'")
  expect_refused(FeaturesAlongSCMVP(object, "place", features = "SOX2"), "'SOX2'")
  expect_refused(FeaturesAlongSCMVP(object, "place", cells = paste0("cell", 1:9)), "only 9 cells")
  expect_refused(FeaturesAlongSCMVP(object, rep(1, 300)), "same pseudotime")
  expect_refused(FeaturesAlongSCMVP(object, 1:9), "one number per cell")
  expect_refused(FeaturesAlongSCMVP(object, "place", df = 2), "df must be")
  expect_refused(FeaturesAlongSCMVP(object, "hour"), "one number per cell")
})

test_that("trends are drawn as curves and as a heat map", {
  skip_if_not_installed("ggplot2")
  object <- line_object()
  curves <- ggplot2::layer_data(
    PlotAlongSCMVP(object, c("rising", "falling"), pseudotime = "place"), 1
  )
  expect_identical(nrow(curves), 100L)
  rising <- curves[curves$PANEL == which(c("rising", "falling") == "rising"), ]
  expect_gt(stats::cor(rising$x, rising$y), 0.97)
  map <- ggplot2::layer_data(
    PlotAlongSCMVP(object, c("rising", "falling"), pseudotime = "place", type = "heatmap"), 1
  )
  expect_identical(nrow(map), 100L)
  # the one that is highest first is on top
  expect_identical(map$fill[map$y == 2 & map$x == min(map$x)], "#08306B")
})

test_that("cells of one pseudotime may be in any order", {
  hour <- rep(c(0, 3, 6, 9, 12, 24), each = 40)
  donor <- rep(1:2, 120)
  counts <- with_seed(1, rbind(
    flat = stats::rpois(240, c(2, 8)[donor]), other = stats::rpois(240, 50)
  ))
  order <- order(donor)
  along <- FeaturesAlongSCMVP(counts, pseudotime = hour)
  expect_equal(FeaturesAlongSCMVP(counts[, order], pseudotime = hour[order]), along)
  colnames(counts) <- paste0("c", seq_len(240))
  expect_equal(FeaturesAlongSCMVP(counts, pseudotime = hour), along)
  expect_refused(
    FeaturesAlongSCMVP(counts[c(1, 1), ], pseudotime = hour), "duplicated names of features: 'flat'"
  )
  table <- data.frame(name = rownames(counts), counts)
  expect_refused(
    FeaturesAlongSCMVP(table, pseudotime = c(0, hour)), "holds text \\(such as 'flat'\\)"
  )
})
