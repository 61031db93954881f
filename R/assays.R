# Which assays of a Seurat object are fitted, and their counts.

# The RNA and the peak assay: those named, else the only candidates.
find_assays <- function(object, rna.assay, peak.assay) {
  assays <- SeuratObject::Assays(object)
  for (name in assays) refuse_layers_of_modalities(object[[name]], name)
  check_assay(object, rna.assay, "rna.assay")
  check_assay(object, peak.assay, "peak.assay")
  if (!is.null(rna.assay) && identical(rna.assay, peak.assay)) {
    refuse("rna.assay and peak.assay are both '", rna.assay, "': name two different assays.")
  }
  candidates <- assay_candidates(object, c(rna.assay, peak.assay))
  list(
    rna = only_candidate(
      rna.assay, candidates$rna, setdiff(assays, peak.assay), "RNA", "rna.assay",
      "raw counts of genes"
    ),
    peaks = only_candidate(
      peak.assay, candidates$atac, setdiff(assays, rna.assay), "peak", "peak.assay",
      "raw counts of genomic ranges such as 'chr1-100-200'"
    )
  )
}

# Layers of an Assay5 that was made of the whole list of Read10X() are not cells but modalities, and
# cannot be joined.
refuse_layers_of_modalities <- function(assay, name) {
  layers <- layers_of_same_cells(assay)
  if (length(layers) > 0) {
    refuse(
      "assay '", name, "' holds several counts of the same cells (layers ",
      some_names(layers), "), as CreateSeuratObject() makes of the whole list of Read10X(): make ",
      "an assay of each element of the list."
    )
  }
}

check_assay <- function(object, name, argument) {
  name <- check_string(name, argument, optional = TRUE)
  if (is.null(name)) {
    return(invisible())
  }
  assays <- SeuratObject::Assays(object)
  if (!name %in% assays) {
    refuse(
      "the object has no assay '", name, "' (", argument, "); its assays are ",
      paste(assays, collapse = ", "), "."
    )
  }
  if (!has_counts(object[[name]])) {
    refuse("assay '", name, "' (", argument, ") has no counts: scMVP needs raw counts.")
  }
  if (argument == "rna.assay" && is_peak_assay(object[[name]])) {
    refuse("assay '", name, "' (rna.assay) holds genomic ranges: name the assay with genes.")
  }
}

# Assays that could be either, by what their features are; those `taken` left out.
assay_candidates <- function(object, taken) {
  usable <- Filter(function(name) {
    !is_imputed(object, name) && has_counts(object[[name]])
  }, setdiff(SeuratObject::Assays(object), taken))
  with_ranges <- vapply(usable, function(name) is_peak_assay(object[[name]]), logical(1))
  is_sct <- vapply(usable, function(name) inherits(object[[name]], "SCTAssay"), logical(1))
  list(rna = usable[!with_ranges & !is_sct], atac = usable[with_ranges])
}

only_candidate <- function(given, candidates, searched, what, argument, needed, kind = "assay") {
  if (!is.null(given)) {
    return(given)
  }
  if (length(candidates) == 0) {
    refuse(
      "no ", what, " ", kind, " found: ", needed, " are in none of the ", kind, "s searched (",
      if (length(searched) > 0) paste(searched, collapse = ", ") else "there is no other",
      "); add such an ", kind, ", or name it with ", argument, " =."
    )
  }
  if (length(candidates) > 1) {
    refuse(
      length(candidates), " ", kind, "s could be the ", what, " ", kind, " (",
      paste(candidates, collapse = ", "), "): name one with ", argument, " =."
    )
  }
  candidates
}

# Counts of the chosen features in all cells of the object, in its order. `mosaic`: cells that the
# assay lacks have none.
cells_of <- function(assay, object, name, features = NULL, argument = NULL, mosaic = NULL) {
  counts <- assay_counts(assay)
  missing <- setdiff(colnames(object), colnames(counts))
  if (length(missing) > 0 && !isTRUE(mosaic)) {
    refuse(
      "assay '", name, "' lacks ", count_of(length(missing), "cell"), " of the object (",
      some_names(missing), "): take subset(object, cells = colnames(object[[\"", name, "\"]]))",
      if (!is.null(mosaic)) ", or use all cells with mosaic = TRUE", "."
    )
  }
  if (!is.null(features)) {
    features <- check_names_known(
      features, rownames(counts), argument, paste0("in assay '", name, "'")
    )
    counts <- counts[features, , drop = FALSE]
  }
  cells_or_empty(counts, colnames(object))
}
