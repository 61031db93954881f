# The core in a process of its own (python -m scmvp.worker): requests and replies as files in R's
# binary format, events as lines of JSON. R needs nothing of Python here, and a crash, a lack of
# memory or a clash of libraries there does not reach R.

process_engine <- function(choice) {
  worker <- take_worker(choice)
  engine <- new_engine(
    "process",
    call = function(verb, arguments, on_epoch, on_stage) {
      # an interrupt before the first epoch was complete has failed the request already
      list(value = ask_worker(worker, verb, arguments, on_epoch, on_stage), stopped = FALSE)
    },
    close = function() release_worker(worker)
  )
  c(engine, list(worker = worker))
}

# ---- the process ---------------------------------------------------------------------------------

# A worker whose engine was closed is kept for the next one, which need not start Python and import
# PyTorch again. It ends itself after `idle_seconds` (scmvp.worker has the same number, plus a
# minute).
idle_seconds <- 600

take_worker <- function(choice) {
  if (!is_kept(choice)) {
    forget_worker()
    return(start_worker(choice))
  }
  worker <- session$worker
  session$worker <- NULL
  worker
}

# Whether there is one that a new one would not differ from: it has the environment and the working
# directory of its start, and a fork cannot share it.
is_kept <- function(choice) {
  worker <- session$worker
  !is.null(worker) && identical(worker$choice$python, choice$python) &&
    identical(worker$surroundings, surroundings()) &&
    proc.time()[["elapsed"]] - worker$released < idle_seconds && is_intact(worker)
}

is_intact <- function(worker) worker$process$is_alive() && dir.exists(worker$folder)

surroundings <- function() list(Sys.getpid(), getwd(), Sys.getenv())

# One that is in the middle of something, because R failed meanwhile, is not kept.
release_worker <- function(worker) {
  kept <- FALSE
  on.exit(if (!kept) stop_worker(worker))
  if (is.null(worker$process) || worker$busy) {
    return(invisible())
  }
  kept <- tryCatch(
    {
      ask_worker(worker, "forget", list())
      TRUE
    },
    scmvp_error = function(e) FALSE
  )
  if (kept) {
    forget_worker()
    worker$released <- proc.time()[["elapsed"]]
    session$worker <- worker
  }
  invisible()
}

forget_worker <- function() {
  worker <- session$worker
  session$worker <- NULL
  if (!is.null(worker) && identical(worker$surroundings[[1]], Sys.getpid())) stop_worker(worker)
}

start_worker <- function(choice) {
  # else the forks of parallel are never seen to end in a session that has started a process, and R
  # cannot shut down (processx reads it at its first process)
  if (Sys.getenv("PROCESSX_NOTIFY_OLD_SIGCHLD") == "") {
    Sys.setenv(PROCESSX_NOTIFY_OLD_SIGCHLD = "true")
  }
  folder <- session_file("scmvp-worker-")
  dir.create(folder)
  worker <- new.env()
  worker$choice <- choice
  worker$folder <- folder
  worker$requests <- 0
  worker$busy <- FALSE
  worker$surroundings <- surroundings()
  restore <- hide_r_libraries()
  on.exit(restore())
  places <- c(core_source(), Filter(nzchar, Sys.getenv("PYTHONPATH")))
  worker$process <- tryCatch(
    # which draws a name for the process
    with_own_random_numbers(processx::process$new(
      choice$python, c("-m", "scmvp.worker"),
      stdin = "|", stdout = "|", stderr = file.path(folder, "stderr"), encoding = "UTF-8",
      env = c("current", PYTHONPATH = paste(places, collapse = .Platform$path.sep)),
      cleanup_tree = TRUE
    )),
    error = function(e) {
      unlink(folder, recursive = TRUE)
      refuse(
        "the Python at '", choice$python, "' (found by: ", choice$found_by, ") cannot be started: ",
        first_line(conditionMessage(e)), ": run install_scMVP(), or set SCMVP_PYTHON.",
        class = "python", details = e
      )
    }
  )
  reg.finalizer(worker, stop_worker, onexit = TRUE)
  worker
}

stop_worker <- function(worker) {
  if (!is.null(worker$process)) {
    try(worker$process$kill(), silent = TRUE)
    worker$process <- NULL
    unlink(worker$folder, recursive = TRUE)
  }
  invisible()
}

# One request and its reply. An interrupt of R is passed on, once: what the worker then makes of it
# is the reply. A second one ends the worker.
ask_worker <- function(worker, verb, arguments, on_epoch = NULL, on_stage = NULL) {
  if (is.null(worker$process)) refuse("the Python process is closed already.", class = "core")
  worker$requests <- worker$requests + 1
  worker$busy <- TRUE
  request <- file.path(worker$folder, paste0(worker$requests, ".rds"))
  write_value(list(do = verb, tell = !is.null(on_stage), arguments = arguments), request)
  interrupts <- 0
  sent <- FALSE
  repeat {
    event <- tryCatch(
      {
        if (!sent) {
          sent <- TRUE
          write_line(worker, request)
        }
        next_event(worker, interrupts > 0)
      },
      interrupt = function(i) list(interrupt = TRUE)
    )
    if (isTRUE(event$interrupt)) {
      interrupts <- interrupts + 1
      if (interrupts > 1) {
        stop_worker(worker)
        rlang::interrupt()
      }
      worker$process$interrupt()
    } else if (!is.null(event$done)) {
      # whose name is known: R could not translate that of the event in the locale C
      reply <- read_value(sub("[.]rds$", ".reply", request))
      worker$busy <- FALSE
      if (is.null(reply$error)) {
        return(reply$value)
      }
      refuse_python_error(reply$class, reply$error, reply$details)
    } else {
      heed_event(worker, event, on_epoch, on_stage)
    }
  }
}

# An event before the reply: an epoch, a stage or a note.
heed_event <- function(worker, event, on_epoch, on_stage) {
  if (!is.null(event$epoch)) {
    if (isTRUE(on_epoch(event$epoch))) worker$process$interrupt()
  } else if (!is.null(event$stage)) {
    if (isTRUE(on_stage(event$stage))) worker$process$interrupt()
  } else if (!is.null(event$note)) {
    pass_on(event$kind, event$note)
  }
}

# If the worker has already ended, this is detected when waiting for its reply.
write_line <- function(worker, text) {
  left <- charToRaw(paste0(text, "\n"))
  while (length(left) > 0 && worker$process$is_alive()) {
    left <- tryCatch(worker$process$write_input(left), error = function(e) raw())
  }
}

# The next event, as soon as there is one; refused when the process has ended, unless it was
# interrupted: before it is ready, that ends it.
next_event <- function(worker, interrupted = FALSE) {
  repeat {
    if (length(worker$lines) > 0) {
      line <- worker$lines[1]
      worker$lines <- worker$lines[-1]
      return(jsonlite::fromJSON(line, simplifyVector = TRUE))
    }
    worker$process$poll_io(200)
    worker$lines <- worker$process$read_output_lines()
    if (length(worker$lines) == 0 && !worker$process$is_alive() &&
      !worker$process$is_incomplete_output()) {
      if (interrupted) rlang::interrupt()
      refuse_dead_worker(worker)
    }
  }
}

refuse_dead_worker <- function(worker) {
  status <- worker$process$get_exit_status()
  errors <- file.path(worker$folder, "stderr")
  said <- if (file.exists(errors)) readLines(errors, warn = FALSE) else character()
  last <- utils::tail(said[nzchar(said)], 1)
  choice <- worker$choice
  stop_worker(worker)
  # NA where something else took the signal of its end, as parallel does
  known <- isTRUE(is.finite(status))
  if (known && (status < 0 || status > 128)) {
    refuse(
      "the Python process of scMVP was killed (signal ", if (status < 0) -status else status - 128,
      "), most often because memory ran out; nothing was changed: model fewer features (a higher ",
      "min.cells, or rna.features and peak.features of a Seurat object) or free memory, and run ",
      "it again.",
      class = "core", details = said
    )
  }
  refuse(
    "the Python process of scMVP (", choice$python, ") ended",
    if (known) paste(" with status", status), if (length(last) > 0) paste0(" (", trimws(last), ")"),
    "; nothing was changed: see scMVP_config(), or run install_scMVP() to repair the environment.",
    class = if (worker$requests <= 1) "python" else "core", details = said
  )
}
