process_fit <- function(..., max.epochs = 3) {
  quick_fit(paired_object(), backend = "process", max.epochs = max.epochs, ...)
}

test_that("a process of its own gives the very result of reticulate, messages included", {
  skip_slow()
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
  skip_slow()
  object <- fitted_object()
  inside <- ImputeSCMVP(object, "peaks", as = "matrix")
  expect_equal(ImputeSCMVP(object, "peaks", as = "matrix", backend = "process"), inside)
  query <- ProjectSCMVP(object, paired_object(), backend = "process", verbose = FALSE)
  expect_equal(
    SeuratObject::Embeddings(query[["scmvp"]]), SeuratObject::Embeddings(object[["scmvp"]])
  )
})

test_that("files are read and cells simulated in a process as well, all the same", {
  skip_slow()
  skip_without_core()
  arguments <- list(n.cells = 40, n.genes = 60, n.peaks = 80, n.types = 2, seed = 3)
  inside <- do.call(SimulateSCMVP, c(arguments, backend = "reticulate"))
  apart <- do.call(SimulateSCMVP, c(arguments, backend = "process"))
  expect_identical(assay_counts(apart[["RNA"]]), assay_counts(inside[["RNA"]]))
  expect_identical(assay_counts(apart[["ATAC"]]), assay_counts(inside[["ATAC"]]))
  expect_identical(apart[[]], inside[[]])
  expect_identical(apart[["ATAC"]][[]], inside[["ATAC"]][[]])
  expect_identical(SeuratObject::Misc(apart, "truth"), SeuratObject::Misc(inside, "truth"))

  categories <- reticulate::import("pandas", convert = FALSE)$Categorical(
    rep(c("b", "none", "a"), 30), categories = c("b", "a")
  )
  columns <- lapply(list(
    number = c(NaN, 1.25, 1 / 3, seq_len(87)), whole = seq_len(90), flag = rep(c(TRUE, FALSE), 45),
    text = rep(c("\u00e4", "b c", ""), 30)
  ), as.list)
  folder <- write_pair(columns = c(list(type = categories), columns))
  read <- lapply(c(inside = "reticulate", apart = "process"), function(backend) {
    ReadSCMVP(folder, backend = backend)
  })
  expect_identical(read$apart[[]], read$inside[[]])
  expect_identical(levels(read$apart$type), c("b", "a"))
  expect_identical(assay_counts(read$apart[["RNA"]]), rna_counts())
  expect_identical(assay_counts(read$apart[["ATAC"]]), atac_counts())
  fit <- RunSCMVP(
    folder, backend = "process", n.clusters = 3, max.epochs = 1, verbose = FALSE, impute = "none"
  )
  expect_identical(results_of(fit)$options$backend, "process")
  expect_refused(ReadSCMVP(folder, backend = "gpu"), "backend must be one of")
})

test_that("what the core refuses is the same sentence from either", {
  skip_slow()
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
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  kill <- function() {
    # the only one this test has started
    workers <- system2("pgrep", c("-P", Sys.getpid(), "-f", "scmvp.worker"), stdout = TRUE)
    tools::pskill(as.integer(workers), tools::SIGKILL)
  }
  skip_if(Sys.which("pgrep") == "", "needs pgrep")
  object <- paired_object()
  expect_refused(
    suppressMessages(at_message(
      quick_fit(object, max.epochs = 2000, batch.size = 8, backend = "process", verbose = TRUE),
      "^epoch 2/", kill
    )),
    "was killed \\(signal 9\\), most often because memory ran out",
    class = "scmvp_error_core"
  )
  expect_s4_class(process_fit(max.epochs = 1), "Seurat")
})

test_that("a process goes on to the next call, as long as nothing around it has changed", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  stored <- results_of(fitted_object())$model # reticulate changes the environment
  forget_worker()
  pid_of_call <- function(backend = "process") {
    with_engine(backend, function(engine) engine$worker$process$get_pid())
  }
  first <- pid_of_call()
  folder <- session$worker$folder
  expect_identical(pid_of_call(), first)
  expect_true(is_started("process", torch = TRUE))
  # nothing of the model is left for the next
  with_engine("process", function(engine) {
    restore_model(stored, engine)
    expect_type(engine$tree(), "list")
  })
  with_engine("process", function(engine) {
    expect_identical(engine$worker$process$get_pid(), first)
    expect_error(engine$tree())
  })
  expect_length(list.files(folder, "rds|reply"), 0)
  # a call that fails in R between request and reply
  expect_error(with_engine("process", function(engine) {
    engine$worker$busy <- TRUE
    stop("in R")
  }), "in R")
  expect_false(dir.exists(folder))
  second <- pid_of_call()
  expect_false(second == first)
  # two at the same time are two
  with_engine("process", function(engine) expect_false(pid_of_call() == second))
  # with other surroundings, in a fork, and after too long a wait none is kept
  choice <- process_choice()
  expect_true(is_kept(choice))
  expect_false(is_kept(list(python = "/other/python")))
  elsewhere <- function() {
    before <- setwd(tempdir())
    on.exit(setwd(before))
    is_kept(choice)
  }
  expect_false(elsewhere())
  with_variable <- function() {
    local_variables(SCMVP_TEST = "1")
    is_kept(choice)
  }
  expect_false(with_variable())
  in_fork <- parallel::mcparallel({
    kept <- is_kept(choice)
    forget_worker()
    kept
  })
  expect_identical(unname(parallel::mccollect(in_fork)), list(FALSE))
  expect_true(is_kept(choice))
  session$worker$released <- -Inf
  expect_false(is_kept(choice))
  # one that was killed meanwhile
  session$worker$released <- proc.time()[["elapsed"]]
  killed <- session$worker$process
  killed$kill()
  expect_false(is_kept(choice))
  expect_false(pid_of_call() == killed$get_pid())
})

test_that("an interpreter without the modules or without sense is refused before anything starts", {
  skip_on_os("windows")
  python <- fake_python(c("echo 3.11.2", "echo torch", "echo 1.26.4"))
  local_variables(SCMVP_PYTHON = python)
  expect_refused(
    process_fit(), "lacks torch: run install_scMVP", class = "scmvp_error_python"
  )
  fake_python(c(
    "case $1 in -m) echo 'Segmentation fault' >&2; exit 3;; esac",
    "echo 3.11.2", "echo", "echo 2.4.0"
  ), python)
  expect_refused(
    process_fit(), "ended with status 3 \\(Segmentation fault\\)", class = "scmvp_error_python"
  )
  # which processx cannot tell where something else, as parallel, has taken the signal of its end
  ended <- function(status) {
    refuse_dead_worker(list2env(list(
      process = list(get_exit_status = function() status, kill = function() NULL),
      folder = tempfile(), choice = list(python = python), requests = 2
    )))
  }
  expect_refused(ended(NA_integer_), "[)] ended; nothing was changed", class = "scmvp_error_core")
  expect_refused(ended(-9L), "was killed [(]signal 9[)]", class = "scmvp_error_core")
  Sys.setenv(SCMVP_PYTHON = "/no/where")
  expect_refused(process_fit(), "there is no Python", class = "scmvp_error_python")
})

test_that("NumPy 2 is no obstacle for a process", {
  new <- list(python = "/x/python", version = "3.11.2", missing = character(), numpy = "2.4.0")
  expect_null(why_unusable(new, inside = FALSE))
})

test_that("an interrupt keeps the best state of the worker", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  lines <- in_new_session(c(
    "object <- SimulateSCMVP(n.cells = 200, n.genes = 300, n.peaks = 400, n.types = 3)",
    "fit <- withCallingHandlers(at_message(",
    "  RunSCMVP(object, n.clusters = 3, max.epochs = 3000, batch.size = 8, impute = 'none',",
    "    backend = 'process'),",
    "  '^epoch 3/', function() interrupt_in(0.3)",
    "), scmvp_warning_interrupted = function(w) cat('WARNED', conditionMessage(w), '\\n'))",
    "history <- SeuratObject::Misc(fit[['scmvp']])$history",
    "cat('KEPT', nrow(history), nrow(history) < 2000, dim(fit[['scmvp']]), '\\n')"
  ))
  expect_line(lines, "WARNED the fit was interrupted")
  expect_line(lines, "^KEPT [0-9]+ TRUE")
})

test_that("workers of future and of BiocParallel fit at the same time, in their own order", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  skip_if_not_installed("future")
  skip_if_not_installed("BiocParallel")
  # in a session of its own: other tests need not pay for its workers
  lines <- in_new_session(c(
    "object <- SimulateSCMVP(n.cells = 60, n.genes = 60, n.peaks = 80, n.types = 2)",
    "fit <- function(seed, backend = 'auto') {",
    "  done <- scMVP::RunSCMVP(object, n.clusters = 2, max.epochs = 2, seed.use = seed,",
    "    impute = 'none', verbose = FALSE, backend = backend, threads = 1)",
    "  c(SeuratObject::Misc(done[['scmvp']])$options$backend,",
    "    sprintf('%.5f', SeuratObject::Embeddings(done[['scmvp']])[1, 1]))",
    "}",
    "show <- function(name, fits) cat(name, unlist(fits), '\\n')",
    "seeds <- c(3, 4)",
    "show('HERE', lapply(seeds, fit))",
    # forks of a session that runs Python
    "show('BIOC', BiocParallel::bplapply(seeds, fit,",
    "  BPPARAM = BiocParallel::MulticoreParam(2)))",
    "future::plan(future::multicore, workers = 2)",
    "jobs <- lapply(seeds, function(seed) future::future(fit(seed), seed = TRUE))",
    "show('FORK', future::value(jobs))",
    # sessions of their own, which start Python themselves
    "future::plan(future::multisession, workers = 2)",
    "jobs <- lapply(seeds, function(seed) future::future(fit(seed, 'process'), seed = TRUE))",
    "show('SESSION', future::value(jobs))",
    "future::plan(future::sequential)"
  ))
  got <- lapply(c("HERE", "BIOC", "FORK", "SESSION"), function(name) {
    expect_line(lines, paste0("^", name, "( [^ ]+){4} *$"))
    line <- grep(paste0("^", name, " "), lines, value = TRUE)
    strsplit(c(line, "")[1], " ", fixed = TRUE)[[1]][-1]
  })
  expect_identical(got[[1]][c(1, 3)], c("reticulate", "reticulate"))
  for (other in got[-1]) {
    expect_identical(other[c(1, 3)], c("process", "process"))
    expect_identical(other[c(2, 4)], got[[1]][c(2, 4)])
  }
})

test_that("neither backend nor threads in the environment change the bits of a fit", {
  skip_slow()
  skip_without_core()
  object <- tempfile(fileext = ".rds")
  saveRDS(SimulateSCMVP(n.cells = 400, n.genes = 600, n.peaks = 900, n.types = 3), object)
  # in a session of its own: libraries read these variables once, when they are loaded
  lines <- in_new_session(c(
    sprintf("object <- readRDS('%s')", object),
    "fit <- function(backend, n) {",
    "  Sys.setenv(OMP_NUM_THREADS = n, OPENBLAS_NUM_THREADS = n)",
    "  fit <- RunSCMVP(object, max.epochs = 2, impute = 'none', verbose = FALSE,",
    "    backend = backend, threads = 1)",
    "  stopifnot(SeuratObject::Misc(fit[['scmvp']])$summary$options$threads == 1)",
    "  unname(SeuratObject::Embeddings(fit[['scmvp']]))",
    "}",
    "cat('SAME', identical(fit('process', '1'), fit('reticulate', '3')))"
  ))
  expect_line(lines, "^SAME TRUE")
})

# ---- what may go wrong ---------------------------------------------------------------------------

test_that("a worker that is killed while it builds, imputes or reads is told, too", {
  skip_slow()
  skip_without_core()
  object <- fitted_object()
  dead <- function(verb) {
    engine <- open_engine("process")
    on.exit(engine$close())
    restore_model(results_of(object)$model, engine)
    tools::pskill(engine$worker$process$get_pid(), tools::SIGKILL)
    verb(engine)
  }
  latent <- SeuratObject::Embeddings(object[["scmvp"]])
  counts <- list(rna = rna_counts(), peaks = atac_counts())
  verbs <- list(
    function(engine) engine$build(counts, list(n_clusters = 3)),
    function(engine) engine$decode(latent, "rna", "Gene1", 1e4),
    function(engine) engine$embed(counts, "joint"),
    function(engine) engine$read(tempfile())
  )
  for (verb in verbs) {
    expect_refused(dead(verb), "was killed .*nothing was changed", class = "scmvp_error_core")
  }
  # and the session lives on
  expect_identical(dim(ImputeSCMVP(object, features = "Gene1", as = "matrix")), c(1L, 90L))
})

test_that("with a NumPy that reticulate cannot use, auto takes the process", {
  skip_slow()
  skip_on_os("windows")
  skip_if(utils::packageVersion("reticulate") >= "1.38", "this reticulate can use NumPy 2")
  python <- fake_python(c("echo 3.11.2", "echo", "echo 2.4.0"))
  lines <- in_new_session(c(
    "cat('CHOSEN', scMVP:::choose_backend()$name, '\\n')",
    "cat('WHY', scMVP:::choose_backend()$why, '\\n')",
    "counts <- matrix(1, 30, 30, dimnames = list(paste0('g', 1:30), paste0('c', 1:30)))",
    "before <- counts",
    "tryCatch(RunSCMVP(counts, counts, n.clusters = 2, backend = 'reticulate'),",
    "  scmvp_error_python = function(e) cat('SAID', conditionMessage(e), '\\n'))",
    "cat('SAME', identical(before, counts), '\\n')",
    "scMVP_config()"
  ), environment = paste0("SCMVP_PYTHON=", python))
  said <- function(pattern) expect_true(any(grepl(pattern, lines)), info = pattern)
  said("^CHOSEN process")
  said("^WHY .* has NumPy 2.4.0, which reticulate .* cannot use")
  said("^SAID .* has NumPy 2.4.0.*-m pip install 'numpy<2'` or update reticulate")
  said("^SAME TRUE")
  said("^backend +process \\(.*NumPy 2.4.0")
  said("^problem .*NumPy 2.4.0")
  said("^worker +/.*python")
})

test_that("a second interrupt ends the worker, and R goes on with the object as it was", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  lines <- in_new_session(c(
    "object <- SimulateSCMVP(n.cells = 100, n.genes = 100, n.peaks = 150, n.types = 2)",
    "before <- object",
    "find <- sprintf('pgrep -P %d -f [s]cmvp.worker', Sys.getpid())",
    # a worker that does not heed the first
    "result <- tryCatch(at_message(",
    "  RunSCMVP(object, n.clusters = 2, max.epochs = 5000, batch.size = 8, backend = 'process'),",
    "  '^epoch 2/', function() {",
    "    system(paste('kill -STOP', system(find, intern = TRUE)))",
    "    for (seconds in 1:2) interrupt_in(seconds)",
    "  }), interrupt = function(i) 'interrupted')",
    "cat('RESULT', result, identical(before, object), '\\n')",
    "left <- suppressWarnings(system(find, intern = TRUE))",
    "cat('LEFT', length(left), '\\n')",
    "cat('NEXT', dim(RunSCMVP(object, n.clusters = 2, max.epochs = 1, impute = 'none',",
    "  verbose = FALSE)[['scmvp']]), '\\n')"
  ))
  expect_line(lines, "^RESULT interrupted TRUE")
  expect_line(lines, "^LEFT 0")
  expect_line(lines, "^NEXT 100 20")
})

test_that("the first call of a process leaves random numbers as they were", {
  skip_without_core()
  choice <- choose_python()
  with_seed(1, {
    before <- .Random.seed
    stop_worker(start_worker(choice))
    expect_identical(.Random.seed, before)
  })
})

test_that("a session whose folder was deleted goes on in another", {
  skip_slow()
  skip_without_core()
  for (backend in c("process", "reticulate")) {
    lines <- in_new_session(c(
      "object <- SimulateSCMVP(n.cells = 60, n.genes = 60, n.peaks = 80, n.types = 2)",
      "delete <- function() unlink(tempdir(), recursive = TRUE)",
      sprintf("fit <- function() RunSCMVP(object, max.epochs = 1, verbose = FALSE, backend = '%s')",
        backend),
      "delete()",
      "one <- fit()",
      "last <- function() SeuratObject::Embeddings(fit()[['scmvp']])",
      # also that of the process that was kept
      "delete()",
      "cat('SAME', identical(SeuratObject::Embeddings(one[['scmvp']]), last()))"
    ))
    expect_identical(grep("SAME|Warn|rror", lines, value = TRUE), "SAME TRUE")
  }
})
