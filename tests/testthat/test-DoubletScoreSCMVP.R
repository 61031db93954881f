skip_without_core()

# Counts of which the first cells are sums of two cells of different types; see block_counts().
with_doublets <- function(n) {
  lapply(list(rna = rna_counts(), peaks = atac_counts()), function(counts) {
    two <- seq_len(n)
    counts[, two] <- counts[, two] + counts[, two + 31]
    methods::as(counts, "CsparseMatrix")
  })
}

doublets <- cell_names[1:9]

scored <- local({
  object <- NULL
  function() {
    if (is.null(object)) {
      counts <- with_doublets(length(doublets))
      paired <- SeuratObject::CreateSeuratObject(counts$rna, assay = "RNA")
      paired[["ATAC"]] <- SeuratObject::CreateAssayObject(counts$peaks)
      object <<- DoubletScoreSCMVP(quick_fit(paired), verbose = FALSE)
    }
    object
  }
})

test_that("doublets have higher scores, and scores go with the name of a cell", {
  skip_slow()
  object <- scored()
  scores <- stats::setNames(object$scmvp_doublet_score, colnames(object))
  expect_true(all(scores >= 0 & scores <= 1))
  others <- setdiff(cell_names, doublets)
  # the probability that a doublet is above another cell
  expect_gt(mean(outer(scores[doublets], scores[others], `>`)), 0.85)
  turned <- object[, rev(cell_names)]
  turned$scmvp_doublet_score <- NULL
  expect_message(
    turned <- DoubletScoreSCMVP(turned),
    sprintf("about %d doublets? of different kinds among 90 cells", round(sum(scores)))
  )
  expect_equal(
    stats::setNames(turned$scmvp_doublet_score, colnames(turned))[cell_names], scores
  )
  set.seed(1)
  before <- .Random.seed
  other <- DoubletScoreSCMVP(object, seed.use = 3, n.simulated = 100, verbose = FALSE)
  expect_identical(.Random.seed, before)
  expect_false(identical(unname(other$scmvp_doublet_score), unname(scores)))
})

test_that("experiments, matrices and a process of its own have the same scores", {
  skip_slow()
  object <- scored()
  counts <- with_doublets(length(doublets))
  expected <- stats::setNames(object$scmvp_doublet_score, colnames(object))
  score <- function(...) DoubletScoreSCMVP(..., verbose = FALSE)
  process <- score(object, backend = "process")
  expect_equal(process$scmvp_doublet_score, object$scmvp_doublet_score, tolerance = 1e-6)
  alone <- quick_fit(counts$rna, peaks = counts$peaks)
  shuffled <- counts$peaks[, rev(cell_names)]
  found <- score(alone, rna = counts$rna, peaks = shuffled)
  expect_equal(found$doublet_score, expected, tolerance = 1e-5)
  expect_identical(found$cluster, alone$cluster)
  expect_identical(found$cluster_prob, alone$cluster_prob)
  expect_refused(score(alone, rna = counts$rna), "object has no counts of peaks: give them with")
  skip_if_not_installed("SingleCellExperiment")
  sce <- quick_fit(sce_with(counts$rna, altExps = list(peaks = sce_with(counts$peaks))))
  found <- SummarizedExperiment::colData(score(sce))[["scmvp_doublet_score"]]
  expect_equal(found, unname(expected), tolerance = 1e-5)
})

test_that("cells of one modality have no score", {
  skip_slow()
  rna <- rna_counts()[, 1:85]
  peaks <- atac_counts()[, 10:90]
  fit <- quick_fit(rna, peaks = peaks, mosaic = TRUE)
  scores <- DoubletScoreSCMVP(fit, rna = rna, peaks = peaks, verbose = FALSE)$doublet_score
  expect_setequal(names(scores), cell_names)
  expect_setequal(names(scores)[is.na(scores)], cell_names[c(1:9, 86:90)])
})

test_that("what cannot be scored is refused", {
  skip_slow()
  object <- scored()
  expect_refused(DoubletScoreSCMVP(1), "takes the result of RunSCMVP\\(\\)")
  expect_refused(DoubletScoreSCMVP(paired_object()), "no reduction 'scmvp'", "scmvp_error")
  expect_refused(DoubletScoreSCMVP(object, n.simulated = 3), "n.simulated must be a whole number")
  expect_refused(DoubletScoreSCMVP(object, simulated = 3), "unknown argument 'simulated'")
  few <- object[, cell_names[1:40]]
  expect_refused(DoubletScoreSCMVP(few, verbose = FALSE), "40 cells have counts in both")
  one <- object[, object$scmvp_cluster == "0"]
  expect_refused(DoubletScoreSCMVP(one, verbose = FALSE), "too few|to one component")
  without <- object
  without[["ATAC"]] <- NULL
  expect_refused(
    DoubletScoreSCMVP(without),
    "the object has no counts of peaks: put assay 'ATAC' back"
  )
  expect_s4_class(DoubletScoreSCMVP(without, peaks = with_doublets(9)$peaks), "Seurat")
})
