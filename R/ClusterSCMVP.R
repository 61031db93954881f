#' More or fewer clusters of a fit
#'
#' [RunSCMVP()] merges the components of the fitted mixture in a tree, starting with the two
#' components whose cells share the most neighbors. `ClusterSCMVP()` cuts this tree at another
#' level. The model and the latent do not change.
#'
#' @section Levels:
#' The connectivity of two clusters is the weight of the edges between them in the graph of shared
#' neighbors, divided by the weight expected if edges ended in cells at random. Clusters with a
#' connectivity above `resolution` are merged. If `n.clusters` of [RunSCMVP()] is `NULL`, its
#' clusters are those at resolution 0.15; if it is a number, the clusters are the components
#' themselves, without merging. A long gradient of cells may remain divided into several clusters
#' at any resolution. [PlotSCMVPTree()] shows the connectivity at which clusters merge.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()].
#' @param n.clusters Number of clusters, at most the number of components that have cells.
#' @param resolution Connectivity up to which clusters stay separate, instead of `n.clusters`;
#'   smaller values give fewer clusters.
#' @param reduction Name of the reduction with the model.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param verbose Report the number of clusters.
#' @return The object with new columns `scmvp_cluster` and `scmvp_cluster_prob`. Clusters are
#'   numbered from 0; cluster 0 contains the most cells of the fit. If neither `n.clusters` nor
#'   `resolution` is given, the clusters are those of the fit.
#' @section Errors:
#' `scmvp_error_model` if there is no stored model; `scmvp_error_input` if both `n.clusters` and
#' `resolution` are given, or if `n.clusters` exceeds the number of components that have cells.
#' @seealso [PlotSCMVPTree()]
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 10, verbose = FALSE)
#'   object <- ClusterSCMVP(object, n.clusters = 2)
#'   table(object$scmvp_cluster)
#' }
#' @export
ClusterSCMVP <- function(object, n.clusters = NULL, resolution = NULL, reduction = "scmvp",
                         backend = c("auto", "reticulate", "process"), verbose = TRUE) {
  n.clusters <- check_number(n.clusters, "n.clusters", min = 1, whole = TRUE, optional = TRUE)
  resolution <- check_number(resolution, "resolution", min = 0, above = TRUE, optional = TRUE)
  check_flag(verbose, "verbose")
  if (!is.null(n.clusters) && !is.null(resolution)) {
    refuse("both n.clusters and resolution are given: give one of them.")
  }
  check_fitted(object, "ClusterSCMVP()", "the latent of its cells")
  record <- stored_results(object, reduction)
  latent <- latent_of(object, reduction)
  level <- Filter(Negate(is.null), list(n_clusters = n.clusters, resolution = resolution))
  found <- with_engine(check_choice(backend, backends, "backend"), function(engine) {
    restore_model(record$model, engine)
    named <- name_cells(latent, engine$responsibilities(latent, level), rownames(latent))
    c(named, list(tree = engine$tree(level)))
  })
  n <- ncol(found$probabilities)
  if (verbose) message(count_of(n, "cluster"))
  record[c("probabilities", "tree")] <- found[c("probabilities", "tree")]
  record$present <- NULL
  record["level"] <- list(if (length(level) > 0) list(n_clusters = n))
  put_results(object, new_results(
    columns = cluster_columns(found, names_for(reduction)),
    record = list(name = reduction, value = record), home = home_of(object, reduction)
  ))
}

#' Plot how clusters merge
#'
#' Plots the tree of the components of a fit, with the current clusters of the object.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()].
#' @param reduction Name of the reduction with the model.
#' @return A ggplot object. A leaf is a component of the mixture, with the number of its cells in
#'   the fit; branches meet at their connectivity (see [ClusterSCMVP()]). Colors show the
#'   clusters; branches above the dashed line connect clusters.
#' @section Errors: `scmvp_error_model` if there is no stored model, or if the model was made by an
#' earlier version and has no tree.
#' @examples
#' if (scMVP_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 10, verbose = FALSE)
#'   PlotSCMVPTree(object)
#' }
#' @export
PlotSCMVPTree <- function(object, reduction = "scmvp") {
  check_installed("ggplot2", "a plot of scMVP")
  check_fitted(object, "PlotSCMVPTree()", "its tree of clusters")
  record <- stored_results(object, reduction)
  tree <- record$tree
  if (is.null(tree)) {
    refuse(
      "the fit has no tree of clusters, as it is from an earlier version: run RunSCMVP() again.",
      class = "model"
    )
  }
  if (length(tree$n_cells) < 2) {
    refuse("the mixture has one component, so there is no tree to draw.")
  }
  drawn <- drawn_tree(tree)
  ggplot2::ggplot() +
    ggplot2::geom_segment(
      ggplot2::aes(
        x = .data$x, xend = .data$xend, y = .data$y, yend = .data$yend, colour = .data$cluster
      ),
      data = drawn$segments, linewidth = 0.6
    ) +
    ggplot2::geom_hline(yintercept = drawn$level, linetype = "dashed", colour = "grey40") +
    ggplot2::scale_x_continuous(
      breaks = drawn$leaves$x, labels = format_count(drawn$leaves$n_cells),
      expand = ggplot2::expansion(add = 0.6)
    ) +
    ggplot2::scale_y_continuous(
      trans = "reverse", breaks = log10(drawn$breaks), labels = drawn$breaks
    ) +
    ggplot2::scale_colour_discrete(breaks = levels(drawn$segments$cluster), na.value = "grey40") +
    ggplot2::labs(x = "Components, by number of cells", y = "Connectivity", colour = "Cluster") +
    seurat_theme() +
    ggplot2::theme(axis.text.x = ggplot2::element_text(angle = 60, hjust = 1))
}

# Segments of a dendrogram, x by leaf and y on log10 of the connectivity.
drawn_tree <- function(tree) {
  merges <- matrix(tree$merges, ncol = 2) + 1L
  n <- length(tree$n_cells)
  # connectivities of 0 are drawn at the floor; leaves begin below the first merge
  height <- log10(pmax(tree$connectivity, 1e-3))
  height <- c(rep(max(c(height, 0)) + 0.3, n), height)
  members <- as.list(seq_len(n))
  for (row in seq_len(nrow(merges))) members[[n + row]] <- unlist(members[merges[row, ]])
  order <- members[[length(members)]]
  x <- vapply(members, function(leaves) mean(match(leaves, order)), 0)
  # of each leaf, then of each node; none of nodes between clusters
  own <- if (is.null(tree$cluster)) tree$component else tree$cluster[tree$component + 1]
  own <- as.integer(own)
  cluster <- vapply(members, function(leaves) {
    if (length(unique(own[leaves])) == 1) own[leaves[1]] else NA_integer_
  }, 0L)
  cluster <- factor(cluster, sort(unique(own)))
  n_clusters <- nlevels(cluster)
  segments <- lapply(seq_len(nrow(merges)), function(row) {
    node <- n + row
    two <- merges[row, ]
    data.frame(
      x = c(x[two], x[two[1]]), xend = c(x[two], x[two[2]]),
      y = c(height[two], height[node]), yend = height[node],
      cluster = cluster[c(two, node)]
    )
  })
  bounds <- c(height, -3)[c(2 * n - n_clusters, 2 * n - n_clusters + 1)]
  top <- c(3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
  list(
    segments = do.call(rbind, segments),
    leaves = data.frame(x = seq_len(n), n_cells = tree$n_cells[order]),
    level = mean(bounds),
    breaks = top[log10(top) <= max(height)]
  )
}
