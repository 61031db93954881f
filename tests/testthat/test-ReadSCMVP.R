test_that("a folder of h5ad files becomes a Seurat object with its metadata", {
  skip_without_core()
  type <- rep(c("A", "B", "C"), length.out = n_cells)
  object <- ReadSCMVP(write_pair(columns = list(cell_type = as.list(type))))
  expect_s4_class(object, "Seurat")
  expect_setequal(SeuratObject::Assays(object), c("RNA", "ATAC"))
  expect_equal(as.matrix(layer_data(object, "RNA", "counts")), as.matrix(rna_counts()))
  expect_equal(as.matrix(layer_data(object, "ATAC", "counts")), as.matrix(atac_counts()))
  expect_identical(as.character(object$cell_type), type)
  expect_identical(found_assays(object, NULL, NULL), list(rna = "RNA", peaks = "ATAC"))
})

test_that("columns keep their names, also those that are not R's", {
  skip_slow()
  skip_without_core()
  file <- tempfile(fileext = ".h5mu")
  in_python(c(
    "import sys, scmvp",
    "cells = scmvp.simulate(60, 80, 120, 2, seed=1)",
    "for i, name in enumerate(['x.1', 'x 1', 'x-1']): cells.obs[name] = i",
    "cells.write_h5mu(sys.argv[1])"
  ), file)
  columns <- ReadSCMVP(file)[[c("x.1", "x 1", "x-1")]]
  expect_identical(names(columns), c("x.1", "x 1", "x-1"))
  expect_true(all(columns[[1]] == 0 & columns[[2]] == 1 & columns[[3]] == 2))
})

test_that("names that Seurat cannot hold are told once", {
  skip_without_core()
  folder <- write_pair(peaks = atac_counts(gsub("-", "_", peak_names)))
  expect_warning(said <- testthat::capture_messages(object <- ReadSCMVP(folder)), NA)
  expect_match(said, "120 names changed to '-' \\(first: 'chr1_1000_1500'\\)", all = FALSE)
  expect_identical(rownames(object[["ATAC"]]), peak_names)
})

test_that("an .rds is read by R", {
  file <- tempfile(fileext = ".rds")
  saveRDS(paired_object(), file)
  expect_s4_class(ReadSCMVP(file), "Seurat")
  saveRDS(1:3, file)
  expect_refused(ReadSCMVP(file), "class integer, not a Seurat object")
  writeBin(as.raw(1:30), file)
  expect_refused(ReadSCMVP(file), "not a readable .rds file")
})

test_that("missing and damaged files are refused with the path", {
  expect_refused(ReadSCMVP(tempfile("nothing")), "nothing.* does not exist")
  skip_without_core()
  folder <- write_pair()
  file <- file.path(folder, "atac.h5ad")
  writeBin(readBin(file, "raw", 3000), file)
  expect_refused(ReadSCMVP(folder), "atac.h5ad is not a readable h5ad file")
})

test_that("a file of one modality is an object, a query, or fitted on request", {
  skip_slow()
  skip_without_core()
  folder <- write_pair()
  file <- file.path(folder, "rna.h5ad")
  expect_message(object <- ReadSCMVP(file), "read as genes")
  expect_identical(names(object@assays), "RNA")
  expect_identical(assay_counts(object[["RNA"]]), rna_counts())
  expect_silent(object <- ReadSCMVP(file, modalities = "protein", verbose = FALSE))
  expect_identical(names(object@assays), "ADT")
  peaks <- ReadSCMVP(folder, modalities = "atac", verbose = FALSE)
  expect_identical(names(peaks@assays), "ATAC")
  expect_refused(ReadSCMVP(file, modalities = "genes"), "modalities must be some of")
  expect_refused(ReadSCMVP(c(a = file), modalities = "rna"), "for one sample without a name")
  object <- ReadSCMVP(file, verbose = FALSE)
  unlink(file.path(folder, "atac.h5ad"))
  expect_identical(assay_counts(ReadSCMVP(folder)[["RNA"]]), rna_counts())
  expect_refused(
    RunSCMVP(folder, n.clusters = 3, max.epochs = 1, verbose = FALSE),
    "no peak assay found.*or fit RNA alone with modalities = \"rna\""
  )
  fit <- RunSCMVP(
    rna_counts(), atac_counts(), n.clusters = 3, max.epochs = 1, verbose = FALSE, impute = "none"
  )
  query <- ProjectSCMVP(fit, folder, verbose = FALSE)
  alone <- ProjectSCMVP(fit, object, verbose = FALSE)
  expect_equal(
    SeuratObject::Embeddings(query[["scmvp"]]), SeuratObject::Embeddings(alone[["scmvp"]])
  )
})

# Cells with metadata of every kind in one modality or both; the last 5 have RNA alone.
write_cells_with_metadata <- function(folder) {
  dir.create(folder)
  in_python(c(
    "import sys, numpy as np, pandas as pd, scmvp, scipy.sparse as sp",
    "cells = scmvp.simulate(n_cells=60, n_genes=80, n_peaks=120, n_types=3, seed=3)",
    "rna, atac = cells.mod['rna'], cells.mod['atac']",
    "rna.obs = pd.DataFrame(index=rna.obs_names)",
    "rna.obs['orig.ident'] = ['donor1'] * 30 + ['donor2'] * 30",
    "rna.obs['quality'] = 1.5",
    "rna.obs['flag'] = pd.array([None] + [True] * 59, dtype='boolean')",
    "rna.obs['number'] = pd.array([None] + [7] * 59, dtype='Int64')",
    "atac = atac[:55].copy()",
    "atac.obs = pd.DataFrame({'quality': 2.5, 'tss': np.arange(55.0)}, index=atac.obs_names)",
    "atac.layers['counts'] = atac.X.copy()",
    "atac.X = (atac.X > 0).astype('float32')",
    "rna.write_h5ad(sys.argv[1] + '/rna.h5ad')",
    "atac.write_h5ad(sys.argv[1] + '/atac.h5ad')"
  ), folder)
}

test_that("metadata of both modalities are kept, by both backends, and cells of one modality", {
  skip_slow()
  skip_without_core()
  folder <- write_cells_with_metadata(tempfile("pair"))
  expect_refused(ReadSCMVP(folder), "5 only in RNA.*or use all cells with mosaic = TRUE")
  said <- testthat::capture_messages(object <- ReadSCMVP(folder, mosaic = TRUE))
  expect_match(said, "only zeros and ones.*use peak.layer = \"X\"", all = FALSE)
  expect_equal(ncol(object), 60)
  expect_identical(as.character(object$orig.ident), rep(c("donor1", "donor2"), each = 30))
  expect_identical(as.character(SeuratObject::Idents(object)), as.character(object$orig.ident))
  expect_identical(unique(object$quality), 1.5)
  expect_equal(unname(object$atac_quality), c(rep(2.5, 55), rep(NaN, 5)))
  expect_equal(unname(object$tss), c(0:54, rep(NaN, 5)))
  expect_identical(unname(object$flag), c(NA, rep(TRUE, 59)))
  expect_equal(unname(object$number), c(NaN, rep(7, 59)))
  counts <- layer_data(object, "ATAC", "counts")
  expect_identical(unname(Matrix::colSums(counts)[56:60]), rep(0, 5))
  expect_gt(max(counts), 1)
  # what the message says can be done
  ones <- ReadSCMVP(folder, mosaic = TRUE, peak.layer = "X")
  expect_identical(as.matrix(layer_data(ones, "ATAC", "counts")), 1 * as.matrix(counts > 0))
  other <- suppressMessages(ReadSCMVP(folder, mosaic = TRUE, backend = "process"))
  expect_equal(other[[]], object[[]])
  expect_equal(layer_data(other, "ATAC", "counts"), counts)
})

test_that("a path with cells of one modality is fitted and embedded", {
  skip_slow()
  skip_without_core()
  folder <- write_cells_with_metadata(tempfile("pair"))
  fit <- suppressMessages(quick_fit(folder, mosaic = TRUE, impute = "none", max.epochs = 1))
  expect_identical(dim(latent_of(fit)), c(60L, 20L))
  query <- suppressMessages(ProjectSCMVP(fit, folder, mosaic = TRUE, verbose = FALSE))
  expect_equal(latent_of(query), latent_of(fit), tolerance = 1e-4)
})

test_that("one h5ad of both modalities, and the outs folder of Cell Ranger ARC", {
  skip_slow()
  skip_without_core()
  outs <- tempfile("outs")
  dir.create(outs)
  in_python(c(
    "import sys, os, anndata, scmvp, scipy.io",
    "cells = scmvp.simulate(n_cells=40, n_genes=60, n_peaks=80, n_types=2, seed=3)",
    "parts = [cells.mod[name] for name in ('rna', 'atac')]",
    "parts[0].var['feature_types'] = 'Gene Expression'",
    "parts[1].var['feature_types'] = 'Peaks'",
    "both = anndata.concat(parts, axis=1, merge='same')",
    "both.write_h5ad(sys.argv[1] + '/both.h5ad')",
    "folder = sys.argv[1] + '/filtered_feature_bc_matrix'",
    "os.mkdir(folder)",
    "scipy.io.mmwrite(folder + '/matrix.mtx', both.X.T.tocoo(), field='integer')",
    "rows = zip(both.var_names, both.var_names, both.var['feature_types'])",
    "with open(folder + '/features.tsv', 'w') as f:",
    "    f.writelines('\\t'.join(row) + '\\n' for row in rows)",
    "with open(folder + '/barcodes.tsv', 'w') as f:",
    "    f.writelines(name + '\\n' for name in both.obs_names)"
  ), outs)
  one <- ReadSCMVP(file.path(outs, "both.h5ad"))
  expect_equal(dim(one[["RNA"]]), c(60, 40))
  expect_equal(dim(one[["ATAC"]]), c(80, 40))
  other <- ReadSCMVP(outs)
  for (assay in c("RNA", "ATAC")) {
    expect_equal(layer_data(one, assay, "counts"), layer_data(other, assay, "counts"))
  }
})

test_that("layers are refused where there are none, in R's words", {
  file <- tempfile(fileext = ".rds")
  saveRDS(paired_object(), file)
  expect_refused(ReadSCMVP(file, rna.layer = "counts"), "leave out rna.layer")
  expect_refused(ReadSCMVP(file, rna.layer = 1), "rna.layer must be one non-empty string")
  skip_without_core()
  folder <- write_pair()
  expect_refused(ReadSCMVP(folder, peak.layer = "other"), "ATAC modality has no layer 'other'")
})

# Two runs with peaks of their own, as `outs` of Cell Ranger ARC: list(paths, counts of each sample
# in its peaks and of all in the union from fragments, made by loops of R).
write_two_runs <- function() {
  set.seed(3)
  places <- 1000 + 5000 * 0:19
  folder <- tempfile("runs")
  runs <- lapply(stats::setNames(nm = c("donor1", "donor2")), function(name) {
    start <- sort(sample(places, 16)) + sample(-200:200, 16)
    at <- sample(places, 900, replace = TRUE) + sample(-600:1000, 900, replace = TRUE)
    cells <- paste0("CELL", 1:25, if (name == "donor1") "-1" else "-2")
    list(
      cells = cells,
      peaks = data.frame(chrom = "chr1", start = start, end = start + sample(500:900, 16)),
      fragments = data.frame(
        chrom = "chr1", start = at, end = at + sample(20:300, 900, replace = TRUE),
        cell = sample(cells, 900, replace = TRUE, prob = seq_along(cells))
      )
    )
  })
  for (name in names(runs)) {
    run <- runs[[name]]
    outs <- file.path(folder, name, "outs")
    matrix <- file.path(outs, "filtered_feature_bc_matrix")
    dir.create(matrix, recursive = TRUE)
    genes <- matrix(stats::rpois(30 * 25, 2), 30)
    counts <- rbind(genes, ends_in_peaks(run$fragments, run$peaks, run$cells))
    Matrix::writeMM(methods::as(counts, "CsparseMatrix"), file.path(matrix, "matrix.mtx"))
    ranges <- with(run$peaks, paste0(chrom, ":", start, "-", end))
    features <- c(paste0("GENE", 1:30), ranges)
    types <- rep(c("Gene Expression", "Peaks"), c(30, 16))
    writeLines(paste(features, features, types, sep = "\t"), file.path(matrix, "features.tsv"))
    writeLines(run$cells, file.path(matrix, "barcodes.tsv"))
    file <- gzfile(file.path(outs, "atac_fragments.tsv.gz"))
    rows <- run$fragments[order(run$fragments$start), ]
    utils::write.table(cbind(rows, 1), file, sep = "\t", quote = FALSE, row.names = FALSE,
      col.names = FALSE)
  }
  list(paths = sapply(names(runs), function(name) file.path(folder, name, "outs")), runs = runs)
}

# Peaks x cells: each end of a fragment where start <= place < end.
ends_in_peaks <- function(fragments, peaks, cells) {
  counts <- matrix(0, nrow(peaks), length(cells), dimnames = list(NULL, cells))
  for (place in list(fragments$start, fragments$end)) {
    for (j in seq_len(nrow(peaks))) {
      hit <- fragments$chrom == peaks$chrom[j] & place >= peaks$start[j] & place < peaks$end[j]
      counts[j, ] <- counts[j, ] + table(factor(fragments$cell[hit], cells))
    }
  }
  counts
}

test_that("samples with peaks of their own become one object, by both backends", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("GenomicRanges")
  two <- write_two_runs()
  said <- testthat::capture_messages(object <- ReadSCMVP(two$paths))
  expect_match(said, "peaks: donor1 16, donor2 16; [0-9]+ in their union", all = FALSE)
  expect_match(said, "fragments = TRUE counts them, peaks = \"shared\" leaves", all = FALSE)
  cells <- unlist(lapply(names(two$runs), function(x) paste0(x, "_", two$runs[[x]]$cells)))
  expect_identical(colnames(object), cells)
  expect_identical(as.character(object$sample), rep(names(two$runs), each = 25))
  # the union is that of Bioconductor
  peaks <- do.call(rbind, lapply(two$runs, `[[`, "peaks"))
  ranges <- GenomicRanges::makeGRangesFromDataFrame(peaks, starts.in.df.are.0based = TRUE)
  union <- as.data.frame(GenomicRanges::reduce(ranges, min.gapwidth = 0))
  named <- with(union, paste0(seqnames, ":", start - 1, "-", end))
  expect_setequal(rownames(object[["ATAC"]]), named)
  expect_lt(length(named), 32)
  # added: no more than from fragments, which is what a loop counts
  counted <- suppressMessages(ReadSCMVP(two$paths, fragments = TRUE))
  wanted <- data.frame(chrom = "chr1", start = union$start - 1, end = union$end)
  truth <- do.call(cbind, lapply(two$runs, function(run) {
    ends_in_peaks(run$fragments, wanted, run$cells)
  }))
  dimnames(truth) <- list(named, cells)
  found <- as.matrix(layer_data(counted, "ATAC", "counts"))
  expect_equal(found[named, ], truth)
  added <- as.matrix(layer_data(object, "ATAC", "counts"))
  expect_true(all(added <= found) && sum(added) < sum(found))
  own <- sum(vapply(two$runs, function(run) {
    sum(ends_in_peaks(run$fragments, run$peaks, run$cells))
  }, 0))
  expect_equal(sum(added), own)
  files <- stats::setNames(file.path(two$paths, "atac_fragments.tsv.gz"), names(two$paths))
  other <- suppressMessages(
    ReadSCMVP(two$paths, fragments = files, backend = "process", verbose = FALSE)
  )
  expect_equal(layer_data(other, "ATAC", "counts"), layer_data(counted, "ATAC", "counts"))
  expect_equal(other[[]], counted[[]])
  # names that are given are those of the samples
  renamed <- suppressMessages(
    ReadSCMVP(c(second = two$paths[["donor2"]], first = two$paths[["donor1"]]), fragments = c(
      first = files[["donor1"]], second = files[["donor2"]]
    ))
  )
  expect_identical(levels(renamed$sample), c("second", "first"))
  for (name in c("first", "second")) {
    own <- c(first = "donor1", second = "donor2")[[name]]
    expect_equal(
      unname(layer_data(renamed, "ATAC", "counts")[named, renamed$sample == name]),
      unname(layer_data(counted, "ATAC", "counts")[named, counted$sample == own])
    )
  }
  # samples without names are called by their folders, and the object can be fitted
  unnamed <- suppressMessages(ReadSCMVP(unname(two$paths), peaks = "shared"))
  expect_identical(colnames(unnamed), cells)
  expect_lt(nrow(unnamed[["ATAC"]]), nrow(object[["ATAC"]]))
  fit <- suppressMessages(
    quick_fit(two$paths, batch = "sample", min.cells = 1, impute = "none", max.epochs = 1)
  )
  expect_identical(rownames(latent_of(fit)), cells)
})

test_that("paths of samples that do not fit are refused", {
  expect_refused(ReadSCMVP(c(a = tempfile("none"), b = "x")), "none.* does not exist")
  expect_refused(ReadSCMVP(c("a", NA)), "path must be one path, or a vector of paths")
  here <- tempfile("here")
  dir.create(here)
  expect_refused(ReadSCMVP(c(a = here, a = here)), "names of path must be different")
  expect_refused(ReadSCMVP(c(a = here, here)), "names of path must be different")
  expect_refused(ReadSCMVP(c(a = "x.rds", b = here)), "'x.rds' holds an R object.*merge\\(\\)")
  expect_refused(ReadSCMVP(here, fragments = TRUE), "give the path of this one a name, too")
  expect_refused(ReadSCMVP(c(a = here, b = here), fragments = "yes"), "fragments must be TRUE")
  expect_refused(
    ReadSCMVP(c(a = here, b = here), fragments = c(a = tempfile("gone"))), "gone.* does not exist"
  )
  skip_without_core()
  two <- write_two_runs()
  one <- unname(two$paths[1])
  expect_refused(ReadSCMVP(c(one, one)), "a vector of paths with names")
  expect_refused(ReadSCMVP(two$paths, peaks = "all"), "'union', 'shared' or the path of a BED")
  bed <- tempfile(fileext = ".bed")
  writeLines(c("chr1\t0\t50000", "chr1\t60000\t90000"), bed)
  expect_refused(ReadSCMVP(two$paths, peaks = bed), "fragments = TRUE, or leave out peaks = \"/")
  # what is advised can be done
  object <- ReadSCMVP(c(donor1 = one), peaks = bed, fragments = TRUE, verbose = FALSE)
  expect_identical(rownames(object[["ATAC"]]), c("chr1:0-50000", "chr1:60000-90000"))
  expect_identical(colnames(object)[1], "donor1_CELL1-1")
})
