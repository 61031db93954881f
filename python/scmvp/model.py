"""`SCMVP`, the model a user holds: paired cells in, latent, clusters and imputation out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import saved, storage
from .arguments import Names
from .data.checks import writable
from .data.covariates import Batch
from .data.paired import PairedData
from .errors import InputError
from .fit.course import course_of, trained
from .fit.training import Callback
from .plan import plan_of
from .presets import preset_of
from .progress import Listener, followed
from .proteins import WithProteins
from .report.write import obs_of, write_report
from .tools import impute


class SCMVP(WithProteins):
    """A Gaussian-mixture variational auto-encoder of paired RNA and open-chromatin counts.

    Example:
        >>> mdata = scmvp.simulate(n_cells=500, seed=1)
        >>> model = scmvp.SCMVP(mdata, n_clusters=8).train(seed=0)
        >>> model.add_to(mdata)  # obsm["X_scmvp"], obs["scmvp_cluster"]
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
        modalities: Sequence[str] | None = None,
        protein_layer: str | None = None,
        options: dict[str, Any] | None = None,
    ):
        """Check the cells and choose the features to model; nothing is trained yet.

        Args:
            data: MuData with modalities 'rna' and 'atac' (or 'GEX', 'peaks' and the like), (RNA
                AnnData, ATAC AnnData), or one AnnData with `var['feature_types']`, holding raw
                counts of the same cells. Surface proteins ('protein', 'ADT', 'Antibody Capture';
                the last of a triple) are a third modality where they are there.
            n_latent: D, dimensions of the latent; that of the preset when None: 20, in 'paper' 10.
            n_clusters: K, components of the mixture. When None it is found in the latent of the
                first epochs, by the Bayesian information criterion, and components without a gap
                between them merge into clusters (`tree`); in preset 'paper' it is found from the
                rank of the cell-cell correlation matrix, and nothing merges.
            preset: 'default', or 'paper' for the published model taken literally.
            rna_layer: Layer with the RNA counts, or 'raw' for `.raw`; X when None. A warning says
                where X holds whole numbers other than those of the layer 'counts' (or `.raw`).
            atac_layer: Layer with the ATAC counts, in the same way.
            min_cells: Genes and peaks seen in fewer cells are left out of the model.
            batch: Column of obs, or several, whose differences are to be taken out of the latent
                (donor, replicate, chemistry): categories, each with cells of the same kinds.
            mosaic: Also use cells that only one of the modalities has; some must have both.
            modalities: Which are modeled, of 'rna', 'atac' and 'protein'; all when None, RNA and
                ATAC among them. ('rna', 'protein') is CITE-seq; one alone is possible, too.
            protein_layer: Layer with the protein counts, as `rna_layer`.
            options: Fields of `scmvp.options.ModelOptions` to change.

        Raises:
            InputError: The input cannot be modeled; the sentence says why.
        """
        plan, cells = plan_of(
            data, n_latent, n_clusters, preset, rna_layer, atac_layer, min_cells, batch, mosaic,
            modalities, protein_layer, options,
        )  # fmt: skip
        self._hold(plan, cells)

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
            batch_size: Cells per step; where some are unimodal, the paired ones. Fewer where
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
        plan, data = self._plan, self._data
        course = course_of(
            preset_of(plan.preset).training, max_epochs, batch_size, lr, seed, device, threads,
            callback, checkpoint, training_options,
        )  # fmt: skip
        design = plan.scope.design(data)
        with followed(progress) as (stages, show_epoch):
            # assigned as a whole, so that a failed second training leaves the first one
            self._fit = trained(
                course, plan.options, plan.n_clusters, data.counts, design, plan.account,
                show_epoch, stages,
            )  # fmt: skip
        if not (keep_checkpoint or self.interrupted):
            course.forget_checkpoint()
        return self

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
            genes: Names wanted, in the order wanted; all modeled genes when None.
            cells: Names wanted, in the order wanted; all when None.
            library_size: Counts per cell over all modeled genes.
            batch: Level of the batch to impute to, or a dict of column and level; when None the
                average of the fitted cells' batches, the same for all cells.

        Returns:
            (cells, genes) float32.
        """
        latent, _ = self._latent_of(data, cells)
        return self.decode(latent, "rna", genes, library_size, batch)

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

        The arguments are those of `get_normalized_expression`, with peaks in the place of genes.

        Returns:
            (cells, peaks) float32.
        """
        latent, _ = self._latent_of(data, cells)
        return self.decode(latent, "atac", peaks, library_size, batch)

    def decode(
        self,
        latent: np.ndarray,
        modality: str,
        features: Sequence[str] | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
    ) -> np.ndarray:
        """Imputed profiles of given points of the latent, (n, f) float32; needs no counts."""
        fit = self._fitted()
        with fit.on_its_threads():
            blocks = impute.imputed(
                fit, self._plan.scope, latent, modality, features, library_size, batch
            )
            return np.concatenate(list(blocks))

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
            features: Names wanted; all modeled ones when None.
            cells: Names wanted; all when None.
            library_size: Counts per cell over all modeled features.
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

    def decode_to_file(
        self,
        path: str | os.PathLike,
        latent: np.ndarray,
        modality: str,
        cells: Names,
        features: Sequence[str] | None = None,
        library_size: float = 1e4,
        threshold: float | None = None,
        log: bool = False,
        batch: Batch = None,
        progress: bool | Listener = False,
    ) -> None:
        """Write imputed profiles of given points of the latent, (n, D), as `impute_to_file` does.

        `cells` are their n names. With `log`, log(1 + x) is written, and the threshold is on that
        scale.
        """
        path, fit = writable(path), self._fitted()
        with fit.on_its_threads():
            impute.to_file(
                fit, self._plan.scope, path, latent, modality, cells, features, library_size,
                batch, threshold, log, progress,
            )  # fmt: skip

    # ---- differential features

    def differential_expression(
        self, data: PairedData | None = None, *, groupby: str | Sequence | None = None,
        group1: Any = None, group2: Any = None, genes: Sequence[str] | None = None,
        delta: float = 0.25, fdr: float = 0.05, library_size: float = 1e4, n_samples: int = 10,
        latent: str = "joint", seed: int = 0, only_pos: bool = False, form: str = "table",
    ) -> pd.DataFrame:  # fmt: skip
        """Which genes differ between groups of cells, at a controlled false discovery rate.

        Counts are tested (docs/differential.md); the table also has the fold changes of decoded
        values. Without any argument the clusters are compared, each with the rest. Where the model
        has batches, cells are compared with those of their own (of several columns: with the same
        levels of all); batches with fewer than 3 cells of a group are not used. A warning names
        groups that are not tested because there are too few cells, unless `group1` names them.

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
            fdr: Expected proportion of false calls among the genes called (`is_de`).
            library_size: Counts per cell that means refer to.
            n_samples: Samples of z behind `lfc_model`.
            latent: What the cells are embedded from for `lfc_model`: 'joint', 'rna' or 'atac'.
            seed: Of these samples and of the folds of features.
            only_pos: Only genes that are higher in the group (`lfc` above 0). A call is one of a
                fold change above delta, and the rate is that of these genes.
            form: 'table', or 'scanpy': that of `scanpy.get.rank_genes_groups_df` (`tools.forms`).

        Returns:
            One line per gene and comparison, in each first genes that are higher in the group, then
            the others, the most probable of either first: `feature`; `group`, `reference`; `lfc`,
            `lfc_sd`, `lfc_low`, `lfc_high`, the posterior log2 fold change, its sd and its 95 %
            interval; `lfc_model`, `lfc_model_sd`, that of the decoded means over samples of z;
            `mean_*`, normalized counts, and `detected_*`, share of the cells with a count, of both
            groups; `prob_de`, posterior probability of a fold change beyond delta;
            `log_bayes_factor`, natural; `q_value`; `is_de`. `attrs` has the log2 fold change of the
            typical gene, which was taken for none.

        Raises:
            InputError: A group of `group1` is unknown or too small, shares no batch with what it is
                compared with, no group can be tested, or an argument is out of range.
        """
        return self._differential(
            "rna", data, groupby, group1, group2, genes,
            delta, fdr, library_size, n_samples, latent, seed, only_pos, form,
        )  # fmt: skip

    def differential_accessibility(
        self, data: PairedData | None = None, *, groupby: str | Sequence | None = None,
        group1: Any = None, group2: Any = None, peaks: Sequence[str] | None = None,
        delta: float = 0.25, fdr: float = 0.05, library_size: float = 1e4, n_samples: int = 10,
        latent: str = "joint", seed: int = 0, only_pos: bool = False, form: str = "table",
    ) -> pd.DataFrame:  # fmt: skip
        """Which peaks differ between groups of cells; see `differential_expression`.

        Where the model reads fragments of counted insertions, so does the test.
        """
        return self._differential(
            "atac", data, groupby, group1, group2, peaks,
            delta, fdr, library_size, n_samples, latent, seed, only_pos, form,
        )  # fmt: skip

    # ---- files

    def report(
        self,
        path: str | os.PathLike,
        data: PairedData | None = None,
        *,
        columns: Sequence[str] | None = None,
        coordinates: np.ndarray | None = None,
        n_clusters: int | None = None,
        resolution: float | None = None,
        markers: int = 5,
        title: str = "scMVP report",
        seed: int = 0,
        progress: bool | Listener = False,
    ) -> None:
        """Write what came of the fit as one HTML page, which needs no network.

        Cells and their depth, clusters and their tree, markers, measured beside imputed values, how
        well each modality alone tells clusters apart, batches, the training, and what to beware of.

        Args:
            path: File to make or replace.
            data: The cells, with the metadata to show; the fitted cells, without, when None.
            columns: Columns of `data.obs` to show; those of numbers or few levels when None.
            coordinates: Places of the cells on the map, (n, 2); UMAP when None, or t-SNE where
                umap-learn is not installed.
            n_clusters: Level of the clusters, as in `predict`.
            resolution: The same.
            markers: Genes and peaks to list of each cluster.
            title: Of the page.
            seed: Of the cells on the map (at most 3,000) and of their places.
            progress: As in `train`.
        """
        with followed(progress) as (stages, _):
            paired = self._matched(data)
            if data is None:
                latent = self.get_latent_representation()
            else:
                latent = self._embedded(paired, stages=stages)
            write_report(
                path, self, paired.cells, latent, paired, obs_of(data, paired), columns=columns,
                coordinates=coordinates, n_clusters=n_clusters, resolution=resolution,
                markers=markers, title=title, seed=seed, stages=stages,
            )  # fmt: skip

    def save(self, directory: str | os.PathLike) -> None:
        """Write `model.json` and `weights.safetensors`; the cells are not saved.

        A model that is already in the folder is replaced.
        """
        storage.save(directory, self._fitted().module.state_dict(), self.info())

    @classmethod
    def load(cls, directory: str | os.PathLike, device: str = "auto") -> SCMVP:
        """Read a saved model; no code in it is ever run.

        Raises:
            ModelFileError: A part is missing or broken, or of another version or shape.
        """
        plan, fit, info = saved.read(directory, device)
        model = cls.__new__(cls)  # without cells
        model._hold(plan, fit=fit, info=info)
        return model

    def info(self) -> dict[str, Any]:
        """What made this model, as `model.json` has it."""
        if self._info is not None:
            return self._info
        return saved.info_of(self._plan, self._fitted(), self.summary())

    def summary(self) -> dict[str, Any]:
        """What was fitted, with which options and versions, and how it went."""
        if self._info is not None:
            return self._info["summary"]
        return saved.summary_of(self._plan, self._fitted(), self.n_clusters_used)
