"""`SCMVP`, the model a user holds: paired cells in, latent, clusters and imputation out."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from . import storage
from .arguments import number, options_from, positions, positive, whole_number
from .data.annotated import column_of
from .data.checks import check_paired, writable
from .data.covariates import Covariates, column_names, distinct
from .data.features import (
    counted_as_fitted,
    empty_cells,
    in_features,
    in_fragments,
    modelled_features,
    warn_of_empty_rows,
)
from .data.matrices import Matrix, entries_of_cells, feature_totals
from .data.paired import Paired
from .data.preprocess import counts_insertions
from .data.spectral import batches_of, fit_spectrum
from .errors import InputError, ModelFileError
from .fit.embedding import embed, in_frame
from .fit.training import Callback, Trainer, TrainingResult
from .modalities import MODALITIES, feature_of
from .nn import paper
from .nn.batches import Cells
from .nn.device import pick_device, seeded
from .nn.distributed import ranks
from .nn.inputs import SpectralScores
from .nn.module import Features, PairedMixtureVAE
from .options import ModelOptions, TrainingOptions, default_epochs
from .presets import preset_of
from .progress import SILENT, Listener, Stages, counted, followed
from .threads import default_threads, limited_threads
from .tools import differential, impute
from .words import count_of

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    PairedData = MuData | tuple[AnnData, AnnData] | Paired

Batch = str | Mapping[str, str] | None  # level of the only batch column, or levels by column

FEWEST_CELLS = 20


def _on_its_threads(method: Callable) -> Callable:
    """A method that computes on as many threads as the training did: the same digits each time."""

    @functools.wraps(method)
    def limited(self: SCMVP, *args: Any, **kwargs: Any) -> Any:
        with limited_threads(self._threads):
            return method(self, *args, **kwargs)

    return limited


class SCMVP:
    """A Gaussian-mixture variational auto-encoder of paired RNA and open-chromatin counts.

    Example:
        >>> mdata = scmvp.simulate(n_cells=500, seed=1)
        >>> model = scmvp.SCMVP(mdata, n_clusters=8).train(seed=0)
        >>> mdata.obsm["X_scmvp"] = model.get_latent_representation()
        >>> mdata.obs["cluster"] = model.predict()
    """

    def __init__(
        self,
        data: PairedData,
        *,
        n_latent: int | None = None,
        n_clusters: int | None = None,
        preset: str = "default",
        rna_layer: str | None = None,
        atac_layer: str | None = None,
        min_cells: int = 10,
        batch: str | Sequence[str] | None = None,
        mosaic: bool = False,
        options: dict[str, Any] | None = None,
    ):
        """Check the cells and choose the features to model; nothing is trained yet.

        Args:
            data: MuData with modalities 'rna' and 'atac' (or 'GEX', 'peaks' and the like), (RNA
                AnnData, ATAC AnnData), or one AnnData with `var['feature_types']`, holding raw
                counts of the same cells.
            n_latent: D, dimensions of the latent; that of the preset when None: 20, in 'paper' 10.
            n_clusters: K, components of the mixture. When None it is found in the latent of the
                first epochs, by the Bayesian information criterion; in preset 'paper' from the rank
                of the cell-cell correlation matrix.
            preset: 'default', or 'paper' for the published model taken literally.
            rna_layer: Layer with the RNA counts, or 'raw' for `.raw`; X when None. A warning says
                where X holds whole numbers other than those of the layer 'counts' (or `.raw`).
            atac_layer: Layer with the ATAC counts, in the same way.
            min_cells: Features seen in fewer cells are left out of the model.
            batch: Column of obs, or several, whose differences are to be taken out of the latent
                (donor, replicate, chemistry): categories, each with cells of the same kinds.
            mosaic: Also use cells that only one of the modalities has; some must have both.
            options: Fields of `scmvp.options.ModelOptions` to change.

        Raises:
            InputError: The input cannot be modelled; the sentence says why.
        """
        changes = preset_of(preset)
        min_cells = whole_number("min_cells", min_cells, at_least=0)
        model_changes, self._training_changes = changes.model, changes.training
        self.preset = preset
        if n_latent is not None:
            model_changes = model_changes | {"n_latent": whole_number("n_latent", n_latent)}
        self.options = options_from(ModelOptions, {} if options is None else options, model_changes)
        if isinstance(data, Paired) and (rna_layer, atac_layer) != (None, None):
            raise InputError(
                "the counts of a file are chosen when it is read; give rna_layer and atac_layer to "
                "scmvp.read, not here"
            )
        columns = column_names(batch)
        given = check_paired(data, rna_layer, atac_layer, mosaic, columns=columns)
        self._layers = (rna_layer, atac_layer)
        self.covariates = Covariates.of(given.obs[columns]) if columns else None
        insertions = counts_insertions(given.atac)
        if insertions:
            given = in_fragments(given)
        self._data: Paired | None = modelled_features(given, min_cells)
        empty = empty_cells(self._data)
        self.cells, self.features = self._data.cells, self._data.features
        if len(self.cells) < FEWEST_CELLS:
            raise InputError(
                f"there {'is' if len(self.cells) == 1 else 'are'} "
                f"{count_of(len(self.cells), 'cell')}, too few to fit a model; give at least "
                f"{FEWEST_CELLS}"
            )
        incomplete = np.logical_or.reduce([*empty.values()])
        if (n_paired := int((~incomplete).sum())) < FEWEST_CELLS:
            raise InputError(
                f"{count_of(n_paired, 'cell', 'has', 'have')} counts in both modalities, too few "
                f"to learn how the two belong together; give at least {FEWEST_CELLS}"
            )
        self.account: dict[str, Any] = {
            "n_cells": len(self.cells),
            **{_n_features(name): len(names) for name, names in self.features.items()},
            **{f"{_n_features(name)}_in": len(names) for name, names in given.features.items()},
            "min_cells": min_cells,
            "atac_insertions": insertions,
            **{f"cells_without_{name}": int(cells.sum()) for name, cells in empty.items()},
            "cells_incomplete": int(incomplete.sum()),
            "batch": columns,
            "n_clusters_estimated": n_clusters is None,
        }
        if n_clusters is None and changes.n_clusters is not None:
            n_clusters = changes.n_clusters(
                self._data.rna, self._data.atac, design=self._design(self._data)
            )
        if n_clusters is not None:
            n_clusters = whole_number("n_clusters", n_clusters)
            if n_clusters > len(self.cells) // 2:
                raise InputError(
                    f"n_clusters is {n_clusters} but there are only "
                    f"{count_of(len(self.cells), 'cell')}; give at most {len(self.cells) // 2}, "
                    "one cluster for two cells"
                )
        self._n_clusters_given = n_clusters
        self.account["n_clusters"] = self.n_clusters = n_clusters
        self._threads: int | None = None
        self._module: PairedMixtureVAE | None = None
        self._training: TrainingOptions | None = None
        self._result = TrainingResult()
        self._latent: np.ndarray | None = None

    def __repr__(self) -> str:
        fitted, k = self._module is not None, self.n_clusters
        trained = count_of(self._result.epochs, "epoch") if fitted else "not trained"
        clusters = "clusters to be found" if k is None else count_of(k, "cluster")
        features = ", ".join(
            count_of(len(names), feature_of(name)) for name, names in self.features.items()
        )
        return f"SCMVP({features}, {clusters}, {trained})"

    # ---- training

    def train(
        self,
        max_epochs: int | None = None,
        batch_size: int = 128,
        lr: float = 5e-3,
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        callback: Callback | None = None,
        checkpoint: str | os.PathLike | None = None,
        keep_checkpoint: bool = False,
        progress: bool | Listener = True,
        **training_options: Any,
    ) -> SCMVP:
        """Fit the model from scratch; the same seed gives the same model.

        Args:
            max_epochs: Passes over the cells, at most; when None 60, fewer from 10,000 cells or
                3,000 counts per cell on, at least 12 (docs/MODEL.md, T1).
            batch_size: Cells per step; where some have one modality, those with both. Fewer where
                an epoch would have less than 32 steps.
            lr: Learning rate of Adam at the start.
            seed: Of weights, order of the cells, held-out cells and samples of z. The caller's
                random streams are left alone.
            device: 'auto', 'cpu', 'cuda', 'cuda:1', ...
            threads: CPU threads of PyTorch; half of the CPUs, at most 8, when None. NumPy and SciPy
                use one. Environment variables such as OMP_NUM_THREADS do not change the result.
            callback: Called after each epoch with a dict of the epoch's history, `max_epochs`,
                `seconds_left` and `cells_per_second`.
            checkpoint: File to keep the state in, written after each epoch. Where it exists, the
                training that wrote it goes on, with the result it would have had without a break;
                it is deleted in the end.
            keep_checkpoint: Leave it there in the end, too, until you have written the results;
                from it they come again at once.
            progress: Show on standard error which stage the fit is in and how its epochs go: a line
                that is drawn again on terminals and in notebooks, else one per stage that takes
                long and per epoch. Or a function, called with a dict of `stage` (its name), `share`
                (done: 0 at the start, 1 at the end) and `seconds`; epochs are for `callback`.
            **training_options: Other fields of `scmvp.options.TrainingOptions`.

        Returns:
            self. After a KeyboardInterrupt, with the best weights so far and `interrupted` True.

        Raises:
            InputError: An option is out of range, or training diverged.
            KeyboardInterrupt: It came before an epoch was complete, and says in which stage; the
                model is as it was.
        """
        if self._data is None:
            raise InputError(
                "this model was loaded from a file and has no cells; make a new SCMVP(data)"
            )
        given = {} if max_epochs is None else {"max_epochs": whole_number("max_epochs", max_epochs)}
        changes = given | {
            "batch_size": whole_number("batch_size", batch_size, at_least=2),
            "lr": positive("lr", lr, at_most=1),
            "seed": whole_number("seed", seed, at_least=0, at_most=2**32 - 1),
        }
        training = options_from(TrainingOptions, training_options, self._training_changes | changes)
        if threads is None:
            threads = default_threads()
        threads = whole_number("threads", threads, at_most=os.cpu_count())
        if callback is not None and not callable(callback):
            raise InputError(f"callback is {callback!r}; give a function of one dict")
        picked = pick_device(device)
        checkpoint_file = None if checkpoint is None else writable(checkpoint)
        counts, design = self._data.counts, self._design(self._data)
        with (
            followed(progress) as (stages, show_epoch),
            limited_threads(threads),
            seeded(training.seed, picked),
        ):
            module = self._untrained(counts, training.seed, design, self._n_clusters_given, stages)
            if not given:
                total = sum(float(totals.sum()) for totals in module.totals.values())
                epochs = default_epochs(len(self.cells), total / len(self.cells))
                training = dataclasses.replace(training, max_epochs=epochs)
            with stages.stage("setting up the networks"):
                cells = Cells(counts, picked, ranks(), design, self._part_paired())
                trainer = Trainer(module, cells, training)
            result = trainer.run(_both(show_epoch, callback), checkpoint_file, stages)
            latent = trainer.latent()
        # assigned together, so that a failed second training leaves the first one whole
        self._module, self._training, self._result, self._latent = module, training, result, latent
        self.account |= {"n_clusters": module.n_clusters, "threads": threads}
        self.n_clusters, self._threads = module.n_clusters, threads
        done = not (keep_checkpoint or result.interrupted)
        if checkpoint_file is not None and done and ranks().rank == 0:
            checkpoint_file.unlink(missing_ok=True)
        return self

    @property
    def genes(self) -> np.ndarray:
        """Names of the modelled genes."""
        return self.features["rna"]

    @property
    def peaks(self) -> np.ndarray:
        """Names of the modelled peaks."""
        return self.features["atac"]

    @property
    def batch_levels(self) -> dict[str, list[str]]:
        """Columns of obs that were fitted as batches, and their levels."""
        return {} if self.covariates is None else self.covariates.levels

    @property
    def history(self) -> dict[str, list]:
        """One list per quantity, one value per epoch; ELBOs and losses in nats per cell."""
        return self._result.history

    @property
    def interrupted(self) -> bool:
        """Whether the last training was ended by a KeyboardInterrupt."""
        return self._result.interrupted

    # ---- latent and clusters

    def get_latent_representation(
        self,
        data: PairedData | None = None,
        modality: str = "joint",
        progress: bool | Listener = False,
    ) -> np.ndarray:
        """Posterior mean of z, in the coordinates in which a cluster has unit covariance.

        The axes are ordered by how much the clusters differ along them, the most first. The origin
        is the mean of the mixture. With preset 'paper' they are the networks' own, unordered.

        Args:
            data: Cells to embed; the fitted cells when None. Genes and peaks are matched by name,
                peaks also in another spelling (`chr1:1-9`, `chr1-1-9`); up to a fifth of each may
                be missing, which counts as zero. One modality is enough: (rna, None).
            modality: 'joint' for q(z|x,y), 'rna' for q(z|x), 'atac' for q(z|y).
            progress: As in `train`.

        Returns:
            (n, D) float32, in the order of the cells.
        """
        self._refuse_latent("modality", modality)
        self._fitted()
        if data is None and modality == "joint" and self._latent is not None:
            return self._latent.copy()
        with followed(progress) as (stages, _):
            paired = self._matched(data)
            if modality != "joint":
                warn_of_empty_rows(paired, modality)
            return self._embedded(paired, modality, stages)

    def predict_proba(self, data: PairedData | None = None) -> np.ndarray:
        """p(c|z) at the posterior mean of z, (n, K) float32."""
        return self.responsibilities(self.get_latent_representation(data))

    @_on_its_threads
    def responsibilities(self, latent: np.ndarray) -> np.ndarray:
        """p(c|z) of given points of the latent, (n, K) float32; needs no counts."""
        module = self._fitted()
        z = torch.as_tensor(self._points(latent), dtype=torch.float32, device=self._device())
        with torch.no_grad():
            return module.prior.responsibilities(z).cpu().numpy()

    def predict(self, data: PairedData | None = None) -> np.ndarray:
        """Most probable component of each cell, (n,), 0 to K - 1."""
        return self.predict_proba(data).argmax(1)

    @property
    def n_clusters_used(self) -> int:
        """Components that are the most probable one of at least one fitted cell."""
        return len(np.unique(self.predict()))

    # ---- imputation

    def get_normalized_expression(
        self,
        data: PairedData | None = None,
        *,
        genes: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
    ) -> np.ndarray:
        """Imputed RNA: the NB mean at the posterior mean of z; nothing is sampled.

        Args:
            data: Other cells; the fitted ones when None.
            genes: Names wanted, in the order wanted; all modelled genes when None.
            cells: Names wanted, in the order wanted; all when None.
            library_size: Counts per cell over all modelled genes.
            batch: Level of the batch to impute to, or a dict of column and level; when None the
                average of the fitted cells' batches, the same for all cells.

        Returns:
            (cells, genes) float32.
        """
        return self._imputed("rna", data, genes, cells, library_size, batch)

    def get_accessibility_estimates(
        self,
        data: PairedData | None = None,
        *,
        peaks: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
    ) -> np.ndarray:
        """Imputed accessibility: the mean count at the posterior mean of z; nothing is sampled.

        Ask for the peaks you need, or see `impute_to_file`: all cells x all peaks is a dense block.

        Args:
            data: Other cells; the fitted ones when None.
            peaks: Names wanted, in the order wanted; all modelled peaks when None.
            cells: Names wanted, in the order wanted; all when None.
            library_size: Counts per cell over all modelled peaks.
            batch: Level of the batch to impute to, or a dict of column and level; when None the
                average of the fitted cells' batches, the same for all cells.

        Returns:
            (cells, peaks) float32.
        """
        return self._imputed("atac", data, peaks, cells, library_size, batch)

    @_on_its_threads
    def decode(
        self,
        latent: np.ndarray,
        modality: str,
        features: Sequence[str] | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
    ) -> np.ndarray:
        """Imputed profiles of given points of the latent, (n, f) float32; needs no counts."""
        blocks = list(self._decode_blocks(latent, modality, features, library_size, batch))
        return np.concatenate(blocks)

    def impute_to_file(
        self,
        path: str | os.PathLike,
        modality: str,
        data: PairedData | None = None,
        features: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        library_size: float = 1e4,
        threshold: float | None = None,
        batch: Batch = None,
        progress: bool | Listener = False,
    ) -> None:
        """Write imputed profiles to HDF5, block by block.

        Args:
            path: File to make; `anndata.read_h5ad` reads it, and any HDF5 library: `X` is
                (cells, features), `obs` and `var` have the names.
            modality: 'rna' or 'atac'.
            data: Other cells; the fitted ones when None.
            features: Names wanted; all modelled ones when None.
            cells: Names wanted; all when None.
            library_size: Counts per cell over all modelled features.
            threshold: Keep values of at least this, as a sparse matrix; dense when None.
            batch: As in `get_normalized_expression`.
            progress: As in `train`.
        """
        path = writable(path)
        with followed(progress) as (stages, _):
            latent, names = self._latent_of(data, cells, stages)
            self.decode_to_file(
                path, latent, modality, names, features, library_size, threshold, batch=batch,
                progress=stages.listener or False,
            )  # fmt: skip

    @_on_its_threads
    def decode_to_file(
        self,
        path: str | os.PathLike,
        latent: np.ndarray,
        modality: str,
        cells: Sequence[str],
        features: Sequence[str] | None = None,
        library_size: float = 1e4,
        threshold: float | None = None,
        log: bool = False,
        batch: Batch = None,
        progress: bool | Listener = False,
    ) -> None:
        """Write imputed profiles of given points of the latent, as `impute_to_file` does.

        Args:
            path: File to make.
            latent: (n, D).
            modality: 'rna' or 'atac'.
            cells: n names.
            features: Names wanted; all modelled ones when None.
            library_size: Counts per cell over all modelled features.
            threshold: Keep values of at least this, as a sparse matrix; dense when None.
            log: Write log(1 + x); the threshold is on that scale.
            batch: As in `get_normalized_expression`.
            progress: As in `train`.
        """
        path = writable(path)
        blocks = self._decode_blocks(latent, modality, features, library_size, batch)
        if log:
            blocks = map(np.log1p, blocks)
        features = self._features(modality) if features is None else features
        about = {"scmvp_modality": modality, "scmvp_library_size": float(library_size)}
        if log:
            about["scmvp_log"] = True
        if batch is not None:
            about["scmvp_batch"] = str(batch)
        if threshold is not None:
            about["scmvp_threshold"] = threshold = number("threshold", threshold)
        n_blocks = impute.n_blocks(self._fitted(), len(latent), modality)
        name = f"imputing {MODALITIES[modality].group}"
        with followed(progress) as (stages, _), stages.stage(name) as report:
            blocks = counted(blocks, n_blocks, report)
            impute.write_blocks(path, blocks, cells, features, threshold, about)

    # ---- differential features

    def differential_expression(
        self,
        data: PairedData | None = None,
        *,
        groupby: str | Sequence | None = None,
        group1: Any = None,
        group2: Any = None,
        genes: Sequence[str] | None = None,
        delta: float = 0.25,
        fdr: float = 0.05,
        library_size: float = 1e4,
        n_samples: int = 10,
        latent: str = "joint",
        seed: int = 0,
    ) -> pd.DataFrame:
        """Which genes differ between groups of cells, with their effects and a kept error rate.

        The test is of counts (module `effects`, docs/differential.md); what the model itself
        says stands beside it. Without any argument the clusters are compared, each with the rest.
        Where the model has batches, cells are compared with those of their own batch (of several
        columns: with the same levels of all); batches that a group has fewer than 3 cells of say
        nothing.

        Args:
            data: The cells, with all genes and peaks of the model; the fitted cells when None.
            groupby: Labels of the cells: a column of `data.obs`, or one value per cell (missing
                ones are left out).
            group1: With `groupby` the label or labels to test one after the other, all when None.
                Without, the cells: a mask, or their names.
            group2: What each is compared with: labels (taken together), mask or names; all other
                cells when None.
            genes: Genes to report, and to control the error rate over; all when None.
            delta: log2 fold changes within it count as no difference.
            fdr: Expected share of wrong ones among the genes called (`is_de`).
            library_size: Counts per cell that means refer to.
            n_samples: Samples of z behind `lfc_model`.
            latent: What the cells are embedded from for `lfc_model`: 'joint', 'rna' or 'atac'.
            seed: Of these samples and of the folds of features.

        Returns:
            One line per gene and comparison, the most probable ones of each comparison first:
            `feature`; `group`, `reference`; `lfc`, `lfc_sd`, `lfc_low`, `lfc_high`, the posterior
            log2 fold change, its sd and its 95 % interval; `lfc_model`, `lfc_model_sd`, that of the
            decoded means over samples of z; `mean_*`, normalized counts, and `detected_*`, share of
            the cells with a count, of both groups; `prob_de`, posterior probability of a fold
            change beyond delta; `log_bayes_factor`, natural; `q_value`; `is_de`. `attrs` has the
            log2 fold change of the typical gene, which was taken for none.

        Raises:
            InputError: A group is unknown or too small, shares no batch with what it is compared
                with, or an argument is out of range.
        """
        return self._differential(
            "rna", data, groupby, group1, group2, genes, delta, fdr, library_size, n_samples,
            latent, seed,
        )  # fmt: skip

    def differential_accessibility(
        self,
        data: PairedData | None = None,
        *,
        groupby: str | Sequence | None = None,
        group1: Any = None,
        group2: Any = None,
        peaks: Sequence[str] | None = None,
        delta: float = 0.25,
        fdr: float = 0.05,
        library_size: float = 1e4,
        n_samples: int = 10,
        latent: str = "joint",
        seed: int = 0,
    ) -> pd.DataFrame:
        """Which peaks differ between groups of cells; see `differential_expression`.

        Where the model reads fragments of counted insertions, so does the test.
        """
        return self._differential(
            "atac", data, groupby, group1, group2, peaks, delta, fdr, library_size, n_samples,
            latent, seed,
        )  # fmt: skip

    @_on_its_threads
    def _differential(
        self, modality, data, groupby, group1, group2, features, delta, fdr, library_size,
        n_samples, latent, seed,
    ) -> pd.DataFrame:  # fmt: skip
        module = self._fitted()
        self._refuse_latent("latent", latent)
        if not 0 <= (delta := number("delta", delta)) <= 10:
            raise InputError(f"delta is {delta!r}; give a log2 fold change from 0 to 10")
        if not 0 < (fdr := number("fdr", fdr)) < 1:
            raise InputError(f"fdr is {fdr!r}; give a number above 0 and below 1")
        library_size = positive("library_size", library_size)
        n_samples = whole_number("n_samples", n_samples)
        seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
        names, wanted = self._features(modality), None
        if features is not None:
            of = MODALITIES[modality]
            wanted = positions(names, features, of.feature, f"the {of.label} model")
        paired = self._matched(data)
        named = groupby if isinstance(groupby, str) else "groupby"
        labels = column_of(data, groupby, paired.cells) if isinstance(groupby, str) else groupby
        if groupby is None and (group1 is None or np.ndim(group1) == 0):
            labels, named = self.predict(data), "the clusters of the model"
        counts = paired.counts[modality]
        groups = differential.groups_of(paired.cells, labels, group1, group2, named)
        groups = groups.without(entries_of_cells(counts) == 0)
        design, row, batch = self._design(paired), None, None
        if self.covariates is not None:
            row = self.covariates.row(None)
            _, batch = distinct(design)
        q = embed(module, Cells(paired.counts, self._device(), design=design), modality=latent)
        means = differential.model_means(module, q, groups, modality, n_samples, seed, row)
        return differential.compare(
            counts, names, groups, means,
            delta=delta, fdr=fdr, library_size=library_size, wanted=wanted, batch=batch, seed=seed,
        )  # fmt: skip

    # ---- files

    def save(self, directory: str | os.PathLike) -> None:
        """Write `model.json` and `weights.safetensors`; the cells are not saved.

        A model that is already in the folder is replaced.
        """
        storage.save(directory, self._fitted().state_dict(), self.info())

    @classmethod
    def load(cls, directory: str | os.PathLike, device: str = "auto") -> SCMVP:
        """Read a saved model; no code in it is ever run.

        Raises:
            ModelFileError: A part is missing or broken, or of another version or shape.
        """
        picked = pick_device(device)
        while True:
            info = storage.load_info(directory)
            try:
                with storage.damage_reported(directory):
                    model = cls._from_info(info, directory)
                break
            except ModelFileError:
                # between its two files another program may have put a new model
                if storage.load_info(directory)["weights_sha256"] == info["weights_sha256"]:
                    raise
        model._module = model._module.to(picked).eval()
        return model

    @classmethod
    def _from_info(cls, info: dict[str, Any], directory: str | os.PathLike) -> SCMVP:
        model = cls.__new__(cls)
        model._data, model._latent, model.cells = None, None, np.array([], dtype=str)
        model._layers = tuple(info["layers"])
        model._info = info
        model.preset, model.n_clusters = info["preset"], info["account"]["n_clusters"]
        model.account = info["account"]
        model.features = {
            name: storage.names_in(info, MODALITIES[name].features, directory)
            for name in storage.modalities_in(info, directory)
        }
        model.options = storage.options_of(ModelOptions, info["model_options"], directory)
        model._training = storage.options_of(TrainingOptions, info["training_options"], directory)
        model._training_changes = {}
        model._threads = storage.threads_of(model.account, directory)
        model._result = storage.options_of(TrainingResult, info["training"], directory)
        model.covariates = Covariates.from_info(info["covariates"])
        weights, o = storage.read_weights(directory, info["weights_sha256"]), model.options
        sizes = [(o.n_latent, o.n_hidden), (o.n_latent, model.n_clusters)]
        for names in model.features.values():
            sizes.append((o.n_hidden, len(names)))
            if o.encoder_input == "spectral":
                sizes.append((o.n_components, len(names)))
        storage.check_sizes(directory, weights, *sizes)
        blank = {name: sp.csr_matrix((1, len(names))) for name, names in model.features.items()}
        levels = None if model.covariates is None else model.covariates.row(None)[None]
        model._module = model._untrained(blank, 0, levels, model.n_clusters)
        storage.fill(model._module, weights, directory)
        return model

    def info(self) -> dict[str, Any]:
        """What made this model, as `model.json` has it."""
        if self._data is None:
            return self._info
        return {
            "summary": self.summary(),
            "preset": self.preset,
            "account": self.account,
            "layers": list(self._layers),
            "covariates": None if self.covariates is None else self.covariates.info(),
            "model_options": dataclasses.asdict(self.options),
            "training_options": dataclasses.asdict(self._trained()),
            "training": dataclasses.asdict(self._result),
            "modalities": [*self.features],
            **{MODALITIES[name].features: names.tolist() for name, names in self.features.items()},
        }

    def summary(self) -> dict[str, Any]:
        """What was fitted, with which options and versions, and how it went."""
        if self._data is None:
            return self._info["summary"]
        options = dataclasses.asdict(self.options) | dataclasses.asdict(self._trained())
        return {
            "n_cells": self.account["n_cells"],
            **{_n_features(name): len(names) for name, names in self.features.items()},
            "n_clusters": self.n_clusters,
            "n_clusters_used": self.n_clusters_used,
            "epochs": self._result.epochs,
            "best_epoch": self._result.best_epoch,
            "seconds_fit": self._result.seconds,
            "elbo": self._result.elbo,
            "features_per_step": self._result.features_per_step,
            "interrupted": self._result.interrupted,
            "versions": storage.versions(),
            "options": {
                "preset": self.preset,
                "device": str(self._device()),
                "threads": self.account["threads"],
                **options,
            },
            "account": self.account,
        }

    # ---- inside

    def _fitted(self) -> PairedMixtureVAE:
        if self._module is None:
            raise InputError("this model is not trained yet; call train() first")
        return self._module

    def _trained(self) -> TrainingOptions:
        self._fitted()
        assert self._training is not None
        return self._training

    def _device(self) -> torch.device:
        return self._fitted().prior.mean.device

    def _features(self, modality: str) -> np.ndarray:
        if modality not in self.features:
            known = " or ".join(f"'{name}'" for name in self.features)
            raise InputError(f"modality '{modality}' is unknown; use {known}")
        return self.features[modality]

    def _refuse_latent(self, argument: str, given: Any) -> None:
        known = ["joint", *self.features]
        if given not in known:
            raise InputError(f"{argument} '{given}' is unknown; use one of {', '.join(known)}")

    def _matched(self, data: PairedData | None) -> Paired:
        """Counts of `data` in the columns of the model."""
        if data is None:
            if self._data is None:
                raise InputError("this model was loaded from a file; pass the cells as data")
            return self._data
        paired = check_paired(
            data,
            *self._layers,
            mosaic=True,
            absent=self.features,
            columns=() if self.covariates is None else self.covariates.names,
        )
        paired = counted_as_fitted(paired, self.account["atac_insertions"])
        matched = in_features(paired, self.features)
        empty_cells(matched)
        return matched

    def _part_paired(self) -> float:
        return 1 - self.account["cells_incomplete"] / len(self.cells)

    def _design(self, paired: Paired) -> np.ndarray | None:
        """Batches of the cells, (n, S)."""
        return None if self.covariates is None else self.covariates.design(paired.obs)

    def _untrained(
        self,
        counts: dict[str, Matrix],
        seed: int,
        design: np.ndarray | None,
        n_clusters: int | None,
        stages: Stages = SILENT,
    ) -> PairedMixtureVAE:
        """A module that knows how often and in which cells features are seen, and nothing else."""
        o, features = self.options, {}
        for name, matrix in counts.items():
            of, factor = MODALITIES[name], None
            part = None if design is None else batches_of(matrix, design)
            if part is not None:
                factor = torch.from_numpy(part.log_factor)
            if o.encoder_input == "counts":
                reader = paper.READERS[of.paper_input].of(matrix)
            else:
                with stages.stage(f"correspondence analysis of {of.group}") as report:
                    found = fit_spectrum(matrix, o.n_components, seed, part, o.shrink, report)
                reader = SpectralScores(found)
            features[name] = Features(_totals(matrix), reader, factor)
        return PairedMixtureVAE(o, n_clusters, features)

    @_on_its_threads
    def _embedded(
        self, paired: Paired, modality: str = "joint", stages: Stages = SILENT
    ) -> np.ndarray:
        cells = Cells(paired.counts, self._device(), design=self._design(paired))
        with stages.stage("embedding the cells") as report:
            q = embed(self._fitted(), cells, modality=modality, report=report)
        return in_frame(self._fitted(), q)

    def _latent_of(
        self, data: PairedData | None, cells: Sequence[str] | None, stages: Stages = SILENT
    ) -> tuple[np.ndarray, Sequence[str]]:
        if data is not None:
            paired = self._matched(data)
            latent, names = self._embedded(paired, stages=stages), paired.cells
        else:
            latent, names = self.get_latent_representation(), self.cells
        if cells is None:
            return latent, names
        return latent[positions(names, cells, "cell", "the data")], cells

    def _imputed(
        self,
        modality: str,
        data: PairedData | None,
        features: Sequence[str] | None,
        cells: Sequence[str] | None,
        library_size: float,
        batch: Batch,
    ) -> np.ndarray:
        latent, _ = self._latent_of(data, cells)
        return self.decode(latent, modality, features, library_size, batch)

    def _points(self, latent: np.ndarray) -> np.ndarray:
        try:
            latent = np.asarray(latent, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("the latent is not of numbers; give one from this model") from error
        if latent.ndim != 2 or latent.shape[1] != self.options.n_latent or not len(latent):
            raise InputError(
                f"the latent has shape {latent.shape}; "
                f"give (cells, {self.options.n_latent}), with at least one cell"
            )
        if not np.isfinite(latent).all():
            raise InputError("the latent has values that are not finite; give one from this model")
        return latent

    def _decode_blocks(
        self,
        latent: np.ndarray,
        modality: str,
        features: Sequence[str] | None,
        library_size: float,
        batch: Batch = None,
    ):
        module = self._fitted()
        modelled = self._features(modality)
        library_size = positive("library_size", library_size)
        latent = self._points(latent)
        columns = None
        if features is not None:
            of = MODALITIES[modality]
            columns = positions(modelled, features, of.feature, f"the {of.label} model")
        if self.covariates is None and batch is not None:
            raise InputError(
                f"batch is {batch!r}, but the model was fitted without batches; leave batch out"
            )
        row = None if self.covariates is None else self.covariates.row(batch)
        return impute.decode_blocks(module, latent, modality, columns, library_size, row)


def _n_features(modality: str) -> str:
    """Under which name their number is told."""
    return f"n_{MODALITIES[modality].features}"


def _totals(matrix: Matrix) -> torch.Tensor:
    return torch.from_numpy(feature_totals(matrix).astype(np.float32))


def _both(one: Callback | None, other: Callback | None) -> Callback | None:
    """Both callbacks in turn, where both are there."""
    if one is None or other is None:
        return one or other

    def both(state: dict) -> None:
        one(state)
        other(state)

    return both
