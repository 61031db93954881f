#' Activity of transcription factor motifs in cells
#'
#' Computes for each motif and cell the bias-corrected deviation of the accessibility of the peaks
#' with the motif, as a z-score, by the method of chromVAR (Schep et al., *Nature Methods* 2017),
#' from imputed accessibility or measured counts.
#'
#' @section Method:
#' The deviation of a motif in a cell is (x - e) / e, where x is the number of reads of the cell in
#' the peaks with the motif, and e is the number of reads of the cell times the proportion of all
#' reads that lie in these peaks. In each of `n.background` background sets, every peak is replaced
#' by a peak of about the same accessibility and GC content. The z-score is the deviation minus
#' the mean deviation of the background sets, divided by their standard deviation. The peaks are
#' those of the model.
#'
#' A z-score compares the motif with random sets of peaks. For a motif without a role, the mean
#' z-score of a cell type is mostly between -2 and 2, for imputed and for measured values. Imputed
#' accessibility has less noise, so cell types are further apart. Use tests over cells (such as
#' `FindMarkers()`) only for measured values: imputed values lack the noise of single cells, so
#' small differences of any motif have small p-values. If the model was fitted with batches,
#' imputed values contain no differences between batches; measured deviations do.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or `scMVPFit`.
#' @param motifs The motifs of the peaks: a named matrix, peaks x motifs, sparse or dense, in which
#'   a non-zero value means that the peak has the motif; a `Motif` object of Signac; or the path of
#'   a file of motifs in MEME or JASPAR format, for which the sequences of the peaks are searched
#'   (`fasta`; needs the Python package lightmotif). `NULL`: the motifs that `Signac::AddMotifs()`
#'   stored in the ChromatinAssay of the fit. Peaks are matched by name.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param gc GC content of the peaks: numbers named by the peaks, or the name of a column of the
#'   peaks' metadata. `NULL`: computed from `fasta`, otherwise the column `GC.percent` of
#'   `Signac::RegionStats()`. Without either, background sets are matched by accessibility only,
#'   and a message reports this.
#' @param fasta Path of a FASTA file of the genome, gzipped or not.
#' @param values `"imputed"` or `"measured"`.
#' @param assay.name For `as = "object"`: name of the new assay (altExp).
#' @param as `"object"`, or `"matrix"`: motifs x cells.
#' @param peaks For measured values: counts, peaks x cells, if the object does not contain them or
#'   others are to be used.
#' @param n.background Number of background sets.
#' @param p.value Largest p-value (probability in random sequence) at which a motif from a file
#'   matches a peak.
#' @param batch For a model fitted with batches: the batch for which accessibility is imputed; see
#'   [ImputeSCMVP()].
#' @param seed.use Seed of the background sets; R's own random numbers are not changed.
#' @inheritParams DoubletScoreSCMVP
#' @param verbose Show messages.
#' @return The object with an assay `assay.name` of z-scores, motifs x cells (data of a Seurat
#'   assay, as `chromvar` of Signac; assay `z` of an altExp), and its default assay unchanged; or
#'   the matrix. Motifs from a file are named by their identifier and gene (`MA0080.5-SPI1`). Values
#'   are `NA` for motifs that are in no peak or whose background sets do not vary and, for measured
#'   values, in cells with fewer than one expected read in the peaks with the motif.
#' @section Errors:
#' `scmvp_error_input` if the motifs belong to other peaks or have values that are not finite, if
#' `assay.name` is the name of another assay, or if the object does not contain the counts;
#' `scmvp_error_model` if there is no stored model.
#' @seealso [RankMotifsSCMVP()], [MotifExpressionSCMVP()] and [RegulonsSCMVP()] lead from motifs to
#'   factors and their target genes.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   peaks <- rownames(object[["ATAC"]])
#'   motifs <- matrix(runif(300 * 4) < 0.1, 300, dimnames = list(peaks, paste0("TF", 1:4)))
#'   object <- RunMotifSCMVP(object, motifs)
#'   object[["motif"]]
#' }
#' @export
RunMotifSCMVP <- function(object, motifs = NULL, gc = NULL, fasta = NULL,
                          values = c("imputed", "measured"), assay.name = "motif", as = NULL,
                          reduction = "scmvp", peaks = NULL, n.background = 50, p.value = 5e-5,
                          batch = NULL, seed.use = 0,
                          backend = c("auto", "reticulate", "process"), verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  request <- activity_request(values, batch, backend, verbose)
  options <- list(
    n_background = check_number(n.background, "n.background", min = 2, whole = TRUE),
    p_value = check_number(p.value, "p.value", min = 0, above = TRUE),
    seed = check_number(seed.use, "seed.use", min = 0, whole = TRUE),
    fasta = check_input_file(fasta, "fasta")
  )
  check_fitted(object, "RunMotifSCMVP()", "its model and the latent of its cells")
  record <- stored_results(object, reduction)
  as <- activity_kind(object, as)
  refuse_of_other_values(request$values, as, match.call(), environment())
  if (as == "object") check_activity_name(object, assay.name, reduction, record, "motif")
  part <- fitted_part(object, record, reduction, "peaks")
  motifs <- motifs_to_score(motifs, part)
  gc <- gc_of_peaks(gc, part, !is.null(fasta), verbose)
  found <- with_accessibility(
    object, record, reduction, peaks, request,
    function(engine, from, model) engine$motifs(from, motifs, gc, Filter(Negate(is.null), options))
  )
  z <- found$result$z
  z[is.nan(z)] <- NA
  dimnames(z) <- list(unlist(found$result$motifs), found$cells)
  if (as == "matrix") {
    return(z)
  }
  genes <- stats::setNames(unlist(found$result$genes), rownames(z))
  put_activity(object, assay.name, z, "motif", "z", found, reduction, request, genes)
}

check_input_file <- function(path, argument) {
  path <- check_string(path, argument, optional = TRUE)
  if (is.null(path)) {
    return(NULL)
  }
  if (!file.exists(path)) refuse(argument, ": there is no file '", path, "'.")
  normalizePath(path)
}

# A path, or list(matches (dgCMatrix, peaks x motifs), genes).
motifs_to_score <- function(motifs, part) {
  if (is.null(motifs)) motifs <- attr(part$source, "motifs", exact = TRUE)
  if (is.null(motifs)) {
    refuse(
      "the peaks have no motifs: give motifs (a matrix, peaks x motifs, or a file with fasta)",
      if (methods::.hasSlot(part$source, "motifs")) {
        ", or add them with Signac::AddMotifs() first"
      }, "."
    )
  }
  if (is.character(motifs) && !is.matrix(motifs)) {
    return(check_input_file(motifs, "motifs"))
  }
  if (inherits(motifs, "Motif")) {
    return(signac_motifs(motifs))
  }
  check_motif_matrix(motifs)
  list(matches = as_dgc(motifs), genes = NULL)
}

# Of a Motif object, with the genes that its motifs are named after.
signac_motifs <- function(motifs) {
  matches <- methods::slot(motifs, "data")
  check_motif_matrix(matches)
  genes <- methods::slot(motifs, "motif.names")
  genes <- if (length(genes) > 0) as.character(unlist(genes[colnames(matches)]))
  list(matches = as_dgc(matches), genes = if (length(genes) == ncol(matches)) genes)
}

check_motif_matrix <- function(motifs) {
  if (!is_matrix_like(motifs)) {
    refuse(
      "motifs must be a matrix (peaks x motifs), a Motif object of Signac or the path of a file, ",
      "not ", in_words(motifs), "."
    )
  }
  refuse_names_in_column(motifs, "motifs")
  if (is.null(names_of_rows(motifs)) || is.null(colnames(motifs))) {
    refuse("motifs needs names of peaks (rows) and of motifs (columns).")
  }
}

# GC content by names of peaks; NULL where it is not known.
gc_of_peaks <- function(gc, part, from_fasta, verbose) {
  table <- if (is.null(part)) data.frame() else part$table()
  if (is.null(gc)) {
    if (from_fasta || !"GC.percent" %in% names(table)) {
      return(NULL)
    }
    if (verbose) message("GC content of the peaks: column GC.percent of their metadata")
    gc <- "GC.percent"
  }
  check_gc(if (is.character(gc) && length(gc) == 1) gc_column(gc, table) else gc)
}

gc_column <- function(name, table) {
  check_names_known(name, names(table), "gc", "among the metadata of the peaks")
  stats::setNames(table[[name]], rownames(table))
}

check_gc <- function(gc) {
  if (!is.numeric(gc) || is.null(names(gc))) {
    refuse("gc must be numbers with the names of peaks, or a column, not ", in_words(gc), ".")
  }
  gc
}
