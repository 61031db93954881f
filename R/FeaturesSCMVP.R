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
#' @return Names of the modeled features, a character vector in the order of the counts.
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
  kind <- part_kind(check_modality(modality))
  stored <- model_of(object, reduction)
  with_engine(check_choice(backend, backends, "backend"), function(engine) {
    as.character(features_in_model(restore_model(stored, engine), kind))
  })
}
