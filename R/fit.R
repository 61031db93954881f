# The fit itself: sparse matrices and options in, results in R out.

# Which features to impute after the fit by kind, known before it. `modelled`: features by kind;
# `variable`: what impute = "variable" means; `named`: genes the user has named, all of which must
# be modelled.
plan_imputation <- function(modelled, n_cells, impute, variable, named, impute.peaks,
                            impute.proteins, min.cells, max.gb) {
  genes <- switch(impute,
    none = character(),
    all = modelled$rna,
    variable = {
      chosen <- intersect(variable, modelled$rna)
      if (length(chosen) > 0) chosen else modelled$rna
    }
  )
  unmodelled <- function(features) {
    paste0(
      "it has only ", features, " that were chosen and have counts in enough cells (min.cells = ",
      min.cells, ")"
    )
  }
  if (!is.null(named)) {
    genes <- check_names_known(
      named, modelled$rna, "impute.genes", "in the model", unmodelled("genes")
    )
  }
  peaks <- character()
  if (!is.null(impute.peaks)) {
    peaks <- check_names_known(
      impute.peaks, modelled$peaks, "impute.peaks", "in the model", unmodelled("peaks")
    )
  }
  proteins <- if (impute.proteins) modelled$protein else character()
  wanted <- list(rna = genes, peaks = peaks, protein = proteins)
  every <- is.null(named) && impute == "variable" && length(variable) == 0
  check_memory(lengths(wanted), n_cells, max.gb, "the imputed values", paste0(
    # NULL where the class of the object knows none
    if (every && !is.null(variable)) "run FindVariableFeatures() first, or ",
    ask_for_less(wanted, if (is.null(named)) "impute = \"none\"" else "fewer impute.genes"),
    " (ImputeSCMVP() imputes others later)"
  ))
  wanted
}

# What keeps imputed values small. `wanted`: features by kind; `genes`: what there are fewer genes
# by.
ask_for_less <- function(wanted, genes = "fewer impute.genes") {
  less <- c(rna = genes, peaks = "fewer impute.peaks", protein = "impute.proteins = FALSE")
  paste("use", paste(less[names(wanted)[lengths(wanted) > 0]], collapse = " or "))
}

# The fit of checked settings.
fit_with <- function(settings, counts, impute, variable = NULL, impute.genes = NULL,
                     impute.peaks = NULL, impute.proteins = FALSE, batch = NULL) {
  fit <- fit_core(
    counts, c(settings$options, list(batch = names(batch))), batch,
    plan = function(modelled) {
      plan_imputation(
        modelled, ncol(counts[[1]]), impute, variable, impute.genes, impute.peaks, impute.proteins,
        settings$options$min.cells, settings$max.gb
      )
    },
    model.file = settings$model.file, verbose = settings$verbose, backend = settings$backend
  )
  fit["batch"] <- list(batch)
  fit
}

# From a dgCMatrix (features x the same cells) of each kind to results in R. `plan` is called
# between building the model and training it, with the features that are modelled, by kind. `batch`:
# see batch_columns().
fit_core <- function(counts, options, batch, plan, model.file, verbose, backend = "auto") {
  watched(verbose, function(watch) {
    with_engine(backend, watch = watch, f = function(engine) {
      fit_on(engine, counts, options, batch, plan, model.file, verbose, watch)
    })
  })
}

fit_on <- function(engine, counts, options, batch, plan, model.file, verbose, watch) {
  cells <- colnames(counts[[1]])
  if (verbose && engine$name == "process") message("training in a Python process of its own")
  built <- watch$during("checking the counts", engine$build(counts, list(
    n_latent = options$n.latent, n_clusters = options$n.clusters, preset = options$preset,
    min_cells = options$min.cells
  ), batch))
  wanted <- plan(by_kind(all_kinds, function(kind) built[[features_of_kind(kind)]]))
  if (verbose) tell_account(built$account)
  ended <- engine$train(
    list(
      max_epochs = options$max.epochs, batch_size = options$batch.size,
      lr = options$learning.rate, seed = options$seed.use, device = options$device,
      threads = options$threads
    ),
    on_epoch = watch$epoch, on_stage = watch$stage
  )
  # nothing to keep: no epoch was completed, or the user interrupted a later step
  if (ended$stopped && !ended$interrupted) rlang::interrupt()
  fitted <- engine$fitted()
  if (verbose) tell_summary(fitted$summary)
  named <- name_cells(fitted$latent, fitted$probabilities, cells)
  decoded <- function(kind) {
    decode_features(engine, named$latent, kind, wanted[[kind]], wanted[[kind]], watch)
  }
  c(
    list(id = format(Sys.time(), "%Y-%m-%d %H:%M:%OS6")),
    named,
    list(
      imputed = by_kind(names(counts), decoded),
      options = c(options, list(backend = engine$name)),
      history = as.data.frame(fitted$history),
      summary = fitted$summary,
      tree = fitted$tree,
      spelling = by_core_name(names(counts), function(kind) {
        features <- built[[features_of_kind(kind)]]
        unless_identical(features, as_utf8(features))
      }),
      interrupted = ended$interrupted,
      staged = stage_fit(engine, model.file)
    )
  )
}

# Latent and clusters of `cells`, under their names.
name_cells <- function(latent, probabilities, cells) {
  label <- max.col(probabilities, ties.method = "first")
  dimnames(latent) <- list(cells, NULL)
  dimnames(probabilities) <- list(cells, seq_len(ncol(probabilities)) - 1L)
  list(
    latent = latent,
    probabilities = probabilities,
    cluster = stats::setNames(factor(label - 1L), cells),
    cluster_prob = stats::setNames(probabilities[cbind(seq_along(label), label)], cells)
  )
}

epoch_line <- function(epoch) {
  left <- epoch$seconds_left
  sprintf(
    "epoch %d/%d  %-7s  ELBO %s, held-out %s  %s, %s cells/s%s",
    as.integer(epoch$epoch), as.integer(epoch$max_epochs), epoch$phase,
    in_short(epoch$elbo_train), in_short(epoch$elbo_validation), duration(epoch$seconds),
    format_count(round(epoch$cells_per_second)),
    if (is.numeric(left) && is.finite(left)) paste0(", ", duration(left), " left") else ""
  )
}

in_short <- function(x) if (is.numeric(x)) sprintf("%.1f", x) else "-"

duration <- function(seconds) {
  if (seconds < 120) sprintf("%.0f s", seconds) else sprintf("%.0f min", seconds / 60)
}

tell_account <- function(account) {
  modeled <- unlist(lapply(setdiff(all_kinds, "protein"), function(kind) {
    n <- account[[paste0("n_", features_of_kind(kind))]]
    of <- account[[paste0("n_", features_of_kind(kind), "_in")]]
    if (!is.null(n)) paste(format_count(n), "of", count_of(of, of_kind(kind, "feature")))
  }))
  seen <- paste0(" (seen in at least ", count_of(account$min_cells, "cell"), "), ")
  message(
    if (length(modeled) > 0) paste0("modeling ", in_a_row(modeled), seen),
    if (is.null(account$n_clusters)) {
      "clusters to be found"
    } else {
      paste0(
        count_of(account$n_clusters, "cluster"),
        if (isTRUE(account$n_clusters_estimated)) " (estimated)"
      )
    }
  )
  if (!is.null(account$n_proteins)) {
    message(
      if (length(modeled) > 0) "and " else "modeling ", format_count(account$n_proteins), " of ",
      count_of(account$n_proteins_in, "protein"), ", without their background"
    )
  }
  if (isTRUE(account$atac_insertions)) {
    message("the ATAC counts are insertions (most are even): the model converts them to fragments")
  }
  for (kind in all_kinds) {
    n <- account[[paste0("cells_without_", of_kind(kind, "core"))]]
    if (!is.null(n) && n > 0) {
      message(count_of(n, "cell"), " without any ", of_kind(kind, "label"), " count")
    }
  }
}

tell_summary <- function(summary) {
  message(
    count_of(summary$epochs, "epoch"), " in ", duration(summary$seconds_fit), "; ",
    if (isTRUE(summary$account$n_clusters_estimated) && summary$n_clusters < summary$n_components) {
      paste0(
        count_of(summary$n_clusters, "cluster"), " of ", count_of(summary$n_components, "component")
      )
    } else {
      paste(
        format_count(summary$n_clusters_used), "of", count_of(summary$n_clusters, "cluster"),
        "in use"
      )
    }
  )
}

warn_interrupted <- function(fit) {
  if (fit$interrupted) {
    warn_of(
      "interrupted", "the fit was interrupted after ", count_of(nrow(fit$history), "epoch"),
      "; the best state so far was kept."
    )
  }
}
