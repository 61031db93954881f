#' Links from peaks to genes by LASSO
#'
#' Fits, for each gene, a cross-validated LASSO of its expression on the accessibility of the peaks
#' near its transcription start (Cao et al. 2018). The fit equals that of `glmnet::cv.glmnet()` and
#' is about ten times faster. A peak with a non-zero coefficient is linked to the gene.
#'
#' @section The model:
#' Counts are transformed to log(x / size factor + `pseudocount`), where the size factors are the
#' totals of the cells divided by their geometric mean, and then centered and scaled. Peaks whose
#' correlation with the gene is at most `min.correlation` are excluded. A LASSO is fitted to the
#' others for every `lambda`, and `nfolds`-fold cross-validation selects the penalty with the
#' smallest error (`"min"`), or the largest penalty within one standard error of it (`"1se"`).
#' `r_squared` is 1 - error / error without any peak, at the chosen penalty and in held-out cells,
#' not below 0.
#'
#' Cells without counts of genes, or without counts of peaks, are assumed not to have been measured
#' in that modality (as in a mosaic). They are left out, unless the values of the modality are
#' imputed, and a message reports their number. Groups that contain only such cells are also left
#' out.
#'
#' @section Measured and imputed values:
#' The response is the measured RNA, and the predictors are measured or imputed accessibility. If
#' both sides are smoothed (imputed, or summed over overlapping groups of cells), the values of
#' held-out cells also depend on the cells of the fit, and the LASSO finds false links: genes
#' without any true peak reach a cross-validated R squared of 0.73 and 21 links. In this case a
#' warning is given, and the folds must be blocks of similar cells (`folds = "block"`, k-means on
#' the reduction) or your own.
#'
#' @section Imputed peaks:
#' Imputed values have no counting noise, and all of them follow few regulatory programs. A peak
#' without a program has hardly any variation, which standardization would inflate to that of the
#' other peaks. Moreover, two true peaks of one program are nearly identical, so a LASSO would keep
#' only one of them. Imputed peaks are therefore not standardized, and `ridge` times the variance of
#' the median peak is added to the diagonal of their Gram matrix, as in an elastic net: the
#' coefficients of peaks that vary no more than most peaks are shrunk toward zero, and nearly
#' identical peaks share their coefficient. The reported coefficients nevertheless refer to
#' standardized peaks.
#'
#' @section False discovery rate: The statistic of a pair is the penalty at which its peak enters
#' the LASSO of the gene. It is compared with its distribution under a null hypothesis, pooled over
#' genes, from `n.permutations` repetitions. With `fdr`, all pairs up to this rate are returned
#' instead of the pairs selected by cross-validation. If a pair has no coefficient at the selected
#' penalty, its coefficient is that at the middle of the penalties at which it has one (column
#' `lambda`). The data count as one more repetition: if `k` pairs enter at a higher penalty than all
#' pairs of the null hypothesis, their rate is 1 / (`n.permutations` + 1) / `k`. To call single
#' links, increase the number of repetitions.
#' * `null = "permutation"`, for measured peaks: the cells of the gene's expression are permuted
#'   (residuals, when there are covariates). A false pair is one in which peak and gene are
#'   independent given the covariates. The rate does not account for peaks that are accessible in
#'   the same cells as the true peak for another reason.
#' * `null = "background"`, for imputed or smoothed peaks, which all follow the programs of the
#'   cells: the gene's peaks are replaced by equally accessible peaks of other chromosomes. A false
#'   pair is one that is no more strongly associated than peaks of the rest of the genome. With few
#'   programs, many peaks of other chromosomes follow the program of the gene, and few pairs can be
#'   called at 5 %.
#'
#' `p_value` is the proportion of pairs of the null hypothesis whose peak enters at the same or a
#' higher penalty. It is not corrected for the number of pairs; use `fdr` for this. For smoothed
#' responses both are `NA`, because their cells are not exchangeable.
#'
#' @section Columns of Signac:
#' The GRanges goes from the start of the gene to the center of the peak. Its first columns are
#' those of `Signac::LinkPeaks()`, in that order: `score` (there a correlation, here the
#' `coefficient`), `gene`, `peak`, `zscore` and `pvalue`. `pvalue` is `p_value`, and `zscore` the
#' corresponding two-sided normal quantile with the sign of the coefficient.
#' `as = "links"` adds `r_squared` and `fdr`.
#'
#' There is no format for Pando, because each row of its networks is a transcription factor at a
#' region, and these links do not include factors.
#'
#' @section Transcription starts: The start of a gene is the 5' end of its body, which extends from
#' the first to the last base of all its transcripts, as in `Signac::LinkPeaks()` and ArchR. The
#' body is the row `gene` of an annotation or, for genes without such a row (refGene, StringTie,
#' gffread, the annotation of a ChromatinAssay), the range of their transcripts and exons. In a data
#' frame with one row per start, a gene may occur several times; the column `tss`, if present,
#' contains the starts. A BED file contains either windows around starts, most of them of one width,
#' or gene bodies. The start is then the middle of the window or the 5' end of the body; a message
#' reports the interpretation. Strands may be written `+` and `-`, `1` and `-1`, `plus` and `minus`,
#' `forward` and `reverse`. Genes are matched by the column of names (`gene_name`, `gene_id`, ...)
#' that contains most genes of the object; the version of an Ensembl id is ignored if necessary.
#' Chromosome names match with and without `chr`, and `chrM` matches `MT`.
#'
#' @section Errors:
#' `scmvp_error_input`: no suitable assay, or several; no gene in the coordinates; no peak near any
#' gene; random folds with both sides smoothed; lambda not decreasing. Warnings of class
#' `scmvp_warning_genes`: genes absent from the coordinates, on several chromosomes, without counts
#' in `min.cells` cells, or without a peak near them; `scmvp_warning_strand`: genes with unknown
#' strand, which are assumed to start at the lower coordinate.
#'
#' @param object A Seurat object with RNA and peaks, a SingleCellExperiment with peaks as
#'   alternative experiment, or a matrix of RNA counts, genes x cells.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param rna.assay,peak.assay Names of the assays; `NULL` for the assays of the fit in `reduction`,
#'   or the only candidates. Imputed assays are used only if named.
#' @param rna.layer,peak.layer Layers; `NULL`: the counts (those of the fit, else `counts`, else the
#'   first), for imputed assays their imputed values.
#' @param reduction,dims Reduction (and dimensions) for blocks of similar cells.
#' @param as Form of the result: `"data.frame"`; `"links"`, a GRanges in the format of Signac's
#'   `Links()`; `"signac"`, the same with only the columns of `Signac::LinkPeaks()`; or, for Seurat,
#'   `"object"`, the object with these links as the `Links()` of its ChromatinAssay and the data
#'   frame in `Misc(object, "lasso_links")`.
#' @param peaks Accessibility, peaks x cells, of the same cells.
#' @param ranges For matrices: ranges of the peaks (GRanges or data frame), or `NULL` to read their
#'   names.
#' @param genes Names of genes; `NULL` for all.
#' @param gene.coords Gene coordinates (section Transcription starts): a data frame (gene; seqnames,
#'   start, end, strand or tss), a GRanges, a GTF, GFF3 or BED file, an EnsDb or a TxDb. `NULL`: the
#'   annotation of the ChromatinAssay.
#' @param distance Largest distance in base pairs from the center of a peak to a start of the gene.
#' @param lambda Penalty to select: `"1se"` or `"min"`.
#' @param alpha 1 for the LASSO, smaller for the elastic net.
#' @param nfolds Number of folds.
#' @param folds `"random"`, `"block"`, or the fold of each cell. `NULL`: `"random"`, or `"block"` if
#'   both sides are smoothed.
#' @param groups Groups of [AggregateCells()], cells x groups; RNA and accessibility are summed
#'   over each group, and covariates (also `"depth"`) are averaged.
#' @param min.cells Genes and peaks with counts in fewer cells are excluded.
#' @param min.correlation Peaks whose absolute correlation with the gene is at most this number are
#'   excluded.
#' @param covariates `"depth"` for the log totals of both modalities, `"none"`, or a numeric matrix,
#'   cells x covariates. They are not penalized.
#' @param pseudocount Number added before the logarithm.
#' @param lambda.sequence Sequence of penalties, in decreasing order.
#' @param n.permutations Number of repetitions of the null hypothesis for each gene; 0 for none.
#' @param fdr Return the pairs up to this false discovery rate; `NULL` for those that
#'   cross-validation selects.
#' @param rna.imputed,peaks.imputed Whether the values were imputed or smoothed; detected for assays
#'   of scMVP.
#' @param rna.log,peaks.log Whether the values are already log-transformed. `NULL`: measured RNA is
#'   assumed to be log-transformed if its layer is not `counts` and contains fractions; for imputed
#'   assays, this is stored with the assay. `merge()` drops this information, so give the arguments
#'   for imputed assays of a merged object.
#' @param standardize Standardize the peaks, as `cv.glmnet()` does. `NULL`: only peaks that are not
#'   imputed.
#' @param ridge Number added to the diagonal of the Gram matrix of the peaks, in units of the
#'   variance of the median peak if the peaks are not standardized. `NULL`: 0 for standardized
#'   peaks, 3 for others.
#' @param null `"permutation"` of the cells or `"background"` peaks (section False discovery rate).
#'   `NULL`: `"background"` if the peaks are imputed, otherwise `"permutation"`.
#' @param coordinates Coordinates of the cells, cells x dimensions, for `folds = "block"`.
#' @param seed.use Seed of folds and permutations. R's own random numbers are not changed, and the
#'   result does not depend on the number of workers.
#' @param workers,BPPARAM Processes to use, or a BiocParallelParam.
#' @param verbose Show progress.
#' @return A data frame with one row per link: `gene`, `peak`, `distance` (base pairs from the start
#'   to the center of the peak, negative upstream), `coefficient` (of standardized values),
#'   `r_squared` of the gene, `p_value`, `fdr`, `lambda`, `tss`, and `seqnames` and `center` of the
#'   peak. The attribute `genes` is a data frame of all genes fitted, with their numbers of peaks
#'   and links and their R squared.
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
                           as = c("data.frame", "links", "object", "signac"), ranges = NULL,
                           genes = NULL,
                           distance = 1e5, lambda = c("1se", "min"), alpha = 1, nfolds = 10,
                           folds = NULL, groups = NULL, min.cells = 10, min.correlation = 0.03,
                           covariates = "depth", pseudocount = 0.1,
                           lambda.sequence = exp(seq(log(10), log(0.001), length = 100)),
                           n.permutations = 10, fdr = NULL, rna.imputed = NULL,
                           peaks.imputed = NULL, rna.log = NULL, peaks.log = NULL,
                           standardize = NULL, ridge = NULL, null = NULL, coordinates = NULL,
                           seed.use = 0, workers = 1, BPPARAM = NULL, verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  as <- check_choice(as, c("data.frame", "links", "object", "signac"), "as")
  refuse_for_matrix(object, match.call(), environment(), c(
    "rna.assay", "peak.assay", "rna.layer", "peak.layer", "reduction", "dims"
  ))
  input <- if (is_container(object)) {
    refuse_unused(match.call(), environment(), "ranges", "matrices, as an object has its own")
    check_string(reduction, "reduction")
    # the default reduction may be absent
    if ("reduction" %in% names(match.call())) check_reduction(object, reduction, reduction_role())
    lasso_of_object(
      object, peaks, rna.assay, peak.assay, rna.layer, peak.layer, gene.coords, reduction, dims, as
    )
  } else {
    lasso_of_matrices(object, peaks, ranges, gene.coords, as)
  }
  of_cells <- list(groups = groups, covariates = covariates, coordinates = coordinates)
  if (!is_matrix_like(groups)) of_cells$folds <- folds # else they are of the groups
  of_cells <- Map(function(values, argument) {
    values_at(object, values, input$home, argument)
  }, of_cells, names(of_cells))
  # the user's statement about the values overrides what is recorded
  said <- list(
    rna.imputed = rna.imputed, peaks.imputed = peaks.imputed, rna.log = rna.log,
    peaks.log = peaks.log, coordinates = of_cells$coordinates
  )
  said <- Filter(Negate(is.null), said)
  input[names(said)] <- said
  refuse_unknown_scale(input, said)
  check_flags(c("rna.imputed", "peaks.imputed", "rna.log", "peaks.log"), input)
  check_flag(verbose, "verbose")
  options <- check_lasso_options(
    distance, lambda, alpha, nfolds, min.cells, min.correlation, pseudocount, lambda.sequence,
    n.permutations, fdr, seed.use
  )
  options <- add_scale_options(options, standardize, ridge, null, input$peaks.imputed)
  links <- lasso_links(
    input, options, genes, if (is_matrix_like(groups)) folds else of_cells$folds, of_cells$groups,
    of_cells$covariates, check_workers(workers, BPPARAM), BPPARAM, verbose
  )
  switch(as,
    data.frame = links,
    links = lasso_granges(links),
    signac = lasso_granges(links, only = TRUE),
    object = put_results(object, new_results(links = list(
      part = input$part, ranges = lasso_granges(links), key = "lasso_links", table = links
    )))
  )
}

# list(rna, peaks, ranges, gene.coords, rna.imputed, peaks.imputed, rna.log, peaks.log, coordinates,
# part, home): values of both sides, features x cells, and what is known of them.
lasso_of_object <- function(object, peaks, rna.assay, peak.assay, rna.layer, peak.layer,
                            gene.coords, reduction, dims, as) {
  if (!is.null(peaks)) refuse("peaks is for two matrices: name the peaks with peak.assay.")
  parts <- parts_of(object, assay.type = counts_assay(object, reduction), fitted = TRUE)
  peak_part <- find_peak_part(object, parts, peak.assay, "peak.assay", reduction)
  rna_part <- find_rna_part(object, parts, rna.assay, "rna.assay", reduction)
  if (as == "object") check_links_home(about(object), peak_part)
  home <- home_of(object, reduction)
  rna <- rna_part$values(rna.layer, "rna.layer", home)
  rna$values <- as_values(rna$values, "object") # once, as they may be on disk
  peaks <- peak_part$values(peak.layer, "peak.layer", home)
  if (is.null(gene.coords)) gene.coords <- stored_genes(peak_part, rna_part, about(object)$part)
  list(
    rna = rna$values, peaks = peaks$values, ranges = peak_part$ranges(), gene.coords = gene.coords,
    rna.imputed = rna$imputed, peaks.imputed = peaks$imputed,
    # measured genes that are not whole numbers are log-normalized data
    rna.log = is_logarithm(rna, rna_part, measured = TRUE),
    peaks.log = is_logarithm(peaks, peak_part, measured = FALSE),
    coordinates = if (reduction %in% about(object)$reductions) {
      coordinates_of(object, reduction, dims, "LinkPeaksLASSO()")
    },
    part = peak_part, home = if (is.null(home)) rna_part$name else home
  )
}

# Whether values of a part are logarithms; NA if an imputed part has lost its mark in a merge.
# `measured`: the answer for measured values that are not counts.
is_logarithm <- function(found, part, measured) {
  if (found$layer == "counts") {
    return(FALSE)
  }
  if (!part$own || is_measured_activity(part$mark)) {
    return(measured && !are_whole(found$values))
  }
  if (is.null(part$mark)) NA else isTRUE(part$mark$log)
}

refuse_unknown_scale <- function(input, said) {
  for (side in c("rna", "peaks")) {
    argument <- paste0(side, ".log")
    if (is.null(said[[argument]]) && is.na(input[[argument]])) {
      refuse(
        "merge() does not keep whether the imputed ", features_of_kind(side), " are logarithms: ",
        "give ", argument, " (", is_logged(side), " for what ImputeSCMVP() imputes by default)."
      )
    }
  }
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
  if (as == "object") refuse("a matrix cannot hold links: use as = \"links\".")
  list(
    rna = rna, peaks = peaks, ranges = ranges, gene.coords = gene.coords, rna.imputed = FALSE,
    peaks.imputed = FALSE, rna.log = FALSE, peaks.log = FALSE, coordinates = NULL
  )
}

# Genes that the object knows: the annotation of its peaks, or ranges of its genes. A part is NULL
# where the object does not hold it, as cells projected without it.
stored_genes <- function(peak_part, rna_part, word) {
  kind <- if (word == "assay") "peaks" else "rna"
  part <- if (kind == "peaks") peak_part else rna_part
  found <- if (!is.null(part)) (if (kind == "peaks") part$annotation() else places_of_rows(part))
  if (is.null(found)) {
    refuse(
      if (is.null(part)) {
        paste0("the object has no ", word, " of ", features_of_kind(kind), " and so")
      } else {
        paste0(word, " '", part$name, "' has")
      },
      " no gene annotation: give gene.coords (a data frame, GRanges, GTF or BED file, EnsDb or ",
      "TxDb)."
    )
  }
  found
}

# Ranges of genes under the names of their rows, whatever names the ranges themselves have; NULL for
# none.
places_of_rows <- function(part) {
  ranges <- part$ranges()
  if (is.null(ranges)) {
    return(NULL)
  }
  table <- as_ranges(ranges, "gene.coords")
  place <- intersect(c("seqnames", "start", "end", "strand", "tss"), names(table))
  cbind(gene = part$features, table[place])
}

lasso_links <- function(input, options, genes, folds, groups, covariates, workers, BPPARAM,
                        verbose) {
  rna <- check_nonnegative(as_values(input$rna, "object"), "genes")
  peaks <- check_nonnegative(as_values(input$peaks, "peaks"))
  peaks <- check_matrices(list(rna = rna, peaks = peaks))$peaks
  imputed <- c(rna = input$rna.imputed, peaks = input$peaks.imputed)
  data <- lasso_cells(rna, peaks, input$coordinates, covariates, groups, imputed, verbose)
  peaks <- data$peaks # of cells, also where `data` is summed over groups
  if (!is.null(genes)) genes <- check_names_known(genes, rownames(rna), "genes", "in the RNA")
  ranges <- ranges_table(
    input$ranges, rownames(peaks),
    argument = if (is.null(input$part)) "ranges"
  )
  starts <- gene_starts(input$gene.coords, genes = rownames(rna), verbose = verbose)
  pairs <- gene_peak_pairs(data$rna, peaks, ranges, genes, starts, options)
  data$rna <- data$rna[unique(pairs$gene), , drop = FALSE]
  if (!is.null(data$groups)) data <- sum_over_groups(data)
  folds <- check_folds(folds, data$units, options, data$smooth, data$coordinates)
  if (verbose) tell_pairs(pairs, ncol(data$peaks), data$units$word)
  logged <- c(rna = input$rna.log, peaks = input$peaks.log)
  scale <- lapply(c(rna = "rna", peaks = "peaks"), function(side) {
    if (!imputed[[side]] && !logged[[side]]) size_factors(data$totals[[side]])
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
sum_over_groups <- function(data) {
  groups <- data$groups
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
