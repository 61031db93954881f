# Objects of R as Python gets them: counts, tables and embeddings of a Seurat object, a
# SingleCellExperiment or a MultiAssayExperiment. A part of bridge.R, which has the refusals and the
# files of the R package that are used here.

# ---- parts of objects ----------------------------------------------------------------------------

# A layer as it is: dense ones (imputed values) stay dense.
as_layer <- function(x) if (is.matrix(x)) unname(x) else as_dgc(x)

# Layers of a part beside the counts: those named, or all when TRUE; in the shape of the counts.
further_layers <- function(part, wanted, counts, home) {
  available <- setdiff(part$layers(), "counts")
  chosen <- if (isTRUE(wanted)) available else intersect(wanted, available)
  if (isFALSE(wanted)) chosen <- character()
  values <- lapply(stats::setNames(nm = chosen), function(name) {
    x <- part$values(name, "layers", home)$values
    if (identical(dimnames(x), dimnames(counts))) {
      return(as_layer(x))
    }
    note(
      "'", part$name, "': layer '", name, "' holds other features or cells than the counts and is ",
      "left out"
    )
    NULL
  })
  values[lengths(values) > 0]
}

# chrom, start, end of GRanges, and their strand where one is known; else of the names.
places_of_peaks <- function(ranges, names) {
  if (methods::is(ranges, "GRanges") && length(ranges) == length(names) &&
        installed("GenomicRanges")) {
    table <- as.data.frame(unname(ranges))
    places <- data.frame(
      chrom = as.character(table$seqnames), start = table$start, end = table$end, row.names = names
    )
    if (any(table$strand != "*")) places$strand <- as.character(table$strand)
    return(places)
  }
  said <- parse_ranges(names)
  if (anyNA(said$start)) {
    return(NULL)
  }
  data.frame(
    chrom = said$seqnames, start = whole(said$start), end = whole(said$end), row.names = names
  )
}

whole <- function(x) {
  x <- as.numeric(x)
  if (all(x <= .Machine$integer.max)) as.integer(x) else x
}

# All of a place is of one source: a column of the same name that says something else is renamed.
with_coordinates <- function(table, coordinates, name) {
  there <- intersect(names(coordinates), names(table))
  same <- vapply(there, function(one) {
    identical(as.character(table[[one]]), as.character(coordinates[[one]]))
  }, NA)
  table <- renamed_beside_ranges(table, there[!same], name)
  new <- setdiff(names(coordinates), there[same])
  table[new] <- coordinates[new]
  list(table = table, added = new)
}

renamed_beside_ranges <- function(table, columns, name) {
  if (length(columns) > 0) {
    note(
      "'", name, "': metadata of the features named ", quoted(columns), ", which their ranges ",
      "have too, now begins with 'feature_'"
    )
  }
  at <- names(table) %in% columns
  names(table)[at] <- paste0("feature_", names(table)[at])
  table
}

# Columns Python has a counterpart of; the others are told.
plain_frame <- function(frame, rows, what) {
  frame <- as.data.frame(frame, optional = TRUE)
  unique <- make.unique(names(frame))
  if (anyDuplicated(names(frame))) {
    note(
      "columns of ", what, " with the name of another are numbered: ",
      quoted(setdiff(unique, names(frame)))
    )
  }
  names(frame) <- unique
  columns <- lapply(frame, plain_column)
  lost <- vapply(columns, is.null, NA)
  if (any(lost)) {
    note(
      "columns of ", what, " that are no vectors of numbers, text or factors are left out: ",
      quoted(names(columns)[lost])
    )
  }
  times <- vapply(frame, inherits, NA, c("Date", "POSIXt"))
  if (any(times)) {
    note(
      "columns of ", what, " with dates or times are text, in UTC: ", quoted(names(frame)[times])
    )
  }
  structure(columns[!lost], row.names = as.character(rows), class = "data.frame")
}

plain_column <- function(x) {
  if (inherits(x, "Date")) {
    return(as.character(x))
  }
  if (inherits(x, "POSIXt")) {
    return(text_of_times(x))
  }
  if (inherits(x, "integer64")) {
    return(numbers_of_integer64(x))
  }
  if (is.factor(x)) {
    return(factor(as.character(x), levels = levels(x), ordered = is.ordered(x)))
  }
  if (!is.null(dim(x)) || !(is.character(x) || is.logical(x) || is.numeric(x))) {
    return(NULL)
  }
  if (is.object(x)) as.numeric(x) else unname(x)
}

# To the microsecond: format() would cut what a double cannot hold exactly.
text_of_times <- function(x) {
  microseconds <- round(as.numeric(as.POSIXct(x)) * 1e6)
  seconds <- as.POSIXct(microseconds %/% 1e6, origin = "1970-01-01", tz = "UTC")
  rest <- microseconds %% 1e6
  text <- paste0(
    format(seconds, "%Y-%m-%dT%H:%M:%S"),
    if (any(rest > 0, na.rm = TRUE)) sprintf(".%06.0f", rest), "Z"
  )
  replace(text, is.na(microseconds), NA)
}

# Of the package bit64, which may be missing: integers of 64 bits in the place of doubles.
numbers_of_integer64 <- function(x) {
  bytes <- writeBin(as.vector(unclass(x)), raw(), endian = "little")
  halves <- matrix(readBin(bytes, "integer", 2 * length(x), endian = "little"), 2)
  # what R reads as NA is the smallest number of 32 bits
  halves[is.na(halves)] <- -2^31
  low <- halves[1, ] %% 2^32
  ifelse(halves[2, ] == -2^31 & low == 0, NA, halves[2, ] * 2^32 + low)
}

# ---- in ------------------------------------------------------------------------------------------

# The parts by kind: those of RNA, peaks and proteins that there are.
parts_for_python <- function(object, parts, given) {
  words <- utils::modifyList(
    about(object), list(rna = "rna.assay", peaks = "peak.assay", protein = "protein.assay")
  )
  parts <- with_peaks_by_name(parts)
  if (is.null(given$rna)) given$rna <- main_of_several(parts, words, unlist(given))
  found <- without_nulls(find_parts(
    parts, words, given,
    wanted = counted_kinds, needed = character()
  ))
  # says what was searched
  if (length(found) == 0) found <- find_parts(parts, words, given)
  found
}

# Peaks whose names are no ranges, as Python may have written them, are known by what their part is
# called, where no other part has ranges for names.
with_peaks_by_name <- function(parts) {
  if (length(candidates_of(parts, "peaks")) == 0) {
    for (name in candidates_of(parts, "rna")) {
      if (gsub("[^a-z]", "", tolower(name)) %in% peak_spellings) parts[[name]]$kind <- "peaks"
    }
  }
  parts
}

# As Python knows them (modalities.py).
peak_spellings <- c(
  "atac", "peak", "peaks", "chromatinaccessibility", "accessibility", "scatac", "snatac",
  "atacseq", "scatacseq", "snatacseq"
)

# Of several experiments that could be the RNA, the main one; others are no candidates of a
# SingleCellExperiment. NULL for objects without such a one.
main_of_several <- function(parts, words, taken) {
  usable <- candidates_of(parts, "rna", taken)
  if (words$part != "experiment" || length(usable) < 2 || !any(words$main %in% usable)) {
    return(NULL)
  }
  note(
    "the main experiment is read as the RNA, and ", quoted(setdiff(usable, words$main)), " not; ",
    "name another experiment with rna.assay ="
  )
  words$main
}

call_read <- function(path, rna_assay, peak_assay, protein_assay, layers) {
  object <- read_object(path)
  class <- class_of(object)
  if (class == "Seurat") needs("SeuratObject")
  spelled$dotted <- c("rna.assay", "peak.assay", "protein.assay")
  all_parts <- parts_of(object)
  parts <- parts_for_python(
    object, all_parts, list(rna = rna_assay, peaks = peak_assay, protein = protein_assay)
  )
  home <- parts[[1]]$name
  sent <- lapply(names(parts), function(kind) {
    part <- parts[[kind]]
    part_for_python(part, home, layers, kind == "peaks" || !is.null(part$ranges()))
  })
  names(sent) <- of_kind(names(parts), "core")
  cells <- colnames(sent[[1]]$counts)
  data <- columns_of_cells(object, home)
  # made plain before rows are taken, which may need the package of a class
  obs <- plain_frame(data, rownames(data), "the cells")[cells, , drop = FALSE]
  identity <- if (class == "Seurat") identity_of(object, obs)
  if (!is.null(identity$values)) obs[[identity$column]] <- identity$values
  list(
    kind = class, modalities = sent, obs = obs, identity = identity$column,
    identity_added = !is.null(identity$values),
    methylation = length(candidates_of(all_parts, "methylation")) > 0,
    reductions = if (class == "Seurat") {
      lapply(methods::slot(object, "reductions"), seurat_reduction, cells)
    } else {
      experiment_reductions(if (class == "MultiAssayExperiment") object[[home]] else object)
    }
  )
}

# The column of cells that says the same as Idents(), else a new one: 'ident' or, where there is
# one, 'ident.1'.
identity_of <- function(object, obs) {
  identity <- methods::slot(object, "active.ident")[rownames(obs)]
  known <- vapply(obs, function(x) identical(as.character(x), as.character(identity)), NA)
  if (any(known)) {
    return(list(column = names(obs)[known][1]))
  }
  new <- utils::tail(make.unique(c(names(obs), "ident")), 1)
  list(column = new, values = factor(unname(identity)))
}

# Counts, metadata of the features and further layers of a part, and what it is called.
part_for_python <- function(part, home, layers, coordinates) {
  counts <- part$counts(home)
  table <- part$table()
  table <- plain_frame(table, part$features, paste0("the features of '", part$name, "'"))
  table <- table[match(rownames(counts), part$features), , drop = FALSE]
  variable <- part$variable()
  if (length(variable) > 0) {
    table$highly_variable <- rownames(counts) %in% variable
    table$highly_variable_rank <- as.numeric(match(rownames(counts), variable)) - 1
  }
  added <- character()
  if (coordinates) {
    places <- places_of_peaks(part$ranges(), rownames(counts))
    extended <- with_coordinates(table, places, part$name)
    table <- extended$table
    added <- extended$added
  }
  list(
    name = part$name, class = class(part$source)[1], counts = counts, var = table, added = added,
    key = as.character(attr(part$source, "key")),
    layers = further_layers(part, layers, counts, home)
  )
}

seurat_reduction <- function(reduction, cells) {
  embeddings <- attr(reduction, "cell.embeddings")
  loadings <- attr(reduction, "feature.loadings")
  list(
    values = unname(embeddings[match(cells, rownames(embeddings)), , drop = FALSE]),
    columns = colnames(embeddings), key = as.character(attr(reduction, "key")),
    assay = as.character(attr(reduction, "assay.used")), global = attr(reduction, "global"),
    stdev = if (length(attr(reduction, "stdev")) > 0) as.numeric(attr(reduction, "stdev")),
    loadings = if (length(loadings) > 0) unname(loadings),
    loadings_features = if (length(loadings) > 0) rownames(loadings)
  )
}

experiment_reductions <- function(object) {
  if (!methods::is(object, "SingleCellExperiment")) {
    return(list())
  }
  experiment <- needs("SingleCellExperiment")
  names <- experiment("reducedDimNames")(object)
  stats::setNames(lapply(names, function(name) {
    values <- experiment("reducedDim")(object, name)
    rotation <- attr(values, "rotation")
    dense <- as.matrix(values)
    list(
      values = matrix(as.numeric(dense), nrow(dense)), columns = colnames(dense),
      percent_var = attr(values, "percentVar"),
      loadings = if (is.matrix(rotation)) unname(rotation),
      loadings_features = if (is.matrix(rotation)) rownames(rotation)
    )
  }), names)
}

read_object <- function(path) {
  tryCatch(readRDS(path), error = function(e) {
    refuse(
      "it is not a readable .rds file (damaged or truncated?), ", conditionMessage(e),
      "; copy or write it again"
    )
  })
}

class_of <- function(object) {
  kind <- intersect(
    c("Seurat", "SingleCellExperiment", "MultiAssayExperiment"), class(object)
  )
  if (length(kind) == 0) {
    refuse(
      "it holds an object of class ", class(object)[1], ", not a Seurat, SingleCellExperiment or ",
      "MultiAssayExperiment object"
    )
  }
  kind[1]
}
