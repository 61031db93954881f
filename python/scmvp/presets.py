"""Presets: the options that a name changes, and how it finds the number of clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .data.rank import estimate_n_clusters
from .errors import InputError
from .nn import paper


@dataclass(frozen=True)
class Preset:
    """Changes of the defaults."""

    model: dict[str, Any] = field(default_factory=dict)  # of ModelOptions
    training: dict[str, Any] = field(default_factory=dict)  # of TrainingOptions
    # K from the counts, (rna, atac, design=); None: it is found in the latent of the first epochs
    n_clusters: Callable[..., int] | None = None


PRESETS = {
    "default": Preset(),
    "paper": Preset(paper.MODEL_OPTIONS, paper.TRAINING_OPTIONS, estimate_n_clusters),
}


def preset_of(name: Any) -> Preset:
    """The preset of this name.

    Raises:
        InputError: There is none.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"preset '{name}' is unknown; use one of {', '.join(PRESETS)}")
    return PRESETS[name]
