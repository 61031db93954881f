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
  links <- Signac::granges(object[["ATAC"]])[1:3]
  links$peak <- peak_names[1:3]
  links$gene <- "Gene1"
  Signac::Links(object[["ATAC"]]) <- links
  object <- quick_fit(object, impute.peaks = peak_names[3:6], max.epochs = 1)
  expect_identical(Signac::Links(object[["scMVP_ATAC"]])$peak, peak_names[3])
})

test_that("Signac's own example object, with motifs and annotation, keeps them all", {
  skip_if_not_installed("Signac")
  skip_without_core()
  place <- new.env()
  utils::data("atac_small", package = "Signac", envir = place)
  object <- place$atac_small
  fit <- function(object) {
    quick_fit(
      object,
      rna.assay = "RNA", peak.assay = "peaks", n.clusters = 2, min.cells = 3, impute = "none",
      impute.peaks = rownames(object[["peaks"]])[1:5], max.epochs = 2
    )
  }
  object <- fit(object)
  imputed <- object[["scMVP_ATAC"]]
  expect_s4_class(imputed, "ChromatinAssay")
  expect_identical(Signac::granges(imputed), Signac::granges(object[["peaks"]])[1:5])
  expect_identical(Signac::Annotation(imputed), Signac::Annotation(object[["peaks"]]))
  expect_identical(
    Signac::Motifs(imputed)@data, Signac::Motifs(object[["peaks"]])@data[1:5, ]
  )
  counts <- methods::slot(object[["peaks"]], "counts")
  expect_identical(methods::slot(imputed, "counts"), counts[1:5, ])
  query <- ProjectSCMVP(
    object, place$atac_small,
    rna.assay = "RNA", peak.assay = "peaks", impute.peaks = rownames(imputed)[1:2], verbose = FALSE
  )
  expect_s4_class(query[["scMVP_ATAC"]], "ChromatinAssay")
  expect_equal(
    SeuratObject::Embeddings(query[["scmvp"]]), SeuratObject::Embeddings(object[["scmvp"]]),
    tolerance = 1e-4
  )
})
