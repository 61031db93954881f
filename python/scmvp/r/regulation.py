"""Cis-regulatory elements from Python: the functions of the R package scMVP on a MuData.

`run_cicero`, `find_ccans`, `link_peaks_lasso` and `aggregate_cells` call RunCicero(), FindCCANs(),
LinkPeaksLASSO() and AggregateCells() in R and give the same numbers. Arguments that are not listed
here are those of R with '_' for '.'; `?RunCicero` in R describes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import positive
from ..data.annotated import LATENT, in_order_of
from ..data.checks import match_cells
from ..data.containers import is_mudata, modality_pair, peaks_in, refuse_on_disk
from ..data.names import as_names
from ..data.places import place_in_memory, places_of
from ..data.values import holds_counts
from ..errors import InputError
from ..files import as_path
from ..modalities import label_of
from .objects import PREFIX, check_names_for_r, features_by_cells
from .rengine import call
from .rserial import Named

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_RANGE = ("chrom", "start", "end")


def aggregate_cells(
    data: MuData | AnnData,
    *,
    reduction: str = LATENT,
    dims: Sequence[int] | None = None,
    verbose: bool = True,
    engine: str = "auto",
    **options: Any,
) -> AnnData:
    """Group similar cells; use the same groups in all calls whose results you compare.

    Args:
        data: Cells with coordinates in `obsm`.
        reduction: Its name in `obsm`.
        dims: Dimensions to use, counted from 0; all when None.
        verbose: Report the overlap of the groups.
        engine: 'process' (Rscript), 'rpy2' (R inside Python), or 'auto', the first available.
        **options: `k` (50), the cells per group; `seed_use` (0).

    Returns:
        AnnData, cells x groups, with a sparse X that is 1 if a cell belongs to a group. It is the
        argument `groups` of the other functions.

    Raises:
        InputError: No such reduction, coordinates that are not finite, fewer than `k` cells.
        RError: R or its package scMVP is missing.
    """
    from anndata import AnnData

    arguments = {
        "coordinates": _coordinates(data, reduction, dims, needed=True),
        "cells": as_names(data.obs_names).tolist(),
        "options": {**options, "verbose": verbose},
    }
    groups: Named = call("aggregate", arguments, engine, verbose)["groups"]
    return AnnData(
        X=groups.matrix.T.tocsr(),
        obs=pd.DataFrame(index=groups.features),
        var=pd.DataFrame(index=groups.cells),
    )


def run_cicero(
    data: MuData | AnnData,
    *,
    layer: str | None = None,
    reduction: str = LATENT,
    dims: Sequence[int] | None = None,
    groups: AnnData | str | None = None,
    genome: pd.DataFrame | Mapping[str, int] | str | os.PathLike | None = None,
    verbose: bool = True,
    engine: str = "auto",
    **options: Any,
) -> pd.DataFrame:
    """Co-accessibility of peaks: RunCicero() of R.

    Args:
        data: MuData, whose modality 'atac' is used, or the AnnData of the peaks. The ranges are
            'chrom', 'start' and 'end' of its `var` or, without these, the names of the peaks. Cells
            are matched by name and used in the order of `obs_names`.
        layer: Layer with the accessibility; X when None. A layer other than 'counts' is treated as
            imputed, relative to the mean of each peak (`scale="relative"`, as in RunCicero()).
        reduction: Coordinates in `obsm` (of the MuData or AnnData) in which neighbors are found;
            not used if `groups` are given.
        dims: Dimensions to use, counted from 0; all when None. Refused if `groups` are given.
        groups: Groups of `aggregate_cells`; computed when None. 'none' treats each cell as a group,
            for values that are already aggregated. Cells without counts of peaks were not measured
            there and are left out of the groups.
        genome: Lengths of the chromosomes: a table or tab-separated file of name and
            length, or a dict. When None, chromosomes end at their last peak.
        verbose: Show progress, on standard error.
        engine: 'process' (Rscript), 'rpy2' (R inside Python), or 'auto', the first available.
        **options: Further arguments of RunCicero(): window, n_windows, k, size_factors, binarize,
            distance_parameter, maxit, s, distance_constraint, convergence, max_peaks, max_windows,
            scale, search, seed_use, workers. Their names in the package cicero (`genomic_coords`,
            `sample_num`, ...) are also accepted.

    Returns:
        DataFrame with 'Peak1', 'Peak2' and 'coaccess', with every pair in both directions;
        'coaccess' is missing if its sign differs between windows. attrs: 'distance_parameter', and
        the number of 'groups'.

    Raises:
        InputError: As RunCicero() of R, with its message.
        RError: R or its package scMVP is missing; or R failed.
        KeyboardInterrupt: Interrupted; R is ended.
    """
    if genome is None:
        genome = options.pop("genomic_coords", None)
    adata, _ = peaks_in(data)
    if groups is not None and dims is not None:
        raise InputError("dims applies only to groups that run_cicero makes itself; leave it out")
    if layer not in (None, "counts"):
        options.setdefault("scale", "relative")
    values = _in_order(_values(adata, "atac", layer, argument="layer"), as_names(data.obs_names))
    coordinates = None
    if groups is None:
        coordinates = _coordinates(data, reduction, dims, needed=True, cells=values.cells)
    arguments = {
        "values": values,
        "ranges": _ranges(adata),
        "coordinates": coordinates,
        "groups": _groups(groups),
        "options": {**options, "genome": _genome(genome), "verbose": verbose},
    }
    arguments["options"] = _given(arguments["options"])
    return _table(call("cicero", arguments, engine, verbose))


def find_ccans(
    connections: pd.DataFrame, *, verbose: bool = True, engine: str = "auto", **options: Any
) -> pd.DataFrame:
    """Cis-co-accessibility networks: FindCCANs() of R.

    Args:
        connections: The table of `run_cicero`.
        verbose: Report the cutoff.
        engine: 'process' (Rscript), 'rpy2' (R inside Python), or 'auto', the first available.
        **options: coaccess_cutoff_override (a number between 0 and 1; found when left out),
            tolerance_digits (2), seed_use (0).

    Returns:
        DataFrame with 'Peak' and 'CCAN'. attrs: 'cutoff'.

    Raises:
        InputError: No such columns, or no pair above the cutoff.
        RError: R, its package scMVP or igraph is missing.
    """
    columns = ["Peak1", "Peak2", "coaccess"]
    missing = [name for name in columns if name not in getattr(connections, "columns", ())]
    if missing:
        raise InputError(
            f"connections needs columns {', '.join(columns)} and lacks {', '.join(missing)}; give "
            "the table of run_cicero"
        )
    table = connections[columns].astype({"Peak1": "category", "Peak2": "category"})
    arguments = {
        "connections": table.reset_index(drop=True),
        "options": _given({**options, "verbose": verbose}),
    }
    return _table(call("ccans", arguments, engine, verbose))


def link_peaks_lasso(
    data: MuData,
    gene_coordinates: pd.DataFrame | str | os.PathLike | None = None,
    *,
    genes: Sequence[str] | None = None,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    reduction: str = LATENT,
    dims: Sequence[int] | None = None,
    groups: AnnData | None = None,
    verbose: bool = True,
    engine: str = "auto",
    **options: Any,
) -> pd.DataFrame:
    """Links from peaks to genes by LASSO: LinkPeaksLASSO() of R.

    Args:
        data: Modalities 'rna' and 'atac'. The ranges of the peaks are 'chrom', 'start' and 'end' of
            their `var` or, without these, their names. Cells without counts of RNA or of ATAC were
            not measured there and are left out, unless these values are imputed.
        gene_coordinates: Gene coordinates (`gene.coords` in R): a table (gene; chrom, start, end,
            strand or tss), or a GTF or BED file. When None, the columns 'chrom', 'strand', and
            'tss' or 'start' and 'end' of `var` of the RNA.
        genes: Names of genes; all when None.
        rna_layer: Layer with the RNA; X when None. A layer other than 'counts' is treated as
            imputed and log-transformed, unless `rna_imputed` and `rna_log` are given.
        atac_layer: Layer with the accessibility; X when None. A layer other than 'counts' is
            treated as imputed, unless `peaks_imputed` is given.
        reduction: Coordinates in `mdata.obsm` for blocks of similar cells, if present.
        dims: Dimensions to use, counted from 0; all when None.
        groups: Groups of `aggregate_cells`, over which RNA and accessibility are summed and
            covariates averaged.
        verbose: Show progress, on standard error.
        engine: 'process' (Rscript), 'rpy2' (R inside Python), or 'auto', the first available.
        **options: Further arguments of LinkPeaksLASSO(), with '_' for '.': distance, `lambda_`
            (lambda), alpha, nfolds, folds, min_cells, min_correlation, covariates, pseudocount,
            lambda_sequence, n_permutations, fdr, rna_imputed, peaks_imputed, rna_log, peaks_log,
            seed_use, workers.

    Returns:
        DataFrame with one row per link, with the columns of LinkPeaksLASSO(): 'gene', 'peak',
        'distance' (base pairs, negative upstream), 'coefficient', 'r_squared', 'p_value', 'fdr',
        'lambda', 'tss', 'seqnames', 'center'. `pd.DataFrame(attrs['genes'])` is the table of all
        genes fitted.

    Raises:
        InputError: As LinkPeaksLASSO() of R, with its message.
        RError: R or its package scMVP is missing; or R failed.
        KeyboardInterrupt: Interrupted; R is ended.
    """
    rna, atac = modality_pair(data)
    if isinstance(genes, str) or not isinstance(genes, Iterable | None):
        raise InputError(f"genes must be given as a list of names, not as {genes!r}")
    if "lambda_" in options:  # a word of Python
        options["lambda"] = options.pop("lambda_")
    for side, layer, also in (("rna", rna_layer, "rna_log"), ("peaks", atac_layer, None)):
        if layer not in (None, "counts"):
            options.setdefault(f"{side}_imputed", True)
            if also:
                options.setdefault(also, True)
    values = {
        "rna": _values(rna, "rna", rna_layer, options),
        "atac": _values(atac, "atac", atac_layer, options),
    }
    match_cells(as_names(rna.obs_names), as_names(atac.obs_names))
    cells = as_names(data.obs_names if is_mudata(data) else rna.obs_names)
    values = {modality: _in_order(named, cells) for modality, named in values.items()}
    if not isinstance(options.get("folds"), str | None):
        of = cells if groups is None else np.arange(0)  # of groups: in their order
        options["folds"] = np.asarray(in_order_of(of, options["folds"], "folds"))
    arguments = {
        "rna": values["rna"],
        "peaks": values["atac"],
        "ranges": _ranges(atac),
        "gene_coords": _gene_coordinates(gene_coordinates, rna),
        "coordinates": _coordinates(data, reduction, dims, needed=False, cells=values["rna"].cells),
        "groups": _groups(groups),
        "options": _given(
            {**options, "genes": None if genes is None else list(genes), "verbose": verbose}
        ),
    }
    return _table(call("lasso", arguments, engine, verbose))


# ---- arguments -----------------------------------------------------------------------------------


def _values(
    adata: AnnData,
    modality: str,
    layer: str | None,
    options: Mapping[str, Any] | None = None,
    argument: str | None = None,
) -> Named:
    """X or a layer; a note says where X disagrees with what should be the counts."""
    cells, features = as_names(adata.obs_names), as_names(adata.var_names)
    check_names_for_r(modality, cells, features)
    places = [place for place in places_of(adata) if place.is_layer or place.name == "X"]
    values = place_in_memory(places, modality, layer, argument=argument).values()
    named = features_by_cells(values, cells, features)
    side = {"rna": "rna", "atac": "peaks"}[modality]
    if options is not None and f"{side}_imputed" not in options and f"{side}_log" not in options:
        if not holds_counts(named.matrix):
            raise InputError(
                f"the values of the {label_of(modality)} modality are not counts; name the layer "
                f"that holds them ({modality}_layer), or state what they are ({side}_imputed, "
                f"{side}_log)"
            )
    return named


def _in_order(named: Named, cells: np.ndarray) -> Named:
    """The same with those of `cells` that it has, in that order."""
    own = pd.Index(named.cells)
    if (at := own.get_indexer(cells[np.isin(cells, own)])).size != len(own):
        raise InputError(
            "obs_names of the MuData lack cells of its modalities; call update() of the MuData "
            "after a modality was changed"
        )
    if np.array_equal(at, np.arange(len(own))):
        return named
    return Named(named.matrix[at], own[at].tolist(), named.features)


def _ranges(adata: AnnData) -> pd.DataFrame | None:
    if (
        not all(name in adata.var for name in _RANGE)
        or adata.var[list(_RANGE)].isna().to_numpy().any()
    ):
        return None
    table = adata.var[list(_RANGE)].reset_index(drop=True)
    table["chrom"] = table["chrom"].astype(str)
    return table.rename(columns={"chrom": "seqnames"})


def _coordinates(
    data: Any, reduction: str, dims: Sequence[int] | None, needed: bool, cells: Any = None
) -> np.ndarray | None:
    """(cells, dims) float64 of `obsm`, for all cells of `data` or for those named."""
    refuse_on_disk(data)
    if needed and not hasattr(data, "obsm"):
        raise InputError(
            "a pair of AnnData has no coordinates of its cells; give a MuData with the latent in "
            f"obsm['{LATENT}']"
        )
    obsm = getattr(data, "obsm", {})
    if reduction not in obsm:
        if PREFIX + reduction in obsm:
            return _coordinates(data, PREFIX + reduction, dims, needed, cells)
        if not needed:
            return None
        has = ", ".join(repr(n) for n in obsm if str(n).startswith(PREFIX)) or "none"
        raise InputError(
            f"obsm has no '{reduction}' (it has: {has}); put the latent there, "
            f"mdata.obsm['{LATENT}'] = model.get_latent_representation(), or name another reduction"
        )
    values = np.asarray(obsm[reduction], dtype=np.float64)
    if cells is not None:
        values = values[pd.Index(as_names(data.obs_names)).get_indexer(cells)]
    if dims is not None:
        n = values.shape[1]
        try:
            values = values[:, list(dims)]
            if not values.size:
                raise IndexError
        except (IndexError, TypeError) as error:
            raise InputError(
                f"dims must be a list of numbers from 0 to {n - 1}, the dimensions of '{reduction}'"
            ) from error
    return values


def _groups(groups: Any) -> Any:
    """As R wants them: cells x groups by column, which is groups x cells by row."""
    if groups is None or isinstance(groups, str):
        return groups
    if not hasattr(groups, "obs_names"):
        raise InputError("groups must be what aggregate_cells returns")
    return Named(
        sp.csr_matrix(groups.X.T),
        as_names(groups.var_names).tolist(),
        as_names(groups.obs_names).tolist(),
    )


def _genome(given: Any) -> Any:
    if isinstance(given, Mapping):
        lengths = [positive(f"the length of '{name}'", length) for name, length in given.items()]
        return pd.DataFrame({"chromosome": list(given), "length": lengths})
    if isinstance(given, str | os.PathLike):
        return str(as_path(given))
    return given


def _gene_coordinates(given: Any, rna: AnnData) -> Any:
    if isinstance(given, str | os.PathLike):
        return str(as_path(given))
    if given is not None:
        return given
    var = rna.var
    places = [name for name in ("chrom", "start", "end", "tss", "strand") if name in var]
    if "chrom" not in places or not ("tss" in places or {"start", "end"} <= set(places)):
        raise InputError(
            "gene_coordinates is needed: a table (gene; chrom, start, end, strand or tss), a GTF "
            "or BED file; or columns 'chrom' and 'tss' in the var of the RNA modality"
        )
    table = var[places].rename(columns={"chrom": "seqnames"})
    table.insert(0, "gene", as_names(rna.var_names))
    return table[table["seqnames"].notna()].reset_index(drop=True)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _table(answer: dict[str, Any]) -> pd.DataFrame:
    table = answer["table"]
    for name in table:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            # the strings themselves are shared by all rows
            table[name] = np.asarray(table[name].astype(object))
    attributes = answer["attributes"]
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        single = isinstance(value, np.ndarray) and value.shape == (1,)
        table.attrs[name] = value[0].item() if single else _plain(value)
    return table


def _plain(value: Any) -> Any:
    """Without arrays and tables: pandas compares attrs, and writes them as JSON."""
    if isinstance(value, pd.DataFrame):
        return {name: column.tolist() for name, column in value.items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
