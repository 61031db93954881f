#' Embed other cells with a fitted model
#'
#' Puts new cells into the latent space of a fitted model, without training: cells of another
#' sample, cells in which only RNA or only ATAC was read, or the very cells of a model that was
#' trained elsewhere (`scmvp fit` on a machine with a GPU) and is to be attached to their object
#' here. The query comes back as [RunSCMVP()] would return it, model included, so that
#' [ImputeSCMVP()] imputes any modelled feature, also of the modality that the query lacks.
#'
#' @section Features:
#' The query needs the features the model was fitted on, by name. Spellings of the same peak
#' (`chr1-100-200`, `chr1:100-200`, `chr1_100_200`) and names in which Seurat has turned `_` into
#' `-` are recognised; names in the query are never changed. Peaks must be those of the model, so
#' count them in its peaks, e.g. with `Signac::FeatureMatrix(features = )`. Features that the query
#' lacks count as zero, which is right for genes dropped because no cell had them; their number is
#' said, and with fewer than `min.shared` of the features there it is refused.
#'
#' @section Batches:
#' The model is not adapted to the query: a shift between laboratories or technologies stays
#' visible in the latent. A model that was fitted with `batch` looks for the same columns in the
#' query's metadata (`colData`; for matrices, give `batch`); a level that it has not seen is read as
#' if it were the average batch, and that is said.
#'
#' @param model A model: what [RunSCMVP()] returned, a model from [LoadSCMVP()], or the path of a
#'   model folder (`SaveSCMVP()`, or `model/` in the output of `scmvp fit`).
#' @param query A Seurat object, SingleCellExperiment, MultiAssayExperiment, matrix of RNA counts
#'   (genes x cells) or the path of a file that [ReadSCMVP()] reads.
#' @param ... For a path: arguments of the Seurat method. Unknown ones are refused by name.
#' @param mosaic,rna.layer,peak.layer For a path: as in [ReadSCMVP()].
#' @param modality What the cells are embedded from: `"joint"` (both), `"rna"` or `"peaks"`; `NULL`:
#'   all that the query has.
#' @param rna.assay,peak.assay Names of the assays of a Seurat object; `NULL` finds them.
#' @param rna.experiment,peak.experiment,assay.type As for [RunSCMVP()].
#' @param peaks A matrix of ATAC counts, peaks x cells, beside `query` or alone (`query = NULL`);
#'   for a SingleCellExperiment, also another one.
#' @param impute.genes,impute.peaks Names of features to impute at once, as in [RunSCMVP()].
#' @param reduction.name,reduction.key Names of the result, as for [RunSCMVP()].
#' @param model.reduction Name of the reduction that holds the model, when `model` is an object.
#' @param batch For matrices and a model fitted with batches: those of the query's cells, as for
#'   [RunSCMVP()].
#' @param min.shared Smallest share of the model's genes, and of its peaks, that the query must
#'   have.
#' @param max.gb Largest imputed result in GB.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Show what was taken and matched.
#' @return The query with a reduction, `scmvp_cluster` (numbered as in the model) and
#'   `scmvp_cluster_prob`, the model, and the assays asked for; for matrices a list of class
#'   `scMVPFit`. See [RunSCMVP()].
#' @section Errors:
#' `scmvp_error_input` when the query lacks the modality or too many features, or has cells without
#' any count in it; `scmvp_error_model` when the model cannot be read.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   reference <- RunSCMVP(
#'     subset(object, cells = colnames(object)[1:150]),
#'     n.clusters = 3, max.epochs = 5, verbose = FALSE
#'   )
#'   query <- subset(object, cells = colnames(object)[151:200])
#'   query[["ATAC"]] <- NULL # only RNA was read in these
#'   query <- ProjectSCMVP(reference, query)
#'   peaks <- rownames(object[["ATAC"]])[1:3]
#'   ImputeSCMVP(query, "peaks", features = peaks, by = "scmvp_cluster")
#' }
#' @export
ProjectSCMVP <- function(model, query = NULL, ...) {
  UseMethod("ProjectSCMVP", query)
}

#' @rdname ProjectSCMVP
#' @export
ProjectSCMVP.Seurat <- function(model, query, modality = NULL, rna.assay = NULL, peak.assay = NULL,
                                impute.genes = NULL, impute.peaks = NULL, reduction.name = "scmvp",
                                reduction.key = NULL, model.reduction = "scmvp", min.shared = 0.8,
                                max.gb = 4, backend = c("auto", "reticulate", "process"),
                                verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("model", "query", "...")))
  projection <- projection_settings(
    model, model.reduction, modality, impute.genes, impute.peaks, min.shared, max.gb, backend,
    verbose
  )
  names <- result_names(
    query, reduction.name, reduction.key,
    new = c(rna = !is.null(impute.genes), atac = !is.null(impute.peaks))
  )
  wanted <- projection$wanted
  assays <- find_query_assays(
    query, rna.assay, peak.assay, wanted,
    known = list(fitted_names(query, reduction.name), fitted_names(model, model.reduction))
  )
  if (verbose) {
    for (name in unlist(assays)) {
      message("assay '", name, "' (", count_of(nrow(query[[name]]), "feature"), ")")
    }
  }
  fit <- project(
    projection,
    rna = if (!is.null(assays$rna)) cells_of(query[[assays$rna]], query, assays$rna),
    peaks = if (!is.null(assays$peaks)) cells_of(query[[assays$peaks]], query, assays$peaks),
    batches = function(names, cells) {
      batches_of_model(names, cells, query[[]], "the query's metadata")
    }
  )
  mark <- list(reduction = reduction.name, fit = fit$id, library.size = 1e4)
  query <- add_results(query, fit, names, assays, mark, verbose)
  command <- project_command(match.call(), environment(), reduction.name, unlist(assays)[1])
  query[[methods::slot(command, "name")]] <- command
  query
}

#' @rdname ProjectSCMVP
#' @export
ProjectSCMVP.SummarizedExperiment <- function(model, query, peaks = NULL, modality = NULL,
                                              rna.experiment = NULL, peak.experiment = NULL,
                                              assay.type = "counts", impute.genes = NULL,
                                              impute.peaks = NULL, reduction.name = "scmvp",
                                              reduction.key = NULL, model.reduction = "scmvp",
                                              min.shared = 0.8, max.gb = 4,
                                              backend = c("auto", "reticulate", "process"),
                                              verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("model", "query", "...")))
  projection <- projection_settings(
    model, model.reduction, modality, impute.genes, impute.peaks, min.shared, max.gb, backend,
    verbose
  )
  query <- as_sce(query)
  names <- experiment_names_for(query, reduction.name, reduction.key)
  pair <- find_query_experiments(
    experiments_of(query, peaks), rna.experiment, peak.experiment, projection$wanted
  )
  project_experiments(query, pair, assay.type, names, projection)
}

#' @rdname ProjectSCMVP
#' @export
ProjectSCMVP.MultiAssayExperiment <- function(model, query, modality = NULL, rna.experiment = NULL,
                                              peak.experiment = NULL, assay.type = "counts",
                                              impute.genes = NULL, impute.peaks = NULL,
                                              reduction.name = "scmvp", reduction.key = NULL,
                                              model.reduction = "scmvp", min.shared = 0.8,
                                              max.gb = 4,
                                              backend = c("auto", "reticulate", "process"),
                                              verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("model", "query", "...")))
  projection <- projection_settings(
    model, model.reduction, modality, impute.genes, impute.peaks, min.shared, max.gb, backend,
    verbose
  )
  pair <- find_query_experiments(
    experiments_of(query), rna.experiment, peak.experiment, projection$wanted
  )
  # the results are kept with the RNA experiment, or with the peaks where there is no RNA
  home <- if (is.null(pair$rna)) "peaks" else "rna"
  pair <- if (!is.null(pair$rna) && !is.null(pair$peaks)) {
    pair_cells(query, pair)
  } else {
    c(pair, own_units(query, pair[[paste0(home, "_name")]], colnames(pair[[home]])))
  }
  home_name <- pair[[paste0(home, "_name")]]
  pair$unit_data <- data_of_units(query, home_name, colnames(pair[[home]]))
  holder <- as_sce(pair[[home]], assay.type)
  names <- experiment_names_for(holder, reduction.name, reduction.key)
  holder <- project_experiments(holder, pair, assay.type, names, projection)
  put_experiment(query, pair, holder, names, home_name)
}

#' @rdname ProjectSCMVP
#' @export
ProjectSCMVP.character <- function(model, query, ..., mosaic = FALSE, rna.layer = NULL,
                                   peak.layer = NULL,
                                   backend = c("auto", "reticulate", "process")) {
  read <- ReadSCMVP(query, backend, mosaic, rna.layer, peak.layer, wants_words(...))
  ProjectSCMVP(model, read, ..., backend = backend)
}

#' @rdname ProjectSCMVP
#' @export
ProjectSCMVP.default <- function(model, query = NULL, peaks = NULL, modality = NULL,
                                 impute.genes = NULL, impute.peaks = NULL,
                                 batch = NULL, model.reduction = "scmvp", min.shared = 0.8,
                                 max.gb = 4, backend = c("auto", "reticulate", "process"),
                                 verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("model", "query", "...")))
  check_query_matrices(query, peaks)
  projection <- projection_settings(
    model, model.reduction, modality, impute.genes, impute.peaks, min.shared, max.gb, backend,
    verbose
  )
  if (!is.null(query) && !is.null(peaks)) peaks <- check_matrix_pair(query, peaks)
  fit <- project(
    projection,
    rna = if (!is.null(query) && "rna" %in% projection$wanted) as_dgc(query),
    peaks = if (!is.null(peaks) && "atac" %in% projection$wanted) as_dgc(peaks),
    batches = function(names, cells) {
      if (is.null(batch)) {
        refuse(
          "the model was fitted with batches (", paste(names, collapse = ", "), "): give those of ",
          "the query's cells with batch =."
        )
      }
      found <- batch_columns(batch, cells)
      if (length(names) == 1 && ncol(found) == 1) stats::setNames(found, names) else found
    }
  )
  structure(
    c(
      fit[c("latent", "cluster", "cluster_prob", "probabilities")],
      list(rna = fit$imputed$rna, peaks = fit$imputed$atac, model = fit$staged$model),
      fit[c("options", "history", "summary", "spelling", "batch")], list(fit = fit$id)
    ),
    class = "scMVPFit"
  )
}

check_query_matrices <- function(query, peaks) {
  if (!is.null(query) && !is_matrix_like(query)) {
    refuse(
      "query must be a Seurat object, a SingleCellExperiment, a MultiAssayExperiment, the path of ",
      "a file or a matrix of counts (features x cells), not an object of class ", class(query)[1],
      "."
    )
  }
  if (!is.null(peaks) && !is_matrix_like(peaks)) {
    refuse("peaks must be a matrix of counts (peaks x cells), not ", in_words(peaks), ".")
  }
  if (is.null(query) && is.null(peaks)) {
    refuse("give query (a matrix of genes x cells), peaks (peaks x cells) or both.")
  }
}

# ---- what is common ------------------------------------------------------------------------------

projection_settings <- function(model, model.reduction, modality, impute.genes, impute.peaks,
                                min.shared, max.gb, backend, verbose) {
  if (!is.null(modality)) {
    if (identical(modality, "atac")) modality <- "peaks"
    modality <- check_choice(modality, c("joint", "rna", "peaks"), "modality")
  }
  check_number(min.shared, "min.shared", min = 0)
  list(
    model = model_of(
      model, check_string(model.reduction, "model.reduction"), "model", "model.reduction"
    ),
    modality = modality,
    # what has to be there; all that is there for NULL
    wanted = if (is.null(modality)) {
      c("rna", "atac")
    } else {
      list(joint = c("rna", "atac"), rna = "rna", peaks = "atac")[[modality]]
    },
    genes = impute.genes, peaks = impute.peaks,
    min.shared = min.shared,
    max.gb = check_number(max.gb, "max.gb", min = 0),
    backend = check_choice(backend, backends, "backend"),
    verbose = check_flag(verbose, "verbose")
  )
}

# From counts of one or both modalities to results, in the form of fit_core(). `batches(names,
# cells)`: the query's values of the columns that the model has as batches.
project <- function(projection, rna, peaks, batches) {
  has <- c(rna = !is.null(rna), atac = !is.null(peaks))
  refuse_missing_modality(projection, has)
  from <- if (all(has)) "joint" else names(has)[has]
  cells <- colnames(if (has[["rna"]]) rna else peaks)
  watched(projection$verbose, function(watch) {
    with_engine(projection$backend, watch = watch, f = function(engine) {
      project_with(engine, projection, rna, peaks, cells, from, batches, watch)
    })
  })
}

project_with <- function(engine, projection, rna, peaks, cells, from, batches, watch) {
  modelled <- restore_model(projection$model, engine)
  rna <- in_model_features(rna, modelled$genes, "gene", cells, projection)
  peaks <- in_model_features(peaks, modelled$peaks, "peak", cells, projection)
  genes_wanted <- wanted_of_model(projection$genes, rna$shown, "impute.genes")
  peaks_wanted <- wanted_of_model(projection$peaks, peaks$shown, "impute.peaks")
  check_memory(
    c(length(genes_wanted), length(peaks_wanted)), length(cells), projection$max.gb,
    "the imputed values", "ask for fewer impute.genes or impute.peaks"
  )
  columns <- names(modelled$batch)
  batch <- if (length(columns) > 0) batches(columns, cells)
  latent <- watch$during(
    "embedding the cells", engine$embed(rna$counts, peaks$counts, from, batch, watch$stage)
  )
  result <- name_cells(latent, engine$responsibilities(latent), cells)
  made <- model_record(projection$model)
  c(result, list(
    id = format(Sys.time(), "%Y-%m-%d %H:%M:%OS6"),
    imputed = list(
      rna = decode_shown(
        engine, result$latent, "rna", genes_wanted, rna$shown, modelled$genes, watch
      ),
      atac = decode_shown(
        engine, result$latent, "atac", peaks_wanted, peaks$shown, modelled$peaks, watch
      )
    ),
    options = list(
      projected = TRUE, modality = if (from == "atac") "peaks" else from, backend = engine$name
    ),
    history = made$history,
    summary = made$summary,
    spelling = list(
      rna = unless_identical(rna$shown, modelled$genes),
      atac = unless_identical(peaks$shown, modelled$peaks)
    ),
    batch = batch,
    interrupted = FALSE,
    staged = list(model = projection$model)
  ))
}

# Imputed values of features under the names that the query has for them.
decode_shown <- function(engine, latent, modality, wanted, shown, modelled, watch) {
  values <- decode_features(
    engine, latent, modality, modelled[match(wanted, shown)],
    log = modality == "rna", watch = watch
  )
  if (!is.null(values)) rownames(values) <- wanted
  values
}

unless_identical <- function(x, y) if (!identical(x, y)) x

refuse_missing_modality <- function(projection, has) {
  lacking <- if (!is.null(projection$modality)) projection$wanted[!has[projection$wanted]]
  if (length(lacking) > 0) {
    refuse(
      "modality = \"", projection$modality, "\" needs ",
      paste(c(rna = "RNA", atac = "peak")[lacking], collapse = " and "), " counts, and the query ",
      "has none: give them, or another modality."
    )
  }
  if (!any(has)) refuse("the query has neither RNA nor peak counts: there is nothing to embed.")
}

wanted_of_model <- function(wanted, shown, argument) {
  if (is.null(wanted)) {
    return(character())
  }
  check_names_known(wanted, shown, argument, "in the model")
}

# Counts in the rows of the model (zero where the query has no such feature, and all zero without
# counts), under the model's names; and the names that the query has for them.
in_model_features <- function(counts, modelled, word, cells, projection) {
  if (is.null(counts)) {
    empty <- Matrix::sparseMatrix(
      i = integer(), j = integer(), x = numeric(), dims = c(length(modelled), length(cells)),
      dimnames = list(modelled, cells)
    )
    return(list(counts = empty, shown = modelled))
  }
  at <- match_features(modelled, rownames(counts), word)
  missing <- is.na(at)
  is_query <- !isTRUE(projection$fitted)
  whose <- if (is_query) "the query" else "the object"
  if (mean(!missing) < projection$min.shared) {
    refuse(
      whose, " has only ", format_count(sum(!missing)), " of the model's ",
      count_of(length(modelled), word), " (the model has ", some_names(modelled[missing], 2), "; ",
      whose, " ", some_names(rownames(counts), 2), "): ",
      if (word == "peak") "count its fragments in the peaks of the model"
      else "give it the genes of the model, with names of the same kind",
      if (is_query) ", or lower min.shared", "."
    )
  }
  if (any(missing) && projection$verbose) {
    message(
      count_of(sum(missing), word), " of the model (", sprintf("%.1f %%", 100 * mean(missing)),
      ") not in ", whose, " ", one_or_many(sum(missing), "counts", "count"), " as zero (",
      some_names(modelled[missing]), ")"
    )
  }
  shown <- modelled
  shown[!missing] <- rownames(counts)[at[!missing]]
  if (!identical(at, seq_len(nrow(counts)))) counts <- rows_or_zero(counts, at)
  dimnames(counts) <- list(modelled, cells)
  list(counts = counts, shown = shown)
}

# Rows of a dgCMatrix in the order of `at`, zero for NA.
rows_or_zero <- function(counts, at) {
  if (anyNA(at)) {
    zero <- Matrix::sparseMatrix(
      i = integer(), j = integer(), x = numeric(), dims = c(1, ncol(counts))
    )
    rownames(counts) <- NULL
    counts <- rbind(counts, zero)
    at[is.na(at)] <- nrow(counts)
  }
  as_dgc(counts[at, , drop = FALSE])
}

# Where each feature of the model is among those of the query: by name, else by what the name means.
match_features <- function(modelled, have, word) {
  at <- match(modelled, have)
  if (!anyNA(at)) {
    return(at)
  }
  meaning <- if (word == "peak") range_meaning else seurat_spelling
  sought <- meaning(modelled[is.na(at)])
  found <- meaning(have)
  ambiguous <- found %in% found[duplicated(found)] # two names that mean the same: neither is taken
  found[ambiguous | have %in% modelled] <- NA
  sought[sought %in% sought[duplicated(sought)]] <- NA
  at[is.na(at)] <- match(sought, found, incomparables = NA)
  at
}

# A peak as the interval it is, whatever the spelling; other names as they are.
range_meaning <- function(x) {
  ranges <- parse_ranges(x)
  ifelse(
    is.na(ranges$start), x,
    paste(seurat_spelling(ranges$seqnames), format(ranges$start, scientific = FALSE, trim = TRUE),
      format(ranges$end, scientific = FALSE, trim = TRUE),
      sep = "-"
    )
  )
}

# History and summary of a stored model, as RunSCMVP() would have kept them.
model_record <- function(stored) {
  info <- model_info(stored)
  list(history = history_frame(info$training$history), summary = info$summary)
}

# The assays of a Seurat query: those named, else the only candidate of each kind, if there is one;
# of several that which a fit in the query or in the model's object was made on (`known`).
find_query_assays <- function(object, rna.assay, peak.assay, wanted, known = list()) {
  kinds <- list(rna = rna.assay, atac = peak.assay)
  found <- lapply(names(kinds), function(kind) {
    if (!kind %in% wanted) {
      return(NULL)
    }
    tryCatch(
      find_one_assay(
        object, kind, kinds[[kind]], setdiff(unlist(kinds), kinds[[kind]]),
        unlist(lapply(known, `[[`, if (kind == "rna") "rna" else "peaks"))
      ),
      scmvp_error_absent = function(e) NULL
    )
  })
  stats::setNames(found, c("rna", "peaks"))
}

find_one_assay <- function(object, kind, given, others, known) {
  argument <- if (kind == "rna") "rna.assay" else "peak.assay"
  if (!is.null(given)) {
    check_assay(object, given, argument)
    return(given)
  }
  candidates <- assay_candidates(object, others)[[kind]]
  if (length(candidates) == 0) refuse("no such assay.", class = "absent")
  if (length(candidates) > 1 && any(known %in% candidates)) {
    return(intersect(known, candidates)[1])
  }
  only_candidate(NULL, candidates, candidates, if (kind == "rna") "RNA" else "peak", argument, "")
}

# The experiments of a query: as find_experiments(), but one kind may be absent.
find_query_experiments <- function(experiments, rna.experiment, peak.experiment, wanted) {
  is_ours <- vapply(experiments, function(x) !is.null(experiment_mark(x)), logical(1))
  with_ranges <- vapply(experiments, function(x) are_ranges(experiment_features(x)), logical(1))
  given <- list(rna = rna.experiment, atac = peak.experiment)
  candidates <- list(rna = names(experiments)[!with_ranges], atac = names(experiments)[with_ranges])
  usable <- setdiff(names(experiments)[!is_ours], unlist(given))
  present <- function(kind) {
    kind %in% wanted && (!is.null(given[[kind]]) || any(candidates[[kind]] %in% usable))
  }
  if (present("rna") && present("atac")) {
    return(find_experiments(experiments, rna.experiment, peak.experiment))
  }
  one <- function(kind, argument, what) {
    if (!present(kind)) {
      return(NULL)
    }
    check_experiment(experiments, given[[kind]], argument)
    only_candidate(
      given[[kind]], intersect(candidates[[kind]], usable), names(experiments), what, argument, "",
      "experiment"
    )
  }
  rna <- one("rna", "rna.experiment", "RNA")
  peaks <- one("atac", "peak.experiment", "peak")
  list(
    rna = if (!is.null(rna)) experiments[[rna]], peaks = if (!is.null(peaks)) experiments[[peaks]],
    rna_name = rna, peaks_name = peaks
  )
}

project_experiments <- function(holder, pair, assay.type, names, projection) {
  present <- c("rna", "peaks")[c(!is.null(pair$rna), !is.null(pair$peaks))]
  refuse_missing_modality(projection, c(rna = "rna" %in% present, atac = "peaks" %in% present))
  counts <- lapply(stats::setNames(present, present), function(kind) {
    experiment_cells(pair[[kind]], assay.type, pair[[paste0(kind, "_name")]], colnames(holder))
  })
  if (projection$verbose) {
    for (kind in present) {
      message(
        "experiment '", pair[[paste0(kind, "_name")]], "' (",
        count_of(nrow(counts[[kind]]), "feature"), ")"
      )
    }
  }
  fit <- project(projection, counts$rna, counts$peaks, function(names, cells) {
    batches_of_model(names, cells, cell_data(holder, pair$unit_data), "the query's colData")
  })
  fit$options <- c(fit$options, list(
    rna.experiment = pair$rna_name, peak.experiment = pair$peaks_name, assay.type = assay.type
  ))
  add_fit_to_experiment(holder, fit, names, pair)
}
