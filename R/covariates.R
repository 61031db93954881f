# Batches and groups of cells, and cells that only one modality has.

# Columns of batches as a data frame with one row per cell, or NULL. `batch`: names of columns of
# `table`, where there is one; else the values themselves (a vector or factor, or a data frame).
batch_columns <- function(batch, cells, table = NULL, where = NULL) {
  if (is.null(batch)) {
    return(NULL)
  }
  found <- if (is.null(table)) {
    given_batches(batch, cells)
  } else {
    batches_in(batch, table, where)
  }
  absent <- setdiff(cells, rownames(found))
  if (length(absent) > 0) {
    refuse(
      "batch has no value for ", count_of(length(absent), "cell"), " (", some_names(absent),
      "): give one for each cell, with the cells' names or in their order."
    )
  }
  found <- found[cells, , drop = FALSE]
  found[] <- lapply(found, level_names)
  unknown <- vapply(found, anyNA, logical(1))
  if (any(unknown)) {
    column <- names(found)[unknown][1]
    without <- cells[is.na(found[[column]])]
    refuse(
      count_of(length(without), "cell"), " ", one_or_many(length(without), "has", "have"),
      " no value in '", column, "' (", some_names(without), "): give every cell its batch."
    )
  }
  found
}

# The columns of a model's batches for other cells than it was fitted to, or the same again.
batches_of_model <- function(names, cells, table, where) {
  lacking <- setdiff(names, colnames(table))
  if (length(lacking) > 0) {
    refuse(
      "the model was fitted with batches (", paste(names, collapse = ", "), "), and ", where,
      " lacks ", some_names(lacking), ": add the batch of each cell as a column of this name."
    )
  }
  batch_columns(names, cells, table, where)
}

batches_in <- function(batch, table, where) {
  if (!is.character(batch)) {
    refuse(
      "batch must be the name of a column of ", where, ", or several names, not ", in_words(batch),
      "."
    )
  }
  batch <- check_names_known(batch, colnames(table), "batch", paste("among the columns of", where))
  found <- table[batch]
  rownames(found) <- rownames(table)
  found
}

given_batches <- function(batch, cells) {
  found <- as_batch_frame(batch)
  # rows without names are in the order of the cells
  numbered <- is.integer(attr(found, "row.names"))
  if (numbered && nrow(found) == length(cells)) rownames(found) <- cells
  found
}

as_batch_frame <- function(batch) {
  if (is.data.frame(batch)) {
    return(as.data.frame(batch)) # tibbles and data.tables take no row names
  }
  if (!(is.atomic(batch) || is.factor(batch)) || !is.null(dim(batch))) {
    refuse(
      "batch must be a vector or factor with one value per cell, or a data frame of such columns, ",
      "not ", in_words(batch), "."
    )
  }
  cells <- names(batch)
  if (anyNA(cells)) refuse("some names of batch are missing: name the cell of each value.")
  twice <- unique(cells[duplicated(cells)])
  if (length(twice) > 0) {
    refuse("batch names some cells twice (", some_names(twice), "): name each cell once.")
  }
  data.frame(batch = unname(batch), row.names = cells)
}

# The batch to impute to, as the core takes it: NULL, a level, or a list of column and level.
check_batch_level <- function(batch) {
  if (is.null(batch)) {
    return(NULL)
  }
  one <- is.atomic(batch) && length(batch) == 1
  several <- is.atomic(batch) && length(batch) > 1 && !is.null(names(batch))
  if (!(one || several) || anyNA(batch)) {
    refuse(
      "batch must be a level of the model's batch column, or levels named by their columns, such ",
      "as c(donor = \"A\", lane = \"2\")."
    )
  }
  level <- as.list(stats::setNames(level_names(batch), names(batch)))
  if (is.null(names(batch))) level[[1]] else level
}

# Columns of `counts` for these cells; empty ones for cells it does not have.
cells_or_empty <- function(counts, cells) {
  if (identical(colnames(counts), cells)) {
    return(as_dgc(counts))
  }
  at <- match(cells, colnames(counts))
  here <- !is.na(at)
  found <- as_dgc(counts[, at[here], drop = FALSE])
  size <- integer(length(cells))
  size[here] <- diff(found@p)
  methods::new(
    "dgCMatrix",
    x = found@x, i = found@i, p = c(0L, as.integer(cumsum(size))),
    Dim = c(nrow(found), length(cells)), Dimnames = list(rownames(found), cells)
  )
}

# ---- groups --------------------------------------------------------------------------------------

grouping_column <- function(by, data, argument) {
  if (!by %in% colnames(data)) {
    refuse(
      argument, ": the object has no cell metadata '", by, "' (it has ",
      some_names(colnames(data), 6), ")."
    )
  }
  values <- data[[by]]
  if (has_several_per_cell(values)) {
    refuse(
      argument, ": column '", by, "' holds lists or matrices: choose one with a value for ",
      "each cell."
    )
  }
  values
}

has_several_per_cell <- function(x) is.list(x) || methods::is(x, "List") || length(dim(x)) > 1

# Whether values of cells, a vector or a table, do not say which cells they are of. One text is the
# name of a column.
are_nameless <- function(values) {
  if (is.null(values) || (is.character(values) && length(values) == 1)) {
    return(FALSE)
  }
  if (is.data.frame(values)) {
    return(is.integer(attr(values, "row.names")))
  }
  is.null(if (length(dim(values)) == 2) rownames(values) else names(values))
}

values_of_cells <- function(by, cells, data, argument) {
  if (length(by) != length(cells) || has_several_per_cell(by)) {
    refuse(
      argument, " must be ",
      if (ncol(data) > 0) "the name of a column of the cell metadata or ",
      "one value per cell (", format_count(length(cells)), "), not ", in_words(by), "."
    )
  }
  if (is.null(names(by))) {
    return(by)
  }
  if (!setequal(names(by), cells)) refuse(argument, ": its names are not those of the cells.")
  by[cells]
}

# Groups of the cells: the name of a column of `data`, or one value per cell. A factor in the order
# of `cells`.
groups_of <- function(by, cells, data, argument = "by") {
  groups <- level_factor(values_by(by, cells, data, argument))
  refuse_no_group(groups, argument)
  groups
}

# The same of the cells of an object, or of a matrix, which has no columns of cells. `home`: the
# part whose cells they are.
groups_in <- function(object, by, cells, home, argument = "by") {
  data <- if (is_container(object)) grouping_columns(object, by, home) else data.frame()
  groups_of(values_at(object, by, home, argument), cells, data, argument)
}

# The values themselves.
values_by <- function(by, cells, data, argument) {
  is_column <- is.character(by) && length(by) == 1 && ncol(data) > 0 &&
    (length(cells) != 1 || by %in% colnames(data))
  if (is_column) grouping_column(by, data, argument) else values_of_cells(by, cells, data, argument)
}

refuse_no_group <- function(groups, argument) {
  if (all(is.na(groups))) refuse(argument, ": no cell belongs to a group.")
}
