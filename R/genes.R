# Where genes start.

# One row per start of a gene: gene, seqnames, tss, strand. `coords`: a data frame, GRanges, GTF,
# GFF3 or BED file, EnsDb or TxDb. `genes`: the names that the genes have elsewhere (in the object);
# where `coords` has several kinds of names, those are taken that find most of them.
gene_starts <- function(coords, genes = NULL, verbose = TRUE) {
  unique(gene_places(coords, genes, verbose)[c("gene", "seqnames", "tss", "strand")])
}

# The same with the body of the gene, `start` to `end`; both are the start of transcription where no
# body is known.
gene_places <- function(coords, genes = NULL, verbose = TRUE) {
  if (is.character(coords) && length(coords) == 1) {
    coords <- read_gene_file(coords, verbose)
  }
  if (methods::is(coords, "TxDb") || methods::is(coords, "EnsDb")) coords <- database_genes(coords)
  if (methods::is(coords, "GRanges")) coords <- table_of_granges(coords)
  if (!is.data.frame(coords)) {
    refuse(
      "gene.coords must be a data frame (gene, chromosome, start, end, strand, or tss), a ",
      "GRanges, a GTF or BED file, an EnsDb or a TxDb, not ", in_words(coords), "."
    )
  }
  places_of_table(coords, genes, verbose)
}

read_gene_file <- function(path, verbose) {
  if (!file.exists(path)) refuse("gene.coords: there is no file '", path, "'.")
  if (grepl("[.]bed([.]b?gz)?$", path, ignore.case = TRUE)) {
    return(read_gene_bed(path, verbose))
  }
  if (!grepl("[.](gtf|gff[123]?)([.]b?gz)?$", path, ignore.case = TRUE)) {
    refuse(
      "gene.coords: the name of '", path, "' must end in .gtf, .gff3 or .bed (or these with .gz), ",
      "so give a GTF, GFF3 or BED file, or read a table of genes into a data frame."
    )
  }
  check_installed("rtracklayer", "gene.coords from a file")
  tryCatch(rtracklayer::import(path), error = function(e) {
    refuse(
      "gene.coords: '", path, "' is not a readable GTF or GFF3 file (damaged or truncated?): ",
      first_line(conditionMessage(e)), "; copy or write it again.",
      details = e
    )
  })
}

read_gene_bed <- function(path, verbose) {
  lines <- grep("^(#|track|browser|\\s*$)", readLines(path), value = TRUE, invert = TRUE)
  fields <- strsplit(lines, "\t", fixed = TRUE)
  if (length(fields) == 0) refuse("gene.coords: '", path, "' holds no gene.")
  if (min(lengths(fields)) < 4) {
    refuse("gene.coords: '", path, "' has no column of gene names (the fourth, after a tab).")
  }
  field <- function(i) vapply(fields, `[`, "", i)
  number <- function(i) suppressWarnings(as.numeric(field(i)))
  table <- data.frame(
    seqnames = field(1), start = number(2) + 1, end = number(3), # BED counts from 0
    gene = field(4), strand = if (min(lengths(fields)) >= 6) field(6) else "*"
  )
  empty <- which(table$end == table$start - 1) # a place between two bases
  table$start[empty] <- table$end[empty]
  bad <- which(is.na(table$start) | is.na(table$end) | table$end < table$start)
  if (length(bad) > 0) {
    refuse(
      "gene.coords: ", count_of(length(bad), "line"), " of '", path, "' ", is_are(length(bad)),
      " no range (the first is \"", lines[bad[1]], "\")."
    )
  }
  starts_of_bed(table, path, verbose)
}

# A BED file of genes contains either gene bodies or windows around starts. Windows all have the
# same width, except those merged or cut at the end of a chromosome; bodies almost never do.
starts_of_bed <- function(table, path, verbose) {
  width <- table$end - table$start + 1
  usual <- as.numeric(names(which.max(table(width))))
  share <- mean(width == usual)
  windows <- max(width) <= 2 || (nrow(table) > 1 && share > 0.5)
  if (verbose) {
    message(
      "gene.coords: '", basename(path), "' appears to contain ",
      if (windows) {
        paste0(
          "windows around transcription starts (", sprintf("%.0f", 100 * share), " % are ",
          format_count(usual), " bp wide); the middle of a window is used as the start"
        )
      } else {
        "bodies of genes (their widths differ); the 5' end of the strand is used as the start"
      }
    )
  }
  if (windows) {
    # a window cut at the first base is shorter on that side
    cut <- table$start == 1 & width < usual
    table$tss <- ifelse(cut, table$end - floor(usual / 2), round((table$start + table$end) / 2))
  }
  table
}

# The columns of a GRanges and, as one more, its names.
table_of_granges <- function(ranges) {
  table <- as_ranges(ranges, "gene.coords")
  table[[names_of_granges]] <- names(ranges)
  table
}

database_genes <- function(database) {
  package <- if (methods::is(database, "EnsDb")) "ensembldb" else "GenomicFeatures"
  check_installed(package, "gene.coords")
  bioc(package, "genes")(database)
}

places_of_table <- function(table, genes, verbose) {
  gene <- gene_labels(table, genes, verbose)
  strand <- if ("strand" %in% names(table)) table$strand else rep("*", nrow(table))
  at_tss <- "tss" %in% names(table)
  tss <- if (at_tss) {
    as_positions(table$tss, "column tss of gene.coords")
  } else {
    rep(NA_real_, nrow(table))
  }
  bodies <- all(vapply(range_columns[c("start", "end")], function(spelled) {
    any(spelled %in% names(table))
  }, logical(1)))
  if (at_tss && !bodies) table$start <- table$end <- tss
  kind <- row_kinds(table)
  id <- if ("gene_id" %in% names(table)) as.character(table$gene_id) else gene
  table <- as_ranges(table, "gene.coords")
  places <- data.frame(
    gene = gene, seqnames = table$seqnames, start = table$start, end = table$end,
    strand = read_strand(strand), tss = tss, id = id, kind = kind
  )
  places <- places[!is.na(gene) & nzchar(gene) & !is.na(if (at_tss) tss else places$start), ]
  if (at_tss) {
    # windows around the start are no bodies
    window <- places$tss != places$start & places$tss != places$end
    places$start[window] <- places$end[window] <- places$tss[window]
  } else {
    if (any(places$kind != "")) places <- whole_genes(places)
    tell_without_strand(places)
    places$tss <- ifelse(places$strand == "-", places$end, places$start)
  }
  unique(places[c("gene", "seqnames", "start", "end", "strand", "tss")])
}

# What the rows of an annotation are: "gene", "part" (of a gene: transcripts, exons, ...) or
# "other"; "" for all rows of a table which is no such annotation.
row_kinds <- function(table) {
  column <- intersect(c("type", "feature"), names(table))
  type <- if (length(column) > 0) as.character(table[[column[1]]]) else rep("", nrow(table))
  type[is.na(type)] <- ""
  transcript <- intersect(c("tx_id", "transcript_id", "transcript"), names(table))
  part <- type %in% part_types
  for (name in transcript) {
    value <- as.character(table[[name]])
    part <- part | (!is.na(value) & nzchar(value))
  }
  # the same words are used for biotypes, in tables where each row is a gene
  if (!any(part) && !any(type == "gene")) {
    return(rep("", nrow(table)))
  }
  gene <- grepl("(^|_)gene$|^pseudogene$", type)
  ifelse(gene, "gene", ifelse(part, "part", "other"))
}

part_types <- c(
  "exon", "CDS", "cds", "UTR", "utr", "5UTR", "3UTR", "five_prime_utr", "three_prime_utr",
  "five_prime_UTR", "three_prime_UTR", "start_codon", "stop_codon", "gap", "intron", "transcript",
  "mRNA", "ncRNA", "lnc_RNA", "lncRNA", "miRNA", "snRNA", "snoRNA", "rRNA", "tRNA", "scRNA",
  "pseudogenic_transcript", "primary_transcript"
)

# Genes as the annotation has them; those without a row of their own from the first to the last base
# of their parts.
whole_genes <- function(places) {
  genes <- places[places$kind == "gene", ]
  parts <- places[places$kind == "part" & !places$gene %in% genes$gene, ]
  rbind(genes, spans_of(parts))
}

spans_of <- function(places) {
  key <- paste(places$gene, places$id, places$seqnames, places$strand, sep = "\r")
  first <- !duplicated(key)
  spans <- places[first, ]
  group <- match(key, key[first])
  spans$start <- as.numeric(tapply(places$start, group, min))
  spans$end <- as.numeric(tapply(places$end, group, max))
  spans
}

# ---- strands -------------------------------------------------------------------------------------

strand_spellings <- list(
  "+" = c("+", "1", "+1", "plus", "forward", "fwd", "f", "positive", "pos"),
  "-" = c("-", "-1", "\u2212", "minus", "reverse", "rev", "r", "negative", "neg"),
  "*" = c("*", ".", "?", "", "0", "unstranded", "none", "both", "na")
)

read_strand <- function(x) {
  given <- tolower(trimws(as.character(x)))
  given[is.na(given)] <- ""
  strand <- rep(names(strand_spellings), lengths(strand_spellings))[
    match(given, unlist(strand_spellings))
  ]
  unknown <- which(is.na(strand))
  if (length(unknown) > 0) {
    warn_of(
      "strand", "gene.coords: the strand of ", count_of(length(unknown), "row"),
      " is not understood (", some_names(unique(as.character(x)[unknown])),
      "): it is treated as unknown. Write it as '+' or '-'."
    )
    strand[unknown] <- "*"
  }
  strand
}

tell_without_strand <- function(places) {
  genes <- unique(places$gene[places$strand == "*" & places$end > places$start])
  if (length(genes) > 0) {
    warn_of(
      "strand", "gene.coords: the strand of ", count_of(length(genes), "gene"), " is not known (",
      some_names(genes), "): ", one_or_many(length(genes), "it is", "they are"),
      " taken to start at the lower coordinate."
    )
  }
}

# ---- names ---------------------------------------------------------------------------------------

# no column of theirs has this name; the last, as the names may be those of transcripts
names_of_granges <- "the names of the ranges"

gene_columns <- c(
  "gene", "gene_name", "symbol", "gene_symbol", "external_gene_name", "hgnc_symbol", "mgi_symbol",
  "gene_id", "ensembl_gene_id", "geneID", "name", "Name", names_of_granges
)

# The gene of each row, under the name that it has among `genes`.
gene_labels <- function(table, genes, verbose) {
  columns <- intersect(gene_columns, names(table))
  if (length(columns) == 0) {
    refuse(
      "gene.coords needs a column of gene names (gene, gene_name, symbol or gene_id); it has ",
      paste(names(table), collapse = ", "), "."
    )
  }
  labels <- lapply(stats::setNames(columns, columns), function(column) {
    label <- as.character(table[[column]])
    # annotations leave the name empty for genes known by their id alone
    if ("gene_id" %in% columns) {
      unnamed <- is.na(label) | !nzchar(label)
      label[unnamed] <- as.character(table$gene_id)[unnamed]
    }
    label
  })
  if (is.null(genes)) {
    return(labels[[1]])
  }
  genes <- unique(as.character(genes))
  labels <- lapply(labels, named_as, genes = genes)
  found <- vapply(labels, function(label) sum(genes %in% label), numeric(1))
  best <- which.max(found)
  if (best != 1 && verbose) {
    message(
      "gene.coords: genes are found by ", if (columns[best] != names_of_granges) "column ",
      columns[best], " (", format_count(found[best]), " of ", format_count(length(genes)), "; by ",
      columns[1], ": ", format_count(found[1]), ")"
    )
  }
  labels[[best]]
}

# `labels`, under the names of `genes` where these mean the same: with the '_' that Seurat has
# turned into '-', or another version of an Ensembl id.
named_as <- function(labels, genes) {
  for (meaning in list(seurat_spelling, without_version)) {
    left <- setdiff(genes, labels)
    of_gene <- meaning(left)
    of_gene[of_gene %in% of_gene[duplicated(of_gene)]] <- NA
    free <- which(!labels %in% genes)
    at <- match(meaning(labels[free]), of_gene, incomparables = NA)
    labels[free[!is.na(at)]] <- left[at[!is.na(at)]]
  }
  labels
}

without_version <- function(x) sub("^(ENS[A-Z]*[0-9]{6,})[.][0-9]+", "\\1", x)

# ---- near which peaks ----------------------------------------------------------------------------

# For each gene asked for, its starts, on one chromosome. Genes without one are told. `ranges`: of
# the peaks.
locate_genes <- function(genes, starts, ranges) {
  known <- genes[genes %in% starts$gene]
  if (length(known) == 0) {
    refuse(
      if (length(genes) == 1) {
        paste0("gene ", some_names(genes), " is not in gene.coords")
      } else {
        paste0("none of the ", format_count(length(genes)), " genes (", some_names(genes),
          ") is in gene.coords")
      },
      " (", some_names(unique(starts$gene)), "): give coordinates under the same gene names."
    )
  }
  unknown <- setdiff(genes, known)
  if (length(unknown) > 0) {
    warn_of(
      "genes",
      count_of(length(unknown), "gene"), " of ", format_count(length(genes)), " ",
      is_are(length(unknown)), " not in gene.coords and ", is_are(length(unknown)),
      " left out: ", some_names(unknown), "."
    )
  }
  on_one_chromosome(starts[starts$gene %in% known, ], ranges$seqnames)
}

# Genes of one name on several chromosomes at that with the most peaks, which is told. Of two with
# as many it is that of the shorter name, chr6 and not chr6_GL000250v2_alt, and then the first by
# name: the order of the rows says nothing. `of_peaks`: chromosome of each peak.
on_one_chromosome <- function(places, of_peaks) {
  on <- bare_chromosome(places$seqnames)
  n_peaks <- table(factor(bare_chromosome(of_peaks), unique(on)))
  rank <- order(-n_peaks[on], nchar(on), on, method = "radix")
  best <- on[rank][match(places$gene, places$gene[rank])]
  several <- unique(places$gene[on != best])
  if (length(several) > 0) {
    warn_of(
      "genes",
      count_of(length(several), "gene"), " on several chromosomes in gene.coords (",
      some_names(several), "): the chromosome with the most peaks is taken."
    )
  }
  places[on == best, ]
}

# Pairs of a gene and a peak whose center is at most `distance` from the gene's nearest start:
# gene, peak (row of `ranges`), distance (negative upstream), tss (that start).
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
  pairs$tss <- starts$tss[pairs$row]
  pairs <- pairs[order(abs(pairs$distance)), ]
  pairs <- pairs[!duplicated(pairs[c("gene", "peak")]), ]
  pairs <- pairs[order(match(pairs$gene, starts$gene), pairs$peak), ]
  rownames(pairs) <- NULL
  pairs[c("gene", "peak", "distance", "tss")]
}
