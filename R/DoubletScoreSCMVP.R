#' Doublet scores from all modalities
#'
#' Computes for each cell the probability that it is a doublet (two cells of different types in
#' one droplet) and adds it to the metadata. No cell is removed.
#'
#' @section How cells are scored: Doublets are simulated: the counts of two cells from different
#' components of the mixture (and from the same batch, if the model has batches) are added in all
#' modalities, and 60 to 100 % of the counts are kept. The encoder of the model embeds the simulated
#' doublets in the latent. A cell has a high score if many of its neighbors are simulated doublets
#' and if its number of counts in each modality is similar to theirs. The proportion of doublets is
#' estimated together with the scores, so the sum of the scores is the expected number of doublets.
#' This number is too high if many single cells resemble simulated doublets, as do cells along a
#' gradient and cells with few counts.
#'
#' Doublets of two cells of the same type resemble single cells and have low scores. Score all
#' cells of a run that passed quality control, before you select clusters: doublets with cells
#' outside a selection are not simulated. A cluster in which all cells have high scores may consist
#' of doublets; fit the model again without them.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or `scMVPFit`.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param rna,peaks,proteins,methylation Counts, features x cells, needed only if the object does
#'   not contain them, as for a fit of matrices and for peaks that were passed separately from the
#'   object. `peaks` can also be an experiment; `methylation` is `list(methylated = , covered = )`.
#' @param n.simulated Number of simulated doublets, at least 50; `NULL` for twice the number of
#'   cells, at most 20,000.
#' @param reduction Name of the reduction with the model.
#' @param seed.use Seed of the simulated doublets; R's own random numbers are not changed. The
#'   scores do not depend on the order of the cells.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Report the expected number of doublets.
#' @return The object with a metadata column `scmvp_doublet_score` (for another `reduction`, its
#'   name replaces `scmvp`), from 0 to 1; `NA` for cells without counts in one of the modalities.
#'   In a `scMVPFit`, the scores are in the element `doublet_score`, with the names of the cells.
#' @section Errors:
#' `scmvp_error_input` if all cells belong to one component, if fewer than 50 cells have counts in
#' all modalities, or if the object does not contain the counts; `scmvp_error_model` if there is
#' no stored model.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   object <- DoubletScoreSCMVP(object)
#'   summary(object$scmvp_doublet_score)
#' }
#' @export
DoubletScoreSCMVP <- function(object, rna = NULL, peaks = NULL, n.simulated = NULL,
                              reduction = "scmvp", seed.use = 0,
                              backend = c("auto", "reticulate", "process"), verbose = TRUE,
                              proteins = NULL, methylation = NULL, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  options <- list(
    n_simulated = check_number(n.simulated, "n.simulated", min = 50, whole = TRUE, optional = TRUE),
    seed = check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  )
  backend <- check_choice(backend, backends, "backend")
  check_flag(verbose, "verbose")
  check_fitted(object, "DoubletScoreSCMVP()", "its model")
  record <- stored_results(object, reduction)
  home <- home_of(object, reduction)
  cells <- rownames(latent_of(object, reduction))
  counts <- counts_of_fit(
    object, record, reduction, home, cells, rna, peaks, proteins,
    methylation
  )
  refuse_missing_counts(counts, record)
  data <- cell_data(object, home)
  scores <- with_engine(backend, function(engine) {
    model <- restore_model(record$model, engine)
    counts <- counts_in_model(counts, model, cells, verbose)
    engine$doublets(
      counts, options,
      if (length(model$batch) > 0) {
        batches_of_model(names(model$batch), cells, data, "the table of the object's cells")
      }
    )
  })
  scores <- as.vector(scores)
  scores[is.nan(scores)] <- NA
  if (verbose) tell_doublets(scores)
  column <- stats::setNames(data.frame(scores, row.names = cells), doublet_column(reduction))
  put_results(object, new_results(columns = column, home = home))
}

doublet_column <- function(reduction) paste0(reduction, "_doublet_score")

# `counts`: by kind.
refuse_missing_counts <- function(counts, record) {
  for (kind in names(counts)) {
    if (is.null(counts[[kind]])) {
      refuse(
        "doublets are scored by all modalities, but the object has no counts of ",
        features_of_kind(kind), ": ", where_counts_are(record$options, kind)
      )
    }
  }
}

tell_doublets <- function(scores) {
  known <- scores[!is.na(scores)]
  message(
    "about ", count_of(round(sum(known)), "doublet"), " of different kinds among ",
    count_of(length(known), "cell")
  )
}
