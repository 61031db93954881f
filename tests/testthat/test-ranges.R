test_that("every usual spelling of a range is read, whatever the sequence is called", {
  spelled <- c(
    "chr1-100-200", "chr1:100-200", "chr1_100_200", "1:100-200", "X-100-200", "chr1.100.200",
    "GL000195.1-100-200", "chrUn_KI270742v1-100-200", "chrUn-KI270742v1-100-200",
    "chr1_KI270706v1_random:100-200", "HLA-DRB1*15:01:100-200"
  )
  ranges <- parse_ranges(spelled)
  expect_equal(ranges$start, rep(100, length(spelled)))
  expect_equal(ranges$end, rep(200, length(spelled)))
  expect_equal(
    ranges$seqnames,
    c(
      "chr1", "chr1", "chr1", "1", "X", "chr1", "GL000195.1", "chrUn_KI270742v1",
      "chrUn-KI270742v1", "chr1_KI270706v1_random", "HLA-DRB1*15:01"
    )
  )
})

test_that("gene names are not ranges", {
  genes <- c(
    "CD4", "HLA-A", "MT-ND1", "RP11-34P13.7", "AC004556.1", "ENSG00000123456.12", "hsa-mir-30-2",
    "Gene1", "1-Mar", "chr1-100", "chr1-200-100", ""
  )
  expect_true(all(is.na(parse_ranges(genes)$start)))
  expect_false(are_ranges(genes))
})

test_that("a few odd names do not hide a peak assay", {
  expect_true(are_ranges(c(peak_names, "spike-in")))
  expect_false(are_ranges(c(peak_names[1:2], gene_names)))
  expect_false(are_ranges(character()))
})

test_that("ranges given beside peaks are put in the order of the peaks", {
  ranges <- parse_ranges(peak_names)
  expected <- ranges_table(NULL, peak_names)
  expect_equal(ranges_table(ranges, peak_names), expected)
  turned <- ranges[120:1, ]
  rownames(turned) <- NULL
  expect_equal(ranges_table(turned, peak_names), expected, ignore_attr = TRUE)
  # names of peaks that say nothing, with ranges that have these names
  named <- ranges[120:1, ]
  rownames(named) <- paste0("peak", 120:1)
  expect_equal(ranges_table(named, paste0("peak", 1:120))$start, ranges$start)
  # ranges that are others than the names say stay as they are given: lifted over
  lifted <- transform(ranges, start = start + 7, end = end + 7)
  expect_equal(ranges_table(lifted, peak_names)$start, ranges$start + 7)
  skip_if_not_installed("GenomicRanges")
  object <- GenomicRanges::makeGRangesFromDataFrame(ranges)
  names(object) <- paste0("peak", 1:120)
  expect_equal(ranges_table(rev(object), paste0("peak", 1:120))$start, ranges$start)
})
