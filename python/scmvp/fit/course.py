"""A training from its arguments to the fitted model."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..arguments import options_from, positive, whole_number
from ..data.matrices import Matrix
from ..errors import InputError
from ..files import writable
from ..nn.batches import Cells
from ..nn.device import pick_device, seeded
from ..nn.distributed import ranks
from ..nn.module import PairedMixtureVAE
from ..options import ModelOptions, TrainingOptions, default_epochs
from ..progress import Stages
from ..settings import own_settings
from ..threads import default_threads
from .build import untrained
from .checkpoint import Checkpoint, refuse_other_file
from .fitted import Fitted
from .training import Callback, Trainer
from .tree import RESOLUTION, ClusterTree, cluster_tree


@dataclass(frozen=True)
class Course:
    """How a training is to go."""

    options: TrainingOptions
    epochs_given: bool  # max_epochs is the caller's; else the cells decide
    threads: int
    callback: Callback | None
    device: torch.device
    checkpoint: Path | None


def course_of(
    defaults: dict[str, Any],
    max_epochs: int | None,
    batch_size: int,
    lr: float,
    seed: int,
    device: str,
    threads: int | None,
    callback: Callback | None,
    checkpoint: str | os.PathLike | None,
    others: dict[str, Any],
) -> Course:
    """The course that arguments of `SCMVP.train` ask for.

    Args:
        defaults: Training options of the preset.
        max_epochs: As there, like the following arguments.
        batch_size: Cells per step.
        lr: Learning rate.
        seed: Seed of all random numbers.
        device: By name.
        threads: Threads of PyTorch.
        callback: Callback of epochs.
        checkpoint: File.
        others: Training options by name.

    Raises:
        InputError: One is out of range.
    """
    given = {} if max_epochs is None else {"max_epochs": whole_number("max_epochs", max_epochs)}
    changes = given | {
        "batch_size": whole_number("batch_size", batch_size, at_least=2),
        "lr": positive("lr", lr, at_most=1),
        "seed": whole_number("seed", seed, at_least=0, at_most=2**32 - 1),
    }
    options = options_from(TrainingOptions, others, defaults | changes)
    if threads is None:
        threads = default_threads()
    threads = whole_number("threads", threads, at_most=os.cpu_count())
    if callback is not None and not callable(callback):
        raise InputError(f"callback is {callback!r}; give a function of one dict")
    picked = pick_device(device)
    file = None
    if checkpoint is not None:
        file = writable(checkpoint)
        refuse_other_file(file)
    return Course(options, bool(given), threads, callback, picked, file)


def trained(
    course: Course,
    options: ModelOptions,
    n_clusters: int | None,
    counts: dict[str, Matrix],
    design: np.ndarray | None,
    account: dict[str, Any],
    show_epoch: Callback | None,
    stages: Stages,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Train a new module.

    Args:
        course: How.
        options: Options of the network.
        n_clusters: K; None: to be found.
        counts: Counts of the cells, by modality.
        design: Their batches, (n, S).
        account: Numbers of cells and features, and of cells that lack a modality.
        show_epoch: Called after each epoch, before the caller's callback.
        stages: For the work before the first epoch.
        checkpoint: Where the state of the training is kept.

    Raises:
        InputError: The training diverged.
    """
    training, n_cells = course.options, account["n_cells"]
    with own_settings(course.threads), seeded(training.seed, course.device):
        module = untrained(options, n_clusters, counts, design, training.seed, stages)
        if not course.epochs_given:
            total = sum(float(totals.sum()) for totals in module.totals.values())
            epochs = default_epochs(n_cells, total / n_cells)
            training = dataclasses.replace(training, max_epochs=epochs)
        with stages.stage("setting up the networks"):
            part_paired = 1 - account["cells_incomplete"] / n_cells
            cells = Cells(counts, course.device, ranks(), design, part_paired)
            trainer = Trainer(module, cells, training)
        result = trainer.run(_both(show_epoch, course.callback), checkpoint, stages)
        latent = trainer.latent()
        tree = _tree_of(module, latent)
    level = tree.n_clusters_at(RESOLUTION) if n_clusters is None else None
    account = account | {
        "n_components": module.n_clusters,
        "n_clusters": level or module.n_clusters,
        "threads": course.threads,
    }
    return Fitted(module, training, result, account, course.threads, latent, tree, level)


@torch.no_grad()
def _tree_of(module: PairedMixtureVAE, latent: np.ndarray) -> ClusterTree:
    z = torch.as_tensor(latent, device=module.prior.mean.device)
    component = module.prior.responsibilities(z).argmax(1).cpu().numpy()
    return cluster_tree(latent, component, module.prior.mean.cpu().numpy())


def _both(one: Callback | None, other: Callback | None) -> Callback | None:
    """Both callbacks in turn, where both are there."""
    if one is None or other is None:
        return one or other

    def both(state: dict) -> None:
        one(state)
        other(state)

    return both
