# Links from peaks to genes: planted links, the published recipe with cv.glmnet, and refusals.

test_that("planted links are found, with their distances, and genes without one have none", {
  case <- lasso_case()
  links <- link_case(case)
  expect_identical(links$gene, c("G1", "G2", "G2"))
  expect_identical(links$peak, rownames(case$peaks)[c(2, 5, 6)])
  expect_equal(links$distance, c(2e4 + 250 - 3e4, 1.05e6 + 250 - 1.06e6, 250))
  expect_true(all(links$coefficient > 0 & links$fdr < 0.05 & links$r_squared > 0.03))
  genes <- attr(links, "genes")
  expect_identical(genes$links, c(1L, 2L, 0L, 0L, 0L))
  expect_lt(max(genes$r_squared[3:5]), 0.02)
})

test_that("a gene's fit is the published recipe with cv.glmnet", {
  skip_if_not_installed("glmnet")
  case <- lasso_case()
  size <- function(x) colSums(x) / exp(mean(log(colSums(x))))
  y <- as.vector(scale(log(case$rna["G2", ] / size(case$rna) + 0.1)))
  x <- scale(log(t(case$peaks[5:8, ]) / size(case$peaks) + 0.1))
  x <- x[, abs(stats::cor(x, y)) > 0.03]
  lambda <- exp(seq(log(10), log(0.001), length.out = 100))
  n <- ncol(case$peaks)
  units <- list(word = "cell", names = colnames(case$peaks), n = n, use = seq_len(n))
  folds <- check_folds(
    NULL, units, list(nfolds = 10, seed.use = 0), c(rna = FALSE, peaks = FALSE), NULL
  )
  theirs <- glmnet::cv.glmnet(x, y, lambda = lambda, foldid = folds, thresh = 1e-12)
  for (which in c("1se", "min")) {
    links <- link_case(case, genes = "G2", covariates = "none", lambda = which)
    value <- theirs[[paste0("lambda.", which)]]
    expected <- as.matrix(stats::coef(theirs, s = value))[-1, 1]
    expected <- expected[expected != 0]
    expect_equal(links$lambda[1], value)
    expect_identical(links$peak, names(expected))
    expect_equal(links$coefficient, unname(expected), tolerance = 1e-6)
    expect_equal(
      links$r_squared[1], 1 - theirs$cvm[theirs$lambda == value] / theirs$cvm[1],
      tolerance = 1e-6
    )
  }
})

test_that("two permutations are two orders of the cells", {
  case <- lasso_case()
  genes <- attr(link_case(case, n.permutations = 2), "genes")
  expect_identical(genes$links, attr(link_case(case, n.permutations = 3), "genes")$links)
})

test_that("sparse, dense, any order of cells and two workers give the same", {
  case <- lasso_case()
  expected <- link_case(case)
  sparse <- case
  sparse$rna <- methods::as(case$rna, "CsparseMatrix")
  sparse$peaks <- methods::as(case$peaks, "CsparseMatrix")[, rev(colnames(case$peaks))]
  expect_equal(link_case(sparse), expected, tolerance = 1e-10)
  expect_identical(link_case(case, workers = 2), expected)
  set.seed(5)
  before <- .Random.seed
  link_case(case, seed.use = 4)
  expect_identical(.Random.seed, before)
})

test_that("fdr returns the pairs up to that rate, whatever cross-validation takes", {
  case <- lasso_case()
  links <- link_case(case, fdr = 0.05)
  expect_identical(links$peak, rownames(case$peaks)[c(2, 5, 6)])
  expect_true(all(links$fdr <= 0.05 & links$coefficient != 0))
  expect_refused(link_case(case, fdr = 0.1, n.permutations = 0), "fdr needs permutations")
})

test_that("p values of pairs without a link are uniform, and in step with the rate", {
  made <- with_seed(9, list(
    rna = matrix(stats::rpois(40 * 200, 3), 40), peaks = matrix(stats::rpois(240 * 200, 0.5), 240)
  ))
  colnames(made$rna) <- colnames(made$peaks) <- paste0("cell", 1:200)
  rownames(made$rna) <- paste0("G", 1:40)
  at <- 1e6 * rep(1:40, each = 6) + 1000 * 1:6
  rownames(made$peaks) <- paste("chr1", format_position(at), format_position(at + 500), sep = "-")
  starts <- data.frame(gene = rownames(made$rna), seqnames = "chr1", tss = 1e6 * 1:40, strand = "+")
  links <- LinkPeaksLASSO(
    made$rna, made$peaks,
    gene.coords = starts, fdr = 1, covariates = "none", min.correlation = 0, verbose = FALSE
  )
  expect_identical(nrow(links), 240L)
  # the peak that enters first is the one of the highest correlation, and enters at that penalty
  scaled <- function(x, size) scale(t(log(t(t(x) / size) + 0.1)))
  size <- lapply(made, function(x) colSums(x) / exp(mean(log(colSums(x)))))
  y <- scaled(made$rna, size$rna)
  x <- scaled(made$peaks, size$peaks)
  first <- vapply(1:40, function(g) {
    max(abs(stats::cor(x[, 6 * g - 5:0], y[, g])))
  }, numeric(1))
  best <- tapply(links$p_value, factor(links$gene, rownames(made$rna)), min)
  expect_lt(stats::cor(first, as.vector(best), method = "spearman"), -0.95)
  for (level in c(0.05, 0.2, 0.5)) {
    expect_lt(abs(mean(links$p_value <= level) - level), 3 * sqrt(level * (1 - level) / 240))
  }
  expect_false(is.unsorted(links$fdr[order(links$p_value)]))
})

test_that("links have the columns of Signac, in its order", {
  skip_if_not_installed("GenomicRanges")
  case <- lasso_case()
  table <- link_case(case)
  links <- link_case(case, as = "signac")
  expect_s4_class(links, "GRanges")
  found <- as.data.frame(links)
  expect_named(found, c(
    "seqnames", "start", "end", "width", "strand", "score", "gene", "peak", "zscore", "pvalue"
  ))
  expect_identical(as.character(found$strand), rep("*", nrow(table)))
  same <- match(paste(found$gene, found$peak), paste(table$gene, table$peak))
  expect_identical(found$score, table$coefficient[same])
  expect_identical(found$pvalue, table$p_value[same])
  expect_equal(found$pvalue, 2 * stats::pnorm(-abs(found$zscore)))
  expect_identical(sign(found$zscore), sign(found$score))
  # from the start of the gene to the middle of the peak
  ends <- parse_ranges(found$peak)
  middle <- floor((ends$start + ends$end) / 2)
  start <- with(case$coords, stats::setNames(ifelse(strand == "-", end, start), gene))[found$gene]
  expect_equal(found$start, unname(pmin(middle, start)))
  expect_equal(found$end, unname(pmax(middle, start)))
  longer <- as.data.frame(link_case(case, as = "links"))
  expect_identical(longer[names(found)], found)
  expect_identical(longer$fdr, table$fdr[same])
  none <- link_case(case, genes = "G3", as = "signac")
  expect_identical(names(S4Vectors::mcols(none)), names(S4Vectors::mcols(links)))
  expect_length(none, 0)
  expect_true(all(is.na(link_case(case, as = "signac", n.permutations = 0)$pvalue)))
  expect_refused(link_case(case, as = "pando"), "as must be one of .*\"signac\"")
})

test_that("smoothing both sides warns, needs blocks, and leaves the rate out", {
  case <- lasso_case()
  coordinates <- with_seed(2, matrix(stats::rnorm(1000), 500))
  rownames(coordinates) <- colnames(case$rna)
  expect_refused(
    suppressWarnings(link_case(case, rna.imputed = TRUE, peaks.imputed = TRUE, folds = "random")),
    "random folds with smoothed RNA and peaks would give false links"
  )
  expect_warning(
    links <- link_case(
      case,
      rna.imputed = TRUE, peaks.imputed = TRUE, coordinates = coordinates
    ), "RNA and peaks are both smoothed", class = "scmvp_warning_smoothed"
  )
  expect_true(all(is.na(links$fdr)))
  expect_silent(link_case(case, peaks.imputed = TRUE))
  expect_identical(link_case(case, groups = "none"), link_case(case)) # columns as they are
  groups <- AggregateCells(coordinates, k = 10, verbose = FALSE)
  expect_warning(
    link_case(case, groups = groups, coordinates = coordinates, covariates = "none"),
    class = "scmvp_warning_smoothed"
  )
})

test_that("smoothing invents links that measured RNA does not have", {
  # genes without any true peak, cells in a few states: FACTS of the field, small
  case <- lasso_case(300)
  state <- with_seed(3, stats::rnorm(300))
  neighbors <- nearest_cells(matrix(state), 30)
  smooth <- function(x) {
    result <- apply(neighbors, 2, function(cells) rowMeans(x[, cells]))
    dimnames(result) <- dimnames(x)
    result
  }
  null <- case
  null$peaks <- smooth(case$peaks)
  r_squared <- function(case, ...) {
    links <- link_case(case, genes = paste0("G", 3:5), peaks.imputed = TRUE, ...)
    mean(attr(links, "genes")$r_squared)
  }
  expect_lt(r_squared(null), 0.01)
  null$rna <- smooth(case$rna)
  by_cell <- rep(1:10, length.out = 300)
  expect_gt(suppressWarnings(r_squared(null, rna.imputed = TRUE, folds = by_cell)), 0.04)
})

test_that("genes that cannot be fitted are told", {
  case <- lasso_case()
  expect_warning(link_case(case, genes = c("G1", "G9")), "1 gene of 2 is not in .*: 'G9'")
  expect_warning(
    link_case(case, genes = c("G1", "G6")), "1 gene without a peak within 100,000 bp .*'G6'"
  )
  expect_refused(link_case(case, genes = "G9"), "gene 'G9' is not in gene.coords")
  expect_refused(link_case(case, genes = "G6"), "no peak lies within 100,000 bp")
  expect_refused(link_case(case, genes = "TP53"), "genes: 1 of 1 name is not in the RNA")
  case$rna["G3", ] <- 0
  expect_warning(link_case(case), "1 gene with counts in too few cells \\(min.cells = 10\\).*'G3'")
})

test_that("a gene on several chromosomes is linked where most peaks are, whatever the order", {
  case <- lasso_case()
  coords <- case$coords[1, ]
  expected <- link_case(case, genes = "G1", gene.coords = coords)
  expect_identical(expected$peak, rownames(case$peaks)[2])
  places <- do.call(rbind, lapply(c("chr1_GL000250v2_alt", "chr1", "chr3"), function(on) {
    transform(coords, seqnames = on)
  }))
  for (rows in list(1:3, 3:1, c(2, 1, 3))) {
    expect_warning(
      links <- link_case(case, genes = "G1", gene.coords = places[rows, ]),
      "1 gene on several chromosomes in gene.coords .*'G1'.*: the chromosome with the most peaks"
    )
    expect_equal(links, expected)
  }
})

test_that("gene coordinates come in any form", {
  skip_slow()
  case <- lasso_case()
  expected <- link_case(case)
  tss <- case$coords
  tss$tss <- ifelse(tss$strand == "-", tss$end, tss$start)
  tss$start <- tss$end <- NULL
  expect_equal(link_case(case, gene.coords = tss), expected)
  bed <- tempfile(fileext = ".bed")
  table <- with(tss, data.frame(
    seqnames, format_position(tss - 101), format_position(tss + 100), gene, 0, strand
  ))
  utils::write.table(table, bed, sep = "\t", quote = FALSE, row.names = FALSE, col.names = FALSE)
  expect_equal(link_case(case, gene.coords = bed), expected)
  expect_refused(link_case(case, gene.coords = data.frame(a = 1)), "needs a column of gene names")
  expect_refused(link_case(case, gene.coords = "no.gtf"), "there is no file 'no.gtf'")
  skip_if_not_installed("GenomicRanges")
  ranges <- GenomicRanges::makeGRangesFromDataFrame(case$coords, keep.extra.columns = TRUE)
  expect_equal(link_case(case, gene.coords = ranges), expected)
  links <- lasso_granges(expected)
  expect_identical(length(links), nrow(expected))
  skip_if_not_installed("rtracklayer")
  gtf <- tempfile(fileext = ".gtf")
  ranges$type <- "gene"
  ranges$gene_id <- ranges$gene
  ranges$gene <- NULL
  rtracklayer::export(ranges, gtf)
  expect_equal(link_case(case, gene.coords = gtf), expected)
})

test_that("nearest starts count, on the gene's strand, with both ends of the distance", {
  ranges <- data.frame(seqnames = "chr1", start = c(100, 900, 2000), end = c(100, 900, 2000))
  starts <- data.frame(
    gene = c("A", "A", "B"), seqnames = c("chr1", "1", "chr1"), tss = c(0, 1000, 1900),
    strand = c("+", "+", "-")
  )
  pairs <- nearby_peaks(starts, ranges, 1000)
  expect_identical(pairs$gene, c("A", "A", "A", "B", "B"))
  expect_identical(pairs$peak, c(1L, 2L, 3L, 2L, 3L))
  expect_equal(pairs$distance, c(100, -100, 1000, 1000, -100))
})

test_that("Seurat objects and SingleCellExperiments give what their matrices give", {
  skip_slow()
  case <- lasso_case()
  expected <- link_case(case)
  object <- SeuratObject::CreateSeuratObject(methods::as(case$rna, "CsparseMatrix"))
  object[["ATAC"]] <- SeuratObject::CreateAssayObject(methods::as(case$peaks, "CsparseMatrix"))
  run <- function(object, ...) {
    LinkPeaksLASSO(
      object, ...,
      gene.coords = case$coords, genes = paste0("G", 1:5), verbose = FALSE
    )
  }
  expect_equal(run(object), expected)
  expect_refused(run(object, as = "object"), "not a ChromatinAssay")
  expect_refused(run(object, distances = 5), "did you mean distance")
  expect_refused(
    LinkPeaksLASSO(object, verbose = FALSE), "assay 'ATAC' has no gene annotation"
  )
  object[["imputed"]] <- imputed_assay(
    case$peaks, object[["ATAC"]], "imputed_", list(reduction = "x", log = FALSE)
  )
  expect_setequal(
    run(object, peak.assay = "imputed", standardize = TRUE)$peak[1], rownames(case$peaks)[2]
  )
  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_with(case$rna, altExps = list(peaks = sce_with(case$peaks)))
  expect_equal(run(sce), expected)
  SummarizedExperiment::assays(sce) <- list(X = case$rna, logcounts = log1p(case$rna))
  expect_equal(run(sce), expected)
  logged <- run(sce, rna.layer = "logcounts", n.permutations = 1)
  expect_false(anyNA(logged$p_value))
  expect_equal(logged, LinkPeaksLASSO(
    log1p(case$rna), case$peaks, rna.log = TRUE, gene.coords = case$coords,
    genes = paste0("G", 1:5), n.permutations = 1, verbose = FALSE
  ))
})

test_that("wrong options are refused in one sentence", {
  case <- lasso_case(60)
  expect_refused(LinkPeaksLASSO(case$rna), "or two matrices")
  expect_refused(LinkPeaksLASSO(case$rna, case$peaks), "gene.coords is needed")
  expect_refused(link_case(case, alpha = 2), "alpha must be at most 1")
  expect_refused(link_case(case, lambda = "best"), "lambda must be one of")
  expect_refused(link_case(case, lambda.sequence = 1:3), "lambda.sequence must be decreasing")
  expect_refused(link_case(case, folds = 1:3), "the fold of each of the 60 cells")
  expect_refused(link_case(case, folds = rep(1:2, 30)), "at least 3 folds")
  expect_refused(link_case(case, folds = "block"), "needs the cells' coordinates")
  expect_refused(link_case(case, covariates = matrix(1, 3)), "one row for each of the 60 cells")
})

test_that("fewer groups than folds are refused, as many are folds of their own", {
  case <- lasso_case(60)
  groups <- Matrix::sparseMatrix(
    seq_len(60), rep(1:5, 12),
    x = 1, dimnames = list(colnames(case$rna), paste0("group", 1:5))
  )
  coordinates <- with_seed(1, matrix(stats::rnorm(120), 60, dimnames = list(colnames(case$rna))))
  run <- function(...) {
    suppressWarnings(
      link_case(case, groups = groups, coordinates = coordinates, min.cells = 1, ...),
      classes = "scmvp_warning_smoothed"
    )
  }
  expect_refused(run(), "10 groups .* there are 5: lower nfolds to 5 or less, or give more")
  expect_identical(run(nfolds = 5), run(folds = 1:5))
  # a fold for each place, and not for each cell
  at <- rbind(c(1, 2), c(3, 4), c(1, 2), c(0, 0), c(0, 0))
  blocks <- function(nfolds, x) block_folds(x, list(nfolds = nfolds, seed.use = 0), "cell")
  expect_identical(blocks(3, at), c(1L, 2L, 1L, 3L, 3L))
  expect_refused(blocks(4, at), "4 cells with different coordinates, and there are 3: lower nfolds")
  expect_refused(blocks(3, at[1:3, ]), "there are 2: give more cells[.]$")
})

test_that("a ChromatinAssay with an annotation needs nothing else and keeps the links", {
  skip_if_not_installed("Signac")
  case <- lasso_case()
  object <- SeuratObject::CreateSeuratObject(methods::as(case$rna, "CsparseMatrix"))
  annotation <- GenomicRanges::makeGRangesFromDataFrame(case$coords, keep.extra.columns = TRUE)
  annotation$gene_name <- annotation$gene
  annotation$gene <- NULL
  object[["peaks"]] <- Signac::CreateChromatinAssay(
    counts = methods::as(case$peaks, "CsparseMatrix"), sep = c("-", "-"), annotation = annotation
  )
  linked <- LinkPeaksLASSO(object, genes = paste0("G", 1:5), as = "object", verbose = FALSE)
  expect_equal(SeuratObject::Misc(linked, "lasso_links"), link_case(case))
  expect_setequal(Signac::Links(linked[["peaks"]])$gene, c("G1", "G2"))
})

test_that("imputed assays that merge() has taken the mark from are still imputed", {
  skip_slow()
  case <- lasso_case()
  object <- SeuratObject::CreateSeuratObject(methods::as(case$rna, "CsparseMatrix"))
  open <- methods::as(case$peaks, "CsparseMatrix")
  # a ChromatinAssay of imputed values has counts, too
  object[["peaks"]] <- if (requireNamespace("Signac", quietly = TRUE)) {
    Signac::CreateChromatinAssay(counts = open, sep = c("-", "-"))
  } else {
    new_assay(open)
  }
  smooth <- list(RNA = log1p(case$rna / 2 + 0.3), ATAC = case$peaks / 3 + 0.2)
  for (kind in names(smooth)) {
    mark <- list(reduction = "scmvp", modality = tolower(kind), log = kind == "RNA")
    object[[paste0("scMVP_", kind)]] <- imputed_assay(
      smooth[[kind]], if (kind == "ATAC") object[["peaks"]], paste0("scmvp", tolower(kind), "_"),
      mark
    )
  }
  object$scmvp_cluster <- factor(0)
  object$scmvp_cluster_prob <- 1
  half <- seq_len(ncol(object)) <= 200
  merged <- suppressWarnings(
    merge(object[, colnames(object)[half]], object[, colnames(object)[!half]])
  )
  expect_null(assay_mark(merged[["scMVP_ATAC"]]))
  groups <- AggregateCells(t(case$peaks[1:12, ]), k = 20, verbose = FALSE)
  expect_equal(
    RunCicero(merged, assay = "scMVP_ATAC", groups = groups, verbose = FALSE),
    RunCicero(smooth$ATAC, groups = groups, scale = "relative", verbose = FALSE)
  )
  link <- function(object, ...) {
    suppressWarnings(LinkPeaksLASSO(
      object,
      gene.coords = case$coords, genes = paste0("G", 1:5), verbose = FALSE, ...
    ))
  }
  expected <- link(case$rna, smooth$ATAC, peaks.imputed = TRUE)
  expect_equal(link(object, peak.assay = "scMVP_ATAC"), expected)
  expect_equal(link(merged, peak.assay = "scMVP_ATAC", peaks.log = FALSE), expected)
  expect_refused(
    link(merged, peak.assay = "scMVP_ATAC"), "imputed peaks are logarithms: give peaks.log \\(FALSE"
  )
  of_genes <- link(smooth$RNA, case$peaks, rna.imputed = TRUE, rna.log = TRUE)
  expect_equal(link(object, rna.assay = "scMVP_RNA", peak.assay = "peaks"), of_genes)
  expect_equal(
    link(merged, rna.assay = "scMVP_RNA", peak.assay = "peaks", rna.log = TRUE), of_genes
  )
  expect_refused(
    link(merged, rna.assay = "scMVP_RNA", peak.assay = "peaks"),
    "merge\\(\\) does not keep whether the imputed genes are logarithms: give rna.log \\(TRUE"
  )
})

test_that("background peaks are of other chromosomes, as accessible, none twice", {
  place <- with_seed(3, closest_at_random(c(1, 50, 50, 50, 100), 100))
  expect_lt(max(abs(place - c(1, 50, 50, 50, 100))), 25)
  expect_length(unique(with_seed(4, closest_at_random(rep(50, 90), 100))), 90)
  case <- lasso_case()
  ranges <- ranges_table(NULL, rownames(case$peaks))
  pairs <- data.frame(gene = rep(c("G1", "G2"), c(4, 2)), peak = c(1:4, 5:6))
  options <- list(n.permutations = 3, min.cells = 10, seed.use = 0)
  draws <- background_pool(pairs, case$peaks, ranges, options)
  expect_identical(lapply(draws, dim), list(G1 = c(4L, 3L), G2 = c(2L, 3L)))
  expect_true(all(ranges$seqnames[unlist(draws)] == "chr2"))
  expect_identical(background_pool(pairs, case$peaks, ranges, options), draws)
  # one chromosome: those not near the gene; too few of them: no rate
  one <- ranges
  one$seqnames <- "chr1"
  expect_false(any(background_pool(pairs, case$peaks, one, options)$G1 %in% 1:4))
  few <- case
  few$peaks <- case$peaks[1:12, ]
  expect_warning(
    links <- link_case(few, null = "background"), "at least 20 peaks",
    class = "scmvp_warning_background"
  )
  expect_true(all(is.na(links$fdr)))
  expect_refused(link_case(few, null = "background", fdr = 0.1), "so no rate can be given")
})

test_that("imputed peaks: copies share their coefficient, what hardly varies gets none", {
  made <- with_seed(8, {
    activity <- stats::rexp(400)
    other <- matrix(stats::rexp(400 * 30), 30)
    list(
      rna = rbind(G = stats::rpois(400, 3 * activity), H = stats::rpois(400, 3)),
      # two of the gene's peaks, one that hardly varies but in step with it, and 30 elsewhere
      peaks = rbind(1 + activity, 2 + 2 * activity, 5 + 0.01 * activity, 3 + 0.2 * other)
    )
  })
  colnames(made$rna) <- colnames(made$peaks) <- paste0("cell", 1:400)
  rownames(made$peaks) <- c(
    paste0("chr1-", 11000 * 1:3, "-", 11000 * 1:3 + 500),
    paste0("chr2-", 5000 + 1:30, "-", 6001:6030)
  )
  run <- function(...) {
    LinkPeaksLASSO(
      made$rna, made$peaks,
      gene.coords = data.frame(gene = "G", seqnames = "chr1", tss = 15000, strand = "+"),
      genes = "G", lambda = "min", verbose = FALSE, ...
    )
  }
  links <- run(peaks.imputed = TRUE)
  expect_identical(links$peak[1:2], rownames(made$peaks)[1:2])
  expect_equal(links$coefficient[1], links$coefficient[2], tolerance = 0.25) # nearly copies
  third <- links$coefficient[links$peak == rownames(made$peaks)[3]]
  expect_lt(max(0, third), 0.05 * links$coefficient[1])
  expect_lt(max(links$fdr[1:2]), 0.05)
  # standardized, the three cannot be told apart
  expect_gt(max(abs(run(peaks.imputed = TRUE, standardize = TRUE)$coefficient)), 0.3)
})

test_that("cells of covariates, folds, coordinates and groups are matched by name", {
  case <- lasso_case()
  cells <- colnames(case$peaks)
  turned <- rev(seq_along(cells))
  values <- matrix(with_seed(1, stats::rnorm(length(cells) * 2)), ncol = 2)
  rownames(values) <- cells
  folds <- stats::setNames(rep(1:5, length.out = length(cells)), cells)
  run <- function(...) link_case(case, n.permutations = 0, ...)
  expect_equal(run(covariates = values[turned, ]), run(covariates = values))
  expect_equal(run(folds = folds[turned]), run(folds = folds))
  expect_equal(
    run(folds = "block", coordinates = values[turned, ]), run(folds = "block", coordinates = values)
  )
  other <- values
  rownames(other) <- paste0("x", cells)
  for (given in list(
    list(covariates = other), list(folds = stats::setNames(folds, rownames(other))),
    list(folds = "block", coordinates = other)
  )) {
    expect_refused(do.call(run, given), "lacks 500 cells of the matrix")
  }
  text <- values
  text[] <- "a"
  expect_refused(
    run(folds = "block", coordinates = text), "^coordinates must be a numeric matrix .cells x"
  )
})

test_that("cells in which genes or peaks were not measured are left out", {
  case <- lasso_case()
  n <- ncol(case$rna)
  drawn <- with_seed(4, sample.int(n))
  lacks <- list(rna = drawn[1:120], peaks = drawn[121:240])
  mosaic <- case
  for (side in names(lacks)) mosaic[[side]][, lacks[[side]]] <- 0L
  of_cells <- function(case, cells) {
    for (side in names(lacks)) case[[side]] <- case[[side]][, cells]
    case
  }
  both <- sort(drawn[-(1:240)])
  paired <- of_cells(case, both)
  expect_identical(link_case(mosaic), link_case(paired))
  expect_message(
    LinkPeaksLASSO(mosaic$rna, mosaic$peaks, genes = "G1", gene.coords = case$coords),
    "^240 of 500 cells left out, without counts of genes or of peaks"
  )

  # what belongs to cells stays with these
  values <- matrix(with_seed(5, stats::rnorm(2 * n)), n)
  folds <- rep(1:5, length.out = n)
  run <- function(case, ...) link_case(case, n.permutations = 0, ...)
  expect_identical(
    run(mosaic, covariates = values, folds = folds),
    run(paired, covariates = values[both, ], folds = folds[both])
  )
  expect_identical(
    run(mosaic, folds = "block", coordinates = values),
    run(paired, folds = "block", coordinates = values[both, ])
  )
  expect_refused(run(mosaic, covariates = values[both, ]), "one row for each of the 500 cells")

  # sums over groups, of which the last has no cell with both
  groups <- outer(seq_len(n), 1:101, function(cell, group) (cell %% 100 + 1 == group) * 1)
  groups[, 101] <- seq_len(n) %in% lacks$rna[1:5]
  of_group <- rep(1:5, length.out = 101)
  in_groups <- function(...) suppressWarnings(run(...))
  expect_identical(
    in_groups(mosaic, groups = groups, folds = of_group),
    in_groups(paired, groups = groups[both, -101], folds = of_group[-101])
  )
  expect_refused(
    link_case(mosaic, groups = groups[, c(101, 101)]), "no group has a cell with counts of both"
  )

  # imputed values are there in all cells
  with_rna <- sort(drawn[-(1:120)])
  smooth <- mosaic
  smooth$peaks <- case$peaks + 0.5
  expect_identical(
    run(smooth, peaks.imputed = TRUE), run(of_cells(smooth, with_rna), peaks.imputed = TRUE)
  )
  mosaic$rna[, -lacks$peaks] <- 0L
  mosaic$rna[, lacks$peaks] <- case$rna[, lacks$peaks]
  expect_refused(link_case(mosaic), "no cell has counts of both genes and peaks: give cells")
  expect_s3_class(suppressWarnings(link_case(of_cells(case, lacks$peaks))), "data.frame")
  mosaic$rna[] <- 0L
  expect_refused(link_case(mosaic), "the genes hold no count at all")
})

test_that("a gene with starts on both strands has the nearest one", {
  opened <- with_seed(1, matrix(stats::rpois(1200, .5), 3))
  dimnames(opened) <- list(
    paste0("chr1-", c(1, 30, 60), "000-", c(1, 30, 60), "500"), paste0("c", 1:400)
  )
  rna <- with_seed(2, rbind(
    G = stats::rpois(400, 1 + 8 * opened[3, ]), other = stats::rpois(400, 20)
  ))
  colnames(rna) <- colnames(opened)
  places <- data.frame(
    gene = "G", seqnames = "chr1", start = c(2000, 50000), end = c(3000, 55000),
    strand = c("+", "-")
  )
  link <- function(rna, ...) {
    LinkPeaksLASSO(
      rna, opened, gene.coords = places, genes = "G", n.permutations = 0, verbose = FALSE, ...
    )
  }
  links <- link(rna)
  expect_identical(links$tss[links$peak == rownames(opened)[3]], 55000)
  expect_identical(links$distance[links$peak == rownames(opened)[3]], 55000 - 60250)
  expect_refused(link(replace(rna, 1, NA)), "the matrix of genes holds missing")
  expect_refused(link(replace(rna, 1, -1)), "genes holds negative values, so it is not expression")
  covariate <- seq_len(400)
  expect_refused(link(rna, covariates = cbind(covariate, 2 * covariate)), "are collinear")
})
