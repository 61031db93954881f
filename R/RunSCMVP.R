#' Fit scMVP to RNA, ATAC, surface proteins and DNA methylation
#'
#' Fits the joint model of the modalities and returns the object with a common latent space,
#' clusters and imputed expression. The fit removes no cells. It excludes features that have counts
#' in fewer than `min.cells` cells.
#'
#' @section Results:
#' For a Seurat object with `n` cells, `RunSCMVP()` returns the object with
#' * reduction `scmvp`: embeddings, n x `n.latent`, for `RunUMAP(reduction = "scmvp", dims = 1:20)`,
#'   `FindNeighbors()` and the like. Its `Misc()` holds the fitted `model`, the `options`, the
#'   training `history` (a data frame, one row per epoch), a `summary` and the
#'   time of the `fit`.
#' * metadata `scmvp_cluster`, the most probable cluster as a factor of 0-based numbers,
#'   and `scmvp_cluster_prob`, its posterior probability. [ClusterSCMVP()] gives more or fewer
#'   clusters without a new fit.
#' * assay `scMVP_RNA` (unless `impute = "none"`): imputed expression, log(1 + counts per 10,000),
#'   the scale of `NormalizeData()`, so that measured and imputed values are comparable in
#'   `FeaturePlot()` and `VlnPlot()`. It is dense and has no counts.
#' * assay `scMVP_ATAC`, only with `impute.peaks`: expected accessibility per 10,000 counts, not
#'   logged. From a ChromatinAssay it keeps ranges, annotation, motifs and the measured counts.
#' * assay `scMVP_ADT`, only with `impute.proteins`: proteins without background, log(1 + foreground
#'   counts per 10,000).
#'
#' The default assay does not change. With another `reduction.name`, say `joint`, the names are
#' `joint_cluster`, `joint_cluster_prob`, `joint_RNA`, `joint_ATAC` and `joint_ADT`. A second fit
#' with the same name replaces all of these.
#'
#' An imputed value is the expected value of a feature at the position of the cell in the latent, so
#' similar cells have similar values. Use imputed values for plots and denoised profiles. The
#' p-values of tests on them are not valid; use [DifferentialSCMVP()].
#'
#' In a SingleCellExperiment, the latent is a `reducedDim`, the clusters are in the `colData`, the
#' imputed profiles are an `altExp` (`scMVP_RNA` with `logcounts`, `scMVP_ATAC` with `imputed` and
#' the ranges of the peaks), and model, options and history are in the `metadata`. In a
#' MultiAssayExperiment, all results are in the RNA experiment, which becomes a
#' SingleCellExperiment; if each primary unit is one cell, the clusters are in its own `colData` as
#' well.
#'
#' @section Memory and size:
#' The fit never holds a dense matrix of all cells and features. Imputed assays are dense and take
#' 8 bytes per value. Their size is estimated before the fit, and the call stops if it exceeds
#' `max.gb`. The stored model takes about 1 MB and 0.7 kB per modeled feature inside the object
#' (100 MB for 140,000 features); `model.file` stores it on disk instead.
#'
#' @section Errors:
#' Each error is one sentence, and the object is unchanged. `scmvp_error_input`: an argument is out
#' of range or unknown; no RNA or peak assay, or several possible ones; counts negative, not
#' integer, or not finite; a cell without any count; names duplicated or not shared; fewer than 20
#' cells, or fewer than two for each cluster. `scmvp_error_memory`: the imputed values would
#' exceed `max.gb`. `scmvp_error_python`: no usable Python. `scmvp_error_file`: `model.file`
#' cannot be written; if it exists already, the error is `scmvp_error_input`. All inherit from
#' `scmvp_error`.
#'
#' @section Progress and interrupts:
#' With `verbose`, messages name the current stage: reading, checking, the correspondence analysis
#' of each modality, estimation of the clusters, and imputation. If a stage takes more than two
#' seconds, a second message reports its end. Interactive consoles also show the fraction done. Each
#' epoch has a line.
#'
#' An interrupt (Ctrl-C, Esc) takes effect within about a second with both backends. After the first
#' complete epoch, `RunSCMVP()` returns the object with the best state so far and a warning. Before
#' that, a message names the stage, and nothing is changed. While Python and PyTorch are being
#' loaded, for some seconds once in a session, an interrupt is delayed, because a partly loaded
#' PyTorch could not be used.
#'
#' @param object One of
#'   * a Seurat object with an RNA assay and a peak assay of the same cells;
#'   * a SingleCellExperiment whose main and alternative experiments are RNA and peaks, or one
#'     with RNA only, together with `peaks`;
#'   * a MultiAssayExperiment with an RNA and a peak experiment of the same cells;
#'   * a matrix of RNA counts, genes x cells (dense, sparse, delayed or on disk), together with
#'     `peaks`, `proteins` or both;
#'   * the path of a file that [ReadSCMVP()] reads, such as a 10x `.h5`, or the paths of
#'     several samples.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param rna.assay,peak.assay Names of the assays of a Seurat object. `NULL`: the one assay with
#'   counts whose features are not genomic ranges, and the one ChromatinAssay or assay whose
#'   features are (`chr1-100-200`, `chr1:100-200`, `chr1_100_200`, `1:100-200`, ...). SCT assays and
#'   the assays of scMVP are ignored.
#' @param protein.assay,protein.experiment Name of the assay (experiment) with raw counts of surface
#'   proteins, such as `"ADT"` of TEA-seq or DOGMA-seq. `NULL`: no proteins or, if `modalities`
#'   contains `"protein"`, the one assay with a name such as ADT, Protein or Antibody Capture. The
#'   model accounts for the background of each protein.
#' @param impute.proteins `TRUE` adds the assay `scMVP_ADT`, all proteins without background, log(1
#'   + foreground counts per 10,000). [ImputeSCMVP()] can add it later.
#' @param peaks A matrix of ATAC counts, peaks x cells, with the same cells by name as `object`; for
#'   a SingleCellExperiment or MultiAssayExperiment, another experiment that holds the peaks.
#' @param proteins A matrix of protein counts, proteins x cells, with the same cells by name, where
#'   `object` is a matrix.
#' @param modalities Modalities to fit, some of `"rna"`, `"peaks"`, `"protein"` and `"methylation"`:
#'   for example `c("rna", "protein")` for CITE-seq, `c("peaks", "protein")` for ASAP-seq, `c("rna",
#'   "methylation")` for scM&T-seq, or a single one. `NULL`: RNA and peaks, proteins if
#'   `protein.assay`, `protein.experiment` or `proteins` is given, and for matrices methylation if
#'   `methylation` is given. For matrices without RNA, `object` is `NULL`.
#' @param methylation If `object` is a matrix: `list(methylated = , covered = )`, two matrices with
#'   the numbers of methylated and of all covered positions, regions x cells. A Seurat object stores
#'   them in two assays called `methylated` and `covered`, and other objects in one experiment with
#'   two assays of these names; then `modalities` must include `"methylation"`. [ImputeSCMVP()]
#'   imputes levels from 0 to 1.
#' @param rna.layer,peak.layer For a path: layers with the counts, as in [ReadSCMVP()].
#' @param rna.experiment,peak.experiment Names of the experiments of a SingleCellExperiment or
#'   MultiAssayExperiment (`"main"` for an unnamed main one). `NULL`: the one experiment whose
#'   features are not genomic ranges, and the one whose features are.
#' @param assay.type Name of the assay with raw counts in both experiments.
#' @param impute.genes Names of genes to impute; replaces `impute`.
#' @param n.latent Dimensions of the latent space; `NULL` for 20, with preset `"paper"` 10.
#' @param n.clusters Number of clusters, which is then the number of components of the mixture; some
#'   may end up without cells. `NULL` estimates the number of components by the Bayesian
#'   information criterion from the latent of the first epochs, which requires some tens of cells
#'   of each type, and merges components whose cells are not separated ([ClusterSCMVP()]). With
#'   preset `"paper"`, `NULL` uses the rank of the correlation matrix of the cells, and no
#'   components are merged.
#' @param max.epochs Maximum number of passes over the cells; training stops early when the fit to
#'   the held-out cells no longer improves. `NULL`: 60, and fewer (at least 12) for more than 10,000
#'   cells or 3,000 counts per cell.
#' @param batch.size Cells per minibatch. Minibatches are smaller if an epoch would have fewer than
#'   32 of them, and larger with `mosaic`.
#' @param learning.rate Learning rate of Adam.
#' @param impute Which modeled genes to impute: the `"variable"` features of the RNA assay (all
#'   modeled genes if it has none), `"none"` or `"all"`. `NULL`: the variable features for a Seurat
#'   object, none for other classes.
#' @param impute.peaks Names of peaks to impute, or `NULL` for none. [ImputeSCMVP()] imputes more
#'   later.
#' @param rna.features,peak.features Names of the features to model; `NULL` for all.
#' @param min.cells Genes and peaks with counts in fewer cells, and regions covered in fewer cells,
#'   are excluded from the model; of the proteins, only those without any count.
#' @param batch Batches of the cells, such as donor, replicate or chemistry. Their differences are
#'   removed from the latent and from imputed values. Give names of columns of the metadata or
#'   `colData`; for two matrices, a vector or a data frame. Each batch should contain several cell
#'   types. `NULL`: no batches.
#' @param mosaic `TRUE` accepts cells with one modality only: columns of only one of the matrices
#'   (or v5 assays). They are embedded with the other cells, and the missing modality can be
#'   imputed. Cells without any count in one modality are always treated in this way.
#' @param reduction.name Name of the new reduction, from which the other names are derived.
#'   `reduction.name` and `reduction.key` are not used for matrices.
#' @param reduction.key Key of the new reduction, letters and digits ending in `_`; `NULL` derives
#'   it from `reduction.name` (`scMVP_` for `scmvp`).
#' @param device `"auto"`, `"cpu"`, `"cuda"` or another device of PyTorch.
#' @param threads CPU threads of the fit; `NULL` for half of the CPUs that the process may use, at
#'   most 8. The same number is needed to reproduce a fit bit for bit.
#' @param preset `"default"`, or `"paper"` for the published model as far as possible (log counts
#'   and TF-IDF as input, zero inflation, 10 dimensions; `docs/MODEL.md` lists all differences).
#' @param model.file Folder for the fitted model, which is otherwise stored inside the object. The
#'   folder must not exist. [ImputeSCMVP()] then needs this folder.
#' @param max.gb Largest imputed result in GB.
#' @param seed.use Seed of the fit. The same seed gives the same result on the same machine with the
#'   same number of threads. R's own random numbers are not changed.
#' @param verbose Show the assays used, the stages of the fit and its epochs.
#' @param backend Where Python runs: inside R (`"reticulate"`) or in a separate `"process"`. A
#'   separate process does not conflict with libraries loaded into R (another Python, a limit on the
#'   NumPy version, BLAS), cannot crash R, and works in forked and parallel workers. `"auto"` uses
#'   reticulate if possible and otherwise the process. The result is the same. The process waits ten
#'   minutes for the next call, without the model and the counts.
#' @return For a Seurat object, the object with the results listed in section Results. For matrices,
#'   a list of class `scMVPFit`: `latent` (n x `n.latent`), `cluster`, `cluster_prob`,
#'   `probabilities` (n x clusters), `rna`, `peaks` and `proteins` (imputed, features x cells, or
#'   `NULL`), `model`, `options`, `history`, `summary` and `batch` (of the cells, a data frame or
#'   `NULL`).
#' @references Li G, Fu S, Wang S, et al. (2022). A deep generative model for multi-view profiling
#'   of single-cell RNA-seq and ATAC-seq data. *Genome Biology* 23:20.
#' @seealso [ImputeSCMVP()] for more imputed features; [SaveSCMVP()] to use the model elsewhere.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3)
#'   table(object$scmvp_cluster, object$cell_type)
#' }
#' @export
RunSCMVP <- function(object, peaks = NULL, rna.assay = NULL, peak.assay = NULL,
                     rna.experiment = NULL, peak.experiment = NULL, assay.type = "counts",
                     n.latent = NULL, n.clusters = NULL, max.epochs = NULL, batch.size = 128,
                     learning.rate = 5e-3, impute = NULL, impute.genes = NULL, impute.peaks = NULL,
                     rna.features = NULL, peak.features = NULL, min.cells = 10, batch = NULL,
                     mosaic = FALSE, reduction.name = "scmvp", reduction.key = NULL,
                     device = "auto", threads = NULL, preset = "default", model.file = NULL,
                     max.gb = 4, seed.use = 0, verbose = TRUE,
                     backend = c("auto", "reticulate", "process"), rna.layer = NULL,
                     peak.layer = NULL, protein.assay = NULL, protein.experiment = NULL,
                     impute.proteins = FALSE, proteins = NULL, modalities = NULL,
                     methylation = NULL, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  settings <- fit_settings(mget(fit_arguments, environment()))
  kinds <- modalities_to_fit(modalities, environment())
  object <- read_if_path(object, "object", settings, rna.layer, peak.layer)
  levels <- levels_given(methylation, "methylation" %in% kinds && !is_container(object))
  object <- as_container(
    object, list(peaks = peaks, protein = proteins, methylation = levels), "RunSCMVP()", kinds,
    settings$options$mosaic
  )
  words <- about(object)
  refuse_other_class(object, match.call(), environment())
  impute <- impute_default(impute, words, kinds)
  impute <- check_choice(impute, c("variable", "none", "all"), "impute")
  parts <- parts_of(object, peaks, assay.type)
  refuse_no_methylation(parts, words, kinds)
  used <- find_parts(parts, words, list(
    rna = c(rna.assay, rna.experiment), peaks = c(peak.assay, peak.experiment),
    protein = c(protein.assay, protein.experiment)
  ), wanted = kinds, also = or_fewer(parts, kinds))[kinds]
  home <- used[[1]]$name
  names <- result_names(
    object, parts, home, reduction.name, reduction.key,
    new = c(
      rna = impute != "none" || length(impute.genes) > 0, peaks = length(impute.peaks) > 0,
      protein = check_flag(impute.proteins, "impute.proteins")
    )
  )
  counts <- counts_of_parts(used, home, settings$options$mosaic, list(
    rna = rna.features, peaks = peak.features
  ), words)
  if (settings$verbose && words$part != "matrix") {
    tell_parts(words$part, used, ncol(counts[[1]]))
    if (is.null(modalities)) tell_unused_proteins(parts, used, words)
  }
  fit <- fit_with(
    settings, counts,
    impute = impute, variable = if (impute == "variable") used$rna$variable(),
    impute.genes = impute.genes, impute.peaks = check_wanted(
      impute.peaks, used$peaks$features, "impute.peaks", in_part(used$peaks, words)
    ),
    impute.proteins = impute.proteins,
    batch = batch_columns(batch, colnames(counts[[1]]), cell_data(object, home), words$data)
  )
  on.exit(discard_model(fit$staged))
  results <- fit_results(
    fit, names, parts, used, home, words, assay.type, settings$verbose
  )
  call <- match.call()
  frame <- environment()
  results$command <- function() {
    seurat_command("RunSCMVP", call, frame, reduction.name, home)
  }
  object <- put_results(object, results)
  keep_model(fit$staged)
  warn_interrupted(fit)
  object
}

# ---- arguments -----------------------------------------------------------------------------------

# What else can be done where a modality is missing: to fit those that are there.
or_fewer <- function(parts, kinds) {
  there <- Filter(function(kind) length(candidates_of(parts, kind)) > 0, all_kinds)
  if (length(there) > 0 && !setequal(there, kinds)) {
    paste0(", or fit ", listed_kinds(there), " alone with modalities = ", as_argument(there))
  }
}

# What RunSCMVP() takes of the fit itself.
fit_arguments <- c(
  "n.latent", "n.clusters", "max.epochs", "batch.size", "learning.rate", "min.cells",
  "mosaic", "device", "threads", "preset", "model.file", "max.gb", "seed.use", "verbose", "backend"
)

# An object from the path of a file; anything else as it is. `argument`: by which it was given.
read_if_path <- function(object, argument, settings, rna.layer, peak.layer) {
  if (is.character(object) && !is.matrix(object)) {
    return(read_paths(
      object, argument, settings$backend, settings$options$mosaic, rna.layer, peak.layer,
      settings$verbose
    ))
  }
  if (!is.null(c(rna.layer, peak.layer))) {
    refuse("rna.layer and peak.layer are for the path of a file: leave them out.")
  }
  object
}

# An object as one of the classes of containers.R. `beside`: matrices of other kinds; `kinds`: those
# that must be there, and `mosaic`, both NULL for a query, of which some may be absent.
as_container <- function(object, beside, taker, kinds = NULL, mosaic = NULL) {
  if (is_container(object)) {
    return(object)
  }
  if (!is.null(object) && !is_matrix_like(object)) {
    refuse(
      taker, " takes a Seurat object, a SingleCellExperiment, a MultiAssayExperiment, the path ",
      "of a file or matrices of counts (features x cells), not an object of class ",
      class(object)[1], "."
    )
  }
  given <- c(list(rna = object), beside)
  check_given_matrices(given, kinds)
  matrices(check_matrices(without_nulls(given), mosaic))
}

# `given`: by kind; `kinds`: those that must be there, NULL for none.
check_given_matrices <- function(given, kinds) {
  if (!is.null(kinds)) check_rna_matrix(given$rna, "rna" %in% kinds)
  if ("peaks" %in% kinds && !is_matrix_like(given$peaks)) {
    refuse(
      "peaks must be a matrix of ATAC counts, peaks x cells, if object is a matrix of RNA counts",
      if (is.null(given$peaks)) or_without_peaks(given), "."
    )
  }
  for (kind in setdiff(union(kinds, names(without_nulls(given))), "rna")) {
    if (!is_matrix_like(given[[kind]])) {
      refuse(
        of_kind(kind, "argument"), " must be a matrix of counts (", features_of_kind(kind),
        " x cells), not ", in_words(given[[kind]]), "."
      )
    }
  }
}

check_rna_matrix <- function(rna, wanted) {
  if (wanted && is.null(rna)) {
    refuse("object must be a matrix of RNA counts, genes x cells, if peaks is a matrix.")
  }
  if (!wanted && !is.null(rna)) {
    refuse("object is a matrix, but modalities has no \"rna\": add it, or give NULL as object.")
  }
}

or_without_peaks <- function(given) {
  there <- names(without_nulls(given))
  paste0("; to fit ", listed_kinds(there), " alone, say modalities = ", as_argument(there))
}

# Seurat's users go on with a modest imputed assay; those of matrices ask for one.
impute_default <- function(impute, words, kinds) {
  if (!is.null(impute)) {
    return(impute)
  }
  if (words$part == "assay" && "rna" %in% kinds) "variable" else "none"
}

# Counts by kind in the cells of the home, and of the features wanted.
counts_of_parts <- function(parts, home, mosaic, wanted, words) {
  by_kind(names(parts), function(kind) {
    counts <- parts[[kind]]$counts(home, mosaic)
    features <- check_wanted(
      wanted[[kind]], features_of_rows(counts, kind), paste0(of_kind(kind, "prefix"), ".features"),
      in_part(parts[[kind]], words)
    )
    if (is.null(features)) counts else counts[features, , drop = FALSE]
  })
}

# The options of the fit, checked; and what surrounds it.
fit_settings <- function(given) {
  number <- function(name, ...) check_number(given[[name]], name, ...)
  list(
    options = list(
      n.latent = number("n.latent", min = 1, whole = TRUE, optional = TRUE),
      n.clusters = number("n.clusters", min = 1, whole = TRUE, optional = TRUE),
      max.epochs = number("max.epochs", min = 1, whole = TRUE, optional = TRUE),
      batch.size = number("batch.size", min = 2, whole = TRUE),
      learning.rate = number("learning.rate", min = 0, above = TRUE),
      min.cells = number("min.cells", min = 0, whole = TRUE),
      device = check_string(given$device, "device"),
      threads = number("threads", min = 1, whole = TRUE, optional = TRUE),
      preset = check_choice(given$preset, c("default", "paper"), "preset"),
      seed.use = number("seed.use", min = 0, whole = TRUE),
      mosaic = check_flag(given$mosaic, "mosaic")
    ),
    max.gb = number("max.gb", min = 0),
    verbose = check_flag(given$verbose, "verbose"),
    model.file = check_model_file(given$model.file),
    backend = check_choice(given$backend, backends, "backend")
  )
}

check_wanted <- function(wanted, available, argument, where) {
  if (is.null(wanted)) {
    return(NULL)
  }
  check_names_known(wanted, available, argument, where)
}

tell_parts <- function(what, parts, n_cells) {
  each <- vapply(names(parts), function(kind) {
    n <- count_of(length(parts[[kind]]$features), of_kind(kind, "feature"))
    paste0(of_kind(kind, "label"), " ", what, " '", parts[[kind]]$name, "' (", n, ")")
  }, "")
  message(paste(each, collapse = ", "), ", ", count_of(n_cells, "cell"))
}

# Proteins that the object holds are only modeled where they are asked for.
tell_unused_proteins <- function(parts, used, words) {
  unused <- candidates_of(parts, "protein", vapply(used, `[[`, "", "name"))
  if (length(unused) > 0) {
    message(
      words$part, " ", some_names(unused), " has proteins, which are not modeled: name it with ",
      words$protein, " = to model them, too"
    )
  }
}
