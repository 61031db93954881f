# Drawings of fixed values, compared with those in _snaps/. No fit is in them: its last digits
# differ between machines. Other versions of ggplot2 lay the same plot out a little differently.

drawings <- c("history", "probability", "entropy", "measured-imputed", "by-group", "links")

expect_drawing <- function(name, plot) {
  # or they would be cleaned up where they are not drawn
  for (file in drawings) testthat::announce_snapshot_file(name = paste0(file, ".svg"))
  skip_if_not_installed("vdiffr")
  version <- utils::packageVersion("ggplot2")
  skip_if(
    version < "3.4.0" || version >= "3.5.0", paste0(
      "the drawings are of ggplot2 3.4, and this is ", version
    )
  )
  vdiffr::expect_doppelganger(name, plot)
}

drawn_fit <- function() {
  cells <- paste0("c", 1:12)
  sure <- c(0.99, 0.9, 0.8, 0.6, 0.95, 0.7, 0.5, 0.99, 0.85, 0.4, 0.9, 0.97)
  label <- rep(1:3, each = 4)
  probabilities <- matrix((1 - sure) / 2, 12, 3, dimnames = list(cells, 0:2))
  probabilities[cbind(1:12, label)] <- sure
  epoch <- 1:8
  structure(
    list(
      latent = matrix(0, 12, 2, dimnames = list(cells, NULL)),
      cluster = factor(label - 1), probabilities = probabilities,
      history = data.frame(
        epoch = epoch, phase = rep(c("warm-up", "mixture", "annealing"), c(3, 3, 2)),
        elbo_train = -900 + 100 * (1 - 2^-epoch), elbo_validation = -910 + 95 * (1 - 2^-epoch)
      )
    ),
    class = "scMVPFit"
  )
}

values_of_two_genes <- function() {
  imputed <- c(0.2, 0.5, 1.1, 1.6, 2, 2.3, 0.1, 0.3, 0.4, 0.9, 1, 1.4)
  data.frame(
    feature = factor(rep(c("A", "B"), 6), c("A", "B")),
    measured = c(0, 0, 1.2, 1.5, 2.6, 0, 0, 0, 0, 1.3, 0, 2), imputed = imputed,
    group = rep(c("x", "y"), each = 6)
  )
}

test_that("training", {
  expect_drawing("history", PlotSCMVPHistory(drawn_fit()))
})

test_that("clusters", {
  expect_drawing("probability", PlotSCMVPClusters(drawn_fit()))
  expect_drawing("entropy", PlotSCMVPClusters(drawn_fit(), "entropy"))
})

test_that("measured against imputed", {
  skip_slow()
  scale <- "log(1 + counts per 10,000)"
  expect_drawing("measured-imputed", plot_measured_imputed(values_of_two_genes(), scale, NULL))
  expect_drawing("by-group", plot_by_group(values_of_two_genes(), scale, "type", NULL))
})

test_that("links over a region", {
  connections <- data.frame(
    Peak1 = c("chr1-1000-1200", "chr1-2500-2700"), Peak2 = c("chr1-5000-5200", "chr1-7000-7200"),
    coaccess = c(0.4, 0.2)
  )
  genes <- data.frame(gene = "A", seqnames = "chr1", start = 2000, end = 4000, strand = "+")
  expect_drawing("links", PlotLinks(connections, "chr1:1-10000", gene.coords = genes))
})
