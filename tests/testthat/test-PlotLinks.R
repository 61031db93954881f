# Arcs over a region: what is drawn is what the tables hold.

plot_data <- function(plot, layer) ggplot2::layer_data(plot, layer)

test_that("links of a region are arcs from center to center, as high as their score", {
  skip_if_not_installed("ggplot2")
  connections <- data.frame(
    Peak1 = c("chr1-1000-1200", "chr1-5000-5200", "chr1-1000-1200", "chr2-1-100"),
    Peak2 = c("chr1-5000-5200", "chr1-1000-1200", "chr1-90000-90200", "chr2-500-600"),
    coaccess = c(0.4, 0.4, 0.9, 0.8)
  )
  genes <- data.frame(gene = "A", seqnames = "chr1", start = 2000, end = 4000, strand = "+")
  plot <- PlotLinks(connections, "chr1:1-10000", gene.coords = genes)
  arcs <- plot_data(plot, 1)
  expect_equal(range(arcs$x), c(1100, 5100))
  expect_equal(max(arcs$y), 0.4, tolerance = 1e-2)
  expect_length(unique(arcs$group), 1)
  by_gene <- PlotLinks(
    list(raw = connections, imputed = connections[1, ]), "A",
    gene.coords = genes, extend = 3000
  )
  expect_setequal(as.integer(unique(plot_data(by_gene, 1)$PANEL)), 1:2)
  links <- data.frame(gene = "A", peak = "chr1-7000-7200", coefficient = -0.2, tss = 2000)
  expect_equal(range(plot_data(PlotLinks(links, "chr1:1-10000"), 1)$x), c(2000, 7100))
  empty <- PlotLinks(connections, "chr1:20000-30000")
  expect_s3_class(ggplot2::ggplot_build(empty), "ggplot_built")
})

test_that("links as a GRanges and tables without links are drawn", {
  skip_if_not_installed("ggplot2")
  skip_if_not_installed("GenomicRanges")
  connections <- data.frame(
    Peak1 = "chr1-1000-1200", Peak2 = c("chr1-5000-5200", "chr1-7000-7200"), coaccess = c(0.4, 0.2)
  )
  region <- "chr1:1-10000"
  table <- PlotLinks(connections, region)
  ranges <- PlotLinks(CiceroLinks(connections), region)
  expect_equal(plot_data(ranges, 1)[c("x", "y")], plot_data(table, 1)[c("x", "y")])
  expect_equal(plot_data(ranges, 3), plot_data(table, 3)) # the peaks
  none <- CiceroLinks(connections, threshold = 1)
  expect_length(none, 0)
  for (empty in list(none, connections[0, ])) {
    both <- PlotLinks(list(raw = empty, imputed = connections), region)
    expect_setequal(as.integer(unique(plot_data(both, 1)$PANEL)), 2L)
    expect_s3_class(ggplot2::ggplot_build(PlotLinks(empty, region)), "ggplot_built")
  }
  bare <- GenomicRanges::granges(CiceroLinks(connections))
  expect_refused(PlotLinks(bare, region), "need a numeric column score")
  bare$score <- 0.5
  expect_s3_class(ggplot2::ggplot_build(PlotLinks(bare, region)), "ggplot_built")
})

test_that("wrong input is refused in one sentence", {
  skip_if_not_installed("ggplot2")
  table <- data.frame(Peak1 = "chr1-1-2", Peak2 = "chr1-5-6", coaccess = 1)
  expect_refused(PlotLinks(table, "CD4"), "neither a range .* nor a gene .*not given")
  expect_refused(PlotLinks(data.frame(a = 1), "chr1:1-10"), "must have columns Peak1")
  expect_refused(PlotLinks("links", "chr1:1-10"), "data frame of links or a list")
})
