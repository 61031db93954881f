# Objects of the core as tests make and look at them.

to_mudata <- function(rna, peaks) {
  parts <- function(x) reticulate::tuple(as.array(x@x), as.array(x@i), as.array(x@p))
  from_core(core("data.joining")$from_parts(
    rna = parts(rna), atac = parts(peaks), cells = as.array(colnames(rna)),
    genes = as.array(rownames(rna)), peaks = as.array(rownames(peaks))
  ))
}

# rna.h5ad and atac.h5ad in a new folder, with columns of the cells; returns the folder.
write_pair <- function(folder = tempfile("pair"), peaks = atac_counts(), columns = list()) {
  dir.create(folder)
  mdata <- to_mudata(rna_counts(), peaks)
  for (modality in c("rna", "atac")) {
    adata <- mdata$mod$`__getitem__`(modality)
    for (name in names(columns)) adata$obs$`__setitem__`(name, columns[[name]])
    adata$write_h5ad(file.path(folder, paste0(modality, ".h5ad")))
  }
  folder
}

# A program that stands in for Python: it runs these lines of a shell.
fake_python <- function(lines, path = tempfile("python")) {
  writeLines(c("#!/bin/sh", lines), path)
  Sys.chmod(path, "755")
  path
}

# Counts and tables of a MuData, as an engine gives them.
paired_of <- function(mdata) from_python(core("service")$cells_of(mdata))

data_frame_of <- function(frame) from_python(core("r.tables")$plain_frame(frame))

# The model of an object in Python's own hands, with the cells of paired_object() under it.
python_model <- function(object) {
  folder <- SaveSCMVP(object, tempfile("model"))
  from_core(core()$SCMVP$load(folder, to_mudata(rna_counts(), atac_counts())))
}

# A pandas.DataFrame, its index left out.
table_of <- function(frame) {
  data.frame(data_frame_of(frame), row.names = NULL, check.names = FALSE)
}

# A matrix with names as a pandas.DataFrame.
frame_of <- function(x) {
  reticulate::import("pandas", convert = FALSE)$DataFrame(
    x, index = as.list(rownames(x)), columns = as.list(colnames(x))
  )
}

# The values of an AnnData, features x cells.
values_of <- function(adata) {
  names_in <- function(index) as.character(reticulate::py_to_r(index$tolist()))
  values <- t(reticulate::py_to_r(adata$to_df()$to_numpy()))
  dimnames(values) <- list(names_in(adata$var_names), names_in(adata$obs_names))
  values
}
