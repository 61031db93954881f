# Work cut into pieces, on one core, on several, or on a BiocParallel back end. Nothing random
# happens in a piece, so a result does not depend on who computed it.

check_workers <- function(workers, BPPARAM = NULL) {
  workers <- check_number(workers, "workers", min = 1, whole = TRUE)
  if (!is.null(BPPARAM)) {
    check_installed("BiocParallel", "BPPARAM")
    if (!methods::is(BPPARAM, "BiocParallelParam")) {
      refuse("BPPARAM must be a BiocParallelParam or NULL, not ", in_words(BPPARAM), ".")
    }
    return(BiocParallel::bpnworkers(BPPARAM))
  }
  if (workers > 1 && .Platform$OS.type == "windows") {
    message("Windows cannot fork, so one worker runs: BPPARAM = BiocParallel::SnowParam() has more")
    return(1L)
  }
  workers
}

# FUN of each piece, in order. Progress is shown between rounds of pieces, and there an interrupt
# is noticed at once.
in_pieces <- function(pieces, FUN, ..., workers = 1, BPPARAM = NULL, verbose = FALSE,
                      what = "pieces") {
  if (length(pieces) == 0) {
    return(list())
  }
  n_rounds <- if (verbose) min(length(pieces), 5) else 1
  rounds <- split(seq_along(pieces), ceiling(n_rounds * seq_along(pieces) / length(pieces)))
  results <- vector("list", length(pieces))
  began <- proc.time()[["elapsed"]]
  for (round in seq_along(rounds)) {
    some <- rounds[[round]]
    results[some] <- apply_pieces(pieces[some], FUN, ..., workers = workers, BPPARAM = BPPARAM)
    seconds <- proc.time()[["elapsed"]] - began
    if (verbose && (seconds > 5 || round == length(rounds))) {
      message(sentence_of(
        "  ", what, ": ", round(100 * round / length(rounds)), " % (", format(seconds, digits = 2),
        " s)"
      ))
    }
  }
  results
}

apply_pieces <- function(pieces, FUN, ..., workers, BPPARAM) {
  if (!is.null(BPPARAM)) {
    return(BiocParallel::bplapply(pieces, FUN, ..., BPPARAM = BPPARAM))
  }
  if (workers == 1 || length(pieces) == 1) {
    return(lapply(pieces, FUN, ...))
  }
  results <- parallel::mclapply(
    pieces, FUN, ..., mc.cores = workers, mc.set.seed = FALSE,
    mc.preschedule = length(pieces) > 4 * workers
  )
  failed <- vapply(results, function(x) is.null(x) || inherits(x, "try-error"), logical(1))
  if (any(failed)) {
    first <- results[[which(failed)[1]]]
    refuse(
      "a worker process failed (", if (is.null(first)) {
        "it was killed, most often for lack of memory"
      } else {
        conditionMessage(attr(first, "condition"))
      }, "): try workers = 1.",
      class = "worker"
    )
  }
  results
}

# Cuts items of given sizes into contiguous pieces, none of which exceeds `largest`, or its share of
# `at.least` pieces, by more than one item. A list of vectors of positions.
cut_pieces <- function(sizes, largest, at.least = 1) {
  if (length(sizes) == 0) {
    return(list())
  }
  total <- sum(as.numeric(sizes))
  each <- max(1, min(largest, total / at.least))
  unname(split(seq_along(sizes), floor((cumsum(as.numeric(sizes)) - sizes / 2) / each)))
}
