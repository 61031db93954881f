#' Read paired cells from a file
#'
#' Reads what the Python core reads, as Seurat object with assays `RNA` and `ATAC`.
#'
#' @param path One of
#'   * a folder with `rna.h5ad` and `atac.h5ad`;
#'   * a `.h5mu` file with modalities `rna` and `atac`;
#'   * a 10x `.h5` file with Gene Expression and Peaks (`filtered_feature_bc_matrix.h5`);
#'   * a folder with `matrix.mtx`, `features.tsv` and `barcodes.tsv`, gzipped or not;
#'   * a `.rds` file with a Seurat object, which is returned as it is.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @return A Seurat object with the counts as stored, the metadata of the cells (such as
#'   `cell_type`) and of the features. Both assays are plain ones;
#'   `Signac::CreateChromatinAssay(counts)` makes a ChromatinAssay of the peaks. Seurat turns `_` in
#'   feature names into `-`, which is said in a message.
#' @section Errors:
#' `scmvp_error_input`, naming the path, when it does not exist, is damaged, or lacks a modality.
#' @examples
#' \dontrun{
#' object <- ReadSCMVP("filtered_feature_bc_matrix.h5")
#' object <- RunSCMVP(object)
#' }
#' @export
ReadSCMVP <- function(path, backend = c("auto", "reticulate", "process")) {
  backend <- check_choice(backend, backends, "backend")
  path <- path.expand(check_string(path, "path"))
  if (!file.exists(path)) {
    refuse(path, " does not exist; check the path.")
  }
  if (grepl("[.]rds$", path, ignore.case = TRUE)) {
    return(read_rds(path))
  }
  seurat_of(with_engine(backend, function(engine) engine$read(normalizePath(path)), torch = FALSE))
}

read_rds <- function(path) {
  object <- tryCatch(readRDS(path), error = function(e) {
    refuse(path, " is not a readable .rds file (damaged or truncated?): ", first_line(
      conditionMessage(e)
    ), "; copy or write it again.", details = e)
  })
  if (!inherits(object, "Seurat")) {
    refuse(path, " holds an object of class ", class(object)[1], ", not a Seurat object.")
  }
  object
}
