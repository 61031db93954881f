# What there is: versions, interpreter, speed.

#' What scMVP runs on
#'
#' Versions of R and its packages, the Python interpreter and how it was found, versions of the
#' Python packages, whether PyTorch runs at full speed inside R, and where the core's source is.
#' Attach its output to a bug report. Starts Python when there is one to start.
#'
#' PyTorch inside R can be 4 to 12 times slower than in plain Python: its matrix products end up in
#' R's own BLAS when it was loaded by another package before scMVP. scMVP loads it apart from R, and
#' this function times a small product against NumPy's to see that it worked.
#'
#' @return A list of class `scMVP_config` with elements `R`, `packages`, `python`, `modules`,
#'   `torch` and `core`, invisibly; printed as a table.
#' @examples
#' if (scMVP_available()) scMVP_config()
#' @export
scMVP_config <- function() { # nolint: object_name.
  config <- structure(
    list(
      R = paste(R.version.string, "on", R.version$platform),
      packages = vapply(
        c("scMVP", "Seurat", "SeuratObject", "Signac", "reticulate", "Matrix"), package_version_or,
        character(1)
      ),
      python = NULL, modules = NULL, torch = NULL, core = NULL, problem = NULL
    ),
    class = "scMVP_config"
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
  print(config)
  invisible(config)
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

#' @export
print.scMVP_config <- function(x, ...) {
  line <- function(name, ...) cat(formatC(name, width = -14), ..., "\n", sep = "")
  line("R", x$R)
  line("R packages", paste(names(x$packages), x$packages, collapse = ", "))
  if (!is.null(x$problem)) {
    line("problem", x$problem)
    return(invisible(x))
  }
  line("Python", x$python$python, " (", x$python$version, "; found by: ", x$python$found_by, ")")
  line("modules", paste(names(x$modules), x$modules, collapse = ", "))
  line("torch", count_of(x$torch$threads, "thread"), ", GPU: ", x$torch$gpu)
  line(
    "BLAS", if (x$torch$full_speed) "full speed" else "SLOW",
    sprintf(
      " (700 x 700 product: torch %.1f ms, NumPy %.1f ms)", 1000 * x$torch$seconds[["torch"]],
      1000 * x$torch$seconds[["numpy"]]
    )
  )
  if (isFALSE(x$torch$apart_from_R)) {
    line("", "torch was loaded before scMVP by something else: restart R and use scMVP first")
  }
  line("core", x$core$version, ", ", x$core$source)
  invisible(x)
}
