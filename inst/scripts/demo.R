# A typical scMVP analysis: from a Seurat object with RNA and peaks to an embedding, clusters and
# imputed expression, with figures of the results.
#
#   Rscript demo.R [DATA=path] [SEED=0] [K=clusters] [EPOCHS=60] [OUT=demo-output]
#
# DATA  whatever ReadSCMVP() reads: a folder with rna.h5ad and atac.h5ad, an .h5mu, a 10x .h5, a
#       MatrixMarket folder, an .rds. Without it, cells are simulated.
# K     number of clusters; without it, estimated from the data.
#
# Writes umap.png, training.png, imputation.png, summary.txt and object.rds into OUT.

suppressPackageStartupMessages({
  library(scMVP)
  library(Seurat)
  library(ggplot2)
  library(patchwork)
})

# ---- options ---------------------------------------------------------------------------

read_options <- function(args = commandArgs(TRUE)) {
  options <- list(DATA = "", SEED = "0", K = "", EPOCHS = "60", OUT = "demo-output")
  pairs <- regmatches(args, regexpr("=", args), invert = TRUE)
  names <- vapply(pairs, `[`, character(1), 1)
  unknown <- names[!names %in% names(options) | lengths(pairs) != 2]
  if (length(unknown) > 0) {
    stop("unknown option '", unknown[1], "': give NAME=value with NAME one of ",
         paste(names(options), collapse = ", "), call. = FALSE)
  }
  given <- setNames(lapply(pairs, `[`, 2), names)
  options[names(given)] <- ifelse(nzchar(given), given, options[names(given)])
  whole <- function(name) {
    value <- suppressWarnings(as.integer(options[[name]]))
    if (is.na(value)) {
      stop(name, " must be a whole number, not '", options[[name]], "'", call. = FALSE)
    }
    value
  }
  list(
    data = options$DATA,
    seed = whole("SEED"),
    clusters = if (nzchar(options$K)) whole("K"),
    epochs = whole("EPOCHS"),
    out = options$OUT
  )
}

# ---- measures --------------------------------------------------------------------------

# Adjusted Rand index of two partitions: 1 for the same, 0 for what chance gives.
adjusted_rand_index <- function(a, b) {
  pairs <- function(n) sum(n * (n - 1) / 2)
  counts <- table(a, b)
  both <- pairs(counts)
  in_a <- pairs(rowSums(counts))
  in_b <- pairs(colSums(counts))
  expected <- in_a * in_b / pairs(sum(counts))
  (both - expected) / ((in_a + in_b) / 2 - expected)
}

# k-means ARI of an embedding against labels, with as many centers as labels.
kmeans_ari <- function(embedding, labels, seed) {
  set.seed(seed)
  found <- kmeans(embedding, length(unique(labels)), iter.max = 200, nstart = 20)
  adjusted_rand_index(found$cluster, labels)
}

# Largest memory this process ever held in MB; NA where the system does not tell.
peak_memory_mb <- function() {
  status <- tryCatch(readLines("/proc/self/status"), error = function(e) character())
  line <- grep("^VmHWM", status, value = TRUE)
  if (length(line) == 0) NA_real_ else as.numeric(gsub("[^0-9]", "", line)) / 1024
}

# Name of the metadata column that holds known types, or NA.
find_label <- function(object) {
  known <- c("cell_type", "celltype", "cell.type", "CellType", "label", "labels", "annotation")
  intersect(known, colnames(object[[]]))[1]
}

# Genes that mark clusters: those whose mean expression in one cluster of at least 3 % of the cells
# exceeds that in every other cluster by most, at most one per cluster.
choose_markers <- function(object, assay, genes, n = 4) {
  expression <- GetAssayData(object[[assay]])[genes, ]
  cluster <- factor(object$scmvp_cluster)
  sizes <- table(cluster)
  sums <- as.matrix(expression %*% Matrix::t(Matrix::fac2sparse(cluster)))
  means <- sums / rep(sizes, each = length(genes))
  large <- which(sizes >= 0.03 * sum(sizes))
  margins <- vapply(large, function(k) {
    means[, k] - apply(means[, -k, drop = FALSE], 1, max)
  }, numeric(length(genes)))
  best <- order(apply(margins, 2, max), decreasing = TRUE)
  unique(genes[apply(margins[, head(best, n), drop = FALSE], 2, which.max)])
}

# ---- pictures --------------------------------------------------------------------------

PALETTE <- c(
  "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#EE8866", "#44BB99", "#99742C",
  "#8C7FC4", "#BBCC33", "#FFAABB", "#225555", "#994455", "#77AADD", "#666633", "#B08CA8", "#555555"
)

theme_map <- function() {
  theme_void(base_size = 12) +
    theme(
      plot.title = element_text(face = "bold", size = 13, margin = margin(b = 6)),
      plot.margin = margin(6, 10, 6, 10),
      aspect.ratio = 1,
      legend.position = "none"
    )
}

# Colors for `groups`; a group takes the color of the reference group that most of its cells are
# in, so that two maps of the same cells can be compared by eye.
group_colors <- function(groups, reference = NULL) {
  levels <- levels(factor(groups))
  if (is.null(reference)) return(setNames(rep_len(PALETTE, length(levels)), levels))
  reference_colors <- group_colors(reference)
  counts <- table(factor(groups), factor(reference))
  colors <- setNames(rep(NA_character_, length(levels)), levels)
  for (level in levels[order(apply(counts, 1, max), decreasing = TRUE)]) {
    wanted <- reference_colors[[colnames(counts)[which.max(counts[level, ])]]]
    colors[level] <- if (wanted %in% colors) setdiff(PALETTE, colors)[1] else wanted
  }
  ifelse(is.na(colors), "#888888", colors)
}

# UMAP with one color per group and the groups' names written at their medians.
plot_groups <- function(umap, groups, colors, title) {
  cells <- data.frame(x = umap[, 1], y = umap[, 2], group = factor(groups))
  set.seed(0)
  cells <- cells[sample(nrow(cells)), ] # no group is drawn over all others
  centers <- aggregate(cbind(x, y) ~ group, cells, median)
  ggplot(cells, aes(.data$x, .data$y, color = .data$group)) +
    geom_point(size = point_size(nrow(cells)), stroke = 0) +
    ggrepel::geom_text_repel(
      aes(label = .data$group), centers, color = "grey10", size = 3.3,
      bg.color = "white", bg.r = 0.22, seed = 0, max.overlaps = Inf,
      min.segment.length = 0.6, segment.color = "grey50"
    ) +
    scale_color_manual(values = colors) +
    labs(title = title) +
    theme_map()
}

point_size <- function(n_cells) max(0.4, min(1.6, 60 / sqrt(n_cells)))

plot_umap <- function(object, label, label_title) {
  umap <- Embeddings(object, "umap")
  clusters <- object$scmvp_cluster
  if (is.na(label)) return(plot_groups(umap, clusters, group_colors(clusters), "scMVP clusters"))
  labels <- object[[label]][[1]]
  plot_groups(umap, labels, group_colors(labels), label_title) +
    plot_groups(umap, clusters, group_colors(clusters, labels), "scMVP clusters")
}

# First and last epoch of each phase of the training, every other one marked as shaded.
training_phases <- function(history) {
  runs <- rle(as.character(history$phase))
  last <- history$epoch[cumsum(runs$lengths)]
  data.frame(
    phase = runs$values,
    from = c(-Inf, head(last, -1) + 0.5),
    to = c(head(last, -1) + 0.5, Inf),
    label_at = c(history$epoch[1], head(last, -1) + 0.8),
    shaded = seq_along(last) %% 2 == 1
  )
}

# One panel of the training: columns of the history (named by what the legend calls them).
plot_curve <- function(history, columns, title) {
  long <- do.call(rbind, lapply(names(columns), function(name) {
    data.frame(epoch = history$epoch, value = history[[columns[[name]]]], line = name)
  }))
  long$line <- factor(long$line, names(columns))
  phases <- training_phases(history)
  shaded <- phases[phases$shaded, ]
  ggplot(long, aes(.data$epoch, .data$value)) +
    annotate(
      "rect", xmin = shaded$from, xmax = shaded$to, ymin = -Inf, ymax = Inf, fill = "grey95"
    ) +
    annotate(
      "text", phases$label_at, Inf, label = phases$phase, hjust = 0, vjust = 1.6, size = 3,
      color = "grey40"
    ) +
    geom_line(aes(color = .data$line), linewidth = 0.8, na.rm = TRUE) +
    geom_point(aes(color = .data$line), size = 1, na.rm = TRUE) +
    scale_y_continuous(expand = expansion(c(0.05, 0.12))) +
    scale_color_manual(values = PALETTE[1:2]) +
    labs(title = title, x = "epoch", y = "nats per cell", color = NULL) +
    theme_minimal(base_size = 11) +
    theme(
      plot.title = element_text(face = "bold", size = 12),
      panel.grid.minor = element_blank(),
      legend.position = if (length(columns) > 1) "top" else "none",
      legend.justification = "left",
      legend.margin = margin(0, 0, 0, 0),
      legend.box.margin = margin(-6, 0, -6, -8)
    )
}

# Loss terms over epochs, with the phases of the training.
plot_training <- function(history) {
  elbo <- c("training cells" = "elbo_train", "held-out cells" = "elbo_validation")
  plot_curve(history, elbo, "ELBO") +
    plot_curve(history, c(RNA = "reconstruction_rna"), "RNA reconstruction") +
    plot_curve(history, c(ATAC = "reconstruction_atac"), "ATAC reconstruction") +
    plot_curve(history, c("KL to the prior" = "kl", consistency = "consistency"), "Divergences") +
    plot_layout(ncol = 2)
}

# Measured (log-normalized counts) over imputed expression of each marker on the UMAP, each scaled
# to its 99th percentile.
plot_imputation <- function(object, assay, markers) {
  umap <- Embeddings(object, "umap")
  panel <- function(assay, marker, title) {
    value <- FetchData(object, paste0(Key(object[[assay]]), marker))[[1]]
    cells <- data.frame(x = umap[, 1], y = umap[, 2], value = pmin(pmax(value / top(value), 0), 1))
    ggplot(cells[order(value), ], aes(.data$x, .data$y, color = .data$value)) +
      geom_point(size = point_size(nrow(cells)), stroke = 0) +
      scale_color_gradientn(
        colors = c("#E4E4E8", "#C6D3E6", "#7FA9D1", "#3B74B0", "#123F7B", "#0A2450"),
        limits = c(0, 1), breaks = c(0, 1), labels = c("none", "high"), name = NULL
      ) +
        labs(title = title) +
      theme_map() +
      theme(legend.position = "right", plot.title = element_text(face = "italic", hjust = 0.5))
  }
  top <- function(value) max(quantile(value[value > 0], 0.99, names = FALSE), 1e-12)
  row_title <- function(text) {
    wrap_elements(grid::textGrob(text, rot = 90, gp = grid::gpar(fontsize = 13, fontface = "bold")))
  }
  panels <- c(
    list(row_title("measured")), lapply(markers, function(m) panel(assay, m, m)),
    list(row_title("imputed")), lapply(markers, function(m) panel("scMVP_RNA", m, NULL))
  )
  wrap_plots(panels, nrow = 2, widths = c(0.12, rep(1, length(markers)))) +
    plot_layout(guides = "collect")
}

# ---- the summary -----------------------------------------------------------------------

format_seconds <- function(seconds) {
  if (seconds < 120) sprintf("%.1f s", seconds) else sprintf("%.1f min", seconds / 60)
}

summary_lines <- function(object, label, options, seconds) {
  results <- Misc(object[["scmvp"]])
  fit <- results$summary
  kept <- function(modelled, given) sprintf("%d of %d", as.integer(modelled), as.integer(given))
  lines <- c(
    "data" = if (nzchar(options$data)) options$data else "simulated cells (SimulateSCMVP)",
    "cells" = ncol(object),
    "genes in the model" = kept(fit$n_genes, nrow(object[[results$options$rna.assay]])),
    "peaks in the model" = kept(fit$n_peaks, nrow(object[[results$options$peak.assay]])),
    "clusters K" = paste0(
      fit$n_clusters, if (is.null(options$clusters)) " (estimated)" else " (given)"
    ),
    "clusters in use" = nlevels(droplevels(factor(object$scmvp_cluster))),
    "latent dimensions" = ncol(object[["scmvp"]]),
    "epochs" = paste(fit$epochs, "of at most", options$epochs),
    "seed" = options$seed,
    "ELBO, nats per cell" = sprintf("%.2f", fit$elbo),
    "time of the fit" = format_seconds(fit$seconds_fit),
    "time of RunSCMVP" = format_seconds(seconds[["run"]]),
    "time of the demo" = format_seconds(seconds[["total"]]),
    "peak memory" = sprintf("%.0f MB", peak_memory_mb())
  )
  if (!is.na(label)) {
    labels <- object[[label]][[1]]
    latent <- Embeddings(object, "scmvp")
    lines <- c(
      lines,
      "labels" = sprintf("%d in '%s'", length(unique(labels)), label),
      "ARI, k-means on the latent" = sprintf("%.3f", kmeans_ari(latent, labels, options$seed)),
      "ARI, scmvp_cluster" = sprintf("%.3f", adjusted_rand_index(object$scmvp_cluster, labels))
    )
  }
  versions <- c(
    unlist(fit$versions), R = format(getRversion()),
    vapply(c("scMVP", "Seurat", "SeuratObject", "reticulate"), function(package) {
      format(packageVersion(package))
    }, character(1))
  )
  lines <- c(lines, "versions" = paste(names(versions), versions, collapse = ", "))
  sprintf("%-28s %s", names(lines), lines)
}

# ---- the job ---------------------------------------------------------------------------

main <- function() {
  began <- proc.time()[["elapsed"]]
  options <- read_options()
  out <- function(file) file.path(options$out, file)

  object <- if (nzchar(options$data)) {
    ReadSCMVP(options$data)
  } else {
    SimulateSCMVP(n.cells = 500, n.genes = 1000, n.peaks = 2000) # enough to tell 8 types apart
  }
  label <- find_label(object)
  label_title <- paste("Cell types, as", if (nzchar(options$data)) "annotated" else "simulated")
  message(ncol(object), " cells, ", if (is.null(options$clusters)) {
    "number of clusters estimated from them (K=... sets it)"
  } else {
    paste(options$clusters, "clusters")
  })

  run_began <- proc.time()[["elapsed"]]
  object <- RunSCMVP(
    object, n.clusters = options$clusters, max.epochs = options$epochs, seed.use = options$seed
  )
  seconds <- c(run = proc.time()[["elapsed"]] - run_began)

  dims <- seq_len(ncol(object[["scmvp"]]))
  object <- suppressWarnings(RunUMAP(
    object, reduction = "scmvp", dims = dims, min.dist = 0.5, verbose = FALSE
  ))
  rna <- Misc(object[["scmvp"]])$options$rna.assay
  object <- NormalizeData(object, assay = rna, verbose = FALSE)
  markers <- choose_markers(object, rna, rownames(object[["scMVP_RNA"]]))

  dir.create(options$out, recursive = TRUE, showWarnings = FALSE)
  save_plot <- function(file, plot, width, height) {
    ggsave(out(file), plot, width = width, height = height, dpi = 150, bg = "white")
  }
  save_plot("umap.png", plot_umap(object, label, label_title), if (is.na(label)) 5.8 else 11, 5.6)
  save_plot("training.png", plot_training(Misc(object[["scmvp"]])$history), 9, 6)
  save_plot("imputation.png", plot_imputation(object, rna, markers), 12, 5.6)
  saveRDS(object, out("object.rds"))

  seconds[["total"]] <- proc.time()[["elapsed"]] - began
  lines <- summary_lines(object, label, options, seconds)
  writeLines(lines, out("summary.txt"))
  message(paste(c("", lines, ""), collapse = "\n"))
  message("umap.png, training.png, imputation.png, summary.txt and object.rds are in ", options$out)
}

# Errors that the user can fix are reported as one sentence, without a traceback.
tryCatch(main(), scmvp_error = function(error) {
  message("error: ", conditionMessage(error))
  quit(status = 1)
})
