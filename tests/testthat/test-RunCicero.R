# Co-accessibility against the package cicero 1.29 (fixture made by tools/cicero_fixture.R), brute
# force and closed forms. The compiled part by itself: test-glasso.R.

run_case <- function(case, ...) {
  RunCicero(
    case$counts,
    coordinates = case$latent, k = case$k, seed.use = case$seed,
    genome = case$genome, verbose = FALSE, ...
  )
}

test_that("the distance parameters are cicero's", {
  fixture <- readRDS(test_path("fixtures", "cicero.rds"))
  for (name in c("raw", "dense", "multi")) {
    case <- cicero_case(name)
    groups <- AggregateCells(case$latent, k = case$k, seed.use = case$seed, verbose = FALSE)
    grouped <- grouped_accessibility(case$counts, groups)
    ranges <- ranges_table(NULL, rownames(case$counts))
    windows <- genome_windows(ranges, genome_table(case$genome, ranges), 5e5)
    options <- check_cicero_options(
      window = 5e5, n.windows = case$sample_num, maxit = 100, s = 0.75,
      distance.constraint = 250000, convergence = 1e-4, max.peaks = 200,
      max.windows = 500, search = "cicero", seed.use = case$seed, distance.parameter = NULL
    )
    center <- (ranges$start + ranges$end) / 2
    sampled <- sample_distance_parameters(grouped, center, windows, options)
    expect_length(sampled$value, length(fixture[[name]]$sampled))
    expect_lt(max(abs(sampled$value - fixture[[name]]$sampled)), 1e-3)
  }
})

test_that("pairs, NAs and connections are cicero's", {
  fixture <- readRDS(test_path("fixtures", "cicero.rds"))
  for (name in c("raw", "dense", "multi")) {
    case <- cicero_case(name)
    expected <- fixture[[name]]$connections
    run <- function(...) run_case(case, distance.parameter = case$distance_parameter, ...)
    if (name == "multi") {
      expect_warning(
        connections <- run(), "2 windows of .* more than max.peaks = 200",
        class = "scmvp_warning_windows"
      )
    } else {
      connections <- run()
    }
    ours <- connections_by_pair(connections)
    expect_identical(names(ours), names(expected))
    expect_identical(is.na(ours), is.na(expected))
    # glasso stops before its solution is that exact
    expect_lt(max(abs(ours - expected), na.rm = TRUE), 5e-5)
  }
  # the cases hold what they are for
  expect_gt(sum(is.na(fixture$raw$connections)), 0)
  expect_gt(sum(is.na(fixture$multi$connections)), 0)
  expect_true(any(abs(fixture$dense$sampled - 2) < 1e-3)) # the ceiling
})

test_that("a window with peaks that are the same to the last digits is said", {
  drawn <- with_seed(1, list(matrix(stats::rexp(360), 6), stats::rexp(60)))
  x <- drawn[[1]]
  x <- 1e5 * rbind(x, x[1, ], x[1, ] + 1e-4 * drawn[[2]], x[2, ])
  rownames(x) <- paste0("chr1-", 100000 + 100 * 1:9, "-", 100050 + 100 * 1:9)
  run <- function(x, ...) {
    RunCicero(
      x,
      groups = "none", size.factors = FALSE, distance.parameter = 0.1, verbose = FALSE, ...
    )
  }
  expect_warning(
    found <- run(x), "did not converge in 1 window",
    class = "scmvp_warning_convergence"
  )
  expect_true(all(abs(found$coaccess) <= 1))
  expect_no_warning(run(x[1:6, ]))
  expect_no_warning(run(x, scale = "relative"))
})

test_that("two workers and a BiocParallel back end give the same", {
  skip_slow()
  case <- cicero_case("raw")
  one <- run_case(case, n.windows = 5, search = "extended")
  expect_identical(run_case(case, n.windows = 5, search = "extended", workers = 2), one)
  skip_if_not_installed("BiocParallel")
  expect_identical(
    run_case(
      case,
      n.windows = 5, search = "extended", BPPARAM = BiocParallel::SerialParam()
    ), one
  )
})

# Cicero by hand: each window, R's covariance, and glasso at a tolerance far below its own. Returns
# the mean of the values of each pair, or NA where their signs differ.
connections_by_hand <- function(case) {
  groups <- AggregateCells(case$latent, k = case$k, seed.use = case$seed, verbose = FALSE)
  sums <- as.matrix(case$counts %*% groups)
  totals <- colSums(round(sums))
  values <- t(sums) / (totals / exp(mean(log(totals))))
  ranges <- parse_ranges(rownames(case$counts))
  found <- list()
  for (chromosome in sort(unique(ranges$seqnames))) {
    for (start in seq(1, case$genome$V2[case$genome$V1 == chromosome], by = 250000)) {
      inside <- function(x) x > start & x < start + 499999
      here <- which(ranges$seqnames == chromosome & (inside(ranges$start) | inside(ranges$end)))
      if (length(here) < 2 || length(here) > 200) next
      center <- (ranges$start + ranges$end)[here] / 2
      distance <- abs(outer(center, center, "-"))
      rho <- case$distance_parameter * pmax(1 - (1000 / pmax(distance, 1000))^0.75, 0)
      w <- glasso::glasso(
        stats::cov(values[, here]) + diag(1e-4, length(here)), rho,
        thr = 1e-10, maxit = 1e5
      )$w
      pair <- which(row(w) != col(w), arr.ind = TRUE)
      names <- rownames(case$counts)[here]
      key <- paste(names[pair[, 1]], names[pair[, 2]])
      found[[length(found) + 1]] <- stats::setNames(stats::cov2cor(w)[pair], key)
    }
  }
  found <- unlist(found)
  found[abs(found) < 1e-12] <- 0
  tapply(found, names(found), function(x) if (min(x) < 0 && max(x) > 0) NA else mean(x))
}

test_that("connections are the graphical lasso's to 1e-6, closer than glasso's own tolerance", {
  skip_if_not_installed("glasso")
  for (name in c("raw", "dense", "multi")) {
    case <- cicero_case(name)
    ours <- connections_by_pair(suppressWarnings(
      run_case(case, distance.parameter = case$distance_parameter)
    ))
    expected <- connections_by_hand(case)[names(ours)]
    expect_identical(unname(is.na(ours)), unname(c(is.na(expected))))
    expect_lt(max(abs(ours - expected), na.rm = TRUE), 1e-6)
  }
})

test_that("two peaks have the closed form", {
  case <- cre_counts(list(chr1 = c(1e5, 3e5)), 200, seed = 5)
  connections <- RunCicero(
    case$counts,
    groups = "none", size.factors = FALSE, distance.parameter = 0.01, verbose = FALSE
  )
  covariance <- stats::cov(t(as.matrix(case$counts))) + diag(1e-4, 2)
  rho <- 0.01 * (1 - (1000 / 2e5)^0.75)
  soft <- sign(covariance[1, 2]) * max(0, abs(covariance[1, 2]) - rho)
  expect_equal(connections$coaccess[1], soft / sqrt(prod(diag(covariance))), tolerance = 1e-12)
  expect_identical(connections$coaccess[1], connections$coaccess[2])
})

test_that("more pairs than a data frame can hold are refused before the work", {
  members <- list("1" = seq_len(50000), "2" = 1:3)
  all <- function(...) {
    all_connections(
      list(n_peaks = 50000, n_groups = 9), seq_len(50000), list(members = members), 0.1, 0.75, ...,
      workers = 1
    )
  }
  expect_refused(all(max.peaks = 60000), "1,249,975,003 pairs of peaks.* lower max.peaks")
})

test_that("windows are cicero's: strictly inside by either end, every half width", {
  ranges <- data.frame(
    seqnames = c("chr1", "1", "chr2", "chr1"), start = c(1, 240, 90, 400),
    end = c(10, 260, 110, 401)
  )
  genome <- data.frame(chromosome = c("1", "2"), length = c(450, 120))
  windows <- genome_windows(ranges, genome, 100)
  starts <- c(seq(1, 450, by = 50), seq(1, 120, by = 50))
  expect_equal(windows$count, length(starts))
  chromosome <- rep(c("1", "2"), c(9, 3))
  for (w in seq_along(starts)) {
    inside <- function(x) x > starts[w] & x < starts[w] + 99
    here <- bare_chromosome(ranges$seqnames) == chromosome[w]
    members <- which(here & (inside(ranges$start) | inside(ranges$end)))
    expect_identical(c(windows$members[[as.character(w)]]), if (length(members)) members)
  }
  # the name of a window is its number, however R writes numbers
  ranges <- data.frame(seqnames = "chr1", start = 200000, end = 200000)
  genome <- data.frame(chromosome = "1", length = 1e6)
  numbers <- function() names(genome_windows(ranges, genome, 4)$members)
  expect_identical(numbers(), "100000")
  old <- options(scipen = -9)
  on.exit(options(old))
  expect_identical(numbers(), "100000")
})

test_that("values in several windows are reconciled", {
  ours <- reconcile(
    i = c(4, 1, 1, 1, 3, 1, 3, 4, 4), j = c(5, 3, 2, 2, 4, 3, 4, 5, 5),
    value = c(.1, -.1, .2, .4, 0, .3, -.2, .2, .3), n_peaks = 5
  )
  expect_identical(ours$i, c(1L, 1L, 3L, 4L))
  expect_identical(ours$j, c(2L, 3L, 4L, 5L))
  expect_equal(ours$value, c(.3, NA, -.1, .2))
})

test_that("the extended search finds what lies above 4, and agrees below", {
  below <- function(limit) function(value) value >= limit
  for (limit in c(0.3, 1.99, 2.5, 3.9)) {
    expect_equal(search_cicero(below(limit), 100, 1e-6)[["value"]], limit, tolerance = 1e-4)
    expect_equal(search_extended(below(limit), 100, 1e-6, 1e3)[["value"]], limit, tolerance = 1e-4)
  }
  hit <- search_cicero(below(30), 100, 1e-6)
  expect_equal(hit, c(value = 2, ceiling = 1, converged = 1), tolerance = 1e-4)
  expect_equal(search_extended(below(30), 100, 1e-6, 1e3)[["value"]], 30, tolerance = 1e-4)
  expect_identical(search_extended(below(Inf), 100, 1e-6, 1e3)[["value"]], NA_real_)
})

test_that("the ceiling is said with the number of windows; the extended search rises above it", {
  case <- cicero_case("dense")
  expect_warning(
    expect_warning(
      low <- run_case(case, n.windows = 600), "In [0-9]+ of [0-9]+ windows .* above 4",
      class = "scmvp_warning_ceiling"
    ),
    "not of n.windows = 600", class = "scmvp_warning_windows"
  )
  expect_equal(attr(low, "distance_parameter"), 2, tolerance = 1e-3)
  high <- run_case(case, search = "extended", n.windows = 15)
  expect_gt(attr(high, "distance_parameter"), 10)
})

test_that("chromosome tables that do not fit are said, and no peak is lost", {
  case <- cre_counts(list(chr1 = 3e4 * 1:20, chr2 = 3e4 * 1:20), 60, seed = 6, mean = 1)
  run <- function(genome) {
    RunCicero(
      case$counts,
      groups = "none", genome = genome, distance.parameter = 0.1, verbose = FALSE
    )
  }
  whole <- run(NULL)
  expect_setequal(unique(whole$Peak1), rownames(case$counts))
  expect_identical(run(data.frame(c("1", "2"), 700000)), whole)
  expect_warning(
    lacking <- run(data.frame("chr1", 700000)), "lacks 1 chromosome with 20 peaks \\('chr2'\\)",
    class = "scmvp_warning_genome"
  )
  expect_equal(lacking, whole)
  expect_warning(
    short <- run(data.frame(c("chr1", "chr2"), c(7e5, 1e5))), "17 peaks lie beyond .*genome build",
    class = "scmvp_warning_genome"
  )
  expect_equal(short, whole)
  expect_refused(run(data.frame("chrX", 1e6)), "no peak lies on a chromosome of genome")
  expect_refused(run(data.frame("chr1", "long")), "genome must give the length")
  file <- tempfile()
  utils::write.table(
    data.frame(c("chr1", "chr2"), 700000), file,
    sep = "\t", col.names = FALSE, row.names = FALSE
  )
  expect_identical(run(file), whole)
  skip_if_not_installed("GenomicRanges")
  ranges <- GenomicRanges::GRanges(c("chr1:1-700000", "chr2:1-700000"))
  expect_identical(run(ranges), whole)
  GenomeInfoDb <- asNamespace("GenomeInfoDb")
  expect_identical(run(GenomeInfoDb$Seqinfo(c("chr1", "chr2"), c(700000, 700000))), whole)
})

test_that("scaffolds, lone peaks and peaks without a neighbor are no obstacle", {
  case <- cre_counts(
    list("GL000195.1" = 2e4 * 1:15, "chrUn_KI270742v1" = 1e4, chr3 = 5e4), 60, seed = 7, mean = 4
  )
  connections <- RunCicero(case$counts, groups = "none", distance.parameter = 0.05, verbose = FALSE)
  expect_setequal(unique(connections$Peak1), rownames(case$counts)[1:15])
  lone <- RunCicero(
    case$counts[c(1, 16, 17), ],
    groups = "none", size.factors = FALSE, distance.parameter = 0.05, verbose = FALSE
  )
  expect_identical(dim(lone), c(0L, 3L))
  expect_refused(
    RunCicero(
      case$counts[c(1, 16, 17), ],
      groups = "none", size.factors = FALSE, verbose = FALSE
    ),
    "distance parameter cannot be estimated"
  )
})

test_that("cells in which no peak was measured are left out of the groups", {
  case <- cicero_case("raw")
  lost <- c(TRUE, FALSE, FALSE)[seq_len(ncol(case$counts)) %% 3 + 1]
  mosaic <- as.matrix(case$counts)
  mosaic[, lost] <- 0
  mosaic <- methods::as(mosaic, "CsparseMatrix")
  here <- colnames(mosaic)[!lost]
  run <- function(counts, ..., verbose = FALSE) {
    RunCicero(counts, distance.parameter = 0.2, seed.use = 3, verbose = verbose, ...)
  }
  expected <- run(mosaic[, here], coordinates = case$latent[here, ], k = 15)
  expect_identical(run(mosaic, coordinates = case$latent, k = 15), expected)
  object <- peak_object(list(counts = mosaic, latent = case$latent))
  expect_identical(run(object, reduction = "latent", k = 15)$coaccess, expected$coaccess)
  expect_message(
    suppressWarnings(run(mosaic, coordinates = case$latent, k = 15, verbose = TRUE)),
    paste0("^", sum(lost), " of 160 cells left out, without counts of peaks")
  )
  # groups of all cells: without these cells, and without groups of nothing else
  groups <- AggregateCells(case$latent, k = 8, seed.use = 3, verbose = FALSE)
  alone <- Matrix::sparseMatrix(
    i = which(lost)[1:6], j = rep(1:2, 3), x = 1, dims = c(ncol(mosaic), 2),
    dimnames = list(colnames(mosaic), c("none1", "none2"))
  )
  both <- cbind(groups, alone)
  for (size.factors in c(TRUE, FALSE)) {
    expect_identical(
      run(mosaic, groups = both, size.factors = size.factors),
      run(mosaic[, here], groups = groups[here, ], size.factors = size.factors)
    )
  }
  expect_refused(run(mosaic, groups = alone), "no group has a cell with counts of peaks")
  # what was imputed has no such cells
  expect_length(cells_to_group(mosaic, NULL, imputed = TRUE), 160)
})

test_that("Seurat objects, plain or imputed, give what their matrices give", {
  skip_slow()
  case <- cicero_case("raw")
  object <- peak_object(case)
  run <- function(object, ..., k = 20) {
    RunCicero(
      object, ...,
      reduction = "latent", k = k, seed.use = 3, distance.parameter = 0.2, verbose = FALSE
    )
  }
  expected <- run_case(case, distance.parameter = 0.2)
  plain <- run(object)
  expect_identical(plain$coaccess, expected$coaccess)
  expect_identical(plain$Peak1, gsub("_", "-", expected$Peak1))
  groups <- AggregateCells(object, "latent", k = 20, seed.use = 3, verbose = FALSE)
  expect_identical(run(object, groups = groups[, ], k = NULL), plain)
  expect_identical(run(object, groups = groups[rev(colnames(object)), ], k = NULL), plain)
  unused <- " is for groups that RunCicero\\(\\) makes itself: leave it out"
  expect_refused(run(object, groups = groups), paste0("^k", unused))
  expect_refused(run(object, groups = groups, k = NULL, dims = 1:2), paste0("^dims", unused))
  earlier <- function(...) suppressMessages(run(object, groups = groups, k = NULL, ...))
  expect_refused(earlier(reduced_coordinates = diag(2)), paste0("^coordinates", unused))

  imputed <- as.matrix(case$counts)
  rownames(imputed) <- gsub("_", "-", rownames(imputed))
  object[["imputed"]] <- imputed_assay(
    imputed, object[["ATAC"]], "imputed_", list(reduction = "latent")
  )
  expect_identical(SeuratObject::DefaultAssay(object), "ATAC")
  expect_identical(run(object), plain)
  as_counts <- run(object, assay = "imputed", scale = "counts")
  expect_equal(as_counts$coaccess, plain$coaccess, tolerance = 1e-10)
  expect_refused(run(object, assay = "peaks"), "no assay 'peaks' \\(assay\\); its assays are ATAC")
  expect_refused(run(object, layer = "scaled"), "no layer 'scaled'")
  expect_refused(run(object, as = "object"), "not a ChromatinAssay")
  expect_refused(run(object, reduction.name = "x"), "unknown argument 'reduction.name'")
  expect_refused(run(object, windows = 5), "unknown argument 'windows'; did you mean window")
})

test_that("a SingleCellExperiment gives them too, from rows or an alternative experiment", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  case <- cicero_case("raw")
  expected <- run_case(case, distance.parameter = 0.2)
  run <- function(object) {
    RunCicero(
      object,
      reduction = "latent", k = 20, seed.use = 3, distance.parameter = 0.2, verbose = FALSE
    )
  }
  sce <- peak_sce(case)
  expect_identical(run(sce), expected)
  raw <- sce
  SummarizedExperiment::assayNames(raw) <- "raw"
  expect_identical(run(raw), expected)
  rna <- sce_with(
    matrix(1, 3, ncol(sce), dimnames = list(c("A", "B", "C"), colnames(sce))),
    reducedDims = list(latent = case$latent)
  )
  expect_refused(run(rna), "no peak experiment found")
  SingleCellExperiment::altExp(rna, "peaks") <- sce
  expect_identical(run(rna), expected)
})

test_that("relative accessibility: glasso by hand, whatever the unit of a peak", {
  x <- with_seed(4, {
    activity <- matrix(stats::rexp(3 * 60), 3)
    t(t(0.2 + activity[rep(1:3, 4), ]) + stats::rexp(60, 20)) * stats::rlnorm(12)
  })
  at <- 260000 + 7000 * 1:12 # all within the same windows
  rownames(x) <- paste0("chr1-", at, "-", at + 500)
  run <- function(x, ...) {
    RunCicero(
      x,
      groups = "none", size.factors = FALSE, scale = "relative", verbose = FALSE, ...
    )
  }
  found <- run(x)
  values <- t(x / rowMeans(x))
  ridge <- 3 * stats::median(apply(values, 2, stats::var))
  expect_equal(attr(found, "distance_parameter"), ridge / 10)
  distance <- abs(outer(at, at, "-"))
  diag(distance) <- 1000 # no penalty on the diagonal
  rho <- pmax((1 - (1000 / distance)^0.75) * ridge / 10, 0)
  w <- stats::cov2cor(glasso::glasso(stats::cov(values) + diag(ridge, 12), rho)$w)
  by_hand <- w[cbind(match(found$Peak1, rownames(x)), match(found$Peak2, rownames(x)))]
  expect_equal(found$coaccess, by_hand, tolerance = 1e-5)
  expect_equal(run(x * stats::rlnorm(12))$coaccess, found$coaccess, tolerance = 1e-6)
  # sparse, and with a peak that is never open
  sparse <- methods::as(rbind(x, "chr1-400000-400500" = 0), "CsparseMatrix")
  closed <- run(sparse, distance.parameter = ridge / 10)
  one <- closed$Peak1 == "chr1-400000-400500" | closed$Peak2 == "chr1-400000-400500"
  expect_true(all(closed$coaccess[one] == 0))
  expect_equal(closed$coaccess[!one], found$coaccess, tolerance = 1e-6)
  expect_refused(
    RunCicero(x, groups = "none", search = "none", verbose = FALSE),
    "search = \"none\" needs a distance.parameter, or scale"
  )
})

test_that("wrong input is refused in one sentence", {
  case <- cicero_case("raw")
  expect_refused(RunCicero(case$counts), "cells are grouped first: give groups")
  expect_refused(RunCicero("file"), "Seurat object, a SingleCellExperiment, a MultiAssay")
  run <- function(counts = case$counts, ...) {
    RunCicero(counts, groups = "none", verbose = FALSE, ...)
  }
  expect_refused(run(s = 1), "s must be below 1")
  expect_refused(run(case$counts[0, ]), "the matrix of peaks has no rows")
  groups <- matrix(NA_real_, ncol(case$counts), 2)
  expect_refused(RunCicero(case$counts, groups = groups), "groups has missing values")
  expect_refused(run(distance.constraint = 6e5), "distance.constraint .* must be below window")
  expect_refused(run(search = "binary"), "search must be one of \"cicero\", \"extended\"")
  expect_refused(run(BPPARAM = 2), "BPPARAM must be")
  negative <- case$counts
  negative[2, 3] <- -1
  expect_refused(run(negative), "negative values")
  missing <- as.matrix(case$counts)
  missing[1, 1] <- NA
  expect_refused(run(missing), "missing or infinite")
  genes <- case$counts
  rownames(genes)[5] <- "CD4"
  expect_refused(run(genes), "1 feature of 70 cannot be read as genomic ranges \\('CD4'\\)")
  expect_refused(
    RunCicero(case$counts, groups = matrix(1, 3, 2)), "groups has 3 cells, the matrix 160"
  )
})

test_that("connections become links in the order of the genome, once each", {
  skip_if_not_installed("GenomicRanges")
  case <- cicero_case("raw")
  connections <- run_case(case, distance.parameter = 0.2)
  links <- as.data.frame(CiceroLinks(connections, threshold = 0.1))
  kept <- connections[which(connections$coaccess > 0.1), ]
  expect_equal(nrow(links), nrow(kept) / 2)
  expect_true(all(links$start < links$end))
  expect_equal(sort(links$score), sort(kept$coaccess)[c(TRUE, FALSE)], tolerance = 1e-12)
  expect_refused(CiceroLinks(data.frame(a = 1)), "Peak1, Peak2 and coaccess")
})

test_that("a ChromatinAssay carries the links", {
  skip_if_not_installed("Signac")
  case <- cicero_case("raw")
  object <- peak_object(case)
  object[["peaks"]] <- Signac::CreateChromatinAssay(
    counts = SeuratObject::GetAssayData(object, slot = "counts"), sep = c("-", "-")
  )
  linked <- RunCicero(
    object,
    assay = "peaks", reduction = "latent", k = 20, distance.parameter = 0.2, verbose = FALSE,
    as = "object"
  )
  links <- Signac::Links(linked[["peaks"]])
  table <- SeuratObject::Misc(linked, "cicero")
  expect_equal(length(links), sum(table$coaccess > 0, na.rm = TRUE) / 2)
  skip_if_not_installed("ggforce")
  expect_s3_class(Signac::LinkPlot(linked[["peaks"]], "chr18-1-500000"), "ggplot")
})
