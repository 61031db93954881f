# Order along a trajectory, against points whose order is known and against scanpy.

skip_if_not_installed("destiny")
skip_if_not_installed("igraph")

spearman <- function(x, y) stats::cor(x, y, method = "spearman")

test_that("points on a line have their order back, and a group's root is its tip", {
  skip_slow()
  line <- line_points()
  first <- rownames(line$points)[which.min(line$place)]
  found <- RunDiffusionSCMVP(line$points, root = first)
  expect_gt(spearman(found$pseudotime, line$place), 0.995)
  expect_identical(range(found$pseudotime), c(0, 1))
  expect_identical(names(found$pseudotime), rownames(line$points))
  expect_identical(dim(found$components), c(300L, 10L))
  part <- ifelse(line$place < 3, "start", ifelse(line$place > 8, "end", "middle"))
  for (group in c("start", "end")) {
    root <- RunDiffusionSCMVP(line$points, root = group, group.by = part)$root
    tip <- if (group == "start") min(line$place) else max(line$place)
    expect_lt(abs(line$place[match(root, rownames(line$points))] - tip), 0.2)
  }
  seconds <- c(start = 0, middle = 24, end = 1e5)[part]
  for (group in list(1e5, "100000")) {
    expect_identical(
      RunDiffusionSCMVP(line$points, root = group, group.by = unname(seconds))$root, root
    )
  }
})

test_that("few cells are ordered with fewer neighbors", {
  line <- line_points(25)
  found <- RunDiffusionSCMVP(line$points, root = rownames(line$points)[which.min(line$place)])
  expect_gt(spearman(found$pseudotime, line$place), 0.95)
  expect_identical(
    found$pseudotime,
    RunDiffusionSCMVP(
      line$points, root = rownames(line$points)[which.min(line$place)], n.neighbors = 24
    )$pseudotime
  )
})

test_that("pseudotime is destiny's own", {
  line <- line_points(100)
  found <- RunDiffusionSCMVP(line$points, root = "cell7", n.neighbors = 20)
  map <- seeded(0, suppressWarnings(
    destiny::DiffusionMap(unname(line$points), k = 20, n_eigs = 10)
  ))
  distance <- destiny::DPT(map, tips = 7)[7, seq_len(100)]
  expect_equal(unname(found$pseudotime), distance / max(distance), tolerance = 1e-6)
})

test_that("the branches of a fork are found", {
  skip_slow()
  fork <- fork_points()
  first <- rownames(fork$points)[which.min(fork$place)]
  found <- RunDiffusionSCMVP(fork$points, root = first)
  expect_gt(spearman(found$pseudotime, fork$place), 0.99)
  parts <- table(fork$part, found$branch)
  expect_gt(sum(apply(parts, 1, max)), 0.9 * length(fork$place))
  expect_length(unique(apply(parts, 1, which.max)), 3)
})

test_that("no failure of destiny is taken for a path without branches", {
  skip_if_not_installed("destiny")
  expect_error(branches_from(1, 1), "needs to be of class DiffusionMap")
})

test_that("destiny and scanpy agree on the order", {
  skip_slow()
  skip_without_core()
  invisible(core())
  skip_if_not(reticulate::py_module_available("scanpy"), "scanpy is not installed")
  fork <- fork_points(400)
  root <- which.min(fork$place)
  here <- RunDiffusionSCMVP(fork$points, root = rownames(fork$points)[root])
  there <- core()$diffusion(unname(fork$points), root = as.integer(root - 1))
  expect_gt(spearman(here$pseudotime, as.vector(reticulate::py_to_r(there$pseudotime))), 0.99)
})

test_that("Seurat objects and SingleCellExperiments come back with it, and random numbers stay", {
  skip_slow()
  object <- line_object()
  set.seed(11)
  expected <- stats::runif(1)
  set.seed(11)
  object <- RunDiffusionSCMVP(object, root = "0h", group.by = "hour")
  expect_identical(stats::runif(1), expected)
  expect_gt(spearman(object$scmvp_pseudotime, object$place), 0.99)
  expect_identical(dim(object[["scmvp_diffusion"]]), c(300L, 10L))
  expect_s3_class(object$scmvp_branch, "factor")
  again <- RunDiffusionSCMVP(object, root = "0h", group.by = "hour")
  expect_identical(again$scmvp_pseudotime, object$scmvp_pseudotime)
  skip_if_not_installed("SingleCellExperiment")
  sce <- sce_with(
    assay_counts(object[["RNA"]]),
    colData = S4Vectors::DataFrame(hour = object$hour),
    reducedDims = list(scmvp = SeuratObject::Embeddings(object[["scmvp"]]))
  )
  sce <- RunDiffusionSCMVP(sce, root = "0h", group.by = "hour")
  expect_equal(sce$scmvp_pseudotime, unname(object$scmvp_pseudotime))
  expect_true("scmvp_diffusion" %in% SingleCellExperiment::reducedDimNames(sce))
  table <- FeaturesAlongSCMVP(sce)
  expect_setequal(table$feature[1:2], c("rising", "falling"))
})

test_that("what has no order is refused", {
  line <- line_points()
  points <- line$points
  apart <- points
  apart[, 1] <- apart[, 1] + ifelse(line$place < 5, 0, 1000)
  expect_refused(RunDiffusionSCMVP(apart, root = "cell1"), "2 parts")
  expect_refused(RunDiffusionSCMVP(points[1:19, ], root = "cell1"), "19 cells")
  doubled <- rbind(points, copy = points[1, ])
  expect_refused(RunDiffusionSCMVP(doubled, root = "cell1"), "1 cell has the coordinates.*'copy'")
  expect_refused(RunDiffusionSCMVP(points, root = "nobody"), "'nobody' is not the name")
  expect_refused(RunDiffusionSCMVP(points), "root must be")
  expect_refused(
    RunDiffusionSCMVP(points, root = "b", group.by = rep("a", 300)),
    "not a group; the groups are 'a'"
  )
  expect_refused(RunDiffusionSCMVP(points, root = "a", group.by = rep("a", 300)), "all cells")
  expect_refused(RunDiffusionSCMVP(points, root = "cell1", n.neighbors = 300), "at most 297")
  expect_refused(RunDiffusionSCMVP(points * NA, root = "cell1"), "not finite")
  object <- line_object()
  expect_refused(RunDiffusionSCMVP(object, root = "cell1", reduction = "pca"), "'pca'")
  expect_refused(RunDiffusionSCMVP(object, root = "0h", group.by = "day"), "'day'")
  expect_refused(RunDiffusionSCMVP(object, root = "cell1", rot = 1), "did you mean root")
  expect_refused(
    RunDiffusionSCMVP(object, root = "cell1", reduction.name = "RNA"), "something else"
  )
})

test_that("a reduction of another kind is not replaced", {
  skip_slow()
  object <- line_object()
  points <- SeuratObject::Embeddings(object, "scmvp")[, 1:2]
  colnames(points) <- c("UMAP_1", "UMAP_2")
  object[["umap"]] <- SeuratObject::CreateDimReducObject(points, key = "UMAP_", assay = "RNA")
  run <- function(object, ...) RunDiffusionSCMVP(object, root = "cell1", ...)
  expect_refused(run(object, reduction.name = "umap"), "the name of something else")
  twice <- run(run(object, reduction.name = "dm"), reduction.name = "dm")
  expect_setequal(SeuratObject::Reductions(twice), c("scmvp", "umap", "dm"))
  # each has a key of its own
  three <- run(run(twice), reduction.name = "dm2", n.components = 4)
  maps <- c("dm", "dm2", "scmvp_diffusion")
  expect_setequal(SeuratObject::Reductions(three), c("scmvp", "umap", maps))
  expect_refused(run(twice, reduction = "umap", reduction.name = "scmvp"), "something else")
})
