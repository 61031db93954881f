# Conditions compared by edgeR and DESeq2 on sums of the counts of each donor.
#
#   Rscript conditions.R FOLDER
#
# FOLDER has counts.mtx (cells x features) and cells.csv (condition, sample, group); it gets
# edgeR.csv and DESeq2.csv, the tables of DifferentialConditionsSCMVP().

suppressPackageStartupMessages(library(scMVP))
folder <- commandArgs(trailingOnly = TRUE)[1]
counts <- Matrix::t(methods::as(Matrix::readMM(file.path(folder, "counts.mtx")), "CsparseMatrix"))
cells <- read.csv(file.path(folder, "cells.csv"), colClasses = "character")
rownames(counts) <- paste0("gene", seq_len(nrow(counts)) - 1)
colnames(counts) <- paste0("cell", seq_len(ncol(counts)))
for (method in c("edgeR", "DESeq2")) {
  table <- DifferentialConditionsSCMVP(
    counts, cells$condition, cells$sample, cells$group,
    method = method, verbose = FALSE
  )
  write.csv(table, file.path(folder, paste0(method, ".csv")), row.names = FALSE)
}
