# What RunMotifSCMVP() and GeneActivitySCMVP() have in common: values of cells that are sums over
# sets of peaks, from imputed or measured accessibility, and where they go.

# f(engine, from, model) on an engine with the model of the object, list(result, cells, home).
# `from`: the accessibility of the cells, as the verbs of the engine take it. `record`:
# stored_results() of the reduction; `request`: list(values, batch, backend, verbose).
with_accessibility <- function(object, record, reduction, peaks, request, f) {
  home <- home_of(object, reduction)
  latent <- latent_of(object, reduction)
  cells <- rownames(latent)
  counts <- if (request$values == "measured") {
    measured_peaks(object, record, reduction, home, cells, peaks)
  }
  answer <- function(engine, watch) {
    model <- restore_model(record$model, engine)
    features_in_model(model, "peaks")
    from <- list(cells = list_of(cells), on_stage = watch$stage)
    if (is.null(counts)) {
      from <- c(from, list(latent = unname(latent), batch = request$batch))
    } else {
      from$atac <- counts_in_model(list(peaks = counts), model, cells, request$verbose)$peaks
    }
    f(engine, Filter(Negate(is.null), from), model)
  }
  result <- watched(request$verbose, function(watch) {
    with_engine(request$backend, watch = watch, f = function(engine) answer(engine, watch))
  })
  list(result = result, cells = cells, home = home, record = record)
}

measured_peaks <- function(object, record, reduction, home, cells, peaks) {
  refuse_other_model("peaks", kinds_of_model(record$model))
  counts <- counts_of_fit(object, record, reduction, home, cells, peaks = peaks)$peaks
  if (is.null(counts)) {
    refuse(
      "the counts of the peaks are not in the object: ", where_counts_are(record$options, "peaks"),
      " Or take values = \"imputed\"."
    )
  }
  counts
}

activity_request <- function(values, batch, backend, verbose) {
  values <- check_choice(values, c("imputed", "measured"), "values")
  batch <- check_batch_level(batch)
  if (values == "measured" && !is.null(batch)) {
    refuse(
      "batch is for imputed values, and measured counts belong to the batch of their cell: leave ",
      "it out, or take values = \"imputed\"."
    )
  }
  list(
    values = values, batch = batch, backend = check_choice(backend, backends, "backend"),
    verbose = check_flag(verbose, "verbose")
  )
}

# Arguments of a verb that are for the other values, or for an object as the result.
refuse_of_other_values <- function(values, as, call, frame, only_imputed = character()) {
  if (values == "imputed") refuse_unused(call, frame, "peaks", "values = \"measured\"")
  if (values == "measured") refuse_unused(call, frame, only_imputed, "values = \"imputed\"")
  if (as == "matrix") refuse_unused(call, frame, "assay.name", "as = \"object\"")
}

# Whether the result is "object" or "matrix".
activity_kind <- function(object, as) {
  if (about(object)$part == "matrix" && is.null(as)) as <- "matrix"
  as <- if (is.null(as)) "object" else check_choice(as, c("object", "matrix"), "as")
  if (as == "object" && about(object)$part == "matrix") {
    refuse("a scMVPFit holds no assays: use as = \"matrix\".")
  }
  as
}

# The name of an assay of activities of a kind, refused where something else has it.
check_activity_name <- function(object, name, reduction, record, kind) {
  check_column_name(name, "assay.name")
  parts <- parts_of(object, assay.type = record$options$assay.type, fitted = TRUE)
  refuse_foreign_part(parts, about(object), name, reduction, kind, "assay.name")
  refuse_key_of_another(object, tolower(key_for(name)), name, "assay.name")
}

# The object with values (features x cells) of a kind ("motif" or "gene") as a new assay. `layer`:
# what an alternative experiment calls them; `genes`: of motifs, by their names.
put_activity <- function(object, name, values, kind, layer, found, reduction, request,
                         genes = NULL) {
  mark <- list(
    reduction = reduction, fit = found$record$fit, modality = kind, layer = layer,
    values = request$values, log = FALSE
  )
  mark$genes <- genes
  put_results(object, new_results(home = found$home, imputed = list(list(
    name = name, key = tolower(key_for(name)), values = values, mark = mark, source = NULL
  ))))
}
