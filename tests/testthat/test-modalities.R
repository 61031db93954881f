# Other modalities than RNA and peaks as a whole data set; what has none of the others' is refused.

three_modalities <- function() {
  given <- cells_with_proteins()
  object <- given$object
  object[["ADT"]] <- SeuratObject::CreateAssayObject(given$counts[, colnames(object)])
  counts <- lapply(c(rna = "RNA", peaks = "ATAC", protein = "ADT"), function(name) {
    layer_data(object, name, "counts")
  })
  list(object = object, counts = counts)
}

fit_some <- function(x, modalities, ..., max.epochs = 2) {
  RunSCMVP(
    x,
    modalities = modalities, n.clusters = 3, max.epochs = max.epochs, verbose = FALSE, ...
  )
}

# By the package itself: a MuData of these alone, fitted in Python.
latent_in_python <- function(counts) {
  folder <- tempfile("counts")
  dir.create(folder)
  for (kind in names(counts)) {
    Matrix::writeMM(counts[[kind]], file.path(folder, paste0(kind, ".mtx")))
    writeLines(rownames(counts[[kind]]), file.path(folder, paste0(kind, ".txt")))
  }
  writeLines(colnames(counts[[1]]), file.path(folder, "cells.txt"))
  in_python(c(
    "import sys, pathlib, anndata, mudata, numpy, scipy.io, scmvp",
    "folder = pathlib.Path(sys.argv[1])",
    "cells = (folder / 'cells.txt').read_text().split()",
    "parts = {}",
    "for path in folder.glob('*.mtx'):",
    "    x = scipy.io.mmread(path).tocsr().T.tocsr().astype('float32')",
    "    part = anndata.AnnData(x)",
    "    part.obs_names = cells",
    "    part.var_names = path.with_suffix('.txt').read_text().split()",
    "    parts[path.stem] = part",
    "model = scmvp.SCMVP(mudata.MuData(parts), n_clusters=3, modalities=list(parts))",
    "model.train(max_epochs=2, seed=0, progress=False)",
    "numpy.savetxt(folder / 'latent.csv', model.get_latent_representation(), delimiter=',')"
  ), folder)
  as.matrix(utils::read.csv(file.path(folder, "latent.csv"), header = FALSE))
}

test_that("any modalities are a whole data set, of an object and of matrices", {
  skip_slow()
  skip_without_core()
  given <- three_modalities()
  of_matrices <- function(kinds) {
    counts <- given$counts[kinds]
    fit_some(counts$rna, kinds, peaks = counts$peaks, proteins = counts$protein)
  }
  for (kinds in list(c("rna", "protein"), c("peaks", "protein"), "peaks")) {
    fit <- fit_some(given$object, kinds, impute = "none")
    options <- results_of(fit)$options
    expect_identical(
      lengths(options[c("rna.assay", "peak.assay", "protein.assay")]) > 0,
      counted_kinds %in% kinds,
      ignore_attr = TRUE
    )
    latent <- latent_of(fit)
    expect_identical(rownames(latent), colnames(given$object))
    expect_equal(unname(of_matrices(kinds)$latent), unname(latent), tolerance = 1e-6)
    again <- ProjectSCMVP(fit, given$object, verbose = FALSE, reduction.name = "again")
    expect_equal(unname(latent_of(again, "again")), unname(latent), tolerance = 1e-4)
  }
})

test_that("the fit of some modalities is that of Python", {
  skip_slow()
  skip_without_core()
  given <- three_modalities()
  kinds <- c("rna", "protein")
  fit <- fit_some(given$object, kinds, impute = "none", threads = 1)
  found <- latent_in_python(given$counts[kinds])
  expect_equal(unname(found), unname(latent_of(fit)), tolerance = 1e-3)
})

test_that("RNA and proteins are imputed, tested and reported without peaks", {
  skip_without_core()
  skip_slow()
  given <- three_modalities()
  object <- without(given$object, "ATAC")
  said <- refusal(RunSCMVP(object))
  expect_match(said, "or fit RNA and proteins alone with modalities = c\\(\"rna\", \"protein\"\\)")
  kinds <- eval(code_in(said, "c[(][^)]*[)]"))
  fit <- fit_some(object, kinds, impute.proteins = TRUE, max.epochs = 10)
  expect_identical(dim(fit[["scMVP_ADT"]]), c(12L, 150L))
  expect_identical(SeuratObject::Assays(fit), c("RNA", "ADT", "scMVP_RNA", "scMVP_ADT"))
  table <- DifferentialSCMVP(fit, "protein", verbose = FALSE)
  expect_gt(sum(table$is_de), 6)
  expect_false(anyNA(DoubletScoreSCMVP(fit, verbose = FALSE)$scmvp_doublet_score))
  file <- tempfile(fileext = ".html")
  ReportSCMVP(fit, file, verbose = FALSE)
  expect_true(file.exists(file))
  # what needs peaks says so
  no_peaks <- "the model has no peaks, as it was fitted to RNA and proteins: "
  genes <- data.frame(
    gene = rownames(object[["RNA"]]), seqnames = "chr1", start = 1, end = 9, strand = "+"
  )
  for (verb in list(
    function() ImputeSCMVP(fit, "peaks"),
    function() DifferentialSCMVP(fit, "peaks"),
    function() PlotSCMVPImputation(fit, "chr1-1-2", "peaks"),
    function() LinkPeaksSCMVP(fit, genes, verbose = FALSE),
    function() GeneActivitySCMVP(fit, genes, verbose = FALSE),
    function() RunMotifSCMVP(fit, matrix(1, 2, 2, dimnames = list(c("a", "b"), c("c", "d"))))
  )) {
    expect_refused(verb(), no_peaks)
  }
  expect_refused(
    DifferentialSCMVP(fit, peaks = atac_counts()), "peaks is given, but the model was fitted to RNA"
  )
  expect_refused(
    ProjectSCMVP(fit, given$counts$rna, peaks = given$counts$peaks),
    "the model was fitted to RNA and proteins: leave peaks out"
  )
})

test_that("modalities that make no sense are refused", {
  given <- three_modalities()
  counts <- given$counts
  expect_refused(fit_some(given$object, "adt"), "modalities must be some of .*, not 'adt'")
  expect_refused(fit_some(given$object, 3), "modalities must be some of .*, not 3")
  expect_refused(
    fit_some(given$object, "protein", impute = "all"),
    "impute is given, but modalities has no \"rna\": add it, or leave impute out"
  )
  expect_refused(
    fit_some(given$object, "rna", protein.assay = "ADT"),
    "protein.assay is given, but modalities has no \"protein\""
  )
  expect_refused(fit_some(counts$rna, "peaks", peaks = counts$peaks), "give NULL as object")
  expect_refused(
    fit_some(counts$rna, NULL, proteins = counts$protein),
    "to fit RNA and proteins alone, say modalities = c\\(\"rna\", \"protein\"\\)"
  )
  expect_refused(fit_some(counts$rna, c("rna", "protein")), "proteins must be a matrix of counts")
  expect_refused(
    fit_some(counts$rna, NULL, peaks = counts$peaks, proteins = counts$protein[, 1:99]),
    "51 only in the matrix of genes .* keep the 99 shared cells"
  )
})

test_that("proteins beside RNA and peaks that are not asked for are told", {
  skip_slow()
  skip_without_core()
  given <- three_modalities()
  said <- capture.output(
    RunSCMVP(given$object, n.clusters = 3, max.epochs = 1, impute = "none"),
    type = "message"
  )
  expect_match(said, "assay 'ADT' has proteins, .* protein.assay = to model them", all = FALSE)
})
