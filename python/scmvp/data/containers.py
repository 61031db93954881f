"""MuData, AnnData and pairs of these in memory: the AnnData of each modality."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..modalities import MODALITIES, PAIR, label_of, modality_of
from .names import names_of_modalities
from .paired import Paired, PairedData
from .types import ANY, FEATURE_TYPES, Expected, feature_types, split

if TYPE_CHECKING:
    from anndata import AnnData


def refuse_on_disk(data: Any) -> None:
    """Reject cells that `read` left on disk if more than their counts is needed."""
    if isinstance(data, Paired):
        raise InputError(
            "cells read with backed=True work only in SCMVP and the methods of a model; read them "
            "without backed=True for this, or open an .h5mu with mudata.read_h5mu(path, "
            "backed=True)"
        )


def is_view_on_disk(data: Any) -> bool:
    """Whether it is a part of cells on disk: no view is made of it, and it cannot be copied."""
    return getattr(data, "is_view", False) and getattr(data, "isbacked", False)


def refuse_view_on_disk(target: Any, what: str) -> None:
    """Reject a part of cells on disk as the object that results are added to.

    Args:
        target: AnnData, MuData, or anything else.
        what: Name of the argument.
    """
    if is_view_on_disk(target):
        raise InputError(
            f"{what} is a part of an object on disk, to which nothing can be added; read the file "
            "without backed, and take the part of that"
        )


def is_mudata(data: Any) -> bool:
    """Whether it has modalities like a MuData; data frames have a method `mod`, too."""
    refuse_on_disk(data)
    found = hasattr(data, "mod") and hasattr(data, "obs_names")
    if found:
        refuse_axis(getattr(data, "axis", 0))
    return found


def refuse_axis(axis: int) -> None:
    """Reject a MuData in which the cells of the modalities are concatenated (`axis=1`)."""
    if axis == 1:
        raise InputError(
            "the MuData has axis=1, for modalities of different cells; make it with axis=0, as "
            "MuData({'rna': rna, 'atac': atac}) does"
        )


def is_anndata(data: Any) -> bool:
    """Whether it has cells and counts like an AnnData; also true of a MuData."""
    return hasattr(data, "obs_names") and hasattr(data, "X")


def alone(data: Any, modality: str) -> Any:
    """Wrap an AnnData without feature types in a MuData; anything else is returned as is."""
    if isinstance(data, Paired) or is_mudata(data) or not is_anndata(data):
        return data
    if feature_types(data.var) is not None:
        return data
    from mudata import MuData

    return MuData({modality: data})


def modality_pair(data: Any) -> tuple[AnnData, AnnData]:
    """The RNA and the ATAC AnnData of what holds both; InputError when one is missing.

    Args:
        data: MuData whose modalities are called 'rna' and 'atac' or the like ('GEX', 'peaks');
            one AnnData with `var['feature_types']`; or a pair of AnnData.
    """
    parts: dict[str, Any] = modality_parts(data)
    return parts["rna"], parts["atac"]


def modality_parts(
    data: Any,
    one_is_enough: bool = False,
    may_choose: bool = False,
    expected: Expected = ANY,
) -> dict[str, AnnData | None]:
    """The AnnData of each known modality that there is; None in the place of a missing RNA or ATAC.

    Args:
        data: As for `modality_pair`; of a triple, the last is the protein AnnData.
        one_is_enough: Refuse only when both are missing; None in the place of a missing one.
        may_choose: Whether the message may advise the argument `modalities`.
        expected: What an AnnData holds that does not state it.
    """
    if isinstance(data, Sequence) and 2 <= len(data) <= len(FEATURE_TYPES):
        given = [part for part in data if not (one_is_enough and part is None)]
        if given and all(map(is_anndata, given)):
            return dict(zip(FEATURE_TYPES, data, strict=False))
    if is_mudata(data):
        parts = {of: data.mod[name] for of, name in names_of_modalities(data.mod).items()}
        names = [*data.mod]
    elif is_anndata(data):
        parts = split(data, "the AnnData", expected)
        names = [*parts]
    else:
        raise InputError(
            f"cannot read paired cells from {type_name(data)}; give a MuData with modalities 'rna' "
            "and 'atac', a pair (rna, atac) of AnnData objects, or one AnnData with "
            "var['feature_types']"
        )
    if not (one_is_enough and parts):
        refuse_missing(parts, names, may_choose)
    return dict.fromkeys(PAIR) | parts


def tables_of(data: Any) -> list[AnnData]:
    """Objects with cell columns: a MuData, then its modalities (RNA first); the parts of a pair."""
    if is_mudata(data):
        known = [*MODALITIES, None]
        names = sorted(data.mod, key=lambda name: known.index(modality_of(name)))
        return [data, *(data.mod[name] for name in names)]
    parts = data if isinstance(data, Sequence) else [data]
    return [part for part in parts if part is not None]


def files_behind(data: PairedData | None) -> list[Path]:
    """Files from which counts of these cells are read when they are needed."""
    if isinstance(data, Paired):
        return [*data.files]
    parts: list[Any] = tables_of(data)
    return [Path(part.filename) for part in parts if getattr(part, "isbacked", False)]


def modality_in(mdata: Any, modality: str | None) -> AnnData:
    """One modality of a MuData, under whatever name it has there."""
    named = names_of_modalities(mdata.mod)
    if modality in named:
        return mdata.mod[named[modality]]
    if not named:
        has = ", ".join(map(repr, mdata.mod)) or "none"
        raise InputError(
            f"the MuData has neither RNA nor ATAC (modalities: {has}); rename one to 'rna' or "
            "'atac'"
        )
    raise InputError(f"modality is {modality!r}; use {' or '.join(map(repr, named))}")


def peaks_in(data: Any) -> tuple[AnnData, AnnData | None]:
    """The peaks of a MuData or AnnData (which may contain only peaks), and the RNA if present."""
    if not is_mudata(data):
        if not is_anndata(data):
            kind = type(data).__name__
            raise InputError(f"give a MuData or the AnnData of the peaks, not {kind}")
        if feature_types(data.var) is None:
            return data, None
    parts = modality_parts(data, one_is_enough=True)
    if parts["atac"] is None:
        has = data.mod if is_mudata(data) else [of for of in parts if parts[of] is not None]
        raise InputError(
            f"there is no modality 'atac' (modalities: {', '.join(has)}); rename the one with the "
            "peaks, or give cells with peaks"
        )
    return parts["atac"], parts["rna"]


def refuse_missing(has: Collection[str], names: Iterable[str], may_choose: bool = False) -> None:
    """Refuse cells without RNA or without ATAC.

    Args:
        has: The known modalities that they have.
        names: The names that these have in the data, and others.
        may_choose: Whether the message may advise the argument `modalities`.
    """
    missing = [modality for modality in PAIR if modality not in has]
    if not missing:
        return
    there = ", ".join(map(repr, names)) or "none"
    or_these = f", or say modalities={tuple(has)!r} for these alone" if may_choose and has else ""
    raise InputError(
        f"the {label_of(missing[0])} modality is missing (modalities: {there}); rename or add one "
        f"called '{missing[0]}', or give the two as a pair (rna, atac) of AnnData objects{or_these}"
    )


def type_name(value: Any) -> str:
    """The class of a value, for a message."""
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
