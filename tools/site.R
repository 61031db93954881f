# The pages of the R package: Rscript tools/site.R SOURCES OUT
# Examples and vignettes are executed, with the package that is installed; SCMVP_EXAMPLES=no shows
# examples without their results. A warning is an error, but for the one that an example needs a
# suggested package that is not there.
arguments <- commandArgs(TRUE)
options(pkgdown.internet = FALSE, warn = 1)
seen <- character(0)
withCallingHandlers(
  pkgdown::build_site(
    arguments[1],
    examples = Sys.getenv("SCMVP_EXAMPLES") != "no",
    override = list(destination = arguments[2]),
    install = FALSE, preview = FALSE, devel = FALSE, new_process = FALSE
  ),
  warning = function(w) {
    if (!grepl("@examplesIf", conditionMessage(w))) seen <<- c(seen, conditionMessage(w))
  }
)
if (length(seen) > 0) {
  stop("pkgdown warned: ", paste(unique(seen), collapse = "; "), call. = FALSE)
}
