# Lints every R file of the project as .lintr says; exit status 1 when there are
# findings.

files <- list.files(
  c("R", "tests", "inst", "tools", "bench", "vignettes", "python/scmvp"),
  pattern = "[.](R|Rmd)$", recursive = TRUE, full.names = TRUE
)
generics <- c(
  "about", "parts_of", "cell_data", "latent_of", "fits_of", "put_results", "home_of", "values_at"
)
methods_of_generics <- paste0("^(", paste(generics, collapse = "|"), ")[.][A-Za-z_]+ <- function")
# a link to R/, which the bridge of Python shares
files <- files[!startsWith(files, "python/scmvp/r/shared/")]
# the complexity of functions, which takes half of the time, is for the code that users run
usual <- eval(parse(text = read.dcf(".lintr")[1, "linters"]), asNamespace("lintr"))
quicker <- usual[names(usual) != "cyclocomp_linter"]
# Files that had no findings, by their content and that of the rules: they are not linted again.
record <- ".rlib/linted.txt"
rules <- tools::md5sum(c(".lintr", "tools/lint.R", system.file("DESCRIPTION", package = "lintr")))
passed <- if (file.exists(record)) readLines(record) else character()
keys <- paste(files, tools::md5sum(files), paste(rules, collapse = " "))
found <- 0
for (at in which(!keys %in% passed)) {
  file <- files[at]
  before <- found
  for (lint in lintr::lint(file, linters = if (startsWith(file, "R/")) usual else quicker)) {
    # the linter does not know generics of other files
    if (grepl(methods_of_generics, lint$line) && lint$linter == "object_name_linter") next
    cat(sprintf("%s:%d:%d: %s\n", file, lint$line_number, lint$column_number, lint$message))
    found <- found + 1
  }
  if (found == before) passed <- c(passed, keys[at])
}
if (dir.exists(dirname(record))) writeLines(intersect(keys, passed), record)
# of a function defined in two files only one would be there
defined <- unlist(lapply(list.files("R", "[.]R$", full.names = TRUE), function(file) {
  assigned <- Filter(function(x) is.call(x) && identical(x[[1]], as.name("<-")), parse(file))
  vapply(as.list(assigned), function(x) deparse(x[[2]])[1], "")
}))
for (name in unique(defined[duplicated(defined)])) {
  cat("R: ", name, " is defined twice\n", sep = "")
  found <- found + 1
}
cat(length(files), "files,", found, "findings\n")
quit(status = found > 0)
