# The walk-through of docs/r.md runs as it is printed.

test_that("the blocks of docs/r.md run from start to end", {
  skip_without_core()
  skip_slow()
  skip_if_not_installed("igraph")
  skip_if_not_installed("Seurat")
  page <- normalizePath(test_path("..", "..", "docs", "r.md"), mustWork = FALSE)
  skip_if_not(file.exists(page), "docs are not part of the built package")
  cells <- SimulateSCMVP(
    n.cells = 200, n.genes = 700, n.peaks = 1400, n.types = 3, median.umi = 2500,
    median.fragments = 3000, seed = 1
  )
  home <- tempfile("walk")
  dir.create(home)
  counts <- list(
    rna = layer_data(cells, "RNA", "counts"), peaks = layer_data(cells, "ATAC", "counts")
  )
  write_10x(counts, file.path(home, "filtered_feature_bc_matrix.h5"))
  genes <- cells[["RNA"]][[]]
  bed <- data.frame(
    genes$chrom, genes$start - 1L, genes$end, rownames(genes), 0, genes$strand
  )[seq(1, nrow(genes), 7), ]
  utils::write.table(
    bed, file.path(home, "genes.bed"),
    sep = "\t", quote = FALSE, row.names = FALSE, col.names = FALSE
  )
  lines <- readLines(page)
  fences <- grep("^```", lines)
  opening <- fences[c(TRUE, FALSE)]
  closing <- fences[c(FALSE, TRUE)]
  is_r <- lines[opening] == "```r"
  expect_identical(sum(is_r), 5L)
  code <- unlist(Map(function(from, to) lines[(from + 1):(to - 1)], opening[is_r], closing[is_r]))
  before <- setwd(home)
  on.exit(setwd(before))
  session <- new.env(parent = globalenv())
  utils::capture.output(
    suppressMessages(suppressWarnings(eval(parse(text = code, keep.source = FALSE), session)))
  )
  expect_equal(dim(session$latent), c(ncol(session$object), 20))
  agree <- table(cells$cell_type[colnames(session$object)], session$object$scmvp_cluster)
  expect_gt(sum(apply(agree, 2, max)), 0.9 * ncol(session$object))
  counts <- layer_data(session$object, "RNA", "counts")
  modeled <- rownames(counts)[Matrix::rowSums(counts > 0) >= 10]
  expect_identical(session$genes, modeled)
  expect_identical(rownames(session$object[["scMVP_RNA"]]), modeled[1:20])
  expect_identical(dim(session$means), c(5L, nlevels(session$object$scmvp_cluster)))
  expect_true(file.exists("peaks.h5") && dir.exists("model"))
  for (table in mget(c("markers", "connections", "networks", "links"), session)) {
    expect_gt(nrow(table), 0)
  }
})
