# Where genes start.

# One row per transcription start: gene, seqnames, tss, strand. `coords`: a data frame, GRanges,
# GTF/GFF or BED file, EnsDb or TxDb.
gene_starts <- function(coords, argument = "gene.coords") {
  if (is.character(coords) && length(coords) == 1) coords <- read_gene_file(coords, argument)
  if (methods::is(coords, "TxDb") || methods::is(coords, "EnsDb")) coords <- database_genes(coords)
  if (methods::is(coords, "GRanges")) {
    coords <- as_ranges(coords, argument)
    if ("type" %in% names(coords) && any(coords$type == "gene")) {
      coords <- coords[coords$type == "gene", ]
    }
  }
  if (!is.data.frame(coords)) {
    refuse(
      argument, " must be a data frame (gene, chromosome, start, end, strand, or tss), a GRanges, ",
      "a GTF or BED file, an EnsDb or a TxDb, not ", in_words(coords), "."
    )
  }
  starts_of_table(coords, argument)
}

read_gene_file <- function(path, argument) {
  if (!file.exists(path)) refuse(argument, ": there is no file '", path, "'.")
  if (grepl("[.]bed([.]gz)?$", path, ignore.case = TRUE)) {
    table <- utils::read.table(path, sep = "\t", quote = "", stringsAsFactors = FALSE)
    if (ncol(table) < 4) refuse(argument, ": '", path, "' has no column of gene names.")
    names(table)[1:4] <- c("seqnames", "start", "end", "gene")
    table$strand <- if (ncol(table) >= 6) table[[6]] else "*"
    table$start <- table$start + 1 # BED counts from 0
    # a window around the start, not the body of the gene
    table$tss <- round((table$start + table$end) / 2)
    return(table)
  }
  check_installed("rtracklayer", paste(argument, "from a file"))
  rtracklayer::import(path)
}

database_genes <- function(database) {
  package <- if (methods::is(database, "EnsDb")) "ensembldb" else "GenomicFeatures"
  check_installed(package, "gene.coords", paste0("BiocManager::install(\"", package, "\")"))
  genes <- getExportedValue(package, "genes")(database)
  genes
}

starts_of_table <- function(table, argument) {
  name <- intersect(c("gene", "gene_name", "symbol", "gene_id", "name"), names(table))
  if (length(name) == 0) {
    refuse(
      argument, " needs a column of gene names (gene, gene_name, symbol or gene_id); it has ",
      paste(names(table), collapse = ", "), "."
    )
  }
  gene <- as.character(table[[name[1]]])
  # annotations leave gene_name empty for genes known by their id alone
  if (name[1] == "gene_name" && "gene_id" %in% names(table)) {
    unnamed <- is.na(gene) | !nzchar(gene)
    gene[unnamed] <- as.character(table$gene_id)[unnamed]
  }
  strand <- if ("strand" %in% names(table)) as.character(table$strand) else rep("*", nrow(table))
  strand[!strand %in% c("+", "-")] <- "*"
  if ("tss" %in% names(table)) {
    table$start <- table$end <- table$tss
  }
  table <- as_ranges(table, argument)
  starts <- data.frame(
    gene = gene, seqnames = table$seqnames, start = table$start, end = table$end, strand = strand
  )
  starts <- starts[!is.na(gene) & nzchar(gene) & !is.na(starts$start), ]
  # exons and transcripts of a gene (Signac's annotation) together span it
  if (!"tss" %in% names(table) && "tx_id" %in% names(table)) starts <- spans_of(starts)
  starts$tss <- ifelse(starts$strand == "-", starts$end, starts$start)
  unique(starts[c("gene", "seqnames", "tss", "strand")])
}

spans_of <- function(starts) {
  key <- paste(starts$gene, starts$seqnames, starts$strand, sep = "\r")
  first <- !duplicated(key)
  spans <- starts[first, ]
  group <- match(key, key[first])
  spans$start <- as.numeric(tapply(starts$start, group, min))
  spans$end <- as.numeric(tapply(starts$end, group, max))
  spans
}

# For each gene asked for, its starts. Genes without one, or with starts on several chromosomes, are
# told.
locate_genes <- function(genes, starts, where) {
  known <- genes[genes %in% starts$gene]
  if (length(known) == 0) {
    refuse(
      "none of the ", format_count(length(genes)), " genes (", some_names(genes), ") is in ", where,
      " (", some_names(unique(starts$gene)), "): give coordinates under the same gene names."
    )
  }
  unknown <- setdiff(genes, known)
  if (length(unknown) > 0) {
    warn_of(
      "genes",
      count_of(length(unknown), "gene"), " of ", format_count(length(genes)), " ",
      if (length(unknown) == 1) "is" else "are", " not in ", where, " and ",
      if (length(unknown) == 1) "is" else "are", " left out: ", some_names(unknown), "."
    )
  }
  starts <- starts[starts$gene %in% known, ]
  chromosomes <- unique(
    data.frame(gene = starts$gene, chromosome = bare_chromosome(starts$seqnames))
  )
  several <- unique(chromosomes$gene[duplicated(chromosomes$gene)])
  if (length(several) > 0) {
    warn_of(
      "genes",
      count_of(length(several), "gene"), " on several chromosomes in ", where, " (",
      some_names(several), "): the first place is taken."
    )
    first <- chromosomes[!duplicated(chromosomes$gene), ]
    starts <- starts[
      bare_chromosome(starts$seqnames) == first$chromosome[match(starts$gene, first$gene)],
    ]
  }
  starts
}

# Pairs of a gene and a peak whose center is at most `distance` from the gene's nearest start:
# gene, peak (row of `ranges`), distance (negative upstream).
nearby_peaks <- function(starts, ranges, distance) {
  center <- (ranges$start + ranges$end) / 2
  peak_chromosome <- bare_chromosome(ranges$seqnames)
  start_chromosome <- bare_chromosome(starts$seqnames)
  shared <- intersect(unique(start_chromosome), unique(peak_chromosome))
  found <- lapply(shared, function(chromosome) {
    peaks <- which(peak_chromosome == chromosome)
    peaks <- peaks[order(center[peaks])]
    rows <- which(start_chromosome == chromosome)
    low <- findInterval(starts$tss[rows] - distance, center[peaks], left.open = TRUE) + 1
    high <- findInterval(starts$tss[rows] + distance, center[peaks])
    n <- pmax(high - low + 1, 0)
    row <- rep(rows, n)
    data.frame(row = row, peak = peaks[rep(low, n) + sequence(n) - 1])
  })
  pairs <- do.call(rbind, c(list(data.frame(row = integer(), peak = integer())), found))
  offset <- center[pairs$peak] - starts$tss[pairs$row]
  pairs$distance <- ifelse(starts$strand[pairs$row] == "-", -offset, offset)
  pairs$gene <- starts$gene[pairs$row]
  pairs <- pairs[order(abs(pairs$distance)), ]
  pairs <- pairs[!duplicated(pairs[c("gene", "peak")]), ]
  pairs <- pairs[order(match(pairs$gene, starts$gene), pairs$peak), ]
  rownames(pairs) <- NULL
  pairs[c("gene", "peak", "distance")]
}
