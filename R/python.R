# Find, check and start the Python that runs the core. Nothing here runs when the package is loaded.

# Import name = name at the package index.
core_needs <- c(
  numpy = "numpy", scipy = "scipy", pandas = "pandas", h5py = "h5py", sklearn = "scikit-learn",
  anndata = "anndata", mudata = "mudata", safetensors = "safetensors", torch = "torch"
)
default_env <- "r-scmvp"
oldest_python <- "3.10"

# The order users expect: SCMVP_PYTHON; RETICULATE_PYTHON or use_*(); the environment that
# install_scMVP() makes; packages declared to reticulate (1.41 on); what reticulate finds by itself.
# A list: python (path, or NA where reticulate resolves it), found_by.
choose_python <- function() {
  if (reticulate::py_available(initialize = FALSE)) {
    return(list(python = reticulate::py_exe(), found_by = "Python already running in this session"))
  }
  asked <- asked_python()
  if (!is.null(asked)) {
    return(asked)
  }
  if (env_exists(default_env)) {
    python <- reticulate::virtualenv_python(default_env)
    return(list(python = python, found_by = paste("virtualenv", default_env)))
  }
  if (utils::packageVersion("reticulate") >= "1.41") {
    return(list(python = NA, found_by = "reticulate::py_require()"))
  }
  list(python = discovered_python(), found_by = "reticulate's own search")
}

# What the user has asked for, NULL for nothing.
asked_python <- function() {
  for (variable in c("SCMVP_PYTHON", "RETICULATE_PYTHON")) {
    value <- Sys.getenv(variable)
    if (identical(value, "managed")) {
      return(list(python = NA, found_by = paste0(variable, "=managed")))
    }
    if (nzchar(value)) {
      return(list(python = existing_python(value, variable), found_by = variable))
    }
  }
  used <- python_of_use()
  if (!is.null(used)) list(python = used, found_by = "reticulate::use_python() or the like")
}

discovered_python <- function() {
  python <- tryCatch(reticulate::py_discover_config()$python, error = function(e) NULL)
  if (is.null(python)) {
    refuse(
      "no Python was found: run install_scMVP(), or set the environment variable SCMVP_PYTHON to ",
      "an interpreter that has scMVP's packages.",
      class = "python"
    )
  }
  python
}

# This check must not fail if there is no folder for environments.
env_exists <- function(envname) {
  isTRUE(tryCatch(reticulate::virtualenv_exists(envname), error = function(e) FALSE))
}

existing_python <- function(path, variable) {
  expanded <- path.expand(path)
  if (dir.exists(expanded)) {
    # an environment was named instead of its interpreter
    inside <- file.path(expanded, c("bin/python", "Scripts/python.exe", "python.exe"))
    expanded <- c(inside[file.exists(inside)], expanded)[1]
  } else if (!file.exists(expanded) && nzchar(Sys.which(path))) {
    expanded <- Sys.which(path)[[1]]
  }
  if (!file.exists(expanded) || dir.exists(expanded)) {
    refuse(
      variable, " is '", path, "', where there is no Python interpreter: correct or unset it.",
      class = "python"
    )
  }
  expanded
}

# What use_python(), use_virtualenv() or use_condaenv() asked for before Python was started.
# reticulate offers no function for this that would not also look for other interpreters.
python_of_use <- function() {
  globals <- get0(".globals", envir = asNamespace("reticulate"))
  asked <- c(globals$required_python_version, globals$use_python_versions)
  if (length(asked) > 0) asked[[1]] else NULL
}

# Checks an interpreter before R is bound to it for the rest of the session, then starts it.
start_python <- function(choice) {
  if (reticulate::py_available(initialize = FALSE)) {
    refuse_unusable(choice, probe_running())
  } else if (is.na(choice$python)) {
    start_managed_python(choice)
  } else {
    refuse_unusable(choice, probe_python(choice$python))
    start_chosen_python(choice)
  }
  session$found_by <- choice$found_by
}

# The variable outranks every other way of asking reticulate for an interpreter.
start_chosen_python <- function(choice) {
  before <- Sys.getenv("RETICULATE_PYTHON", NA)
  Sys.setenv(RETICULATE_PYTHON = choice$python)
  on.exit(
    if (is.na(before)) {
      Sys.unsetenv("RETICULATE_PYTHON")
    } else {
      Sys.setenv(RETICULATE_PYTHON = before)
    }
  )
  tryCatch(
    in_utf8_locale(reticulate::py_config()),
    error = function(e) {
      refuse(
        "Python at '", choice$python, "' (", choice$found_by, ") does not start inside R: ",
        first_line(conditionMessage(e)), ".",
        class = "python", details = e
      )
    }
  )
}

start_managed_python <- function(choice) {
  failure <- tryCatch(
    {
      if (utils::packageVersion("reticulate") >= "1.41") {
        declare <- getExportedValue("reticulate", "py_require")
        declare(unname(core_needs), python_version = paste0(">=", oldest_python))
      }
      in_utf8_locale(reticulate::py_config())
      NULL
    },
    error = identity
  )
  if (!is.null(failure)) {
    refuse(
      "no Python environment for scMVP could be made by ", choice$found_by, " (",
      first_line(conditionMessage(failure)), "): run install_scMVP(), or set SCMVP_PYTHON to an ",
      "interpreter that has scMVP's packages.",
      class = "python", details = failure
    )
  }
  refuse_unusable(list(python = reticulate::py_exe(), found_by = choice$found_by), probe_running())
}

# `inside`: for R's own process, where reticulate has needs as well.
refuse_unusable <- function(choice, probe, inside = TRUE) {
  why <- why_unusable(probe, inside)
  if (is.null(why)) {
    return(invisible())
  }
  restart <- if (inside && reticulate::py_available(initialize = FALSE)) {
    ", then restart R and use scMVP before anything else starts Python"
  }
  refuse(
    "the Python at '", choice$python, "' (found by: ", choice$found_by, ") ", why$what, ": ",
    why$remedy, restart, ".",
    class = "python"
  )
}

# NULL when an interpreter can run the core, else what is wrong and what to do.
why_unusable <- function(probe, inside = TRUE) {
  if (is.null(probe)) {
    return(list(what = "does not run", remedy = "run install_scMVP(), or set SCMVP_PYTHON"))
  }
  if (numeric_version(probe$version) < oldest_python) {
    return(list(
      what = paste0("is Python ", probe$version, ", and scMVP needs ", oldest_python, " or later"),
      remedy = "run install_scMVP(), or set SCMVP_PYTHON to a later one"
    ))
  }
  if (length(probe$missing) > 0) {
    packages <- core_needs[probe$missing]
    return(list(
      what = paste0("lacks ", paste(packages, collapse = ", ")),
      remedy = paste0(
        "run install_scMVP(), or install them with `", probe$python, " -m pip install ",
        paste(packages, collapse = " "), "`"
      )
    ))
  }
  if (inside && numpy_too_new(probe$numpy)) {
    return(list(
      what = paste0(
        "has NumPy ", probe$numpy, ", which reticulate ", utils::packageVersion("reticulate"),
        " cannot use"
      ),
      remedy = paste0("run `", probe$python, " -m pip install 'numpy<2'` or update reticulate")
    ))
  }
  NULL
}

numpy_too_new <- function(version) {
  length(version) == 1 && nzchar(version) && utils::packageVersion("reticulate") < "1.38" &&
    as.integer(sub("[.].*", "", version)) >= 2
}

# R tells the programs it starts to look for libraries where its own are. A Python that is not the
# system's then loads the system's libpython and lacks ssl, without which pip cannot download.
# Returns a function that puts things back.
hide_r_libraries <- function() {
  before <- Sys.getenv("LD_LIBRARY_PATH", NA)
  if (is.na(before)) {
    return(function() NULL)
  }
  folders <- strsplit(before, ":", fixed = TRUE)[[1]]
  # R's own, and the standard ones, which are searched anyway
  added_by_r <- folders == R.home("lib") | grepl("^/(usr/)?lib(32|64)?(/|$)", folders)
  Sys.setenv(LD_LIBRARY_PATH = paste(folders[!added_by_r], collapse = ":"))
  function() Sys.setenv(LD_LIBRARY_PATH = before)
}

# What a script prints, run in a process of its own: R can start only one Python, and for good.
ask_python <- function(python, code) {
  restore <- hide_r_libraries()
  on.exit(restore())
  arguments <- c("-c", shQuote(paste(code, collapse = "\n")))
  if (.Platform$OS.type == "windows") { # a command there is one line
    script <- session_file("scmvp-", ".py")
    on.exit(unlink(script), add = TRUE)
    writeLines(code, script)
    arguments <- shQuote(script)
  }
  suppressWarnings(tryCatch(
    system2(python, arguments, stdout = TRUE, stderr = FALSE),
    error = function(e) character()
  ))
}

# What an interpreter has.
probe_python <- function(python) {
  answer <- ask_python(python, c(
    "import sys",
    "from importlib.util import find_spec",
    "print('%d.%d.%d' % sys.version_info[:3])",
    sprintf(
      "print(' '.join(m for m in '%s'.split() if find_spec(m) is None))",
      paste(names(core_needs), collapse = " ")
    ),
    "try:",
    "    from importlib.metadata import version",
    "    print(version('numpy'))",
    "except Exception:",
    "    print('')"
  ))
  if (length(answer) != 3) {
    return(NULL)
  }
  list(
    python = python, version = answer[1], numpy = answer[3],
    missing = strsplit(answer[2], " ", fixed = TRUE)[[1]]
  )
}

probe_running <- function() {
  util <- reticulate::import("importlib.util", convert = FALSE)
  present <- vapply(names(core_needs), function(module) {
    reticulate::py_to_r(reticulate::import_builtins(convert = FALSE)$bool(
      util$find_spec(module)
    ))
  }, logical(1))
  platform <- reticulate::import("platform")
  list(
    python = reticulate::py_exe(), version = sub("[^0-9.].*", "", platform$python_version()),
    missing = names(core_needs)[!present], numpy = module_version("numpy")
  )
}

# Version of an installed distribution, "" when it is not installed.
module_version <- function(name) {
  metadata <- reticulate::import("importlib.metadata")
  tryCatch(metadata$version(name), error = function(e) "")
}

#' Check whether the Python part of scMVP is available
#'
#' Returns `TRUE` if [RunSCMVP()] would find a Python with all required packages. It does not start
#' Python, so it does not bind the session to an interpreter.
#'
#' @param explain Give the reason in a message if it is not available.
#' @return `TRUE` or `FALSE`.
#' @seealso [install_scMVP()] to install it, [scMVP_config()] for details.
#' @examples
#' scMVP_available()
#' @export
scMVP_available <- function(explain = FALSE) { # nolint: object_name.
  check_flag(explain, "explain")
  why <- why_unavailable()
  if (explain && !is.null(why)) message(why)
  is.null(why)
}

why_unavailable <- function() {
  tryCatch(
    {
      if (is.null(session$core)) {
        choice <- choose_python()
        if (reticulate::py_available(initialize = FALSE)) {
          refuse_unusable(choice, probe_running())
        } else if (is.na(choice$python)) {
          refuse(
            "no Python environment of scMVP's is installed (", choice$found_by, " would make a ",
            "temporary one): run install_scMVP(), or set SCMVP_PYTHON.",
            class = "python"
          )
        } else {
          refuse_unusable(choice, probe_python(choice$python))
        }
      }
      NULL
    },
    scmvp_error = conditionMessage
  )
}
