skip_if_not_installed("ggplot2")

# What is drawn, not how: pixels differ between versions of ggplot2.
drawn <- function(plot, layer = 1) ggplot2::layer_data(plot, layer)

test_that("the history shows both ELBOs and where phases begin", {
  plot <- PlotSCMVPHistory(fitted_object())
  expect_s3_class(plot, "ggplot")
  history <- results_of(fitted_object())$history
  lines <- drawn(plot, 2)
  expect_setequal(
    round(lines$y, 6), round(c(history$elbo_train, history$elbo_validation), 6)
  )
  expect_equal(drawn(plot, 1)$xintercept, sum(history$phase == history$phase[1]) + 0.5)
  expect_error(PlotSCMVPHistory(paired_object()), class = "scmvp_error_model")
  expect_refused(PlotSCMVPHistory(1), "what RunSCMVP\\(\\) returned, not class numeric")
})

test_that("measured and imputed values are on one scale", {
  object <- fitted_object()
  points <- drawn(PlotSCMVPImputation(object, c("Gene3", "Gene1")))
  counts <- rna_counts()
  expect_equal(
    points$y[points$PANEL == 1], log1p(counts["Gene3", ] / Matrix::colSums(counts) * 1e4),
    ignore_attr = TRUE
  )
  imputed <- ImputeSCMVP(object, features = "Gene1", as = "matrix")
  expect_equal(points$x[points$PANEL == 2], as.vector(imputed), tolerance = 1e-6)
  boxes <- drawn(PlotSCMVPImputation(
    object, peak_names[1:2],
    modality = "peaks", group.by = "scmvp_cluster"
  ))
  expect_identical(nrow(boxes), 2L * 2L * nlevels(object$scmvp_cluster))
  expect_refused(PlotSCMVPImputation(object, "Gene1", group.by = "no"), "no cell metadata 'no'")
  expect_refused(PlotSCMVPImputation(object, "SOX2"), "not in the model")
})

test_that("probabilities and their entropy, of the cells that are there", {
  object <- fitted_object()
  shares <- drawn(PlotSCMVPClusters(object))
  expect_identical(nrow(shares), 270L)
  half <- subset(object, cells = cell_names[1:40])
  expect_identical(nrow(drawn(PlotSCMVPClusters(half))), 120L)
  kept <- cluster_probabilities(half, "scmvp")
  renamed <- SeuratObject::RenameCells(half, new.names = paste0("new_", cell_names[1:40]))
  expect_equal(
    cluster_probabilities(renamed, "scmvp"), kept,
    tolerance = 1e-4, ignore_attr = TRUE
  )
  even <- plot_entropy(
    rbind(c("0" = 1, "1" = 0), c(0.5, 0.5), c(0.5, 0.5)), factor(c("0", "1", "1"))
  )
  expect_equal(drawn(even)$middle, c(0, 1))
})
