#' Signal of chromatin tracks at linked peaks
#'
#' Compares predicted regulatory elements with genomic tracks, such as ChIP-seq of H3K27ac. It
#' computes the mean signal of bigWig files around linked peaks and around the same number of
#' matched peaks without a link, and returns a table, an aggregation profile and a heat map. Several
#' sets of links, such as those of raw and imputed accessibility, are shown side by side.
#'
#' Background peaks are drawn without replacement from `background`. They are matched to the peaks
#' of each set by the quantile of `match.on` (for example, mean accessibility) or, if it is not
#' given, of the peak width, so that this property does not explain a difference in signal.
#'
#' @param links One of: a table of links ([RunCicero()], [LinkPeaksSCMVP()], [LinkPeaksLASSO()]);
#'   these links as a GRanges (`as = "links"`, [CiceroLinks()], `Links()` of Signac); the linked
#'   peaks as a GRanges or by name; or a named list of these, with one element per set.
#' @param bigwig Paths of bigWig files; their names are used as labels.
#' @param background Names of all peaks (or a GRanges) to draw the background from.
#' @param match.on Numeric vector, named by the peaks of `background`, by which the background is
#'   matched; `NULL` for the widths of the peaks.
#' @param threshold Pairs are links if their `coaccess`, or the absolute value of their `score` or
#'   `coefficient`, is above this number.
#' @param flank Base pairs on each side of a peak's center.
#' @param bins Number of bins of the profile.
#' @param max.peaks Maximum number of peaks of a set; more are sampled at random.
#' @param seed.use Seed of the random samples; R's own random numbers are not changed.
#' @param verbose Show progress.
#' @return A list: `summary`, a data frame with a row for each set and track (`set`, `track`,
#'   `peaks`, `mean`, `background`, `ratio`, and `p_value` of a two-sided Wilcoxon test between the
#'   peaks' mean signals and the background's), `signal` (the matrices, peaks x bins), and the
#'   ggplots `profile` and `heatmap`.
#' @section Errors:
#' `scmvp_error_input`: a file is missing or is no bigWig; peaks and track share no chromosome; too
#' few background peaks. `scmvp_error_package` without rtracklayer or ggplot2.
#' @examplesIf requireNamespace("rtracklayer", quietly = TRUE)
#' peaks <- paste0("chr1-", 10000L * 1:40, "-", 10000L * 1:40 + 500L)
#' wig <- tempfile(fileext = ".wig")
#' writeLines(c(
#'   "track type=wiggle_0", "variableStep chrom=chr1 span=500",
#'   paste(10000L * 1:40, rep(c(5, 1), 20))
#' ), wig)
#' file <- rtracklayer::wigToBigWig(wig, GenomeInfoDb::Seqinfo("chr1", 500000))
#' result <- CREEnrichment(
#'   list(odd = peaks[seq(1, 20, 2)]), c(H3K27ac = rtracklayer::path(file)), peaks,
#'   verbose = FALSE
#' )
#' result$summary
#' @export
CREEnrichment <- function(links, bigwig, background, match.on = NULL, threshold = 0, flank = 2000,
                          bins = 81, max.peaks = 5000, seed.use = 0, verbose = TRUE) {
  check_installed("rtracklayer", "CREEnrichment()")
  check_installed("ggplot2", "CREEnrichment()")
  flank <- check_number(flank, "flank", min = 1, whole = TRUE)
  bins <- check_number(bins, "bins", min = 1, whole = TRUE)
  if (bins > 2 * flank + 1) {
    refuse(
      "bins = ", bins, " are more than the ", 2 * flank + 1, " bases around a peak's center: ",
      "lower bins, or raise flank."
    )
  }
  max.peaks <- check_number(max.peaks, "max.peaks", min = 1, whole = TRUE)
  threshold <- check_number(threshold, "threshold")
  seed.use <- check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  bigwig <- check_tracks(bigwig)
  sets <- linked_peaks(links, threshold)
  all <- if (is.character(background)) background else range_names(background, "background")
  table <- ranges_table(if (!is.character(background)) background, all)
  table <- table[!duplicated(table$name), ]
  match.on <- check_match(match.on, table)
  groups <- seeded(seed.use, lapply(sets, function(peaks) {
    set_and_background(peaks, table, match.on, unique(unlist(sets)), max.peaks)
  }))
  signal <- lapply(names(sets), function(set) {
    lapply(names(bigwig), function(track) {
      if (verbose) message("signal of ", track, " at ", set)
      read <- function(rows) track_signal(bigwig[[track]], table[rows, ], flank, bins)
      list(
        linked = read(groups[[set]]$linked), background = read(groups[[set]]$background)
      )
    })
  })
  signal <- stats::setNames(lapply(signal, stats::setNames, names(bigwig)), names(sets))
  list(
    summary = enrichment_summary(signal), signal = signal,
    profile = enrichment_profile(signal, flank), heatmap = enrichment_heatmap(signal, flank)
  )
}

check_tracks <- function(bigwig) {
  if (!is.character(bigwig) || length(bigwig) == 0) {
    refuse("bigwig must be paths of bigWig files, not ", in_words(bigwig), ".")
  }
  missing <- bigwig[!file.exists(bigwig)]
  if (length(missing) > 0) refuse("bigwig: there is no file ", some_names(missing), ".")
  labels <- names(bigwig)
  if (is.null(labels)) labels <- rep("", length(bigwig))
  labels[!nzchar(labels)] <- sub("[.](bw|bigwig)$", "", basename(bigwig), ignore.case = TRUE)[
    !nzchar(labels)
  ]
  stats::setNames(bigwig, make.unique(labels))
}

# Sets of links have a name each, by which they are told apart.
check_set_names <- function(links) {
  names <- names(links)
  if (is.null(names) || anyNA(names) || !all(nzchar(names)) || anyDuplicated(names)) {
    refuse("links must be a list with names: name each set of links, with names that differ.")
  }
}

# Names of the peaks of each set of links.
linked_peaks <- function(links, threshold) {
  if (!is.list(links) || is.data.frame(links)) links <- list(links = links)
  check_set_names(links)
  sets <- lapply(links, peaks_of_set, threshold = threshold)
  empty <- lengths(sets) == 0
  if (any(empty)) {
    refuse(
      "no peak in ", some_names(names(sets)[empty]), ": lower threshold, or leave ",
      one_or_many(sum(empty), "it", "them"), " out."
    )
  }
  sets
}

peaks_of_set <- function(set, threshold) {
  if (methods::is(set, "GRanges")) set <- table_of_links(set)
  if (is.data.frame(set) && all(c("Peak1", "Peak2", "coaccess") %in% names(set))) {
    kept <- which(set$coaccess > threshold)
    return(unique(c(as.character(set$Peak1)[kept], as.character(set$Peak2)[kept])))
  }
  if (is.data.frame(set) && "peak" %in% names(set)) {
    score <- intersect(c("score", "coefficient"), names(set))
    kept <- if (length(score) > 0) which(abs(set[[score[1]]]) > threshold) else seq_len(nrow(set))
    return(unique(as.character(set$peak)[kept]))
  }
  if (is.character(set)) unique(set) else unique(range_names(set, "links"))
}

check_match <- function(match.on, table) {
  if (is.null(match.on)) {
    return(table$end - table$start)
  }
  if (!is.numeric(match.on) || is.null(names(match.on)) || !all(table$name %in% names(match.on)) ||
    !all(is.finite(match.on[table$name]))) {
    refuse("match.on must be numbers named by the peaks of background, none of them missing.")
  }
  unname(match.on[table$name])
}

# Rows of `table`: the set's peaks, and as many others with the same quantiles of `value`.
set_and_background <- function(peaks, table, value, taken, max.peaks) {
  linked <- which(table$name %in% peaks)
  if (length(linked) == 0) {
    refuse(
      "no linked peak (", some_names(peaks), ") is among the background peaks' names: give ",
      "background under the same names."
    )
  }
  if (length(linked) > max.peaks) linked <- sort(sample(linked, max.peaks))
  free <- which(!table$name %in% taken)
  if (length(free) < length(linked)) {
    refuse(
      "there ", is_are(length(free)), " ", count_of(length(free), "peak"), " without a link for a ",
      "background of ", format_count(length(linked)), ": raise threshold, or lower max.peaks."
    )
  }
  # in random order each linked peak takes the free peak nearest in value
  free <- free[order(value[free], stats::runif(length(free)))]
  left <- value[free]
  chosen <- integer(length(linked))
  for (i in sample(seq_along(linked))) {
    near <- findInterval(value[linked[i]], left)
    candidates <- c(near, near + 1)
    candidates <- candidates[candidates >= 1 & candidates <= length(left)]
    pick <- candidates[which.min(abs(left[candidates] - value[linked[i]]))]
    chosen[i] <- free[pick]
    free <- free[-pick]
    left <- left[-pick]
  }
  list(linked = linked, background = chosen)
}

# Mean signal of each bin around the centers of ranges, ranges x bins; 0 where the track is empty.
track_signal <- function(path, ranges, flank, bins) {
  file <- rtracklayer::BigWigFile(path)
  info <- tryCatch(suppressWarnings(track_chromosomes(file)), error = function(e) {
    refuse("'", path, "' cannot be read as bigWig (", conditionMessage(e), ").")
  })
  known <- match(bare_chromosome(ranges$seqnames), bare_chromosome(info$seqnames))
  if (all(is.na(known))) {
    refuse(
      "peaks and '", path, "' share no chromosome (peaks: ", some_names(unique(ranges$seqnames)),
      "; track: ", some_names(info$seqnames), ")."
    )
  }
  center <- floor((ranges$start + ranges$end) / 2)
  inside <- which(!is.na(known) & center - flank >= 1 & center + flank <= info$lengths[known])
  signal <- matrix(NA_real_, nrow(ranges), bins)
  if (length(inside) == 0) {
    refuse(
      "none of ", count_of(nrow(ranges), "peak"), " (", some_names(ranges$name), ") lies, with ",
      "flank = ", format_count(flank), " base pairs on both sides, within a chromosome of '", path,
      "': lower flank."
    )
  }
  # base by base: the summaries in the file cover only bases with a value, and are rounded
  bin <- ((seq_len(2 * flank + 1) - 1) * bins) %/% (2 * flank + 1) + 1
  block <- max(1, 2e6 %/% (2 * flank + 1))
  for (rows in split(inside, (seq_along(inside) - 1) %/% block)) {
    windows <- GenomicRanges::makeGRangesFromDataFrame(data.frame(
      seqnames = info$seqnames[known[rows]], start = center[rows] - flank,
      end = center[rows] + flank
    ))
    values <- rtracklayer::import(file, which = windows, as = "NumericList")
    values <- vapply(as.list(values), identity, numeric(2 * flank + 1))
    signal[rows, ] <- t(rowsum(values, bin) / tabulate(bin, bins))
  }
  signal
}

# Names and lengths of a track's chromosomes.
track_chromosomes <- function(file) {
  info <- rtracklayer::seqinfo(file)
  list(seqnames = methods::slot(info, "seqnames"), lengths = methods::slot(info, "seqlengths"))
}

# One row per set and track.
enrichment_summary <- function(signal) {
  rows <- lapply(names(signal), function(set) {
    lapply(names(signal[[set]]), function(track) {
      means <- lapply(signal[[set]][[track]], function(x) {
        stats::na.omit(rowMeans(x))
      })
      data.frame(
        set = set, track = track, peaks = length(means$linked), mean = mean(means$linked),
        background = mean(means$background), ratio = mean(means$linked) / mean(means$background),
        p_value = stats::wilcox.test(means$linked, means$background, exact = FALSE)$p.value
      )
    })
  })
  do.call(rbind, unlist(rows, recursive = FALSE))
}

bin_positions <- function(bins, flank) (seq_len(bins) - 0.5) / bins * 2 * flank - flank

# One data frame of all sets, tracks and kinds.
signal_table <- function(signal, make) {
  rows <- lapply(names(signal), function(set) {
    lapply(names(signal[[set]]), function(track) {
      lapply(c("linked", "background"), function(kind) {
        part <- make(signal[[set]][[track]][[kind]])
        cbind(part, set = set, track = track, kind = kind)
      })
    })
  })
  table <- do.call(rbind, unlist(unlist(rows, recursive = FALSE), recursive = FALSE))
  table$set <- factor(table$set, names(signal))
  table$kind <- factor(table$kind, c("linked", "background"))
  table
}

enrichment_profile <- function(signal, flank) {
  table <- signal_table(signal, function(x) {
    data.frame(position = bin_positions(ncol(x), flank), signal = colMeans(x, na.rm = TRUE))
  })
  ggplot2::ggplot(
    table, ggplot2::aes(.data$position, .data$signal, color = .data$set, linetype = .data$kind)
  ) +
    ggplot2::geom_line() +
    ggplot2::facet_wrap(~track, scales = "free_y") +
    ggplot2::labs(
      x = "distance from the center of the peak (bp)", y = "mean signal", color = NULL,
      linetype = NULL
    ) +
    ggplot2::theme_classic() +
    ggplot2::theme(strip.background = ggplot2::element_blank())
}

# Peaks in the order of their signal, at most `rows` of them, averaged where there are more.
enrichment_heatmap <- function(signal, flank, rows = 200) {
  table <- signal_table(signal, function(x) {
    x <- x[stats::complete.cases(x), , drop = FALSE]
    x <- x[order(rowMeans(x)), , drop = FALSE]
    n <- min(rows, nrow(x))
    block <- ceiling(seq_len(nrow(x)) * n / max(nrow(x), 1))
    x <- rowsum(x, block) / as.vector(table(block))
    data.frame(
      position = rep(bin_positions(ncol(x), flank), each = nrow(x)),
      row = rep(seq_len(nrow(x)) / max(nrow(x), 1), ncol(x)), signal = as.vector(x),
      height = 1 / max(nrow(x), 1)
    )
  })
  # otherwise a few strong peaks would leave all others in one color
  limit <- stats::quantile(table$signal, 0.99, names = FALSE)
  table$signal <- pmin(table$signal, limit)
  ggplot2::ggplot(table, ggplot2::aes(.data$position, .data$row, fill = .data$signal)) +
    ggplot2::geom_tile(ggplot2::aes(height = .data$height)) +
    ggplot2::facet_grid(track ~ set + kind) +
    ggplot2::scale_fill_gradient(low = "white", high = "#b2182b") +
    ggplot2::scale_y_continuous(expand = c(0, 0), labels = NULL, breaks = NULL) +
    # tiles end at the limits but for their last digits
    ggplot2::scale_x_continuous(
      limits = c(-flank, flank), breaks = c(-flank, 0, flank), expand = c(0, 0),
      oob = function(x, range) x
    ) +
    ggplot2::labs(
      x = "distance from the center of the peak (bp)", y = "peaks by their signal", fill = "signal"
    ) +
    ggplot2::theme_classic() +
    ggplot2::theme(
      strip.background = ggplot2::element_blank(),
      panel.border = ggplot2::element_rect(fill = NA, color = "grey70")
    )
}
