#' Groups of similar cells
#'
#' Most peaks have counts in few cells, so co-accessibility is computed on groups of similar cells.
#' The groups are those of Cicero (Pliner et al. 2018): each cell with its nearest neighbors is a
#' candidate, the candidates are examined in random order, and a group is kept if it shares less
#' than nine tenths of its cells with every group kept before. Compute the groups once and use them
#' in all calls whose results you compare, such as raw and imputed accessibility in [RunCicero()]
#' and [LinkPeaksLASSO()]. Both functions remove cells in which the modality was not measured (as in
#' a mosaic) from the groups. For groups of `k` measured cells, pass a subset of the object.
#'
#' With `seed.use = s` the groups are those of `set.seed(s)` followed by
#' `cicero::make_cicero_cds()`, with the same names. The order may differ for cells at exactly the
#' same distance.
#'
#' @param object A Seurat object, SingleCellExperiment or MultiAssayExperiment with a reduction, or
#'   a numeric matrix of coordinates, cells x dimensions.
#' @param ... `silent`, the opposite of `verbose`, is accepted with a message; other arguments cause
#'   an error that names them.
#' @param reduction Name of the reduction.
#' @param dims Dimensions of the reduction to use; `NULL` for all.
#' @param k Cells per group.
#' @param seed.use Seed of the random order; R's own random numbers are not changed.
#' @param verbose Report the overlap of the groups.
#' @return A sparse 0/1 matrix (dgCMatrix), cells x groups, so that `counts %*% groups` sums the
#'   counts of each group. A group is named after its central cell: `agg12` for the twelfth cell.
#' @section Errors:
#' `scmvp_error_input`: no such reduction or dimension; coordinates missing or not finite; fewer
#' than `k` cells.
#' @references Pliner HA, Packer JS, McFaline-Figueroa JL, et al. (2018). Cicero predicts
#'   cis-regulatory DNA interactions from single-cell chromatin accessibility data. *Molecular Cell*
#'   71:858-871.
#' @examples
#' latent <- matrix(rnorm(300 * 5), 300, dimnames = list(paste0("cell", 1:300), NULL))
#' groups <- AggregateCells(latent, k = 30)
#' dim(groups)
#' @export
AggregateCells <- function(object, reduction = "scmvp", dims = NULL, k = 50, seed.use = 0,
                           verbose = TRUE, ...) {
  left <- take_earlier_names(
    list(...), c(silent = "verbose"), "AggregateCells()", match.call(), environment()
  )
  refuse_dots(left, setdiff(names(formals()), c("object", "...")))
  refuse_for_matrix(object, match.call(), environment(), c("reduction", "dims"))
  coordinates <- coordinates_of(object, reduction, dims, "AggregateCells()")
  k <- check_number(k, "k", min = 2, whole = TRUE)
  seed.use <- check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  check_flag(verbose, "verbose")
  if (nrow(coordinates) < k) {
    refuse(
      "groups of k = ", k, " cells cannot be made from ", count_of(nrow(coordinates), "cell"),
      ": choose a smaller k."
    )
  }
  neighbors <- rbind(nearest_cells(coordinates, k - 1), seq_len(nrow(coordinates)))
  chosen <- seeded(seed.use, choose_groups(neighbors, k))
  groups <- Matrix::sparseMatrix(
    i = as.integer(neighbors[, chosen]), j = rep(seq_along(chosen), each = k), x = 1,
    dims = c(nrow(coordinates), length(chosen)),
    dimnames = list(rownames(coordinates), paste0("agg", chosen))
  )
  if (verbose) tell_overlap(groups, k)
  groups
}

check_coordinates <- function(x, taker) {
  if (is.data.frame(x)) x <- as.matrix(x)
  if (!is.matrix(x) || !is.numeric(x) || nrow(x) == 0 || ncol(x) == 0) {
    refuse(
      taker, " takes a Seurat object, a SingleCellExperiment, a MultiAssayExperiment or a numeric ",
      "matrix of coordinates (cells x dimensions), not ", in_words(x), "."
    )
  }
  bad <- which(!is.finite(rowSums(x)))
  if (length(bad) > 0) {
    refuse(
      "coordinates of ", count_of(length(bad), "cell"), " are missing or not finite (",
      some_names(if (is.null(rownames(x))) bad else rownames(x)[bad]), "): leave ",
      one_or_many(length(bad), "it", "them"), " out."
    )
  }
  x
}

# Indices of the n nearest other cells of each cell, n x cells, in no particular order. Exact.
# Distances come from inner products, which are fast but lose digits, so the candidates around the
# n-th place are measured again from the coordinates.
nearest_cells <- function(coordinates, n) {
  x <- sweep(coordinates, 2, colMeans(coordinates))
  x <- unname(x)
  n_cells <- nrow(x)
  squares <- rowSums(x^2)
  found <- matrix(0L, n, n_cells)
  slack <- 1e-10 * max(squares)
  block <- max(1, 2^22 %/% n_cells)
  for (first in seq(1, n_cells, by = block)) {
    cells <- first:min(n_cells, first + block - 1)
    distance <- squares - 2 * tcrossprod(x, x[cells, , drop = FALSE])
    for (column in seq_along(cells)) {
      cell <- cells[column]
      d <- distance[, column]
      d[cell] <- Inf
      limit <- sort.int(d, partial = n)[n]
      near <- which(d <= limit + slack)
      if (length(near) > n) {
        exact <- colSums((t(x[near, , drop = FALSE]) - x[cell, ])^2)
        near <- near[order(exact)[seq_len(n)]]
      }
      found[, cell] <- near
    }
  }
  found
}

# Cicero's overlap rule. `neighbors`: k x cells, the cells of each candidate group. Random numbers
# are drawn as make_cicero_cds() draws them.
choose_groups <- function(neighbors, k, tries = 5000) {
  n_cells <- ncol(neighbors)
  left <- seq_len(n_cells)
  take <- function() {
    place <- sample.int(length(left), 1)
    candidate <- left[place]
    left <<- left[-place]
    candidate
  }
  # groups that contain each cell, to count shared cells without comparing pairs of groups
  groups_of <- vector("list", n_cells)
  keep <- function(candidate, number) {
    cells <- neighbors[, candidate]
    groups_of[cells] <<- lapply(groups_of[cells], c, number)
  }
  chosen <- take()
  keep(chosen, 1L)
  tried <- 0
  while (length(left) > 0 && tried < tries) {
    tried <- tried + 1
    candidate <- take()
    shared <- tabulate(as.integer(unlist(groups_of[neighbors[, candidate]])), length(chosen))
    if (max(shared) < 0.9 * k) {
      chosen <- c(chosen, candidate)
      keep(candidate, length(chosen))
    }
  }
  chosen
}

tell_overlap <- function(groups, k) {
  if (ncol(groups) < 2) {
    message("1 group of ", k, " cells")
    return(invisible())
  }
  # mean over pairs from the number of groups each cell is in
  pairs <- choose(ncol(groups), 2)
  mean_shared <- sum(choose(Matrix::rowSums(groups), 2)) / pairs
  message(sentence_of(
    count_of(ncol(groups), "group"), " of ", k, " cells; two of them have ",
    format(mean_shared, digits = 2), " in common on average"
  ))
  if (mean_shared / k > 0.1) {
    warn_of(
      "overlap",
      "On average more than 10 % of the cells are shared between two groups (",
      format(100 * mean_shared / k, digits = 2), " %): there are few cells for k = ", k,
      "; a smaller k shares less."
    )
  }
}
