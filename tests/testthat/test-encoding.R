# In the locale C, R cannot translate text beyond ASCII that is not marked as UTF-8.

# One fit and what it gives, of counts under names with an accent; `folder` has one, too. The same
# text is run in the locale C, where its literals have no mark.
accented_run <- c(
  "genes <- c(paste0('\u00e9', gene_names[1:30]), gene_names[31:60])",
  "rna <- rna_counts()",
  "rownames(rna) <- genes",
  "group <- rep(c('\u00e4', 'b'), 45)",
  "path <- file.path(folder, paste0('mod\u00e8le-', backend))",
  "fit <- RunSCMVP(",
  "  rna, atac_counts(), n.clusters = 3, max.epochs = 2, model.file = path, verbose = FALSE,",
  "  backend = backend",
  ")",
  "shown <- genes[c(1, 40)]",
  "values <- ImputeSCMVP(fit, features = shown, backend = backend)",
  "table <- DifferentialSCMVP(",
  "  fit, rna = rna, peaks = atac_counts(), group.by = group, ident.1 = '\u00e4',",
  "  features = shown, verbose = FALSE, backend = backend",
  ")",
  "query <- ProjectSCMVP(LoadSCMVP(path), rna, atac_counts(), backend = backend, verbose = FALSE)",
  "labels <- TransferLabelsSCMVP(fit, query, group, backend = backend)",
  "run <- list(",
  "  latent = fit$latent, values = unname(values), lfc = table$lfc, query = query$latent,",
  "  label = match(labels$label, c('\u00e4', 'b')), cells = rownames(values) == shown,",
  "  features = table$feature %in% shown, known = FeaturesSCMVP(fit) %in% genes",
  ")"
)

test_that("paths and names beyond ASCII are the same in the locale C, in either backend", {
  skip_slow()
  skip_without_core()
  skip_on_os("windows")
  skip_if_not(l10n_info()[["UTF-8"]])
  folder <- tempfile("dossier-\u00e9-")
  dir.create(folder)
  out <- file.path(tempdir(), "encoding.rds")
  on.exit(unlink(c(folder, out), recursive = TRUE))
  helper <- normalizePath(test_path("helper-objects.R"))
  for (backend in c("reticulate", "process")) {
    place <- new.env()
    sys.source(helper, place)
    place$folder <- folder
    place$backend <- backend
    eval(parse(text = accented_run), place)
    unlink(file.path(folder, paste0("mod\u00e8le-", backend)), recursive = TRUE)
    said <- in_new_session(
      c(
        sprintf("source('%s')", helper), sprintf("folder <- '%s'", folder),
        sprintf("backend <- '%s'", backend), accented_run, "stopifnot(!l10n_info()[[2]])",
        "cells <- SimulateSCMVP(n.cells = 50, n.genes = 50, n.peaks = 60, n.types = 2)",
        "run$simulated <- dim(cells)",
        sprintf("saveRDS(run, '%s')", out)
      ),
      c("LC_ALL=C", paste0("TMPDIR=", shQuote(folder)))
    )
    expect_true(file.exists(out), info = paste(said, collapse = "\n"))
    run <- readRDS(out)
    expect_equal(run$simulated, c(50, 50))
    expect_equal(run[names(place$run)], place$run, tolerance = 1e-6)
    expect_true(all(unlist(run[c("cells", "features", "known")])))
    expect_true(dir.exists(file.path(folder, paste0("mod\u00e8le-", backend))))
    unlink(out)
  }
})

test_that("text is marked where R cannot translate it, and nothing else changes", {
  text <- list("a", c(x = "b", y = NA), list(z = factor("c"), NULL, 1.5), data.frame(d = "e"))
  expect_identical(each_text(text, identity, keys = TRUE), text)
  upper <- each_text(text, toupper, keys = TRUE)
  expect_identical(upper[[2]], c(x = "B", y = NA))
  expect_identical(upper[[3]], list(Z = factor("C"), NULL, 1.5))
  expect_identical(upper[[4]], data.frame(D = "E"))
  counts <- each_text(rna_counts(), toupper)
  expect_identical(dimnames(counts), lapply(dimnames(rna_counts()), toupper))
  expect_identical(as_utf8(c("a", "\u00e9", NA)), c("a", "\u00e9", NA))
  expect_identical(as_path("\u00e9"), "\u00e9")
  mixed <- c("b", NA, "a", "B")
  expect_identical(level_factor(mixed), factor(mixed, c("B", "a", "b")))
})
