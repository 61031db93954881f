# RunCicero() and LinkPeaksLASSO() on simulated cells whose links are known, from raw counts, counts
# smoothed over neighbors, and scMVP's imputation:
#   Rscript bench/cre/truth.R [CELLS=2000] [SEEDS=0] [UMI=1500] [FRAGMENTS=1500] [OUT=folder]
# Needs the Python core (SCMVP_PYTHON). Average precision over all pairs a method could call; the
# groups of cells are the same for the three.

options <- list(
  CELLS = "2000", SEEDS = "0", UMI = "1500", FRAGMENTS = "1500", OUT = "bench/output/cre"
)
for (argument in strsplit(commandArgs(TRUE), "=")) options[[argument[1]]] <- argument[2]
suppressMessages({
  library(Matrix)
  library(scMVP)
})
dir.create(options$OUT, recursive = TRUE, showWarnings = FALSE)

average_precision <- function(score, truth) {
  # ties get the precision they have together
  order <- order(score, decreasing = TRUE)
  score <- score[order]
  last <- c(score[-1] != score[-length(score)], TRUE)
  hits <- cumsum(truth[order])[last]
  called <- which(last)
  sum(diff(c(0, hits)) / sum(truth) * hits / called)
}

fitted_cells <- function(seed) {
  file <- file.path(options$OUT, paste(
    "fit", options$CELLS, options$UMI, options$FRAGMENTS, paste0(seed, ".rds"),
    sep = "-"
  ))
  if (file.exists(file)) {
    return(readRDS(file))
  }
  object <- SimulateSCMVP(
    n.cells = as.numeric(options$CELLS), n.genes = 2000, n.peaks = 5000, n.types = 8,
    median.umi = as.numeric(options$UMI), median.fragments = as.numeric(options$FRAGMENTS),
    seed = seed
  )
  object <- RunSCMVP(object, impute = "none", seed.use = seed, threads = 1, verbose = FALSE)
  object <- ImputeSCMVP(object, "peaks")
  saveRDS(object, file)
  object
}

# Mean counts of the 30 nearest cells in the latent space of scMVP itself.
smoothed <- function(counts, latent, k = 30) {
  distance <- as.matrix(stats::dist(latent))
  near <- apply(distance, 1, function(d) order(d)[1:k])
  weights <- sparseMatrix(
    i = as.vector(near), j = rep(seq_len(ncol(near)), each = k), x = 1 / k,
    dims = dim(distance)
  )
  result <- as.matrix(counts %*% weights)
  dimnames(result) <- dimnames(counts)
  result
}

cicero_row <- function(name, values, groups, truth, search) {
  began <- proc.time()[["elapsed"]]
  connections <- suppressWarnings(
    RunCicero(values, groups = groups, search = search, silent = TRUE)
  )
  group_of <- truth$group[connections$Peak1]
  same_group <- group_of == truth$group[connections$Peak2] & nzchar(group_of)
  key <- paste(connections$Peak1, connections$Peak2)
  same_gene <- key %in% truth$same_gene
  score <- ifelse(is.na(connections$coaccess), 0, connections$coaccess)
  false_at <- function(cutoff) if (any(score > cutoff)) mean(!same_group[score > cutoff]) else NA
  data.frame(
    method = paste0("RunCicero, ", search), input = name,
    AP.same.program = average_precision(score, same_group),
    AP.same.gene = average_precision(score, same_gene),
    base.rate = mean(same_group), called = sum(score > 0.1) / 2, false.above.0.1 = false_at(0.1),
    false.above.0.25 = false_at(0.25),
    distance.parameter = attr(connections, "distance_parameter"),
    seconds = proc.time()[["elapsed"]] - began
  )
}

lasso_row <- function(name, rna, values, imputed, truth, ...) {
  began <- proc.time()[["elapsed"]]
  links <- suppressWarnings(LinkPeaksLASSO(
    rna, values,
    gene.coords = truth$coords, peaks.imputed = imputed, lambda = "min", n.permutations = 0,
    verbose = FALSE, ...
  ))
  strict <- suppressWarnings(LinkPeaksLASSO(
    rna, values,
    gene.coords = truth$coords, peaks.imputed = imputed, verbose = FALSE, fdr = 0.1, ...
  ))
  pairs <- truth$pairs
  key <- paste(links$gene, links$peak)
  score <- numeric(nrow(pairs))
  score[match(key, pairs$key)] <- abs(links$coefficient)
  true_links <- pairs$key %in% truth$links
  genes <- attr(links, "genes")
  # at the penalty of a standard error, which is the default
  default <- suppressWarnings(LinkPeaksLASSO(
    rna, values,
    gene.coords = truth$coords, peaks.imputed = imputed, n.permutations = 0, verbose = FALSE, ...
  ))
  null <- attr(default, "genes")
  null <- null[!null$gene %in% truth$genes, ]
  associated <- function(links) {
    nzchar(truth$gene_group[links$gene]) & nzchar(truth$group[links$peak])
  }
  rate <- function(level) {
    called <- strict[strict$fdr <= level, ]
    c(nrow(called), mean(!associated(called)))
  }
  data.frame(
    method = "LinkPeaksLASSO", input = name, AP = average_precision(score, true_links),
    base.rate = mean(true_links), links.1se = nrow(default),
    true.1se = sum(paste(default$gene, default$peak) %in% truth$links),
    null.genes = nrow(null), null.R2 = mean(null$r.squared), null.links = mean(null$links),
    called.5 = rate(0.05)[1], false.5 = rate(0.05)[2], called.10 = rate(0.1)[1],
    false.10 = rate(0.1)[2], seconds = proc.time()[["elapsed"]] - began
  )
}

known_truth <- function(object) {
  genes <- object[["RNA"]]@meta.features
  peaks <- object[["ATAC"]]@meta.features
  links <- SeuratObject::Misc(object, "truth")$links
  coords <- data.frame(
    gene = rownames(genes), seqnames = genes$chrom, tss = genes$tss, strand = genes$strand
  )
  center <- (peaks$start + peaks$end) / 2
  pairs <- do.call(rbind, lapply(seq_len(nrow(genes)), function(g) {
    near <- which(peaks$chrom == genes$chrom[g] & abs(center - genes$tss[g]) <= 1e5)
    if (length(near) > 0) data.frame(gene = rownames(genes)[g], peak = rownames(peaks)[near])
  }))
  pairs$key <- paste(pairs$gene, pairs$peak)
  by_gene <- split(links$peak, links$gene)
  both <- unlist(lapply(by_gene, function(p) {
    if (length(p) < 2) return(NULL)
    two <- utils::combn(p, 2)
    c(paste(two[1, ], two[2, ]), paste(two[2, ], two[1, ]))
  }))
  list(
    coords = coords, pairs = pairs, links = paste(links$gene, links$peak), genes = links$gene,
    same_gene = both, group = stats::setNames(as.character(peaks$marker_of), rownames(peaks)),
    gene_group = stats::setNames(as.character(genes$marker_of), rownames(genes))
  )
}

for (seed in as.numeric(strsplit(options$SEEDS, ",")[[1]])) {
  object <- fitted_cells(seed)
  truth <- known_truth(object)
  groups <- AggregateCells(object, silent = TRUE)
  latent <- SeuratObject::Embeddings(object[["scmvp"]])
  raw <- object[["ATAC"]]@counts
  rna <- object[["RNA"]]@counts
  imputed <- object[["scMVP_ATAC"]]@data
  cat("seed", seed, ":", ncol(raw), "cells,", ncol(groups), "groups\n")
  rows <- list()
  for (search in c("cicero", "extended")) {
    rows <- c(rows, list(
      cicero_row("raw", raw, groups, truth, search),
      cicero_row("kNN-smoothed", smoothed(raw, latent), groups, truth, search),
      cicero_row("imputed", imputed, groups, truth, search)
    ))
  }
  print(do.call(rbind, rows), digits = 3)
  rows <- list()
  for (covariates in c("depth", "none")) {
    rows <- c(rows, lapply(list(
      list("raw", raw, FALSE), list("kNN-smoothed", smoothed(raw, latent), TRUE),
      list("imputed", imputed, TRUE)
    ), function(one) {
      row <- lasso_row(one[[1]], rna, one[[2]], one[[3]], truth, covariates = covariates)
      cbind(covariates = covariates, row)
    }))
  }
  print(do.call(rbind, rows), digits = 3)
}
