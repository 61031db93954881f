#' Fit scMVP to paired RNA and ATAC
#'
#' Fits the joint model of both modalities and returns the object with a common latent space,
#' clusters and imputed expression. Every cell stays; features seen in fewer than `min.cells` cells
#' are left out of the model.
#'
#' @section What comes back:
#' For a Seurat object with `n` cells, the object with
#' * reduction `scmvp`: embeddings, n x `n.latent`, for `RunUMAP(reduction = "scmvp", dims = 1:20)`,
#'   `FindNeighbors()` and the like. Its `Misc()` holds the fitted `model`, the `options`, the
#'   training `history` (a data frame, one row per epoch), a `summary` and the
#'   time of the `fit`.
#' * metadata `scmvp_cluster`, the most probable mixture component as a factor of 0-based numbers,
#'   and `scmvp_cluster_prob`, its posterior probability.
#' * assay `scMVP_RNA` (unless `impute = "none"`): imputed expression, log(1 + counts per 10,000),
#'   the scale of `NormalizeData()`, so that `FeaturePlot()`, `VlnPlot()` and `FindMarkers()` show
#'   measured and imputed values alike. It is dense and has no counts.
#' * assay `scMVP_ATAC`, only with `impute.peaks`: expected accessibility per 10,000 counts, not
#'   logged. From a ChromatinAssay it keeps ranges, annotation, motifs and the measured counts.
#'
#' The default assay does not change. With another `reduction.name`, say `joint`, the names are
#' `joint_cluster`, `joint_cluster_prob`, `joint_RNA` and `joint_ATAC`. Running again under the same
#' name replaces all of these.
#'
#' Imputed values are means given the latent position of the cell: neighbors lend each other counts.
#' They are good for plots and for denoised profiles; p-values of tests on them mean little.
#'
#' @section Memory and size:
#' The fit never holds a dense matrix of all cells and features. Imputed assays are dense, 8 bytes
#' per value: the estimate is made before the fit and refused above `max.gb`. The stored model takes
#' about 5 kB per modelled feature inside the object; `model.file` keeps it on disk instead.
#'
#' @section Errors:
#' Each is one sentence, and the object is as it was. `scmvp_error_input`: an argument is out of its
#' range or unknown; no RNA or no peak assay, or several candidates; counts negative, not integer,
#' or not finite; a cell without any count; names duplicated or not shared; fewer than 20
#' cells, or than two for each cluster. `scmvp_error_memory`: the imputed values would exceed
#' `max.gb`. `scmvp_error_python`: no usable Python. All inherit from `scmvp_error`.
#'
#' Interrupting the fit (Ctrl-C, Esc) keeps the best state so far: the object comes back with a
#' warning.
#'
#' @param object A Seurat object with an RNA assay and a peak assay of the same cells, or a matrix
#'   of RNA counts, genes x cells (dense, sparse or on disk).
#' @param ... Not used; unknown arguments are refused by name.
#' @param rna.assay,peak.assay Names of the assays. `NULL`: the one assay with counts whose features
#'   are not genomic ranges, and the one ChromatinAssay or assay whose features are (`chr1-100-200`,
#'   `chr1:100-200`, `chr1_100_200`, `1:100-200`, ...). SCT assays and scMVP's own are passed over.
#' @param peaks A matrix of ATAC counts, peaks x cells, with the same cells by name as `object`.
#' @param n.latent Dimensions of the latent space; `NULL` for 20, with preset `"paper"` 10.
#' @param n.clusters Components of the mixture; `NULL` estimates them from the data, which needs
#'   some tens of cells of each type: give the number when you have an idea of it. Components may
#'   end up unused.
#' @param max.epochs Passes over the cells, at most; training stops early when the held-out cells no
#'   longer gain.
#' @param batch.size Cells per minibatch.
#' @param learning.rate Learning rate of Adam.
#' @param impute Which modelled genes to impute: the `"variable"` features of the RNA assay (all
#'   modelled genes when it has none), `"none"` or `"all"`.
#' @param impute.peaks Names of peaks to impute, or `NULL` for none. [ImputeSCMVP()] does more
#'   later.
#' @param rna.features,peak.features Names of the features to model; `NULL` for all.
#' @param min.cells Features with counts in fewer cells are left out of the model.
#' @param reduction.name Name of the new reduction; the other names follow it.
#' @param reduction.key Key of the new reduction, letters and digits ending in `_`; `NULL` derives
#'   it from `reduction.name` (`scMVP_` for `scmvp`).
#' @param device `"auto"`, `"cpu"`, `"cuda"` or another device PyTorch knows.
#' @param threads CPU threads of the fit; `NULL` for half of the CPUs, at most 8.
#' @param preset `"default"`, or `"paper"` for the options of the publication.
#' @param model.file Folder to write the fitted model to, instead of storing it inside the object.
#'   Must not exist. The object then needs it for [ImputeSCMVP()].
#' @param max.gb Largest imputed result in GB.
#' @param seed.use Seed of the fit. The same seed gives the same result; R's own random numbers are
#'   not touched.
#' @param verbose Show which assays were taken and the progress of the fit.
#' @return For Seurat, the object; see below. For matrices, a list of class `scMVPFit`: `latent`
#'   (n x `n.latent`), `cluster`, `cluster_prob`, `probabilities` (n x clusters), `rna` and `peaks`
#'   (imputed, features x cells, or `NULL`), `model`, `options`, `history` and `summary`.
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
RunSCMVP <- function(object, ...) {
  UseMethod("RunSCMVP")
}

#' @rdname RunSCMVP
#' @export
RunSCMVP.Seurat <- function(object, rna.assay = NULL, peak.assay = NULL, n.latent = NULL,
                            n.clusters = NULL, max.epochs = 60, batch.size = 128,
                            learning.rate = 5e-3, impute = c("variable", "none", "all"),
                            impute.peaks = NULL, rna.features = NULL, peak.features = NULL,
                            min.cells = 10, reduction.name = "scmvp", reduction.key = NULL,
                            device = "auto", threads = NULL, preset = "default",
                            model.file = NULL, max.gb = 4, seed.use = 0, verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  impute <- check_choice(impute, c("variable", "none", "all"), "impute")
  options <- check_options(
    n.latent = n.latent, n.clusters = n.clusters, max.epochs = max.epochs, batch.size = batch.size,
    learning.rate = learning.rate, min.cells = min.cells, device = device, threads = threads,
    preset = preset, seed.use = seed.use
  )
  check_number(max.gb, "max.gb", min = 0)
  check_flag(verbose, "verbose")
  model.file <- check_model_file(model.file)
  names <- result_names(
    object, reduction.name, reduction.key,
    new = c(rna = impute != "none", atac = length(impute.peaks) > 0)
  )
  assays <- find_assays(object, rna.assay, peak.assay)
  rna <- object[[assays$rna]]
  peaks <- object[[assays$peaks]]
  if (verbose) {
    message(
      "RNA assay '", assays$rna, "' (", count_of(nrow(rna), "gene"), "), peak assay '",
      assays$peaks, "' (", count_of(nrow(peaks), "peak"), "), ", count_of(ncol(object), "cell")
    )
  }
  if (!is.null(impute.peaks)) {
    impute.peaks <- check_names_known(
      impute.peaks, rownames(peaks), "impute.peaks", paste0("in assay '", assays$peaks, "'")
    )
  }
  variable <- if (impute == "variable") SeuratObject::VariableFeatures(rna)

  fit <- fit_core(
    rna = cells_of(rna, object, assays$rna, rna.features, "rna.features"),
    peaks = cells_of(peaks, object, assays$peaks, peak.features, "peak.features"),
    options = options,
    plan = function(modelled) {
      plan_imputation(modelled, impute, variable, impute.peaks, options$min.cells, max.gb)
    },
    model.file = model.file,
    verbose = verbose
  )
  on.exit(discard_model(fit$staged))
  mark <- list(reduction = reduction.name, fit = fit$id, library.size = 1e4)
  object <- add_results(object, fit, names, assays, mark, verbose)
  command <- seurat_command(match.call(), environment(), reduction.name, assays$rna)
  object[[methods::slot(command, "name")]] <- command
  keep_model(fit$staged)
  warn_interrupted(fit)
  object
}

#' @rdname RunSCMVP
#' @export
RunSCMVP.default <- function(object, peaks, n.latent = NULL, n.clusters = NULL, max.epochs = 60,
                             batch.size = 128, learning.rate = 5e-3, impute = c("none", "all"),
                             impute.peaks = NULL, min.cells = 10, device = "auto",
                             threads = NULL, preset = "default", model.file = NULL, max.gb = 4,
                             seed.use = 0, verbose = TRUE, ...) {
  if (!is_matrix_like(object)) {
    refuse(
      "RunSCMVP() takes a Seurat object or two matrices of counts (features x cells), not an ",
      "object of class ", class(object)[1], "."
    )
  }
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  if (missing(peaks) || !is_matrix_like(peaks)) {
    refuse("peaks must be a matrix of ATAC counts, peaks x cells, beside the matrix of RNA counts.")
  }
  impute <- check_choice(impute, c("none", "all"), "impute")
  options <- check_options(
    n.latent = n.latent, n.clusters = n.clusters, max.epochs = max.epochs, batch.size = batch.size,
    learning.rate = learning.rate, min.cells = min.cells, device = device, threads = threads,
    preset = preset, seed.use = seed.use
  )
  check_number(max.gb, "max.gb", min = 0)
  check_flag(verbose, "verbose")
  model.file <- check_model_file(model.file)
  peaks <- check_matrix_pair(object, peaks)
  if (!is.null(impute.peaks)) {
    impute.peaks <- check_names_known(
      impute.peaks, rownames(peaks), "impute.peaks", "among the peaks"
    )
  }
  fit <- fit_core(
    rna = as_dgc(object), peaks = as_dgc(peaks), options = options,
    plan = function(modelled) {
      plan_imputation(modelled, impute, NULL, impute.peaks, options$min.cells, max.gb)
    },
    model.file = model.file, verbose = verbose
  )
  on.exit(discard_model(fit$staged))
  keep_model(fit$staged)
  warn_interrupted(fit)
  structure(
    list(
      latent = fit$latent, cluster = fit$cluster, cluster_prob = fit$cluster_prob,
      probabilities = fit$probabilities, rna = fit$imputed$rna, peaks = fit$imputed$atac,
      model = fit$staged$model, options = fit$options, history = fit$history, summary = fit$summary
    ),
    class = "scMVPFit"
  )
}

#' @export
print.scMVPFit <- function(x, ...) {
  cat(
    "scMVP fit: ", count_of(nrow(x$latent), "cell"), ", ", ncol(x$latent), " latent dimensions, ",
    count_of(nlevels(x$cluster), "cluster"), "\n",
    sep = ""
  )
  invisible(x)
}

# ---- arguments -----------------------------------------------------------------------------------

check_options <- function(n.latent, n.clusters, max.epochs, batch.size, learning.rate, min.cells,
                          device, threads, preset, seed.use) {
  list(
    n.latent = check_number(n.latent, "n.latent", min = 1, whole = TRUE, optional = TRUE),
    n.clusters = check_number(n.clusters, "n.clusters", min = 1, whole = TRUE, optional = TRUE),
    max.epochs = check_number(max.epochs, "max.epochs", min = 1, whole = TRUE),
    batch.size = check_number(batch.size, "batch.size", min = 2, whole = TRUE),
    learning.rate = check_number(learning.rate, "learning.rate", min = 0, above = TRUE),
    min.cells = check_number(min.cells, "min.cells", min = 0, whole = TRUE),
    device = check_string(device, "device"),
    threads = check_number(threads, "threads", min = 1, whole = TRUE, optional = TRUE),
    preset = check_choice(preset, c("default", "paper"), "preset"),
    seed.use = check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  )
}
