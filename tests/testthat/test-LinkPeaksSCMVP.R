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

score_links <- function(object, ...) {
  suppressWarnings(LinkPeaksSCMVP(object, starts_of_genes(), verbose = FALSE, ...))
}

test_that("factors are those of the imputed values", {
  skip_slow()
  object <- fitted_object()
  links <- score_links(object, distance = 1e5)
  rna <- as.matrix(ImputeSCMVP(object, "rna", as = "matrix", verbose = FALSE))
  open <- as.matrix(ImputeSCMVP(object, "peaks", as = "matrix", verbose = FALSE))
  mean <- rowMeans(open) / mean(open)
  expect_equal(links$accessibility, unname(mean[links$peak]), tolerance = 1e-4)
  wanted <- mapply(function(gene, peak) cor(rna[gene, ], open[peak, ]), # of logarithms
    links$gene, links$peak)
  expect_equal(links$correlation, unname(wanted), tolerance = 1e-3)
  starts <- starts_of_genes()
  peaks <- parse_ranges(links$peak)
  row <- match(links$gene, starts$gene)
  offset <- (peaks$start + peaks$end) / 2 - starts$tss[row]
  expect_equal(links$distance, ifelse(starts$strand[row] == "-", -offset, offset))
  expect_true(all(abs(links$distance) <= 1e5))
  expect_equal(links$contact, pmin(1, (abs(links$distance) / 5000)^-0.87))
  expect_equal(
    links$score, links$contact * links$accessibility * (1 + links$support) / 2
  )
})

test_that("both backends and shuffled coordinates give the same links", {
  skip_slow()
  object <- fitted_object()
  links <- score_links(object, backend = "process")
  expect_equal(score_links(object, backend = "reticulate"), links, tolerance = 1e-5)
  shuffled <- starts_of_genes()[sample(nrow(starts_of_genes())), ]
  again <- suppressWarnings(LinkPeaksSCMVP(object, shuffled, verbose = FALSE))
  expect_equal(again, score_links(object))
})

test_that("a contact map is read from a file and from a data frame", {
  skip_slow()
  object <- fitted_object()
  links <- score_links(object, distance = 1e5)
  bins <- (cbind(links$tss, links$center) - 1) %/% 1000 * 1000
  bins <- t(apply(bins, 1, sort))
  map <- unique(data.frame(
    chrom1 = links$seqnames, start1 = bins[, 1], end1 = bins[, 1] + 1000,
    chrom2 = links$seqnames, start2 = bins[, 2], end2 = bins[, 2] + 1000
  ))
  map$count <- seq_len(nrow(map))
  counts <- map$count[match(paste(links$seqnames, bins[, 1], bins[, 2]),
    paste(map$chrom1, map$start1, map$start2))]
  found <- score_links(object, distance = 1e5, contacts = map)
  far <- abs(links$tss - links$center) >= 1000
  scale <- sum(links$contact[far]) / sum(counts[far])
  floor <- (1e6 / 5000)^-0.87
  expect_equal(found$contact[far], counts[far] * scale + floor)
  expect_equal(found$contact[!far], links$contact[!far])
  file <- tempfile(fileext = ".tsv")
  write.table(map, file, sep = "\t", quote = FALSE, row.names = FALSE)
  expect_equal(score_links(object, distance = 1e5, contacts = file, backend = "process"), found)
  expect_error(score_links(object, contacts = 3), "contacts is 3", class = "scmvp_error_input")
  expect_error(
    score_links(object, contacts = map[-7]), "no column 'count'", class = "scmvp_error_input"
  )
})

test_that("groups are scored by the accessibility of their cells", {
  skip_slow()
  object <- fitted_object()
  group <- stats::setNames(rep_len(c("b", "a"), ncol(object)), colnames(object))
  group[1:3] <- NA
  object$part <- group
  links <- score_links(object, group.by = "part")
  expect_identical(unique(as.character(links$group)), c("a", "b"))
  open <- as.matrix(ImputeSCMVP(object, "peaks", as = "matrix", verbose = FALSE))
  for (one in c("a", "b")) {
    part <- links[links$group == one, ]
    own <- open[, which(group == one)]
    if (ncol(own) <= 200) {
      expect_equal(
        part$accessibility, unname((rowMeans(own) / mean(own))[part$peak]),
        tolerance = 1e-4
      )
    }
  }
})

test_that("links become a GRanges, and PlotLinks() draws the table", {
  skip_slow()
  skip_if_not_installed("GenomicRanges")
  object <- fitted_object()
  links <- score_links(object, fdr = 1)
  ranges <- score_links(object, as = "links", fdr = 1)
  expect_length(ranges, nrow(links))
  key <- paste(ranges$gene, ranges$peak)
  row <- match(key, paste(links$gene, links$peak))
  expect_equal(ranges$score, links$score[row])
  ends <- cbind(links$tss, floor(links$center))[row, ]
  expect_equal(GenomicRanges::start(ranges), apply(ends, 1, min))
  expect_equal(GenomicRanges::end(ranges), apply(ends, 1, max))
  expect_lt(nrow(score_links(object, fdr = 0.05)), nrow(links) + 1)
  skip_if_not_installed("ggplot2")
  region <- paste0(links$seqnames[1], ":1-", format(1e7, scientific = FALSE))
  expect_s3_class(PlotLinks(links, region, starts_of_genes()), "ggplot")
})

test_that("groups keep the order of their levels, and cells without a group are in none", {
  skip_slow()
  object <- fitted_object()
  groups <- factor(rep_len(c("low", "", NA, "high"), n_cells), levels = c("low", "high", ""))
  object$own <- groups
  links <- score_links(object, group.by = "own")
  expect_identical(levels(links$group), levels(groups))
  for (level in levels(groups)) {
    object$one <- ifelse(!is.na(groups) & groups == level, "one", NA)
    alone <- score_links(object, group.by = "one")
    own <- links[links$group == level, ]
    expect_equal(own$accessibility, alone$accessibility, tolerance = 1e-6)
  }
  object$number <- rep_len(1:12, n_cells)
  expect_identical(levels(score_links(object, group.by = "number")$group), as.character(1:12))
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
