# From values of genes and peaks to links: the fits of LinkPeaksLASSO(), gene by gene, and its
# table.


# Fits of all genes, in pieces of neighboring genes that share peaks.
link_genes <- function(rna, peaks, pairs, scale, logged, covariates, folds, pool, options, workers,
                       BPPARAM, verbose) {
  order <- order(folds)
  ends <- cumsum(tabulate(folds))
  rows_of <- split(seq_len(nrow(pairs)), factor(pairs$gene, unique(pairs$gene)))
  transform <- function(x, side) {
    log_transform(x[, order, drop = FALSE], scale[[side]][order], options$pseudocount,
      logged[[side]])
  }
  pieces <- cut_pieces(lengths(rows_of), 4000, at.least = 4 * workers)
  permutations <- permuted_cells(length(order), options)
  if (!is.null(covariates)) covariates <- covariates[order, , drop = FALSE]
  in_pieces(pieces, function(some) {
    rows <- rows_of[some]
    used <- sort(unique(pairs$peak[unlist(rows)]))
    # cells x features from here on
    x <- transform(peaks[used, , drop = FALSE], "peaks")
    y <- transform(rna[names(rows), , drop = FALSE], "rna")
    drawn <- unique(unlist(pool[names(rows)], use.names = FALSE))
    elsewhere <- if (length(drawn) > 0) transform(peaks[drawn, , drop = FALSE], "peaks")
    lapply(seq_along(rows), function(g) {
      near <- match(pairs$peak[rows[[g]]], used)
      draws <- pool[[names(rows)[g]]]
      fit_gene(
        x[, near, drop = FALSE], as.vector(y[, g]), covariates, ends, permutations, options,
        background = lapply(seq_len(if (is.null(draws)) 0 else ncol(draws)), function(i) {
          elsewhere[, match(draws[, i], drawn), drop = FALSE]
        })
      )
    })
  }, workers = workers, BPPARAM = BPPARAM, verbose = verbose, what = "genes")
}

# What is not said follows from whether the peaks are imputed.
add_scale_options <- function(options, standardize, ridge, null, peaks.imputed) {
  if (is.null(standardize)) standardize <- !peaks.imputed
  if (is.null(ridge)) ridge <- if (isTRUE(standardize)) 0 else 3
  if (is.null(null)) null <- if (peaks.imputed) "background" else "permutation"
  options$standardize <- check_flag(standardize, "standardize")
  options$null <- check_choice(null, c("permutation", "background"), "null")
  options$ridge <- check_number(ridge, "ridge", min = 0)
  # covariances of values that are not standardized are smaller
  options$lowest.entry <- max(
    utils::tail(options$lambda.sequence, 1), if (options$standardize) 0.01 else 0
  )
  options
}

# The ridge in the units of the peaks.
ridge_of <- function(peaks, factors, logged, options) {
  if (options$ridge == 0 || options$standardize) {
    return(options$ridge)
  }
  options$ridge * typical_variance(peaks, factors, logged, options)
}

# The variance over cells of the middle peak, logged.
typical_variance <- function(peaks, factors, logged, options) {
  blocks <- split(seq_len(nrow(peaks)), (seq_len(nrow(peaks)) - 1) %/% 1000)
  variances <- lapply(blocks, function(rows) {
    x <- log_transform(peaks[rows, , drop = FALSE], factors, options$pseudocount, logged)
    column_sd(x)^2
  })
  variances <- unlist(variances, use.names = FALSE)
  stats::median(variances[variances > 0])
}

# log(x / size factor + pseudocount) up to a constant, cells x features: where x is 0 it is 0, so
# that a sparse matrix stays one.
log_transform <- function(x, factors, pseudocount, logged) {
  if (methods::is(x, "sparseMatrix")) {
    x <- as_dgc(x)
    if (!logged) {
      if (!is.null(factors)) x@x <- x@x / rep(factors, diff(x@p))
      x@x <- log1p(x@x / pseudocount)
    }
    return(Matrix::t(x))
  }
  x <- t(as.matrix(x))
  if (logged) {
    return(x)
  }
  if (!is.null(factors)) x <- x / factors
  log1p(x / pseudocount)
}

# One gene. `x`: cells x near peaks, `y`: its expression, cells sorted by fold.
fit_gene <- function(x, y, covariates, ends, permutations, options, background = NULL) {
  n <- length(y)
  p <- ncol(x)
  empty <- list(
    coefficients = numeric(p), r_squared = 0, lambda = NA_real_, entered = numeric(p),
    permuted = numeric(), tried = 0L
  )
  y <- standardize(matrix(y))
  if (!any(y != 0)) {
    return(empty)
  }
  n_free <- if (is.null(covariates)) 0 else ncol(covariates)
  spread <- column_sd(x)
  correlation <- as.vector(Matrix::crossprod(x, y)) / (n - 1) / pmax(spread, 1e-12)
  tried <- which(abs(correlation) > options$min.correlation)
  result <- empty
  result$tried <- length(tried)
  if (length(tried) > 0) {
    design <- cbind(1, covariates, centered(as.matrix(x[, tried, drop = FALSE])), y)
    fit <- cross_validate(
      fold_products(design, ends), n_free, options$lambda.sequence, options$alpha,
      options$standardize, options$ridge
    )
    # from here on those of standardized peaks, so that they can be compared
    chosen <- 1 + n_free + seq_along(tried)
    fit$coefficients[chosen, ] <- fit$coefficients[chosen, ] * spread[tried]
    at <- fit[[options$lambda]]
    result$lambda <- options$lambda.sequence[at]
    result$r_squared <- max(0, 1 - fit$cvm[at] / fit$cvm[1])
    result$coefficients[tried] <- fit$coefficients[chosen, at]
    result$path <- list(tried = tried, coefficients = fit$coefficients[chosen, , drop = FALSE])
  }
  scaled <- function(x) {
    x <- as.matrix(x)
    if (options$standardize) standardize(x) else centered(x)
  }
  null <- if (length(background) > 0) {
    entries_by_background(scaled(x), y, covariates, lapply(background, scaled), options)
  } else if (ncol(permutations) > 0) {
    entries_by_permutation(scaled(x), y, covariates, permutations, options)
  }
  if (!is.null(null)) {
    result$entered <- null$observed
    result$permuted <- null$permuted
  }
  result
}

# From the fits to the table of links.
chosen_links <- function(pieces, pairs, peak_names, options) {
  fits <- unlist(pieces, recursive = FALSE)
  genes <- unique(pairs$gene)
  table <- pairs
  spread <- function(part) rep(vapply(fits, `[[`, numeric(1), part), tabulate(gene_of))
  gene_of <- match(pairs$gene, genes)
  table$coefficient <- unlist(lapply(fits, `[[`, "coefficients"), use.names = FALSE)
  table$r_squared <- spread("r_squared")
  table$lambda <- spread("lambda")
  table[c("p_value", "fdr")] <- NA_real_
  if (options$n.permutations > 0) {
    entered <- unlist(lapply(fits, `[[`, "entered"), use.names = FALSE)
    permuted <- unlist(lapply(fits, `[[`, "permuted"), use.names = FALSE)
    table$fdr <- permutation_fdr(entered, permuted, options$n.permutations)
    table$fdr[entered == 0] <- 1
    table$p_value <- permutation_p(entered, permuted, length(entered) * options$n.permutations)
  }
  if (is.null(options$fdr)) {
    table <- table[table$coefficient != 0, ]
  } else {
    table <- table[which(table$fdr <= options$fdr), ]
    table <- coefficients_within_path(table, fits, pairs, genes, options)
  }
  table$peak <- peak_names[table$peak]
  table <- table[c("gene", "peak", "distance", "coefficient", "r_squared", "p_value", "fdr",
    "lambda", "tss", "seqnames", "center")]
  rownames(table) <- NULL
  n_links <- tabulate(match(table$gene, genes), length(genes))
  attr(table, "genes") <- data.frame(
    gene = genes, peaks = tabulate(gene_of, length(genes)),
    tried = vapply(fits, function(fit) as.integer(fit$tried), integer(1)), links = n_links,
    r_squared = vapply(fits, `[[`, numeric(1), "r_squared"),
    lambda = vapply(fits, `[[`, numeric(1), "lambda")
  )
  table
}

# Links called by their rate may have no coefficient at the cross-validated penalty. Each of those
# takes the one at the middle of the penalties at which its peak has any.
coefficients_within_path <- function(table, fits, pairs, genes, options) {
  zero <- which(table$coefficient == 0)
  first <- match(genes, pairs$gene)
  for (row in zero) {
    g <- match(table$gene[row], genes)
    path <- fits[[g]]$path
    position <- match(table$peak[row], pairs$peak[first[g] + path$tried - 1])
    if (is.null(path) || is.na(position)) next
    inside <- which(path$coefficients[position, ] != 0)
    if (length(inside) == 0) next
    at <- inside[ceiling(length(inside) / 2)]
    table$coefficient[row] <- path$coefficients[position, at]
    table$lambda[row] <- options$lambda.sequence[at]
  }
  table
}

# The GRanges Signac keeps: with the columns of LinkPeaks() and then, unless `only`, those that it
# has not.
lasso_granges <- function(links, only = FALSE) {
  columns <- list(
    score = links$coefficient, gene = links$gene, peak = links$peak,
    zscore = sign(links$coefficient) * stats::qnorm(links$p_value / 2, lower.tail = FALSE),
    pvalue = links$p_value
  )
  if (!only) columns <- c(columns, list(r_squared = links$r_squared, fdr = links$fdr))
  do.call(links_to_genes, c(list(links), columns))
}
