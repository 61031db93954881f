# What R does for Python: one call from a file, its result into another. Run by rengine.py, in an R
# process of its own (Rscript bridge.R REQUEST RESULT FOLDER) or inside Python by rpy2.
#
# How objects of R are read and where results go is written once, in the R package (containers.R and
# what it names). Its files are beside this one, in `shared`, so that objects can be read where the
# package is not installed; where they are not, the installed package has them.

or_else <- function(x, y) if (is.null(x)) y else x

shared_files <- c(
  "checks", "modalities", "ranges", "matrices", "covariates", "containers", "levels",
  "container-seurat", "container-experiment", "container-multiassay", "links", "fits", "results"
)

share <- function(folder, room) {
  files <- file.path(folder, "shared", paste0(shared_files, ".R"))
  if (all(file.exists(files))) {
    for (file in files) sys.source(file, room)
  } else if (requireNamespace("scMVP", quietly = TRUE)) {
    for (name in ls(asNamespace("scMVP"))) assign(name, get(name, asNamespace("scMVP")), room)
  } else {
    stop("the files of the R package that Python shares are not in ", folder)
  }
  for (file in c("objects-in.R", "objects-out.R")) sys.source(file.path(folder, file), room)
}

# scmvp_folder: where rpy2 has put it, in whose R there are no such arguments
if (!exists("scmvp_folder")) scmvp_folder <- commandArgs(trailingOnly = TRUE)[3]
share(scmvp_folder, environment())

# The refusals of the shared files, without rlang.
refuse <- function(..., class = "input", details = NULL) {
  stop(structure(
    class = c(paste0("scmvp_error_", class), "scmvp_error", "error", "condition"),
    list(message = sentence_of(...), call = NULL)
  ))
}

# What is told once the work is done.
note <- function(...) {
  warning(structure(
    class = c("scmvp_warning", "warning", "condition"),
    list(message = sentence_of(...), call = NULL)
  ))
}

warn_of <- function(kind, ...) note(...)

quoted <- function(x, shown = 5) if (length(x) == 0) "none" else some_names(x, shown)

needs <- function(package, at_least = NULL) {
  remedy <- switch(package,
    scMVP = "in a terminal, in the folder of scMVP, run R CMD INSTALL .",
    SeuratObject = "install it in R: install.packages(\"SeuratObject\")",
    paste0("install it in R: BiocManager::install(\"", package, "\")")
  )
  if (!requireNamespace(package, quietly = TRUE)) {
    refuse(
      "the R package ", package, " is needed, which ", R.version.string, " (", R.home(), ") does ",
      "not find in ", quoted(.libPaths()), "; ", remedy,
      class = "package"
    )
  }
  if (!is.null(at_least) && utils::packageVersion(package) < at_least) {
    refuse(
      "the R package ", package, " is version ", format(utils::packageVersion(package)),
      ", and at least ", at_least, " is needed; ", remedy,
      class = "package"
    )
  }
  function(name) getExportedValue(package, name)
}

installed <- function(package) requireNamespace(package, quietly = TRUE)

# ---- functions of the R package scMVP ------------------------------------------------------------

# Sentences of R name its arguments: as they are called in Python.
spelled <- new.env()

in_python <- function(sentence) {
  for (name in spelled$dotted) {
    ours <- if (name == "gene.coords") "gene_coordinates" else gsub(".", "_", name, fixed = TRUE)
    pattern <- paste0("(^|[^A-Za-z.])", gsub(".", "[.]", name, fixed = TRUE), "($|[^A-Za-z])")
    sentence <- gsub(pattern, paste0("\\1", ours, "\\2"), sentence)
  }
  sentence <- sub("^lambda must", "lambda_ must", sentence)
  # Python's sentences about a file or an argument have no full stop; 'R CMD INSTALL .' stays
  sub("([^ ])[.]$", "\\1", gsub("([a-z_]) =([.,;)]|$)", "\\1\\2", sentence))
}

# Calls an exported function with arguments named in snake_case; what it has no argument for is
# refused with the names it has.
call_scmvp <- function(name, arguments, options) {
  verb <- needs("scMVP", at_least = "0.1.0")(name)
  in_r <- setdiff(names(formals(verb)), of_objects)
  known <- setdiff(in_r, names(arguments))
  if (name == "RunCicero") {
    earlier <- getFromNamespace("cicero_names", "scMVP")
    known <- c(known, names(earlier)[!earlier %in% names(arguments)])
  }
  snake <- gsub(".", "_", known, fixed = TRUE)
  shown <- sub("^lambda$", "lambda_", snake) # a word of Python
  unknown <- setdiff(names(options), snake)
  if (length(unknown) > 0) {
    refuse(
      name, "() has no argument ", quoted(unknown), "; its arguments are ",
      paste(shown, collapse = ", ")
    )
  }
  names(options) <- known[match(names(options), snake)]
  spelled$dotted <- grep(".", union(known, in_r), fixed = TRUE, value = TRUE)
  do.call(verb, c(arguments, options))
}

# Arguments for objects of R, which Python does not send.
of_objects <- c(
  "object", "...", "BPPARAM", "assay", "layer", "reduction", "dims", "as", "rna.assay",
  "peak.assay", "rna.layer", "peak.layer"
)

as_frame_and_attributes <- function(table, attributes) {
  text <- vapply(table, is.character, NA)
  # names of peaks repeat many times: as factors they cross once
  table[text] <- lapply(table[text], function(x) factor(x, levels = unique(x)))
  rownames(table) <- NULL
  list(table = as.data.frame(table), attributes = attributes)
}

call_aggregate <- function(coordinates, cells, options) {
  dimnames(coordinates) <- list(cells, NULL)
  list(groups = call_scmvp("AggregateCells", list(coordinates), options))
}

call_cicero <- function(values, ranges, coordinates, groups, options) {
  arguments <- list(values, ranges = ranges, coordinates = coordinates, groups = groups)
  if (!is.null(coordinates)) rownames(arguments$coordinates) <- colnames(values)
  connections <- call_scmvp("RunCicero", arguments, options)
  as_frame_and_attributes(connections, list(
    distance_parameter = attr(connections, "distance_parameter"),
    groups = attr(connections, "groups")
  ))
}

call_ccans <- function(connections, options) {
  connections$Peak1 <- as.character(connections$Peak1)
  connections$Peak2 <- as.character(connections$Peak2)
  ccans <- call_scmvp("FindCCANs", list(connections), options)
  as_frame_and_attributes(ccans, list(cutoff = attr(ccans, "cutoff")))
}

call_lasso <- function(rna, peaks, ranges, gene_coords, coordinates, groups, options) {
  arguments <- list(rna, peaks = peaks, ranges = ranges, gene.coords = gene_coords,
    coordinates = coordinates, groups = groups)
  if (!is.null(coordinates)) rownames(arguments$coordinates) <- colnames(rna)
  links <- call_scmvp("LinkPeaksLASSO", arguments, options)
  as_frame_and_attributes(links, list(genes = attr(links, "genes")))
}

# ---- one call ------------------------------------------------------------------------------------

# Names beyond ASCII need a locale that has them, which the R inside Python may not have.
with_utf8 <- function(f) {
  before <- Sys.getlocale("LC_CTYPE")
  on.exit(Sys.setlocale("LC_CTYPE", before))
  for (locale in c("C.UTF-8", "en_US.UTF-8")) {
    if (!l10n_info()[["UTF-8"]]) suppressWarnings(Sys.setlocale("LC_CTYPE", locale))
  }
  f()
}

answer <- function(request, result) with_utf8(function() answer_in_utf8(request, result))

answer_in_utf8 <- function(request, result) {
  warnings <- character()
  asked <- list(verb = "")
  outcome <- tryCatch(
    withCallingHandlers(
      {
        if (getRversion() < "4.2") {
          refuse(R.version.string, " is too old: R 4.2 or later is needed", class = "package")
        }
        requireNamespace("Matrix", quietly = TRUE)
        asked <- readRDS(request)
        verb <- get(paste0("call_", asked$verb), mode = "function")
        list(value = do.call(verb, asked$arguments))
      },
      message = function(m) {
        # nothing about the loading of packages
        if (!inherits(m, "packageStartupMessage")) {
          cat(conditionMessage(m), file = stderr(), sep = "")
        }
        invokeRestart("muffleMessage")
      },
      warning = function(w) {
        # suppress warnings about objects, such as classes without their package or renamed keys,
        # which are not relevant when reading a file
        told <- inherits(w, "scmvp_warning") || !asked$verb %in% c("read", "write", "add")
        if (told) warnings <<- c(warnings, conditionMessage(w))
        invokeRestart("muffleWarning")
      }
    ),
    error = function(e) {
      where <- if (!inherits(e, "scmvp_error") && !is.null(conditionCall(e))) {
        deparse(conditionCall(e))[1]
      }
      list(error = paste(c(conditionMessage(e), where), collapse = ", in "), class = class(e))
    }
  )
  outcome$warnings <- enc2utf8(in_python(unique(warnings)))
  if (!is.null(outcome$error)) outcome$error <- enc2utf8(in_python(outcome$error))
  connection <- file(result, "wb")
  on.exit(close(connection))
  serialize(outcome, connection, version = 2, xdr = FALSE)
  invisible(NULL)
}

# As in a package, functions of base come before those of packages that an object brings with it:
# generics of BiocGenerics, such as Filter(), would put their own words around a refusal.
like_a_package <- function(here) {
  inside <- list2env(as.list(here), parent = .BaseNamespaceEnv)
  for (name in ls(inside)) {
    if (is.function(inside[[name]]) && identical(environment(inside[[name]]), here)) {
      environment(inside[[name]]) <- inside
    }
  }
  inside
}

if (exists("scmvp_inside")) {
  like_a_package(environment())$answer
} else {
  paths <- commandArgs(trailingOnly = TRUE)
  like_a_package(environment())$answer(paths[1], paths[2])
}
