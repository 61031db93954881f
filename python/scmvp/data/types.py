"""One AnnData: which of its features are genes, and which are peaks or proteins.

The same rules hold for files (`io`, `backed`, `tenx`) and for objects in memory (`containers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..modalities import MODALITIES, feature_of, label_of, listed, modality_of
from ..words import count_of, name_some
from .names import MOST_RANGES, as_names, chosen_modalities, make_unique, note, share_of_ranges

if TYPE_CHECKING:
    from anndata import AnnData

# Feature types as Cell Ranger ARC writes them.
FEATURE_TYPES = {"rna": "Gene Expression", "atac": "Peaks", "protein": "Antibody Capture"}
# Columns of var with the type of a feature: Cell Ranger's and scvi-tools' names.
_TYPE_COLUMNS = ("feature_types", "modality")
# Of the genes of an annotation so many may look like ranges by their names.
_FEW_RANGES = 0.02


def feature_types(var: pd.DataFrame) -> pd.Series | None:
    """What each feature of an AnnData is; None where it does not state that."""
    for column in _TYPE_COLUMNS:
        if column in var and any(modality_of(kind) for kind in pd.unique(var[column])):
            return var[column]
    return None


def gene_ids(var: pd.DataFrame) -> np.ndarray | None:
    """Ids of genes without the version of the annotation, '' where unknown; None: there are none.

    Names of repeated symbols (DUP, DUP.1) depend on the order of the genes; ids do not.
    """
    if "gene_ids" not in var:
        return None
    ids = var["gene_ids"].astype(object).where(var["gene_ids"].notna(), "")
    return ids.astype(str).str.replace(r"\.\d+$", "", regex=True).to_numpy(dtype=object)


def columns_by_type(types: Iterable[Any], where: str) -> dict[str, np.ndarray]:
    """Positions of the features of each modality that there is.

    A note has the number of other features.

    Args:
        types: Type of each feature.
        where: What has them, for the words of a refusal.

    Raises:
        InputError: All are of unknown types.
    """
    named = pd.Series(list(types), dtype=object).astype(str)
    kinds = named.map(modality_of)
    counted = named.value_counts(sort=False)
    chosen = {name: at for name in FEATURE_TYPES if len(at := np.flatnonzero(kinds == name))}
    if not chosen:
        found = ", ".join(f"'{name}'" for name in counted.index) or "none"
        raise InputError(
            f"{where} holds no features of type 'Gene Expression', 'Peaks' or 'Antibody Capture' "
            f"(types: {found}); give cells in which one of these was measured"
        )
    others = counted[[modality_of(name) is None for name in counted.index]]
    if len(others):
        note(f"{where}: {_of_types(others)} left out")
    return chosen


def columns_of_modality(
    var: pd.DataFrame, modality: str, where: str, is_raw: bool = False
) -> np.ndarray | None:
    """Positions of the features that an AnnData of one modality should have; None: all of them.

    A note has the number of other features, which are left out. `is_raw`: whether they are those of
    .raw, which may hold more modalities than X.

    Raises:
        InputError: All are of other types, or .raw holds genes and peaks without types.
    """
    # only Cell Ranger's column: others may distinguish genes from pseudogenes
    types = var["feature_types"].astype(str) if "feature_types" in var else pd.Series(dtype=str)
    if not any(modality_of(kind) for kind in pd.unique(types)):
        if is_raw:
            _refuse_mixed(share_of_ranges(as_names(var.index)), f"{where}: .raw")
        return None
    right = types.map(modality_of) == modality
    if right.all():
        return None
    others = types[~right.to_numpy()].value_counts(sort=False)
    if not right.any():
        raise InputError(
            f"{where} holds no features of type '{FEATURE_TYPES[modality]}' (types: "
            f"{name_some(others.index)}), but was given as the {label_of(modality)}; give the "
            f"{label_of(modality)} in its place"
        )
    note(f"{where}: {_of_types(others)} left out")
    return np.flatnonzero(right)


def _of_types(counted: pd.Series) -> str:
    """So many features of each type, in words."""
    return " and ".join(f"{count_of(n, 'feature')} of type {name}" for name, n in counted.items())


# ---- AnnData without types -----------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What to take of cells, and what an AnnData holds that does not state it.

    Attributes:
        modalities: Those asked for; all when None. A single one is what an AnnData holds.
        known: Features of a model, by modality: an AnnData holds the one with most of them.
    """

    modalities: tuple[str, ...] | None = None
    known: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, wanted: Any, known: Mapping[str, np.ndarray] | None = None) -> Expected:
        """From the argument `modalities` of a caller; InputError: a name is unknown."""
        chosen = None if wanted is None else tuple(chosen_modalities(wanted, MODALITIES))
        return cls(chosen, known or {})

    @property
    def is_one(self) -> bool:
        """Whether a single modality is asked for."""
        return self.modalities is not None and len(self.modalities) == 1

    def chosen(self, has: Iterable[str]) -> list[str]:
        """Those to take of the modalities that there are."""
        return [*has] if self.modalities is None else chosen_modalities(self.modalities, has)

    def of_names(self, names: np.ndarray, where: str) -> str:
        """The modality of an AnnData whose features have these names and no types.

        Raises:
            InputError: They may be several, or are not the one that is asked for.
        """
        ranges = share_of_ranges(names)
        _refuse_mixed(ranges, where)
        are_peaks = ranges >= MOST_RANGES
        if self.is_one and self.modalities is not None:
            stated = self.modalities[0]
            if are_peaks and stated in ("rna", "protein"):
                raise InputError(
                    f"{where} does not hold {label_of(stated)}: the names of its features are "
                    f"genomic ranges ({name_some(names)}); name another modality"
                )
            return stated
        if (found := self._by_names(pd.Index(names), where)) is not None:
            return found
        found, because = ("atac", "are") if are_peaks else ("rna", "are not")
        note(
            f"{where} does not state the types of its features: they are read as "
            f"{feature_of(found)}s, because their names {because} genomic ranges"
        )
        return found

    def _by_names(self, names: pd.Index, where: str) -> str | None:
        """The modality of the model that has most of these features; None where none has any."""
        shared = {name: names.isin(features) for name, features in self.known.items()}
        n = {name: int(part.sum()) for name, part in shared.items() if part.any()}
        most = [name for name in n if n[name] == max(n.values())]
        # of others it has most of their own
        others = [
            name
            for name in n
            if name not in most
            and 2 * (shared[name] & ~shared[most[0]]).sum() > len(self.known[name])
        ]
        if len(most) + len(others) > 1:
            may = listed([name for name in n if name in most + others], "or")
            raise InputError(
                f"{where} may hold {may}: its features have names that the model has in each; add "
                "a column 'feature_types' ('Gene Expression', 'Peaks' or 'Antibody Capture') to var"
            )
        return most[0] if most else None


def _refuse_mixed(ranges: float, where: str) -> None:
    """Refuse features of which some have names of genomic ranges, and some have not."""
    if _FEW_RANGES < ranges < MOST_RANGES:
        raise InputError(
            f"{where} does not state which features are genes and which are peaks; add a column "
            "'feature_types' ('Gene Expression' or 'Peaks') to var, or as the third to "
            "features.tsv, or give the two apart: (rna, atac), or rna.h5ad and atac.h5ad in one "
            "folder"
        )


ANY = Expected()


def only_modality(var: pd.DataFrame, where: str, expected: Expected) -> str | None:
    """The modality of all features of an AnnData; None where they are of several types.

    Raises:
        InputError: They are of unknown types, or of none and may be several modalities.
    """
    types = feature_types(var)
    if types is None:
        if "feature_types" in var and not expected.is_one:
            columns_by_type(var["feature_types"], where)
        return expected.of_names(as_names(var.index), where)
    known = {*map(modality_of, pd.unique(types))}
    return known.pop() if len(known) == 1 else None


# ---- several modalities in one -------------------------------------------------------------------


def split(adata: AnnData, where: str, expected: Expected) -> dict[str, AnnData]:
    """The modalities of one AnnData, separated by `var['feature_types']` (or 'modality').

    Raises:
        InputError: Genes and peaks are in it, and nothing says which feature is which.
    """
    from anndata import AnnData

    only = only_modality(adata.var, where, expected)
    if adata.isbacked:
        adata = adata.to_memory()
    names = pd.Index(make_unique(as_names(adata.var_names)))
    if only is not None:
        if list(names) != list(adata.var_names):
            adata = adata.copy()
            adata.var_names = names
        return {only: adata}
    raw, raw_columns = adata.raw, {}
    if raw is not None:
        raw_names = make_unique(as_names(raw.var_names))
        raw_columns = columns_of_raw(raw.var, raw_names, adata.var, names)
    parts = {}
    types = feature_types(adata.var)
    for modality, at in columns_by_type(() if types is None else types, where).items():
        part = AnnData(
            X=None if adata.X is None else adata.X[:, at],
            obs=adata.obs.copy(),
            var=adata.var.iloc[at].set_axis(names[at], axis=0),
            layers={name: values[:, at] for name, values in adata.layers.items()},
            varm={
                name: values.iloc[at].set_axis(names[at]) if hasattr(values, "iloc") else values[at]
                for name, values in adata.varm.items()
            },
        )
        if modality in raw_columns:
            at = raw_columns[modality]
            var = raw.var.iloc[at].set_axis(np.array(raw_names, dtype=object)[at], axis=0)
            part.raw = AnnData(X=raw.X[:, at], obs=part.obs, var=var)
        parts[modality] = part
    return parts


def columns_of_raw(
    var: pd.DataFrame, names: Iterable[str], of_x: pd.DataFrame, names_of_x: Iterable[str]
) -> dict[str, np.ndarray]:
    """Positions of the features of .raw by modality; none where it is not known which is which."""
    types = feature_types(var)
    if types is None and list(names) == list(names_of_x):
        types = feature_types(of_x)
    if types is None:
        return {}
    kinds = types.map(modality_of).to_numpy()
    return {name: at for name in FEATURE_TYPES if len(at := np.flatnonzero(kinds == name))}
