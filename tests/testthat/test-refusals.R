# Wrong input to RunSCMVP(): one clear sentence each. Those that need no Python come first.

test_that("a missing or ambiguous assay is refused with the names and the argument", {
  skip_slow()
  rna_only <- SeuratObject::CreateSeuratObject(rna_counts())
  expect_refused(RunSCMVP(rna_only), "no peak assay found: .*\\(RNA\\).*peak.assay =")

  two <- paired_object()
  two[["peaks"]] <- SeuratObject::CreateAssayObject(atac_counts())
  expect_refused(
    RunSCMVP(two), "2 assays could be the peak assay \\(ATAC, peaks\\): .*peak.assay ="
  )
  two[["peaks"]] <- NULL
  two[["SPLICED"]] <- SeuratObject::CreateAssayObject(rna_counts())
  expect_refused(RunSCMVP(two), "2 assays could be the RNA assay \\(RNA, SPLICED\\): .*rna.assay =")
  expect_identical(found_assays(two, "RNA", NULL), list(rna = "RNA", peaks = "ATAC"))

  expect_refused(RunSCMVP(two, rna.assay = "SCT"), "no assay 'SCT' \\(rna.assay\\)")
  expect_refused(RunSCMVP(two, rna.assay = "RNA", peak.assay = "RNA"), "both 'RNA'")
  expect_refused(
    RunSCMVP(two, rna.assay = "ATAC", peak.assay = "RNA"), "'ATAC' .*holds genomic ranges"
  )
})

test_that("assays that are not measured counts are passed over", {
  object <- paired_object()
  integrated <- SeuratObject::CreateAssayObject(data = as.matrix(rna_counts()))
  object[["integrated"]] <- mark_assay(integrated, NULL) # silences the count of its counts
  own <- SeuratObject::CreateAssayObject(rna_counts())
  object[["own"]] <- mark_assay(own, list(reduction = "x"))
  expect_identical(found_assays(object, NULL, NULL), list(rna = "RNA", peaks = "ATAC"))
  expect_refused(RunSCMVP(object, rna.assay = "integrated"), "has no counts")
})

test_that("peaks are found whatever their spelling", {
  for (separators in list(c(":", "-"), c("-", "-"))) {
    spelling <- paste0("\\1", separators[1], "\\2", separators[2])
    names <- sub("^(chr[0-9]+)-([0-9]+)-", spelling, peak_names)
    object <- paired_object(atac_counts(names))
    expect_identical(found_assays(object, NULL, NULL)$peaks, "ATAC")
  }
})

test_that("arguments out of range or unknown are refused by name", {
  object <- paired_object()
  expect_refused(
    RunSCMVP(object, n.latent = 0), "n.latent must be a whole .* at least 1 or NULL, not 0"
  )
  expect_refused(RunSCMVP(object, n.clusters = 2.5), "n.clusters must be .* or NULL, not 2.5")
  expect_refused(RunSCMVP(object, learning.rate = -1), "learning.rate must be a number above 0")
  expect_refused(RunSCMVP(object, max.epochs = c(1, 2)), "max.epochs .*not 2 values")
  expect_refused(RunSCMVP(object, impute = "some"), "impute must be one of")
  expect_refused(RunSCMVP(object, preset = "fast"), "preset must be one of \"default\", \"paper\"")
  expect_refused(RunSCMVP(object, verbose = NA), "verbose must be TRUE or FALSE")
  expect_refused(
    RunSCMVP(object, nclusters = 3), "unknown argument 'nclusters'; did you mean n.clusters"
  )
  too_many <- length(formals(RunSCMVP)) - 1 # object and ... are two
  expect_refused(
    do.call(RunSCMVP, unname(c(list(object), rep(list(NULL), too_many)))),
    "1 unnamed argument too many"
  )
  expect_refused(
    RunSCMVP(object, impute.peaks = "chr9-1-2", verbose = FALSE),
    "impute.peaks: 1 of 1 name is not in assay 'ATAC'"
  )
  expect_refused(
    RunSCMVP(object, rna.features = c("Gene1", "SOX2"), verbose = FALSE), "rna.features: 1 of 2"
  )
  expect_refused(RunSCMVP("file.rds"), "file.rds does not exist")
  expect_refused(RunSCMVP(1i), "Seurat object, a SingleCellExperiment, .* class complex")
})

test_that("pairs of matrices that do not fit each other are refused", {
  rna <- rna_counts()
  atac <- atac_counts()
  expect_refused(RunSCMVP(rna), "peaks must be a matrix")
  other <- atac
  colnames(other) <- paste0("other", seq_len(n_cells))
  expect_refused(RunSCMVP(rna, other), "no cells in common .*same cell names")
  expect_refused(RunSCMVP(Matrix::t(rna), Matrix::t(atac)), "features x cells")
  expect_refused(
    RunSCMVP(rna, atac[, -(1:2)]), "2 only in the matrix of genes \\('cell1', 'cell2'\\)"
  )
  double <- rna
  rownames(double)[2] <- "Gene1"
  expect_refused(RunSCMVP(double, atac), "duplicated names of genes: 'Gene1'")
  colnames(double)[2] <- "cell1"
  expect_refused(RunSCMVP(double, atac), "duplicated cell names .*'cell1'")
  expect_refused(RunSCMVP(unname(as.matrix(rna)), atac), "needs row names")
})

test_that("names that are missing are refused, whatever holds the counts", {
  rna <- rna_counts()
  atac <- atac_counts()
  table <- as.data.frame(as.matrix(rna))
  numbered <- data.frame(table, row.names = NULL)
  for (x in list(numbered, as.matrix(numbered))) {
    expect_refused(RunSCMVP(x, atac), "^the matrix of genes needs row names \\(genes\\)")
    expect_refused(PseudobulkSCMVP(x, cell_names, cell_names), "needs row names \\(features\\)")
  }
  said <- "has no row names but a column of text, 'symbol': take it as the row names, with data.fr"
  named <- cbind(symbol = gene_names, numbered)
  expect_refused(RunSCMVP(named, atac), paste("^the matrix of genes", said))
  expect_refused(as_dgc(named), paste("^a data frame", said))
  expect_refused(as_values(named, "object"), paste("^object", said))
  skip_if_not_installed("tibble")
  wide <- tibble::as_tibble(as.matrix(rna), rownames = "symbol")
  said <- refusal(RunSCMVP(wide, atac))
  x <- wide
  expect_identical(as_dgc(eval(code_in(said, "data.frame[(]x.*FALSE[)]"))), rna)
  wide$id <- wide$symbol
  expect_refused(as_dgc(data.frame(wide, row.names = "symbol")), "leave out columns of names")
})

test_that("features and cells without a name are refused", {
  skip_slow()
  rna <- rna_counts()
  atac <- atac_counts()
  for (name in c(NA, "")) {
    x <- rna
    rownames(x)[3] <- name
    said <- refusal(RunSCMVP(x, atac))
    expect_match(said, "^some names of genes are NA or empty \\(the first in row 3\\)")
    expect_identical(eval(code_in(said, "x\\[!rownames.*, \\]")), rna[-3, ])
    x <- atac
    rownames(x)[1:2] <- name
    expect_refused(RunSCMVP(rna, x), "^some names of peaks are NA or empty .*first in row 1")
    expect_refused(check_nonnegative(x), "^some names of peaks are NA or empty")
    x <- rna
    colnames(x)[2] <- name
    said <- refusal(RunSCMVP(x, atac))
    expect_match(said, "^some cell names of the matrix of genes are NA or empty")
    expect_match(said, "in column 2\\): give each cell a unique name.$")
  }
  skip_if_not_installed("SingleCellExperiment")
  expect_refused(RunSCMVP(sce_with(x), peaks = atac), "^some cell names of experiment 'main'")
  table <- as.data.frame(as.matrix(atac))
  expect_refused(
    RunSCMVP(sce_with(rna), peaks = data.frame(table, row.names = NULL)), "^peaks needs row names"
  )
})

test_that("a result that would not fit in memory is refused before the fit, with the estimate", {
  skip_without_core()
  expect_refused(
    quick_fit(paired_object(), max.gb = 1e-6),
    "would take .* GB \\(20 features x 90 cells, dense\\)",
    class = "scmvp_error_memory"
  )
})

test_that("values that are no counts are refused with modality, cell and feature", {
  skip_without_core()
  spoiled <- function(value, modality = "rna") {
    counts <- if (modality == "rna") rna_counts() else atac_counts()
    counts[3, 5] <- value
    counts
  }
  fit <- function(rna = rna_counts(), atac = atac_counts()) {
    RunSCMVP(rna, atac, n.clusters = 3, max.epochs = 1, verbose = FALSE)
  }
  expect_refused(fit(spoiled(-1)), "RNA matrix holds a negative value.*'cell5', gene 'Gene3'")
  expect_refused(fit(spoiled(0.5)), "RNA matrix looks normalized.*'cell5'")
  expect_refused(fit(spoiled(NaN)), "RNA matrix holds nan.*'cell5'")
  expect_refused(fit(atac = spoiled(Inf, "atac")), "ATAC matrix holds inf .*cell5")
})

test_that("cells without counts and too many clusters are refused", {
  skip_without_core()
  rna <- rna_counts()
  atac <- atac_counts()
  rna[, 4] <- 0
  expect_error(RunSCMVP(rna, atac, n.clusters = 3, max.epochs = 1, verbose = FALSE), NA)
  atac[, 4] <- 0
  expect_refused(
    RunSCMVP(rna, atac, n.clusters = 3, verbose = FALSE),
    "1 cell has no count .*'cell4'.*subset\\(\\)"
  )
  expect_refused(quick_fit(paired_object(), n.clusters = 200), "n.clusters is 200 but")
})

test_that("one is singular", {
  # a count followed by a noun or verb of the other number, in any message of the package
  wrong <- paste0(
    "(^|[^0-9,.])1 (of 1 )?(cells|genes|peaks|features|groups|names|rows|windows|",
    "chromosomes) |(^|[^0-9,.])1 (of 1 )?(cell|gene|peak|feature|name) (are|were|have|lie|count)\\b"
  )
  said <- function(expr) {
    text <- character()
    keep <- function(c) {
      text <<- c(text, conditionMessage(c))
      if (inherits(c, "message")) invokeRestart("muffleMessage")
      if (inherits(c, "warning")) invokeRestart("muffleWarning")
    }
    tryCatch(
      withCallingHandlers(expr, message = keep, warning = keep), error = function(e) {
        text <<- c(text, conditionMessage(e))
      }
    )
    text
  }
  one <- rna_counts()[1, 1, drop = FALSE]
  starts <- data.frame(gene = "Gene1", chr = "9", start = 1, end = 2)
  several <- paste0("chr1-", 1000 * 1:3, "-", 1000 * 1:3 + 9)
  texts <- c(
    said(check_memory(1, 1, 0, "it", "do")), said(check_names_known("a", "b", "x", "there")),
    said(check_names_known(c("a", "b"), "b", "x", "there")),
    said(LinkPeaksLASSO(one, atac_counts()[1, 1, drop = FALSE], gene.coords = starts)),
    said(genome_table(data.frame("chr1", 1005), ranges_table(NULL, several[1]))),
    said(genome_table(data.frame("chr1", 9e6), ranges_table(NULL, c(several, "chr2-1-9")))),
    said(locate_genes(c("A", "B"), data.frame(gene = "A", seqnames = "1", tss = 1), starts)),
    said(locate_genes("A", data.frame(gene = "B", seqnames = "1", tss = 1), starts)),
    said(set_and_background("a", data.frame(name = c("a", "b")), 1:2, c("a", "b"), 5)),
    said(set_and_background(c("a", "b"), data.frame(name = letters[1:3]), 1:3, c("a", "b"), 5)),
    said(ranges_table(NULL, c(several, "CD4"))), said(ranges_table(parse_ranges("1-1-2"), several)),
    said(refuse_few_labels(factor("a"))), said(diffusion_order(matrix(0, 1, 2), 1, NULL, 3, 2, 0)),
    said(coordinates_for("a", 1, matrix(0, 2, 1))), said(chosen_dims(matrix(0, 2, 1), 2, "x")),
    said(along_inputs(one, 1, NULL, NULL, NULL)),
    said(warn_large_windows(list(members = list(1:3)), 2))
  )
  expect_gte(length(texts), 18)
  expect_identical(grep(wrong, texts, value = TRUE), character())
})

test_that("genes that are named as peaks are told, where no others are left", {
  refused <- "^assay 'RNA' [(]peak.assay[)] holds no genomic ranges, and no other assay holds genes"
  expect_refused(RunSCMVP(paired_object(), peak.assay = "RNA"), refused)
  skip_slow()
  skip_without_core()
  # with other genes they are peaks of other names, as peaks need not be called by their ranges
  object <- paired_object()
  bins <- atac_counts(paste0("bin", seq_along(peak_names)))
  object[["bins"]] <- SeuratObject::CreateAssayObject(bins)
  object[["ATAC"]] <- NULL
  fit <- quick_fit(object, peak.assay = "bins", max.epochs = 1, impute = "none")
  expect_s4_class(fit, "Seurat")
})
