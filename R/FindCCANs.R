#' Cis-co-accessibility networks
#'
#' Finds communities of co-accessible peaks (Pliner et al. 2018) by Louvain clustering of the graph
#' of all pairs above a cutoff. If no cutoff is given, it is chosen to maximize the number of
#' networks, as in `cicero::generate_ccans()`.
#'
#' @param connections A data frame of [RunCicero()].
#' @param coaccess_cutoff_override Cutoff on `coaccess`, between 0 and 1, or `NULL` to choose it.
#' @param tolerance_digits Number of digits of the chosen cutoff.
#' @param seed.use Seed of the clustering; R's own random numbers are not changed.
#' @param verbose Show the cutoff.
#' @return A data frame with columns `Peak` and `CCAN`, without peaks that belong to no network of
#'   at least three peaks. The attribute `cutoff` contains the cutoff.
#' @section Errors:
#' `scmvp_error_input` if no pair is above the cutoff; `scmvp_error_package` without igraph.
#' @examplesIf requireNamespace("igraph", quietly = TRUE)
#' peaks <- paste0("chr1-", 1e4 * 1:6, "-", 1e4 * 1:6 + 500)
#' pairs <- data.frame(t(cbind(combn(peaks[1:3], 2), combn(peaks[4:6], 2))))
#' connections <- data.frame(Peak1 = pairs[[1]], Peak2 = pairs[[2]], coaccess = 0.5)
#' FindCCANs(connections, coaccess_cutoff_override = 0.2)
#' @export
FindCCANs <- function(connections, coaccess_cutoff_override = NULL, tolerance_digits = 2,
                      seed.use = 0, verbose = TRUE) {
  check_connections(connections)
  check_flag(verbose, "verbose")
  check_installed("igraph", "FindCCANs()")
  digits <- check_number(tolerance_digits, "tolerance_digits", min = 0, whole = TRUE)
  digits <- min(digits, 15) # a number between 0 and 1 has no more
  cutoff <- check_number(coaccess_cutoff_override, "coaccess_cutoff_override", 0, optional = TRUE)
  if (!is.null(cutoff) && cutoff > 1) {
    refuse("coaccess_cutoff_override must be between 0 and 1, not ", cutoff, ".")
  }
  seed.use <- check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  edges <- positive_edges(connections)
  communities_above <- function(value) {
    seeded(seed.use, louvain_communities(edges[edges$coaccess > value, ], attr(edges, "peaks")))
  }
  if (is.null(cutoff)) {
    cutoff <- find_ccan_cutoff(function(value) {
      sum(table(communities_above(value)) > 2)
    }, sort(unique(c(0, edges$coaccess))), digits)
  }
  if (verbose) message(sentence_of("co-accessibility cutoff ", cutoff))
  member <- communities_above(cutoff)
  if (length(member) == 0) {
    if (nrow(edges) == 0) {
      refuse("no pair of peaks has coaccess above 0: there are no networks.")
    }
    refuse(
      "no pair of peaks has coaccess above ", cutoff, " (the largest is ",
      format(max(edges$coaccess), digits = 3), "): set coaccess_cutoff_override below that."
    )
  }
  sizes <- table(member)
  member <- member[member %in% names(sizes)[sizes > 2]]
  ccans <- data.frame(Peak = names(member), CCAN = unname(member))
  attr(ccans, "cutoff") <- cutoff
  ccans
}

# Each pair of peaks that can exceed a cutoff, once: indices of two peaks, sorted by name regardless
# of the locale of R. The peak names are an attribute.
positive_edges <- function(connections) {
  pairs <- pairs_once(connections, which(connections$coaccess > 0))
  rank <- order(order(pairs$peaks, method = "radix"))
  swap <- rank[pairs$one] > rank[pairs$other]
  structure(
    data.frame(
      one = ifelse(swap, pairs$other, pairs$one), other = ifelse(swap, pairs$one, pairs$other),
      coaccess = connections$coaccess[pairs$rows]
    ),
    peaks = pairs$peaks
  )
}

louvain_communities <- function(edges, peaks) {
  if (nrow(edges) == 0) {
    return(integer())
  }
  vertices <- unique(c(edges$one, edges$other))
  graph <- igraph::graph_from_edgelist(
    cbind(match(edges$one, vertices), match(edges$other, vertices)),
    directed = FALSE
  )
  member <- igraph::membership(igraph::cluster_louvain(graph, weights = edges$coaccess))
  stats::setNames(as.integer(member), peaks[vertices])
}

# cicero's search for the cutoff with the most networks: at each middle, whether the number rises or
# falls with the cutoff, by steps of a tenth until it changes. `values` are those at which a pair
# drops out, sorted; steps that reach none of them are passed over, as they change nothing. Where
# the number never changes up to the largest value, it can only fall.
find_ccan_cutoff <- function(count, values, digits) {
  bottom <- 0
  top <- largest <- values[length(values)]
  while (top - bottom > 10^-digits) {
    middle <- bottom + round((top - bottom) / 2, digits + 1)
    here <- further <- count(middle)
    following <- middle
    step <- (top - bottom) / 10
    while (further == here && following <= largest) {
      passed <- findInterval(following, values)
      to_next <- if (passed < length(values)) values[passed + 1] - following else 0
      following <- following + max(1, ceiling(to_next / step)) * step
      further <- count(following)
    }
    if (here >= further) top <- middle else bottom <- middle
  }
  round((top + bottom) / 2, digits)
}
