# The algorithm of Cicero (Pliner et al. 2018) on plain numbers. Objects, genomes and messages are
# elsewhere; sums, covariances and the graphical lasso are in src/. Symbols as in the paper: S
# is the covariance of the peaks of a window over the groups, with a ridge (1e-4) on its diagonal;
# D their distances; the penalty of a pair is rho = a (1 - (1000 / D)^s), not below 0, with a the
# distance parameter.

# Accessibility of groups, computed on demand: sums over 50 cells are rarely 0, so the values of all
# peaks together would be a dense matrix. `values`: peaks x cells; `groups`: cells x groups,
# or NULL where each column is a group.
grouped_accessibility <- function(values, groups, size_factor_normalize = TRUE) {
  grouped <- list(
    # extracting columns of a sparse matrix is fast, extracting rows is not
    values = if (is.matrix(values)) values else Matrix::t(values),
    by_row = is.matrix(values), groups = groups, n_peaks = nrow(values), ridge = 1e-4,
    by_cell = if (!is.null(groups)) as_dgc(Matrix::t(groups)),
    names = if (is.null(groups)) colnames(values) else colnames(groups)
  )
  grouped$n_groups <- if (is.null(groups)) ncol(values) else ncol(groups)
  if (size_factor_normalize) grouped$factors <- group_size_factors(grouped)
  grouped
}

# Accessibility relative to each peak's mean over groups. The ridge is three times the variance of
# the middle peak, so that two peaks which vary as little as most do have a correlation of at most
# 1/4. Peaks without any accessibility stay 0.
relative_accessibility <- function(grouped) {
  blocks <- peak_blocks(grouped)
  moments <- lapply(blocks, function(peaks) {
    x <- group_values(grouped, peaks)
    mean <- colMeans(x)
    rbind(mean, colSums((x - rep(mean, each = nrow(x)))^2) / (nrow(x) - 1))
  })
  moments <- do.call(cbind, moments)
  mean <- moments[1, ]
  typical <- stats::median(moments[2, mean > 0] / mean[mean > 0]^2)
  grouped$relative_to <- ifelse(mean > 0, mean, 1)
  grouped$ridge <- max(3 * typical, 1e-4)
  grouped
}

# Dense, groups x the peaks asked for; `center`: their means over groups subtracted.
group_values <- function(grouped, peaks, center = FALSE) {
  values <- grouped$values
  columns <- as.integer(peaks)
  if (grouped$by_row) {
    values <- t(values[peaks, , drop = FALSE])
    storage.mode(values) <- "double"
    columns <- seq_along(peaks)
  }
  .Call(
    scmvp_group_values, values, columns, grouped$by_cell, grouped$n_groups, grouped$factors,
    grouped$relative_to[peaks], center
  )
}

# Blocks of peaks whose values for all groups take 20 MB: larger memory is returned to the system
# and allocated anew each time, which takes longer than filling it.
peak_blocks <- function(grouped) {
  each <- max(1, min(2000, 2.5e6 %/% grouped$n_groups))
  split(seq_len(grouped$n_peaks), (seq_len(grouped$n_peaks) - 1) %/% each)
}

# Size factors of groups from sums that are rounded first, as cicero has them.
group_size_factors <- function(grouped) {
  totals <- group_totals(grouped, rounded = TRUE)
  if (any(totals == 0)) {
    exact <- group_totals(grouped, rounded = FALSE)
    empty <- which(exact == 0)
    if (length(empty) > 0) {
      refuse(
        count_of(length(empty), "group"), " of cells ", one_or_many(length(empty), "has", "have"),
        " no accessibility at all (",
        some_names(if (is.null(grouped$names)) empty else grouped$names[empty]),
        "): leave cells without counts out."
      )
    }
    warn_of(
      "rounding",
      "In ", count_of(sum(totals == 0), "group"), " every sum rounds to 0, so that size factors ",
      "are computed without rounding (cicero rounds): the values are small for sums of counts."
    )
    totals <- exact
  }
  size_factors(totals)
}

# Totals over their geometric mean.
size_factors <- function(totals) unname(totals / exp(mean(log(totals))))

group_totals <- function(grouped, rounded) {
  x <- if (grouped$by_row) grouped$values else grouped$values@x
  if (!rounded || all(x == round(x))) {
    per_cell <- if (grouped$by_row) colSums(x) else Matrix::rowSums(grouped$values)
    if (is.null(grouped$groups)) {
      return(per_cell)
    }
    return(as.vector(Matrix::crossprod(grouped$groups, per_cell)))
  }
  Reduce(`+`, lapply(peak_blocks(grouped), function(peaks) {
    rowSums(round(group_values(grouped, peaks)))
  }))
}

distance_penalty <- function(distance, distance_parameter, s) {
  rho <- (1 - (1000 / distance)^s) * distance_parameter
  rho[!is.finite(rho) | rho < 0] <- 0
  rho
}

# The values of all peaks of a piece of windows: neighboring windows share half of them.
piece_of_windows <- function(members, grouped) {
  used <- sort(unique(unlist(members, use.names = FALSE)))
  list(
    values = group_values(grouped, used, center = TRUE), columns = lapply(members, match, used),
    ridge = grouped$ridge
  )
}

window_covariance <- function(piece, window) {
  .Call(scmvp_covariance, piece$values, piece$columns[[window]], piece$ridge)
}

window_distance <- function(position) {
  n <- length(position)
  abs(matrix(position, n, n) - rep(position, each = n))
}

# ---- the distance parameter ----------------------------------------------------------------------

# Whether long edges are (nearly) absent at this distance parameter.
long_edges_vanish <- function(covariance, position, distance_parameter, options) {
  .Call(
    scmvp_edges_vanish, covariance, position, options$distance.constraint, distance_parameter,
    options$s
  )
}

# Cicero's bisection, reproduced exactly. It starts at 2 and doubles once, so a window that needs
# more than 4 silently ends at 2; `ceiling` reports this.
search_cicero <- function(vanish, maxit, convergence) {
  starting_max <- current <- high <- 2
  low <- 0
  ceiling <- FALSE
  for (it in seq_len(maxit)) {
    if (vanish(current)) {
      high <- current
    } else {
      low <- current
      ceiling <- ceiling || current >= 4
    }
    following <- (low + high) / 2
    if (following == starting_max) {
      following <- 2 * starting_max
      starting_max <- following
    }
    if (convergence > abs(current - following)) {
      return(c(value = current, ceiling = ceiling, converged = TRUE))
    }
    current <- following
  }
  c(value = current, ceiling = ceiling, converged = FALSE)
}

# The same where 4 is enough; else the upper end is doubled until long edges are gone. `limit`: at
# this distance parameter no covariance exceeds its penalty, apart from peaks within 1 kb.
search_extended <- function(vanish, maxit, convergence, limit) {
  low <- 0
  high <- 2
  it <- 0
  while (!vanish(high)) {
    it <- it + 1
    if (high > limit || it >= maxit) {
      return(c(value = NA_real_, ceiling = TRUE, converged = FALSE))
    }
    low <- high
    high <- 2 * high
  }
  current <- high
  repeat {
    following <- (low + high) / 2
    if (convergence > abs(current - following) || it >= maxit) break
    current <- following
    if (vanish(current)) high <- current else low <- current
    it <- it + 1
  }
  c(value = current, ceiling = high > 4, converged = it < maxit)
}

# The distance parameter of one window.
window_distance_parameter <- function(covariance, position, options) {
  vanish <- function(value) long_edges_vanish(covariance, position, value, options)
  maxit <- options$maxit
  convergence <- options$convergence
  if (options$search == "cicero") {
    return(search_cicero(vanish, maxit, convergence))
  }
  rate <- distance_penalty(window_distance(position), 1, options$s)
  limit <- max(abs(covariance[rate > 0]) / rate[rate > 0])
  search_extended(vanish, maxit, convergence, limit)
}

# Windows drawn with replacement until n.windows of them could be used: those with two peaks more
# than distance.constraint apart and at most max.peaks. A window drawn twice counts twice and is
# computed once. Returns the distance parameter of each draw.
sample_distance_parameters <- function(grouped, position, windows, options, ...) {
  usable <- vapply(windows$members, function(peaks) {
    length(peaks) > 1 && length(peaks) <= options$max.peaks &&
      diff(range(position[peaks])) > options$distance.constraint
  }, logical(1))
  draws <- seeded(options$seed.use, {
    vapply(seq_len(options$max.windows), function(i) sample.int(windows$count, 1), 1L)
  })
  draws <- as.character(draws)
  draws <- utils::head(draws[draws %in% names(which(usable))], options$n.windows)
  if (length(draws) == 0) {
    return(data.frame(value = numeric(), ceiling = numeric(), converged = numeric()))
  }
  members <- windows$members[unique(draws)]
  pieces <- as.list(seq_along(members))
  found <- in_pieces(pieces, function(some) {
    piece <- piece_of_windows(members[some], grouped)
    vapply(seq_along(some), function(i) {
      covariance <- window_covariance(piece, i)
      window_distance_parameter(covariance, position[members[[some[i]]]], options)
    }, numeric(3))
  }, ...)
  found <- do.call(cbind, found)
  colnames(found) <- names(members)[unlist(pieces)]
  as.data.frame(t(found[, draws, drop = FALSE]), row.names = FALSE)
}

# ---- connections ---------------------------------------------------------------------------------

# Co-accessibility of every pair of peaks of every window: rows i < j of two peaks, value, once for
# each window the pair is in.
window_connections <- function(members, grouped, position, distance_parameter, s) {
  piece <- piece_of_windows(members, grouped)
  .Call(
    scmvp_window_pairs, piece$values, members, piece$columns, position, piece$ridge,
    distance_parameter, s
  )
}

all_connections <- function(grouped, position, windows, distance_parameter, s, max.peaks,
                            workers, ...) {
  sizes <- lengths(windows$members)
  members <- windows$members[sizes > 1 & sizes <= max.peaks]
  n_pairs <- sum(choose(as.numeric(lengths(members)), 2))
  if (2 * n_pairs > .Machine$integer.max) {
    refuse(
      "the windows hold ", format_count(n_pairs), " pairs of peaks, which no data frame can list ",
      "in both directions: lower max.peaks, or make window smaller."
    )
  }
  # every peak is in two windows
  largest <- 2 * length(peak_blocks(grouped)[[1]])
  pieces <- cut_pieces(lengths(members), largest, at.least = if (workers > 1) 4 * workers else 1)
  pieces <- lapply(pieces, function(some) members[some])
  found <- in_pieces(
    pieces, window_connections, grouped, position, distance_parameter, s, workers = workers, ...
  )
  failed <- sum(vapply(found, `[[`, 1L, "failed"))
  if (failed > 0) tell_not_converged(failed)
  combined <- function(part) unlist(lapply(found, `[[`, part), use.names = FALSE)
  reconcile(combined("i"), combined("j"), combined("value"), grouped$n_peaks)
}

# A pair in several windows: the mean when no two values have opposite signs, else NA. i < j;
# returned in their order.
reconcile <- function(i, j, value, n_peaks) {
  .Call(scmvp_reconcile, as.integer(i), as.integer(j), as.numeric(value), n_peaks)
}
