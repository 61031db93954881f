# Runs the package cicero on the cases of tests/testthat/helper-cre.R and keeps its numbers as
# tests/testthat/fixtures/cicero.rds, so that the tests of RunCicero() need no cicero:
#   Rscript tools/cicero_fixture.R
# Needs cicero (Bioconductor; made with 1.29.2 on monocle 2.26) in R's library path.

suppressMessages(library(cicero))
parts <- new.env(parent = globalenv())
for (file in c(
  "R/ranges.R", "tests/testthat/helper-objects.R", "tests/testthat/helper-cre.R"
)) {
  sys.source(file, parts)
}

cicero_numbers <- function(name) {
  case <- parts$cicero_case(name)
  counts <- case$counts
  features <- parts$parse_ranges(rownames(counts))
  features <- data.frame(
    site_name = rownames(counts), chr = features$seqnames, bp1 = features$start,
    bp2 = features$end, row.names = rownames(counts)
  )
  cells <- data.frame(cells = colnames(counts), row.names = colnames(counts))
  cds <- suppressWarnings(newCellDataSet(
    counts,
    phenoData = new("AnnotatedDataFrame", data = cells),
    featureData = new("AnnotatedDataFrame", data = features),
    expressionFamily = VGAM::negbinomial.size(), lowerDetectionLimit = 0
  ))
  set.seed(case$seed)
  grouped <- make_cicero_cds(
    cds, case$latent,
    k = case$k, silent = TRUE, return_agg_info = TRUE
  )
  aggregated <- Biobase::exprs(grouped[[1]])
  set.seed(case$seed)
  sampled <- suppressWarnings(estimate_distance_parameter(
    grouped[[1]],
    genomic_coords = case$genome, sample_num = case$sample_num
  ))
  models <- generate_cicero_models(
    grouped[[1]], case$distance_parameter,
    genomic_coords = case$genome
  )
  connections <- assemble_connections(models, silent = TRUE)
  cat(
    name, ":", ncol(aggregated), "groups, distance parameter", mean(sampled), ",",
    nrow(connections), "rows,", sum(is.na(connections$coaccess)), "NA,",
    sum(unlist(models) == "Too many elements in range", na.rm = TRUE), "windows too large,",
    sum(unlist(models) == "Zero or one element in range", na.rm = TRUE), "empty\n"
  )
  list(
    groups = sub("^agg_", "agg", unique(as.character(grouped[[2]]$agg_cell))),
    cells = split(as.character(grouped[[2]]$cell), grouped[[2]]$agg_cell),
    # all values would be a large file: sums over peaks and groups, and some in full
    row_sums = rowSums(aggregated), column_sums = colSums(aggregated),
    first_rows = aggregated[1:10, ],
    sampled = sampled,
    connections = signif(parts$connections_by_pair(connections), 10)
  )
}

fixture <- lapply(c(raw = "raw", dense = "dense", multi = "multi"), cicero_numbers)
fixture$version <- as.character(packageVersion("cicero"))
dir.create("tests/testthat/fixtures", showWarnings = FALSE)
saveRDS(fixture, "tests/testthat/fixtures/cicero.rds", compress = "xz")
cat(file.size("tests/testthat/fixtures/cicero.rds"), "bytes\n")
