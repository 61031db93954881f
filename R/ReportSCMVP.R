#' Report of a fit
#'
#' Writes a single HTML page that needs no network connection. It shows the numbers of cells and
#' their depth, an interactive map of the cells, the clusters and how they merge, markers of each
#' cluster, measured and imputed values side by side, how well each modality alone separates the
#' clusters, the mixing of batches, the training, all options, and points to check before you name
#' the clusters.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()].
#' @param file HTML file to write; an existing file is replaced.
#' @param columns Names of metadata columns to show. `NULL`: numeric columns, and columns with 2 to
#'   60 different values.
#' @param umap Name of a two-dimensional reduction for the map. `NULL`: `"umap"` if the object has
#'   it; otherwise a UMAP of the latent is computed (t-SNE if umap-learn is not installed).
#' @param markers Number of features of each modality to list for each cluster or group.
#' @param title Title of the page.
#' @param reduction Name of the reduction with the model.
#' @param rna,peaks,proteins,methylation Counts, features x cells, needed only if the object does
#'   not contain them, as for a fit of matrices and for peaks that were passed separately from the
#'   object. `methylation` is `list(methylated = , covered = )`. Without the counts of all
#'   modalities, the page omits the sections on depth, markers and modalities.
#' @param seed.use Seed of the cells drawn for the map (at most 3,000) and of their positions, of
#'   the tests for markers, and of the simulated doublets.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Show progress.
#' @param group.by Name of a metadata column, such as annotated cell types, whose markers are listed
#'   instead of those of the clusters.
#' @return The path of the file, invisibly.
#' @section Errors:
#' `scmvp_error_model` if there is no stored model; `scmvp_error_input` if an argument is invalid or
#' the file cannot be written.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 10, verbose = FALSE)
#'   file <- tempfile(fileext = ".html")
#'   ReportSCMVP(object, file, columns = "cell_type", verbose = FALSE)
#' }
#' @export
ReportSCMVP <- function(object, file = "report.html", columns = NULL, umap = NULL, markers = 5,
                        title = "scMVP report", reduction = "scmvp", rna = NULL, peaks = NULL,
                        seed.use = 0, backend = c("auto", "reticulate", "process"),
                        verbose = TRUE, proteins = NULL, methylation = NULL, group.by = NULL) {
  file <- path.expand(check_string(file, "file"))
  check_string(title, "title")
  check_flag(verbose, "verbose")
  options <- list(
    markers = check_number(markers, "markers", min = 1, whole = TRUE), title = title,
    seed = check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  )
  check_fitted(object, "ReportSCMVP()", "the latent of its cells")
  record <- stored_results(object, reduction)
  home <- home_of(object, reduction)
  latent <- latent_of(object, reduction)
  cells <- rownames(latent)
  data <- cell_data(object, home)
  shown <- metadata_to_show(data, columns)
  options$groupby <- check_string(group.by, "group.by", optional = TRUE)
  if (!is.null(group.by)) {
    check_names_known(group.by, colnames(data), "group.by", "among the metadata")
  }
  options$coordinates <- map_of(object, umap, cells)
  counts <- counts_of_fit(
    object, record, reduction, home, cells, rna, peaks, proteins,
    methylation
  )
  watched(verbose, function(watch) {
    with_engine(check_choice(backend, backends, "backend"), watch = watch, f = function(engine) {
      model <- restore_model(record$model, engine)
      lacks <- vapply(counts, is.null, NA)
      counts <- if (!any(lacks)) counts_in_model(counts, model, cells, verbose)
      batches <- names(model$batch)
      if (!is.null(counts) && length(batches) > 0) {
        batches_of_model(batches, cells, data, "the table of the object's cells")
      }
      wanted <- union(c(shown, group.by), intersect(batches, colnames(data)))
      named <- data[cells, wanted, drop = FALSE]
      engine$report(
        file, latent, counts, as_plain_columns(named), shown, c(options, record$level), watch$stage
      )
    })
  })
  if (verbose) message("report: ", file)
  invisible(file)
}

# Names of columns of a table of cells: those named, else those that a map can show.
metadata_to_show <- function(data, columns) {
  if (!is.null(columns)) {
    return(check_names_known(columns, colnames(data), "columns", "among the metadata"))
  }
  usable <- vapply(as.list(data), function(values) {
    if (!is.atomic(values) || length(dim(values)) > 0) {
      return(FALSE)
    }
    n <- length(unique(values[!is.na(values)]))
    n > 1 && (is.numeric(values) && !is.factor(values) || n <= 60)
  }, NA)
  colnames(data)[usable]
}

# Factors and numbers as they are, everything else as text; missing ones as NA of their kind.
as_plain_columns <- function(data) {
  data[] <- lapply(data, function(values) {
    if (is.factor(values)) return(values)
    if (is.numeric(values)) as.double(values) else level_names(values)
  })
  data
}

# Places of cells in a reduction of two dimensions; NULL to compute them.
map_of <- function(object, umap, cells) {
  name <- check_string(umap, "umap", optional = TRUE)
  if (is.null(name)) {
    if (!"umap" %in% about(object)$reductions) {
      return(NULL)
    }
    name <- "umap"
  }
  check_reduction(object, name, reduction_role(argument = "umap", maker = "run RunUMAP() first"))
  places <- latent_of(object, name)
  if (ncol(places) != 2 || !all(cells %in% rownames(places))) {
    refuse(
      "reduction '", name, "' (umap) has ", count_of(ncol(places), "dimension"), " of ",
      count_of(sum(cells %in% rownames(places)), "cell"), " of the fit: name a two-dimensional ",
      "reduction with all of them, or leave umap out."
    )
  }
  unname(places[cells, , drop = FALSE])
}
