# Rscript tools/test_matrix.R LABEL=results.tsv...
# Prints what tests/testthat/test-classes.R found, as a table (Markdown): kinds of objects by verbs,
# one column of marks for each LABEL (a system; results.tsv as tools/test_r.R writes it). Every kind
# has a line: what was not run says why below the table. Exit status 1 when a verb of a kind is
# missing altogether or has failed.

verbs <- c("run", "counts", "impute", "save/load", "project", "plot")

# kind, verb, outcome and reason of the tests named "test-classes.R: <kind> | <verb>".
read_results <- function(path) {
  none <- data.frame(kind = character(), verb = character(), outcome = character(),
    reason = character())
  if (!file.exists(path)) return(none)
  fields <- strsplit(readLines(path), "\t", fixed = TRUE)
  name <- vapply(fields, `[`, character(1), 2)
  ours <- grepl("^test-classes[.]R: .+ [|] ", name)
  if (!any(ours)) return(none)
  parts <- strsplit(sub("^test-classes[.]R: ", "", name[ours]), " | ", fixed = TRUE)
  data.frame(
    kind = vapply(parts, `[`, character(1), 1),
    verb = vapply(parts, `[`, character(1), 2),
    outcome = vapply(fields[ours], `[`, character(1), 1),
    reason = vapply(fields[ours], function(x) if (length(x) > 2) x[3] else "", character(1))
  )
}

arguments <- strsplit(commandArgs(TRUE), "=", fixed = TRUE)
systems <- lapply(arguments, function(argument) read_results(argument[2]))
names(systems) <- vapply(arguments, `[`, character(1), 1)

kinds <- unique(unlist(lapply(systems, `[[`, "kind")))
if (length(kinds) == 0) {
  cat("no results of test-classes.R\n")
  quit(status = 1)
}
reasons <- character()
bad <- FALSE

# pass, FAIL, or a number that says below why it was not run
mark <- function(system, kind, verb) {
  found <- systems[[system]]
  found <- found[found$kind == kind & found$verb == verb, ]
  outcome <- if (nrow(found) == 1) found$outcome else "missing"
  if (outcome == "passed") return("pass")
  if (outcome == "failed" || (outcome == "missing" && nrow(systems[[system]]) > 0)) {
    bad <<- TRUE
    return(if (outcome == "failed") "**FAIL**" else "**MISSING**")
  }
  reason <- if (outcome == "missing") paste(system, "was not run") else found$reason
  if (!reason %in% reasons) reasons <<- c(reasons, reason)
  paste0("not run [", match(reason, reasons), "]")
}

cat("| kind of object | |", paste(verbs, collapse = " | "), "|\n")
cat("|", strrep("---|", length(verbs) + 2), "\n", sep = "")
for (kind in kinds) {
  for (system in names(systems)) {
    marks <- vapply(verbs, function(verb) mark(system, kind, verb), character(1))
    label <- if (system == names(systems)[1]) kind else ""
    cat("|", label, "|", system, "|", paste(marks, collapse = " | "), "|\n")
  }
}
for (i in seq_along(reasons)) cat("\n[", i, "] ", reasons[i], sep = "")
cat("\n")
quit(status = bad)
