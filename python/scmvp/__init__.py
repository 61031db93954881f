"""scMVP: one latent space, clusters and imputed profiles from paired single-cell RNA and ATAC.

`import scmvp` needs neither torch nor R; the model class is loaded when it is first used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import starting  # noqa: F401 - before the imports that take long

# isort: split
from .data.filtering import filter_paired
from .data.joining import from_parts
from .data.rank import estimate_n_clusters
from .data.simulate import simulate
from .errors import InputError, ModelFileError, RError
from .imports import undisturbed
from .r.rbridge import add_to_rds, read_rds, write_rds
from .r.regulation import aggregate_cells, find_ccans, link_peaks_lasso, run_cicero
from .reading import read
from .several import count_fragments, read_samples
from .tools.activity import gene_activity
from .tools.along import features_along, trends_along
from .tools.calibration import calibrate_links
from .tools.conditions import differential_conditions
from .tools.forms import add_rank_genes_groups
from .tools.motifs import motif_activity
from .tools.pseudobulk import pseudobulk
from .tools.regulators import motif_expression, rank_motifs, regulons
from .tools.trajectory import diffusion
from .tools.transfer import transfer_labels
from .version import __version__

if TYPE_CHECKING:
    from .model import SCMVP

__all__ = [
    "SCMVP",
    "InputError",
    "ModelFileError",
    "RError",
    "__version__",
    "differential_conditions",
    "diffusion",
    "add_rank_genes_groups",
    "add_to_rds",
    "aggregate_cells",
    "calibrate_links",
    "count_fragments",
    "estimate_n_clusters",
    "features_along",
    "filter_paired",
    "find_ccans",
    "from_parts",
    "gene_activity",
    "link_peaks_lasso",
    "motif_activity",
    "motif_expression",
    "pseudobulk",
    "rank_motifs",
    "read",
    "read_rds",
    "read_samples",
    "regulons",
    "run_cicero",
    "simulate",
    "transfer_labels",
    "trends_along",
    "write_rds",
]


def __getattr__(name: str) -> Any:
    if name != "SCMVP":
        raise AttributeError(f"module 'scmvp' has no attribute '{name}'")
    try:
        undisturbed("torch")
    except ImportError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ImportError(
            f"scMVP needs torch, which {sys.executable} cannot import ({reason}); install it with: "
            f"{sys.executable} -m pip install torch"
        ) from error
    undisturbed("scmvp.model")
    from .model import SCMVP

    globals()["SCMVP"] = SCMVP
    return SCMVP


def __dir__() -> list[str]:
    return sorted(__all__)
