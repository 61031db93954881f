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
# in make check those that differ from the commit before, as all others have passed it
if (nzchar(Sys.getenv("SCMVP_QUICK"))) {
  changed <- suppressWarnings(system2("git", c("diff", "--name-only", "HEAD~1"), stdout = TRUE))
  new <- suppressWarnings(
    system2("git", c("ls-files", "--others", "--exclude-standard"), stdout = TRUE)
  )
  if (is.null(attr(changed, "status"))) files <- intersect(files, c(changed, new))
}
# a link to R/, which the bridge of Python shares
files <- files[!startsWith(files, "python/scmvp/r/shared/")]
# the complexity of functions, which takes half of the time, is for the code that users run
usual <- eval(parse(text = read.dcf(".lintr")[1, "linters"]), asNamespace("lintr"))
quicker <- usual[names(usual) != "cyclocomp_linter"]
found <- 0
for (file in files) {
  for (lint in lintr::lint(file, linters = if (startsWith(file, "R/")) usual else quicker)) {
    # the linter does not know generics of other files
    if (grepl(methods_of_generics, lint$line) && lint$linter == "object_name_linter") next
    cat(sprintf("%s:%d:%d: %s\n", file, lint$line_number, lint$column_number, lint$message))
    found <- found + 1
  }
}
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
