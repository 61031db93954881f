#' Genes, peaks and proteins that change along pseudotime
#'
#' `FeaturesAlongSCMVP()` tests every feature of an assay for a change along a pseudotime and
#' estimates the size and place of the change. `PlotAlongSCMVP()` draws smooth trends of selected
#' features as curves or as a heat map. Both use raw counts and form no dense matrix.
#'
#' @section Test:
#' The counts y of a feature have mean s f(t), where s is the size of the cell (its total count
#' divided by the mean over cells), and a variance proportional to s (1 + a s), as in a negative
#' binomial if a is not 0; a is the nearest of 0, .1, .2, .4, ... to its moment estimate. An F test
#' compares a constant f with a cubic spline of pseudotime t, in the regression of y / s with
#' weights s / (1 + a s). With a = 0 it is Rao's score test of the quasi-Poisson regression with log
#' link and offset log s, `anova(test = "Rao")`. The residual dispersion of the spline is set to at
#' least 1.
#'
#' If the pseudotime was computed from the same counts, it depends on every feature. The p-values
#' then measure how features follow this order; they do not test whether the cells have an order.
#'
#' @param object A Seurat object, SingleCellExperiment or MultiAssayExperiment with raw counts, or a
#'   matrix of counts, features x cells.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param pseudotime Name of a column of the cell metadata, or one number per cell; cells in which
#'   it is not finite are left out.
#' @param assay Name of an assay of a Seurat object, such as `"ADT"`; `NULL` for its default assay.
#' @param experiment Name of an alternative experiment of a SingleCellExperiment; `NULL` for the
#'   main one.
#' @param assay.type Name of the assay with raw counts of a SingleCellExperiment.
#' @param features Names of the features to test, or to draw; `NULL`: all features, in a plot one
#'   panel each.
#' @param cells Names of the cells to use, such as those of the trunk and of one branch; `NULL` for
#'   all.
#' @param size Size of each cell; `NULL` for the sum of its counts. In a small panel of proteins, a
#'   few can be most of this sum; the sum over isotype controls is then a better size.
#' @param df Degrees of freedom of the spline, at least 3.
#' @param min.cells Features with counts in fewer cells have no p-value.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @return `FeaturesAlongSCMVP()`: a data frame with one row per feature, sorted by p-value:
#'   `feature`, `n_cells` (cells with counts), `mean` (counts per cell of size 1),
#'   `log2_fold_change` (ratio of the largest to the smallest value of the smoothed trend), `peak`
#'   (pseudotime of the largest value), `f` (F statistic), `p_value`, `q_value` (Benjamini and
#'   Hochberg).
#' @section Errors:
#' `scmvp_error_input`: no such column, assay, feature or cell, no counts, or fewer than 30 cells
#' with a pseudotime.
#' @seealso [RunDiffusionSCMVP()] computes a pseudotime.
#' @examples
#' if (scMVP_available()) {
#'   time <- runif(300)
#'   counts <- rbind(
#'     rising = rpois(300, 1 + 5 * time), constant = rpois(300, 3), other = rpois(300, 10)
#'   )
#'   colnames(counts) <- paste0("cell", 1:300)
#'   FeaturesAlongSCMVP(counts, pseudotime = time)
#'   if (requireNamespace("ggplot2", quietly = TRUE)) {
#'     PlotAlongSCMVP(counts, features = c("rising", "constant"), pseudotime = time)
#'   }
#' }
#' @export
FeaturesAlongSCMVP <- function(object, pseudotime = "scmvp_pseudotime", assay = NULL,
                               experiment = NULL, assay.type = "counts", features = NULL,
                               cells = NULL, size = NULL, df = 4, min.cells = 10,
                               backend = c("auto", "reticulate", "process"), ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  along <- along_inputs(
    object, pseudotime, c(assay, experiment), assay.type, features, cells, size,
    match.call(), environment()
  )
  df <- check_number(df, "df", min = fewest_df, whole = TRUE)
  n_times <- length(unique(along$time))
  if (n_times <= fewest_df) {
    refuse(
      "pseudotime has only ", n_times, " different values: a spline needs at least ",
      fewest_df + 1, "."
    )
  }
  options <- list(
    size = along$size, df = df,
    min_cells = check_number(min.cells, "min.cells", min = 1, whole = TRUE)
  )
  backend <- check_choice(backend, backends, "backend")
  table <- with_engine(backend, torch = FALSE, f = function(engine) {
    engine$along(along$counts, along$time, options)
  })
  columns <- c("feature", "n_cells", "mean", "log2_fold_change", "peak", "f", "p_value", "q_value")
  rownames(table) <- NULL
  table[columns]
}

#' @rdname FeaturesAlongSCMVP
#' @param type `"trend"`: a curve for each feature; `"heatmap"`: a row for each feature, scaled
#'   from its smallest to its largest value, with rows in the order of their maxima.
#' @param ncol Number of columns of panels.
#' @return `PlotAlongSCMVP()`: a ggplot object. A trend is a Gaussian kernel smoother over the
#'   ranks of the cells (standard deviation 7 % of the cells), in counts per cell of size 1. Half a
#'   count at the overall mean is added to shrink it toward this mean.
#' @export
PlotAlongSCMVP <- function(object, features, pseudotime = "scmvp_pseudotime", assay = NULL,
                           experiment = NULL, assay.type = "counts", cells = NULL, size = NULL,
                           type = c("trend", "heatmap"), ncol = NULL,
                           backend = c("auto", "reticulate", "process")) {
  check_installed("ggplot2", "PlotAlongSCMVP()")
  type <- check_choice(type, c("trend", "heatmap"), "type")
  ncol <- check_number(ncol, "ncol", min = 1, whole = TRUE, optional = TRUE)
  along <- along_inputs(
    object, pseudotime, c(assay, experiment), assay.type, features, cells, size,
    match.call(), environment()
  )
  trend <- along_trend(along, backend)
  names <- rownames(along$counts)
  if (type == "heatmap") {
    low <- apply(trend$values, 1, min)
    range <- apply(trend$values, 1, max) - low
    # a feature without counts varies only by rounding errors
    range[range < 1e-6 * low] <- Inf
    trend$values <- (trend$values - low) / range
    names <- names[order(max.col(trend$values, ties.method = "first"), decreasing = TRUE)]
  }
  long <- data.frame(
    feature = factor(rep(rownames(along$counts), length(trend$grid)), names),
    place = rep(seq_along(trend$grid), each = length(names)) / length(trend$grid),
    time = rep(trend$grid, each = length(names)),
    value = as.vector(trend$values)
  )
  if (type == "heatmap") plot_along_heatmap(long, trend$grid) else plot_along_trend(long, ncol)
}

plot_along_trend <- function(long, ncol) {
  ggplot2::ggplot(long, ggplot2::aes(.data$time, .data$value)) +
    ggplot2::geom_line(colour = "#0072B2", linewidth = 0.8) +
    feature_panels(long$feature, "free_y", ncol) +
    ggplot2::expand_limits(y = 0) +
    ggplot2::scale_x_continuous(n.breaks = 3) +
    ggplot2::labs(x = "Pseudotime", y = "Counts per cell of mean size") +
    seurat_theme()
}

plot_along_heatmap <- function(long, grid) {
  shown <- round(seq(1, length(grid), length.out = 5))
  ggplot2::ggplot(long, ggplot2::aes(.data$place, .data$feature, fill = .data$value)) +
    ggplot2::geom_raster() +
    ggplot2::scale_fill_gradient(
      low = "grey95", high = "#08306B", breaks = c(0, 1), labels = c("lowest", "highest")
    ) +
    ggplot2::scale_x_continuous(
      expand = c(0, 0), breaks = shown / length(grid), labels = format(grid[shown], digits = 2)
    ) +
    ggplot2::labs(x = "Pseudotime (equally many cells per column)", y = NULL, fill = "Trend") +
    seurat_theme() +
    ggplot2::theme(axis.line = ggplot2::element_blank(), axis.ticks.y = ggplot2::element_blank())
}

# ---- what goes in --------------------------------------------------------------------------------

fewest_along <- 30
fewest_df <- 3

along_column <- function(pseudotime, data) {
  check_string(pseudotime, "pseudotime")
  if (!pseudotime %in% colnames(data)) {
    refuse(
      "the object has no cell metadata '", pseudotime, "': run RunDiffusionSCMVP() first, or name ",
      "the column with pseudotime =."
    )
  }
  data[[pseudotime]]
}

# Counts of one part of an object: the one named, else the main one, or the RNA.
along_part <- function(object, name, assay.type) {
  words <- about(object)
  refuse_without_counts(words)
  parts <- parts_of(object, assay.type = assay.type)
  argument <- part_argument(words)
  if (!is.null(name)) {
    check_part_name(parts, check_string(name, argument), argument, words)
  } else if (is.null(words$main)) {
    name <- find_rna_part(object, parts, NULL, argument, NULL)$name
  } else {
    name <- words$main
  }
  check_counted(parts[[name]], words, argument)
}

# Counts of the features and cells to use, their pseudotimes, and sizes of mean 1. `name`: of the
# part of an object. `call`, `frame`: of the verb.
along_inputs <- function(object, pseudotime, name, assay.type, features, cells, size, call, frame) {
  counts <- object
  refuse_for_matrix(object, call, frame, c("assay", "experiment", "assay.type"))
  if (is_container(object)) {
    refuse_other_class(object, call, frame)
    part <- along_part(object, name, assay.type)
    pseudotime <- if (is.character(pseudotime)) {
      along_column(pseudotime, cell_data(object, part$name))
    } else {
      values_at(object, pseudotime, part$name, "pseudotime")
    }
    size <- values_at(object, size, part$name, "size")
    counts <- part$counts(part$name)
  } else if (!is_matrix_like(counts)) {
    refuse_no_counts(object)
  }
  counts <- as_dgc(counts)
  check_raw_counts(counts)
  if (is.null(rownames(counts))) refuse("the matrix of counts needs row names, its features.")
  check_feature_names(rownames(counts), "names of features")
  if (is.null(colnames(counts))) colnames(counts) <- paste0("cell", seq_len(ncol(counts)))
  if (!is.null(features)) {
    features <- check_names_known(features, rownames(counts), "features", "in the counts")
  }
  time <- along_numbers(pseudotime, "pseudotime", counts)
  size <- if (is.null(size)) Matrix::colSums(counts) else along_numbers(size, "size", counts)
  use <- is.finite(time) & is.finite(size) & size > 0
  if (!is.null(cells)) {
    cells <- check_names_known(cells, colnames(counts), "cells", "in the counts")
    use <- use & colnames(counts) %in% cells
  }
  if (sum(use) < fewest_along) {
    refuse(
      "only ", count_of(sum(use), "cell"), " of ", format_count(length(use)), " ",
      one_or_many(sum(use), "has", "have"), " a pseudotime and counts: give at least ",
      fewest_along, "."
    )
  }
  time <- time[use]
  if (min(time) == max(time)) {
    refuse("all cells have the same pseudotime: nothing can change along it.")
  }
  counts <- counts[, use, drop = FALSE]
  if (!is.null(features)) counts <- counts[features, , drop = FALSE]
  list(counts = counts, time = time, size = size[use] / mean(size[use]))
}

along_numbers <- function(x, name, counts) {
  if (!is.numeric(x) || length(x) != ncol(counts)) {
    refuse(
      name, " must be one number per cell (", format_count(ncol(counts)), "), not ", in_words(x),
      "."
    )
  }
  if (!is.null(names(x)) && !is.null(colnames(counts))) {
    check_same_cells(names(x), colnames(counts), name)
    x <- x[colnames(counts)]
  }
  unname(as.numeric(x))
}

# Smoothed trends: list(values, grid), features x 50 and the pseudotimes of the columns.
along_trend <- function(along, backend) {
  with_engine(check_choice(backend, backends, "backend"), torch = FALSE, f = function(engine) {
    engine$trends(along$counts, along$time, list(size = along$size))
  })
}
