# What LinkPeaksLASSO() is given, checked: pairs of genes and peaks, options, covariates, folds.


# The pairs to fit: gene, peak (row), distance, and where they are. Genes that were named and cannot
# be fitted are told.
gene_peak_pairs <- function(rna, peaks, ranges, genes, starts, options) {
  wanted <- if (is.null(genes)) rownames(rna) else genes
  tell <- function(lost, ...) {
    if (length(lost) > 0 && !is.null(genes)) {
      warn_of(
        "genes", count_of(length(lost), "gene"), ..., " left out: ", some_names(lost), "."
      )
    }
  }
  detected <- Matrix::rowSums(rna[wanted, , drop = FALSE] != 0)
  rare <- wanted[detected < options$min.cells]
  tell(rare, " with counts in too few cells (min.cells = ", options$min.cells, ")")
  wanted <- setdiff(wanted, rare)
  if (length(wanted) == 0) {
    refuse("no gene has counts in enough cells (min.cells = ", options$min.cells, "): lower it.")
  }
  starts <- locate_genes(wanted, starts, ranges)
  open <- which(Matrix::rowSums(peaks != 0) >= options$min.cells)
  pairs <- nearby_peaks(starts, ranges[open, ], options$distance)
  pairs$peak <- open[pairs$peak]
  if (nrow(pairs) == 0) {
    refuse(
      "no peak lies within ", format_count(options$distance), " bp of a gene (genes on ",
      some_names(unique(starts$seqnames)), "; peaks on ", some_names(unique(ranges$seqnames)),
      "): give gene.coords of the peaks' genome, or raise distance."
    )
  }
  tell(
    setdiff(unique(starts$gene), pairs$gene), " without a peak within ",
    format_count(options$distance), " bp"
  )
  pairs <- pairs[order(match(pairs$gene, wanted), pairs$peak), ]
  pairs$seqnames <- ranges$seqnames[pairs$peak]
  pairs$center <- (ranges$start[pairs$peak] + ranges$end[pairs$peak]) / 2
  pairs
}

# Positions of the cells with counts for each side that is not imputed: a cell without counts was
# not measured there, so its zeros mean nothing. `totals`: a list by side, one number per cell.
cells_with_counts <- function(totals, imputed, verbose) {
  measured <- totals[!imputed]
  for (side in names(measured)) {
    if (!any(measured[[side]] > 0)) {
      refuse("the ", features_of_kind(side), " hold no count at all.")
    }
  }
  counted <- Reduce(`&`, lapply(measured, `>`, 0), rep(TRUE, length(totals[[1]])))
  if (!any(counted)) {
    refuse(
      "no cell has counts of both genes and peaks: give cells in which both were measured, or ",
      "imputed peaks."
    )
  }
  left <- sum(!counted)
  if (left > 0 && verbose) {
    message(
      format_count(left), " of ", count_of(length(counted), "cell"), " left out, without counts ",
      "of ", paste(features_of_kind(names(measured)), collapse = " or of ")
    )
  }
  which(counted)
}

# Both sides in the cells with both, and what belongs to these: list(rna, peaks, coordinates,
# covariates, groups, totals, smooth, units). `units`: the cells, or groups, that were given: the
# word for one, how many (n), their names and which of them to use.
lasso_cells <- function(rna, peaks, coordinates, covariates, groups, imputed, verbose) {
  cells <- colnames(peaks)
  totals <- list(rna = Matrix::colSums(rna), peaks = Matrix::colSums(peaks))
  use <- cells_with_counts(totals, imputed, verbose)
  totals <- lapply(totals, `[`, use)
  units <- list(word = "cell", names = cells, n = length(cells), use = use)
  if (!is.null(groups)) groups <- groups_for(peaks, groups) # NULL again for "none"
  if (!is.null(groups)) {
    given <- groups[use, , drop = FALSE]
    units <- list(
      word = "group", names = colnames(groups), n = ncol(groups), use = groups_with_cells(given)
    )
    groups <- given[, units$use, drop = FALSE]
  }
  if (!is.null(coordinates)) {
    coordinates <- coordinates_for(cells, length(cells), coordinates)[use, , drop = FALSE]
  }
  covariates <- check_covariates(covariates, cells, use, totals, imputed)
  if (length(use) < length(cells)) {
    rna <- rna[, use, drop = FALSE]
    peaks <- peaks[, use, drop = FALSE]
  }
  list(
    rna = rna, peaks = peaks, coordinates = coordinates, covariates = covariates, groups = groups,
    totals = totals, smooth = imputed, units = units
  )
}

groups_with_cells <- function(groups, counted = "both genes and peaks") {
  kept <- which(Matrix::colSums(groups != 0) > 0)
  if (length(kept) == 0) {
    refuse(
      "no group has a cell with counts of ", counted, ": make groups of such cells, with ",
      "AggregateCells()."
    )
  }
  kept
}

check_lasso_options <- function(distance, lambda, alpha, nfolds, min.cells, min.correlation,
                                pseudocount, lambda.sequence, n.permutations, fdr, seed.use) {
  options <- list(
    distance = check_number(distance, "distance", min = 0, above = TRUE),
    lambda = check_choice(lambda, c("1se", "min"), "lambda"),
    alpha = check_number(alpha, "alpha", min = 0, above = TRUE),
    nfolds = check_number(nfolds, "nfolds", min = 3, whole = TRUE),
    min.cells = check_number(min.cells, "min.cells", min = 0, whole = TRUE),
    min.correlation = check_number(min.correlation, "min.correlation", min = 0),
    pseudocount = check_number(pseudocount, "pseudocount", min = 0, above = TRUE),
    n.permutations = check_number(n.permutations, "n.permutations", min = 0, whole = TRUE),
    seed.use = check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  )
  if (options$alpha > 1) refuse("alpha must be at most 1, not ", alpha, ".")
  options$lambda.sequence <- check_lambda_sequence(lambda.sequence)
  options["fdr"] <- list(check_number(fdr, "fdr", min = 0, above = TRUE, optional = TRUE))
  if (!is.null(options$fdr) && options$n.permutations == 0) {
    refuse("fdr needs permutations: leave it out, or set n.permutations above 0.")
  }
  options
}

check_lambda_sequence <- function(x) {
  usable <- is.numeric(x) && length(x) >= 2 && all(is.finite(x))
  if (!usable || any(x <= 0) || any(diff(x) >= 0)) {
    refuse("lambda.sequence must be decreasing numbers above 0.")
  }
  x
}

# Numeric covariates of the cells to `use`, cells x covariates, or NULL. `cells`: the names of all;
# `totals`: of both sides, in the cells to use.
check_covariates <- function(covariates, cells, use, totals, smooth) {
  if (identical(covariates, "none") || is.null(covariates)) {
    return(NULL)
  }
  if (identical(covariates, "depth")) {
    return(log_depths(totals, smooth))
  }
  covariates <- as.matrix(covariates)
  usable <- is.numeric(covariates) && nrow(covariates) == length(cells)
  if (!usable || !all(is.finite(covariates))) {
    refuse(
      "covariates must be \"depth\", \"none\" or a numeric matrix with one row for each of the ",
      count_of(length(cells), "cell"), " and no missing value."
    )
  }
  if (!is.null(rownames(covariates))) {
    check_same_cells(rownames(covariates), cells, "covariates")
    covariates <- covariates[cells, , drop = FALSE]
  }
  covariates <- covariates[use, , drop = FALSE]
  varying <- covariates[, apply(covariates, 2, stats::sd) > 0, drop = FALSE]
  if (ncol(varying) > 0 && qr(scale(varying))$rank < ncol(varying)) {
    refuse(
      "columns of covariates follow from each other (are collinear): leave out those that add ",
      "nothing."
    )
  }
  unname(covariates)
}

# Imputed values have no depth.
log_depths <- function(totals, smooth) {
  if (all(smooth)) {
    return(NULL)
  }
  depth <- do.call(cbind, lapply(totals[!smooth], log))
  unname(depth[, apply(depth, 2, stats::sd) > 0, drop = FALSE])
}

# Fold of each cell or group to use, 1, 2, ... `units`: see lasso_cells(); `coordinates`: of these.
check_folds <- function(folds, units, options, smooth, coordinates) {
  both <- all(smooth)
  if (both) {
    warn_of(
      "smoothed", "RNA and peaks are both smoothed, so the values of held-out cells are also part ",
      "of the fit: R squared and links are inflated. Measured RNA as the response avoids this; ",
      "folds of similar cells (folds = \"block\", the default here) only reduce it."
    )
  }
  if (is.null(folds)) folds <- if (both) "block" else "random"
  if (identical(folds, "random")) {
    if (both) {
      refuse(
        "random folds with smoothed RNA and peaks would give false links: use folds = \"block\", ",
        "your own folds, or measured RNA."
      )
    }
    number <- rep(seq_len(options$nfolds), length.out = length(units$use))
    return(seeded(options$seed.use, sample(number)))
  }
  if (identical(folds, "block")) {
    block_folds(coordinates, options, units$word)
  } else {
    own_folds(folds, units)
  }
}

# Blocks of similar cells.
block_folds <- function(coordinates, options, unit) {
  if (is.null(coordinates)) {
    refuse(
      "folds = \"block\" needs the cells' coordinates: give coordinates = (cells x dimensions), ",
      "or with an object reduction =."
    )
  }
  coordinates <- check_coordinates(as.matrix(coordinates), "folds = \"block\"")
  # equal ones as kmeans() finds them, which refuses fewer points than clusters, and as many
  points <- apply(coordinates, 1, paste, collapse = " ")
  n <- length(unique(points))
  if (n < options$nfolds) {
    refuse(
      "folds = \"block\" needs at least nfolds = ", options$nfolds, " ", unit,
      "s with different coordinates, and there ", is_are(n), " ", format_count(n), ": ",
      if (n >= 3) paste0("lower nfolds to ", n, " or less, or "), "give more ", unit, "s."
    )
  }
  if (n == options$nfolds) {
    return(match(points, unique(points)))
  }
  seeded(
    options$seed.use,
    stats::kmeans(coordinates, options$nfolds, iter.max = 100, nstart = 5)$cluster
  )
}

own_folds <- function(folds, units) {
  if (length(folds) != units$n || anyNA(folds)) {
    refuse(
      "folds must be \"random\", \"block\" or the fold of each of the ",
      count_of(units$n, units$word), "."
    )
  }
  if (!is.null(names(folds)) && !is.null(units$names)) {
    check_same_cells(names(folds), units$names, "folds")
    folds <- folds[units$names]
  }
  folds <- as.integer(factor(folds[units$use]))
  if (max(folds) < 3) refuse("at least 3 folds are needed, not ", max(folds), ".")
  unname(folds)
}
