# Evaluates `expr` after set.seed(seed) with R's standard generators, so that a result depends on
# its seed alone, and leaves the user's generator and its state as they were.
seeded <- function(seed, expr) {
  old <- get0(".Random.seed", globalenv(), inherits = FALSE)
  kinds <- RNGkind()
  on.exit({
    suppressWarnings(do.call(RNGkind, as.list(kinds)))
    if (is.null(old)) {
      rm(list = ".Random.seed", envir = globalenv())
    } else {
      assign(".Random.seed", old, globalenv())
    }
  })
  set.seed(
    seed, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection"
  )
  expr
}
