"""Several samples as one, from a path each; counts of fragments in any peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .arguments import Names
from .data.containers import as_names
from .data.formats import fragments_beside
from .data.fragments import counts_of_fragments
from .data.joining import adata_of
from .data.peaks import Peaks, peaks_of, read_bed
from .data.samples import join_samples
from .errors import InputError
from .progress import Listener, followed
from .reading import existing, read_path
from .words import name_some

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


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

    Cells are called '<sample>_<barcode>', and `obs['sample']` has their sample. Only counts, obs
    and var are kept. Genes are matched by name; those that a sample lacks were not measured there,
    and are left out. Peaks that overlap by at least one base pair become one, from the first start
    to the last end (as `GenomicRanges::reduce` with `min.gapwidth = 0` has it, with 0-based starts
    and exclusive ends as in 10x files); where all samples have the same peaks, these stay as they
    are. Notes say in numbers what was joined and left out.

    Counts of peaks that become one are added. Where a sample has no peak, the sum is zero, though
    its cells may have fragments there: `fragments` counts these, and is better where the files are
    at hand. Counted are insertions, as Cell Ranger does: each end of a fragment, in the peak that
    has it. Samples of insertions beside samples of fragments are all read as fragments,
    (y + 1) // 2, if counts are added.

    Args:
        paths: Of each sample by its name, each as for `read`; of a list, a sample is called by its
            folder (that around `outs`), or by its file if that has a name of its own.
        peaks: 'union'; 'shared', those of the union that lie on a peak of every sample; or a BED
            file of peaks that do not lie within each other, for `fragments`.
        fragments: Count all samples from their files of fragments: True for those of Cell Ranger
            (atac_fragments.tsv.gz) beside the matrix, or the path of each sample by its name.
        mosaic: Keep unimodal cells, in h5ad, h5mu and zarr.
        rna_layer: As for `read`.
        atac_layer: As for `read`.
        protein_layer: As for `read`.
        progress: As for `read`.

    Returns:
        MuData with modalities 'rna' and 'atac', cells in the order of the samples; `var` of the
        peaks has 'chrom', 'start', 'end' and, but for a BED file, 'n_samples' that have a peak
        there. For a model of them, `SCMVP(mdata, batch="sample")`.

    Raises:
        InputError: A file cannot be read, or the samples do not fit each other: other kinds of
            gene names, chromosomes or genomes, the same cells twice.
    """
    named = _named_paths(paths)
    target = _target_peaks(peaks, fragments)
    files = _files_of_fragments(named, fragments)
    with followed(progress) as (stages, _):
        samples = {}
        for name, path in named.items():
            with stages.stage(f"reading {name}") as report:
                samples[name] = read_path(
                    path, False, mosaic, rna_layer, atac_layer, report, protein_layer
                )
        return join_samples(samples, target, files, mosaic, stages)


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
    """What was written as NAME=PATH, by name; as a list, if it is paths alone.

    A path of a file or folder that has a '=' in its name is taken as such.
    """
    parts = [text.partition("=") for text in given]
    bare = [
        text
        for text, (_, sign, _) in zip(given, parts, strict=True)
        if not sign or Path(text).exists()
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
    if path.name.startswith(("filtered_feature_bc_matrix", "raw_feature_bc_matrix")):
        path = path.parent
    if path.name == "outs":
        path = path.parent
    return path.name if path.is_dir() else path.stem


def _target_peaks(peaks: str | Path, fragments: bool | Mapping[str, str | Path]) -> str | Peaks:
    if isinstance(peaks, str) and peaks in ("union", "shared"):
        return peaks
    if not isinstance(peaks, str | Path) or not Path(peaks).exists():
        raise InputError(f"peaks is {peaks!r}; give 'union', 'shared' or the path of a BED file")
    path = Path(peaks)
    if fragments is False:
        raise InputError(
            f"peaks of a file can only be counted from fragments; say fragments=True, or leave out "
            f"peaks='{path}'"
        )
    return read_bed(path)


def _files_of_fragments(
    paths: Mapping[str, Path], fragments: bool | Mapping[str, str | Path]
) -> dict[str, Path] | None:
    if isinstance(fragments, Mapping):
        if set(fragments) != set(paths):
            raise InputError(
                f"fragments is of {', '.join(fragments) or 'none'}, but the samples are "
                f"{', '.join(paths)}; give the file of each sample under its name"
            )
        return {name: existing(fragments[name]) for name in paths}
    if not isinstance(fragments, bool):
        raise InputError(
            f"fragments is {fragments!r}; give True, or a dict of names of samples and paths"
        )
    if not fragments:
        return None
    return {name: fragments_beside(path) for name, path in paths.items()}


def count_fragments(
    fragments: str | Path,
    peaks: Names | str | Path,
    cells: Names,
    counts: str = "insertions",
    progress: bool | Listener = False,
) -> AnnData:
    """Count the fragments of cells in any peaks.

    The file is read in pieces, and may be larger than memory; it needs no index.

    Args:
        fragments: File of fragments, such as atac_fragments.tsv.gz: chromosome, start (0-based),
            end (exclusive) and barcode, with tabs between them.
        peaks: Names such as 'chr1:100-200' (0-based start, exclusive end), or a BED file. No peak
            may lie within another one.
        cells: Barcodes, as the file has them; fragments of others are not counted.
        counts: 'insertions': each end of a fragment counts in the peak that has it (start <= end of
            fragment < end), as Cell Ranger counts. 'fragments': each fragment counts once in every
            peak that it overlaps, as `Signac::FeatureMatrix()` counts.
        progress: Show on standard error how far it is; or a function, as in `SCMVP.train`.

    Returns:
        AnnData, cells x peaks in the order given, int32 CSR.

    Raises:
        InputError: The file is damaged or incomplete, or has none of the cells or chromosomes.
    """
    path = existing(fragments)
    if isinstance(peaks, str | Path):
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
