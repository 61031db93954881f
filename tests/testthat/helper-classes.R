# Every kind of object that RunSCMVP() takes, made of the same counts, and what Python must get from
# each. test-classes.R runs every verb on every one; tools/test_matrix.R makes a table of it.

# Names with everything that a name may have in it.
odd_genes <- c("HLA-A", "RP11-34:2", "MT.ND1", paste0("Gene", 4:60))
odd_peaks <- function(first, second, scaffold) {
  names <- sub("-", second, sub("-", first, peak_names, fixed = TRUE), fixed = TRUE)
  c(paste0(scaffold, first, "17", second, "518"), names[-1])
}

named_counts <- function(genes = odd_genes, peaks = odd_peaks("-", "-", "KI270711.1")) {
  list(rna = block_counts(genes, cell_names, 0.6, seed = 1), peaks = atac_counts(peaks))
}

# An object, the other arguments of the verbs, and the counts as it shows them.
case <- function(object, counts, ..., arguments = list()) {
  list(object = object, arguments = arguments, rna = counts$rna, peaks = counts$peaks, ...)
}

seurat_case <- function(make_rna, make_peaks, counts = named_counts()) {
  object <- seurat_with(make_rna(counts$rna))
  object[["ATAC"]] <- make_peaks(counts$peaks)
  case(object, counts)
}

# CreateSeuratObject() warns about an assay without a key
seurat_with <- function(rna) {
  SeuratObject::Key(rna) <- "rna_"
  SeuratObject::CreateSeuratObject(rna, assay = "RNA")
}

matrix_case <- function(as_kind, first = ":", second = "-") {
  # what only matrices and Bioconductor can hold: underscores in names
  counts <- named_counts(
    genes = c("A_1", "B:2-x_y", odd_genes[-(1:2)]), peaks = odd_peaks(first, second, "KI_711.1")
  )
  # the peaks' cells in another order: they are put in that of the genes' by name
  case(as_kind(counts$rna), counts, arguments = list(peaks = as_kind(counts$peaks[, n_cells:1])))
}

v3_assay <- function(counts) SeuratObject::CreateAssayObject(counts)
v5_assay <- function(counts) from_v5("CreateAssay5Object")(counts)
on_disk <- function(counts) {
  HDF5Array::writeHDF5Array(as.matrix(counts), tempfile(), "x", with.dimnames = TRUE)
}
in_bpcells <- function(counts) {
  unsigned <- BPCells::convert_matrix_type(methods::as(counts, "IterableMatrix"), "uint32_t")
  BPCells::write_matrix_dir(unsigned, tempfile("bpcells"))
}

seurat_5 <- function() {
  if (utils::packageVersion("SeuratObject") < "5.0.0") "this Seurat has no Assay5"
}
packages <- function(...) {
  function() {
    for (package in c(...)) {
      if (!requireNamespace(package, quietly = TRUE)) return(paste(package, "is not installed"))
    }
  }
}
both <- function(...) {
  function() {
    for (reason in list(...)) if (!is.null(reason())) return(reason())
  }
}

# What BPCells documents of its matrices, where it is not installed: the class, dim(), dimnames(),
# columns by name, and as(x, "dgCMatrix").
stand_in_for_bpcells <- function() {
  place <- globalenv()
  if (!methods::isClass("IterableMatrix", where = place)) {
    methods::setClass("IterableMatrix", methods::representation(held = "dgCMatrix"), where = place)
    methods::setMethod("dim", "IterableMatrix", function(x) dim(x@held), where = place)
    methods::setMethod("dimnames", "IterableMatrix", function(x) dimnames(x@held), where = place)
    methods::setMethod("[", "IterableMatrix", function(x, i, j, ..., drop = FALSE) {
      rows <- if (missing(i)) seq_len(nrow(x@held)) else i
      methods::new("IterableMatrix", held = x@held[rows, j, drop = FALSE])
    }, where = place)
    methods::setAs("IterableMatrix", "dgCMatrix", function(from) from@held, where = place)
  }
  matrix_case(function(counts) methods::new("IterableMatrix", held = counts))
}

# A 10x .h5 as Cell Ranger ARC writes it: both modalities in one matrix of integers.
write_10x <- function(counts, path) {
  skip_without_core()
  core()
  place <- reticulate::import("numpy", convert = FALSE)
  h5 <- reticulate::import("h5py", convert = FALSE)
  both <- rbind(counts$rna, counts$peaks)
  file <- h5$File(path, "w")
  on.exit(file$close())
  put <- function(name, values, kind) {
    file$create_dataset(name, data = place$array(as.array(values), dtype = kind))
  }
  put("matrix/data", both@x, "int32")
  put("matrix/indices", both@i, "int64")
  put("matrix/indptr", both@p, "int64")
  put("matrix/shape", dim(both), "int64")
  put("matrix/barcodes", colnames(both), "S")
  put("matrix/features/id", rownames(both), "S")
  put("matrix/features/name", rownames(both), "S")
  put("matrix/features/genome", rep("GRCh38", nrow(both)), "S")
  type <- rep(c("Gene Expression", "Peaks"), c(nrow(counts$rna), nrow(counts$peaks)))
  put("matrix/features/feature_type", type, "S")
  path
}

object_cases <- list(
  "Seurat, Assay (v3, v4)" = list(
    make = function() seurat_case(v3_assay, v3_assay)
  ),
  "Seurat, Assay5" = list(
    needs = seurat_5,
    make = function() {
      seurat_case(v5_assay, v5_assay, named_counts(peaks = odd_peaks(":", "-", "KI270711.1")))
    }
  ),
  "Seurat, Assay5 in split layers" = list(
    needs = seurat_5,
    make = function() {
      made <- seurat_case(v5_assay, v5_assay)
      # three batches, so that the cells of the layers are not in the order of the object
      batch <- rep(c("b", "a", "c"), length.out = n_cells)
      for (assay in c("RNA", "ATAC")) {
        made$object[[assay]] <- split(made$object[[assay]], f = batch)
      }
      made
    }
  ),
  "Seurat, Assay5 on disk (HDF5)" = list(
    needs = both(seurat_5, packages("HDF5Array")),
    make = function() {
      seurat_case(function(x) v5_assay(on_disk(x)), function(x) v5_assay(on_disk(x)))
    }
  ),
  "Seurat, Assay5 on disk (BPCells)" = list(
    needs = both(seurat_5, packages("BPCells")),
    make = function() {
      seurat_case(function(x) v5_assay(in_bpcells(x)), function(x) v5_assay(in_bpcells(x)))
    }
  ),
  "Seurat, Signac ChromatinAssay" = list(
    needs = packages("Signac"),
    make = function() {
      seurat_case(v3_assay, function(counts) {
        Signac::CreateChromatinAssay(counts = counts, sep = c("-", "-"))
      })
    }
  ),
  "SingleCellExperiment, altExp" = list(
    needs = packages("SingleCellExperiment"),
    make = function() {
      counts <- named_counts(c("A_1", odd_genes[-1]), odd_peaks("_", "_", "KI711.1"))
      case(sce_with(counts$rna, altExps = list(peaks = sce_with(counts$peaks))), counts)
    }
  ),
  "SingleCellExperiment, two of them" = list(
    needs = packages("SingleCellExperiment"),
    make = function() {
      counts <- named_counts(peaks = odd_peaks(":", "-", "KI_711.1"))
      peaks <- sce_with(counts$peaks[, n_cells:1])
      case(sce_with(counts$rna), counts, arguments = list(peaks = peaks))
    }
  ),
  "MultiAssayExperiment" = list(
    needs = packages("MultiAssayExperiment", "SingleCellExperiment"),
    make = function() {
      counts <- named_counts(peaks = odd_peaks(":", "-", "KI_711.1"))
      case(MultiAssayExperiment::MultiAssayExperiment(
        list(rna = counts$rna, atac = counts$peaks[, n_cells:1])
      ), counts)
    }
  ),
  "two dgCMatrix" = list(make = function() matrix_case(identity)),
  "two dgRMatrix" = list(
    make = function() matrix_case(function(x) methods::as(x, "RsparseMatrix"), "_", "_")
  ),
  "two matrices" = list(make = function() matrix_case(as.matrix, "-", "-")),
  "two DelayedMatrix (HDF5)" = list(
    needs = packages("HDF5Array"), make = function() matrix_case(on_disk)
  ),
  "two BPCells matrices" = list(
    needs = packages("BPCells"), make = function() matrix_case(in_bpcells)
  ),
  "two stand-ins for BPCells matrices" = list(
    needs = function() {
      if (requireNamespace("BPCells", quietly = TRUE)) "BPCells itself is there"
    },
    make = stand_in_for_bpcells
  ),
  "a class added in one file" = list(make = function() toy_case()),
  "path of a 10x .h5" = list(
    make = function() {
      counts <- named_counts(peaks = odd_peaks(":", "-", "KI270711.1"))
      made <- case(write_10x(counts, tempfile(fileext = ".h5")), counts)
      made
    }
  )
)

skip_without_case <- function(name) {
  skip_without_core()
  if (!name %in% c("Seurat, Assay (v3, v4)", "two dgCMatrix")) skip_slow()
  needs <- object_cases[[name]]$needs
  reason <- if (!is.null(needs)) needs()
  if (!is.null(reason)) testthat::skip(reason)
}

# ---- what reaches Python -------------------------------------------------------------------------

# Runs `f` and returns its value with what Python got meanwhile, one element per call.
recording <- function(f, backend = "reticulate") {
  file <- tempfile("recorded")
  place <- normalizePath(testthat::test_path("fixtures", "recorder"))
  if (backend == "process") {
    local_variables(SCMVP_RECORD = file, PYTHONPATH = place)
  } else {
    core()
    restore <- reticulate::import_from_path("record_counts", place, convert = FALSE)$record(file)
    on.exit(reticulate::py_call(restore))
  }
  value <- f()
  list(value = value, seen = lapply(readLines(file), jsonlite::fromJSON))
}

# The same fingerprints of matrices in R.
fingerprints <- function(rna, peaks) {
  digest <- function(write) {
    file <- tempfile()
    on.exit(unlink(file))
    write(file)
    unname(tools::md5sum(file))
  }
  parts <- function(x) {
    c(
      paste("float64", digest(function(file) writeBin(x@x, file))),
      paste("int32", digest(function(file) writeBin(x@i, file))),
      paste("int32", digest(function(file) writeBin(x@p, file)))
    )
  }
  names <- list(colnames(rna), rownames(rna), rownames(peaks))
  list(rna = parts(rna), peaks = parts(peaks), names = vapply(names, function(x) {
    digest(function(file) writeBin(charToRaw(paste(x, collapse = "\n")), file))
  }, ""))
}

expect_reached_python <- function(seen, rna, peaks) {
  testthat::expect_identical(seen, fingerprints(rna, peaks))
}

is_chromatin <- function(object) {
  inherits(object, "Seurat") && inherits(object[["ATAC"]], "ChromatinAssay")
}

impute_matrix <- function(fit, ...) {
  # the result on matrices is always one
  if (inherits(fit, "scMVPFit")) ImputeSCMVP(fit, ...) else ImputeSCMVP(fit, ..., as = "matrix")
}

# ---- one fit of each -----------------------------------------------------------------------------

verb_on <- function(verb, object, arguments) do.call(verb, c(list(object), arguments))

# The case and its fit, made once: list(object, arguments, rna, peaks, fit, seen).
fitted_case <- function(name) {
  skip_without_case(name)
  if (is.null(remembered$cases[[name]])) {
    remembered$cases[[name]] <- tryCatch(
      {
        made <- object_cases[[name]]$make()
        run <- recording(function() verb_on(quick_fit, made$object, made$arguments))
        c(made, list(fit = run$value, seen = run$seen))
      },
      error = identity
    )
  }
  made <- remembered$cases[[name]]
  if (inherits(made, "error")) stop(made)
  made
}
