# Prints which functions are not there that reading, writing and adding to objects may come to:
#   Rscript r_missing.R FOLDER     with bridge.R and the files of the R package that it shares
room <- new.env()
room$scmvp_inside <- TRUE
room$scmvp_folder <- commandArgs(TRUE)[1]
sys.source(file.path(room$scmvp_folder, "bridge.R"), room)
everything <- ls(room, all.names = TRUE)

# What a function names; of a generic, also its methods for the classes that are read.
named_in <- function(name) {
  code <- get(name, room)
  if (!is.function(code)) return(character())
  methods <- startsWith(everything, paste0(name, ".")) & "UseMethod" %in% all.names(body(code))
  c(codetools::findGlobals(code), everything[methods])
}
reached <- character()
left <- c("call_read", "call_write", "call_add")
while (length(left) > 0) {
  reached <- c(reached, left)
  left <- setdiff(unlist(lapply(intersect(left, everything), named_in)), reached)
}
cat(reached[!vapply(reached, exists, NA, envir = room)])
