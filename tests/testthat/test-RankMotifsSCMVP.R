skip_without_core()

# Motifs in peaks, one of them of a dimer, under the names of genes in another case.
factor_motifs <- function() {
  block <- rep_len(1:3, length(peak_names))
  matches <- cbind(
    GENE1 = block == 1, `gene2::Gene3` = block == 2, MA0001.1_Gene4 = seq_along(block) %% 7 == 0,
    absent = block == 3
  )
  rownames(matches) <- peak_names
  matches
}

with_motifs <- function() {
  if (is.null(remembered$motifs)) {
    object <- suppressWarnings(
      RunMotifSCMVP(fitted_object(), factor_motifs(), verbose = FALSE, values = "measured")
    )
    object$type <- rep(c("x", "y", NA), length.out = n_cells)
    remembered$motifs <- object
  }
  remembered$motifs
}

z_of <- function(object) as.matrix(methods::slot(object[["motif"]], "data"))

# Spearman's correlation of rows of two matrices over cells in which both have a value.
spearman <- function(one, other) {
  known <- is.finite(one) & is.finite(other)
  suppressWarnings(stats::cor(one[known], other[known], method = "spearman"))
}

measured_rna <- function() {
  counts <- as.matrix(rna_counts())
  t(t(counts) / colSums(counts))
}

# Genes of each motif, as the counts have them.
pairs_of_motifs <- data.frame(
  motif = c("GENE1", "gene2::Gene3", "gene2::Gene3", "MA0001.1-Gene4"),
  gene = c("Gene1", "Gene2", "Gene3", "Gene4")
)

# What Python itself joins.
python_targets <- function(links, matches, rna) {
  links <- reticulate::r_to_py(links[c("gene", "peak", "score")])
  table_of(core()$regulons(links, frame_of(matches * 1), frame_of(t(rna))))
}

some_links <- function() {
  data.frame(
    gene = gene_names[c(5, 1, 8, 5, 20)], peak = peak_names[c(1, 7, 14, 35, 60)],
    score = c(0.5, -0.2, 0.3, 0.1, 0.9)
  )
}

# ---- ranks ---------------------------------------------------------------------------------------

test_that("ranks are those of Python, of the cells that have a type", {
  object <- with_motifs()
  z <- z_of(object)
  genes <- matrix(sub("^MA.*-", "", rownames(z)), dimnames = list(rownames(z), "gene"))
  adata <- reticulate::import("anndata", convert = FALSE)$AnnData(
    frame_of(t(z)), var = frame_of(genes)
  )
  pandas <- reticulate::import("pandas", convert = FALSE)
  # NA is in neither
  type <- pandas$Categorical(as.list(unname(object$type)), categories = c("x", "y"))
  wanted <- table_of(core()$rank_motifs(adata, type))
  ranks <- RankMotifsSCMVP(object, "type")
  expect_identical(levels(ranks$group), c("x", "y"))
  expect_setequal(ranks$gene, c("GENE1", "gene2::Gene3", "Gene4", "absent"))
  wanted$group <- factor(wanted$group, levels(ranks$group))
  expect_equal(ranks, wanted)
})

test_that("cells and groups are matched by name, and clusters are the default", {
  skip_slow()
  object <- with_motifs()
  z <- z_of(object)
  ranks <- RankMotifsSCMVP(object, "type")
  labels <- stats::setNames(object$type, colnames(object))
  expect_equal(
    RankMotifsSCMVP(z[, rev(colnames(z))], labels)[-3], ranks[-3] # names alone say their genes
  )
  expect_equal(RankMotifsSCMVP(object[, rev(colnames(object))], "type"), ranks)
  reverse <- factor(object$type, c("y", "x"))
  expect_identical(levels(RankMotifsSCMVP(object, reverse)$group), c("y", "x"))
  expect_equal(RankMotifsSCMVP(object), RankMotifsSCMVP(object, "scmvp_cluster"))
  named <- RankMotifsSCMVP(object, "type", genes = c(absent = "Pax5", GENE1 = "Spi1"))
  expect_identical(named$gene[match(c("absent", "GENE1"), named$motif)], c("Pax5", "Spi1"))
  # an assay of another package, which keeps no genes
  # Seurat 5 warns that it has no counts
  suppressWarnings({
    object[["chromvar"]] <- SeuratObject::CreateAssayObject(data = z[, rev(colnames(z))])
  })
  expect_equal(RankMotifsSCMVP(object, "type", assay.name = "chromvar"), ranks)
  few <- replace(object$type, 1:n_cells, c("one", rep("y", n_cells - 1)))
  few <- RankMotifsSCMVP(z, few)
  expect_true(all(is.na(few$p_value)) && !any(is.nan(few$mean)))
  expect_identical(few$motif, rep(rownames(z), 2))
})

test_that("genes of Signac's motifs go with them", {
  skip_slow()
  matches <- factor_motifs()
  colnames(matches) <- paste0("MA000", 1:4, ".1")
  genes <- stats::setNames(c("GENE1", "Gene2::GENE3", "Gene4", "absent"), colnames(matches))
  motifs <- like_signac(matches, rev(genes))
  object <- RunMotifSCMVP(
    fitted_object(), motifs,
    gc = stats::setNames(seq(0.3, 0.7, length.out = length(peak_names)), peak_names),
    verbose = FALSE
  )
  ranks <- RankMotifsSCMVP(object)
  expect_identical(ranks$gene, unname(genes[ranks$motif]))
  some <- object
  suppressWarnings({ # of Seurat 5: other features than before
    some[["motif"]] <- subset(object[["motif"]], features = c("MA0002.1", "MA0004.1"))
  })
  expect_setequal(RankMotifsSCMVP(some)$gene, genes[c("MA0002.1", "MA0004.1")])
  expect_equal(RankMotifsSCMVP(z_of(object), object$scmvp_cluster, genes = motifs), ranks)
  found <- MotifExpressionSCMVP(object, verbose = FALSE)
  expect_setequal(found$gene, gene_names[1:4])
  targets <- RegulonsSCMVP(object, some_links(), motifs, verbose = FALSE)
  wanted <- python_targets(some_links(), factor_motifs(), measured_rna())
  expect_setequal(paste(toupper(targets$tf), targets$peak), paste(toupper(wanted$tf), wanted$peak))
  expect_setequal(targets$motif, colnames(matches))
})

test_that("genes are found under the names that Seurat gives their motifs", {
  given <- c("MA1|SPI1" = "SPI1", "MA_2" = "FOS", MA3 = "JUN")
  expect_identical(
    genes_of_motifs(given, c("MA-2", "MA1-SPI1", "MA3", "other"), NULL),
    c("FOS", "SPI1", "JUN", "other")
  )
})

test_that("an alternative experiment is ranked like an assay", {
  skip_slow()
  skip_if_not_installed("SingleCellExperiment")
  experiment <- RunMotifSCMVP(
    fitted_sce(), factor_motifs(),
    values = "measured", verbose = FALSE
  )
  object <- with_motifs()
  expect_equal(RankMotifsSCMVP(experiment, object$type), {
    ranks <- RankMotifsSCMVP(object, "type")
    ranks$motif <- sub("-", "_", ranks$motif)
    ranks
  })
  found <- MotifExpressionSCMVP(experiment, "measured", verbose = FALSE)
  expect_equal(found[-1], MotifExpressionSCMVP(object, "measured", verbose = FALSE)[-1])
  links <- data.frame(gene = "Gene5", peak = peak_names[1:3], score = 3:1)
  imputed <- ImputeSCMVP(experiment, "rna", as = "matrix", verbose = FALSE)
  targets <- RegulonsSCMVP(experiment, links, factor_motifs(), verbose = FALSE)
  expect_equal(targets, RegulonsSCMVP(
    experiment, links, factor_motifs(),
    expression = imputed, verbose = FALSE
  ), tolerance = 1e-5)
})

# ---- expression ----------------------------------------------------------------------------------

test_that("activity is correlated with measured expression of the genes of the motif", {
  object <- with_motifs()
  z <- z_of(object)
  found <- MotifExpressionSCMVP(object, "measured", verbose = FALSE)
  expect_false(is.unsorted(-found$correlation))
  rna <- measured_rna()[, colnames(z)]
  wanted <- mapply(function(motif, gene) spearman(z[motif, ], rna[gene, ]),
    pairs_of_motifs$motif, pairs_of_motifs$gene)
  at <- match(paste(found$motif, found$gene), do.call(paste, pairs_of_motifs))
  expect_setequal(at, 1:4)
  expect_equal(found$correlation, unname(wanted)[at])
  expression <- rna[sample(nrow(rna)), sample(ncol(rna))]
  expect_equal(MotifExpressionSCMVP(object, expression = expression, verbose = FALSE), found)
  rownames(z)[3] <- "MA0001.1-Gene4"
  expect_equal(MotifExpressionSCMVP(z, expression = expression, verbose = FALSE), found)
  by_gene <- MotifExpressionSCMVP(
    z, expression = expression, genes = c(absent = "Gene9"), verbose = FALSE
  )
  one <- by_gene[by_gene$motif == "absent", ]
  expect_identical(one$gene, "Gene9")
  expect_equal(one$correlation, spearman(z["absent", ], rna["Gene9", ]))
})

test_that("activity is correlated with imputed expression, in either backend", {
  skip_slow()
  object <- with_motifs()
  z <- z_of(object)
  found <- MotifExpressionSCMVP(object, verbose = FALSE)
  rna <- ImputeSCMVP(object, "rna", as = "matrix", verbose = FALSE)
  wanted <- mapply(function(motif, gene) spearman(z[motif, ], rna[gene, colnames(z)]),
    found$motif, found$gene)
  expect_equal(found$correlation, unname(wanted), tolerance = 1e-3)
  expect_equal(MotifExpressionSCMVP(object, backend = "process", verbose = FALSE), found)
  turned <- MotifExpressionSCMVP(object[, rev(colnames(object))], verbose = FALSE)
  expect_equal(turned, found, tolerance = 1e-3)
})

test_that("cells without counts of genes have no measured expression", {
  skip_slow()
  rna <- rna_counts()
  rna[, 1:20] <- 0
  seurat <- SeuratObject::CreateSeuratObject(as_dgc(rna), assay = "RNA")
  seurat[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts())
  seurat <- suppressMessages(quick_fit(seurat, impute = "none"))
  seurat <- suppressWarnings(
    RunMotifSCMVP(seurat, factor_motifs(), values = "measured", verbose = FALSE)
  )
  z <- z_of(seurat)[, -(1:20)]
  found <- MotifExpressionSCMVP(seurat, "measured", verbose = FALSE)
  wanted <- mapply(function(motif, gene) spearman(z[motif, ], measured_rna()[gene, colnames(z)]),
    found$motif, found$gene)
  expect_equal(found$correlation, unname(wanted))
})

test_that("cells in which no gene was measured are left out of any expression", {
  object <- with_motifs()
  z <- z_of(object)
  rna <- measured_rna()[, colnames(z)]
  rna[, 1:20] <- 0
  expect_message(
    found <- MotifExpressionSCMVP(z, expression = rna), "20 cells have no expression of any gene"
  )
  wanted <- mapply(function(motif, gene) spearman(z[motif, -(1:20)], rna[gene, -(1:20)]),
    found$motif, found$gene)
  expect_equal(found$correlation, unname(wanted))
  # in a table of few genes such cells are common
  some <- rna[gene_names[1:4], ]
  found <- MotifExpressionSCMVP(z, expression = some, verbose = FALSE)
  wanted <- mapply(function(motif, gene) spearman(z[motif, ], some[gene, ]),
    found$motif, found$gene)
  expect_equal(found$correlation, unname(wanted))
  links <- some_links()
  targets <- RegulonsSCMVP(
    object, links, factor_motifs(), expression = rna, verbose = FALSE
  )
  wanted <- python_targets(links, factor_motifs(), rna[, -(1:20)])
  expect_equal(targets$correlation, wanted$correlation)
})

# ---- targets -------------------------------------------------------------------------------------

test_that("targets are the links of the peaks with a motif", {
  skip_slow()
  object <- fitted_object()
  links <- some_links()
  rna <- measured_rna()
  wanted <- python_targets(links, factor_motifs(), rna)
  run <- function(links, motifs = factor_motifs(), ..., values = "measured") {
    RegulonsSCMVP(object, links, motifs, values = values, verbose = FALSE, ...)
  }
  found <- run(links)
  expect_equal(found, wanted)
  expect_identical(sum(found$motif == "gene2::Gene3") %% 2, 0)
  shuffled <- factor_motifs()[sample(length(peak_names)), 4:1]
  expect_equal(run(links, shuffled), wanted)
  expression <- rna[sample(nrow(rna)), sample(ncol(rna))]
  given <- RegulonsSCMVP(
    object, links, factor_motifs(), expression = expression, verbose = FALSE
  )
  expect_equal(given, wanted)
  lasso <- stats::setNames(links, c("gene", "peak", "coefficient"))
  expect_equal(run(lasso), wanted)
  some <- run(links, factors = c("GENE2", "gene1"))
  rows <- wanted$tf %in% c("GENE1", "gene2")
  expect_equal(some, data.frame(wanted[rows, ], row.names = NULL))
  grouped <- run(cbind(links, group = factor(c("b", "a", "b", "a", "b"), c("b", "a"))))
  expect_identical(levels(grouped$group), c("b", "a"))
  expect_equal(grouped[-1], wanted)
  imputed <- ImputeSCMVP(object, "rna", as = "matrix", verbose = FALSE)
  from_model <- python_targets(links, factor_motifs(), imputed)
  expect_equal(run(links, values = "imputed"), from_model, tolerance = 1e-3)
  expect_equal(
    run(links, values = "imputed", backend = "process"), run(links, values = "imputed")
  )
})

test_that("tables of both functions that link peaks are taken", {
  skip_slow()
  object <- fitted_object()
  starts <- data.frame(
    gene = gene_names[1:24], seqnames = "chr1", tss = 1000 * 1:24 + 700, strand = "+"
  )
  scored <- suppressWarnings(LinkPeaksSCMVP(object, starts, distance = 1e4, verbose = FALSE))
  lasso <- suppressWarnings(LinkPeaksLASSO(
    object, gene.coords = starts, distance = 1e4, n.permutations = 0, min.correlation = 0,
    lambda = "min", verbose = FALSE
  ))
  for (links in list(scored, lasso)) {
    if (is.null(links$score)) links$score <- links$coefficient
    wanted <- python_targets(links, factor_motifs(), measured_rna())
    targets <- RegulonsSCMVP(object, links, factor_motifs(), values = "measured", verbose = FALSE)
    expect_gt(nrow(targets), 0)
    expect_equal(targets, wanted)
  }
  skip_if_not_installed("GenomicRanges")
  ranges <- score_granges(scored)
  targets <- RegulonsSCMVP(object, ranges, factor_motifs(), verbose = FALSE)
  direct <- RegulonsSCMVP(object, scored, factor_motifs(), verbose = FALSE)
  expect_equal(
    targets[do.call(order, targets[1:4]), -6], direct[do.call(order, direct[1:4]), -6],
    ignore_attr = TRUE
  )
})

# ---- refusals ------------------------------------------------------------------------------------

test_that("what cannot be ranked is refused, and what is advised works", {
  skip_slow()
  object <- with_motifs()
  z <- z_of(object)
  text <- array(as.character(z), dim(z), dimnames(z))
  expect_refused(RankMotifsSCMVP(text, object$type), "must be numeric, not character")
  expect_refused(RankMotifsSCMVP(fitted_object()), "no assay 'motif' .* run RunMotifSCMVP\\(\\)")
  expect_refused(RankMotifsSCMVP(object, assay.name = "RNA"), "'RNA' does not hold the activity")
  expect_refused(RankMotifsSCMVP(z), "group.by is needed for a matrix")
  expect_refused(RankMotifsSCMVP(unname(z), "a"), "needs row names \\(motifs\\)")
  expect_refused(RankMotifsSCMVP(1:3), "class integer: run RunMotifSCMVP\\(\\) first")
  expect_refused(RankMotifsSCMVP(object, "typ"), "no cell metadata 'typ'")
  expect_refused(RankMotifsSCMVP(z, rep("a", n_cells)), "group.by has 1 group")
  expect_refused(RankMotifsSCMVP(object, genes = "Spi1"), "genes must be text with the names")
  expect_refused(RankMotifsSCMVP(object, assay = "motif"), "the arguments are group.by, assay.name")
  alone <- fitted_matrices()
  expect_refused(RankMotifsSCMVP(alone), "give the matrix of z-scores that RunMotifSCMVP\\(\\)")
  scores <- suppressMessages(RunMotifSCMVP(alone, factor_motifs(), verbose = FALSE))
  expect_s3_class(RankMotifsSCMVP(scores, alone$cluster), "data.frame")
})

test_that("activities that merge() has left unmarked are no RNA", {
  skip_slow()
  object <- with_motifs()
  # as Seurat 4 merges an assay without counts
  merged <- merge(
    subset(object, cells = cell_names[1:45]), subset(object, cells = cell_names[46:90])
  )
  lost <- object[["motif"]]
  methods::slot(lost, "misc") <- list()
  methods::slot(lost, "counts") <- methods::as(
    Matrix::sparseMatrix(integer(), integer(), x = 0, dims = dim(lost), dimnames = dimnames(lost)),
    "CsparseMatrix"
  )
  if (utils::packageVersion("SeuratObject") < "5") {
    expect_identical(methods::slot(merged[["motif"]], "counts"), methods::slot(lost, "counts"))
  }
  merged[["motif"]] <- lost
  SeuratObject::Key(lost) <- "chosen_"
  merged[["chosen"]] <- lost # under a name that the user gave
  expect_identical(found_assays(merged), list(rna = "RNA", peaks = "ATAC"))
  expect_refused(RunSCMVP(merged, rna.assay = "motif"), "'motif' \\(rna.assay\\) has no counts")
  expect_refused(
    RankMotifsSCMVP(merged), "'motif' has lost its scMVP record.* run RunMotifSCMVP\\(\\) again"
  )
  # what is advised
  expected <- RankMotifsSCMVP(object, "type")
  given <- RankMotifsSCMVP(
    as.matrix(assay_layer(merged[["motif"]], "data", "motif")), object$type,
    genes = assay_mark(object[["motif"]])$genes
  )
  expect_equal(given, expected)
  merged[["motif"]] <- NULL
  fit <- quick_fit(merged, impute = "none", max.epochs = 1)
  fit <- RunMotifSCMVP(fit, factor_motifs(), verbose = FALSE, values = "measured")
  expect_equal(RankMotifsSCMVP(fit, object$type), expected)
})

test_that("what cannot be correlated is refused, and what is advised works", {
  skip_slow()
  object <- with_motifs()
  z <- z_of(object)
  run <- function(object, ...) MotifExpressionSCMVP(object, ..., verbose = FALSE)
  expect_refused(run(z), "expression \\(genes x cells\\) is needed")
  rna <- measured_rna()
  expect_refused(run(z, expression = unname(rna)), "expression needs row names \\(genes\\)")
  expect_refused(run(z, expression = 1), "expression must be a matrix, genes x cells, not 1")
  expect_refused(run(z, expression = rna[, -1]), "1 of 90 names is not in expression \\('cell1'\\)")
  expect_refused(run(z, expression = rna[50:60, ]), "none of the genes of the motifs")
  expect_refused(run(z, expression = rna, values = "measured"), "values is for an object")
  expect_s3_class(run(z, expression = rna), "data.frame")
  bare <- object
  SeuratObject::DefaultAssay(bare) <- "ATAC"
  bare[["RNA"]] <- NULL
  expect_refused(run(bare, "measured"), "the counts of the genes are not in the object")
  expect_s3_class(run(bare, expression = rna), "data.frame")
  expect_s3_class(run(bare, "imputed"), "data.frame")
  refitted <- suppressMessages(quick_fit(object, max.epochs = 1, impute = "none"))
  expect_refused(run(refitted), "activities of another fit")
  expect_s3_class(run(refitted, "measured"), "data.frame")
})

test_that("what cannot be joined is refused, and what is advised works", {
  skip_slow()
  object <- fitted_object()
  links <- some_links()
  run <- function(links, motifs = factor_motifs(), ...) {
    RegulonsSCMVP(object, links, motifs, ..., verbose = FALSE)
  }
  expect_refused(run(links[-3]), "links must be a data frame with columns gene, peak and score")
  expect_refused(run(links[0, ]), "links has no rows")
  expect_refused(run(links, NULL), "the peaks have no motifs")
  expect_refused(run(links, factors = 1), "factors must be names of transcription factors")
  expect_refused(run(links, factors = "PAX5"), "'PAX5' has no motif in a linked peak")
  expect_refused(run(links, factor_motifs()[100:120, ]), "no linked peak .* has a motif")
  expect_refused(run(links, "absent.jaspar"), "there is no file")
  expect_refused(run(links, batch = "a", values = "measured"), "batch is for imputed values")
  expect_refused(RegulonsSCMVP(list(), links), "RegulonsSCMVP\\(\\) takes the result")
  expect_s3_class(run(links, factors = "gene1"), "data.frame")
})
