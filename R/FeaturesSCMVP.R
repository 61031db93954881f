#' Names of the features of a model
#'
#' A fit leaves out genes, peaks and regions that are seen in fewer cells than `min.cells` of
#' [RunSCMVP()]. The others are modeled: they can be imputed and tested.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()], a model of [LoadSCMVP()], or
#'   the path of its folder.
#' @param modality `"rna"`, `"peaks"`, `"protein"` or `"methylation"`.
#' @param reduction Name of the reduction with the model.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @return A character vector of the names of the modeled features, in the order of the counts. The
#'   names are spelled as in the object (or, for a model or a folder, as in the model).
#' @section Errors:
#' `scmvp_error_model` if there is no stored model; `scmvp_error_input` if the model does not have
#' the modality.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, verbose = FALSE)
#'   head(FeaturesSCMVP(object, "peaks"))
#' }
#' @export
FeaturesSCMVP <- function(object, modality = c("rna", "peaks", "protein", "methylation"),
                          reduction = "scmvp",
                          backend = c("auto", "reticulate", "process")) {
  modality <- check_modality(modality)
  if (!is_container(object)) {
    refuse_unused(match.call(), environment(), "reduction", "an object with the model")
  }
  record <- if (is_container(object)) stored_results(object, reduction)
  stored <- if (is.null(record)) model_of(object, reduction) else record$model
  with_engine(check_choice(backend, backends, "backend"), function(engine) {
    modelled <- features_in_model(restore_model(stored, engine), part_kind(modality))
    as.character(features_in_object(record, modelled, modality))
  })
}
