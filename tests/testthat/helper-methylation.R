# Cells with methylation, and one fit of them.

# Three types that differ in a third of 120 regions each.
cells_with_methylation <- function() {
  object <- SimulateSCMVP(n.cells = 150, n.genes = 150, n.peaks = 250, n.types = 3, seed = 1)
  kind <- as.integer(factor(object$cell_type))
  set.seed(1)
  level <- ifelse(outer(seq_len(120) %% 3 + 1, kind, "=="), 0.9, 0.4)
  covered <- matrix(stats::rpois(120 * 150, 4), 120)
  methylated <- matrix(stats::rbinom(length(covered), covered, level), 120)
  names <- list(paste0("chr1-", 1:120 * 1000, "-", 1:120 * 1000 + 999), colnames(object))
  dimnames(covered) <- dimnames(methylated) <- names
  # in another order: cells go by name
  back <- rev(names[[2]])
  list(
    object = object, kind = kind, level = level,
    methylated = as(methylated[, back], "dgCMatrix"), covered = as(covered, "dgCMatrix")
  )
}

with_methylation_assays <- function(given) {
  object <- given$object
  for (name in c("methylated", "covered")) {
    object[[name]] <- SeuratObject::CreateAssayObject(given[[name]][, colnames(object)])
  }
  object
}

fitted_with_methylation <- function() {
  skip_without_core()
  if (is.null(remembered$methylation)) {
    given <- cells_with_methylation()
    plain <- with_methylation_assays(given)
    fit <- RunSCMVP(
      plain,
      modalities = c("rna", "methylation"), n.clusters = 3, max.epochs = 20, impute = "none",
      verbose = FALSE
    )
    remembered$methylation <- list(object = fit, plain = plain, given = given)
  }
  remembered$methylation
}
