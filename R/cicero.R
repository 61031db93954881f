# The algorithm of Cicero (Pliner et al. 2018) on glasso: numbers in, numbers out. Objects, genomes
# and words are elsewhere. Symbols as in the paper: S is the covariance of the peaks of a window
# over the groups, with a ridge (1e-4) on its diagonal; D their distances; the penalty of a pair is
# rho = a (1 - (1000 / D)^s), not below 0, with a the distance parameter.

# Accessibility of groups, computed when it is asked for: as sums over 50 cells nearly nothing is 0,
# and all peaks at once would be a dense matrix. `values`: peaks x cells; `groups`: cells x groups,
# or NULL where each column is a group.
grouped_accessibility <- function(values, groups, size_factor_normalize = TRUE) {
  grouped <- list(
    # columns of a sparse matrix are taken fast, rows are not
    values = if (is.matrix(values)) values else Matrix::t(values),
    by_row = is.matrix(values), groups = groups, n_peaks = nrow(values), ridge = 1e-4,
    names = if (is.null(groups)) colnames(values) else colnames(groups)
  )
  grouped$n_groups <- if (is.null(groups)) ncol(values) else ncol(groups)
  if (!size_factor_normalize) {
    return(grouped)
  }
  factors <- group_size_factors(grouped)
  if (is.null(groups)) {
    grouped$factors <- factors
  } else {
    grouped$groups@x <- groups@x / rep(factors, diff(groups@p))
  }
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

# Dense, groups x the peaks asked for.
group_values <- function(grouped, peaks) {
  x <- group_sums(grouped, peaks)
  if (is.null(grouped$relative_to)) x else x / rep(grouped$relative_to[peaks], each = nrow(x))
}

group_sums <- function(grouped, peaks) {
  x <- if (grouped$by_row) {
    t(grouped$values[peaks, , drop = FALSE])
  } else {
    as.matrix(grouped$values[, peaks, drop = FALSE])
  }
  if (!is.null(grouped$groups)) {
    sums <- Matrix::crossprod(grouped$groups, x)
    x <- sums@x # as.matrix() would copy once more
    dim(x) <- dim(sums)
    return(x)
  }
  if (is.null(grouped$factors)) x else x / grouped$factors
}

# Blocks of peaks whose values for all groups take about 64 MB.
peak_blocks <- function(grouped) {
  each <- max(1, min(2000, 8e6 %/% grouped$n_groups))
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
        "): leave cells without counts out, or raise k."
      )
    }
    warn_of(
      "rounding",
      "In ", count_of(sum(totals == 0), "group"), " every sum rounds to 0, so that size factors ",
      "are computed without rounding (cicero rounds): the values are small for sums of counts."
    )
    totals <- exact
  }
  unname(totals / exp(mean(log(totals))))
}

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

# All of it, peaks x groups.
aggregate_groups <- function(values, groups, size_factor_normalize = TRUE) {
  grouped <- grouped_accessibility(values, groups, size_factor_normalize)
  x <- do.call(cbind, lapply(peak_blocks(grouped), group_values, grouped = grouped))
  dimnames(x) <- list(grouped$names, rownames(values))
  t(x)
}

distance_penalty <- function(distance, distance_parameter, s) {
  rho <- (1 - (1000 / distance)^s) * distance_parameter
  rho[!is.finite(rho) | rho < 0] <- 0
  rho
}

# Graphical lasso of one window. Peaks whose covariance with every other is within its penalty are
# alone in the solution (Witten, Friedman & Simon 2011), and pairs have a closed form, so glasso,
# which does the same inside, is called for the rest only.
window_glasso <- function(covariance, rho) {
  n <- nrow(covariance)
  linked <- abs(covariance) > rho
  linked[seq.int(1L, n * n, n + 1L)] <- FALSE
  degree <- .colSums(linked, n, n)
  solution <- window_without_links(covariance)
  if (!any(degree > 0)) {
    return(solution)
  }
  if (all(degree <= 1)) {
    pair <- which(linked)
    w <- covariance[pair]
    w <- sign(w) * (abs(w) - rho[pair])
    variance <- covariance[seq.int(1L, n * n, n + 1L)]
    one <- (pair - 1L) %% n + 1L
    other <- (pair - 1L) %/% n + 1L
    determinant <- variance[one] * variance[other] - w^2
    solution$w[pair] <- w
    solution$wi[pair] <- -w / determinant
    solution$wi[cbind(one, one)] <- variance[other] / determinant
    return(solution)
  }
  some <- which(degree > 0)
  fit <- glasso::glasso(
    covariance[some, some, drop = FALSE], rho[some, some, drop = FALSE]
  )
  solution$w[some, some] <- fit$w
  solution$wi[some, some] <- fit$wi
  solution
}

window_without_links <- function(covariance) {
  n <- nrow(covariance)
  on_diagonal <- seq.int(1L, n * n, n + 1L)
  w <- wi <- matrix(0, n, n)
  w[on_diagonal] <- covariance[on_diagonal]
  wi[on_diagonal] <- 1 / covariance[on_diagonal]
  list(w = w, wi = wi)
}

# The values of all peaks of a piece of windows: neighboring windows share half of them.
piece_of_windows <- function(members, grouped) {
  used <- sort(unique(unlist(members, use.names = FALSE)))
  list(
    values = group_values(grouped, used), columns = lapply(members, match, used),
    ridge = grouped$ridge
  )
}

window_covariance <- function(piece, window) {
  values <- piece$values
  columns <- piece$columns[[window]]
  n <- length(columns)
  values <- values[, columns, drop = FALSE]
  covariance <- crossprod(values - rep(colMeans(values), each = nrow(values))) / (nrow(values) - 1)
  on_diagonal <- seq.int(1L, n * n, n + 1L)
  covariance[on_diagonal] <- covariance[on_diagonal] + piece$ridge
  covariance
}

window_distance <- function(position) {
  n <- length(position)
  abs(matrix(position, n, n) - rep(position, each = n))
}

# ---- the distance parameter ----------------------------------------------------------------------

# Whether long edges are (nearly) absent at this distance parameter.
long_edges_vanish <- function(covariance, distance, long, distance_parameter, s) {
  wi <- window_glasso(covariance, distance_penalty(distance, distance_parameter, s))$wi
  sum(wi[long] != 0) / sum(long) <= 0.05 && sum(wi == 0) / length(wi) >= 0.2
}

# Cicero's bisection, step for step. It starts at 2 and doubles once, so that a window which needs
# more than 4 ends at 2, without a word: `ceiling` says it did.
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
  distance <- window_distance(position)
  long <- distance > options$distance.constraint
  vanish <- function(value) long_edges_vanish(covariance, distance, long, value, options$s)
  maxit <- options$maxit
  convergence <- options$convergence
  if (options$search == "cicero") {
    return(search_cicero(vanish, maxit, convergence))
  }
  rate <- distance_penalty(distance, 1, options$s)
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
  pieces <- cut_pieces(lengths(members)^2, Inf, at.least = length(members))
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

# Co-accessibility of every pair of peaks of every window: rows i, j of two peaks, value, once for
# each window the pair is in.
window_connections <- function(members, grouped, position, distance_parameter, s) {
  piece <- piece_of_windows(members, grouped)
  pairs <- lapply(seq_along(members), function(w) {
    peaks <- members[[w]]
    n <- length(peaks)
    first <- rep.int(seq_len(n - 1), (n - 1):1)
    second <- sequence((n - 1):1, 2:n)
    covariance <- window_covariance(piece, w)
    rho <- distance_penalty(window_distance(position[peaks]), distance_parameter, s)
    estimate <- window_glasso(covariance, rho)$w
    scale <- 1 / sqrt(estimate[seq.int(1L, n * n, n + 1L)])
    list(
      i = peaks[first], j = peaks[second],
      value = estimate[(first - 1) * n + second] * scale[first] * scale[second]
    )
  })
  combine <- function(part) unlist(lapply(pairs, `[[`, part), use.names = FALSE)
  list(i = combine("i"), j = combine("j"), value = combine("value"))
}

all_connections <- function(grouped, position, windows, distance_parameter, s, max.peaks,
                            workers, ...) {
  sizes <- lengths(windows$members)
  members <- windows$members[sizes > 1 & sizes <= max.peaks]
  # every peak is in two windows
  largest <- 2 * length(peak_blocks(grouped)[[1]])
  pieces <- cut_pieces(lengths(members), largest, at.least = if (workers > 1) 4 * workers else 1)
  pieces <- lapply(pieces, function(some) members[some])
  found <- in_pieces(
    pieces, window_connections, grouped, position, distance_parameter, s, workers = workers, ...
  )
  reconcile(
    unlist(lapply(found, `[[`, "i"), use.names = FALSE),
    unlist(lapply(found, `[[`, "j"), use.names = FALSE),
    unlist(lapply(found, `[[`, "value"), use.names = FALSE)
  )
}

# A pair in several windows: the mean when no two values have opposite signs, else NA.
reconcile <- function(i, j, value) {
  if (length(value) == 0) {
    return(list(i = integer(), j = integer(), value = numeric()))
  }
  swap <- i > j
  if (any(swap)) {
    first <- ifelse(swap, j, i)
    j <- ifelse(swap, i, j)
    i <- first
  }
  order <- order(i, j, method = "radix")
  i <- i[order]
  j <- j[order]
  value <- value[order]
  n <- length(value)
  starts <- which(c(TRUE, i[-1] != i[-n] | j[-1] != j[-n]))
  counts <- diff(c(starts, n + 1))
  sum <- low <- high <- value[starts]
  for (repeated in seq_len(max(counts) - 1)) {
    more <- which(counts > repeated)
    also <- value[starts[more] + repeated]
    sum[more] <- sum[more] + also
    low[more] <- pmin(low[more], also)
    high[more] <- pmax(high[more], also)
  }
  mean <- sum / counts
  mean[low < 0 & high > 0] <- NA
  list(i = i[starts], j = j[starts], value = mean)
}
