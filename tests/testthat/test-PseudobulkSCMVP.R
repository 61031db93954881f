# Sums of counts, against sums made one by one.

sums_by_hand <- function(counts, group, sample) {
  unlist(lapply(sort(unique(stats::na.omit(group))), function(g) {
    lapply(sort(unique(sample[which(group == g)])), function(s) {
      rowSums(as.matrix(counts)[, which(group == g & sample == s), drop = FALSE])
    })
  }), recursive = FALSE)
}

test_that("sums are those of the cells of a sample in a group", {
  made <- donor_cells()
  group <- made$cells$type
  group[1:25] <- NA
  sums <- PseudobulkSCMVP(
    made$counts, sample = made$cells$donor, group.by = group, min.cells = 1, verbose = FALSE
  )
  expect_s4_class(sums$counts, "dgCMatrix")
  by_hand <- do.call(cbind, sums_by_hand(made$counts, group, made$cells$donor))
  expect_equal(unname(as.matrix(sums$counts)), unname(by_hand))
  expect_identical(rownames(sums$counts), rownames(made$counts))
  expect_identical(rownames(sums$samples), colnames(sums$counts))
  expect_identical(
    as.character(sums$samples$group), rep(c("B", "T"), each = 8)
  )
  size <- as.vector(t(table(group, made$cells$donor)))
  expect_identical(sums$samples$n_cells, as.integer(size))

  # values with names are those of these cells, in whatever order they come
  mixed <- with_seed(3, sample(nrow(made$cells)))
  named <- stats::setNames(made$cells$donor, rownames(made$cells))[mixed]
  again <- PseudobulkSCMVP(made$counts, named, group, min.cells = 1, verbose = FALSE)
  expect_identical(again, sums)
})

test_that("small sums and cells without counts are left out, and how many is said", {
  made <- donor_cells()
  size <- table(made$cells$type, made$cells$donor)
  limit <- stats::median(size)
  empty <- which(made$cells$type == "T" & made$cells$donor == "d1")
  made$counts[, empty] <- 0
  said <- all_said(sums <- PseudobulkSCMVP(
    donor_object(made), "donor", "type",
    min.cells = limit
  ))
  size["T", "d1"] <- 0
  expect_identical(nrow(sums$samples), sum(size >= limit))
  expect_true(all(sums$samples$n_cells >= limit))
  left <- size > 0 & size < limit
  expect_match(said, paste0(
    "left out: ", sum(left), " with fewer than min.cells = ", limit, " cells [(]", sum(size[left]),
    " cells[)]"
  ))
})

test_that("columns that are the same in a sample come along", {
  made <- donor_cells()
  made$cells$sex <- ifelse(made$cells$donor %in% c("d1", "d2", "d5"), "f", NA)
  made$cells$group <- made$cells$condition
  sums <- PseudobulkSCMVP(donor_object(made), "donor", "type", verbose = FALSE)
  expect_identical(
    sums$samples$sex, ifelse(sums$samples$sample %in% c("d1", "d2", "d5"), "f", NA)
  )
  expect_identical(
    sums$samples$group.1, ifelse(as.integer(sums$samples$sample) %% 2 == 0, "treated", "control")
  )
  expect_false(any(c("type", "nCount_RNA") %in% names(sums$samples)))
})

test_that("every kind of object gives the sums of its matrices, of genes and of peaks", {
  skip_slow()
  made <- donor_cells()
  peaks <- as_peaks(made$counts)
  turned <- peaks[, rev(colnames(peaks))]
  sums <- function(...) PseudobulkSCMVP(..., verbose = FALSE)
  genes <- sums(made$counts, made$cells$donor, made$cells$type)$counts
  expect_same <- function(object, ...) {
    # Seurat has the groups in the order of its levels
    expect_identical(sums(object, ...)$counts[, colnames(genes)], genes)
    of_peaks <- sums(object, ..., modality = "peaks")$counts[, colnames(genes)]
    expect_identical(of_peaks@x, genes@x)
    expect_identical(rownames(of_peaks), rownames(peaks))
  }
  object <- donor_object(made, turned)
  expect_same(object, "donor", "type")
  SeuratObject::Idents(object) <- "type"
  expect_same(object, "donor", "ident")
  object$ident <- "a column of this name"
  expect_same(object, "donor", "ident")

  skip_if_not_installed("SingleCellExperiment")
  # Bioconductor warns of cells in another order
  sce <- suppressWarnings(
    sce_with(made$counts, altExps = list(peaks = sce_with(turned)), colData = made$cells)
  )
  expect_same(sce, "donor", "type")
  skip_if_not_installed("MultiAssayExperiment")
  mae <- MultiAssayExperiment::MultiAssayExperiment(
    list(rna = made$counts, atac = turned),
    colData = methods::as(made$cells, "DataFrame")
  )
  expect_same(mae, "donor", "type")
})

for (name in names(object_cases)) local({
  kind <- name
  test_that(paste("sums of", kind), {
    skip_without_case(kind)
    made <- object_cases[[kind]]$make()
    skip_if(is.character(made$object), "a path is read first")
    donor <- stats::setNames(rep_len(c("a", "b", "c"), n_cells), cell_names)
    group <- stats::setNames(rep(c("x", "y"), each = n_cells / 2), cell_names)
    for (modality in c("rna", "peaks")) {
      given <- list(modality = modality)
      object <- made$object
      if (is_matrix_like(object)) {
        # each by itself, under the cells it has
        given <- list()
        if (modality == "peaks") object <- made$arguments$peaks
      } else if (modality == "peaks" && !is.null(made$arguments$peaks)) {
        object <- made$arguments$peaks
      }
      sums <- do.call(PseudobulkSCMVP, c(
        list(object, sample = donor, group.by = group, verbose = FALSE), given
      ))
      truth <- do.call(cbind, sums_by_hand(made[[modality]], group, donor))
      expect_equal(unname(as.matrix(sums$counts)), unname(truth))
      expect_identical(rownames(sums$counts), rownames(made[[modality]]))
    }
  })
})

test_that("the sums of Python are these", {
  skip_without_core()
  made <- donor_cells()
  made$cells$number <- 100000 * as.integer(factor(made$cells$donor))
  mdata <- to_mudata(made$counts, as_peaks(made$counts))
  for (name in names(made$cells)) {
    reticulate::py_set_item(mdata$obs, name, as.array(made$cells[[name]]))
  }
  theirs <- core("tools.pseudobulk")$pseudobulk(mdata, "number", "type", min_cells = 14L)
  ours <- PseudobulkSCMVP(donor_object(made), "number", "type", min.cells = 14, verbose = FALSE)
  values <- from_python(theirs$X$toarray())
  expect_equal(unname(t(as.matrix(ours$counts))), unname(values))
  expect_identical(colnames(ours$counts), unlist(from_python(theirs$obs_names$tolist())))
  table <- data_frame_of(theirs$obs)
  expect_identical(as.character(ours$samples$sample), as.character(table$sample))
  expect_identical(ours$samples$n_cells, as.integer(table$n_cells))
  expect_identical(ours$samples$condition, as.character(table$condition))
})

test_that("what cannot be summed is refused", {
  made <- donor_cells()
  object <- donor_object(made)
  sums <- function(...) PseudobulkSCMVP(object, ..., verbose = FALSE)
  expect_refused(sums("donor"), "no cell metadata 'scmvp_cluster'")
  expect_refused(sums(group.by = "type"), "sample must be .*, not NULL")
  expect_refused(sums("donour", "type"), "sample: the object has no cell metadata 'donour'")
  expect_refused(sums("donor", "type", modality = "peaks"), "no peak assay")
  expect_refused(sums("donor", "type", min.cells = 0), "min.cells must be")
  expect_refused(sums("donor", "type", experiment = "RNA"), "experiment is not for a Seurat")
  expect_refused(sums("donor", "type", donor = 1), "unknown argument 'donor'")
  expect_refused(PseudobulkSCMVP(list(1), "donor", "type"), "not class list")
  expect_refused(
    PseudobulkSCMVP(made$counts, made$cells$donor, made$cells$type, modality = "rna"),
    "modality is for an object"
  )
  expect_refused(
    PseudobulkSCMVP(unname(as.matrix(made$counts)), made$cells$donor, made$cells$type),
    "needs row names"
  )
  half <- made$counts / 2
  expect_refused(PseudobulkSCMVP(half, made$cells$donor, made$cells$type), "not whole numbers")
  half@x[1] <- NaN
  expect_refused(PseudobulkSCMVP(half, made$cells$donor, made$cells$type), "not whole numbers")
  object$lacking <- replace(object$donor, 1:3, NA)
  expect_refused(
    sums("lacking", "type"), "sample has no value for 3 cells [(]'cell1', 'cell2', 'cell3'[)]"
  )
})

test_that("imputed values are no counts", {
  object <- quick_fit_all()
  object$donor <- rep_len(c("a", "b"), ncol(object))
  expect_refused(
    PseudobulkSCMVP(object, "donor", assay = "scMVP_RNA"), "'scMVP_RNA' .*has no counts"
  )
  sums <- PseudobulkSCMVP(object, "donor", min.cells = 1, verbose = FALSE)
  expect_equal(sum(sums$counts), sum(rna_counts()))
})
