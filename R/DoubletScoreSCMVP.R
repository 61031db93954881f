#' Doublet scores from both modalities
#'
#' The probability of each cell to be a doublet, two cells of different kinds in one droplet, as a
#' column of the metadata. No cell is removed.
#'
#' @section How cells are scored:
#' Doublets are simulated from the cells: the counts of two cells of different components of the
#' mixture (and of one batch, where the model has batches) are added in both modalities, and 60 to
#' 100 % of them are kept. The encoder of the model places them in the latent. A cell scores high
#' where many of its neighbors are simulated doublets, and where it has as many counts as these in
#' both modalities. The proportion of doublets among the cells is estimated along with the scores,
#' so that the sum of the scores is the number of doublets to be expected. It is too high where many
#' single cells are like simulated doublets: cells along a gradient, or of few counts.
#'
#' Doublets of two cells of one kind cannot be told from single cells, and score low. The cells
#' should be all of a run that passed quality control, before clusters are chosen: the scores of a
#' selection know nothing of doublets with cells that are not in it. Cells of a cluster that scores
#' high throughout may be doublets that the fit has taken for a kind: fit again without them.
#'
#' @param object What [RunSCMVP()] or [ProjectSCMVP()] returned: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or the result on matrices.
#' @param ... Not used; unknown arguments are refused by name.
#' @param rna,peaks Counts, features x cells (for `peaks` also an experiment), where the object does
#'   not hold them: for the result on matrices, and peaks that were given beside an object.
#' @param n.simulated Number of simulated doublets, at least 50; `NULL` for twice the number of
#'   cells, at most 20,000.
#' @param reduction Name of the reduction with the model.
#' @param seed.use Seed of the simulated doublets; R's random stream is left alone. The scores do
#'   not depend on the order of the cells.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Say how many doublets are to be expected.
#' @return The object with a column `scmvp_doublet_score` (for another `reduction`, its name in the
#'   place of `scmvp`), from 0 to 1; `NA` for cells without counts in one of the modalities. The
#'   result on matrices has it as `doublet_score`, with the names of the cells.
#' @section Errors:
#' `scmvp_error_input` where all cells are of one component or fewer than 50 have counts in both
#' modalities, and where counts are not in the object; `scmvp_error_model` when there is no stored
#' model.
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
                              backend = c("auto", "reticulate", "process"), verbose = TRUE, ...) {
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
  counts <- counts_to_score(object, record, reduction, home, cells, rna, peaks)
  data <- cell_data(object, home)
  scores <- with_engine(backend, function(engine) {
    model <- restore_model(record$model, engine)
    counts <- counts_in_model(counts, model, cells, verbose)
    engine$doublets(
      counts$rna, counts$peaks, options,
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

# Counts of both modalities, list(rna, peaks).
counts_to_score <- function(object, record, reduction, home, cells, rna, peaks) {
  counts <- counts_of_fit(object, record, reduction, home, cells, rna, peaks)
  for (kind in names(counts)) {
    if (is.null(counts[[kind]])) {
      refuse(
        "doublets are scored by both modalities, but the object has no counts of ",
        if (kind == "rna") "genes" else "peaks", ": ", where_counts_are(record$options, kind)
      )
    }
  }
  counts
}

tell_doublets <- function(scores) {
  known <- scores[!is.na(scores)]
  message(
    "about ", count_of(round(sum(known)), "doublet"), " of different kinds among ",
    count_of(length(known), "cell")
  )
}
