#' Genes, peaks and proteins that differ between conditions, with donors as replicates
#'
#' Compares conditions (treated and untreated, diseased and healthy), each of which was measured in
#' several samples. In each group of cells, the counts of each sample are summed
#' ([PseudobulkSCMVP()]), and the sums are compared by edgeR or DESeq2. The error of this test
#' includes the variation between donors.
#'
#' @section Why cells are not replicates:
#' Cells of one donor resemble each other: they share a genotype, an age, a disease state and the
#' time of sampling. A test of cells mistakes a difference between the donors of two conditions for
#' a difference between the conditions, and more cells make this error more significant. Consider
#' two conditions without any difference, four donors in each, 50 cells of each donor, and donors
#' that vary by 40 % in each gene. A Wilcoxon test of the cells gives p < 0.05 for 33 % of the
#' genes instead of 5 %; edgeR on sums of counts gives 5 % and DESeq2 6 % (simulated cells;
#' `bench/differential/replicates.py` and docs/differential.md of the project).
#'
#' @section What is computed:
#' In each group of cells, the counts of each sample with at least `min.cells` cells are summed, a
#' model with the covariates and the condition is fitted, and each condition is tested against the
#' reference. Conditions with fewer than two samples in a group are not tested in this group, and a
#' warning reports their number.
#'
#' * `"edgeR"`: `filterByExpr(min.count = min.count)`, `calcNormFactors()`, `estimateDisp()`,
#'   `glmQLFit()` and `glmQLFTest()`, otherwise at their defaults; `q_value` is computed by the
#'   method of Benjamini and Hochberg over the features of one group and condition.
#' * `"DESeq2"`: features with at least `min.count` counts in as many samples as the smallest
#'   condition has; size factors of type `"poscounts"`, because sums over few cells contain
#'   zeros; `DESeq()` and `results(alpha = 0.05)`; `q_value` is `padj`, which is `NA` for
#'   features that DESeq2 filters out.
#'
#' With few donors that differ much, edgeR controls the false discovery rate. DESeq2 finds more
#' features but also more false ones: with four donors in each condition that vary by 40 %, 16 to
#' 29 % of its calls at a nominal rate of 5 % are false.
#'
#' @section Paired designs and other covariates:
#' A sample is the unit of preparation: one donor under one condition. If the same donors were
#' measured under several conditions, `sample` must distinguish the conditions (in Seurat:
#' `object$sample <- paste(object$donor, object$condition)`), and `covariates = "donor"` compares
#' each donor with itself. Give other covariates of samples, such as sex or batch, in the same way.
#' Text, factors and whole numbers are treated as categories (batch 1, 2, 3); other numbers are
#' treated as numeric. To use a whole number such as age as numeric, divide it (`age / 10`).
#'
#' @param object A Seurat object, SingleCellExperiment or MultiAssayExperiment with raw counts, or a
#'   matrix of counts, features x cells. Keep all features in it, because sums are compared relative
#'   to their totals. No fit is needed.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param condition Name of a column of the cell metadata, or one value per cell: the condition of
#'   each cell.
#' @param sample,group.by Name of a column of the cell metadata (`"ident"`: `Idents()` of a Seurat
#'   object) or one value per cell: the sample that a cell comes from, and its group (cluster, cell
#'   type). Cells without a group (`NA`) are left out.
#' @param modality `"rna"` for genes, `"peaks"` or `"protein"`. Both methods assume that most
#'   features do not differ between the conditions, which may not hold for a small panel of
#'   proteins.
#' @param reference The condition with which the others are compared; `NULL` for the first
#'   level.
#' @param covariates Names of columns of the cell metadata that are the same in all cells of a
#'   sample, or a data frame with a row for each cell.
#' @param method `"edgeR"` or `"DESeq2"`.
#' @param assay Name of an assay of a Seurat object; `NULL` for the one with genes, peaks or
#'   proteins.
#' @param experiment Name of an experiment of a SingleCellExperiment or MultiAssayExperiment; `NULL`
#'   for the one with genes, peaks or proteins.
#' @param assay.type Name of the assay with raw counts of an experiment.
#' @param min.cells Samples with fewer cells in a group are left out, and a message reports
#'   their number.
#' @param min.count Number of counts that a feature needs in some of the sums (section What is
#'   computed).
#' @param verbose Report which sums and comparisons are made.
#' @return A data frame with one row per tested feature, group and condition: `feature`, `group`,
#'   `condition`, `reference`, `lfc` (log2 fold change against the reference), `p_value`, `q_value`,
#'   `mean_condition` and `mean_reference` (counts per 10,000 of the sum, mean over samples),
#'   `n_condition` and `n_reference` (numbers of samples). Rows are sorted by group, condition
#'   and p-value.
#' @section Errors:
#' `scmvp_error_input`: no such column, assay, experiment or condition; values that are not raw
#' counts; cells without sample or condition; a sample in two conditions; fewer than two samples in
#' each of two conditions, overall or in every group; covariates that vary within a sample or are
#' confounded with the condition. `scmvp_error_package`: edgeR or DESeq2 is not installed.
#' @seealso [DifferentialSCMVP()] compares groups of cells, such as clusters.
#' @references Squair JW, Gautier M, Kathe C, et al. (2021). Confronting false discoveries in
#'   single-cell differential expression. *Nature Communications* 12:5692.
#' @examples
#' if (requireNamespace("edgeR", quietly = TRUE)) {
#'   donor <- rep(paste0("d", 1:6), each = 60)
#'   condition <- ifelse(donor %in% c("d1", "d2", "d3"), "control", "treated")
#'   mean <- matrix(rgamma(200 * 6, 5, 5), 200)[, match(donor, unique(donor))]
#'   mean[1:10, condition == "treated"] <- 4 * mean[1:10, condition == "treated"]
#'   counts <- matrix(rpois(length(mean), mean), 200)
#'   dimnames(counts) <- list(paste0("gene", 1:200), paste0("cell", 1:360))
#'   table <- DifferentialConditionsSCMVP(
#'     counts,
#'     condition = condition, sample = donor, group.by = rep("T", 360)
#'   )
#'   head(table)
#' }
#' @export
DifferentialConditionsSCMVP <- function(object, condition = NULL, sample = NULL,
                                        group.by = "scmvp_cluster",
                                        modality = c("rna", "peaks", "protein"),
                                        reference = NULL, covariates = NULL,
                                        method = c("edgeR", "DESeq2"), assay = NULL,
                                        experiment = NULL, assay.type = "counts", min.cells = 10,
                                        min.count = 10, verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  method <- check_choice(method, c("edgeR", "DESeq2"), "method")
  check_installed(method, paste0("method = \"", method, "\""))
  cells <- cells_to_sum(
    object, check_modality(modality, counted_kinds), c(assay, experiment), assay.type, group.by,
    match.call(), environment()
  )
  min.cells <- check_number(min.cells, "min.cells", min = 1, whole = TRUE)
  min.count <- check_number(min.count, "min.count", min = 0)
  check_flag(verbose, "verbose")
  columns <- covariate_columns(covariates, cells)
  given <- list(group.by = group.by, sample = sample, condition = condition)
  cells <- labelled_cells(cells, given)
  columns <- columns[colnames(cells$counts), , drop = FALSE]
  samples <- table_of_samples(cells$labels, columns, reference)
  check_design(samples)
  sums <- sums_of_samples(cells, min.cells)
  if (verbose) {
    tell_sums(sums, min.cells)
    tell_design(samples, method)
  }
  found <- lapply(levels(cells$labels$group.by), function(group) {
    conditions_of_group(group, sums, samples, method, min.count)
  })
  tell_left_out(found, min.cells)
  do.call(rbind, lapply(found, `[[`, "table"))
}

# Tests of one group: list(table, why); `why` says for each condition that was not tested why not.
conditions_of_group <- function(group, sums, samples, method, min.count) {
  own <- which(sums$samples$group == group)
  counts <- as.matrix(sums$counts[, own, drop = FALSE])
  of <- samples[match(sums$samples$sample[own], samples$sample), , drop = FALSE]
  conditions <- levels(of$condition)
  n <- table(of$condition)
  enough <- conditions[n >= 2]
  why <- stats::setNames(rep("few", length(conditions) - 1), conditions[-1])
  left_out <- function(reason) {
    why[why == ""] <- reason
    list(why = stats::setNames(why, paste(group, names(why), sep = ": ")))
  }
  if (!conditions[1] %in% enough || length(enough) < 2) {
    return(left_out("few"))
  }
  why[enough[-1]] <- ""
  use <- of$condition %in% enough
  counts <- counts[, use, drop = FALSE]
  of <- droplevels(of[use, , drop = FALSE])
  design <- design_of(of)
  if (qr(design)$rank < ncol(design)) {
    return(left_out("confounded"))
  }
  if (ncol(design) >= nrow(design)) {
    return(left_out("degrees"))
  }
  tested <- tests_of_sums(counts, design, of$condition, method, min.count, group)
  if (is.null(tested)) {
    return(left_out("counts"))
  }
  in_order <- factor(group, levels(sums$samples$group))
  table <- cbind(tested["feature"], group = in_order, tested[-1])
  table$condition <- factor(table$condition, conditions)
  table$reference <- factor(table$reference, conditions)
  c(list(table = table), left_out(""))
}

# ---- what is said --------------------------------------------------------------------------------

tell_design <- function(samples, method) {
  n <- table(samples$condition)
  kinds <- vapply(covariates_of(samples), function(x) {
    if (is.factor(x)) count_of(nlevels(x), "level") else "numbers"
  }, "")
  terms <- c(if (length(kinds) > 0) paste0(names(kinds), " (", kinds, ")"), "condition")
  others <- paste0("'", names(n)[-1], "' (", n[-1], ")", collapse = ", ")
  message(
    method, ", ~ ", paste(terms, collapse = " + "), ": ", others, " against '", names(n)[1], "' (",
    count_of(n[[1]], "sample"), ")"
  )
}

reasons_left_out <- c(
  few = "fewer than 2 samples with enough cells in one of the two conditions",
  confounded = "covariates confounded with the condition",
  degrees = "as many coefficients as samples",
  counts = "no feature with min.count counts"
)

tell_left_out <- function(found, min.cells) {
  why <- unlist(lapply(found, `[[`, "why"))
  out <- why[why != ""]
  if (length(out) == 0) {
    return(invisible())
  }
  parts <- vapply(intersect(names(reasons_left_out), out), function(reason) {
    names <- names(out)[out == reason]
    paste0(format_count(length(names)), " with ", reasons_left_out[[reason]], " (",
      some_names(names), ")")
  }, "")
  said <- paste(parts, collapse = ", ")
  if (length(out) == length(why)) {
    refuse(
      "nothing can be compared in any group: ", said, "; lower min.cells = ", min.cells,
      " or min.count, name fewer covariates, or choose larger groups with group.by."
    )
  }
  warn_of(
    "replicates", format_count(length(out)), " of ", count_of(length(why), "comparison"), " ",
    is_are(length(out)), " left out: ", said, "."
  )
}
