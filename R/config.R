# Versions, interpreters and speed, as scMVP_config() shows them.

#' Show the configuration of scMVP
#'
#' Shows the versions of R and its packages; the backend that `backend = "auto"` selects, with the
#' reason; the Python interpreters inside R and of a worker process, with the way each was found and
#' its packages; whether PyTorch runs at full speed inside R; and the location of the Python code of
#' scMVP. Attach the output to a bug report. The function starts Python if it finds an interpreter.
#'
#' Inside R, PyTorch can be 4 to 12 times slower than in Python: if another package loaded it before
#' scMVP, its matrix products use R's own BLAS. scMVP prevents this by the way it loads PyTorch, and
#' this function checks the result by timing a small matrix product against NumPy. A worker process
#' (`backend = "process"`) does not have this problem.
#'
#' @return A list of class `scMVP_config` with elements `R`, `blas` (R's own), `packages`, `backend`
#'   (`name`, `why`), `python`, `modules` and `torch` (inside R), `worker` (`python`, `found_by`,
#'   `versions`, or `problem`), `core`, and `problem` (why Python cannot run inside R, or `NULL`),
#'   invisibly; printed as a table.
#' @examples
#' if (scMVP_available()) scMVP_config()
#' @export
scMVP_config <- function() { # nolint: object_name.
  config <- list(
    R = paste(R.version.string, "on", R.version$platform),
    blas = r_blas(),
    packages = vapply(
      c("scMVP", "Seurat", "SeuratObject", "Signac", "SingleCellExperiment", "reticulate",
        "processx", "Matrix"),
      package_version_or, character(1)
    ),
    backend = choose_backend("auto")[c("name", "why")],
    worker = describe_worker()
  )
  config$problem <- tryCatch(
    {
      core(torch = TRUE)
      NULL
    },
    scmvp_error = conditionMessage
  )
  if (is.null(config$problem)) {
    config$python <- list(
      python = reticulate::py_exe(),
      version = sub(" .*", "", as.character(reticulate::py_config()$version)),
      found_by = session$found_by
    )
    config$modules <- vapply(core_needs, module_version, character(1))
    config$torch <- torch_state()
    config$core <- list(
      version = reticulate::py_to_r(session$core$`__version__`),
      source = dirname(reticulate::py_to_r(session$core$`__file__`))
    )
  }
  config <- structure(config, class = "scMVP_config")
  print(config)
  invisible(config)
}

# The library that R's matrix products go to; "" where R cannot tell.
r_blas <- function() {
  path <- unname(extSoftVersion()["BLAS"])
  if (is.na(path)) "" else path
}

# What a worker process would run on: python, found_by and versions; or problem.
describe_worker <- function() {
  tryCatch(
    {
      choice <- process_python()
      c(choice[c("python", "found_by")], list(versions = installed_versions(choice$python)))
    },
    scmvp_error = function(e) list(problem = conditionMessage(e))
  )
}

# Versions of Python and of what the core needs, as an interpreter outside R has them.
installed_versions <- function(python) {
  answer <- ask_python(python, c(
    "import platform",
    "from importlib.metadata import version",
    "print('Python', platform.python_version())",
    sprintf("for name in '%s'.split():", paste(core_needs, collapse = " ")),
    "    print(name, version(name))"
  ))
  parts <- strsplit(answer[grepl("^[^ ]+ [^ ]+$", answer)], " ", fixed = TRUE)
  stats::setNames(
    vapply(parts, `[`, character(1), 2), vapply(parts, `[`, character(1), 1)
  )
}

package_version_or <- function(package) {
  if (nzchar(system.file(package = package))) {
    as.character(utils::packageVersion(package))
  } else {
    "not installed"
  }
}

# How fast torch multiplies, in units of NumPy, whose BLAS is always its own.
torch_state <- function() {
  torch <- load_torch()
  numpy <- reticulate::import("numpy", convert = FALSE)
  a <- numpy$ones(c(700L, 700L), dtype = "float32")
  b <- torch$from_numpy(a)
  seconds <- c(
    torch = fastest(function() torch$mm(b, b)),
    numpy = fastest(function() numpy$matmul(a, a))
  )
  gpu <- reticulate::py_to_r(torch$cuda$is_available())
  list(
    threads = reticulate::py_to_r(torch$get_num_threads()),
    gpu = if (gpu) reticulate::py_to_r(torch$cuda$get_device_name(0L)) else "none",
    apart_from_R = session$torch_apart,
    seconds = seconds,
    full_speed = seconds[["torch"]] < 3 * seconds[["numpy"]] + 0.002
  )
}

fastest <- function(run, times = 5) {
  min(vapply(seq_len(times), function(i) system.time(run())[["elapsed"]], numeric(1)))
}

#' @exportS3Method print scMVP_config
print.scMVP_config <- function(x, ...) {
  line <- function(name, ...) cat(formatC(name, width = -14), ..., "\n", sep = "")
  versions <- function(x) paste(names(x), x, collapse = ", ")
  line("R", x$R)
  line("R packages", versions(x$packages))
  line("backend", x$backend$name, " (", x$backend$why, ")")
  if (!is.null(x$problem)) {
    line("problem", x$problem)
  } else {
    line(
      "Python in R", x$python$python, " (", x$python$version, "; found by: ", x$python$found_by, ")"
    )
    line("modules", versions(x$modules))
    line("torch", count_of(x$torch$threads, "thread"), ", GPU: ", x$torch$gpu)
    print_blas(x, line)
    line("core", x$core$version, ", ", x$core$source)
  }
  if (!is.null(x$worker$problem)) {
    line("worker", "none: ", x$worker$problem)
  } else {
    line("worker", x$worker$python, " (found by: ", x$worker$found_by, ")")
    same <- identical(unname(x$worker$versions[core_needs]), unname(x$modules))
    line("", if (same) "the same modules" else versions(x$worker$versions))
  }
  invisible(x)
}

# Whether torch's products go to torch's own BLAS or have ended up in R's.
print_blas <- function(x, line) {
  line(
    "BLAS",
    if (x$torch$full_speed) "torch at full speed" else "SLOW: torch multiplies with R's BLAS",
    sprintf(
      " (700 x 700 product: torch %.1f ms, NumPy %.1f ms)", 1000 * x$torch$seconds[["torch"]],
      1000 * x$torch$seconds[["numpy"]]
    ),
    if (nzchar(x$blas)) paste0("; R's own is ", x$blas)
  )
  if (isFALSE(x$torch$apart_from_R)) {
    line("", "torch was loaded before scMVP by something else: restart R and use scMVP first,")
    line("", "or use backend = \"process\"")
  }
}
