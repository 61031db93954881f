# What the package can say, read off the code of the installed package: every message, with {} for
# what is computed.

speaking <- c("refuse", "warn_of", "abort", "warn", "inform", "stop", "warning", "message")

called_name <- function(call) {
  head <- call[[1]]
  if (is.name(head)) return(as.character(head))
  if (is.call(head) && as.character(head[[1]])[1] %in% c("::", ":::")) {
    return(as.character(head[[3]]))
  }
  ""
}

# Calls `visit` on every call in an expression or function.
each_call <- function(x, visit) {
  if (is.function(x)) x <- c(list(body(x)), as.list(formals(x)))
  if (is.call(x)) visit(x)
  if (is.call(x) || is.pairlist(x) || is.list(x)) {
    for (part in as.list(x)) if (!missing(part)) each_call(part, visit)
  }
}

template_of <- function(x) {
  if (is.character(x)) return(paste(x, collapse = ""))
  if (!is.call(x)) return("{}")
  parts <- as.list(x)[-1]
  switch(called_name(x),
    "paste0" = , "sentence_of" = paste(vapply(parts, template_of, ""), collapse = ""),
    "sprintf" = gsub("%[-0-9.]*[a-z]|%%", "{}", template_of(parts[[1]])),
    "{" = template_of(parts[[length(parts)]]),
    "if" = paste0("{", paste(vapply(parts[-1], template_of, ""), collapse = "|"), "}"),
    "{}"
  )
}

own_functions <- function() {
  space <- asNamespace("scMVP")
  names <- ls(space, all.names = TRUE)
  Filter(is.function, stats::setNames(lapply(names, get, envir = space), names))
}

# One row per message: where it is, the function that says it, what it says.
package_messages <- function() {
  if (!is.null(remembered$messages)) {
    return(remembered$messages)
  }
  functions <- own_functions()
  found <- lapply(names(functions), function(name) {
    rows <- list()
    each_call(functions[[name]], function(call) {
      head <- called_name(call)
      if (!head %in% speaking) return()
      arguments <- as.list(call)[-1]
      given <- names(arguments)
      if (!is.null(given)) {
        arguments <- arguments[!given %in% c("class", "details", "call")]
      }
      if (head == "warn_of") arguments <- arguments[-1]
      text <- paste(vapply(arguments, template_of, ""), collapse = "")
      if (grepl("[A-Za-z]", text)) {
        rows[[length(rows) + 1]] <<- data.frame(place = name, says = head, text = text)
      }
    })
    do.call(rbind, rows)
  })
  found <- unique(do.call(rbind, found))
  remembered$messages <- found[order(found$place), ]
  remembered$messages
}

# Remedies and names that functions are given to put into a message: all their texts with a space.
package_texts <- function() {
  functions <- own_functions()
  texts <- lapply(functions, function(f) {
    found <- character()
    each_call(f, function(call) {
      if (grepl("^(check|needs|only|reduction_role|paste0|list|c$)", called_name(call))) {
        strings <- Filter(is.character, as.list(call)[-1])
        found <<- c(found, unlist(strings))
      }
    })
    unique(grep(" ", found, value = TRUE))
  })
  texts <- texts[lengths(texts) > 0]
  data.frame(
    place = rep(names(texts), lengths(texts)), text = unlist(texts, use.names = FALSE)
  )
}

# For each function of the package, the exported functions and methods that can come to it.
ways_to <- function() {
  functions <- own_functions()
  calls <- lapply(functions, function(f) {
    called <- intersect(unique(all.names(body(f))), names(functions))
    # a generic calls its methods
    is_generic <- vapply(called, function(name) {
      any(all.names(body(functions[[name]])) == "UseMethod")
    }, logical(1))
    methods <- lapply(called[is_generic], function(name) {
      names(functions)[startsWith(names(functions), paste0(name, "."))]
    })
    c(called, unlist(methods))
  })
  doors <- c(getNamespaceExports("scMVP"), names(functions)[vapply(names(functions), function(x) {
    any(startsWith(x, paste0(getNamespaceExports("scMVP"), ".")))
  }, logical(1))])
  doors <- intersect(doors, names(functions))
  reached <- lapply(stats::setNames(doors, doors), function(door) {
    seen <- door
    left <- door
    while (length(left) > 0) {
      left <- setdiff(unlist(calls[left]), seen)
      seen <- c(seen, left)
    }
    seen
  })
  lapply(stats::setNames(names(functions), names(functions)), function(name) {
    doors[vapply(reached, function(seen) name %in% seen, logical(1))]
  })
}

# The names of arguments that a text writes as such: `name = ` or `name =.`
written_arguments <- function(text) {
  found <- regmatches(text, gregexpr("[A-Za-z][A-Za-z0-9._]* =(?=[ .)])", text, perl = TRUE))
  sub(" =$", "", unique(unlist(found)))
}

# The functions that a text names: `Foo()`, `package::foo(`
written_functions <- function(text) {
  pattern <- "([A-Za-z][A-Za-z0-9.]*::)?[A-Za-z][A-Za-z0-9._]*(?=[(])"
  unique(unlist(regmatches(text, gregexpr(pattern, text, perl = TRUE))))
}

# Of a name: is there such a function? NA where its package is not installed.
known_function <- function(name) {
  if (grepl("::", name)) {
    package <- sub("::.*", "", name)
    if (!requireNamespace(package, quietly = TRUE)) return(NA)
    return(sub(".*::", "", name) %in% getNamespaceExports(package))
  }
  packages <- c("scMVP", "utils", "methods", "SeuratObject", "Seurat")
  # without loading them
  info <- lapply(packages, function(package) system.file("Meta", "nsInfo.rds", package = package))
  exports <- unlist(lapply(Filter(nzchar, info), function(file) {
    space <- readRDS(file)
    c(space$exports, space$S3methods[, 1])
  }))
  if (name %in% exports || exists(name, baseenv())) TRUE else if (all(nzchar(info))) FALSE else NA
}

test_names <- function() {
  files <- list.files(testthat::test_path(), "^test-.*[.]R$", full.names = TRUE)
  unlist(lapply(files, function(file) {
    names <- character()
    each_call(as.list(parse(file, keep.source = FALSE)), function(call) {
      if (called_name(call) == "test_that" && is.character(call[[2]])) {
        names <<- c(names, call[[2]])
      }
    })
    paste0(basename(file), ": ", names)
  }))
}

# What an expression says: its messages, warnings and its error, in one text.
all_said <- function(expr) {
  text <- character()
  keep <- function(c) text <<- c(text, conditionMessage(c))
  tryCatch(
    withCallingHandlers(
      expr,
      message = function(c) {
        keep(c)
        invokeRestart("muffleMessage")
      },
      warning = function(c) {
        keep(c)
        invokeRestart("muffleWarning")
      }
    ),
    error = keep
  )
  paste(text, collapse = "\n")
}

# The sentence that refuses it, or "" when nothing does.
refusal <- function(expr) {
  tryCatch(
    {
      suppressMessages(expr)
      ""
    },
    scmvp_error = conditionMessage
  )
}

# The code that a message gives, as it stands there: what `pattern` finds in it.
code_in <- function(said, pattern) {
  found <- regmatches(said, regexpr(pattern, said, perl = TRUE))
  testthat::expect_length(found, 1)
  parse(text = found)[[1]]
}

cells_first <- function(x) Matrix::t(x)
