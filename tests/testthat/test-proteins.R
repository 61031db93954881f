test_that("proteins of a Seurat object are a third modality, imputed without background", {
  skip_slow()
  skip_without_core()
  given <- cells_with_proteins()
  object <- given$object
  object[["ADT"]] <- SeuratObject::CreateAssayObject(given$counts[, colnames(object)])
  said <- capture.output(
    object <- RunSCMVP(
      object,
      protein.assay = "ADT", n.clusters = 3, max.epochs = 12, impute = "none",
      impute.proteins = TRUE
    ),
    type = "message"
  )
  expect_match(said, "protein assay 'ADT' \\(12 proteins\\)", all = FALSE)
  expect_match(said, "12 of 12 proteins, without their background", all = FALSE)
  values <- layer_data(object, "scMVP_ADT", "data")
  expect_identical(dimnames(values), list(paste0("CD", 1:12), colnames(object)))
  expect_gt(stats::median(expm1(values)[given$on]), 10 * stats::median(expm1(values)[!given$on]))
  again <- ImputeSCMVP(object, "protein", features = c("CD3", "CD1"), as = "matrix")
  expect_equal(again, values[c("CD3", "CD1"), ], tolerance = 1e-5)
  expect_identical(results_of(object)$options$protein.assay, "ADT")
})

test_that("proteins of an alternative experiment are one, too", {
  skip_slow()
  skip_without_core()
  skip_if_not_installed("SingleCellExperiment")
  given <- cells_with_proteins()
  counts <- function(name) layer_data(given$object, name, "counts")
  object <- sce_with(counts("RNA"))
  SingleCellExperiment::altExp(object, "ATAC") <- sce_with(counts("ATAC"))
  SingleCellExperiment::altExp(object, "ADT") <- sce_with(given$counts[, colnames(object)])
  object <- RunSCMVP(
    object,
    protein.experiment = "ADT", n.clusters = 3, max.epochs = 3, verbose = FALSE
  )
  object <- ImputeSCMVP(object, "protein", verbose = FALSE)
  imputed <- SingleCellExperiment::altExp(object, "scMVP_ADT")
  expect_identical(dim(imputed), c(12L, 150L))
  expect_identical(SummarizedExperiment::assayNames(imputed), "logcounts")
})

test_that("the class of the object makes no difference, nor the order of its cells", {
  skip_without_core()
  skip_slow()
  skip_if_not_installed("MultiAssayExperiment")
  given <- cells_with_proteins()
  rna <- layer_data(given$object, "RNA", "counts")
  peaks <- layer_data(given$object, "ATAC", "counts")
  sce <- sce_with(rna)
  SingleCellExperiment::altExp(sce, "ATAC") <- sce_with(peaks)
  SingleCellExperiment::altExp(sce, "Prot") <- sce_with(given$counts[, colnames(sce)])
  data <- S4Vectors::DataFrame(type = given$object$cell_type, row.names = colnames(rna))
  mae <- MultiAssayExperiment::MultiAssayExperiment(
    list(RNA = sce_with(rna), ATAC = sce_with(peaks), Prot = sce_with(given$counts)), data
  )
  fit <- function(x, ...) RunSCMVP(x, ..., n.clusters = 3, max.epochs = 2, verbose = FALSE)
  of_matrices <- fit(rna, peaks, proteins = given$counts, backend = "process")
  found <- list(
    fit(sce, protein.experiment = "Prot"), fit(mae, protein.experiment = "Prot")
  )
  for (object in found) {
    latent <- latent_of(object)
    expect_equal(unname(latent), unname(of_matrices$latent[rownames(latent), ]), tolerance = 1e-6)
    table <- DifferentialSCMVP(object, "protein", verbose = FALSE)
    same <- DifferentialSCMVP(
      of_matrices, "protein",
      rna = rna, peaks = peaks, proteins = given$counts, verbose = FALSE
    )
    expect_equal(table$lfc, same$lfc, tolerance = 1e-5)
    again <- ProjectSCMVP(of_matrices, object, reduction.name = "again", verbose = FALSE)
    expect_equal(unname(latent_of(again, "again")), unname(latent), tolerance = 1e-4)
  }
})

test_that("cells are embedded from their proteins, too, or from what else they have", {
  skip_slow()
  given <- fitted_with_proteins()
  latent <- SeuratObject::Embeddings(given$object[["scmvp"]])
  project <- function(query, ...) ProjectSCMVP(given$object, query, verbose = FALSE, ...)
  cells <- colnames(given$plain)[c(120:1)]
  query <- subset(given$plain, cells = cells)
  again <- SeuratObject::Embeddings(project(query)[["scmvp"]])
  # the very cells of the fit are where the fit has them
  expect_equal(unname(again), unname(latent[rownames(again), ]), tolerance = 1e-4)
  proteins <- layer_data(query, "ADT", "counts")
  of_matrices <- project(
    layer_data(query, "RNA", "counts"), layer_data(query, "ATAC", "counts"), proteins = proteins
  )
  expect_equal(unname(of_matrices$latent[rownames(again), ]), unname(again), tolerance = 1e-4)

  # fewer modalities: cells of one type are still together
  right <- function(query, ...) {
    found <- TransferLabelsSCMVP(given$object, project(query, ...), "cell_type")
    mean(as.character(found$scmvp_transfer_label) == found$cell_type)
  }
  expect_gt(right(without(query, "ATAC")), 0.9)
  expect_gt(right(query, modality = "protein"), 0.9)
  only <- SeuratObject::CreateSeuratObject(proteins, assay = "ADT")
  only$cell_type <- query$cell_type
  expect_gt(right(only, impute.proteins = TRUE), 0.9)
  imputed <- project(only, impute.proteins = TRUE)
  expect_identical(dim(imputed[["scMVP_ADT"]]), c(12L, 120L))
  expect_identical(results_of(imputed)$options$modality, "protein")
  lacking <- without(query, "ADT")
  expect_refused(
    project(lacking, modality = "protein"), "modality = \"protein\" needs protein counts"
  )
})

test_that("proteins that differ between types are called, on the right side", {
  skip_slow()
  given <- fitted_with_proteins()
  kind <- factor(given$object$cell_type)
  for (type in 1:3) {
    table <- DifferentialSCMVP(
      given$object, "protein",
      group.by = "cell_type", ident.1 = levels(kind)[type], verbose = FALSE
    )
    own <- given$on[match(table$feature, paste0("CD", 1:12)), match(type, as.integer(kind))]
    expect_identical(table$lfc > 0, own)
    expect_true(all(table$is_de))
    # 85 counts against 5, or 5 against the mean of 5 and 85
    expect_equal(table$lfc, ifelse(own, log2(85 / 5), log2(5 / 45)), tolerance = 0.1)
  }
  bare <- without(given$object, "ADT")
  expect_refused(
    DifferentialSCMVP(bare, "protein", verbose = FALSE),
    "counts of the proteins are not in the object: put assay 'ADT' back, or .* with proteins ="
  )
  # given beside the object, in any order
  counts <- layer_data(given$object, "ADT", "counts")[12:1, rev(colnames(given$object))]
  beside <- DifferentialSCMVP(
    bare, "protein",
    group.by = "cell_type", ident.1 = levels(kind)[3], proteins = counts, verbose = FALSE
  )
  expect_equal(beside$lfc, table$lfc[match(beside$feature, table$feature)], tolerance = 1e-5)
})

test_that("proteins are summed, compared and followed as other features are", {
  skip_slow()
  given <- fitted_with_proteins()
  object <- given$object
  counts <- as.matrix(layer_data(object, "ADT", "counts"))
  sums <- PseudobulkSCMVP(
    object, "donor",
    group.by = "cell_type", modality = "protein", verbose = FALSE, min.cells = 1
  )
  unit <- paste(object$cell_type, object$donor, sep = "_")
  expect_equal(as.matrix(sums$counts), t(rowsum(t(counts), unit))[, colnames(sums$counts)])
  arguments <- list(verbose = FALSE, min.cells = 1, min.count = 0)
  if (requireNamespace("edgeR", quietly = TRUE)) {
    of <- function(x, condition, sample, group, ...) {
      do.call(DifferentialConditionsSCMVP, c(
        list(x, condition, sample, group.by = group), arguments, list(...)
      ))
    }
    expect_equal(
      of(object, "condition", "donor", "cell_type", modality = "protein"),
      of(counts, object$condition, object$donor, object$cell_type)
    )
  }
  time <- seq_len(ncol(object))
  object$scmvp_pseudotime <- time
  expect_equal(
    FeaturesAlongSCMVP(object, assay = "ADT"), FeaturesAlongSCMVP(counts, pseudotime = time)
  )
})

test_that("doublets, the report and the plot of imputed values have proteins", {
  skip_slow()
  given <- fitted_with_proteins()
  object <- DoubletScoreSCMVP(given$object, verbose = FALSE)
  expect_false(anyNA(object$scmvp_doublet_score))
  expect_refused(
    DoubletScoreSCMVP(without(given$object, "ADT"), verbose = FALSE),
    "no counts of proteins: put assay 'ADT' back"
  )
  file <- tempfile(fileext = ".html")
  ReportSCMVP(given$object, file, verbose = FALSE)
  page <- paste(readLines(file), collapse = " ")
  expect_match(page, "<h3>Proteins</h3>")
  expect_match(page, "CD12", fixed = TRUE)
  skip_if_not_installed("ggplot2")
  plot <- PlotSCMVPImputation(given$object, c("CD1", "CD2"), "protein")
  shown <- plot$data[plot$data$feature == "CD1", ]
  on <- given$on[1, ]
  expect_gt(min(shown$imputed[on]), max(shown$imputed[!on]))
  counts <- as.matrix(layer_data(given$object, "ADT", "counts"))
  expect_equal(shown$measured, unname(log1p(1e4 * counts["CD1", ] / colSums(counts))))
})

test_that("proteins that are not there are refused", {
  object <- cells_with_proteins()$object
  fit <- function(...) RunSCMVP(object, n.clusters = 3, max.epochs = 1, verbose = FALSE, ...)
  expect_refused(fit(protein.assay = "ADT"), "no assay 'ADT' \\(protein.assay\\)")
  expect_refused(
    fit(protein.assay = "RNA", rna.assay = "RNA"), "rna.assay and protein.assay are both 'RNA'"
  )
  expect_refused(fit(protein.assay = "ATAC"), "'ATAC' .* genomic ranges: name the .* with proteins")
  expect_refused(fit(impute.proteins = TRUE), "there are no proteins: name their assay")
  expect_refused(
    fit(proteins = matrix(1, 2, 2)), "proteins is not for a Seurat object: .* with protein.assay"
  )
  expect_refused(fit(modalities = "protein"), "no protein assay found: .* with protein.assay =")
  expect_refused(fit(protein.experiment = "ADT"), "protein.experiment is not for a Seurat object")
})

test_that("proteins of a file become an assay", {
  skip_slow()
  skip_without_core()
  given <- cells_with_proteins()
  parts <- list(
    "Gene Expression" = layer_data(given$object, "RNA", "counts"),
    Peaks = layer_data(given$object, "ATAC", "counts"),
    "Antibody Capture" = as(given$counts[, colnames(given$object)], "CsparseMatrix")
  )
  written <- function(types) {
    folder <- tempfile("matrix-")
    dir.create(folder)
    all <- do.call(rbind, unname(parts[types]))
    Matrix::writeMM(all, file.path(folder, "matrix.mtx"))
    writeLines(colnames(all), file.path(folder, "barcodes.tsv"))
    type <- rep(types, vapply(parts[types], nrow, 1L))
    writeLines(
      paste(rownames(all), rownames(all), type, sep = "\t"), file.path(folder, "features.tsv")
    )
    folder
  }
  object <- ReadSCMVP(written(names(parts)), verbose = FALSE)
  expect_identical(SeuratObject::Assays(object), c("RNA", "ATAC", "ADT"))
  expect_equal(
    as.matrix(layer_data(object, "ADT", "counts")), given$counts[, colnames(object)],
    ignore_attr = FALSE
  )
  # CITE-seq
  path <- written(names(parts)[c(1, 3)])
  object <- ReadSCMVP(path, verbose = FALSE)
  expect_identical(SeuratObject::Assays(object), c("RNA", "ADT"))
  expect_equal(
    as.matrix(layer_data(object, "ADT", "counts")), given$counts[, colnames(object)]
  )
  fit <- RunSCMVP(
    path,
    modalities = c("rna", "protein"), n.clusters = 3, max.epochs = 1, verbose = FALSE
  )
  expect_identical(results_of(fit)$options$protein.assay, "ADT")
})
