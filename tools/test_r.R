# Rscript tools/test_r.R tests/testthat results.tsv [filter]
# Runs testthat on the installed scMVP and writes a line per test:
#   passed|failed|skipped <tab> name <tab> reason
# Environment: SCMVP_TESTS_LEFT_OUT  names of files that need not run here, separated by "|"

args <- commandArgs(TRUE)
Sys.setenv(NOT_CRAN = "true") # or drawings would not be compared

first_line <- function(condition) {
  gsub("\t", " ", strsplit(conditionMessage(condition), "\n")[[1]][1])
}

outcome <- function(test) {
  of_class <- function(classes) {
    Filter(function(result) inherits(result, classes), test$results)
  }
  failures <- of_class(c("expectation_failure", "expectation_error"))
  skips <- of_class("expectation_skip")
  if (length(failures) > 0) return(c("failed", first_line(failures[[1]])))
  if (length(skips) > 0) return(c("skipped", sub("^Reason: ", "", first_line(skips[[1]]))))
  c("passed", "")
}

# Tests skip themselves where there is no Python core; here it has to be there. In a process of its
# own, because tests want to see a session without Python.
core <- system2("Rscript", c("-e", shQuote("quit(status = !scMVP::scMVP_available(TRUE))")))

left_out <- Sys.getenv("SCMVP_TESTS_LEFT_OUT")
filter <- if (length(args) > 2) args[3] else if (nzchar(left_out)) paste0("^(?!(", left_out, ")$)")
results <- testthat::test_dir(
  args[1],
  filter = filter, perl = TRUE,
  package = "scMVP",
  load_package = "installed",
  reporter = "check",
  stop_on_failure = FALSE
)
seconds <- tapply(
  vapply(results, `[[`, numeric(1), "real"), vapply(results, `[[`, "", "file"), sum
)
slowest <- utils::head(sort(seconds, decreasing = TRUE), 10)
cat("slowest files:", sprintf("\n%6.1f s %s", slowest, names(slowest)), "\n")
lines <- vapply(results, function(test) {
  result <- outcome(test)
  paste(result[1], paste0(test$file, ": ", test$test), result[2], sep = "\t")
}, character(1))
# in make check they are one line, which says how many there are
slow <- grepl("^skipped\t.*\tslow, so not in make check$", lines)
if (any(slow)) {
  lines <- c(lines[!slow], paste0("skipped\t", sum(slow), " slow tests\tnot in make check"))
}
if (nzchar(left_out)) {
  lines <- c(lines, paste0("skipped\t", left_out, "\tthe same in any R, so not here"))
}
core_line <- if (core == 0) "passed\tPython core\t" else "failed\tPython core\tnot available"
writeLines(c(core_line, lines), args[2])
