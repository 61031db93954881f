# What is seen of long work, and what an interrupt does in it.

shown_of <- function(events, redraws = FALSE) {
  testthat::capture_messages(watched(TRUE, function(watch) {
    for (event in events) watch$stage(event)
  }, redraws))
}

stage_event <- function(stage, share, seconds) {
  list(stage = stage, share = share, seconds = seconds)
}

test_that("a stage that takes long has two lines, a short one has none", {
  long <- list(
    stage_event("baking", 0, 0), stage_event("baking", 0.1, 0.6), stage_event("baking", 0.4, 3),
    stage_event("baking", 1, 7.2)
  )
  expect_identical(shown_of(long), c("baking\n", "baking: 7 s\n"))
  short <- list(stage_event("b", 0, 0), stage_event("b", 0.5, 0.2), stage_event("b", 1, 0.4))
  expect_identical(shown_of(short), character())
  expect_identical(shown_of(c(short, long)), shown_of(long))
  # after a long one the others are said at once
  expect_identical(shown_of(c(long, short)), c(shown_of(long), "b\n"))
})

test_that("a stage of R's own is said at once, and done when R is", {
  said <- testthat::capture_messages(watched(TRUE, function(watch) {
    watch$during("reading", {
      # the core's part of it, and another one inside
      for (event in list(
        stage_event("reading", 0, 0), stage_event("reading", 0.5, 3),
        stage_event("loading", 0, 0), stage_event("loading", 1, 4), stage_event("reading", 1, 9)
      )) {
        watch$stage(event)
      }
    })
  }))
  expect_identical(said, c("reading\n", "loading: 4 s\n"))
})

test_that("nothing is seen without verbose, but an interrupt is told", {
  value <- NULL
  expect_silent(value <- watched(FALSE, function(watch) {
    expect_null(watch$stage)
    expect_null(watch$epoch)
    watch$during("baking", 5)
  }))
  expect_identical(value, 5)
  stop_in <- function(verbose, f) {
    testthat::capture_messages(tryCatch(watched(verbose, f), interrupt = function(i) NULL))
  }
  baking <- function(watch) watch$during("baking", rlang::interrupt())
  sentence <- "interrupted (baking): nothing was changed.\n"
  expect_identical(stop_in(FALSE, baking), sentence)
  expect_identical(stop_in(TRUE, baking), c("baking\n", sentence))
  expect_identical(
    stop_in(FALSE, function(watch) rlang::interrupt()), "interrupted: nothing was changed.\n"
  )
})

test_that("nothing jumps out of what the core calls, and an interrupt there is known", {
  called <- from_core_to_user(function(event) stop("no"))
  expect_false(called(list()))
  expect_false(from_core_to_user(identity)(list()))
  expect_true(from_core_to_user(function(event) rlang::interrupt())(list()))
})

test_that("a console that can has one line, drawn again and cleared", {
  said <- shown_of(list(
    stage_event("baking", 0, 0), stage_event("baking", 0.25, 1.2), stage_event("baking", 0.5, 2.1),
    stage_event("baking", 1, 7.2)
  ), redraws = TRUE)
  expect_identical(said[1:2], c("\rbaking  25 %  1 s", "\rbaking  50 %  2 s"))
  expect_match(said[3], "^\r +\r$")
  expect_identical(said[4], "baking: 7 s\n")
})

test_that("reading, projecting and imputing are silent when told so, by both backends", {
  skip_slow()
  object <- fitted_object()
  folder <- write_pair()
  for (backend in c("reticulate", "process")) {
    expect_message(ReadSCMVP(folder, backend = backend), paste0("^reading ", basename(folder)))
    expect_no_message(read <- ReadSCMVP(folder, backend = backend, verbose = FALSE))
    expect_message(ProjectSCMVP(object, read, backend = backend), "^embedding the cells")
    expect_no_message(ProjectSCMVP(object, read, backend = backend, verbose = FALSE))
    expect_no_message(ImputeSCMVP(object, "peaks", backend = backend, verbose = FALSE))
    expect_no_message(quick_fit(read, backend = backend))
    said <- testthat::capture_messages(
      RunSCMVP(folder, backend = backend, n.clusters = 3, max.epochs = 1, impute = "none")
    )
    expect_length(grep("^reading pair[^:]*\n$", said), 1)
    expect_length(grep("^checking the counts\n$", said), 1)
    expect_no_message(RunSCMVP(
      folder,
      backend = backend, n.clusters = 3, max.epochs = 1, impute = "none", verbose = FALSE
    ))
  }
})

# Python code that makes every search of a correspondence analysis half a second longer; what it was
# is kept as `product`.
slow_searches <- c(
  "import time, scmvp.data.spectral as spectral",
  "product = spectral.residuals",
  "spectral.residuals = lambda *arguments: time.sleep(0.6) or product(*arguments)"
)

test_that("an interrupt in a correspondence analysis is heard, and R goes on", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  # what a worker's Python runs first
  folder <- tempfile("first")
  dir.create(folder)
  writeLines(slow_searches, file.path(folder, "sitecustomize.py"))
  for (backend in c("reticulate", "process")) {
    lines <- in_new_session(c(
      "object <- SimulateSCMVP(n.cells = 250, n.genes = 300, n.peaks = 400, n.types = 3)",
      sprintf("backend <- '%s'", backend),
      "if (backend == 'reticulate') {",
      sprintf("  reticulate::py_run_file('%s')", file.path(folder, "sitecustomize.py")),
      sprintf("} else Sys.setenv(PYTHONPATH = '%s')", folder),
      "before <- object",
      "fit <- function(...) RunSCMVP(object, n.clusters = 3, max.epochs = 1, impute = 'none',",
      "  backend = backend, ...)",
      "result <- tryCatch(",
      "  at_message(fit(), '^correspondence analysis of RNA', function() interrupt_in(0.3)),",
      "  interrupt = function(i) 'interrupted'",
      ")",
      "cat('RESULT', result, identical(before, object), '\\n')",
      "if (backend == 'reticulate') {",
      "  reticulate::py_run_string('spectral.residuals = product')",
      "} else Sys.unsetenv('PYTHONPATH')",
      "cat('NEXT', dim(fit(verbose = FALSE)[['scmvp']]), '\\n')"
    ))
    expect_line(lines, "^RESULT interrupted TRUE")
    expect_line(lines, "^interrupted \\(correspondence analysis of RNA\\): nothing was changed[.]$")
    expect_line(lines, "^NEXT 250 20")
    # it stopped there
    expect_line(lines, "correspondence analysis of peaks|^epoch", 0)
  }
})
