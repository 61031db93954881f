#' scMVP: one latent space, clusters and imputed profiles from paired RNA and ATAC
#'
#' @description [RunSCMVP()] fits the model to a Seurat object with an RNA assay and a peak assay,
#' and returns the object with a common latent space, clusters and imputed expression.
#' [ImputeSCMVP()] imputes further features, [ReadSCMVP()] reads files, and [SimulateSCMVP()]
#' simulates cells.
#'
#' The computation runs in Python and PyTorch; its code is part of the package. [install_scMVP()]
#' creates the Python environment, [scMVP_available()] checks whether it can be used, and
#' [scMVP_config()] shows the configuration.
#'
#' @section Which Python: scMVP uses the first of these: the environment variable `SCMVP_PYTHON` (an
#' interpreter or a virtual environment); `RETICULATE_PYTHON`, `reticulate::use_python()` or a
#' related function; the virtual environment `r-scmvp` created by [install_scMVP()]; with reticulate
#' 1.41 or later, packages that reticulate fetches itself; what reticulate finds. An R session can
#' run only one Python: if another package has already started one, scMVP uses it.
#'
#' @importFrom rlang .data
#' @useDynLib scMVP, .registration = TRUE
#' @importClassesFrom Matrix dgCMatrix
#' @importClassesFrom SeuratObject Seurat SeuratCommand
"_PACKAGE"
