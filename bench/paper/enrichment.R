# Signal of published elements at ranked peaks: Rscript enrichment.R FOLDER NAME=FILE.grl.rds ...
# FOLDER holds sets.csv (peak, score, set), peaks.csv (peak, accessible) and genes.csv; the files
# are lists of elements by gene. Writes summary.csv.

suppressMessages({
  library(GenomicRanges)
  library(scMVP)
})

best_part <- c(proximal = 0.2, distal = 0.1) # of all peaks of the kind

# The number of distinct elements that cover each base.
as_track <- function(file, folder) {
  elements <- unique(unlist(readRDS(file), use.names = FALSE))
  strand(elements) <- "*"
  path <- file.path(folder, paste0(basename(file), ".bw"))
  rtracklayer::export.bw(coverage(elements), path)
  path
}

arguments <- commandArgs(TRUE)
folder <- arguments[1]
files <- strsplit(arguments[-1], "=", fixed = TRUE)
tracks <- vapply(files, function(x) as_track(x[2], folder), "")
names(tracks) <- vapply(files, `[`, "", 1)
sets <- read.csv(file.path(folder, "sets.csv"))
peaks <- read.csv(file.path(folder, "peaks.csv"))
genes <- read.csv(file.path(folder, "genes.csv"))

kind <- ClassifyCRE(peaks$peak, genes)$class
summary <- do.call(rbind, lapply(levels(kind), function(one) {
  of_kind <- peaks[kind == one, ]
  chosen <- lapply(split(sets, factor(sets$set, unique(sets$set))), function(x) {
    x <- x[x$peak %in% of_kind$peak, ]
    head(x$peak[order(-x$score)], round(best_part[[one]] * nrow(of_kind)))
  })
  found <- CREEnrichment(
    chosen, tracks, of_kind$peak, setNames(of_kind$accessible, of_kind$peak),
    verbose = FALSE
  )
  cbind(kind = one, found$summary)
}))
write.csv(summary, file.path(folder, "summary.csv"), row.names = FALSE)
