"""Where the counts of a modality are: X, a layer or .raw, and the notes about a choice.

The same rules hold for files (`io`, `backed`) and for objects in memory (`checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..modalities import label_of
from .matrices import DiskColumns
from .names import as_names, note
from .values import holds_counts, is_binary, same_values

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Place:
    """A matrix of one modality: X, a layer, or raw.

    Attributes:
        name: What `rna_layer` and `atac_layer` take for it.
        values: Gives the matrix, cells x features.
        features: Gives the names of its features.
        is_layer: Whether it is one of `layers`.
    """

    name: str
    values: Callable[[], Any]
    features: Callable[[], np.ndarray]
    is_layer: bool

    @property
    def is_raw(self) -> bool:
        """Whether it is .raw, which has features of its own."""
        return self.name == "raw" and not self.is_layer

    @property
    def words(self) -> str:
        """Its name in a message."""
        if self.is_layer:
            return f"the layer '{self.name}'"
        return "X" if self.name == "X" else ".raw"

    @property
    def holds_counts(self) -> bool:
        """Whether every value is a non-negative whole number."""
        return holds_counts(self.values())


def places_of(adata: AnnData) -> list[Place]:
    """Where an AnnData may have counts."""
    places = []
    if adata.X is not None:
        places.append(Place("X", lambda: adata.X, lambda: as_names(adata.var_names), False))
    places += [
        Place(str(name), partial(adata.layers.__getitem__, name),
              lambda: as_names(adata.var_names), True)
        for name in adata.layers
    ]  # fmt: skip
    if adata.raw is not None:
        raw = adata.raw
        places.append(Place("raw", lambda: raw.X, lambda: as_names(raw.var_names), False))
    return places


def named_place(places: Sequence[Place], modality: str, layer: str) -> Place:
    """The layer of this name; 'X' and 'raw' are X and .raw where no layer is called so."""
    named = sorted((p for p in places if p.name == layer), key=lambda place: not place.is_layer)
    if named:
        return named[0]
    has = ", ".join(f"'{place.name}'" for place in places if place.is_layer) or "none"
    others = [f"'{place.name}'" for place in places if not place.is_layer]
    more = f"; {' and '.join(others)} can be named, too" if others else ""
    x = ", or leave the layer out to use X" if "'X'" in others else ""
    raise InputError(
        f"the {label_of(modality)} modality has no layer '{layer}' (layers: {has}{more}); name one "
        f"of these{x}"
    )


def refuse_layers_of_absent(layers: Mapping[str, Any], present: Collection[str]) -> None:
    """Refuse a layer of a modality that is not there; both by modality."""
    for modality, layer in layers.items():
        if layer is not None and modality not in present:
            raise InputError(
                f"there is no {label_of(modality)} modality: leave out {modality}_layer='{layer}'"
            )


def raw_in_place(adata: AnnData, layer: str | None) -> tuple[AnnData, str | None]:
    """The AnnData and layer to use; for the layer 'raw', an AnnData made from .raw, and its X."""
    if layer == "raw" and "raw" not in adata.layers and adata.raw is not None:
        return adata.raw.to_adata(), None
    return adata, layer


def place_in_memory(
    places: Sequence[Place],
    modality: str,
    layer: str | None,
    query: bool = False,
    argument: str | None = None,
) -> Place:
    """The named layer, else X; a note reports if X differs from the matrix expected to be counts.

    Args:
        places: Of one modality.
        modality: Name of the modality.
        layer: As `rna_layer` and `atac_layer` have it.
        query: Whether these are cells for a fitted model, whose layers cannot be named: `layer` is
            then that of the fitted cells, taken where the query has it, too.
        argument: Name of `layer` in the call; 'rna_layer' or 'atac_layer' when None.
    """
    if query and layer is not None and layer not in [place.name for place in places]:
        layer = None
    if layer is not None:
        return named_place(places, modality, layer)
    x = next((place for place in places if place.name == "X" and not place.is_layer), None)
    if x is None:
        found = remedy(places, modality, query, argument)
        raise InputError(
            f"the {label_of(modality)} modality has no X"
            f"{found or ' and nothing else with counts; put its counts into X'}"
        )
    if (other := _disagrees(x, places)) is not None:
        how = _how_to_take(other, modality, query, argument)
        note(
            f"X of the {label_of(modality)} modality holds {_kind(x)}, but {other.words} holds "
            f"other counts; X is taken: for {other.words} {how}"
        )
    return x


def place_in_file(
    places: Sequence[Place], modality: str, layer: str | None, where: str
) -> tuple[Place, bool]:
    """The layer named, else X, but the layer 'counts' or .raw where X is not the counts.

    A note says what was taken where there is a choice.

    Returns:
        The place, and whether something else might be taken for the counts, too.

    Raises:
        InputError: There is nothing to take.
    """
    if layer is not None:
        return named_place(places, modality, layer), True
    x = next((place for place in places if place.name == "X" and not place.is_layer), None)
    label = f"{where}: X of the {label_of(modality)} modality"
    if x is None or (len(places) > 1 and not x.holds_counts):
        is_not = "is missing" if x is None else "is not counts"
        for other in _usual(places):
            if other.holds_counts:
                note(f"{label} {is_not}; {other.words} is taken instead")
                return other, False
        if found := remedy(places, modality):
            note(f"{label} {is_not}{found}")
        if x is None:
            raise InputError(
                f"{where} has no X of the {label_of(modality)} modality, and no layer 'counts' or "
                ".raw with counts; write its counts into X"
            )
        return x, False
    rival = _disagrees(x, places)
    if rival is None:
        return x, False
    taken, left = (rival, x) if _is_rather_counts(rival, x) else (x, rival)
    note(
        f"{label} holds {_kind(x)}, but {rival.words} holds other counts; {taken.words} is taken: "
        f"for {left.words} use {modality}_layer='{left.name}'"
    )
    return taken, True


def remedy(
    places: Sequence[Place], modality: str, query: bool = False, argument: str | None = None
) -> str:
    """What else of a modality holds counts, and how to take it; empty where nothing does."""
    found = []
    for place in places:
        with suppress(InputError):  # one that cannot be read is no remedy
            values = place.values()
            by_rows = not isinstance(values, DiskColumns)
            if place.name != "X" and by_rows and holds_counts(values):
                found.append(place)
    if not found:
        return ""
    verb = "holds" if len(found) == 1 else "hold"
    return (
        f"; {' and '.join(place.words for place in found)} {verb} whole numbers: "
        f"{' or '.join(_how_to_take(place, modality, query, argument) for place in found)}"
    )


def _how_to_take(place: Place, modality: str, query: bool, argument: str | None) -> str:
    if not query:
        return f"use {argument or f'{modality}_layer'}='{place.name}'"
    if place.is_layer:
        return f"put it into X (adata.X = adata.layers['{place.name}'])"
    return "give adata.raw.to_adata() instead of this AnnData"


def _usual(places: Sequence[Place]) -> list[Place]:
    """Where counts are when X has something else, by the conventions of the scverse."""
    layer = [place for place in places if place.is_layer and place.name == "counts"]
    return layer + [place for place in places if place.is_raw]


def _disagrees(x: Place, places: Sequence[Place]) -> Place | None:
    """The matrix expected to be the counts, if it holds counts that differ from an integer X."""
    for other in _usual(places):
        here, there = x.values(), other.values()
        if here is there:
            return None
        if not holds_counts(there):
            continue
        if not holds_counts(here):  # not to be mistaken for counts: the checks refuse it
            return None
        at = None
        if not np.array_equal(x.features(), other.features()):
            at = pd.Index(other.features()).get_indexer(x.features())
            if (at < 0).any():
                continue
        return None if same_values(here, there, at) else other
    return None


def _is_rather_counts(other: Place, x: Place) -> bool:
    """Whether `other` is more likely the counts than X: False if only `other` is binarized."""
    return is_binary(x.values()) or not is_binary(other.values())


def _kind(place: Place) -> str:
    return "only zeros and ones" if is_binary(place.values()) else "whole numbers"
