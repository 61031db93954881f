# Labels carried over, against the Python core.

transfer_centres <- rbind(a = c(0, 0, 0), b = c(2.5, 0, 0), c = c(0, 6, 0))

transfer_cells <- function(n, seed) {
  with_seed(seed, {
    which <- sample(3, n, replace = TRUE, prob = c(0.5, 0.3, 0.2))
    points <- transfer_centres[which, ] + stats::rnorm(3 * n)
    dimnames(points) <- list(paste0("s", seed, "cell", seq_len(n)), paste0("scMVP_", 1:3))
    list(points = points, label = rownames(transfer_centres)[which])
  })
}

test_that("the table is Python's, with labels in the order of their levels", {
  skip_slow()
  skip_without_core()
  known <- transfer_cells(400, 1)
  asked <- transfer_cells(60, 2)
  asked$points[1:5, ] <- asked$points[1:5, ] + 9
  label <- factor(known$label, c("c", "a", "b"))
  table <- TransferLabelsSCMVP(known$points, asked$points, labels = label)
  wanted <- table_of(core()$transfer_labels(known$points, as.list(known$label), asked$points))
  expect_named(table, c(
    "label", "confidence", "p_value", "best_label", paste0("probability_", levels(label))
  ))
  expect_identical(rownames(table), rownames(asked$points))
  expect_identical(levels(table$label), c(levels(label), "unassigned"))
  expect_identical(levels(table$best_label), levels(label))
  wanted[c("label", "best_label")] <- lapply(wanted[c("label", "best_label")], as.character)
  found <- table
  found[c("label", "best_label")] <- lapply(found[c("label", "best_label")], as.character)
  expect_setequal(names(found), names(wanted))
  expect_equal(found[names(wanted)], wanted, ignore_attr = "row.names")
  expect_setequal(found$label, c("a", "b", "c", "unassigned"))
  few <- transfer_cells(90, 3)
  expect_message(
    TransferLabelsSCMVP(few$points, asked$points, labels = few$label),
    "90 labeled cells .* give an unassigned[.]below that is larger"
  )
})

transfer_object <- function(cells, label = NULL) {
  counts <- matrix(1, 2, nrow(cells$points))
  dimnames(counts) <- list(c("g1", "g2"), rownames(cells$points))
  object <- SeuratObject::CreateSeuratObject(methods::as(counts, "CsparseMatrix"))
  object[["scmvp"]] <- SeuratObject::CreateDimReducObject(
    embeddings = cells$points, key = "scMVP_", assay = "RNA"
  )
  if (!is.null(label)) object$type <- label
  object
}

test_that("Seurat objects and SingleCellExperiments, cells without a label, another latent", {
  skip_slow()
  known <- transfer_cells(300, 1)
  asked <- transfer_cells(50, 2)
  label <- replace(known$label, 1:100, NA)
  reference <- transfer_object(known, label)
  query <- TransferLabelsSCMVP(reference, transfer_object(asked), labels = "type")
  table <- TransferLabelsSCMVP(
    known$points[-(1:100), ], asked$points,
    labels = known$label[-(1:100)]
  )
  expect_equal(unname(query$scmvp_transfer_confidence), table$confidence)
  expect_identical(as.character(query$scmvp_transfer_label), as.character(table$label))
  noisy <- known$points + with_seed(9, stats::rnorm(900, sd = 1.5))
  told <- TransferLabelsSCMVP(
    reference, asked$points + with_seed(8, stats::rnorm(150, sd = 1.5)),
    labels = "type", calibration = noisy
  )
  expect_lt(mean(told$label == "unassigned"), 0.1)
  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_with(
    matrix(1, 2, 50, dimnames = list(c("g1", "g2"), rownames(asked$points))),
    reducedDims = list(scmvp = asked$points)
  )
  sce <- TransferLabelsSCMVP(reference, sce, labels = "type")
  expect_equal(sce$scmvp_transfer_confidence, table$confidence)
})

test_that("after ProjectSCMVP(), with RNA alone; latents of two models are refused", {
  skip_slow()
  reference <- fitted_object()
  reference$type <- rep(c("one", "two", "three"), length.out = n_cells)
  query <- reference
  query[["scmvp"]] <- NULL
  SeuratObject::DefaultAssay(query) <- "RNA"
  query[["ATAC"]] <- NULL
  query <- ProjectSCMVP(reference, query, verbose = FALSE)
  query <- TransferLabelsSCMVP(reference, query, labels = "type")
  expect_true(all(query$scmvp_transfer_confidence > 0 & query$scmvp_transfer_confidence <= 1))
  other <- quick_fit(paired_object(), seed.use = 5)
  expect_refused(TransferLabelsSCMVP(reference, other, labels = "type"), "different models")
})

test_that("what cannot be transferred is refused", {
  known <- transfer_cells(100, 1)
  z <- known$points
  expect_refused(TransferLabelsSCMVP(z, z[, 1:2], labels = known$label), "3 dimensions.*2")
  expect_refused(TransferLabelsSCMVP(z, z, labels = known$label[1:9]), "one value per cell")
  expect_refused(TransferLabelsSCMVP(z, z, labels = rep("a", 100)), "nothing to distinguish")
  expect_refused(TransferLabelsSCMVP(z[1:19, ], z, labels = known$label[1:19]), "19 labeled")
  strange <- sub("a", "unassigned", known$label)
  expect_refused(TransferLabelsSCMVP(z, z, labels = strange), "'unassigned'")
  expect_refused(
    TransferLabelsSCMVP(z, z, labels = known$label, calibration = z[1:5, ]), "calibration"
  )
  expect_refused(TransferLabelsSCMVP(z, z, labels = known$label, unassigned.below = 1), "below 1")
  expect_refused(TransferLabelsSCMVP(z, z * NA, labels = known$label), "not finite")
  expect_refused(TransferLabelsSCMVP(z, z, labels = known$label, label = 1), "unknown argument")
})

test_that("the latent of another model does not calibrate", {
  skip_slow()
  object <- fitted_object()
  object$kind <- rep(c("a", "b", "c"), length.out = ncol(object))
  both <- quick_fit(object, reduction.name = "other", impute = "none", max.epochs = 1)
  transfer <- function(...) TransferLabelsSCMVP(both, object, "kind", ...)
  expect_refused(transfer(calibration = "other"), "is the latent of another model than reduction")
  expect_s4_class(transfer(calibration = "scmvp"), "Seurat")
})
