#' Motifs that are more active in a group of cells than in the others
#'
#' Compares the activities that [RunMotifSCMVP()] has computed between each group of cells and the
#' rest.
#'
#' Rank motifs by the difference of `mean` and `mean_rest`: a z-score, and therefore its mean,
#' compares a motif with random sets of peaks. `auroc`, `p_value` and `q_value` compare cells. They
#' are meaningful only for measured values: imputed values lack the noise of single cells, so every
#' motif differs between groups.
#'
#' @param object A Seurat object, SingleCellExperiment or MultiAssayExperiment with the activity of
#'   motifs, or a matrix of z-scores, motifs x cells.
#' @param ... Not used; an unknown argument causes an error that names it.
#' @param group.by Name of a column of the cell metadata (`"ident"`: `Idents()` of a Seurat object)
#'   or one value per cell; `NULL` for the clusters of the fit from which the activities were
#'   computed. Cells with `NA` are left out.
#' @param assay.name Name of the assay (altExp) of z-scores, motifs x cells, from [RunMotifSCMVP()]
#'   or `Signac::RunChromVAR()`.
#' @param genes Genes of the factors that bind the motifs: a character vector named by the motifs,
#'   or a `Motif` object of Signac. `NULL`: those that [RunMotifSCMVP()] stored; if there are none,
#'   the names of the motifs without the JASPAR identifier (`SPI1` for `MA0080.5-SPI1`). `FOS::JUN`
#'   is a dimer.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @return A data frame with one row per group and motif, sorted within a group by decreasing
#'   difference of the means: `group` (a factor), `motif`, `gene`, `mean` and `mean_rest` (mean
#'   z-scores in the group and in the other cells), `auroc` (probability that a cell of the group
#'   has a higher z-score than one of the others), `p_value` (Mann-Whitney, two-sided), `q_value`
#'   (Benjamini and Hochberg, within the group). For each motif, cells without a z-score are left
#'   out; values are `NA` if fewer than 3 cells remain in the group or outside it.
#' @section Errors:
#' `scmvp_error_input` where there is no such assay or column, or fewer than two groups.
#' @seealso [MotifExpressionSCMVP()], [RegulonsSCMVP()]
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   peaks <- rownames(object[["ATAC"]])
#'   motifs <- matrix(runif(300 * 4) < 0.1, 300, dimnames = list(peaks, paste0("TF", 1:4)))
#'   object <- RunMotifSCMVP(object, motifs, verbose = FALSE)
#'   head(RankMotifsSCMVP(object, group.by = "cell_type"))
#' }
#' @export
RankMotifsSCMVP <- function(object, group.by = NULL, assay.name = "motif", genes = NULL,
                            backend = c("auto", "reticulate", "process"), ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  refuse_for_matrix(object, match.call(), environment(), "assay.name")
  backend <- check_choice(backend, backends, "backend")
  scores <- motif_scores(object, assay.name, genes)
  cells <- colnames(scores$z)
  data <- data.frame(row.names = cells)
  if (is_container(object)) {
    if (is.null(group.by)) group.by <- paste0(scores$reduction, "_cluster")
    data <- grouping_columns(object, group.by, scores$home)
    data <- data[match(cells, rownames(data)), , drop = FALSE]
    group.by <- values_at(object, group.by, scores$home, "group.by")
  } else if (is.null(group.by)) {
    refuse("group.by is needed for a matrix of z-scores: give one value per cell.")
  }
  groups <- groups_of(group.by, cells, data, "group.by")
  table <- with_engine(backend, torch = FALSE, f = function(engine) {
    engine$rank_motifs(scores, groups)
  })
  engine_table(table, levels(groups))
}

#' Correlation of the activity of motifs with the expression of their factors
#'
#' Factors of one family share their motif. The factor whose expression follows the activity of the
#' motif ([RunMotifSCMVP()]) is the most likely to bind it. If the motif is less accessible where
#' the factor is expressed (a negative correlation), the factor may be a repressor.
#'
#' Imputed expression and imputed activity are decoded from the same latent, so their correlations
#' are larger than those of measured values. Use them only for ranking.
#'
#' @inheritParams RankMotifsSCMVP
#' @param values Expression to compare with: `"imputed"`, or `"measured"` (the counts of the fit,
#'   each divided by the total of its cell). For measured values, cells without counts of genes are
#'   left out.
#' @param expression Expression to use instead of `values`: a matrix, genes x cells, used unchanged.
#'   It is required if `object` is a matrix. Cells are matched by name. Cells without expression of
#'   any gene are left out as not measured, and a message reports this, if the other cells have a
#'   median of at least 20 genes.
#' @param reduction Name of the reduction with the model; `NULL` for that of the activities.
#' @param batch For a model fitted with batches: the batch for which expression is imputed; see
#'   [ImputeSCMVP()].
#' @param verbose Show messages.
#' @return A data frame: `motif`, `gene` and `correlation` (Spearman's, over the cells with a
#'   z-score), sorted by decreasing correlation; `NA` if activity or expression does not vary. Genes
#'   are matched regardless of case (`Spi1`), and each gene of a dimer (`FOS::JUN`) has a row.
#'   Motifs whose gene is not in the expression are left out.
#' @section Errors: `scmvp_error_input` if there is no such assay, if no gene of the motifs is in
#' the expression, or if cells have no expression; `scmvp_error_model` if there is no stored model.
#' @seealso [RankMotifsSCMVP()], [RegulonsSCMVP()]
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   peaks <- rownames(object[["ATAC"]])
#'   factors <- rownames(object[["RNA"]])[1:4]
#'   motifs <- matrix(runif(300 * 4) < 0.1, 300, dimnames = list(peaks, factors))
#'   object <- RunMotifSCMVP(object, motifs, verbose = FALSE)
#'   MotifExpressionSCMVP(object)
#' }
#' @export
MotifExpressionSCMVP <- function(object, values = c("imputed", "measured"), expression = NULL,
                                 assay.name = "motif", genes = NULL, reduction = NULL,
                                 batch = NULL, backend = c("auto", "reticulate", "process"),
                                 verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  refuse_for_matrix(
    object, match.call(), environment(), c("values", "assay.name", "reduction", "batch")
  )
  if (!is.null(expression)) refuse_beside_expression(match.call(), environment())
  request <- activity_request(values, batch, backend, verbose)
  scores <- motif_scores(object, assay.name, genes, reduction)
  if (is.null(expression) && !is_container(object)) {
    refuse("expression (genes x cells) is needed for a matrix of z-scores.")
  }
  from <- expression_source(
    object, "MotifExpressionSCMVP()", scores$reduction, expression, request, colnames(scores$z)
  )
  if (!is.null(from$record)) refuse_earlier_scores(scores, from$record, assay.name)
  scores$z <- scores$z[, from$cells, drop = FALSE]
  table <- with_source(from, request, function(engine) {
    engine$motif_expression(scores, from$values)
  })
  engine_table(table)
}

#' Target genes of transcription factors
#'
#' Joins links from peaks to genes with the motifs of the peaks: a gene is a target of a factor if a
#' peak that is linked to it has the motif of the factor. The correlation of factor and gene
#' distinguishes targets that the factor may activate from those that only share its motif.
#'
#' @inheritParams MotifExpressionSCMVP
#' @inheritParams RunMotifSCMVP
#' @param object The result of [RunSCMVP()] or [ProjectSCMVP()]; an assay of motif activity is not
#'   needed.
#' @param links Links from peaks to genes: the data frame of [LinkPeaksSCMVP()] or
#'   [LinkPeaksLASSO()], or one with columns `gene`, `peak` and `score`; or the GRanges of these or
#'   of `Signac::LinkPeaks()`. All its links are used, so filter them first.
#' @param factors Names of factors to return, ignoring case; `NULL` for all.
#' @param values Expression of factors and genes: `"imputed"`, or `"measured"` (the counts of the
#'   fit, each divided by the total of its cell). For measured values, cells without counts of genes
#'   are left out.
#' @param expression Expression to use instead of `values`: a matrix, genes x cells, used unchanged,
#'   except that cells in which no gene was measured are left out as in [MotifExpressionSCMVP()].
#' @param reduction Name of the reduction with the model.
#' @return A data frame with one row per link and motif of a factor, in the order of the links:
#'   `tf`, `motif`, `peak`, `gene`, `score` (of the link: the column `score` or `coefficient`) and
#'   `correlation` of factor and gene (Spearman's, over these cells; `NA` if the expression lacks
#'   either of them or if one does not vary). Each factor of a dimer (`FOS::JUN`) has a row. If
#'   `links` has a column `group`, it comes first.
#' @section Errors:
#' `scmvp_error_input` where `links` lacks a column or has no row, none of its peaks has a motif, or
#' a factor has no motif in them; `scmvp_error_model` when there is no stored model.
#' @seealso [RankMotifsSCMVP()], [MotifExpressionSCMVP()]
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 200, n.genes = 200, n.peaks = 400, n.types = 3)
#'   object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3, impute = "none", verbose = FALSE)
#'   genes <- object[["RNA"]][[]]
#'   genes <- data.frame(
#'     gene = rownames(genes), seqnames = genes$chrom, tss = genes$tss, strand = genes$strand
#'   )
#'   links <- LinkPeaksSCMVP(object, genes, verbose = FALSE)
#'   peaks <- rownames(object[["ATAC"]])
#'   factors <- rownames(object[["RNA"]])[1:4]
#'   motifs <- matrix(runif(400 * 4) < 0.1, 400, dimnames = list(peaks, factors))
#'   targets <- RegulonsSCMVP(object, links[links$score > 0.1, ], motifs)
#'   head(targets[order(-targets$correlation), ])
#' }
#' @export
RegulonsSCMVP <- function(object, links, motifs = NULL, factors = NULL,
                          values = c("imputed", "measured"), expression = NULL, fasta = NULL,
                          p.value = 5e-5, reduction = "scmvp", batch = NULL,
                          backend = c("auto", "reticulate", "process"), verbose = TRUE, ...) {
  refuse_dots(list(...), setdiff(names(formals()), c("object", "...")))
  if (!is.null(expression)) refuse_beside_expression(match.call(), environment())
  request <- activity_request(values, batch, backend, verbose)
  links <- links_to_join(links)
  options <- list(
    p_value = check_number(p.value, "p.value", min = 0, above = TRUE),
    fasta = check_input_file(fasta, "fasta")
  )
  if (!is.null(factors)) {
    if (!is.character(factors) || length(factors) == 0 || anyNA(factors)) {
      refuse("factors must be names of transcription factors, not ", in_words(factors), ".")
    }
    options$factors <- list_of(factors)
  }
  check_fitted(object, "RegulonsSCMVP()", "its model and the latent of its cells")
  record <- stored_results(object, reduction)
  motifs <- motifs_to_score(motifs, fitted_part(object, record, reduction, "peaks"))
  from <- expression_source(object, "RegulonsSCMVP()", reduction, expression, request)
  # a file is searched in the peaks of the model
  if (is.character(motifs)) from$record <- record
  table <- with_source(from, request, function(engine) {
    engine$regulons(links, motifs, from$cells, from$values, Filter(Negate(is.null), options))
  })
  engine_table(table, if (is.factor(links$group)) levels(links$group))
}

# ---- activities ----------------------------------------------------------------------------------

# list(z (motifs x cells), genes (NULL where their names say them), reduction, fit, home) of an
# object or a matrix. `reduction`: NULL for that of the activities.
motif_scores <- function(object, assay.name, genes, reduction = NULL) {
  mark <- NULL
  home <- NULL
  if (is_container(object)) {
    part <- motif_part(object, assay.name)
    mark <- part$mark
    if (is.null(reduction)) reduction <- mark$reduction
    if (is.null(reduction)) reduction <- "scmvp"
    home <- home_of(object, check_string(reduction, "reduction"))
    z <- if (part$own) part$imputed() else part$values(NULL, "assay.name", home)$values
  } else if (is_matrix_like(object)) {
    check_matrix_names(object, "the matrix of z-scores", "motifs")
    z <- object
  } else {
    refuse(
      "object must hold the activity of motifs, or be a matrix of z-scores (motifs x cells), not ",
      "class ", class(object)[1], ": run RunMotifSCMVP() first."
    )
  }
  z <- as.matrix(z)
  if (!is.numeric(z)) refuse("the matrix of activities must be numeric, not ", typeof(z), ".")
  list(
    z = z, genes = genes_of_motifs(genes, rownames(z), mark$genes), reduction = reduction,
    fit = mark$fit, home = home
  )
}

# The part with z-scores.
motif_part <- function(object, name) {
  words <- about(object)
  if (words$part == "matrix") {
    refuse(
      words$class, " holds no assays: give the matrix of z-scores that RunMotifSCMVP() returned."
    )
  }
  parts <- parts_of(object, fitted = TRUE)
  check_string(name, "assay.name")
  part <- parts[[name]]
  of_motifs <- !is.null(part) && if (is.null(part$mark)) {
    !part$has_counts || words$part == "experiment"
  } else {
    identical(part$mark$modality, "motif")
  }
  if (!of_motifs) {
    if (isTRUE(part$empty)) {
      refuse(
        "assay '", name, "' has lost its scMVP record, because merge() drops it and fills counts ",
        "with 0: remove the assay and run RunMotifSCMVP() again, or give the matrix of its data ",
        "as object."
      )
    }
    refuse(
      if (is.null(part)) paste0("the object has no ", words$part, " '", name, "' (it has ") else
        paste0(words$part, " '", name, "' does not hold the activity of motifs (there are "),
      some_names(names(parts), 6), "): run RunMotifSCMVP() first, or name its result with ",
      "assay.name =."
    )
  }
  part
}

# A gene for each motif, in order; NULL to derive genes from the motif names. `kept`: genes stored
# by RunMotifSCMVP().
genes_of_motifs <- function(given, motifs, kept) {
  if (inherits(given, "Motif")) given <- unlist(methods::slot(given, "motif.names"))
  if (is.null(given)) {
    given <- kept
  } else if (!is.character(given) || !any(names(given) %in% motifs)) {
    refuse(
      "genes must be text with the names of the motifs (", some_names(motifs), "), or a Motif ",
      "object of Signac, not ", in_words(given), "."
    )
  }
  if (is.null(given)) {
    return(NULL)
  }
  at <- match(motifs, names(given))
  at[is.na(at)] <- match(motifs[is.na(at)], seurat_spelling(names(given)))
  ifelse(is.na(at), motifs, unname(given)[at])
}

# Imputed values of one model beside activities of another.
refuse_earlier_scores <- function(scores, record, assay.name) {
  if (!is.null(scores$fit) && !identical(scores$fit, record$fit)) {
    refuse(
      "'", assay.name, "' holds activities of another fit than that of reduction '",
      scores$reduction, "': run RunMotifSCMVP() again, or take values = \"measured\"."
    )
  }
}

# ---- expression ----------------------------------------------------------------------------------

# list(values, cells, record): what the verbs of the engine take as expression, of which cells, and
# the record of the model that is needed for it, if any. `cells`: those that need a value; NULL for
# those of the latent.
expression_source <- function(object, taker, reduction, expression, request, cells = NULL) {
  if (!is.null(expression)) {
    expression <- check_expression(expression, cells)
    if (is.null(cells)) cells <- colnames(expression)
    return(list(values = list(expression = expression), cells = cells))
  }
  check_fitted(object, taker, "its model and the latent of its cells")
  record <- stored_results(object, reduction)
  latent <- latent_of(object, reduction)
  if (is.null(cells)) cells <- rownames(latent)
  if (request$values == "measured") {
    counts <- normalized_rna(object, record, reduction, cells)
    return(list(values = list(expression = counts), cells = colnames(counts)))
  }
  values <- list(
    latent = unname(latent[cells, , drop = FALSE]), batch = request$batch,
    genes = list_of(record$spelling$rna)
  )
  list(values = Filter(Negate(is.null), values), cells = cells, record = record)
}

refuse_beside_expression <- function(call, frame) {
  refuse_unused(
    call, frame, c("values", "batch"), "the fit's expression, not beside other expression"
  )
}

check_expression <- function(expression, cells) {
  if (!is_matrix_like(expression)) {
    refuse("expression must be a matrix, genes x cells, not ", in_words(expression), ".")
  }
  check_matrix_names(expression, "expression", "genes")
  if (!is.null(cells)) {
    check_names_known(
      cells, colnames(expression), "cells", "in expression", "give expression of the same cells"
    )
  }
  as_dgc(expression)
}

# Counts of genes over the total of their cell, of the cells that have any.
normalized_rna <- function(object, record, reduction, cells) {
  home <- home_of(object, reduction)
  counts <- kept_counts(object, record, reduction, home, "rna", cells)
  if (is.null(counts)) {
    refuse(
      "the counts of the genes are not in the object: give expression (genes x cells)",
      if ("rna" %in% kinds_of_model(record$model)) ", or take values = \"imputed\"", "."
    )
  }
  total <- Matrix::colSums(counts)
  counts <- counts[, total > 0, drop = FALSE]
  counts@x <- counts@x / rep.int(total[total > 0], diff(counts@p))
  counts
}

# f(engine) on an engine with the model that a source needs.
with_source <- function(from, request, f) {
  watched(request$verbose, function(watch) {
    of_model <- !is.null(from$record)
    with_engine(request$backend, torch = of_model, watch = watch, f = function(engine) {
      if (of_model) features_in_model(restore_model(from$record$model, engine), "rna")
      f(engine)
    })
  })
}

# ---- tables --------------------------------------------------------------------------------------

# What the engine joins with motifs: group, gene, peak and score of links.
links_to_join <- function(links) {
  if (methods::is(links, "GRanges")) links <- as.data.frame(links@elementMetadata)
  score <- intersect(c("score", "coefficient"), names(links))[1]
  if (!is.data.frame(links) || is.na(score) || !all(c("gene", "peak") %in% names(links))) {
    refuse(
      "links must be a data frame with columns gene, peak and score (or coefficient), as ",
      "LinkPeaksSCMVP() and LinkPeaksLASSO() return, not ", in_words(links), "."
    )
  }
  if (nrow(links) == 0) refuse("links has no rows: give links, e.g. with a higher fdr.")
  table <- list(
    gene = as.character(links$gene), peak = as.character(links$peak),
    score = as.numeric(links[[score]])
  )
  c(table, if (!is.null(links$group)) list(group = links$group))
}
