# What R itself says of the object in a file, for comparison: Rscript r_regulation.R OBJECT.rds OUT
suppressMessages(library(scMVP))
paths <- commandArgs(TRUE)
object <- readRDS(paths[1])
genes <- object[["RNA"]][[]]
genes <- data.frame(
  gene = rownames(genes), seqnames = genes$chrom, tss = genes$tss, strand = genes$strand
)
quiet <- function(expr) suppressWarnings(suppressMessages(expr))
groups <- quiet(AggregateCells(object, k = 15, seed.use = 5, silent = TRUE))
connections <- quiet(RunCicero(object, groups = groups, sample_num = 8, seed.use = 3))
ccans <- quiet(FindCCANs(connections, coaccess_cutoff_override = 0.05, seed.use = 4))
links <- quiet(LinkPeaksLASSO(object, gene.coords = genes, seed.use = 6, n.permutations = 2))
about <- c("distance_parameter", "cutoff", "genes")
result <- lapply(list(connections = connections, ccans = ccans, links = links), function(x) {
  list(table = data.frame(unclass(x)[names(x)]), about = attributes(x)[about])
})
result$groups <- list(i = groups@i, p = groups@p, names = colnames(groups))
out <- file(paths[2], "wb")
serialize(result, out, version = 2, xdr = FALSE)
close(out)
