# Evaluates `expr` after set.seed(seed) with R's default generators, so that the result depends only
# on the seed, and restores the user's generator and its state.
seeded <- function(seed, expr) {
  with_own_random_numbers({
    set.seed(
      seed, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection"
    )
    expr
  })
}

# Evaluates `expr`, which may draw random numbers, and leaves the user's generator as it was.
with_own_random_numbers <- function(expr) {
  old <- get0(".Random.seed", globalenv(), inherits = FALSE)
  kinds <- RNGkind()
  on.exit({
    suppressWarnings(do.call(RNGkind, as.list(kinds)))
    if (!is.null(old)) {
      assign(".Random.seed", old, globalenv())
    } else if (exists(".Random.seed", globalenv(), inherits = FALSE)) {
      rm(list = ".Random.seed", envir = globalenv())
    }
  })
  expr
}
