process_fit <- function(..., max.epochs = 3) {
  quick_fit(paired_object(), backend = "process", max.epochs = max.epochs, ...)
}

test_that("a process of its own gives the very result of reticulate, messages included", {
  skip_without_core()
  said <- testthat::capture_messages(
    object <- process_fit(impute.peaks = peak_names[1:4], verbose = TRUE)
  )
  expect_identical(
    SeuratObject::Embeddings(object[["scmvp"]]),
    SeuratObject::Embeddings(fitted_object()[["scmvp"]])
  )
  expect_identical(object$scmvp_cluster, fitted_object()$scmvp_cluster)
  for (assay in c("scMVP_RNA", "scMVP_ATAC")) {
    expect_equal(
      layer_data(object, assay, "data"), layer_data(fitted_object(), assay, "data"),
      tolerance = 1e-6
    )
  }
  expect_length(grep("^epoch [123]/3 ", said), 3)
  results <- results_of(object)
  expect_identical(results$options$backend, "process")
  expect_equal(results$history$elbo_train, results_of(fitted_object())$history$elbo_train)
  expect_identical(names(results$summary), names(results_of(fitted_object())$summary))
  expect_identical(results$model$weights, results_of(fitted_object())$model$weights)
})

test_that("imputation and projection run in a process as well", {
  object <- fitted_object()
  inside <- ImputeSCMVP(object, "peaks", as = "matrix")
  expect_equal(ImputeSCMVP(object, "peaks", as = "matrix", backend = "process"), inside)
  query <- ProjectSCMVP(object, paired_object(), backend = "process", verbose = FALSE)
  expect_equal(
    SeuratObject::Embeddings(query[["scmvp"]]), SeuratObject::Embeddings(object[["scmvp"]])
  )
})

test_that("what the core refuses is the same sentence from either", {
  skip_without_core()
  wrong <- rna_counts()
  wrong@x[1] <- 0.5
  for (backend in c("reticulate", "process")) {
    expect_refused(
      RunSCMVP(wrong, atac_counts(), n.clusters = 3, verbose = FALSE, backend = backend),
      "looks normalized: 0.5 .* is not an integer"
    )
  }
  expect_error(quick_fit(paired_object(), n.clusters = 80, backend = "process"), "n.clusters is 80")
})

test_that("a worker that is killed is one sentence, and the next fit works", {
  skip_without_core()
  skip_on_os("windows")
  state <- new.env()
  kill <- function(m) {
    if (!is.null(state$killed) || !grepl("^epoch 2/", conditionMessage(m))) return()
    state$killed <- TRUE
    # the only one this test has started
    workers <- system2("pgrep", c("-P", Sys.getpid(), "-f", "scmvp.worker"), stdout = TRUE)
    tools::pskill(as.integer(workers), tools::SIGKILL)
  }
  skip_if(Sys.which("pgrep") == "", "needs pgrep")
  object <- paired_object()
  expect_refused(
    suppressMessages(withCallingHandlers(
      quick_fit(object, max.epochs = 2000, batch.size = 8, backend = "process", verbose = TRUE),
      message = kill
    )),
    "was killed \\(signal 9\\), most often because memory ran out",
    class = "scmvp_error_core"
  )
  expect_s4_class(process_fit(max.epochs = 1), "Seurat")
})

test_that("an interpreter without the modules or without sense is refused before anything starts", {
  skip_on_os("windows")
  python <- tempfile("python")
  writeLines(c("#!/bin/sh", "echo 3.11.2", "echo torch", "echo 1.26.4"), python)
  Sys.chmod(python, "755")
  local_variables(SCMVP_PYTHON = python)
  expect_refused(
    process_fit(), "lacks torch: run install_scMVP", class = "scmvp_error_python"
  )
  writeLines(c(
    "#!/bin/sh", "case $1 in -m) echo 'Segmentation fault' >&2; exit 3;; esac",
    "echo 3.11.2", "echo", "echo 2.4.0"
  ), python)
  expect_refused(
    process_fit(), "ended with status 3 \\(Segmentation fault\\)", class = "scmvp_error_python"
  )
  Sys.setenv(SCMVP_PYTHON = "/no/where")
  expect_refused(process_fit(), "there is no Python", class = "scmvp_error_python")
})

test_that("NumPy 2 is no obstacle for a process", {
  new <- list(python = "/x/python", version = "3.11.2", missing = character(), numpy = "2.4.0")
  expect_null(why_unusable(new, inside = FALSE))
})

test_that("an interrupt keeps the best state of the worker, and a forked R uses a process", {
  skip_without_core()
  skip_on_os("windows")
  lines <- in_new_session(c(
    "object <- SimulateSCMVP(n.cells = 200, n.genes = 300, n.peaks = 400, n.types = 3)",
    "state <- new.env()",
    "fit <- withCallingHandlers(",
    "  RunSCMVP(object, n.clusters = 3, max.epochs = 3000, batch.size = 8, impute = 'none',",
    "    backend = 'process'),",
    "  message = function(m) {",
    "    if (is.null(state$sent) && grepl('^epoch 3/', conditionMessage(m))) {",
    "      state$sent <- TRUE",
    "      system(sprintf('(sleep 0.3; kill -INT %d) &', Sys.getpid()))",
    "    }",
    "  },",
    "  scmvp_warning_interrupted = function(w) cat('WARNED', conditionMessage(w), '\\n')",
    ")",
    "history <- SeuratObject::Misc(fit[['scmvp']])$history",
    "cat('KEPT', nrow(history), nrow(history) < 2000, dim(fit[['scmvp']]), '\\n')",
    # Python runs in this session (SimulateSCMVP has started it); its forks cannot use it
    "fits <- parallel::mclapply(1:2, mc.cores = 2, function(seed) {",
    "  scMVP::RunSCMVP(object, n.clusters = 3, max.epochs = 2, seed.use = seed, verbose = FALSE)",
    "})",
    "cat('FORKS', vapply(fits, function(f) SeuratObject::Misc(f[['scmvp']])$options$backend, ''),",
    "  '\\n')"
  ))
  shown <- paste(utils::tail(lines, 15), collapse = "\n")
  expect_length(grep("WARNED the fit was interrupted", lines), 1)
  expect_length(grep("^KEPT [0-9]+ TRUE", lines), 1)
  expect_length(grep("^FORKS process process", lines), 1)
  if (!any(grepl("^FORKS", lines))) fail(shown)
})
