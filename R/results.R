# What verbs add to an object, and under which names.

# What put_results() puts into an object.
#   reduction  list(name, key, values, misc, part, made_from): a new reduction, cells x dimensions;
#              of the counts of `part`, or of another reduction
#   columns    data frame of new metadata of the cells, with their names
#   imputed    list of list(name, key, values, mark, source): imputed values, features x cells, and
#              the assay or experiment that the counts are in
#   dropped    names of imputed parts that go
#   record     list(name, value): what is kept of a fit that is there already, anew
#   links      list(part, ranges, key, table), for Signac's assays
#   home, assay.type, fit, command   see containers.R, fit_core() and seurat_command()
new_results <- function(reduction = NULL, columns = NULL, imputed = list(), dropped = character(),
                        record = NULL, links = NULL, home = NULL, assay.type = "counts", fit = NULL,
                        command = NULL) {
  as.list(environment())
}

# Names of everything a fit adds, refused before it where they are taken by something else. `new`:
# which imputed assays it will make.
result_names <- function(object, parts, home, reduction.name, reduction.key, new) {
  names <- names_for(reduction.name, reduction.key)
  words <- about(object)
  if (reduction.name %in% words$others) {
    refuse(
      "reduction.name '", reduction.name, "' is already the name of something else in the object ",
      "(an assay, metadata column, graph or image): choose another."
    )
  }
  columns <- colnames(cell_data(object, home))
  ours <- c(names(fits_of(object)), fits_in_columns(columns))
  if (reduction.name %in% setdiff(words$reductions, ours)) {
    refuse(
      "the object already has a reduction '", reduction.name, "' that scMVP did not make: choose ",
      "another reduction.name."
    )
  }
  taken <- setdiff(names$cluster, paste0(ours, "_cluster"))
  if (length(taken) > 0 && taken %in% columns) {
    refuse(
      "the object already has cell metadata '", taken, "' that scMVP did not make: rename it, or ",
      "choose another reduction.name."
    )
  }
  refuse_key_of_another(object, names$key, reduction.name, "reduction.key")
  for (kind in names(names$assays)) {
    name <- names$assays[[kind]]
    holds <- of_kind(kind, "core")
    if (isTRUE(unname(new[kind]))) {
      refuse_foreign_part(parts, words, name, reduction.name, holds)
      refuse_key_of_another(object, names$assay_keys[[kind]], name, "reduction.name")
    } else if (
      identical(words$default, name) && made_from(parts, name, reduction.name, holds)
    ) {
      refuse(
        "the default assay '", name, "' was imputed from the model that this fit would replace: ",
        "set DefaultAssay(object) to another assay first."
      )
    }
  }
  names$present <- columns
  names
}

# `holds`: as for made_from(); `argument`: that names it.
refuse_foreign_part <- function(parts, words, name, reduction.name, holds,
                                argument = "reduction.name") {
  taken <- name %in% c(names(parts), words$others, words$reductions)
  if (taken && !made_from(parts, name, reduction.name, holds)) {
    refuse(
      "the object already has a '", name, "' that was not made from reduction '", reduction.name,
      "' in the same way: rename or remove it, or choose another ", argument, "."
    )
  }
}

refuse_key_of_another <- function(object, key, owner, argument) {
  words <- about(object)
  keys <- words$keys
  others <- setdiff(names(keys)[keys == key], owner)
  # of Seurat, where assays and reductions share their names
  if (argument == "assay.name" && owner %in% setdiff(names(keys), words$others)) {
    refuse("assay.name '", owner, "' is the name of a reduction: choose another.")
  }
  if (length(others) > 0) {
    refuse(
      "the key '", key, "' already belongs to '", others[1], "': choose another ", argument, "."
    )
  }
}

names_for <- function(reduction.name, reduction.key = NULL) {
  check_column_name(reduction.name, "reduction.name")
  standard <- reduction.name == "scmvp"
  label <- if (standard) "scMVP" else reduction.name
  key <- check_string(reduction.key, "reduction.key", optional = TRUE)
  if (is.null(key)) key <- key_for(label)
  if (!grepl("^[A-Za-z][A-Za-z0-9]*_$", key)) {
    rule <- "must be a letter, then letters and digits, then '_'"
    if (is.null(reduction.key)) {
      refuse(
        "the key of reduction.name '", reduction.name, "' would be '", key, "', but it ", rule,
        ": choose another reduction.name."
      )
    }
    refuse("reduction.key ", rule, ", not \"", key, "\".")
  }
  list(
    reduction = reduction.name,
    key = key,
    cluster = paste0(reduction.name, "_cluster"),
    cluster_prob = paste0(reduction.name, "_cluster_prob"),
    assays = by_kind(all_kinds, function(kind) paste0(label, "_", of_kind(kind, "assay"))),
    assay_keys = by_kind(all_kinds, function(kind) {
      tolower(key_for(paste0(label, of_kind(kind, "assay"))))
    })
  )
}

# Keys are a letter, then letters and digits, then an underscore.
key_for <- function(name) {
  paste0(sub("^[0-9]+", "", gsub("[^A-Za-z0-9]", "", name)), "_")
}

# Whether an assay with this mark holds sums of counts, which later steps may transform.
is_measured_activity <- function(mark) {
  identical(mark$modality, "gene") && identical(mark$values, "measured")
}

# Whether a part was made from a reduction and holds a modality, or the activity of motifs ("motif")
# or genes ("gene"). One that has lost its mark in a merge has the name that says from which.
made_from <- function(parts, name, reduction, holds) {
  part <- parts[[name]]
  if (is.null(part) || !part$own) {
    return(FALSE)
  }
  if (is.null(part$mark)) {
    return(name %in% names_for(reduction)$assays)
  }
  part$mark$reduction == reduction && part$mark$modality == holds
}

# What is kept of a fit beside latent and clusters.
fit_record <- function(fit) {
  list(
    model = fit$staged$model, options = fit$options, history = fit$history, summary = fit$summary,
    probabilities = fit$probabilities, tree = fit$tree, level = fit$level,
    spelling = fit$spelling, fit = fit$id
  )
}

# What a fit puts into an object. `pair`: the parts it was made on.
fit_results <- function(fit, names, parts, pair, home, words, assay.type, verbose) {
  pair <- without_nulls(pair)
  made_on <- lapply(pair, `[[`, "name")
  options <- stats::setNames(made_on, unlist(words[names(pair)]))
  fit$options <- c(fit$options, if (words$part != "matrix") options)
  if ("assay.type" %in% words$takes) fit$options$assay.type <- assay.type
  # which of them were given beside the object
  fit$options$beside <- names(Filter(function(part) isTRUE(part$beside), pair))
  imputed <- lapply(names(fit$imputed), function(kind) {
    if (is.null(fit$imputed[[kind]])) {
      return(NULL)
    }
    list(
      name = names$assays[[kind]], key = names$assay_keys[[kind]],
      values = fit$imputed[[kind]], source = pair[[kind]]$source,
      mark = list(
        reduction = names$reduction, fit = fit$id, modality = of_kind(kind, "core"),
        library.size = 1e4, log = is_logged(kind)
      )
    )
  })
  new_results(
    reduction = list(
      name = names$reduction, key = names$key, values = fit$latent, misc = fit_record(fit),
      part = unlist(made_on)[1]
    ),
    columns = cluster_columns(fit, names),
    imputed = Filter(Negate(is.null), imputed),
    dropped = parts_to_drop(parts, names, lengths(fit$imputed) > 0, verbose),
    home = home, assay.type = assay.type, fit = fit
  )
}

# The clusters of named cells (see name_cells()) as columns of their metadata.
cluster_columns <- function(found, names) {
  columns <- data.frame(found$cluster, found$cluster_prob, row.names = rownames(found$latent))
  stats::setNames(columns, c(names$cluster, names$cluster_prob))
}

# Imputed parts of an earlier fit under the same name would not belong to the new one.
parts_to_drop <- function(parts, names, kept, verbose) {
  dropped <- character()
  for (kind in names(names$assays)) {
    name <- names$assays[[kind]]
    ours <- made_from(parts, name, names$reduction, of_kind(kind, "core"))
    if (!isTRUE(unname(kept[kind])) && ours) {
      if (verbose) {
        message("removing assay '", name, "', which was imputed from the model this one replaces")
      }
      dropped <- c(dropped, name)
    }
  }
  if (verbose) tell_stale(parts, names$present, names$reduction)
  dropped
}

# What else was made from a model that is replaced stays: parts under names that the user has
# chosen, columns of the cells.
tell_stale <- function(parts, columns, reduction) {
  stale <- Filter(function(part) {
    isTRUE(part$mark$reduction == reduction) && part$mark$modality %in% c("motif", "gene")
  }, parts)
  if (length(stale) > 0) {
    message(
      some_names(vapply(stale, `[[`, "", "name")), ": activities of the model that this one ",
      "replaces; run RunMotifSCMVP() or GeneActivitySCMVP() again"
    )
  }
  makers <- c(RunDiffusionSCMVP = pseudotime_column(reduction),
    DoubletScoreSCMVP = doublet_column(reduction))
  makers <- makers[makers %in% columns]
  if (length(makers) > 0) {
    message(
      some_names(makers), ": of the latent that this one replaces; run ",
      paste0(names(makers), "()", collapse = " and "), " again"
    )
  }
}
