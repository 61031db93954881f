"""Training of the module: epochs, warm-up, start of the mixture, early stop, interruption."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from . import mixture
from .batches import even_chunks, ordered_batches, shuffled_batches, take
from .errors import InputError
from .module import LossTerms, PairedMixtureVAE
from .networks import Gaussian, start_epoch

Callback = Callable[[dict], None]

MOST_EM_STEPS = 100  # when the mixture starts


class Phase(NamedTuple):
    """A stretch of training under one prior and one course of the learning rate."""

    name: str  # "warm-up": N(0, I); "mixture": constant rate; "annealing": falling rate
    epochs: int


@dataclass(frozen=True)
class TrainingOptions:
    """How the weights are found. Reasons and measurements: docs/MODEL.md."""

    max_epochs: int = 60
    batch_size: int = 128  # at most: small data get smaller ones, for the sake of steps
    fewest_steps: int = 32  # per epoch, as long as batches stay above smallest_batch
    smallest_batch: int = 32
    lr: float = 5e-3
    seed: int = 0
    kl_warm_up_epochs: int = 5  # KL and consistency weights rise linearly to 1
    warm_up_fraction: float = 1 / 3  # of max_epochs, at most, under N(0, I) before the mixture
    annealing_fraction: float = 1 / 6  # of max_epochs, at most, in which lr falls to lr / 50
    patience: int = 3  # epochs without a better held-out ELBO that end a phase
    validation_fraction: float = 0.05  # of cells, held out to tell when to stop
    max_validation_cells: int = 2000
    mixture_update: str = "refit"  # of the components: "refit" once per epoch, or "gradient" steps
    max_mixture_cells: int = 20_000  # the mixture is fitted to so many cells at most

    def __post_init__(self) -> None:
        if self.mixture_update not in ("refit", "gradient"):
            raise InputError(
                f"mixture_update is {self.mixture_update!r}; use 'refit' or 'gradient'"
            )
        for name in ("warm_up_fraction", "annealing_fraction", "validation_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"{name} is {value!r}; give a number from 0 to less than 1")
        if self.validation_fraction == 0:
            raise InputError("validation_fraction is 0; some cells are needed to tell when to stop")

    def phases(self) -> list[Phase]:
        """The phases of a training, with the most epochs each may take."""
        warm_up = max(1, round(self.max_epochs * self.warm_up_fraction))
        annealing = min(round(self.max_epochs * self.annealing_fraction), self.max_epochs - warm_up)
        mixture = self.max_epochs - warm_up - annealing
        return [Phase("warm-up", warm_up), Phase("mixture", mixture), Phase("annealing", annealing)]


@dataclass
class TrainingResult:
    """How a training went."""

    history: dict[str, list] = field(default_factory=dict)
    epochs: int = 0  # epochs run
    best_epoch: int = 0  # epoch whose weights were kept
    elbo: float = math.nan  # held-out ELBO of that epoch, nats per cell
    seconds: float = 0.0
    interrupted: bool = False

    def record(self, **values: object) -> None:
        """Append one epoch to the history."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)


def pick_device(device: str) -> torch.device:
    """'auto' is the GPU where torch sees one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device '{device}' cannot be used by this PyTorch; use 'auto', 'cpu', or 'cuda' where "
            "there is a GPU"
        ) from error
    return picked


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch draws from `seed` inside, and from the caller's own stream afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def default_threads() -> int:
    """Half of the CPUs this process may use, 1 to 8.

    OpenMP threads spin while they wait for each other: with as many threads as CPUs, any other
    work on the machine makes training several times slower than a single thread is.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cpus // 2, 1), 8)


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Torch's CPU threads inside; None for `default_threads()`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or default_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Trainer:
    """One training run of a module on paired counts held in memory."""

    def __init__(
        self,
        module: PairedMixtureVAE,
        rna: sp.csr_matrix,
        atac: sp.csr_matrix,
        options: TrainingOptions,
        device: torch.device,
    ):
        self.module = module.to(device)
        self.rna, self.atac = rna, atac
        self.options = options
        self.device = device
        self.shuffler = np.random.default_rng(options.seed)
        cells = self.shuffler.permutation(rna.shape[0])
        n_held_out = min(
            math.ceil(len(cells) * options.validation_fraction), options.max_validation_cells
        )
        self.held_out, self.training_cells = np.sort(cells[:n_held_out]), cells[n_held_out:]
        self.batch_size = min(
            options.batch_size,
            max(options.smallest_batch, len(self.training_cells) // options.fewest_steps),
        )
        # with "refit" the prior is fitted to the posteriors once per epoch, not by gradient steps
        module.prior.requires_grad_(options.mixture_update == "gradient")
        learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(learnt, lr=options.lr, fused=True)
        self.result = TrainingResult()
        self._best: dict[str, torch.Tensor] | None = None
        self._shares: np.ndarray | None = None  # of each component in each cell of the mixture

    def run(self, callback: Callback | None = None) -> TrainingResult:
        """Train; afterwards the module holds the best weights seen and is in evaluation mode.

        A KeyboardInterrupt ends training with what has been learnt so far, unless not one epoch
        was complete: then there is nothing to keep, and it is raised again.
        """
        started = time.monotonic()
        try:
            for phase in self.options.phases():
                self._run_phase(phase, started, callback)
        except KeyboardInterrupt:
            if self.result.epochs == 0:
                raise
            self.result.interrupted = True
            self._restore_best()
        if not self.module.prior.started:  # interrupted in the warm-up
            self._start_mixture()
        self.module.eval()
        self.result.seconds = time.monotonic() - started
        return self.result

    def _run_phase(self, phase: Phase, started: float, callback: Callback | None) -> None:
        if phase.name == "mixture":
            self._start_mixture()
            self._best = None  # an ELBO under N(0, I) is no rival of one under the mixture
        epochs_before = self.result.epochs
        for step in range(phase.epochs):
            if phase.name != "warm-up" and self.options.mixture_update == "refit":
                self._refit_mixture(reassign=phase.name == "annealing" and step == 0)
            self._epoch(phase, step, started, callback)
            waited = self.result.epochs - max(self.result.best_epoch, epochs_before)
            # the falling rate pays at the end of the annealing, not in its first epochs
            if waited >= self.options.patience and phase.name != "annealing":
                break
        self._restore_best()

    def _restore_best(self) -> None:
        if self._best is not None:
            self.module.load_state_dict(self._best)

    def _epoch(self, phase: Phase, step: int, started: float, callback: Callback | None) -> None:
        epoch = self.result.epochs + 1
        warm_up = min(1.0, epoch / self.options.kl_warm_up_epochs)
        trained = self._train_epoch(warm_up, phase, step)
        held_out = self._evaluate(self.held_out)
        elbo = -float(held_out.negative_elbo)
        if not math.isfinite(elbo):
            raise InputError(
                f"training diverged in epoch {epoch} (the ELBO is {elbo}); "
                f"use a smaller learning rate than {self.options.lr:g}"
            )
        seconds = time.monotonic() - started
        self.result.epochs = epoch
        self.result.record(
            epoch=epoch,
            phase=phase.name,
            elbo_train=-float(trained.negative_elbo),
            elbo_validation=elbo,
            **{name: float(value) for name, value in trained._asdict().items()},
            warm_up_weight=warm_up,
            seconds=seconds,
        )
        if self._best is None or elbo > self.result.elbo or warm_up < 1:
            self._best = deepcopy(self.module.state_dict())
            self.result.elbo, self.result.best_epoch = elbo, epoch
        if callback is not None:
            latest = {name: values[-1] for name, values in self.result.history.items()}
            left = seconds / epoch * (self.options.max_epochs - epoch)
            callback(latest | {"max_epochs": self.options.max_epochs, "seconds_left": left})

    def _set_lr(self, phase: Phase, progress: float) -> None:
        """Constant, but in the annealing half a cosine from lr to lr / 50."""
        factor = 1.0
        if phase.name == "annealing":
            factor = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * factor

    def _train_epoch(self, warm_up: float, phase: Phase, step: int) -> LossTerms:
        start_epoch(self.module)
        sums = torch.zeros(len(LossTerms._fields), device=self.device)
        batches = shuffled_batches(
            self.rna, self.atac, self.training_cells, self.batch_size, self.shuffler, self.device
        )
        n_batches = len(even_chunks(self.training_cells, self.batch_size))
        for i, batch in enumerate(batches):
            self._set_lr(phase, (step + i / n_batches) / phase.epochs)
            terms = self.module.loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            penalty = self.module.weight_penalty() / len(self.training_cells)
            (terms.objective(self.module.options, warm_up) + penalty).backward()
            self.optimizer.step()
            sums += torch.stack([term.detach() for term in terms])
        return LossTerms(*(sums / n_batches))

    @torch.no_grad()
    def _evaluate(self, cells: np.ndarray) -> LossTerms:
        """Loss terms of held-out cells, with the same noise at every epoch."""
        self.module.eval()
        sums = torch.zeros(len(LossTerms._fields), device=self.device)
        with seeded(self.options.seed, self.device):
            for chunk in even_chunks(cells, 512):
                terms = self.module.loss(take(self.rna, self.atac, chunk).to(self.device))
                sums += torch.stack(list(terms)) * len(chunk)
        return LossTerms(*(sums / len(cells)))

    def _start_mixture(self) -> None:
        """Fit the mixture to the posteriors of the training cells, from their spectral clusters."""
        z, variance = self._posteriors()
        found = mixture.start(z, variance, len(self.module.prior.mean), self.options.seed)
        found = mixture.em(z, variance, found, MOST_EM_STEPS)
        self._shares = mixture.responsibilities(z, found)
        self._place(found)

    def _refit_mixture(self, reassign: bool) -> None:
        """Move the components along with the latent.

        The cells keep the shares they got at the start: a mixture that finds its cells anew and a
        prior that draws them to its components feed each other, and in the end the components are
        on a few outliers (docs/MODEL.md, D12). `reassign` makes one step of EM of it, for what the
        latent of the start had wrong.
        """
        z, variance = self._posteriors()
        found = mixture.maximized(z, variance, self._shares)
        if reassign:
            found = mixture.em(z, variance, found, 1)
            self._shares = mixture.responsibilities(z, found)
        self._place(found)

    def _posteriors(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances of the training cells that the mixture is fitted to, (n, D) each."""
        cells = self.training_cells[: self.options.max_mixture_cells]
        q = embed(self.module, self.rna[cells], self.atac[cells], self.device)
        return q.mean.double().numpy(), q.log_var.double().exp().numpy()

    def _place(self, found: mixture.Mixture) -> None:
        """Make it the prior, in the frame of its covariance, or of the networks for "gradient"."""
        if self.options.mixture_update == "gradient":
            centre, axes = np.zeros(len(found.covariance)), np.eye(len(found.covariance))
            spread = np.diag(found.covariance)
        else:
            centre, axes = mixture.frame(found)
            spread = np.ones(len(found.covariance))
        mean = (found.mean - centre) @ axes
        parts = (found.weight, mean, np.broadcast_to(spread, mean.shape).copy())
        self.module.prior.set_frame(*map(torch.from_numpy, (centre, axes)))
        self.module.prior.start(*map(torch.from_numpy, parts))


@torch.no_grad()
def embed(
    module: PairedMixtureVAE,
    rna: sp.csr_matrix,
    atac: sp.csr_matrix,
    device: torch.device,
    modality: str = "joint",
) -> Gaussian:
    """q(z|.) of every row in evaluation mode and the networks' coordinates, (n, D), on the CPU."""
    module.eval()
    batches = ordered_batches(rna, atac, device)
    parts = [[part.cpu() for part in module.encode(batch, modality)] for batch in batches]
    return Gaussian(*(torch.cat(part) for part in zip(*parts, strict=True)))
