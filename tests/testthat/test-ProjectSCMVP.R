only <- function(object, assay) {
  SeuratObject::DefaultAssay(object) <- assay
  for (other in setdiff(SeuratObject::Assays(object), assay)) object[[other]] <- NULL
  object
}

embedding <- function(object) SeuratObject::Embeddings(object[["scmvp"]])

test_that("the fitted cells are embedded where the fit has put them", {
  object <- fitted_object()
  query <- ProjectSCMVP(object, paired_object(), verbose = FALSE)
  expect_equal(embedding(query), embedding(object), tolerance = 1e-5)
  expect_identical(query$scmvp_cluster, object$scmvp_cluster)
  expect_equal(query$scmvp_cluster_prob, object$scmvp_cluster_prob, tolerance = 1e-5)
  # with the model, so that everything else works on it
  expect_equal(
    ImputeSCMVP(query, as = "matrix"), ImputeSCMVP(object, as = "matrix"),
    tolerance = 1e-5
  )
  expect_equal(results_of(query)$history, results_of(object)$history)
  expect_true(results_of(query)$options$projected)
  expect_s4_class(SeuratObject::Command(query, "ProjectSCMVP.scmvp"), "SeuratCommand")
})

test_that("a query with one modality is embedded, and the other one imputed", {
  skip_slow()
  object <- SimulateSCMVP(n.cells = 400, n.genes = 300, n.peaks = 600, n.types = 3, seed = 2)
  cells <- colnames(object)
  reference <- quick_fit(subset(object, cells = cells[1:300]), max.epochs = 20, impute = "none")
  held_out <- subset(object, cells = cells[301:400])
  type <- held_out$cell_type
  agree <- function(query) {
    counts <- table(query$scmvp_cluster, type)
    sum(apply(counts, 1, max)) / sum(counts)
  }
  expect_gt(agree(ProjectSCMVP(reference, held_out, verbose = FALSE)), 0.9)
  rna <- ProjectSCMVP(reference, only(held_out, "RNA"), verbose = FALSE)
  atac <- ProjectSCMVP(reference, only(held_out, "ATAC"), verbose = FALSE)
  expect_identical(results_of(rna)$options$modality, "rna")
  expect_identical(results_of(atac)$options$modality, "peaks")
  expect_gt(agree(rna), 0.8)
  expect_gt(agree(atac), 0.8)
  # the accessibility that was never seen: that of the cells' own types, by the truth
  rna <- ImputeSCMVP(rna, "peaks")
  imputed <- layer_data(rna, "scMVP_ATAC", "data")
  truth <- SeuratObject::Misc(object, "truth")$atac[rownames(imputed), as.character(type)]
  profiles <- SeuratObject::Misc(object, "truth")$atac[rownames(imputed), ]
  marked <- order(-apply(profiles, 1, sd))[1:50]
  by_peak <- vapply(marked, function(i) cor(imputed[i, ], truth[i, ]), numeric(1))
  expect_gt(median(by_peak), 0.7)
})

test_that("a model trained elsewhere is attached from its folder, whatever the spelling of peaks", {
  skip_slow()
  skip_without_core()
  folder <- in_python(c(
    "import sys, scmvp",
    "cells = scmvp.simulate(n_cells=120, n_genes=150, n_peaks=200, n_types=3, seed=3)",
    "atac = cells.mod['atac']",
    "atac.var_names = [n.replace('-', ':', 1) for n in atac.var_names]",
    "scmvp.SCMVP((cells.mod['rna'], atac), n_clusters=3).train(max_epochs=3).save(sys.argv[1])"
  ), tempfile("model"))
  object <- SimulateSCMVP(n.cells = 120, n.genes = 150, n.peaks = 200, n.types = 3, seed = 3)
  attached <- ProjectSCMVP(folder, object, verbose = FALSE)
  here <- quick_fit(object, max.epochs = 3, impute = "none")
  expect_equal(embedding(attached), embedding(here), tolerance = 1e-4)
  expect_identical(nrow(results_of(attached)$history), 3L)
  # names of the object are those that can be imputed and tested
  expect_identical(FeaturesSCMVP(attached, "peaks"), FeaturesSCMVP(here, "peaks"))
  expect_true(all(grepl("^chr[^-]+:", FeaturesSCMVP(folder, "peaks"))))
  named <- FeaturesSCMVP(attached, "peaks")[1:3]
  tested <- DifferentialSCMVP(attached, "peaks", features = named, verbose = FALSE)
  expect_setequal(tested$feature, named)
  peaks <- rownames(object[["ATAC"]])[c(5, 2)]
  attached <- ImputeSCMVP(attached, "peaks", features = peaks)
  expect_identical(rownames(attached[["scMVP_ATAC"]]), peaks)
  expect_equal(
    layer_data(attached, "scMVP_ATAC", "data"),
    ImputeSCMVP(here, "peaks", features = peaks, as = "matrix"),
    tolerance = 1e-4
  )
})

test_that("features are matched by name, then by what the name means, and never twice", {
  modelled <- c("chr1:100-200", "chrUn_X1:5-10", "chr2-7-9", "spike")
  expect_identical(
    match_features(modelled, c("spike", "chr2-7-9", "chrUn-X1-5-10", "chr1_100_200"), "peaks"),
    c(4L, 3L, 2L, 1L)
  )
  # two columns that mean the same peak: neither is taken for it
  expect_identical(
    match_features("chr1:100-200", c("chr1-100-200", "chr1_100_200"), "peaks"), NA_integer_
  )
  expect_identical(match_features(c("A_1", "B"), c("B", "A-1"), "rna"), c(2L, 1L))
  counts <- rna_counts()[1:3, 1:4]
  moved <- rows_or_zero(counts, c(3L, NA, 1L))
  expect_equal(
    as.matrix(moved), rbind(as.matrix(counts)[3, ], 0, as.matrix(counts)[1, ]),
    ignore_attr = TRUE
  )
})

test_that("features that the query lacks count as zero, up to a limit", {
  skip_slow()
  object <- fitted_object()
  few <- paired_object()
  some <- SeuratObject::CreateSeuratObject(rna_counts()[1:55, ])
  some[["ATAC"]] <- few[["ATAC"]]
  expect_message(query <- ProjectSCMVP(object, some), "5 genes of the model \\(8.3 %\\)")
  zeroed <- rna_counts()
  zeroed[56:60, ] <- 0
  zero <- SeuratObject::CreateSeuratObject(zeroed)
  zero[["ATAC"]] <- few[["ATAC"]]
  expect_equal(embedding(query), embedding(ProjectSCMVP(object, zero, verbose = FALSE)))
  other <- rna_counts()
  rownames(other) <- paste0("ENSG", 1:60)
  expect_refused(
    ProjectSCMVP(object, other, verbose = FALSE), "the query has only 0 of the model's 60 genes"
  )
})

test_that("matrices, alone or together", {
  object <- fitted_object()
  both <- ProjectSCMVP(object, rna_counts(), atac_counts(), verbose = FALSE)
  expect_equal(both$latent, embedding(object), tolerance = 1e-5, ignore_attr = TRUE)
  expect_s3_class(both, "scMVPFit")
  atac <- ProjectSCMVP(object, peaks = atac_counts(), impute.genes = "Gene7", verbose = FALSE)
  expect_identical(dim(atac$rna), c(1L, 90L))
  expect_identical(rownames(atac$rna), "Gene7")
  expect_equal(
    ImputeSCMVP(atac, features = "Gene7"), atac$rna,
    tolerance = 1e-6
  )
})

test_that("what cannot be projected is refused in one sentence", {
  object <- fitted_object()
  rna <- only(paired_object(), "RNA")
  expect_refused(ProjectSCMVP(object, rna, modality = "joint"), "needs peak counts, and the query")
  expect_refused(ProjectSCMVP(object, rna, peak.assay = "ATAC"), "the object has no assay 'ATAC'")
  expect_refused(ProjectSCMVP(object, 1), "ProjectSCMVP\\(\\) takes a Seurat object")
  expect_refused(ProjectSCMVP(1, rna), "model must be an object that RunSCMVP")
  expect_refused(ProjectSCMVP(object, rna, modality = "both"), "modality must be one of")
  expect_refused(ProjectSCMVP(object, rna, peaks = "x"), "peaks is not for a Seurat object")
  expect_refused(
    ProjectSCMVP(paired_object(), rna), "no reduction 'scmvp'", class = "scmvp_error_model"
  )
  expect_refused(
    ProjectSCMVP(tempfile(), rna), "not a folder with a saved model", class = "scmvp_error_model"
  )
})

test_that("R and Python embed the same query in the same place", {
  skip_slow()
  object <- fitted_object()
  folder <- tempfile("model")
  SaveSCMVP(object, folder)
  model <- core()$SCMVP$load(folder)
  in_both <- function(rna, peaks, genes_said = NULL, peaks_said = NULL) {
    here <- ProjectSCMVP(object, rna, peaks, verbose = FALSE)
    said <- testthat::capture_messages(there <- with_python_warnings(
      reticulate::py_to_r(model$get_latent_representation(to_mudata(rna, peaks)))
    ))
    expect_equal(unname(here$latent), there, tolerance = 1e-5)
    for (pattern in c(genes_said, peaks_said)) expect_match(said, pattern, all = FALSE)
  }
  rna <- rna_counts()
  in_both(rna, atac_counts())
  in_both(rna[55:1, ], atac_counts()[100:1, ], "5 genes of the model", "20 peaks of the model")
  in_both(rna, atac_counts(sub("-", ":", peak_names)))
  in_both(rna, atac_counts(gsub("-", "_", peak_names)))
  # two rows that mean one peak: neither is taken for it
  peaks <- atac_counts()
  rownames(peaks)[1:2] <- c("chr1:2000-2500", "chr1_2000_2500")
  in_both(rna, peaks, peaks_said = "2 peaks of the model")
  # too few of either
  expect_refused(
    ProjectSCMVP(object, rna[1:30, ], atac_counts(), verbose = FALSE), "only 30 of the model's 60"
  )
  expect_refused(
    from_core(model$get_latent_representation(to_mudata(rna[1:30, ], atac_counts()))),
    "only 30 of the model's 60"
  )
})

test_that("a query counted in another way than the fitted cells is told", {
  object <- fitted_object()
  doubled <- 2 * atac_counts()
  said <- testthat::capture_messages(
    query <- ProjectSCMVP(object, rna_counts(), doubled, verbose = FALSE)
  )
  expect_match(said, "look like insertions.*read as fragments", all = FALSE)
  expect_equal(query$latent, embedding(object), tolerance = 1e-5, ignore_attr = TRUE)
})
