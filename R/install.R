# Setting up the Python environment.

torch_cpu_index <- "https://download.pytorch.org/whl/cpu"

#' Install the Python environment of scMVP
#'
#' Creates a virtual environment with PyTorch and the other Python packages that scMVP needs. Run it
#' once; a second run adds or updates only what is missing or outdated. [RunSCMVP()] finds the
#' environment by its name.
#'
#' If there is no NVIDIA GPU, PyTorch is installed without GPU support (about 200 MB instead of
#' several GB). On Linux this build comes from `download.pytorch.org`, or from the package index if
#' that server cannot be reached. With reticulate before 1.38, which cannot use NumPy 2, NumPy 1 is
#' installed.
#'
#' @param envname Name or path of the virtual environment. If it is not the default, select the
#'   environment in later sessions with `reticulate::use_virtualenv(envname)` or the environment
#'   variable `SCMVP_PYTHON`.
#' @param gpu Whether to install PyTorch with CUDA: `TRUE`, `FALSE`, or `NA` to do so if an NVIDIA
#'   GPU is found.
#' @param python Interpreter from which the environment is created (Python 3.10 to 3.13, with a
#'   shared libpython); `NULL` lets reticulate choose.
#' @param method Kind of environment; only `"virtualenv"`.
#' @param verbose Show the output of pip.
#' @return The path of the environment's interpreter, invisibly.
#' @section Errors:
#' An error of class `scmvp_error_python` if the environment cannot be created or pip fails.
#' @examples
#' \dontrun{
#' install_scMVP()
#' }
#' @export
install_scMVP <- function(envname = default_env, gpu = NA, python = NULL, # nolint: object_name.
                          method = "virtualenv", verbose = TRUE) {
  check_string(envname, "envname")
  check_choice(method, "virtualenv", "method")
  check_flag(verbose, "verbose")
  if (!identical(gpu, NA)) check_flag(gpu, "gpu")
  restore <- hide_r_libraries()
  on.exit(restore())
  if (env_exists(envname)) {
    message("Environment '", envname, "' is there; checking its packages.")
  } else {
    message("Making the virtual environment '", envname, "'.")
    make_environment(envname, python)
  }
  interpreter <- reticulate::virtualenv_python(envname)
  probe <- probe_python(interpreter)
  if (is.null(probe)) {
    refuse(
      "the interpreter '", interpreter, "' does not run: remove the environment with ",
      "reticulate::virtualenv_remove(\"", envname, "\") and try again.",
      class = "python"
    )
  }
  if (numeric_version(probe$version) < oldest_python) {
    refuse(
      "'", interpreter, "' is Python ", probe$version, ", and scMVP needs ", oldest_python,
      " or later: give one with python = and another envname.",
      class = "python"
    )
  }
  forget_worker() # which may run the packages that are replaced
  constraints <- numpy_constraints()
  if ("torch" %in% probe$missing) {
    install_torch(interpreter, if (is.na(gpu)) has_gpu() else gpu, constraints, verbose)
  }
  message("Installing the other Python packages.")
  source <- session_file("scmvp-")
  dir.create(source)
  on.exit(unlink(source, recursive = TRUE), add = TRUE)
  # a copy: pip builds in place, and an R library may be read-only
  file.copy(core_source(), source, recursive = TRUE)
  core <- file.path(source, "python")
  # the newest Python may have no Numba yet, and all works without
  fast <- c(shQuote(paste0(core, "[fast]")), constraints)
  if (!pip_install(interpreter, fast, verbose, must = FALSE)) {
    pip_install(interpreter, c(shQuote(core), constraints), verbose)
  }
  message("scMVP is ready: ", interpreter)
  if (reticulate::py_available(initialize = FALSE)) {
    message("Restart R to use it: this session already runs Python from ", reticulate::py_exe())
  }
  invisible(interpreter)
}

make_environment <- function(envname, python) {
  tryCatch(
    reticulate::virtualenv_create(envname, python = python, packages = FALSE),
    error = function(e) {
      refuse(
        "the virtual environment '", envname, "' cannot be made: ",
        first_line(conditionMessage(e)), " (on Debian and Ubuntu: install python3-venv).",
        class = "python", details = e
      )
    }
  )
}

# reticulate before 1.38 refuses NumPy 2, and anndata wants zarr 2 with NumPy 1.
numpy_constraints <- function() {
  if (utils::packageVersion("reticulate") < "1.38") shQuote(c("numpy<2", "zarr<3")) else character()
}

has_gpu <- function() {
  nzchar(Sys.which("nvidia-smi")) &&
    identical(suppressWarnings(system2("nvidia-smi", "-L", stdout = FALSE, stderr = FALSE)), 0L)
}

install_torch <- function(interpreter, gpu, constraints, verbose) {
  if (!gpu && Sys.info()[["sysname"]] == "Linux") {
    message("Installing PyTorch for the CPU.")
    cpu <- c("torch", constraints, "--extra-index-url", torch_cpu_index)
    if (can_reach(torch_cpu_index) && pip_install(interpreter, cpu, verbose, must = FALSE)) {
      return(invisible())
    }
    message(torch_cpu_index, " cannot be reached; using PyTorch from the package index.")
  } else {
    message("Installing PyTorch", if (gpu) " with CUDA", ".")
  }
  pip_install(interpreter, c("torch", constraints), verbose)
}

# Bounded in time: behind a firewall pip itself would retry for minutes.
can_reach <- function(address) {
  old <- options(timeout = 10)
  on.exit(options(old))
  tryCatch(
    {
      connection <- url(paste0(address, "/"), open = "rb")
      close(connection)
      TRUE
    },
    error = function(e) FALSE,
    warning = function(w) FALSE
  )
}

pip_install <- function(interpreter, arguments, verbose, must = TRUE) {
  shown <- if (verbose) "" else FALSE
  status <- system2(
    interpreter,
    c(
      "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off",
      if (!verbose) "--quiet", arguments
    ),
    stdout = shown, stderr = shown
  )
  if (status != 0 && must) {
    refuse(
      "pip could not install ", paste(arguments, collapse = " "), " into '", interpreter,
      "': ", if (verbose) "see its messages above." else "see its messages with verbose = TRUE.",
      class = "python"
    )
  }
  status == 0
}
