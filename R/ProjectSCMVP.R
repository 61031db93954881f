#' Embed other cells with a fitted model
#'
#' Embeds cells in the latent space of a fitted model without training: cells of another sample,
#' cells in which only some of its modalities were measured, or the training cells themselves, to
#' attach a model that was trained elsewhere (`scmvp fit` on a machine with a GPU) to their object.
#' The query is returned in the form of a [RunSCMVP()] result that includes the model.
#' [ImputeSCMVP()] can then impute any modeled feature, including those of a missing modality.
#'
#' @section Features:
#' Features of the query and of the model are matched by name. Different spellings of a peak
#' (`chr1-100-200`, `chr1:100-200`, `chr1_100_200`) and names in which Seurat has replaced `_` by
#' `-` are recognized; the names in the query are not changed. The peaks must be those of the model,
#' so count fragments in these peaks, e.g. with `Signac::FeatureMatrix(features = )`. Features that
#' the query lacks count as zero, which is correct for genes that were removed because no cell
#' expressed them. A message reports their number, and the call stops if fewer than `min.shared` of
#' the features are present.
#'
#' @section Batches:
#' The model is not adapted to the query, so a difference between laboratories or technologies
#' remains visible in the latent. A model that was fitted with `batch` uses the same columns of the
#' query's metadata (`colData`; for matrices, give `batch`). A level that was not part of the fit is
#' treated as the average batch, and a message reports this.
#'
#' @param model A model: the result of [RunSCMVP()], a model from [LoadSCMVP()], or the path of a
#'   model folder (`SaveSCMVP()`, or `model/` in the output of `scmvp fit`).
#' @param query A Seurat object, SingleCellExperiment, MultiAssayExperiment, matrix of RNA counts
#'   (genes x cells) or the path of a file that [ReadSCMVP()] reads.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param mosaic,rna.layer,peak.layer For a path: as in [ReadSCMVP()].
#' @param modality Modality from which the cells are embedded: `"joint"` (all of the model),
#'   `"rna"`, `"peaks"`, `"protein"` or `"methylation"`; `NULL`: those that the query has.
#' @param rna.assay,peak.assay,protein.assay Names of the assays of a Seurat object; `NULL` finds
#'   them. An assay of proteins is used only if the model has proteins.
#' @param rna.experiment,peak.experiment,protein.experiment,assay.type As for [RunSCMVP()].
#' @param peaks A matrix of ATAC counts, peaks x cells, in addition to `query` or without it (`query
#'   = NULL`); for a SingleCellExperiment, also another SingleCellExperiment.
#' @param proteins A matrix of protein counts, proteins x cells, in addition to the matrices of RNA
#'   and peaks or instead of them.
#' @param methylation `list(methylated = , covered = )`, two matrices of counts, regions x cells,
#'   in the same way.
#' @param impute.genes,impute.peaks,impute.proteins Features to impute in the same call, as in
#'   [RunSCMVP()].
#' @param reduction.name,reduction.key Names of the result, as for [RunSCMVP()].
#' @param model.reduction Name of the reduction that holds the model, when `model` is an object.
#' @param batch For matrices and a model fitted with batches: the batches of the query cells, as for
#'   [RunSCMVP()].
#' @param min.shared Smallest proportion of the model's features of each modality that the query
#'   must contain.
#' @param max.gb Largest imputed result in GB.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Show which assays and features were used.
#' @return The query with a reduction, `scmvp_cluster` (numbered as in the model) and
#'   `scmvp_cluster_prob`, the model, and the requested assays; for matrices a list of class
#'   `scMVPFit`. See [RunSCMVP()].
#' @section Errors:
#' `scmvp_error_input` if the query lacks the modality or too many features, or has cells without
#' any count in it; `scmvp_error_memory` if the imputed values would exceed `max.gb`;
#' `scmvp_error_model` when the model cannot be read.
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
ProjectSCMVP <- function(model, query = NULL, peaks = NULL, modality = NULL, rna.assay = NULL,
                         peak.assay = NULL, rna.experiment = NULL, peak.experiment = NULL,
                         assay.type = "counts", impute.genes = NULL, impute.peaks = NULL,
                         batch = NULL, reduction.name = "scmvp", reduction.key = NULL,
                         model.reduction = "scmvp", min.shared = 0.8, max.gb = 4,
                         backend = c("auto", "reticulate", "process"), verbose = TRUE,
                         mosaic = FALSE, rna.layer = NULL, peak.layer = NULL, proteins = NULL,
                         protein.assay = NULL, protein.experiment = NULL, impute.proteins = FALSE,
                         methylation = NULL, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("model", "query", "...")))
  if (!is_container(model)) {
    refuse_unused(match.call(), environment(), "model.reduction", "an object with the model")
  }
  projection <- projection_settings(
    model, model.reduction, modality, min.shared, max.gb, backend, verbose,
    check_flag(mosaic, "mosaic"),
    list(rna = impute.genes, peaks = impute.peaks, protein = if (check_flag(
      impute.proteins, "impute.proteins"
    )) TRUE)
  )
  query <- read_if_path(query, "query", projection, rna.layer, peak.layer)
  beside <- list(peaks = peaks, protein = proteins, methylation = levels_given(methylation))
  refuse_no_query(c(list(rna = query), beside))
  query <- as_container(query, beside, "ProjectSCMVP()")
  words <- about(query)
  refuse_other_class(query, match.call(), environment())
  if (!is.null(batch) && words$part != "matrix") {
    refuse("batch is for matrices: leave it out, as the query has the columns of the model.")
  }
  parts <- parts_of(query, peaks, assay.type)
  given <- list(
    rna = c(rna.assay, rna.experiment), peaks = c(peak.assay, peak.experiment),
    protein = c(protein.assay, protein.experiment)
  )
  refuse_unmodeled(projection, if (words$part == "matrix") unclass(query) else given)
  used <- find_parts(
    parts, words, given,
    wanted = projection$wanted, needed = character(),
    known = unlist(c(
      fitted_names(query, reduction.name, parts),
      if (is_container(model)) fitted_names(model, model.reduction, parts)
    ))
  )
  used <- without_nulls(used)
  refuse_missing_modality(projection, names(used))
  home <- used[[1]]$name
  names <- result_names(
    query, parts, home, reduction.name, reduction.key,
    new = !vapply(projection$imputed, is.null, NA)
  )
  counts <- lapply(used, function(part) part$counts(home))
  if (all(vapply(counts, ncol, 0L) == 0)) refuse("the query has no cells to embed.")
  if (verbose && words$part != "matrix") {
    for (part in used) {
      message(words$part, " '", part$name, "' (", count_of(length(part$features), "feature"), ")")
    }
  }
  fit <- project(projection, counts, function(names, cells) {
    batches_of_query(batch, names, cells, cell_data(query, home), words)
  })
  results <- fit_results(fit, names, parts, used, home, words, assay.type, verbose)
  call <- match.call()
  frame <- environment()
  results$command <- function() {
    seurat_command("ProjectSCMVP", call, frame, reduction.name, home)
  }
  put_results(query, results)
}

refuse_no_query <- function(given) {
  if (length(without_nulls(given)) == 0) {
    refuse(
      "give query (a matrix of genes x cells), peaks (peaks x cells), proteins (proteins x cells) ",
      "or several of these."
    )
  }
}

# The batches of the query's cells, in the columns that the model has: those of its metadata, or
# `batch`.
batches_of_query <- function(batch, names, cells, data, words) {
  if (!is.null(data)) {
    where <- paste0("the query's ", sub("^the ", "", words$data))
    return(batches_of_model(names, cells, data, where))
  }
  if (is.null(batch)) {
    refuse(
      "the model was fitted with batches (", paste(names, collapse = ", "), "): give those of ",
      "the query's cells with batch =."
    )
  }
  found <- batch_columns(batch, cells)
  if (length(names) == 1 && ncol(found) == 1) {
    return(stats::setNames(found, names))
  }
  batches_of_model(names, cells, found, "batch")
}

# `imputed`: what to impute by kind, NULL for none: names of features, or TRUE for all.
projection_settings <- function(model, model.reduction, modality, min.shared, max.gb, backend,
                                verbose, mosaic, imputed) {
  stored <- model_of(
    model, check_string(model.reduction, "model.reduction"), "model", "model.reduction"
  )
  kinds <- kinds_of_model(stored)
  if (!is.null(modality)) {
    if (identical(modality, "atac")) modality <- "peaks"
    modality <- check_choice(modality, c("joint", kinds), "modality")
  }
  check_number(min.shared, "min.shared", min = 0)
  if (min.shared > 1) refuse("min.shared must be at most 1, not ", min.shared, ".")
  list(
    model = stored,
    # of the clusters in the object that has the model
    level = if (is_container(model)) fits_of(model)[[model.reduction]]$level,
    modality = modality,
    kinds = kinds,
    # what has to be there; all that is there for NULL
    wanted = if (isTRUE(modality %in% kinds)) modality else kinds,
    imputed = imputed,
    min.shared = min.shared,
    max.gb = check_number(max.gb, "max.gb", min = 0),
    backend = check_choice(backend, backends, "backend"),
    verbose = check_flag(verbose, "verbose"),
    options = list(mosaic = mosaic)
  )
}

# From counts by kind to results, in the form of fit_core(). `batches(names, cells)`: the query's
# values of the columns that the model has as batches.
project <- function(projection, counts, batches) {
  watched(projection$verbose, function(watch) {
    with_engine(projection$backend, watch = watch, f = function(engine) {
      project_with(engine, projection, counts, batches, watch)
    })
  })
}

project_with <- function(engine, projection, counts, batches, watch) {
  cells <- colnames(counts[[1]])
  from <- latent_from(names(counts), projection$kinds)
  model <- restore_model(projection$model, engine)
  found <- by_kind(projection$kinds, function(kind) {
    in_model_features(counts[[kind]], model, kind, cells, projection)
  })
  wanted <- by_kind(projection$kinds, function(kind) {
    wanted_of_model(projection$imputed[[kind]], found[[kind]]$shown, kind)
  })
  check_memory(
    lengths(wanted), length(cells), projection$max.gb, "the imputed values", ask_for_less(wanted)
  )
  columns <- names(model$batch)
  batch <- if (length(columns) > 0) batches(columns, cells)
  latent <- watch$during("embedding the cells", engine$embed(
    lapply(found, `[[`, "counts"), from, batch, watch$stage
  ))
  result <- name_cells(latent, engine$responsibilities(latent, projection$level), cells)
  c(result, list(
    id = format(Sys.time(), "%Y-%m-%d %H:%M:%OS6"),
    imputed = by_kind(projection$kinds, function(kind) {
      at <- match(wanted[[kind]], found[[kind]]$shown)
      modelled <- features_in_model(model, kind)[at]
      decode_features(engine, result$latent, kind, modelled, wanted[[kind]], watch)
    }),
    options = list(
      projected = TRUE, modality = if (from == "joint") from else part_kind(from),
      backend = engine$name
    ),
    history = as.data.frame(model$history),
    summary = model$summary,
    tree = engine$tree(projection$level),
    level = projection$level,
    spelling = by_core_name(projection$kinds, function(kind) {
      unless_identical(found[[kind]]$shown, features_in_model(model, kind))
    }),
    batch = batch,
    interrupted = FALSE,
    staged = list(model = projection$model)
  ))
}

unless_identical <- function(x, y) if (!identical(x, y)) x

# What is given of a kind that the model does not have. `given`: by kind.
refuse_unmodeled <- function(projection, given) {
  imputed <- projection$imputed
  useless <- setdiff(names(without_nulls(c(given, imputed))), projection$kinds)
  if (length(useless) > 0) {
    refuse(
      "the model was fitted to ", listed_kinds(projection$kinds), ": leave ",
      listed_kinds(useless), " out."
    )
  }
}

# `has`: the kinds that the query has.
refuse_missing_modality <- function(projection, has) {
  lacking <- if (!is.null(projection$modality)) setdiff(projection$wanted, has)
  if (length(lacking) > 0) {
    refuse(
      "modality = \"", projection$modality, "\" needs ", in_a_row(of_kind(lacking, "label")),
      " counts, and the query has none: give them, or another modality."
    )
  }
  if (length(has) == 0) {
    refuse(
      "the query has no counts of ", listed_kinds(projection$kinds), ", to which the model was ",
      "fitted: there is nothing to embed."
    )
  }
}

wanted_of_model <- function(wanted, shown, kind) {
  if (is.null(wanted)) {
    return(character())
  }
  if (isTRUE(wanted)) {
    return(shown)
  }
  check_names_known(wanted, shown, paste0("impute.", features_of_kind(kind)), "in the model")
}

# list(counts, shown, missing): counts in the rows of the model (zero where the query has no such
# feature), under the model's names, NULL without any; the names that the query has for these; and
# which it lacks.
in_model_features <- function(counts, model, kind, cells, projection) {
  modelled <- features_in_model(model, kind)
  if (is.null(counts)) {
    return(list(counts = NULL, shown = modelled))
  }
  word <- of_kind(kind, "feature")
  have <- features_of_rows(counts, kind)
  at <- match_features(modelled, have, kind)
  missing <- is.na(at)
  is_query <- !isTRUE(projection$fitted)
  whose <- if (is_query) "the query" else "the object"
  if (mean(!missing) < projection$min.shared) {
    refuse(
      whose, " has only ", format_count(sum(!missing)), " of the model's ",
      count_of(length(modelled), word), " (the model has ", some_names(modelled[missing], 2), "; ",
      whose, " ", some_names(have, 2), "): ",
      if (kind == "peaks") "count its fragments in the peaks of the model"
      else paste0("give it the ", word, "s of the model, with names of the same kind"),
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
  shown[!missing] <- have[at[!missing]]
  if (!identical(at, seq_along(have))) {
    counts <- rows_or_zero(counts, rows_of_features(at, length(have), kind))
  }
  dimnames(counts) <- list(row_names_of(modelled, kind), cells)
  list(counts = counts, shown = shown, missing = missing)
}

# The same by kind of counts_of_fit().
fit_in_model <- function(counts, model, cells, verbose) {
  known <- list(min.shared = 0.8, fitted = TRUE, verbose = verbose)
  by_kind(names(counts), function(kind) {
    in_model_features(counts[[kind]], model, kind, cells, known)
  })
}

counts_in_model <- function(...) lapply(fit_in_model(...), `[[`, "counts")

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

# Position of each model feature in the query: by exact name, else by normalized name.
match_features <- function(modelled, have, kind) {
  modelled <- as_utf8(modelled)
  have <- as_utf8(have)
  at <- match(modelled, have)
  if (!anyNA(at)) {
    return(at)
  }
  # regions may be intervals or genes
  meaning <- if (kind %in% c("peaks", "methylation")) range_meaning else seurat_spelling
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
