#' Carry labels over from a reference
#'
#' Labels the cells of a query by the labelled cells of a reference near them in the latent of one
#' model, after [ProjectSCMVP()]: cells of another sample, also those of which only RNA or only ATAC
#' was read. Each label comes with a confidence, and cells unlike all of the reference are told.
#'
#' @section Confidence:
#' The probability of a label is its share of the nearest reference cells, weighted by a Gaussian
#' kernel of their distance: in the latent a cluster has variance 1 in every direction, so that one
#' width serves all. The width is that under which the reference cells' own labels, each left out in
#' turn, are most probable; it is what calibrates the probabilities.
#'
#' @section Cells unlike the reference:
#' The p-value of a cell is the share of reference cells that lie at least as far from their 15
#' nearest others as it does from its own 15: small for cells unlike all of the reference. Cells
#' below `unassigned.below` are `"unassigned"`, and about that share of cells that are like the
#' reference is lost.
#'
#' @param reference Labelled cells: a Seurat object or SingleCellExperiment with a reduction, or a
#'   numeric matrix, cells x dimensions.
#' @param query Cells to label, embedded with the same model, in any of these forms.
#' @param labels Name of a column of the reference's cell metadata, or one label per cell; cells
#'   without one (`NA`) are left out.
#' @param reduction,query.reduction Names of the reductions; the query's is that of the reference
#'   where `NULL`.
#' @param calibration The reference cells embedded as the query is, where that differs: name of
#'   another reduction of the reference, or a matrix. For a query of RNA alone, that of
#'   `ProjectSCMVP(reference, reference, modality = "rna", reduction.name = "rnaonly")`.
#' @param n.neighbors Reference cells that may have a weight.
#' @param unassigned.below See above; 0 labels all cells.
#' @param prefix Of the columns in the query's cell metadata.
#' @param ... Not used; unknown arguments are refused by name.
#' @return The query with metadata `<prefix>_label` (factor), `<prefix>_confidence` and
#'   `<prefix>_p_value`. Of a matrix, a data frame of these, of `best_label` (also of the
#'   unassigned) and of one column `probability_<label>` for each label.
#' @section Errors:
#' `scmvp_error_input`: reference and query of different models or dimensions, fewer than 20
#' labelled cells, a single label, or no such column or reduction.
#' @examples
#' latent <- matrix(rnorm(600), 200, dimnames = list(paste0("cell", 1:200), NULL))
#' type <- rep(c("A", "B"), 100)
#' latent[type == "B", 1] <- latent[type == "B", 1] + 5
#' query <- latent[1:20, ] + 0.1
#' head(TransferLabelsSCMVP(latent, query, labels = type))
#' @export
TransferLabelsSCMVP <- function(reference, query, labels, reduction = "scmvp",
                                query.reduction = NULL, calibration = NULL, n.neighbors = 50,
                                unassigned.below = 0.01, prefix = "scmvp_transfer", ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("reference", "query", "...")))
  if (is.null(query.reduction)) query.reduction <- reduction
  refuse_two_models(reference, query, reduction, query.reduction)
  of_query <- reduction_role(
    "query", "query.reduction", "embed it with ProjectSCMVP(reference, query)"
  )
  latent <- coordinates_of(query, query.reduction, NULL, "TransferLabelsSCMVP()", of_query)
  table <- transferred(
    reference, latent, labels, reduction, calibration, n.neighbors, unassigned.below
  )
  if (!is_container(query)) {
    return(table)
  }
  check_string(prefix, "prefix")
  columns <- table[c("label", "confidence", "p_value")]
  names(columns) <- paste0(prefix, "_", names(columns))
  put_results(query, new_results(columns = columns, home = home_of(query, query.reduction)))
}

# A latent of another model looks the same, and its labels would mean nothing.
refuse_two_models <- function(reference, query, reduction, query.reduction) {
  model <- function(object, name) {
    fits_of(object)[[name]]$model$json
  }
  models <- list(model(reference, reduction), model(query, query.reduction))
  if (!any(lengths(models) == 0) && !identical(models[[1]], models[[2]])) {
    refuse(
      "reference and query were embedded by different models: embed the query with ",
      "ProjectSCMVP(reference, query",
      if (reduction != "scmvp") paste0(", model.reduction = \"", reduction, "\""),
      if (query.reduction != "scmvp") paste0(", reduction.name = \"", query.reduction, "\""), ")."
    )
  }
}

# ---- the transfer --------------------------------------------------------------------------------

transfer_widths <- c(0.5, 0.6, 0.7, 0.85, 1, 1.2, 1.4, 1.7, 2, 2.4, 2.8, 3.4, 4)
transfer_prior <- 0.1
transfer_unassigned <- "unassigned"

transferred <- function(reference, query, labels, reduction, calibration, n.neighbors,
                        unassigned.below) {
  given <- labelled_reference(reference, labels, reduction, calibration)
  n.neighbors <- check_number(n.neighbors, "n.neighbors", min = 2, whole = TRUE)
  unassigned.below <- check_number(unassigned.below, "unassigned.below", min = 0)
  if (unassigned.below >= 1) refuse("unassigned.below must be below 1, not ", unassigned.below, ".")
  z <- given$latent
  if (ncol(z) != ncol(query)) {
    refuse(
      "the reference's latent has ", count_of(ncol(z), "dimension"), ", the query's ", ncol(query),
      ": embed both with the same model."
    )
  }
  code <- as.integer(given$labels)
  k <- min(n.neighbors, nrow(z) - 1)
  tried <- unique(floor(seq(1, nrow(z), length.out = min(nrow(z), 5000))))
  own <- neighbors_in(z, given$calibration[tried, , drop = FALSE], k, without = tried)
  shares <- tabulate(code, nlevels(given$labels)) / length(code)
  probable <- function(near, width) label_probabilities(near, code, width, shares)
  loss <- vapply(transfer_widths, function(width) {
    -mean(log(probable(own, width)[cbind(seq_along(tried), code[tried])]))
  }, numeric(1))
  near <- neighbors_in(z, query, k)
  probability <- probable(near, transfer_widths[which.min(loss)])
  usual <- sort(neighbor_spread(own))
  farther <- length(usual) - findInterval(neighbor_spread(near), usual, left.open = TRUE)
  p <- (1 + farther) / (1 + length(usual))
  best <- levels(given$labels)[max.col(probability, ties.method = "first")]
  colnames(probability) <- paste0("probability_", levels(given$labels))
  data.frame(
    label = factor(
      ifelse(p < unassigned.below, transfer_unassigned, best),
      c(levels(given$labels), transfer_unassigned)
    ),
    confidence = apply(probability, 1, max), p_value = p,
    best_label = factor(best, levels(given$labels)), probability,
    row.names = rownames(query), check.names = FALSE
  )
}

# Latent, labels and calibration of the cells of a reference that have a label.
labelled_reference <- function(reference, labels, reduction, calibration) {
  latent <- coordinates_of(
    reference, reduction, NULL, "TransferLabelsSCMVP()", reduction_role("reference")
  )
  own <- if (is.null(calibration)) {
    latent
  } else if (is.character(calibration) && is_container(reference)) {
    coordinates_of(
      reference, calibration, NULL, "calibration", reduction_role("reference", "calibration")
    )
  } else {
    check_coordinates(calibration, "calibration")
  }
  if (!identical(dim(own), dim(latent))) {
    refuse(
      "calibration must hold the reference cells in their order, ", nrow(latent), " x ",
      ncol(latent), ", not ", nrow(own), " x ", ncol(own), "."
    )
  }
  if (!is.null(rownames(own)) && !is.null(rownames(latent))) {
    check_same_cells(rownames(own), rownames(latent), "calibration")
    own <- own[rownames(latent), , drop = FALSE]
  }
  cells <- if (is.null(rownames(latent))) seq_len(nrow(latent)) else rownames(latent)
  data <- if (is_container(reference)) {
    grouping_columns(reference, labels, home_of(reference, reduction))
  } else {
    data.frame()
  }
  groups <- droplevels(groups_of(labels, cells, data, "labels"))
  known <- !is.na(groups)
  refuse_few_labels(groups[known])
  list(
    latent = latent[known, , drop = FALSE], labels = groups[known],
    calibration = own[known, , drop = FALSE]
  )
}

refuse_few_labels <- function(groups) {
  if (length(groups) < 20) {
    refuse("the reference has ", count_of(length(groups), "labelled cell"), ": give at least 20.")
  }
  if (nlevels(groups) < 2) {
    refuse(
      "all labelled cells of the reference are '", levels(groups), "': there is nothing to tell ",
      "apart."
    )
  }
  if (transfer_unassigned %in% levels(groups)) {
    refuse(
      "a label of the reference is '", transfer_unassigned, "', the name of cells without a label ",
      "here: give these cells no label (NA), or another one."
    )
  }
}

# Distances and rows of z of the k nearest of each row of `of`, nearest first. `without`: the row of
# z that each is itself, which is no neighbor of it. Exact; a block of distances at a time.
neighbors_in <- function(z, of, k, without = NULL) {
  centre <- colMeans(z)
  z <- sweep(unname(z), 2, centre)
  of <- sweep(unname(of), 2, centre)
  square <- rowSums(z^2)
  distance <- near <- matrix(0, nrow(of), k)
  for (rows in split(seq_len(nrow(of)), ceiling(seq_len(nrow(of)) / max(1, 4e6 %/% nrow(z))))) {
    block <- outer(rowSums(of[rows, , drop = FALSE]^2), square, `+`) -
      2 * tcrossprod(of[rows, , drop = FALSE], z)
    if (!is.null(without)) block[cbind(seq_along(rows), without[rows])] <- Inf
    for (i in seq_along(rows)) {
      reach <- sort(block[i, ], partial = k)[k]
      some <- which(block[i, ] <= reach)
      # measured again: inner products lose digits
      exact <- sqrt(rowSums(sweep(z[some, , drop = FALSE], 2, of[rows[i], ])^2))
      some <- some[order(exact)][seq_len(k)]
      near[rows[i], ] <- some
      distance[rows[i], ] <- sort(exact)[seq_len(k)]
    }
  }
  list(distance = distance, near = near)
}

# Shares of the labels among weighted neighbors and a weak prior; the nearest cell has weight 1.
label_probabilities <- function(neighbors, code, width, shares) {
  weight <- exp(-0.5 * (neighbors$distance^2 - neighbors$distance[, 1]^2) / width^2)
  of_label <- matrix(code[neighbors$near], nrow(weight))
  share <- vapply(seq_along(shares), function(label) {
    rowSums(weight * (of_label == label))
  }, numeric(nrow(weight)))
  share <- matrix(share, nrow(weight)) + rep(transfer_prior * shares, each = nrow(weight))
  share / rowSums(share)
}

neighbor_spread <- function(neighbors) {
  rowMeans(neighbors$distance[, seq_len(min(15, ncol(neighbors$distance))), drop = FALSE])
}
