# LinkPeaksLASSO() against a loop over cv.glmnet() on the same folds, in one run:
#   Rscript bench/cre/lasso.R [GENES=100]
# The loop gets the transformed matrix for nothing: only its cv.glmnet() calls are timed. Ours is
# the whole call, from counts to the table of links, without permutations. Needs the Python core.

options <- list(GENES = "100")
for (argument in strsplit(commandArgs(TRUE), "=")) options[[argument[1]]] <- argument[2]
suppressMessages({
  library(Matrix)
  library(scMVP)
})

compare <- function(n_cells) {
  object <- SimulateSCMVP(n.cells = n_cells, n.genes = 400, n.peaks = 2000, n.types = 6, seed = 3)
  genes <- object[["RNA"]]@meta.features
  coords <- data.frame(
    gene = rownames(genes), seqnames = genes$chrom, tss = genes$tss, strand = genes$strand
  )
  rna <- object[["RNA"]]@counts
  peaks <- object[["ATAC"]]@counts
  folds <- rep_len(1:10, n_cells)
  run <- function(genes, ...) {
    LinkPeaksLASSO(
      rna, peaks,
      genes = genes, gene.coords = coords, folds = folds, covariates = "none",
      n.permutations = 0, verbose = FALSE, ...
    )
  }
  fitted <- attr(suppressWarnings(run(NULL)), "genes")
  some <- utils::head(fitted$gene[fitted$tried >= 2], as.numeric(options$GENES))
  began <- proc.time()
  links <- run(some)
  took <- proc.time() - began
  ours <- took[["user.self"]] + took[["sys.self"]]

  transform <- function(x) {
    totals <- colSums(x)
    scale(log(as.matrix(t(x)) / (totals / exp(mean(log(totals)))) + 0.1))
  }
  x <- transform(peaks)
  y <- transform(rna)
  center <- sub("^chr[0-9]+-", "", rownames(peaks))
  center <- vapply(strsplit(center, "-"), function(p) mean(as.numeric(p)), numeric(1))
  chromosome <- sub("-.*", "", rownames(peaks))
  lambda <- exp(seq(log(10), log(0.001), length.out = 100))
  open <- rowSums(peaks != 0) >= 10
  theirs <- 0
  same_lambda <- 0
  largest <- 0
  for (gene in some) {
    at <- match(gene, coords$gene)
    near <- which(open & chromosome == coords$seqnames[at] & abs(center - coords$tss[at]) <= 1e5)
    near <- near[abs(stats::cor(x[, near], y[, gene])) > 0.03]
    began <- proc.time()
    fit <- glmnet::cv.glmnet(x[, near], y[, gene], lambda = lambda, foldid = folds)
    took <- proc.time() - began
    theirs <- theirs + took[["user.self"]] + took[["sys.self"]]
    row <- match(gene, attr(links, "genes")$gene)
    same_lambda <- same_lambda + isTRUE(all.equal(attr(links, "genes")$lambda[row], fit$lambda.1se))
    coefficient <- stats::coef(fit, s = "lambda.1se")[-1, 1]
    own <- links[links$gene == gene, ]
    mine <- stats::setNames(numeric(length(near)), rownames(peaks)[near])
    mine[own$peak] <- own$coefficient
    largest <- max(largest, abs(mine - coefficient))
  }
  cat(sprintf(
    "%d cells, %d genes: %.1f ms of cv.glmnet per gene, %.1f ms of LinkPeaksLASSO: %.1f times; ",
    n_cells, length(some), 1e3 * theirs / length(some), 1e3 * ours / length(some), theirs / ours
  ))
  cat(sprintf(
    "same lambda.1se in %d of %d, largest difference of a coefficient %.1e\n",
    same_lambda, length(some), largest
  ))
}

for (n_cells in c(1000, 5000)) compare(n_cells)
