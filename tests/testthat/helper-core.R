# Objects of the core as tests make and look at them.

to_mudata <- function(rna, peaks) {
  parts <- function(x) reticulate::tuple(as.array(x@x), as.array(x@i), as.array(x@p))
  from_core(core("data.joining")$from_parts(
    rna = parts(rna), atac = parts(peaks), cells = as.array(colnames(rna)),
    genes = as.array(rownames(rna)), peaks = as.array(rownames(peaks))
  ))
}

# Counts and tables of a MuData, as an engine gives them.
paired_of <- function(mdata) from_python(core("service")$cells_of(mdata))

data_frame_of <- function(frame) from_python(core("r.tables")$plain_frame(frame))
