skip_without_core()

# Starts of genes at every fifth peak.
starts_of_genes <- function() {
  places <- parse_ranges(peak_names)[seq(1, length(peak_names), by = 5), ]
  n <- nrow(places)
  data.frame(
    gene = gene_names[seq_len(n)], seqnames = sub("chr", "", places$seqnames),
    tss = places$start + 700, strand = rep_len(c("+", "-"), n)
  )
}

score_links <- function(object, ..., genes = starts_of_genes()) {
  suppressWarnings(LinkPeaksSCMVP(object, genes, verbose = FALSE, ...))
}

# What Python itself says of the same cells.
python_links <- function(object, ...) {
  genes <- reticulate::r_to_py(starts_of_genes())
  table_of(suppressWarnings(python_model(object)$link_peaks(genes, ...)))
}

test_that("the table is Python's, by either backend and in any order of the coordinates", {
  skip_slow()
  object <- fitted_object()
  wanted <- python_links(object, distance = 10000L)
  links <- score_links(object, distance = 1e4, backend = "reticulate")
  expect_identical(names(links), names(wanted))
  expect_equal(links, wanted)
  shuffled <- starts_of_genes()[sample(nrow(starts_of_genes())), ]
  again <- score_links(object, distance = 1e4, backend = "process", genes = shuffled)
  expect_equal(again, links, tolerance = 1e-5)
})

test_that("a contact map is read from a file and from a data frame", {
  skip_slow()
  object <- fitted_object()
  map <- expand.grid(chrom1 = paste0("chr", 1:4), start1 = 1000 * 0:121, apart = 1000 * 0:11)
  map$chrom2 <- map$chrom1
  map$start2 <- map$start1 + map$apart
  map$end1 <- map$start1 + 1000
  map$end2 <- map$start2 + 1000
  map$count <- seq_len(nrow(map)) %% 17 + 1
  map$apart <- NULL
  wanted <- python_links(object, distance = 10000L, contacts = reticulate::r_to_py(map))
  found <- score_links(object, distance = 1e4, contacts = map)
  expect_equal(found, wanted)
  # which is not what the distances give
  expect_gt(stats::sd((found$contact / pmin(1, (abs(found$distance) / 5000)^-0.87))), 0.1)
  file <- tempfile(fileext = ".tsv")
  write.table(map, file, sep = "\t", quote = FALSE, row.names = FALSE)
  by_file <- score_links(object, distance = 1e4, contacts = file, backend = "process")
  expect_equal(by_file, found, tolerance = 1e-5)
  expect_error(score_links(object, contacts = 3), "contacts is 3", class = "scmvp_error_input")
  expect_error(
    score_links(object, contacts = map[names(map) != "count"]), "no column 'count'",
    class = "scmvp_error_input"
  )
})

# Accessibility is the mean of the imputed values over the cells of a group, in units of the average
# peak.
expect_of_groups <- function(links, group, object) {
  open <- as.matrix(ImputeSCMVP(object, "peaks", as = "matrix", verbose = FALSE))
  for (one in levels(links$group)) {
    part <- links[links$group == one, ]
    own <- open[, !is.na(group) & group == one]
    expect_equal(
      part$accessibility, unname((rowMeans(own) / mean(own))[part$peak]), tolerance = 1e-4
    )
  }
}

test_that("groups are scored by their own cells, in the order of levels and of numbers", {
  skip_slow()
  object <- fitted_object()
  few <- starts_of_genes()[c(1, 8, 15), ]
  object$part <- replace(rep_len(c("b", "a"), n_cells), 1:3, NA)
  links <- score_links(object, group.by = "part", genes = few)
  expect_identical(levels(links$group), c("a", "b"))
  expect_of_groups(links, object$part, object)
  object$own <- factor(
    rep_len(c("low", "", NA, "high"), n_cells), levels = c("low", "high", "")
  )
  links <- score_links(object, group.by = "own", genes = few)
  expect_identical(levels(links$group), levels(object$own))
  expect_of_groups(links, object$own, object)
  object$number <- rep_len(1:12, n_cells)
  links <- score_links(object, group.by = "number", genes = few)
  expect_identical(levels(links$group), as.character(1:12))
})

test_that("links become a GRanges, and PlotLinks() draws the table", {
  skip_slow()
  skip_if_not_installed("GenomicRanges")
  object <- fitted_object()
  links <- score_links(object, distance = 1e4, fdr = 1)
  ranges <- score_links(object, distance = 1e4, as = "links", fdr = 1)
  expect_length(ranges, nrow(links))
  key <- paste(ranges$gene, ranges$peak)
  row <- match(key, paste(links$gene, links$peak))
  expect_equal(ranges$score, links$score[row])
  ends <- cbind(links$tss, floor(links$center))[row, ]
  expect_equal(GenomicRanges::start(ranges), apply(ends, 1, min))
  expect_equal(GenomicRanges::end(ranges), apply(ends, 1, max))
  rate <- stats::median(links$fdr)
  some <- links[links$fdr <= rate, ]
  expect_lt(nrow(some), nrow(links))
  found <- score_links(object, distance = 1e4, fdr = rate)
  expect_equal(found, some, ignore_attr = "row.names")
  skip_if_not_installed("ggplot2")
  region <- paste0(links$seqnames[1], ":1-", format(1e7, scientific = FALSE))
  expect_s3_class(PlotLinks(links, region, starts_of_genes()), "ggplot")
})

test_that("what cannot be linked is refused", {
  object <- fitted_object()
  expect_input <- function(words, ...) {
    expect_error(suppressWarnings(LinkPeaksSCMVP(object, ..., verbose = FALSE)), words,
      class = "scmvp_error_input")
  }
  genes <- starts_of_genes()
  expect_input("fdr must be at most 1", genes, fdr = 2)
  expect_input("distance", genes, distance = 0)
  expect_input("no peak is within", transform(genes, seqnames = "Z"))
  expect_input("unknown argument", genes, max.distance = 3)
  expect_input("leave group.by out", genes, group.by = "seurat_clusters", as = "links")
})
