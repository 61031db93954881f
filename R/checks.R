# Argument checks and error messages: one sentence that says what is wrong, where, and what to do.
# Errors are conditions of class `scmvp_error` and one of these:
#   scmvp_error_input   an argument or the data
#   scmvp_error_memory  a result larger than max.gb
#   scmvp_error_model   a stored model is missing or cannot be read
#   scmvp_error_python  Python or one of its modules is missing or cannot be used
#   scmvp_error_file    a file cannot be written or read
#   scmvp_error_core    the Python core failed unexpectedly
#   scmvp_error_package an R package is missing
#   scmvp_error_worker  a worker process died

# Pastes a sentence together. Numbers have a decimal point regardless of options(OutDec), which
# paste() and format() would use.
sentence_of <- function(...) {
  old <- options(OutDec = ".")
  on.exit(options(old))
  paste0(...)
}

# `details`: the condition or traceback behind it, kept in the condition but not shown.
refuse <- function(..., class = "input", details = NULL) {
  rlang::abort(
    sentence_of(...),
    class = c(paste0("scmvp_error_", class), "scmvp_error"), call = NULL, details = details
  )
}

# A warning in the same voice, of class scmvp_warning_<kind>.
warn_of <- function(kind, ...) {
  rlang::warn(sentence_of(...), class = c(paste0("scmvp_warning_", kind), "scmvp_warning"))
}

# 'a', 'b', 'c' and 7 more
some_names <- function(x, shown = 3) {
  text <- paste0("'", utils::head(x, shown), "'", collapse = ", ")
  more <- length(x) - shown
  if (more > 0) paste0(text, " and ", format_count(more), " more") else text
}

format_count <- function(n) {
  format(n, big.mark = ",", decimal.mark = ".", scientific = FALSE, trim = TRUE)
}

count_of <- function(n, word) {
  paste0(format_count(n), " ", word, if (n != 1) "s")
}

# The verb form for a count: 1 gene is, 2 genes are; 1 gene lies, 2 genes lie.
one_or_many <- function(n, one, many) if (n == 1) one else many
is_are <- function(n) one_or_many(n, "is", "are")

check_number <- function(x, name, min = -Inf, whole = FALSE, above = FALSE, optional = FALSE) {
  if (optional && is.null(x)) {
    return(NULL)
  }
  if (!is_number(x, min, whole, above)) {
    refuse(
      name, " must be ", if (whole) "a whole number" else "a number",
      if (is.finite(min)) paste0(if (above) " above " else " of at least ", min),
      if (whole && is_too_large(x)) paste0(" and at most ", .Machine$integer.max),
      if (optional) " or NULL", ", not ", in_words(x), "."
    )
  }
  if (whole) as.integer(x) else as.numeric(x)
}

is_too_large <- function(x) is.numeric(x) && length(x) == 1 && isTRUE(x > .Machine$integer.max)

is_number <- function(x, min, whole, above) {
  if (!is.numeric(x) || length(x) != 1 || !is.finite(x)) {
    return(FALSE)
  }
  in_range <- if (above) x > min else x >= min
  in_range && (!whole || (x == round(x) && abs(x) <= .Machine$integer.max))
}

check_flag <- function(x, name) {
  if (!isTRUE(x) && !isFALSE(x)) refuse(name, " must be TRUE or FALSE, not ", in_words(x), ".")
  x
}

# A name that no container changes.
check_column_name <- function(x, name, optional = FALSE) {
  x <- check_string(x, name, optional)
  if (!is.null(x) && make.names(x) != x) {
    refuse(
      name, " must be a valid R name (letters, digits, '.' and '_'), not ", in_words(x), "."
    )
  }
  x
}

check_string <- function(x, name, optional = FALSE) {
  if (optional && is.null(x)) {
    return(NULL)
  }
  if (!is.character(x) || length(x) != 1 || is.na(x) || !nzchar(x)) {
    refuse(name, " must be one non-empty string, not ", in_words(x), ".")
  }
  x
}

# The one value meant by `x`; `x` is the whole of `choices` when the user gave nothing.
check_choice <- function(x, choices, name) {
  if (identical(x, choices)) {
    return(choices[1])
  }
  if (!is.character(x) || length(x) != 1 || !x %in% choices) {
    refuse(
      name, " must be one of ", paste0("\"", choices, "\"", collapse = ", "), ", not ",
      in_words(x), "."
    )
  }
  x
}

is_plain_value <- function(x) {
  is.atomic(x) && length(x) == 1 && !is.object(x) && is.null(dim(x))
}

# A plain value as it is written in R; of anything else (factors and dates too) the class.
in_words <- function(x) {
  if (is.null(x)) {
    return("NULL")
  }
  if (is_plain_value(x)) {
    return(if (is.character(x) && !is.na(x)) paste0("\"", x, "\"") else format(x))
  }
  paste0(
    if (length(x) == 1) "" else paste0(format_count(length(x)), " values of "), "class ",
    class(x)[1], if (is.atomic(x) && anyNA(x)) " with NA"
  )
}

# Names that are wrong, or what there is in the place of names.
names_in_words <- function(x) {
  if (is.character(x) && length(x) > 0 && !anyNA(x)) some_names(x) else in_words(x)
}

# Of the arguments in `...` of a verb, those under earlier names (the names of `earlier`) go into
# its frame under the names they have now, with a message each. The others are returned.
take_earlier_names <- function(given, earlier, taker, call, frame) {
  old <- intersect(names(given), names(earlier))
  twice <- old[earlier[old] %in% names(call)]
  if (length(twice) > 0) {
    refuse("give either ", twice[1], " or ", earlier[[twice[1]]], ", its present name, not both.")
  }
  for (name in old) {
    message(
      name, " of ", taker, " is now called ", earlier[[name]],
      if (name == "silent") ", which is its opposite"
    )
    value <- given[[name]]
    assign(
      earlier[[name]], if (name == "silent") !check_flag(value, "silent") else value,
      envir = frame
    )
  }
  if (is.null(names(given))) given else given[!names(given) %in% old]
}

# A call with earlier names of arguments as their present ones.
with_present_names <- function(call, earlier) {
  old <- names(call) %in% names(earlier)
  names(call)[old] <- earlier[names(call)[old]]
  call
}

# Arguments that ended up in `...`: most often a misspelled name, so the nearest real one is shown.
refuse_dots <- function(arguments, known) {
  given <- names(arguments)
  if (length(arguments) == 0) {
    # R matches argument names partially: a misspelled name must not match another argument
    taken <- c(names(formals(sys.function(-1))), names(eval.parent(quote(list(...)))))
    given <- setdiff(names(sys.call(-1)), c("", taken))
    if (length(given) == 0) {
      return(invisible())
    }
  }
  named <- given[nzchar(given)]
  if (length(named) == 0) {
    refuse(
      count_of(length(arguments), "unnamed argument"), " too many: give the arguments by their ",
      "names."
    )
  }
  distance <- utils::adist(named[1], known, ignore.case = TRUE)
  near <- known[which.min(distance)]
  hint <- if (min(distance) <= max(2, nchar(near) / 3)) {
    paste0("; did you mean ", near, "?")
  } else {
    paste0("; the arguments are ", paste(known, collapse = ", "), ".")
  }
  refuse("unknown argument ", some_names(named), hint)
}

# Names asked for, all of which must be among those available.
check_names_known <- function(wanted, available, argument, where, remedy = "check the spelling") {
  if (!is.character(wanted) || length(wanted) == 0 || anyNA(wanted)) {
    refuse(argument, " must be a character vector of names, not ", in_words(wanted), ".")
  }
  wanted <- unique(wanted)
  unknown <- setdiff(wanted, available)
  if (length(unknown) > 0) {
    refuse(
      argument, ": ", format_count(length(unknown)), " of ", count_of(length(wanted), "name"), " ",
      is_are(length(unknown)), " not ", where, " (", some_names(unknown), "); ", remedy, "."
    )
  }
  wanted
}

# Dense results live in R as 8-byte numbers; the estimate is made before anything is computed.
check_memory <- function(n_features, n_cells, max.gb, what, remedy) {
  gb <- sum(as.numeric(n_features)) * n_cells * 8 / 1e9
  if (gb > max.gb) {
    refuse(
      what, " would take ", format(gb, digits = 2), " GB (",
      features_by_cells(sum(n_features), n_cells), ", dense), more than max.gb = ", max.gb, ": ",
      remedy, ", or raise max.gb.",
      class = "memory"
    )
  }
  invisible(gb)
}

features_by_cells <- function(n_features, n_cells) {
  paste(count_of(n_features, "feature"), "x", count_of(n_cells, "cell"))
}

# Features x cells matrices of the same cells by kind; the cells of the later ones are put in the
# order of the first. `mosaic`: NULL where the caller has no such argument.
check_matrices <- function(counts, mosaic = NULL) {
  for (kind in names(counts)) {
    what <- features_of_kind(kind)
    check_matrix_names(counts[[kind]], paste("the matrix of", what), what)
  }
  for (kind in names(counts)[-1]) {
    counts[[kind]] <- match_matrix(counts[[1]], counts[[kind]], names(counts)[1], kind, mosaic)
  }
  counts
}

# A matrix with its cells in the order of another one of the same cells.
match_matrix <- function(one, other, one_kind, other_kind, mosaic) {
  cells <- colnames(one)
  whose <- features_of_kind(c(one_kind, other_kind))
  if (!any(cells %in% colnames(other))) {
    swapped <- any(rownames(one) %in% rownames(other))
    refuse(
      "the matrices of ", in_a_row(whose), " have no cells in common (", whose[1], ": ",
      some_names(cells), "; ", whose[2], ": ", some_names(colnames(other)), "); ",
      if (swapped) "their rows have: give both as features x cells, with Matrix::t()."
      else "give both the same cell names as column names."
    )
  }
  if (isTRUE(mosaic)) {
    return(other)
  }
  only <- list(setdiff(cells, colnames(other)), setdiff(colnames(other), cells))
  alone <- lengths(only) > 0
  if (any(alone)) {
    parts <- mapply(
      function(x, name) {
        paste0(format_count(length(x)), " only in the matrix of ", name, " (", some_names(x), ")")
      },
      only[alone], whose[alone]
    )
    refuse(
      "the matrices of ", in_a_row(whose), " do not hold the same cells: ",
      paste(parts, collapse = " and "), "; keep the ",
      count_of(length(intersect(cells, colnames(other))), "shared cell"),
      " in both", if (!is.null(mosaic)) ", or use all cells with mosaic = TRUE", "."
    )
  }
  if (identical(colnames(other), cells)) other else other[, cells, drop = FALSE]
}

# Features x cells, with names of both. `where`: "the matrix of genes".
check_matrix_names <- function(x, where, features) {
  refuse_names_in_column(x, where)
  if (is.null(names_of_rows(x)) || is.null(colnames(x))) {
    refuse(where, " needs row names (", features, ") and column names (cells).")
  }
  check_cell_names(colnames(x), paste("of", where))
  check_feature_names(rownames(x), paste("names of", features))
}

# Feature names. Peak names are genomic ranges, so duplicates must not be numbered.
check_feature_names <- function(x, what) {
  unnamed <- which(is.na(x) | x == "")
  if (length(unnamed) > 0) {
    refuse(
      "some ", what, " are NA or empty (the first in row ", format_count(unnamed[1]), "): give ",
      "each feature a name, or leave these out, e.g. with x[!rownames(x) %in% c(NA, \"\"), ]."
    )
  }
  repeated <- unique(x[duplicated(x)])
  if (length(repeated) > 0) {
    refuse(
      "duplicated ", what, ": ", some_names(repeated), "; ",
      if (are_ranges(x)) "keep each range once, e.g. with x[!duplicated(rownames(x)), ]."
      else "make them unique, e.g. with make.unique()."
    )
  }
}

# Cells are matched by name, so that numbers in the order of one matrix could mean other cells in
# the other.
check_cell_names <- function(x, where) {
  unnamed <- which(is.na(x) | x == "")
  if (length(unnamed) > 0) {
    refuse(
      "some cell names ", where, " are NA or empty (the first in column ",
      format_count(unnamed[1]), "): give each cell a unique name."
    )
  }
  repeated <- unique(x[duplicated(x)])
  if (length(repeated) > 0) {
    refuse(
      "duplicated cell names ", where, ": ", some_names(repeated), "; give each cell a name of ",
      "its own, e.g. with its sample in front."
    )
  }
}

# A package that only some functions need.
check_installed <- function(package, needed_for) {
  if (requireNamespace(package, quietly = TRUE)) {
    return(invisible())
  }
  bioconductor <- package %in% c(
    "BiocParallel", "cicero", "DelayedArray", "DESeq2", "destiny", "edgeR", "ensembldb",
    "GenomicFeatures", "GenomicRanges", "HDF5Array", "InteractionSet", "IRanges", "monocle",
    "rtracklayer", "SingleCellExperiment", "SummarizedExperiment"
  )
  refuse(
    needed_for, " needs the package ", package, ": ",
    if (bioconductor && !nzchar(system.file(package = "BiocManager"))) {
      "install.packages(\"BiocManager\"); "
    },
    if (bioconductor) "BiocManager::install" else "install.packages", "(\"", package, "\").",
    class = "package"
  )
}

# A function of a Bioconductor package: these are suggested, not imported.
bioc <- function(package, name) getExportedValue(package, name)
