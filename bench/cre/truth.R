# RunCicero() and LinkPeaksLASSO() on simulated cells whose links are known, from raw counts, counts
# smoothed over neighbors, and scMVP's imputation:
#   Rscript bench/cre/truth.R [CELLS=2000] [SEEDS=0,1] [UMI=1500] [FRAGMENTS=300,700,1500]
#     [GENES=300] [OUT=folder] [CIRCE=/environment/of/circe-py/bin/python]
# Needs the Python core (SCMVP_PYTHON). With CIRCE, a row of Circe on the same groups. Average
# precision over all pairs a method could call (pairs it does not return score 0); the groups of
# cells are the same for all inputs but "raw, groups of LSI", which is what one has without scMVP.
# "Bayes" is what knowing the types and the fold changes would give: no method can be better.
# Defaults were chosen on seed 10, which therefore does not judge.

options <- list(
  CELLS = "2000", SEEDS = "0,1", UMI = "1500", FRAGMENTS = "300,700,1500", GENES = "300",
  OUT = "bench/output/cre", CIRCE = "none"
)
for (argument in strsplit(commandArgs(TRUE), "=")) options[[argument[1]]] <- argument[2]
suppressMessages({
  library(Matrix)
  library(scMVP)
})
source("bench/cre/data.R")
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

fitted_cells <- function(seed, fragments) {
  file <- file.path(options$OUT, paste(
    "fit", options$CELLS, options$UMI, fragments, paste0(seed, ".rds"),
    sep = "-"
  ))
  if (file.exists(file)) {
    return(readRDS(file))
  }
  object <- SimulateSCMVP(
    n.cells = as.numeric(options$CELLS), n.genes = 2000, n.peaks = 5000, n.types = 8,
    median.umi = as.numeric(options$UMI), median.fragments = fragments,
    seed = seed
  )
  object <- RunSCMVP(object, impute = "none", seed.use = seed, threads = 1, verbose = FALSE)
  object <- ImputeSCMVP(object, "peaks")
  saveRDS(object, file, compress = FALSE)
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

# Cells in 10 components of latent semantic indexing, as Signac's RunTFIDF() and RunSVD() make them.
lsi <- function(counts) {
  shares <- counts %*% Diagonal(x = 1 / colSums(counts))
  tf_idf <- log1p(Diagonal(x = ncol(counts) / rowSums(counts)) %*% shares * 1e4)
  found <- irlba::irlba(t(tf_idf), 11)
  z <- sweep(found$u, 2, found$d, `*`)[, -1] # the first is depth
  rownames(z) <- colnames(counts)
  z
}

# The scores of all pairs of peaks within a window, one row per pair.
cicero_row <- function(name, values, groups, truth, ...) {
  began <- proc.time()
  connections <- suppressWarnings(RunCicero(values, groups = groups, verbose = FALSE, ...))
  took <- proc.time() - began
  score_row(
    name, connections$coaccess[match(truth$neighbors, pair_key(connections))], truth,
    attr(connections, "distance_parameter"), took[["user.self"]]
  )
}

# Circe's table lists a pair once.
circe_row <- function(name, counts, groups, truth) {
  folder <- tempfile()
  dir.create(folder)
  on.exit(unlink(folder, recursive = TRUE))
  write_groups(counts, groups, folder)
  measured <- run_circe(options$CIRCE, folder)
  links <- utils::read.csv(file.path(folder, "links.csv"))
  swapped <- data.frame(Peak1 = links$Peak2, Peak2 = links$Peak1)
  place <- match(truth$neighbors, c(pair_key(links), pair_key(swapped)))
  score_row(name, rep(links$score, 2)[place], truth, measured$alpha, measured$cpu)
}

score_row <- function(name, score, truth, distance.parameter, cpu) {
  score[is.na(score)] <- 0
  same <- truth$same_program
  false_at <- function(cutoff) if (any(score > cutoff)) mean(!same[score > cutoff]) else NA
  # nearer than 200 kb, and without the pairs of one program but different genes, which open
  # together in truth
  clear <- truth$near & !(same & !truth$same_gene)
  data.frame(
    RunCicero = name, AP.program = average_precision(score, same),
    AP.gene = average_precision(score, truth$same_gene),
    AP.gene.clear = average_precision(score[clear], truth$same_gene[clear]),
    best.1000 = mean(same[order(-score)[1:1000]]), above.0.25 = sum(score > 0.25),
    false.above.0.25 = false_at(0.25), distance.parameter = distance.parameter, cpu = cpu
  )
}

pair_key <- function(pairs) paste(pairs$Peak1, pairs$Peak2)

# Average precision of pairs of peaks of one program, were the types of the cells and the fold
# changes known: counts of types are multinomial.
bayes_bound <- function(object, truth) {
  type <- factor(object$cell_type)
  counts <- as.matrix(object[["ATAC"]]@counts %*% sparse.model.matrix(~ type - 1))
  depth <- colSums(counts)
  n <- nlevels(type)
  members <- rbind(kronecker(diag(n / 2), t(c(1, 1))), diag(n))
  ratio <- apply(members, 1, function(member) {
    fold <- ifelse(member == 1, 0.9 * 2.2 + 0.1, 1) # 10 % ambient
    as.vector(counts %*% log(fold / (sum(fold * depth) / sum(depth))))
  })
  share <- mean(nzchar(truth$group))
  posterior <- cbind(exp(pmin(ratio, 300)) * share / nrow(members), 1 - share)
  posterior <- (posterior / rowSums(posterior))[, seq_len(nrow(members))]
  rownames(posterior) <- rownames(counts)
  score <- rowSums(posterior[truth$first, ] * posterior[truth$second, ])
  average_precision(score, truth$same_program)
}

lasso_row <- function(name, rna, values, truth, ...) {
  began <- proc.time()
  run <- function(...) {
    suppressWarnings(LinkPeaksLASSO(
      rna, values,
      genes = truth$some, gene.coords = truth$coords, verbose = FALSE, ...
    ))
  }
  ranked <- run(..., lambda = "min", n.permutations = 0)
  default <- run(..., n.permutations = 0)
  strict <- run(..., fdr = 1)
  took <- proc.time() - began
  pairs <- truth$pairs
  linked <- pairs$key %in% truth$links
  precision <- function(links, value) {
    score <- numeric(nrow(pairs))
    score[match(paste(links$gene, links$peak), pairs$key)] <- value
    average_precision(score, linked)
  }
  null <- attr(default, "genes")
  null <- null[!null$gene %in% truth$genes, ]
  false_at <- function(level) {
    called <- strict[strict$fdr <= level, ]
    key <- paste(called$gene, called$peak)
    program <- nzchar(truth$gene_group[called$gene]) & nzchar(truth$group[called$peak])
    c(nrow(called), mean(!key %in% truth$links), mean(!program))
  }
  at <- c(false_at(0.05), false_at(0.1))
  data.frame(
    LASSO = name, AP = precision(ranked, abs(ranked$coefficient)),
    AP.1se = precision(default, abs(default$coefficient)), links.1se = nrow(default),
    true.1se = sum(paste(default$gene, default$peak) %in% truth$links),
    null.R2 = mean(null$r_squared), null.links = mean(null$links),
    called.5 = at[1], unlinked.5 = at[2], unrelated.5 = at[3],
    called.10 = at[4], unlinked.10 = at[5], unrelated.10 = at[6], cpu = took[["user.self"]]
  )
}

known_truth <- function(object, seed) {
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
  set.seed(seed + 1)
  some <- sample(rownames(genes), as.numeric(options$GENES))
  pairs <- pairs[pairs$gene %in% some, ]
  by_gene <- split(links$peak, links$gene)
  both <- unlist(lapply(by_gene, function(p) {
    if (length(p) < 2) return(NULL)
    two <- utils::combn(p, 2)
    c(paste(two[1, ], two[2, ]), paste(two[2, ], two[1, ]))
  }))
  within <- do.call(rbind, lapply(split(seq_len(nrow(peaks)), peaks$chrom), function(here) {
    gap <- outer(center[here], center[here], function(one, other) other - one)
    near <- which(gap > 0 & gap < 5e5, arr.ind = TRUE)
    data.frame(first = here[near[, 1]], second = here[near[, 2]], near = gap[near] < 2e5)
  }))
  group <- stats::setNames(as.character(peaks$marker_of), rownames(peaks))
  neighbors <- paste(rownames(peaks)[within$first], rownames(peaks)[within$second])
  list(
    coords = coords, pairs = pairs, links = paste(links$gene, links$peak), genes = links$gene,
    some = some, group = group,
    gene_group = stats::setNames(as.character(genes$marker_of), rownames(genes)),
    first = within$first, second = within$second, near = within$near, neighbors = neighbors,
    same_program = unname(group[within$first] == group[within$second] &
      nzchar(group[within$first])),
    same_gene = neighbors %in% both
  )
}

for (fragments in as.numeric(strsplit(options$FRAGMENTS, ",")[[1]])) {
  for (seed in as.numeric(strsplit(options$SEEDS, ",")[[1]])) {
    object <- fitted_cells(seed, fragments)
    truth <- known_truth(object, seed)
    groups <- AggregateCells(object, verbose = FALSE)
    latent <- SeuratObject::Embeddings(object[["scmvp"]])
    raw <- object[["ATAC"]]@counts
    rna <- object[["RNA"]]@counts
    imputed <- object[["scMVP_ATAC"]]@data
    knn <- smoothed(raw, latent)
    cat(
      "fragments", fragments, "seed", seed, ":", ncol(raw), "cells,", ncol(groups), "groups,",
      length(truth$neighbors), "pairs of peaks, of one program", mean(truth$same_program),
      ", Bayes", bayes_bound(object, truth), ";", nrow(truth$pairs),
      "pairs of gene and peak, linked", mean(truth$pairs$key %in% truth$links), "\n"
    )
    print(rbind(
      cicero_row("raw", raw, groups, truth),
      if (options$CIRCE != "none") circe_row("raw, Circe", raw, groups, truth),
      cicero_row("raw, groups of LSI", raw, AggregateCells(lsi(raw), verbose = FALSE), truth),
      cicero_row("raw, extended", raw, groups, truth, search = "extended"),
      cicero_row("kNN", knn, groups, truth),
      cicero_row("kNN, relative", knn, groups, truth, scale = "relative"),
      cicero_row("imputed, as counts", imputed, groups, truth),
      cicero_row("imputed", imputed, groups, truth, scale = "relative")
    ), digits = 3)
    print(rbind(
      lasso_row("raw", rna, raw, truth),
      lasso_row("kNN", rna, knn, truth, peaks.imputed = TRUE, standardize = TRUE),
      lasso_row("kNN, as imputed", rna, knn, truth, peaks.imputed = TRUE),
      lasso_row("imputed", rna, imputed, truth, peaks.imputed = TRUE)
    ), digits = 3)
  }
}
