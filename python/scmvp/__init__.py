"""scMVP: one latent space, clusters and imputed profiles from paired single-cell RNA and ATAC.

`import scmvp` needs neither torch nor R; the model class is loaded when it is first used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .along import features_along, trends_along
from .errors import InputError, ModelFileError
from .io import from_parts, read
from .preprocess import estimate_n_clusters, filter_paired
from .simulate import simulate
from .trajectory import diffusion
from .transfer import transfer_labels

if TYPE_CHECKING:
    from .model import SCMVP

__version__ = "0.1.0"

__all__ = [
    "SCMVP",
    "InputError",
    "ModelFileError",
    "__version__",
    "diffusion",
    "estimate_n_clusters",
    "features_along",
    "filter_paired",
    "from_parts",
    "read",
    "simulate",
    "transfer_labels",
    "trends_along",
]


def __getattr__(name: str) -> Any:
    if name != "SCMVP":
        raise AttributeError(f"module 'scmvp' has no attribute '{name}'")
    try:
        import torch  # noqa: F401
    except ImportError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ImportError(
            f"scMVP needs torch, which {sys.executable} cannot import ({reason}); install it with: "
            f"{sys.executable} -m pip install torch"
        ) from error
    from .model import SCMVP

    globals()["SCMVP"] = SCMVP
    return SCMVP


def __dir__() -> list[str]:
    return sorted(__all__)
