#' Activity of genes: the accessibility of their peaks
#'
#' Sums the imputed accessibility, or the measured counts, of the peaks of each gene. The peaks
#' are those of the model.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or `scMVPFit`.
#' @param gene.coords Gene coordinates: a data frame (gene, chromosome, start, end, strand, or
#'   tss), a GRanges, a GTF or BED file, an EnsDb or a TxDb. `NULL`: the annotation of the
#'   ChromatinAssay or the ranges of the genes. Chromosomes match with or without `chr`.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param method `"body"`: peaks that overlap the gene or the `upstream` base pairs before it, each
#'   with weight 1 (the rule of `Signac::GeneActivity()`, for peaks instead of fragments).
#'   Names of peaks are read as in BED files, with a start that counts from 0.
#'   `"decay"`: peaks at most `distance` base pairs from the start, with weight exp(-d / `decay`),
#'   where d is the distance from the start to the nearest base of the peak.
#' @param upstream,decay,distance Distances in base pairs; see `method`.
#' @param values `"imputed"` or `"measured"`.
#' @param library.size For imputed values: their sum in a cell over all peaks of the model.
#' @param assay.name For `as = "object"`: name of the new assay (altExp).
#' @param as `"object"`, or `"matrix"`: genes x cells.
#' @param peaks For measured values: counts, peaks x cells, if the object does not contain them or
#'   others are to be used.
#' @param batch For a model fitted with batches: the batch for which accessibility is imputed; see
#'   [ImputeSCMVP()].
#' @inheritParams DoubletScoreSCMVP
#' @param verbose Show messages.
#' @return The object with an assay `assay.name` (data of a Seurat assay, for measured values also
#'   its counts; assay `activity` of an altExp) with cells as columns and all genes with at least
#'   one peak as rows, and its default assay unchanged; or the matrix: dense for imputed values,
#'   sparse for measured ones. Values are not transformed; `NormalizeData()` makes sums of counts
#'   comparable to expression. A peak may count for several genes. Measured values are 0 in cells
#'   without counts of any peak, because nothing was measured there; a message gives the number of
#'   these cells.
#' @section Errors:
#' `scmvp_error_input` if no gene has a peak, `gene.coords` cannot be read, `assay.name` is the name
#' of another assay, or the object does not contain the counts; `scmvp_error_model` if there is no
#' stored model.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   genes <- object[["RNA"]][[]]
#'   genes <- data.frame(gene = rownames(genes), seqnames = genes$chrom, tss = genes$tss)
#'   object <- GeneActivitySCMVP(object, genes, method = "decay")
#'   object[["ACTIVITY"]]
#' }
#' @export
GeneActivitySCMVP <- function(object, gene.coords = NULL, method = c("body", "decay"),
                              upstream = 2000, decay = 5000, distance = 1e5,
                              values = c("imputed", "measured"), library.size = 1e4,
                              assay.name = "ACTIVITY", as = NULL, reduction = "scmvp",
                              peaks = NULL, batch = NULL,
                              backend = c("auto", "reticulate", "process"), verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  request <- activity_request(values, batch, backend, verbose)
  options <- list(
    method = check_choice(method, c("body", "decay"), "method"),
    upstream = check_number(upstream, "upstream", min = 0, whole = TRUE),
    decay = check_number(decay, "decay", min = 1, whole = TRUE),
    distance = check_number(distance, "distance", min = 0, whole = TRUE)
  )
  library.size <- check_number(library.size, "library.size", min = 0, above = TRUE)
  if (request$values == "imputed") options$library_size <- library.size
  check_fitted(object, "GeneActivitySCMVP()", "its model and the latent of its cells")
  record <- stored_results(object, reduction)
  refuse_other_model("peaks", kinds_of_model(record$model))
  as <- activity_kind(object, as)
  refuse_of_other_values(request$values, as, match.call(), environment(), "library.size")
  if (as == "object") check_activity_name(object, assay.name, reduction, record, "gene")
  places <- places_of_activity(object, record, reduction, gene.coords, verbose)
  found <- with_accessibility(
    object, record, reduction, peaks, request,
    function(engine, from, model) engine$gene_activity(from, places, options)
  )
  activity <- found$result$values
  dimnames(activity) <- list(unlist(found$result$genes), found$cells)
  if (as == "matrix") {
    return(activity)
  }
  put_activity(
    object, assay.name, activity, "gene", "activity", found, reduction, request
  )
}

# Places of genes, under the names that these have in the object; without a strand, it is '+'.
places_of_activity <- function(object, record, reduction, gene.coords, verbose) {
  genes <- record$spelling$rna
  if (about(object)$part != "matrix") {
    parts <- parts_of(object, assay.type = record$options$assay.type, fitted = TRUE)
    rna <- part_of_fit(object, parts, reduction, "rna")
    if (!is.null(rna)) genes <- rna$features
    if (is.null(gene.coords)) {
      peaks <- part_of_fit(object, parts, reduction, "peaks")
      gene.coords <- stored_genes(peaks, rna, about(object)$part)
    }
  } else if (is.null(gene.coords)) {
    refuse(
      "gene.coords is needed for a scMVPFit: give a data frame, a GRanges, a GTF or ",
      "BED file, an EnsDb or a TxDb."
    )
  }
  places <- gene_places(gene.coords, genes = genes, verbose = verbose)
  places$strand[places$strand == "*"] <- "+"
  places
}
