# Seurat's WNN from counts in memory to clusters, timed; the last line is RESULT and JSON.
#
#     R_LIBS=.rlib Rscript wnn.R FOLDER
#
# FOLDER has rna.h5ad and atac.h5ad. Reading them is not counted, nor is the UMAP.

suppressPackageStartupMessages(library(Seurat))
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
source(file.path(here, "..", "wnn_steps.R"))

object <- scMVP::ReadSCMVP(commandArgs(TRUE)[1], backend = "process")
counts <- lapply(Assays(object), function(name) GetAssayData(object[[name]], slot = "counts"))
rm(object)
invisible(gc())
started <- proc.time()
cells <- wnn_of(counts[[1]], counts[[2]], 0)
cells <- FindClusters(cells, graph.name = "wsnn", algorithm = 3, verbose = FALSE)
spent <- proc.time() - started
peak <- grep("^VmHWM", readLines("/proc/self/status"), value = TRUE)
cat(sprintf(
  'RESULT {"total": [%.2f, %.2f], "lsi": "%s", "clusters": %d, "peak_mb": %.0f}\n',
  spent[["elapsed"]], spent[["user.self"]] + spent[["sys.self"]],
  if (requireNamespace("Signac", quietly = TRUE)) "Signac" else "irlba",
  nlevels(Idents(cells)), as.numeric(gsub("[^0-9]", "", peak)) / 1024
))
