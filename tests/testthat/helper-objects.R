# Small paired cells made in R, so that most tests need Python only for the fit.

skip_without_core <- function() {
  problem <- why_unavailable()
  if (!is.null(problem)) testthat::skip(paste("the Python core is not available:", problem))
}

# `make check` leaves these out: they take more than about two seconds.
skip_slow <- function() {
  testthat::skip_if(nzchar(Sys.getenv("SCMVP_QUICK")), "slow, so not in make check")
}

# A script in a Python of its own that sees the core; `sys.argv[1]` is the path, which is returned.
in_python <- function(lines, path) {
  script <- tempfile(fileext = ".py")
  writeLines(lines, script)
  run_python(c(script, path))
  path
}

# Runs Python with these arguments; the lines that it prints and says.
run_python <- function(arguments) {
  core()
  system2(
    reticulate::py_exe(), shQuote(arguments), env = paste0("PYTHONPATH=", core_source()),
    stdout = TRUE, stderr = TRUE
  )
}

n_cells <- 90

# Counts of three types, features x cells.
block_counts <- function(features, cells, means, seed) {
  draw <- function() {
    type <- rep(1:3, length.out = length(cells))
    marks <- rep(1:3, length.out = length(features))
    rate <- means * ifelse(outer(marks, type, `==`), 6, 1)
    matrix(stats::rpois(length(rate), rate), length(features), dimnames = list(features, cells))
  }
  methods::as(methods::as(with_seed(seed, draw()), "CsparseMatrix"), "dgCMatrix")
}

with_seed <- function(seed, expr) {
  old <- get0(".Random.seed", globalenv(), inherits = FALSE)
  on.exit(
    if (is.null(old)) rm(".Random.seed", envir = globalenv())
    else assign(".Random.seed", old, globalenv())
  )
  set.seed(seed)
  expr
}

cell_names <- paste0("cell", seq_len(n_cells))
gene_names <- paste0("Gene", 1:60)
peak_names <- sprintf("chr%d-%d-%d", rep(1:4, each = 30), 1000L * 1:120, 1000L * 1:120 + 500L)

rna_counts <- function() block_counts(gene_names, cell_names, 0.6, seed = 1)
atac_counts <- function(names = peak_names) block_counts(names, cell_names, 0.3, seed = 2)

paired_object <- function(peaks = atac_counts()) {
  object <- SeuratObject::CreateSeuratObject(rna_counts(), assay = "RNA")
  object[["ATAC"]] <- SeuratObject::CreateAssayObject(peaks)
  SeuratObject::VariableFeatures(object[["RNA"]]) <- gene_names[1:20]
  object
}

# A gene that is seen in five cells, of which a fit asks for ten.
object_with_rare_gene <- function() {
  rare <- rna_counts()
  rare["Gene60", ] <- 0
  rare["Gene60", 1:5] <- 1
  object <- SeuratObject::CreateSeuratObject(rare)
  object[["ATAC"]] <- SeuratObject::CreateAssayObject(atac_counts())
  object
}

quick_fit <- function(object, ..., n.clusters = 3, max.epochs = 3, verbose = FALSE) {
  RunSCMVP(object, ..., n.clusters = n.clusters, max.epochs = max.epochs, verbose = verbose)
}

# One fit that many tests look at.
remembered <- new.env()
fitted_object <- function() {
  skip_without_core()
  if (is.null(remembered$object)) {
    remembered$object <- quick_fit(paired_object(), impute.peaks = peak_names[1:4])
  }
  remembered$object
}

# The same counts as Bioconductor objects, and their fit.
sce_with <- function(counts, ...) {
  SingleCellExperiment::SingleCellExperiment(list(counts = counts), ...)
}

sce_of <- function(rna = rna_counts(), peaks = atac_counts()) {
  alone <- SummarizedExperiment::SummarizedExperiment(list(counts = peaks))
  sce_with(rna, altExps = list(peaks = alone))
}

fitted_sce <- function() {
  skip_without_core()
  if (is.null(remembered$sce)) {
    remembered$sce <- quick_fit(
      sce_of(),
      impute.genes = gene_names[1:20], impute.peaks = peak_names[1:4]
    )
  }
  remembered$sce
}

# And as matrices.
fitted_matrices <- function() {
  skip_without_core()
  if (is.null(remembered$matrices)) {
    remembered$matrices <- quick_fit(rna_counts(), peaks = atac_counts())
  }
  remembered$matrices
}

results_of <- function(object, reduction = "scmvp") SeuratObject::Misc(object[[reduction]])

layer_data <- function(object, assay, layer) {
  if (utils::packageVersion("SeuratObject") >= "5.0.0") {
    getExportedValue("SeuratObject", "LayerData")(object[[assay]], layer = layer)
  } else {
    SeuratObject::GetAssayData(object[[assay]], slot = layer)
  }
}

skip_before_seurat5 <- function() {
  testthat::skip_if(
    utils::packageVersion("SeuratObject") < "5.0.0", "needs SeuratObject 5 (Assay5)"
  )
}

expect_refused <- function(expr, pattern, class = "scmvp_error_input") {
  condition <- testthat::expect_error(expr, class = class)
  testthat::expect_match(conditionMessage(condition), pattern)
  testthat::expect_s3_class(condition, "scmvp_error")
  # one sentence, no traceback and no words that only mean something in Python
  testthat::expect_no_match(
    conditionMessage(condition), "\n|Traceback|\\badata|layer=|scmvp[.]filter", perl = TRUE
  )
  invisible(condition)
}

# `expr`, and action() at its first message with `pattern`.
at_message <- function(expr, pattern, action) {
  done <- FALSE
  withCallingHandlers(expr, message = function(m) {
    if (!done && grepl(pattern, conditionMessage(m))) {
      done <<- TRUE
      action()
    }
  })
}

# Ctrl-C in this session after some seconds, while it goes on.
interrupt_in <- function(seconds) {
  system(sprintf("(sleep %s; kill -INT %d) &", seconds, Sys.getpid()))
}

# Lines that an R session of its own prints, which knows the two functions above.
in_new_session <- function(code, environment = character()) {
  for (name in c("interrupt_in", "at_message")) {
    code <- c(paste(name, "<-"), deparse(get(name)), code)
  }
  path <- getNamespaceInfo("scMVP", "path")
  load <- if (dir.exists(file.path(path, "tests"))) {
    sprintf("pkgload::load_all('%s', quiet = TRUE)", path)
  } else {
    sprintf("library(scMVP, lib.loc = '%s')", dirname(path))
  }
  script <- tempfile(fileext = ".R")
  on.exit(unlink(script))
  writeLines(c(load, code), script)
  suppressWarnings(system2(
    file.path(R.home("bin"), "Rscript"), shQuote(script),
    stdout = TRUE, stderr = TRUE, env = environment
  ))
}

# `n` lines of a session have the pattern.
expect_line <- function(lines, pattern, n = 1) {
  found <- length(grep(pattern, lines))
  testthat::expect(found == n, paste(
    c(paste(pattern, "is in", found, "lines of"), utils::tail(lines, 15)),
    collapse = "\n"
  ))
}

local_variables <- function(..., frame = parent.frame()) {
  new <- c(...)
  old <- Sys.getenv(names(new), NA, names = TRUE)
  do.call(Sys.setenv, as.list(new))
  restore <- function() {
    Sys.unsetenv(names(old)[is.na(old)])
    if (any(!is.na(old))) do.call(Sys.setenv, as.list(old[!is.na(old)]))
  }
  do.call(on.exit, list(as.call(list(restore)), add = TRUE), envir = frame)
}

quick_fit_all <- function() {
  skip_without_core()
  if (is.null(remembered$all)) {
    remembered$all <- quick_fit(paired_object(), impute = "all", max.epochs = 2)
  }
  remembered$all
}

# Motifs in peaks as an object with the slots that Signac's has. `genes`: by the names of motifs.
like_signac <- function(matches, genes) {
  where <- new.env()
  methods::setClass("Motif", list(data = "ANY", motif.names = "list"), where = where)
  methods::new(
    methods::getClass("Motif", where = where),
    data = as_dgc(matches * 1), motif.names = as.list(genes)
  )
}

latent_of <- function(object, reduction = "scmvp") {
  getFromNamespace("latent_of", "scMVP")(object, reduction)
}

# Names of the RNA and the peak assay that a verb would take.
found_assays <- function(object, rna = NULL, peaks = NULL) {
  found <- find_parts(parts_of(object), about(object), list(rna = rna, peaks = peaks))
  lapply(without_nulls(found), `[[`, "name")
}
