# Which assays of a Seurat object are fitted, and their counts.

# The RNA and the peak assay: those named, else the only candidates.
find_assays <- function(object, rna.assay, peak.assay) {
  assays <- SeuratObject::Assays(object)
  given <- list(rna.assay = rna.assay, peak.assay = peak.assay)
  for (argument in names(given)) {
    name <- check_string(given[[argument]], argument, optional = TRUE)
    if (is.null(name)) next
    if (!name %in% assays) {
      refuse(
        "the object has no assay '", name, "' (", argument, "); its assays are ",
        paste(assays, collapse = ", "), "."
      )
    }
    if (!has_counts(object[[name]])) {
      refuse("assay '", name, "' (", argument, ") has no counts: scMVP needs raw counts.")
    }
  }
  if (!is.null(rna.assay) && identical(rna.assay, peak.assay)) {
    refuse("rna.assay and peak.assay are both '", rna.assay, "': name two different assays.")
  }
  if (!is.null(rna.assay) && is_peak_assay(object[[rna.assay]])) {
    refuse("assay '", rna.assay, "' (rna.assay) holds genomic ranges: name the assay with genes.")
  }
  usable <- Filter(function(name) {
    is.null(assay_mark(object[[name]])) && has_counts(object[[name]])
  }, setdiff(assays, c(rna.assay, peak.assay)))
  with_ranges <- vapply(usable, function(name) is_peak_assay(object[[name]]), logical(1))
  is_sct <- vapply(usable, function(name) inherits(object[[name]], "SCTAssay"), logical(1))
  list(
    rna = only_candidate(
      rna.assay, usable[!with_ranges & !is_sct], setdiff(assays, peak.assay), "RNA", "rna.assay",
      "raw counts of genes"
    ),
    peaks = only_candidate(
      peak.assay, usable[with_ranges], setdiff(assays, rna.assay), "peak", "peak.assay",
      "raw counts of genomic ranges such as 'chr1-100-200'"
    )
  )
}

only_candidate <- function(given, candidates, searched, what, argument, needed) {
  if (!is.null(given)) {
    return(given)
  }
  if (length(candidates) == 0) {
    refuse(
      "no ", what, " assay found: ", needed, " are in none of the assays searched (",
      if (length(searched) > 0) paste(searched, collapse = ", ") else "there is no other",
      "); add such an assay, or name it with ", argument, " =."
    )
  }
  if (length(candidates) > 1) {
    refuse(
      length(candidates), " assays could be the ", what, " assay (",
      paste(candidates, collapse = ", "), "): name one with ", argument, " =."
    )
  }
  candidates
}

# Counts of the chosen features in all cells of the object, in its order.
cells_of <- function(assay, object, name, features, argument) {
  counts <- assay_counts(assay)
  missing <- setdiff(colnames(object), colnames(counts))
  if (length(missing) > 0) {
    refuse(
      "assay '", name, "' lacks ", count_of(length(missing), "cell"), " of the object (",
      some_names(missing), "): both modalities are needed, so take subset(object, cells = ",
      "colnames(object[[\"", name, "\"]]))."
    )
  }
  if (!is.null(features)) {
    features <- check_names_known(
      features, rownames(counts), argument, paste0("in assay '", name, "'")
    )
    counts <- counts[features, , drop = FALSE]
  }
  if (!identical(colnames(counts), colnames(object))) {
    counts <- counts[, colnames(object), drop = FALSE]
  }
  counts
}
