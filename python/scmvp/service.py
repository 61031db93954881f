"""What R asks of the engine: verbs around at most one model.

Both ways from R lead here, a process of its own (`worker`) and Python inside R (reticulate). Values
are those that `rserial` reads and writes; a sparse matrix is `Named`, cells x features here and
features x cells in R.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

import scmvp

from .data.matrices import entries_once
from .data.motifs import in_columns, motifs_of, with_genes_in_names
from .data.names import as_names
from .files import writable
from .modalities import MODALITIES
from .progress import followed
from .r.cells import cells_of, column, mudata_of, points
from .r.rserial import Named
from .r.tables import plain_frame
from .report.write import write_report
from .tools.activity import activity_in as gene_activity_in
from .tools.activity import weights_of
from .tools.along import features_along, trends_along
from .tools.calibration import calibrate_links
from .tools.links import near_pairs
from .tools.motifs import P_VALUE
from .tools.motifs import activity_in as motif_activity_in
from .tools.profiles import Profiles, counted
from .tools.regulators import Expression, genes_seen, motif_expression, rank_motifs, regulons
from .tools.transfer import transfer_labels

Report = Callable[[dict[str, Any]], Any] | None
Counts = dict[str, Named]  # of cells, by modality


class Service:
    """Answers one request after another."""

    def __init__(self) -> None:
        self._model: Any = None
        self._progress: Callable[[dict[str, Any]], Any] | bool = False
        self._on_epoch: Report = None

    def answer(
        self,
        verb: str,
        arguments: dict[str, Any],
        on_stage: Report = None,
        on_epoch: Report = None,
    ) -> Any:
        """Carry out one verb; `on_stage` and `on_epoch` are called on the way (`progress`)."""
        self._progress, self._on_epoch = on_stage or False, on_epoch
        return VERBS[verb](self, **(arguments or {}))  # R's list() has no names

    def read(self, path: str, **options: Any) -> dict[str, Any]:
        """Paired cells of a file or folder, as `cells_of` has them."""
        return cells_of(scmvp.read(path, progress=self._progress, **options))

    def read_samples(self, paths: Any, **options: Any) -> dict[str, Any]:
        """The same of several samples."""
        return cells_of(scmvp.read_samples(paths, progress=self._progress, **options))

    def simulate(self, **options: Any) -> dict[str, Any]:
        """Simulated cells, and what is true of them: links, and the profile of each type."""
        mdata = scmvp.simulate(**options)
        types = list(mdata.uns["types"])
        truth: dict[str, Any] = {"links": plain_frame(mdata.uns["links"])}
        for name, adata in mdata.mod.items():
            profile = np.asarray(adata.varm["true_profile"], np.float64)
            truth[name] = Named(profile.T, types, list(adata.var_names))
        return cells_of(mdata) | {"truth": truth}

    def build(
        self, counts: Counts, obs: dict[str, list[str]] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Make a model of these cells, untrained; `obs` has the columns of their batches."""
        cells = mudata_of(counts, obs)
        self._model = scmvp.SCMVP(cells, modalities=list(counts), **options)
        return {"account": self._model.account} | self._features()

    def load(self, folder: str) -> dict[str, Any]:
        """Take a saved model; what it is of, and how its training went."""
        self._model = scmvp.SCMVP.load(folder)
        return self._features() | self._course()

    def train(self, **options: Any) -> dict[str, Any]:
        """Fit it."""
        self._model.train(callback=self._on_epoch, progress=self._progress, **options)
        return {"interrupted": self._model.interrupted}

    def fitted(self) -> dict[str, Any]:
        """What came of it: (cells, dimensions) and (cells, clusters), history and summary."""
        model = self._model
        found = {
            "latent": model.get_latent_representation(),
            "probabilities": model.predict_proba(),
        }
        return found | self._course()

    def embed(
        self, counts: Counts, modality: str, obs: dict[str, list[str]] | None = None
    ) -> np.ndarray:
        """Latent of other cells, (cells, dimensions); modalities of the model may be absent."""
        cells = mudata_of(counts, obs)
        return self._model.get_latent_representation(cells, modality, self._progress)

    def responsibilities(self, latent: np.ndarray, **level: Any) -> np.ndarray:
        """p(c|z) of points of the latent, (points, clusters), at a level of the tree."""
        return self._model.responsibilities(points(latent), **level)

    def tree(self, **level: Any) -> dict[str, Any] | None:
        """How the components merge, with the cluster of each at a level, None where it is itself.

        None of a model of an earlier version.
        """
        tree = self._model.tree
        if tree is None:
            return None
        return tree._asdict() | {"cluster": self._model.cluster_of_component(**level)}

    def decode(self, latent: np.ndarray, **options: Any) -> np.ndarray:
        """Imputed profiles of points of the latent, (features, points)."""
        return self._model.decode(points(latent), **options).T

    def decode_to_file(self, latent: np.ndarray, **options: Any) -> None:
        """The same into HDF5."""
        self._model.decode_to_file(latent=points(latent), progress=self._progress, **options)

    def differential(
        self,
        counts: Counts,
        labels: list[str],
        modality: str,
        obs: dict[str, list[str]] | None = None,
        levels: list[str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Differential features between groups; the label of a cell in no group is missing.

        Groups come in the order of `levels`, or, without these, sorted.

        The table, and the log2 fold change of the typical feature by comparison.
        """
        groups = pd.Series(list(labels), dtype=object)
        if levels is not None:
            groups = groups.astype(pd.CategoricalDtype(list(levels)))
        cells = mudata_of(counts, obs)
        table = self._model.differential(modality, cells, groupby=groups, **options)
        return {"table": plain_frame(table), "typical": table.attrs["typical_lfc"]}

    def doublets(
        self, counts: Counts, obs: dict[str, list[str]] | None = None, **options: Any
    ) -> np.ndarray:
        """Doublet scores of cells, in their order; NaN where a modality has no counts."""
        return self._model.doublet_scores(mudata_of(counts, obs), **options).to_numpy()

    def motifs(
        self,
        motifs: Named | str,
        cells: list[str],
        atac: Named | None = None,
        latent: np.ndarray | None = None,
        batch: Any = None,
        genes: list[str] | None = None,
        gc: Any = (),
        gc_peaks: Any = (),
        fasta: str | None = None,
        p_value: float = P_VALUE,
        **options: Any,
    ) -> dict[str, Any]:
        """z-scores of motifs, (motifs, cells), from counts or from points of the latent.

        `motifs`: peaks x motifs in R, the names of these its cells here, or the path of a file.
        """
        given: Any = motifs
        if isinstance(motifs, Named):
            given = motifs.matrix.T, motifs.features, motifs.cells
        content = pd.Series(np.ravel(gc), list(gc_peaks)) if len(gc_peaks) else None
        found = motifs_of(given, self._model.peaks, gc=content, fasta=fasta, p_value=p_value)
        if isinstance(motifs, str):
            found = with_genes_in_names(found)
        if genes:
            found = found._replace(genes=np.array(genes, dtype=object))
        profiles = self._accessibility(atac, latent, batch=batch)
        activity = motif_activity_in(profiles, found, np.array(cells), self._model.peaks, **options)
        return {
            "z": activity.X.T,
            "motifs": list(activity.var_names),
            "genes": list(activity.var["gene"]),
        }

    def rank_motifs(
        self,
        z: np.ndarray,
        motifs: list[str],
        cells: list[str],
        labels: list[str],
        levels: list[str],
        motif_genes: list[str] | None = None,
    ) -> pd.DataFrame:
        """Motifs by group; z is (motifs, cells), the label of a cell in no group is missing."""
        groups = pd.Categorical(list(labels), categories=list(levels))
        table = rank_motifs(
            _activity_of(z, motifs, motif_genes, cells), pd.Series(groups, index=list(cells))
        )
        return plain_frame(table)

    def motif_expression(
        self,
        z: np.ndarray,
        motifs: list[str],
        cells: list[str],
        motif_genes: list[str] | None = None,
        **source: Any,
    ) -> pd.DataFrame:
        """Correlation of motifs, z (motifs, cells), with their factors; `source`: `_expression`."""
        activity = _activity_of(z, motifs, motif_genes, cells)
        return plain_frame(motif_expression(activity, self._expression(cells, **source)))

    def regulons(
        self,
        links: dict[str, list[Any]],
        motifs: Named | str,
        cells: list[str],
        motif_genes: list[str] | None = None,
        factors: list[str] | None = None,
        fasta: str | None = None,
        p_value: float = P_VALUE,
        **source: Any,
    ) -> pd.DataFrame:
        """Target genes of factors, as `regulons` has them; `motifs` as for the verb `motifs`."""
        matches: Any
        if isinstance(motifs, Named):
            matches, peaks, names = motifs.matrix.T, as_names(motifs.features), motifs.cells
        else:
            peaks = self._model.peaks
            found = motifs_of(motifs, peaks, gc=None, fasta=fasta, p_value=p_value)
            found = with_genes_in_names(found)
            matches, names, motif_genes = found.matches, list(found.names), list(found.genes)
        table: Any = matches, peaks, names
        if motif_genes:
            table = in_columns(sp.csr_matrix(matches), peaks, names, motif_genes)
        joined = regulons(
            pd.DataFrame(dict(links)), table, self._expression(cells, **source), factors
        )
        text = joined.columns.intersection(["group", "tf", "motif", "peak", "gene"])
        return plain_frame(joined.astype(dict.fromkeys(text, "category")))

    def _expression(
        self,
        cells: list[str],
        expression: Named | None = None,
        latent: Any = None,
        genes: list[str] | None = None,
        batch: Any = None,
    ) -> Expression:
        """Values of cells as given, or decoded; `genes`: names in R of those of the model."""
        if expression is not None:
            values = expression.matrix.tocsc()
            names, of = expression.features, expression.cells
            return Expression(
                as_names(names), as_names(of), lambda at: values[:, at],
                lambda: genes_seen(expression.matrix),
            )  # fmt: skip
        model, places = self._model, points(latent)

        def decoded(at: np.ndarray) -> np.ndarray:
            return model.decode(places, "rna", list(model.genes[at]), batch=batch)

        return Expression(as_names(genes or model.genes), as_names(cells), decoded)

    def gene_activity(
        self,
        places: dict[str, list[Any]],
        cells: list[str],
        method: str,
        upstream: int,
        decay: int,
        distance: int,
        atac: Named | None = None,
        latent: np.ndarray | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Activity of genes, genes x cells, from counts or from points of the latent."""
        weights = weights_of(
            self._model.peaks, pd.DataFrame(dict(places)), None, method, upstream, decay, distance
        )
        profiles = self._accessibility(atac, latent, **options)
        activity = gene_activity_in(profiles, weights, np.array(cells))
        genes, values = list(activity.var_names), activity.X
        if sp.issparse(values):
            return {"values": Named(sp.csr_matrix(values), list(cells), genes), "genes": genes}
        return {"values": values.T, "genes": genes}

    def links(
        self,
        places: dict[str, list[Any]],
        distance: int,
        latent: np.ndarray,
        cells: list[str],
        labels: list[str] | None = None,
        levels: list[str] | None = None,
        genes: list[str] | None = None,
        peaks: list[str] | None = None,
        contacts: dict[str, list[Any]] | str | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Scored pairs of a gene and a peak; the label of a cell in no group is missing.

        `contacts`: the path of a contact map, or its columns. `genes` and `peaks`: what those of
        the model are called in R, where this differs.
        """
        model = self._model
        near = near_pairs(
            model.genes if genes is None else np.array(genes, dtype=object),
            model.peaks if peaks is None else np.array(peaks, dtype=object),
            pd.DataFrame(dict(places)),
            distance,
        )
        groups = None
        if labels is not None:
            groups = pd.Series(pd.Categorical(list(labels), categories=list(levels or ())))
        table = model.links_near(
            near, points(latent), np.array(cells), groups, progress=self._progress,
            contacts=pd.DataFrame(contacts) if isinstance(contacts, dict) else contacts, **options,
        )  # fmt: skip
        # as categories, each name crosses once
        text = table.columns.intersection(["group", "gene", "peak", "kind", "seqnames"])
        return plain_frame(table.astype(dict.fromkeys(text, "category")))

    def _accessibility(self, atac: Named | None, latent: Any, **options: Any) -> Profiles:
        """Counts in the peaks of the model, or decoded values."""
        if atac is not None:
            return counted(entries_once(atac.matrix))
        return self._model.decoded_profiles(points(latent), **options)

    def calibrate(
        self,
        links: dict[str, Any],
        known: dict[str, Any] | None = None,
        weights: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Probabilities of links, and the weights behind them, as `calibrate_links` has them."""
        found = calibrate_links(
            pd.DataFrame(dict(links)), None if known is None else pd.DataFrame(dict(known)), weights
        )
        return {"calibrated": column(found["calibrated"]), "weights": found.attrs["weights"]}

    def along(self, counts: Named, time: np.ndarray, **options: Any) -> pd.DataFrame:
        """Features that change along a pseudotime."""
        table = features_along(
            counts.matrix, pseudotime=time, features=list(counts.features), **options
        )
        return plain_frame(table.reset_index())

    def trends(self, counts: Named, time: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
        """Smoothed trends, (features, places), and the pseudotimes of the places."""
        table = trends_along(
            counts.matrix, pseudotime=time, features=list(counts.features), **options
        )
        return {"values": table.to_numpy(), "grid": table.columns.to_numpy(np.float64)}

    def transfer(
        self, reference: np.ndarray, labels: list[str], query: np.ndarray, **options: Any
    ) -> pd.DataFrame:
        """Labels of the cells near them, for cells of a query."""
        return plain_frame(transfer_labels(reference, labels, query, **options))

    def report(
        self,
        path: str,
        latent: np.ndarray,
        cells: list[str],
        counts: Counts | None = None,
        obs: dict[str, Any] | None = None,
        columns: list[str] | None = None,
        levels: dict[str, list[str]] | None = None,
        **options: Any,
    ) -> None:
        """The fit as an HTML page, `columns` of `obs` on it; without counts, what there is then.

        `levels` has those of the columns that are factors in R, in their order.
        """
        model = self._model
        obs = dict(obs or {})
        for name, known in dict(levels or {}).items():
            obs[name] = pd.Categorical(list(obs[name]), list(known))
        if counts:
            data = mudata_of(counts, obs)
            model.report(path, data, columns=columns, progress=self._progress, **options)
            return
        table = pd.DataFrame(obs, index=list(cells))
        with followed(self._progress) as (stages, _):
            write_report(
                writable(path, written="HTML"), model, np.asarray(cells), points(latent), obs=table,
                columns=columns, stages=stages, **options,
            )  # fmt: skip

    def save(self, folder: str) -> None:
        """The model as a folder."""
        self._model.save(folder)

    def _features(self) -> dict[str, Any]:
        model = self._model
        found = {of.features: model.features.get(name) for name, of in MODALITIES.items()}
        return found | {"batch": model.batch_levels}

    def _course(self) -> dict[str, Any]:
        history = {name: column(values) for name, values in self._model.history.items()}
        return {"history": history, "summary": self._model.summary(), "tree": self.tree()}


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        Service.read, Service.read_samples, Service.simulate, Service.build, Service.load,
        Service.train, Service.fitted, Service.embed, Service.responsibilities, Service.tree,
        Service.decode, Service.decode_to_file, Service.differential, Service.doublets,
        Service.motifs, Service.rank_motifs, Service.motif_expression, Service.regulons,
        Service.gene_activity, Service.links, Service.calibrate, Service.along, Service.trends,
        Service.transfer, Service.report, Service.save,
    )
}  # fmt: skip


def named(x: Any, i: Any, p: Any, cells: Any, features: Any) -> Named:
    """The three vectors of a dgCMatrix (features x cells) as they lie in R's memory."""
    shape = (len(cells), len(features))
    return Named(sp.csr_matrix((x, i, p), shape=shape, copy=False), cells, features)


def _activity_of(z: np.ndarray, motifs: list[str], genes: Any, cells: list[str]) -> Any:
    """z-scores as `motif_activity` returns them; z is (motifs, cells)."""
    return in_columns(np.asarray(z).T, cells, motifs, genes)
