good <- list(python = "/x/python", version = "3.11.2", missing = character(), numpy = "1.26.4")

test_that("an interpreter that cannot run the core is told with what to do", {
  expect_null(why_unusable(good))
  expect_match(why_unusable(NULL)$what, "does not run")
  expect_match(why_unusable(modifyList(good, list(version = "3.8.10")))$what, "needs 3.10 or later")
  lacking <- why_unusable(modifyList(good, list(missing = c("torch", "sklearn"))))
  expect_match(lacking$what, "lacks torch, scikit-learn")
  expect_match(lacking$remedy, "/x/python -m pip install torch scikit-learn")
  skip_if(utils::packageVersion("reticulate") >= "1.38", "this reticulate can use NumPy 2")
  expect_match(why_unusable(modifyList(good, list(numpy = "2.1.0")))$remedy, "numpy<2")
})

test_that("SCMVP_PYTHON comes first, as interpreter or as environment", {
  skip_on_os("windows")
  environment <- tempfile("env")
  dir.create(file.path(environment, "bin"), recursive = TRUE)
  python <- fake_python(
    c("echo 3.11.2", "echo torch mudata", "echo 1.26.4"), file.path(environment, "bin", "python")
  )
  expect_identical(existing_python(python, "SCMVP_PYTHON"), python)
  expect_identical(existing_python(environment, "SCMVP_PYTHON"), python)
  expect_refused(
    existing_python("/no/where", "SCMVP_PYTHON"), "SCMVP_PYTHON is '/no/where', where there is no",
    class = "scmvp_error_python"
  )
  probe <- probe_python(python)
  expect_identical(probe$missing, c("torch", "mudata"))
  choice <- list(python = python, found_by = "SCMVP_PYTHON")
  expect_refused(
    refuse_unusable(choice, probe),
    "found by: SCMVP_PYTHON\\) lacks torch, mudata: run install_scMVP",
    class = "scmvp_error_python"
  )
})

test_that("a Python that lacks torch is refused, and asking does not start it", {
  skip_slow()
  skip_on_os("windows")
  python <- fake_python(c("echo 3.11.2", "echo torch", "echo 1.26.4"))
  lines <- in_new_session(c(
    "cat('AVAILABLE', scMVP_available(), reticulate::py_available(), '\\n')",
    "counts <- matrix(1, 30, 30, dimnames = list(paste0('g', 1:30), paste0('c', 1:30)))",
    "tryCatch(RunSCMVP(counts, counts, n.clusters = 2),",
    "  scmvp_error_python = function(e) cat('SAID', conditionMessage(e), '\\n'))",
    "invisible(scMVP_config())"
  ), environment = paste0("SCMVP_PYTHON=", python))
  expect_true(any(grepl("^AVAILABLE FALSE FALSE", lines)))
  expect_true(any(grepl("^SAID the Python at .* lacks torch: run install_scMVP", lines)))
  expect_true(any(grepl("^problem .*lacks torch", lines)))
})

test_that("a torch that something else has loaded is reported", {
  skip_slow()
  skip_without_core()
  skip_on_os(c("windows", "mac"))
  core()
  lines <- in_new_session(c(
    "invisible(reticulate::import('torch'))",
    "invisible(scMVP_config())"
  ), environment = paste0("RETICULATE_PYTHON=", reticulate::py_exe()))
  expect_true(any(grepl("torch was loaded before scMVP", lines)))
  expect_true(any(grepl("found by: Python already running", lines)))
})

test_that("the core comes from the package itself and torch runs apart from R", {
  skip_slow()
  skip_without_core()
  core(torch = TRUE)
  expect_true(file.exists(file.path(core_source(), "scmvp", "__init__.py")))
  expect_identical(
    normalizePath(dirname(reticulate::py_to_r(core()$`__file__`))),
    normalizePath(file.path(core_source(), "scmvp"))
  )
  expect_output(config <- scMVP_config(), "full speed")
  expect_s3_class(config, "scMVP_config")
  expect_true(config$torch$full_speed)
  expect_match(config$modules[["torch"]], "^[0-9]")
})

test_that("failures of the core keep their traceback, refusals do not", {
  skip_without_core()
  core()
  builtins <- reticulate::import_builtins(convert = FALSE)
  failure <- expect_error(from_core(builtins$int("x")), class = "scmvp_error_core")
  expect_match(conditionMessage(failure), "the Python core failed: ValueError: invalid literal")
  expect_match(failure$details, "ValueError")
  expect_error(from_core(stop("plain R")), "plain R")
  expect_refused(from_core(refuse("ours.")), "ours[.]")
})

test_that("pip's failure is one sentence", {
  skip_on_os("windows")
  python <- fake_python("exit 1")
  expect_refused(
    pip_install(python, "torch", verbose = FALSE), "pip could not install torch",
    class = "scmvp_error_python"
  )
  expect_false(pip_install(python, "torch", verbose = FALSE, must = FALSE))
  expect_refused(install_scMVP(method = "conda"), "method must be one of \"virtualenv\"")
  expect_refused(install_scMVP(gpu = NULL), "^gpu must be TRUE or FALSE, not NULL")
  expect_refused(install_scMVP(gpu = c(NA, TRUE)), "^gpu must be TRUE or FALSE, not 2 values")
})

test_that("R's library folders are hidden from the Pythons it starts, and only for as long", {
  skip_on_os("windows")
  own <- paste(c(R.home("lib"), "/usr/lib/jvm/x/lib/server", "/opt/mine/lib"), collapse = ":")
  before <- Sys.getenv("LD_LIBRARY_PATH", NA)
  on.exit(if (is.na(before)) {
    Sys.unsetenv("LD_LIBRARY_PATH")
  } else {
    Sys.setenv(LD_LIBRARY_PATH = before)
  })
  Sys.setenv(LD_LIBRARY_PATH = own)
  restore <- hide_r_libraries()
  expect_identical(Sys.getenv("LD_LIBRARY_PATH"), "/opt/mine/lib")
  restore()
  expect_identical(Sys.getenv("LD_LIBRARY_PATH"), own)
})
