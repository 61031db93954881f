test_that("a saved model is the two files of the core, and loads again", {
  object <- fitted_object()
  folder <- file.path(tempfile("models"))
  dir.create(folder)
  first <- file.path(folder, "first")
  SaveSCMVP(object, first)
  expect_setequal(list.files(first), c("model.json", "weights.safetensors"))
  loaded <- LoadSCMVP(first)
  expect_identical(loaded, results_of(object)$model)
  second <- file.path(folder, "second")
  SaveSCMVP(loaded, second)
  expect_identical(
    unname(tools::md5sum(file.path(first, "weights.safetensors"))),
    unname(tools::md5sum(file.path(second, "weights.safetensors")))
  )
  expect_output(print(loaded), "scMVP model, .* of weights")
  expect_refused(SaveSCMVP(object, first), "exists already")
})

test_that("damaged, foreign and missing model files are refused in one sentence", {
  object <- fitted_object()
  folder <- tempfile("model")
  SaveSCMVP(object, folder)
  weights <- file.path(folder, "weights.safetensors")
  bytes <- readBin(weights, "raw", file.size(weights))
  writeBin(bytes[1:1000], weights)
  expect_refused(LoadSCMVP(folder), "broken or truncated", class = "scmvp_error_model")
  writeBin(bytes, weights)
  json <- file.path(folder, "model.json")
  text <- readLines(json, warn = FALSE)
  writeLines(sub('"format_version": [0-9]+', '"format_version": 99', text), json)
  expect_refused(LoadSCMVP(folder), "version 99", class = "scmvp_error_model")
  unlink(json)
  expect_refused(LoadSCMVP(folder), "model.json is missing", class = "scmvp_error_model")
  expect_refused(SaveSCMVP(1, tempfile()), "not class numeric")
})

test_that("a save that was ended between its two files leaves the new model", {
  object <- fitted_object()
  folder <- tempfile("model")
  SaveSCMVP(object, folder)
  whole <- LoadSCMVP(folder)
  weights <- file.path(folder, "weights.safetensors")
  # as Python leaves it: model.json is the new one, its weights still wait under their digest
  digest <- jsonlite::read_json(file.path(folder, "model.json"))$weights_sha256
  file.rename(weights, file.path(folder, paste0("weights.", digest, ".safetensors")))
  writeBin(as.raw(1:9), weights)
  expect_identical(LoadSCMVP(folder), whole)
})

test_that("a model that cannot be written whole is not there, and nothing is left", {
  model <- results_of(fitted_object())$model
  nowhere <- file.path(tempfile("none"), "model")
  expect_refused(
    scMVP:::write_model_files(model, nowhere), "cannot be written", "scmvp_error_file"
  )
  # another program was faster
  parent <- tempfile("models")
  dir.create(file.path(parent, "model"), recursive = TRUE)
  writeLines("theirs", file.path(parent, "model", "file"))
  staged <- list(
    model = list(path = file.path(parent, "model")), staging = file.path(parent, "staging")
  )
  scMVP:::write_model_files(model, staged$staging)
  expect_refused(scMVP:::keep_model(staged), "cannot be written", "scmvp_error_file")
  expect_identical(list.files(parent, recursive = TRUE, all.files = TRUE), "model/file")
})

test_that("functions say that the folder of a model is gone", {
  skip_without_core()
  file <- tempfile()
  fit <- quick_fit(paired_object(), max.epochs = 1, impute = "none", model.file = file)
  unlink(file, recursive = TRUE)
  for (run in c(DifferentialSCMVP, DoubletScoreSCMVP, ImputeSCMVP)) {
    expect_refused(run(fit), "no longer exists: put it back, or fit again", "scmvp_error_model")
  }
})
