# Cells of donors under two conditions, each donor with a factor of its own for every gene, in two
# groups; the first `n_changed` genes are four times as high when treated.
donor_cells <- function(n_genes = 120, n_donors = 8, n_each = 40, n_changed = 10, paired = FALSE,
                        seed = 1) {
  with_seed(seed, {
    n <- n_donors * n_each
    donor <- sample(rep(paste0("d", seq_len(n_donors)), each = n_each))
    treated <- if (paired) {
      seq_len(n) %% 2 == 0
    } else {
      donor %in% paste0("d", seq(2, n_donors, by = 2))
    }
    own <- matrix(stats::rgamma(n_genes * n_donors, 6, 6), n_genes)
    mean <- own[, match(donor, paste0("d", seq_len(n_donors)))]
    changed <- seq_len(n_changed)
    mean[changed, treated] <- 4 * mean[changed, treated]
    counts <- matrix(
      stats::rnbinom(n_genes * n, mu = 2 * mean, size = 2), n_genes,
      dimnames = list(paste0("Gene", seq_len(n_genes)), paste0("cell", seq_len(n)))
    )
    cells <- data.frame(
      donor = donor, condition = ifelse(treated, "treated", "control"),
      type = ifelse(seq_len(n) %% 3 == 0, "B", "T"), row.names = colnames(counts)
    )
    cells$sample <- paste(cells$donor, cells$condition)
    list(counts = methods::as(counts, "dgCMatrix"), cells = cells)
  })
}

donor_object <- function(made = donor_cells(), peaks = NULL) {
  object <- SeuratObject::CreateSeuratObject(made$counts, assay = "RNA", meta.data = made$cells)
  if (!is.null(peaks)) object[["ATAC"]] <- SeuratObject::CreateAssayObject(peaks)
  object
}

# The same counts as peaks, the cells in another order.
as_peaks <- function(counts) {
  rownames(counts) <- sprintf("chr1-%d-%d", 1000 * seq_len(nrow(counts)),
    1000 * seq_len(nrow(counts)) + 500)
  counts
}
