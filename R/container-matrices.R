# Matrices of counts, and the result on them (see containers.R).

# Matrices of counts of the same cells by kind as a container; some may be NULL.
matrices <- function(counts) structure(counts, class = "scMVP_matrices")

#' @export
about.scMVP_matrices <- function(object) {
  list(
    class = "matrices", part = "matrix", rna = "object", peaks = "peaks", protein = "proteins",
    methylation = "methylation", data = NULL, takes = c("peaks", "proteins", "methylation")
  )
}

#' @export
parts_of.scMVP_matrices <- function(object, peaks = NULL, assay.type = "counts", fitted = FALSE) {
  given <- Filter(Negate(is.null), unclass(object))
  cells <- unique(unlist(lapply(given, colnames)))
  Map(function(counts, kind) matrix_part(counts, kind, cells), given, names(given))
}

# `kind`: what the matrix was given as, whatever its features are called.
matrix_part <- function(counts, kind, cells) {
  counts_of <- function(home = NULL, mosaic = NULL) cells_or_empty(counts, cells)
  new_part(kind, features_of_rows(counts, kind), kind, counts = counts_of)
}

#' @export
cell_data.scMVP_matrices <- function(object, home = NULL) NULL

#' @export
fits_of.scMVP_matrices <- function(object, keep = only_records) list()

#' @export
put_results.scMVP_matrices <- function(object, results) {
  fit <- results$fit
  structure(
    list(
      latent = fit$latent, cluster = fit$cluster, cluster_prob = fit$cluster_prob,
      probabilities = fit$probabilities, rna = fit$imputed$rna, peaks = fit$imputed$peaks,
      proteins = fit$imputed$protein, methylation = fit$imputed$methylation,
      model = fit$staged$model, options = fit$options,
      history = fit$history,
      summary = fit$summary, tree = fit$tree, level = fit$level, spelling = fit$spelling,
      batch = fit$batch, fit = fit$id
    ),
    class = "scMVPFit"
  )
}

# ---- the result on matrices ----------------------------------------------------------------------

#' @export
about.scMVPFit <- function(object) {
  list(
    class = "the result on matrices", part = "matrix", rna = "rna", peaks = "peaks",
    protein = "proteins", methylation = "methylation", data = NULL,
    takes = c("rna", "peaks", "proteins", "methylation", "reduction"),
    reductions = "scmvp"
  )
}

# It holds no counts: they are given beside it.
#' @export
parts_of.scMVPFit <- function(object, peaks = NULL, assay.type = "counts", fitted = FALSE) list()

#' @export
cell_data.scMVPFit <- function(object, home = NULL) {
  data <- data.frame(scmvp_cluster = object$cluster, row.names = rownames(object$latent))
  if (is.null(object$batch)) data else cbind(data, object$batch[rownames(data), , drop = FALSE])
}

#' @export
latent_of.scMVPFit <- function(object, reduction) object$latent

#' @export
fits_of.scMVPFit <- function(object, keep = only_records) list(scmvp = object)

#' @export
put_results.scMVPFit <- function(object, results) {
  if (is.null(results$columns)) {
    refuse("a scMVPFit holds no assays: use as = \"matrix\".")
  }
  object[names(results$record$value)] <- results$record$value
  cells <- rownames(object$latent)
  for (column in names(results$columns)) {
    values <- stats::setNames(results$columns[[column]], rownames(results$columns))[cells]
    object[[sub("^scmvp_", "", column)]] <- values
  }
  object
}

#' @exportS3Method print scMVPFit
print.scMVPFit <- function(x, ...) {
  cat(
    "scMVP fit: ", count_of(nrow(x$latent), "cell"), ", ",
    count_of(ncol(x$latent), "latent dimension"), ", ", count_of(nlevels(x$cluster), "cluster"),
    "\n",
    sep = ""
  )
  invisible(x)
}
