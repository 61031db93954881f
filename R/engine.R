# Where the Python core runs: inside this R process (reticulate), or in a process of its own
# (processx). Both are lists of the same functions around at most one model:
#
#   read, simulate    paired cells, as paired_of() has them; simulate() with `truth`
#   build             of counts (features x cells): list of account, genes, peaks
#   load              a saved model: list of genes, peaks
#   train             calls on_epoch after each; list of stopped, interrupted
#   fitted            list of latent, probabilities, history, summary, without names
#   embed             latent of other cells, cells x dimensions
#   responsibilities  of points of the latent, cells x clusters
#   decode            points of the latent to features x cells
#   decode_to_file    the same into HDF5
#   differential      features that differ between groups of cells, into a CSV file
#   save, close
#
# and `name`. Where there is `on_stage`, it is called with the stages of the work (see watched());
# it and on_epoch may be NULL. What the core refuses comes back from either as the same R condition.

backends <- c("auto", "reticulate", "process")

open_engine <- function(backend = "auto", torch = TRUE) {
  chosen <- choose_backend(backend)
  if (chosen$name == "process") process_engine(chosen) else inside_engine(torch)
}

# Runs `f` on an engine and closes it, whatever happens. `watch`: of watched().
with_engine <- function(backend, f, torch = TRUE, watch = NULL) {
  engine <- if (is.null(watch) || is_started(backend, torch)) {
    open_engine(backend, torch)
  } else {
    watch$during(starting_python, open_engine(backend, torch))
  }
  on.exit(engine$close())
  f(engine)
}

# Whether there is nothing to start.
is_started <- function(backend, torch) {
  backend != "process" && !in_fork() && !is.null(session$core) &&
    (!torch || !is.null(session$torch))
}

# list(name, why) and for a process also python and found_by.
choose_backend <- function(backend = "auto") {
  if (backend == "process") {
    return(c(list(name = "process", why = "asked for"), process_python()))
  }
  if (backend == "reticulate") {
    return(list(name = "reticulate", why = "asked for"))
  }
  why <- why_not_inside()
  if (is.null(why)) {
    return(list(name = "reticulate", why = "this R can run it"))
  }
  # the first reason is what the user wants to read when there is no other way either
  python <- tryCatch(process_python(), scmvp_error = function(e) NULL)
  if (is.null(python)) {
    return(list(name = "reticulate", why = why))
  }
  c(list(name = "process", why = why), python)
}

# Why the core cannot run inside this R process; NULL when it can.
why_not_inside <- function() {
  if (in_fork()) {
    return("this R process is a fork of one that runs Python, which cannot run in both")
  }
  if (!is.null(session$core)) {
    return(NULL)
  }
  why_unavailable()
}

# Forked after Python was started: torch's threads do not exist here, and it would wait for them
# forever.
in_fork <- function() {
  !is.null(session$pid) && !identical(session$pid, Sys.getpid())
}

# The interpreter of a worker. An interpreter that the user named comes first even when R already
# runs another one: a process of its own is free of it.
process_python <- function() {
  choice <- asked_python()
  if (is.null(choice) || is.na(choice$python)) {
    choice <- if (env_exists(default_env)) {
      list(python = reticulate::virtualenv_python(default_env), found_by = default_env)
    } else if (reticulate::py_available(initialize = FALSE)) {
      list(python = reticulate::py_exe(), found_by = "Python already running in this session")
    } else {
      list(python = discovered_python(), found_by = "reticulate's own search")
    }
  }
  refuse_unusable(choice, probe_python(choice$python), inside = FALSE)
  choice
}
