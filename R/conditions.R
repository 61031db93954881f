# What DifferentialConditionsSCMVP() compares and how: the table of samples, its design, and the
# tests of edgeR and DESeq2 on sums of counts.

# ---- samples -------------------------------------------------------------------------------------

# The covariates of each cell as a data frame: text, factors and whole numbers as factors, other
# numbers as they are.
covariate_columns <- function(covariates, cells) {
  names <- colnames(cells$counts)
  if (is.null(covariates)) {
    return(data.frame(row.names = names))
  }
  if (is.data.frame(covariates)) {
    found <- given_batches(cells$values(covariates, "covariates"), names)
    if (!all(names %in% rownames(found))) {
      refuse(
        "covariates must have a row for each of ", count_of(length(names), "cell"), ", with their ",
        "names or in their order."
      )
    }
    found <- found[names, , drop = FALSE]
  } else {
    covariates <- check_names_known(
      covariates, colnames(cells$data), "covariates", "among the columns of the cell metadata"
    )
    found <- cells$data[, covariates, drop = FALSE]
    rownames(found) <- names
  }
  found[] <- lapply(found, function(x) {
    whole <- !is.numeric(x) || all(x == round(x), na.rm = TRUE)
    if (whole) level_factor(x) else x
  })
  found
}

# One row per sample: sample, condition (the reference is its first level) and the covariates.
table_of_samples <- function(labels, covariates, reference) {
  samples <- labels$sample
  first <- match(levels(samples), samples)
  refuse_varying(labels$condition, NULL, samples, first)
  for (name in names(covariates)) {
    refuse_missing(covariates[[name]], paste0("covariate '", name, "'"), rownames(covariates))
    refuse_varying(covariates[[name]], name, samples, first)
  }
  condition <- labels$condition[first]
  table <- data.frame(
    sample = factor(levels(samples), levels(samples)),
    condition = with_reference(condition, reference), row.names = levels(samples)
  )
  cbind(table, droplevels(covariates[first, , drop = FALSE]))
}

# A covariate, or (without a name) the condition, that is not the same in all cells of a sample.
refuse_varying <- function(values, name, samples, first) {
  code <- match(values, unique(values))
  differ <- sort(unique(samples[code != code[first][as.integer(samples)]]))
  if (length(differ) == 0) {
    return(invisible())
  }
  these <- paste0(
    count_of(length(differ), "sample"), " ", one_or_many(length(differ), "has", "have"),
    " cells of several "
  )
  if (is.null(name)) {
    refuse(
      these, "conditions (", some_names(as.character(differ)), "): a sample is one donor under ",
      "one condition, so give each of them its own name in sample, e.g. by ",
      "paste(donor, condition), and compare each donor with itself by naming the column of donors ",
      "in covariates."
    )
  }
  refuse(
    these, "values of covariate '", name, "' (", some_names(as.character(differ)), "): a ",
    "covariate must be the same in all cells of a sample, so leave it out, or name it in group.by."
  )
}

with_reference <- function(condition, reference) {
  if (nlevels(condition) < 2) {
    refuse(
      "condition has one value ('", levels(condition)[1], "'): there is nothing to compare, so ",
      "name a column with two or more."
    )
  }
  if (is.null(reference)) {
    return(condition)
  }
  if (length(reference) != 1 || !level_names(reference) %in% levels(condition)) {
    refuse(
      "reference must be one of the conditions (", some_names(levels(condition), 6), "), not ",
      in_words(reference), "."
    )
  }
  stats::relevel(condition, level_names(reference))
}

# Whether conditions can be compared at all with these samples.
check_design <- function(samples) {
  n <- table(samples$condition)
  if (all(n == 1)) {
    refuse(
      "each condition has one sample (", some_names(as.character(samples$sample)), "): cells of ",
      "one sample are not replicates, so give the column of the donors with sample =."
    )
  }
  if (n[[1]] < 2 || sum(n >= 2) < 2) {
    refuse(
      "there are too few samples to estimate the variation within conditions (",
      paste0("'", names(n), "': ", n, collapse = ", "), "): give at least 2 samples of the ",
      "reference ('", names(n)[1], "', or choose another with reference =) and of another ",
      "condition."
    )
  }
  same <- vapply(covariates_of(samples), function(x) length(unique(x)) < 2, logical(1))
  if (any(same)) {
    name <- names(same)[same][1]
    refuse("covariate '", name, "' is the same in all samples: leave it out.")
  }
  design <- design_of(samples)
  if (qr(design)$rank < ncol(design)) {
    refuse(
      "the condition and the covariates (", paste(names(covariates_of(samples)), collapse = ", "),
      ") are confounded in these samples, as one follows from the others (for example, each ",
      "batch has one condition): leave such a covariate out, and interpret the result with care."
    )
  }
}

# By place, as a covariate may have any name.
covariates_of <- function(samples) as.list(samples)[-(1:2)]

# Samples x coefficients: intercept, covariates, and last the conditions, each against the first.
design_of <- function(samples) {
  columns <- c(covariates_of(samples), list(samples$condition))
  varies <- vapply(columns, function(x) length(unique(x)) > 1, logical(1))
  parts <- lapply(columns[varies], function(x) {
    if (is.numeric(x)) {
      return(matrix(x - mean(x)))
    }
    outer(as.integer(x), seq_len(nlevels(x))[-1], `==`) + 0
  })
  design <- do.call(cbind, c(list(rep(1, nrow(samples))), parts))
  colnames(design) <- paste0("x", seq_len(ncol(design)))
  design
}

# ---- tests ---------------------------------------------------------------------------------------

# One row per feature and condition; NULL where no feature has enough counts. `counts`: features x
# sums, dense, as both packages want it.
tests_of_sums <- function(counts, design, condition, method, min.count, group) {
  test <- if (method == "edgeR") edger_tests else deseq2_tests
  # the coefficients of the conditions are the last ones
  at <- ncol(design) - nlevels(condition) + seq_len(nlevels(condition))[-1]
  tested <- tryCatch(
    test(counts, design, at, condition, min.count),
    error = function(e) {
      refuse(
        method, " cannot fit group '", group, "' (", sub("\n.*", "", conditionMessage(e)), "): ",
        "take method = \"", setdiff(c("edgeR", "DESeq2"), method), "\", or leave this group out.",
        details = e
      )
    }
  )
  if (is.null(tested)) {
    return(NULL)
  }
  share <- 1e4 * sweep(counts, 2, colSums(counts), "/")
  mean_of <- function(level) unname(rowMeans(share[, condition == level, drop = FALSE]))
  levels <- levels(condition)
  means <- lapply(levels, mean_of)
  rows <- Map(function(table, i) {
    here <- match(table$feature, rownames(counts))
    table <- data.frame(
      feature = table$feature, condition = levels[i], reference = levels[1], lfc = table$lfc,
      p_value = table$p, q_value = table$q, mean_condition = means[[i]][here],
      mean_reference = means[[1]][here], n_condition = sum(condition == levels[i]),
      n_reference = sum(condition == levels[1])
    )
    table[order(table$p_value, -abs(table$lfc)), , drop = FALSE]
  }, tested, seq_along(levels)[-1])
  table <- do.call(rbind, rows)
  rownames(table) <- NULL
  table
}

# A table (feature, lfc, p, q) for each coefficient in `at`.
edger_tests <- function(counts, design, at, condition, min.count) {
  sums <- edgeR::DGEList(counts)
  kept <- edgeR::filterByExpr(sums, design = design, min.count = min.count)
  if (!any(kept)) {
    return(NULL)
  }
  sums <- sums[kept, , keep.lib.sizes = FALSE]
  sums <- edgeR::estimateDisp(edgeR::calcNormFactors(sums), design)
  fit <- edgeR::glmQLFit(sums, design)
  lapply(at, function(coefficient) {
    table <- edgeR::glmQLFTest(fit, coef = coefficient)$table
    data.frame(
      feature = rownames(table), lfc = table$logFC, p = table$PValue,
      q = stats::p.adjust(table$PValue, "BH")
    )
  })
}

deseq2_tests <- function(counts, design, at, condition, min.count) {
  smallest <- min(table(condition))
  kept <- rowSums(counts >= min.count) >= smallest & rowSums(counts) > 0
  if (!any(kept)) {
    return(NULL)
  }
  counts <- counts[kept, , drop = FALSE]
  storage.mode(counts) <- "integer"
  suppressMessages({
    sums <- DESeq2::DESeqDataSetFromMatrix(
      counts, data.frame(condition, row.names = colnames(counts)), design
    )
    sums <- DESeq2::DESeq(sums, sfType = "poscounts", quiet = TRUE)
  })
  lapply(at, function(coefficient) {
    one <- as.numeric(seq_len(ncol(design)) == coefficient)
    table <- DESeq2::results(sums, contrast = one, alpha = 0.05)
    data.frame(
      feature = rownames(counts), lfc = table$log2FoldChange, p = table$pvalue, q = table$padj
    )
  })
}
