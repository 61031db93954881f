# The core inside R, through reticulate. `torch`: whether it will be needed (to read files it is
# not).

inside_engine <- function(torch = TRUE) {
  if (in_fork()) {
    refuse(
      "this R process is a fork of one that already runs Python, where it would wait forever: use ",
      "backend = \"process\".",
      class = "python"
    )
  }
  scmvp <- core(torch = torch)
  run <- function(expr) heard(from_core(expr))
  progress <- function(on_stage) if (is.null(on_stage)) FALSE else interruptible_callback(on_stage)
  numpy <- reticulate::import("numpy", convert = FALSE)
  model <- NULL
  # a copy that PyTorch may write to: R's own memory is read-only
  points <- function(latent) numpy$array(unname(latent), dtype = "float32")
  features <- function() {
    list(
      genes = py_strings(model$genes), peaks = py_strings(model$peaks),
      batch = reticulate::py_to_r(model$batch_levels)
    )
  }
  list(
    name = "reticulate",
    read = function(path, options = list(), on_stage = NULL) {
      read <- core("reading")$read
      options$progress <- progress(on_stage)
      paired_of(with_python_warnings(run(do.call(read, c(list(path), options)))))
    },
    simulate = function(options) {
      mdata <- run(do.call(scmvp$simulate, options))
      c(paired_of(mdata), list(truth = truth_of(mdata)))
    },
    build = function(rna, peaks, options, batch = NULL) {
      model <<- with_python_warnings(run(do.call(
        scmvp$SCMVP,
        c(list(to_mudata(rna, peaks, batch)), options, list(batch = as.list(names(batch))))
      )))
      c(list(account = reticulate::py_to_r(model$account)), features())
    },
    load = function(folder) {
      model <<- from_core(scmvp$SCMVP$load(folder))
      features()
    },
    train = function(options, on_epoch, on_stage) {
      stopped <- interruptible(from_core(do.call(model$train, c(options, list(
        callback = if (!is.null(on_epoch)) interruptible_callback(on_epoch),
        progress = progress(on_stage)
      )))))
      list(stopped = stopped, interrupted = isTRUE(reticulate::py_to_r(model$interrupted)))
    },
    fitted = function() {
      list(
        latent = from_core(reticulate::py_to_r(model$get_latent_representation())),
        probabilities = from_core(reticulate::py_to_r(model$predict_proba())),
        history = reticulate::py_to_r(model$history),
        summary = reticulate::py_to_r(model$summary())
      )
    },
    embed = function(rna, peaks, modality, batch = NULL, on_stage = NULL) {
      with_python_warnings(run(reticulate::py_to_r(model$get_latent_representation(
        to_mudata(rna, peaks, batch),
        modality = modality, progress = progress(on_stage)
      ))))
    },
    responsibilities = function(latent) {
      from_core(reticulate::py_to_r(model$responsibilities(points(latent))))
    },
    decode = function(latent, modality, features, library.size, batch = NULL) {
      decoded <- run(model$decode(
        points(latent),
        modality = modality, features = as.list(features), library_size = library.size,
        batch = batch
      ))
      reticulate::py_to_r(decoded$T)
    },
    decode_to_file = function(path, latent, modality, cells, features, library.size, threshold,
                              log, batch = NULL, on_stage = NULL) {
      run(model$decode_to_file(
        path, points(latent),
        modality = modality, cells = as.list(cells), features = as.list(features),
        library_size = library.size, threshold = threshold, log = log, batch = batch,
        progress = progress(on_stage)
      ))
      invisible()
    },
    differential = function(rna, peaks, file, groups, modality, features, options, batch = NULL) {
      reticulate::py_to_r(with_python_warnings(run(do.call(core("r.differential")$to_file, c(
        list(
          model, file, to_mudata(rna, peaks, batch), as.list(groups$labels), modality,
          features = if (!is.null(features)) as.list(features),
          group1 = groups$group1, group2 = groups$group2
        ),
        options
      )))))
    },
    save = function(folder) {
      from_core(model$save(folder))
      invisible()
    },
    close = function() invisible()
  )
}
