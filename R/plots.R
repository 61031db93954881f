# Plots of a fit, as ggplot objects that the caller may go on with.

#' Plot the training of a model
#'
#' Plots the ELBO of training and held-out cells after each epoch, in nats per cell. After a
#' sufficient training, the ELBO of the held-out cells has reached a plateau. Dotted lines separate
#' the phases of the training.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()].
#' @param reduction Name of the reduction with the model.
#' @return A ggplot object.
#' @section Errors:
#' `scmvp_error_model` when there is no stored model.
#' @examples
#' if (scMVP_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 10, verbose = FALSE)
#'   PlotSCMVPHistory(object)
#' }
#' @export
PlotSCMVPHistory <- function(object, reduction = "scmvp") {
  check_installed("ggplot2", "a plot of scMVP")
  check_fitted(object, "PlotSCMVPHistory()", "the history of its training")
  history <- stored_results(object, reduction)$history
  long <- data.frame(
    epoch = rep(history$epoch, 2),
    elbo = c(history$elbo_train, history$elbo_validation),
    cells = rep(c("training", "held-out"), each = nrow(history))
  )
  long <- long[is.finite(long$elbo), ]
  change <- history$epoch[which(diff(as.integer(factor(history$phase, unique(history$phase)))) > 0)]
  ggplot2::ggplot(long, ggplot2::aes(.data$epoch, .data$elbo, colour = .data$cells)) +
    ggplot2::geom_vline(xintercept = change + 0.5, linetype = "dotted", colour = "grey50") +
    ggplot2::geom_line() +
    ggplot2::geom_point(size = 0.8) +
    ggplot2::scale_x_continuous(breaks = function(limits) {
      unique(round(pretty(pmax(limits, 1), 5)))
    }) +
    ggplot2::scale_colour_manual(values = c(training = "grey60", "held-out" = "#0072B2")) +
    ggplot2::labs(
      x = "Epoch", y = "ELBO (nats per cell)", colour = NULL,
      caption = paste("phases:", paste(unique(history$phase), collapse = " | "))
    ) +
    seurat_theme()
}

#' Plot measured against imputed values
#'
#' Plots measured and imputed values of each feature: without `group.by` one point per cell, with
#' `group.by` the distributions of both in each group. Both are scaled to 10,000 counts per cell
#' over the features of the model. Measured proteins include their background, imputed ones do not.
#' Cells without counts of the modality have no measured value.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()].
#' @param features Names of modeled genes, peaks or proteins; `NULL`: all features, one panel each.
#' @param modality `"rna"`, `"peaks"` or `"protein"`.
#' @param group.by Name of a metadata column, such as `"scmvp_cluster"`, or one value per cell;
#'   `NULL` for one point per cell.
#' @param reduction Name of the reduction with the model.
#' @param ncol Number of columns of panels.
#' @param measured Measured counts, features x cells, if the object does not contain them: for a fit
#'   of two matrices, and for peaks that were passed separately from the object.
#' @return A ggplot object.
#' @section Errors:
#' Those of [ImputeSCMVP()]; `scmvp_error_input` if the measured counts or `group.by` are missing.
#' @examples
#' if (scMVP_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 10, verbose = FALSE)
#'   PlotSCMVPImputation(object, rownames(object)[1:2])
#'   PlotSCMVPImputation(object, rownames(object)[1:2], group.by = "scmvp_cluster")
#' }
#' @export
PlotSCMVPImputation <- function(object, features, modality = c("rna", "peaks", "protein"),
                                group.by = NULL, reduction = "scmvp", ncol = NULL,
                                measured = NULL) {
  check_installed("ggplot2", "a plot of scMVP")
  kind <- part_kind(check_modality(modality, counted_kinds))
  ncol <- check_number(ncol, "ncol", min = 1, whole = TRUE, optional = TRUE)
  check_fitted(object, "PlotSCMVPImputation()", "its model")
  record <- stored_results(object, reduction)
  latent <- latent_of(object, reduction)
  home <- home_of(object, reduction)
  request <- imputation_request(
    kind, features,
    cells = NULL, library.size = 1e4, log = NULL, file = NULL, threshold = NULL, by = NULL,
    max.gb = .Machine$double.xmax, backend = "auto", verbose = FALSE
  )
  refuse_other_model(kind, kinds_of_model(record$model))
  n_modelled <- record$summary[[paste0("n_", features_of_kind(kind))]]
  check_plot_size(if (is.null(features)) n_modelled else length(features), nrow(latent))
  groups <- if (!is.null(group.by)) {
    groups_in(object, group.by, rownames(latent), home, "group.by")
  }
  counts <- if (is.null(measured)) {
    kept_counts(object, record, reduction, home, kind, rownames(latent))
  } else {
    given_counts(measured, "measured", rownames(latent), record)
  }
  if (is.null(counts)) {
    refuse(
      "the measured counts are not in the object: give them (features x cells) with ",
      "measured =."
    )
  }
  data <- impute_values(record, latent, request, result = function(imputed, modelled) {
    data.frame(
      feature = factor(rep(rownames(imputed), ncol(imputed)), rownames(imputed)),
      measured = as.vector(scaled_counts(counts, rownames(imputed), modelled, request$log)),
      imputed = as.vector(imputed)
    )
  })
  scale <- if (request$log) "log(1 + counts per 10,000)" else "counts per 10,000"
  if (is.null(groups)) {
    return(plot_measured_imputed(data, scale, ncol))
  }
  data$group <- rep(groups, each = nlevels(data$feature))
  label <- if (is.character(group.by) && length(group.by) == 1) group.by else "group"
  plot_by_group(data, scale, label, ncol)
}

check_plot_size <- function(n_features, n_cells, most = 1e8) {
  if (as.numeric(n_features) * n_cells > most) {
    refuse(
      "a plot of ", features_by_cells(n_features, n_cells), " is too large: give fewer features.",
      class = "memory"
    )
  }
}

plot_measured_imputed <- function(data, scale, ncol) {
  data <- data[!is.na(data$measured), ]
  ggplot2::ggplot(data, ggplot2::aes(.data$imputed, .data$measured)) +
    ggplot2::geom_point(size = 0.6, alpha = 0.4, colour = "#0072B2") +
    feature_panels(data$feature, "free", ncol) +
    ggplot2::labs(x = paste0("Imputed, ", scale), y = "Measured, same scale") +
    seurat_theme()
}

plot_by_group <- function(data, scale, group.by, ncol) {
  long <- data.frame(
    feature = rep(data$feature, 2), group = rep(data$group, 2),
    value = c(data$measured, data$imputed),
    kind = factor(rep(c("measured", "imputed"), each = nrow(data)), c("measured", "imputed"))
  )
  long <- long[!is.na(long$value), ]
  ggplot2::ggplot(long, ggplot2::aes(.data$group, .data$value, fill = .data$kind)) +
    ggplot2::geom_boxplot(outlier.size = 0.3, linewidth = 0.3) +
    feature_panels(data$feature, "free_y", ncol) +
    ggplot2::scale_fill_manual(values = c(measured = "grey80", imputed = "#56B4E9")) +
    ggplot2::labs(x = group.by, y = scale, fill = NULL) +
    seurat_theme() +
    upright_labels(data$group)
}

# Upright names of groups, where they would cover one another side by side. Slanted ones would be
# cut at the left edge of the plot, where ggplot2 leaves no room for them.
upright_labels <- function(groups) {
  if (sum(nchar(unique(as.character(groups))), na.rm = TRUE) > 30) {
    ggplot2::theme(axis.text.x = ggplot2::element_text(angle = 90, hjust = 1, vjust = 0.5))
  }
}

# A panel for each feature. Strips cut a name that is wider than they are, so it gets several lines.
feature_panels <- function(features, scales, ncol) {
  columns <- if (is.null(ncol)) ggplot2::wrap_dims(nlevels(features))[2] else ncol
  width <- max(72 %/% min(columns, nlevels(features)), 8)
  line <- sprintf("(.{1,%d}$|.{1,%d}[-_.:/ ]|.{%d})", width, width - 1, width)
  lines <- function(names) sub("\n$", "", gsub(line, "\\1\n", names, perl = TRUE))
  ggplot2::facet_wrap(
    "feature",
    scales = scales, ncol = ncol, labeller = ggplot2::as_labeller(lines)
  )
}

#' Plot the confidence of the clusters
#'
#' `"probability"` draws a heat map of the posterior probability of each cluster in each cell, with
#' the cells grouped by cluster. `"entropy"` draws the normalized entropy of these probabilities in
#' the cells of each cluster: 0 if a cell belongs to one cluster with certainty, 1 if all clusters
#' are equally probable.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()].
#' @param what `"probability"` or `"entropy"`.
#' @param reduction Name of the reduction with the model.
#' @return A ggplot object.
#' @section Errors:
#' `scmvp_error_model` when there is no stored model.
#' @examples
#' if (scMVP_available() && requireNamespace("ggplot2", quietly = TRUE)) {
#'   object <- SimulateSCMVP(n.cells = 150, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 10, verbose = FALSE)
#'   PlotSCMVPClusters(object)
#'   PlotSCMVPClusters(object, "entropy")
#' }
#' @export
PlotSCMVPClusters <- function(object, what = c("probability", "entropy"), reduction = "scmvp") {
  check_installed("ggplot2", "a plot of scMVP")
  what <- check_choice(what, c("probability", "entropy"), "what")
  check_fitted(object, "PlotSCMVPClusters()", "its model")
  probabilities <- cluster_probabilities(object, reduction)
  label <- max.col(probabilities, ties.method = "first")
  cluster <- factor(colnames(probabilities)[label], colnames(probabilities))
  plot <- if (what == "entropy") plot_entropy else plot_shares
  plot(probabilities, cluster)
}

plot_shares <- function(probabilities, cluster) {
  sure <- probabilities[cbind(seq_along(cluster), as.integer(cluster))]
  rows <- order(cluster, -sure)
  shown <- data.frame(
    rank = rep(seq_along(rows), ncol(probabilities)),
    cluster = factor(
      rep(colnames(probabilities), each = length(rows)), rev(colnames(probabilities))
    ),
    probability = as.vector(probabilities[rows, ])
  )
  ggplot2::ggplot(shown, ggplot2::aes(.data$rank, .data$cluster, fill = .data$probability)) +
    ggplot2::geom_raster() +
    ggplot2::scale_fill_gradient(low = "grey95", high = "#08306B", limits = c(0, 1)) +
    ggplot2::scale_x_continuous(expand = c(0, 0)) +
    ggplot2::labs(
      x = "Cells, by cluster and probability", y = "Cluster", fill = "Posterior\nprobability"
    ) +
    seurat_theme()
}

plot_entropy <- function(probabilities, cluster) {
  p <- pmax(probabilities, .Machine$double.xmin)
  entropy <- -rowSums(p * log(p)) / log(max(2, ncol(p)))
  data <- data.frame(cluster = cluster, entropy = pmax(entropy, 0))
  ggplot2::ggplot(data, ggplot2::aes(.data$cluster, .data$entropy, fill = .data$cluster)) +
    ggplot2::geom_boxplot(outlier.size = 0.4, linewidth = 0.3, show.legend = FALSE) +
    ggplot2::coord_cartesian(ylim = c(0, 1)) +
    ggplot2::labs(x = "Cluster", y = "Entropy of the posterior (0 to 1)") +
    seurat_theme()
}

# cells x clusters of the cells that are in the object now. Those of the fit where they are all
# there, else (cells renamed or added) from the latent.
cluster_probabilities <- function(object, reduction, backend = "auto") {
  record <- stored_results(object, reduction)
  latent <- latent_of(object, reduction)
  cells <- rownames(latent)
  kept <- record$probabilities
  if (!is.null(kept) && all(cells %in% rownames(kept))) {
    kept <- kept[cells, , drop = FALSE]
    if (about(object)$part == "matrix" || are_columns_of(object, reduction, kept)) {
      return(kept)
    }
  }
  with_engine(backend, function(engine) {
    restore_model(record$model, engine)
    found <- engine$responsibilities(latent, record$level)
    name_cells(latent, found, cells)$probabilities
  })
}

# Whether the clusters in the metadata are those of these probabilities: cells that have exchanged
# their names still have their own.
are_columns_of <- function(object, reduction, probabilities) {
  data <- cell_data(object, home_of(object, reduction))
  columns <- unlist(names_for(reduction)[c("cluster", "cluster_prob")])
  if (!all(columns %in% names(data))) {
    return(FALSE)
  }
  own <- data[rownames(probabilities), columns]
  label <- colnames(probabilities)[max.col(probabilities, ties.method = "first")]
  identical(as.character(own[[1]]), label) &&
    isTRUE(all.equal(own[[2]], unname(apply(probabilities, 1, max))))
}

# Counts of some features, scaled to 10,000 counts per cell over the modelled features: imputed
# values are shares of these.
scaled_counts <- function(counts, features, modelled, log) {
  missing <- setdiff(features, rownames(counts))
  if (length(missing) > 0) {
    refuse(
      "the measured counts lack ", count_of(length(missing), "feature"), " (", some_names(missing),
      "): there is nothing to compare them with."
    )
  }
  there <- intersect(modelled, rownames(counts))
  if (length(there) < 0.8 * length(modelled)) {
    refuse(
      "the measured counts hold only ", format_count(length(there)), " of the ",
      count_of(length(modelled), "modeled feature"), ", by whose total they are ",
      "compared: give all of them."
    )
  }
  total <- Matrix::colSums(counts[there, , drop = FALSE])
  total[total == 0] <- NA # not measured in this cell
  values <- t(t(as.matrix(counts[features, , drop = FALSE])) / total * 1e4)
  if (log) log1p(values) else values
}

seurat_theme <- function() {
  ggplot2::theme_classic() +
    ggplot2::theme(
      strip.background = ggplot2::element_blank(),
      strip.text = ggplot2::element_text(face = "bold")
    )
}
