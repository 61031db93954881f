# Display of long computations: one line per stage, which interactive consoles redraw, and one per
# epoch. The stages of the core come as lists of stage (its name), share (0 to 1) and seconds.

# f(watch) with
#   stage, epoch   to be called by the core, NULL without `verbose`; TRUE when R was interrupted
#   during         during(name, expr): a stage of R's own, which is said at once
# An interrupt gives one message, whatever `verbose`.
watched <- function(verbose, f, redraws = can_redraw()) {
  shown <- new.env()
  shown$redraws <- redraws
  shown$now <- NULL # name of the stage
  shown$outer <- NULL # of the one of R's own around it
  shown$said <- FALSE # that it began
  shown$long <- FALSE # whether an earlier one took long: then the next ones are said at once
  shown$drawn <- 0 # letters of a line that may be drawn again
  on.exit(clear_line(shown))
  watch <- list(
    stage = if (verbose) from_core_to_user(function(event) show_stage(shown, event)),
    epoch = if (verbose) {
      from_core_to_user(function(epoch) {
        clear_line(shown)
        message(epoch_line(epoch))
      })
    },
    during = function(name, expr) during_stage(shown, name, expr, verbose)
  )
  withCallingHandlers(f(watch), interrupt = function(i) {
    clear_line(shown)
    where <- if (!is.null(shown$now)) paste0(" (", shown$now, ")")
    message("interrupted", where, ": nothing was changed.")
  })
}

during_stage <- function(shown, name, expr, verbose) {
  began <- proc.time()[["elapsed"]]
  tell <- function(share) {
    seconds <- proc.time()[["elapsed"]] - began
    show_stage(shown, list(stage = name, share = share, seconds = seconds), at_once = TRUE)
  }
  shown$outer <- name
  if (verbose) tell(0) else shown$now <- name
  value <- force(expr)
  shown$outer <- NULL
  if (verbose) tell(1) else shown$now <- NULL
  value
}

# Which a small fit may have to wait for as long as a large one.
starting_python <- "starting Python"

# A stage is said to have begun once it has taken half a second, or `at_once`, and to be done where
# that took more than two.
show_stage <- function(shown, event, at_once = FALSE) {
  if (event$share == 1) {
    # of a stage that R has opened it has more to do
    if (!identical(event$stage, shown$outer)) end_stage(shown, event)
    return()
  }
  if (event$share == 0 && !identical(event$stage, shown$now)) {
    clear_line(shown)
    shown$now <- event$stage
    shown$said <- FALSE
  }
  if (at_once || shown$long || event$seconds >= 0.5) say_stage(shown, event)
}

say_stage <- function(shown, event) {
  if (shown$redraws) {
    share <- if (event$share > 0) sprintf("%4.0f %%", 100 * event$share) else ""
    draw_line(shown, paste0(event$stage, share, "  ", duration(event$seconds)))
  } else if (!shown$said) {
    message(event$stage)
  }
  shown$said <- TRUE
}

end_stage <- function(shown, event) {
  clear_line(shown)
  if (event$seconds > 2) {
    message(event$stage, ": ", duration(event$seconds))
    if (event$stage != starting_python) shown$long <- TRUE
  }
  shown$now <- shown$outer
}

can_redraw <- function() {
  interactive() && !isTRUE(getOption("knitr.in.progress")) &&
    (isatty(stderr()) || identical(.Platform$GUI, "RStudio"))
}

draw_line <- function(shown, line) {
  line <- substr(line, 1, getOption("width") - 1)
  message("\r", formatC(line, width = -shown$drawn), appendLF = FALSE)
  shown$drawn <- nchar(line)
}

clear_line <- function(shown) {
  if (shown$drawn > 0) message("\r", strrep(" ", shown$drawn), "\r", appendLF = FALSE)
  shown$drawn <- 0
}

# A callback for Python or for the loop that waits for a worker. No R condition may jump out of it
# through Python's frames, which would crash R. TRUE when R was interrupted in here. (Something was
# said before Python was entered, so a tryCatch(message = ) around it all has left already.)
from_core_to_user <- function(show) {
  function(event) {
    tryCatch(
      {
        suspendInterrupts(show(event))
        Sys.sleep(0.001) # R looks for a waiting interrupt here, not somewhere on the way out
        FALSE
      },
      error = function(e) FALSE,
      interrupt = function(i) TRUE
    )
  }
}
