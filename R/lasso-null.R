# The null distribution of LinkPeaksLASSO(): the lambda at which unlinked peaks enter, from
# permutations of the expression or from peaks of other chromosomes.

# The peaks that a null hypothesis needs, and options without permutations where none can be had or
# the response is smooth.
null_hypothesis <- function(pairs, peaks, ranges, options, smooth) {
  if (smooth[["rna"]]) options$n.permutations <- 0
  pool <- pool_or_warning(pairs, peaks, ranges, options)
  if (options$null == "background" && is.null(pool)) options$n.permutations <- 0
  list(pool = pool, options = options)
}

pool_or_warning <- function(pairs, peaks, ranges, options) {
  if (options$null != "background" || options$n.permutations == 0) {
    return(NULL)
  }
  pool <- background_pool(pairs, peaks, ranges, options)
  if (is.null(pool)) {
    tell <- "null = \"background\" needs at least 20 peaks that are not near the gene, and there "
    if (!is.null(options$fdr)) {
      refuse(tell, "are fewer, so no rate can be given: leave fdr out.")
    }
    warn_of("background", tell, "are fewer: fdr is NA.")
  }
  pool
}

# Orders of the cells for the permutations, the same for every gene, so that the correlation of
# genes is the same in them.
permuted_cells <- function(n, options) {
  if (options$null != "permutation") {
    return(matrix(0L, n, 0))
  }
  seeded(
    options$seed.use + 1,
    vapply(seq_len(options$n.permutations), function(i) sample.int(n), integer(n))
  )
}

# The lambda at which each peak enters, in the data and in the permutations of y. Covariates are
# regressed out of both sides first, and residuals permuted (Freedman & Lane 1983).
entries_by_permutation <- function(x, y, covariates, permutations, options) {
  if (!is.null(covariates)) {
    basis <- qr(cbind(1, covariates))
    x <- qr.resid(basis, x)
    y <- qr.resid(basis, y)
  }
  n <- nrow(x)
  keep <- sqrt(colSums(x^2) / n) > 1e-7
  observed <- numeric(ncol(x))
  if (!any(keep)) {
    return(list(observed = observed, permuted = numeric()))
  }
  x <- x[, keep, drop = FALSE]
  gram <- crossprod(x) / n + diag(options$ridge, ncol(x))
  # as a vector: two columns would be taken for pairs of row and column
  responses <- cbind(y, matrix(y[as.vector(permutations)], n))
  moments <- crossprod(x, responses) / n
  moments[abs(moments) <= options$min.correlation] <- 0
  some <- colSums(moments != 0) > 0
  entered <- matrix(0, nrow(moments), ncol(moments))
  if (any(some)) {
    entered[, some] <- follow_paths(
      matrix(gram, length(gram), sum(some)), moments[, some, drop = FALSE],
      lowest = options$lowest.entry
    )$entered
  }
  observed[keep] <- entered[, 1]
  list(observed = observed, permuted = entered[, -1][entered[, -1] > 0])
}

# The same against peaks of other chromosomes in the place of the gene's own (`background`: a list
# of matrices like x).
entries_by_background <- function(x, y, covariates, background, options) {
  n <- nrow(x)
  p <- ncol(x)
  basis <- qr(cbind(rep(1, n), covariates))
  y <- as.vector(qr.resid(basis, y))
  all <- lapply(c(list(x), background), function(one) qr.resid(basis, one))
  moments <- vapply(all, function(one) as.vector(crossprod(one, y)) / n, numeric(p))
  moments <- matrix(moments, p)
  sd <- matrix(vapply(all, function(one) sqrt(colSums(one^2) / n), numeric(p)), p)
  moments[sd < 1e-7 | abs(moments) <= options$min.correlation * sd] <- 0
  some <- colSums(moments != 0) > 0
  entered <- matrix(0, p, ncol(moments))
  if (any(some)) {
    grams <- vapply(all[some], function(one) {
      gram <- crossprod(one) / n
      gone <- which(diag(gram) < 1e-14)
      gram[cbind(gone, gone)] <- 1
      as.vector(gram + diag(options$ridge, p))
    }, numeric(p * p))
    entered[, some] <- follow_paths(
      matrix(grams, p * p), moments[, some, drop = FALSE],
      lowest = options$lowest.entry
    )$entered
  }
  list(observed = entered[, 1], permuted = entered[, -1][entered[, -1] > 0])
}

# Peaks of other chromosomes for each gene: list by gene of peaks (rows) x draws, each as accessible
# as the gene's own peak in that row. They come from a pool of 500, so that few peaks are read.
# Where other chromosomes have fewer than 20 of these, any that is not near the gene. NULL when a
# gene has fewer still.
background_pool <- function(pairs, peaks, ranges, options) {
  usable <- which(Matrix::rowSums(peaks != 0) >= options$min.cells)
  total <- Matrix::rowSums(peaks)
  rows_of <- split(seq_len(nrow(pairs)), factor(pairs$gene, unique(pairs$gene)))
  seeded(options$seed.use + 1, {
    pool <- usable[sample.int(length(usable), min(500, length(usable)))]
    pool <- pool[order(total[pool])]
    draws <- lapply(rows_of, function(rows) {
      near <- pairs$peak[rows]
      other <- pool[!ranges$seqnames[pool] %in% ranges$seqnames[near]]
      if (length(other) < 20) other <- setdiff(pool, near)
      if (length(other) < 20) {
        return(NULL)
      }
      at <- findInterval(total[near], total[other])
      place <- vapply(seq_len(options$n.permutations), function(i) {
        closest_at_random(at, length(other))
      }, integer(length(near)))
      matrix(other[place], length(near))
    })
  })
  if (any(lengths(draws) == 0)) NULL else draws
}

# For each place one of the 20 around it (1 to n), none twice while there are others.
closest_at_random <- function(at, n) {
  first <- pmin(pmax(at - 10L, 0L), n - 20L)
  taken <- first + sample.int(20, length(at), replace = TRUE)
  again <- which(duplicated(taken))
  left <- setdiff(seq_len(n), taken)
  for (i in again[seq_len(min(length(again), length(left)))]) {
    nearest <- which.min(abs(left - taken[i]))
    taken[i] <- left[nearest]
    left <- left[-nearest]
  }
  as.integer(taken)
}

# Benjamini-Hochberg by permutation: for each observed statistic the expected number of permuted
# ones at least as large (per permutation), over the number observed. The data count as one of the
# permutations, as in permutation_p(): where nothing is linked, the largest of all is in the data
# once in n_permutations + 1 times, which no rate below that may call.
permutation_fdr <- function(observed, permuted, n_permutations) {
  if (length(observed) == 0) {
    return(numeric())
  }
  order <- order(observed, decreasing = TRUE)
  sorted <- observed[order]
  as_large <- length(permuted) - findInterval(sorted, sort(permuted), left.open = TRUE)
  expected <- (1 + as_large) / (1 + n_permutations)
  called <- length(sorted) - findInterval(sorted, sort(sorted), left.open = TRUE)
  rate <- pmin(1, expected / called)
  fdr <- numeric(length(observed))
  fdr[order] <- rev(cummin(rev(rate)))
  fdr
}

# The share of all pairs of the null hypothesis, `n`, whose peak enters as early; those that never
# enter are not among `permuted`.
permutation_p <- function(observed, permuted, n) {
  as_early <- length(permuted) - findInterval(observed, sort(permuted), left.open = TRUE)
  ifelse(observed > 0, (1 + as_early) / (1 + n), 1)
}
