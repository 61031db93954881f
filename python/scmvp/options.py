"""Options of the network and of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import InputError
from .modalities import MODALITIES

MAX_CLUSTERS = 50  # components of the mixture, where their number is to be found

_FEW_CELLS, _FEW_COUNTS = 10_000, 3_000  # from which on fewer epochs are the default
_FEWEST_EPOCHS, _FEWEST_STEPS = 12, 1_000
_FEWEST_ANNEALING_STEPS = 96


@dataclass(frozen=True)
class ModelOptions:
    """Options of the network. A fitted model cannot change them. Measurements: docs/decisions."""

    n_latent: int = 20  # D
    n_hidden: int = 128  # width of every hidden layer
    # tokens (slices of the hidden layer) of the self-attention, which has one head; 0: none
    n_heads: int = field(default=8, metadata={"at_least": 0})
    mask_attention: bool = True
    cluster_gate: bool = True
    # likelihood of the ATAC counts: "nb1", with variance mean (1 + alpha); "poisson"; or "zip",
    # with a zero inflation of each entry from the decoder
    likelihood_atac: str = "nb1"
    encoder_input: str = "spectral"  # or "counts": log counts and TF-IDF, as in the paper
    n_components: int = 30  # scores of each modality that "spectral" encoders read
    input_noise: float = 0.5  # sd of the noise added to the scores; that of counting is about 1
    shrink: bool = True  # scores to those on directions that are fitted without the cell
    decoder_precision: float = 1000.0  # of the Gaussian prior of the output weights; 0: no prior
    batch_precision: float = 10.0  # of the Gaussian prior of a batch's log factors of the features
    distil: bool = True  # consistency terms train only the encoders of one modality
    weight_atac: float = 1.0  # of log p(y|z); the weight of log p(x|z) is 1
    weight_consistency_measured: float = 0.3  # L4, observed inputs: KL(q(z|x,y) || q(z|x)), y alike
    weight_consistency_imputed: float = 1.0  # L3, reconstructed inputs: KL(q(z|x,y) || q(z|x^))

    def likelihood(self, modality: str) -> str:
        """Name of the likelihood of a modality, from `families.FAMILIES`."""
        return self.likelihood_atac if modality == "atac" else MODALITIES[modality].likelihood

    def weight(self, modality: str) -> float:
        """Weight of the log-likelihood of a modality in the objective."""
        return self.weight_atac if modality == "atac" else 1.0

    def __post_init__(self) -> None:
        if self.likelihood_atac not in ("nb1", "poisson", "zip"):
            raise InputError(
                f"likelihood_atac is {self.likelihood_atac!r}; use 'nb1', 'poisson' or 'zip'"
            )
        if self.n_heads and self.n_hidden % self.n_heads:
            raise InputError(
                f"n_hidden is {self.n_hidden}, which n_heads, {self.n_heads}, does not divide; "
                "give a multiple of it"
            )
        if self.encoder_input not in ("spectral", "counts"):
            raise InputError(f"encoder_input is {self.encoder_input!r}; use 'spectral' or 'counts'")


class Phase(NamedTuple):
    """A part of the training with one prior and one schedule of the learning rate."""

    name: str  # "warm-up": N(0, I); "mixture": constant rate; "annealing": falling rate
    epochs: int


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training. Reasons and measurements: docs/decisions."""

    max_epochs: int = 60
    batch_size: int = 128  # paired cells, at most; fewer for small data, which need more steps
    fewest_steps: int = 32  # per epoch, unless batches would be smaller than smallest_batch
    smallest_batch: int = 32
    lr: float = 5e-3
    seed: int = 0
    warm_up_fraction: float = 1 / 3  # of max_epochs: longest warm-up phase, with prior N(0, I)
    kl_warm_up_fraction: float = 0.6  # of the warm-up phase, in which the KL weight rises to 1
    annealing_fraction: float = 0.1  # of max_epochs, in which lr falls to lr / 50
    patience: int = 2  # epochs without a better held-out ELBO after which a phase ends
    validation_fraction: float = 0.05  # of the cells, held out for early stopping
    max_validation_cells: int = 2000
    # likelihood of the zeros: "exact" or, where that is faster, from a sample of features ("auto")
    zeros: str = "auto"
    mixture_update: str = "refit"  # the components are refitted once per epoch; or "gradient" steps
    # largest number of cells to which the mixture is fitted
    max_mixture_cells: int = field(default=20_000, metadata={"at_least": 20})

    def __post_init__(self) -> None:
        if self.mixture_update not in ("refit", "gradient"):
            raise InputError(
                f"mixture_update is {self.mixture_update!r}; use 'refit' or 'gradient'"
            )
        if self.zeros not in ("auto", "exact"):
            raise InputError(f"zeros is {self.zeros!r}; use 'auto' or 'exact'")
        for name in ("warm_up_fraction", "annealing_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"{name} is {value!r}; give a number from 0 to less than 1")
        if not 0 <= self.kl_warm_up_fraction <= 1:
            raise InputError(
                f"kl_warm_up_fraction is {self.kl_warm_up_fraction!r}; give a number from 0 to 1"
            )
        if not 0 < self.validation_fraction <= 0.5:
            raise InputError(
                f"validation_fraction is {self.validation_fraction!r}; give a number above 0, as "
                "held-out cells are needed for early stopping, and at most 0.5"
            )

    def phases(self, steps_per_epoch: int) -> list[Phase]:
        """The phases of a training, with the most epochs each may take."""
        warm_up = max(1, round(self.max_epochs * self.warm_up_fraction))
        annealing = math.ceil(self.max_epochs * self.annealing_fraction)
        if annealing:  # few cells make few steps
            enough = math.ceil(_FEWEST_ANNEALING_STEPS / steps_per_epoch)
            annealing = max(annealing, min(enough, round(self.max_epochs / 6)))
        annealing = min(annealing, self.max_epochs - warm_up)
        mixture = self.max_epochs - warm_up - annealing
        return [Phase("warm-up", warm_up), Phase("mixture", mixture), Phase("annealing", annealing)]


def default_epochs(n_cells: int, counts_per_cell: float) -> int:
    """Default maximum of epochs: 60, fewer for many or deep cells, at least 12.

    The number of steps that a fit needs depends on the number of cell types, not of cells, and an
    epoch of more cells has more steps. A step with deep cells is more informative, so fewer suffice
    (docs/decisions, D17).

    Args:
        n_cells: How many cells are fitted.
        counts_per_cell: Mean number of counts of all modalities (`module.Features.totals`).
    """
    usual = TrainingOptions()
    steps = min(max(n_cells / usual.batch_size, usual.fewest_steps), n_cells / usual.smallest_batch)
    many, all_steps = min(1, _FEW_CELLS / n_cells), usual.max_epochs * steps
    fewer = (_FEW_COUNTS / max(counts_per_cell, 1)) ** (2 / 3)
    deep = min(1, max(fewer, _FEWEST_STEPS / (all_steps * many)))
    return max(_FEWEST_EPOCHS, round(usual.max_epochs * many * deep))
