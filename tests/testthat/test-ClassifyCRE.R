# Proximal or distal, nearest gene: brute force over all starts.

starts <- data.frame(
  gene = c("A", "B", "C"), seqnames = c("chr1", "chr1", "2"), start = c(10000, 50000, 8000),
  end = c(20000, 60000, 9000), strand = c("+", "-", "+")
)

test_that("the window is upstream to downstream of the start on the gene's strand", {
  peaks <- c(
    "chr1-7900-7999", "chr1-7900-8000", "chr1-10500-10600", "chr1-10501-10600", # A: 8000 to 10500
    # B: 59500 to 62000
    "chr1-62000-62100", "chr1-62001-62100", "chr1-59000-59500", "chr1-59000-59499",
    "chr2:8000-8001", "chr9-1-100"
  )
  classes <- ClassifyCRE(peaks, starts)
  expect_identical(classes$peak, peaks)
  expect_identical(
    as.character(classes$class),
    c("distal", "proximal", "proximal", "distal", "proximal", "distal", "proximal", "distal",
      "proximal", "distal")
  )
  expect_identical(classes$gene[c(1, 5, 9, 10)], c("A", "B", "C", NA))
  expect_equal(classes$distance[c(1, 3, 5, 7, 9)], c(-2001, 500, -2000, 500, 0))
  wide <- ClassifyCRE(peaks, starts, upstream = 1e5, downstream = 1e5)
  expect_identical(as.character(wide$class), rep(c("proximal", "distal"), c(9, 1)))
})

test_that("nearest genes and classes are those of brute force", {
  skip_slow()
  draw <- function() {
    at <- sort(sample(1e6, 80))
    list(
      starts = data.frame(
        gene = paste0("g", 1:40), seqnames = "chr1", tss = sample(1e6, 40),
        strand = sample(c("+", "-"), 40, TRUE)
      ),
      start = at, end = at + sample(3000, 80, TRUE)
    )
  }
  made <- with_seed(8, draw())
  peaks <- paste("chr1", format_position(made$start), format_position(made$end), sep = "-")
  classes <- ClassifyCRE(peaks, made$starts)
  tss <- made$starts$tss
  for (i in seq_along(peaks)) {
    offset <- ifelse(tss < made$start[i], made$start[i] - tss, pmin(made$end[i] - tss, 0))
    best <- which(made$starts$gene == classes$gene[i])
    expect_identical(abs(offset[best]), min(abs(offset)))
    sign <- ifelse(made$starts$strand == "-", -1, 1)
    expect_equal(classes$distance[i], (sign * offset)[best])
    low <- ifelse(sign > 0, tss - 2000, tss - 500)
    high <- ifelse(sign > 0, tss + 500, tss + 2000)
    expect_identical(
      classes$class[i] == "proximal", any(made$end[i] >= low & made$start[i] <= high)
    )
  }
})

test_that("tables of pairs and of links keep their rows", {
  pairs <- data.frame(
    Peak1 = c("chr1-9000-9500", "chr1-30000-30500", "chr1-9000-9500"),
    Peak2 = c("chr1-30000-30500", "chr1-35000-35500", "chr1-60000-60400"), coaccess = c(.1, .2, .3)
  )
  classes <- ClassifyCRE(pairs, starts)
  expect_identical(classes$coaccess, pairs$coaccess)
  expect_identical(
    as.character(classes$type), c("proximal-distal", "distal-distal", "proximal-proximal")
  )
  links <- data.frame(gene = c("A", "B"), peak = "chr1-30000-30500")
  expect_identical(ClassifyCRE(links, starts)$is.nearest, c(TRUE, FALSE))
})

test_that("a gene whose start is as near as the nearest is the nearest", {
  places <- data.frame(
    gene = c("A", "B", "C", "C", "D"), seqnames = c(rep("chr1", 4), "chr2"),
    start = c(1000, 1400, 2000, 1700, 1200), end = 3000, strand = "+"
  )
  links <- data.frame(gene = c("A", "B", "C", "D"), peak = "chr1-900-1500")
  expect_identical(ClassifyCRE(links, places)$is.nearest, c(TRUE, TRUE, FALSE, FALSE))
  links$peak <- "chr1-1600-1900"
  expect_identical(ClassifyCRE(links, places)$is.nearest, c(FALSE, FALSE, TRUE, FALSE))
})

test_that("links are classified by the peaks at their ends", {
  skip_if_not_installed("GenomicRanges")
  pairs <- data.frame(
    Peak1 = c("chr1-30000-30500", "chr1-9000-9500"), Peak2 = "chr1-60000-60400",
    coaccess = c(.1, .2)
  )
  found <- ClassifyCRE(CiceroLinks(pairs), starts)
  columns <- c("Peak1", "Peak2", "coaccess", "type")
  by_peak <- function(x) x[order(x$Peak1), columns]
  expect_equal(by_peak(found), by_peak(ClassifyCRE(pairs, starts)), ignore_attr = TRUE)
  expect_null(names(CiceroLinks(pairs)))
  to_genes <- data.frame(gene = c("A", "B"), peak = pairs$Peak1, score = c(.1, .2))
  arcs <- make_links(rep("chr1", 2), c(9000, 30000), c(90000, 70000), gene = to_genes$gene,
    peak = to_genes$peak, score = to_genes$score)
  expect_equal(ClassifyCRE(arcs, starts), ClassifyCRE(to_genes, starts))
  pairs$Peak2[1] <- "chr2-1-500"
  expect_refused(CiceroLinks(pairs), "1 pair of connections is of peaks on two chromosomes")
  expect_refused(CiceroLinks(pairs[2, ], ccans = pairs), "ccans must be a data frame with columns")
})

test_that("coordinates may be factors, and begin before they end", {
  peak <- "chr1-50000-50500"
  places <- data.frame(
    gene = c("A", "B"), seqnames = "chr1", start = c(50000, 90000), end = c(60000, 95000),
    strand = "+"
  )
  truth <- ClassifyCRE(peak, places)
  expect_identical(truth$distance, 0)
  spelled <- transform(places, start = factor(start), end = factor(end))
  expect_identical(ClassifyCRE(peak, spelled), truth)
  starts <- data.frame(gene = places$gene, seqnames = "chr1", strand = "+")
  starts$tss <- factor(places$start)
  expect_identical(ClassifyCRE(peak, starts), truth)
  starts$tss <- c("x", "1")
  expect_refused(ClassifyCRE(peak, starts), "column tss of gene.coords must hold base pairs")
  reversed <- transform(places, start = end, end = start)
  expect_refused(ClassifyCRE(peak, reversed), "2 rows begin after their end \\(row 1: 60,000 to")
  named <- transform(places, name = "x")[c("seqnames", "start", "end")]
  expect_identical(
    ranges_table(transform(named, start = factor(start)), c("a", "b"))$start, places$start
  )
})

test_that("ranges come in any form, and strangers are refused", {
  skip_if_not_installed("GenomicRanges")
  ranges <- GenomicRanges::GRanges(c("chr1:9000-9500", "chr2:1-100"))
  expect_identical(ClassifyCRE(ranges, starts)$peak, c("chr1-9000-9500", "chr2-1-100"))
  expect_refused(ClassifyCRE("chr7-1-100", starts), "no peak lies on a chromosome with genes")
  expect_refused(ClassifyCRE("CD4", starts), "cannot be read as genomic ranges")
  expect_refused(ClassifyCRE("chr1-1-100"), "gene.coords is needed")
  expect_refused(ClassifyCRE("chr1-1-100", starts, upstream = -1), "upstream must be a number")
})
