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

ours <- function(more = "", keep = FALSE) {
  measured("RunCicero", "library(scMVP)", sprintf("
    connections <- suppressWarnings(RunCicero(case$counts, groups = case$groups,
      genome = case$genome, seed.use = 1, workers = %s, verbose = FALSE%s))
    result <- list(rows = nrow(connections), distance = attr(connections, 'distance_parameter'),
      connections = if (%s) connections)", options$WORKERS, more, keep), file)
}

circe <- function() run_circe(options$PYTHON, folder, options$WORKERS)

# Their pairs among ours at their penalty, which our own search does not give: it draws other
# windows, and by default ends at 4 as cicero does.
compare <- function(alpha) {
  mine <- ours(sprintf(", distance.parameter = %.17g", alpha), keep = TRUE)$value$connections
  theirs <- utils::read.csv(file.path(folder, "links.csv"))
  peaks <- rownames(case$counts)
  mine <- mine[match(mine$Peak1, peaks) < match(mine$Peak2, peaks), ]
  key <- paste(mine$Peak1, mine$Peak2)
  place <- match(paste(theirs$Peak1, theirs$Peak2), key)
  swapped <- match(paste(theirs$Peak2, theirs$Peak1), key)
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

if (options$PYTHON != "none") write_groups(case$counts, case$groups, folder)
for (round in seq_len(as.numeric(options$ROUNDS))) {
  mine <- ours()
  theirs <- if (options$PYTHON != "none") circe()
}
cat("distance parameter", mine$value$distance, "Circe's", theirs$alpha, "\n")
if (!is.null(theirs)) compare(theirs$alpha)
unlink(folder, recursive = TRUE)
