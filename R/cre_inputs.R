# What the analyses of regulatory elements read from objects: coordinates of cells, values and
# ranges of peaks. Seurat's slots and layers themselves are behind matrices.R.

# ---- reductions ----------------------------------------------------------------------------------

seurat_coordinates <- function(object, reduction, dims, role = reduction_role()) {
  check_string(reduction, role$argument)
  check_reduction(reduction, SeuratObject::Reductions(object), object, role)
  warn_lost_model(object, reduction)
  chosen_dims(SeuratObject::Embeddings(object[[reduction]]), dims, reduction)
}

sce_coordinates <- function(object, reduction, dims, role = reduction_role()) {
  check_installed("SingleCellExperiment", "this object")
  check_string(reduction, role$argument)
  check_reduction(reduction, SingleCellExperiment::reducedDimNames(object), object, role)
  refuse_joined_fits(object, reduction)
  coordinates <- as.matrix(SingleCellExperiment::reducedDim(object, reduction))
  rownames(coordinates) <- colnames(object)
  chosen_dims(coordinates, dims, reduction)
}

# Whose reduction it is, the argument that names it, and how it is made.
reduction_role <- function(whose = "object", argument = "reduction",
                           maker = "run RunSCMVP() first") {
  list(whose = whose, argument = argument, maker = maker)
}

check_reduction <- function(reduction, available, object, role) {
  if (!reduction %in% available) {
    refuse(
      "the ", role$whose, " has no reduction '", reduction, "' (reductions: ",
      if (length(available) > 0) paste(available, collapse = ", ") else "none", ")",
      why_lost(object, reduction), ": ", role$maker, ", or name another with ", role$argument, " =."
    )
  }
}

chosen_dims <- function(coordinates, dims, reduction) {
  if (is.null(dims)) {
    return(coordinates)
  }
  if (!is.numeric(dims) || length(dims) == 0 || !all(dims %in% seq_len(ncol(coordinates)))) {
    refuse(
      "dims must be among the ", count_of(ncol(coordinates), "dimension"), " of reduction '",
      reduction, "', not ", in_words(dims), "."
    )
  }
  coordinates[, dims, drop = FALSE]
}

# ---- peaks ---------------------------------------------------------------------------------------

# The peak assay meant: the one named (scMVP's imputed ones too), else that of the fit, else the
# only measured one.
find_peak_assay <- function(object, assay, argument = "assay", reduction = NULL) {
  assay <- check_string(assay, argument, optional = TRUE)
  assays <- SeuratObject::Assays(object)
  if (is.null(assay)) {
    fitted <- fitted_names(object, reduction)$peaks
    if (!is.null(fitted) && is_peak_assay(object[[fitted]])) {
      return(fitted)
    }
    usable <- Filter(function(name) {
      !is_imputed(object, name) && is_peak_assay(object[[name]])
    }, assays)
    return(only_candidate(
      NULL, usable, assays, "peak", argument, "genomic ranges such as 'chr1-100-200'"
    ))
  }
  check_assay_name(object, assay, argument)
  if (!is_peak_assay(object[[assay]])) {
    refuse(
      "assay '", assay, "' (", argument, ") does not hold peaks: its features (",
      some_names(rownames(object[[assay]])), ") are not genomic ranges."
    )
  }
  assay
}

check_assay_name <- function(object, assay, argument) {
  assays <- SeuratObject::Assays(object)
  if (!assay %in% assays) {
    refuse(
      "the object has no assay '", assay, "' (", argument, "); its assays are ",
      paste(assays, collapse = ", "), "."
    )
  }
}

# Values, features x cells of the object in its order, and whether they are imputed.
seurat_values <- function(object, name, layer, argument = "layer") {
  layer <- check_string(layer, argument, optional = TRUE)
  assay <- object[[name]]
  imputed <- !is.null(assay_mark(assay))
  if (is.null(layer)) layer <- if (imputed || !has_counts(assay)) "data" else "counts"
  values <- assay_layer(assay, layer, name)
  cells <- colnames(object)
  missing <- setdiff(cells, colnames(values))
  if (length(missing) > 0) {
    refuse(
      "assay '", name, "' lacks ", count_of(length(missing), "cell"), " of the object (",
      some_names(missing), "): take subset(object, cells = colnames(object[[\"", name, "\"]]))."
    )
  }
  if (!identical(cells, colnames(values))) values <- values[, cells, drop = FALSE]
  list(values = values, imputed = imputed && layer == "data", layer = layer)
}

# Ranges of an assay's features: those it holds, else what their names say.
assay_ranges <- function(assay) {
  if (methods::.hasSlot(assay, "ranges")) {
    ranges <- methods::slot(assay, "ranges")
    if (length(ranges) == nrow(assay)) {
      return(ranges_table(ranges, rownames(assay)))
    }
  }
  ranges_table(NULL, rownames(assay))
}

# seqnames, start, end of each peak, in the order of `names`; refuses what is no range.
ranges_table <- function(ranges, names, argument = NULL) {
  if (is.null(ranges)) {
    table <- parse_ranges(names)
  } else {
    table <- in_order_of(as_ranges(ranges, "ranges"), names_of_ranges(ranges), names)
    if (nrow(table) != length(names)) {
      refuse(
        "ranges describes ", count_of(nrow(table), "peak"), ", the matrix has ",
        format_count(length(names)), ": give one range per row, in the same order."
      )
    }
  }
  bad <- which(is.na(table$seqnames) | is.na(table$start) | is.na(table$end))
  if (length(bad) > 0) {
    refuse(
      count_of(length(bad), "feature"), " of ", format_count(length(names)),
      " cannot be read as genomic ranges (", some_names(names[bad]),
      "): leave ", one_or_many(length(bad), "it", "them"), " out",
      if (!is.null(argument)) paste0(", or give ", argument, " ="), "."
    )
  }
  table$name <- names
  table
}

# Names that ranges have of their own, or NULL. A data frame that was given none has numbers.
names_of_ranges <- function(ranges) {
  if (methods::is(ranges, "GenomicRanges")) {
    return(names(ranges))
  }
  if (is.data.frame(ranges) && is.character(attr(ranges, "row.names"))) rownames(ranges)
}

# Ranges in the order of the peaks: by their names, where these are the peaks'; else, where the
# names of the peaks say the same ranges in another order, by these.
in_order_of <- function(table, own, names) {
  if (!is.null(own) && all(names %in% own)) {
    return(table[match(names, own), ])
  }
  said <- parse_ranges(names)
  if (nrow(table) != length(names) || anyNA(said$start)) {
    return(table)
  }
  key <- function(x) {
    paste(bare_chromosome(as.character(x$seqnames)), format_whole(x$start), format_whole(x$end))
  }
  at <- match(key(said), key(table))
  if (anyNA(at)) table else table[at, ]
}

# What the columns of ranges are called, in the tables of several packages.
range_columns <- list(
  seqnames = c("seqnames", "chr", "chrom", "chromosome", "seqname", "chromosome_name"),
  start = c("start", "bp1", "chromStart", "start_position"),
  end = c("end", "bp2", "chromEnd", "stop", "end_position")
)

# Any description of ranges as data frame of seqnames, start, end and what else is there.
as_ranges <- function(x, argument) {
  if (methods::is(x, "GRanges") || methods::is(x, "GenomicRanges")) {
    check_installed("GenomicRanges", argument)
    table <- as.data.frame(unname(x))
    table$seqnames <- as.character(table$seqnames)
    return(table)
  }
  if (is.character(x)) {
    return(parse_ranges(x))
  }
  if (is.data.frame(x)) {
    for (column in names(range_columns)) {
      there <- intersect(range_columns[[column]], names(x))
      if (length(there) == 0) {
        refuse(
          argument, " needs a column '", column, "' (seqnames, start, end); it has ",
          paste(names(x), collapse = ", "), "."
        )
      }
      names(x)[match(there[1], names(x))] <- column
    }
    x$seqnames <- as.character(x$seqnames)
    x$start <- as.numeric(x$start)
    x$end <- as.numeric(x$end)
    return(x)
  }
  refuse(
    argument, " must be a GRanges, a data frame with seqnames, start and end, or names such as ",
    "'chr1-100-200', not ", in_words(x), "."
  )
}

# Peaks of a SingleCellExperiment: its own rows or those of an alternative experiment.
sce_peaks <- function(object, assay, layer, reduction = NULL,
                      arguments = c(assay = "assay", layer = "layer")) {
  check_installed("SingleCellExperiment", "this object")
  if (is.null(assay)) assay <- fitted_names(object, reduction)$peaks
  names <- SingleCellExperiment::altExpNames(object)
  holds_peaks <- function(x) methods::is(row_ranges(x), "GRanges") || are_ranges(rownames(x))
  if (is.null(assay)) {
    candidates <- Filter(function(name) {
      holds_peaks(alt_exp(object, name))
    }, names)
    part <- if (holds_peaks(object)) {
      object
    } else {
      name <- only_candidate(
        NULL, candidates, c("the main experiment", names), "peak", arguments[["assay"]],
        "genomic ranges such as 'chr1-100-200'", "experiment"
      )
      alt_exp(object, name)
    }
  } else {
    check_string(assay, arguments[["assay"]])
    part <- if (assay %in% names) {
      alt_exp(object, assay)
    } else if (assay == names(experiments_of(object))[1]) {
      object
    } else {
      refuse(
        "the object has no experiment '", assay, "' (", arguments[["assay"]], "); its alternative ",
        "experiments are ", if (length(names) > 0) paste(names, collapse = ", ") else "none", "."
      )
    }
  }
  available <- SummarizedExperiment::assayNames(part)
  layer <- check_string(layer, arguments[["layer"]], optional = TRUE)
  if (is.null(layer)) layer <- if ("counts" %in% available) "counts" else available[1]
  check_assay_type(layer, available, "peaks", arguments[["layer"]])
  ranges <- row_ranges(part)
  values <- SummarizedExperiment::assay(part, layer)
  colnames(values) <- colnames(object)
  list(
    values = values, imputed = layer != "counts", layer = layer,
    ranges = if (methods::is(ranges, "GRanges")) ranges else ranges_table(NULL, rownames(part)),
    names = rownames(part)
  )
}

# NULL where the rows have no ranges: an empty GRangesList stands for "none".
# Among the assays of a SummarizedExperiment.
check_assay_type <- function(layer, available, what, argument) {
  if (is.null(layer) || !layer %in% available) {
    refuse(
      "the ", what, " have no assay '", layer, "' (", argument, "); ",
      if (length(available) > 0) paste0("they have ", paste(available, collapse = ", "), ".")
      else "give their assays names."
    )
  }
}

row_ranges <- function(x) {
  ranges <- tryCatch(SummarizedExperiment::rowRanges(x), error = function(e) NULL)
  if (methods::is(ranges, "GRanges") && length(ranges) == nrow(x)) ranges
}

# A matrix that can be multiplied: sparse as dgCMatrix, dense as it is.
as_values <- function(x, what) {
  if (is.data.frame(x)) x <- as.matrix(x)
  if (is.matrix(x)) {
    if (!is.numeric(x)) refuse(what, " must be numeric, not ", typeof(x), ".")
    return(x)
  }
  if (methods::is(x, "dgeMatrix")) {
    return(as.matrix(x))
  }
  as_dgc(x)
}
