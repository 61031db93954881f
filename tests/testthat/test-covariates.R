# Batches, and cells of one modality, from every front door.

batched_object <- function() {
  object <- paired_object()
  object$donor <- rep(c("a", "b"), each = n_cells / 2)
  object
}

test_that("batches are columns of the metadata, and the model knows them", {
  skip_slow()
  skip_without_core()
  object <- batched_object()
  fitted <- quick_fit(object, batch = "donor")
  expect_identical(results_of(fitted)$options$batch, "donor")
  plain <- quick_fit(object)
  expect_false(isTRUE(all.equal(latent_of(fitted), latent_of(plain))))

  one <- ImputeSCMVP(fitted, "rna", gene_names[1:5], batch = "a", as = "matrix")
  named <- ImputeSCMVP(fitted, "rna", gene_names[1:5], batch = c(donor = "a"), as = "matrix")
  average <- ImputeSCMVP(fitted, "rna", gene_names[1:5], as = "matrix")
  expect_identical(one, named)
  expect_false(isTRUE(all.equal(one, average)))
  expect_error(
    ImputeSCMVP(fitted, "rna", gene_names[1:5], batch = "c", as = "matrix"),
    "has no level 'c'", class = "scmvp_error_input"
  )
  expect_error(
    ImputeSCMVP(plain, "rna", gene_names[1:5], batch = "a", as = "matrix"),
    "without batches", class = "scmvp_error_input"
  )

  # its own cells come back where they were, and a query must say its batches
  again <- ProjectSCMVP(fitted, object, reduction.name = "again", verbose = FALSE)
  expect_equal(unname(latent_of(again, "again")), unname(latent_of(fitted)), tolerance = 1e-4)
  expect_error(
    ProjectSCMVP(fitted, paired_object(), verbose = FALSE), "donor",
    class = "scmvp_error_input"
  )
})

test_that("the worker is told the same batches", {
  skip_slow()
  skip_without_core()
  object <- batched_object()
  inside <- quick_fit(object, batch = "donor")
  beside <- quick_fit(object, batch = "donor", backend = "process")
  expect_equal(latent_of(beside), latent_of(inside), tolerance = 1e-4)
  expect_equal(
    ImputeSCMVP(beside, "rna", gene_names[1:3], batch = "b", as = "matrix", backend = "process"),
    ImputeSCMVP(inside, "rna", gene_names[1:3], batch = "b", as = "matrix"),
    tolerance = 1e-3
  )
})

test_that("matrices and experiments take batches, too", {
  skip_slow()
  skip_without_core()
  donor <- rep(c("a", "b"), each = n_cells / 2)
  seurat <- quick_fit(batched_object(), batch = "donor")
  by_order <- quick_fit(rna_counts(), atac_counts(), batch = data.frame(donor = donor))
  expect_equal(unname(by_order$latent), unname(latent_of(seurat)), tolerance = 1e-4)
  shuffled <- sample(n_cells)
  by_name <- quick_fit(
    rna_counts(), atac_counts(),
    batch = data.frame(donor = donor, row.names = cell_names)[shuffled, , drop = FALSE]
  )
  expect_identical(by_name$latent, by_order$latent)
  projected <- ProjectSCMVP(by_order, rna_counts(), atac_counts(), batch = donor, verbose = FALSE)
  expect_equal(projected$latent, by_order$latent, tolerance = 1e-4)
  expect_error(
    ProjectSCMVP(by_order, rna_counts(), atac_counts(), verbose = FALSE), "fitted with batches",
    class = "scmvp_error_input"
  )
  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_with(
    rna_counts(),
    colData = data.frame(donor = donor, row.names = cell_names),
    altExps = list(peaks = sce_with(atac_counts()))
  )
  sce <- quick_fit(sce, batch = "donor")
  expect_equal(
    unname(SingleCellExperiment::reducedDim(sce, "scmvp")), unname(latent_of(seurat)),
    tolerance = 1e-4
  )
})

test_that("what is no batch is refused before anything is computed", {
  skip_slow()
  object <- batched_object()
  object$depth <- NA
  object$depth[3] <- 1
  refused <- function(...) expect_error(quick_fit(object, ...), class = "scmvp_error_input")
  expect_match(conditionMessage(refused(batch = "doner")), "doner")
  expect_match(conditionMessage(refused(batch = 2)), "name of a column")
  expect_match(conditionMessage(refused(batch = "depth")), "89 cells have no value in 'depth'")
  expect_error(
    quick_fit(rna_counts(), atac_counts(), batch = c("a", "b")), "batch has no value for 90 cells",
    class = "scmvp_error_input"
  )
  of_matrices <- function(batch) quick_fit(rna_counts(), atac_counts(), batch = batch)
  for (odd in list(list(donor = 1:90), mean, matrix(1:90))) {
    expect_refused(of_matrices(odd), "batch must be a vector or factor with one value per cell")
  }
  values <- rep(c("a", "b"), 45)
  of_names <- function(names) of_matrices(stats::setNames(values, names))
  expect_refused(of_names(rep("cell1", 90)), "some cells twice \\('cell1'\\)")
  expect_refused(of_names(c(NA, cell_names[-1])), "some names of batch are missing")
  skip_without_core()
  object$lane <- "one"
  expect_match(conditionMessage(refused(batch = "lane")), "all cells have 'one'")
})

test_that("cells of one modality are embedded, and the other is imputed", {
  skip_slow()
  skip_without_core()
  rna <- rna_counts()[, 1:75]
  peaks <- atac_counts()[, c(90:30, 20:1)]
  expect_error(quick_fit(rna, peaks), "mosaic = TRUE", class = "scmvp_error_input")
  fit <- quick_fit(rna, peaks, mosaic = TRUE)
  cells <- c(colnames(rna), setdiff(colnames(peaks), colnames(rna)))
  expect_identical(rownames(fit$latent), cells)
  imputed <- ImputeSCMVP(fit, "rna", gene_names[1:3], cells = "cell90")
  expect_identical(dim(imputed), c(3L, 1L))

  # the same in a Seurat object whose assays have zeros there
  object <- SeuratObject::CreateSeuratObject(cells_or_empty(rna, cells), assay = "RNA")
  object[["ATAC"]] <- SeuratObject::CreateAssayObject(cells_or_empty(peaks, cells))
  expect_equal(unname(latent_of(quick_fit(object))), unname(fit$latent), tolerance = 1e-4)
})

test_that("an assay of Seurat 5 may lack cells", {
  skip_without_core()
  skip_if(utils::packageVersion("SeuratObject") < "5.0.0", "Seurat 4 has no such assays")
  object <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  object[["ATAC"]] <- SeuratObject::CreateAssay5Object(atac_counts()[, 1:70])
  expect_error(quick_fit(object), "mosaic = TRUE", class = "scmvp_error_input")
  expect_identical(nrow(latent_of(quick_fit(object, mosaic = TRUE))), 90L)
})

test_that("differential tests know of batches and of cells of one modality", {
  skip_slow()
  skip_without_core()
  fit <- quick_fit(
    rna_counts()[, 1:75], atac_counts()[, 20:90],
    mosaic = TRUE, batch = stats::setNames(rep(c("a", "b"), each = 45), cell_names)
  )
  type <- stats::setNames(rep(c("one", "two", "three"), length.out = n_cells), cell_names)
  groups <- unname(type[rownames(fit$latent)])
  compare <- function(groups, ...) {
    DifferentialSCMVP(
      fit, "rna",
      rna = rna_counts()[, 1:75], peaks = atac_counts()[, 20:90], group.by = groups, ...,
      verbose = FALSE
    )
  }
  found <- compare(groups, ident.1 = "one", ident.2 = "two")
  # a group that is a batch cannot be told from it
  expect_refused(
    compare(unname(fit$batch[rownames(fit$latent), 1]), ident.1 = "a"), "no batch has 3 cells"
  )
  # every third gene marks a type, and the cells without RNA are no zeros
  marks <- gene_names[rep(1:3, length.out = length(gene_names)) == 1]
  expect_setequal(utils::head(found$feature[found$lfc > 0], 10), intersect(
    utils::head(found$feature[found$lfc > 0], 10), marks
  ))
})

test_that("a batch that is named twice is one", {
  table <- data.frame(lane = c("A", "B"), donor = c("x", "y"), row.names = c("c1", "c2"))
  found <- batch_columns(c("lane", "donor", "lane"), c("c2", "c1"), table, "the metadata")
  expect_identical(names(found), c("lane", "donor"))
  expect_identical(found$lane, c("B", "A"))
})

test_that("values of batches have the names that the core gives them", {
  expect_identical(
    level_names(c(1, 1e5, 1e15, 0.1 + 0.2, -0, 2.5, NA)),
    c("1", "100000", "1000000000000000", "0.3", "0", "2.5", NA)
  )
  expect_identical(level_names(factor(c("b", NA))), c("b", NA))
  expect_identical(level_names(2L), "2")
  expect_identical(level_names(as.Date("2024-05-01")), "2024-05-01")
  midnights <- as.POSIXct(c("2024-05-01", "2024-05-02"), tz = "UTC")
  expect_identical(level_names(midnights), c("2024-05-01", "2024-05-02"))
})

test_that("a tibble of batches is one without a warning", {
  skip_if_not_installed("tibble")
  values <- data.frame(lane = c(2, 1, 2), "my donor" = c("a", "b", "a"), check.names = FALSE)
  cells <- paste0("c", 1:3)
  expect_no_warning(found <- batch_columns(tibble::as_tibble(values), cells))
  expect_identical(found, batch_columns(data.frame(values, row.names = cells, check.names = FALSE),
    cells))
})

test_that("groups of numbers have these names in every function", {
  skip_slow()
  skip_without_core()
  object <- fitted_object()
  object$seconds <- rep(c(24, 1e5), length.out = n_cells)
  object$donor <- rep(c("a", "b", "c"), length.out = n_cells)
  named <- c("24", "100000")
  test <- function(...) {
    DifferentialSCMVP(object, group.by = "seconds", n.samples = 1, verbose = FALSE, ...)
  }
  expect_identical(levels(test()$group), named)
  expect_identical(test(ident.1 = 1e5, ident.2 = 24), test(ident.1 = "100000", ident.2 = "24"))
  expect_identical(as.character(unique(test(ident.1 = 1e5)$group)), "100000")
  means <- ImputeSCMVP(object, "rna", gene_names[1:2], by = "seconds", as = "matrix")
  expect_identical(colnames(means), named)
  labelled <- TransferLabelsSCMVP(object, object, labels = "seconds")
  expect_identical(levels(labelled$scmvp_transfer_label), c(named, "unassigned"))
  sums <- PseudobulkSCMVP(object, "donor", group.by = "seconds", verbose = FALSE)
  expect_identical(levels(sums$samples$group), named)
  place <- data.frame(gene = "Gene1", chr = "chr1", start = 1500, end = 9000, strand = "+")
  links <- suppressWarnings(
    LinkPeaksSCMVP(object, place, group.by = "seconds", fdr = NULL, verbose = FALSE)
  )
  expect_identical(levels(links$group), named)
  # in the order of the core, whatever the language of the system is
  expect_identical(levels(groups_of(c("b", "A", "a"), 1:3, data.frame())), c("A", "a", "b"))
})

test_that("a model fitted in R knows the batches of the same object on the command line", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  object$lane <- rep(c(1, 100000), length.out = n_cells)
  object$treated <- rep(c(TRUE, FALSE), each = n_cells / 2)
  object$plate <- factor(rep(c(100000, 2), each = n_cells / 2)) # its level is "1e+05"
  fitted <- quick_fit(object, batch = c("lane", "treated", "plate"))
  folder <- tempfile("batches-")
  dir.create(folder)
  on.exit(unlink(folder, recursive = TRUE))
  saveRDS(object, file.path(folder, "object.rds"))
  SaveSCMVP(fitted, file.path(folder, "model"))
  lines <- run_python(c(
    "-m", "scmvp", "embed", file.path(folder, "model"), file.path(folder, "object.rds"),
    "--out", file.path(folder, "latent.csv")
  ))
  expect_length(grep("batches that the model has not seen", lines), 0)
  there <- utils::read.csv(file.path(folder, "latent.csv"), row.names = 1)
  expect_equal(
    unname(as.matrix(there[colnames(object), ])), unname(latent_of(fitted)), tolerance = 1e-4
  )
  # a level as R has it
  one <- function(...) ImputeSCMVP(fitted, "rna", gene_names[1:3], batch = c(...), as = "matrix")
  expect_identical(one(treated = TRUE), one(treated = "True"))
  expect_identical(one(lane = 1e5), one(lane = "100000"))
})
