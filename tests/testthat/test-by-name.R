# Cells are matched by name, whatever their order.

test_that("results reach the cells by their names, in every class", {
  skip_slow()
  ids <- stats::setNames(seq_len(n_cells), cell_names)
  cells <- with_seed(1, sample(cell_names))
  values <- function(n) matrix(ids[cells], length(cells), n, dimnames = list(cells, NULL))
  columns <- data.frame(x_cluster = factor(cells), number = ids[cells], row.names = cells)
  put <- function(object, home = NULL) {
    pair <- parts_of(object)
    source <- Filter(function(part) any(part$features %in% gene_names), pair)[[1]]$source
    imputed <- t(values(2))
    dimnames(imputed) <- list(gene_names[1:2], cells)
    put_results(object, new_results(
      reduction = list(name = "x", key = "x_", values = values(3), misc = list(), part = "RNA"),
      columns = columns, home = home,
      imputed = list(list(
        name = "x_RNA", key = "xrna_", values = imputed, source = source,
        mark = list(reduction = "x", fit = "1", modality = "rna", library.size = 1e4, log = TRUE)
      ))
    ))
  }
  expect_by_name <- function(object, imputed, home = NULL) {
    data <- cell_data(object, home)
    own <- rownames(data)
    expect_setequal(own, cell_names)
    expect_identical(unname(data$number), unname(ids[own]))
    expect_identical(as.character(data$x_cluster), own)
    latent <- latent_of(object, "x")
    expect_equal(unname(latent[, 2]), unname(ids[rownames(latent)]))
    expect_equal(unname(as.matrix(imputed)[2, ]), unname(ids[colnames(imputed)]))
  }
  seurat <- put(paired_object())
  expect_by_name(seurat, layer_data(seurat, "x_RNA", "data"))
  # columns of a result on matrices go with its latent
  fit <- structure(list(latent = values(1)[cell_names, , drop = FALSE]), class = "scMVPFit")
  fit <- put_results(fit, new_results(columns = data.frame(
    scmvp_cluster = factor(cells), row.names = cells
  )))
  expect_identical(as.character(cell_data(fit)$scmvp_cluster), rownames(cell_data(fit)))

  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_of()
  imputed <- function(of) {
    SummarizedExperiment::assay(SingleCellExperiment::altExp(of, "x_RNA"), "logcounts")
  }
  found <- put(sce)
  expect_by_name(found, imputed(found))
  skip_if_not_installed("MultiAssayExperiment")
  whole <- MultiAssayExperiment::MultiAssayExperiment(list(
    rna = sce, peaks = SummarizedExperiment::SummarizedExperiment(list(counts = atac_counts()))
  ))
  whole <- suppressMessages(put(whole, "rna"))
  expect_by_name(whole[["rna"]], imputed(whole[["rna"]]))
  data <- SummarizedExperiment::colData(whole)
  expect_identical(unname(data$number), unname(ids[rownames(data)]))
})
