#' Sums of the counts of each sample in each group
#'
#' Sums the raw counts over the cells of a sample (a donor, or a donor under one condition) in each
#' group of cells (a cluster, a cell type). These pseudobulks are the input of bulk methods such as
#' edgeR, DESeq2 and limma. [DifferentialConditionsSCMVP()] computes them itself.
#'
#' @inheritParams DifferentialConditionsSCMVP
#' @param modality `"rna"` for genes, `"peaks"` or `"protein"`.
#' @param verbose Report which sums are made.
#' @return A list: `counts`, a sparse matrix (dgCMatrix) of sums, features x pseudobulks; `samples`,
#'   a data frame with a row for each of its columns: `group`, `sample`, `n_cells`, and the columns
#'   of the cell metadata that are the same in all cells of a sample (`.1` is added to the name of
#'   a column that is named like one of the first three). `DESeq2::DESeqDataSetFromMatrix()` and
#'   `edgeR::DGEList()` accept both.
#' @section Errors:
#' `scmvp_error_input`: no such column, assay or experiment; values that are not raw counts; cells
#' without a sample; a `sample` that names cells instead of samples; no pseudobulk with
#' `min.cells` cells.
#' @seealso [DifferentialConditionsSCMVP()]
#' @examples
#' counts <- matrix(rpois(50 * 200, 1), 50)
#' dimnames(counts) <- list(paste0("gene", 1:50), paste0("cell", 1:200))
#' donor <- rep(c("d1", "d2", "d3", "d4"), 50)
#' type <- rep(c("T", "B"), each = 100)
#' sums <- PseudobulkSCMVP(counts, sample = donor, group.by = type)
#' dim(sums$counts)
#' sums$samples
#' @export
PseudobulkSCMVP <- function(object, sample = NULL, group.by = "scmvp_cluster",
                            modality = c("rna", "peaks", "protein"), assay = NULL,
                            experiment = NULL, assay.type = "counts", min.cells = 10,
                            verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  cells <- cells_to_sum(
    object, check_modality(modality, counted_kinds), c(assay, experiment), assay.type, group.by,
    match.call(), environment()
  )
  min.cells <- check_number(min.cells, "min.cells", min = 1, whole = TRUE)
  check_flag(verbose, "verbose")
  cells <- labelled_cells(cells, list(group.by = group.by, sample = sample))
  sums <- sums_of_samples(cells, min.cells)
  if (verbose) tell_sums(sums, min.cells)
  of_samples <- constant_columns(cells$data, cells$labels$sample)
  first <- match(sums$samples$sample, cells$labels$sample)
  samples <- cbind(sums$samples, of_samples[first, , drop = FALSE])
  names(samples) <- make.unique(names(samples))
  rownames(samples) <- colnames(sums$counts)
  list(counts = sums$counts, samples = samples)
}

# ---- cells ---------------------------------------------------------------------------------------

# list(counts, data, values): raw counts of one modality, features x cells, the metadata of these
# cells, and values_at() for them. `name`: of the part of an object. `call`, `frame`: of the verb.
cells_to_sum <- function(object, modality, name, assay.type, group.by, call, frame) {
  refuse_for_matrix(object, call, frame, c("modality", "assay", "experiment", "assay.type"))
  home <- NULL
  if (is_container(object)) {
    refuse_other_class(object, call, frame)
    part <- part_to_sum(object, part_kind(modality), name, assay.type)
    home <- part$name
    # a cell that the part lacks has no counts
    counts <- part$counts(home, TRUE)
    data <- grouping_columns(object, group.by, home)
    data <- data[match(colnames(counts), rownames(data)), , drop = FALSE]
  } else if (is_matrix_like(object)) {
    check_matrix_names(object, "the matrix of counts", "features")
    counts <- as_dgc(object)
    data <- data.frame(row.names = colnames(counts))
  } else {
    refuse_no_counts(object)
  }
  check_raw_counts(counts)
  list(
    counts = counts, data = data,
    values = function(given, argument) values_at(object, given, home, argument)
  )
}

part_to_sum <- function(object, kind, name, assay.type) {
  words <- about(object)
  refuse_without_counts(words)
  parts <- parts_of(object, assay.type = assay.type)
  argument <- part_argument(words)
  check_part(parts, name, argument, words, kind)
  part <- switch(kind,
    rna = find_rna_part(object, parts, name, argument, NULL),
    peaks = find_peak_part(object, parts, name, argument),
    protein = find_protein_part(object, parts, name, argument)
  )
  check_counted(part, words, argument)
}

# The cells with counts and a group, with `labels`: a factor for each of `given` (group.by, sample,
# and what else differs between samples), named columns or one value per cell.
labelled_cells <- function(cells, given) {
  names <- colnames(cells$counts)
  given <- Map(cells$values, given, names(given))
  labels <- Map(function(by, argument) {
    level_factor(values_by(by, names, cells$data, argument))
  }, given, names(given))
  group <- labels$group.by
  refuse_no_group(group, "group.by")
  use <- !is.na(group) & Matrix::colSums(cells$counts) > 0
  labels <- lapply(labels, function(x) droplevels(x[use]))
  data <- cells$data[use, , drop = FALSE]
  for (argument in setdiff(names(labels), "group.by")) {
    refuse_missing(labels[[argument]], argument, names[use])
  }
  check_samples(labels$sample, values_by(given$sample, names, cells$data, "sample"))
  list(counts = cells$counts[, use, drop = FALSE], labels = labels, data = data)
}

refuse_missing <- function(values, argument, cells) {
  without <- cells[is.na(values)]
  if (length(without) > 0) {
    refuse(
      argument, " has no value for ", count_of(length(without), "cell"), " (",
      some_names(without), "): give every cell a value, or leave these cells out, e.g. with a ",
      "missing group (NA) in group.by."
    )
  }
}

# A column of numbers, or of a value for nearly every cell, is another one than was meant.
check_samples <- function(sample, values) {
  n_cells <- length(sample)
  measured <- is.numeric(values) && any(values != round(values), na.rm = TRUE)
  if (measured || nlevels(sample) > max(1, n_cells / 2)) {
    refuse(
      "sample has ", format_count(nlevels(sample)), if (measured) " measured", " values for ",
      count_of(n_cells, "cell"), " ('", levels(sample)[1], "', ...): name the column with the ",
      "sample, or donor, of each cell."
    )
  }
}

# ---- sums ----------------------------------------------------------------------------------------

# list(counts, samples, n_small, n_cells_left): sums over the cells of a group and sample, of those
# with at least `min.cells`; and how many sums and cells were left out.
sums_of_samples <- function(cells, min.cells) {
  group <- cells$labels$group.by
  sample <- cells$labels$sample
  # groups one after the other, the samples of each in their order
  unit <- (as.integer(group) - 1) * nlevels(sample) + as.integer(sample)
  known <- sort(unique(unit))
  size <- tabulate(match(unit, known), length(known))
  enough <- size >= min.cells
  if (!any(enough)) {
    refuse(
      "no sample has min.cells = ", min.cells, " cells of a group (the most are ", max(size),
      "): lower min.cells, or choose larger groups with group.by."
    )
  }
  at <- match(unit, known[enough])
  used <- which(!is.na(at))
  samples <- data.frame(
    group = group[match(known[enough], unit)], sample = sample[match(known[enough], unit)],
    n_cells = size[enough]
  )
  names <- make.unique(paste(samples$group, samples$sample, sep = "_"))
  belongs <- Matrix::sparseMatrix(
    i = used, j = at[used], x = 1, dims = c(length(unit), nrow(samples)),
    dimnames = list(NULL, names)
  )
  list(
    counts = methods::as(cells$counts %*% belongs, "CsparseMatrix"), samples = samples,
    n_small = sum(!enough), n_cells_left = sum(size[!enough])
  )
}

tell_sums <- function(sums, min.cells) {
  small <- sums$n_small
  message(
    "sums of ", count_of(sum(sums$samples$n_cells), "cell"), ": ",
    count_of(nrow(sums$samples), "pseudobulk"), " of ",
    count_of(length(unique(sums$samples$group)), "group"), " and ",
    count_of(length(unique(sums$samples$sample)), "sample"),
    if (small > 0) {
      paste0(
        "; left out: ", format_count(small), " with fewer than min.cells = ", min.cells, " cells (",
        count_of(sums$n_cells_left, "cell"), ")"
      )
    }
  )
}

# The columns of `data` that are the same in all cells of a sample.
constant_columns <- function(data, sample) {
  first <- match(levels(sample), sample)[as.integer(sample)]
  constant <- vapply(colnames(data), function(name) is_constant(data[[name]], first), logical(1))
  as.data.frame(lapply(stats::setNames(nm = colnames(data)[constant]), function(name) {
    data[[name]]
  }), optional = TRUE, row.names = seq_len(nrow(data)))
}

# `first`: for each cell, the first one of its sample.
is_constant <- function(values, first) {
  if (!is.atomic(values) || length(dim(values)) > 0) {
    return(FALSE)
  }
  code <- match(values, unique(values))
  all(code == code[first])
}
