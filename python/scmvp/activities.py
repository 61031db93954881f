"""Regulation from a model: activities of motifs and genes, links from peaks to genes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .arguments import flag, number
from .clusters import Clustered
from .data.annotated import column_of
from .data.covariates import Batch
from .data.motifs import motifs_of
from .data.paired import PairedData
from .errors import InputError
from .progress import Listener, followed
from .tools import activity, impute, links
from .tools import motifs as motif_tool
from .tools.groups import codes_of
from .tools.profiles import Profiles, counted, decoded

if TYPE_CHECKING:
    from anndata import AnnData

_LIBRARY = 1e4


class Active(Clustered):
    """A model that gives activities of motifs and genes."""

    def motif_activity(
        self, motifs: Any, data: PairedData | None = None, *, imputed: bool = True,
        gc: pd.Series | None = None, fasta: str | os.PathLike | None = None, batch: Batch = None,
        n_background: int = motif_tool.N_BACKGROUND, p_value: float = motif_tool.P_VALUE,
        seed: int = 0,
    ) -> AnnData:  # fmt: skip
        """Activity of motifs in cells, over the peaks of the model; see `scmvp.motif_activity`.

        Accessibility is decoded block by block, never for all cells at once.

        Args:
            motifs: Table of the motifs of each peak, or file of motifs, as in
                `scmvp.motif_activity`.
            data: Cells; the fitted ones when None.
            imputed: Whether to use decoded accessibility instead of the measured counts.
            gc: GC content, a Series indexed by the names of the peaks; from `fasta` when None.
            fasta: FASTA file of the genome.
            batch: Batch for which values are imputed, as in `get_normalized_expression`; not for
                measured counts, whose deviations contain differences between batches.
            n_background: Number of background sets.
            p_value: Largest p-value (probability in random sequence) of a match of a motif.
            seed: Seed of the background sets.

        Returns:
            AnnData of cells x motifs, as returned by `scmvp.motif_activity`. With decoded values,
            only motifs that are in no peak, or whose background sets do not vary, have NaN.
        """
        found = motifs_of(motifs, self.peaks, gc=gc, fasta=fasta, p_value=p_value)
        profiles, cells = self._profiles(data, imputed, batch)
        with self._fitted().on_its_threads():
            return motif_tool.activity_in(profiles, found, cells, self.peaks, n_background, seed)

    def gene_activity(
        self, genes: pd.DataFrame | str | os.PathLike, data: PairedData | None = None, *,
        imputed: bool = True, method: str = "body", upstream: int = activity.UPSTREAM,
        decay: int = activity.DECAY, distance: int = activity.DISTANCE, batch: Batch = None,
        library_size: float = _LIBRARY,
    ) -> AnnData:  # fmt: skip
        """Accessibility of each gene, summed over the model's peaks; see `scmvp.gene_activity`.

        Args:
            genes: Gene coordinates, as in `scmvp.gene_activity`.
            data: Cells; the fitted ones when None.
            imputed: Whether to use decoded accessibility instead of the measured counts.
            method: As there.
            upstream: As there.
            decay: As there.
            distance: As there.
            batch: Batch for which values are imputed, as in `get_normalized_expression`; not for
                measured counts.
            library_size: Sum of the decoded values of a cell over all peaks of the model.

        Returns:
            AnnData of cells x genes, as there; X is dense if imputed. For measured counts, a note
            has the number of cells in which ATAC was not measured.
        """
        weights = activity.weights_of(
            self.peaks, genes, self.genes, method, upstream, decay, distance
        )
        profiles, cells = self._profiles(data, imputed, batch, library_size)
        with self._fitted().on_its_threads():
            return activity.activity_in(profiles, weights, cells)

    def link_peaks(
        self, genes: pd.DataFrame | str | os.PathLike, data: PairedData | None = None, *,
        groupby: str | Sequence | pd.Series | None = None, distance: int = links.DISTANCE,
        decay: float = links.DECAY, fdr: float | None = None, n_cells: int = links.N_CELLS,
        contacts: links.Contacts = None, batch: Batch = None, seed: int = 0,
        progress: bool | Listener = False,
    ) -> pd.DataFrame:  # fmt: skip
        """Score links from peaks to the genes near them: contact x accessibility x association.

        As in the activity-by-contact model (Fulco et al. 2019), a peak acts on a gene in proportion
        to its accessibility and to how often the two are in contact, which decreases with their
        distance. The third factor is (1 + support) / 2: support is how much more frequent a
        correlation of this size between imputed expression and imputed accessibility is among
        linked pairs than among pairs on different chromosomes. It is estimated from the data. Half
        of the links are assumed not to vary between the cells and therefore to show no correlation.

        Imputed values are those of the average batch, so that batches contribute nothing to the
        correlation.

        Args:
            genes: Gene coordinates: a table (gene; seqnames, start, end, strand, 1-based and
                inclusive, or tss), a GTF or a BED file. Chromosomes match with or without 'chr'.
            data: Cells; the fitted ones when None.
            groupby: Score links in each group of cells by the accessibility in that group: a column
                of `data.obs`, or a label for each cell (a Series is matched by name; cells with a
                missing label belong to no group). None: one score, computed from all cells.
                `correlation`, and the columns computed from it, always use all cells.
            distance: Largest distance of a peak's center from a start of the gene, base pairs.
            decay: Exponent of the contacts; 0 gives all distances the same weight.
            fdr: Return only pairs with at most this `fdr`.
            n_cells: Largest number of cells, drawn at random, whose imputed values are correlated
                and averaged. With `groupby`, the accessibility in a group is the mean over at most
                `n_cells` / (number of groups) of its cells, or over at most 200 if this number is
                smaller.
            contacts: A Hi-C or similar contact map, used instead of the distance: a `.cool` or
                `.mcool` file (`file.mcool::/resolutions/10000`), or a table or text file of pairs
                of bins ('chrom1', 'start1', 'end1', 'chrom2', 'start2', 'end2', 'count'), as
                `cooler dump --join` writes it. Its frequencies are scaled to the sum expected from
                the distances, and the frequency expected at 1 Mb is added. If gene and peak are
                closer than the width of a bin, or if a bin has no contacts at all, the contact is
                computed from the distance.
            batch: Batch for which values are imputed, as in `get_normalized_expression`.
            seed: Seed of the drawn cells and background pairs.
            progress: As in `train`.

        Returns:
            DataFrame with one row per pair, ordered by gene as in the model and then by peak:
            'gene', 'peak'; 'distance' (base pairs from the nearest start to the center of the peak,
            negative upstream); 'score'; 'probability' that the pair is linked and that its
            correlation is due to this link; 'fdr', the expected proportion of pairs without such a
            link among all pairs with at least this probability, estimated from pairs on different
            chromosomes; 'contact', 1 within 5 kb; 'accessibility', mean of the imputed values, in
            units of the average peak;
            'correlation' of imputed accessibility and log1p of imputed expression (10,000 counts
            per cell); 'support'; 'abc', contact x accessibility as a proportion of its sum over the
            peaks of the gene; 'kind', 'promoter' if the peak is within 1 kb of a start of the gene,
            'promoter of another gene' or 'distal'; 'rank', 1 for the nearest peak of the gene;
            'tss', the nearest start; 'seqnames' and 'center' of the peak. With `groupby` the first
            column is 'group'.

        Raises:
            InputError: No modeled gene has coordinates or a peak near it; an argument is out of
                range.
        """
        if fdr is not None and not 0 < number("fdr", fdr) <= 1:
            raise InputError(f"fdr is {fdr!r}; give a number above 0 and at most 1")
        near = links.near_pairs(self.genes, self.peaks, genes, distance)
        paired = self._matched(data)
        labels = None if groupby is None else _labels(groupby, data, paired.cells)
        return self.links_near(
            near, self._embedded(paired), paired.cells, labels, batch, fdr, decay, n_cells, seed,
            progress, contacts,
        )  # fmt: skip

    def links_near(
        self, near: links.Near, latent: np.ndarray, cells: np.ndarray,
        labels: pd.Series | None = None, batch: Batch = None, fdr: float | None = None,
        decay: float = links.DECAY, n_cells: int = links.N_CELLS, seed: int = 0,
        progress: bool | Listener = False, contacts: links.Contacts = None,
    ) -> pd.DataFrame:  # fmt: skip
        """`link_peaks` at points of the latent, which belong to these cells; needs no counts."""
        order = np.argsort(cells, kind="stable")  # so that draws do not depend on that of the cells
        latent = np.asarray(latent)[order]
        labels = None if labels is None else labels.iloc[order].reset_index(drop=True)

        def decode(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(0, len(points), links.BLOCK):
                some = points[start : start + links.BLOCK]
                yield self.decode(some, "rna", batch=batch), self.decode(some, "atac", batch=batch)

        with self._fitted().on_its_threads(), followed(progress) as (stages, _):
            table = links.links_of(
                near, decode, latent, labels, decay, n_cells, seed, stages, contacts
            )
        if fdr is not None:
            table = table[table["fdr"] <= fdr].reset_index(drop=True)
        return table

    def decoded_profiles(
        self, latent: np.ndarray, batch: Batch = None, library_size: float = _LIBRARY
    ) -> Profiles:
        """Decoded accessibility at points of the latent; needs no counts."""
        fit, scope = self._fitted(), self._plan.scope
        with fit.on_its_threads():
            return decoded(
                lambda: impute.imputed(fit, scope, latent, "atac", None, library_size, batch)
            )

    def _profiles(
        self, data: PairedData | None, imputed: bool, batch: Batch, library_size: float = _LIBRARY
    ) -> tuple[Profiles, np.ndarray]:
        """Accessibility of cells, and their names."""
        self._fitted()
        if not flag("imputed", imputed) and (batch is not None or library_size != _LIBRARY):
            name = "library_size" if batch is None else "batch"
            raise InputError(f"{name} is for imputed values; leave it out for measured counts")
        paired = self._matched(data)
        if not imputed:
            return counted(paired.atac), paired.cells
        return self.decoded_profiles(self._embedded(paired), batch, library_size), paired.cells


def _labels(groupby: Any, data: PairedData | None, cells: np.ndarray) -> pd.Series:
    """The group of each cell as a categorical, missing for cells of none."""
    named = groupby if isinstance(groupby, str) else "groupby"
    given = column_of(data, groupby, cells) if isinstance(groupby, str) else groupby
    code, known = codes_of(cells, given, named)
    if not known:
        raise InputError(f"{named} has no label for any cell; give cells of at least one group")
    return pd.Series(pd.Categorical.from_codes(code, categories=known))
