"""Seurat and SingleCellExperiment objects in .rds files, read by R itself through rpy2.

Nothing imports this module but `io.read` for .rds, and rpy2 is imported only when it is called.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InputError

if TYPE_CHECKING:
    from mudata import MuData

# Returns list(rna =, atac =, obs =), each matrix as its three vectors and its names, or
# list(error = sentence). Slots are read as attributes, so that a ChromatinAssay can be read where
# Signac is not installed. v3/v4 assays are read by slot and v5 assays by layer: the accessors of
# one version silently return other data in the other.
_R_READER = r"""
function(path, rna_assay, peak_assay) {
  refuse <- function(...) stop(paste0(...), call. = FALSE)
  quoted <- function(x) if (length(x)) paste0("'", x, "'", collapse = ", ") else "none"
  needs <- function(package) {
    if (!requireNamespace(package, quietly = TRUE)) {
      refuse("it needs the R package ", package, "; install it in R")
    }
    function(name) getExportedValue(package, name)
  }
  is_v5 <- function(assay) any(class(assay) %in% c("Assay5", "ChromatinAssay5", "StdAssay"))
  counts_of <- function(assay) {
    if (!is_v5(assay)) return(attr(assay, "counts"))
    seurat <- needs("SeuratObject")
    layers <- seurat("Layers")(assay, search = "counts")
    if (length(layers) == 0) return(NULL)
    if (length(layers) > 1) assay <- seurat("JoinLayers")(assay, layers = "counts")
    seurat("LayerData")(assay, layer = "counts")
  }
  as_parts <- function(x, what) {
    if (!inherits(x, "dgCMatrix")) {
      if (is.matrix(x) || methods::is(x, "Matrix")) {
        x <- methods::as(methods::as(x, "CsparseMatrix"), "dMatrix")
        x <- methods::as(x, "generalMatrix")
      } else {
        x <- methods::as(x, "dgCMatrix")
      }
    }
    if (is.null(rownames(x)) || is.null(colnames(x))) refuse(what, " has no names")
    list(x = x@x, i = x@i, p = x@p, cells = colnames(x), features = rownames(x))
  }
  pick <- function(wanted, candidates, all, what, argument) {
    if (!is.null(wanted)) {
      if (wanted %in% all) return(wanted)
      refuse("it has no assay '", wanted, "' (assays: ", quoted(all), ")")
    }
    if (length(candidates) == 1) return(candidates)
    if (length(candidates) == 0) {
      refuse("it has no ", what, " assay with counts (assays: ", quoted(all), ")")
    }
    refuse(
      "it has several candidates for the ", what, " assay: ", quoted(candidates),
      "; remove all but one from the object, or name it with ", argument,
      " of scmvp.rbridge.read_rds"
    )
  }
  are_ranges <- function(x) length(x) > 0 && mean(grepl("^.+[:_.-][0-9]+[-_.:][0-9]+$", x)) >= 0.9
  plain <- function(column) {
    if (is.factor(column)) return(list(codes = as.integer(column), levels = levels(column)))
    if (is.character(column)) return(list(text = column))
    if (is.logical(column)) return(list(logical = as.integer(column)))
    if (is.numeric(column) && is.null(dim(column))) return(list(number = as.numeric(column)))
    NULL
  }
  as_obs <- function(frame, cells) {
    frame <- as.data.frame(frame)[cells, , drop = FALSE]
    columns <- lapply(frame, plain)
    columns[!vapply(columns, is.null, logical(1))]
  }
  from_seurat <- function(object) {
    assays <- attr(object, "assays")
    counts <- lapply(assays, counts_of)
    # What scMVP imputed into the object says so, and is not data.
    own <- vapply(assays, function(x) !is.null(attr(x, "misc")$scMVP), logical(1))
    usable <- names(counts)[vapply(counts, function(x) all(dim(x) > 0) && length(x) > 0, NA) & !own]
    chromatin <- c("ChromatinAssay", "ChromatinAssay5", "GRangesAssay")
    peaks <- vapply(usable, function(name) {
      any(class(assays[[name]]) %in% chromatin) || are_ranges(rownames(counts[[name]]))
    }, NA)
    rna <- pick(rna_assay, usable[!peaks], names(assays), "RNA", "rna_assay")
    atac <- pick(peak_assay, usable[peaks], names(assays), "peak", "peak_assay")
    list(
      rna = as_parts(counts[[rna]], rna), atac = as_parts(counts[[atac]], atac),
      obs = as_obs(attr(object, "meta.data"), colnames(counts[[rna]]))
    )
  }
  from_experiment <- function(object) {
    experiment <- needs("SingleCellExperiment")
    summarized <- needs("SummarizedExperiment")
    counts <- function(x, what) {
      if (!"counts" %in% summarized("assayNames")(x)) refuse(what, " has no assay 'counts'")
      summarized("assay")(x, "counts")
    }
    others <- experiment("altExpNames")(object)
    peaks <- vapply(others, function(name) {
      are_ranges(rownames(experiment("altExp")(object, name)))
    }, NA)
    atac <- pick(peak_assay, others[peaks], others, "peak (altExp)", "peak_assay")
    rna <- as_parts(counts(object, "the main experiment"), "the main experiment")
    peak_counts <- counts(experiment("altExp")(object, atac), atac)
    colnames(peak_counts) <- colnames(object)
    list(
      rna = rna, atac = as_parts(peak_counts, atac),
      obs = as_obs(summarized("colData")(object), rna$cells)
    )
  }
  read <- function() {
    object <- tryCatch(readRDS(path), error = function(e) {
      refuse(
        "it is not a readable .rds file (damaged or truncated?), ", conditionMessage(e),
        "; copy or write it again"
      )
    })
    kind <- class(object)
    if ("Seurat" %in% kind) return(from_seurat(object))
    if ("SingleCellExperiment" %in% kind) return(from_experiment(object))
    refuse("it holds an object of class ", kind[1], ", not a Seurat or SingleCellExperiment object")
  }
  requireNamespace("Matrix", quietly = TRUE)
  tryCatch(
    suppressMessages(suppressWarnings(read())),
    error = function(e) list(error = sub("\n.*", "", conditionMessage(e)))
  )
}
"""


def read_rds(
    path: str | Path, rna_assay: str | None = None, peak_assay: str | None = None
) -> MuData:
    """Read a Seurat or SingleCellExperiment object with one RNA and one peak assay.

    The vectors of the features x cells dgCMatrix are those of the cells x features CSR, so nothing
    is transposed. Of a SingleCellExperiment, the main experiment is the RNA, an altExp the peaks.

    Args:
        path: The .rds file.
        rna_assay: Name of the RNA assay; the only candidate when None.
        peak_assay: Name of the peak assay, or of the altExp; the only candidate when None.

    Returns:
        MuData with modalities 'rna' and 'atac'; the metadata of the cells is in `obs`.

    Raises:
        InputError: rpy2 or R is missing, or the file does not hold paired counts.
    """
    from .io import join, modality_from_parts

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    result = _call_reader(path, rna_assay, peak_assay)
    if "error" in result:
        raise InputError(f"{path} cannot be read: {result['error'][0]}")
    modalities = []
    for modality in ("rna", "atac"):
        part = _named(result[modality])
        vectors = tuple(_array(part[name]) for name in ("x", "i", "p"))
        modalities.append(
            modality_from_parts(modality, vectors, list(part["cells"]), list(part["features"]))
        )
    columns = {name: _column(_named(values)) for name, values in _named(result["obs"]).items()}
    rna = modalities[0]
    rna.obs = pd.DataFrame(columns, index=rna.obs_names)
    try:
        return join(*modalities)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _call_reader(path: Path, rna_assay: str | None, peak_assay: str | None) -> dict[str, Any]:
    try:
        from rpy2 import rinterface

        with warnings.catch_warnings():
            # Starting R redefines environment variables; rpy2 warns of each.
            warnings.simplefilter("ignore")
            rinterface.initr()
    except Exception as error:  # rpy2 missing, R missing, or versions that do not go together
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{path} needs R and the Python package rpy2, which cannot be loaded here ({reason}); "
            "install R and rpy2 (rpy2==3.5.17 for R before 4.5), or save the cells as .h5mu"
        ) from error
    reader = rinterface.baseenv["eval"](rinterface.parse(_R_READER))
    names = [
        rinterface.NULL if name is None else rinterface.StrSexpVector([name])
        for name in (rna_assay, peak_assay)
    ]
    return _named(reader(rinterface.StrSexpVector([str(path)]), *names))


def _named(values: Any) -> dict[str, Any]:
    """A named R list as a dict; R has no names for an empty one."""
    return dict(zip(values.names, values, strict=True)) if len(values) else {}


def _array(vector: Any) -> np.ndarray:
    # A copy: R may free or move what it owns as soon as the call is over.
    return np.array(vector.memoryview()) if len(vector) else np.zeros(0)


def _column(values: dict[str, Any]) -> Any:
    from rpy2.rinterface import NA_Character, NA_Integer

    if "number" in values:
        return _array(values["number"])
    if "text" in values:
        return [None if text is NA_Character else text for text in values["text"]]
    if "logical" in values:
        logical = [None if flag is NA_Integer else bool(flag) for flag in values["logical"]]
        return pd.array(logical, dtype="boolean") if None in logical else np.array(logical)
    codes = _array(values["codes"]).astype(np.int64) - 1
    # NA is the smallest integer in R.
    return pd.Categorical.from_codes(np.where(codes < 0, -1, codes), list(values["levels"]))
