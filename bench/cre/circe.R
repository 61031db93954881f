# RunCicero() against Circe (PyPI: circe-py) on the same groups of cells, in turn:
#   Rscript bench/cre/circe.R PYTHON=/its/environment/bin/python [CELLS=3000] [PEAKS=20000]
#     [WORKERS=1] [ROUNDS=2] [GROUPS=all]
# Ours starts from the counts of cells, Circe from the sums of the groups, which are made for it
# before its time begins. PYTHON=none: ours only. OPENBLAS_NUM_THREADS of Circe is 1.

options <- list(
  PYTHON = "none", CELLS = "3000", PEAKS = "20000", WORKERS = "1", ROUNDS = "2", GROUPS = "all"
)
for (argument in strsplit(commandArgs(TRUE), "=")) options[[argument[1]]] <- argument[2]
source("bench/cre/data.R")

folder <- tempfile()
dir.create(folder)
file <- file.path(folder, "case.rds")
case <- made_peaks(as.numeric(options$CELLS), as.numeric(options$PEAKS))
case$groups <- scMVP::AggregateCells(case$latent, seed.use = 1, verbose = FALSE)
if (options$GROUPS != "all") case$groups <- case$groups[, seq_len(as.numeric(options$GROUPS))]
saveRDS(case, file, compress = FALSE)
cat(
  options$CELLS, "cells x", options$PEAKS, "peaks,", ncol(case$groups), "groups,",
  options$WORKERS, "worker(s),", R.version.string, "\n"
)

# groups x peaks, each group in one piece, as Circe makes them itself
write_groups <- function(case) {
  grouped <- scMVP:::grouped_accessibility(case$counts, case$groups)
  con <- file(file.path(folder, "groups.bin"), "wb")
  on.exit(close(con))
  for (first in seq(1, ncol(case$groups), by = 100)) {
    some <- first:min(ncol(case$groups), first + 99)
    sums <- as.matrix(case$counts %*% case$groups[, some])
    writeBin(as.vector(sums / rep(grouped$factors[some], each = nrow(sums))), con)
  }
  writeLines(rownames(case$counts), file.path(folder, "peaks.txt"))
}

ours <- function(more = "", keep = FALSE) {
  measured("RunCicero", "library(scMVP)", sprintf("
    connections <- suppressWarnings(RunCicero(case$counts, groups = case$groups,
      genome = case$genome, seed.use = 1, workers = %s, verbose = FALSE%s))
    result <- list(rows = nrow(connections), distance = attr(connections, 'distance_parameter'),
      connections = if (%s) connections)", options$WORKERS, more, keep), file)
}

circe <- function() {
  log <- file.path(folder, "log.txt")
  process <- processx::process$new(
    options$PYTHON, c("bench/cre/run_circe.py", folder, options$WORKERS),
    stdout = log, stderr = "2>&1", 
    env = c("current", OPENBLAS_NUM_THREADS = "1", LD_LIBRARY_PATH = "")
  )
  mb <- watched(process)
  if (process$get_exit_status() != 0) {
    cat("Circe failed, at", round(mb), "MB\n")
    writeLines(utils::tail(readLines(log), 3))
    return(NULL)
  }
  out <- jsonlite::fromJSON(file.path(folder, "measured.json"))
  tell_measured("Circe", c(out, mb = mb))
}

# Their pairs among ours at their penalty, which our own search does not give: it draws other
# windows, and by default ends at 4 as cicero does.
compare <- function(alpha) {
  mine <- ours(sprintf(", distance.parameter = %.17g", alpha), keep = TRUE)$value$connections
  theirs <- utils::read.csv(file.path(folder, "links.csv"))
  key <- function(x) paste(x$Peak1, x$Peak2)
  mine <- mine[match(mine$Peak1, rownames(case$counts)) < match(mine$Peak2, rownames(case$counts)), ]
  place <- match(key(theirs), key(mine))
  swapped <- match(paste(theirs$Peak2, theirs$Peak1), key(mine))
  place <- ifelse(is.na(place), swapped, place)
  score <- numeric(nrow(mine))
  score[place[!is.na(place)]] <- theirs$score[!is.na(place)]
  both <- !is.na(mine$coaccess)
  apart <- abs(mine$coaccess - score)[both]
  cat(sprintf(
    "same penalty: %d pairs, %d not 0 in ours, %d in Circe's (%d of them no pair of ours); ",
    nrow(mine), sum(mine$coaccess[both] != 0), nrow(theirs), sum(is.na(place))
  ))
  cat(sprintf(
    "correlation %.6f, difference above 1e-3 in %d, largest %.2g\n",
    stats::cor(mine$coaccess[both], score[both]), sum(apart > 1e-3), max(apart)
  ))
}

if (options$PYTHON != "none") write_groups(case)
for (round in seq_len(as.numeric(options$ROUNDS))) {
  mine <- ours()
  theirs <- if (options$PYTHON != "none") circe()
}
cat("distance parameter", mine$value$distance, "Circe's", theirs$alpha, "\n")
if (!is.null(theirs)) compare(theirs$alpha)
unlink(folder, recursive = TRUE)
