# 20 genes with 60 pairs each, on four chromosomes; those in contact are linked
pairs_of_genes <- function() {
  seeded(5, {
    n <- 1200
    start <- 1000L * sample.int(n)
    seqnames <- rep(paste0("chr", 1:4), each = n / 4)
    data.frame(
      gene = rep(paste0("gene", 1:20), each = 60),
      peak = paste(seqnames, start, start + 500L, sep = "-"), seqnames = seqnames,
      score = runif(n), contact = runif(n), accessibility = rexp(n), support = rexp(n),
      kind = sample(c("distal", "promoter", "promoter of another gene"), n, TRUE, c(8, 1, 1)),
      linked = runif(n) < 0.5
    )
  })
}

calibrated_case <- function() {
  pairs <- pairs_of_genes()
  odds <- 2 * log(pairs$contact) + log(pairs$accessibility) + 1
  pairs$linked <- seeded(6, stats::runif(nrow(pairs))) < stats::plogis(odds)
  list(links = pairs[names(pairs) != "linked"], known = pairs[c("gene", "peak", "linked")])
}

test_that("probabilities and weights are Python's, and weights can be used again", {
  skip_slow()
  skip_without_core()
  case <- calibrated_case()
  found <- CalibrateLinksSCMVP(case$links, case$known[sample.int(nrow(case$known)), ])
  of_python <- function(...) {
    table <- core()$calibrate_links(reticulate::r_to_py(case$links), ...)
    list(table = table_of(table), weights = from_python(table$attrs[["weights"]]))
  }
  wanted <- of_python(reticulate::r_to_py(case$known))
  expect_identical(names(found), c(names(case$links), "calibrated"))
  expect_equal(found, wanted$table, ignore_attr = "weights")
  weights <- attr(found, "weights")
  expect_identical(names(weights), names(wanted$weights))
  expect_equal(lapply(weights, unlist), lapply(wanted$weights, unlist))
  expect_true(is.numeric(weights$weights))
  expect_equal(weights$linked, sum(case$known$linked))

  again <- CalibrateLinksSCMVP(case$links, weights = weights)
  expect_equal(again$calibrated, of_python(weights = wanted$weights)$table$calibrated)
  expect_equal(attr(again, "weights"), weights)
  apart <- CalibrateLinksSCMVP(case$links, weights = weights, backend = "process")
  expect_equal(apart, again)
})

test_that("ranges of known links are 1-based", {
  skip_without_core()
  skip_if_not_installed("GenomicRanges")
  case <- calibrated_case()
  by_name <- CalibrateLinksSCMVP(case$links, case$known)
  start <- as.numeric(sub("^.*-(\\d+)-\\d+$", "\\1", case$known$peak)) # of the name, 0-based
  touching <- function(moved) {
    known <- GenomicRanges::GRanges(
      case$links$seqnames, IRanges::IRanges(start + moved, width = 1),
      gene = case$known$gene, linked = case$known$linked
    )
    attr(CalibrateLinksSCMVP(case$links, known), "weights")
  }
  # the first base pair of a peak that is named chr1-1000-1500 is 1001
  expect_equal(touching(1), attr(by_name, "weights"))
  expect_error(touching(0), "none of the known pairs", class = "scmvp_error_input")
})

test_that("what cannot be calibrated is refused", {
  case <- calibrated_case()
  refused <- function(words, ...) {
    expect_error(CalibrateLinksSCMVP(...), words, class = "scmvp_error_input")
  }
  refused("links must be the data frame of LinkPeaksSCMVP\\(\\), not", 1, case$known)
  refused("known must be a data frame or a GRanges, not", case$links, "x")
  refused("known needs a column gene; it has peak", case$links, case$known["peak"])
  refused("needs a column 'seqnames'", case$links, case$known["gene"])
  refused("known has missing values", case$links, transform(case$known, linked = NA))
  refused("unknown argument", case$links, case$known, folds = 3)
  skip_without_core()
  refused("known links or weights", case$links)
  refused("lacks 'support'", case$links[names(case$links) != "support"], case$known)
  refused("other values than 0 and 1", case$links, transform(case$known, linked = 3))
  refused("weights must have a number", case$links, weights = 3)
  refused("weights must have a number", case$links, weights = list(intercept = 1))
})
