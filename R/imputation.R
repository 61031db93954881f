# What ImputeSCMVP() computes, whatever the object: dense, sparse, on disk, or means of groups.

# The checked arguments of one call.
imputation_request <- function(modality, features, cells, library.size, log, file, threshold,
                               by, max.gb, backend, verbose, batch = NULL) {
  modality <- check_modality(modality)
  if (is.null(log)) log <- is_logged(part_kind(modality))
  if (!is.null(file) && !is.null(by)) {
    refuse("give either file (all cells, on disk) or by (means of groups), not both.")
  }
  if (!is.null(threshold) && !is.null(by)) {
    refuse("give either threshold (sparse values of cells) or by (means of groups), not both.")
  }
  list(
    modality = modality,
    features = features,
    cells = cells,
    library.size = check_number(library.size, "library.size", min = 0, above = TRUE),
    log = check_flag(log, "log"),
    file = check_model_file(file, "file"),
    threshold = check_number(threshold, "threshold", min = 0, above = TRUE, optional = TRUE),
    by = by,
    batch = check_batch_level(batch),
    max.gb = check_number(max.gb, "max.gb", min = 0),
    backend = check_choice(backend, backends, "backend"),
    verbose = check_flag(verbose, "verbose")
  )
}

# What tells one imputed assay from another.
request_mark <- function(request, reduction, record) {
  mark <- list(
    reduction = reduction, fit = record$fit, modality = request$modality,
    library.size = request$library.size, log = request$log, threshold = request$threshold
  )
  c(mark, if (!is.null(request$batch)) list(batch = request$batch))
}

# Values of the features asked for, less those `already` there; features x cells (or groups).
# `result`: what becomes of them and of the names of all modelled features.
impute_values <- function(record, latent, request, already = character(), groups = NULL,
                          result = function(values, shown) values) {
  if (nrow(latent) == 0) refuse("the object has no cells: there is nothing to impute.")
  if (!is.null(request$cells)) {
    cells <- check_names_known(request$cells, rownames(latent), "cells", "in the object")
    twice <- request$cells[duplicated(request$cells)]
    if (length(twice) > 0) {
      refuse("cells: ", some_names(unique(twice)), " given more than once: name each cell once.")
    }
    groups <- groups[match(cells, rownames(latent))]
    latent <- latent[cells, , drop = FALSE]
  }
  if (!is.null(request$file)) check_hdf5(request)
  watched(request$verbose, function(watch) {
    with_engine(request$backend, watch = watch, f = function(engine) {
      impute_with(engine, record, latent, request, already, groups, watch, result)
    })
  })
}

impute_with <- function(engine, record, latent, request, already, groups, watch, result) {
  model <- restore_model(record$model, engine)
  modelled <- features_in_model(model, part_kind(request$modality))
  shown <- features_in_object(record, modelled, request$modality)
  features <- if (is.null(request$features)) {
    shown
  } else {
    check_names_known(
      request$features, shown, "features", "in the model",
      remedy = paste0(
        "it has names such as '", shown[1], "', and none for features seen in too few cells at ",
        "the fit (min.cells)"
      )
    )
  }
  wanted <- setdiff(features, already)
  decoder <- block_decoder(engine, latent, modelled[match(wanted, shown)], wanted, request, watch)
  n_all <- length(union(already, features))
  values <- if (!is.null(groups)) {
    impute_means(decoder, groups, request)
  } else if (!is.null(request$file)) {
    impute_to_file(engine, decoder, latent, request, watch)
  } else if (!is.null(request$threshold)) {
    impute_sparse(decoder, n_all, request)
  } else {
    impute_dense(decoder, n_all, request)
  }
  result(values, shown)
}

# The modelled features under the names that the object of the record has for them.
features_in_object <- function(record, modelled, modality) {
  shown <- record$spelling[[modality]]
  names_now(if (is.null(shown)) modelled else shown, record, part_kind(modality))
}

# Names of features in an object as it has them now: an assay that was made anew since the fit, as a
# ChromatinAssay, may spell its peaks in another way. Names that it does not have stay.
names_now <- function(names, record, kind) {
  have <- if (!is.null(record)) record$present(kind)
  if (is.null(have)) {
    return(names)
  }
  at <- match_features(names, have, kind)
  names[!is.na(at)] <- have[at[!is.na(at)]]
  names
}

# What the core is to call the features of a model, by its names of the modalities; NULL for their
# own names.
spelling_in_object <- function(record, model) {
  by_core_name(kinds_of_model(record$model), function(kind) {
    modelled <- features_in_model(model, kind)
    unless_identical(features_in_object(record, modelled, of_kind(kind, "core")), modelled)
  })
}

# Decodes blocks of cells: block(rows, log) is features x cells without names; over_blocks(f) is f
# of the rows of each block in turn.
block_decoder <- function(engine, latent, modelled, shown, request, watch) {
  list(
    features = shown,
    modelled = modelled,
    cells = rownames(latent),
    block = function(rows, log = request$log) {
      values <- engine$decode(
        latent[rows, , drop = FALSE], request$modality, modelled, request$library.size,
        request$batch
      )
      if (log) log1p(values) else values
    },
    over_blocks = function(f) {
      over_blocks(nrow(latent), length(shown), request$modality, watch, f)
    }
  )
}

# f(rows) for blocks of all cells in turn, as a stage that is watched.
over_blocks <- function(n_cells, n_features, modality, watch, f) {
  name <- imputing(modality)
  began <- proc.time()[["elapsed"]]
  done <- 0
  tell <- function() {
    if (is.null(watch$stage)) return()
    seconds <- proc.time()[["elapsed"]] - began
    stopped <- watch$stage(list(stage = name, share = done / n_cells, seconds = seconds))
    if (stopped) rlang::interrupt()
  }
  tell()
  for (rows in cell_blocks(n_cells, n_features)) {
    f(rows)
    done <- max(rows)
    tell()
  }
}

imputing <- function(modality) {
  paste("imputing", listed_kinds(part_kind(modality)))
}

# Rows of blocks of at most 2^23 values.
cell_blocks <- function(n_cells, n_features) {
  block <- max(1, 2^23 %/% max(1, n_features))
  lapply(seq(1, n_cells, by = block), function(first) first:min(n_cells, first + block - 1))
}

gb_on_disk <- function(n_features, n_cells) as.numeric(n_features) * n_cells * 4 / 1e9

impute_dense <- function(decoder, n_features, request) {
  n <- length(decoder$cells)
  check_memory(
    n_features, n, request$max.gb, "the imputed values",
    paste0(
      "ask for fewer features or cells, means of groups (by =)",
      # which takes half as much, and no more than max.gb either
      if (gb_on_disk(n_features, n) <= request$max.gb) ", a file on disk (file =)",
      " or values above a threshold (threshold =)"
    )
  )
  dense_values(decoder)
}

# NULL for no features. Nothing but the result itself is as large as the result.
dense_values <- function(decoder) {
  if (length(decoder$features) == 0) {
    return(NULL)
  }
  values <- matrix(
    0, length(decoder$features), length(decoder$cells),
    dimnames = list(decoder$features, decoder$cells)
  )
  decoder$over_blocks(function(rows) values[, rows] <<- decoder$block(rows))
  values
}

# The values that a fit or a projection adds by itself: `modelled` features under the names `shown`.
decode_features <- function(engine, latent, kind, modelled, shown, watch) {
  request <- list(modality = of_kind(kind, "core"), library.size = 1e4, log = is_logged(kind))
  dense_values(block_decoder(engine, latent, modelled, shown, request, watch))
}

# Values of at least the threshold. How many there are is estimated from some of the cells first.
impute_sparse <- function(decoder, n_features, request) {
  n <- length(decoder$cells)
  if (length(decoder$features) == 0) {
    return(NULL)
  }
  # few cells, spread over all: enough for an estimate, nothing in time or memory
  at_most <- max(1, 2^23 %/% length(decoder$features))
  some <- unique(round(seq(1, n, length.out = min(n, 64, at_most))))
  share <- mean(decoder$block(some) >= request$threshold)
  gb <- share * n_features * n * 12 / 1e9
  if (gb > request$max.gb) {
    refuse(
      "the imputed values would take about ", format(gb, digits = 2), " GB (",
      sprintf("%.1f %%", 100 * share), " of ", features_by_cells(n_features, n),
      " are at least ", request$threshold, "), more than max.gb = ",
      request$max.gb, ": raise the threshold, ask for fewer features or cells, or raise max.gb.",
      class = "memory"
    )
  }
  parts <- list()
  decoder$over_blocks(function(rows) {
    block <- decoder$block(rows)
    block[block < request$threshold] <- 0
    parts[[length(parts) + 1]] <<- methods::as(
      methods::as(block, "CsparseMatrix"), "generalMatrix"
    )
  })
  values <- do.call(cbind, parts)
  dimnames(values) <- list(decoder$features, decoder$cells)
  values
}

# Means over the cells of each group, of values before the logarithm (as AverageExpression()).
impute_means <- function(decoder, groups, request) {
  groups <- droplevels(groups)
  check_memory(
    length(decoder$features), nlevels(groups), request$max.gb, "the means", "ask for fewer features"
  )
  sums <- matrix(
    0, length(decoder$features), nlevels(groups),
    dimnames = list(decoder$features, levels(groups))
  )
  decoder$over_blocks(function(rows) {
    block <- decoder$block(rows, log = FALSE)
    members <- outer(as.character(groups[rows]), levels(groups), `==`)
    members[is.na(members)] <- FALSE
    sums <<- sums + block %*% members
  })
  means <- sweep(sums, 2, as.numeric(table(groups)), "/")
  if (request$log) log1p(means) else means
}

# HDF5 on disk, cells x features as AnnData has it, which is features x cells to R.
impute_to_file <- function(engine, decoder, latent, request, watch) {
  n <- length(decoder$cells)
  gb <- gb_on_disk(length(decoder$features), n)
  if (is.null(request$threshold) && gb > request$max.gb) {
    refuse(
      "the imputed values would take up to ", format(gb, digits = 2), " GB on disk (",
      features_by_cells(length(decoder$features), n), ", before compression), more than ",
      "max.gb = ", request$max.gb, ": ask for fewer features or cells, keep ",
      "values above a threshold (threshold =), or raise max.gb.",
      class = "memory"
    )
  }
  if (request$verbose) {
    message(sentence_of(
      "writing ", features_by_cells(length(decoder$features), n), " to ", request$file,
      if (is.null(request$threshold)) paste0(" (up to ", format(gb, digits = 2), " GB)")
    ))
  }
  watch$during(imputing(request$modality), engine$decode_to_file(
    request$file, latent, request$modality, decoder$cells, decoder$modelled, request$library.size,
    request$threshold, request$log, request$batch, watch$stage
  ))
  values <- if (is.null(request$threshold)) {
    bioc("HDF5Array", "HDF5Array")(request$file, "X")
  } else {
    bioc("HDF5Array", "H5SparseMatrix")(request$file, "X")
  }
  dimnames(values) <- list(decoder$features, decoder$cells)
  values
}

check_hdf5 <- function(request) {
  check_installed("HDF5Array", "a file of imputed values")
  # 1.26 opens a group as if it were a dataset, and fails
  if (!is.null(request$threshold) && utils::packageVersion("HDF5Array") < "1.28") {
    refuse(
      "HDF5Array ", utils::packageVersion("HDF5Array"), " cannot open sparse HDF5: leave out ",
      "threshold or file, or update it to 1.28 or later."
    )
  }
}
