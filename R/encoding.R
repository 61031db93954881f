# Text on its way to Python, which has it in UTF-8, and back. Text of the session itself (literals
# of a script, paths, names in files) is not marked as UTF-8, and in the locale C R can neither
# translate it nor find it equal to the same text with a mark.

is_utf8_session <- function() l10n_info()[["UTF-8"]]

# Text as UTF-8 that is marked as such: translated, or marked where R cannot translate it.
as_utf8 <- function(x) {
  if (is_utf8_session()) {
    return(x)
  }
  lost <- is_untranslatable(x)
  Encoding(x[lost]) <- "UTF-8"
  enc2utf8(x)
}

is_untranslatable <- function(x) {
  Encoding(x) == "unknown" & !is.na(x) & is.na(iconv(x, "", "UTF-8")) & validUTF8(x)
}

# A path as R's functions for files take it, which cannot translate a marked one in the locale C.
as_path <- function(x) {
  if (!is_utf8_session()) {
    lost <- Encoding(x) == "UTF-8" & is.na(iconv(x, "UTF-8", ""))
    Encoding(x[lost]) <- "unknown"
  }
  x
}

# f() of all texts in lists, factors and names of sparse matrices; `keys`: of names of lists, too.
each_text <- function(x, f, keys = FALSE) {
  if (is.character(x)) {
    x <- f(x)
  } else if (is.factor(x)) {
    levels(x) <- f(levels(x))
  } else if (is.list(x)) {
    x[] <- lapply(x, each_text, f, keys)
  } else if (inherits(x, "dgCMatrix")) {
    x@Dimnames <- lapply(x@Dimnames, function(names) if (!is.null(names)) f(names))
  }
  if (keys && is.list(x) && !is.null(names(x))) names(x) <- f(names(x))
  x
}

# Two functions: arguments as Python takes them, and values as they come back. Text that R could not
# translate comes back as it was, or it would not be found in the object any more.
text_exchange <- function() {
  if (is_utf8_session()) {
    return(list(send = identity, receive = identity))
  }
  own <- character()
  send <- function(x) {
    lost <- is_untranslatable(x)
    own <<- unique(c(own, x[lost]))
    as_utf8(x)
  }
  receive <- function(x) {
    at <- match(x, as_utf8(own))
    x[!is.na(at)] <- own[at[!is.na(at)]]
    x
  }
  list(
    send = function(arguments) each_text(arguments, send, keys = TRUE),
    receive = function(value) each_text(value, receive)
  )
}

# Starts Python with UTF-8 for the names of files, which it takes from the locale. In the locale C
# it would refuse all but ASCII.
in_utf8_locale <- function(expr) {
  locale <- Sys.getlocale("LC_CTYPE")
  if (!locale %in% c("C", "POSIX")) {
    return(expr)
  }
  variable <- Sys.getenv("LC_ALL", NA)
  on.exit({
    if (is.na(variable)) Sys.unsetenv("LC_ALL") else Sys.setenv(LC_ALL = variable)
    # Python has changed that of this process
    Sys.setlocale("LC_CTYPE", locale)
  })
  Sys.setenv(LC_ALL = "C.UTF-8")
  expr
}
