# Memory of RunSCMVP(), for both backends, against what the fit needs without counts in memory.
#
#     R_LIBS=.rlib SCMVP_PYTHON=.venv/bin/python Rscript bench/r_memory.R DATA [K] [epochs]
#
# `object`: resident memory of an R session that holds the object, before the call. `peak`: the most
# that this session and the processes it starts hold together during the call, looked at ten times a
# second. `counts`: the two count matrices in R. `model`: the peak of `scmvp fit --backed yes` on
# the same data, which reads counts from disk: libraries, parameters, optimizer and minibatches.
# (peak - object - model) / counts is what the way into Python and the core's own counts cost; the
# aim is 1.2.

arguments <- commandArgs(TRUE)
data <- arguments[1]
k <- if (length(arguments) > 1) arguments[2] else "14"
epochs <- if (length(arguments) > 2) arguments[3] else "2"

# Resident MB of a process and of its children.
resident <- function(pid) {
  status <- file.path("/proc", pid, "status")
  lines <- tryCatch(readLines(status), error = function(e) character(), warning = function(w) {
    character()
  })
  own <- as.numeric(gsub("[^0-9]", "", grep("^VmRSS", lines, value = TRUE)))
  children <- tryCatch(
    scan(file.path("/proc", pid, "task", pid, "children"), quiet = TRUE),
    error = function(e) numeric(), warning = function(w) numeric()
  )
  sum(own) / 1024 + sum(vapply(children, resident, numeric(1)))
}

# The most that a command and its children hold while `when()`, and how long that was.
watch <- function(command, args, when = function() TRUE) {
  process <- processx::process$new(command, args, stdout = "", stderr = "")
  peak <- 0
  while (process$is_alive()) {
    if (when()) peak <- max(peak, resident(process$get_pid()))
    Sys.sleep(0.1)
  }
  stopifnot(process$get_exit_status() == 0)
  peak
}

cells <- tempfile("cells", fileext = ".rds")
saveRDS(scMVP::ReadSCMVP(data, backend = "process"), cells)

in_r <- function(backend) {
  before <- tempfile("before")
  script <- tempfile(fileext = ".R")
  writeLines(sprintf(
    'object <- readRDS("%s")
     counts <- lapply(SeuratObject::Assays(object), function(name) {
       SeuratObject::GetAssayData(object[[name]], "counts")
     })
     size <- sum(vapply(counts, object.size, numeric(1))) / 2^20
     rm(counts)
     invisible(gc())
     line <- grep("^VmRSS", readLines("/proc/self/status"), value = TRUE)
     writeLines(as.character(c(as.numeric(gsub("[^0-9]", "", line)) / 1024, size)), "%s")
     object <- scMVP::RunSCMVP(
       object, n.clusters = %s, max.epochs = %s, threads = 1, impute = "none", verbose = FALSE,
       backend = "%s"
     )', cells, before, k, epochs, backend
  ), script)
  peak <- watch(
    file.path(R.home("bin"), "Rscript"), script, when = function() file.exists(before)
  )
  said <- as.numeric(readLines(before))
  c(object = said[1], counts = said[2], peak = peak)
}

model <- watch(Sys.getenv("SCMVP_PYTHON"), c(
  "-m", "scmvp", "fit", data, "--out", tempfile("fit"), "--n-clusters", k, "--threads", "1",
  "--quiet", "--max-epochs", epochs, "--backed", "yes"
))
cat(sprintf("model (command line, counts on disk) %.0f MB\n", model))
for (backend in c("reticulate", "process")) {
  m <- in_r(backend)
  cat(sprintf(
    "%-10s  object %.0f MB, counts %.0f MB, peak %.0f MB: %.2f x counts beyond object and model\n",
    backend, m[["object"]], m[["counts"]], m[["peak"]],
    (m[["peak"]] - m[["object"]] - model) / m[["counts"]]
  ))
}
