# A class that the package does not know, with all that it needs to: methods for the generics of
# R/containers.R, in one file. test-classes.R runs the verbs of a fit on it, test-toy.R the others.

toy_cells <- function(rna, peaks) {
  cells <- data.frame(row.names = colnames(rna))
  structure(
    list(
      counts = list(genes = rna, tiles = peaks), cells = cells, reductions = list(),
      records = list(), imputed = list()
    ),
    class = "toy_cells"
  )
}

toy_methods <- list(
  about = function(object) {
    list(
      class = "a toy", part = "matrix of it", rna = "rna.assay", peaks = "peak.assay",
      protein = "protein.assay", data = "its cells", main = "genes", takes = class_arguments,
      reductions = names(object$reductions)
    )
  },
  parts_of = function(object, peaks = NULL, assay.type = "counts", fitted = FALSE) {
    measured <- Map(function(counts, name) {
      new_part(
        name, rownames(counts),
        kind = kind_of(rownames(counts)),
        counts = function(home = NULL, mosaic = NULL) counts,
        values = function(layer, argument, home = NULL) {
          list(values = counts, layer = "counts", imputed = FALSE)
        }
      )
    }, object$counts, names(object$counts))
    imputed <- Map(function(one, name) {
      new_part(
        name, rownames(one$values),
        kind = kind_of(rownames(one$values)), has_counts = FALSE, own = TRUE, mark = one$mark,
        counts = NULL, imputed = function() one$values
      )
    }, object$imputed, names(object$imputed))
    c(measured, imputed)
  },
  cell_data = function(object, home = NULL) object$cells,
  latent_of = function(object, reduction) object$reductions[[reduction]],
  fits_of = function(object, keep = only_records) keep(object$records),
  put_results = function(object, results) {
    new <- results$reduction
    if (!is.null(new)) {
      object$reductions[[new$name]] <- new$values
      object$records[[new$name]] <- new$misc
    }
    if (!is.null(results$record)) object$records[[results$record$name]] <- results$record$value
    if (!is.null(results$columns)) object$cells[names(results$columns)] <- results$columns
    object$imputed[results$dropped] <- NULL
    for (one in results$imputed) object$imputed[[one$name]] <- one[c("values", "mark")]
    object
  }
)

for (name in names(toy_methods)) {
  method <- toy_methods[[name]]
  environment(method) <- asNamespace("scMVP")
  registerS3method(name, "toy_cells", method, envir = asNamespace("scMVP"))
}

toy_case <- function() {
  counts <- named_counts()
  case(toy_cells(counts$rna, counts$peaks), counts)
}
