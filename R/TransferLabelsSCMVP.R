#' Transfer labels from a reference
#'
#' Gives each query cell the most probable label of the reference cells near it in the latent of the
#' same model, after [ProjectSCMVP()]. The query may be another sample, or cells in which only RNA
#' or only ATAC was measured. Each label has a confidence, and cells that resemble no reference
#' cells are marked `"unassigned"`.
#'
#' @section Confidence:
#' The probability of a label is its proportion among the nearest reference cells, weighted by a
#' Gaussian kernel of their distance, where the nearest cell has weight 1; the proportions in the
#' reference are added with a weight of 0.1. All directions of the latent
#' share one kernel width, because the latent is whitened by the variance within clusters. The width
#' maximizes the probability of the labels of the reference cells when each is left out in turn;
#' this calibrates the probabilities.
#'
#' @section Cells unlike the reference: The p-value of a query cell is (1 + m) / (1 + n): of the n
#' labeled cells (at most 5,000 of them), m are at least as unlike the others as the query cell is.
#' How unlike a cell is, is the product of its distance to the nearest mean of a label and its mean
#' distance to the 15 nearest cells, in units of the standard deviation within labels; labeled cells
#' are compared with the other nine tenths of the reference. With `calibration`, all of these
#' distances are between latents of the query's modality. The p-value is small for cells that
#' resemble no reference cells. Cells with a p-value below `unassigned.below` are `"unassigned"`;
#' about the same proportion of the cells that do resemble the reference is also unassigned. If n is
#' so small that 1 / (1 + n) is not below this limit, no cell can be unassigned, and a message
#' reports this. Cells of a type that the reference lacks are recognized if it resembles no type of
#' the reference; else most are given the label of the most similar type.
#'
#' @param reference Labeled cells: a result of [RunSCMVP()], another object with a reduction, or a
#'   numeric matrix, cells x dimensions.
#' @param query Cells to label, embedded with the same model, in any form that `reference` can have.
#' @param labels Name of a column of the reference's cell metadata, or one label per cell; cells
#'   without a label (`NA`) are not used.
#' @param reduction,query.reduction Names of the reductions of objects; `NULL` for the query: the
#'   same as for the reference.
#' @param calibration The reference cells embedded from the same modality as the query, if that
#'   differs from `reduction`: the name of another reduction of the reference, or a matrix. For a
#'   query with RNA only, use the reduction of `ProjectSCMVP(reference, reference, modality = "rna",
#'   reduction.name = "rnaonly")`.
#' @param n.neighbors Number of nearest reference cells that have a weight.
#' @param unassigned.below Limit of the p-value (section Cells unlike the reference); 0 labels all
#'   cells.
#' @param prefix For a query in an object: prefix of the new columns in its cell metadata.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param ... Not used; an unknown argument causes an error that names it.
#' @return The query with metadata `<prefix>_label` (factor), `<prefix>_confidence` and
#'   `<prefix>_p_value`. For a matrix, a data frame with these columns, `best_label` (also for
#'   unassigned cells) and one column `probability_<label>` for each label.
#' @section Errors:
#' `scmvp_error_input`: reference and query of different models or dimensions, fewer than 20 labeled
#' cells, a single label, or no such column or reduction.
#' @examples
#' if (scMVP_available()) {
#'   latent <- matrix(rnorm(600), 200, dimnames = list(paste0("cell", 1:200), NULL))
#'   type <- rep(c("A", "B"), 100)
#'   latent[type == "B", 1] <- latent[type == "B", 1] + 5
#'   query <- latent[1:20, ] + 0.1
#'   head(TransferLabelsSCMVP(latent, query, labels = type))
#' }
#' @export
TransferLabelsSCMVP <- function(reference, query, labels, reduction = "scmvp",
                                query.reduction = NULL, calibration = NULL, n.neighbors = 50,
                                unassigned.below = 0.01, prefix = "scmvp_transfer",
                                backend = c("auto", "reticulate", "process"), ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("reference", "query", "...")))
  refuse_of_matrices(reference, query, match.call(), environment())
  both <- is.null(query.reduction)
  if (is_container(reference) || (both && is_container(query))) check_string(reduction, "reduction")
  if (both) query.reduction <- reduction
  if (is_container(query)) check_string(query.reduction, "query.reduction")
  refuse_two_models(reference, query, reduction, query.reduction)
  of_query <- reduction_role(
    "query", "query.reduction", "embed it with ProjectSCMVP(reference, query)"
  )
  latent <- coordinates_of(query, query.reduction, NULL, "TransferLabelsSCMVP()", of_query)
  table <- transferred(
    reference, latent, labels, reduction, calibration, n.neighbors, unassigned.below,
    check_choice(backend, backends, "backend")
  )
  if (!is_container(query) || about(query)$part == "matrix") {
    return(table)
  }
  check_column_name(prefix, "prefix")
  columns <- table[c("label", "confidence", "p_value")]
  names(columns) <- paste0(prefix, "_", names(columns))
  put_results(query, new_results(columns = columns, home = home_of(query, query.reduction)))
}

# Names of reductions and columns that no object has.
refuse_of_matrices <- function(reference, query, call, frame) {
  if (!is_container(query)) {
    refuse_unused(call, frame, c("query.reduction", "prefix"), "a query in an object")
  }
  if (!is_container(reference) && (!is_container(query) || !is.null(frame$query.reduction))) {
    refuse_unused(call, frame, "reduction", "a reference in an object")
  }
}

# The latent of another model has the same form, but transferred labels would be meaningless.
refuse_two_models <- function(reference, query, reduction, query.reduction) {
  if (of_two_models(reference, query, reduction, query.reduction)) {
    refuse(
      "reference and query were embedded by different models: embed the query with ",
      "ProjectSCMVP(reference, query",
      if (reduction != "scmvp") paste0(", model.reduction = \"", reduction, "\""),
      if (query.reduction != "scmvp") paste0(", reduction.name = \"", query.reduction, "\""), ")."
    )
  }
}

# Whether two reductions are known to be of different models.
of_two_models <- function(one, other, reduction, other.reduction) {
  model <- function(object, name) {
    stored <- fits_of(object)[[name]]$model
    if (!is.null(stored)) weights_digest(stored)
  }
  models <- list(model(one, reduction), model(other, other.reduction))
  all(lengths(models) > 0) && !identical(models[[1]], models[[2]])
}

# ---- the transfer --------------------------------------------------------------------------------

transfer_unassigned <- "unassigned"

# The table of the core, labels in the order of the reference's levels.
transferred <- function(reference, query, labels, reduction, calibration, n.neighbors,
                        unassigned.below, backend) {
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
  options <- list(
    calibration = if (!is.null(calibration)) unname(given$calibration),
    n_neighbors = n.neighbors, unassigned_below = unassigned.below
  )
  table <- with_engine(backend, torch = FALSE, f = function(engine) {
    engine$transfer(z, as.character(given$labels), query, options)
  })
  levels <- levels(given$labels)
  table$label <- factor(table$label, c(levels, transfer_unassigned))
  table$best_label <- factor(table$best_label, levels)
  rownames(table) <- rownames(query)
  table[c("label", "confidence", "p_value", "best_label", paste0("probability_", as_utf8(levels)))]
}

# Latent, labels and calibration of the cells of a reference that have a label.
labelled_reference <- function(reference, labels, reduction, calibration) {
  latent <- coordinates_of(
    reference, reduction, NULL, "TransferLabelsSCMVP()", reduction_role("reference")
  )
  own <- if (is.null(calibration)) {
    latent
  } else if (is.character(calibration) && is_container(reference)) {
    check_string(calibration, "calibration")
    if (of_two_models(reference, reference, reduction, calibration)) {
      refuse(
        "calibration = \"", calibration, "\" is the latent of another model than reduction '",
        reduction, "': embed the cells of the reference with the same model, by ProjectSCMVP()."
      )
    }
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
  home <- if (is_container(reference)) home_of(reference, reduction)
  groups <- droplevels(groups_in(reference, labels, cells, home, "labels"))
  known <- !is.na(groups)
  refuse_few_labels(groups[known])
  list(
    latent = latent[known, , drop = FALSE], labels = groups[known],
    calibration = own[known, , drop = FALSE]
  )
}

refuse_few_labels <- function(groups) {
  if (nlevels(groups) > length(groups) / 2) {
    refuse(
      "labels has ", count_of(nlevels(groups), "value"), " for ", count_of(length(groups), "cell"),
      ": it does not label cells, so name another column."
    )
  }
  if (length(groups) < 20) {
    refuse("the reference has ", count_of(length(groups), "labeled cell"), ": give at least 20.")
  }
  if (nlevels(groups) < 2) {
    refuse(
      "all labeled cells of the reference are '", levels(groups), "': there is nothing to ",
      "distinguish."
    )
  }
  if (transfer_unassigned %in% levels(groups)) {
    refuse(
      "a label of the reference is '", transfer_unassigned, "', the name for cells without a ",
      "label: give these cells no label (NA), or another one."
    )
  }
}
