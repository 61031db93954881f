# RunSCMVP() in R against `scmvp fit` on the command line: time, and whether the results agree.
#
#     R_LIBS=.rlib SCMVP_PYTHON=.venv/bin/python \
#       Rscript bench/r_overhead.R DATA [K] [repeats] [epochs]
#
# Both fit the same cells with the same seed and one thread, in turn. `fit` is the training alone;
# `total` is the process of the command line (start, reading, writing included) against the
# RunSCMVP() call (counts to Python, results into the object, first import of torch included).
# `memory` is the peak of the R process less what it held before the call and less the peak of the
# command line, over the size of the two count matrices in R.

arguments <- commandArgs(TRUE)
data <- arguments[1]
k <- if (length(arguments) > 1) arguments[2] else "14"
repeats <- if (length(arguments) > 2) as.integer(arguments[3]) else 2L
epochs <- if (length(arguments) > 3) arguments[4] else "60"

command_line <- function() {
  out <- tempfile("fit")
  started <- proc.time()[["elapsed"]]
  status <- system2(
    Sys.getenv("SCMVP_PYTHON"),
    c("-m", "scmvp", "fit", data, "--out", out, "--n-clusters", k, "--threads", "1", "--quiet",
      "--max-epochs", epochs)
  )
  total <- proc.time()[["elapsed"]] - started
  stopifnot(status == 0)
  summary <- readLines(file.path(out, "summary.json"))
  number <- function(name) {
    line <- grep(sprintf('"%s"', name), summary, value = TRUE)
    as.numeric(gsub("[^0-9.]", "", sub(".*:", "", line)))
  }
  latent <- utils::read.csv(file.path(out, "latent.csv"), row.names = 1)
  list(
    fit = number("seconds_fit"), total = total, peak = number("peak_memory_mb"),
    latent = as.matrix(latent)
  )
}

in_r <- function() {
  # a session of its own each time, so that every run pays for starting Python
  out <- tempfile("fit", fileext = ".rds")
  script <- sprintf(
    'status <- function(what) {
       line <- grep(what, readLines("/proc/self/status"), value = TRUE)
       as.numeric(gsub("[^0-9]", "", line)) / 1024
     }
     object <- readRDS("%s")
     counts <- lapply(SeuratObject::Assays(object), function(name) object[[name]]@counts)
     before <- status("VmRSS")
     total <- system.time(object <- scMVP::RunSCMVP(
       object, n.clusters = %s, max.epochs = %s, threads = 1, impute = "none", verbose = FALSE
     ))[["elapsed"]]
     reduction <- object[["scmvp"]]
     saveRDS(list(
       fit = SeuratObject::Misc(reduction)$summary$seconds_fit, total = total,
       latent = SeuratObject::Embeddings(reduction), added = status("VmHWM") - before,
       input = as.numeric(sum(vapply(counts, object.size, numeric(1)))) / 2^20
     ), "%s")', cells, k, epochs, out
  )
  file <- tempfile(fileext = ".R")
  writeLines(script, file)
  stopifnot(system2(file.path(R.home("bin"), "Rscript"), file) == 0)
  readRDS(out)
}

# without Python in the process that is measured, as a user's own object is
cells <- tempfile("cells", fileext = ".rds")
saveRDS(scMVP::ReadSCMVP(data), cells)

runs <- lapply(seq_len(repeats), function(i) list(line = command_line(), r = in_r()))
take <- function(where, what) vapply(runs, function(run) run[[where]][[what]], numeric(1))
for (what in c("fit", "total")) {
  line <- take("line", what)
  r <- take("r", what)
  cat(sprintf(
    "%-6s command line %6.1f s, in R %6.1f s, ratio of the fastest %.3f, of each pair %s\n",
    what, min(line), min(r), min(r) / min(line), paste(sprintf("%.3f", r / line), collapse = " ")
  ))
}
difference <- max(abs(runs[[1]]$line$latent - runs[[1]]$r$latent))
cat(sprintf("largest difference of the latents: %.2g\n", difference))
memory <- (take("r", "added") - take("line", "peak")) / take("r", "input")
cat(sprintf("memory: %s of the %.0f MB of counts\n", paste(sprintf("%.2f", memory), collapse = " "),
  take("r", "input")[1]))
