#' Convert to the format of the package cicero
#'
#' Creates the aggregated cell data set that `cicero::run_cicero()` and the other functions of
#' cicero read, from the groups of [AggregateCells()].
#'
#' @param values Accessibility, peaks x cells.
#' @param groups Groups of [AggregateCells()].
#' @param ranges Ranges of the peaks, or `NULL` to read their names.
#' @param size_factor_normalize Divide each group's sums by its size factor.
#' @return A CellDataSet of monocle, peaks x groups, with peak names in the format of cicero
#'   (`chr1_100_200`).
#' @section Errors:
#' `scmvp_error_package` if cicero (for monocle 2) is not installed.
#' @examplesIf rlang::is_installed(c("cicero", "monocle"))
#' counts <- matrix(rpois(20 * 200, 1), 20, dimnames = list(
#'   paste0("chr1-", 30000L * 1:20, "-", 30000L * 1:20 + 500L), paste0("cell", 1:200)
#' ))
#' groups <- AggregateCells(t(counts[1:5, ]), k = 20, verbose = FALSE)
#' as_cicero_cds(counts, groups)
#' @export
as_cicero_cds <- function(values, groups, ranges = NULL, size_factor_normalize = TRUE) {
  check_installed("cicero", "as_cicero_cds()")
  check_installed("monocle", "as_cicero_cds()")
  check_flag(size_factor_normalize, "size_factor_normalize")
  values <- check_nonnegative(as_values(values, "values"))
  ranges <- ranges_table(ranges, rownames(values), argument = "ranges")
  use <- cells_to_group(values, groups)
  groups <- groups_for(values, groups, use = use)
  values <- values[, use, drop = FALSE]
  grouped <- grouped_accessibility(values, groups, FALSE)
  sums <- t(group_values(grouped, seq_len(grouped$n_peaks)))
  peaks <- paste(
    ranges$seqnames, format_whole(ranges$start), format_whole(ranges$end),
    sep = "_"
  )
  dimnames(sums) <- list(peaks, grouped$names)
  factors <- group_size_factors(grouped)
  annotated <- function(table) methods::new("AnnotatedDataFrame", data = table)
  cds <- suppressWarnings(bioc("monocle", "newCellDataSet")(
    if (size_factor_normalize) sweep(sums, 2, factors, `/`) else sums,
    phenoData = annotated(data.frame(
      agg_cell = colnames(sums), num_genes_expressed = colSums(sums > 0.1), Size_Factor = factors,
      row.names = colnames(sums)
    )),
    # cicero itself takes "chr" away from the table of chromosomes
    featureData = annotated(data.frame(
      site_name = rownames(sums), chr = gsub("chr", "", ranges$seqnames), bp1 = ranges$start,
      bp2 = ranges$end, row.names = rownames(sums)
    )),
    expressionFamily = bioc("VGAM", "negbinomial.size")(), lowerDetectionLimit = 0
  ))
  cds
}
