skip_without_core()

# Peaks of each block of block_counts() (a motif of each), and some of all.
block_motifs <- function() {
  block <- rep_len(1:3, length(peak_names))
  matches <- cbind(
    TF1 = block == 1, TF2 = block == 2, `TF3::TF4` = block == 3, spread = seq_along(block) %% 7 == 0
  )
  rownames(matches) <- peak_names
  matches
}

gc <- stats::setNames(seq(0.3, 0.7, length.out = length(peak_names)), peak_names)

motif_matrix <- function(object, motifs = block_motifs(), ...) {
  RunMotifSCMVP(object, motifs, gc = gc, as = "matrix", verbose = FALSE, ...)
}

test_that("z-scores are motifs x cells, and go with the names of peaks and cells", {
  skip_slow()
  object <- fitted_object()
  z <- motif_matrix(object)
  expect_identical(dimnames(z), list(colnames(block_motifs()), colnames(object)))
  shuffled <- block_motifs()[sample(length(peak_names)), 4:1]
  before <- .Random.seed
  expect_equal(motif_matrix(object, shuffled)[rownames(z), ], z)
  expect_identical(.Random.seed, before)
  expect_false(identical(motif_matrix(object, seed.use = 1), z))
  turned <- object[, rev(colnames(object))]
  expect_equal(motif_matrix(turned)[, colnames(z)], z, tolerance = 1e-6)
  sparse <- methods::as(methods::as(block_motifs() * 1, "CsparseMatrix"), "lMatrix")
  expect_equal(motif_matrix(object, sparse), z)
})

test_that("a motif is highest in the cells in which its peaks are open", {
  object <- fitted_object()
  measured <- motif_matrix(object, values = "measured")
  counts <- as.matrix(atac_counts())[, colnames(object)]
  there <- block_motifs()
  # the part of the reads in the peaks of the motif, cell by cell
  share <- t(apply(there, 2, function(has) colSums(counts[has, ]) / colSums(counts)))
  for (motif in colnames(there)[1:3]) {
    expect_gt(stats::cor(measured[motif, ], share[motif, ], use = "complete.obs"), 0.8)
  }
})

test_that("the result is an assay of a Seurat object, and an alternative experiment", {
  skip_slow()
  object <- fitted_object()
  z <- motif_matrix(object)
  expect_message(
    with_assay <- RunMotifSCMVP(object, block_motifs()), "matched by accessibility only"
  )
  expect_s4_class(with_assay[["motif"]], "Assay")
  expect_identical(SeuratObject::DefaultAssay(with_assay), "RNA")
  with_assay <- RunMotifSCMVP(with_assay, block_motifs(), gc = gc, verbose = FALSE) # anew
  expect_equal(as.matrix(assay_layer(with_assay[["motif"]], "data", "motif")), z)
  # it is no candidate for a fit
  expect_silent(quick_fit(with_assay, max.epochs = 1, impute = "none"))
  skip_if_not_installed("SingleCellExperiment")
  experiment <- RunMotifSCMVP(
    fitted_sce(), block_motifs(),
    gc = gc, assay.name = "chromvar", verbose = FALSE
  )
  found <- SingleCellExperiment::altExp(experiment, "chromvar")
  expect_identical(SummarizedExperiment::assayNames(found), "z")
  expect_equal(SummarizedExperiment::assay(found, "z"), motif_matrix(experiment))
  alone <- fitted_matrices()
  expect_equal(RunMotifSCMVP(alone, block_motifs(), gc = gc, verbose = FALSE), z, tolerance = 1e-4)
  measured <- motif_matrix(alone, values = "measured", peaks = atac_counts()[, rev(cell_names)])
  expect_equal(measured, motif_matrix(object, values = "measured"))
  expect_equal(motif_matrix(object, backend = "process"), z, tolerance = 1e-6)
})

test_that("a new fit says which activities were of the one before", {
  skip_slow()
  object <- RunMotifSCMVP(fitted_object(), block_motifs(), gc = gc, verbose = FALSE)
  refit <- function(...) quick_fit(object, ..., max.epochs = 1, impute = "none")
  expect_message(refit(verbose = TRUE), "'motif': activities of the model that this one replaces")
  expect_silent(refit(reduction.name = "other"))
})

test_that("Signac's motifs and GC content of the peaks are found", {
  skip_slow()
  object <- fitted_object()
  motifs <- like_signac(block_motifs(), c(TF1 = "SPI1", TF2 = "PAX5"))
  expect_equal(motif_matrix(object, motifs), motif_matrix(object))
  object[["ATAC"]] <- SeuratObject::AddMetaData(object[["ATAC"]], gc, col.name = "GC.percent")
  expect_message(
    found <- RunMotifSCMVP(object, block_motifs(), as = "matrix"), "column GC.percent"
  )
  expect_equal(found, motif_matrix(object))
  skip_if_not_installed("Signac")
  place <- new.env()
  utils::data("atac_small", package = "Signac", envir = place)
  small <- quick_fit(
    place$atac_small,
    rna.assay = "RNA", peak.assay = "peaks", n.clusters = 2, min.cells = 3, impute = "none"
  )
  expect_identical(
    rownames(RunMotifSCMVP(small, as = "matrix", verbose = FALSE)),
    colnames(Signac::GetMotifData(small[["peaks"]]))
  )
})

test_that("motifs of a file are searched in the sequences of the peaks", {
  ok <- tryCatch(reticulate::py_module_available("lightmotif"), error = function(e) FALSE)
  skip_if_not(ok, "lightmotif is not installed")
  skip_slow()
  object <- fitted_object()
  places <- parse_ranges(peak_names)
  genome <- lapply(split(places, places$seqnames), function(peaks) {
    bases <- sample(c("A", "C", "G", "T"), max(peaks$end), replace = TRUE)
    paste(bases, collapse = "")
  })
  block <- rep_len(1:3, length(peak_names))
  for (i in which(block == 1)) {
    chromosome <- places$seqnames[i]
    substr(genome[[chromosome]], places$start[i] + 50, places$start[i] + 62) <- "GGAAGTGAAACCA"
  }
  fasta <- tempfile(fileext = ".fa")
  writeLines(as.vector(rbind(paste0(">", names(genome)), unlist(genome))), fasta)
  site <- strsplit("GGAAGTGAAACCA", "")[[1]]
  rows <- vapply(c("A", "C", "G", "T"), function(base) {
    paste0(base, " [ ", paste(20 * (site == base), collapse = " "), " ]")
  }, "")
  jaspar <- tempfile(fileext = ".jaspar")
  writeLines(c(">M1 SPI1", rows), jaspar)
  run <- function(...) RunMotifSCMVP(object, ..., as = "matrix", verbose = FALSE)
  expect_refused(run(jaspar), "give the FASTA file of the genome as fasta")
  found <- run(jaspar, fasta = fasta, p.value = 1e-6)
  expect_identical(rownames(found), "M1-SPI1")
  planted <- matrix(block == 1, dimnames = list(peak_names, "M1-SPI1"))
  content <- vapply(seq_along(peak_names), function(i) {
    # starts of names are 0-based, as Cell Ranger's are
    bases <- substr(genome[[places$seqnames[i]]], places$start[i] + 1, places$end[i])
    nchar(gsub("[AT]", "", bases)) / nchar(bases)
  }, 0)
  names(content) <- peak_names
  expect_equal(found, run(planted, gc = content))
  # each linked peak with the site makes its gene a target, under the name that the assay has
  links <- data.frame(gene = "Gene5", peak = peak_names[6:1], score = 1:6)
  targets <- RegulonsSCMVP(
    object, links, jaspar,
    fasta = fasta, p.value = 1e-6, verbose = FALSE
  )
  expect_identical(targets$peak, peak_names[c(4, 1)])
  expect_identical(unique(targets$tf), "SPI1")
  expect_identical(unique(targets$motif), "M1-SPI1")
  expect_true(all(is.na(targets$correlation))) # no such gene
})

test_that("what cannot be scored is refused", {
  skip_slow()
  object <- fitted_object()
  motifs <- block_motifs()
  expect_refused(RunMotifSCMVP(object), "the peaks have no motifs: give motifs")
  expect_refused(motif_matrix(object, 1:3), "motifs must be a matrix")
  expect_refused(motif_matrix(object, unname(motifs)), "motifs needs names")
  expect_refused(motif_matrix(object, "absent.jaspar"), "there is no file 'absent.jaspar'")
  expect_refused(motif_matrix(object, t(motifs)), "only 0 of the 120 peaks")
  expect_refused(motif_matrix(object, motifs * NA_real_), "not finite")
  expect_refused(motif_matrix(object, motifs & FALSE), "no motif is in any peak")
  run <- function(...) RunMotifSCMVP(object, motifs, ..., verbose = FALSE)
  expect_refused(run(gc = "GC"), "gc 'GC'|'GC'")
  expect_refused(run(gc = c(0.1, 0.2)), "gc must be numbers with the names of peaks")
  expect_refused(run(fasta = "absent.fa"), "fasta: there is no file 'absent.fa'")
  expect_refused(run(p.value = 1), "^p.value is 1")
  expect_refused(run(assay.name = "ATAC"), "was not made from reduction 'scmvp'")
  expect_refused(run(values = "measured", batch = "a"), "batch is for imputed values")
  expect_silent(motif_matrix(object, values = "measured"))
  expect_refused(RunMotifSCMVP(list(), motifs), "RunMotifSCMVP\\(\\) takes the result")
  bare <- object
  bare[["ATAC"]] <- NULL
  expect_refused(
    RunMotifSCMVP(bare, motifs, gc = gc, values = "measured"),
    "the counts of the peaks are not in the object: put assay 'ATAC' back"
  )
  measured <- motif_matrix(object, values = "measured")
  expect_equal(motif_matrix(bare, values = "measured", peaks = atac_counts()), measured)
  expect_equal(motif_matrix(bare), motif_matrix(object))
})
