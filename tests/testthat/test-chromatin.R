test_that("imputed peaks of a ChromatinAssay keep ranges and counts", {
  skip_if_not_installed("Signac")
  skip_without_core()
  object <- SeuratObject::CreateSeuratObject(rna_counts())
  object[["ATAC"]] <- Signac::CreateChromatinAssay(counts = atac_counts(), sep = c("-", "-"))
  expect_silent(object <- quick_fit(object, impute.peaks = peak_names[3:6], max.epochs = 1))
  imputed <- object[["scMVP_ATAC"]]
  expect_s4_class(imputed, "ChromatinAssay")
  expect_identical(length(Signac::granges(imputed)), 4L)
  expect_equal(as.matrix(methods::slot(imputed, "counts")), as.matrix(atac_counts()[3:6, ]))
  expect_true(is.matrix(methods::slot(imputed, "data")))
  expect_silent(object <- ImputeSCMVP(object, "peaks", features = peak_names[1]))
  expect_setequal(rownames(object[["scMVP_ATAC"]]), peak_names[c(1, 3:6)])
})
