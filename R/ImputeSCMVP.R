#' Impute genes or peaks from a fitted model
#'
#' Decodes the latent space that [RunSCMVP()] has stored: expected expression or accessibility of
#' any modelled feature. The counts are not needed, so this works on a subset of the cells and after
#' [readRDS()] in a new session, and two calls give the same values.
#'
#' @param object A Seurat object returned by [RunSCMVP()], or its result on matrices.
#' @param ... Not used; unknown arguments are refused by name.
#' @param modality `"rna"` for genes or `"peaks"`.
#' @param features Names of the features; `NULL` for all modelled ones.
#' @param cells Names of the cells; `NULL` for all. Only with `as = "matrix"`.
#' @param reduction Name of the reduction with the model.
#' @param library.size Total the values of a cell refer to.
#' @param log Return log(1 + x); `NULL`: for genes yes (the scale of `NormalizeData()` when
#'   `library.size` is 10,000), for peaks no.
#' @param assay.name Name of the assay to put the values into; `NULL` for `scMVP_RNA` or
#'   `scMVP_ATAC`. An assay that an earlier call has made is extended.
#' @param as `"object"` or `"matrix"`.
#' @param max.gb Largest result in GB (8 bytes per value).
#' @return The object with the imputed assay, its default assay unchanged, or a dense matrix,
#'   features x cells.
#' @section Errors:
#' `scmvp_error_model` when there is no stored model or it cannot be read; `scmvp_error_input` for
#' features or cells that are not there; `scmvp_error_memory` above `max.gb`.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   some <- rownames(object[["ATAC"]])[1:5]
#'   ImputeSCMVP(object, "peaks", features = some, as = "matrix", cells = colnames(object)[1:3])
#'   object <- ImputeSCMVP(object, "rna")
#'   object[["scMVP_RNA"]]
#' }
#' @export
ImputeSCMVP <- function(object, ...) {
  UseMethod("ImputeSCMVP")
}

#' @rdname ImputeSCMVP
#' @export
ImputeSCMVP.Seurat <- function(object, modality = c("rna", "peaks"), features = NULL, cells = NULL,
                               reduction = "scmvp", library.size = 1e4, log = NULL,
                               assay.name = NULL, as = c("object", "matrix"), max.gb = 4, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  modality <- check_modality(modality)
  as <- check_choice(as, c("object", "matrix"), "as")
  if (as == "object" && !is.null(cells)) {
    refuse("an assay holds all cells: leave out cells, or use as = \"matrix\".")
  }
  results <- stored_results(object, reduction)
  latent <- SeuratObject::Embeddings(object[[reduction]])
  scale <- check_scale(modality, library.size, log)
  if (as == "matrix") {
    return(impute_values(results$model, latent, modality, features, cells, scale, max.gb))
  }

  names <- names_for(reduction, SeuratObject::Key(object[[reduction]]))
  name <- check_string(assay.name, "assay.name", optional = TRUE)
  if (is.null(name)) name <- names$assays[[modality]]
  key <- if (is.null(assay.name)) names$assay_keys[[modality]] else tolower(key_for(name))
  refuse_key_of_another(object, key, name, "assay.name")
  mark <- c(list(reduction = reduction, fit = results$fit, modality = modality), scale)
  old <- existing_imputation(object, name, mark)
  values <- impute_values(
    results$model, latent, modality, features, NULL, scale, max.gb, already = rownames(old)
  )
  if (!is.null(old)) values <- rbind(old, values)
  parent <- results$options[[if (modality == "rna") "rna.assay" else "peak.assay"]]
  assay <- imputed_assay(
    values,
    parent = if (parent %in% SeuratObject::Assays(object)) object[[parent]],
    key = key,
    mark = mark
  )
  put_assay(object, name, assay)
}

#' @export
ImputeSCMVP.default <- function(object, ...) {
  refuse(
    "ImputeSCMVP() takes what RunSCMVP() returned, with the latent of its cells, not an object of ",
    "class ", class(object)[1], "."
  )
}

#' @rdname ImputeSCMVP
#' @export
ImputeSCMVP.scMVPFit <- function(object, modality = c("rna", "peaks"), features = NULL,
                                 cells = NULL, library.size = 1e4, log = NULL, max.gb = 4, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  modality <- check_modality(modality)
  scale <- check_scale(modality, library.size, log)
  impute_values(object$model, object$latent, modality, features, cells, scale, max.gb)
}

# The core's name of a modality.
check_modality <- function(modality) {
  if (identical(modality, "atac")) modality <- "peaks" # as the command line and Python say
  modality <- check_choice(modality, c("rna", "peaks"), "modality")
  if (modality == "rna") "rna" else "atac"
}

check_scale <- function(modality, library.size, log) {
  if (is.null(log)) log <- modality == "rna"
  list(
    library.size = check_number(library.size, "library.size", min = 0, above = TRUE),
    log = check_flag(log, "log")
  )
}

# Values of the features asked for, less those `already` there; features x cells.
impute_values <- function(stored, latent, modality, features, cells, scale, max.gb,
                          already = character()) {
  check_number(max.gb, "max.gb", min = 0)
  if (!is.null(cells)) {
    cells <- check_names_known(cells, rownames(latent), "cells", "in the object")
    latent <- latent[cells, , drop = FALSE]
  }
  model <- restore_model(stored)
  modelled <- py_strings(if (modality == "rna") model$genes else model$peaks)
  features <- if (is.null(features)) {
    modelled
  } else {
    check_names_known(
      features, modelled, "features", "in the model",
      remedy = paste0(
        "it has names such as '", modelled[1], "', and none for features seen in too few cells at ",
        "the fit (min.cells)"
      )
    )
  }
  check_memory(
    length(union(already, features)), nrow(latent), max.gb, "the imputed values",
    "ask for fewer features or cells"
  )
  features <- setdiff(features, already)
  decode_features(model, latent, modality, features, scale$log, scale$library.size)
}

# Imputed values, features x cells; NULL for no features. Blocks of cells go through Python, so that
# nothing but the result itself is as large as the result.
decode_features <- function(model, latent, modality, features, log, library.size = 1e4) {
  if (length(features) == 0) {
    return(NULL)
  }
  numpy <- reticulate::import("numpy", convert = FALSE)
  n_cells <- nrow(latent)
  values <- matrix(0, length(features), n_cells, dimnames = list(features, rownames(latent)))
  block <- max(1, 2^23 %/% length(features))
  for (first in seq(1, n_cells, by = block)) {
    rows <- first:min(n_cells, first + block - 1)
    decoded <- from_core(model$decode(
      # a copy that PyTorch may write to: R's own memory is read-only
      numpy$array(latent[rows, , drop = FALSE], dtype = "float32"),
      modality = modality, features = as.list(features), library_size = library.size
    ))
    if (log) decoded <- numpy$log1p(decoded)
    values[, rows] <- reticulate::py_to_r(decoded$T)
  }
  values
}

# The values of an assay of this name, when it was imputed by this fit on the same scale.
existing_imputation <- function(object, name, mark) {
  if (!name %in% names(object)) {
    return(NULL)
  }
  if (!made_from(object, name, mark$reduction)) {
    refuse(
      "the object already has a '", name, "' that was not imputed from reduction '", mark$reduction,
      "': choose another assay.name."
    )
  }
  old <- assay_mark(object[[name]])
  differs <- Filter(function(part) !identical(old[[part]], mark[[part]]), names(mark))
  if (length(differs) > 0) {
    refuse(
      "assay '", name, "' was imputed with another ", paste(differs, collapse = ", "),
      ": choose another assay.name, or remove it with object[[\"", name, "\"]] <- NULL."
    )
  }
  imputed_values(object[[name]])
}
