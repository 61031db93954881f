#' Simulate paired cells with a known truth
#'
#' Simulates RNA and ATAC counts of cells whose types, marker genes and peak-to-gene links are
#' known, for examples and tests. The same arguments and seed give the same cells on every machine.
#'
#' @param n.cells,n.genes,n.peaks,n.types Numbers of cells, genes, peaks and cell types. Types come
#'   in pairs of siblings.
#' @param median.umi,median.fragments Median library sizes of RNA and ATAC.
#' @param ambient Mean fraction of a cell's counts that comes from the average of all cells.
#' @param separated.by Modalities in which sibling types differ: `"both"`, only `"rna"`, only
#'   `"atac"`, or `"together"`, where only the combination of both separates the types.
#' @param ordered Spread the cells along a path from the first type to the last instead of in
#'   clusters; the metadata `pseudotime` then contains the position of each cell.
#' @param branches Number of ends of the path of ordered cells. With two or more, the first types
#'   form a trunk that forks into branches; the metadata `branch` is then `trunk`, `branch1`, ...
#' @param atac.lead How far chromatin is ahead of expression along the path, in units of pseudotime.
#' @param n.batches Number of batches, each with its own proportions of the types (metadata
#'   `batch`).
#' @param batch.effect Standard deviation of the log factor by which a batch changes a feature; one
#'   batch has no effect.
#' @param seed Seed; R's own random numbers are not changed.
#' @param backend Where Python runs; see [RunSCMVP()].
#' @param ... Not used; an unknown argument causes an error that names it.
#' @return A Seurat object with assays `RNA` and `ATAC` (counts; peak names like `chr1-100-600`) and
#'   metadata `cell_type`, and `batch`, `pseudotime` and `branch` if they were requested.
#'   `Misc(object, "truth")` is a list: `links` (data frame of peak, gene, distance), `rna` and
#'   `atac` (the true profile of each type, features x types, columns sum to 1).
#' @section Errors:
#' `scmvp_error_input` if an argument is out of range or there are too few features for the types.
#' @examples
#' if (scMVP_available()) {
#'   object <- SimulateSCMVP(n.cells = 100, n.genes = 200, n.peaks = 300, n.types = 3)
#'   object
#'   head(SeuratObject::Misc(object, "truth")$links)
#' }
#' @export
SimulateSCMVP <- function(n.cells = 1000, n.genes = 2000, n.peaks = 5000, n.types = 8,
                          median.umi = 1500, median.fragments = 2000, ambient = 0.1,
                          separated.by = c("both", "rna", "atac", "together"), ordered = FALSE,
                          branches = 1, atac.lead = 0, n.batches = 1, batch.effect = 0.5, seed = 0,
                          backend = c("auto", "reticulate", "process"), ...) {
  refuse_dots(list(...), setdiff(names(formals()), "..."))
  whole <- function(x, name, min = 1) check_number(x, name, min = min, whole = TRUE)
  options <- list(
    n_cells = whole(n.cells, "n.cells"), n_genes = whole(n.genes, "n.genes"),
    n_peaks = whole(n.peaks, "n.peaks"), n_types = whole(n.types, "n.types"),
    median_umi = check_number(median.umi, "median.umi", min = 0, above = TRUE),
    median_fragments = check_number(median.fragments, "median.fragments", min = 0, above = TRUE),
    ambient = check_number(ambient, "ambient", min = 0),
    separated_by = check_choice(separated.by, c("both", "rna", "atac", "together"), "separated.by"),
    ordered = check_flag(ordered, "ordered"),
    branches = whole(branches, "branches"),
    atac_lead = check_number(atac.lead, "atac.lead", min = 0),
    n_batches = whole(n.batches, "n.batches"),
    batch_effect = check_number(batch.effect, "batch.effect", min = 0),
    seed = whole(seed, "seed", min = 0)
  )
  backend <- check_choice(backend, backends, "backend")
  paired <- with_engine(backend, function(engine) engine$simulate(options), torch = FALSE)
  object <- seurat_of(paired)
  SeuratObject::Misc(object, slot = "truth") <- paired$truth
  object
}
