columns <- c(
  "feature", "group", "reference", "lfc", "lfc_sd", "lfc_low", "lfc_high", "lfc_model",
  "lfc_model_sd", "mean_group", "mean_reference", "detected_group", "detected_reference",
  "prob_de", "log_bayes_factor", "q_value", "is_de"
)

# The three types of block_counts().
typed_object <- function() {
  object <- fitted_object()
  object$type <- factor(paste0("t", rep(1:3, length.out = ncol(object))))
  object
}

test_that("marked genes and peaks are found, with means of the counts", {
  object <- typed_object()
  table <- DifferentialSCMVP(object, group.by = "type", ident.1 = "t2", verbose = FALSE)
  expect_named(table, columns)
  expect_setequal(rownames(table), gene_names)
  marks <- rep(1:3, length.out = length(gene_names)) == 2
  called <- table[gene_names, "is_de"] & table[gene_names, "lfc"] > 0
  expect_gt(mean(called[marks]), 0.8)
  expect_lt(sum(called[!marks]), 3)
  counts <- as.matrix(rna_counts())
  inside <- object$type == "t2"
  expect_equal(
    table[gene_names, "mean_group"],
    unname(1e4 * rowSums(counts[, inside]) / sum(counts[, inside])),
    tolerance = 1e-6
  )
  expect_equal(table[gene_names, "detected_reference"], unname(rowMeans(counts[, !inside] > 0)))

  peaks <- DifferentialSCMVP(
    object, "peaks",
    group.by = "type", ident.1 = "t1", ident.2 = "t3", features = peak_names[1:30], verbose = FALSE
  )
  expect_setequal(peaks$feature, peak_names[1:30])
  expect_gt(mean(peaks[peak_names[c(1, 4, 7, 10)], "lfc"]), 0.5)
  expect_equal(as.character(unique(peaks$reference)), "t3")
})

test_that("features that are higher come first, group after group", {
  object <- typed_object()
  object$type <- factor(object$type, c("t3", "t1", "t2"))
  run <- function(...) {
    DifferentialSCMVP(object, ..., group.by = "type", n.samples = 1, verbose = FALSE)
  }
  table <- run()
  expect_identical(rle(as.character(table$group))$values, levels(object$type))
  expect_identical(levels(table$group), levels(object$type))
  for (part in split(table, table$group)) {
    up <- part$lfc > 0
    expect_identical(up, sort(up, decreasing = TRUE))
    for (side in split(part$prob_de, up)) expect_false(is.unsorted(-side))
  }
  marks <- gene_names[rep(1:3, length.out = length(gene_names)) == 3]
  expect_gt(mean(utils::head(table$feature, 10) %in% marks), 0.8)

  ups <- run(only.pos = TRUE)
  expect_true(all(ups$lfc > 0))
  both <- table[table$lfc > 0 & table$detected_group > 0, ]
  key <- function(x) paste(x$group, x$feature)
  expect_setequal(key(ups), key(both))
  expect_equal(ups$lfc, both$lfc[match(key(ups), key(both))])
  for (part in split(ups, ups$group)) {
    expect_equal(part$q_value, cumsum(1 - part$prob_de) / seq_len(nrow(part)), tolerance = 1e-10)
    expect_identical(part$is_de, part$q_value <= 0.05)
  }
  expect_refused(run(only.pos = "yes"), "only.pos must be TRUE or FALSE, not \"yes\"")
  expect_refused(run(only.pos = NA), "only.pos must be TRUE or FALSE, not NA")
  expect_refused(run(as = "scanpy"), "as must be one of \"data.frame\", \"seurat\"")
})

test_that("groups of numbers come in the order of the numbers", {
  object <- typed_object()
  object$number <- factor(rep(0:10, length.out = ncol(object)), 0:10)
  table <- DifferentialSCMVP(object, group.by = "number", n.samples = 1, verbose = FALSE)
  expect_identical(levels(table$group), as.character(0:10))
  expect_identical(as.character(unique(table$group)), as.character(0:10))
})

test_that("markers in the form of Seurat go where those of FindAllMarkers go", {
  skip_slow()
  skip_if_not_installed("Seurat")
  skip_if_not_installed("dplyr")
  object <- typed_object()
  SeuratObject::Idents(object) <- "type"
  SeuratObject::DefaultAssay(object) <- "RNA"
  object <- Seurat::NormalizeData(object, verbose = FALSE)
  theirs <- suppressWarnings(Seurat::FindAllMarkers(
    object,
    logfc.threshold = 0, min.pct = 0, return.thresh = Inf, verbose = FALSE
  ))
  run <- function(...) {
    DifferentialSCMVP(object, ..., group.by = "ident", n.samples = 1, verbose = FALSE)
  }
  ours <- run(as = "seurat")
  expect_identical(names(ours), names(theirs))
  expect_identical(lapply(ours, class), lapply(theirs, class))
  expect_identical(levels(ours$cluster), levels(theirs$cluster))
  expect_identical(rownames(ours), make.unique(ours$gene))
  same <- match(paste(ours$cluster, ours$gene), paste(theirs$cluster, theirs$gene))
  expect_false(anyNA(same))
  expect_identical(ours$pct.1, theirs$pct.1[same])
  expect_identical(ours$pct.2, theirs$pct.2[same])
  expect_gt(stats::cor(ours$avg_log2FC, theirs$avg_log2FC[same]), 0.95)
  # the called ones of the table, and its numbers
  table <- run()
  called <- table[table$is_de, ]
  expect_identical(ours$gene, called$feature)
  expect_identical(ours$avg_log2FC, called$lfc)
  expect_identical(ours$p_val_adj, called$q_value)
  expect_equal(ours$p_val, 1 - called$prob_de)

  ups <- run(as = "seurat", only.pos = TRUE)
  top <- dplyr::slice_max(dplyr::group_by(ups, cluster), avg_log2FC, n = 3)
  expect_identical(as.character(top$cluster), rep(c("t1", "t2", "t3"), each = 3))
  marks <- split(gene_names, rep(paste0("t", 1:3), length.out = length(gene_names)))
  expect_true(all(mapply(`%in%`, top$gene, marks[as.character(top$cluster)])))
  object <- Seurat::ScaleData(object, features = top$gene, verbose = FALSE)
  expect_no_warning(plot <- Seurat::DoHeatmap(object, features = top$gene))
  expect_s3_class(plot, "ggplot")
})

test_that("one comparison in the form of Seurat is that of FindMarkers", {
  skip_slow()
  skip_if_not_installed("Seurat")
  object <- typed_object()
  SeuratObject::Idents(object) <- "type"
  theirs <- suppressWarnings(Seurat::FindMarkers(
    Seurat::NormalizeData(object, assay = "RNA", verbose = FALSE), "t1", "t3",
    assay = "RNA", logfc.threshold = 0, min.pct = 0, verbose = FALSE
  ))
  run <- function(...) {
    DifferentialSCMVP(object, ..., group.by = "ident", as = "seurat", verbose = FALSE)
  }
  ours <- run(ident.1 = "t1", ident.2 = "t3")
  expect_identical(names(ours), names(theirs))
  expect_setequal(rownames(ours), gene_names)
  expect_identical(ours[rownames(theirs), "pct.1"], theirs$pct.1)
  expect_identical(ours[rownames(theirs), "pct.2"], theirs$pct.2)
  # no group has a call: the columns are there all the same
  none <- run(features = gene_names[1], logfc.threshold = 9)
  expect_identical(dim(none), c(0L, 7L))
  expect_identical(levels(none$cluster), c("t1", "t2", "t3"))
})

test_that("small groups are left out with one warning by either engine", {
  skip_slow()
  object <- typed_object()
  type <- replace(as.character(object$type), c(4, 8), "few")
  inside <- type == "t2"
  for (backend in c("reticulate", "process")) {
    run <- function(group.by, ...) {
      DifferentialSCMVP(
        object,
        group.by = group.by, n.samples = 1, verbose = FALSE, backend = backend, ...
      )
    }
    said <- expect_warning(table <- run(type), class = "scmvp_warning_left_out")
    expect_match(conditionMessage(said), "1 of 4 groups is not tested: 'few' [(]2 cells[)]")
    expect_identical(as.character(unique(table$group)), c("t1", "t2", "t3"))
    # they are among the rest
    means <- stats::setNames(table$detected_reference, table$feature)[table$group == "t2"]
    expect_equal(means[gene_names], rowMeans(as.matrix(rna_counts())[, !inside] > 0))
    expect_refused(run(type, ident.1 = "few"), "'few' has 2 cells")
    one <- rep(c("few", "most"), c(1, ncol(object) - 1))
    expect_refused(run(one), "no group can be tested: .* with group.by[.]$")
  }
})

test_that("both engines give the same table", {
  skip_slow()
  object <- typed_object()
  tables <- lapply(c("reticulate", "process"), function(backend) {
    DifferentialSCMVP(
      object,
      group.by = "type", ident.1 = "t1", backend = backend, verbose = FALSE
    )
  })
  expect_equal(tables[[1]], tables[[2]], tolerance = 1e-5)
})

test_that("groups may be given in any way", {
  skip_slow()
  object <- typed_object()
  run <- function(...) DifferentialSCMVP(object, ..., n.samples = 1, verbose = FALSE)
  numbers <- c("lfc", "q_value", "mean_group", "mean_reference")
  by_label <- run(group.by = "type", ident.1 = c("t1", "t2"))
  SeuratObject::Idents(object) <- "type"
  by_ident <- run(group.by = "ident", ident.1 = c("t1", "t2"), ident.2 = "t3")
  by_cell <- run(ident.1 = colnames(object)[object$type != "t3"])
  expect_equal(by_ident[gene_names, numbers], by_label[gene_names, numbers])
  expect_equal(by_cell[gene_names, numbers], by_label[gene_names, numbers])
  each <- run(group.by = as.character(object$type))
  expect_equal(levels(each$group), c("t1", "t2", "t3"))
  expect_equal(nrow(each), 3 * length(gene_names))
  expect_named(attr(each, "typical_lfc"))
  clusters <- run()
  expect_true(all(levels(clusters$group) %in% levels(object$scmvp_cluster)))
})

test_that("Bioconductor objects and matrices give the table of the Seurat object", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  object <- typed_object()
  truth <- DifferentialSCMVP(object, group.by = "type", ident.1 = "t1", verbose = FALSE)
  numbers <- c("lfc", "q_value", "mean_group", "detected_group")
  sce <- fitted_sce()
  sce$type <- object$type
  table <- DifferentialSCMVP(sce, group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_equal(table[gene_names, numbers], truth[gene_names, numbers], tolerance = 1e-6)
  peaks <- DifferentialSCMVP(sce, "peaks", group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_setequal(peaks$feature, peak_names)

  skip_if_not_installed("MultiAssayExperiment")
  mae <- MultiAssayExperiment::MultiAssayExperiment(list(RNA = rna_counts(), ATAC = atac_counts()))
  mae <- quick_fit(mae)
  by_mae <- DifferentialSCMVP(
    mae, "peaks",
    group.by = as.character(object$type), ident.1 = "t1", verbose = FALSE
  )
  expect_equal(by_mae[peak_names, numbers], peaks[peak_names, numbers], tolerance = 1e-6)

  fit <- fitted_matrices()
  by_matrix <- DifferentialSCMVP(
    fit,
    rna = rna_counts(), peaks = atac_counts(), group.by = object$type, ident.1 = "t1",
    verbose = FALSE
  )
  expect_equal(by_matrix[gene_names, numbers], truth[gene_names, numbers], tolerance = 1e-6)
  beside <- DifferentialSCMVP(
    fit, "peaks",
    peaks = sce_with(atac_counts()), group.by = object$type, ident.1 = "t1", verbose = FALSE
  )
  expect_equal(beside[peak_names, numbers], peaks[peak_names, numbers], tolerance = 1e-6)
  expect_refused(DifferentialSCMVP(fit, group.by = object$type), "give them with rna =")
})

test_that("cells with RNA alone are compared in their genes", {
  skip_slow()
  object <- typed_object()
  query <- object
  query[["ATAC"]] <- NULL
  query <- ProjectSCMVP(object, query, verbose = FALSE)
  table <- DifferentialSCMVP(query, group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_setequal(table$feature, gene_names)
  expect_refused(DifferentialSCMVP(query, "peaks", group.by = "type"), "counts of the peaks")
})

test_that("imputed assays work with FindMarkers", {
  skip_if_not_installed("Seurat")
  object <- typed_object()
  SeuratObject::Idents(object) <- "type"
  markers <- suppressWarnings(
    Seurat::FindMarkers(object, ident.1 = "t1", assay = "scMVP_RNA", verbose = FALSE)
  )
  expect_true(all(rownames(markers) %in% gene_names))
  expect_gt(nrow(markers), 0)
})

test_that("wrong groups are refused", {
  skip_slow()
  object <- typed_object()
  run <- function(...) DifferentialSCMVP(object, ..., verbose = FALSE)
  expect_refused(run(group.by = "nothing"), "no cell metadata 'nothing'")
  expect_refused(run(group.by = "type", ident.1 = "t9"), "no cell has the label 't9'")
  expect_refused(run(group.by = "type", ident.2 = "t1"), "without ident.1")
  object$some <- ifelse(object$type == "t3", NA, as.character(object$type))
  missing <- "contains NA, but cells without a label belong to no group: leave NA out, or give"
  for (ident in list(NA, c("t2", NA))) {
    expect_refused(run(group.by = "some", ident.1 = ident), paste("^ident.1", missing))
    expect_refused(
      run(group.by = "some", ident.1 = "t1", ident.2 = ident), paste("^ident.2", missing)
    )
  }
  expect_refused(run(ident.1 = c(cell_names[1:9], NA)), paste("^ident.1", missing))
  # as it is advised: without NA, or with labels
  shares <- c("feature", "detected_group", "detected_reference")
  in_order <- function(table) table[order(table$feature), shares]
  expect_identical(
    in_order(run(group.by = "some", ident.1 = "t1", ident.2 = "t2")),
    in_order(run(group.by = "type", ident.1 = "t1", ident.2 = "t2"))
  )
  object$some[is.na(object$some)] <- "none"
  expect_equal(
    run(group.by = "some", ident.1 = c("t2", "none"))$lfc,
    run(group.by = "type", ident.1 = c("t2", "t3"))$lfc
  )
  expect_refused(run(group.by = "type", ident.1 = "t1", ident.2 = "t1"), "both name 't1': take")
  expect_refused(run(ident.1 = cell_names[1:9], ident.2 = cell_names[9:20]), "share cells")
  expect_refused(run(ident.1 = cell_names[1:2]), "has 2 cells")
  expect_refused(run(group.by = "type", fdr = 1), "below 1")
  expect_refused(run(group.by = "type", features = "none"), "features")
  expect_refused(run(groupby = "type"), "did you mean group.by")
  expect_refused(DifferentialSCMVP(1), "not an object of class numeric")
})

test_that("R's random stream is left alone", {
  object <- typed_object()
  set.seed(1)
  before <- .Random.seed
  DifferentialSCMVP(object, group.by = "type", ident.1 = "t1", verbose = FALSE)
  expect_identical(.Random.seed, before)
})

test_that("a group may have no name, and cells with NA are in none", {
  skip_without_core()
  object <- fitted_object()
  object$own <- rep_len(c("a", "", "b", NA), n_cells)
  object$named <- ifelse(object$own == "", "none", object$own)
  tables <- lapply(c("own", "named"), function(column) {
    DifferentialSCMVP(object, "rna", group.by = column, verbose = FALSE)
  })
  expect_setequal(tables[[1]]$group, c("a", "", "b"))
  of_a <- lapply(tables, function(table) {
    table <- table[table$group == "a", ]
    table[order(table$feature), c("feature", "detected_group", "detected_reference")]
  })
  expect_equal(of_a[[1]], of_a[[2]], ignore_attr = TRUE)
})

test_that("groups taken together have a name of their own", {
  object <- fitted_object()
  kinds <- rep(c("A", "B", "A+B"), length.out = ncol(object))
  found <- DifferentialSCMVP(
    object, group.by = kinds, ident.1 = c("A", "B"), verbose = FALSE
  )
  both <- ifelse(kinds == "A+B", "rest", "both")
  truth <- DifferentialSCMVP(object, group.by = both, ident.1 = "both", verbose = FALSE)
  expect_equal(found$lfc, truth$lfc)
  expect_identical(unique(as.character(found$group)), "A+B.1")
})

test_that("nothing is said of features that the object has no more, and what is missing is told", {
  skip_slow()
  fit <- fitted_object()
  less <- fit
  kept <- gene_names[1:50]
  less[["RNA"]] <- SeuratObject::CreateAssayObject(layer_data(fit, "RNA", "counts")[kept, ])
  table <- DifferentialSCMVP(less, verbose = FALSE)
  expect_setequal(table$feature, kept)
  expect_refused(
    DifferentialSCMVP(less, features = gene_names[c(1, 60)], verbose = FALSE),
    "is not in model and object \\('Gene60'\\)"
  )
  less <- fit
  less[["ATAC"]] <- NULL
  expect_message(
    DifferentialSCMVP(less, verbose = FALSE),
    "lfc_model uses the latent from .*RNA alone, because the other counts are not in the object"
  )
  of_rna <- ProjectSCMVP(fit, fit, modality = "rna", reduction.name = "ofrna", verbose = FALSE)
  expect_message(
    DifferentialSCMVP(of_rna, reduction = "ofrna", verbose = FALSE),
    "RNA alone, because reduction 'ofrna' was embedded without the other counts"
  )
})

test_that("it is said which groups are compared, in quotes", {
  groups <- list(labels = c("0", "1", "1"), group1 = list("0"), group2 = list("1"))
  expect_message(tell_groups(groups, "rna", 5), "^comparing '0' with '1': 5 genes")
  groups$group2 <- list(c("1", "2"))
  expect_message(tell_groups(groups, "rna", 5), "'0' with '1' [+] '2': 5 genes")
  groups$group2 <- NULL
  expect_message(tell_groups(groups, "peaks", 1), "'0' with the rest: 1 peak")
  groups$group1 <- NULL
  expect_message(tell_groups(groups, "rna", 5), "comparing 2 groups in turn: 5 genes")
})
