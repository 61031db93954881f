"""Training of the module: epochs, warm-up, start of the mixture, early stop, interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError
from ..nn.batches import Cells, PairedBatch, Part, even_chunks, n_chunks
from ..nn.device import seeded
from ..nn.distributed import from_first, summed
from ..nn.likelihood import Pool
from ..nn.module import Inputs, LossTerms, Noise, PairedMixtureVAE
from ..nn.networks import start_epoch
from ..nn.optimizer import Adam, set_prior
from ..nn.zeros import EARLY_EXTENT, SampledZeros
from ..options import Phase, TrainingOptions
from ..progress import SILENT, Report, Stages, no_report
from . import mixture
from .checkpoint import Checkpoint
from .embedding import all_inputs, embed, whitened_means

Callback = Callable[[dict], None]

MOST_EM_STEPS = 100  # when the mixture starts
_CLEARLY_BETTER = 1e-5  # nats per cell, of one mixture of a latent over another
_MOST_UNPAIRED = 8  # times as many cells in a minibatch, at most, where few have both modalities


class Progress(NamedTuple):
    """Where a training is."""

    phase: int = 0
    step: int = 0  # epochs of the phase that are done
    epochs_before: int = 0  # the phase


@dataclass
class TrainingResult:
    """How a training went."""

    history: dict[str, list] = field(default_factory=dict)
    epochs: int = 0  # epochs run
    best_epoch: int = 0  # epoch whose weights were kept
    elbo: float = math.nan  # held-out ELBO of that epoch, nats per cell
    seconds: float = 0.0
    interrupted: bool = False
    # features that the zeros were estimated from, by modality; of others it was all
    features_per_step: dict[str, int] = field(default_factory=dict)

    def record(self, **values: object) -> None:
        """Append one epoch to the history."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)


class Trainer:
    """One training run of a module on paired counts."""

    def __init__(self, module: PairedMixtureVAE, cells: Cells, options: TrainingOptions):
        self.module = module.to(cells.device)
        self.cells = cells
        self.options = options
        self.device = cells.device
        self.shuffler = np.random.default_rng(options.seed)
        shuffled = self.shuffler.permutation(len(cells))
        n_held_out = min(
            math.ceil(len(shuffled) * options.validation_fraction), options.max_validation_cells
        )
        self.held_out = np.sort(shuffled[:n_held_out])
        self.training_cells = np.sort(shuffled[n_held_out:])
        self.mixture_cells = np.sort(shuffled[n_held_out:][: options.max_mixture_cells])
        self.batch_size = self._batch_size(len(self.training_cells))
        self.n_batches = n_chunks(len(self.training_cells), self.batch_size)
        # with "refit" the prior is fitted to the posteriors once per epoch, not by gradient steps
        module.prior.requires_grad_(options.mixture_update == "gradient")
        groups = module.parameter_groups(len(self.training_cells))
        self.optimizer = Adam(groups, lr=options.lr, fused=True)
        self.result = TrainingResult()
        self.ranks = cells.ranks
        self.stages = self._of_first = SILENT
        self._objective: nn.Module = _Objective(module)
        self._inputs: Inputs | None = None
        self._held_out: list[PairedBatch] | None = None
        self.best: dict[str, torch.Tensor] | None = None  # weights of the best epoch of the phase
        self.responsibilities: np.ndarray | None = None  # of `mixture_cells`, (n, K)
        self.progress = Progress()

    def _batch_size(self, n_cells: int) -> int:
        """Cells of a minibatch, so many of which have both modalities as the options say.

        The joint encoder's batch norm has the statistics of these; from a dozen of them it learns
        little (docs/decisions, D19).
        """
        o, part = self.options, self.cells.part_paired
        paired = min(o.batch_size, max(o.smallest_batch, round(part * n_cells) // o.fewest_steps))
        return round(paired / max(part, 1 / _MOST_UNPAIRED))

    def run(
        self,
        callback: Callback | None = None,
        checkpoint: Checkpoint | None = None,
        stages: Stages = SILENT,
    ) -> TrainingResult:
        """Train; afterwards the module holds the best weights seen and is in evaluation mode.

        A KeyboardInterrupt ends training with what has been learned so far, unless not one epoch
        was complete: then there is nothing to keep, and it is raised again.

        Args:
            callback: Called after each epoch.
            checkpoint: Written after each epoch; where it exists, training goes on from it.
            stages: What comes before the end of the first epoch, and the start of the mixture.
        """
        self.stages = self._of_first = stages
        if checkpoint is not None:
            checkpoint.load(self)
        started = time.monotonic() - self.result.seconds
        self.module.pool = Pool()
        try:
            with stages.stage("scores of all cells") as report:
                self._inputs = all_inputs(self.module, self.cells, report)
            phases = self.options.phases(self.n_batches)
            for i in range(self.progress.phase, len(phases)):
                if i > self.progress.phase:
                    self.progress = Progress(i, 0, self.result.epochs)
                if phases[i].name == "annealing" or not phases[-1].epochs:
                    # before, they would take types not yet found for noise (docs/decisions, D23)
                    self.module.learn_dispersions()
                self._run_phase(phases[i], started, callback, checkpoint)
        except KeyboardInterrupt:
            if self.result.epochs == 0 or self.ranks.world > 1:
                raise
            self.result.interrupted = True
            self._restore_best()
        finally:
            self.module.pool, self.module.zeros = None, {}
        if not self.module.prior.has_started:  # interrupted in the warm-up
            self._start_mixture()
        self.module.eval()
        self.result.seconds = time.monotonic() - started
        return self.result

    def _sampled_zeros(self, phase: Phase) -> dict[str, SampledZeros]:
        """How the zeros of a modality are sampled, of those where that pays.

        Before the annealing a rough estimate will do, and ends no worse (docs/decisions, D24).
        """
        if self.device.type != "cpu" or self.options.zeros == "exact":
            return {}
        found = {
            name: SampledZeros.where_it_pays(
                totals.cpu(),
                len(self.cells),
                self.module.options.decoder_precision,
                1.0 if phase.name == "annealing" else EARLY_EXTENT,
            )
            for name, totals in self.module.totals.items()
            if self.module.is_in_one_pass(name)
        }
        self.result.features_per_step = {
            name: round(float(zeros.probability.sum()))
            for name, zeros in found.items()
            if zeros is not None
        }
        return {name: zeros for name, zeros in found.items() if zeros is not None}

    def _run_phase(
        self,
        phase: Phase,
        started: float,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        if phase.name == "mixture" and self.progress.step == 0:
            self.best = None  # its tensors do not fit the K that is found
            self._start_mixture()
            self.best = deepcopy(self.module.state_dict())
        self._objective, self.module.zeros = self._wrapped(), self._sampled_zeros(phase)
        for step in range(self.progress.step, phase.epochs):
            waited = self.result.epochs - max(self.result.best_epoch, self.progress.epochs_before)
            # no early stop in the annealing, as the falling learning rate helps only at its end
            if waited >= self.options.patience and phase.name != "annealing":
                break
            if phase.name != "warm-up" and self.options.mixture_update == "refit":
                self._refit_mixture(reassign=phase.name == "annealing" and step == 0)
            self._epoch(phase, step, started, callback)
            self.progress = self.progress._replace(step=step + 1)
            if checkpoint is not None and self.ranks.rank == 0:
                checkpoint.save(self)
        self._restore_best()

    def _wrapped(self) -> nn.Module:
        """The objective, with its gradients averaged over processes where there are several."""
        objective = _Objective(self.module)
        if self.ranks.world == 1:
            return objective
        o = self.module.options
        all_used = self.module.prior.has_started and o.cluster_gate
        all_used &= o.weight_consistency_measured > 0 or o.weight_consistency_imputed > 0
        return DistributedDataParallel(
            objective, find_unused_parameters=not all_used, broadcast_buffers=False
        )

    def _restore_best(self) -> None:
        if self.best is not None:
            self.module.load_state_dict(self.best)

    def _epoch(self, phase: Phase, step: int, started: float, callback: Callback | None) -> None:
        epoch = self.result.epochs + 1
        warm_up_weight = self._warm_up_weight(phase, step)
        stage = "KL warm-up" if warm_up_weight < 1 else phase.name
        set_prior(self.optimizer.param_groups, stage)
        # before the first epoch is reported, its stage is shown instead
        stages, self._of_first = self._of_first, SILENT
        with stages.stage(f"epoch {epoch}") as report:
            trained = self._train_epoch(warm_up_weight, phase, step, report)
        held_out = self._evaluate(self.held_out).negative_elbo
        from_first([held_out])  # all processes stop at the same epoch
        elbo = -float(held_out)
        if not math.isfinite(elbo):
            raise InputError(
                f"training diverged in epoch {epoch} (the ELBO is {elbo}); "
                f"use a smaller learning rate than {self.options.lr:g}"
            )
        seconds = time.monotonic() - started
        self.result.epochs, self.result.seconds = epoch, seconds
        self.result.record(
            epoch=epoch,
            phase=phase.name,
            elbo_train=-float(trained.negative_elbo),
            elbo_validation=elbo,
            **{name: float(value) for name, value in trained.named().items()},
            warm_up_weight=warm_up_weight,
            seconds=seconds,
        )
        of_best = self.result.history["phase"][self.result.best_epoch - 1]
        # ELBOs under N(0, I) and under the mixture are not comparable
        is_first = phase.name != "warm-up" and of_best == "warm-up"
        if self.best is None or is_first or elbo > self.result.elbo or warm_up_weight < 1:
            self.best = deepcopy(self.module.state_dict())
            self.result.elbo, self.result.best_epoch = elbo, epoch
        if callback is not None:
            latest = {name: values[-1] for name, values in self.result.history.items()}
            left = seconds / epoch * (self.options.max_epochs - epoch)
            speed = len(self.training_cells) * epoch / max(seconds, 1e-9)
            about = {"max_epochs": self.options.max_epochs, "seconds_left": left}
            callback(latest | about | {"cells_per_second": speed})

    def _warm_up_weight(self, phase: Phase, step: int) -> float:
        """Weight of the KL and consistency terms, which the KL warm-up raises linearly to 1.

        A direction of the latent that is pruned before it is learned does not come back.
        """
        kl_warm_up = self.options.kl_warm_up_fraction * phase.epochs
        if phase.name != "warm-up" or step + 1 >= kl_warm_up:
            return 1.0
        return (step + 1) / kl_warm_up

    def _set_lr(self, phase: Phase, progress: float) -> None:
        """Constant, but in the annealing half a cosine from lr to lr / 50."""
        factor = of_dispersions = 1.0
        if phase.name == "annealing":
            factor = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
            # which are learned only then, and have to be able to change e^8-fold in few steps
            steps = phase.epochs * self.n_batches
            of_dispersions = min(max(10, 16 / (self.options.lr * steps)), 50)
        for group in self.optimizer.param_groups:
            rate = of_dispersions if group.get("dispersions") else 1.0
            group["lr"] = self.options.lr * factor * rate

    def _train_epoch(
        self, warm_up_weight: float, phase: Phase, step: int, report: Report = no_report
    ) -> LossTerms:
        start_epoch(self.module)
        for zeros in self.module.zeros.values():
            zeros.forget()  # so that a training that goes on from a file is the same
        sums = torch.zeros((), device=self.device)
        terms: LossTerms | None = None
        batches = self.cells.shuffled(self.training_cells, self.batch_size, self.shuffler)
        for i, (part, batch) in enumerate(batches):
            self._set_lr(phase, (step + i / self.n_batches) / phase.epochs)
            self.optimizer.zero_grad(set_to_none=True)
            inputs, noise = self._inputs_of(part.cells), self._noise(part)
            objective, terms = self._objective(batch, inputs, noise, warm_up_weight)
            self._fuse_updates()
            # processes average their gradients as if their parts were of one size
            (objective * (len(part.cells) * self.ranks.world / part.n_all)).backward()
            self.optimizer.step()
            # with several processes they are in the memory of the engine, which sends them
            if self.ranks.world == 1 and self.module.pool is not None:
                self.module.pool.take_gradients(*(o.weight for o in self.module.outputs()))
            sums = sums + _stacked(terms) * len(part.cells)
            report((i + 1) / self.n_batches)
        assert terms is not None, "there is at least one minibatch"
        return terms.like(summed(sums) / len(self.training_cells))

    def _fuse_updates(self) -> None:
        """Let the backward pass update output weights, so that their gradient is not stored."""
        for name, zeros in self.module.zeros.items():
            decoder = self.module.decoders[name]
            if self.ranks.world == 1 and decoder.of_level is None:
                zeros.update = self.optimizer.update_of(decoder.output.weight)

    def _noise(self, part: Part) -> Noise:
        """This process's rows of the noise that all draw for the minibatch."""
        return self.module.noise(part.n_all).each(self.ranks.own_part)

    @torch.no_grad()
    def _evaluate(self, cells: np.ndarray) -> LossTerms:
        """Loss terms of held-out cells, with the same noise at every epoch."""
        self.module.eval()
        chunks = even_chunks(cells, self.batch_size)
        if self._held_out is None:  # few enough to be kept
            self._held_out = [self.cells.take(chunk) for chunk in chunks]
        sums = torch.zeros((), device=self.device)
        terms: LossTerms | None = None
        with seeded(self.options.seed, self.device):
            for chunk, batch in zip(chunks, self._held_out, strict=True):
                terms = self.module.loss(batch, self._inputs_of(chunk))
                sums = sums + _stacked(terms) * len(chunk)
        assert terms is not None, "there is at least one minibatch"
        return terms.like(sums / len(cells))

    def _inputs_of(self, cells: np.ndarray) -> Inputs | None:
        """Observed inputs of some cells, where these are kept."""
        if self._inputs is None:
            return None
        rows = torch.from_numpy(cells).to(self.device, non_blocking=True)
        return self._inputs.rows(rows)

    def _start_mixture(self) -> None:
        """Fit the mixture to the posteriors of the training cells, from their spectral clusters."""
        with self.stages.stage("finding the clusters") as report:
            self._find_mixture(report)

    def _find_mixture(self, report: Report) -> None:
        posteriors = self._posteriors() if self.ranks.rank == 0 else None
        if self.module.n_clusters_given is None:
            self.set_n_clusters(self._chosen_n_clusters(posteriors, report))
        if posteriors is not None:
            found = self._fresh_mixture(*posteriors)
            self.responsibilities = mixture.responsibilities(posteriors[0], found)
            self._place(found)
        self._share_prior()

    def set_n_clusters(self, n_clusters: int) -> None:
        """Set a K that was left open, in the module and in its optimizer."""
        new = self.module.set_n_clusters(n_clusters)
        for group in self.optimizer.param_groups:
            group["params"] = [new.get(part, part) for part in group["params"]]

    def _chosen_n_clusters(
        self, posteriors: tuple[np.ndarray, np.ndarray] | None, report: Report
    ) -> int:
        """The K that the first process finds, which alone has the posteriors."""
        k = torch.zeros((), device=self.device)
        if posteriors is not None:
            k += mixture.choose_n_clusters(*posteriors, self.options.seed, report)
        from_first([k])
        return int(k)

    def _refit_mixture(self, reassign: bool) -> None:
        """Move the components along with the latent.

        The cells keep the responsibilities they got at the start: if they were computed anew, the
        prior, which draws cells to its components, and the components, which follow their cells,
        would reinforce each other, until the components were on a few outliers (docs/decisions,
        D12). `reassign` makes a complete step of EM, which corrects errors of the start, or starts
        anew where that explains the latent better.
        """
        if self.ranks.rank == 0:
            assert self.responsibilities is not None, "from the start of the mixture"
            z, variance = self._posteriors()
            found = mixture.m_step(z, variance, self.responsibilities)
            if reassign:
                fresh = self._fresh_mixture(z, variance)
                settled = mixture.em(z, variance, found, MOST_EM_STEPS)
                of_fresh, of_settled = (
                    mixture.expected_log_density(z, variance, fitted) for fitted in (fresh, settled)
                )
                # EM usually reaches the same mixture from both starts, up to rounding
                if of_fresh > of_settled + _CLEARLY_BETTER:
                    found = fresh
                else:
                    found = mixture.em(z, variance, found, 1)
                self.responsibilities = mixture.responsibilities(z, found)
            self._place(found)
        self._share_prior()

    def _fresh_mixture(self, z: np.ndarray, variance: np.ndarray) -> mixture.Mixture:
        """Fitted to posteriors from their spectral clusters."""
        found = mixture.start(z, variance, self.module.n_clusters, self.options.seed)
        return mixture.em(z, variance, found, MOST_EM_STEPS)

    def _posteriors(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances of the training cells that the mixture is fitted to, (n, D) each."""
        q = embed(self.module, self.cells, self._inputs, rows=self.mixture_cells)
        return q.mean.double().numpy(), q.log_var.double().exp().numpy()

    def latent(self) -> np.ndarray:
        """Whitened posterior means of all cells, (n, D)."""
        return whitened_means(self.module, embed(self.module, self.cells, self._inputs))

    def _place(self, found: mixture.Mixture) -> None:
        """Make it the prior, whitened by its covariance, or not at all for "gradient"."""
        if self.options.mixture_update == "gradient":
            centre, axes = np.zeros(len(found.covariance)), np.eye(len(found.covariance))
            spread = np.diag(found.covariance)
        else:
            centre, axes = mixture.whitening(found)
            spread = np.ones(len(found.covariance))
        mean = (found.mean - centre) @ axes
        parts = (found.weight, mean, np.broadcast_to(spread, mean.shape).copy())
        self.module.prior.set_whitening(*map(torch.from_numpy, (centre, axes)))
        self.module.prior.start(*map(torch.from_numpy, parts))

    def _share_prior(self) -> None:
        """Give every process the mixture of the first one."""
        prior = self.module.prior
        prior.note_start()
        from_first([*prior.parameters(), prior.centre, prior.axes])


def _stacked(terms: LossTerms) -> torch.Tensor:
    """All terms, (n,), without gradient."""
    return torch.stack([term.detach() for term in terms.named().values()])


class _Objective(nn.Module):
    """What is minimized, as the forward pass that torch's engine wants."""

    def __init__(self, module: PairedMixtureVAE):
        super().__init__()
        self.module = module

    def forward(
        self, batch: PairedBatch, inputs: Inputs | None, noise: Noise, warm_up_weight: float
    ) -> tuple[torch.Tensor, LossTerms]:
        terms = self.module.loss(batch, inputs, noise)
        return terms.objective(self.module.options, warm_up_weight), terms
