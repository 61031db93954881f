# Cells and peaks for the analyses of regulatory elements, made in R alone.

# Peaks along a genome whose accessibility follows a few programs, the same in stretches of
# neighbors, so that neighbors are co-accessible. `starts`: a list of start positions by chromosome.
cre_counts <- function(starts, n_cells, seed, mean = 0.15, n_programs = 4) {
  chromosome <- rep(names(starts), lengths(starts))
  start <- unlist(starts, use.names = FALSE)
  n <- length(start)
  draw <- function() {
    latent <- matrix(stats::rnorm(n_cells * n_programs), n_cells)
    stretch <- (seq_len(n) %/% 4) %% n_programs + 1
    weight <- stats::rnorm(n, 0.8, 0.4) # some negative: discordant windows need both signs
    depth <- exp(stats::rnorm(n_cells, 0, 0.3))
    rate <- mean * exp(weight * t(latent[, stretch]) - weight^2 / 2) *
      rep(depth, each = n)
    list(latent = latent, counts = matrix(stats::rpois(length(rate), rate), n))
  }
  drawn <- with_seed(seed, draw())
  cells <- paste0("cell", seq_len(n_cells))
  dimnames(drawn$counts) <- list(
    paste(chromosome, format_position(start), format_position(start + 500), sep = "_"), cells
  )
  rownames(drawn$latent) <- cells
  drawn$counts <- methods::as(methods::as(drawn$counts, "CsparseMatrix"), "dgCMatrix")
  drawn
}

format_position <- function(x) format(x, scientific = FALSE, trim = TRUE)

# The cases on which the package cicero was run (tools/cicero_fixture.R): counts; smoothed values,
# dense; several chromosomes with a desert, a window of more than 200 peaks and a lone peak.
cicero_case <- function(name) {
  case <- switch(name,
    raw = cre_counts(list(chr18 = 2e4 * 1:70 + 137 * (1:70 %% 7)), 160, seed = 11),
    dense = {
      made <- cre_counts(list(chr18 = 3e4 * 1:45), 150, seed = 12)
      near <- apply(as.matrix(stats::dist(made$latent)), 1, function(d) order(d)[1:15])
      smooth <- apply(near, 2, function(cells) rowMeans(as.matrix(made$counts)[, cells]))
      dimnames(smooth) <- dimnames(made$counts)
      made$counts <- smooth * 10
      made
    },
    multi = cre_counts(
      list(
        chr1 = c(1.5e4 * 1:30, 4e6 + 1000 * 1:210),
        chr10 = c(2.5e4 * 1:25, 3e6 + 4e4 * 1:10), chr2 = 7e5, chrX = 500 + 3e4 * 1:20
      ),
      140,
      seed = 13
    )
  )
  ends <- parse_ranges(rownames(case$counts))
  reach <- tapply(ends$end, ends$seqnames, max)
  case$genome <- data.frame(V1 = names(reach), V2 = as.numeric(reach) + 3e5)
  case$k <- 20
  case$seed <- 3
  case$sample_num <- 15
  # smaller than estimated, so that many connections are left and some windows disagree on a sign
  case$distance_parameter <- 0.2
  case
}

# The same pairs in the same order: their connections.
connections_by_pair <- function(connections) {
  key <- paste(connections$Peak1, connections$Peak2)
  stats::setNames(connections$coaccess, key)[order(key, method = "radix")]
}

# A case as a Seurat object with reduction "latent", and as SingleCellExperiment.
peak_object <- function(case, assay = "ATAC") {
  rownames(case$counts) <- gsub("_", "-", rownames(case$counts))
  object <- SeuratObject::CreateSeuratObject(case$counts, assay = assay)
  add_latent(object, case$latent, assay)
}

add_latent <- function(object, latent, assay) {
  colnames(latent) <- paste0("latent_", seq_len(ncol(latent)))
  object[["latent"]] <- SeuratObject::CreateDimReducObject(
    embeddings = latent, assay = assay, key = "latent_"
  )
  object
}

peak_sce <- function(case) {
  sce_with(case$counts, reducedDims = list(latent = case$latent))
}

# RNA and peaks of the same cells: gene G1 follows the second of its peaks, G2 the sum of two, the
# others none. Depths of the two sides go together.
lasso_case <- function(n_cells = 500, seed = 21) {
  draw <- function() {
    depth <- exp(stats::rnorm(n_cells, 0, 0.3))
    on <- matrix(stats::rbinom(12 * n_cells, 1, 0.4), 12)
    # and peaks and genes elsewhere, which make the depth
    open <- rbind(0.3 + 1.5 * on, matrix(0.5, 60, n_cells)) * rep(depth, each = 72)
    peaks <- matrix(stats::rpois(length(open), open), 72)
    rate <- rbind(
      1 + 3 * on[2, ], 1 + 4 * on[5, ] + 4 * on[6, ], matrix(2, 4, n_cells), matrix(8, 14, n_cells)
    )
    list(
      rna = matrix(stats::rpois(length(rate), rate * rep(depth, each = nrow(rate))), nrow(rate)),
      peaks = peaks
    )
  }
  case <- with_seed(seed, draw())
  cells <- paste0("cell", seq_len(n_cells))
  dimnames(case$rna) <- list(paste0("G", seq_len(nrow(case$rna))), cells)
  at <- c(1e4 * seq_len(12) + rep(c(0, 1e6, 2e6), each = 4), 1e4 * 1:60)
  dimnames(case$peaks) <- list(paste(
    rep(c("chr1", "chr2"), c(12, 60)), format_position(at), format_position(at + 500),
    sep = "-"
  ), cells)
  case$coords <- data.frame(
    gene = paste0("G", 1:6), seqnames = "chr1",
    start = c(3e4, 1.06e6, 3.5e4, 1.07e6, 2.1e6, 9e6),
    end = c(5e4, 1.1e6, 6e4, 1.2e6, 2.2e6, 9.1e6),
    strand = c("+", "+", "-", "+", "-", "+")
  )
  case
}

link_case <- function(case, ..., genes = paste0("G", 1:5), gene.coords = case$coords) {
  LinkPeaksLASSO(
    case$rna, case$peaks, ...,
    genes = genes, gene.coords = gene.coords, verbose = FALSE
  )
}
