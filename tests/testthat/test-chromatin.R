test_that("imputed peaks of a ChromatinAssay keep ranges and counts", {
  skip_if_not_installed("Signac")
  skip_without_core()
  object <- SeuratObject::CreateSeuratObject(rna_counts())
  object[["ATAC"]] <- Signac::CreateChromatinAssay(counts = atac_counts(), sep = c("-", "-"))
  expect_silent(object <- quick_fit(object, impute.peaks = peak_names[3:6], max.epochs = 1))
  imputed <- object[["scMVP_ATAC"]]
  expect_s4_class(imputed, "ChromatinAssay")
  expect_identical(length(Signac::granges(imputed)), 4L)
  expect_equal(as.matrix(methods::slot(imputed, "counts")), as.matrix(atac_counts()[3:6, ]))
  expect_true(is.matrix(methods::slot(imputed, "data")))
  expect_silent(object <- ImputeSCMVP(object, "peaks", features = peak_names[1]))
  expect_setequal(rownames(object[["scMVP_ATAC"]]), peak_names[c(1, 3:6)])
  links <- Signac::granges(object[["ATAC"]])[1:3]
  links$peak <- peak_names[1:3]
  links$gene <- "Gene1"
  Signac::Links(object[["ATAC"]]) <- links
  object <- quick_fit(object, impute.peaks = peak_names[3:6], max.epochs = 1)
  expect_identical(Signac::Links(object[["scMVP_ATAC"]])$peak, peak_names[3])
})

# A ChromatinAssay with motifs and metadata of each peak.
chromatin_with_motifs <- function() {
  skip_if_not_installed("Signac")
  assay <- Signac::CreateChromatinAssay(counts = atac_counts(), sep = c("-", "-"))
  peaks <- rownames(assay)
  motifs <- Matrix::Matrix(
    with_seed(1, matrix(stats::runif(3 * length(peaks)) < 0.3, length(peaks))),
    sparse = TRUE
  )
  dimnames(motifs) <- list(peaks, paste0("M", 1:3))
  assay <- SeuratObject::SetAssayData(
    assay, "motifs", Signac::CreateMotifObject(data = motifs)
  )
  SeuratObject::AddMetaData(assay, stats::setNames(seq_along(peaks), peaks), "place")
}

test_that("rows, ranges, counts, motifs and metadata of imputed peaks are in one order", {
  skip_without_core()
  object <- SeuratObject::CreateSeuratObject(rna_counts())
  parent <- chromatin_with_motifs()
  object[["ATAC"]] <- parent
  shuffled <- peak_names[c(50, 3, 90, 7, 6, 21)]
  expect_one_order <- function(object, peaks) {
    imputed <- object[["scMVP_ATAC"]]
    expect_setequal(rownames(imputed), peaks)
    expect_identical(Signac::GRangesToString(Signac::granges(imputed)), rownames(imputed))
    rows <- match(rownames(imputed), peak_names)
    expect_equal(
      as.matrix(methods::slot(imputed, "counts")), as.matrix(atac_counts()[rows, ])
    )
    expect_identical(
      methods::slot(imputed, "data"), ImputeSCMVP(
        object, "peaks",
        features = rownames(imputed), as = "matrix"
      )
    )
    expect_identical(imputed[["place"]][[1]], rows)
    expect_identical(Signac::Motifs(imputed)@data, Signac::Motifs(parent)@data[rows, ])
  }
  object <- quick_fit(object, impute.peaks = shuffled, max.epochs = 1)
  expect_one_order(object, shuffled)
  object <- ImputeSCMVP(object, "peaks", features = peak_names[c(60, 2, 50)])
  expect_one_order(object, c(shuffled, peak_names[c(60, 2)]))
})

test_that("an imputed ChromatinAssay is extended without the measured peaks", {
  skip_if_not_installed("Signac")
  skip_without_core()
  object <- SeuratObject::CreateSeuratObject(rna_counts())
  object[["ATAC"]] <- Signac::CreateChromatinAssay(counts = atac_counts(), sep = c("-", "-"))
  fit <- quick_fit(object, impute = "none", impute.peaks = peak_names[5:3], max.epochs = 1)
  wanted <- ImputeSCMVP(fit, "peaks", features = peak_names[c(3:5, 9)], as = "matrix")
  fit[["ATAC"]] <- NULL
  same <- ImputeSCMVP(fit, "peaks", features = peak_names[4])[["scMVP_ATAC"]]
  more <- suppressMessages(ImputeSCMVP(fit, "peaks", features = peak_names[9]))[["scMVP_ATAC"]]
  for (imputed in list(same, more)) {
    expect_s4_class(imputed, "ChromatinAssay")
    expect_identical(Signac::GRangesToString(Signac::granges(imputed)), rownames(imputed))
    values <- assay_layer(imputed, "data", "scMVP_ATAC")
    expect_equal(as.matrix(values), wanted[rownames(imputed), ], tolerance = 1e-5)
  }
  expect_setequal(rownames(same), peak_names[3:5])
  expect_setequal(rownames(more), peak_names[c(3:5, 9)])
})

test_that("an assay that is made a ChromatinAssay after the fit names the peaks everywhere", {
  skip_if_not_installed("Signac")
  skip_without_core()
  counts <- atac_counts()
  rownames(counts) <- sub("-", ":", peak_names, fixed = TRUE)
  object <- SeuratObject::CreateSeuratObject(rna_counts())
  object[["ATAC"]] <- SeuratObject::CreateAssayObject(counts = counts)
  fit <- quick_fit(object, impute = "none", impute.peaks = rownames(counts)[3:1], max.epochs = 1)
  before <- ImputeSCMVP(fit, "peaks", as = "matrix")
  genes <- data.frame(gene = gene_names[1], seqnames = "chr1", tss = 20000, strand = "+")
  advice <- expect_refused(
    LinkPeaksSCMVP(fit, genes, as = "object", verbose = FALSE),
    "CreateChromatinAssay\\(sep = c\\([^)]*\\)\\), or use as = \"links\"[.]$"
  )
  sep <- eval(str2lang(sub(".*sep = (c[(][^)]*[)]).*", "\\1", conditionMessage(advice))))
  fit[["ATAC"]] <- Signac::CreateChromatinAssay(counts, sep = sep)
  expect_identical(rownames(fit[["ATAC"]]), peak_names)
  expect_identical(sub(":", "-", rownames(before), fixed = TRUE), FeaturesSCMVP(fit, "peaks"))
  rownames(before) <- FeaturesSCMVP(fit, "peaks")
  expect_identical(
    ImputeSCMVP(fit, "peaks", features = peak_names[5:4], as = "matrix"), before[5:4, ]
  )
  expect_silent(more <- ImputeSCMVP(fit, "peaks", features = peak_names[c(8, 2)]))
  imputed <- more[["scMVP_ATAC"]]
  expect_setequal(rownames(imputed), peak_names[c(1:3, 8)])
  expect_equal(as.matrix(methods::slot(imputed, "counts")), as.matrix(atac_counts()[c(1:3, 8), ]))
  expect_equal(methods::slot(imputed, "data"), before[c(1:3, 8), ], tolerance = 1e-6)
  linked <- suppressWarnings(
    LinkPeaksSCMVP(fit, genes, as = "object", fdr = 1, verbose = FALSE)
  )
  expect_true(all(Signac::Links(linked[["ATAC"]])$peak %in% peak_names))
  expect_gt(length(Signac::Links(linked[["ATAC"]])), 0)
  # the names of now are those of the object, not of its fit
  again <- ClusterSCMVP(fit, n.clusters = 2, verbose = FALSE)
  expect_identical(names(results_of(again)), names(results_of(fit)))
})

test_that("links of peaks that are not imputed do not go with the others", {
  skip_if_not_installed("Signac")
  assay <- Signac::CreateChromatinAssay(counts = atac_counts(), sep = c("-", "-"))
  links <- Signac::granges(assay)[1:4]
  links$peak1 <- peak_names[1:4]
  links$peak2 <- peak_names[c(2, 3, 4, 9)]
  Signac::Links(assay) <- links
  values <- matrix(1, 3, ncol(assay), dimnames = list(peak_names[2:4], colnames(assay)))
  kept <- Signac::Links(imputed_assay(values, assay, "x_", list()))
  expect_identical(kept$peak1, peak_names[2:3])
  two <- links_among(list(cicero = links, none = links[0]), peak_names[1:3])
  expect_identical(two$cicero$peak2, peak_names[2:3])
  expect_length(two$none, 0)
})

test_that("no imputed peak is lost where the ChromatinAssay lacks it", {
  skip_slow()
  skip_if_not_installed("Signac")
  skip_without_core()
  annotation <- GenomicRanges::GRanges("chr1", IRanges::IRanges(1000, 2000), gene_name = "Gene1")
  object <- SeuratObject::CreateSeuratObject(rna_counts())
  object[["ATAC"]] <- Signac::CreateChromatinAssay(
    counts = atac_counts(), sep = c("-", "-"), annotation = annotation
  )
  fit <- quick_fit(object, impute = "none")
  values <- ImputeSCMVP(fit, "peaks", as = "matrix")
  fewer <- fit
  fewer[["ATAC"]] <- subset(fit[["ATAC"]], features = peak_names[1:50])
  expect_imputed <- function(object, peaks, chromatin = TRUE) {
    assay <- object[["scMVP_ATAC"]]
    expect_identical(rownames(assay), peaks)
    expect_equal(as.matrix(methods::slot(assay, "data")), values[peaks, , drop = FALSE])
    expect_false(has_counts(assay))
    expect_identical(inherits(assay, "ChromatinAssay"), chromatin)
    if (chromatin) {
      expect_identical(
        as.character(Signac::granges(assay)), as.character(Signac::StringToGRanges(peaks))
      )
      expect_identical(Signac::Annotation(assay), annotation)
      expect_true(methods::validObject(assay))
    }
  }
  some <- peak_names[c(60, 41:44, 70)]
  expect_message(
    imputed <- ImputeSCMVP(fewer, "peaks", features = some),
    "^2 imputed peaks are not among the measured ones .*, so .* no counts, motifs or metadata"
  )
  expect_imputed(imputed, some)
  suppressMessages(more <- ImputeSCMVP(imputed, "peaks", features = peak_names[c(41, 90)]))
  expect_imputed(more, c(some, peak_names[90]))
  expect_message(outside <- ImputeSCMVP(fewer, "peaks", features = peak_names[80]), "peak is not")
  expect_imputed(outside, peak_names[80])
  query <- object
  query[["ATAC"]] <- subset(object[["ATAC"]], features = peak_names[1:110])
  suppressMessages(
    projected <- ProjectSCMVP(fit, query, impute.peaks = peak_names[108:112], verbose = FALSE)
  )
  expect_identical(rownames(projected[["scMVP_ATAC"]]), peak_names[108:112])
  expect_identical(
    as.matrix(methods::slot(projected[["scMVP_ATAC"]], "data")),
    ImputeSCMVP(projected, "peaks", features = peak_names[108:112], as = "matrix")
  )
  # a name that is no range
  odd <- values[1:2, ]
  rownames(odd)[2] <- "spike"
  expect_message(
    plain <- imputed_assay(odd, fewer[["ATAC"]], "x_", list()), "nor ranges, annotation or fragm"
  )
  expect_equal(as.matrix(methods::slot(plain, "data")), odd)
  # cells that the measured assay lacks, as in a mosaic of Seurat 5
  half <- subset(fewer[["ATAC"]], cells = cell_names[1:45])
  expect_message(
    mosaic <- imputed_assay(values[3:4, ], half, "x_", list()), "lack 45 cells .* has no counts"
  )
  fewer@assays$scMVP_ATAC <- mosaic
  expect_imputed(fewer, peak_names[3:4])
})

test_that("Signac's own example object, with motifs and annotation, keeps them all", {
  skip_if_not_installed("Signac")
  skip_without_core()
  place <- new.env()
  utils::data("atac_small", package = "Signac", envir = place)
  object <- place$atac_small
  fit <- function(object) {
    quick_fit(
      object,
      rna.assay = "RNA", peak.assay = "peaks", n.clusters = 2, min.cells = 3, impute = "none",
      impute.peaks = rownames(object[["peaks"]])[1:5], max.epochs = 2
    )
  }
  object <- fit(object)
  imputed <- object[["scMVP_ATAC"]]
  expect_s4_class(imputed, "ChromatinAssay")
  expect_identical(Signac::granges(imputed), Signac::granges(object[["peaks"]])[1:5])
  expect_identical(Signac::Annotation(imputed), Signac::Annotation(object[["peaks"]]))
  expect_identical(
    Signac::Motifs(imputed)@data, Signac::Motifs(object[["peaks"]])@data[1:5, ]
  )
  counts <- methods::slot(object[["peaks"]], "counts")
  expect_identical(methods::slot(imputed, "counts"), counts[1:5, ])
  query <- ProjectSCMVP(
    object, place$atac_small,
    rna.assay = "RNA", peak.assay = "peaks", impute.peaks = rownames(imputed)[1:2], verbose = FALSE
  )
  expect_s4_class(query[["scMVP_ATAC"]], "ChromatinAssay")
  expect_equal(
    SeuratObject::Embeddings(query[["scmvp"]]), SeuratObject::Embeddings(object[["scmvp"]]),
    tolerance = 1e-4
  )
})

# A fragment file with one fragment per count in the middle of its peak, bgzipped and indexed.
write_fragments <- function(counts, path) {
  skip_if_not_installed("Rsamtools")
  triplets <- methods::as(counts, "TsparseMatrix")
  ranges <- parse_ranges(rownames(counts))
  peak <- triplets@i + 1
  middle <- (ranges$start[peak] + ranges$end[peak]) %/% 2
  lines <- data.frame(
    ranges$seqnames[peak], middle - 50, middle + 50, colnames(counts)[triplets@j + 1], triplets@x
  )
  lines <- lines[order(lines[[1]], lines[[2]]), ]
  lines[2:3] <- lapply(lines[2:3], as.integer)
  plain <- tempfile()
  utils::write.table(lines, plain, sep = "\t", quote = FALSE, row.names = FALSE, col.names = FALSE)
  Rsamtools::bgzip(plain, path)
  Rsamtools::indexTabix(path, format = "bed")
  path
}

with_fragments <- function(object, assay) {
  counts <- methods::slot(object[[assay]], "counts")
  path <- write_fragments(counts, tempfile(fileext = ".tsv.gz"))
  Signac::Fragments(object[[assay]]) <- Signac::CreateFragmentObject(
    path, cells = colnames(object), verbose = FALSE
  )
  object
}

test_that("what Signac and Seurat draw and test of an assay, they do of the imputed one", {
  skip_if_not_installed("Signac")
  skip_if_not_installed("Seurat")
  skip_without_core()
  place <- new.env()
  utils::data("atac_small", package = "Signac", envir = place)
  object <- with_fragments(place$atac_small, "peaks")
  counts <- methods::slot(object[["peaks"]], "counts")
  some <- rownames(counts)[Matrix::rowSums(counts > 0) >= 3][1:40]
  object <- quick_fit(
    object,
    rna.assay = "RNA", peak.assay = "peaks", n.clusters = 2, min.cells = 3, impute = "none",
    impute.peaks = some, max.epochs = 2
  )
  imputed <- object[["scMVP_ATAC"]]
  expect_identical(
    Signac::Fragments(imputed)[[1]]@path, Signac::Fragments(object[["peaks"]])[[1]]@path
  )
  draw <- function(assay) {
    suppressWarnings(Signac::CoveragePlot(
      object,
      region = some[1], assay = assay, group.by = "orig.ident", extend.upstream = 2000,
      annotation = FALSE
    ))
  }
  # the reads are those of the same cells, so that their coverage is the same
  coverage <- lapply(c("scMVP_ATAC", "peaks"), function(assay) {
    ggplot2::layer_data(draw(assay)[[1]])
  })
  expect_equal(coverage[[1]], coverage[[2]])
  whole <- suppressWarnings(Signac::CoveragePlot(
    object, "chr1-700000-780000",
    assay = "scMVP_ATAC", features = NULL, annotation = TRUE, peaks = TRUE, links = TRUE
  ))
  expect_s3_class(whole, "gg")
  feature <- paste0("scmvpatac_", some[2])
  shown <- Seurat::FeaturePlot(object, feature, reduction = "umap")
  expect_equal(
    sort(shown$data[[4]]), sort(unname(methods::slot(imputed, "data")[some[2], ])),
    tolerance = 1e-6
  )
  object$half <- rep(c("a", "b"), length.out = ncol(object))
  for (test in c("wilcox", "LR")) {
    markers <- suppressWarnings(Seurat::FindMarkers(
      object, "a", "b",
      group.by = "half", assay = "scMVP_ATAC", logfc.threshold = 0, min.pct = 0, test.use = test,
      verbose = FALSE
    ))
    expect_setequal(rownames(markers), some)
    expect_true(all(is.finite(markers$p_val)))
  }
})

test_that("LinkPeaks() finds true links in imputed accessibility", {
  skip_if_not_installed("Signac")
  skip_if_not_installed("qlcMatrix")
  skip_if_not_installed("Seurat")
  skip_without_core()
  cells <- SimulateSCMVP(n.cells = 300, n.genes = 200, n.peaks = 600, n.types = 4, seed = 1)
  truth <- SeuratObject::Misc(cells, "truth")$links
  object <- SeuratObject::CreateSeuratObject(assay_counts(cells[["RNA"]]))
  peaks <- assay_counts(cells[["ATAC"]])
  object[["ATAC"]] <- Signac::CreateChromatinAssay(counts = peaks, sep = c("-", "-"))
  data <- data.frame(
    GC.percent = with_seed(1, stats::runif(nrow(peaks), 40, 60)), sequence.length = 500,
    count = Matrix::rowSums(peaks), row.names = rownames(peaks)
  )
  object[["ATAC"]] <- SeuratObject::AddMetaData(object[["ATAC"]], data)
  object <- Seurat::NormalizeData(object, verbose = FALSE)
  object <- quick_fit(
    object, n.clusters = 4, max.epochs = 30, impute = "none", impute.peaks = rownames(peaks)
  )
  expect_identical(object[["scMVP_ATAC"]][["GC.percent"]], object[["ATAC"]][["GC.percent"]])
  genes <- unique(truth$gene)[1:6]
  # a gene lies where the first of its peaks does
  at <- parse_ranges(truth$peak[match(genes, truth$gene)])
  coords <- GenomicRanges::GRanges(at$seqnames, IRanges::IRanges(at$start, at$end), strand = "+")
  coords$gene_name <- genes
  found <- with_seed(1, suppressWarnings(suppressMessages(Signac::LinkPeaks(
    object,
    peak.assay = "scMVP_ATAC", expression.assay = "RNA", peak.slot = "data", gene.coords = coords,
    genes.use = genes, n_sample = 50, min.cells = 3, pvalue_cutoff = 1, score_cutoff = 0,
    verbose = FALSE
  ))))
  links <- Signac::Links(found[["scMVP_ATAC"]])
  expect_gt(length(links), 0)
  expect_true(all(links$peak %in% rownames(peaks)) && all(links$gene %in% genes))
  is_true <- paste(links$peak, links$gene) %in% paste(truth$peak, truth$gene)
  expect_gt(mean(links$score[is_true]), mean(links$score[!is_true]))
  # and imputing on keeps them
  more <- ImputeSCMVP(found, "peaks", features = rownames(peaks)[1:2], assay.name = "some")
  expect_s4_class(more[["some"]], "ChromatinAssay")
})

test_that("links in Signac 2's form keep both ends and all columns", {
  skip_if_not_installed("InteractionSet")
  links <- CiceroLinks(data.frame(
    Peak1 = c("chr1-1000-1500", "chr2-9000-9500"), Peak2 = c("chr1-9000-9500", "chr2-100-700"),
    coaccess = c(0.4, 0.2)
  ))
  pairs <- as_interactions(links)
  ends <- as.data.frame(InteractionSet::anchors(pairs))
  expect_identical(as.character(ends$first.seqnames), c("chr1", "chr2"))
  expect_equal(ends$first.start, c(1250, 400))
  expect_equal(ends$second.start, c(9250, 9250))
  expect_identical(as.data.frame(S4Vectors::mcols(pairs)), as.data.frame(S4Vectors::mcols(links)))
  none <- CiceroLinks(data.frame(Peak1 = "chr1-1-5", Peak2 = "chr1-9-12", coaccess = 0))
  expect_length(as_interactions(none), 0)

  # an assay whose slot is a list, as Signac 2's is
  where <- environment()
  setClass("TwoLinks", contains = "Assay", slots = list(links = "list"), where = where)
  object <- SeuratObject::CreateSeuratObject(
    matrix(1, 2, 3, dimnames = list(c("chr1-1-5", "chr1-9-12"), letters[1:3])),
    assay = "ATAC"
  )
  assay <- new("TwoLinks", object[["ATAC"]], links = list(other = 1))
  object@assays$ATAC <- assay
  table <- data.frame(Peak1 = "chr1-1-5")
  kept <- keep_links(object, list(
    part = list(name = "ATAC", source = assay), ranges = links, key = "scMVP_cicero", table = table
  ))
  expect_identical(names(kept@assays$ATAC@links), c("other", "scMVP_cicero"))
  expect_identical(kept@misc$scMVP_cicero, table)
})
