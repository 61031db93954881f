# Objects of R as Python sends them, and results that it adds to one. A part of bridge.R, as
# objects-in.R.

# Written beside, then moved by the caller: a file is whole or not there.
call_write <- function(path, kind, ...) {
  object <- if (kind == "Seurat") to_seurat(...) else to_experiment(...)
  saveRDS(object, path)
  list(class = class(object)[1])
}

call_add <- function(input, path, cells, only_these, obs, reductions, assays) {
  object <- read_object(input)
  kind <- class_of(object)
  if (kind == "MultiAssayExperiment") {
    refuse(
      "results cannot be added to a MultiAssayExperiment from Python; take its experiment with ",
      "the RNA, or add them in R"
    )
  }
  object <- with_results(object, cells, only_these)
  if (kind == "Seurat") {
    reductions <- with_seurat_names(reductions, names(attr(object, "reductions")))
  }
  at <- match(colnames(object), cells)
  rows <- function(x) x[at, , drop = FALSE]
  obs <- differing_columns(rows(obs), columns_of_cells(object))
  reductions <- lapply(reductions, function(one) {
    one$values <- rows(one$values)
    one
  })
  reductions <- differing_reductions(reductions, object, kind)
  assays <- lapply(assays, function(one) {
    one$values <- one$values[, at, drop = FALSE]
    dimnames(one$values) <- list(one$features, colnames(object))
    one
  })
  add <- if (kind == "Seurat") add_to_seurat else add_to_experiment
  object <- add(object, obs, reductions, assays)
  saveRDS(object, path)
  list(class = kind, cells = ncol(object))
}

# The object with the cells that have results: all, or `only_these`.
with_results <- function(object, cells, only_these) {
  here <- colnames(object)
  if (is.null(here)) refuse("its cells have no names")
  unknown <- setdiff(cells, here)
  if (length(unknown) > 0) {
    refuse(
      count_of(length(unknown), "cell"), " of the results ", is_are(length(unknown)),
      " not in it (", quoted(unknown, 3),
      "); give the results of cells of this object"
    )
  }
  missing <- setdiff(here, cells)
  if (length(missing) > 0 && !only_these) {
    refuse(
      "the results lack ", format_count(length(missing)), " of its ",
      count_of(length(here), "cell"), " (", quoted(missing, 3), "); compute them for all ",
      "cells, or keep only the cells with results: ",
      "cells=\"shared\""
    )
  }
  if (length(missing) > 0) {
    # the generic of SeuratObject or of SummarizedExperiment, which is loaded with the object
    needs(if (class_of(object) == "Seurat") "SeuratObject" else "SingleCellExperiment")
    # whose rows are no integers any more where it is missing
    if (any(vapply(columns_of_cells(object), inherits, NA, "integer64"))) needs("bit64")
    object <- object[, here[here %in% cells]]
  }
  object
}

columns_of_cells <- function(object, home = NULL) {
  if (class_of(object) == "Seurat") attr(object, "meta.data") else cell_data(object, home)
}

# What is in the object already stays as it is: a column that has been to Python may have lost its
# class on the way.
differing_columns <- function(new, old) {
  names(old) <- make.unique(names(old))
  same <- vapply(names(new), function(name) {
    name %in% names(old) && same_column(new[[name]], plain_column(old[[name]]))
  }, NA)
  new[!same]
}

# `old`: as it was sent to Python, where text may have become categories.
same_column <- function(new, old) {
  if (is.factor(new) && is.factor(old) && !same_levels(new, old)) {
    return(FALSE)
  }
  if (is.numeric(new)) {
    return(is.numeric(old) && identical(numbers_or_na(new), numbers_or_na(old)))
  }
  !is.null(old) && !is.numeric(old) && identical(as.character(new), as.character(old))
}

# AnnData drops levels without cells when it takes some of the cells.
same_levels <- function(new, old) {
  is.ordered(new) == is.ordered(old) &&
    (identical(levels(new), levels(old)) || identical(levels(new), levels(droplevels(old))))
}

numbers_or_na <- function(x) {
  x <- as.numeric(x)
  replace(x, is.nan(x), NA)
}

differing_reductions <- function(new, object, kind) {
  there <- if (kind == "Seurat") {
    lapply(attr(object, "reductions"), attr, "cell.embeddings")
  } else {
    experiment <- needs("SingleCellExperiment")
    names <- stats::setNames(nm = experiment("reducedDimNames")(object))
    lapply(names, function(name) as.matrix(experiment("reducedDim")(object, name)))
  }
  same <- vapply(names(new), function(name) {
    name %in% names(there) && identical(dim(new[[name]]$values), dim(there[[name]])) &&
      all(new[[name]]$values == there[[name]])
  }, NA)
  new[!same %in% TRUE]
}

# Seurat makes names of reductions syntactic. `there`: those of the object.
with_seurat_names <- function(reductions, there = character()) {
  given <- as.character(names(reductions))
  named <- make.names(given)
  changed <- named != given
  taken <- changed & (named %in% there | named %in% named[duplicated(named)])
  if (any(taken)) {
    refuse(
      "Seurat would call embedding '", given[taken][1], "' '", named[taken][1], "', which is the ",
      "name of another one; rename it in obsm"
    )
  }
  tell_changed("", given, named, "name", " of embeddings")
  stats::setNames(reductions, named)
}

# That names have changed, and how: `word` and `of_what` say which.
tell_changed <- function(place, given, now, word, of_what = "") {
  changed <- which(now != given)
  if (length(changed) > 0) {
    note(
      place, "Seurat has changed ", count_of(length(changed), word), of_what, " (first: '",
      given[changed[1]], "' is now '", now[changed[1]], "')"
    )
  }
}

seurat_assay <- function(part, chromatin) {
  seurat <- needs("SeuratObject")
  counts <- part$counts
  names <- rownames(counts)
  rownames(counts) <- seurat_names(names)
  ranges <- peak_ranges(part$var)
  use_signac <- chromatin && installed("Signac") && !is.null(ranges)
  assay <- if (use_signac) {
    getExportedValue("Signac", "CreateChromatinAssay")(counts = counts, ranges = ranges)
  } else {
    new_assay(counts, version5 = !identical(part$class, "Assay"))
  }
  tell_changed(paste0("assay '", part$name, "': "), names, rownames(assay), "feature name")
  assay <- with_layers(assay, part)
  assay <- with_features(assay, part, c(part$added, if (use_signac) said_by_ranges(part$var)))
  key <- or_else(part$key, tolower(key_for(part$name)))
  seurat("Key<-")(assay, value = key)
}

with_layers <- function(assay, part) {
  seurat <- needs("SeuratObject")
  for (layer in names(part$layers)) {
    values <- part$layers[[layer]]
    dimnames(values) <- dimnames(assay)
    if (is_v5(assay)) {
      assay <- seurat("LayerData<-")(assay, layer = layer, value = values)
    } else if (layer %in% c("data", "scale.data")) {
      attr(assay, layer) <- if (layer == "data") values else as.matrix(values)
    } else {
      note(
        "assay '", part$name, "': layer '", layer, "' is left out, as an assay of Seurat before 5 ",
        "holds only counts, data and scale.data"
      )
    }
  }
  assay
}

# Metadata of the features and the variable ones. `left_out`: columns that say what ranges say.
with_features <- function(assay, part, left_out) {
  seurat <- needs("SeuratObject")
  table <- part$var
  rank <- table$highly_variable_rank
  table <- table[setdiff(names(table), c("highly_variable", "highly_variable_rank", left_out))]
  rownames(table) <- rownames(assay)
  if (ncol(table) > 0) assay <- seurat("AddMetaData")(assay, table)
  if (any(part$var$highly_variable %in% TRUE)) {
    variable <- which(part$var$highly_variable %in% TRUE)
    # a rank may be left from an earlier choice of features
    if (!is.null(rank) && !anyNA(rank[variable])) variable <- variable[order(rank[variable])]
    assay <- seurat("VariableFeatures<-")(assay, value = rownames(assay)[variable])
  }
  assay
}

# GRanges of chrom, start, end and strand; NULL where there are none, or not for every feature.
peak_ranges <- function(table) {
  columns <- c("chrom", "start", "end")
  if (!all(columns %in% names(table)) || !installed("GenomicRanges") ||
        !all(stats::complete.cases(table[columns]))) {
    return(NULL)
  }
  getExportedValue("GenomicRanges", "GRanges")(
    as.character(table$chrom), getExportedValue("IRanges", "IRanges")(table$start, table$end),
    strand = if (has_strands(table)) or_star(table$strand) else "*"
  )
}

or_star <- function(strand) ifelse(is.na(strand), "*", as.character(strand))

has_strands <- function(table) {
  "strand" %in% names(table) && all(or_star(table$strand) %in% c("+", "-", "*"))
}

# Columns that the ranges of these features say.
said_by_ranges <- function(table) {
  c("chrom", "start", "end", if (has_strands(table)) "strand")
}

# `modalities`: parts by the core's name of each.
to_seurat <- function(modalities, obs, identity, identity_added, reductions) {
  seurat <- needs("SeuratObject")
  assays <- Map(seurat_assay, modalities, names(modalities) == "atac")
  titles <- vapply(modalities, `[[`, "", "name")
  object <- seurat("CreateSeuratObject")(assays[[1]], assay = titles[[1]], project = "scMVP")
  for (i in seq_along(assays)[-1]) object[[titles[[i]]]] <- assays[[i]]
  object <- add_to_seurat(object, obs, with_seurat_names(reductions), list())
  if (!is.null(identity)) {
    object <- seurat("Idents<-")(
      object, value = stats::setNames(obs[[identity]], rownames(obs))
    )
    if (identity_added) object[[identity]] <- NULL
  }
  # in the order of obs, not after what CreateSeuratObject() has computed itself
  columns <- attr(object, "meta.data")
  attr(object, "meta.data") <- columns[union(intersect(names(obs), names(columns)), names(columns))]
  object
}

add_to_seurat <- function(object, obs, reductions, assays) {
  seurat <- needs("SeuratObject")
  object <- with_cell_columns(object, obs)
  default <- seurat("DefaultAssay")(object)
  for (name in names(reductions)) {
    object[[name]] <- seurat_dimreduc(reductions[[name]], name, default, object)
  }
  for (name in names(assays)) object <- put_imputed(object, name, assays[[name]])
  object
}

seurat_dimreduc <- function(one, name, default, object) {
  seurat <- needs("SeuratObject")
  own <- name == "scmvp"
  key <- or_else(one$key, if (own) "scMVP_" else key_for(name))
  keys <- unlist(seurat("Key")(object))
  owner <- setdiff(names(keys)[keys == key], name)
  if (length(owner) > 0) {
    refuse("the key '", key, "' of reduction '", name, "' already belongs to '", owner[1], "'")
  }
  if (name %in% setdiff(names(object), seurat("Reductions")(object))) {
    refuse("'", name, "' is the name of something else in the object; rename the reduction")
  }
  values <- one$values
  columns <- one$columns
  # Seurat wants names that end in numbers, which tell them apart once their key is before them
  numbers <- sub("^.*?([0-9]*)$", "\\1", columns, perl = TRUE)
  if (is.null(columns) || any(numbers == "") || anyDuplicated(numbers)) {
    columns <- paste0(key, seq_len(ncol(values)))
  }
  dimnames(values) <- list(colnames(object), columns)
  keep <- !is.na(rowSums(values))
  loadings <- one$loadings
  if (!is.null(loadings)) dimnames(loadings) <- list(one$loadings_features, colnames(values))
  assay <- if (isTRUE(one$assay %in% names(object))) one$assay else default
  seurat("CreateDimReducObject")(
    embeddings = values[keep, , drop = FALSE],
    loadings = or_else(loadings, methods::new("matrix")),
    # as RunSCMVP() does
    stdev = as.numeric(or_else(one$stdev, if (own) apply(values, 2, stats::sd))),
    assay = assay, key = key, global = or_else(one$global, TRUE)
  )
}

# As ImputeSCMVP() marks it: imputed values, not data.
imputed_mark <- function(one) {
  list(
    reduction = "scmvp", fit = "python", modality = one$modality,
    library.size = one$library_size, log = one$log
  )
}

put_imputed <- function(object, name, one) {
  seurat <- needs("SeuratObject")
  if (name %in% setdiff(names(object), seurat("Assays")(object))) {
    refuse("'", name, "' is the name of something else in the object; rename that")
  }
  if (name %in% names(object) && is.null(assay_mark(object[[name]]))) {
    refuse("the object already has an assay '", name, "' that scMVP did not make; rename it")
  }
  key <- tolower(key_for(name))
  put_assay(object, name, imputed_assay(one$values, parent_of(object, one), key, imputed_mark(one)))
}

# The assay that peaks were imputed from: a ChromatinAssay passes on what it knows of them.
parent_of <- function(object, one) {
  if (one$modality != "atac" || !installed("Signac")) {
    return(NULL)
  }
  Find(function(assay) {
    inherits(assay, "ChromatinAssay") && all(one$features %in% assay_features(assay))
  }, methods::slot(object, "assays"))
}

experiment_of <- function(part) {
  rows <- part$var
  ranges <- peak_ranges(rows)
  layers <- part$layers
  for (layer in names(layers)) dimnames(layers[[layer]]) <- dimnames(part$counts)
  if (!is.null(ranges)) {
    # rowData of ranges must not repeat what the ranges say
    rows <- rows[setdiff(names(rows), said_by_ranges(rows))]
    clash <- c("seqnames", "ranges", "strand", "start", "end", "width", "element", "seqlevels")
    rows <- renamed_beside_ranges(rows, intersect(names(rows), clash), part$name)
  }
  x <- needs("SingleCellExperiment")("SingleCellExperiment")(
    assays = c(list(counts = part$counts), layers)
  )
  summarized <- needs("SummarizedExperiment")
  if (!is.null(ranges)) {
    names(ranges) <- rownames(part$counts)
    x <- summarized("rowRanges<-")(x, value = ranges)
  }
  frame <- needs("S4Vectors")("DataFrame")(rows, check.names = FALSE)
  rownames(frame) <- rownames(part$counts)
  summarized("rowData<-")(x, value = frame)
}

to_experiment <- function(modalities, obs, identity, identity_added, reductions) {
  experiment <- needs("SingleCellExperiment")
  main <- modalities[[1]]
  object <- experiment_of(main)
  for (part in modalities[-1]) {
    object <- experiment("altExp<-")(object, part$name, value = experiment_of(part))
  }
  if (main$name != "the main experiment") {
    object <- experiment("mainExpName<-")(object, value = main$name)
  }
  add_to_experiment(object, obs[colnames(object), , drop = FALSE], reductions, list())
}

add_to_experiment <- function(object, obs, reductions, assays) {
  experiment <- needs("SingleCellExperiment")
  object <- set_col_data(object, obs)
  for (name in names(reductions)) {
    one <- reductions[[name]]
    key <- or_else(one$key, if (name == "scmvp") "scMVP_" else key_for(name))
    values <- one$values
    columns <- or_else(one$columns, paste0(key, seq_len(ncol(values))))
    dimnames(values) <- list(colnames(object), columns)
    if (!is.null(one$loadings)) {
      attr(values, "rotation") <- structure(
        one$loadings, dimnames = list(one$loadings_features, colnames(values))
      )
    }
    if (!is.null(one$percent_var)) values <- structure(values, percentVar = one$percent_var)
    object <- experiment("reducedDim<-")(object, name, value = values)
  }
  for (name in names(assays)) {
    one <- assays[[name]]
    taken <- name %in% experiment("altExpNames")(object)
    if (taken && is.null(experiment_mark(experiment("altExp")(object, name)))) {
      refuse(
        "the object already has an altExp '", name, "' that scMVP did not make; rename it"
      )
    }
    parent <- Find(function(part) all(one$features %in% part$features), parts_of(object))$source
    object <- put_alt_exp(object, name, one$values, parent, imputed_mark(one))
  }
  object
}
