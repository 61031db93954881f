# Lints every R file of the project as .lintr says; exit status 1 when there are findings.

files <- list.files(
  c("R", "tests", "inst", "tools", "bench", "vignettes"),
  pattern = "[.](R|Rmd)$", recursive = TRUE, full.names = TRUE
)
found <- 0
for (file in files) {
  for (lint in lintr::lint(file)) {
    # the linter does not know that testthat sources the helper files
    if (startsWith(file, "tests/") && lint$linter == "object_usage_linter") next
    cat(sprintf("%s:%d:%d: %s\n", file, lint$line_number, lint$column_number, lint$message))
    found <- found + 1
  }
}
cat(length(files), "files,", found, "findings\n")
quit(status = found > 0)
