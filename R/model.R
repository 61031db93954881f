# A fitted model between sessions: the two files of the Python core (JSON and safetensors: neither
# can hold code), as raw bytes inside an R object or as a folder beside it. Python objects
# themselves do not survive readRDS().

model_files <- c(json = "model.json", weights = "weights.safetensors")

# `digest`: of the weights in the folder `path`, by which another model there is recognized.
new_model <- function(json = NULL, weights = NULL, path = NULL, digest = NULL) {
  structure(
    c(list(json = json, weights = weights, path = path), if (!is.null(path)) list(digest = digest)),
    class = "scMVPModel"
  )
}

# ---- out of Python -------------------------------------------------------------------------------

check_model_file <- function(path, argument = "model.file") {
  path <- check_string(path, argument, optional = TRUE)
  if (is.null(path)) {
    return(NULL)
  }
  path <- path.expand(path)
  if (file.exists(path)) {
    refuse(argument, " '", path, "' exists already: choose another, or delete it.")
  }
  if (!dir.exists(dirname(path))) {
    refuse(argument, " '", path, "': there is no folder '", dirname(path), "': make it first.")
  }
  file.path(normalizePath(dirname(path)), basename(path))
}

# Takes the model out of Python. With a path, the files wait beside it under another name until
# keep_model(), so that an error on the way leaves nothing behind.
stage_model <- function(engine, path = NULL) {
  name <- "scmvp-model-"
  staging <- if (is.null(path)) session_file(name) else tempfile(name, dirname(path))
  waits <- FALSE
  on.exit(if (!waits) unlink(staging, recursive = TRUE))
  engine$save(staging)
  if (is.null(path)) {
    return(list(model = read_model_files(staging), staging = NULL))
  }
  waits <- TRUE
  digest <- weights_digest(new_model(path = staging))
  list(model = new_model(path = path, digest = digest), staging = staging)
}

# The same at the end of a fit, which is not lost where the file cannot be written.
stage_fit <- function(engine, path) {
  if (is.null(path)) {
    return(stage_model(engine))
  }
  tryCatch(
    stage_model(engine, path),
    scmvp_error_file = function(e) {
      warn_of(
        "file", "model.file '", path, "' cannot be written, so the model is kept in the object: ",
        "save it elsewhere with SaveSCMVP()."
      )
      stage_model(engine)
    }
  )
}

keep_model <- function(staged) {
  if (is.null(staged$staging)) {
    return(invisible())
  }
  if (!suppressWarnings(file.rename(staged$staging, staged$model$path))) {
    discard_model(staged)
    refuse(
      "the model cannot be written to '", staged$model$path, "': check the folder, and that ",
      "nothing else has been written there meanwhile.",
      class = "file"
    )
  }
}

discard_model <- function(staged) {
  if (!is.null(staged$staging)) unlink(staged$staging, recursive = TRUE)
}

read_model_files <- function(folder) {
  bytes <- function(name) {
    file <- file.path(folder, name)
    readBin(file, "raw", file.size(file))
  }
  json <- bytes(model_files[["json"]])
  # where Python was ended while it replaced a model, the new weights are still under this name
  digest <- digest_in(rawToChar(json[json > 0]))
  unfinished <- paste0("weights.", digest, ".safetensors")
  found <- nchar(digest, "bytes") == 64 && file.exists(file.path(folder, unfinished))
  new_model(json = json, weights = bytes(if (found) unfinished else model_files[["weights"]]))
}

# By which two models can be told apart.
weights_digest <- function(stored) {
  text <- model_text(stored)
  if (nzchar(text)) digest_in(text)
}

# By bytes: a damaged file may hold some that are no text.
digest_in <- function(text) {
  sub('.*"weights_sha256": *"([0-9a-f]*)".*', "\\1", text, useBytes = TRUE)
}

# What is known of a model beside its weights, as JSON; "" where its folder is gone.
model_text <- function(stored) {
  json <- stored$json
  if (!is.null(stored$path)) {
    file <- file.path(as_path(stored$path), model_files[["json"]])
    json <- if (file.exists(file)) readBin(file, "raw", file.size(file))
  }
  if (is.null(json)) "" else rawToChar(json[json > 0])
}

# ---- back into Python ----------------------------------------------------------------------------

# Puts a stored model into an engine; the names of its features.
restore_model <- function(stored, engine) {
  if (!is.null(stored$path)) {
    if (!dir.exists(as_path(stored$path))) {
      refuse(
        "the model file '", stored$path, "' no longer exists: put it back, or fit again.",
        class = "model"
      )
    }
    found <- weights_digest(stored)
    if (!is.null(stored$digest) && !identical(found, stored$digest)) {
      refuse(
        "the model file '", stored$path, "' now holds another model than the object was fitted ",
        "with: put the first one back, or fit again.",
        class = "model"
      )
    }
    return(engine$load(stored$path))
  }
  folder <- session_file("scmvp-model-")
  on.exit(unlink(folder, recursive = TRUE))
  write_model_files(stored, folder)
  engine$load(folder)
}

write_model_files <- function(stored, folder) {
  files <- file.path(folder, model_files)
  written <- suppressWarnings({
    made <- dir.create(folder)
    made && tryCatch(
      {
        for (i in seq_along(files)) writeBin(stored[[names(model_files)[i]]], files[i])
        # on a full disk writeBin() writes less, and warns at most
        all(file.size(files) == lengths(stored[names(model_files)]))
      },
      error = function(e) FALSE
    )
  })
  if (!written) {
    if (made) unlink(folder, recursive = TRUE)
    refuse(
      "the model cannot be written to '", dirname(folder), "': check that the folder can be ",
      "written to and that the disk is not full.",
      class = "file"
    )
  }
}

# The stored model of anything that has one: an object with results, a fit, a model, a folder.
model_of <- function(object, reduction, argument = "object", by = "reduction") {
  if (is.character(object)) {
    return(LoadSCMVP(object))
  }
  if (inherits(object, "scMVPModel")) {
    return(object)
  }
  if (is_container(object)) {
    return(stored_results(object, reduction, by)$model)
  }
  refuse(
    argument, " must be an object that RunSCMVP() returned or a scMVP model, not class ",
    class(object)[1], "."
  )
}

#' Save and load a fitted model
#'
#' `SaveSCMVP()` writes the model that [RunSCMVP()] stored in an object to a folder with two files,
#' `model.json` and `weights.safetensors`. The command line (`scmvp embed`, `scmvp impute`) and
#' Python (`scmvp.SCMVP.load()`) read the same folder. `LoadSCMVP()` reads it in R. The files cannot
#' contain code, so it is safe to load a model from another source.
#'
#' @param object The result of [RunSCMVP()] (a Seurat object, SingleCellExperiment,
#'   MultiAssayExperiment or `scMVPFit`), or a model from `LoadSCMVP()`.
#' @param path Folder to write (must not exist) or to read.
#' @param reduction Name of the reduction that holds the model, for a Seurat object.
#' @return `SaveSCMVP()`: `path`, invisibly. `LoadSCMVP()`: the model, an object of class
#'   `scMVPModel` that [saveRDS()] can save.
#' @section Errors:
#' `scmvp_error_input` if `path` exists, or its parent folder does not; `scmvp_error_model` if there
#' is no model, or the files are damaged or of another version.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, verbose = FALSE)
#'   folder <- tempfile("model-")
#'   SaveSCMVP(object, folder)
#'   LoadSCMVP(folder)
#' }
#' @export
SaveSCMVP <- function(object, path, reduction = "scmvp") {
  if (is.character(object)) {
    refuse("object must be an object that RunSCMVP() returned or a scMVP model, not a string.")
  }
  if (!is_container(object)) {
    refuse_unused(match.call(), environment(), "reduction", "an object with the model")
  }
  stored <- model_of(object, reduction)
  path <- check_model_file(check_string(path, "path"), "path")
  tell_level(fits_of(object)[[reduction]]$level) # of a model none
  if (is.null(stored$path)) {
    # beside its place first: a folder of that name is always a whole model
    staged <- list(
      model = new_model(path = path), staging = tempfile("scmvp-model-", dirname(path))
    )
    write_model_files(stored, staged$staging)
    keep_model(staged)
  } else {
    with_engine("auto", function(engine) {
      restore_model(stored, engine)
      keep_model(stage_model(engine, path))
    })
  }
  invisible(path)
}

# Clusters of ClusterSCMVP() are those of an object, not of its model.
tell_level <- function(level) {
  if (!is.null(level)) {
    message(
      "the saved model has the clusters of the fit, not the ", level$n_clusters,
      " of ClusterSCMVP(): call it again on cells that you project"
    )
  }
}

#' @rdname SaveSCMVP
#' @export
LoadSCMVP <- function(path) {
  path <- path.expand(check_string(path, "path"))
  missing <- model_files[!file.exists(file.path(path, model_files))]
  if (length(missing) > 0) {
    refuse(
      "'", path, "' is not a folder with a saved model: ", paste(missing, collapse = " and "),
      " ", is_are(length(missing)), " missing.",
      class = "model"
    )
  }
  stored <- read_model_files(path)
  with_engine("auto", function(engine) restore_model(stored, engine))
  stored
}

#' @exportS3Method print scMVPModel
print.scMVPModel <- function(x, ...) {
  if (!is.null(x$path)) {
    cat("scMVP model in ", x$path, "\n", sep = "")
  } else {
    size <- format(structure(length(x$weights), class = "object_size"), units = "auto")
    cat("scMVP model, ", size, " of weights\n", sep = "")
  }
  invisible(x)
}
