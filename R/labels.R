# What a value of a categorical column is called: the core's `labels` module has the rule.

# Whole numbers without exponent and decimals (1, 100000), other numbers with 15 significant digits,
# dates at midnight without a time; NA where a value is missing.
level_names <- function(x) {
  if (is.factor(x) || is.character(x)) {
    return(as.character(x))
  }
  if (inherits(x, "POSIXt")) {
    text <- format(x, "%Y-%m-%d %H:%M:%S")
    return(sub(" 00:00:00", "", text, fixed = TRUE))
  }
  if (!is.numeric(x) || is.object(x)) {
    return(as.character(x))
  }
  whole <- is.finite(x) & x == round(x) & abs(x) < 2^53
  names <- sprintf("%.15g", x)
  names[whole] <- sprintf("%.0f", x[whole] + 0) # no "-0"
  names[is.na(x)] <- NA
  names
}

# A factor whose levels are named as in Python and come in the order of their values, whatever the
# language of the system is.
level_factor <- function(x) {
  if (is.factor(x)) {
    return(droplevels(x))
  }
  known <- unique(x)
  # "radix" refuses text without a mark in the locale C
  sortable <- if (is.character(known)) as_utf8(known) else known
  known <- known[order(sortable, na.last = NA, method = "radix")]
  factor(match(x, known), seq_along(known), level_names(known))
}
