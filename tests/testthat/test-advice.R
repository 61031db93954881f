# What a message tells to do can be done as it is written. Here the advice is followed, literally
# where it is code; the table of all messages and of the tests that follow them is advice.R.

fit_pair <- function(...) RunSCMVP(..., n.clusters = 3, max.epochs = 1, verbose = FALSE)

# ---- of all messages -----------------------------------------------------------------------------

test_that("an argument that a message writes is one of a function that can say it", {
  skip_slow()
  # columns of an example, and arguments of other functions, where they stand in a call of these
  of_others <- list(
    donor = NULL, lane = NULL,
    merge.dr = getFromNamespace("merge.Seurat", "SeuratObject"),
    cells = getFromNamespace("subset.Seurat", "SeuratObject"),
    sep = if (requireNamespace("Signac", quietly = TRUE)) Signac::CreateChromatinAssay,
    row.names = data.frame, check.names = data.frame,
    protein.assay = RunSCMVP, protein.experiment = RunSCMVP, modalities = NULL,
    model.reduction = ProjectSCMVP, reduction.name = ProjectSCMVP
  )
  for (name in names(of_others)) {
    if (!is.null(of_others[[name]])) expect_true(name %in% names(formals(of_others[[name]])))
  }
  ways <- ways_to()
  functions <- own_functions()
  texts <- rbind(package_messages()[c("place", "text")], package_texts())
  wrong <- unlist(lapply(seq_len(nrow(texts)), function(i) {
    doors <- functions[ways[[texts$place[i]]]]
    known <- unlist(lapply(doors, function(f) names(formals(f))))
    unknown <- setdiff(written_arguments(texts$text[i]), c(known, names(of_others)))
    if (length(unknown) > 0) paste(unknown, "in:", texts$text[i])
  }))
  expect_identical(wrong, NULL)
})

test_that("a function that a message names is there", {
  skip_slow()
  named <- unique(unlist(lapply(package_messages()$text, written_functions)))
  known <- vapply(named, known_function, logical(1))
  expect_identical(named[known %in% FALSE], character())
  expect_gt(sum(known %in% TRUE), 15)
})

test_that("a refusal is a sentence, in R's words", {
  messages <- package_messages()
  spoken <- messages$text[messages$says %in% c("refuse", "warn_of")]
  expect_identical(grep("([.?}]|[.][|}]+)$", spoken, value = TRUE, invert = TRUE), character())
  python <- "_layer|\\badata\\b|mdata|mosaic=|obs_names|var_names|\\bNone\\b|\\bTrue\\b|\\bFalse\\b"
  expect_identical(grep(python, messages$text, value = TRUE), character())
})

test_that("a make command that a message gives is in the Makefile", {
  skip_slow()
  makefile <- testthat::test_path("..", "..", "Makefile")
  skip_if_not(file.exists(makefile), "the Makefile is not at hand")
  targets <- sub(":.*", "", grep("^[a-z0-9-]+:", readLines(makefile), value = TRUE))
  texts <- c(package_messages()$text, package_texts()$text)
  given <- unlist(regmatches(texts, gregexpr("[`'\"]make [a-z0-9-]+", texts)))
  expect_identical(setdiff(sub("^.make ", "", given), targets), character())
})

test_that("every message has a test that follows it, or a reason why none need", {
  registry <- source(testthat::test_path("advice.R"), local = TRUE)$value
  messages <- unique(package_messages()$text)
  # a part of one message; one that is a whole message means this alone
  fits <- vapply(names(registry), function(part) {
    if (part %in% messages) messages == part else grepl(part, messages, fixed = TRUE)
  }, logical(length(messages)))
  expect_identical(messages[rowSums(fits) == 0], character())
  expect_identical(names(registry)[colSums(fits) == 0], character())
  expect_identical(messages[rowSums(fits) > 1], character())
  expect_identical(names(registry)[colSums(fits) > 1], character())
  named <- grep("^test-", unname(registry), value = TRUE)
  expect_identical(setdiff(named, test_names()), character())
})

# ---- cells and matrices --------------------------------------------------------------------------

test_that("shared cells, or all of them with mosaic = TRUE", {
  skip_slow()
  skip_without_core()
  rna <- rna_counts()[, -(1:9)]
  atac <- atac_counts()
  said <- refusal(fit_pair(rna, atac))
  expect_match(said, "keep the 81 shared cells in both, or use all cells with mosaic = TRUE.")
  shared <- intersect(colnames(rna), colnames(atac))
  fit <- fit_pair(rna[, shared], atac[, shared])
  expect_identical(rownames(fit$latent), shared)
  expect_setequal(rownames(fit_pair(rna, atac, mosaic = TRUE)$latent), colnames(atac))

  # of those that have no such argument only the first is told
  said <- refusal(ProjectSCMVP(fit, rna, atac, verbose = FALSE))
  expect_match(said, "keep the 81 shared cells in both.$")
  query <- ProjectSCMVP(fit, rna[, shared], atac[, shared], verbose = FALSE)
  expect_identical(rownames(query$latent), shared)
  coords <- data.frame(gene = gene_names, chr = "chr1", start = 1500, end = 9000, strand = "+")
  link <- function(cells) {
    LinkPeaksLASSO(
      rna, atac[, cells], gene.coords = coords, genes = "Gene1", n.permutations = 0,
      verbose = FALSE
    )
  }
  expect_match(refusal(link(colnames(atac))), "keep the 81 shared cells in both.$")
  expect_s3_class(link(shared), "data.frame")
})

test_that("matrices of cells x features are turned by the function that is named", {
  skip_slow()
  skip_without_core()
  turned <- list(cells_first(rna_counts()), cells_first(atac_counts()))
  said <- refusal(fit_pair(turned[[1]], turned[[2]]))
  turn <- eval(code_in(said, "Matrix::t(?=[(][)])"))
  expect_identical(
    fit_pair(turn(turned[[1]]), turn(turned[[2]]))$latent,
    fit_pair(rna_counts(), atac_counts())$latent
  )
})

test_that("repeated names are told apart as it is said, each kind in its own way", {
  skip_slow()
  skip_without_core()
  rna <- rna_counts()
  rownames(rna)[2] <- "Gene1"
  name_apart <- eval(code_in(refusal(fit_pair(rna, atac_counts())), "make[.]unique(?=[(][)])"))
  rownames(rna) <- name_apart(rownames(rna))
  expect_s3_class(fit_pair(rna, atac_counts()), "scMVPFit")

  # a range with a number behind it would be none
  x <- atac_counts()
  rownames(x)[2] <- rownames(x)[1]
  said <- refusal(fit_pair(rna, x))
  once <- eval(code_in(said, "x\\[!duplicated.*, \\]"))
  expect_identical(rownames(once), peak_names[-2])
  expect_s3_class(fit_pair(rna, once), "scMVPFit")
  expect_match(refusal(check_nonnegative(x)), "keep each range once")
  expect_silent(ranges_table(NULL, rownames(check_nonnegative(once))))

  two <- cbind(rna[, 1:50], rna[, 1:50])
  said <- refusal(fit_pair(two, cbind(once[, 50:1], once[, 1:50])))
  expect_match(said, "a name of its own, e.g. with its sample in front")
  front <- function(order) paste0(rep(c("a_", "b_"), each = 50), cell_names[c(order, 1:50)])
  colnames(two) <- front(1:50)
  peaks <- cbind(once[, 50:1], once[, 1:50])
  colnames(peaks) <- front(50:1)
  in_order <- check_matrices(list(rna = two, peaks = peaks))$peaks
  expect_identical(colnames(in_order), colnames(two))
  expect_equal(
    as.matrix(in_order)[, "a_cell7"], as.matrix(once)[, "cell7"]
  )
})

test_that("an assay without some cells: the subset that is written", {
  object <- paired_object()
  methods::slot(object, "assays")$ATAC <- subset(object[["ATAC"]], cells = cell_names[1:80])
  expect_subset <- function(said) {
    part <- eval(code_in(said, "subset[(]object, cells = colnames[(]object.*[)][)]"))
    expect_identical(colnames(part), cell_names[1:80])
    part
  }
  said <- refusal(cells_of(object[["ATAC"]], object, "ATAC", mosaic = FALSE))
  expect_match(said, "lacks 10 cells .*, or use all cells with mosaic = TRUE.$")
  part <- expect_subset(said)
  expect_identical(cells_of(part[["ATAC"]], part, "ATAC"), atac_counts()[, 1:80])
  expect_identical(
    colnames(cells_of(object[["ATAC"]], object, "ATAC", mosaic = TRUE)), cell_names
  )
  said <- refusal(cells_of(object[["ATAC"]], object, "ATAC"))
  expect_no_match(said, "mosaic")
  said <- refusal(seurat_values(object, "ATAC", NULL))
  part <- expect_subset(said)
  expect_identical(colnames(seurat_values(part, "ATAC", NULL)$values), cell_names[1:80])
})

test_that("experiments with other cells: those that both have", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  rna <- sce_with(rna_counts())
  peaks <- sce_with(atac_counts()[, -(1:9)])
  run <- function(rna, peaks) {
    RunSCMVP(rna, peaks = peaks, n.clusters = 3, max.epochs = 1, verbose = FALSE)
  }
  expect_match(refusal(run(rna, peaks)), "keep the 81 cells that both have.$")
  both <- intersect(colnames(rna), colnames(peaks))
  expect_identical(colnames(run(rna[, both], peaks[, both])), both)
  other <- peaks
  colnames(other) <- paste0("b_", colnames(peaks))
  expect_match(refusal(run(rna, other)), "give both the same cell names.$")
})

test_that("a MultiAssayExperiment is cut as it is written, whatever its sample map", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("MultiAssayExperiment")
  make <- MultiAssayExperiment::MultiAssayExperiment
  run <- function(x) RunSCMVP(x, n.clusters = 3, max.epochs = 1, verbose = FALSE)
  counts <- list(rna = rna_counts()[, -(1:9)], atac = atac_counts()[, -(80:90)])
  cells <- cell_names[10:79]

  object <- make(counts)
  said <- refusal(run(object))
  cut <- suppressMessages(eval(code_in(said, "MultiAssayExperiment::intersectColumns[(]object[)]")))
  expect_setequal(colnames(run(cut)[["rna"]]), cells)

  # of donors, each with many cells
  donors <- data.frame(age = 1:2, row.names = c("d1", "d2"))
  of_donor <- function(cells) ifelse(match(cells, cell_names) %% 2 == 0, "d1", "d2")
  map <- do.call(rbind, lapply(names(counts), function(name) {
    own <- colnames(counts[[name]])
    S4Vectors::DataFrame(
      assay = factor(name, names(counts)), primary = of_donor(own), colname = own
    )
  }))
  object <- make(counts, donors, map)
  said <- refusal(run(object))
  expect_no_match(said, "intersectColumns")
  cut <- suppressMessages(eval(code_in(said, "object\\[, list.*[)]\\]")))
  expect_setequal(colnames(run(cut)[["rna"]]), cells)
})

# ---- reductions and models -----------------------------------------------------------------------

test_that("a reduction that is not there is made, or another one is named", {
  skip_slow()
  fitted <- fitted_object()
  said <- refusal(AggregateCells(paired_object(), k = 10, verbose = FALSE))
  expect_match(said, "run RunSCMVP\\(\\) first, or name another with reduction =.$")
  expect_s4_class(AggregateCells(fitted, k = 10, verbose = FALSE), "dgCMatrix")
  named <- paired_object()
  named[["other"]] <- SeuratObject::CreateDimReducObject(
    latent_of(fitted), key = "other_", assay = "RNA"
  )
  expect_s4_class(AggregateCells(named, reduction = "other", k = 10, verbose = FALSE), "dgCMatrix")

  said <- refusal(ImputeSCMVP(paired_object(), features = "Gene1", as = "matrix"))
  expect_match(said, "run RunSCMVP\\(\\) first, or name another with reduction =.$")
  renamed <- quick_fit(paired_object(), reduction.name = "joint", impute = "none", max.epochs = 1)
  impute <- function(...) ImputeSCMVP(renamed, features = "Gene1", as = "matrix", ...)
  expect_match(refusal(impute()), "with reduction =.$")
  expect_identical(dim(impute(reduction = "joint")), c(1L, 90L))

  # the same of a model that is projected, whose argument is another
  said <- refusal(ProjectSCMVP(renamed, paired_object(), verbose = FALSE))
  expect_match(said, "name another with model.reduction =.$")
  query <- ProjectSCMVP(renamed, paired_object(), model.reduction = "joint", verbose = FALSE)
  expect_true("scmvp" %in% SeuratObject::Reductions(query))

  # and of a query, which must not be fitted anew
  reference <- fitted
  query <- paired_object()
  transfer <- function(query, ...) {
    TransferLabelsSCMVP(reference, query, rep(c("a", "b"), 45), n.neighbors = 10, ...)
  }
  said <- refusal(transfer(query))
  expect_match(said, "the query has no reduction 'scmvp'.*or name another with query.reduction =.$")
  embedded <- suppressMessages(eval(code_in(said, "ProjectSCMVP[(]reference, query[)]")))
  expect_s4_class(transfer(embedded), "Seurat")
  embedded <- ProjectSCMVP(reference, query, reduction.name = "joint", verbose = FALSE)
  expect_match(refusal(transfer(embedded)), "query.reduction =")
  expect_s4_class(transfer(embedded, query.reduction = "joint"), "Seurat")
  expect_match(
    refusal(transfer(embedded, query.reduction = "joint", calibration = "x")),
    "the reference has no reduction 'x'.* with calibration =.$"
  )
})

test_that("a query of another model is embedded by the call that is written", {
  skip_slow()
  fitted <- fitted_object()
  reference <- quick_fit(paired_object(), reduction.name = "joint", impute = "none", seed.use = 4)
  query <- fitted
  transfer <- function(query) {
    TransferLabelsSCMVP(
      reference, query, rep(c("a", "b"), 45), reduction = "joint", query.reduction = "scmvp",
      n.neighbors = 10
    )
  }
  said <- refusal(transfer(query))
  embedded <- suppressMessages(eval(code_in(said, "ProjectSCMVP[(].*[)](?=[.]$)")))
  expect_s4_class(transfer(embedded), "Seurat")
})

test_that("objects whose fit is lost are fitted", {
  skip_slow()
  fitted <- fitted_object()
  # Seurat 5 warns that it merges all reductions
  merged <- suppressWarnings(
    merge(fitted, SeuratObject::RenameCells(fitted, add.cell.id = "b"), merge.dr = "scmvp")
  )
  read <- function(object) {
    all_said(ImputeSCMVP(object, features = "Gene1", as = "matrix", verbose = FALSE))
  }
  expect_match(read(merged), "run RunSCMVP\\(\\) on this object")
  again <- quick_fit(
    merged, rna.assay = "RNA", peak.assay = "ATAC", impute = "none", max.epochs = 1
  )
  expect_identical(read(again), "")
  expect_match(all_said(AggregateCells(merged, k = 10, verbose = FALSE)), "Run RunSCMVP\\(\\) on")
  expect_identical(all_said(AggregateCells(again, k = 10, verbose = FALSE)), "")

  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_with(rna_counts(), altExps = list(ATAC = sce_with(atac_counts())))
  runs <- lapply(1:2, function(seed) quick_fit(sce, seed.use = seed, max.epochs = 1))
  peaks <- SingleCellExperiment::altExp(runs[[2]], "ATAC")
  colnames(runs[[2]]) <- colnames(peaks) <- paste0("b_", colnames(sce))
  SingleCellExperiment::altExp(runs[[2]], "ATAC") <- peaks
  joined <- SingleCellExperiment::cbind(runs[[1]], runs[[2]])
  expect_match(read(joined), "run RunSCMVP\\(\\) on this object")
  expect_identical(read(quick_fit(joined, max.epochs = 1)), "")
})

# ---- memory --------------------------------------------------------------------------------------

test_that("each way out of max.gb is one", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  small <- 20 * 90 * 8 / 1e9 - 1e-9
  run <- function(object, ...) quick_fit(object, max.epochs = 1, ...)
  said <- refusal(run(object, max.gb = small))
  expect_match(said, "use impute = \"none\" \\(ImputeSCMVP\\(\\) imputes others later\\), or raise")
  expect_s4_class(run(object, max.gb = small, impute = "none"), "Seurat")
  expect_s4_class(run(object, max.gb = 1), "Seurat")

  object <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  object[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts())
  said <- refusal(run(object, max.gb = 21 * 90 * 8 / 1e9))
  expect_match(said, "run FindVariableFeatures\\(\\) first, or use impute")
  said <- refusal(run(object, impute.genes = gene_names, max.gb = small))
  expect_match(said, ": use fewer impute.genes \\(") # named ones are imputed whatever impute is
  expect_s4_class(run(object, impute.genes = gene_names[1:19], max.gb = small), "Seurat")
  SeuratObject::VariableFeatures(object[["RNA"]]) <- gene_names[1:20]
  expect_s4_class(run(object, max.gb = 21 * 90 * 8 / 1e9), "Seurat")

  # without genes it is the peaks that are too many
  said <- refusal(run(object, impute = "none", impute.peaks = peak_names, max.gb = small))
  expect_match(said, ": use fewer impute.peaks \\(")
  fitted <- run(object, impute = "none", impute.peaks = peak_names[1:10], max.gb = small)
  expect_s4_class(fitted, "Seurat")

  embed <- function(n) {
    ProjectSCMVP(fitted, object, impute.genes = gene_names[1:n], max.gb = small, verbose = FALSE)
  }
  expect_match(refusal(embed(60)), ": use fewer impute.genes, or raise max.gb")
  expect_s4_class(embed(10), "Seurat")

  impute <- function(...) ImputeSCMVP(fitted, ..., max.gb = small, verbose = FALSE)
  said <- refusal(impute(as = "matrix"))
  expect_no_match(said, "file =") # would be too large, too
  for (way in c("fewer features or cells", "(by =)", "(threshold =)", "raise max.gb")) {
    expect_match(said, way, fixed = TRUE)
  }
  expect_identical(dim(impute(features = gene_names[1:10], as = "matrix")), c(10L, 90L))
  expect_identical(dim(impute(cells = cell_names[1:20])), c(60L, 20L))
  expect_identical(dim(impute(by = "scmvp_cluster"))[1], 60L)
  expect_s4_class(impute(as = "matrix", threshold = 100), "dgCMatrix")
  expect_identical(dim(ImputeSCMVP(fitted, as = "matrix", verbose = FALSE)), c(60L, 90L))
  said <- refusal(impute(as = "matrix", threshold = 1e-9))
  expect_match(said, "raise the threshold, ask for fewer features or cells, or raise max.gb.$")
  expect_s4_class(
    impute(features = gene_names[1:5], as = "matrix", threshold = 1e-9), "dgCMatrix"
  )
  skip_if_not_installed("HDF5Array")
  on_disk <- function(...) {
    ImputeSCMVP(fitted, verbose = FALSE, ..., max.gb = 60 * 90 * 6 / 1e9)
  }
  expect_match(refusal(on_disk(as = "matrix")), "a file on disk (file =)", fixed = TRUE)
  expect_s4_class(on_disk(file = tempfile(fileext = ".h5")), "DelayedMatrix")
  said <- refusal(
    ImputeSCMVP(fitted, file = tempfile(fileext = ".h5"), max.gb = 1e-9, verbose = FALSE)
  )
  expect_match(said, "fewer features or cells, keep .* \\(threshold =\\), or raise max.gb.$")
})

test_that("means and plots of fewer features are made", {
  skip_slow()
  fitted <- fitted_object()
  expect_match(refusal(check_plot_size(2e4, 1e5)), "give fewer features.$")
  expect_s3_class(PlotSCMVPImputation(fitted, "Gene1"), "ggplot")
  means <- function(...) {
    ImputeSCMVP(fitted, by = "scmvp_cluster", max.gb = 1e-6, verbose = FALSE, ...)
  }
  expect_match(refusal(means()), "ask for fewer features, or raise max.gb.$")
  expect_identical(rownames(means(features = "Gene1")), "Gene1")
})

# ---- names ---------------------------------------------------------------------------------------

test_that("names and keys that are taken: another one will do", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  own <- SeuratObject::CreateAssayObject(rna_counts())
  object <- suppressWarnings(put_assay(object, "scMVP_RNA", own)) # its key is changed
  run <- function(...) quick_fit(object, rna.assay = "RNA", max.epochs = 1, ...)
  expect_match(refusal(run()), "rename or remove it, or choose another reduction.name.$")
  expect_true("joint" %in% SeuratObject::Reductions(run(reduction.name = "joint")))
  object[["scMVP_RNA"]] <- NULL
  expect_s4_class(run(), "Seurat")

  expect_match(
    refusal(run(reduction.name = "ATAC")),
    "assay, metadata column, graph or image.*choose another.$"
  )
  expect_match(refusal(run(reduction.key = "rna_")), "choose another reduction.key.$")
  expect_s4_class(run(reduction.key = "joint_"), "Seurat")

  object <- fitted_object()
  SeuratObject::DefaultAssay(object) <- "scMVP_RNA"
  expect_match(refusal(run(impute = "none")), "set DefaultAssay\\(object\\) to another assay first")
  SeuratObject::DefaultAssay(object) <- "ATAC"
  expect_s4_class(run(impute = "none"), "Seurat")

  impute <- function(...) ImputeSCMVP(fitted_object(), features = "Gene1", verbose = FALSE, ...)
  said <- refusal(impute(library.size = 5))
  expect_match(said, "another library.size: choose another assay.name, or remove it.$")
  expect_true("other" %in% SeuratObject::Assays(impute(library.size = 5, assay.name = "other")))
  object <- fitted_object()
  object[["scMVP_RNA"]] <- NULL
  expect_s4_class(
    ImputeSCMVP(object, features = "Gene1", library.size = 5, verbose = FALSE), "Seurat"
  )
  expect_match(refusal(impute(assay.name = "RNA")), "not imputed .*: choose another assay.name.$")
  expect_match(refusal(impute(cells = cell_names[1:3], as = "object")), "leave out cells, or")
  expect_identical(dim(impute(cells = cell_names[1:3], as = "matrix")), c(1L, 3L))
  expect_match(refusal(impute(by = "scmvp_cluster", as = "object")), "leave out by, or use as")
  expect_identical(nrow(impute(by = "scmvp_cluster", as = "matrix")), 1L)
})

test_that("assays that are named are taken", {
  skip_slow()
  skip_without_core()
  object <- paired_object()
  object[["SPLICED"]] <- SeuratObject::CreateAssayObject(rna_counts())
  object[["peaks"]] <- SeuratObject::CreateAssayObject(atac_counts())
  said <- refusal(quick_fit(object))
  expect_match(said, "name one with rna.assay =.$")
  said <- refusal(quick_fit(object, rna.assay = "RNA"))
  expect_match(said, "name one with peak.assay =.$")
  fit <- quick_fit(object, rna.assay = "RNA", peak.assay = "ATAC", impute = "none", max.epochs = 1)
  expect_identical(results_of(fit)$options$peak.assay, "ATAC")
  said <- refusal(quick_fit(object, rna.assay = "RNA", peak.assay = "RNA"))
  expect_match(said, "name two different assays")
  said <- refusal(quick_fit(object, rna.assay = "ATAC", peak.assay = "peaks"))
  expect_match(said, "name the assay with genes")

  gene <- SeuratObject::CreateSeuratObject(rna_counts())
  said <- refusal(quick_fit(gene))
  expect_match(said, "add such an assay, or name it with peak.assay =, or fit")
  gene[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts())
  expect_s4_class(quick_fit(gene, impute = "none", max.epochs = 1), "Seurat")
})

test_that("experiments and assays that are named are taken", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_with(rna_counts(), altExps = list(ATAC = sce_with(atac_counts())))
  SummarizedExperiment::assayNames(sce) <- "raw"
  run <- function(x, ...) quick_fit(x, max.epochs = 1, ...)
  expect_match(refusal(run(sce)), "name the one with raw counts with assay.type =.$")
  peaks <- SingleCellExperiment::altExp(sce)
  SummarizedExperiment::assayNames(peaks) <- "raw"
  SingleCellExperiment::altExp(sce, "ATAC") <- peaks
  fit <- run(sce, assay.type = "raw")
  expect_true("scmvp" %in% SingleCellExperiment::reducedDimNames(fit))

  SingleCellExperiment::altExp(sce, "more") <- peaks
  expect_match(refusal(run(sce, assay.type = "raw")), "name one with peak.experiment =.$")
  expect_s4_class(run(sce, assay.type = "raw", peak.experiment = "ATAC"), "SummarizedExperiment")

  # an assay of the fit that was taken away
  lost <- fit
  SummarizedExperiment::assayNames(lost) <- "other"
  compare <- function(x) DifferentialSCMVP(x, group.by = rep(c("a", "b"), 45), verbose = FALSE)
  expect_match(refusal(compare(lost)), "no assay 'raw', which the model .*: put it back")
  SummarizedExperiment::assayNames(lost) <- "raw"
  expect_s3_class(compare(lost), "data.frame")

  # the arguments of another method
  link <- function(...) LinkPeaksLASSO(sce, gene.coords = data.frame(), ...)
  expect_match(refusal(link()), "name one with peak.assay =.$")
  expect_match(refusal(link(peak.assay = "x")), "no experiment 'x' \\(peak.assay\\)")
  expect_match(refusal(link(peak.assay = "ATAC", peak.layer = "x")), "peak.layer\\); it has raw")
  expect_match(refusal(link(peak.assay = "ATAC", rna.layer = "x")), "rna.layer\\); it has raw")
  expect_no_match(refusal(link(peak.assay = "ATAC", rna.layer = "raw")), "layer")
  taken <- sce_with(rna_counts(), altExps = list(ATAC = sce_with(atac_counts())))
  SingleCellExperiment::reducedDim(taken, "scmvp") <- matrix(0, 90, 2)
  expect_match(refusal(run(taken)), "did not make: choose another reduction.name.$")
  expect_s4_class(run(taken, reduction.name = "joint"), "SummarizedExperiment")
  name <- "joint_RNA"
  SingleCellExperiment::altExp(taken, name) <- sce_with(rna_counts())
  joint <- function(x) {
    run(x, reduction.name = "joint", rna.experiment = "main", impute.genes = "Gene1")
  }
  expect_match(refusal(joint(taken)), "rename or remove it, or choose another reduction.name.$")
  SingleCellExperiment::altExp(taken, name) <- NULL
  expect_s4_class(joint(taken), "SummarizedExperiment")
})

test_that("an argument that was meant is the one that is offered", {
  object <- paired_object()
  said <- refusal(RunSCMVP(object, nclusters = 0))
  meant <- sub(".*did you mean (.*)[?]$", "\\1", said)
  again <- refusal(do.call(RunSCMVP, stats::setNames(list(object, 0), c("", meant))))
  expect_match(again, "^n.clusters must be")
})

# ---- batches -------------------------------------------------------------------------------------

test_that("batches of a query and of every cell are given as it is written", {
  skip_slow()
  skip_without_core()
  donor <- rep(c("A", "B"), 45)
  run <- function(batch) fit_pair(rna_counts(), atac_counts(), batch = batch)
  expect_match(refusal(run(donor[1:5])), "the cells' names or in their order.$")
  holes <- replace(donor, 3, NA)
  expect_match(refusal(run(holes)), "^1 cell has no value in 'batch' \\('cell3'\\)")
  holes[7] <- NA
  expect_match(refusal(run(holes)), "^2 cells have no value")
  fit <- run(donor)
  embed <- function(...) ProjectSCMVP(fit, rna_counts(), atac_counts(), verbose = FALSE, ...)
  expect_match(refusal(embed()), "with batch =.$")
  query <- embed(batch = donor)
  expect_identical(query$latent, fit$latent)
  expect_s3_class(
    DifferentialSCMVP(
      query, rna = rna_counts(), group.by = rep(c("a", "b"), each = 45), verbose = FALSE
    ), "data.frame"
  )

  query <- paired_object()
  embed <- function(query) ProjectSCMVP(fit, query, verbose = FALSE)
  said <- refusal(embed(query))
  expect_match(said, "query's metadata lacks 'batch': add the batch of each cell as a column")
  query$batch <- donor
  expect_equal(unname(latent_of(embed(query))), unname(fit$latent), tolerance = 1e-5)
})

# ---- groups, trends and labels -------------------------------------------------------------------

test_that("groups are named by the argument that the function has", {
  skip_slow()
  fitted <- fitted_object()
  for (f in list(
    function(x) DifferentialSCMVP(fitted, group.by = x, verbose = FALSE),
    function(x) PlotSCMVPImputation(fitted, "Gene1", group.by = x),
    function(x) RunDiffusionSCMVP(fitted, "cell1", group.by = x)
  )) {
    expect_match(refusal(f("typo")), "^group.by: the object has no cell metadata 'typo'")
    expect_match(refusal(f(1:3)), "^group.by must be the name of a column .* one value per cell")
  }
  transfer <- function(x) TransferLabelsSCMVP(fitted, fitted, x)
  expect_match(refusal(transfer("typo")), "^labels: the object has no cell metadata")
  expect_match(
    refusal(TransferLabelsSCMVP(latent_of(fitted), latent_of(fitted), "typo")),
    "^labels must be one value per cell \\(90\\), not \"typo\""
  )
  expect_match(refusal(ImputeSCMVP(fitted, by = "typo")), "^by: the object has")
})

test_that("counts that are not in the object: what is written", {
  skip_slow()
  fitted <- fitted_object()
  compare <- function(x, ...) {
    DifferentialSCMVP(x, group.by = rep(c("a", "b"), 45), n.samples = 1, verbose = FALSE, ...)
  }
  lost <- fitted
  SeuratObject::DefaultAssay(lost) <- "RNA"
  lost[["ATAC"]] <- NULL
  said <- refusal(compare(lost, modality = "peaks"))
  expect_match(said, "put assay 'ATAC' back, or give its counts with peaks =.$")
  lost[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts())
  expect_s3_class(compare(lost, modality = "peaks"), "data.frame")
  lost[["ATAC"]] <- NULL
  given <- compare(lost, modality = "peaks", peaks = atac_counts())
  expect_equal(given, compare(fitted, modality = "peaks"))

  rna_only <- SeuratObject::CreateSeuratObject(rna_counts())
  query <- ProjectSCMVP(fitted, rna_only, verbose = FALSE)
  said <- refusal(compare(query, modality = "peaks"))
  expect_match(said, "embedded without them, so take modality = \"rna\".$")
  expect_s3_class(compare(query, modality = "rna"), "data.frame")

  pair <- fit_pair(rna_counts(), atac_counts())
  expect_match(refusal(compare(pair)), "give them with rna =.$")
  expect_s3_class(compare(pair, rna = rna_counts()), "data.frame")
  expect_match(refusal(compare(pair, modality = "peaks")), "give them with peaks =.$")
  expect_s3_class(compare(pair, modality = "peaks", peaks = atac_counts()), "data.frame")
  expect_match(refusal(compare(pair, rna = rna_counts()[, 1:50])), "the counts of the same cells")
  # no advice that this function has no argument for
  expect_no_match(refusal(compare(pair, rna = rna_counts()[1:5, ])), "min.shared")
  shown <- function(...) PlotSCMVPImputation(pair, "Gene1", ...)
  expect_match(refusal(shown()), "with measured =.$")
  expect_s3_class(shown(measured = rna_counts()), "ggplot")
  expect_match(refusal(shown(measured = rna_counts()[, 1:5])), "give the counts of the same cells")
  expect_match(refusal(shown(measured = rna_counts()[1:5, ])), "give all of them")

  skip_if_not_installed("MultiAssayExperiment")
  object <- MultiAssayExperiment::MultiAssayExperiment(
    list(rna = sce_with(rna_counts()), atac = sce_with(atac_counts()))
  )
  object <- suppressWarnings(quick_fit(object, max.epochs = 1)[, , "rna"])
  said <- refusal(compare(object, modality = "peaks"))
  expect_match(said, "put experiment 'atac' back, or give its counts with peaks =.$")
  expect_s3_class(compare(object, modality = "peaks", peaks = atac_counts()), "data.frame")
})

test_that("a query is given what it lacks, or less is asked of it", {
  skip_slow()
  fitted <- fitted_object()
  few <- SeuratObject::CreateSeuratObject(rna_counts()[1:30, ])
  embed <- function(...) ProjectSCMVP(fitted, few, verbose = FALSE, ...)
  expect_match(refusal(embed()), "or lower min.shared.$")
  expect_s4_class(embed(min.shared = 0.4), "Seurat")
  expect_match(refusal(embed(modality = "peaks")), "give them, or another modality.$")
  expect_s4_class(embed(modality = "rna", min.shared = 0.4), "Seurat")
})

test_that("pseudotime: made first, or its column named", {
  skip_slow()
  object <- line_object()
  along <- function(object, ...) FeaturesAlongSCMVP(object, ...)
  expect_match(refusal(along(object)), "run RunDiffusionSCMVP\\(\\) first, or name the column with")
  expect_s3_class(along(object, pseudotime = "place"), "data.frame")
  values <- as.matrix(assay_counts(object[["RNA"]]))
  # Seurat 5 warns that it has no counts
  suppressWarnings({
    object[["none"]] <- SeuratObject::CreateAssayObject(data = values)
  })
  SeuratObject::DefaultAssay(object) <- "none"
  object[["none"]]@counts <- new("dgCMatrix")
  expect_match(refusal(along(object, "place")), "choose one that has them with assay =.$")
  expect_s3_class(along(object, "place", assay = "RNA"), "data.frame")

  counts <- assay_counts(object[["RNA"]])
  few <- rep(1:4, length.out = ncol(counts))
  expect_match(refusal(along(counts, few, df = 6)), "lower df.$")
  expect_s3_class(along(counts, few, df = 3), "data.frame")
  expect_match(refusal(along(counts, pmin(few, 3))), "only 3 different values: .* at least 4")

  skip_if_not_installed("destiny")
  made <- RunDiffusionSCMVP(object, "cell1")
  expect_s3_class(along(made, assay = "RNA"), "data.frame")
  expect_match(refusal(RunDiffusionSCMVP(object, "0h")), "or a group together with group.by.$")
  expect_s4_class(RunDiffusionSCMVP(object, "0h", group.by = "hour"), "Seurat")
  expect_match(refusal(RunDiffusionSCMVP(object, "cell1", reduction.name = "RNA")), "another.$")
  expect_s4_class(RunDiffusionSCMVP(object, "cell1", reduction.name = "dc"), "Seurat")
  points <- line_points()$points[1:30, ]
  root <- rownames(points)[1]
  said <- refusal(RunDiffusionSCMVP(points, root, n.neighbors = 50))
  most <- as.numeric(regmatches(said, gregexpr("(?<=at most )[0-9]+", said, perl = TRUE))[[1]])
  expect_type(
    RunDiffusionSCMVP(points, root, n.neighbors = most[1], n.components = most[2]), "list"
  )
  twice <- points[c(1:29, 1), ]
  rownames(twice)[30] <- "again"
  expect_match(refusal(RunDiffusionSCMVP(twice, root, n.neighbors = 10)), "1 cell has .*: leave it")
  expect_type(RunDiffusionSCMVP(twice[-30, ], root, n.neighbors = 10), "list")
})

# ---- regulatory elements -------------------------------------------------------------------------

test_that("groups: a smaller k, more cells", {
  skip_slow()
  latent <- latent_of(fitted_object())
  expect_match(refusal(AggregateCells(latent, k = 91)), "choose a smaller k.$")
  expect_s4_class(AggregateCells(latent, k = 10, verbose = FALSE), "dgCMatrix")
  shared <- function(k) all_said(AggregateCells(latent, k = k))
  expect_match(shared(60), "a smaller k shares less")
  expect_no_match(shared(3), "shares less")

  case <- cicero_case("raw")
  run <- function(...) {
    RunCicero(
      case$counts, coordinates = case$latent, genome = case$genome, n.windows = 2,
      verbose = FALSE, ...
    )
  }
  expect_match(refusal(suppressWarnings(run(k = 159))), "lower k, or give more groups.$")
  expect_s3_class(run(k = 20, distance.parameter = 0.2), "data.frame")
})

test_that("genomes and ranges: what is asked for is taken", {
  skip_slow()
  case <- cicero_case("raw")
  groups <- AggregateCells(case$latent, k = 20, verbose = FALSE)
  run <- function(counts = case$counts, genome = case$genome, ...) {
    suppressMessages(RunCicero(
      counts, groups = groups, genome = genome, verbose = FALSE, ..., distance.parameter = 0.2
    ))
  }
  other <- data.frame("NC_000018", 1e8)
  said <- refusal(run(genome = other))
  expect_match(said, "give the chromosomes of the same genome under the same names.$")
  other[[1]] <- "18"
  expect_s3_class(run(genome = other), "data.frame")
  short <- data.frame("18", 1e6)
  expect_warning(run(genome = short), "is it the table of another genome build")
  expect_warning(run(genome = other), NA)

  odd <- case$counts
  rownames(odd)[2] <- "CD4"
  expect_match(refusal(run(odd)), "leave it out, or give ranges =.$")
  expect_s3_class(run(odd[-2, ]), "data.frame")
  expect_s3_class(run(odd, ranges = rownames(case$counts)), "data.frame")
  # which an object has no argument for
  rownames(odd) <- gsub("_", "-", rownames(odd))
  object <- SeuratObject::CreateSeuratObject(odd, assay = "ATAC")
  said <- refusal(RunCicero(object, assay = "ATAC", groups = groups))
  expect_match(said, "leave it out.$")
  expect_s3_class(
    RunCicero(
      object[-2, ], assay = "ATAC", groups = groups, genome = other, verbose = FALSE,
      distance.parameter = 0.2
    ), "data.frame"
  )
  expect_match(
    refusal(RunCicero(object[-2, ], groups = groups, as = "object")), "or use as = \"links\".$"
  )
  expect_s4_class(
    RunCicero(
      object[-2, ], groups = groups, genome = other, verbose = FALSE,
      distance.parameter = 0.2, as = "links"
    ), "GRanges"
  )
  expect_warning(run(max.peaks = 2), "raise max.peaks, or make window smaller")
  expect_warning(run(max.peaks = 60), NA)
  expect_warning(run(max.peaks = 40, window = 300000), NA)
})

test_that("the distance parameter: given, searched further, or from nearer peaks", {
  case <- cicero_case("raw")
  groups <- AggregateCells(case$latent, k = 20, verbose = FALSE)
  run <- function(...) {
    all_said(RunCicero(
      case$counts[1:12, ], groups = groups, genome = case$genome, n.windows = 2,
      max.windows = 20, verbose = FALSE, ...
    ))
  }
  said <- run(distance.constraint = 4e5)
  expect_match(said, "give distance.parameter, or a smaller distance.constraint.$")
  expect_no_match(run(distance.parameter = 0.1), "distance_parameter|cannot")
  expect_no_match(run(distance.constraint = 5e4), "cannot be estimated")
  expect_match(run(search = "none"), "needs a distance.parameter, or scale = \"relative\".$")
  expect_identical(run(search = "none", distance.parameter = 0.1), "")
  expect_identical(run(search = "none", scale = "relative"), "")
  expect_match(run(distance.constraint = 5e4, maxit = 1), "raise maxit")
  expect_no_match(run(distance.constraint = 5e4, maxit = 100), "maxit")
  few <- function(n) {
    all_said(RunCicero(
      case$counts[1:12, ], groups = groups, genome = case$genome, verbose = FALSE,
      distance.constraint = 5e4, n.windows = 3, max.windows = n
    ))
  }
  expect_match(few(2), "A higher max.windows draws more")
  expect_no_match(few(50), "max.windows")
})

test_that("links of genes: coordinates, folds, rates", {
  case <- lasso_case(200)
  link <- function(...) link_case(case, genes = "G1", ...)
  elsewhere <- transform(case$coords, seqnames = "chr99")
  said <- refusal(link(gene.coords = elsewhere))
  expect_match(said, "give gene.coords of the peaks' genome, or raise distance.$")
  expect_s3_class(link(), "data.frame")
  far <- transform(case$coords, start = start + 3e7, end = end + 3e7)
  expect_match(refusal(link(gene.coords = far)), "or raise distance")
  expect_s3_class(link(gene.coords = far, distance = 4e7), "data.frame")
  expect_match(refusal(suppressWarnings(link(min.cells = 1000))), "= 1000\\): lower it.$")
  expect_match(refusal(link(fdr = 0.1, n.permutations = 0)), "leave it out, or set n.permutations")
  expect_s3_class(link(fdr = 0.1, n.permutations = 2), "data.frame")
  expect_match(refusal(link(folds = "block")), "give coordinates = \\(cells x dimensions\\), or")
  place <- matrix(
    seq_len(2 * ncol(case$rna)), ncol(case$rna), dimnames = list(colnames(case$rna), NULL)
  )
  expect_s3_class(link(folds = "block", coordinates = place), "data.frame")
})

test_that("networks of peaks: a cutoff below the largest", {
  skip_if_not_installed("igraph")
  pairs <- data.frame(
    Peak1 = c("chr1-1-9", "chr1-1-9", "chr1-20-29"),
    Peak2 = c("chr1-20-29", "chr1-40-49", "chr1-40-49"), coaccess = c(0.3, 0.4, 0.5)
  )
  find <- function(cutoff = NULL, table = pairs) {
    FindCCANs(table, coaccess_cutoff_override = cutoff, verbose = FALSE)
  }
  said <- refusal(find(0.9))
  largest <- as.numeric(sub(".*largest is ([0-9.]+)\\).*", "\\1", said))
  expect_identical(nrow(find(largest / 2)), 3L)
  expect_match(refusal(find(table = transform(pairs, coaccess = 0))), "there are no networks.$")
})

test_that("what is left out, lowered or turned round is taken", {
  skip_slow()
  fitted <- fitted_object()
  latent <- latent_of(fitted)
  holes <- latent
  holes[3, 1] <- NA
  expect_match(refusal(AggregateCells(holes, k = 10)), "\\('cell3'\\): leave it out.$")
  expect_s4_class(AggregateCells(holes[-3, ], k = 10, verbose = FALSE), "dgCMatrix")

  half <- rep(c("a", "b"), each = 45)
  compare <- function(...) DifferentialSCMVP(fitted, ..., verbose = FALSE)
  expect_match(refusal(compare(group.by = half, ident.1 = "c")), "the spelling, and group.by.$")
  expect_match(
    refusal(compare(group.by = half, ident.1 = c("a", "b"), ident.2 = "b")), "take it out of one.$"
  )
  expect_match(refusal(compare(group.by = half, ident.2 = "b")), "compare with it as ident.1.$")
  expect_s3_class(compare(group.by = half, ident.1 = "a", ident.2 = "b"), "data.frame")
  cells <- function(x, y) compare(ident.1 = cell_names[x], ident.2 = y)
  expect_match(refusal(cells(1:40, "b")), "\\('b' is none\\): give names of cells in both.$")
  expect_match(refusal(cells(1:40, cell_names[40:90])), "name each cell in one only.$")
  expect_s3_class(cells(1:40, cell_names[41:90]), "data.frame")

  impute <- function(...) ImputeSCMVP(fitted, features = "Gene1", by = "scmvp_cluster", ...)
  expect_match(refusal(impute(file = tempfile())), "^give either file .* or by .*, not both.$")
  expect_match(refusal(impute(threshold = 1)), "^give either threshold .* or by .*, not both.$")
  expect_true(is.matrix(impute()))

  transfer <- function(labels, reference = latent, ...) {
    TransferLabelsSCMVP(reference, latent, labels, n.neighbors = 10, ...)
  }
  expect_match(refusal(transfer(c(half[1:10], rep(NA, 80)))), "give at least 20.$")
  expect_s3_class(transfer(half), "data.frame")
  named <- replace(half, half == "b", "unassigned")
  expect_match(refusal(transfer(named)), "no label \\(NA\\), or another one.$")
  expect_s3_class(transfer(c(named[1:45], half[46:80], rep(NA, 10))), "data.frame")
  expect_match(refusal(transfer(half, latent[, -1])), "embed both with the same model.$")
  other <- latent
  rownames(other)[1] <- "other"
  expect_match(refusal(transfer(half, calibration = other)), "make it from the same cells.$")
  expect_s3_class(transfer(half, calibration = latent[90:1, ]), "data.frame")

  places <- data.frame(gene = gene_names, chr = "chr9", start = 1500, end = 9000, strand = "+")
  classify <- function(coords) ClassifyCRE(peak_names, coords)
  expect_match(refusal(classify(places)), "give gene.coords of the peaks' genome.$")
  expect_s3_class(classify(transform(places, chr = "chr1")), "data.frame")

  peaks <- data.frame(name = letters[1:5])
  background <- function(set, taken = set, max.peaks = 5) {
    set_and_background(set, peaks, 1:5, taken, max.peaks)
  }
  expect_match(refusal(background("z")), "give background under the same names.$")
  expect_match(refusal(background(letters[1:4])), "raise threshold, or lower max.peaks.$")
  expect_length(background(letters[1:4], max.peaks = 1)$background, 1)
  expect_length(background("a")$background, 1)
  pairs <- data.frame(Peak1 = "a", Peak2 = "b", coaccess = 0.3)
  expect_match(refusal(linked_peaks(list(x = pairs), 0.5)), "lower threshold, or leave it out.$")
  expect_identical(linked_peaks(list(x = pairs), 0.1)$x, c("a", "b"))

  counts <- atac_counts()
  run <- function(counts, ...) {
    RunCicero(counts, distance.parameter = 0.2, verbose = FALSE, ...)
  }
  expect_match(refusal(run(counts)), "groups .*, or coordinates .*, or groups = \"none\"")
  expect_s3_class(run(counts, coordinates = latent, k = 10), "data.frame")
  groups <- AggregateCells(latent, k = 10, verbose = FALSE)
  expect_s3_class(run(counts, groups = groups), "data.frame")
  expect_s3_class(run(counts, groups = "none"), "data.frame")
  expect_match(refusal(run(counts, groups = unname(groups)[-1, ])), "give a row for each cell.$")
  plain <- unname(latent)
  expect_match(
    refusal(run(counts, coordinates = plain[-1, ], k = 10)), "give a row for each cell.$"
  )
  expect_s3_class(run(counts, coordinates = plain, k = 10), "data.frame")
  empty <- counts
  empty[, 1:3] <- 0
  expect_match(refusal(run(empty, groups = "none")), "leave cells without counts out.$")
  expect_s3_class(run(empty[, -(1:3)], groups = "none"), "data.frame")

  skip_if_not_installed("destiny")
  points <- line_points()$points
  parts <- points
  parts[1:100, -1] <- parts[1:100, -1] + 2
  order <- function(x, n) RunDiffusionSCMVP(x, rownames(x)[1], n.neighbors = n, n.components = 3)
  expect_match(refusal(order(parts, 10)), "order each part separately .*, or raise n.neighbors.$")
  expect_type(order(parts[1:100, ], 10), "list")
  expect_type(order(parts, 150), "list")

  skip_if_not_installed("SingleCellExperiment")
  skip_if_not_installed("HDF5Array")
  sce <- quick_fit(
    sce_with(rna_counts(), altExps = list(ATAC = sce_with(atac_counts()))), impute = "all",
    max.epochs = 1
  )
  on_disk <- function(...) {
    ImputeSCMVP(sce, as = "object", file = tempfile(fileext = ".h5"), verbose = FALSE, ...)
  }
  expect_match(refusal(on_disk()), "choose another assay.name for the values on disk.$")
  expect_true("other" %in% SingleCellExperiment::altExpNames(on_disk(assay.name = "other")))

  skip_if(utils::packageVersion("HDF5Array") >= "1.28", "this HDF5Array opens sparse HDF5")
  both <- function(...) ImputeSCMVP(fitted, as = "matrix", verbose = FALSE, ...)
  file <- tempfile(fileext = ".h5")
  expect_match(refusal(both(file = file, threshold = 1)), "leave out threshold or file, or update")
  expect_s4_class(both(threshold = 1), "dgCMatrix")
  values <- both(file = file)
  expect_s4_class(values, "DelayedMatrix")
})

# ---- packages and files --------------------------------------------------------------------------

test_that("the command that installs a package is one, from where it is", {
  install <- function(package) {
    said <- refusal(check_installed(package, "It"))
    sub("[.]$", "", sub("^It needs the package [^:]*: ", "", said))
  }
  missing <- c("no.such.package", "monocle", "cicero", "ensembldb")
  for (package in missing[!nzchar(vapply(missing, function(x) system.file(package = x), ""))]) {
    calls <- as.list(parse(text = install(package)))
    last <- calls[[length(calls)]]
    expect_identical(last[[2]], package)
    expect_identical(
      deparse(last[[1]]),
      if (package == "no.such.package") "install.packages" else "BiocManager::install"
    )
  }
})

test_that("files and folders that are in the way or missing", {
  skip_slow()
  fitted <- fitted_object()
  file <- file.path(tempfile("folder"), "model")
  expect_match(refusal(SaveSCMVP(fitted, file)), "there is no folder .*: make it first.$")
  dir.create(dirname(file))
  expect_identical(basename(SaveSCMVP(fitted, file)), "model")
  expect_match(refusal(SaveSCMVP(fitted, file)), "exists already: choose another, or delete it.$")
  expect_identical(basename(SaveSCMVP(fitted, paste0(file, "2"))), "model2")
  unlink(file, recursive = TRUE)
  expect_identical(basename(SaveSCMVP(fitted, file)), "model")

  rds <- tempfile(fileext = ".rds")
  saveRDS(paired_object(), rds)
  expect_match(refusal(fit_pair(rds, rna.layer = "X")), "leave out rna.layer.* name assays with")
  expect_s4_class(fit_pair(rds, rna.assay = "RNA", peak.assay = "ATAC", impute = "none"), "Seurat")

  skip_if(utils::packageVersion("SeuratObject") >= "5.0.0", "assays of Seurat 5 can be on disk")
  skip_if_not_installed("HDF5Array")
  impute <- function(as) {
    ImputeSCMVP(fitted, file = tempfile(fileext = ".h5"), as = as, verbose = FALSE)
  }
  expect_match(refusal(impute("object")), "use as = \"matrix\", or Seurat 5.$")
  expect_s4_class(impute("matrix"), "DelayedMatrix")
})
