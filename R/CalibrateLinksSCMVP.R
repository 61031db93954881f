#' Probability of links, learned from links that are known
#'
#' If some links from peaks to genes are known, for instance from perturbed enhancers or from
#' promoter contacts, they show how much weight each factor of [LinkPeaksSCMVP()] should have and
#' how often such pairs are linked. `CalibrateLinksSCMVP()` estimates both by logistic regression
#' and gives every pair a probability.
#'
#' @section The model:
#' The log odds of a link are a weighted sum of the logarithms of `contact`, `accessibility`,
#' `(1 + support) / 2` and the number of pairs of the gene, and of whether the peak is at the start
#' of the gene or of another one (`kind`). The prior of the weights is N(0, 1) for factors in units
#' of their standard deviation. The probability of a known pair is cross-validated: its weights come
#' from the genes on other chromosomes.
#'
#' @section Weights of another list: Weights reflect the list from which they were learned: what it
#' counts as a link, and which pairs it can detect. A list of contacts, for instance, has no links
#' within a promoter. Weights learned from one list can be worse for another list than no weights.
#' This was the case for two published lists in blood cells; `docs/decisions/D28-links.md` in the
#' sources has the weights and the measurements.
#'
#' @param links All pairs, the data frame of [LinkPeaksSCMVP()].
#' @param known A data frame or GRanges with one row for each known pair: the columns `gene` and
#'   `peak`, or `gene` and a range (`seqnames`, `start`, `end`; 1-based, as in a GRanges), which
#'   stands for every peak that overlaps it. With a column `linked` (`TRUE` or `FALSE`), only these
#'   pairs are used for learning, and a pair with both values is linked. Without this column, the
#'   rows are the links, and all other pairs of their genes are not linked. Known pairs that are not
#'   in `links` are left out, and a message reports their number. Peak names match in any spelling
#'   (`chr1-100-200`, `chr1:100-200`). If `links` has a column `group`, `known` needs one, too.
#' @param weights The attribute `weights` of a table that was calibrated before, instead of `known`.
#' @inheritParams DoubletScoreSCMVP
#' @param ... Not used; an unknown argument causes an error that names it.
#' @return `links` with the column `calibrated`. The attribute `weights` is a list: `intercept`,
#'   `weights` (named by term) and, with `known`, the numbers of `pairs` and of `linked` pairs, and
#'   `average_precision`, a vector with the average precision of the cross-validated probabilities,
#'   of the contact and, if `links` has one, of the score.
#' @section Errors:
#' `scmvp_error_input`: a column is missing or holds no usable values; fewer than 10 pairs are
#' linked, or not linked; all known pairs are on one chromosome; or both or neither of `known` and
#' `weights` are given.
#' @seealso [LinkPeaksSCMVP()], whose `probability` and `fdr` need no known links.
#' @examples
#' if (scMVP_available()) {
#'   # 2,000 pairs on two chromosomes, of which the near ones are linked more often
#'   n <- 2000
#'   links <- data.frame(
#'     gene = rep(paste0("gene", 1:100), each = 20), peak = paste0("peak", 1:n),
#'     seqnames = rep(c("chr1", "chr2"), each = n / 2), contact = runif(n),
#'     accessibility = rexp(n), support = rexp(n), kind = "distal"
#'   )
#'   known <- data.frame(links[c("gene", "peak")], linked = runif(n) < links$contact^2)
#'   calibrated <- CalibrateLinksSCMVP(links, known)
#'   attr(calibrated, "weights")$weights
#' }
#' @export
CalibrateLinksSCMVP <- function(links, known = NULL, weights = NULL,
                                backend = c("auto", "reticulate", "process"), ...) {
  refuse_dots(list(...), setdiff(names(formals()), "..."))
  backend <- check_choice(backend, backends, "backend")
  if (!is.data.frame(links)) {
    refuse("links must be the data frame of LinkPeaksSCMVP(), not ", in_words(links), ".")
  }
  needed <- intersect(
    c("group", "gene", "peak", "seqnames", "contact", "accessibility", "support", "kind", "score"),
    names(links)
  )
  if (!is.null(known)) known <- known_links(known)
  found <- with_engine(backend, torch = FALSE, f = function(engine) {
    engine$calibrate(links[needed], known, weights_to_send(weights))
  })
  links$calibrated <- found$calibrated
  weights <- found$weights
  for (part in c("weights", "average_precision")) weights[[part]] <- unlist(weights[[part]])
  attr(links, "weights") <- weights
  links
}

# The columns of known links that the core takes, ranges 0-based.
known_links <- function(known) {
  if (!is.data.frame(known) && !methods::is(known, "GenomicRanges")) {
    refuse("known must be a data frame or a GRanges, not ", in_words(known), ".")
  }
  table <- as.data.frame(known)
  if (!"gene" %in% names(table)) {
    refuse("known needs a column gene; it has ", paste(names(table), collapse = ", "), ".")
  }
  kept <- table[intersect(c("group", "gene", "peak", "linked"), names(table))]
  if (!"peak" %in% names(table)) {
    ranges <- as_ranges(table, "known without a column peak")
    kept$chrom <- ranges$seqnames
    kept$start <- ranges$start - 1
    kept$end <- ranges$end
  }
  if (anyNA(kept)) refuse("known has missing values: leave these rows out.")
  kept
}

# Named numbers as lists, the form that the core expects; other values are rejected there.
weights_to_send <- function(weights) {
  if (!is.list(weights)) {
    return(weights)
  }
  for (part in c("weights", "average_precision")) {
    if (is.numeric(weights[[part]])) weights[[part]] <- as.list(weights[[part]])
  }
  weights
}
