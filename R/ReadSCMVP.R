#' Read paired cells from a file
#'
#' Reads paired cells into a Seurat object with assays `RNA` and `ATAC`.
#'
#' @param path One of
#'   * a folder with `rna.h5ad` and `atac.h5ad`;
#'   * a `.h5mu` file with modalities `rna` and `atac` (or names such as `GEX` and `peaks`);
#'   * an `.h5ad` file of both modalities, whose `var` has their `feature_types`;
#'   * a 10x `.h5` file with Gene Expression and Peaks (`filtered_feature_bc_matrix.h5`);
#'   * a folder with `matrix.mtx`, `features.tsv` and `barcodes.tsv`, gzipped or not;
#'   * the folder `outs` of Cell Ranger ARC, whose filtered matrix is read;
#'   * a `.rds` file with a Seurat object, which is returned unchanged.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param mosaic Keep cells with one modality only, in h5ad, h5mu and zarr. They have no counts in
#'   the other assay, and [RunSCMVP()] treats them as unimodal cells.
#' @param rna.layer,peak.layer Layers of h5ad, h5mu and zarr files that hold the counts; `"X"` and
#'   `"raw"` for these. `NULL`: X, unless X does not contain counts or its whole numbers differ from
#'   those in a layer `counts` (or in raw); then that layer (or raw) is used. A message reports the
#'   choice.
#' @param verbose Report what is read, and in interactive consoles the progress.
#' @return A Seurat object with the counts as stored, the metadata of the cells (such as
#'   `cell_type`) and of the features. The metadata are those of both modalities; if both have a
#'   column of the same name with different values, the ATAC column is named `atac_<name>`.
#'   `orig.ident` of the file becomes the identity of the cells; `nCount` and `nFeature` are
#'   computed from the counts. Both assays are of Seurat's standard class;
#'   `Signac::CreateChromatinAssay(counts)` creates a ChromatinAssay of the peaks. Seurat replaces
#'   `_` in feature names by `-`, which a message reports.
#' @section Errors:
#' `scmvp_error_input`, which names the path, if it does not exist, is damaged, or lacks a modality.
#' @examples
#' \dontrun{
#' object <- ReadSCMVP("filtered_feature_bc_matrix.h5")
#' object <- RunSCMVP(object)
#' }
#' @export
ReadSCMVP <- function(path, backend = c("auto", "reticulate", "process"), mosaic = FALSE,
                      rna.layer = NULL, peak.layer = NULL, verbose = TRUE) {
  verbose <- check_flag(verbose, "verbose")
  backend <- check_choice(backend, backends, "backend")
  path <- path.expand(check_string(path, "path"))
  options <- list(
    mosaic = check_flag(mosaic, "mosaic"),
    rna_layer = check_string(rna.layer, "rna.layer", optional = TRUE),
    atac_layer = check_string(peak.layer, "peak.layer", optional = TRUE)
  )
  if (!file.exists(path)) {
    refuse(path, " does not exist; check the path.")
  }
  if (grepl("[.]rds$", path, ignore.case = TRUE)) {
    if (!is.null(rna.layer) || !is.null(peak.layer)) {
      refuse(
        path, " holds an R object, which has assays: leave out rna.layer and peak.layer, and name ",
        "assays with rna.assay and peak.assay of RunSCMVP()."
      )
    }
    return(read_rds(path))
  }
  watched(verbose, function(watch) {
    watch$during(paste("reading", basename(normalizePath(path))), {
      seurat_of(with_engine(backend, function(engine) {
        engine$read(normalizePath(path), options, watch$stage)
      }, torch = FALSE))
    })
  })
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
