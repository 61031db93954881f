#' Read paired cells from a file
#'
#' Reads cells into a Seurat object with assays `RNA` and `ATAC`, and `ADT` for surface proteins
#' (Antibody Capture); DNA methylation becomes the assays `methylated` and `covered`. One modality
#' is enough, for example as a query of [ProjectSCMVP()]. Several samples, each with its own peaks,
#' are joined into one object.
#'
#' @param path For several samples, a vector of paths named by the samples, such as `c(donor1 =
#'   "run1/outs", donor2 = "run2/outs")`; without names, a sample is named after its file or
#'   folder, and an output of Cell Ranger after the folder of the run.
#'   For one sample, the path (without a name) of one of
#'   * a folder with `rna.h5ad` and `atac.h5ad` (or `.zarr`), and `protein.h5ad` or
#'     `methylation.h5ad` if there are any;
#'   * a `.h5mu` file with modalities `rna` and `atac` (or names such as `GEX` and `peaks`), and
#'     `protein` (or `ADT`) for proteins;
#'   * an `.h5ad` file, of several modalities with a column `feature_types` in `var`; without this
#'     column, features with names of genomic ranges are peaks, and others genes;
#'   * a 10x `.h5` file (`filtered_feature_bc_matrix.h5`) with Gene Expression, Peaks or Antibody
#'     Capture;
#'   * a folder with `matrix.mtx`, `barcodes.tsv` and `features.tsv` (or `genes.tsv`, or
#'     `peaks.bed`), gzipped or not;
#'   * the folder `outs` of Cell Ranger (ARC, ATAC or multi), whose filtered matrix is read;
#'   * a `.rds` file with a Seurat object, which is returned unchanged.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param mosaic Whether to keep cells with one modality only, in h5ad, h5mu and zarr, and samples
#'   in which only some modalities were measured. They have no counts in the other assay, and
#'   [RunSCMVP()] treats them as unimodal cells.
#' @param rna.layer,peak.layer Layers of h5ad, h5mu and zarr files that contain the counts; `"X"`
#'   and `"raw"` select X and raw. `NULL`: X, unless X does not contain counts or its whole numbers
#'   differ from those in a layer `counts` (or in raw); then that layer (or raw) is used. A message
#'   reports the choice.
#' @param verbose Report what is read and, in interactive consoles, the progress.
#' @param peaks For several samples: `"union"`, all peaks, with overlapping peaks merged;
#'   `"shared"`, the merged peaks that overlap a peak of every sample; or, with `fragments`, the
#'   path of a BED file.
#' @param fragments For several samples: fragment files from which the peaks are counted again.
#'   `TRUE` for the files of Cell Ranger next to the matrix (`atac_fragments.tsv.gz`), or a vector
#'   of paths named by the samples.
#' @param modalities For one sample: modalities to read, some of `"rna"`, `"peaks"`, `"protein"` and
#'   `"methylation"`; `NULL` for all. If you name only one, it is also used as the type of the
#'   features of an `.h5ad` file that does not state their types.
#' @return A Seurat object with the stored counts and the metadata of the cells (such as
#'   `cell_type`) and of the features. The metadata of both modalities are combined; if both have a
#'   column of the same name with different values, the ATAC column is named `atac_<name>`.
#'   `orig.ident` of the file becomes the identity of the cells; `nCount` and `nFeature` are
#'   computed from the counts. Both assays have Seurat's standard class;
#'   `Signac::CreateChromatinAssay(counts, sep = c(":", "-"))` creates a ChromatinAssay of peaks
#'   with the names of 10x files (`chr1:1001-1450`); for other names, set `sep` to the characters
#'   before and after the start (`c("-", "-")` for `chr1-1001-1450`). Seurat replaces `_` in feature
#'   names by `-`, which a message reports.
#' @section Several samples: Cells are named `<sample>_<barcode>`, and the column `sample` contains
#' their sample. Genes are matched by name. A gene that is missing from a sample was not measured
#' there and is left out; a gene with different ids in different samples is also left out. Samples
#' must share at least half of the genes. Proteins and methylation are kept if all samples have them
#' (with `mosaic`, if any sample has them), with the features that all samples with this modality
#' share.
#'
#' Peaks that overlap by at least one base pair are merged into one peak from the first start to the
#' last end. This is `GenomicRanges::reduce()` of all peaks with `min.gapwidth = 0`, with the
#' zero-based starts and exclusive ends of 10x files. If all samples have the same peaks, these are
#' not changed. The counts of merged peaks are added. If no peak was called in a sample at a
#' position, its counts there are zero, although its cells may have fragments there. `fragments =
#' TRUE` counts these fragments, so use it if the files are available. It counts insertions, as Cell
#' Ranger does: each end of a fragment is counted in the peak that contains it.
#' (`Signac::FeatureMatrix()` counts fragments instead.) Messages report the numbers of peaks and
#' genes that were joined and left out. To fit all samples, use `RunSCMVP(object, batch =
#' "sample")`.
#' @section Errors: `scmvp_error_input` if the path does not exist, is damaged, or has no known
#' modality (the error names the path), or if samples do not match: they have different kinds of
#' gene names or chromosome names, belong to different genomes, or contain the same cells.
#' @examples
#' \dontrun{
#' object <- ReadSCMVP("filtered_feature_bc_matrix.h5")
#' object <- RunSCMVP(object)
#'
#' object <- ReadSCMVP(c(donor1 = "run1/outs", donor2 = "run2/outs"), fragments = TRUE)
#' object <- RunSCMVP(object, batch = "sample")
#' }
#' @export
ReadSCMVP <- function(path, backend = c("auto", "reticulate", "process"), mosaic = FALSE,
                      rna.layer = NULL, peak.layer = NULL, verbose = TRUE, peaks = "union",
                      fragments = FALSE, modalities = NULL) {
  read_paths(
    path, "path", backend, mosaic, rna.layer, peak.layer, verbose, peaks, fragments, modalities
  )
}

# `argument`: by which the user gave the path.
read_paths <- function(path, argument, backend, mosaic, rna.layer, peak.layer, verbose,
                       peaks = "union", fragments = FALSE, modalities = NULL) {
  verbose <- check_flag(verbose, "verbose")
  backend <- check_choice(backend, backends, "backend")
  options <- list(
    mosaic = check_flag(mosaic, "mosaic"),
    rna_layer = check_string(rna.layer, "rna.layer", optional = TRUE),
    atac_layer = check_string(peak.layer, "peak.layer", optional = TRUE)
  )
  if (!is.null(modalities)) {
    options$modalities <- as.list(of_kind(check_modalities(modalities), "core"))
  }
  if (length(path) > 1 || !is.null(names(path))) {
    if (!is.null(modalities)) refuse("modalities is for one sample without a name: leave it out.")
    path <- check_sample_paths(path, argument)
    options$peaks <- path.expand(check_string(peaks, "peaks"))
    options$fragments <- check_fragments(fragments)
    what <- count_of(length(path), "sample")
    return(read_by_core("read_samples", path, what, options, backend, verbose))
  }
  path <- existing_path(check_string(path, argument))
  if (!identical(peaks, "union") || !isFALSE(fragments)) {
    refuse(
      "peaks and fragments are for samples with names: give the path of this one a name, too, or ",
      "leave them out."
    )
  }
  if (is_rds(path)) {
    if (!is.null(c(rna.layer, peak.layer, modalities))) {
      refuse(
        path, " holds an R object, which has assays: leave out rna.layer, peak.layer and ",
        "modalities, and name assays with rna.assay and peak.assay of RunSCMVP()."
      )
    }
    return(read_rds(path))
  }
  read_by_core("read", path, basename(path), options, backend, verbose)
}

# `path`: absolute. `what`: what is read, in words.
read_by_core <- function(verb, path, what, options, backend, verbose) {
  watched(verbose, function(watch) {
    watch$during(paste("reading", what), {
      seurat_of(with_engine(backend, function(engine) {
        engine[[verb]](path, options, watch$stage)
      }, torch = FALSE))
    })
  })
}

# The absolute path, or paths, under the same names.
existing_path <- function(path) {
  expanded <- path.expand(path)
  missing <- expanded[!file.exists(expanded)]
  if (length(missing) > 0) refuse(missing[1], " does not exist; check the path.")
  stats::setNames(normalizePath(expanded), names(path))
}

is_rds <- function(path) grepl("[.]rds$", path, ignore.case = TRUE)

# The paths of several samples: all have a name of their own, or none has one.
check_sample_paths <- function(path, argument) {
  if (!is.character(path) || anyNA(path) || !all(nzchar(path))) {
    refuse(argument, " must be one path, or a vector of paths, not ", in_words(path), ".")
  }
  check_sample_names(names(path), argument)
  objects <- path[is_rds(path)]
  if (length(objects) > 0) {
    refuse(
      some_names(objects), " ", one_or_many(length(objects), "holds an R object", "hold R objects"),
      ": samples are read from the files of their runs; objects with the same peaks are joined ",
      "with merge()."
    )
  }
  existing_path(path)
}

check_sample_names <- function(x, argument) {
  if (!is.null(x) && (anyNA(x) || !all(nzchar(x)) || anyDuplicated(x) > 0)) {
    refuse("the names of ", argument, " must be different for each sample.")
  }
}

# TRUE, FALSE or the files by sample, as the core takes them.
check_fragments <- function(fragments) {
  if (isTRUE(fragments) || isFALSE(fragments)) {
    return(fragments)
  }
  if (!is.character(fragments) || anyNA(fragments) || is.null(names(fragments))) {
    refuse(
      "fragments must be TRUE, FALSE or a vector of paths with the names of the samples, not ",
      in_words(fragments), "."
    )
  }
  check_sample_names(names(fragments), "fragments")
  as.list(existing_path(fragments))
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
