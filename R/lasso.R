# Cross-validated LASSO on Gram matrices, equal to cv.glmnet() of glmnet (Friedman, Hastie &
# Tibshirani 2010) with family gaussian, at a small part of its cost: with p peaks near a gene and n
# cells, everything about a fold is in a matrix of p x p.
#
# The objective is 1/(2n) |y - a - X b|^2 + lambda (alpha |b|_1 + (1 - alpha)/2 |b|_2^2) with the
# columns of X standardized within the cells used for the fit, as glmnet does, unless `standardize`
# is FALSE; as there, the second penalty is divided by the standard deviation of y. A `ridge` on the
# diagonal of the Gram matrix is a quadratic penalty of that weight at every lambda, which leaves
# the paths piecewise linear. Covariates are not penalized (glmnet's
# penalty.factor = 0, whose rescaling of the other factors is not copied).

# Cross products by fold. `design`: cells x (1, covariates, peaks, y), rows sorted by fold; `ends`:
# last row of each fold.
fold_products <- function(design, ends) {
  begins <- c(1, ends[-length(ends)] + 1)
  lapply(seq_along(ends), function(f) {
    crossprod(design[begins[f]:ends[f], , drop = FALSE])
  })
}

# What a fit needs of the cross products of some cells: Gram matrix and moments of the standardized
# peaks with the covariates projected out, and what brings coefficients back to the design's scale.
gram_problem <- function(products, n_free, standardize = TRUE, ridge = 0) {
  q <- ncol(products)
  n <- products[1, 1]
  means <- products[1, ] / n
  covariance <- products / n - tcrossprod(means)
  sd <- sqrt(pmax(diag(covariance), 0))
  # constant within these cells: rounding leaves a little
  constant <- sd <= 1e-7 * sqrt(diag(products) / n)
  divide <- sd
  divide[constant] <- 1
  divide[q] <- 1 # y keeps its scale
  free <- seq_len(n_free) + 1
  peaks <- seq_len(q - n_free - 2) + n_free + 1
  if (!standardize) divide[peaks] <- 1
  scaled <- covariance / tcrossprod(divide)
  if (any(constant)) scaled[constant, ] <- scaled[, constant] <- 0
  free <- free[!constant[free]]
  gram <- scaled[peaks, peaks, drop = FALSE]
  moment <- scaled[peaks, q]
  projection <- NULL
  if (length(free) > 0) {
    projection <- solve.default(
      scaled[free, free, drop = FALSE], scaled[free, c(peaks, q), drop = FALSE]
    )
    onto <- scaled[peaks, free, drop = FALSE] %*% projection
    gram <- gram - onto[, seq_along(peaks), drop = FALSE]
    moment <- moment - onto[, length(peaks) + 1]
  }
  gone <- constant[peaks]
  if (any(gone)) diag(gram)[gone] <- 1
  if (ridge > 0) diag(gram) <- diag(gram) + ridge
  list(
    gram = gram, moment = moment, y_sd = sd[q], projection = projection, free = free, peaks = peaks,
    divide = divide, means = means, q = q
  )
}

# Coefficients of (1, covariates, peaks) on the design's scale, x lambda.
unscale_coefficients <- function(problem, b) {
  coefficients <- matrix(0, problem$q - 1, ncol(b))
  coefficients[problem$peaks, ] <- b / problem$divide[problem$peaks]
  if (length(problem$free) > 0) {
    last <- length(problem$peaks) + 1
    g <- problem$projection[, last] - problem$projection[, -last, drop = FALSE] %*% b
    coefficients[problem$free, ] <- g / problem$divide[problem$free]
  }
  means <- problem$means
  coefficients[1, ] <- means[problem$q] - colSums(coefficients * means[-problem$q])
  coefficients
}

# cv.glmnet() on cross products by fold. Returns the mean squared errors over folds (cvm, cvsd), the
# positions of lambda.min and lambda.1se, and the coefficients of all cells at every lambda.
cross_validate <- function(products, n_free, lambda, alpha = 1, standardize = TRUE, ridge = 0) {
  total <- Reduce(`+`, products)
  problems <- lapply(
    c(lapply(products, function(held_out) total - held_out), list(total)), gram_problem, n_free,
    standardize, ridge
  )
  solutions <- lasso_paths(problems, lambda, alpha)
  k <- length(products)
  sizes <- vapply(products, function(product) product[1, 1], numeric(1))
  errors <- vapply(seq_len(k), function(f) {
    residual <- rbind(-unscale_coefficients(problems[[f]], solutions[[f]]), 1)
    colSums(residual * (products[[f]] %*% residual)) / sizes[f]
  }, numeric(length(lambda)))
  weights <- sizes / sum(sizes)
  cvm <- as.vector(errors %*% weights)
  cvsd <- sqrt(as.vector((errors - cvm)^2 %*% weights) / (k - 1))
  best <- which.min(cvm)
  list(
    cvm = cvm, cvsd = cvsd, min = best, `1se` = which(cvm <= cvm[best] + cvsd[best])[1],
    coefficients = unscale_coefficients(problems[[k + 1]], solutions[[k + 1]])
  )
}

# Solutions of several problems with the same peaks at each lambda (decreasing): a list of peaks x
# lambda. For alpha = 1 the piecewise linear paths are followed from knot to knot; otherwise, and
# where that meets peaks that are copies of each other, by coordinate descent.
lasso_paths <- function(problems, lambda, alpha = 1) {
  if (alpha == 1) {
    p <- length(problems[[1]]$moment)
    paths <- follow_paths(
      matrix(unlist(lapply(problems, `[[`, "gram"), use.names = FALSE), p * p),
      matrix(unlist(lapply(problems, `[[`, "moment"), use.names = FALSE), p),
      lowest = lambda[length(lambda)]
    )
  }
  lapply(seq_along(problems), function(m) {
    problem <- problems[[m]]
    if (alpha == 1 && !paths$failed[m]) {
      b <- path_at(paths, m, lambda)
      if (solves_lasso(b, problem$gram, problem$moment, lambda)) {
        return(b)
      }
    }
    coordinate_descent(problem$gram, problem$moment, lambda, alpha, problem$y_sd)
  })
}

solves_lasso <- function(b, gram, moment, lambda, tolerance = 1e-7) {
  excess <- abs(moment - gram %*% b) - rep(lambda, each = length(moment))
  max(excess) < tolerance && all(excess[b != 0] > -tolerance)
}

# The LASSO paths (Efron, Hastie, Johnstone & Tibshirani 2004) of M problems in step, for R does one
# operation on M small matrices as fast as on one.
#
# grams: p^2 x M, moments: p x M. Along a path with active set A, b_A = u - lambda v with
# u = G_AA^-1 c_A and v = G_AA^-1 s_A (s the signs), until a peak joins or leaves. Each problem is a
# tableau [G | c | s] on which the sweep operator works: with the peaks of A swept, the last two
# columns hold u and v in the rows of A, and in the others c - G_jA u and -G_jA v, from which the
# next knot follows. To join and to leave are both one more sweep.
#
# Returns the knots: lambda (steps x M), b (a list of p x M by step), the lambda at which each peak
# first joined (p x M, 0: never), and which problems met a singular Gram matrix (`failed`).
follow_paths <- function(grams, moments, lowest) {
  p <- nrow(moments)
  n <- ncol(moments)
  at_row <- tableau_rows(p)
  tableau <- rbind(grams, moments, matrix(0, p, n))
  entered <- matrix(0, p, n)
  active <- matrix(FALSE, p, n)
  signs <- matrix(0, p, n)
  last <- rep(0L, n)
  failed <- logical(n)
  current <- rep(Inf, n)
  running <- seq_len(n)
  knots <- list(rep(Inf, n))
  values <- list(matrix(0, p, n))
  for (step in seq_len(10 * p + 20)) {
    m <- length(running)
    on <- active[, running, drop = FALSE]
    u <- tableau[at_row$c, , drop = FALSE]
    v <- tableau[at_row$s, , drop = FALSE]
    events <- path_events(u, v, on, current[running], last[running])
    up <- events$up
    down <- events$down
    event <- pmax(up, down)
    pivot <- max.col(t(event), "first")
    at <- cbind(pivot, seq_len(m))
    following <- pmax(event[at], lowest)
    b <- matrix(0, p, n)
    b[, running] <- (u - v * rep(following, each = p)) * on
    new_knots <- rep(NA_real_, n)
    new_knots[running] <- following
    knots[[step + 1]] <- new_knots
    values[[step + 1]] <- b
    current[running] <- following
    done <- following <= lowest
    if (all(done)) break
    tableau <- tableau[, !done, drop = FALSE]
    running <- running[!done]
    pivot <- pivot[!done]
    up <- up[, !done, drop = FALSE]
    down <- down[, !done, drop = FALSE]
    m <- length(running)
    place <- cbind(pivot, running)
    leaves <- active[place]
    values[[step + 1]][place[leaves, , drop = FALSE]] <- 0 # exactly, not but for rounding
    here <- cbind(pivot, seq_len(m))
    signs[place] <- ifelse(leaves, signs[place], ifelse(up[here] >= down[here], 1, -1))
    entering <- !leaves & entered[place] == 0
    entered[place[entering, , drop = FALSE]] <- current[running[entering]]
    s_place <- cbind(at_row$s[pivot], seq_len(m))
    tableau[s_place] <- tableau[s_place] + ifelse(leaves, 0, signs[place])
    swept <- sweep_tableaus(tableau, pivot, p, at_row$row_of, at_row$column_of)
    tableau <- swept$tableau
    tableau[s_place] <- tableau[s_place] - ifelse(leaves, signs[place], 0)
    active[place] <- !leaves
    last[running] <- pivot
    failed[running[swept$singular]] <- TRUE # their later values are meaningless
  }
  failed[current > lowest] <- TRUE
  list(lambda = do.call(rbind, knots), b = values, entered = entered, failed = failed)
}

# Tableaus are columns, p rows by p + 2 columns each: where the last two columns are, and the row
# and the column of each place.
tableau_rows <- function(p) {
  list(
    c = p * p + seq_len(p), s = p * p + p + seq_len(p), row_of = rep(seq_len(p), p + 2),
    column_of = rep(seq_len(p + 2), each = p)
  )
}

# lambda at which an active peak reaches 0, or another one the border +lambda (`up`) or -lambda
# (`down`); 0 for never. `last`: the row that has just joined or left (0 at the start).
path_events <- function(u, v, on, current, last) {
  up <- u / (v + !on)
  down <- u / (v - 1)
  down[on] <- 0
  if (all(last > 0)) {
    # it lies on a border, and rounding must not take it across again
    at <- cbind(last, seq_along(last))
    near <- current * (1 - 1e-6)
    up[at][which(up[at] > near)] <- 0
    down[at][which(down[at] > near)] <- 0
  }
  limit <- rep(current * (1 - 1e-12), each = nrow(u))
  up[is.na(up) | up <= 0 | up >= limit] <- 0
  down[is.na(down) | down <= 0 | down >= limit] <- 0
  list(up = up, down = down)
}

# Sweeps row `pivot` of each tableau (a column of p (p + 2) values).
sweep_tableaus <- function(tableau, pivot, p, row_of, column_of) {
  m <- ncol(tableau)
  offset <- (seq_len(m) - 1) * nrow(tableau)
  row_at <- rep(pivot + offset, each = p + 2) + (seq_len(p + 2) - 1) * p
  column_at <- rep((pivot - 1) * p + offset, each = p) + seq_len(p)
  pivot_at <- (pivot - 1) * p + pivot + offset
  diagonal <- tableau[pivot_at]
  singular <- abs(diagonal) < 1e-9
  diagonal[singular] <- 1
  row <- matrix(tableau[row_at] / rep(diagonal, each = p + 2), p + 2)
  column <- matrix(tableau[column_at], p)
  tableau <- tableau - column[row_of, , drop = FALSE] * row[column_of, , drop = FALSE]
  tableau[row_at] <- row
  tableau[column_at] <- -column / rep(diagonal, each = p)
  tableau[pivot_at] <- 1 / diagonal
  list(tableau = tableau, singular = singular)
}

# Solutions of problem m of follow_paths() at each lambda (decreasing), peaks x lambda: between
# knots b is linear in lambda.
path_at <- function(paths, m, lambda) {
  knots <- paths$lambda[, m]
  knots <- knots[!is.na(knots)]
  b <- vapply(paths$b[seq_along(knots)], function(values) values[, m], paths$b[[1]][, m])
  b <- matrix(b, ncol = length(knots))
  interval <- findInterval(-lambda, -knots, rightmost.closed = TRUE)
  share <- (knots[interval] - lambda) / (knots[interval] - knots[interval + 1])
  share[is.nan(share)] <- 0 # above the first knot everything is 0
  first <- b[, interval, drop = FALSE]
  first + (b[, interval + 1, drop = FALSE] - first) * rep(share, each = nrow(b))
}

coordinate_descent <- function(gram, moment, lambda, alpha = 1, y_sd = 1, tolerance = 1e-9,
                               most = 10000) {
  b <- matrix(0, length(moment), length(lambda))
  state <- list(b = numeric(length(moment)), gradient = moment, change = Inf)
  diagonal <- diag(gram)
  for (l in seq_along(lambda)) {
    scale <- diagonal + lambda[l] * (1 - alpha) / y_sd
    for (sweep in seq_len(most)) {
      state <- descend(state, gram, diagonal, lambda[l] * alpha, scale)
      if (state$change < tolerance) break
    }
    b[, l] <- state$b
  }
  b
}

# Each coefficient in turn at its best given the others.
descend <- function(state, gram, diagonal, l1, scale) {
  b <- state$b
  gradient <- state$gradient
  largest <- 0
  for (j in seq_along(b)) {
    partial <- gradient[j] + diagonal[j] * b[j]
    new <- if (abs(partial) > l1) (partial - sign(partial) * l1) / scale[j] else 0
    change <- new - b[j]
    if (change != 0) {
      gradient <- gradient - gram[, j] * change
      b[j] <- new
      largest <- max(largest, abs(change))
    }
  }
  list(b = b, gradient = gradient, change = largest)
}

# Standard deviations of columns; of sparse ones from their moments, since centered they are dense.
column_sd <- function(x) {
  if (is.matrix(x)) {
    return(sqrt(colSums(centered(x)^2) / (nrow(x) - 1)))
  }
  n <- nrow(x)
  sqrt(pmax(Matrix::colSums(x^2) - Matrix::colSums(x)^2 / n, 0) / (n - 1))
}

centered <- function(x) x - rep(colMeans(x), each = nrow(x))

# Columns centered and brought to a standard deviation of 1; constant ones become 0.
standardize <- function(x) {
  x <- centered(x)
  sd <- sqrt(colSums(x^2) / (nrow(x) - 1))
  sd[sd < 1e-12] <- Inf
  x * rep(1 / sd, each = nrow(x))
}
