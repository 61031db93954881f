# What RunSCMVP() adds to a Seurat object, and under which names.

# Names of everything RunSCMVP() adds, refused before the fit where they are taken by something
# else. `new`: which imputed assays this fit will make.
result_names <- function(object, reduction.name, reduction.key, new) {
  names <- names_for(reduction.name, reduction.key)
  if (reduction.name %in% setdiff(names(object), SeuratObject::Reductions(object))) {
    refuse(
      "reduction.name '", reduction.name, "' is already the name of something else in the object ",
      "(an assay, graph or image): choose another."
    )
  }
  refuse_key_of_another(object, names$key, reduction.name, "reduction.key")
  for (modality in c("rna", "atac")) {
    name <- names$assays[[modality]]
    if (new[[modality]]) {
      refuse_foreign_assay(object, name, reduction.name)
      refuse_key_of_another(object, names$assay_keys[[modality]], name, "reduction.name")
    } else {
      refuse_losing_default(object, name, reduction.name)
    }
  }
  names
}

refuse_foreign_assay <- function(object, name, reduction.name) {
  if (name %in% names(object) && !made_from(object, name, reduction.name)) {
    refuse(
      "the object already has a '", name, "' that was not made from reduction '", reduction.name,
      "': rename or remove it, or choose another reduction.name."
    )
  }
}

refuse_losing_default <- function(object, name, reduction.name) {
  if (SeuratObject::DefaultAssay(object) == name && made_from(object, name, reduction.name)) {
    refuse(
      "the default assay '", name, "' was imputed from the model that this fit would replace: ",
      "set DefaultAssay(object) to another assay first."
    )
  }
}

refuse_key_of_another <- function(object, key, owner, argument) {
  keys <- SeuratObject::Key(object)
  others <- setdiff(names(keys)[keys == key], owner)
  if (length(others) > 0) {
    refuse(
      "the key '", key, "' already belongs to '", others[1], "': choose another ", argument, "."
    )
  }
}

names_for <- function(reduction.name, reduction.key = NULL) {
  check_string(reduction.name, "reduction.name")
  if (!identical(make.names(reduction.name), reduction.name)) {
    refuse(
      "reduction.name must be a valid R name (letters, digits, '.' and '_'), not \"",
      reduction.name, "\"."
    )
  }
  standard <- reduction.name == "scmvp"
  label <- if (standard) "scMVP" else reduction.name
  key <- check_string(reduction.key, "reduction.key", optional = TRUE)
  if (is.null(key)) key <- key_for(label)
  if (!grepl("^[A-Za-z][A-Za-z0-9]*_$", key)) {
    refuse("reduction.key must be a letter, then letters and digits, then '_', not \"", key, "\".")
  }
  list(
    reduction = reduction.name,
    key = key,
    cluster = paste0(reduction.name, "_cluster"),
    cluster_prob = paste0(reduction.name, "_cluster_prob"),
    assays = list(rna = paste0(label, "_RNA"), atac = paste0(label, "_ATAC")),
    assay_keys = lapply(c(rna = "RNA", atac = "ATAC"), function(end) {
      tolower(key_for(paste0(label, end)))
    })
  )
}

# Keys are a letter, then letters and digits, then an underscore.
key_for <- function(name) {
  paste0(sub("^[0-9]+", "", gsub("[^A-Za-z0-9]", "", name)), "_")
}

# Whether an assay was imputed from a reduction. One that has lost its mark in a merge has the name
# that says from which.
made_from <- function(object, name, reduction) {
  if (!name %in% SeuratObject::Assays(object) || !is_imputed(object, name)) {
    return(FALSE)
  }
  mark <- assay_mark(object[[name]])
  if (is.null(mark)) name %in% names_for(reduction)$assays else mark$reduction == reduction
}

# What is kept of a fit beside latent and clusters.
fit_record <- function(fit) {
  list(
    model = fit$staged$model, options = fit$options, history = fit$history, summary = fit$summary,
    probabilities = fit$probabilities, spelling = fit$spelling, fit = fit$id
  )
}

add_results <- function(object, fit, names, assays, mark, verbose) {
  fit$options <- c(fit$options, list(rna.assay = assays$rna, peak.assay = assays$peaks))
  object <- drop_old_results(object, names, kept = lengths(fit$imputed) > 0, verbose)
  colnames(fit$latent) <- paste0(names$key, seq_len(ncol(fit$latent)))
  object[[names$reduction]] <- SeuratObject::CreateDimReducObject(
    embeddings = fit$latent,
    assay = c(assays$rna, assays$peaks)[1],
    stdev = apply(fit$latent, 2, stats::sd),
    key = names$key,
    global = TRUE,
    misc = fit_record(fit)
  )
  columns <- data.frame(fit$cluster, fit$cluster_prob, row.names = colnames(object))
  object <- SeuratObject::AddMetaData(
    object, stats::setNames(columns, c(names$cluster, names$cluster_prob))
  )
  for (modality in names(names$assays)) {
    values <- fit$imputed[[modality]]
    if (is.null(values)) next
    assay <- imputed_assay(
      values,
      parent = assay_or_null(object, if (modality == "rna") assays$rna else assays$peaks),
      key = names$assay_keys[[modality]],
      mark = c(mark, list(modality = modality, log = modality == "rna"))
    )
    object <- put_assay(object, names$assays[[modality]], assay)
  }
  object
}

assay_or_null <- function(object, name) {
  if (!is.null(name) && name %in% SeuratObject::Assays(object)) object[[name]]
}

# Imputed assays of an earlier fit under the same name would not belong to the new one.
drop_old_results <- function(object, names, kept, verbose) {
  for (modality in names(names$assays)) {
    name <- names$assays[[modality]]
    if (!kept[[modality]] && made_from(object, name, names$reduction)) {
      if (verbose) {
        message("removing assay '", name, "', which was imputed from the model this one replaces")
      }
      object[[name]] <- NULL
    }
  }
  object
}

# What LogSeuratCommand() records, without the names of thousands of features and without the whole
# object, which do.call() leaves in the call.
seurat_command <- function(call, frame, reduction.name, assay) {
  skipped <- c("object", "...", "impute.peaks", "rna.features", "peak.features")
  command_of("RunSCMVP", call, frame, formals(RunSCMVP.Seurat), skipped, reduction.name, assay)
}

project_command <- function(call, frame, reduction.name, assay) {
  skipped <- c("model", "query", "...", "impute.peaks", "impute.genes")
  command_of(
    "ProjectSCMVP", call, frame, formals(ProjectSCMVP.Seurat), skipped, reduction.name, assay
  )
}

command_of <- function(verb, call, frame, formals, skipped, reduction.name, assay) {
  for (name in intersect(c("object", "query", "model"), names(call))) call[[name]] <- as.name(name)
  long <- vapply(as.list(call), function(x) utils::object.size(x) > 1000, logical(1))
  call[long] <- rep(list(quote(...)), sum(long))
  methods::new(
    methods::getClass("SeuratCommand", where = asNamespace("SeuratObject")),
    name = paste0(verb, ".", reduction.name),
    time.stamp = Sys.time(),
    assay.used = assay,
    call.string = paste(sub("^([A-Za-z]+)[.]Seurat", "\\1", deparse(call)), collapse = " "),
    params = mget(setdiff(names(formals), skipped), envir = frame)
  )
}
