#' Embed other cells with a fitted model
#'
#' Embeds cells in the latent space of a fitted model without training: cells of another sample,
#' cells in which only RNA or only ATAC was measured, or the training cells themselves, to attach a
#' model that was trained elsewhere (`scmvp fit` on a machine with a GPU) to their object. The query
#' is returned in the form of a [RunSCMVP()] result that includes the model. [ImputeSCMVP()] can
#' then impute any modeled feature, including those of a missing modality.
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
#' @param modality Modality from which the cells are embedded: `"joint"` (both), `"rna"` or
#'   `"peaks"`; `NULL`: all modalities of the query.
#' @param rna.assay,peak.assay Names of the assays of a Seurat object; `NULL` finds them.
#' @param rna.experiment,peak.experiment,assay.type As for [RunSCMVP()].
#' @param peaks A matrix of ATAC counts, peaks x cells, in addition to `query` or alone (`query =
#'   NULL`); for a SingleCellExperiment, also another SingleCellExperiment.
#' @param impute.genes,impute.peaks Names of features to impute in the same call, as in
#'   [RunSCMVP()].
#' @param reduction.name,reduction.key Names of the result, as for [RunSCMVP()].
#' @param model.reduction Name of the reduction that holds the model, when `model` is an object.
#' @param batch For matrices and a model fitted with batches: the batches of the query cells, as for
#'   [RunSCMVP()].
#' @param min.shared Smallest proportion of the model's genes, and of its peaks, that the query must
#'   contain.
#' @param max.gb Largest imputed result in GB.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Show which assays and features were used.
#' @return The query with a reduction, `scmvp_cluster` (numbered as in the model) and
#'   `scmvp_cluster_prob`, the model, and the requested assays; for matrices a list of class
#'   `scMVPFit`. See [RunSCMVP()].
#' @section Errors:
#' `scmvp_error_input` if the query lacks the modality or too many features, or has cells without
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
ProjectSCMVP <- function(model, query = NULL, peaks = NULL, modality = NULL, rna.assay = NULL,
                         peak.assay = NULL, rna.experiment = NULL, peak.experiment = NULL,
                         assay.type = "counts", impute.genes = NULL, impute.peaks = NULL,
                         batch = NULL, reduction.name = "scmvp", reduction.key = NULL,
                         model.reduction = "scmvp", min.shared = 0.8, max.gb = 4,
                         backend = c("auto", "reticulate", "process"), verbose = TRUE,
                         mosaic = FALSE, rna.layer = NULL, peak.layer = NULL, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("model", "query", "...")))
  projection <- projection_settings(
    model, model.reduction, modality, impute.genes, impute.peaks, min.shared, max.gb, backend,
    verbose, check_flag(mosaic, "mosaic")
  )
  query <- read_if_path(query, projection, rna.layer, peak.layer)
  if (is.null(query) && is.null(peaks)) {
    refuse("give query (a matrix of genes x cells), peaks (peaks x cells) or both.")
  }
  query <- as_container(query, peaks, "ProjectSCMVP()")
  words <- about(query)
  refuse_other_class(query, match.call(), environment())
  if (!is.null(batch) && words$part != "matrix") {
    refuse("batch is for matrices: leave it out, as the query has the columns of the model.")
  }
  parts <- parts_of(query, peaks, assay.type)
  names <- result_names(
    query, parts, reduction.name, reduction.key,
    new = c(rna = !is.null(impute.genes), atac = !is.null(impute.peaks))
  )
  pair <- find_pair(
    parts, words,
    list(rna = c(rna.assay, rna.experiment), peaks = c(peak.assay, peak.experiment)),
    wanted = projection$wanted, needed = character(),
    known = unlist(c(
      fitted_names(query, reduction.name, parts),
      if (is_container(model)) fitted_names(model, model.reduction, parts)
    ))
  )
  has <- lengths(pair) > 0
  refuse_missing_modality(projection, has)
  home <- pair[has][[1]]$name
  counts <- lapply(pair, function(part) if (!is.null(part)) part$counts(home))
  if (all(vapply(counts[has], ncol, 0L) == 0)) refuse("the query has no cells to embed.")
  if (verbose && words$part != "matrix") {
    for (part in pair[has]) {
      message(words$part, " '", part$name, "' (", count_of(length(part$features), "feature"), ")")
    }
  }
  fit <- project(projection, counts$rna, counts$peaks, function(names, cells) {
    batches_of_query(batch, names, cells, cell_data(query, home), words)
  })
  results <- fit_results(fit, names, parts, pair, home, words, assay.type, verbose)
  call <- match.call()
  frame <- environment()
  results$command <- function() {
    seurat_command("ProjectSCMVP", call, frame, reduction.name, pair[has][[1]]$name)
  }
  put_results(query, results)
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
  if (length(names) == 1 && ncol(found) == 1) stats::setNames(found, names) else found
}

projection_settings <- function(model, model.reduction, modality, impute.genes, impute.peaks,
                                min.shared, max.gb, backend, verbose, mosaic) {
  if (!is.null(modality)) {
    if (identical(modality, "atac")) modality <- "peaks"
    modality <- check_choice(modality, c("joint", "rna", "peaks"), "modality")
  }
  check_number(min.shared, "min.shared", min = 0)
  if (min.shared > 1) refuse("min.shared must be at most 1, not ", min.shared, ".")
  list(
    model = model_of(
      model, check_string(model.reduction, "model.reduction"), "model", "model.reduction"
    ),
    # of the clusters in the object that has the model
    level = if (is_container(model)) fits_of(model)[[model.reduction]]$level,
    modality = modality,
    # what has to be there; all that is there for NULL
    wanted = if (isTRUE(modality %in% c("rna", "peaks"))) modality else c("rna", "peaks"),
    genes = impute.genes, peaks = impute.peaks,
    min.shared = min.shared,
    max.gb = check_number(max.gb, "max.gb", min = 0),
    backend = check_choice(backend, backends, "backend"),
    verbose = check_flag(verbose, "verbose"),
    options = list(mosaic = mosaic)
  )
}

# From counts of one or both modalities to results, in the form of fit_core(). `batches(names,
# cells)`: the query's values of the columns that the model has as batches.
project <- function(projection, rna, peaks, batches) {
  has <- c(rna = !is.null(rna), atac = !is.null(peaks))
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
  result <- name_cells(latent, engine$responsibilities(latent, projection$level), cells)
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
    history = as.data.frame(modelled$history),
    summary = modelled$summary,
    tree = engine$tree(projection$level),
    level = projection$level,
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
      paste(c(rna = "RNA", peaks = "peak")[lacking], collapse = " and "), " counts, and the query ",
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

# Counts of both modalities that a fit was made on, list(rna, peaks), in the rows of its model and
# in the order of `cells`.
counts_in_model <- function(counts, model, cells, verbose) {
  known <- list(min.shared = 0.8, fitted = TRUE, verbose = verbose)
  in_order <- lapply(counts, cells_or_empty, cells)
  list(
    rna = in_model_features(in_order$rna, model$genes, "gene", cells, known)$counts,
    peaks = in_model_features(in_order$peaks, model$peaks, "peak", cells, known)$counts
  )
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
