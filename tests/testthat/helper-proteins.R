# Cells with proteins, and one fit of them.

# Three types, and proteins of which each has four, above a background.
cells_with_proteins <- function() {
  object <- SimulateSCMVP(
    n.cells = 150, n.genes = 150, n.peaks = 250, n.types = 3, seed = 1
  )
  kind <- as.integer(factor(object$cell_type))
  set.seed(1)
  on <- outer(seq_len(12) %% 3 + 1, kind, "==")
  counts <- matrix(stats::rpois(12 * 150, 5 + 80 * on), 12)
  dimnames(counts) <- list(paste0("CD", seq_len(12)), colnames(object))
  # in another order: cells go by name
  list(object = object, counts = counts[, rev(colnames(object))], on = on)
}

# One fit of these, looked at by many tests, with what the truth is.
fitted_with_proteins <- function() {
  skip_without_core()
  if (is.null(remembered$proteins)) {
    given <- cells_with_proteins()
    object <- given$object
    object[["ADT"]] <- SeuratObject::CreateAssayObject(given$counts[, colnames(object)])
    object$donor <- rep_len(c("a", "b", "c", "d"), ncol(object))
    object$condition <- ifelse(object$donor %in% c("a", "b"), "x", "y")
    fit <- RunSCMVP(
      object,
      protein.assay = "ADT", n.clusters = 3, max.epochs = 12, impute = "none", verbose = FALSE
    )
    remembered$proteins <- list(object = fit, plain = object, on = given$on)
  }
  remembered$proteins
}

without <- function(object, assays) {
  for (assay in assays) object[[assay]] <- NULL
  object
}
