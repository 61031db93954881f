#' Plot links in a region
#'
#' Draws arcs between co-accessible peaks, or from peaks to linked genes, above the peaks and genes
#' of a region. It uses ggplot2 and does not need Signac. Several tables, such as links from raw and
#' from imputed accessibility, are drawn one above the other.
#'
#' @param links The result of [RunCicero()], [LinkPeaksLASSO()] or [LinkPeaksSCMVP()] (a data
#'   frame), a GRanges with a `score` (of [CiceroLinks()], or the `Links()` of an assay), or a named
#'   list of these.
#' @param region A region such as `"chr1:1000000-1500000"` or `"chr1-1000000-1500000"`, a GRanges,
#'   or the name of a gene in `gene.coords`. The links of all genes in the region are drawn; to draw
#'   those of only one gene, pass `subset(links, gene == "CD8A")` as `links`.
#' @param gene.coords Coordinates of the genes to draw, in any form that [LinkPeaksLASSO()] accepts,
#'   or `NULL`.
#' @param threshold Links with an absolute score at or below this value are not drawn. A message
#'   reports if no link remains.
#' @param extend Base pairs added on both sides of a gene.
#' @param peaks Names of peaks to draw below the arcs; `NULL` for those of the links.
#' @return A ggplot. If only one end of a link is in the region, the peak is drawn without the arc.
#'   An arrow points from the start of a gene to its end; it is short if only the start is known,
#'   and a line without an arrowhead if the strand is unknown.
#' @section Errors:
#' `scmvp_error_input`: the region is neither a range nor a known gene, or a table has the wrong
#' columns; `scmvp_error_package` without ggplot2.
#' @examplesIf requireNamespace("ggplot2", quietly = TRUE)
#' connections <- data.frame(
#'   Peak1 = "chr1-10000-10500", Peak2 = c("chr1-40000-40500", "chr1-90000-90500"),
#'   coaccess = c(0.5, 0.2)
#' )
#' genes <- data.frame(gene = "A", seqnames = "chr1", start = 12000, end = 30000, strand = "+")
#' PlotLinks(connections, "chr1:1-100000", gene.coords = genes)
#' @importFrom rlang .data
#' @export
PlotLinks <- function(links, region, gene.coords = NULL, threshold = 0, extend = 1e5,
                      peaks = NULL) {
  check_installed("ggplot2", "PlotLinks()")
  threshold <- check_number(threshold, "threshold", min = 0)
  extend <- check_number(extend, "extend", min = 0)
  if (is.data.frame(links) || methods::is(links, "GRanges")) links <- list(links)
  if (!is.list(links) || length(links) == 0) {
    refuse("links must be a data frame of links or a list of them, not ", in_words(links), ".")
  }
  if (is.null(names(links))) {
    names(links) <- if (length(links) == 1) "links" else paste("links", seq_along(links))
  }
  check_set_names(links)
  genes <- if (!is.null(gene.coords)) gene_spans(gene.coords, genes_named(links, region))
  arcs <- do.call(rbind, lapply(names(links), function(name) {
    arcs <- link_ends(links[[name]])
    arcs$panel <- rep(name, nrow(arcs))
    arcs
  }))
  if (is.null(peaks)) peaks <- as.character(unlist(arcs$peaks))
  boxes <- ranges_table(NULL, unique(peaks))
  region <- find_region(region, genes, extend, c(boxes$seqnames, arcs$seqnames))
  inside <- function(seqnames, start, end) {
    bare_chromosome(seqnames) == region$chromosome & end >= region$start & start <= region$end
  }
  boxes <- boxes[inside(boxes$seqnames, boxes$start, boxes$end), ]
  arcs <- arcs[which(abs(arcs$score) > threshold & inside(arcs$seqnames, arcs$from, arcs$to) &
    arcs$from >= region$start & arcs$to <= region$end), ]
  if (nrow(arcs) == 0) {
    message(sentence_of(
      "no link within the region has a score above the threshold of ", threshold,
      ": only peaks and genes are drawn"
    ))
  }
  draw_links(arcs, boxes, genes_inside(genes, inside), region, names(links))
}

# from, to (the ends), score and the peaks of each link, each once.
link_ends <- function(links) {
  if (methods::is(links, "GRanges")) {
    return(ends_of_ranges(links))
  }
  if (all(c("Peak1", "Peak2", "coaccess") %in% names(links))) {
    check_connections(links)
    pairs <- pairs_once(links, which(!is.na(links$coaccess)))
    table <- ranges_table(NULL, pairs$peaks)
    center <- (table$start + table$end) / 2
    first <- center[pairs$one]
    second <- center[pairs$other]
    ends <- data.frame(
      seqnames = table$seqnames[pairs$one], from = pmin(first, second), to = pmax(first, second),
      score = links$coaccess[pairs$rows]
    )
    ends$peaks <- Map(c, pairs$peaks[pairs$one], pairs$peaks[pairs$other])
    return(ends)
  }
  value <- intersect(c("coefficient", "score"), names(links))
  if (all(c("gene", "peak", "tss") %in% names(links)) && length(value) > 0) {
    table <- ranges_table(NULL, as.character(links$peak))
    center <- (table$start + table$end) / 2
    ends <- data.frame(
      seqnames = table$seqnames, from = pmin(center, links$tss), to = pmax(center, links$tss),
      score = links[[value[1]]]
    )
    ends$peaks <- as.list(as.character(links$peak))
    return(ends)
  }
  refuse(
    "links must have columns Peak1, Peak2 and coaccess (of RunCicero()), or gene, peak, tss and ",
    "coefficient (of LinkPeaksLASSO()) or score (of LinkPeaksSCMVP()); they have ",
    paste(names(links), collapse = ", "), "."
  )
}

# The same of links as Signac keeps them.
ends_of_ranges <- function(links) {
  data <- S4Vectors::mcols(links)
  if (!is.numeric(data$score)) refuse("links as a GRanges need a numeric column score.")
  ends <- data.frame(
    seqnames = as.character(GenomicRanges::seqnames(links)), from = GenomicRanges::start(links),
    to = GenomicRanges::end(links), score = data$score
  )
  peaks <- lapply(intersect(c("peak1", "peak2", "peak"), names(data)), function(name) data[[name]])
  none <- vector("list", nrow(ends))
  ends$peaks <- if (length(peaks) > 0) do.call(Map, c(list(c), peaks)) else none
  ends
}

# Bodies of genes where the coordinates have them, else their starts: one row per place of a gene.
gene_spans <- function(gene.coords, genes) {
  places <- gene_places(gene.coords, genes = genes)
  places$id <- places$gene
  spans_of(places)
}

# What genes are called in the links and as region.
genes_named <- function(links, region) {
  named <- unlist(lapply(links, function(table) {
    if (is.data.frame(table)) as.character(table$gene)
  }))
  asked <- if (is.character(region) && all(is.na(parse_ranges(region)$start))) region
  unique(c(named, asked))
}

genes_inside <- function(genes, inside) {
  if (is.null(genes)) {
    return(NULL)
  }
  genes[inside(genes$seqnames, genes$start, genes$end), ]
}

# `of_peaks`: chromosomes of the peaks, which tell where a gene of several chromosomes is.
find_region <- function(region, genes, extend, of_peaks) {
  range <- if (methods::is(region, "GRanges")) {
    as_ranges(region, "region")[1, ]
  } else {
    parse_ranges(gsub(",", "", check_string(region, "region")))
  }
  if (is.na(range$start)) {
    places <- genes[genes$gene == region, ]
    if (is.null(genes) || nrow(places) == 0) {
      refuse(
        "region '", region, "' is no range such as 'chr1:1000000-1500000'",
        if (is.null(genes)) "; to find a gene give gene.coords." else " and no gene in gene.coords."
      )
    }
    range <- on_one_chromosome(places, of_peaks)[1, ]
    range$start <- range$start - extend
    range$end <- range$end + extend
  }
  list(
    chromosome = bare_chromosome(range$seqnames), label = range$seqnames, start = range$start,
    end = range$end
  )
}

# Arcs above the line, then peaks, then genes with their direction.
draw_links <- function(arcs, boxes, genes, region, panels) {
  curve <- arc_points(arcs)
  curve$panel <- factor(curve$panel, panels)
  plot <- ggplot2::ggplot() +
    ggplot2::geom_line(
      ggplot2::aes(.data$x, .data$y, group = .data$link, color = .data$score), curve
    ) +
    color_of_scores(curve$score) +
    ggplot2::geom_hline(yintercept = 0, color = "grey60") +
    ggplot2::facet_wrap(~panel, ncol = 1, drop = FALSE) +
    ggplot2::scale_x_continuous(
      labels = function(x) format(x / 1e6, trim = TRUE), expand = c(0.01, 0)
    ) +
    ggplot2::scale_y_continuous(
      breaks = if (nrow(arcs) > 0) function(limits) pretty(c(0, limits[2]), 3)
    ) +
    ggplot2::coord_cartesian(xlim = c(region$start, region$end)) +
    ggplot2::labs(x = paste(region$label, "(Mb)"), y = if (nrow(arcs) > 0) "|score|") +
    ggplot2::theme_classic() +
    ggplot2::theme(strip.background = ggplot2::element_blank())
  height <- max(curve$y, 0.05)
  if (nrow(boxes) > 0) {
    # peaks of 500 bp would be thinner than a line in a region of a megabase
    wide <- (region$end - region$start) / 400
    center <- (boxes$start + boxes$end) / 2
    boxes$start <- pmin(boxes$start, center - wide / 2)
    boxes$end <- pmax(boxes$end, center + wide / 2)
    plot <- plot + ggplot2::geom_rect(
      ggplot2::aes(
        xmin = .data$start, xmax = .data$end, ymin = -0.09 * height, ymax = -0.03 * height
      ),
      boxes,
      fill = "grey30"
    )
  }
  if (!is.null(genes) && nrow(genes) > 0) plot <- plot + gene_layers(genes, region, height)
  plot
}

# From blue to red, or from gray to red where no score is negative.
color_of_scores <- function(score) {
  limit <- max(abs(score), 0.01)
  signed <- any(score < 0)
  ggplot2::scale_color_gradient2(
    low = "#2166ac", mid = "grey80", high = "#b2182b", limits = c(if (signed) -limit else 0, limit),
    name = "score", guide = if (length(score) > 0) "colorbar" else "none"
  )
}

# An arrow from where a gene starts to where it ends, within the region. Genes of which only the
# start is known, and those too short to be seen, get a short one. No strand, no arrow.
gene_layers <- function(genes, region, height) {
  genes <- genes[order(genes$start), ]
  row <- (seq_len(nrow(genes)) - 1) %% 3
  genes$y <- -height * (0.2 + 0.16 * row)
  genes <- gene_ends(genes, region)
  genes$middle <- (genes$from + genes$to) / 2
  # each name is offset in proportion to its position, so that it stays inside the region
  genes$place <- (genes$middle - region$start) / (region$end - region$start)
  segments <- function(which, arrow) {
    if (!any(which)) {
      return(NULL)
    }
    ggplot2::geom_segment(
      ggplot2::aes(x = .data$from, xend = .data$to, y = .data$y, yend = .data$y),
      genes[which, ],
      color = "#1b7837", arrow = arrow
    )
  }
  directed <- genes$strand != "*"
  list(
    segments(directed, ggplot2::arrow(length = ggplot2::unit(0.06, "inches"))),
    segments(!directed, NULL),
    ggplot2::geom_text(
      ggplot2::aes(
        .data$middle, .data$y - 0.06 * height,
        label = .data$gene, hjust = .data$place
      ), genes,
      size = 2.6, color = "#1b7837"
    )
  )
}

# `from` and `to`: the drawn ends of each gene in the direction of its strand.
gene_ends <- function(genes, region) {
  short <- (region$end - region$start) / 50
  within <- function(x) pmin(pmax(x, region$start), region$end)
  low <- within(genes$start)
  high <- within(genes$end)
  backward <- genes$strand == "-"
  grow <- high - low < short
  # away from the start, and where the region ends there, towards it
  low[grow & backward] <- within(high[grow & backward] - short)
  high[grow & !backward] <- within(low[grow & !backward] + short)
  still <- high - low < short
  high[still & backward] <- within(low[still & backward] + short)
  low[still & !backward] <- within(high[still & !backward] - short)
  genes$from <- ifelse(backward, high, low)
  genes$to <- ifelse(backward, low, high)
  genes
}

# Half an ellipse for each link, as high as its score.
arc_points <- function(arcs, n = 60) {
  angle <- seq(0, pi, length.out = n)
  m <- nrow(arcs)
  link <- rep(seq_len(m), each = n)
  middle <- (arcs$from + arcs$to) / 2
  radius <- (arcs$to - arcs$from) / 2
  data.frame(
    link = link, x = middle[link] + radius[link] * rep(cos(angle), m),
    y = abs(arcs$score)[link] * rep(sin(angle), m), score = arcs$score[link],
    panel = arcs$panel[link]
  )
}
