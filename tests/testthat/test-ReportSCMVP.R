skip_without_core()

cells_of_report <- function(file) {
  text <- paste(readLines(file, warn = FALSE), collapse = "\n")
  text <- sub(".*id=\"cells\">", "", text)
  jsonlite::fromJSON(sub("</script>.*", "", text), simplifyVector = FALSE)
}

test_that("a report has the clusters, the metadata and the map of the object", {
  skip_slow()
  object <- fitted_object()
  object$score <- seq_len(ncol(object)) / 2
  halves <- c("right", "neither", "left")
  object$half <- factor(rep(c("left", "right"), length.out = ncol(object)), halves)
  places <- matrix(stats::rnorm(2 * ncol(object)), ncol = 2)
  dimnames(places) <- list(colnames(object), c("UMAP_1", "UMAP_2"))
  object[["umap"]] <- SeuratObject::CreateDimReducObject(places, key = "UMAP_", assay = "RNA")
  file <- tempfile(fileext = ".html")
  expect_identical(suppressMessages(ReportSCMVP(object, file, markers = 2)), file)
  data <- cells_of_report(file)
  expect_identical(unlist(data$names), colnames(object))
  columns <- stats::setNames(data$columns, vapply(data$columns, `[[`, "", "name"))
  expect_equal(unlist(columns$cluster$values), as.integer(as.character(object$scmvp_cluster)))
  expect_equal(unlist(columns$score$values), unname(object$score))
  expect_identical(unlist(columns$half$levels), c("right", "left"))
  expect_identical(unlist(columns$half$values), rep(c(1L, 0L), length.out = ncol(object)))
  x <- places[, 1]
  expect_equal(unlist(data$x), unname((x - min(x)) / diff(range(x))), tolerance = 1e-3)
  text <- paste(readLines(file, warn = FALSE), collapse = "\n")
  expect_match(text, "<h2>Markers</h2>", fixed = TRUE)
  # at the level that the object has
  two <- ClusterSCMVP(object, n.clusters = 2, verbose = FALSE)
  ReportSCMVP(two, file, columns = "half", verbose = FALSE)
  data <- cells_of_report(file)
  columns <- vapply(data$columns, `[[`, "", "name")
  expect_true("half" %in% columns && !"score" %in% columns)
  expect_length(data$columns[[1]]$levels, 2)
  # markers of named groups, in the order of the factor
  ReportSCMVP(object, file, columns = "score", group.by = "half", verbose = FALSE)
  text <- paste(readLines(file, warn = FALSE), collapse = " ")
  expect_match(text, "called, by group of half: right: [0-9]+, left: [0-9]+<")
})

test_that("without the counts there is what the fit has", {
  skip_slow()
  counts <- named_counts()
  fit <- suppressMessages(RunSCMVP(
    counts$rna, counts$peaks,
    n.clusters = 3, max.epochs = 2, impute = "none", verbose = FALSE
  ))
  file <- tempfile(fileext = ".html")
  ReportSCMVP(fit, file, verbose = FALSE)
  expect_match(paste(readLines(file, warn = FALSE), collapse = " "), "need the counts of the cells")
  ReportSCMVP(fit, file, rna = counts$rna, peaks = counts$peaks, verbose = FALSE)
  text <- paste(readLines(file, warn = FALSE), collapse = " ")
  expect_match(text, "<h2>Modalities</h2>")
  # a gene that is not there any more counts as zero, and cells go by name
  shuffled <- rev(colnames(counts$rna))
  said <- capture_messages(
    ReportSCMVP(fit, file, rna = counts$rna[-1, shuffled], peaks = counts$peaks)
  )
  expect_match(paste(said, collapse = ""), "1 gene of the model")
  depth <- Filter(function(x) grepl("^RNA", x$name), cells_of_report(file)$columns)[[1]]
  expected <- log10(Matrix::colSums(counts$rna[-1, rownames(fit$latent)]) + 1)
  expect_equal(unlist(depth$values), unname(expected), tolerance = 1e-3)
})

test_that("what a report cannot show is refused, and no file is made", {
  object <- fitted_object()
  file <- tempfile(fileext = ".html")
  expect_refused(ReportSCMVP(object, file, columns = "none"), "is not among the metadata")
  expect_refused(ReportSCMVP(object, file, umap = "scmvp"), "name a two-dimensional reduction")
  expect_refused(ReportSCMVP(object, file, umap = "none"), "run RunUMAP\\(\\) first")
  expect_refused(ReportSCMVP(object, file, markers = 0), "markers must be a whole number")
  expect_refused(
    ReportSCMVP(object, file, group.by = "none"), "group.by.*is not among the metadata"
  )
  expect_error(ReportSCMVP(paired_object(), file), class = "scmvp_error_model")
  expect_false(file.exists(file))
})
