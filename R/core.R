# The Python core inside R: its modules, torch at full speed, its errors, warnings and interrupts.

# What this session has learned about its Python: how it was found, the modules of the core, and
# whether torch was loaded apart from R's BLAS.
session <- new.env(parent = emptyenv())

# A module of the core: core() is scmvp itself, core("reading") is scmvp.reading. Starts Python when
# needed.
# Values are converted to R only on request, so that large results are not converted by accident.
core <- function(module = NULL, torch = FALSE) {
  if (is.null(session$core)) start_core() else forget_interrupt()
  if (torch) load_torch()
  if (is.null(module)) {
    return(session$core)
  }
  from_core(reticulate::import(paste0("scmvp.", module), convert = FALSE))
}

# Where the Python source is: beside the installed package, or python/ of a source tree that
# pkgload::load_all() has loaded. (An inst/python left there by an earlier build is never used.)
core_source <- function() {
  path <- file.path(getNamespaceInfo("scMVP", "path"), "python")
  if (!dir.exists(file.path(path, "scmvp"))) {
    refuse(
      "the Python core is missing from the installed package (", path, "): install scMVP again.",
      class = "python"
    )
  }
  path
}

start_core <- function() {
  start_python(choose_python())
  sys <- reticulate::import("sys", convert = FALSE)
  source <- core_source()
  sys$path$insert(0L, as_utf8(source))
  import_undisturbed("scmvp")
  session$core <- from_core(reticulate::import("scmvp", convert = FALSE))
  session$pid <- Sys.getpid()
}

# Imports modules of Python where an interrupt waits until they are there: after half an import of
# NumPy or PyTorch neither could be used in this session any more.
import_undisturbed <- function(...) {
  code <- readLines(file.path(core_source(), "scmvp", "imports.py"), encoding = "UTF-8")
  imports <- reticulate::py_run_string(paste(code, collapse = "\n"), local = TRUE, convert = FALSE)
  heard(from_core(imports$undisturbed(...)))
}

# libtorch's BLAS symbols bind to R's reference BLAS, which R has loaded first: 4 to 12 times
# slower. RTLD_DEEPBIND makes libtorch look into itself first; it matters for the first import only.
load_torch <- function() {
  if (!is.null(session$torch)) {
    return(invisible(session$torch))
  }
  sys <- reticulate::import("sys", convert = FALSE)
  loaded <- !is.null(reticulate::py_to_r(sys$modules$get("torch")))
  os <- reticulate::import("os", convert = FALSE)
  if (loaded) {
    session$torch_apart <- FALSE
  } else if (reticulate::py_has_attr(os, "RTLD_DEEPBIND")) {
    flags <- reticulate::py_to_r(sys$getdlopenflags())
    sys$setdlopenflags(bitwOr(flags, reticulate::py_to_r(os$RTLD_DEEPBIND)))
    on.exit(sys$setdlopenflags(flags))
    session$torch_apart <- TRUE
  } else {
    session$torch_apart <- NA # macOS and Windows keep libraries apart by themselves
  }
  session$torch <- tryCatch(
    {
      import_undisturbed("torch", "scmvp.model")
      reticulate::import("torch", convert = FALSE)
    },
    error = function(e) {
      refuse(
        "torch cannot be imported by ", reticulate::py_exe(), " (", first_line(conditionMessage(e)),
        "): run install_scMVP(), then restart R.",
        class = "python", details = e
      )
    }
  )
}

# ---- errors of Python ----------------------------------------------------------------------------

# Evaluates a call into Python. Input errors of the core become R conditions with the same message
# and no Python traceback; any other error is a failure of the core and keeps the traceback.
from_core <- function(expr) {
  tryCatch(expr, error = refuse_like_core)
}

refuse_like_core <- function(error) {
  if (inherits(error, "scmvp_error")) stop(error)
  python <- tryCatch(reticulate::py_last_error(), error = function(e) NULL)
  type <- sub("^.*[.]", "", if (is.null(python$type)) "" else python$type)
  if (!nzchar(type) || !grepl(type, conditionMessage(error), fixed = TRUE)) stop(error)
  refuse_python_error(type, python$value, python$message)
}

# The R condition of an error of Python, of whatever process.
refuse_python_error <- function(type, value, traceback) {
  value <- trimws(value)
  switch(type,
    KeyboardInterrupt = rlang::interrupt(),
    InputError = , NothingToTest = refuse(as_sentence(value)),
    ModelFileError = refuse(as_sentence(value), class = "model"),
    ImportError = , ModuleNotFoundError = refuse(as_sentence(value), class = "python"),
    MemoryError = , OutOfMemoryError = refuse(
      "memory ran out in Python (", first_line(value), "); nothing was changed: model fewer ",
      "features (a higher min.cells, or rna.features and peak.features of a Seurat object), or ",
      "use device = \"cpu\" if a GPU is too small.",
      class = "memory", details = traceback
    ),
    OSError = , PermissionError = , FileNotFoundError = , BlockingIOError = refuse(
      "a file cannot be written or read: ", system_reason(value), "; nothing was kept: check the ",
      "place and its free space, then run it again.",
      class = "file", details = traceback
    ),
    refuse(
      "the Python core failed: ", type, ": ", first_line(value), " (please report this; the ",
      "traceback is in rlang::last_error()$details).",
      class = "core", details = traceback
    )
  )
}

# HDF5 wraps what the system has said into a page of its own.
system_reason <- function(value) {
  said <- regmatches(value, regexpr("error message = '[^']*'", value))
  if (length(said) == 1) return(sub("^error message = '(.*)'$", "\\1", said))
  sub("^\\[Errno [0-9]+\\] ", "", first_line(value))
}

# ---- interrupts ----------------------------------------------------------------------------------

# A call into Python that deals with an interrupt itself (it keeps what it has, and returns). TRUE
# when R, and not only Python, has seen an interrupt meanwhile.
interruptible <- function(expr) {
  restore <- give_interrupts_to_python()
  on.exit(restore())
  # with the older reticulate R does not learn that Python has dealt with an interrupt, and would
  # take it once more on the way back, before there is a value
  uninterrupted <- if (is.null(reticulate_signals())) force else suspendInterrupts
  failure <- NULL
  seen <- tryCatch(
    {
      uninterrupted(tryCatch(expr, error = function(e) failure <<- e))
      Sys.sleep(0.001) # R looks for a waiting interrupt here, not at some other place
      FALSE
    },
    interrupt = function(i) TRUE
  )
  # an error that an interrupt causes inside reticulate (an attribute becomes NULL) is not reported
  seen <- (forget_interrupt() && !is.null(failure)) || seen
  if (!seen && !is.null(failure)) stop(failure)
  seen
}

# The value of a call into Python; an interrupt meanwhile is one of R when Python has come back.
heard <- function(expr) {
  value <- NULL
  if (interruptible(value <- expr)) rlang::interrupt()
  value
}

# Older reticulate (1.28) has Python ask R, by calling an R function, whether an interrupt is
# waiting; one time in ten R then takes it before Python can, and what Python was doing is lost.
# Returns a function that puts things back.
give_interrupts_to_python <- function() {
  signals <- reticulate_signals()
  if (is.null(signals)) {
    return(function() NULL)
  }
  asking <- reticulate::py_get_attr(signals, "_callback")
  always <- reticulate::py_eval("lambda reset: True", convert = FALSE)
  reticulate::py_set_attr(signals, "_callback", always)
  function() reticulate::py_set_attr(signals, "_callback", asking)
}

# reticulate's Python side of interrupts, where it has one.
reticulate_signals <- function() {
  tryCatch(
    reticulate::import("rpytools.signals", convert = FALSE),
    error = function(e) NULL
  )
}

# A Python callable from an R function that returns TRUE when R was interrupted in it. Newer
# reticulate then leaves it to us to tell Python; with the older one Python has seen the interrupt
# itself.
interruptible_callback <- function(f) {
  f <- reticulate::r_to_py(f, convert = TRUE)
  if (!is.null(reticulate_signals())) {
    return(f)
  }
  code <- paste(
    "def interruptible(f):",
    "    def callback(*arguments):",
    "        if f(*arguments):",
    "            raise KeyboardInterrupt",
    "    return callback",
    sep = "\n"
  )
  reticulate::py_run_string(code, local = TRUE, convert = FALSE)$interruptible(f)
}

# reticulate remembers an interrupt that was already handled and would mistake the next Python
# error for it, so we raise one here.
forget_interrupt <- function() {
  tryCatch(
    {
      reticulate::import_builtins(convert = FALSE)$int("x")
      FALSE
    },
    error = function(e) FALSE,
    interrupt = function(i) TRUE
  )
}

# A path that is not there yet, in the session's folder, which is made again where a sweeper of /tmp
# has deleted it.
session_file <- function(name, ending = "") tempfile(name, tempdir(check = TRUE), ending)

first_line <- function(x) strsplit(trimws(x), "\n", fixed = TRUE)[[1]][1]

# What only exists in Python, in R's words.
r_words <- c(
  ", e.g. with scmvp.filter_paired" = ", e.g. with subset()",
  ", e.g. with adata.obs_names_make_unique()" = ", e.g. with make.unique()",
  ", e.g. with adata.var_names_make_unique()" = ", e.g. with make.unique()",
  "leave its counts on disk with backed=True, or " = "",
  "apart: (rna, atac), or rna.h5ad" = "apart: rna.h5ad",
  "pip install 'scmvp[motifs]'" = "reticulate::py_install(\"lightmotif\")",
  "give a dict of column and level" =
    "give levels named by their columns, such as c(donor = \"A\", lane = \"2\")",
  "give a dict of names and paths" = "give a vector of paths with names",
  "; read_rds takes the name of an assay (rna_assay, peak_assay)" = ""
)

# The same of names of arguments; a name in quotes is one of the user's own.
r_names <- c(
  n_clusters = "n.clusters",
  n_latent = "n.latent",
  min_cells = "min.cells",
  batch_size = "batch.size",
  max_epochs = "max.epochs",
  library_size = "library.size",
  n_background = "n.background",
  p_value = "p.value",
  groupby = "group.by",
  n_types = "n.types",
  n_cells = "n.cells",
  atac_lead = "atac.lead",
  group1 = "ident.1",
  group2 = "ident.2",
  unassigned_below = "unassigned.below"
)

# The same of arguments with their values.
r_arguments <- c(
  "rna_layer='([^']*)'" = "rna.layer = \"\\1\"",
  "atac_layer='([^']*)'" = "peak.layer = \"\\1\"",
  "peaks='([^']*)'" = "peaks = \"\\1\"",
  "mosaic=True" = "mosaic = TRUE",
  "method='([^']*)'" = "method = \"\\1\"",
  "fragments=True" = "fragments = TRUE",
  "ordered=True" = "ordered = TRUE",
  "^lr is " = "learning.rate is ",
  "^delta is " = "logfc.threshold is "
)

as_sentence <- function(text) {
  for (word in names(r_words)) text <- gsub(word, r_words[[word]], text, fixed = TRUE)
  for (name in names(r_names)) {
    pattern <- paste0("(^|[^'[:alnum:]_.])", name, "($|[^'[:alnum:]_])")
    text <- gsub(pattern, paste0("\\1", r_names[[name]], "\\2"), text)
  }
  for (pattern in names(r_arguments)) text <- gsub(pattern, r_arguments[[pattern]], text)
  if (grepl("[.!?]$", text)) text else paste0(text, ".")
}

# Python's warnings go to a stream that notebooks and RStudio do not show: they become messages, and
# warnings where a part of the result is missing.
with_python_warnings <- function(expr) {
  core() # the imports here must not be what starts a Python of reticulate's choice
  warnings <- reticulate::import("warnings", convert = FALSE)
  builtins <- reticulate::import_builtins(convert = FALSE)
  catcher <- warnings$catch_warnings(record = TRUE)
  caught <- catcher$`__enter__`()
  warnings$simplefilter("default")
  on.exit(catcher$`__exit__`(NULL, NULL, NULL))
  value <- force(expr)
  for (i in seq_len(reticulate::py_len(caught))) {
    entry <- caught$`__getitem__`(i - 1L)
    kind <- reticulate::py_to_r(entry$category$`__name__`)
    if (kind %in% c("UserWarning", "InputNote", "LeftOut")) {
      pass_on(kind, reticulate::py_to_r(builtins$str(entry$message)))
    }
  }
  value
}

pass_on <- function(kind, text) {
  text <- as_sentence(text)
  if (kind == "LeftOut") warn_of("left_out", text) else message(text)
}
