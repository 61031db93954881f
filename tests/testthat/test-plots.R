skip_if_not_installed("ggplot2")

# What is drawn, not how: pixels differ between versions of ggplot2.
drawn <- function(plot, layer = 1) ggplot2::layer_data(plot, layer)

test_that("the history shows both ELBOs and where phases begin", {
  plot <- PlotSCMVPHistory(fitted_object())
  expect_s3_class(plot, "ggplot")
  history <- results_of(fitted_object())$history
  lines <- drawn(plot, 2)
  expect_setequal(
    round(lines$y, 6), round(c(history$elbo_train, history$elbo_validation), 6)
  )
  begins <- which(history$phase[-1] != history$phase[-length(history$phase)])
  expect_gt(length(begins), 0)
  expect_equal(drawn(plot, 1)$xintercept, begins + 0.5)
  expect_error(PlotSCMVPHistory(paired_object()), class = "scmvp_error_model")
  expect_refused(
    PlotSCMVPHistory(1), "with the history of its training, not an object of class numeric"
  )
})

test_that("measured and imputed values are on one scale", {
  object <- fitted_object()
  points <- drawn(PlotSCMVPImputation(object, c("Gene3", "Gene1")))
  counts <- rna_counts()
  expect_equal(
    points$y[points$PANEL == 1], log1p(counts["Gene3", ] / Matrix::colSums(counts) * 1e4),
    ignore_attr = TRUE
  )
  imputed <- ImputeSCMVP(object, features = "Gene1", as = "matrix")
  expect_equal(points$x[points$PANEL == 2], as.vector(imputed), tolerance = 1e-6)
  boxes <- drawn(PlotSCMVPImputation(
    object, peak_names[1:2],
    modality = "peaks", group.by = "scmvp_cluster"
  ))
  expect_identical(nrow(boxes), 2L * 2L * nlevels(object$scmvp_cluster))
  expect_refused(PlotSCMVPImputation(object, "Gene1", group.by = "no"), "no cell metadata 'no'")
  expect_refused(PlotSCMVPImputation(object, "SOX2"), "not in the model")
})

test_that("with chosen features, too: both are proportions of the modeled ones", {
  skip_slow()
  skip_without_core()
  some <- gene_names[1:15]
  object <- quick_fit(paired_object(), rna.features = some, max.epochs = 8)
  counts <- rna_counts()
  points <- PlotSCMVPImputation(object, some)$data
  total <- Matrix::colSums(counts[some, ])
  expect_equal(
    points$measured[points$feature == "Gene2"], unname(log1p(counts["Gene2", ] / total * 1e4))
  )
  # so the means of both are alike; over all genes they would differ fourfold
  means <- vapply(points[c("measured", "imputed")], function(x) {
    tapply(expm1(x), points$feature, mean)
  }, numeric(15))
  expect_equal(colSums(means), c(measured = 1e4, imputed = 1e4), tolerance = 1e-6)
  expect_lt(max(abs(log2(means[, "imputed"] / means[, "measured"]))), 0.7)
  expect_refused(
    PlotSCMVPImputation(object, "Gene1", measured = counts[1:4, ]),
    "hold only 4 of the 15 modeled features"
  )
})

test_that("boxes are the quartiles of each group, measured and imputed", {
  object <- fitted_object()
  group <- rep(c("b", "a", NA), each = 30)
  plot <- PlotSCMVPImputation(object, "Gene2", group.by = group)
  boxes <- drawn(plot)
  counts <- rna_counts()
  measured <- log1p(counts["Gene2", ] / Matrix::colSums(counts) * 1e4)
  imputed <- ImputeSCMVP(object, features = "Gene2", as = "matrix")[1, ]
  expected <- c(vapply(c("a", "b"), function(g) {
    c(stats::median(measured[which(group == g)]), stats::median(imputed[which(group == g)]))
  }, numeric(2)))
  # x says the group, and left of it is what was measured
  expect_equal(boxes$middle[order(boxes$x)][1:4], expected, tolerance = 1e-5)
  expect_identical(unique(boxes$fill[order(boxes$x)][c(1, 3)]), "grey80")
})

test_that("each tile of the clusters is the probability of its cell and cluster", {
  cells <- paste0("c", 1:5)
  kept <- matrix(c(9, 2, 5, 8, 1, 1, 8, 5, 2, 9) / 10, 5, dimnames = list(cells, c("0", "1")))
  fit <- structure(
    list(latent = matrix(0, 5, 2, dimnames = list(cells, NULL)), probabilities = kept),
    class = "scMVPFit"
  )
  plot <- PlotSCMVPClusters(fit)
  data <- plot$data
  rows <- c("c1", "c4", "c3", "c5", "c2") # cluster 0, then 1, the surest first; a tie is of 0
  expect_equal(data$probability, unname(c(kept[rows, "0"], kept[rows, "1"])))
  expect_identical(data$rank, rep(1:5, 2))
  tiles <- drawn(plot)
  expect_equal(tiles$y, ifelse(data$cluster == "0", 2, 1), ignore_attr = TRUE)
  shade <- scales::seq_gradient_pal("grey95", "#08306B")
  expect_identical(tiles$fill, shade(data$probability))
})

test_that("the history gives every epoch its ELBO", {
  plot <- PlotSCMVPHistory(fitted_object())
  history <- results_of(fitted_object())$history
  points <- drawn(plot, 3)
  of <- function(colour) points[points$colour == colour, c("x", "y")]
  expect_equal(of("grey60")$y[order(of("grey60")$x)], history$elbo_train)
  expect_equal(of("#0072B2")$y[order(of("#0072B2")$x)], history$elbo_validation)
})

test_that("trends along pseudotime are of their feature; without counts they are flat", {
  counts <- rna_counts()
  time <- stats::setNames(seq_len(n_cells), cell_names)
  counts["Gene1", ] <- 3
  counts["Gene2", ] <- seq_len(n_cells) # rises with pseudotime
  counts["Gene3", ] <- 0
  counts <- Matrix::drop0(counts)
  size <- rep(1, n_cells)
  three <- paste0("Gene", 1:3)
  plot <- PlotAlongSCMVP(counts, three, time, size = size)
  curves <- drawn(plot)
  expect_equal(range(curves$y[curves$PANEL == 1]), c(3, 3), tolerance = 1e-6)
  rising <- curves[curves$PANEL == 2, ]
  inner <- rising$x > 20 & rising$x < 70
  expect_equal(rising$y[inner], rising$x[inner], tolerance = 0.05)
  expect_lt(max(curves$y[curves$PANEL == 3]), 1e-9)
  tiles <- PlotAlongSCMVP(counts, three, time, size = size, type = "heatmap")$data
  expect_equal(range(tiles$value[tiles$feature == "Gene3"]), c(0, 0))
  expect_equal(range(tiles$value[tiles$feature == "Gene2"]), c(0, 1))
  # by name, whatever their order
  turned <- PlotAlongSCMVP(counts, three, rev(time), size = size)
  expect_equal(drawn(turned), curves)
  names(time) <- paste0("other", seq_len(n_cells))
  expect_refused(PlotAlongSCMVP(counts, three, time), "pseudotime lacks 90 cells of the matrix")
})

test_that("probabilities and their entropy, of the cells that are there", {
  object <- fitted_object()
  shares <- drawn(PlotSCMVPClusters(object))
  expect_identical(nrow(shares), 270L)
  half <- subset(object, cells = cell_names[1:40])
  expect_identical(nrow(drawn(PlotSCMVPClusters(half))), 120L)
  kept <- cluster_probabilities(half, "scmvp")
  renamed <- SeuratObject::RenameCells(half, new.names = paste0("new_", cell_names[1:40]))
  expect_equal(
    cluster_probabilities(renamed, "scmvp"), kept,
    tolerance = 1e-4, ignore_attr = TRUE
  )
  exchanged <- SeuratObject::RenameCells(half, new.names = rev(cell_names[1:40]))
  expect_equal(
    cluster_probabilities(exchanged, "scmvp"), kept,
    tolerance = 1e-4, ignore_attr = TRUE
  )
  even <- plot_entropy(
    rbind(c("0" = 1, "1" = 0), c(0.5, 0.5), c(0.5, 0.5)), factor(c("0", "1", "1"))
  )
  expect_equal(drawn(even)$middle, c(0, 1))
})

test_that("the tree has the numbers of cells and the clusters of the object", {
  skip_slow()
  skip_without_core()
  object <- quick_fit(paired_object(), n.clusters = NULL, impute = "none", max.epochs = 20)
  tree <- results_of(object)$tree
  expect_length(tree$n_cells, 3)
  for (n in c(1, 2, length(tree$n_cells))) {
    cut <- ClusterSCMVP(object, n.clusters = n, verbose = FALSE)
    expect_identical(nlevels(cut$scmvp_cluster), as.integer(n))
    plot <- PlotSCMVPTree(cut)
    labels <- ggplot2::ggplot_build(plot)$layout$panel_params[[1]]$x$get_labels()
    expect_setequal(as.integer(gsub(",", "", labels)), tree$n_cells)
    # the leaves of each color have the cells of the cluster
    leaves <- plot$layers[[1]]$data
    leaves <- unique(leaves[leaves$y == max(leaves$y), c("x", "cluster")])
    sizes <- tapply(as.integer(gsub(",", "", labels))[leaves$x], leaves$cluster, sum)
    expect_equal(as.vector(sizes), as.vector(table(cut$scmvp_cluster)))
  }
  again <- ClusterSCMVP(cut, verbose = FALSE)
  expect_identical(again$scmvp_cluster, object$scmvp_cluster)
  colors <- function(of) levels(PlotSCMVPTree(of)$layers[[1]]$data$cluster)
  expect_identical(colors(again), levels(object$scmvp_cluster))
  # a query has the level of the object that it was embedded by
  two <- ClusterSCMVP(object, n.clusters = 2, verbose = FALSE)
  expect_identical(colors(ProjectSCMVP(two, paired_object(), verbose = FALSE)), c("0", "1"))
  # components are the clusters of a fit of a given number
  given <- fitted_object()
  used <- sort(results_of(given)$tree$component)
  expect_identical(colors(given), as.character(used))
})

test_that("cells without counts of a modality have no measured value in it", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("ggplot2")
  peaks <- atac_counts()
  hidden <- cell_names[seq(1, 90, 3)]
  peaks[, hidden] <- 0
  fit <- quick_fit(paired_object(peaks), mosaic = TRUE, impute = "none", max.epochs = 1)
  plot <- PlotSCMVPImputation(fit, peak_names[1:2], "peaks")
  expect_identical(nrow(plot$data), 2L * 60L)
  boxes <- PlotSCMVPImputation(fit, peak_names[1], "peaks", group.by = "scmvp_cluster")
  expect_identical(c(table(boxes$data$kind)), c(measured = 60L, imputed = 90L))
})

test_that("a fit of two matrices with cells of one modality is drawn, as the cells of both are", {
  skip_slow()
  skip_without_core()
  genes <- rna_counts()[, 1:60]
  fit <- RunSCMVP(
    genes, atac_counts()[, 21:90],
    mosaic = TRUE, n.clusters = 3, max.epochs = 1, seed.use = 1, verbose = FALSE
  )
  plot <- PlotSCMVPImputation(fit, "Gene1", measured = genes[, 60:1])
  expect_equal(
    sort(plot$data$measured), sort(log1p(genes["Gene1", ] / Matrix::colSums(genes) * 1e4)),
    ignore_attr = TRUE
  )
  boxes <- PlotSCMVPImputation(
    fit, "Gene1",
    measured = genes, group.by = rep(c("a", "b"), c(60, 30))
  )
  groups <- table(boxes$data$kind, boxes$data$group)
  expect_identical(c(groups["measured", ]), c(a = 60L, b = 0L))
  expect_identical(c(groups["imputed", ]), c(a = 60L, b = 30L))
  colnames(genes) <- paste0("other", 1:60)
  expect_refused(
    PlotSCMVPImputation(fit, "Gene1", measured = genes), "90 of 90 names are not in measured"
  )
})

test_that("no name is cut at an edge or by its strip", {
  strip <- function(names, ncol = NULL) {
    features <- factor(names, names)
    panels <- feature_panels(features, "free", ncol)
    unlist(panels$params$labeller(data.frame(feature = names)), use.names = FALSE)
  }
  short <- c("CD4", "HLA-DRA", "chr12-1000000-1000500")
  expect_identical(strip(short), short)
  long <- c(strrep("x", 100), paste(rep("name", 20), collapse = "_"), "chr12-1000000-1000500")
  for (ncol in list(NULL, 1, 3, 9)) {
    shown <- strip(long, ncol)
    expect_identical(gsub("\n", "", shown), long)
    expect_lte(max(nchar(unlist(strsplit(shown, "\n")))), if (identical(ncol, 1)) 72 else 24)
  }
  expect_match(strip(long, 3)[2], "^(name_){4}\n(name_){4}\n")
  groups <- upright_labels(paste("a long name of a group", 1:3))
  expect_identical(groups$axis.text.x$angle, 90)
  expect_null(upright_labels(c("a", "b", NA)))
})

test_that("a number of columns is at least one", {
  wanted <- "ncol must be a whole number of at least 1 or NULL, not"
  time <- seq_len(n_cells)
  for (wrong in list(0, 1.5, "a")) {
    expect_refused(PlotSCMVPImputation(fitted_object(), "Gene1", ncol = wrong), wanted)
    expect_refused(PlotAlongSCMVP(rna_counts(), "Gene1", time, ncol = wrong), wanted)
  }
})
