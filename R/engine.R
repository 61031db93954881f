# Where the Python core runs: inside this R process (reticulate), or in a process of its own
# (processx). An engine is a list of `name`, `close` and the verbs below around at most one model
# (scmvp.service). The two differ only in how a verb and its values are transferred: in the
# function call(verb, arguments, on_epoch, on_stage), which returns list(value, stopped).
#
# Arguments: vectors of length 1 arrive as single values, lists as lists; a dgCMatrix (features x
# cells) and a matrix as what they are. on_stage is called with the stages of the work (see
# watched()) and on_epoch after each epoch; both may be NULL. What the core refuses comes back from
# either as the same R condition.

backends <- c("auto", "reticulate", "process")

open_engine <- function(backend = "auto", torch = TRUE) {
  chosen <- choose_backend(backend)
  if (chosen$name == "process") process_engine(chosen) else inside_engine(torch)
}

new_engine <- function(name, call, close) {
  text <- text_exchange()
  ask <- function(verb, ..., on_epoch = NULL, on_stage = NULL) {
    answer <- call(verb, text$send(list(...)), on_epoch, on_stage)
    # a training keeps what it has, nothing else does
    if (answer$stopped && verb != "train") rlang::interrupt()
    if (verb != "train") {
      return(text$receive(answer$value))
    }
    list(stopped = answer$stopped, interrupted = isTRUE(answer$value$interrupted))
  }
  # with the options of the verb
  ask_with <- function(verb, options, ...) do.call(ask, c(list(verb), options, list(...)))
  c(list(name = name, close = close), model_verbs(ask, ask_with), result_verbs(ask, ask_with))
}

# Verbs that read cells, and make a model of them.
model_verbs <- function(ask, ask_with) {
  list(
    read = function(path, options = list(), on_stage = NULL) {
      ask_with("read", options, path = path, on_stage = on_stage)
    },
    # paths with or without names
    read_samples = function(paths, options = list(), on_stage = NULL) {
      ask_with("read_samples", options, paths = as.list(paths), on_stage = on_stage)
    },
    simulate = function(options) ask_with("simulate", options),
    # of it: account, genes, peaks, proteins (NULL where it has none), batch. `counts` by kind, here
    # and below: a kind that is NULL, or not there, has none
    build = function(counts, options, batch = NULL) {
      ask_with(
        "build", options,
        counts = as_sent(counts), batch = as.list(names(batch)), obs = vectors_of(batch)
      )
    },
    # of a saved model: genes, peaks, proteins, batch, history, summary, tree
    load = function(folder) ask("load", folder = folder),
    # whether it was interrupted, and stopped before it could keep anything
    train = function(options, on_epoch, on_stage) {
      ask_with("train", options, on_epoch = on_epoch, on_stage = on_stage)
    },
    # of it: latent, probabilities, history, summary, tree; matrices without names
    fitted = function() ask("fitted"),
    # cells x dimensions
    embed = function(counts, modality, batch = NULL, on_stage = NULL) {
      ask(
        "embed",
        counts = as_sent(counts), modality = modality, obs = vectors_of(batch), on_stage = on_stage
      )
    },
    # cells x clusters. `level` of their tree: list(n_clusters) or list(resolution), or none
    responsibilities = function(latent, level = NULL) {
      ask_with("responsibilities", as.list(level), latent = unname(latent))
    },
    # how the components merge, and the cluster of each at such a level, NULL where it is the
    # component; NULL of a model of an earlier version
    tree = function(level = NULL) ask_with("tree", as.list(level))
  )
}

# Verbs that compute something of a model, or of cells.
result_verbs <- function(ask, ask_with) {
  list(
    # features x cells
    decode = function(latent, modality, features, library.size, batch = NULL) {
      ask(
        "decode",
        latent = unname(latent), modality = modality, features = list_of(features),
        library_size = library.size, batch = batch
      )
    },
    decode_to_file = function(path, latent, modality, cells, features, library.size, threshold,
                              log, batch = NULL, on_stage = NULL) {
      ask(
        "decode_to_file",
        path = path, latent = unname(latent), modality = modality, cells = list_of(cells),
        features = list_of(features), library_size = library.size, threshold = threshold,
        log = log, batch = batch, on_stage = on_stage
      )
    },
    # of it: table, typical (log2 fold change of the typical feature)
    differential = function(counts, groups, modality, features, options, batch = NULL) {
      ask_with(
        "differential", options,
        counts = as_sent(counts), labels = list_of(groups$labels), levels = list_of(groups$levels),
        group1 = groups$group1, group2 = groups$group2, modality = modality,
        features = list_of(features), obs = vectors_of(batch)
      )
    },
    # a score per cell, NaN where a modality has no counts
    doublets = function(counts, options, batch = NULL) {
      ask_with("doublets", options, counts = as_sent(counts), obs = vectors_of(batch))
    },
    # of it: z (motifs x cells), motifs, genes. `from` is that of with_accessibility(), and `motifs`
    # that of motifs_to_score()
    motifs = function(from, motifs, gc, options) {
      file <- is.character(motifs)
      ask_with(
        "motifs", c(options, from),
        motifs = if (file) motifs else motifs$matches,
        genes = if (!file) list_of(motifs$genes), gc = as.numeric(gc),
        gc_peaks = list_of(as.character(names(gc)))
      )
    },
    # data frames, as RankMotifsSCMVP(), MotifExpressionSCMVP() and RegulonsSCMVP() have them.
    # `scores`: of motif_scores(); `from`: values of expression_source()
    rank_motifs = function(scores, groups) {
      ask_with("rank_motifs", c(scores_of(scores), labels_of(groups)))
    },
    motif_expression = function(scores, from) {
      ask_with("motif_expression", c(scores_of(scores), from))
    },
    regulons = function(links, motifs, cells, from, options) {
      file <- is.character(motifs)
      ask_with(
        "regulons", c(options, from),
        links = vectors_of(links),
        motifs = if (file) motifs else motifs$matches,
        motif_genes = if (!file) list_of(motifs$genes), cells = list_of(cells)
      )
    },
    # of it: values (genes x cells), genes
    gene_activity = function(from, places, options) {
      ask_with("gene_activity", c(options, from), places = vectors_of(places))
    },
    # data frame, as LinkPeaksSCMVP() has it. `from`: of with_accessibility(); `groups`: NULL or a
    # factor; `spelling`: of spelling_in_object()
    links = function(from, places, groups, spelling, options) {
      ask_with(
        "links", c(options, from),
        places = vectors_of(places), labels = labels_of(groups)$labels,
        levels = labels_of(groups)$levels, genes = list_of(spelling$rna),
        peaks = list_of(spelling$atac)
      )
    },
    # of it: calibrated (a probability per link), weights. Data frames, or NULL; weights: those of
    # an earlier call
    calibrate = function(links, known, weights) {
      ask(
        "calibrate",
        links = vectors_of(links), known = vectors_of(known),
        weights = weights
      )
    },
    # data frame, as FeaturesAlongSCMVP() has it
    along = function(counts, time, options) {
      ask_with("along", options, counts = counts, time = time)
    },
    # of it: values (features x places), grid (their pseudotimes)
    trends = function(counts, time, options) {
      ask_with("trends", options, counts = counts, time = time)
    },
    # data frame, as TransferLabelsSCMVP() has it
    transfer = function(reference, labels, query, options) {
      ask_with(
        "transfer", options,
        reference = unname(reference), labels = list_of(labels), query = unname(query)
      )
    },
    # writes an HTML file. `counts`: by kind, or NULL; `columns` of `data` are shown
    report = function(path, latent, counts, data, columns, options, on_stage) {
      ask_with(
        "report", options,
        path = path, latent = unname(latent), cells = list_of(rownames(latent)),
        counts = as_sent(counts), obs = vectors_of(data), columns = list_of(columns),
        levels = lapply(Filter(is.factor, as.list(data)), function(x) list_of(levels(x))),
        on_stage = on_stage
      )
    },
    save = function(folder) ask("save", folder = folder)
  )
}

# A vector as what arrives as a list: one of length 1 as a list, or it would be a single value; a
# longer one as it is, because a list takes ten times as long.
# Missing text and logical values are NULL there, missing whole numbers NaN: reticulate makes "NA",
# TRUE and -2147483648 of them.
list_of <- function(x) {
  if (is.null(x)) return(NULL)
  x <- unname(x)
  if (inherits(x, "integer64")) {
    check_installed("bit64", "columns of class integer64")
    x <- getExportedValue("bit64", "as.double.integer64")(x)
  }
  if (is.atomic(x) && anyNA(x)) {
    if (is.integer(x)) x <- as.double(x)
    if (!is.double(x)) x <- lapply(x, function(value) if (!is.na(value)) value)
  }
  if (length(x) == 1) as.list(x) else x
}

# A data frame as lists by column, of text where it has factors; NULL for none.
vectors_of <- function(table) {
  if (is.null(table)) return(NULL)
  lapply(as.list(table), function(x) list_of(if (is.factor(x)) as.character(x) else x))
}

# Counts by kind as counts by the core's modalities; NULL for none.
as_sent <- function(counts) {
  there <- without_nulls(counts)
  if (length(there) > 0) stats::setNames(there, of_kind(names(there), "core"))
}

# The groups of cells, missing for none, and what there are; `groups`: NULL or a factor.
labels_of <- function(groups) {
  if (is.null(groups)) {
    return(NULL)
  }
  list(labels = list_of(as.character(groups)), levels = list_of(levels(groups)))
}

# z-scores as the verbs take them.
scores_of <- function(scores) {
  list(
    z = unname(scores$z), motifs = list_of(rownames(scores$z)), cells = list_of(colnames(scores$z)),
    motif_genes = list_of(scores$genes)
  )
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
  if (backend == "process") {
    # not process_choice(), which may start Python to find one: that is asked once, at the start
    return(is_kept(session$worker$choice))
  }
  !in_fork() && !is.null(session$core) && (!torch || !is.null(session$torch))
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
  choice <- process_choice()
  if (!is_kept(choice)) refuse_unusable(choice, probe_python(choice$python), inside = FALSE)
  choice
}

process_choice <- function() {
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
  choice
}

# ---- values of the core --------------------------------------------------------------------------

# A value in R's binary format, which the core reads and writes (scmvp.r.rserial).
write_value <- function(value, path) {
  connection <- file(path, "wb")
  on.exit(close(connection))
  serialize(value, connection, version = 2, xdr = FALSE)
}

# The file goes.
read_value <- function(path) {
  connection <- file(path, "rb")
  on.exit({
    close(connection)
    unlink(path)
  })
  unserialize(connection)
}

# A table of the engine with text instead of factors, `group` in the order of `levels`, and NA where
# a number is not known.
engine_table <- function(table, levels = NULL) {
  text <- intersect(c("group", "tf", "motif", "peak", "gene", "kind", "seqnames"), names(table))
  table[text] <- lapply(table[text], as.character)
  if (!is.null(levels)) table$group <- factor(table$group, levels)
  numbers <- setdiff(names(table), text)
  table[numbers] <- lapply(table[numbers], function(x) replace(x, is.nan(x), NA))
  rownames(table) <- NULL
  table
}
