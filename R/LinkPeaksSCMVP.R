#' Score links from peaks to genes: contact, accessibility and association
#'
#' Scores every pair of a gene and a peak near it by how often the two are in contact, how
#' accessible the peak is, and how its imputed accessibility follows the imputed expression of the
#' gene over cells.
#'
#' @section The score: As in the activity-by-contact model (Fulco et al. 2019), a peak acts on a
#' gene in proportion to its accessibility and to the frequency of their contacts, \deqn{score =
#' contact \times accessibility \times (1 + support) / 2.}{ score = contact * accessibility * (1 +
#' support) / 2.} `contact` decreases with the distance from the start of the gene to the center of
#' the peak, as a power with exponent `-decay` (the default is that of average Hi-C maps), and is 1
#' within 5 kb. `support` compares linked pairs with pairs of a gene and a peak on different
#' chromosomes, which may follow the same program of the cells but are not linked: it is how much
#' more frequent a correlation of this size is among the linked pairs. It is estimated from the data
#' as a step function that increases with the correlation, with prior odds of a link that are
#' proportional to the contact. Half of the links are assumed not to vary between the cells and
#' therefore to show no correlation; hence the mean of 1 and `support`.
#'
#' @section Contact maps: As in the activity-by-contact model, the frequencies of a map are scaled,
#' here to the sum expected from the distances of all pairs, and the frequency expected at 1 Mb is
#' added to each. If gene and peak are closer than the width of a bin, or if a bin or a chromosome
#' has no contacts at all, the contact is computed from the distance.
#'
#' @section Probability and false discovery rate: The score is for ranking. `probability` is the
#' probability that the pair is linked and that its correlation is due to this link, given the
#' correlations of pairs on different chromosomes. `fdr` is the expected proportion of pairs without
#' such a link among all pairs with at least this probability. It is estimated as the number of
#' pairs that would reach this probability if all correlations were those of pairs on different
#' chromosomes, divided by the number of pairs that do reach it. In simulations with known links, 0
#' to 11 % of the pairs with `fdr` up to 0.1 and 12 to 17 % of those up to 0.2 were not linked; with
#' genes at random positions, almost no pairs were called. Both columns miss a peak that acts on its
#' gene equally in all cells; the score includes it.
#'
#' @section Several samples:
#' Imputed values are those of the average batch. Differences between the batches of the fit
#' therefore do not contribute to the correlation.
#'
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]: a Seurat object,
#'   SingleCellExperiment, MultiAssayExperiment, or `scMVPFit`. Imputed assays are not needed:
#'   values are decoded block by block and never held for all cells.
#' @param gene.coords Gene coordinates; see [LinkPeaksLASSO()], section Transcription starts.
#'   `NULL`: the annotation of the ChromatinAssay or the ranges of the genes.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param group.by Score links in each group of cells by the accessibility in that group: a column
#'   of the cell metadata, or one value per cell. `NULL`: one score, computed from all cells. The
#'   correlation always uses all cells. Cells with `NA` belong to no group.
#' @param distance Largest distance in base pairs from the center of a peak to a start of the gene.
#' @param decay Exponent of the contacts; 0 gives all distances the same weight.
#' @param fdr Return only pairs with at most this `fdr`. `NULL`: all pairs for a data frame, and 0.1
#'   if `as` is `"links"` or `"object"`.
#' @param n.cells Largest number of cells, drawn at random, whose imputed values are correlated and
#'   averaged. With `group.by`, the accessibility in a group is the mean over at most `n.cells` /
#'   (number of groups) of its cells, or over at most 200 if this number is smaller.
#' @param contacts A contact map of Hi-C or the like, in place of the distance: the path of a
#'   `.cool` or `.mcool` file (`"file.mcool::/resolutions/10000"`) or of a text file, or a data
#'   frame, with the columns `chrom1`, `start1`, `end1`, `chrom2`, `start2`, `end2` (0-based,
#'   half-open) and `count`, as `cooler dump --join` writes it. See section Contact maps.
#' @param as Form of the result: `"data.frame"`; `"links"`, a GRanges in the format of Signac's
#'   `Links()`; or, for Seurat, `"object"`, the object with these links as the `Links()` of its
#'   ChromatinAssay and the data frame in `Misc(object, "scmvp_links")`.
#' @param batch For a model fitted with batches: the batch for which values are imputed; see
#'   [ImputeSCMVP()].
#' @param seed.use Seed of the drawn cells and of the pairs on different chromosomes. R's own
#'   random numbers are not changed.
#' @inheritParams DoubletScoreSCMVP
#' @param verbose Show messages.
#' @return A data frame with one row per pair, ordered by gene and then by peak: `gene`, `peak`;
#'   `distance` (base pairs from the nearest start to the center of the peak, negative upstream);
#'   `score`, `probability`, `fdr`; the factors `contact`, `accessibility` (mean of the imputed
#'   values, in units of the average peak), `correlation` (of imputed accessibility and log1p of
#'   imputed expression, 10,000 counts per cell) and `support`; `abc`, contact x accessibility as a
#'   proportion of its sum over the peaks of the gene; `kind`, `"promoter"` if the peak is within 1
#'   kb of a start of the gene, `"promoter of another gene"` or `"distal"`; `rank`, 1 for the
#'   nearest peak of the gene; `tss`, the nearest start; `seqnames` and `center` of the peak. With
#'   `group.by` the first column is `group`. If all peaks are on one chromosome, there are no pairs
#'   to compare with: `support` is 1, `probability` and `fdr` are missing, and no pair passes an
#'   `fdr`; rank by `score`. The GRanges goes from the start to the center of the peak and has
#'   `score`, `gene`, `peak`, `probability`, `fdr`, `correlation`.
#' @section Errors:
#' `scmvp_error_input` if no gene has a peak near it or `gene.coords` cannot be read;
#' `scmvp_error_model` if there is no stored model.
#' @references Fulco CP, Nasser J, Jones TR, et al. (2019). Activity-by-contact model of
#'   enhancer-promoter regulation from thousands of CRISPR perturbations. *Nature Genetics*
#'   51:1664-1669.
#' @seealso [LinkPeaksLASSO()] for a sparse regression per gene; [RunCicero()]; [PlotLinks()].
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 400, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   genes <- object[["RNA"]][[]]
#'   genes <- data.frame(
#'     gene = rownames(genes), seqnames = genes$chrom, tss = genes$tss, strand = genes$strand
#'   )
#'   links <- LinkPeaksSCMVP(object, genes)
#'   head(links[order(-links$score), ])
#' }
#' @export
LinkPeaksSCMVP <- function(object, gene.coords = NULL, group.by = NULL, distance = 5e5,
                           decay = 0.87, fdr = NULL, n.cells = 2000, contacts = NULL,
                           as = c("data.frame", "links", "object"), reduction = "scmvp",
                           batch = NULL, seed.use = 0,
                           backend = c("auto", "reticulate", "process"), verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  as <- check_choice(as, c("data.frame", "links", "object"), "as")
  request <- activity_request("imputed", batch, backend, verbose)
  options <- link_options(distance, decay, fdr, n.cells, seed.use, as)
  options$contacts <- check_contacts(contacts)
  check_fitted(object, "LinkPeaksSCMVP()", "its model and the latent of its cells")
  record <- stored_results(object, reduction)
  for (kind in c("rna", "peaks")) refuse_other_model(kind, kinds_of_model(record$model))
  part <- fitted_part(object, record, reduction, "peaks")
  if (as == "object") check_links_home(about(object), part)
  if (as != "data.frame" && !is.null(group.by)) {
    refuse("links in a GRanges have one score: leave group.by out, or use as = \"data.frame\".")
  }
  places <- places_of_activity(object, record, reduction, gene.coords, verbose)
  home <- home_of(object, reduction)
  cells <- rownames(latent_of(object, reduction))
  groups <- if (!is.null(group.by)) groups_in(object, group.by, cells, home, "group.by")
  found <- with_accessibility(
    object, record, reduction, NULL, request,
    function(engine, from, model) {
      engine$links(from, places, groups, spelling_in_object(record, model), options)
    }
  )
  links <- engine_table(found$result, levels(groups))
  if (nrow(links) == 0 && request$verbose) {
    message(sentence_of(
      "no pair has fdr up to ", options$fdr, ": raise fdr, or rank all pairs by their score ",
      "(fdr = NULL, as = \"data.frame\")"
    ))
  }
  switch(as,
    data.frame = links,
    links = score_granges(links),
    object = put_results(object, new_results(links = list(
      part = part, ranges = score_granges(links), key = "scmvp_links", table = links
    )))
  )
}

link_options <- function(distance, decay, fdr, n.cells, seed.use, as) {
  fdr <- check_number(fdr, "fdr", min = 0, above = TRUE, optional = TRUE)
  if (!is.null(fdr) && fdr > 1) refuse("fdr must be at most 1, not ", in_words(fdr), ".")
  if (is.null(fdr) && as != "data.frame") fdr <- 0.1
  Filter(Negate(is.null), list(
    distance = check_number(distance, "distance", min = 1, whole = TRUE),
    decay = check_number(decay, "decay", min = 0), fdr = fdr,
    n_cells = check_number(n.cells, "n.cells", min = 3, whole = TRUE),
    seed = check_number(seed.use, "seed.use", min = 0, whole = TRUE)
  ))
}

# A path, which the engine reads, or the columns of a data frame.
check_contacts <- function(contacts) {
  if (is.null(contacts)) return(NULL)
  if (is.data.frame(contacts)) {
    # columns that are not part of a contact map are dropped
    kept <- names(contacts) %in% c(
      "chrom1", "start1", "end1", "chrom2", "start2", "end2", "balanced", "count", "value", "score"
    )
    return(vectors_of(as.list(contacts)[kept]))
  }
  if (!is.character(contacts) || length(contacts) != 1 || is.na(contacts)) {
    refuse(
      "contacts is ", in_words(contacts), ": give the path of a contact map, or a data frame with ",
      "the columns chrom1, start1, end1, chrom2, start2, end2 and count."
    )
  }
  path.expand(contacts)
}

score_granges <- function(links) {
  links_to_genes(
    links,
    score = links$score, gene = links$gene, peak = links$peak, probability = links$probability,
    fdr = links$fdr, correlation = links$correlation
  )
}
