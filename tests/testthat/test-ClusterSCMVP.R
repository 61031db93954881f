skip_without_core()

test_that("a mixture of one component has no tree", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("ggplot2")
  one <- quick_fit(paired_object(), n.clusters = 1, max.epochs = 1, impute = "none")
  expect_refused(PlotSCMVPTree(one), "one component, so there is no tree")
})

test_that("other levels are unions of the components, in the object and in what follows", {
  skip_slow()
  object <- fitted_object()
  whole <- results_of(object)$probabilities
  two <- ClusterSCMVP(object, n.clusters = 2, verbose = FALSE)
  expect_identical(levels(two$scmvp_cluster), c("0", "1"))
  # each cluster of the fit is in one of the two, and the larger one is 0
  together <- table(object$scmvp_cluster, two$scmvp_cluster)
  expect_lte(sum(apply(together, 1, min)), 2)
  sizes <- table(two$scmvp_cluster)
  expect_gte(sizes[["0"]], sizes[["1"]])
  p <- results_of(two)$probabilities
  expect_equal(unname(rowSums(p)), rep(1, ncol(object)), tolerance = 1e-5)
  expect_identical(
    unname(two$scmvp_cluster_prob), unname(apply(p, 1, max))
  )
  expect_equal(latent_of(two, "scmvp"), latent_of(object, "scmvp"))
  # plots, tests and projections use the clusters that the object has
  expect_identical(nlevels(PlotSCMVPClusters(two, "entropy")$data$cluster), 2L)
  expect_setequal(unique(DifferentialSCMVP(two, verbose = FALSE)$group), c("0", "1"))
  query <- ProjectSCMVP(two, paired_object(), verbose = FALSE)
  expect_identical(unname(query$scmvp_cluster), unname(two$scmvp_cluster))
  # and back
  expect_equal(results_of(ClusterSCMVP(two, verbose = FALSE))$probabilities, whole)
})

test_that("a level that there is not is refused", {
  object <- fitted_object()
  expect_refused(ClusterSCMVP(object, n.clusters = 50), "n.clusters is 50, but the cells are in")
  expect_refused(ClusterSCMVP(object, n.clusters = 0), "n.clusters must be a whole number")
  expect_refused(ClusterSCMVP(object, resolution = 0), "resolution must be a number")
  expect_refused(ClusterSCMVP(object, 2, 0.1), "both n.clusters and resolution are given")
  expect_error(ClusterSCMVP(paired_object()), class = "scmvp_error_model")
  expect_refused(ClusterSCMVP(1), "takes the result of RunSCMVP\\(\\)")
  earlier <- object
  slot(earlier[["scmvp"]], "misc")$tree <- NULL
  expect_refused(PlotSCMVPTree(earlier), "run RunSCMVP\\(\\) again", "scmvp_error_model")
})
