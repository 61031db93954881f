# Where genes start, from every form in which annotations come. The truth is made by GenomicRanges:
# the first base, on its strand, of what all parts of a gene span.

# Genes of one to three transcripts of one to four exons, and the rows of their annotation.
annotation <- function(n = 12) {
  with_seed(4, {
    parts <- lapply(seq_len(n), function(i) {
      body <- 1e5 * i + sort(sample(6e4, 24))
      transcripts <- rep(seq_len(1 + i %% 3), each = 1 + i %% 4)
      exons <- sample(seq(1, 23, 2), length(transcripts))
      data.frame(
        seqnames = c("chr1", "chr2", "chr1_KI270706v1_random")[1 + i %% 3],
        start = body[exons], end = body[exons + 1], strand = c("+", "-")[1 + i %% 2],
        gene_id = sprintf("ENSG%011d.%d", i, 1 + i %% 5), gene_name = paste0("GENE", i),
        transcript_id = paste0("T", i, "-", transcripts), type = "exon"
      )
    })
    do.call(rbind, parts)
  })
}

true_starts <- function(exons, by = "gene_name") {
  ranges <- GenomicRanges::makeGRangesFromDataFrame(exons)
  bodies <- BiocGenerics::unlist(range(S4Vectors::split(ranges, exons[[by]])))
  at <- GenomicRanges::start(GenomicRanges::resize(bodies, 1, fix = "start"))
  truth <- data.frame(
    gene = names(bodies), seqnames = as.character(GenomicRanges::seqnames(bodies)), tss = at,
    strand = as.character(GenomicRanges::strand(bodies))
  )
  sorted_starts(truth)
}

sorted_starts <- function(x) {
  x <- x[order(x$gene, x$seqnames, x$tss), c("gene", "seqnames", "tss", "strand")]
  rownames(x) <- NULL
  x
}

expect_starts <- function(coords, truth, ...) {
  expect_equal(sorted_starts(gene_starts(coords, ...)), truth)
}

with_rows <- function(exons, type, by) {
  spans <- lapply(split(exons, exons[[by]]), function(x) {
    row <- x[1, ]
    row$start <- min(x$start)
    row$end <- max(x$end)
    row$type <- type
    if (type == "gene") row$transcript_id <- NA
    row
  })
  rbind(do.call(rbind, spans), exons)
}

test_that("a gene starts where its parts do, with rows of type gene and without", {
  skip_slow()
  skip_if_not_installed("GenomicRanges")
  skip_if_not_installed("rtracklayer")
  exons <- annotation()
  truth <- true_starts(exons)
  forms <- list(
    exons = exons, stringtie = with_rows(exons, "transcript", "transcript_id"),
    full = with_rows(with_rows(exons, "transcript", "transcript_id"), "gene", "gene_id")
  )
  # a transgene was added to an annotation as an exon alone
  forms$added <- rbind(forms$full, transform(
    exons[1, ],
    gene_name = "GFP", gene_id = "GFP", transcript_id = "GFP", start = 1, end = 700, strand = "-"
  ))
  added <- true_starts(rbind(exons, utils::tail(forms$added, 1)))
  for (form in names(forms)) {
    expected <- if (form == "added") added else truth
    ranges <- GenomicRanges::makeGRangesFromDataFrame(forms[[form]], keep.extra.columns = TRUE)
    expect_starts(ranges, expected)
    expect_starts(forms[[form]], expected)
    for (ending in c(".gtf", ".gff3")) {
      file <- tempfile(fileext = ending)
      rtracklayer::export(ranges, file)
      expect_starts(file, expected)
    }
  }
  # what Signac keeps has tx_id, and parts of other names
  signac <- GenomicRanges::makeGRangesFromDataFrame(exons, keep.extra.columns = TRUE)
  names(S4Vectors::mcols(signac))[3] <- "tx_id"
  signac$type <- factor(rep(c("cds", "exon", "utr"), length.out = length(signac)))
  expect_starts(signac, truth)
  # names on the transcripts alone, as gffread writes GFF3; long non-coding genes of Ensembl's
  bare <- with_rows(exons, "transcript", "transcript_id")
  bare$gene_name[bare$type == "exon"] <- NA
  bare$gene_id <- NULL
  expect_starts(bare, truth)
  ensembl <- forms$full
  ensembl$type[ensembl$type == "gene" & ensembl$gene_name %in% c("GENE2", "GENE5")] <- "ncRNA_gene"
  expect_starts(ensembl, truth)
})

test_that("rows of a table without types are genes, each with its own start", {
  table <- data.frame(
    gene = c("A", "A", "B"), chr = "1", start = c(100, 300, 50), end = c(900, 900, 70),
    strand = c("+", "+", "-"), type = c("protein_coding", "pseudogene", "IG_V_gene")
  )
  expect_identical(gene_starts(table)$tss, c(100, 300, 70))
  table$tss <- c(100, 300, 60) # in the middle of a window
  expect_identical(gene_starts(table)$tss, c(100, 300, 60))
  expect_identical(gene_places(table)$start, c(100, 300, 60))
  # as biomaRt gives them
  mart <- data.frame(
    ensembl_gene_id = c("ENSG1", "ENSG2"), chromosome_name = c("1", "MT"),
    start_position = c(10, 20), end_position = c(90, 80), strand = c(1L, -1L)
  )
  expect_identical(gene_starts(mart)$tss, c(10, 80))
})

test_that("strands are read in every spelling, and what is not is said", {
  table <- function(strand) {
    data.frame(gene = paste0("g", seq_along(strand)), chr = "1", start = 1, end = 100, strand)
  }
  spelled <- list(
    c("+", "-"), c(1, -1), c("1", "-1"), c("plus", "minus"), c("Forward", "REVERSE"), c("f", "r"),
    c(" + ", "- "), factor(c("+", "-")), c("+1", "\u2212")
  )
  for (strand in spelled) expect_identical(gene_starts(table(strand))$tss, c(1, 100))
  expect_warning(
    expect_warning(
      starts <- gene_starts(table(c("-", "W", "C", "W"))),
      "the strand of 3 rows is not understood \\('W', 'C'\\)",
      class = "scmvp_warning_strand"
    ),
    "the strand of 3 genes is not known \\('g2', 'g3', 'g4'\\): they are taken to start at the low"
  )
  expect_identical(starts$strand, c("-", "*", "*", "*"))
  expect_warning(
    gene_starts(table("+")[1:4]), "the strand of 1 gene is not known \\('g1'\\): it is taken"
  )
  # where the start itself is given, the strand only says what is upstream
  expect_no_warning(gene_starts(data.frame(gene = "A", chr = "1", tss = 5)))
})

test_that("a BED file holds bodies or windows, and it is said which", {
  skip_if_not_installed("GenomicRanges")
  exons <- annotation()
  bodies <- with_rows(exons, "gene", "gene_id")
  bodies <- bodies[bodies$type == "gene", ]
  truth <- true_starts(exons)
  bed <- function(start, end, strand = bodies$strand, header = NULL) {
    file <- tempfile(fileext = ".bed")
    lines <- paste(
      bodies$seqnames, format_position(start - 1), format_position(end), bodies$gene_name, 0,
      strand,
      sep = "\t"
    )
    writeLines(c(header, lines), file)
    file
  }
  expect_message(
    expect_starts(bed(bodies$start, bodies$end, header = c("track name=x", "# y")), truth),
    "appears to contain bodies of genes"
  )
  at <- truth$tss[match(bodies$gene_name, truth$gene)]
  low <- pmax(at - 500, 1)
  expect_message(
    expect_starts(bed(at - 500, at + 500), truth), "transcription starts \\(100 % are 1,001 bp"
  )
  expect_message(expect_starts(bed(at, at), truth), "windows around transcription starts")
  expect_silent(gene_starts(bed(at, at), verbose = FALSE))
  # a place between two bases
  expect_starts(bed(at + 1, at), truth, verbose = FALSE)
  # a window that the chromosome cuts
  at[1] <- 200
  truth$tss[truth$gene == bodies$gene_name[1]] <- 200
  expect_starts(bed(pmax(at - 500, 1), at + 500), truth, verbose = FALSE)
  file <- bed(at, at)
  writeLines(c("chrom\tstart\tend\tname", readLines(file)), file)
  expect_refused(gene_starts(file), "1 line of .* is no range \\(the first is \"chrom\tstart")
  writeLines("chr1 1 2 A", file)
  expect_refused(gene_starts(file), "has no column of gene names")
})

test_that("a file of another kind, or a damaged one, is refused in one sentence", {
  table <- data.frame(gene = "A", chr = "chr1", start = 100, end = 200, strand = "+")
  for (ending in c(".csv", ".tsv", ".txt", "", ".gtf.zip", ".bed.csv")) {
    file <- tempfile(fileext = ending)
    utils::write.csv(table, file, row.names = FALSE)
    expect_refused(gene_starts(file), "must end in [.]gtf, [.]gff3 or [.]bed .*read a table of gen")
  }
  expect_identical(gene_starts(utils::read.csv(file))$tss, 100)
  skip_if_not_installed("rtracklayer")
  line <- "chr1\tx\tgene\t100\t200\t.\t-\t.\tgene_id \"A\";"
  for (ending in c(".GTF", ".gff")) {
    file <- tempfile(fileext = ending)
    for (damage in list(c("100", "x"), c("200", "20"), c("\t.*", ""))) {
      writeLines(sub(damage[1], damage[2], line), file)
      expect_refused(gene_starts(file), "is not a readable GTF or GFF3 file .*write it again[.]$")
    }
    writeLines(line, file)
    expect_identical(gene_starts(file)$tss, 200)
  }
})

test_that("genes are found by the column of names that fits the object", {
  skip_if_not_installed("GenomicRanges")
  exons <- annotation()
  by_id <- true_starts(exons, "gene_id")
  bare <- transform(by_id, gene = sub("[.].*", "", gene))
  newer <- transform(bare, gene = paste0(gene, ".17"))
  for (object in list(by_id, bare, newer)) {
    expect_message(
      expect_starts(exons, sorted_starts(object), genes = object$gene),
      "found by column gene_id \\(12 of 12; by gene_name: 0\\)"
    )
  }
  expect_silent(expect_starts(exons, true_starts(exons), genes = c("GENE1", "GENE2")))
  # Seurat's spelling; but a gene that has the name itself keeps it
  table <- data.frame(gene = c("A_1", "B_1", "B-1"), chr = "1", tss = 1:3)
  expect_identical(gene_starts(table, genes = c("A-1", "B-1"))$gene, c("A-1", "B_1", "B-1"))
  # only Ensembl ids have versions
  clones <- data.frame(gene = c("AC01.1", "AC01.2"), chr = "1", tss = 1:2)
  expect_identical(gene_starts(clones, genes = "AC01.3")$gene, clones$gene)
})

test_that("names of ranges are those of genes where no column finds as many", {
  skip_if_not_installed("GenomicRanges")
  ranges <- GenomicRanges::GRanges(
    "chr1", IRanges::IRanges(1000 * 1:3, width = 100), c("+", "-", "+")
  )
  names <- c("A", "B", "C")
  tss <- c(1000, 2099, 3000)
  expect_refused(gene_starts(ranges), "needs a column of gene names .* it has seqnames, start")
  names(ranges) <- names
  expect_identical(gene_starts(ranges)[c("gene", "tss")], data.frame(gene = names, tss = tss))
  ranges$gene_id <- paste0("ENSG0000000000", 1:3)
  expect_message(
    found <- gene_starts(ranges, genes = names),
    "found by the names of the ranges \\(3 of 3; by gene_id: 0\\)"
  )
  expect_identical(found$gene, names)
  ranges$gene_name <- rev(names)
  expect_silent(found <- gene_starts(ranges, genes = names))
  expect_identical(found[c("gene", "tss")], data.frame(gene = rev(names), tss = tss))
})

test_that("a matrix with Ensembl ids is linked by a GTF with both names", {
  skip_if_not_installed("rtracklayer")
  case <- lasso_case()
  expected <- link_case(case)
  ids <- sprintf("ENSG%011d", seq_len(nrow(case$rna)))
  gtf <- GenomicRanges::makeGRangesFromDataFrame(case$coords)
  S4Vectors::mcols(gtf) <- data.frame(
    type = "exon", gene_id = paste0(ids[1:6], ".3"), transcript_id = "T",
    gene_name = paste0("G", 1:6)
  )
  file <- tempfile(fileext = ".gtf")
  rtracklayer::export(gtf, file)
  rownames(case$rna) <- ids
  links <- link_case(case, genes = ids[1:5], gene.coords = file)
  expect_equal(links$gene, ids[as.integer(sub("G", "", expected$gene))])
  attr(links, "genes") <- attr(expected, "genes") <- NULL
  expect_equal(links[-1], expected[-1])
})

test_that("of chromosomes with as many peaks the one of the shorter name is taken", {
  on <- c("chr6_alt", "chr6", "chrY", "chrX", "chr10_fix", "chr10", "2", "chr1")
  places <- data.frame(gene = rep(c("a", "b", "c", "d"), each = 2), seqnames = on)
  of_peaks <- c("6", "6-alt", "chrX", "chrY", "chr2")
  for (rows in list(1:8, 8:1)) {
    found <- suppressWarnings(on_one_chromosome(places[rows, ], of_peaks))
    expect_setequal(found$seqnames, c("chr6", "chrX", "chr10", "2"))
  }
  expect_silent(on_one_chromosome(places[c(2, 3, 5, 8), ], of_peaks))
})

test_that("a chromosome is the same in every spelling", {
  spelled <- c("chr1", "Chr1", "CHR1", "1", "chromosome1", "chrM", "chrMT", "MT", "M", "Mt")
  expect_identical(bare_chromosome(spelled), rep(c("1", "M"), each = 5))
  expect_identical(
    bare_chromosome(c("chr1_KI270706v1_random", "chr1-KI270706v1-random")),
    rep("1-KI270706v1-random", 2)
  )
  # not within a name, and not all of it
  expect_identical(bare_chromosome(c("scaffold_chr2", "chr")), c("scaffold-chr2", "chr"))
  genes <- data.frame(
    gene = c("A", "B", "C"), chr = c("chr1_KI270706v1_random", "MT", "CHR2"), start = 1000,
    end = 2000, strand = "+"
  )
  peaks <- c("chr1-KI270706v1-random-900-1100", "chrM-900-1100", "Chr2-900-1100")
  expect_identical(ClassifyCRE(peaks, genes)$gene, c("A", "B", "C"))
  ranges <- ranges_table(NULL, peaks)
  lengths <- data.frame(genes$chr, 5000)
  expect_no_warning(table <- genome_table(lengths, ranges))
  expect_identical(table$length, rep(5000, 3))
  expect_identical(nearby_peaks(gene_starts(genes), ranges, 500)$gene, c("A", "B", "C"))
  links <- data.frame(gene = "A", peak = peaks[1], coefficient = 1, tss = 1000)
  skip_if_not_installed("ggplot2")
  drawn <- PlotLinks(links, "chr1_KI270706v1_random:1-5000", gene.coords = genes)
  expect_identical(ggplot2::layer_data(drawn, 5)$label, "A")
})
