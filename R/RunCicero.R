#' Co-accessibility of peaks
#'
#' Computes co-accessibility by Cicero (Pliner et al. 2018) from sparse matrices and any peak assay,
#' measured or imputed. Cells are grouped with their neighbors, and a graphical lasso in windows of
#' 500 kb, with a penalty that increases with distance, estimates which peaks are co-accessible. The
#' results are those of the package cicero (tested against version 1.29), in a hundredth of its
#' time.
#'
#' @section The algorithm:
#' Counts are summed over each group of [AggregateCells()] and divided by the group's size factor.
#' With \eqn{S} the covariance of the peaks of a window over groups (plus \eqn{10^{-4}} on the
#' diagonal) and \eqn{D_{ij}} the distance of the peaks' centers, the pair \eqn{i, j} is penalized
#' by \eqn{\rho_{ij} = a\,(1 - (1000 / D_{ij})^s)}, not below 0. The distance parameter \eqn{a} is
#' the mean over sampled windows of the smallest value at which at most 5 percent of the pairs
#' farther apart than `distance.constraint` are edges, and at least 20 percent of all entries of the
#' precision matrix are zero. `coaccess` is the correlation of the estimated
#' covariance. Windows overlap by half: a pair in several windows has the mean of their values, or
#' `NA` if their signs differ.
#'
#' The graphical lasso is solved until correlations change by less than \eqn{10^{-9}}. The package
#' cicero stops earlier (the tolerance of glasso is \eqn{10^{-4}}), so its values of single pairs
#' differ by up to 0.0001, and a pair whose values are near 0 in both windows may be `NA` in only
#' one of the two results.
#'
#' Cells without counts of peaks are assumed not to have been measured in this modality (as in a
#' mosaic). They are left out, unless the values are imputed, and a message reports their number.
#' Groups that contain only such cells are also left out.
#'
#' @section Imputed accessibility:
#' The most accessible peaks dominate the covariance of sums. Imputed values have no counting noise,
#' so even a peak that does not vary between cell types has a small variation that correlates with
#' that of other peaks. With `scale = "relative"`, the default for imputed assays, each peak is
#' divided by its mean over the groups, and three times the variance of the median peak, instead of
#' \eqn{10^{-4}}, is added to the diagonal of \eqn{S}. Two peaks of typical variation then have a
#' co-accessibility of at most 1/4, and only peaks that vary more can exceed it. A tenth of that
#' ridge is then the distance parameter (`search = "none"`). Scores of imputed peaks and of counts
#' are therefore on different scales. With few counts, more imputed than raw pairs exceed 0.25; with
#' many counts, fewer do (for 2,000 blood cells the median positive score was 0.44 for counts and
#' 0.08 for imputed values, with a rank correlation of 0.85). Compare ranks, or use a separate
#' cutoff for each. `docs/benchmarks.md` in the sources has the measurements behind this choice.
#'
#' @section Search for the distance parameter:
#' The search of the package cicero starts at 2 and doubles once, so it cannot return a distance
#' parameter above 4; a window that needs a larger one gets 2 without a warning. `search = "cicero"`
#' reproduces this and warns how many windows were affected. `search = "extended"` doubles until no
#' long edges remain. Counts rarely need this. Imputed values do, and their penalty then becomes
#' several times larger. `search = "none"` is for relative values (section Imputed accessibility).
#'
#' @section Errors:
#' `scmvp_error_input`: no or several peak assays; features that are not genomic ranges; groups of
#' other cells; no peak on any chromosome of `genome`; values negative or not finite; no window with
#' two peaks farther apart than `distance.constraint` (give `distance.parameter`).
#' Warnings: chromosomes that are missing from `genome`, peaks
#' beyond their ends (`scmvp_warning_genome`); windows that reach the limit of the search
#' (`scmvp_warning_ceiling`); windows with more than `max.peaks` peaks, which are left out
#' (`scmvp_warning_windows`); windows in which the graphical lasso did not converge
#' (`scmvp_warning_convergence`).
#'
#' @param object A Seurat object with a peak assay, a SingleCellExperiment with peaks (itself or an
#'   alternative experiment), a MultiAssayExperiment, or a matrix of accessibility, peaks x cells
#'   (sparse or dense).
#' @param ... Arguments under their names in the package cicero (`genomic_coords`, `sample_num`,
#'   ...), which are accepted with a message; other arguments cause an error that names them.
#' @param assay Name of the peak assay or alternative experiment. `NULL`: that of the fit or,
#'   without a fit, the only measured one. Name an imputed assay (`"scMVP_ATAC"`) to use the imputed
#'   values.
#' @param layer Layer of the assay; `NULL`: its counts (those of the fit, else `counts`, else the
#'   first), for an imputed assay its imputed values.
#' @param reduction,dims Reduction (and dimensions) in which neighbors are found; see
#'   [AggregateCells()].
#' @param groups Groups of [AggregateCells()], cells x groups; `NULL` computes them from the
#'   reduction. `"none"` treats each column as a group, for matrices that are already aggregated.
#' @param as Form of the result: `"data.frame"`; `"links"`, a GRanges in the format of Signac's
#'   `Links()`; or, for Seurat, `"object"`, the object with these links as the `Links()` of its
#'   ChromatinAssay and the data frame in `Misc(object, "cicero")`.
#' @param ranges Ranges of the peaks of a matrix (GRanges, or data frame with seqnames, start, end),
#'   in the order of its rows; `NULL` reads the row names.
#' @param coordinates Coordinates of the cells of a matrix, cells x dimensions, for groups.
#' @param genome Lengths of the chromosomes: a data frame or a tab-separated file (name, length), a
#'   Seqinfo or a GRanges. `NULL`: the lengths in the object; if it has none, chromosomes end at
#'   their last peak.
#' @param window Width of the windows in base pairs.
#' @param verbose Show progress.
#' @param n.windows Windows sampled for the distance parameter (`sample_num` of cicero).
#' @param k Cells per group, if `groups` is `NULL`.
#' @param size.factors Divide each group's sums by its size factor.
#' @param binarize Replace counts by 0 and 1 before cells are summed.
#' @param distance.parameter The distance parameter; `NULL` estimates it.
#' @param maxit Maximum number of steps of the search in a window.
#' @param s Exponent of the decay of contacts with distance; 0.75 for the chromatin of mammals, 0.85
#'   for Drosophila.
#' @param distance.constraint Distance in base pairs beyond which edges are not expected.
#' @param convergence Interval width at which the search stops. The value of the package cicero,
#'   1e-22, is below numerical precision and gives the same result to 1e-4 at four times the cost.
#' @param max.peaks Windows with more peaks are excluded.
#' @param max.windows Maximum number of windows that are sampled to find `n.windows` usable ones.
#' @param scale `"counts"`, as cicero does, or `"relative"` to the mean of each peak, the default
#'   for imputed assays (section Imputed accessibility).
#' @param search `"cicero"`, `"extended"` or `"none"` (section Search for the
#'   distance parameter).
#' @param seed.use Seed of the groups and of the sampled windows. R's own random numbers are not
#'   changed, and the result does not depend on the number of workers.
#' @param workers Processes to use.
#' @param BPPARAM A BiocParallelParam to use instead.
#' @return A data frame with columns `Peak1`, `Peak2` and `coaccess`, with every pair in both
#'   directions, as in `cicero::run_cicero()`. The attributes are `distance_parameter`, the value
#'   used, and `groups`, the number of groups of cells. With `as = "links"` see [CiceroLinks()].
#' @references Pliner HA, Packer JS, McFaline-Figueroa JL, et al. (2018). Cicero predicts
#'   cis-regulatory DNA interactions from single-cell chromatin accessibility data. *Molecular Cell*
#'   71:858-871.
#'
#'   Friedman J, Hastie T, Tibshirani R (2008). Sparse inverse covariance estimation with the
#'   graphical lasso. *Biostatistics* 9:432-441.
#' @seealso [FindCCANs()], [CiceroLinks()], [ClassifyCRE()], [PlotLinks()]; [as_cicero_cds()] for
#'   the package cicero itself.
#' @examples
#' # 20 peaks of two programs, 200 cells
#' program <- rep(1:2, 10)
#' activity <- matrix(rexp(400), 2)
#' counts <- matrix(rpois(20 * 200, activity[program, ]), 20, dimnames = list(
#'   paste0("chr1-", 30000L * 1:20, "-", 30000L * 1:20 + 500L), paste0("cell", 1:200)
#' ))
#' connections <- RunCicero(
#'   counts,
#'   coordinates = t(activity), k = 10, n.windows = 2, verbose = FALSE
#' )
#' head(connections[order(-connections$coaccess), ])
#' @export
RunCicero <- function(object, assay = NULL, layer = NULL, reduction = "scmvp", dims = NULL,
                      groups = NULL, as = c("data.frame", "links", "object"), ranges = NULL,
                      coordinates = NULL, genome = NULL, window = 500000, n.windows = 100, k = 50,
                      size.factors = TRUE, binarize = FALSE, distance.parameter = NULL,
                      maxit = 100, s = 0.75, distance.constraint = 250000, convergence = 1e-4,
                      max.peaks = 200, max.windows = 500, scale = NULL, search = NULL,
                      seed.use = 0, workers = 1, BPPARAM = NULL, verbose = TRUE, ...) {
  call <- match.call()
  left <- take_earlier_names(list(...), cicero_names, "RunCicero()", call, environment())
  refuse_dots(left, setdiff(names(formals()), c("object", "...")))
  call <- with_present_names(call, cicero_names)
  refuse_for_matrix(object, call, environment(), c("assay", "layer", "reduction", "dims"))
  if (!is.null(groups)) {
    unused <- c("dims", "k", "coordinates")
    refuse_unused(call, environment(), unused, "groups that RunCicero() makes itself")
  }
  as <- check_choice(as, c("data.frame", "links", "object"), "as")
  input <- cicero_input(object, assay, layer, reduction, dims, groups, as, ranges, coordinates)
  if (is.null(scale)) scale <- if (input$imputed) scale_for_imputed else "counts"
  scale <- check_choice(scale, c("counts", "relative"), "scale")
  if (is.null(search)) search <- if (scale == "relative") "none" else "cicero"
  options <- check_cicero_options(
    window = window, n.windows = n.windows, maxit = maxit, s = s,
    distance.constraint = distance.constraint, convergence = convergence, max.peaks = max.peaks,
    max.windows = max.windows, search = search, seed.use = seed.use,
    distance.parameter = distance.parameter
  )
  check_flags(c("verbose", "size.factors", "binarize"), environment())
  workers <- check_workers(workers, BPPARAM)
  values <- check_nonnegative(as_values(input$values, "object"))
  ranges <- ranges_table(
    input$ranges, rownames(values),
    argument = if (!is_container(object)) "ranges"
  )
  genome <- genome_table(if (is.null(genome)) known_seqinfo(input$ranges) else genome, ranges,
    verbose)
  use <- cells_to_group(values, groups, input$imputed, verbose)
  groups <- groups_for(values, input$groups, input$coordinates, k, options$seed.use, verbose, use)
  values <- values[, use, drop = FALSE]
  if (binarize) values <- (values > 0) * 1
  grouped <- grouped_accessibility(values, groups, size.factors)
  if (scale == "relative") {
    grouped <- relative_accessibility(grouped)
    if (options$search == "none" && is.null(options$distance.parameter)) {
      options$distance.parameter <- grouped$ridge / 10
    }
  }
  connections <- cicero_connections(
    grouped, ranges, genome, options,
    workers = workers, BPPARAM = BPPARAM, verbose = verbose
  )
  attr(connections, "groups") <- if (is.null(groups)) ncol(values) else ncol(groups)
  switch(as,
    data.frame = connections,
    links = CiceroLinks(connections),
    object = put_results(object, new_results(links = list(
      part = input$part, ranges = CiceroLinks(connections), key = "cicero", table = connections
    )))
  )
}

# Decided by measurement: bench/cre/truth.R, docs/benchmarks.md.
scale_for_imputed <- "relative"

# What the package cicero calls these arguments.
cicero_names <- c(
  reduced_coordinates = "coordinates", genomic_coords = "genome", sample_num = "n.windows",
  size_factor_normalize = "size.factors", distance_parameter = "distance.parameter",
  distance_constraint = "distance.constraint", distance_parameter_convergence = "convergence",
  max_elements = "max.peaks", max_sample_windows = "max.windows", silent = "verbose"
)

# list(values, imputed, ranges, coordinates, groups, part): peaks x cells of an object or a matrix.
cicero_input <- function(object, assay, layer, reduction, dims, groups, as, ranges, coordinates) {
  if (!is_container(object)) {
    if (!is_matrix_like(object)) {
      refuse(
        "RunCicero() takes a Seurat object, a SingleCellExperiment, a MultiAssayExperiment or a ",
        "matrix of peaks x cells, not an object of class ", class(object)[1], "."
      )
    }
    if (as == "object") refuse("a matrix cannot hold links: use as = \"links\".")
    return(list(
      values = object, imputed = FALSE, ranges = ranges, coordinates = coordinates, groups = groups
    ))
  }
  if (!is.null(ranges) || !is.null(coordinates)) {
    refuse(
      "ranges and coordinates are for a matrix: the object has its own (assay, reduction)."
    )
  }
  check_string(reduction, "reduction")
  parts <- parts_of(object, assay.type = counts_assay(object, reduction), fitted = TRUE)
  part <- find_peak_part(object, parts, assay, "assay", reduction)
  if (as == "object") check_links_home(about(object), part)
  home <- home_of(object, reduction)
  values <- part$values(layer, "layer", home)
  list(
    values = values$values, imputed = values$imputed, ranges = part$ranges(), part = part,
    coordinates = if (is.null(groups)) coordinates_of(object, reduction, dims, "RunCicero()"),
    groups = values_at(object, groups, if (is.null(home)) part$name else home, "groups")
  )
}

# From the accessibility of groups to the data frame of connections.
cicero_connections <- function(grouped, ranges, genome, options, workers = 1, BPPARAM = NULL,
                               verbose = FALSE) {
  windows <- genome_windows(ranges, genome, options$window)
  position <- (ranges$start + ranges$end) / 2
  warn_large_windows(windows, options$max.peaks)
  if (grouped$n_groups < 3) {
    refuse(
      "co-accessibility over ", count_of(grouped$n_groups, "group"), " has no meaning: ",
      "lower k, or give more groups."
    )
  }
  if (is.null(options$distance.parameter)) {
    if (options$search == "none") {
      refuse("search = \"none\" needs a distance.parameter, or scale = \"relative\".")
    }
    if (verbose) message("distance parameter from up to ", count_of(options$n.windows, "window"))
    sampled <- sample_distance_parameters(
      grouped, position, windows, options,
      workers = workers, BPPARAM = BPPARAM, verbose = verbose, what = "windows sampled"
    )
    options$distance.parameter <- mean_distance_parameter(sampled, options)
    if (verbose) {
      message(sentence_of("distance parameter ", format(options$distance.parameter, digits = 4)))
    }
  }
  if (verbose) message("models of ", count_of(length(windows$members), "window"))
  pairs <- all_connections(
    grouped, position, windows, options$distance.parameter, options$s, options$max.peaks,
    workers = workers, BPPARAM = BPPARAM, verbose = verbose, what = "windows"
  )
  names <- ranges$name
  n_pairs <- length(pairs$value)
  pairs <- .Call(scmvp_both_directions, pairs$i, pairs$j, pairs$value, grouped$n_peaks)
  connections <- data.frame(
    Peak1 = names[pairs$i], Peak2 = names[pairs$j], coaccess = pairs$value
  )
  attr(connections, "distance_parameter") <- options$distance.parameter
  if (verbose) message(count_of(n_pairs, "pair"), " of peaks")
  connections
}

mean_distance_parameter <- function(sampled, options) {
  lost <- is.na(sampled$value)
  if (nrow(sampled) == 0 || all(lost)) {
    refuse(
      "the distance parameter cannot be estimated: ",
      if (nrow(sampled) == 0) {
        paste0(
          "of ", count_of(options$max.windows, "window"), " drawn none has two peaks more ",
          "than distance.constraint = ", format_count(options$distance.constraint), " bp apart"
        )
      } else {
        "in no window do long edges vanish at any value"
      },
      ": give distance.parameter, or a smaller distance.constraint."
    )
  }
  ceiling <- sum(sampled$ceiling)
  if (options$search == "cicero" && ceiling > 0) {
    warn_of(
      "ceiling",
      "In ", ceiling, " of ", count_of(nrow(sampled), "window"), " the distance parameter needs ",
      "to be above 4, where Cicero's search ends; ",
      one_or_many(ceiling, "it was", "they were"), " given about 2, as cicero does. ",
      "search = \"extended\" finds the value."
    )
  }
  if (nrow(sampled) < options$n.windows) {
    warn_of(
      "windows",
      "The distance parameter is the mean of ", count_of(nrow(sampled), "window"), ", not of ",
      "n.windows = ", options$n.windows, ": the others drawn (max.windows = ",
      options$max.windows, ") hold no two peaks far enough apart, or too many. A higher ",
      "max.windows draws more."
    )
  }
  if (any(sampled$converged == 0 & !lost)) {
    warn_of("maxit", "The search for the distance parameter ended at maxit: raise maxit.")
  }
  mean(sampled$value, na.rm = TRUE)
}

# The values of such a window are those the solver ended with.
tell_not_converged <- function(n_windows) {
  warn_of(
    "convergence",
    "The graphical lasso did not converge in ", count_of(n_windows, "window"), ", whose values ",
    "are approximate: peaks there are nearly identical for the size of their values. Merge them, ",
    "or take scale = \"relative\", whose ridge is larger."
  )
}

warn_large_windows <- function(windows, max.peaks) {
  sizes <- lengths(windows$members)
  large <- sizes > max.peaks
  if (any(large)) {
    warn_of(
      "windows",
      count_of(sum(large), "window"), " of ", format_count(length(sizes)), " with more than ",
      "max.peaks = ", max.peaks, " peaks (at most ", max(sizes), ") ",
      is_are(sum(large)), " left out, as cicero does: raise max.peaks, or ",
      "make window smaller."
    )
  }
}

# ---- arguments -----------------------------------------------------------------------------------

check_cicero_options <- function(window, n.windows, maxit, s, distance.constraint,
                                 convergence, max.peaks, max.windows,
                                 search, seed.use, distance.parameter) {
  above0 <- function(x, name, ...) check_number(x, name, min = 0, above = TRUE, ...)
  options <- list(
    window = check_number(window, "window", min = 2),
    n.windows = check_number(n.windows, "n.windows", min = 1, whole = TRUE),
    maxit = check_number(maxit, "maxit", min = 1, whole = TRUE),
    s = above0(s, "s"),
    distance.constraint = above0(distance.constraint, "distance.constraint"),
    convergence = above0(convergence, "convergence"),
    max.peaks = check_number(max.peaks, "max.peaks", min = 2, whole = TRUE),
    max.windows = check_number(max.windows, "max.windows", 1, whole = TRUE),
    search = check_choice(search, c("cicero", "extended", "none"), "search"),
    seed.use = check_number(seed.use, "seed.use", min = 0, whole = TRUE),
    distance.parameter = check_number(distance.parameter, "distance.parameter", 0, optional = TRUE)
  )
  if (options$s >= 1) refuse("s must be below 1, not ", options$s, ".")
  if (options$distance.constraint >= options$window) {
    refuse(
      "distance.constraint (", format_count(distance.constraint), ") must be below window (",
      format_count(window), ")."
    )
  }
  options
}

# Positions of the cells that groups are made of: those with counts, unless each column is a group.
cells_to_group <- function(values, groups, imputed = FALSE, verbose = TRUE) {
  if (identical(groups, "none")) {
    return(seq_len(ncol(values)))
  }
  cells_with_counts(list(peaks = Matrix::colSums(values)), c(peaks = imputed), verbose)
}

# Groups of the matrix's cells to `use`, in their order; NULL where each column is a group.
groups_for <- function(values, groups, coordinates = NULL, k = 50, seed.use = 0,
                       verbose = FALSE, use = seq_len(ncol(values))) {
  cells <- colnames(values)
  if (identical(groups, "none")) {
    return(NULL)
  }
  if (is.null(groups)) {
    coordinates <- coordinates_for(cells, ncol(values), coordinates)[use, , drop = FALSE]
    return(AggregateCells(coordinates, k = k, seed.use = seed.use, verbose = verbose))
  }
  if (!is_matrix_like(groups)) {
    refuse(
      "groups must be a matrix of cells x groups, of AggregateCells(), not ", in_words(groups), "."
    )
  }
  groups <- as_dgc(groups)
  if (!all(is.finite(groups@x))) refuse("groups has missing values: give 0 or 1 for each cell.")
  if (!is.null(rownames(groups)) && !is.null(cells)) {
    check_same_cells(rownames(groups), cells, "groups")
    if (!identical(rownames(groups), cells)) groups <- groups[cells, , drop = FALSE]
  } else if (nrow(groups) != ncol(values)) {
    refuse(
      "groups has ", count_of(nrow(groups), "cell"), ", the matrix ", format_count(ncol(values)),
      ": give a row for each cell."
    )
  }
  if (length(use) == ncol(values)) {
    return(groups)
  }
  groups <- groups[use, , drop = FALSE]
  kept <- groups_with_cells(groups, "peaks")
  groups[, kept, drop = FALSE]
}

coordinates_for <- function(cells, n_cells, coordinates) {
  if (is.null(coordinates)) {
    refuse(
      "cells are grouped first: give groups (of AggregateCells()), or coordinates ",
      "(cells x dimensions), or groups = \"none\" for a matrix that is aggregated already."
    )
  }
  given <- coordinates
  coordinates <- as.matrix(given)
  if (!is.numeric(coordinates)) {
    refuse("coordinates must be a numeric matrix (cells x dimensions), not ", in_words(given), ".")
  }
  if (!is.null(rownames(coordinates)) && !is.null(cells)) {
    check_same_cells(rownames(coordinates), cells, "coordinates")
    return(coordinates[cells, , drop = FALSE])
  }
  if (nrow(coordinates) != n_cells) {
    refuse(
      "coordinates has ", count_of(nrow(coordinates), "row"), ", the matrix ",
      count_of(n_cells, "cell"), ": give a row for each cell."
    )
  }
  coordinates
}

check_same_cells <- function(given, cells, argument) {
  missing <- setdiff(cells, given)
  if (length(missing) > 0) {
    refuse(
      argument, " lacks ", count_of(length(missing), "cell"), " of the matrix (",
      some_names(missing), "): make it from the same cells."
    )
  }
}
