# Signal of tracks at linked peaks: a track whose values are known.

made_track <- function() {
  peaks <- paste0("chr1-", format_position(1e4 * 1:60), "-", format_position(1e4 * 1:60 + 500))
  height <- rep(c(6, 2), 30)
  track <- GenomicRanges::makeGRangesFromDataFrame(data.frame(
    seqnames = "chr1", start = 1e4 * 1:60, end = 1e4 * 1:60 + 500, score = height
  ), keep.extra.columns = TRUE)
  set_lengths <- get("seqlengths<-", asNamespace("GenomeInfoDb"))
  track <- set_lengths(track, 7e5)
  file <- tempfile(fileext = ".bw")
  rtracklayer::export(track, file, "bigWig")
  list(peaks = peaks, file = file, height = height)
}

test_that("means, background and profiles are the track's", {
  skip_slow()
  skip_if_not_installed("rtracklayer")
  skip_if_not_installed("ggplot2")
  skip_on_os("windows")
  made <- made_track()
  odd <- made$peaks[seq(1, 39, 2)]
  result <- CREEnrichment(
    list(raw = made$peaks[1:20], imputed = odd), c(mark = made$file), made$peaks,
    flank = 1000, bins = 20, verbose = FALSE
  )
  expect_identical(result$summary$set, c("raw", "imputed"))
  expect_identical(result$summary$peaks, c(20L, 20L))
  # 501 of the 2,001 bases carry the peak's height; bins differ by a base
  expect_equal(result$summary$mean, c(4, 6) * 501 / 2001, tolerance = 0.005)
  signal <- result$signal$imputed$mark$linked
  expect_identical(dim(signal), c(20L, 20L))
  expect_equal(signal[, 10], rep(6, 20))
  expect_equal(signal[, 1], rep(0, 20))
  # no background peak is linked in any set
  expect_lt(result$summary$p_value[2], 1e-3)
  for (plot in result[c("profile", "heatmap")]) {
    expect_s3_class(ggplot2::ggplot_build(plot), "ggplot_built")
  }
})

test_that("each bin is the mean of its bases, on any chromosome and in any order", {
  skip_slow()
  skip_if_not_installed("rtracklayer")
  skip_if_not_installed("ggplot2")
  skip_on_os("windows")
  value <- lapply(c(chr1 = 1, chr2 = 2), function(seed) with_seed(seed, sample(9, 3000, TRUE)))
  wig <- tempfile(fileext = ".wig")
  writeLines(unlist(c("track type=wiggle_0", lapply(names(value), function(name) {
    c(paste0("fixedStep chrom=", name, " start=1 step=1"), value[[name]])
  }))), wig)
  file <- rtracklayer::wigToBigWig(wig, GenomeInfoDb::Seqinfo(names(value), c(3000, 3000)))
  ranges <- data.frame(
    seqnames = c("2", "chr1", "chr2"), start = c(1500, 2000, 900), end = c(1500, 2000, 900)
  )
  signal <- track_signal(rtracklayer::path(file), ranges, 100, 9)
  of_bases <- floor((0:200) * 9 / 201)
  for (i in 1:3) {
    bases <- value[[sub("^2$", "chr2", ranges$seqnames[i])]][ranges$start[i] + -100:100]
    expect_equal(signal[i, ], as.vector(tapply(bases, of_bases, mean)))
  }
  # and that is what is drawn
  kinds <- list(linked = signal, background = signal[1:2, ])
  drawn <- enrichment_profile(list(set = list(track = kinds)), 100)
  lines <- ggplot2::layer_data(drawn, 1)
  linked <- lines[lines$linetype == "solid", ]
  expect_equal(linked$y, colMeans(signal))
  expect_equal(linked$x, bin_positions(9, 100))
  heat <- enrichment_heatmap(list(set = list(track = kinds)), 100)
  expect_equal(subset(heat$data, kind == "linked")$signal[1:3], signal[order(rowMeans(signal)), 1])
  expect_equal(ggplot2::layer_scales(heat)$x$get_breaks(), c(-100, 0, 100))
  expect_refused(
    CREEnrichment("chr1-1-9", rtracklayer::path(file), "chr1-1-9", flank = 5, bins = 12),
    "bins = 12 are more than the 11 bases"
  )
})

test_that("the background has the same values of match.on, and comes from the seed", {
  table <- ranges_table(NULL, paste0("chr1-", 10000L * 1:200, "-", 10000L * 1:200 + 500L))
  value <- rep(1:100, 2)
  linked <- table$name[c(1:20, 81:100)]
  draw <- function(seed) {
    seeded(seed, set_and_background(linked, table, value, linked, 1000))
  }
  groups <- draw(1)
  expect_false(any(groups$background %in% groups$linked))
  expect_identical(anyDuplicated(groups$background), 0L)
  expect_lt(abs(mean(value[groups$background]) - mean(value[groups$linked])), 1.5)
  expect_identical(draw(1), groups)
})

test_that("wrong input is refused in one sentence", {
  skip_if_not_installed("rtracklayer")
  skip_if_not_installed("ggplot2")
  skip_on_os("windows")
  made <- made_track()
  run <- function(links = made$peaks[1:5], bigwig = made$file, background = made$peaks, ...) {
    CREEnrichment(list(set = links), bigwig, background, verbose = FALSE, ...)
  }
  expect_refused(run(bigwig = "none.bw"), "there is no file 'none.bw'")
  text <- tempfile(fileext = ".bw")
  writeLines("no track", text)
  expect_refused(run(bigwig = text), "cannot be read as bigWig")
  expect_refused(run(links = made$peaks), "0 peaks without a link for a background of 60")
  expect_refused(run(links = "chr2-1-100"), "no linked peak")
  other <- sub("chr1", "chr5", made$peaks)
  expect_refused(run(other[1:5], background = other), "share no chromosome")
  expect_refused(run(match.on = 1:3), "match.on must be numbers named")
  unknown <- stats::setNames(rep(c(1, NA), 30), made$peaks)
  expect_refused(run(match.on = unknown), "none of them missing")
  twice <- list(a = made$peaks[1:3], a = made$peaks[4:6])
  expect_refused(CREEnrichment(twice, made$file, made$peaks), "with names that differ")
  expect_refused(run(flank = 6e5), "with flank = 600,000 base pairs on both sides, within")
})

test_that("tables of links have a threshold, and each peak counts once", {
  peaks <- paste0("chr1-", 1:10, "000-", 1:10, "500")
  of_set <- function(..., threshold = 0.5) {
    linked_peaks(list(a = data.frame(gene = "A", peak = peaks, ...)), threshold)$a
  }
  expect_identical(of_set(score = rep(c(1, 0), 5)), peaks[seq(1, 9, 2)])
  expect_identical(of_set(coefficient = rep(c(-1, 0.2), 5)), peaks[seq(1, 9, 2)])
  expect_identical(of_set(), peaks)
  if (requireNamespace("GenomicRanges", quietly = TRUE)) {
    # arcs name their peaks
    score <- rep(c(-1, 0.2), 5)
    arcs <- make_links(
      rep("chr1", 10), 1:10, 90000 + 1:10,
      score = score, gene = "A", peak = peaks
    )
    expect_identical(linked_peaks(arcs, 0.5)$links, peaks[seq(1, 9, 2)])
    pairs <- data.frame(Peak1 = peaks[1:5], Peak2 = peaks[c(2:5, 9)], coaccess = 1:5 / 10)
    expect_setequal(
      linked_peaks(list(cicero = CiceroLinks(pairs)), 0.25)$cicero, peaks[c(3:5, 9)]
    )
    expect_identical(
      linked_peaks(GenomicRanges::GRanges("chr1:5-9"), 0)$links, "chr1-5-9"
    )
  }
  skip_if_not_installed("rtracklayer")
  skip_if_not_installed("ggplot2")
  skip_on_os("windows")
  made <- made_track()
  run <- function(background) {
    CREEnrichment(list(a = made$peaks[1:3]), made$file, background, verbose = FALSE)$summary
  }
  expect_equal(run(made$peaks[c(1:60, 1)]), run(made$peaks))
})
