# The core inside R, through reticulate. `torch`: whether it will be needed (to read files it is
# not).

inside_engine <- function(torch = TRUE) {
  if (in_fork()) {
    refuse(
      "this R process is a fork of one that already runs Python, where it would wait forever: use ",
      "backend = \"process\".",
      class = "python"
    )
  }
  core(torch = torch)
  service <- from_core(core("service")$Service())
  new_engine(
    "reticulate",
    call = function(verb, arguments, on_epoch, on_stage) {
      value <- NULL
      stopped <- interruptible(value <- with_python_warnings(from_core(service$answer(
        verb, lapply(arguments, to_python),
        on_stage = if (!is.null(on_stage)) interruptible_callback(on_stage),
        on_epoch = if (!is.null(on_epoch)) interruptible_callback(on_epoch)
      ))))
      list(value = from_python(value), stopped = stopped)
    },
    close = function() invisible()
  )
}

# A sparse matrix as it lies in R's memory. as.array(): a plain vector would arrive as a list of
# boxed numbers.
to_python <- function(x) {
  if (!inherits(x, "dgCMatrix")) {
    by_name <- is.list(x) && !is.data.frame(x) && !is.null(names(x))
    return(if (by_name) lapply(x, to_python) else x)
  }
  core("service")$named(
    as.array(x@x), as.array(x@i), as.array(x@p), as.array(colnames(x)), as.array(rownames(x))
  )
}

# Arrays as they are, all else as the other engine gets it: what reticulate makes of a table or of a
# missing value depends on the versions of both.
from_python <- function(value) {
  if (is.null(value) || inherits(value, "python.builtin.NoneType")) {
    return(NULL)
  }
  if (inherits(value, "numpy.ndarray")) {
    return(reticulate::py_to_r(value))
  }
  file <- session_file("scmvp-value-")
  from_core(core("r.rserial")$write(value, as_utf8(file)))
  read_value(file)
}
