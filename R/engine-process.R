# The core in a process of its own (python -m scmvp.worker): requests as JSON files, matrices as raw
# files beside them, events as lines of JSON. R needs nothing of Python here, and a crash, a lack of
# memory or a clash of libraries there does not reach R.

process_engine <- function(choice) {
  worker <- start_worker(choice)
  ask <- function(verb, ..., on_epoch = NULL, on_stage = NULL) {
    ask_worker(worker, verb, list(...), on_epoch, on_stage)
  }
  file_for <- function(name) file.path(worker$folder, name)
  # named lists of strings stay lists in JSON, also of one element
  names_of <- function(x) if (is.null(x)) NULL else as.list(unname(x))
  columns_of <- function(batch) if (!is.null(batch)) lapply(as.list(batch), names_of)
  list(
    name = "process",
    worker = worker,
    read = function(path, options = list(), on_stage = NULL) {
      receive_paired(do.call(ask, c(
        list("read", path = path, out = worker$folder), options, list(on_stage = on_stage)
      )))
    },
    simulate = function(options) {
      reply <- do.call(ask, c(list("simulate", out = worker$folder), options))
      c(receive_paired(reply), list(truth = receive_truth(reply$truth)))
    },
    build = function(rna, peaks, options, batch = NULL) {
      do.call(ask, c(
        list("build"), send_counts(worker, rna, peaks), options,
        list(batch = as.list(names(batch)), obs = columns_of(batch))
      ))
    },
    load = function(folder) ask("load", folder = folder),
    train = function(options, on_epoch, on_stage) {
      reply <- do.call(ask, c(
        list("train"), options, list(on_epoch = on_epoch, on_stage = on_stage)
      ))
      # an interrupt before the first epoch was complete has failed the request already
      list(stopped = FALSE, interrupted = reply$interrupted)
    },
    fitted = function() {
      reply <- ask("fitted", latent = file_for("latent"), probabilities = file_for("probabilities"))
      reply$latent <- receive_matrix(reply$latent)
      reply$probabilities <- receive_matrix(reply$probabilities)
      reply
    },
    embed = function(rna, peaks, modality, batch = NULL, on_stage = NULL) {
      reply <- do.call(ask, c(
        list(
          "embed",
          modality = modality, latent = file_for("latent"), obs = columns_of(batch),
          on_stage = on_stage
        ),
        send_counts(worker, rna, peaks)
      ))
      receive_matrix(reply$latent)
    },
    responsibilities = function(latent) {
      sent <- send_matrix(latent, file_for("points"))
      reply <- ask("responsibilities", latent = sent, probabilities = file_for("probabilities"))
      receive_matrix(reply$probabilities)
    },
    decode = function(latent, modality, features, library.size, batch = NULL) {
      reply <- ask(
        "decode",
        latent = send_matrix(latent, file_for("points")), values = file_for("values"),
        modality = modality, features = names_of(features), library_size = library.size,
        batch = batch
      )
      t(receive_matrix(reply$values))
    },
    decode_to_file = function(path, latent, modality, cells, features, library.size, threshold,
                              log, batch = NULL, on_stage = NULL) {
      ask(
        "decode_to_file",
        latent = send_matrix(latent, file_for("points")), path = path, modality = modality,
        cells = names_of(cells), features = names_of(features), library_size = library.size,
        threshold = threshold, log = log, batch = batch, on_stage = on_stage
      )
      invisible()
    },
    differential = function(rna, peaks, file, groups, modality, features, options, batch = NULL) {
      do.call(ask, c(
        list(
          "differential",
          labels = write_names(groups$labels, file_for("labels")), table = file,
          modality = modality, features = names_of(features),
          group1 = groups$group1, group2 = groups$group2, obs = columns_of(batch)
        ),
        options, send_counts(worker, rna, peaks)
      ))
    },
    save = function(folder) {
      ask("save", folder = folder)
      invisible()
    },
    close = function() stop_worker(worker)
  )
}

# ---- the process ---------------------------------------------------------------------------------

start_worker <- function(choice) {
  folder <- tempfile("scmvp-worker-")
  dir.create(folder)
  restore <- hide_r_libraries()
  on.exit(restore())
  # else the forks of parallel are never seen to end in a session that has started a process, and R
  # cannot shut down (processx reads it at its first process)
  if (Sys.getenv("PROCESSX_NOTIFY_OLD_SIGCHLD") == "") {
    Sys.setenv(PROCESSX_NOTIFY_OLD_SIGCHLD = "true")
  }
  worker <- new.env()
  worker$choice <- choice
  worker$folder <- folder
  worker$requests <- 0
  places <- c(core_source(), Filter(nzchar, Sys.getenv("PYTHONPATH")))
  worker$process <- tryCatch(
    processx::process$new(
      choice$python, c("-m", "scmvp.worker"),
      stdin = "|", stdout = "|", stderr = file.path(folder, "stderr"), encoding = "UTF-8",
      env = c("current", PYTHONPATH = paste(places, collapse = .Platform$path.sep)),
      cleanup_tree = TRUE
    ),
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
  request <- file.path(worker$folder, paste0(worker$requests, ".json"))
  text <- jsonlite::toJSON(
    c(list(do = verb, tell = !is.null(on_stage)), arguments),
    auto_unbox = TRUE, null = "null", na = "null", digits = NA
  )
  writeLines(enc2utf8(text), request, useBytes = TRUE)
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
      return(jsonlite::fromJSON(event$done, simplifyDataFrame = FALSE, simplifyMatrix = FALSE))
    } else {
      heed_event(worker, event, on_epoch, on_stage)
    }
  }
}

# What is said on the way to a reply, or instead of one.
heed_event <- function(worker, event, on_epoch, on_stage) {
  if (!is.null(event$epoch)) {
    if (isTRUE(on_epoch(event$epoch))) worker$process$interrupt()
  } else if (!is.null(event$stage)) {
    if (isTRUE(on_stage(event$stage))) worker$process$interrupt()
  } else if (!is.null(event$note)) {
    message(as_sentence(event$note))
  } else if (!is.null(event$failed)) {
    refuse_python_error(event$failed$type, event$failed$message, event$failed$traceback)
  }
}

# A worker that is gone already is found out when its answer is awaited.
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
  killed <- is.numeric(status) && (status < 0 || status > 128)
  if (killed) {
    refuse(
      "the Python process of scMVP was killed (signal ", if (status < 0) -status else status - 128,
      "), most often because memory ran out; nothing was changed: model fewer features (a higher ",
      "min.cells, or rna.features and peak.features of a Seurat object) or free memory, and run ",
      "it again.",
      class = "core", details = said
    )
  }
  refuse(
    "the Python process of scMVP (", choice$python, ") ended with status ", status,
    if (length(last) > 0) paste0(" (", trimws(last), ")"),
    "; nothing was changed: see scMVP_config(), or run install_scMVP() to mend the environment.",
    class = if (worker$requests <= 1) "python" else "core", details = said
  )
}

# ---- matrices ------------------------------------------------------------------------------------

# The three vectors of each dgCMatrix and the names, as files.
send_counts <- function(worker, rna, peaks) {
  lapply(list(rna = rna, atac = peaks), function(counts) {
    file <- tempfile("counts-", worker$folder)
    parts <- list(x = counts@x, i = counts@i, p = counts@p)
    short <- fit_float32(counts@x)
    files <- lapply(names(parts), function(part) {
      size <- if (part == "x" && short) 4 else NA_integer_
      write_vector(parts[[part]], paste0(file, ".", part), size)
    })
    names(files) <- names(parts)
    c(files, list(
      type = if (short) "float32" else "float64",
      cells = write_names(colnames(counts), paste0(file, ".cells")),
      features = write_names(rownames(counts), paste0(file, ".features"))
    ))
  })
}

# Whether all values are whole numbers that float32 holds exactly, as counts are: the core keeps
# float32, and would hold both while it turns doubles into it.
fit_float32 <- function(x) {
  all(vapply(pieces_of(length(x)), function(at) {
    value <- x[at[1]:at[2]]
    whole <- isTRUE(all(value == trunc(value))) && max(abs(range(value))) <= 2^24
    free_piece(at)
    whole
  }, logical(1)))
}

# In pieces: one call of writeBin() takes less than 2 GB.
write_vector <- function(x, path, size = NA_integer_) {
  connection <- file(path, "wb")
  on.exit(close(connection))
  for (at in pieces_of(length(x))) {
    writeBin(x[at[1]:at[2]], connection, size = size)
    free_piece(at)
  }
  path
}

# R would let the pieces of a large matrix pile up to the size of the matrix before it frees them.
free_piece <- function(at) {
  if (at[1] > 1) gc(verbose = FALSE, full = FALSE)
}

# First and last of positions 1 to n, some millions at a time.
pieces_of <- function(n, piece = 2^22) {
  if (n == 0) {
    return(list())
  }
  lapply(seq(1, n, by = piece), function(first) c(first, min(n, first + piece - 1)))
}

write_names <- function(x, path) {
  connection <- file(path, "wb")
  on.exit(close(connection))
  writeLines(enc2utf8(x), connection, sep = "\n", useBytes = TRUE)
  path
}

send_matrix <- function(x, path) {
  list(file = write_vector(as.double(x), path), dim = dim(x))
}

receive_matrix <- function(at) {
  values <- readBin(at$file, "double", prod(at$dim), size = 4)
  unlink(at$file)
  matrix(values, at$dim[1], at$dim[2])
}

# What the verbs `read` and `simulate` have written, as paired_of() has it.
receive_paired <- function(reply) {
  list(
    rna = receive_modality(reply$rna),
    atac = receive_modality(reply$atac),
    cells = receive_table(reply$obs)
  )
}

receive_modality <- function(at) {
  cells <- receive_names(at$cells)
  features <- receive_names(at$features)
  list(
    counts = methods::new(
      "dgCMatrix",
      x = receive_vector(at$x, "double"),
      i = receive_vector(at$i, "integer"),
      p = receive_vector(at$p, "integer"),
      Dim = c(length(features), length(cells)),
      Dimnames = list(features, cells)
    ),
    features = receive_table(at$var)
  )
}

receive_truth <- function(at) {
  types <- as.character(unlist(at$types))
  profiles <- lapply(at[c("rna", "atac")], function(profile) {
    values <- receive_vector(profile$file, "double")
    matrix(
      values, profile$dim[1], profile$dim[2],
      dimnames = list(receive_names(profile$features), types)
    )
  })
  c(list(links = receive_table(at$links)), profiles)
}

receive_vector <- function(path, what) {
  size <- c(double = 8, integer = 4)[[what]]
  readBin(path, what, file.size(path) / size)
}

receive_names <- function(path) readLines(path, encoding = "UTF-8", warn = FALSE)

# A data frame column by column.
receive_table <- function(at) {
  table <- data.frame(row.names = receive_names(at$index))
  for (name in names(at$columns)) table[[name]] <- column_of(at$columns[[name]])
  table
}
