#' scMVP: one latent space, clusters and imputed profiles from paired RNA and ATAC
#'
#' @description
#' The front door is [RunSCMVP()]: a Seurat object with an RNA and a peak assay in, the same object
#' with a common latent space, clusters and imputed expression out. [ImputeSCMVP()] imputes more
#' later, [ReadSCMVP()] reads files, [SimulateSCMVP()] makes cells to try it on.
#'
#' The numerical core is Python and PyTorch and ships with the package: [install_scMVP()] sets up
#' its environment, [scMVP_available()] says whether it is ready, [scMVP_config()] what it runs on.
#'
#' @section Which Python:
#' In this order: the environment variable `SCMVP_PYTHON` (an interpreter or a virtual environment);
#' `RETICULATE_PYTHON` or `reticulate::use_python()` and its kin; the virtual environment `r-scmvp`
#' made by [install_scMVP()]; with reticulate 1.41 or later, packages that reticulate fetches
#' itself; what reticulate finds. An R session can run only one Python: when another package has
#' started one already, that one is used.
#'
#' @importFrom rlang .data
#' @importClassesFrom Matrix dgCMatrix
#' @importClassesFrom SeuratObject Seurat SeuratCommand
"_PACKAGE"
