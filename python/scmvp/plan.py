"""What a fit needs: cells, options and the number of clusters, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .arguments import flag, options_from, whole_number
from .data.paired import Paired, PairedData
from .data.scope import Scope, choose
from .errors import InputError
from .modalities import MODALITIES, PAIR, listed
from .options import ModelOptions
from .presets import preset_of
from .words import count_of


@dataclass(frozen=True)
class Plan:
    """What defines a model before its training.

    Attributes:
        preset: Its name.
        options: Options of the network.
        scope: Features and batches that are read.
        account: Numbers of cells, features and clusters.
        n_clusters: K as given, or as the preset finds it in the counts; None: to be found.
    """

    preset: str
    options: ModelOptions
    scope: Scope
    account: dict[str, Any]
    n_clusters: int | None


def plan_of(
    data: PairedData,
    n_latent: int | None,
    n_clusters: int | None,
    preset: str,
    rna_layer: str | None,
    atac_layer: str | None,
    min_cells: int,
    batch: str | Sequence[str] | None,
    mosaic: bool,
    modalities: Sequence[str] | None,
    protein_layer: str | None,
    options: dict[str, Any] | None,
) -> tuple[Plan, Paired]:
    """The plan and its cells; the arguments are those of `SCMVP`.

    Raises:
        InputError: The input cannot be modeled; the sentence says why.
    """
    changes = preset_of(preset)
    min_cells = whole_number("min_cells", min_cells, at_least=0)
    mosaic = flag("mosaic", mosaic)
    defaults = changes.model
    if n_latent is not None:
        if isinstance(options, dict) and "n_latent" in options:
            raise InputError(
                f"n_latent is given twice, as {n_latent!r} and as {options['n_latent']!r} in "
                "options; give it once"
            )
        defaults = defaults | {"n_latent": whole_number("n_latent", n_latent)}
    chosen_options = options_from(ModelOptions, {} if options is None else options, defaults)
    scope, cells, account = choose(
        data, rna_layer, atac_layer, min_cells, batch, mosaic, modalities, protein_layer
    )
    if preset == "paper" and not {*PAIR} <= set(cells.counts):
        raise InputError(
            f"preset 'paper' needs RNA and ATAC, and the data are {listed(cells.counts)}; give the "
            "other one, too, or leave preset out"
        )
    of_levels = [name for name in cells.counts if MODALITIES[name].is_level]
    if of_levels and chosen_options.encoder_input == "counts":
        raise InputError(
            f"encoders that read counts, as those of preset 'paper' do, cannot read "
            f"{listed(of_levels)}; leave preset out, or name the other modalities in modalities"
        )
    account["n_clusters_estimated"] = n_clusters is None
    if n_clusters is None and changes.n_clusters is not None:
        n_clusters = changes.n_clusters(cells.rna, cells.atac, design=scope.design(cells))
    if n_clusters is not None:
        n_clusters = whole_number("n_clusters", n_clusters)
        if n_clusters > len(cells.cells) // 2:
            raise InputError(
                f"n_clusters is {n_clusters} but there are only "
                f"{count_of(len(cells.cells), 'cell')}; give at most {len(cells.cells) // 2}, "
                "one cluster for two cells"
            )
    account["n_clusters"] = n_clusters
    return Plan(preset, chosen_options, scope, account, n_clusters), cells
