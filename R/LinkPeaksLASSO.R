#' Links from peaks to genes by LASSO
#'
#' For each gene, a cross-validated LASSO of its expression on the accessibility of the peaks near
#' its transcription start (Cao et al. 2018), equal to `glmnet::cv.glmnet()` and about ten times
#' faster. A peak with a coefficient is linked to the gene.
#'
#' @section The model:
#' Counts are turned into log(x / size factor + `pseudocount`), size factors being the cells' totals
#' over their geometric mean, and centered and scaled. Peaks whose correlation with the gene is at
#' most `min.correlation` are not tried. On the others a LASSO is fitted at every `lambda`, and by
#' `nfolds`-fold cross-validation the penalty is chosen: with the smallest error (`"min"`), or the
#' largest within a standard error of it (`"1se"`). `r.squared` is 1 - error / error without any
#' peak, at the chosen penalty and in held-out cells, not below 0.
#'
#' @section Measured and imputed values:
#' The response is the measured RNA, the accessibility measured or imputed. When both sides are
#' smoothed (imputed, or summed over overlapping groups of cells), held-out cells have lent their
#' values to the cells of the fit, and a model finds links where there are none: with smoothed
#' values on both sides, genes without any true peak reach a cross-validated R squared of 0.73 and
#' 21 links.
#' Then a warning says so, and the folds must be blocks of similar cells (`folds = "block"`, k-means
#' on the reduction) or your own.
#'
#' @section Imputed peaks:
#' Imputed values have no counting noise, and all follow few programs. A peak without a program has
#' hardly any variation left, which standardizing would blow up to that of the others; and of two
#' true peaks a LASSO keeps one, for they are copies. So imputed peaks are not standardized, and to
#' the diagonal of their Gram matrix `ridge` times the variance of the middle peak is added, as an
#' elastic net does: what varies no more than most peaks is shrunk away, and copies share their
#' coefficient. Coefficients are given for standardized peaks all the same.
#'
#' @section False discovery rate:
#' The statistic of a pair is the penalty at which its peak enters the LASSO of the gene. It is
#' compared with those of a null hypothesis, pooled over genes, `n.permutations` times. With `fdr`,
#' all pairs up to that rate are returned instead of those of the cross-validated penalty.
#' * `null = "permutation"`, for measured peaks: the cells of the gene's expression are permuted
#'   (residuals, when there are covariates). A false pair is one in which peak and gene have nothing
#'   to do with each other beyond the covariates; a peak that is open in the same cells as the true
#'   one for another reason is not covered.
#' * `null = "background"`, for imputed or smoothed peaks, which all follow the programs of the
#'   cells: the gene's peaks are replaced by peaks of other chromosomes that are as accessible. A
#'   false pair is one which is no closer than peaks of the rest of the genome are. With few
#'   programs many peaks of other chromosomes follow that of the gene, and few pairs can be called
#'   at 5 %.
#'
#' For smoothed responses the rate is not given (`NA`): their cells cannot be exchanged.
#'
#' @section Where genes start:
#' A gene starts at the 5' end of its body, from the first to the last base of all its transcripts,
#' as for `Signac::LinkPeaks()` and ArchR: the rows `gene` of an annotation, and for genes without
#' one (refGene, StringTie, gffread, the annotation of a ChromatinAssay) what their transcripts and
#' exons span. A data frame in which each row is a gene may name one several times: each row is a
#' start, and so is column `tss`, where there is one. A BED file holds either windows around starts,
#' most of them of one width, of which the middle is taken, or bodies of genes, whose 5' end is; a
#' message says which it was taken for. Strands may be written `+` and `-`, `1` and `-1`, `plus` and
#' `minus`, `forward` and `reverse`. Genes are found by the column of names (`gene_name`, `gene_id`,
#' ...) that has most of those of the object, Ensembl ids also by another version. Chromosomes are
#' the same with and without `chr`, and so are `chrM` and `MT`.
#'
#' @section Errors:
#' `scmvp_error_input`: no or several assays to choose from; no gene in the coordinates; no peak
#' near any gene; random folds with both sides smoothed; lambda not decreasing. Warnings of class
#' `scmvp_warning_genes`: genes absent from the coordinates, on several chromosomes, without counts
#' in `min.cells` cells, or without a peak near them; `scmvp_warning_strand`: strands that are not
#' known, so that a gene is taken to start at the lower coordinate.
#'
#' @param object A Seurat object with RNA and peaks, a SingleCellExperiment with peaks as
#'   alternative experiment, or a matrix of RNA counts, genes x cells.
#' @param ... For objects: the arguments of the method for matrices, from `genes` on. Unknown
#'   arguments are refused by name.
#' @param rna.assay,peak.assay Names of the assays; `NULL` for those of the fit in `reduction`, else
#'   the only candidates. Imputed assays are used when named.
#' @param rna.layer,peak.layer Layers; `NULL`: `counts`, for imputed assays their imputed `data`.
#' @param reduction,dims Reduction (and dimensions) for blocks of similar cells.
#' @param as `"data.frame"`; `"links"`, a GRanges as Signac keeps links; or, for Seurat, `"object"`
#'   with these as `Links()` of its ChromatinAssay and the data frame in
#'   `Misc(object, "lasso_links")`.
#' @param peaks Accessibility, peaks x cells, of the same cells.
#' @param ranges Ranges of the peaks (GRanges or data frame), or `NULL` to read their names.
#' @param genes Names of genes; `NULL` for all.
#' @param gene.coords Where genes start, see below: a data frame (gene; seqnames, start, end, strand
#'   or tss), a GRanges, a GTF, GFF3 or BED file, an EnsDb or a TxDb. `NULL`: the annotation of the
#'   ChromatinAssay.
#' @param distance Peaks whose center is at most this far from a start of the gene are tried.
#' @param lambda Which penalty: `"1se"` or `"min"`.
#' @param alpha 1 for the LASSO, below for the elastic net.
#' @param nfolds Number of folds.
#' @param folds `"random"`, `"block"`, or the fold of each cell. `NULL`: `"random"`, and `"block"`
#'   where both sides are smoothed.
#' @param groups Groups of [AggregateCells()], cells x groups: both sides are summed over them.
#' @param min.cells Genes and peaks with counts in fewer cells are left out.
#' @param min.correlation Peaks correlated less with the gene are not tried.
#' @param covariates `"depth"` for the log totals of both modalities, `"none"`, or a numeric matrix,
#'   cells x covariates. They are not penalized.
#' @param pseudocount Added before the logarithm.
#' @param lambda.sequence Penalties, decreasing.
#' @param n.permutations Permutations of each gene; 0 for none.
#' @param fdr Return the pairs up to this false discovery rate, or `NULL`.
#' @param rna.imputed,peaks.imputed Whether a side was imputed or smoothed; known for scMVP's
#'   assays.
#' @param rna.log,peaks.log Whether a side is logged already.
#' @param standardize Standardize the peaks, as `cv.glmnet()` does; not for imputed ones.
#' @param ridge Added to the diagonal of the peaks' Gram matrix: as it is where they are
#'   standardized, else in units of the variance of the middle peak.
#' @param null `"permutation"` of the cells or `"background"` peaks, see below.
#' @param coordinates Coordinates of the cells, cells x dimensions, for `folds = "block"`.
#' @param seed.use Seed of folds and permutations; R's own random numbers are not touched, and the
#'   result does not depend on the number of workers.
#' @param workers,BPPARAM Processes to use, or a BiocParallelParam.
#' @param verbose Show progress.
#' @return A data frame with one row per link: `gene`, `peak`, `distance` (of the peak's center from
#'   the start, negative upstream), `coefficient` (of standardized values), `r.squared` of the gene,
#'   `fdr`, `lambda` and `tss`. Attribute `genes` is a data frame of all genes fitted, with their
#'   numbers of peaks and links and their R squared.
#' @references Cao J, Cusanovich DA, Ramani V, et al. (2018). Joint profiling of chromatin
#'   accessibility and gene expression in thousands of single cells. *Science* 361:1380-1385.
#'
#'   Friedman J, Hastie T, Tibshirani R (2010). Regularization paths for generalized linear models
#'   via coordinate descent. *Journal of Statistical Software* 33(1).
#' @seealso [RunCicero()] for links between peaks; [ClassifyCRE()], [PlotLinks()].
#' @examples
#' # one gene that follows the second of three peaks
#' open <- matrix(rpois(3 * 400, 0.5), 3, dimnames = list(
#'   c("chr1-1000-1500", "chr1-30000-30500", "chr1-60000-60500"), paste0("cell", 1:400)
#' ))
#' rna <- rbind(GENE = rpois(400, 1 + 2 * open[2, ]), OTHER = rpois(400, 3))
#' colnames(rna) <- colnames(open)
#' starts <- data.frame(gene = "GENE", seqnames = "chr1", start = 20000, end = 25000, strand = "+")
#' LinkPeaksLASSO(rna, open, gene.coords = starts, genes = "GENE", verbose = FALSE)
#' @export
LinkPeaksLASSO <- function(object, peaks = NULL, rna.assay = NULL, peak.assay = NULL,
                           rna.layer = NULL, peak.layer = NULL, gene.coords = NULL,
                           reduction = "scmvp", dims = NULL,
                           as = c("data.frame", "links", "object"), ranges = NULL, genes = NULL,
                           distance = 1e5, lambda = c("1se", "min"), alpha = 1, nfolds = 10,
                           folds = NULL, groups = NULL, min.cells = 10, min.correlation = 0.03,
                           covariates = "depth", pseudocount = 0.1,
                           lambda.sequence = exp(seq(log(10), log(0.001), length = 100)),
                           n.permutations = 10, fdr = NULL, rna.imputed = NULL,
                           peaks.imputed = NULL, rna.log = NULL, peaks.log = NULL,
                           standardize = NULL, ridge = NULL, null = NULL, coordinates = NULL,
                           seed.use = 0, workers = 1, BPPARAM = NULL, verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  as <- check_choice(as, c("data.frame", "links", "object"), "as")
  input <- if (is_container(object)) {
    lasso_of_object(
      object, peaks, rna.assay, peak.assay, rna.layer, peak.layer, gene.coords, reduction, dims, as
    )
  } else {
    lasso_of_matrices(object, peaks, ranges, gene.coords, as)
  }
  # what the user says of the values goes before what is known of them
  said <- list(
    rna.imputed = rna.imputed, peaks.imputed = peaks.imputed, rna.log = rna.log,
    peaks.log = peaks.log, coordinates = coordinates
  )
  said <- Filter(Negate(is.null), said)
  input[names(said)] <- said
  check_flags(c("rna.imputed", "peaks.imputed", "rna.log", "peaks.log"), input)
  check_flag(verbose, "verbose")
  options <- check_lasso_options(
    distance, lambda, alpha, nfolds, min.cells, min.correlation, pseudocount, lambda.sequence,
    n.permutations, fdr, seed.use
  )
  options <- add_scale_options(options, standardize, ridge, null, input$peaks.imputed)
  links <- lasso_links(
    input, options, genes, folds, groups, covariates, check_workers(workers, BPPARAM), BPPARAM,
    verbose
  )
  switch(as,
    data.frame = links,
    links = lasso_granges(links),
    object = put_results(object, new_results(links = list(
      part = input$part, ranges = lasso_granges(links), key = "lasso_links", table = links
    )))
  )
}

# list(rna, peaks, ranges, gene.coords, rna.imputed, peaks.imputed, rna.log, peaks.log, coordinates,
# part): values of both sides, features x cells, and what is known of them.
lasso_of_object <- function(object, peaks, rna.assay, peak.assay, rna.layer, peak.layer,
                            gene.coords, reduction, dims, as) {
  if (!is.null(peaks)) refuse("peaks is for two matrices: name the peaks with peak.assay.")
  parts <- parts_of(object, fitted = TRUE)
  peak_part <- find_peak_part(object, parts, peak.assay, "peak.assay", reduction)
  rna_part <- find_rna_part(object, parts, rna.assay, "rna.assay", reduction)
  if (as == "object") check_links_home(about(object), peak_part)
  home <- home_of(object, reduction)
  rna <- rna_part$values(rna.layer, "rna.layer", home)
  peaks <- peak_part$values(peak.layer, "peak.layer", home)
  if (is.null(gene.coords)) gene.coords <- stored_genes(peak_part, rna_part, about(object)$part)
  list(
    rna = rna$values, peaks = peaks$values, ranges = peak_part$ranges(), gene.coords = gene.coords,
    rna.imputed = rna$imputed, peaks.imputed = peaks$imputed,
    # what is no counts is on the scale of the logarithm, as log-normalized data; the mark of an
    # imputed part knows
    rna.log = rna$layer != "counts" && (isTRUE(rna_part$mark$log) || !rna_part$own),
    peaks.log = peaks$layer != "counts" && isTRUE(peak_part$mark$log),
    coordinates = if (reduction %in% about(object)$reductions) {
      coordinates_of(object, reduction, dims, "LinkPeaksLASSO()")
    },
    part = peak_part
  )
}

lasso_of_matrices <- function(rna, peaks, ranges, gene.coords, as) {
  if (!is_matrix_like(rna) || !is_matrix_like(peaks)) {
    refuse(
      "LinkPeaksLASSO() takes a Seurat object, a SingleCellExperiment, or two matrices: RNA ",
      "(genes x cells) and peaks (peaks x cells)."
    )
  }
  if (is.null(gene.coords)) {
    refuse(
      "gene.coords is needed: a data frame (gene; seqnames, start, end, strand or tss), a ",
      "GRanges, a GTF or BED file, an EnsDb or a TxDb."
    )
  }
  if (as == "object") refuse("a matrix cannot hold links: take as = \"links\".")
  list(
    rna = rna, peaks = peaks, ranges = ranges, gene.coords = gene.coords, rna.imputed = FALSE,
    peaks.imputed = FALSE, rna.log = FALSE, peaks.log = FALSE, coordinates = NULL
  )
}

# Genes that the object knows: the annotation of its peaks, or ranges of its genes.
stored_genes <- function(peak_part, rna_part, word) {
  found <- if (word == "assay") peak_part$annotation() else rna_part$ranges()
  if (is.null(found)) {
    refuse(
      word, " '", if (word == "assay") peak_part$name else rna_part$name, "' has no gene ",
      "annotation: give gene.coords (a data frame, GRanges, GTF or BED file, EnsDb or TxDb)."
    )
  }
  found
}

lasso_links <- function(input, options, genes, folds, groups, covariates, workers, BPPARAM,
                        verbose) {
  rna <- as_values(input$rna, "object")
  peaks <- check_matrix_pair(rna, check_accessibility(as_values(input$peaks, "peaks")))
  if (!is.null(genes)) genes <- check_names_known(genes, rownames(rna), "genes", "in the RNA")
  ranges <- ranges_table(
    input$ranges, rownames(peaks),
    argument = if (is.null(input$part)) "ranges"
  )
  starts <- gene_starts(input$gene.coords, genes = rownames(rna), verbose = verbose)
  pairs <- gene_peak_pairs(rna, peaks, ranges, genes, starts, options)
  imputed <- c(rna = input$rna.imputed, peaks = input$peaks.imputed)
  data <- list(
    rna = rna[unique(pairs$gene), , drop = FALSE], peaks = peaks,
    coordinates = if (!is.null(input$coordinates)) {
      coordinates_for(colnames(peaks), ncol(peaks), input$coordinates, "coordinates")
    },
    covariates = check_covariates(covariates, rna, peaks, imputed),
    totals = list(rna = Matrix::colSums(rna), peaks = Matrix::colSums(peaks)), smooth = imputed
  )
  if (!is.null(groups)) groups <- groups_for(peaks, groups) # NULL again for "none"
  if (!is.null(groups)) data <- sum_over_groups(data, groups)
  folds <- check_folds(
    folds, ncol(data$peaks), colnames(data$peaks), options, data$smooth, data$coordinates
  )
  if (verbose) tell_pairs(pairs, ncol(data$peaks), if (is.null(groups)) "cell" else "group")
  logged <- c(rna = input$rna.log, peaks = input$peaks.log)
  scale <- lapply(c(rna = "rna", peaks = "peaks"), function(side) {
    if (!imputed[[side]] && !logged[[side]]) size_factors(data$totals[[side]], side)
  })
  options$ridge <- ridge_of(data$peaks, scale$peaks, logged[["peaks"]], options)
  null <- null_hypothesis(pairs, peaks, ranges, options, data$smooth)
  options <- null$options
  result <- link_genes(
    data$rna, data$peaks, pairs, scale, logged, data$covariates, folds, null$pool, options,
    workers, BPPARAM, verbose
  )
  links <- chosen_links(result, pairs, rownames(peaks), options)
  if (verbose) {
    message(count_of(nrow(links), "link"), " of ", count_of(length(unique(links$gene)), "gene"))
  }
  links
}

check_flags <- function(names, values) {
  for (name in names) check_flag(values[[name]], name)
}

tell_pairs <- function(pairs, n, what) {
  message(
    count_of(length(unique(pairs$gene)), "gene"), " with ", count_of(nrow(pairs), "pair"), ", ",
    count_of(n, what)
  )
}

# Both sides summed over groups of cells, what belongs to the cells averaged.
sum_over_groups <- function(data, groups) {
  average <- function(x) {
    if (!is.null(x)) as.matrix(Matrix::crossprod(groups, as.matrix(x))) / Matrix::colSums(groups)
  }
  data$rna <- data$rna %*% groups
  data$peaks <- data$peaks %*% groups
  data$totals <- lapply(data$totals, function(x) as.vector(Matrix::crossprod(groups, x)))
  data["covariates"] <- list(average(data$covariates))
  data["coordinates"] <- list(average(data$coordinates))
  data$smooth[] <- TRUE
  data
}

# ---- the fits ------------------------------------------------------------------------------------

# Fits of all genes, in pieces of neighboring genes that share peaks.
link_genes <- function(rna, peaks, pairs, scale, logged, covariates, folds, pool, options, workers,
                       BPPARAM, verbose) {
  order <- order(folds)
  ends <- cumsum(tabulate(folds))
  rows_of <- split(seq_len(nrow(pairs)), factor(pairs$gene, unique(pairs$gene)))
  transform <- function(x, side) {
    log_transform(x[, order, drop = FALSE], scale[[side]][order], options$pseudocount,
      logged[[side]])
  }
  pieces <- cut_pieces(lengths(rows_of), 4000, at.least = 4 * workers)
  permutations <- permuted_cells(length(order), options)
  if (!is.null(covariates)) covariates <- covariates[order, , drop = FALSE]
  in_pieces(pieces, function(some) {
    rows <- rows_of[some]
    used <- sort(unique(pairs$peak[unlist(rows)]))
    # cells x features from here on
    x <- transform(peaks[used, , drop = FALSE], "peaks")
    y <- transform(rna[names(rows), , drop = FALSE], "rna")
    drawn <- unique(unlist(pool[names(rows)], use.names = FALSE))
    elsewhere <- if (length(drawn) > 0) transform(peaks[drawn, , drop = FALSE], "peaks")
    lapply(seq_along(rows), function(g) {
      near <- match(pairs$peak[rows[[g]]], used)
      draws <- pool[[names(rows)[g]]]
      fit_gene(
        x[, near, drop = FALSE], as.vector(y[, g]), covariates, ends, permutations, options,
        background = lapply(seq_len(if (is.null(draws)) 0 else ncol(draws)), function(i) {
          elsewhere[, match(draws[, i], drawn), drop = FALSE]
        })
      )
    })
  }, workers = workers, BPPARAM = BPPARAM, verbose = verbose, what = "genes")
}

# What is not said follows from whether the peaks are imputed.
add_scale_options <- function(options, standardize, ridge, null, peaks.imputed) {
  if (is.null(standardize)) standardize <- !peaks.imputed
  if (is.null(ridge)) ridge <- if (isTRUE(standardize)) 0 else 3
  if (is.null(null)) null <- if (peaks.imputed) "background" else "permutation"
  options$standardize <- check_flag(standardize, "standardize")
  options$null <- check_choice(null, c("permutation", "background"), "null")
  options$ridge <- check_number(ridge, "ridge", min = 0)
  # covariances of values that are not standardized are smaller
  options$lowest.entry <- max(
    utils::tail(options$lambda.sequence, 1), if (options$standardize) 0.01 else 0
  )
  options
}

# The ridge in the units of the peaks.
ridge_of <- function(peaks, factors, logged, options) {
  if (options$ridge == 0 || options$standardize) {
    return(options$ridge)
  }
  options$ridge * typical_variance(peaks, factors, logged, options)
}

# The variance over cells of the middle peak, logged.
typical_variance <- function(peaks, factors, logged, options) {
  blocks <- split(seq_len(nrow(peaks)), (seq_len(nrow(peaks)) - 1) %/% 1000)
  variances <- lapply(blocks, function(rows) {
    x <- log_transform(peaks[rows, , drop = FALSE], factors, options$pseudocount, logged)
    column_sd(x)^2
  })
  variances <- unlist(variances, use.names = FALSE)
  stats::median(variances[variances > 0])
}

# log(x / size factor + pseudocount) up to a constant, cells x features: where x is 0 it is 0, so
# that a sparse matrix stays one.
log_transform <- function(x, factors, pseudocount, logged) {
  if (methods::is(x, "sparseMatrix")) {
    x <- as_dgc(x)
    if (!logged) {
      if (!is.null(factors)) x@x <- x@x / rep(factors, diff(x@p))
      x@x <- log1p(x@x / pseudocount)
    }
    return(Matrix::t(x))
  }
  x <- t(as.matrix(x))
  if (logged) {
    return(x)
  }
  if (!is.null(factors)) x <- x / factors
  log1p(x / pseudocount)
}

# One gene. `x`: cells x near peaks, `y`: its expression, cells sorted by fold.
fit_gene <- function(x, y, covariates, ends, permutations, options, background = NULL) {
  n <- length(y)
  p <- ncol(x)
  empty <- list(
    coefficients = numeric(p), r.squared = 0, lambda = NA_real_, entered = numeric(p),
    permuted = numeric(), tried = 0L
  )
  y <- standardize(matrix(y))
  if (!any(y != 0)) {
    return(empty)
  }
  n_free <- if (is.null(covariates)) 0 else ncol(covariates)
  spread <- column_sd(x)
  correlation <- as.vector(Matrix::crossprod(x, y)) / (n - 1) / pmax(spread, 1e-12)
  tried <- which(abs(correlation) > options$min.correlation)
  result <- empty
  result$tried <- length(tried)
  if (length(tried) > 0) {
    design <- cbind(1, covariates, centered(as.matrix(x[, tried, drop = FALSE])), y)
    fit <- cross_validate(
      fold_products(design, ends), n_free, options$lambda.sequence, options$alpha,
      options$standardize, options$ridge
    )
    # from here on those of standardized peaks, so that they can be compared
    chosen <- 1 + n_free + seq_along(tried)
    fit$coefficients[chosen, ] <- fit$coefficients[chosen, ] * spread[tried]
    at <- fit[[options$lambda]]
    result$lambda <- options$lambda.sequence[at]
    result$r.squared <- max(0, 1 - fit$cvm[at] / fit$cvm[1])
    result$coefficients[tried] <- fit$coefficients[chosen, at]
    result$path <- list(tried = tried, coefficients = fit$coefficients[chosen, , drop = FALSE])
  }
  scaled <- function(x) {
    x <- as.matrix(x)
    if (options$standardize) standardize(x) else centered(x)
  }
  null <- if (length(background) > 0) {
    entries_by_background(scaled(x), y, covariates, lapply(background, scaled), options)
  } else if (ncol(permutations) > 0) {
    entries_by_permutation(scaled(x), y, covariates, permutations, options)
  }
  if (!is.null(null)) {
    result$entered <- null$observed
    result$permuted <- null$permuted
  }
  result
}

# From the fits to the table of links.
chosen_links <- function(pieces, pairs, peak_names, options) {
  fits <- unlist(pieces, recursive = FALSE)
  genes <- unique(pairs$gene)
  table <- pairs
  spread <- function(part) rep(vapply(fits, `[[`, numeric(1), part), tabulate(gene_of))
  gene_of <- match(pairs$gene, genes)
  table$coefficient <- unlist(lapply(fits, `[[`, "coefficients"), use.names = FALSE)
  table$r.squared <- spread("r.squared")
  table$lambda <- spread("lambda")
  table$fdr <- NA_real_
  if (options$n.permutations > 0) {
    entered <- unlist(lapply(fits, `[[`, "entered"), use.names = FALSE)
    permuted <- unlist(lapply(fits, `[[`, "permuted"), use.names = FALSE)
    table$fdr <- permutation_fdr(entered, permuted, options$n.permutations)
    table$fdr[entered == 0] <- 1
  }
  if (is.null(options$fdr)) {
    table <- table[table$coefficient != 0, ]
  } else {
    table <- table[which(table$fdr <= options$fdr), ]
    table <- coefficients_at_entry(table, fits, pairs, genes, options)
  }
  table$peak <- peak_names[table$peak]
  table <- table[c("gene", "peak", "distance", "coefficient", "r.squared", "fdr", "lambda", "tss",
    "seqnames", "center")]
  rownames(table) <- NULL
  n_links <- tabulate(match(table$gene, genes), length(genes))
  attr(table, "genes") <- data.frame(
    gene = genes, peaks = tabulate(gene_of, length(genes)),
    tried = vapply(fits, function(fit) as.integer(fit$tried), integer(1)), links = n_links,
    r.squared = vapply(fits, `[[`, numeric(1), "r.squared"),
    lambda = vapply(fits, `[[`, numeric(1), "lambda")
  )
  table
}

# Links called by their rate may have no coefficient at the cross-validated penalty. Those take the
# one at the smallest cross-validation-free penalty at which all called peaks of the gene are in.
coefficients_at_entry <- function(table, fits, pairs, genes, options) {
  zero <- which(table$coefficient == 0)
  first <- match(genes, pairs$gene)
  for (row in zero) {
    g <- match(table$gene[row], genes)
    path <- fits[[g]]$path
    position <- match(table$peak[row], pairs$peak[first[g] + path$tried - 1])
    if (is.null(path) || is.na(position)) next
    inside <- which(path$coefficients[position, ] != 0)
    if (length(inside) == 0) next
    at <- inside[ceiling(length(inside) / 2)]
    table$coefficient[row] <- path$coefficients[position, at]
    table$lambda[row] <- options$lambda.sequence[at]
  }
  table
}

# The GRanges Signac keeps: from the start of the gene to the center of the peak.
lasso_granges <- function(links) {
  make_links(
    links$seqnames, pmin(links$tss, floor(links$center)), pmax(links$tss, floor(links$center)),
    score = links$coefficient, gene = links$gene, peak = links$peak, r.squared = links$r.squared,
    fdr = links$fdr
  )
}

# ---- input ---------------------------------------------------------------------------------------

# The pairs to fit: gene, peak (row), distance, and where they are. Genes that were named and cannot
# be fitted are told.
gene_peak_pairs <- function(rna, peaks, ranges, genes, starts, options) {
  wanted <- if (is.null(genes)) rownames(rna) else genes
  tell <- function(lost, ...) {
    if (length(lost) > 0 && !is.null(genes)) {
      warn_of(
        "genes", count_of(length(lost), "gene"), ..., " left out: ", some_names(lost), "."
      )
    }
  }
  detected <- Matrix::rowSums(rna[wanted, , drop = FALSE] != 0)
  rare <- wanted[detected < options$min.cells]
  tell(rare, " with counts in too few cells (min.cells = ", options$min.cells, ")")
  wanted <- setdiff(wanted, rare)
  if (length(wanted) == 0) {
    refuse("no gene has counts in enough cells (min.cells = ", options$min.cells, "): lower it.")
  }
  starts <- locate_genes(wanted, starts, "gene.coords")
  open <- which(Matrix::rowSums(peaks != 0) >= options$min.cells)
  pairs <- nearby_peaks(starts, ranges[open, ], options$distance)
  pairs$peak <- open[pairs$peak]
  if (nrow(pairs) == 0) {
    refuse(
      "no peak lies within ", format_count(options$distance), " bp of a gene (genes on ",
      some_names(unique(starts$seqnames)), "; peaks on ", some_names(unique(ranges$seqnames)),
      "): give gene.coords of the peaks' genome, or raise distance."
    )
  }
  tell(
    setdiff(unique(starts$gene), pairs$gene), " without a peak within ",
    format_count(options$distance), " bp"
  )
  pairs <- pairs[order(match(pairs$gene, wanted), pairs$peak), ]
  pairs$seqnames <- ranges$seqnames[pairs$peak]
  pairs$center <- (ranges$start[pairs$peak] + ranges$end[pairs$peak]) / 2
  strand <- starts$strand[match(pairs$gene, starts$gene)]
  pairs$tss <- pairs$center - ifelse(strand == "-", -pairs$distance, pairs$distance)
  pairs
}

# Totals over their geometric mean. A cell without any count has nothing to divide.
size_factors <- function(totals, what) {
  some <- totals > 0
  if (!any(some)) {
    refuse("the ", c(rna = "genes", peaks = "peaks")[[what]], " hold no count at all.")
  }
  unname(ifelse(some, totals / exp(mean(log(totals[some]))), 1))
}

check_lasso_options <- function(distance, lambda, alpha, nfolds, min.cells, min.correlation,
                                pseudocount, lambda.sequence, n.permutations, fdr, seed.use) {
  options <- list(
    distance = check_number(distance, "distance", min = 0, above = TRUE),
    lambda = check_choice(lambda, c("1se", "min"), "lambda"),
    alpha = check_number(alpha, "alpha", min = 0, above = TRUE),
    nfolds = check_number(nfolds, "nfolds", min = 3, whole = TRUE),
    min.cells = check_number(min.cells, "min.cells", min = 0, whole = TRUE),
    min.correlation = check_number(min.correlation, "min.correlation", min = 0),
    pseudocount = check_number(pseudocount, "pseudocount", min = 0, above = TRUE),
    n.permutations = check_number(n.permutations, "n.permutations", min = 0, whole = TRUE),
    seed.use = check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  )
  if (options$alpha > 1) refuse("alpha must be at most 1, not ", alpha, ".")
  options$lambda.sequence <- check_lambda_sequence(lambda.sequence)
  options["fdr"] <- list(check_number(fdr, "fdr", min = 0, above = TRUE, optional = TRUE))
  if (!is.null(options$fdr) && options$n.permutations == 0) {
    refuse("fdr needs permutations: leave it out, or set n.permutations above 0.")
  }
  options
}

check_lambda_sequence <- function(x) {
  usable <- is.numeric(x) && length(x) >= 2 && all(is.finite(x))
  if (!usable || any(x <= 0) || any(diff(x) >= 0)) {
    refuse("lambda.sequence must be decreasing numbers above 0.")
  }
  x
}

# Numeric covariates, cells x covariates, or NULL.
check_covariates <- function(covariates, rna, peaks, smooth) {
  if (identical(covariates, "none") || is.null(covariates)) {
    return(NULL)
  }
  if (identical(covariates, "depth")) {
    return(log_depths(rna, peaks, smooth))
  }
  covariates <- as.matrix(covariates)
  usable <- is.numeric(covariates) && nrow(covariates) == ncol(peaks)
  if (!usable || !all(is.finite(covariates))) {
    refuse(
      "covariates must be \"depth\", \"none\" or a numeric matrix with one row for each of the ",
      count_of(ncol(peaks), "cell"), " and no missing value."
    )
  }
  if (!is.null(rownames(covariates))) {
    check_same_cells(rownames(covariates), colnames(peaks), "covariates")
    covariates <- covariates[colnames(peaks), , drop = FALSE]
  }
  unname(covariates)
}

# Imputed values have no depth.
log_depths <- function(rna, peaks, smooth) {
  depth <- list(rna = Matrix::colSums(rna), peaks = Matrix::colSums(peaks))[!smooth]
  if (length(depth) == 0) {
    return(NULL)
  }
  depth <- do.call(cbind, lapply(depth, function(x) log(pmax(x, min(x[x > 0])))))
  unname(depth[, apply(depth, 2, stats::sd) > 0, drop = FALSE])
}

# Fold of each cell, 1, 2, ...
check_folds <- function(folds, n, cells, options, smooth, coordinates) {
  both <- all(smooth)
  if (both) {
    warn_of(
      "smoothed", "Both sides are smoothed, and cells held out have lent their values to the fit: ",
      "R squared and links are inflated. Measured RNA as the response avoids it; folds of similar ",
      "cells (folds = \"block\", the default here) only lessen it."
    )
  }
  if (is.null(folds)) folds <- if (both) "block" else "random"
  if (identical(folds, "random")) {
    if (both) {
      refuse(
        "random folds with both sides smoothed would invent links: use folds = \"block\", your ",
        "own folds, or measured RNA."
      )
    }
    return(seeded(options$seed.use, sample(rep(seq_len(options$nfolds), length.out = n))))
  }
  if (identical(folds, "block")) block_folds(coordinates, options) else own_folds(folds, n, cells)
}

# Blocks of similar cells.
block_folds <- function(coordinates, options) {
  if (is.null(coordinates)) {
    refuse(
      "folds = \"block\" needs the cells' coordinates: give coordinates = (cells x dimensions), ",
      "or with an object reduction =."
    )
  }
  coordinates <- check_coordinates(as.matrix(coordinates))
  seeded(
    options$seed.use,
    stats::kmeans(coordinates, options$nfolds, iter.max = 100, nstart = 5)$cluster
  )
}

own_folds <- function(folds, n, cells) {
  if (length(folds) != n || anyNA(folds)) {
    refuse(
      "folds must be \"random\", \"block\" or the fold of each of the ", count_of(n, "cell"), "."
    )
  }
  if (!is.null(names(folds)) && !is.null(cells)) {
    check_same_cells(names(folds), cells, "folds")
    folds <- folds[cells]
  }
  folds <- as.integer(factor(folds))
  if (max(folds) < 3) refuse("at least 3 folds are needed, not ", max(folds), ".")
  unname(folds)
}
