#' Proximal and distal regulatory elements
#'
#' Classifies each peak as proximal (at a transcription start) or distal and finds the nearest gene.
#' For pairs of linked peaks it does so for both peaks.
#'
#' A peak is proximal when it overlaps the window from `upstream` to `downstream` of a start, by
#' default 2 kb upstream to 500 bp downstream. (The publication of scMVP states 500 kb downstream,
#' which would make nearly every peak proximal; 500 bp is a usual size of such windows.)
#'
#' @param object Names of peaks, a GRanges, a data frame with seqnames, start and end, the data
#'   frame of [RunCicero()] or [LinkPeaksLASSO()], their links as a GRanges, or a Seurat object.
#' @param gene.coords Gene coordinates, in any form that [LinkPeaksLASSO()] accepts; `NULL`: the
#'   annotation of the ChromatinAssay of a Seurat object.
#' @param upstream,downstream Extent of the proximal window in base pairs, upstream and downstream
#'   of the start.
#' @param assay Name of the peak assay, or alternative experiment, of an object. `NULL`: that of the
#'   fit or, without a fit, the only one.
#' @return A data frame. For peaks: `peak`, `class` (a factor of `proximal` and `distal`), `gene`
#'   (the nearest by its start), `distance` (of the peak's nearest base from that start, negative
#'   upstream, 0 if the start lies in the peak); `NA` on chromosomes without a gene. For pairs of
#'   peaks, the input table with `class1`, `gene1`, `distance1`, `class2`, `gene2`, `distance2` and
#'   `type` (`proximal-proximal`, `proximal-distal`, `distal-distal`); for links to genes, the input
#'   table with `class`, `nearest.gene` and `is.nearest`.
#' @section Errors:
#' `scmvp_error_input` if the peaks are not genomic ranges or share no chromosome with the genes.
#' @examples
#' starts <- data.frame(
#'   gene = c("A", "B"), seqnames = "chr1", start = c(5000, 90000), end = c(20000, 95000),
#'   strand = c("+", "-")
#' )
#' ClassifyCRE(c("chr1-3500-4000", "chr1-50000-50500", "chr1-94800-96000"), starts)
#' @export
ClassifyCRE <- function(object, gene.coords = NULL, upstream = 2000, downstream = 500,
                        assay = NULL) {
  upstream <- check_number(upstream, "upstream", min = 0)
  downstream <- check_number(downstream, "downstream", min = 0)
  if (is_container(object)) {
    parts <- parts_of(object, fitted = TRUE)
    part <- find_peak_part(object, parts, assay)
    if (is.null(gene.coords)) {
      rna <- if (about(object)$part != "assay") find_rna_part(object, parts, NULL, "assay", NULL)
      gene.coords <- stored_genes(part, rna, about(object)$part)
    }
    object <- ranges_table(part$ranges(), part$features)
  } else {
    refuse_unused(match.call(), environment(), "assay", "an object, not for peaks or links")
  }
  if (is.null(gene.coords)) refuse("gene.coords is needed to know where genes start.")
  if (methods::is(object, "GRanges")) object <- table_of_links(object)
  has <- function(columns) is.data.frame(object) && all(columns %in% names(object))
  linked <- if (has(c("gene", "peak"))) object$gene
  starts <- gene_starts(gene.coords, genes = linked)
  classify <- function(ranges) classify_ranges(ranges, starts, upstream, downstream)
  if (has(c("Peak1", "Peak2"))) {
    return(classify_pairs(object, classify))
  }
  if (!is.null(linked)) {
    ranges <- ranges_table(NULL, as.character(object$peak))
    of_peak <- classify(ranges)
    object$class <- of_peak$class
    object$nearest.gene <- of_peak$gene
    near <- distance_to_gene(ranges, object$gene, starts) <= abs(of_peak$distance)
    object$is.nearest <- near %in% TRUE # not on another chromosome
    return(object)
  }
  if (is.factor(object)) object <- as.character(object)
  names <- if (is.character(object)) object else range_names(object)
  classify(ranges_table(if (!is.character(object)) object, names))
}

# Base pairs from each peak to the nearest start of the gene that it is linked to; NA where that is
# on another chromosome. `ranges`: of the peaks; `genes`: a name for each.
distance_to_gene <- function(ranges, genes, starts) {
  of_gene <- split(seq_len(nrow(starts)), factor(starts$gene, unique(starts$gene)))
  at <- of_gene[match(as.character(genes), names(of_gene))]
  row <- rep(seq_len(nrow(ranges)), lengths(at))
  near <- starts[unlist(at, use.names = FALSE), ]
  same <- bare_chromosome(near$seqnames) == bare_chromosome(ranges$seqnames[row])
  row <- row[same]
  tss <- near$tss[same]
  away <- pmax(ranges$start[row] - tss, tss - ranges$end[row], 0)
  closest <- order(row, away)
  closest <- closest[!duplicated(row[closest])]
  found <- rep(NA_real_, nrow(ranges))
  found[row[closest]] <- away[closest]
  found
}

range_names <- function(ranges, argument = "object") {
  table <- as_ranges(ranges, argument)
  if ("name" %in% names(table)) {
    return(as.character(table$name))
  }
  own <- if (methods::is(ranges, "GRanges")) names(ranges)
  if (!is.null(own)) {
    return(own)
  }
  paste(table$seqnames, format_whole(table$start), format_whole(table$end), sep = "-")
}

format_whole <- function(x) format(x, scientific = FALSE, trim = TRUE)

classify_pairs <- function(pairs, classify) {
  peaks <- unique(c(as.character(pairs$Peak1), as.character(pairs$Peak2)))
  table <- classify(ranges_table(NULL, peaks))
  for (side in c("1", "2")) {
    row <- match(as.character(pairs[[paste0("Peak", side)]]), peaks)
    for (column in c("class", "gene", "distance")) {
      pairs[[paste0(column, side)]] <- table[[column]][row]
    }
  }
  proximal <- (pairs$class1 == "proximal") + (pairs$class2 == "proximal")
  pairs$type <- factor(
    c("distal-distal", "proximal-distal", "proximal-proximal")[proximal + 1],
    c("proximal-proximal", "proximal-distal", "distal-distal")
  )
  pairs
}

classify_ranges <- function(ranges, starts, upstream, downstream) {
  n <- nrow(ranges)
  gene <- rep(NA_character_, n)
  distance <- rep(NA_real_, n)
  proximal <- logical(n)
  peak_chromosome <- bare_chromosome(ranges$seqnames)
  start_chromosome <- bare_chromosome(starts$seqnames)
  shared <- intersect(unique(peak_chromosome), unique(start_chromosome))
  if (n > 0 && length(shared) == 0) {
    refuse(
      "no peak lies on a chromosome with genes (peaks: ", some_names(unique(ranges$seqnames)),
      "; genes: ", some_names(unique(starts$seqnames)), "): give gene.coords of the peaks' genome."
    )
  }
  for (chromosome in shared) {
    peaks <- which(peak_chromosome == chromosome)
    near <- starts[start_chromosome == chromosome, ]
    near <- near[order(near$tss), ]
    found <- nearest_start(ranges$start[peaks], ranges$end[peaks], near$tss)
    backward <- near$strand[found$which] == "-"
    gene[peaks] <- near$gene[found$which]
    distance[peaks] <- ifelse(backward, -found$offset, found$offset)
    proximal[peaks] <- overlaps_any(
      ranges$start[peaks], ranges$end[peaks],
      near$tss - ifelse(near$strand == "-", downstream, upstream),
      near$tss + ifelse(near$strand == "-", upstream, downstream)
    )
  }
  data.frame(
    peak = ranges$name,
    class = factor(ifelse(proximal, "proximal", "distal"), c("proximal", "distal")),
    gene = gene, distance = distance
  )
}

# Signed distance from the nearest of the sorted starts to the nearest base of each peak.
nearest_start <- function(start, end, tss) {
  middle <- (start + end) / 2
  before <- pmax(findInterval(middle, tss), 1)
  after <- pmin(before + 1, length(tss))
  offset <- function(i) pmax(start - tss[i], 0) + pmin(end - tss[i], 0)
  one <- offset(before)
  other <- offset(after)
  closer <- abs(other) < abs(one)
  list(which = ifelse(closer, after, before), offset = ifelse(closer, other, one))
}

# Whether each range overlaps any of the others: of those that start before its end, at least one
# must reach its start.
overlaps_any <- function(start, end, others_start, others_end) {
  order <- order(others_start)
  reach <- cummax(others_end[order])
  last <- findInterval(end, others_start[order])
  last > 0 & reach[pmax(last, 1)] >= start
}
