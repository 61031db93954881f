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
  no_text <- c(charToRaw('{"modalities": ["rna"], "'), as.raw(c(0xff, 0xfe)), charToRaw('": 1}'))
  writeBin(no_text, json)
  expect_refused(LoadSCMVP(folder), "model.json", class = "scmvp_error_model")
  expect_identical(kinds_of_model(read_model_files(folder)), "rna")
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

test_that("a folder that holds another model by now is not taken for that of the object", {
  skip_slow()
  skip_without_core()
  file <- tempfile()
  fit <- function(seed) {
    quick_fit(
      paired_object(), max.epochs = 1, impute = "none", model.file = file, seed.use = seed
    )
  }
  first <- fit(1)
  unlink(file, recursive = TRUE)
  second <- fit(2)
  runs <- list(
    DifferentialSCMVP, DoubletScoreSCMVP, ClusterSCMVP, function(x) SaveSCMVP(x, tempfile()),
    function(x) ImputeSCMVP(x, features = "Gene1", as = "matrix"),
    function(x) ProjectSCMVP(x, paired_object(), verbose = FALSE)
  )
  for (run in runs) {
    expect_refused(run(first), "now holds another model than the object", "scmvp_error_model")
  }
  expect_identical(dim(runs[[5]](second)), c(1L, 90L))
})

test_that("a fit whose model.file cannot be written keeps its model", {
  engine <- list(save = function(folder) {
    dir.create(folder)
    writeLines("half", file.path(folder, "weights"))
    if (startsWith(folder, full)) scMVP:::refuse("no space left", class = "file")
    file.create(file.path(folder, scMVP:::model_files))
  })
  full <- file.path(tempfile("full"))
  dir.create(full)
  expect_warning(
    staged <- scMVP:::stage_fit(engine, file.path(full, "model")), "kept in the object",
    class = "scmvp_warning_file"
  )
  expect_null(staged$staging)
  expect_type(staged$model$weights, "raw")
  expect_identical(list.files(full, all.files = TRUE, no.. = TRUE), character())
})

test_that("saving says that the clusters of another level are not in the model", {
  object <- suppressMessages(ClusterSCMVP(fitted_object(), n.clusters = 2))
  expect_message(SaveSCMVP(object, tempfile()), "not the 2 of ClusterSCMVP\\(\\)")
  expect_silent(SaveSCMVP(fitted_object(), tempfile()))
})

test_that("functions say that the folder of a model is gone", {
  skip_slow()
  skip_without_core()
  file <- tempfile()
  fit <- quick_fit(paired_object(), max.epochs = 1, impute = "none", model.file = file)
  unlink(file, recursive = TRUE)
  for (run in c(DifferentialSCMVP, DoubletScoreSCMVP, ImputeSCMVP)) {
    expect_refused(run(fit), "no longer exists: put it back, or fit again", "scmvp_error_model")
  }
})

test_that("features of a model are those with counts in enough cells", {
  skip_slow()
  skip_without_core()
  object <- object_with_rare_gene()
  fit <- quick_fit(object, impute = "none", max.epochs = 1)
  expect_identical(FeaturesSCMVP(fit), gene_names[1:59])
  folder <- tempfile("model")
  SaveSCMVP(fit, folder)
  expect_identical(FeaturesSCMVP(LoadSCMVP(folder), "peaks"), peak_names)
  expect_refused(FeaturesSCMVP(folder, reduction = "x"), "^reduction is for an object with the mod")
  expect_refused(FeaturesSCMVP(fit, "protein"), "the model has no proteins.*protein.assay = or")
  expect_refused(FeaturesSCMVP(object), "no reduction 'scmvp'", "scmvp_error_model")
})
