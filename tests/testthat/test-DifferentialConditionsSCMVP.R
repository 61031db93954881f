# Conditions with several donors, against edgeR and DESeq2 called by hand.

compare <- function(object, ..., condition = "condition", sample = "sample", group.by = "type",
                    min.cells = 5, verbose = FALSE) {
  DifferentialConditionsSCMVP(
    object, condition, sample, group.by,
    min.cells = min.cells, verbose = verbose, ...
  )
}

# Sums over the cells of a type, and what is known of each sample.
sums_by_sample <- function(made, type) {
  inside <- made$cells$type == type
  names <- sort(unique(made$cells$sample[inside]))
  sums <- vapply(names, function(name) {
    rowSums(as.matrix(made$counts)[, inside & made$cells$sample == name])
  }, numeric(nrow(made$counts)))
  table <- made$cells[match(names, made$cells$sample), ]
  list(counts = sums, table = table)
}

# `formula`: of the columns of the cells; `coef`: the names of the coefficients to test.
by_edger <- function(made, type, formula, coef) {
  sums <- sums_by_sample(made, type)
  design <- stats::model.matrix(formula, sums$table)
  y <- edgeR::DGEList(sums$counts)
  y <- y[edgeR::filterByExpr(y, design = design), , keep.lib.sizes = FALSE]
  y <- edgeR::estimateDisp(edgeR::calcNormFactors(y), design)
  edgeR::glmQLFTest(edgeR::glmQLFit(y, design), coef = coef)$table
}

expect_table <- function(table, truth, group) {
  found <- table[table$group == group, ]
  expect_setequal(found$feature, rownames(truth))
  truth <- truth[found$feature, ]
  expect_equal(found$p_value, truth$PValue, tolerance = 1e-5)
  # numbers are centered, which changes the last steps of the fit
  expect_equal(found$lfc, truth$logFC, tolerance = 1e-5)
  expect_equal(found$q_value, stats::p.adjust(found$p_value, "BH"))
  expect_false(is.unsorted(found$p_value))
}

test_that("the table is that of edgeR on sums made by hand", {
  skip_slow()
  skip_if_not_installed("edgeR")
  made <- donor_cells()
  table <- compare(donor_object(made))
  expect_named(table, c(
    "feature", "group", "condition", "reference", "lfc", "p_value", "q_value", "mean_condition",
    "mean_reference", "n_condition", "n_reference"
  ))
  for (type in c("B", "T")) {
    expect_table(table, by_edger(made, type, ~condition, "conditiontreated"), type)
  }
  expect_true(all(table$n_condition == 4 & table$n_reference == 4))
  sums <- sums_by_sample(made, "T")
  share <- 1e4 * t(t(sums$counts) / colSums(sums$counts))
  mine <- table[table$group == "T", ]
  treated <- sums$table$condition == "treated"
  expect_equal(mine$mean_condition, unname(rowMeans(share[mine$feature, treated])))
  expect_equal(mine$mean_reference, unname(rowMeans(share[mine$feature, !treated])))
  expect_setequal(mine$feature[1:10], paste0("Gene", 1:10))

  # the other way round, and with what was counted as a peak
  turned <- compare(donor_object(made), reference = "treated")
  both <- merge(table, turned, by = c("group", "feature"))
  expect_equal(both$lfc.x, -both$lfc.y, tolerance = 1e-6)
  peaks <- as_peaks(made$counts)
  peaks <- compare(donor_object(made, peaks[, rev(colnames(peaks))]), modality = "peaks")
  expect_equal(peaks$p_value, table$p_value)
  # values in the place of names of columns, in another order
  mixed <- made$cells[rev(seq_len(nrow(made$cells))), ]
  of_matrix <- do.call(compare, c(list(made$counts), lapply(
    list(condition = mixed$condition, sample = mixed$sample, group.by = mixed$type),
    stats::setNames, rownames(mixed)
  )))
  expect_equal(of_matrix, table)
})

test_that("donors under both conditions are compared with themselves", {
  skip_slow()
  skip_if_not_installed("edgeR")
  made <- donor_cells(n_donors = 5, paired = TRUE)
  # donors by number are levels, no numbers
  made$cells$donor <- as.integer(sub("d", "", made$cells$donor))
  table <- compare(donor_object(made), covariates = "donor")
  truth <- by_edger(made, "T", ~ factor(donor) + condition, "conditiontreated")
  expect_table(table, truth, "T")
  alone <- compare(donor_object(made))
  called <- function(x) sum(x$q_value[x$feature %in% paste0("Gene", 1:10)] < 0.05)
  expect_gt(called(table), called(alone))
})

test_that("three conditions and covariates of both kinds", {
  skip_slow()
  skip_if_not_installed("edgeR")
  made <- donor_cells(n_donors = 10)
  number <- as.integer(sub("d", "", made$cells$donor))
  made$cells$condition <- factor(c("x", "none", "y")[1 + number %% 3], c("none", "x", "y"))
  made$cells$sample <- made$cells$donor
  made$cells$age <- 3 + number^2 / 7
  made$cells$sex <- number > 5
  table <- compare(donor_object(made), covariates = c("age", "sex"))
  for (condition in c("x", "y")) {
    coefficient <- paste0("condition", condition)
    truth <- by_edger(made, "B", ~ age + sex + condition, coefficient)
    expect_table(table[table$condition == condition, ], truth, "B")
  }
  # a covariate may have any name
  object <- donor_object(made)
  object$treatment <- object$condition
  object$condition <- object$sex
  named <- compare(object, condition = "treatment", covariates = c("age", "condition"))
  expect_equal(named, table)
})

test_that("the table is that of DESeq2 on sums made by hand", {
  skip_slow()
  skip_if_not_installed("DESeq2")
  made <- donor_cells(n_donors = 6, paired = TRUE)
  table <- compare(donor_object(made), covariates = "donor", method = "DESeq2")
  sums <- sums_by_sample(made, "T")
  kept <- rowSums(sums$counts >= 10) >= 6
  storage.mode(sums$counts) <- "integer"
  suppressMessages({
    object <- DESeq2::DESeqDataSetFromMatrix(
      sums$counts[kept, ], data.frame(lapply(sums$table, factor)), ~ donor + condition
    )
    object <- DESeq2::DESeq(object, sfType = "poscounts", quiet = TRUE)
  })
  truth <- as.data.frame(
    DESeq2::results(object, name = "condition_treated_vs_control", alpha = 0.05)
  )
  found <- table[table$group == "T", ]
  truth <- truth[found$feature, ]
  expect_equal(nrow(found), sum(kept))
  expect_equal(found$p_value, truth$pvalue, tolerance = 1e-6)
  expect_equal(found$q_value, truth$padj, tolerance = 1e-6)
  expect_equal(found$lfc, truth$log2FoldChange, tolerance = 1e-6)
})

test_that("groups without replicates are left out, and how many is said", {
  skip_slow()
  skip_if_not_installed("edgeR")
  made <- donor_cells()
  object <- donor_object(made)
  object$type[object$donor %in% c("d2", "d4", "d6") & object$type == "B"] <- "T"
  object$type[1:3] <- "rare"
  warning <- expect_warning(table <- compare(object), class = "scmvp_warning_replicates")
  expect_match(
    conditionMessage(warning),
    "2 of 3 comparisons are left out: 2 with fewer than 2 samples .*'B: treated', 'rare: treated'"
  )
  expect_identical(unique(as.character(table$group)), "T")
  object$type[object$type == "T"] <- "rare"
  object$type[object$donor %in% c("d2", "d4", "d6")] <- object$donor[
    object$donor %in% c("d2", "d4", "d6")
  ]
  expect_refused(compare(object), "nothing can be compared in any group: 5 with fewer than 2")

  # one condition of three, and a batch that is the condition's in one group
  number <- as.integer(sub("d", "", object$donor))
  object$type <- made$cells$type
  object$condition <- c("a", "a", "a", "b", "b", "b", "b", "c")[number]
  warning <- expect_warning(table <- compare(object), class = "scmvp_warning_replicates")
  expect_match(conditionMessage(warning), "2 of 4 comparisons .*'B: c', 'T: c'")
  expect_identical(levels(table$condition), c("a", "b", "c"))
  # a batch that is that of the condition in the samples of one group
  object$condition <- made$cells$condition
  object$batch <- number > 4
  object$type[object$type == "B" & number %in% c(2, 4, 5, 7)] <- NA
  warning <- expect_warning(
    table <- compare(object, covariates = "batch"),
    class = "scmvp_warning_replicates"
  )
  expect_match(conditionMessage(warning), "1 with covariates confounded .*'B: treated'")
  expect_identical(unique(as.character(table$group)), "T")
})

test_that("what cannot be compared is refused; as is said, it can", {
  skip_slow()
  skip_if_not_installed("edgeR")
  made <- donor_cells(n_genes = 40, n_donors = 6, paired = TRUE)
  object <- donor_object(made)
  expect_compared <- function(...) expect_gt(nrow(compare(object, ...)), 0)

  # donors are no samples where each has both conditions
  said <- refusal(compare(object, sample = "donor"))
  expect_match(said, "6 samples have cells of several conditions [(]'d1', 'd2', 'd3' and 3 more[)]")
  paired <- eval(code_in(said, "paste[(]donor, condition[)]"), object[[]])
  object$both <- paired
  expect_compared(sample = "both", covariates = "donor")
  expect_refused(compare(object, sample = "condition"), "each condition has one sample")
  expect_compared(sample = "both")
  few <- object
  few$condition[few$donor %in% paste0("d", 2:6)] <- "treated"
  few$sample <- paste(few$donor, few$condition)
  said <- refusal(compare(few))
  expect_match(said, "conditions [(]'control': 1, 'treated': 6[)]")
  expect_match(said, "choose another with reference =")
  few$condition[few$donor %in% c("d5", "d6")] <- "other"
  few$sample <- paste(few$donor, few$condition)
  expect_warning(table <- compare(few, reference = "treated"), class = "scmvp_warning_replicates")
  expect_identical(unique(as.character(table$condition)), "other")
  expect_refused(compare(object, reference = "Control"), "one of the conditions [(]'control', ")
  expect_compared(reference = "treated")
  object$all <- "one"
  expect_refused(compare(object, condition = "all"), "condition has one value [(]'one'[)]")

  # covariates
  expect_refused(compare(object, covariates = "all"), "covariate 'all' is the same in all samples")
  expect_refused(compare(object, covariates = "type"), "12 samples have cells of several values")
  expect_refused(compare(object, covariates = "condition"), "are confounded")
  expect_refused(compare(object, covariates = "batch"), "'batch'.*check the spelling")
  object$sex <- ifelse(object$donor == "d1", NA, "f")
  expect_refused(compare(object, covariates = "sex"), "covariate 'sex' has no value for 40 cells")
  expect_refused(
    compare(object, covariates = data.frame(sex = 1:3)), "covariates must have a row for each"
  )
  expect_compared(covariates = data.frame(donor = object$donor))
  # every donor another age of whole years, so that nothing is left to judge by
  object$number <- as.integer(factor(object$sample))
  expect_refused(compare(object, covariates = "number"), "are confounded")

  # samples
  object$cell <- colnames(object)
  expect_refused(compare(object, sample = "cell"), "sample has 240 values for 240 cells")
  expect_refused(
    compare(object, sample = seq_len(ncol(object)) %% 7 / 2), "sample has 7 measured values"
  )
  object$lacking <- replace(object$condition, 4:5, NA)
  expect_refused(compare(object, condition = "lacking"), "condition has no value for 2 cells")
  object$type2 <- replace(object$type, 4:5, NA)
  expect_compared(condition = "lacking", group.by = "type2")
  said <- refusal(compare(object, min.cells = 100))
  expect_match(said, "no sample has min.cells = 100 cells of a group [(]the most are 17[)]")
  expect_compared(min.cells = 6)
  expect_refused(compare(object, min.count = 1e6), "2 with no feature with min.count counts")
  expect_refused(compare(object, method = "limma"), "method must be one of")
})

test_that("few features are compared as well", {
  skip_slow()
  skip_if_not_installed("edgeR")
  made <- donor_cells(n_genes = 30, n_changed = 1)
  for (genes in list(1, 1:5)) {
    some <- list(counts = made$counts[genes, , drop = FALSE], cells = made$cells)
    table <- compare(donor_object(some))
    expect_true(all(is.finite(table$p_value)))
    expect_equal(nrow(table), 2 * length(genes))
  }
})
