test_that("simulated cells carry their truth and repeat with the seed", {
  skip_slow()
  skip_without_core()
  make <- function(seed) {
    SimulateSCMVP(n.cells = 60, n.genes = 100, n.peaks = 150, n.types = 3, seed = seed)
  }
  expect_silent(object <- make(1))
  expect_equal(dim(object[["RNA"]]), c(100, 60))
  expect_equal(dim(object[["ATAC"]]), c(150, 60))
  expect_true(are_ranges(rownames(object[["ATAC"]])))
  expect_identical(nlevels(object$cell_type), 3L)
  truth <- SeuratObject::Misc(object, "truth")
  expect_identical(dim(truth$rna), c(100L, 3L))
  expect_equal(unname(colSums(truth$atac)), rep(1, 3), tolerance = 1e-6)
  expect_true(all(truth$links$peak %in% rownames(object[["ATAC"]])))
  expect_true(all(truth$links$gene %in% rownames(object[["RNA"]])))
  same <- make(1)
  expect_identical(layer_data(same, "RNA", "counts"), layer_data(object, "RNA", "counts"))
  expect_false(identical(layer_data(make(2), "RNA", "counts"), layer_data(object, "RNA", "counts")))
})

test_that("impossible simulations are refused", {
  skip_without_core()
  expect_refused(SimulateSCMVP(n.cells = 0), "n.cells must be")
  expect_refused(SimulateSCMVP(n.genes = 5), "types need at least")
  expect_refused(SimulateSCMVP(cells = 5), "unknown argument 'cells'; did you mean n.cells")
})

test_that("a path can part into branches", {
  skip_without_core()
  object <- SimulateSCMVP(
    n.cells = 100, n.genes = 200, n.peaks = 300, ordered = TRUE, branches = 2, atac.lead = 0.1
  )
  expect_setequal(as.character(object$branch), c("trunk", "branch1", "branch2"))
  expect_true(all(object$pseudotime[object$branch == "trunk"] <= 0.6))
  expect_refused(SimulateSCMVP(branches = 2), "ordered")
})
