"""Several samples joined into one, from one path each; counts of fragments in any peaks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .arguments import Names
from .data.formats import fragments_beside
from .data.fragments import counts_of_fragments
from .data.joining import adata_of
from .data.names import as_names, note
from .data.peaks import Peaks, peaks_of, read_bed
from .data.samples import join_samples
from .errors import InputError
from .files import as_path
from .progress import Listener, followed
from .reading import existing, read_path, with_layers_there
from .words import name_some

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


WORDS_OF_PEAKS = ("union", "shared")  # instead of a file


def read_samples(
    paths: Mapping[str, str | Path] | Sequence[str | Path],
    peaks: str | Path = "union",
    fragments: bool | Mapping[str, str | Path] = False,
    mosaic: bool = False,
    *,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    protein_layer: str | None = None,
    progress: bool | Listener = False,
) -> MuData:
    """Read several samples, each with its own peaks, as one MuData.

    Cells are named '<sample>_<barcode>', and `obs['sample']` has their sample. Only counts, obs
    and var are kept. Genes are matched by name; a gene that is missing from a sample was not
    measured there and is left out, and so is a gene with different ids (`var['gene_ids']`) in the
    samples that have ids. Peaks that overlap by at least one base pair are merged into one peak
    from the first start to the last end (`GenomicRanges::reduce` with `min.gapwidth = 0`, with the
    0-based starts and exclusive ends of 10x files); if all samples have the same peaks, these are
    not changed. Notes report the numbers of features that were joined and left out.

    The counts of merged peaks are added. If no peak was called in a sample at a position, its
    counts there are zero, although its cells may have fragments there. `fragments` counts these, so
    use it if the files are available. It counts insertions, as Cell Ranger does: each end of a
    fragment is counted in the peak that contains it. If counts are added and some samples have
    counts of insertions and others of fragments, the insertions are converted to fragments, (y + 1)
    // 2.

    Args:
        paths: Dict of the name and path of each sample, as for `read`; or a list of paths, in which
            a sample is named after its file or folder, and an output of Cell Ranger after the
            folder of the run.
        peaks: 'union', all peaks, with overlapping peaks merged; 'shared', the merged peaks that
            overlap a peak of every sample; or, with `fragments`, a BED file of peaks, none of
            which lies within another.
        fragments: Fragment files from which all samples are counted: True for those of Cell
            Ranger next to the matrix (atac_fragments.tsv.gz), or a dict of the name and path of
            each sample.
        mosaic: Keep unimodal cells: those in h5ad, h5mu and zarr, and samples in which only some
            modalities were measured, such as RNA alone.
        rna_layer: As for `read`.
        atac_layer: As for `read`.
        protein_layer: As for `read`.
        progress: As for `read`.

    Returns:
        MuData with modalities 'rna' and 'atac', or those of 'rna', 'atac', 'protein' and
        'methylation' that the samples have. The cells are in the order of the samples, and those
        without RNA come last. `var` of the peaks has 'chrom', 'start', 'end' and, unless `peaks` is
        a BED file, 'n_samples', the number of samples with a peak there. To fit a model, use
        `SCMVP(mdata, batch="sample")`.

    Raises:
        InputError: A file cannot be read, or the samples do not match: different kinds of gene
            names or chromosomes, different genomes, or the same cells.
    """
    named = _named_paths(paths)
    target = _target_peaks(peaks, fragments)
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
    _check_fragments(named, fragments)
    with followed(progress) as (stages, _):
        samples: dict[str, Any] = {}
        for name, path in named.items():
            with stages.stage(f"reading {name}") as report:
                samples[name] = read_path(path, layers, report, mosaic=mosaic)
        with_peaks = {name: path for name, path in named.items() if "atac" in samples[name].mod}
        files = _files_of_fragments(with_peaks, fragments)
        joined = join_samples(samples, target, files, mosaic, stages)
    return with_layers_there(joined, layers)


def _named_paths(paths: Mapping[str, str | Path] | Sequence[str | Path]) -> dict[str, Path]:
    if not isinstance(paths, Mapping | list | tuple) or not len(paths):
        raise InputError(
            f"paths is {paths!r}; give a dict of names and paths of samples, or a list of paths"
        )
    if isinstance(paths, Mapping):
        named = {str(name): existing(path) for name, path in paths.items()}
    else:
        listed = [(_sample_name(path), path) for path in map(existing, paths)]
        named = dict(listed)
        if len(named) < len(listed):
            twice = next(name for i, (name, _) in enumerate(listed) if name in dict(listed[:i]))
            raise InputError(
                f"several samples would be called '{twice}'; give a dict of names and paths"
            )
    if "" in named:
        raise InputError("a sample has no name; give each of them one")
    known: dict[Path, str] = {}
    for name, path in named.items():
        if (other := known.setdefault(path.resolve(), name)) != name:
            raise InputError(f"{other} and {name} are the same file, {path}; give each sample once")
    return named


def named_paths(given: Sequence[str]) -> dict[str, str] | list[str]:
    """Paths by name from NAME=PATH; a list if no names are given.

    The path of an existing file or folder may contain '='.
    """
    parts = [text.partition("=") for text in given]
    bare = [
        text
        for text, (_, sign, _) in zip(given, parts, strict=True)
        if not sign or as_path(text).exists()
    ]
    if len(bare) == len(given):
        return list(given)
    if bare:
        raise InputError(f"{bare[0]} has no name, and others have; give each as NAME=PATH")
    names = pd.Index([name for name, _, _ in parts])
    if len(twice := names[names.duplicated()]):
        raise InputError(f"several are called {name_some(twice)}; give each a name of its own")
    return {name: path for name, _, path in parts}


def _sample_name(path: Path) -> str:
    """The name of the run: of the folder around `outs`, if there is one."""
    path = path.absolute()
    if re.match("(sample_)?(filtered|raw)_(feature|peak)_bc_matrix", path.name):
        path = path.parent
    if path.name in ("outs", "count"):  # the second: of a sample of cellranger multi
        path = path.parent
    return path.name if path.is_dir() else path.stem


def _target_peaks(peaks: str | Path, fragments: bool | Mapping[str, str | Path]) -> str | Peaks:
    if isinstance(peaks, str) and peaks in WORDS_OF_PEAKS:
        return peaks
    is_path = isinstance(peaks, str | os.PathLike) and os.fspath(peaks)
    if not is_path or not (path := as_path(peaks)).exists():
        raise InputError(f"peaks is {peaks!r}; give 'union', 'shared' or the path of a BED file")
    if fragments is False:
        raise InputError(
            f"peaks of a file can only be counted from fragments; use fragments=True, or leave out "
            f"peaks='{path}'"
        )
    return read_bed(path)


def _check_fragments(paths: Mapping[str, Path], fragments: bool | Mapping[str, str | Path]) -> None:
    """Refuse what cannot be the files of these samples, before any of them is read."""
    if isinstance(fragments, Mapping):
        if not {*map(str, fragments)} <= {*paths}:
            raise _of_other_samples(fragments, paths)
        for path in fragments.values():
            existing(path)
    elif not isinstance(fragments, bool):
        raise InputError(
            f"fragments is {fragments!r}; give True, or a dict of names of samples and paths"
        )


def _files_of_fragments(
    paths: Mapping[str, Path], fragments: bool | Mapping[str, str | Path]
) -> dict[str, Path] | None:
    """Those of the samples that have peaks, whose paths are given."""
    if isinstance(fragments, Mapping):
        named = {str(name): path for name, path in fragments.items()}
        if not {*paths} <= {*named}:
            raise _of_other_samples(named, paths)
        if unused := [name for name in named if name not in paths]:
            note(f"fragments of {name_some(unused)} are not read, as there is no ATAC in them")
        return {name: existing(named[name]) for name in paths}
    if not fragments:
        return None
    if not paths:
        raise InputError("no sample has ATAC, for which fragments are counted; leave fragments out")
    return {name: fragments_beside(path) for name, path in paths.items()}


def _of_other_samples(given: Iterable[object], samples: Iterable[str]) -> InputError:
    return InputError(
        f"fragments is given for {', '.join(map(str, given)) or 'none'}, but the samples are "
        f"{', '.join(samples)}; give the file of each sample under its name"
    )


def count_fragments(
    fragments: str | Path,
    peaks: Names | str | Path,
    cells: Names,
    counts: str = "insertions",
    progress: bool | Listener = False,
) -> AnnData:
    """Count the fragments of cells in any peaks.

    The file is read in pieces, so it may be larger than memory. It needs no index.

    Args:
        fragments: File of fragments, such as atac_fragments.tsv.gz: chromosome, start (0-based),
            end (exclusive) and barcode, with tabs between them.
        peaks: Names such as 'chr1:100-200' (0-based start, exclusive end), or a BED file. No peak
            may lie within another one.
        cells: Barcodes as in the file; fragments of other cells are not counted.
        counts: 'insertions': each end of a fragment counts in the peak that contains it (start <=
            position of the end < end), as in Cell Ranger. 'fragments': each fragment counts once in
            every peak that it overlaps, as in `Signac::FeatureMatrix()`.
        progress: Show the progress on standard error; or a function, as in `SCMVP.train`.

    Returns:
        AnnData, cells x peaks in the order given, int32 CSR.

    Raises:
        InputError: The file is damaged or incomplete, or contains none of the cells or
            chromosomes.
    """
    path = existing(fragments)
    if isinstance(peaks, str | os.PathLike):
        wanted = read_bed(existing(peaks))
        names = wanted.names
    else:
        names = as_names(peaks)
        wanted, readable = peaks_of(names, "the peaks")
        names = names[readable]
    if isinstance(cells, str):
        raise InputError(f"cells is {cells!r}; give a list of barcodes")
    barcodes = as_names(cells)
    if len(twice := barcodes[pd.Index(barcodes).duplicated()]):
        raise InputError(f"cells has {name_some(twice)} twice; give each barcode once")
    with followed(progress) as (stages, _), stages.stage(f"counting {path.name}") as report:
        matrix = counts_of_fragments(path, wanted, barcodes, counts, report)
    return adata_of(matrix, barcodes, names)
