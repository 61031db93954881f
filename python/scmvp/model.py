"""`SCMVP`, the model a user holds: paired cells in, latent, clusters and imputation out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import saved, storage
from .arguments import Names, flag, once
from .data.covariates import Batch
from .data.paired import PairedData
from .errors import InputError
from .files import writable
from .fit.checkpoint import Checkpoint
from .fit.course import course_of, trained
from .fit.training import Callback
from .methylation import WithMethylation
from .outputs import describe_account, describe_fit
from .plan import plan_of
from .presets import preset_of
from .progress import Listener, followed
from .report.write import obs_of, write_report
from .tools import impute


class SCMVP(WithMethylation):
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
        """Check the cells and choose the features to model, without training.

        Args:
            data: Raw counts of the same cells: a MuData with modalities 'rna' and 'atac' (or names
                such as 'GEX' and 'peaks'), a pair (RNA AnnData, ATAC AnnData), or one AnnData with
                `var['feature_types']`. Surface proteins ('protein', 'ADT', 'Antibody Capture'; the
                third AnnData of a triple), if present, are a third modality. So is DNA methylation
                ('methylation', 'mCG', ...), with counts in the layers 'methylated' and 'covered'
                (or 'mc' and 'cov'), cells x regions.
            n_latent: D, dimensions of the latent. None: 20, or 10 with preset 'paper'.
            n_clusters: K, components of the mixture. None estimates K from the latent of the
                first epochs by the Bayesian information criterion and merges components that are
                connected in the neighbor graph into clusters (`tree`). With preset 'paper', K is
                estimated from the rank of the cell-cell correlation matrix, and no components are
                merged.
            preset: 'default', or 'paper' for the published model as far as possible.
            rna_layer: Layer with the RNA counts, or 'raw' for `.raw`; X when None. A warning is
                given if X has whole numbers that differ from the layer 'counts' (or `.raw`).
            atac_layer: Layer with the ATAC counts, as for `rna_layer`.
            min_cells: Genes and peaks with counts in fewer cells, and regions covered in fewer
                cells, are excluded from the model; of the proteins, only those without any count.
            batch: Name of a column of obs, or several names (donor, replicate, chemistry).
                Differences between the batches are removed from the latent and from imputed values.
                Each batch should contain several cell types.
            mosaic: Also use cells with only one modality; some cells must have both. For counts on
                disk, `mosaic` of `read` decides this.
            modalities: Modalities to model, some of 'rna', 'atac', 'protein' and 'methylation': for
                example ('rna', 'protein') for CITE-seq, ('rna', 'methylation') for scM&T-seq, or a
                single one. None: all modalities of the data, which must include RNA and ATAC.
            protein_layer: Layer with the protein counts, as for `rna_layer`.
            options: Fields of `scmvp.options.ModelOptions` to change.

        Raises:
            InputError: The input cannot be modeled; the message gives the reason.
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
            max_epochs: Maximum number of passes over the cells. None: 60, or fewer (at least
                12) for more than 10,000 cells or 3,000 counts per cell (docs/MODEL.md, T1).
            batch_size: Cells per step; if some cells are unimodal, paired cells per step. Fewer
                if an epoch would have fewer than 32 steps.
            lr: Initial learning rate of Adam.
            seed: Seed of the weights, the order of cells, the held-out cells and the samples of
                z. The caller's random generators are not changed. Fits in several threads run one
                after another; other threads must not draw PyTorch's random numbers meanwhile.
            device: 'auto', 'cpu', 'cuda', 'cuda:1', ...
            threads: CPU threads of PyTorch; half of the CPUs that the process may use, at most 8,
                when None. The same number is needed to reproduce a fit bit for bit. NumPy and SciPy
                use one. Environment variables such as OMP_NUM_THREADS do not change the result.
            callback: Function called after each epoch with a dict: the values of the history for
                this epoch, `max_epochs`, `seconds_left` and `cells_per_second`.
            checkpoint: File for the state of the training, written after each epoch and deleted at
                the end. If the file exists, the training continues from it and gives the result of
                an uninterrupted training.
            keep_checkpoint: Do not delete the file at the end. A further call then gives the
                same results at once; `delete_checkpoint` deletes the file.
            progress: Show the stages and epochs on standard error: as one line that is redrawn on
                terminals and in notebooks, elsewhere as one line per epoch and per long stage. Or a
                function, called with a dict of `stage` (its name), `share` (fraction done, from 0
                to 1) and `seconds`; for epochs use `callback`.
            **training_options: Other fields of `scmvp.options.TrainingOptions`.

        Returns:
            The model itself. After a KeyboardInterrupt, it has the best weights so far, and
            `interrupted` is True.

        Raises:
            InputError: An option is out of range, or training diverged.
            KeyboardInterrupt: No epoch was complete. The message names the stage; the model has
                not changed.
        """
        if self._data is None or self._info is not None:
            raise InputError(
                "this model was loaded from a file and is trained; make a new SCMVP(data)"
            )
        plan, data = self._plan, self._data
        course = course_of(
            preset_of(plan.preset).training, max_epochs, batch_size, lr, seed, device, threads,
            callback, checkpoint, training_options,
        )  # fmt: skip
        design, file = plan.scope.design(data), course.checkpoint
        state = None if file is None else Checkpoint(file, plan.scope.identity(data))
        with followed(progress) as (stages, show_epoch):
            stages.tell(lambda: describe_account(plan.account))
            # assigned as a whole, so that a failed second training leaves the first one
            self._fit = trained(
                course, plan.options, plan.n_clusters, data.counts, design, plan.account,
                show_epoch, stages, state,
            )  # fmt: skip
            self._checkpoint = state
            stages.tell(lambda: [describe_fit(self.summary())])
        if not keep_checkpoint:
            self.delete_checkpoint()
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
        as_frame: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        """Imputed RNA: the mean of the NB at the posterior mean of z, without sampling.

        Args:
            data: Other cells; the fitted ones when None.
            genes: Names of the genes, in the order of the result; all modeled genes when None.
            cells: Names of the cells, in the order of the result; all when None.
            library_size: Sum of the imputed values of a cell over all modeled genes.
            batch: Batch for which values are imputed: a level, or a dict of columns and levels.
                None: the average over the batches of the fitted cells, the same for all cells.
            as_frame: Return a DataFrame with the names of cells and genes.

        Returns:
            (cells, genes) float32.
        """
        return self._imputed(data, "rna", genes, cells, library_size, batch, as_frame)

    def get_accessibility_estimates(
        self,
        data: PairedData | None = None,
        *,
        peaks: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
        as_frame: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        """Imputed accessibility: the mean count at the posterior mean of z, without sampling.

        The result is dense, so name the peaks you need, or use `impute_to_file`.

        The arguments are those of `get_normalized_expression`, with peaks instead of genes.

        Returns:
            (cells, peaks) float32.
        """
        return self._imputed(data, "atac", peaks, cells, library_size, batch, as_frame)

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
            path: File to write. `anndata.read_h5ad` and any HDF5 library read it: `X` is
                (cells, features), and `obs` and `var` have the names.
            modality: 'rna', 'atac', 'protein' or 'methylation', whose values are levels.
            data: Other cells; the fitted ones when None.
            features: Names of the features, each of which is written once; all modeled features
                when None.
            cells: Names of the cells, likewise; all when None.
            library_size: Counts per cell over all modeled features.
            threshold: Keep only values that are at least this large, in a sparse matrix; None: keep
                all values in a dense matrix.
            batch: As in `get_normalized_expression`.
            progress: As in `train`.
        """
        path, fit = writable(path, self._files_read(data), "HDF5"), self._fitted()
        with fit.on_its_threads(), followed(progress) as (stages, _):
            latent, names = self._latent_of(data, once(cells), stages)
            impute.to_file(
                fit, self._plan.scope, path, latent, modality, names, features, library_size,
                batch, threshold, False, stages.listener or False,
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
        """Write imputed profiles at given points of the latent, (n, D), as `impute_to_file` does.

        `cells` are n different names. With `log`, the threshold refers to log(1 + x), too.
        """
        path, fit = writable(path, self._files_read(), "HDF5"), self._fitted()
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

        The test uses the counts (docs/differential.md); the table also has the fold changes of
        decoded values. Without arguments, each cluster is compared with the rest. If the model has
        batches, cells are compared with cells of their own batch (with several columns: the same
        levels of all); batches with fewer than 3 cells of a group are not used. A warning names
        groups that are too small to be tested, unless `group1` names them.

        Args:
            data: The cells, with all genes and peaks of the model; the fitted cells when None.
            groupby: Labels of the cells: a column of `data.obs`, or one value per cell (missing
                ones are left out).
            group1: With `groupby`, the label or labels to test one after the other; all when
                None. Without `groupby`, a cluster of the model (`group1='3'`), or the cells of the
                group: a mask, or their names.
            group2: Reference group: labels (combined into one group), mask or names; all other
                cells when None.
            genes: Genes to report, over which the error rate is controlled; all when None.
            delta: Absolute log2 fold changes up to this value count as no difference.
            fdr: Expected proportion of false calls among the genes called (`is_de`).
            library_size: Library size to which the means refer.
            n_samples: Number of samples of z from which `lfc_model` is computed.
            latent: Posterior from which `lfc_model` is computed: 'joint' or a modality.
            seed: Seed of these samples and of the folds of features.
            only_pos: Report only genes that are higher in the group (`lfc` above 0). `prob_de` is
                then the probability of a log2 fold change above delta, and the false discovery rate
                is that among these genes.
            form: 'table', or 'scanpy' for the columns of `scanpy.get.rank_genes_groups_df`.

        Returns:
            DataFrame with one row per gene and comparison. Within a comparison, genes that are
            higher in the group come first and genes that are lower come last, each from the most to
            the least probable. Columns: `feature`; `group`, `reference`; `lfc`, `lfc_sd`,
            `lfc_low`, `lfc_high` (posterior log2 fold change, its sd and its 95 % interval);
            `lfc_model`, `lfc_model_sd` (mean and sd of the log2 fold change of the decoded values
            over samples of z); `mean_group`, `mean_reference` (normalized counts) and
            `detected_group`, `detected_reference` (of the cells with counts in the modality, the
            proportion that has counts), of all cells, also of batches that the test leaves
            out; `prob_de` (posterior probability of a fold change beyond delta);
            `log_bayes_factor` (natural); `q_value`; `is_de`. `attrs` has the log2 fold change of
            the typical gene, which was subtracted.

        Raises:
            InputError: A group of `group1` is unknown or too small, or shares no batch with its
                reference; no group can be tested; or an argument is out of range.
        """
        return self.differential(
            "rna", data, groupby=groupby, group1=group1, group2=group2, features=genes,
            delta=delta, fdr=fdr, library_size=library_size, n_samples=n_samples, latent=latent,
            seed=seed, only_pos=only_pos, form=form,
        )  # fmt: skip

    def differential_accessibility(
        self, data: PairedData | None = None, *, groupby: str | Sequence | None = None,
        group1: Any = None, group2: Any = None, peaks: Sequence[str] | None = None,
        delta: float = 0.25, fdr: float = 0.05, library_size: float = 1e4, n_samples: int = 10,
        latent: str = "joint", seed: int = 0, only_pos: bool = False, form: str = "table",
    ) -> pd.DataFrame:  # fmt: skip
        """Which peaks differ between groups of cells; see `differential_expression`.

        If the model converts counts of insertions to fragments, so does the test.
        """
        return self.differential(
            "atac", data, groupby=groupby, group1=group1, group2=group2, features=peaks,
            delta=delta, fdr=fdr, library_size=library_size, n_samples=n_samples, latent=latent,
            seed=seed, only_pos=only_pos, form=form,
        )  # fmt: skip

    # ---- files

    def report(
        self, path: str | os.PathLike, data: PairedData | None = None, *,
        columns: Sequence[str] | None = None, groupby: str | None = None,
        coordinates: np.ndarray | pd.DataFrame | None = None,
        n_clusters: int | None = None, resolution: float | None = None,
        markers: int = 5, title: str = "scMVP report", seed: int = 0,
        progress: bool | Listener = False,
    ) -> None:  # fmt: skip
        """Write a report of the fit as one HTML page, which needs no network connection.

        It shows cells and their depth, clusters and their tree, markers, measured and imputed
        values, how well each modality alone separates clusters, batches, training, and warnings.

        Args:
            path: File to write or replace.
            data: The cells with the metadata to show. When None, the fitted cells, without
                metadata.
            columns: Columns of `data.obs` to show; None: numeric ones and those of few levels.
            groupby: Column of `data.obs`, such as cell types, whose markers are listed, instead of
                those of the clusters.
            coordinates: Positions of the cells on the map, (n, 2); the rows of a DataFrame are
                matched by cell name. None: UMAP, or t-SNE if umap-learn is not installed.
            n_clusters: Number of clusters, as in `predict`.
            resolution: Connectivity, as in `predict`.
            markers: Number of features of each modality to list for each group.
            title: Title of the page.
            seed: Seed of the cells drawn for the map (at most 3,000) and of their positions, of the
                tests for markers, and of the simulated doublets.
            progress: As in `train`.
        """
        path = writable(path, self._files_read(data), "HTML")
        with followed(progress) as (stages, _):
            paired = self._matched(data)
            latent = self._embedded(paired, stages=stages)
            write_report(
                path, self, paired.cells, latent, paired, obs_of(data, paired), columns=columns,
                groupby=groupby, coordinates=coordinates, n_clusters=n_clusters, title=title,
                resolution=resolution, markers=markers, seed=seed, stages=stages,
                cells_as="data" if data is None else "",
            )  # fmt: skip

    def save(self, directory: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Write `model.json` and `weights.safetensors`; the cells are not saved.

        Args:
            directory: Folder; it is made if it is not there.
            overwrite: Replace a model that is already in the folder.

        Raises:
            InputError: The folder contains a model and `overwrite` is False, or the path is a file.
        """
        state = self._fitted().module.state_dict()
        storage.save(directory, state, self.info(), flag("overwrite", overwrite))

    @classmethod
    def load(
        cls, directory: str | os.PathLike, data: PairedData | None = None, *, device: str = "auto"
    ) -> SCMVP:
        """Read a saved model; its files cannot contain code.

        Args:
            directory: Folder that `save`, `scmvp fit` (its folder `model`) or R wrote.
            data: Cells, such as those of the fit. They are embedded once, here, and methods called
                without `data` then use them. None: each call needs its own `data`.
            device: As in `train`.

        Raises:
            ModelFileError: A part is missing, damaged, or of another version or shape.
            InputError: `data` are not cells that the model can read.
        """
        plan, fit, info = saved.read(directory, device)
        model = cls.__new__(cls)
        model._hold(plan, fit=fit, info=info)
        if data is not None:
            cells = model._matched(data)
            fit = dataclasses.replace(fit, latent=model._embedded(cells))
            model._hold(plan, cells, fit, info)
        return model

    def info(self) -> dict[str, Any]:
        """Data, options and versions of this model, as stored in `model.json`."""
        if self._info is not None:
            return self._info
        return saved.info_of(self._plan, self._fitted(), self.summary())

    def summary(self) -> dict[str, Any]:
        """Summary of the fit: its data, options, versions and course."""
        if self._info is not None:
            return self._info["summary"]
        return saved.summary_of(self._plan, self._fitted(), self.n_clusters_used)
