# RunCicero() against the package cicero, in one run:
#   Rscript bench/cre/speed.R [CELLS=3000] [PEAKS=20000] [CICERO=/library/with/cicero]
# Each in an R process of its own on the same made cells: grouping, distance parameter, models,
# connections. Without CICERO (or with CICERO=none) only ours runs.

options <- list(CELLS = "3000", PEAKS = "20000", CICERO = "none")
for (argument in strsplit(commandArgs(TRUE), "=")) options[[argument[1]]] <- argument[2]
source("bench/cre/data.R")

file <- tempfile(fileext = ".rds")
saveRDS(made_peaks(as.numeric(options$CELLS), as.numeric(options$PEAKS)), file, compress = FALSE)
cat(options$CELLS, "cells x", options$PEAKS, "peaks,", R.version.string, "\n")

ours <- function(workers) {
  code <- sprintf("
    groups <- AggregateCells(case$latent, seed.use = 1, verbose = FALSE)
    connections <- RunCicero(case$counts, groups = groups, genome = case$genome,
      seed.use = 1, workers = %d, verbose = FALSE)
    result <- list(rows = nrow(connections), distance = attr(connections, 'distance_parameter'),
      some = connections[seq_len(min(nrow(connections), 2e5)), ])", workers)
  measured(sprintf("scMVP, %d worker(s)", workers), "library(scMVP)", code, file)
}
one <- ours(1)
two <- ours(2)
cat("rows", one$value$rows, " distance parameter", one$value$distance, "\n")
if (options$CICERO != "none") {
  theirs <- measured("cicero", "suppressMessages(library(cicero))", "
    ends <- df_for_coords(rownames(case$counts))
    features <- data.frame(chr = ends$chr, bp1 = ends$bp1, bp2 = ends$bp2,
      row.names = rownames(case$counts))
    cells <- data.frame(cells = colnames(case$counts), row.names = colnames(case$counts))
    cds <- suppressWarnings(newCellDataSet(case$counts,
      phenoData = new('AnnotatedDataFrame', data = cells),
      featureData = new('AnnotatedDataFrame', data = features),
      expressionFamily = VGAM::negbinomial.size(), lowerDetectionLimit = 0))
    began <- proc.time()
    set.seed(1)
    grouped <- make_cicero_cds(cds, case$latent, silent = TRUE)
    set.seed(1)
    distance <- mean(estimate_distance_parameter(grouped, genomic_coords = case$genome))
    models <- generate_cicero_models(grouped, distance, genomic_coords = case$genome)
    connections <- assemble_connections(models, silent = TRUE)
    result <- list(rows = nrow(connections), distance = distance, some = connections)", file,
    library = options$CICERO
  )
  key <- function(x) paste(x$Peak1, x$Peak2)
  same <- match(key(one$value$some), key(theirs$value$some))
  a <- one$value$some$coaccess
  b <- theirs$value$some$coaccess[same]
  cat(sprintf("rows %d; distance parameter %.6f against %.6f; ", theirs$value$rows,
    one$value$distance, theirs$value$distance))
  cat(sprintf("pairs not shared %d, NAs that differ %d, largest difference %.2g\n",
    sum(is.na(same)), sum(is.na(a) != is.na(b)), max(abs(a - b), na.rm = TRUE)))
  cat(sprintf(
    "cicero / scMVP: wall %.1f (one core), %.1f (two); CPU %.1f; ",
    theirs$wall / one$wall, theirs$wall / two$wall, theirs$cpu / one$cpu
  ))
  cat(sprintf("peak memory of scMVP %.2f of cicero's\n", one$mb / theirs$mb))
}
unlink(file)
