# The same counts, stored in ways drawn at random: kind of matrix, order of cells and features in
# each modality, class of the object, other assays beside, type of the batch column. What reaches
# the core is the same by name, and so are the tables of the verbs. SCMVP_FUZZ=<n> draws n of them.

n_drawn <- function() {
  n <- suppressWarnings(as.integer(Sys.getenv("SCMVP_FUZZ", "")))
  if (is.na(n)) 25 else n
}

fuzz_cells <- paste0("cell", 1:70)
fuzz_peaks <- sprintf("chr%d-%d-%d", rep(1:2, each = 40), 9000L * 1:80, 9000L * 1:80 + 400L)

fuzz_counts <- function() {
  list(
    rna = block_counts(gene_names, fuzz_cells, 0.7, seed = 3),
    peaks = block_counts(fuzz_peaks, fuzz_cells, 0.5, seed = 4)
  )
}

has_package <- function(...) all(vapply(c(...), requireNamespace, logical(1), quietly = TRUE))

matrix_kinds <- list(
  dgCMatrix = identity,
  dgTMatrix = function(x) methods::as(x, "TsparseMatrix"),
  dgRMatrix = function(x) methods::as(x, "RsparseMatrix"),
  double = as.matrix,
  integer = function(x) {
    x <- as.matrix(x)
    storage.mode(x) <- "integer"
    x
  },
  data.frame = function(x) as.data.frame(as.matrix(x), check.names = FALSE),
  dgeMatrix = function(x) methods::as(as.matrix(x), "unpackedMatrix"),
  DelayedMatrix = function(x) DelayedArray::DelayedArray(x),
  HDF5Matrix = on_disk,
  lgCMatrix = function(x) methods::as(x > 0, "lMatrix")
)

# Kinds of matrices that a class holds without making another of them.
sparse_kinds <- c("dgCMatrix", "dgTMatrix", "dgRMatrix", "double", "integer")
bioc_kinds <- setdiff(names(matrix_kinds), "data.frame")
delayed_kinds <- c("DelayedMatrix", "HDF5Matrix")

usable_kinds <- function(kinds) {
  if (has_package("HDF5Array", "DelayedArray")) kinds else setdiff(kinds, delayed_kinds)
}

seurat_container <- function(make_peaks) {
  function(rna, peaks, data, extra) {
    assay <- v3_assay(as_dgc(rna))
    SeuratObject::Key(assay) <- "rna_"
    object <- SeuratObject::CreateSeuratObject(assay, assay = "RNA", meta.data = data)
    object[["ATAC"]] <- make_peaks(as_dgc(peaks))
    if (!extra) return(list(object = object))
    object[["protein"]] <- v3_assay(as_dgc(rna)[1:20, rev(colnames(rna))])
    list(object = object, rna.assay = "RNA")
  }
}

containers <- list(
  matrices = list(
    kinds = names(matrix_kinds),
    make = function(rna, peaks, data, extra) {
      batch <- stats::setNames(data$batch, rownames(data))
      list(object = rna, peaks = peaks, batch = batch[rev(seq_along(batch))])
    }
  ),
  Seurat = list(kinds = sparse_kinds, make = seurat_container(v3_assay)),
  Assay5 = list(
    needs = function() utils::packageVersion("SeuratObject") >= "5.0.0",
    kinds = sparse_kinds, make = seurat_container(v5_assay)
  ),
  ChromatinAssay = list(
    needs = function() has_package("Signac"), kinds = sparse_kinds,
    make = seurat_container(function(counts) {
      Signac::CreateChromatinAssay(counts = counts, sep = c("-", "-"))
    })
  ),
  altExp = list(
    needs = function() has_package("SingleCellExperiment"), kinds = bioc_kinds,
    make = function(rna, peaks, data, extra) {
      # columns of an altExp are those of the object
      object <- sce_with(rna, colData = data)
      peaks <- sce_with(peaks[, colnames(rna)])
      SingleCellExperiment::altExp(object, "peaks") <- peaks
      if (!extra) return(list(object = object))
      SingleCellExperiment::altExp(object, "protein") <- sce_with(rna[1:20, ])
      list(object = object, rna.experiment = "main")
    }
  ),
  two_sce = list(
    needs = function() has_package("SingleCellExperiment"), kinds = bioc_kinds,
    make = function(rna, peaks, data, extra) {
      list(object = sce_with(rna, colData = data), peaks = sce_with(peaks))
    }
  ),
  MAE = list(
    needs = function() has_package("SingleCellExperiment", "MultiAssayExperiment"),
    kinds = bioc_kinds,
    make = function(rna, peaks, data, extra) {
      list <- list(rna = rna, atac = peaks)
      if (extra) list$protein <- sce_with(rna[1:20, ])
      object <- MultiAssayExperiment::MultiAssayExperiment(
        list, colData = methods::as(data[rev(rownames(data)), , drop = FALSE], "DataFrame")
      )
      c(list(object = object), if (extra) list(rna.experiment = "rna", peak.experiment = "atac"))
    }
  )
)

batch_kinds <- list(
  character = function(x) x,
  factor = function(x) factor(x, rev(unique(x))),
  integer = function(x) as.integer(x),
  double = function(x) as.numeric(x),
  logical = function(x) x == "2"
)

# Names of n classes that can be made here, each as often as the others.
draw_classes <- function(n, without = character()) {
  usable <- Filter(function(x) is.null(x$needs) || x$needs(), containers)
  rep_len(sample(setdiff(names(usable), without)), n)
}

# One container: how it is made, and what has to come out of it. `binary`: peaks may be logical.
draw_container <- function(counts, class, reorder = TRUE, binary = FALSE) {
  kinds <- sample(usable_kinds(containers[[class]]$kinds), 2, replace = TRUE)
  # of counts nothing would be left
  logical <- kinds == "lgCMatrix" & c(TRUE, !binary)
  kinds[logical] <- "dgCMatrix"
  batch_kind <- sample(names(batch_kinds), 1)
  extra <- sample(c(TRUE, FALSE), 1)
  mixed <- function(x) if (reorder) sample(x) else x
  batch <- stats::setNames(rep(c("2", "10"), length.out = length(fuzz_cells)), fuzz_cells)
  cells <- mixed(fuzz_cells)
  data <- data.frame(batch = batch_kinds[[batch_kind]](unname(batch[cells])), row.names = cells)
  rna <- counts$rna[mixed(rownames(counts$rna)), cells]
  peaks <- counts$peaks[mixed(rownames(counts$peaks)), mixed(fuzz_cells)]
  arguments <- containers[[class]]$make(
    matrix_kinds[[kinds[1]]](rna), matrix_kinds[[kinds[2]]](peaks), data, extra
  )
  if (is.null(arguments$batch)) arguments$batch <- "batch"
  list(
    class = class, arguments = arguments,
    name = paste(c(class, kinds, batch_kind, if (extra) "with another"), collapse = ", "),
    peaks = if (kinds[2] == "lgCMatrix") (counts$peaks > 0) * 1 else counts$peaks,
    batch = if (batch_kind == "logical") stats::setNames(batch == "2", fuzz_cells) else batch
  )
}

# What RunSCMVP() hands to the fit, without the fit.
reaching_fit <- function(arguments) {
  place <- asNamespace("scMVP")
  held <- get("fit_core", place)
  put <- function(f) {
    unlockBinding("fit_core", place)
    assign("fit_core", f, place)
  }
  put(function(counts, options, batch, ...) {
    held <- c(counts, list(batch = batch))
    rlang::abort("stop here", class = "caught", held = held)
  })
  on.exit(put(held))
  tryCatch(
    do.call(RunSCMVP, c(arguments, list(n.clusters = 3, max.epochs = 2, verbose = FALSE))),
    caught = function(e) e$held
  )
}

by_name <- function(x, like) {
  expect_setequal(rownames(x), rownames(like))
  x[rownames(like), colnames(like)]
}

expect_same_counts <- function(drawn, counts) {
  got <- reaching_fit(drawn$arguments)
  expect_identical(colnames(got$peaks), colnames(got$rna), info = drawn$name)
  expect_identical(
    as.matrix(by_name(got$rna, counts$rna)), as.matrix(counts$rna),
    info = drawn$name
  )
  expect_identical(
    as.matrix(by_name(got$peaks, drawn$peaks)), as.matrix(drawn$peaks) * 1,
    info = drawn$name
  )
  expect_identical(rownames(got$batch), colnames(got$rna), info = drawn$name)
  expect_identical(
    got$batch[[1]], as.character(drawn$batch[colnames(got$rna)]),
    info = drawn$name
  )
}

test_that("what reaches the core is the same, however the counts are stored", {
  skip_slow()
  counts <- fuzz_counts()
  with_seed(20, for (class in draw_classes(n_drawn())) {
    drawn <- suppressMessages(draw_container(counts, class, binary = TRUE))
    expect_same_counts(drawn, counts)
  })
})

test_that("an altExp with its cells in another order is read by name", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  counts <- fuzz_counts()
  # which Bioconductor up to 3.16 lets be made, with a warning, and shows under the object's names
  object <- sce_with(counts$rna)
  turned <- sce_with(counts$peaks[, 70:1])
  object <- tryCatch(
    suppressWarnings(SingleCellExperiment::`altExp<-`(object, "peaks", value = turned)),
    error = function(e) skip("this Bioconductor refuses it")
  )
  got <- reaching_fit(list(object = object))
  expect_identical(as.matrix(got$peaks), as.matrix(counts$peaks))
  found <- find_peak_part(object, parts_of(object), NULL)
  expect_identical(as.matrix(found$counts()), as.matrix(counts$peaks))
  colnames(turned)[1] <- "stranger"
  object <- suppressWarnings(SingleCellExperiment::`altExp<-`(object, "peaks", value = turned))
  expect_refused(reaching_fit(list(object = object)), "has other cells than .*'stranger' is not")
})

test_that("and so is the fit, where the order is kept", {
  skip_slow()
  skip_without_core()
  counts <- fuzz_counts()
  fit <- function(arguments) {
    arguments$batch <- NULL
    do.call(quick_fit, c(arguments, list(max.epochs = 2)))
  }
  plain <- fit(list(object = counts$rna, peaks = counts$peaks))$latent
  with_seed(21, for (class in draw_classes(max(4, n_drawn() %/% 10))) {
    drawn <- suppressMessages(draw_container(counts, class, reorder = FALSE))
    latent <- latent_of(fit(drawn$arguments), "scmvp")
    expect_identical(unname(latent), unname(plain), info = drawn$name)
    expect_identical(rownames(latent), rownames(plain), info = drawn$name)
  })
})

test_that("co-accessibility and links are the same tables", {
  skip_slow()
  counts <- fuzz_counts()
  coordinates <- as.matrix(Matrix::t(counts$peaks[1:5, ]))
  groups <- suppressWarnings(AggregateCells(coordinates, k = 12, verbose = FALSE))
  folds <- stats::setNames(rep(1:5, length.out = 70), fuzz_cells)
  starts <- data.frame(gene = gene_names, chr = "chr1", tss = 6000 * 1:60, strand = "+")
  cicero <- function(object, ...) {
    connections_by_pair(suppressWarnings(RunCicero(
      object,
      groups = groups[sample(nrow(groups)), ], distance.parameter = 0.2, verbose = FALSE, ...
    )))
  }
  links <- function(object, ...) {
    table <- LinkPeaksLASSO(
      object, ...,
      gene.coords = starts[sample(60), ], lambda = "min", folds = folds[sample(70)],
      n.permutations = 0, min.cells = 5, verbose = FALSE
    )
    table <- table[order(table$gene, table$peak), ]
    table[c("gene", "peak", "distance", "coefficient", "r_squared", "lambda", "tss")]
  }
  expected <- list(cicero = cicero(counts$peaks), links = links(counts$rna, peaks = counts$peaks))
  expect_gt(nrow(expected$links), 10)
  with_seed(22, for (class in draw_classes(max(6, n_drawn() %/% 5), without = "MAE")) {
    drawn <- suppressMessages(draw_container(counts, class))
    given <- drawn$arguments
    object <- given$object
    peaks <- given$peaks
    assays <- if (!is.null(given$rna.assay)) list(rna.assay = "RNA") else list()
    found <- if (inherits(object, "Seurat") || drawn$class == "altExp") {
      list(cicero = cicero(object), links = do.call(links, c(list(object), assays)))
    } else if (drawn$class == "two_sce") {
      list(cicero = cicero(peaks))
    } else {
      list(cicero = cicero(peaks), links = links(object, peaks = peaks))
    }
    # the graphical lasso goes through peaks in their order, up to its tolerance
    expect_equal(found$cicero, expected$cicero, tolerance = 1e-3, info = drawn$name)
    if (!is.null(found$links)) {
      expect_equal(
        found$links, expected$links,
        tolerance = 1e-6, ignore_attr = TRUE, info = drawn$name
      )
    }
  })
})
