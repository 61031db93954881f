# Arcs over a region: what is drawn is what the tables hold.

plot_data <- function(plot, layer) ggplot2::layer_data(plot, layer)

test_that("sets of links have names that differ", {
  skip_if_not_installed("ggplot2")
  pairs <- data.frame(Peak1 = "chr1-1-9", Peak2 = "chr1-50-60", coaccess = 0.5)
  draw <- function(links) PlotLinks(links, "chr1-1-100")
  expect_refused(draw(list(a = pairs, a = pairs)), "with names that differ")
  expect_refused(draw(list(a = pairs, pairs)), "name each set of links")
  pairs$coaccess <- "high"
  expect_refused(draw(pairs), "column coaccess of connections must be numbers")
})

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

test_that("a gene on several chromosomes is drawn where its links are", {
  skip_if_not_installed("ggplot2")
  links <- data.frame(gene = "A", peak = "chr6-7000-7200", coefficient = 0.2, tss = 2000)
  on <- c("chr6_GL000250v2_alt", "chr6")
  genes <- data.frame(gene = "A", chr = on, start = c(90000, 2000), end = c(92000, 4000))
  genes$strand <- "+"
  for (rows in list(1:2, 2:1)) {
    expect_warning(
      plot <- PlotLinks(links, "A", gene.coords = genes[rows, ]), "most peaks is taken"
    )
    expect_identical(plot$labels$x, "chr6 (Mb)")
    expect_equal(range(plot_data(plot, 1)$x), c(2000, 7100))
  }
})

test_that("names of genes at the edges stay within the region", {
  skip_if_not_installed("ggplot2")
  links <- data.frame(gene = "A", peak = "chr1-7000-7200", coefficient = 0.2, tss = 2000)
  genes <- data.frame(
    gene = c("LEFT", "MIDDLE", "RIGHT"), chr = "chr1", start = c(1, 4000, 9000),
    end = c(1200, 6000, 99000), strand = "+"
  )
  plot <- PlotLinks(links, "chr1:1001-9001", gene.coords = genes)
  text <- plot_data(plot, length(plot$layers))
  text <- text[match(genes$gene, text$label), ]
  for (width in c(100, 2000, 7000)) {
    left <- text$x - text$hjust * width
    expect_true(all(left >= 1001 - 1e-6 & left + width <= 9001 + 1e-6))
  }
  expect_equal(text$hjust[2], 0.5, tolerance = 1e-3)
})

test_that("wrong input is refused in one sentence", {
  skip_if_not_installed("ggplot2")
  table <- data.frame(Peak1 = "chr1-1-2", Peak2 = "chr1-5-6", coaccess = 1)
  expect_refused(PlotLinks(table, "CD4"), "'CD4' is no range .*to find a gene give gene.coords")
  expect_refused(PlotLinks(data.frame(a = 1), "chr1:1-10"), "must have columns Peak1")
  expect_refused(PlotLinks("links", "chr1:1-10"), "data frame of links or a list")
})

# The drawn ends of each gene: a data frame of gene, from and to.
drawn_genes <- function(plot) {
  layers <- lapply(seq_along(plot$layers), function(i) ggplot2::layer_data(plot, i))
  is_text <- vapply(layers, function(x) "label" %in% names(x), logical(1))
  text <- layers[[which(is_text)]]
  kinds <- vapply(plot$layers, function(x) class(x$geom)[1], "")
  segments <- do.call(rbind, lapply(which(kinds == "GeomSegment"), function(i) {
    pointed <- !is.null(plot$layers[[i]]$geom_params$arrow)
    cbind(layers[[i]][c("x", "xend", "y")], pointed = pointed)
  }))
  # a name is in the middle of its gene
  at <- match(round(text$x, 3), round((segments$x + segments$xend) / 2, 3))
  drawn <- data.frame(
    gene = text$label, from = segments$x[at], to = segments$xend[at], pointed = segments$pointed[at]
  )
  drawn[order(drawn$gene), ]
}

test_that("arrows point along the strand, whether bodies or starts are known", {
  skip_slow()
  skip_if_not_installed("ggplot2")
  links <- data.frame(gene = "A", peak = "chr1-7000-7200", coefficient = 0.2, tss = 2000)
  region <- "chr1:1-10000"
  strand <- c("+", "-", "+", "-", "*")
  bodies <- data.frame(
    gene = LETTERS[1:5], chr = "chr1", start = c(2000, 3000, 9000, 6000, 5000),
    end = c(2600, 3700, 15000, 6010, 5400), strand = strand
  )
  drawn <- drawn_genes(suppressWarnings(PlotLinks(links, region, gene.coords = bodies)))
  expect_identical(drawn$gene, LETTERS[1:5])
  # within the region; D is too short to be seen and is drawn from its start
  expect_equal(drawn$from, c(2000, 3700, 9000, 6010, 5000))
  expect_equal(drawn$to, c(2600, 3000, 10000, 6010 - 9999 / 50, 5400))
  expect_identical(drawn$pointed, strand != "*")
  starts <- data.frame(
    gene = LETTERS[1:5], chr = "chr1", tss = c(2000, 3700, 9999, 2, 5000), strand = strand
  )
  bed <- tempfile(fileext = ".bed")
  at <- format_position(starts$tss)
  writeLines(
    paste("chr1", format_position(starts$tss - 1), at, starts$gene, 0, strand, sep = "\t"), bed
  )
  for (form in list(starts, bed)) {
    drawn <- drawn_genes(suppressMessages(PlotLinks(links, region, gene.coords = form)))
    expect_identical(sign(drawn$to - drawn$from)[1:4], c(1, -1, 1, -1))
    expect_identical(drawn$pointed, strand != "*")
    expect_equal(drawn$from[c(1, 2, 5)], starts$tss[c(1, 2, 5)])
    expect_true(all(c(drawn$from, drawn$to) >= 1 & c(drawn$from, drawn$to) <= 10000))
  }
})

test_that("bodies are drawn from a file, too", {
  skip_if_not_installed("ggplot2")
  skip_if_not_installed("rtracklayer")
  exons <- GenomicRanges::GRanges(c("chr1:2000-2100", "chr1:4000-4200"), strand = "-")
  S4Vectors::mcols(exons) <- data.frame(type = "exon", gene_id = "A", transcript_id = "T")
  file <- tempfile(fileext = ".gtf")
  rtracklayer::export(exons, file)
  links <- data.frame(gene = "A", peak = "chr1-7000-7200", coefficient = 0.2, tss = 4200)
  drawn <- drawn_genes(PlotLinks(links, "chr1:1-10000", gene.coords = file))
  expect_equal(c(drawn$from, drawn$to), c(4200, 2000))
  # a region by the gene's name, and one as GRanges that has a name of its own
  by_gene <- PlotLinks(links, "A", gene.coords = file, extend = 100)
  expect_equal(by_gene$coordinates$limits$x, c(1900, 4300))
  named <- GenomicRanges::GRanges(c(here = "chr1:1-10000"))
  expect_equal(PlotLinks(links, named)$coordinates$limits$x, c(1, 10000))
})
