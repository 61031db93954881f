# Sourced by the other scripts: made cells at the size of real ones, and runs in processes of their
# own whose time and peak memory are measured.

suppressMessages(library(Matrix))

# Lengths of the human chromosomes (GRCh37), rounded to 1 Mb.
human_chromosomes <- data.frame(
  chromosome = paste0("chr", c(1:22, "X")),
  length = 1e6 * c(
    249, 243, 198, 191, 181, 171, 159, 146, 141, 136, 135, 134, 115, 107, 103, 90, 81, 78, 59, 63,
    48, 51, 155
  )
)

# Peaks x cells counts of cells of 8 types along the human genome; peaks lie around 8,000 places, as
# those of real data around genes. Depth about `per_cell` counts.
made_peaks <- function(n_cells, n_peaks, per_cell = 1500, seed = 1) {
  set.seed(seed)
  genome <- human_chromosomes
  place <- data.frame(
    chromosome = sample(seq_len(nrow(genome)), 8000, replace = TRUE, prob = genome$length)
  )
  place$at <- stats::runif(8000, 1e5, genome$length[place$chromosome] - 1e5)
  near <- sample(8000, n_peaks, replace = TRUE)
  at <- round(place$at[near] + stats::rnorm(n_peaks, 0, 4e4))
  at <- pmin(pmax(at, 1), genome$length[place$chromosome[near]] - 600)
  order <- order(place$chromosome[near], at)
  chromosome <- genome$chromosome[place$chromosome[near]][order]
  at <- at[order]
  repeat { # no two at one place
    same <- which(c(FALSE, diff(at) == 0))
    if (length(same) == 0) break
    at[same] <- at[same] + seq_along(same) %% 50 + 1
  }
  names <- sprintf("%s_%d_%d", chromosome, at, at + 500L)
  type <- sample(8, n_cells, replace = TRUE)
  program <- matrix(stats::rexp(8 * 40), 8)
  latent <- program[type, 1:10] + matrix(stats::rnorm(n_cells * 10, 0, 0.3), n_cells)
  of_peak <- (near[order] %% 40) + 1
  base <- stats::rlnorm(n_peaks)
  base <- base / sum(base) * per_cell
  depth <- exp(stats::rnorm(n_cells, 0, 0.4))
  # Poisson counts of single cells are the Poisson count of a type, dealt out to its cells by their
  # depth: time and memory follow the counts, not cells x peaks
  counts <- do.call(rbind, lapply(split(seq_len(n_cells), type), function(of_type) {
    rate <- base * (0.5 + 0.5 * program[type[of_type[1]], of_peak]) * sum(depth[of_type])
    total <- stats::rpois(n_peaks, rate)
    dealt <- sample.int(length(of_type), sum(total), replace = TRUE, prob = depth[of_type])
    Matrix::sparseMatrix(
      i = dealt, j = rep(seq_len(n_peaks), total), x = 1, dims = c(length(of_type), n_peaks)
    )
  }))
  counts <- Matrix::t(counts)[, order(unlist(split(seq_len(n_cells), type)))]
  cells <- paste0("cell", seq_len(n_cells))
  dimnames(counts) <- list(names, cells)
  rownames(latent) <- cells
  list(counts = methods::as(counts, "dgCMatrix"), latent = latent, genome = genome)
}

# Peak memory in MB of a running process and all it started, sampled until it ends: memory that
# processes share counts once.
watched <- function(process) {
  peak <- 0
  while (process$is_alive()) {
    pids <- process$get_pid()
    repeat {
      files <- Sys.glob(sprintf("/proc/%s/task/*/children", pids))
      found <- union(pids, scan(text = unlist(lapply(files, readable)), quiet = TRUE))
      if (length(found) == length(pids)) break
      pids <- found
    }
    lines <- unlist(lapply(sprintf("/proc/%s/smaps_rollup", pids), readable))
    peak <- max(peak, sum(as.numeric(gsub("[^0-9]", "", grep("^Pss:", lines, value = TRUE)))))
    process$wait(200)
  }
  peak / 1024
}

readable <- function(file) {
  tryCatch(suppressWarnings(readLines(file)), error = function(e) character())
}

# Runs `code` (lines of R that see `case` and set `result`) in an R process of its own, after
# `load`; seconds of wall and CPU time of the code, and the peak memory in MB of the process and its
# forks.
measured <- function(name, load, code, case_file, library = character()) {
  script <- tempfile(fileext = ".R")
  output <- tempfile(fileext = ".rds")
  log <- tempfile(fileext = ".txt")
  on.exit(unlink(c(script, output, log)))
  writeLines(c(
    sprintf(".libPaths(c(%s, .libPaths()))", deparse(library)),
    "suppressMessages(library(Matrix))",
    sprintf("case <- readRDS('%s')", case_file),
    load,
    "began <- proc.time()",
    code,
    "took <- proc.time() - began",
    "cpu <- sum(took[c('user.self', 'sys.self', 'user.child', 'sys.child')], na.rm = TRUE)",
    "out <- list(wall = took[['elapsed']], cpu = cpu, value = result)",
    sprintf("saveRDS(out, '%s', compress = FALSE)", output)
  ), script)
  process <- processx::process$new("Rscript", script, stdout = log, stderr = "2>&1")
  mb <- watched(process)
  if (!file.exists(output)) {
    stop(name, " failed:\n", paste(utils::tail(readLines(log), 20), collapse = "\n"))
  }
  out <- readRDS(output)
  out$mb <- mb
  tell_measured(name, out)
}

tell_measured <- function(name, out) {
  cat(sprintf("%-28s %8.1f s wall %8.1f s CPU %8.0f MB\n", name, out$wall, out$cpu, out$mb))
  out
}

# ---- Circe ---------------------------------------------------------------------------------------

# What it takes: groups x peaks, each group in one piece, as Circe makes them itself.
write_groups <- function(counts, groups, folder) {
  factors <- scMVP:::grouped_accessibility(counts, groups)$factors
  con <- file(file.path(folder, "groups.bin"), "wb")
  on.exit(close(con))
  for (first in seq(1, ncol(groups), by = 100)) {
    some <- first:min(ncol(groups), first + 99)
    sums <- as.matrix(counts %*% groups[, some])
    writeBin(as.vector(sums / rep(factors[some], each = nrow(sums))), con)
  }
  writeLines(rownames(counts), file.path(folder, "peaks.txt"))
}

# list(wall, cpu, mb, alpha), and its links in links.csv of the folder; NULL where it failed.
run_circe <- function(python, folder, workers = 1) {
  log <- file.path(folder, "log.txt")
  process <- processx::process$new(
    python, c("bench/cre/run_circe.py", folder, workers),
    stdout = log, stderr = "2>&1",
    env = c("current", OPENBLAS_NUM_THREADS = "1", LD_LIBRARY_PATH = "")
  )
  mb <- watched(process)
  if (process$get_exit_status() != 0) {
    cat("Circe failed, at", round(mb), "MB\n")
    writeLines(utils::tail(readLines(log), 3))
    return(NULL)
  }
  out <- jsonlite::fromJSON(file.path(folder, "measured.json"))
  tell_measured("Circe", c(out, mb = mb))
}
