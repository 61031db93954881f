#' Genes and peaks that differ between groups of cells
#'
#' Tests which genes differ in expression, or which peaks in accessibility, between two groups of
#' cells or between each group and the rest. The counts of the object are tested, and the share of
#' wrong calls is kept: it was measured on cells with known differences (docs/benchmarks.md of the
#' project). What the model says of each effect stands beside it.
#'
#' @section What is tested:
#' The log fold change of a feature has a posterior of what its counts say (binomial, widened by
#' the variation between the cells of each group) and of a prior that is learnt from all other
#' features. A feature is called (`is_de`) where the expected share of wrong calls up to it, the
#' `q_value`, is at most `fdr`; wrong means a fold change within `logfc.threshold`. Fold changes
#' are relative to the typical feature (attribute `typical_lfc`), since shares sum to one.
#'
#' Where the model was fitted with batches, cells are compared with those of their own batch, so
#' that what a batch does to a feature cancels. Batches of which a group has fewer than three cells
#' say nothing; groups that share no batch are refused.
#'
#' `lfc_model` is the log fold change of what the model decodes, averaged over samples of its
#' latent. It takes no part in the test: the decoder was fitted to the same counts, and follows
#' their noise as well (for features without a difference its effect and that of the counts
#' correlate by 0.8 to 0.9), so that counts and model together would count the noise twice.
#'
#' @section Only what is higher:
#' With `only.pos = TRUE` the table has only features that are counted in the group and higher in
#' it (`lfc` above 0). `prob_de` is then the probability of a fold change above `logfc.threshold`,
#' and `q_value` the expected share of wrong calls among these features. This is not the same as
#' keeping the rows with `lfc > 0` of the whole table: where many losses are sure, they pay for
#' gains that are not. Between simulated groups with 300 clear losses and 60 small gains, 12 % of
#' the gains so called at `fdr = 0.05` were wrong, and 3 % with `only.pos`.
#'
#' @section The form of Seurat:
#' `as = "seurat"` gives the columns of `FindAllMarkers()`: `p_val`, `avg_log2FC`, `pct.1`, `pct.2`,
#' `p_val_adj`, `cluster` (a factor in the order of the groups) and `gene`, with unique row names.
#' It has the features that were called (`p_val_adj` at most `fdr`), as `FindAllMarkers()` has those
#' below its `return.thresh`. With `ident.1` there is a single comparison, and the table is that of
#' `FindMarkers()`: all features, whose names are the row names, without `cluster` and `gene`.
#'
#' The test has no p values. `p_val_adj` is the `q_value`, at which lists are to be cut. `p_val` is
#' 1 - `prob_de`, the probability that the feature does not differ; `p_val_adj` is its mean over all
#' features up to this one, and so the smaller of the two. `avg_log2FC` is `lfc`, which is shrunk
#' towards 0 where counts are few. `pct.1` and `pct.2` are rounded to three digits, as Seurat does.
#'
#' @section Which test when:
#' * `DifferentialSCMVP()` for a list of genes or peaks that is to be believed at a stated rate.
#' * `FindMarkers()` on the RNA assay for a test without any model; p values of counts are valid.
#' * `FindMarkers()` on the imputed assay (`scMVP_RNA`, made by [ImputeSCMVP()]) runs, and is good
#'   to rank and to draw. Its p values mean nothing: imputed values of the cells of a group are
#'   nearly equal, so that any difference of the model's means is significant, and the means follow
#'   the noise. Between two simulated types that differ in 40 of 1,000 genes it called 994 genes,
#'   this function 40, 38 of them right.
#' * Groups that were found by clustering the very cells (`scmvp_cluster`, as any clustering) have
#'   been made to differ: of cells that are all of one kind, split by an algorithm, some features
#'   will be called, as by every test. The rates hold for groups that are real, or were not chosen
#'   by the counts that are tested.
#' * Cells are the sample here, not donors. Where conditions with several donors each are compared,
#'   sum the counts of each donor and use a bulk method (edgeR, DESeq2).
#'
#' @param object What [RunSCMVP()] or [ProjectSCMVP()] returned: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or the result on matrices.
#' @param ... Not used; unknown arguments are refused by name.
#' @param modality `"rna"` for genes or `"peaks"`.
#' @param group.by Name of a column of the cell metadata (`"ident"`: `Idents()` of a Seurat object)
#'   or one value per cell; `NULL` for the clusters of the fit. Cells with `NA` are left out.
#' @param ident.1 Group to test, as in `FindMarkers()`: a label, several (taken together), or names
#'   of cells; `NULL`: each group in turn.
#' @param ident.2 What it is compared with, in the same way; `NULL` for all other cells.
#' @param features Features to report and to keep the rate over; `NULL` for all modelled ones.
#' @param logfc.threshold log2 fold changes within it count as no difference.
#' @param fdr Expected share of wrong ones among the features called.
#' @param library.size Total that `mean_group` and `mean_reference` refer to.
#' @param n.samples Samples of the latent behind `lfc_model`.
#' @param rna,peaks Counts, features x cells (for `peaks` also an experiment), where the object does
#'   not hold them: for the result on matrices, and peaks that were given beside an object.
#' @param reduction Name of the reduction with the model.
#' @param seed.use Seed; R's random stream is left alone.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Say what is compared.
#' @param only.pos Only features that are higher in the group, see below.
#' @param as `"data.frame"`, or `"seurat"` for the columns of `FindAllMarkers()`, see below.
#' @return A data frame with one line per feature and comparison: `feature`, `group`, `reference`;
#'   `lfc`, `lfc_sd`, `lfc_low`, `lfc_high` (posterior log2 fold change, its sd and 95 % interval);
#'   `lfc_model`, `lfc_model_sd`; `mean_group`, `mean_reference` (normalized counts),
#'   `detected_group`, `detected_reference` (share of cells); `prob_de` (probability of a fold
#'   change beyond the threshold), `log_bayes_factor` (natural), `q_value`, `is_de`. With a single
#'   comparison its row names are the features.
#'
#'   Groups come in the order of their factor. In each come first the features that are higher in
#'   it, the most probable first, then those that are lower, likewise; so `head()` shows markers of
#'   the first group.
#' @section Errors:
#' `scmvp_error_input` for groups that are unknown or overlap, for a named group of fewer than 3
#' cells with counts, and where the counts of the modality are not in the object;
#' `scmvp_error_model` when there is no stored model (`merge()` drops it), or several joined by
#' `cbind()`. Where each group is tested, a warning of class `scmvp_warning_left_out` names those
#' that are too small, which remain among "the rest" of the others. A warning of class
#' `scmvp_warning_merged` where `group.by` holds clusters of another fit.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   markers <- DifferentialSCMVP(object, group.by = "cell_type", ident.1 = "Type01")
#'   head(markers[markers$is_de, c("lfc", "lfc_sd", "q_value")])
#'   markers <- DifferentialSCMVP(object, group.by = "cell_type", only.pos = TRUE, as = "seurat")
#'   head(markers)                 # as FindAllMarkers(): dplyr::slice_max(), DoHeatmap()
#'   peaks <- DifferentialSCMVP(
#'     object, "peaks",
#'     group.by = "cell_type", ident.1 = "Type01", ident.2 = "Type02"
#'   )
#'   sum(peaks$is_de)
#' }
#' @export
DifferentialSCMVP <- function(object, modality = c("rna", "peaks"), rna = NULL, peaks = NULL,
                              group.by = NULL, ident.1 = NULL, ident.2 = NULL, features = NULL,
                              logfc.threshold = 0.25, fdr = 0.05, library.size = 1e4,
                              n.samples = 10, reduction = "scmvp", seed.use = 0,
                              backend = c("auto", "reticulate", "process"), verbose = TRUE,
                              only.pos = FALSE, as = c("data.frame", "seurat"), ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  as <- check_choice(as, c("data.frame", "seurat"), "as")
  request <- differential_request(
    modality, features, logfc.threshold, fdr, library.size, n.samples, seed.use, backend, verbose,
    only.pos
  )
  check_fitted(object, "DifferentialSCMVP()", "its model")
  record <- stored_results(object, reduction)
  home <- home_of(object, reduction)
  latent <- latent_of(object, reduction)
  counts <- counts_of_fit(object, record, reduction, home, rownames(latent), rna, peaks)
  by <- group_column(group.by, ident.1, rownames(latent), reduction)
  data <- grouping_columns(object, by, home)
  table <- compare_groups(record, counts, group.by, ident.1, ident.2, data, reduction, request)
  if (as == "seurat") as_markers(table, is.null(ident.1)) else table
}

# ---- what is common ------------------------------------------------------------------------------

# The checked arguments of one call.
differential_request <- function(modality, features, logfc.threshold, fdr, library.size, n.samples,
                                 seed.use, backend, verbose, only.pos) {
  fdr <- check_number(fdr, "fdr", min = 0, above = TRUE)
  if (fdr >= 1) refuse("fdr must be below 1, not ", in_words(fdr), ".")
  list(
    modality = check_modality(modality),
    features = features,
    options = list(
      delta = check_number(logfc.threshold, "logfc.threshold", min = 0),
      fdr = fdr,
      library_size = check_number(library.size, "library.size", min = 0, above = TRUE),
      n_samples = check_number(n.samples, "n.samples", min = 1, whole = TRUE),
      seed = check_number(seed.use, "seed.use", min = 0, whole = TRUE),
      only_pos = check_flag(only.pos, "only.pos")
    ),
    backend = check_choice(backend, backends, "backend"),
    verbose = check_flag(verbose, "verbose"),
    min.shared = 0.8, fitted = TRUE
  )
}

compare_groups <- function(record, counts, group.by, ident.1, ident.2, data, reduction, request) {
  tested <- if (request$modality == "rna") "rna" else "peaks"
  if (is.null(counts[[tested]])) {
    refuse(
      "the counts of the ", if (tested == "rna") "genes" else "peaks", " are not in the object: ",
      where_counts_are(record$options, tested)
    )
  }
  has <- lengths(counts) > 0
  cells <- colnames(counts[[tested]])
  groups <- groups_to_compare(group.by, ident.1, ident.2, cells, data, reduction)
  with_engine(request$backend, function(engine) {
    model <- restore_model(record$model, engine)
    rna <- in_model_features(counts$rna, model$genes, "gene", cells, request)
    peaks <- in_model_features(counts$peaks, model$peaks, "peak", cells, request)
    modelled <- if (tested == "rna") model$genes else model$peaks
    shown <- if (tested == "rna") rna$shown else peaks$shown
    features <- if (!is.null(request$features)) {
      modelled[match(check_names_known(request$features, shown, "features", "in the model"), shown)]
    }
    if (request$verbose) tell_groups(groups, tested, length(modelled))
    options <- c(request$options, list(
      latent = if (all(has)) "joint" else if (has[["rna"]]) "rna" else "atac"
    ))
    columns <- names(model$batch)
    batch <- if (length(columns) > 0) {
      batches_of_model(columns, cells, data, "the table of the object's cells")
    }
    found <- engine$differential(
      rna$counts, peaks$counts, groups, request$modality, features, options, batch
    )
    differential_table(found$table, modelled, shown, unlist(found$typical), groups)
  })
}

where_counts_are <- function(options, tested) {
  place <- if (tested == "rna") "rna." else "peak."
  kinds <- Filter(function(kind) {
    any(lengths(options[paste0(c("rna.", "peak."), kind)]) > 0)
  }, c("assay", "experiment"))
  if (length(kinds) == 0 || tested %in% options$beside) {
    return(paste0("give them with ", tested, " =."))
  }
  name <- options[[paste0(place, kinds)]]
  if (is.null(name)) {
    other <- if (tested == "rna") "peaks" else "rna"
    return(paste0("its cells were embedded without them, so take modality = \"", other, "\"."))
  }
  paste0("put ", kinds, " '", name, "' back, or give its counts with ", tested, " =.")
}

# list(labels, levels, group1, group2): a label per cell, "" for none, the labels in the order of
# the factor, and which are compared.
groups_to_compare <- function(group.by, ident.1, ident.2, cells, data, reduction) {
  if (is.null(ident.1) && !is.null(ident.2)) {
    refuse("ident.2 is given without ident.1: name the group to compare with it as ident.1.")
  }
  if (is.null(group.by) && length(ident.1) > 0 && names_cells(ident.1, cells)) {
    labels <- labels_of_cells(ident.1, ident.2, cells)
    ident.1 <- "ident.1"
    if (!is.null(ident.2)) ident.2 <- "ident.2"
  } else {
    if (is.null(group.by)) group.by <- group_column(group.by, ident.1, cells, reduction)
    labels <- groups_of(group.by, cells, data, "group.by")
  }
  levels <- levels(factor(labels))
  labels <- as.character(labels)
  check_idents(ident.1, as.character(ident.1), as.character(ident.2), labels)
  if (!is.null(ident.1)) {
    together <- paste(ident.1, collapse = "+")
    labels[labels %in% as.character(ident.1)] <- together
    levels <- c(together, setdiff(levels, ident.1))
    ident.1 <- together
  }
  labels[is.na(labels)] <- ""
  list(
    labels = labels, levels = levels, group1 = if (!is.null(ident.1)) list(ident.1),
    group2 = if (!is.null(ident.2)) as.list(as.character(ident.2))
  )
}

# The column (or the values) to group by; NULL where groups are given as cells.
group_column <- function(group.by, ident.1, cells, reduction) {
  if (!is.null(group.by) || (length(ident.1) > 0 && names_cells(ident.1, cells))) {
    return(group.by)
  }
  paste0(reduction, "_cluster")
}

names_cells <- function(ident, cells) is.character(ident) && all(ident %in% cells)

labels_of_cells <- function(ident.1, ident.2, cells) {
  if (!is.null(ident.2) && !names_cells(ident.2, cells)) {
    refuse(
      "ident.1 names cells, so ident.2 must, too (", some_names(setdiff(ident.2, cells)),
      " ", one_or_many(length(setdiff(ident.2, cells)), "is none", "are none"),
      "): give names of cells in both."
    )
  }
  both <- intersect(ident.1, ident.2)
  if (length(both) > 0) {
    refuse("ident.1 and ident.2 share cells (", some_names(both), "): name each cell in one only.")
  }
  labels <- rep(if (is.null(ident.2)) "rest" else NA, length(cells))
  labels[cells %in% ident.1] <- "ident.1"
  labels[cells %in% ident.2] <- "ident.2"
  labels
}

refuse_one_group <- function(given, ident.1, ident.2, labels) {
  if (!is.null(given) && length(given) == 0) {
    refuse("ident.1 is empty: name a group, or leave it out.")
  }
  if (length(unique(stats::na.omit(labels))) < 2) {
    refuse("all cells have one label: there is nothing to compare, so choose another group.by.")
  }
  if (length(ident.1) > 0 && length(ident.2) == 0 && all(labels %in% c(ident.1, NA))) {
    refuse("ident.1 names all groups: name fewer, or what they are compared with as ident.2.")
  }
}

check_idents <- function(given, ident.1, ident.2, labels) {
  refuse_one_group(given, ident.1, ident.2, labels)
  idents <- list(ident.1 = ident.1, ident.2 = ident.2)
  for (name in names(idents)) {
    unknown <- setdiff(idents[[name]], labels)
    if (length(unknown) > 0) {
      refuse(
        name, ": no cell has the label ", some_names(unknown), " (there are ",
        some_names(sort(unique(labels)), 6), "): check the spelling, and group.by."
      )
    }
  }
  both <- intersect(ident.1, ident.2)
  if (length(both) > 0) {
    refuse(
      "ident.1 and ident.2 both name ", some_names(both), ": take ",
      one_or_many(length(both), "it", "them"), " out of one."
    )
  }
}

tell_groups <- function(groups, tested, n) {
  n_groups <- length(setdiff(groups$labels, ""))
  what <- if (is.null(groups$group1)) {
    paste(count_of(n_groups, "group"), "in turn")
  } else {
    other <- paste(unlist(groups$group2), collapse = "+")
    if (is.null(groups$group2)) other <- "the rest"
    paste0("'", groups$group1[[1]], "' with ", other)
  }
  message("comparing ", what, ": ", count_of(n, if (tested == "rna") "gene" else "peak"))
}

# The table of the core, under the names that the object has for the features.
differential_table <- function(table, modelled, shown, typical, groups) {
  rownames(table) <- NULL
  table$feature <- shown[match(table$feature, modelled)]
  tested <- if (is.null(groups$group1)) groups$levels else unlist(groups$group1)
  table$group <- factor(table$group, tested)
  table$reference <- factor(table$reference, unique(table$reference))
  if (!anyDuplicated(table$feature)) rownames(table) <- table$feature
  attr(table, "typical_lfc") <- typical
  table
}

# The columns of FindAllMarkers(), with its calls alone, or, of a single comparison, of
# FindMarkers().
as_markers <- function(table, each) {
  if (each) table <- table[table$is_de, ]
  markers <- data.frame(
    p_val = pmax(1 - table$prob_de, 0), avg_log2FC = table$lfc,
    pct.1 = round(table$detected_group, 3), pct.2 = round(table$detected_reference, 3),
    p_val_adj = table$q_value
  )
  if (each) markers[c("cluster", "gene")] <- list(table$group, table$feature)
  rownames(markers) <- make.unique(table$feature)
  markers
}
