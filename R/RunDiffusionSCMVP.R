#' Order cells along a trajectory
#'
#' Computes the diffusion map and the diffusion pseudotime (Haghverdi et al. 2016) of the cells in
#' the joint latent with the package destiny: components that describe gradual change, the distance
#' of each cell from the root, and the branches of the path.
#'
#' @section Root: You choose where the order starts. `root` is the name of a cell or, with
#' `group.by`, of a group, such as the first hour of a time course. For a group, the order starts at
#' its tip: the cell with the largest diffusion distance from the cells outside the group.
#'
#' @section Branches:
#' destiny searches for three branches that meet at one point. If it finds none, as on a simple
#' path, `branch` is `NA` for all cells. Otherwise it is `NA` for cells between the branches.
#'
#' @param object A Seurat object or SingleCellExperiment with a reduction, or a numeric matrix of
#'   coordinates, cells x dimensions.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param root Name of a cell or, with `group.by`, of a group.
#' @param group.by Name of a column of the cell metadata; for a matrix, one value per cell.
#' @param reduction Name of the reduction.
#' @param dims Dimensions of the reduction to use; `NULL` for all.
#' @param n.neighbors Number of neighbors of a cell in the graph. `NULL`: 1/25 of the number of
#'   cells, at least 30 and at most 60. With fewer neighbors, the graph of a large data set may have
#'   a bottleneck at a branch.
#' @param n.components Components of the diffusion map.
#' @param reduction.name,reduction.key Name and key of the diffusion map; `NULL`: `scmvp_diffusion`
#'   for reduction `scmvp`.
#' @param seed.use Seed of the eigenvectors; R's own random numbers are not changed.
#' @return The object with a reduction of `n.components` columns and the metadata
#'   `<reduction>_pseudotime` (0 at the root to 1) and `<reduction>_branch` (factor). For a matrix,
#'   a list: `components` (cells x components), `eigenvalues`, `pseudotime`, `branch` and `root`.
#' @section Errors:
#' `scmvp_error_input`: no such root or reduction, fewer than 20 cells, cells with the same
#' coordinates, or a neighbor graph that is not connected; `scmvp_error_package`: destiny or igraph
#' is not installed.
#' @references Haghverdi L, Büttner M, Wolf FA, Buettner F, Theis FJ (2016). Diffusion pseudotime
#'   robustly reconstructs lineage branching. *Nature Methods* 13:845-848.
#' @seealso [FeaturesAlongSCMVP()] for features that change along the order.
#' @examples
#' if (requireNamespace("destiny", quietly = TRUE) && requireNamespace("igraph", quietly = TRUE)) {
#'   time <- seq(0, 1, length.out = 200)
#'   latent <- cbind(time * 10, matrix(rnorm(800, sd = 0.2), 200))
#'   rownames(latent) <- paste0("cell", 1:200)
#'   order <- RunDiffusionSCMVP(latent, root = "cell1")
#'   cor(order$pseudotime, time, method = "spearman")
#' }
#' @export
RunDiffusionSCMVP <- function(object, root, group.by = NULL, reduction = "scmvp", dims = NULL,
                              n.neighbors = NULL, n.components = 10, reduction.name = NULL,
                              reduction.key = NULL, seed.use = 0, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  refuse_for_matrix(
    object, match.call(), environment(), c("reduction", "dims", "reduction.name", "reduction.key")
  )
  coordinates <- coordinates_of(object, reduction, dims, "RunDiffusionSCMVP()")
  if (is.null(rownames(coordinates))) rownames(coordinates) <- seq_len(nrow(coordinates))
  home <- home_of(object, reduction)
  groups <- if (!is.null(group.by)) {
    groups_in(object, group.by, rownames(coordinates), home, "group.by")
  }
  if (missing(root)) root <- NULL
  order <- function() {
    diffusion_order(coordinates, root, groups, n.neighbors, n.components, seed.use)
  }
  if (!is_container(object)) {
    return(order())
  }
  refuse_other_class(object, match.call(), environment())
  name <- diffusion_name(object, reduction, reduction.name)
  key <- check_string(reduction.key, "reduction.key", optional = TRUE)
  if (is.null(key)) key <- key_for(if (name == "scmvp_diffusion") "scMVPDC" else paste0(name, "DC"))
  refuse_key_of_another(object, key, name, "reduction.key")
  found <- order()
  columns <- data.frame(found$pseudotime, found$branch, row.names = rownames(coordinates))
  put_results(object, new_results(
    reduction = list(
      name = name, key = key, values = found$components, made_from = reduction,
      misc = found[c("eigenvalues", "root")]
    ),
    columns = stats::setNames(
      columns, c(pseudotime_column(reduction), paste0(reduction, "_branch"))
    ),
    home = home
  ))
}

diffusion_name <- function(object, reduction, reduction.name) {
  words <- about(object)
  name <- check_string(reduction.name, "reduction.name", optional = TRUE)
  if (is.null(name)) name <- paste0(reduction, "_diffusion")
  others <- setdiff(c(words$others, words$reductions), names(fits_of(object, only_diffusions)))
  if (name == reduction || name %in% others) {
    refuse("reduction.name '", name, "' is the name of something else: choose another.")
  }
  name
}

pseudotime_column <- function(reduction) paste0(reduction, "_pseudotime")

# ---- the order -----------------------------------------------------------------------------------

fewest_ordered <- 20

diffusion_order <- function(coordinates, root, groups, n.neighbors, n.components, seed.use) {
  n <- nrow(coordinates)
  if (n < fewest_ordered) {
    refuse(
      "there ", is_are(n), " only ", count_of(n, "cell"), ", too few to order: give at least ",
      fewest_ordered, "."
    )
  }
  if (is.null(n.neighbors)) n.neighbors <- min(max(n %/% 25, 30), 60, n - 1)
  n.neighbors <- check_number(n.neighbors, "n.neighbors", min = 2, whole = TRUE)
  n.components <- check_number(n.components, "n.components", min = 1, whole = TRUE)
  seed.use <- check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  if (max(n.neighbors, n.components + 2) >= n) {
    refuse(
      "of ", n, " cells n.neighbors can be at most ", n - 1, ", and n.components at most ", n - 3,
      "."
    )
  }
  start <- root_cells(root, groups, rownames(coordinates))
  refuse_equal_cells(coordinates)
  check_installed("destiny", "RunDiffusionSCMVP()")
  check_installed("igraph", "RunDiffusionSCMVP()")
  map <- seeded(seed.use, diffusion_map(coordinates, n.neighbors, n.components))
  scaled <- sweep(map$vectors, 2, map$values / (1 - map$values), "*")
  place <- if (length(start) == 1) start else tip_of(scaled, start)
  distance <- sqrt(rowSums(sweep(scaled, 2, scaled[place, ])^2))
  list(
    components = map$vectors,
    eigenvalues = map$values,
    pseudotime = stats::setNames(distance / max(distance), rownames(coordinates)),
    branch = stats::setNames(
      seeded(seed.use, branches_from(map$object, place)), rownames(coordinates)
    ),
    root = rownames(coordinates)[place]
  )
}

diffusion_map <- function(coordinates, k, n) {
  # destiny calls functions that newer versions of Matrix call deprecated
  map <- withCallingHandlers(
    bioc("destiny", "DiffusionMap")(unname(coordinates), k = k, n_eigs = n, verbose = FALSE),
    warning = function(w) {
      if (grepl("deprecated", conditionMessage(w))) tryInvokeRestart("muffleWarning")
    }
  )
  refuse_parts(methods::slot(map, "transitions"))
  vectors <- bioc("destiny", "eigenvectors")(map)
  dimnames(vectors) <- list(rownames(coordinates), paste0("DC", seq_len(ncol(vectors))))
  list(object = map, vectors = vectors, values = unname(bioc("destiny", "eigenvalues")(map)))
}

# destiny itself would go on, with the components of one part.
refuse_parts <- function(transitions) {
  graph <- igraph::graph_from_adjacency_matrix(
    methods::as(transitions, "generalMatrix"),
    mode = "max", weighted = TRUE
  )
  sizes <- sort(igraph::components(graph)$csize, decreasing = TRUE)
  if (length(sizes) > 1) {
    refuse(
      "the cells fall into ", length(sizes), " parts that no neighbors connect (the largest ",
      "of ", paste(utils::head(sizes, 2), collapse = " and "), " cells), so they have no common ",
      "order: order each part separately (keep the cells of a few clusters that belong together), ",
      "or raise n.neighbors."
    )
  }
}

# Diffusion distances are Euclidean ones of the scaled components, so that the mean square distance
# to a set is that to its mean, up to a constant.
tip_of <- function(scaled, start) {
  outside <- colMeans(scaled[-start, , drop = FALSE])
  start[which.max(rowSums(sweep(scaled[start, , drop = FALSE], 2, outside)^2))]
}

# destiny stops where a path has no branches, or fewer cells than it cuts.
branches_from <- function(map, root) {
  found <- tryCatch(
    bioc("destiny", "DPT")(map, tips = root)@branch[, 1],
    error = function(e) {
      if (!grepl("(g >= gmin|n >= nmin) is not TRUE", conditionMessage(e))) stop(e)
      rep(NA_integer_, nrow(map@eigenvectors))
    }
  )
  factor(found)
}

root_cells <- function(root, groups, cells) {
  if (length(root) != 1 || is.na(root)) {
    refuse("root must be one name, where to start: of a cell or, with group.by, of a group.")
  }
  root <- level_names(root)
  if (is.null(groups)) {
    place <- match(root, cells)
    if (is.na(place)) {
      refuse(
        "root '", root, "' is not the name of a cell (cells are named like ", some_names(cells),
        "): give a name, or a group together with group.by."
      )
    }
    return(place)
  }
  start <- which(groups == root)
  if (length(start) == 0) {
    refuse("root '", root, "' is not a group; the groups are ", some_names(levels(groups), 8), ".")
  }
  if (length(start) == length(cells)) {
    refuse("all cells are in group '", root, "', so no start can be found.")
  }
  start
}

refuse_equal_cells <- function(coordinates) {
  repeated <- which(duplicated(coordinates))
  if (length(repeated) > 0) {
    refuse(
      count_of(length(repeated), "cell"), " ", one_or_many(length(repeated), "has", "have"),
      " the coordinates of another one (", some_names(rownames(coordinates)[repeated]), "): leave ",
      one_or_many(length(repeated), "it", "them"), " out."
    )
  }
}
