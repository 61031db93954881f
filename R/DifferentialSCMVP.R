#' Genes, peaks, proteins and regions that differ between groups of cells
#'
#' Tests which genes or proteins differ in expression, or which peaks in accessibility, between two
#' groups of cells or between each group and the rest. The test uses the counts of the object and
#' controls the false discovery rate, as measured on cells with known differences
#' (docs/benchmarks.md of the project). The table also gives the effect that the model decodes.
#'
#' @section What is tested:
#' The posterior of the log fold change of a feature combines the likelihood of its counts
#' (binomial, widened by the variation between the cells of each group) with a prior that is
#' learned from all other features. A feature is called (`is_de`) if its `q_value`, the expected
#' proportion of false calls among this and all more probable features, is at most `fdr`. A call
#' is false if the true log2 fold change lies within `logfc.threshold`. Fold changes are
#' relative to the typical feature (attribute `typical_lfc`), because proportions sum to one. Those
#' of proteins are relative to the background of both groups, as there is no typical protein in a
#' panel; the counts include the background, which makes fold changes smaller than `lfc_model`.
#'
#' If the model was fitted with batches, cells are compared with cells of their own batch, so that
#' batch effects cancel. A batch with fewer than three cells of a group contributes nothing, and
#' groups that share no batch cause an error. In groups of ten cells or fewer, about a tenth of the
#' calls are wrong at `fdr = 0.05`, because the variation between so few cells is hardly known.
#'
#' `lfc_model` is the log fold change of the decoded values (of proteins: of the counts per cell
#' above the background), averaged over samples of the latent. The test does not use it, because the
#' decoder was fitted to the same counts and follows their noise (for features without a
#' difference, the decoded effect and that of the counts have a correlation of 0.8 to 0.9). A test
#' of both would count the noise twice.
#'
#' @section Only higher features:
#' With `only.pos = TRUE`, the table contains only features that are detected in the group and
#' higher in it (`lfc` above 0). `prob_de` is then the probability of a log2 fold change above
#' `logfc.threshold`, and `q_value` the expected proportion of false calls among these features.
#' This differs from the rows with `lfc > 0` of the whole table, whose `q_value` is a mean over
#' losses and gains: many certain losses lower it for uncertain gains. In simulated groups with 300
#' clear losses and 60 small gains, 18 % of the gains called at `fdr = 0.05` in the whole table were
#' false, and 5 % with `only.pos`.
#'
#' @section The form of Seurat:
#' `as = "seurat"` gives the columns of `FindAllMarkers()`: `p_val`, `avg_log2FC`, `pct.1`, `pct.2`,
#' `p_val_adj`, `cluster` (a factor in the order of the groups) and `gene`, with unique row names.
#' The table contains the features that were called (`p_val_adj` at most `fdr`), as that of
#' `FindAllMarkers()` contains those below its `return.thresh`. With `ident.1` there is a single
#' comparison, and the table has the form of `FindMarkers()`: all features as row names, without
#' `cluster` and `gene`.
#'
#' The test gives no p-values. `p_val_adj` is the `q_value`; use it as the cutoff of a list. `p_val`
#' is 1 - `prob_de`, the probability that the feature does not differ. `p_val_adj` is the mean of
#' `p_val` over this and all more probable features, so it is at most `p_val`. `avg_log2FC` is
#' `lfc`, which is shrunk toward 0 where counts are few. `pct.1` and `pct.2` are rounded to three
#' digits, as Seurat does.
#'
#' @section Which test to use:
#' * `DifferentialSCMVP()` gives a list of genes or peaks at a stated false discovery rate.
#' * `FindMarkers()` on the RNA assay is a test without a model. Its p-values are valid.
#' * `FindMarkers()` on the imputed assay (`scMVP_RNA` of [ImputeSCMVP()]) can rank genes for
#'   plots, but its p-values are not valid. The imputed values of the cells of a group are nearly
#'   equal, so every difference between the means of the model is significant, and these means
#'   follow the noise of the counts. Between two simulated types that differ in 40 of 1,000 genes,
#'   it called 994 genes; this function called 40, of which 38 were true.
#' * Groups found by clustering the same cells (`scmvp_cluster` or any other clustering) were
#'   defined by differences in the tested counts. If an algorithm divides cells of one type into
#'   two clusters, every test calls some features. The false discovery rate holds for groups that
#'   were not defined by the tested counts.
#' * The replicates of this test are cells, not donors. To compare conditions with several donors
#'   each, use [DifferentialConditionsSCMVP()].
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or `scMVPFit`.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param modality `"rna"` for genes, `"peaks"`, `"protein"` or `"methylation"`. For methylation,
#'   fold changes are log2 odds ratios, means are levels, and `detected_*` is the proportion of
#'   cells in which a region is covered.
#' @param group.by Name of a column of the cell metadata (`"ident"`: `Idents()` of a Seurat object)
#'   or one value per cell (without names, in the order of the object's cells, for a
#'   MultiAssayExperiment of its `colData`); `NULL` for the clusters of the fit. Cells with `NA` are
#'   left out.
#' @param ident.1 Group to test, as in `FindMarkers()`: a label, several labels (combined into one
#'   group), or names of cells; `NULL`: each group in turn.
#' @param ident.2 Reference group, in the same form as `ident.1`; `NULL` for all other cells.
#' @param features Features to report, over which the false discovery rate is controlled; `NULL`
#'   for all modeled features.
#' @param logfc.threshold Absolute log2 fold changes up to this value count as no difference.
#' @param fdr False discovery rate: the largest expected proportion of false calls among the
#'   features that are called.
#' @param library.size Library size to which `mean_group` and `mean_reference` refer.
#' @param n.samples Number of samples of the latent from which `lfc_model` is computed.
#' @param rna,peaks,proteins,methylation Counts, features x cells, needed only if the object does
#'   not contain them, as for a fit of matrices and for peaks that were passed separately from the
#'   object. `peaks` can also be an experiment; `methylation` is `list(methylated = , covered = )`.
#' @param reduction Name of the reduction with the model.
#' @param seed.use Seed; R's own random numbers are not changed.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Show which groups are compared.
#' @param only.pos Report only features that are higher in the group (section Only higher
#'   features).
#' @param as `"data.frame"`, or `"seurat"` for the columns of `FindAllMarkers()` (section The
#'   form of Seurat).
#' @return A data frame with one row per feature and comparison: `feature`, `group`, `reference`;
#'   `lfc`, `lfc_sd`, `lfc_low`, `lfc_high` (posterior log2 fold change, its sd and 95 % interval);
#'   `lfc_model`, `lfc_model_sd`; `mean_group`, `mean_reference` (normalized counts) and
#'   `detected_group`, `detected_reference` (of the cells with counts in the modality, the
#'   proportion that has counts), of all cells, also of batches that the test leaves out, so that
#'   their ratio may differ from `lfc`; `prob_de` (probability of a fold
#'   change beyond the threshold), `log_bayes_factor` (natural), `q_value`, `is_de`. For a single
#'   comparison, the row names are the features.
#'
#'   Groups are in the order of the factor levels. Within a group, features that are higher in the
#'   group come first and features that are lower come last, each from the most to the least
#'   probable. `head()` therefore shows markers of the first group.
#' @section Errors:
#' `scmvp_error_input` if groups are unknown or overlap, if a named group has fewer than 3 cells
#' with counts, or if the object does not contain the counts of the modality; `scmvp_error_model`
#' if there is no stored model (`merge()` drops it), or several that were joined by `cbind()`. If
#' each group is tested, a warning of class `scmvp_warning_left_out` names the groups that are
#' too small to be tested; their cells remain in the reference of the other groups. A warning of
#' class `scmvp_warning_merged` is given if `group.by` contains clusters of another fit.
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
DifferentialSCMVP <- function(object, modality = c("rna", "peaks", "protein", "methylation"),
                              rna = NULL,
                              peaks = NULL, group.by = NULL, ident.1 = NULL, ident.2 = NULL,
                              features = NULL, logfc.threshold = 0.25, fdr = 0.05,
                              library.size = 1e4, n.samples = 10, reduction = "scmvp",
                              seed.use = 0, backend = c("auto", "reticulate", "process"),
                              verbose = TRUE, only.pos = FALSE, as = c("data.frame", "seurat"),
                              proteins = NULL, methylation = NULL, ...) {
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
  counts <- counts_of_fit(
    object, record, reduction, home, rownames(latent), rna, peaks, proteins,
    methylation
  )
  by <- group_column(group.by, ident.1, rownames(latent), reduction)
  data <- grouping_columns(object, by, home)
  group.by <- values_at(object, group.by, home, "group.by")
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
    verbose = check_flag(verbose, "verbose")
  )
}

compare_groups <- function(record, counts, group.by, ident.1, ident.2, data, reduction, request) {
  tested <- part_kind(request$modality)
  refuse_other_model(tested, names(counts))
  if (is.null(counts[[tested]])) {
    refuse(
      "the counts of the ", features_of_kind(tested), " are not in the object: ",
      where_counts_are(record$options, tested, takes_modality = TRUE)
    )
  }
  cells <- colnames(counts[[tested]])
  groups <- groups_to_compare(group.by, ident.1, ident.2, cells, data, reduction)
  with_engine(request$backend, function(engine) {
    model <- restore_model(record$model, engine)
    found <- fit_in_model(counts, model, cells, request$verbose)
    modelled <- features_in_model(model, tested)
    shown <- found[[tested]]$shown
    there <- !found[[tested]]$missing # missing features are not tested
    features <- if (!is.null(request$features)) {
      known <- check_names_known(request$features, shown[there], "features", "in model and object")
      modelled[match(known, shown)]
    } else if (!all(there)) {
      modelled[there]
    }
    if (request$verbose) tell_groups(groups, tested, sum(there))
    latent <- latent_from(names(without_nulls(counts)), names(counts))
    if (latent != "joint" && length(counts) > 1) {
      message(
        "lfc_model uses the latent from ", listed_kinds(names(without_nulls(counts))),
        " alone, because ", if (embedded_without(record$options, counts)) {
          paste0("reduction '", reduction, "' was embedded without the other counts")
        } else {
          "the other counts are not in the object"
        }
      )
    }
    options <- c(request$options, list(latent = latent))
    columns <- names(model$batch)
    batch <- if (length(columns) > 0) {
      batches_of_model(columns, cells, data, "the table of the object's cells")
    }
    result <- engine$differential(
      lapply(found, `[[`, "counts"), groups, request$modality, features, options, batch
    )
    differential_table(result$table, modelled, shown, unlist(result$typical), groups)
  })
}

# Whether an object's cells were embedded without the counts that are missing, as far as is known.
embedded_without <- function(options, counts) {
  used <- Filter(function(kind) {
    any(paste0(of_kind(kind, "prefix"), c(".assay", ".experiment")) %in% names(options))
  }, all_kinds)
  missing <- setdiff(names(counts), names(without_nulls(counts)))
  length(used) > 0 && !any(missing %in% used)
}

# `takes_modality`: whether the verb may be asked for another one.
where_counts_are <- function(options, tested, takes_modality = FALSE) {
  named <- function(part) paste0(of_kind(all_kinds, "prefix"), ".", part)
  part <- Filter(function(part) any(named(part) %in% names(options)), c("assay", "experiment"))
  argument <- of_kind(tested, "argument")
  if (length(part) == 0 || tested %in% options$beside) {
    return(paste0("give them with ", argument, " =."))
  }
  names <- stats::setNames(options[named(part)], all_kinds)
  if (is.null(names[[tested]])) {
    other <- names(without_nulls(names))[1]
    return(paste0(
      "its cells were embedded without them, so ",
      if (takes_modality) paste0("take modality = \"", other, "\".") else "give cells with them."
    ))
  }
  both <- tested == "methylation" && part == "assay" # which has two, read as one
  named <- if (both) layers_of_levels else names[[tested]]
  paste0(
    "put ", part, if (both) "s", " '", paste(named, collapse = "' and '"), "' back, or give ",
    if (both) "their" else "its", " counts with ", argument, " =."
  )
}

# list(labels, levels, group1, group2): a label per cell, NA for none, the labels in the order of
# the factor, and which are compared.
groups_to_compare <- function(group.by, ident.1, ident.2, cells, data, reduction) {
  if (is.null(ident.1) && !is.null(ident.2)) {
    refuse("ident.2 is given without ident.1: name the group to compare with it as ident.1.")
  }
  refuse_missing_idents(list(ident.1 = ident.1, ident.2 = ident.2))
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
  first <- level_names(ident.1)
  second <- level_names(ident.2)
  check_idents(ident.1, first, second, labels)
  if (!is.null(ident.1)) {
    together <- name_together(first, levels)
    labels[labels %in% first] <- together
    levels <- c(together, setdiff(levels, first))
  }
  list(
    labels = labels, levels = levels, group1 = if (!is.null(ident.1)) list(together),
    group2 = if (!is.null(ident.2)) as.list(second)
  )
}

refuse_missing_idents <- function(idents) {
  missing <- names(Filter(anyNA, idents))
  if (length(missing) > 0) {
    refuse(
      missing[1], " contains NA, but cells without a label belong to no group: leave NA out, or ",
      "give these cells a label."
    )
  }
}

# A unique name for groups that are combined.
name_together <- function(groups, levels) {
  if (length(groups) == 1) {
    return(groups)
  }
  utils::tail(make.unique(c(levels, paste(groups, collapse = "+"))), 1)
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
    refuse("ident.1 names all groups: name fewer, or give the reference as ident.2.")
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
  n_groups <- length(setdiff(groups$labels, NA))
  what <- if (is.null(groups$group1)) {
    paste(count_of(n_groups, "group"), "in turn")
  } else {
    quoted <- function(labels) paste0("'", unlist(labels), "'", collapse = " + ")
    other <- if (is.null(groups$group2)) "the rest" else quoted(groups$group2)
    paste(quoted(groups$group1), "with", other)
  }
  message("comparing ", what, ": ", count_of(n, of_kind(tested, "feature")))
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
