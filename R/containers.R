# What scMVP asks of an object that holds cells, whatever its class. A class is one file of methods
# for the generics below (container-*.R); every verb is one function on top of them.
#
#   about         words for messages, arguments it takes, names in use
#   parts_of      counts: its assays or experiments, each a part (see new_part())
#   cell_data     metadata of the cells, one row each
#   values_at     values of the cells that were given without their names, in the order of a part
#   latent_of     a reduction, cells x dimensions
#   fits_of       records of the fits it holds (see fit_record()), by the name of their reduction
#   put_results   the object with new reductions, columns and imputed values
#
# `home` is the part whose cells are those of the results: it matters where each part has cells of
# its own (MultiAssayExperiment), and only such a class has methods of home_of() and values_at().

# A list of class, part, rna, peaks, protein, methylation, data, takes, main, reductions, others,
# keys, default, on_disk: what the class and its parts are called ("assay"), the arguments that name
# its parts with RNA, peaks and proteins (for methylation, under which name a fit records it), what
# its cell metadata is called, which of class_arguments it takes, its main part, names in use, and
# whether it can hold values on disk (where not, FALSE).
about <- function(object) UseMethod("about")

# Named list of parts. `peaks`: a part given beside the object. `assay.type`: which assay of an
# experiment holds counts; `fitted`: it is that of a fit, which nobody has named now.
parts_of <- function(object, peaks = NULL, assay.type = "counts", fitted = FALSE) {
  UseMethod("parts_of")
}

# Data frame or DataFrame with names of cells as row names; NULL where there is none.
cell_data <- function(object, home = NULL) UseMethod("cell_data")

# `values`: a vector or table of the cells, or what says which, such as the name of a column; with
# names it stays as it is. `argument`: that gives it.
values_at <- function(object, values, home, argument) UseMethod("values_at")

#' @export
values_at.default <- function(object, values, home, argument) values

latent_of <- function(object, reduction) UseMethod("latent_of")

# `keep`: of all records of reductions.
fits_of <- function(object, keep = only_records) UseMethod("fits_of")

# `results`: what new_results() makes.
put_results <- function(object, results) UseMethod("put_results")

#' @export
fits_of.default <- function(object, keep = only_records) NULL

# The part whose cells have a reduction; NULL where all parts have the same cells.
home_of <- function(object, reduction) UseMethod("home_of")

#' @export
home_of.default <- function(object, reduction) NULL

# Whether scMVP knows the class of an object.
is_container <- function(object) !is.null(fits_of(object))

# Arguments that only some classes take.
class_arguments <- c(
  "peaks", "proteins", "methylation", "rna", "rna.assay", "peak.assay", "protein.assay",
  "rna.experiment", "peak.experiment", "protein.experiment", "assay.type", "reduction.name",
  "reduction.key", "assay", "experiment", "reduction", "assay.name"
)

# Those of `arguments` that a call gives. `frame`: of the verb that was called.
given_in <- function(call, frame, arguments) {
  Filter(function(name) !is.null(frame[[name]]), intersect(names(call), arguments))
}

refuse_other_class <- function(object, call, frame) {
  words <- about(object)
  foreign <- setdiff(given_in(call, frame, class_arguments), words$takes)
  if (length(foreign) > 0) {
    names_parts <- words$part != "matrix" && grepl("assay|experiment|peaks|proteins", foreign[1])
    one <- foreign[1] %in% c("assay", "experiment")
    refuse(
      foreign[1], " is not for ", words$class, ": ",
      if (names_parts && one) {
        paste0(
          "name its ", words$part, " with ", setdiff(c("assay", "experiment"), foreign[1]), "."
        )
      } else if (names_parts && grepl("protein", foreign[1])) {
        paste0("name its ", words$part, " of proteins with ", words$protein, ".")
      } else if (names_parts) {
        paste0("name its ", words$part, "s with ", words$rna, " and ", words$peaks, ".")
      } else {
        "leave it out."
      }
    )
  }
}

# Arguments of a call that only say something of an object, where a matrix was given.
refuse_for_matrix <- function(object, call, frame, only_objects) {
  if (is_container(object)) {
    return(invisible())
  }
  refuse_unused(call, frame, only_objects, "an object, not for a matrix")
}

# Arguments that a call gives and that change nothing there; `for_what`: where they would.
refuse_unused <- function(call, frame, arguments, for_what) {
  given <- given_in(call, frame, arguments)
  if (length(given) > 0) refuse(given[1], " is for ", for_what, ": leave it out.")
}

# Peaks beside an object.
check_peaks_beside <- function(peaks) {
  if (!inherits(peaks, "SummarizedExperiment") && !is_matrix_like(peaks)) {
    refuse(
      "peaks must be a SingleCellExperiment, a SummarizedExperiment or a matrix of counts, not ",
      in_words(peaks), "."
    )
  }
  if (is_matrix_like(peaks)) check_matrix_names(peaks, "peaks", "peaks")
}

# ---- parts ---------------------------------------------------------------------------------------

# One assay, experiment or matrix of an object. Nothing of it is computed before it is asked for: to
# read the names of 100,000 peaks as ranges takes a second.
#   name, features
#   has_counts   whether there are raw counts
#   kind         one of all_kinds, or "other": values that are modelled as none (SCT)
#   own          whether scMVP imputed it; `mark` says how (see request_mark())
#   empty        whether all counts are 0, as merge() of Seurat 4 makes them of an assay that has
#                none (imputed, motifs), whose mark it drops
#   counts       function(home, mosaic): features x cells of the object, dgCMatrix; with mosaic,
#                cells that the part lacks have none
#   layers       function(): names of what `values` takes
#   values       function(layer, argument, home): list(values, layer, imputed)
#   table        function(): metadata of the features, one row each
#   imputed      function(): imputed values of an own part
#   ranges       function(): GRanges of the features, or NULL
#   annotation   function(): GRanges of genes kept with it, or NULL
#   variable     function(): names of its variable features
#   source       the assay or experiment itself
#   beside       whether it was given beside the object, which does not hold it
new_part <- function(name, features, kind, has_counts = TRUE, own = FALSE, mark = NULL, counts,
                     layers = function() "counts", values = NULL,
                     table = function() data.frame(row.names = features), imputed = NULL,
                     ranges = function() NULL, annotation = function() NULL,
                     variable = function() NULL, source = NULL, beside = FALSE,
                     empty = FALSE) {
  environment()
}

# `name`: of the assay or experiment, which says whether it has proteins.
kind_of <- function(features, name = NULL) {
  if (are_ranges(features)) {
    return("peaks")
  }
  # the names that the core knows, and no more
  proteins <- c(
    "protein", "proteins", "prot", "adt", "adts", "antibody", "antibodies", "antibodycapture",
    "surfaceprotein", "surfaceproteins"
  )
  named <- !is.null(name) && gsub("[^a-z]", "", tolower(name)) %in% proteins
  if (named) "protein" else "rna"
}

# The parts of the wanted kinds by kind, NULL for none: those named, else the only candidate of each
# kind; of several, one that a fit was made on (`known`). `needed`: kinds that must be there.
# `also`: what else can be done where one is not.
find_parts <- function(parts, words, given, wanted = c("rna", "peaks"), needed = wanted,
                       known = character(), also = NULL) {
  for (kind in all_kinds) check_part(parts, given[[kind]], words[[kind]], words, kind)
  refuse_named_twice(given, words)
  by_kind(all_kinds, function(kind) {
    if (!kind %in% wanted) {
      return(NULL)
    }
    if (!is.null(given[[kind]])) {
      return(parts[[given[[kind]]]])
    }
    find_candidate(parts, words, kind, unlist(given), kind %in% needed, known, also)
  })
}

refuse_named_twice <- function(given, words) {
  named <- unlist(given[all_kinds])
  twice <- named[duplicated(named)]
  if (length(twice) > 0) {
    arguments <- unlist(words[names(named)[named == twice[1]]])
    refuse(
      arguments[1], " and ", arguments[2], " are both '", twice[1], "': name two different ",
      words$part, "s."
    )
  }
}

# The only measured part of a kind beside those `taken`; NULL without one that is not `needed`.
find_candidate <- function(parts, words, kind, taken, needed, known, also = NULL) {
  usable <- candidates_of(parts, kind, taken)
  if (length(usable) > 1 && any(known %in% usable)) usable <- intersect(known, usable)[1]
  if (length(usable) == 0 && !needed) {
    return(NULL)
  }
  if (length(usable) == 0) refuse_peaks_without_ranges(parts, words, kind, taken)
  parts[[only_candidate(
    usable, setdiff(names(parts), taken), of_kind(kind, "label"), words[[kind]],
    paste("raw counts of", of_kind(kind, "needed")), words$part, also
  )]]
}

# Of no use as peaks where it is the only part of the kind that is searched.
refuse_peaks_without_ranges <- function(parts, words, kind, taken) {
  named <- taken[names(taken) == "peaks"]
  if (length(named) == 1 && parts[[named]]$kind == kind) {
    refuse(
      words$part, " '", named, "' (", words$peaks, ") holds no genomic ranges, and no other ",
      words$part, " holds ", features_of_kind(kind), ": name the ", words$part, " with peaks."
    )
  }
}

# Names of measured parts of a kind.
candidates_of <- function(parts, kind, taken = character()) {
  usable <- Filter(function(part) {
    !part$own && part$has_counts && part$kind == kind
  }, parts[setdiff(names(parts), taken)])
  counted <- Filter(function(part) !part$empty, usable)
  names(if (length(counted) > 0) counted else usable)
}

only_candidate <- function(candidates, searched, what, argument, needed, part = "assay",
                           also = NULL) {
  if (length(candidates) == 0) {
    refuse(
      "no ", what, " ", part, " found: ", needed, " are in none of the ", part, "s searched (",
      if (length(searched) > 0) paste(searched, collapse = ", ") else "there is no other",
      "); add such an ", part, ", or name it with ", argument, " =", also, "."
    )
  }
  if (length(candidates) > 1) {
    refuse(
      length(candidates), " ", part, "s could be the ", what, " ", part, " (",
      paste(candidates, collapse = ", "), "): name one with ", argument, " =."
    )
  }
  candidates
}

check_part <- function(parts, name, argument, words, kind) {
  name <- check_string(name, argument, optional = TRUE)
  if (is.null(name)) {
    return(invisible())
  }
  check_part_name(parts, name, argument, words)
  if (!parts[[name]]$has_counts || parts[[name]]$empty) {
    refuse(words$part, " '", name, "' (", argument, ") has no counts: scMVP needs raw counts.")
  }
  if (kind != "peaks" && parts[[name]]$kind == "peaks") {
    refuse(
      words$part, " '", name, "' (", argument, ") holds genomic ranges: name the ", words$part,
      " with ", features_of_kind(kind), "."
    )
  }
}

check_part_name <- function(parts, name, argument, words) {
  if (!name %in% names(parts)) {
    refuse(
      "the object has no ", words$part, " '", name, "' (", argument, "); its ", words$part,
      "s are ", paste(names(parts), collapse = ", "), "."
    )
  }
}

# The argument that names one part of an object.
part_argument <- function(words) if (words$part == "assay") "assay" else "experiment"

# A part with raw counts that were measured.
check_counted <- function(part, words, argument) {
  if (!part$has_counts || part$own) {
    refuse(
      words$part, " '", part$name, "' has no raw counts: choose one that has them with ", argument,
      " =."
    )
  }
  part
}

refuse_no_counts <- function(object) {
  refuse(
    "object must be a Seurat object, a SingleCellExperiment, a MultiAssayExperiment or a matrix ",
    "of counts (features x cells), not class ", class(object)[1], "."
  )
}

# `values`: as as_values() gives them.
are_whole <- function(values) {
  x <- if (is.matrix(values)) values else values@x
  isTRUE(all(x == trunc(x)))
}

# `counts`: dgCMatrix.
check_raw_counts <- function(counts) {
  if (!all(is.finite(counts@x) & counts@x >= 0) || !are_whole(counts)) {
    refuse("the counts are negative or not whole numbers: give raw counts.")
  }
}

# Where the features of a part are said to be.
in_part <- function(part, words) paste0("in ", words$part, " '", part$name, "'")

# ---- peaks and genes for the analyses of regulation ----------------------------------------------

# The part with peaks: the one named (scMVP's imputed ones too), else that of the fit, else the only
# measured one.
find_peak_part <- function(object, parts, name, argument = "assay", reduction = NULL) {
  name <- check_string(name, argument, optional = TRUE)
  words <- about(object)
  refuse_without_counts(words)
  if (is.null(name)) {
    fitted <- fitted_names(object, reduction, parts)$peaks
    if (!is.null(fitted) && parts[[fitted]]$kind == "peaks") {
      return(parts[[fitted]])
    }
    usable <- names(Filter(function(part) !part$own && part$kind == "peaks", parts))
    return(parts[[only_candidate(
      usable, names(parts), "peak", argument, "genomic ranges such as 'chr1-100-200'", words$part
    )]])
  }
  check_part_name(parts, name, argument, words)
  if (parts[[name]]$kind != "peaks") {
    refuse(
      words$part, " '", name, "' (", argument, ") does not hold peaks: its features (",
      some_names(parts[[name]]$features), ") are not genomic ranges."
    )
  }
  parts[[name]]
}

refuse_without_counts <- function(words) {
  if (words$part == "matrix") {
    refuse(words$class, " holds no counts: give the matrix of counts itself.")
  }
}

find_rna_part <- function(object, parts, name, argument, reduction) {
  name <- check_string(name, argument, optional = TRUE)
  if (!is.null(name)) {
    check_part_name(parts, name, argument, about(object))
    return(parts[[name]])
  }
  fitted <- fitted_names(object, reduction, parts)$rna
  if (!is.null(fitted) && parts[[fitted]]$has_counts) {
    return(parts[[fitted]])
  }
  words <- about(object)
  usable <- candidates_of(parts, "rna")
  # genes are the main experiment, unless that is the peaks
  if (words$part == "experiment" && any(words$main %in% usable)) usable <- words$main
  parts[[only_candidate(
    usable, names(parts), "RNA", argument, "raw counts of genes", words$part
  )]]
}

# The part with proteins: the one named, else that of the fit, else the only candidate.
find_protein_part <- function(object, parts, name, argument) {
  if (is.null(name)) name <- fitted_names(object, NULL, parts)$protein
  if (!is.null(name)) {
    return(parts[[name]])
  }
  words <- utils::modifyList(about(object), list(protein = argument))
  find_candidate(parts, words, "protein", NULL, TRUE, character())
}

# ---- reductions ----------------------------------------------------------------------------------

# Coordinates of cells: those of a matrix, or a reduction of an object. `role`: of reduction_role().
coordinates_of <- function(object, reduction, dims, taker, role = reduction_role()) {
  if (!is_container(object)) {
    return(check_coordinates(object, taker))
  }
  check_string(reduction, role$argument)
  check_reduction(object, reduction, role)
  warn_lost_model(object, reduction)
  refuse_joined_fits(object, reduction)
  chosen_dims(latent_of(object, reduction), dims, reduction)
}

# Whose reduction it is, the argument that names it, and how it is made.
reduction_role <- function(whose = "object", argument = "reduction",
                           maker = "run RunSCMVP() first") {
  list(whose = whose, argument = argument, maker = maker)
}

check_reduction <- function(object, reduction, role, class = "input") {
  available <- about(object)$reductions
  if (!reduction %in% available) {
    refuse(
      "the ", role$whose, " has no reduction '", reduction, "' (reductions: ",
      if (length(available) > 0) paste(available, collapse = ", ") else "none", ")",
      why_lost(object, reduction), ": ", role$maker, ", or name another with ", role$argument,
      " =.",
      class = class
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
