#' Impute genes, peaks, proteins or methylation from a fitted model
#'
#' Computes the expected expression or accessibility of any modeled feature from the latent that
#' [RunSCMVP()] or [ProjectSCMVP()] stored. The counts are not needed, so this also works for a
#' subset of the cells, after [readRDS()] in a new session, and for the modality that projected
#' cells lack. Repeated calls give the same values.
#'
#' @section Large results:
#' Imputed values are dense: 100,000 cells x 200,000 peaks would take 160 GB. To save memory, select
#' `features` or `cells`, compute means of groups (`by`), keep only values above a `threshold` in a
#' sparse matrix, or write the values to a `file`. The size is estimated before the computation, and
#' the call stops with the estimate if it exceeds `max.gb`.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or `scMVPFit`.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param modality `"rna"` for genes, `"peaks"`, `"protein"`: values without background, or
#'   `"methylation"`: levels from 0 to 1.
#' @param features Names of the features; `NULL` for all modeled features.
#' @param cells Names of the cells; `NULL` for all. Only with `as = "matrix"`.
#' @param reduction Name of the reduction with the model.
#' @param library.size Sum of the imputed values of a cell over all modeled genes or peaks. For
#'   proteins, the sum before each value is multiplied by the probability that the cell expresses
#'   the protein. Not used for methylation levels.
#' @param log Return log(1 + x); `NULL`: for genes and proteins yes (the scale of `NormalizeData()`
#'   when `library.size` is 10,000 and all genes are modeled), for peaks and methylation no.
#' @param assay.name For `as = "object"`: name of the assay (altExp) for the values; `NULL` for
#'   `scMVP_RNA`, `scMVP_ATAC`, `scMVP_ADT` or `scMVP_Methylation`. An assay that an earlier call
#'   created is extended.
#' @param as `"object"` or `"matrix"`. The default is the object, and the matrix with `cells`, `by`
#'   or `file`.
#' @param file Path of an HDF5 file to write (must not exist): the values are written in blocks and
#'   returned as a matrix on disk (HDF5Array) that Bioconductor functions accept; AnnData reads the
#'   file as well (`.h5ad`, cells x features). With `as = "object"` it becomes the data of a v5
#'   assay (Seurat 5) or the altExp.
#' @param threshold Values below this threshold, on the scale of the result, become zero, and the
#'   result is sparse.
#' @param by Return means over the cells of each group instead of a value for each cell: the name of
#'   a metadata column (such as `"scmvp_cluster"`) or one value per cell. Means are computed before
#'   the logarithm.
#' @param batch For a model fitted with batches: the batch for which values are imputed, a level of
#'   its column, or several levels named by their columns. `NULL`: the average over the batches of
#'   the fitted cells, the same for all cells, so that imputed values contain no differences between
#'   batches.
#' @param max.gb Largest result in GB. The size is estimated as 8 bytes per value in memory (12 if
#'   sparse), or 4 bytes per value on disk before compression.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Show progress of long computations.
#' @return The object with the imputed assay, its default assay unchanged; or a matrix, features x
#'   cells: dense, a dgCMatrix with `threshold`, or on disk with `file`; or, with `by`, a matrix,
#'   features x groups. The imputed assay has the feature names of the measured one, so Seurat plots
#'   need the key of the imputed assay in front of the name: `scmvprna_MS4A1`,
#'   `scmvpatac_chr1-100-200`. If the measured assay is a ChromatinAssay, so is the imputed one,
#'   with its ranges, annotation, fragments, motifs and the measured counts of these peaks. If the
#'   measured ChromatinAssay lacks some of the imputed peaks, the imputed one has no counts and
#'   motifs, and a message reports this.
#' @section Errors: `scmvp_error_model` if there is no stored model or it cannot be read;
#' `scmvp_error_input` for unknown features or cells, and if `file` exists or its folder does not;
#' `scmvp_error_memory` above `max.gb`; `scmvp_error_file` when writing `file` fails (no part of the
#' file remains).
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   some <- rownames(object[["ATAC"]])[1:5]
#'   ImputeSCMVP(object, "peaks", features = some, as = "matrix", cells = colnames(object)[1:3])
#'   ImputeSCMVP(object, "peaks", features = some, by = "scmvp_cluster")
#'   object <- ImputeSCMVP(object, "rna")
#'   object[["scMVP_RNA"]]
#' }
#' @export
ImputeSCMVP <- function(object, modality = c("rna", "peaks", "protein", "methylation"),
                        features = NULL,
                        cells = NULL, reduction = "scmvp", library.size = 1e4, log = NULL,
                        assay.name = NULL, as = NULL, file = NULL, threshold = NULL, by = NULL,
                        batch = NULL, max.gb = 4, backend = c("auto", "reticulate", "process"),
                        verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  request <- imputation_request(
    modality, features, cells, library.size, log, file, threshold, by, max.gb, backend, verbose,
    batch
  )
  check_fitted(object, "ImputeSCMVP()", "the latent of its cells")
  refuse_other_class(object, match.call(), environment())
  words <- about(object)
  as <- check_result_kind(if (is.null(as) && words$part == "matrix") "matrix" else as, request)
  record <- stored_results(object, reduction)
  latent <- latent_of(object, reduction)
  home <- home_of(object, reduction)
  if (as == "matrix") {
    refuse_unused(match.call(), environment(), "assay.name", "as = \"object\"")
    groups <- if (!is.null(by)) groups_in(object, by, rownames(latent), home)
    return(impute_values(record, latent, request, groups = groups))
  }
  if (!is.null(file) && isFALSE(words$on_disk)) {
    refuse(
      "assays of ", words$class, " before Seurat 5 cannot hold values on disk: use as = ",
      "\"matrix\", or Seurat 5."
    )
  }
  impute_into(object, record, reduction, latent, home, request, assay.name)
}

# The object with imputed values for all its cells, added to those already there.
impute_into <- function(object, record, reduction, latent, home, request, assay.name) {
  parts <- parts_of(object, assay.type = record$options$assay.type, fitted = TRUE)
  names <- names_for(reduction)
  name <- check_column_name(assay.name, "assay.name", optional = TRUE)
  kind <- part_kind(request$modality)
  if (is.null(name)) name <- names$assays[[kind]]
  key <- if (is.null(assay.name)) names$assay_keys[[kind]] else tolower(key_for(name))
  refuse_key_of_another(object, key, name, "assay.name")
  mark <- request_mark(request, reduction, record)
  old <- existing_imputation(parts, about(object), name, mark)
  if (!is.null(old)) {
    refuse_on_disk(old, name, request)
    rownames(old) <- names_now(rownames(old), record, kind)
  }
  values <- impute_values(record, latent, request, already = rownames(old))
  if (!is.null(old)) values <- with_old_values(old, values)
  source <- part_of_fit(object, parts, reduction, kind)$source
  # without the measured peaks, the assay that is extended knows of its own
  if (is.null(source) && !is.null(old)) source <- parts[[name]]$source
  put_results(object, new_results(home = home, imputed = list(list(
    name = name, key = key, values = values, mark = mark, source = source
  ))))
}

check_result_kind <- function(as, request) {
  matrix_only <- !is.null(request$cells) || !is.null(request$by)
  if (is.null(as)) {
    return(if (matrix_only || !is.null(request$file)) "matrix" else "object")
  }
  as <- check_choice(as, c("object", "matrix"), "as")
  if (as == "object" && !is.null(request$cells)) {
    refuse("an assay holds all cells: leave out cells, or use as = \"matrix\".")
  }
  if (as == "object" && !is.null(request$by)) {
    refuse("an assay holds cells, not groups: leave out by, or use as = \"matrix\".")
  }
  as
}

# The values of a part of this name, when it was imputed by this fit on the same scale.
existing_imputation <- function(parts, words, name, mark) {
  if (!name %in% c(names(parts), words$others)) {
    return(NULL)
  }
  if (!made_from(parts, name, mark$reduction, mark$modality)) {
    refuse(
      "the object already has a '", name, "' that was not imputed from reduction '", mark$reduction,
      "' in the same way: choose another assay.name."
    )
  }
  refuse_other_imputation(name, parts[[name]]$mark, mark)
  parts[[name]]$imputed()
}

# Values in memory and values on disk are not put together.
refuse_on_disk <- function(old, name, request) {
  if (!is.null(request$file)) {
    refuse(
      "the object already has a '", name, "': choose another assay.name for the values on disk."
    )
  }
  more <- is.null(request$features) || !all(request$features %in% rownames(old))
  if (more && inherits(old, c("DelayedMatrix", "IterableMatrix"))) {
    refuse(
      "'", name, "' of the object holds values on disk, to which no others are added: choose ",
      "another assay.name."
    )
  }
}

# Both, in the cells' order of the new ones (NULL where there is nothing new).
with_old_values <- function(old, values) {
  if (is.null(values)) old else rbind(old[, colnames(values), drop = FALSE], values)
}

refuse_other_imputation <- function(name, old, mark) {
  differs <- Filter(function(part) !identical(old[[part]], mark[[part]]), names(mark))
  if (length(differs) > 0) {
    refuse(
      "'", name, "' of the object was imputed with another ", paste(differs, collapse = ", "),
      ": choose another assay.name, or remove it."
    )
  }
}
