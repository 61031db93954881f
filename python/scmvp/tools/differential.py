"""Which features differ between two groups of cells, with an error rate that is kept.

Who is compared, what the test says of it (module `effects`), and the table. The model is asked for
its own opinion (`lfc_model`); docs/differential.md says why that is no part of the test.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from ..data.annotated import in_order_of
from ..data.labels import level_name, level_names
from ..data.matrices import Matrix
from ..errors import InputError, InputNote, first_line
from ..nn.module import PairedMixtureVAE
from ..nn.networks import Gaussian
from ..words import count_of, name_some
from . import impute
from .effects import STEP, Sums, evidence_of, posterior_of, q_values, sums_by_batch, together

FEWEST_CELLS = 3  # of a group
MODEL_CELLS = 1000  # of a group that are decoded for its mean

COLUMNS = (
    "feature", "group", "reference", "lfc", "lfc_sd", "lfc_low", "lfc_high", "lfc_model",
    "lfc_model_sd", "mean_group", "mean_reference", "detected_group", "detected_reference",
    "prob_de", "log_bayes_factor", "q_value", "is_de",
)  # fmt: skip


class Comparison(NamedTuple):
    """A group of cells and what it is compared with, as units of `Groups`."""

    group: str
    reference: str
    units: tuple[list[int], list[int]]


@dataclass
class Groups:
    """Disjoint units of cells, and what is compared.

    `unit` is (n,), the unit of each cell, -1 for cells that are in none.
    """

    unit: np.ndarray
    n_units: int
    comparisons: list[Comparison]

    def without(self, left_out: np.ndarray) -> Groups:
        """The same without some cells, (n,) bool, as those in which nothing was counted."""
        found = Groups(np.where(left_out, -1, self.unit), self.n_units, self.comparisons)
        _refuse_small(found)
        return found


# ---- who is compared


def groups_of(
    cells: Sequence[str],
    labels: Sequence | pd.Series | None,
    group1: object,
    group2: object,
    labels_name: str = "groupby",
) -> Groups:
    """What the arguments of `SCMVP.differential_expression` mean.

    Raises:
        InputError: A group is unknown, empty, too small, or shares cells with the other.
    """
    if labels is not None:
        return _labelled(cells, labels, group1, group2, labels_name)
    if group1 is None:
        raise InputError("group1 is not given; give groupby, or group1 as a mask or cell names")
    first = _mask(cells, group1, "group1")
    second = ~first if group2 is None else _mask(cells, group2, "group2")
    if (both := first & second).any():
        shared = name_some(np.asarray(cells)[both])
        raise InputError(
            f"group1 and group2 share {count_of(both.sum(), 'cell')} ({shared}); take them apart"
        )
    unit = np.where(first, 0, np.where(second, 1, -1))
    names = ("group1", "rest" if group2 is None else "group2")
    groups = Groups(unit, 2, [Comparison(*names, ([0], [1]))])
    _refuse_small(groups)
    return groups


def _labelled(cells, labels, group1, group2, name: str) -> Groups:
    if np.ndim(labels) != 1:
        raise InputError(f"{name} must be one label per cell, not {type(labels).__name__}")
    labels = in_order_of(np.asarray(cells), labels, name)
    if len(labels) != len(cells):
        raise InputError(
            f"{name} has {count_of(len(labels), 'label')} for {count_of(len(cells), 'cell')}; give "
            "one for each cell"
        )
    # in the order of the categories; 1 and "1" have one name and are one group
    names = level_names(labels)
    order = dict.fromkeys(level_name(label) for label in pd.Categorical(labels).categories)
    present = set(names)
    known = [label for label in order if label in present]
    code = pd.Index(known).get_indexer(names)
    if len(known) < 2:
        raise InputError(
            f"{name} has the same label for all cells; give cells of at least two labels"
        )
    firsts = known if group1 is None else _labels_in(group1, known, "group1", name)
    if group1 is None and group2 is not None:
        raise InputError("group2 is given without group1; give group1, too")
    second = None if group2 is None else _labels_in(group2, known, "group2", name)
    found = []
    # several labels in group1 are compared one after the other, those in group2 taken together
    for label in firsts:
        own = known.index(label)
        other = range(len(known)) if second is None else map(known.index, second)
        rest = [unit for unit in other if unit != own]
        if second is not None and len(rest) < len(second):
            raise InputError(f"'{label}' is both in group1 and in group2; take it out of one")
        reference = "rest" if second is None else "+".join(second)
        found.append(Comparison(label, reference, ([own], rest)))
    groups = Groups(code.astype(np.int64), len(known), found)
    _refuse_small(groups)
    return groups


def labels_in(path: str, cells: Sequence[str]) -> pd.Series:
    """Labels of cells from a CSV with a header, its first columns cell and label.

    Cells that the file lacks get none.
    """
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as CSV with a header: {first_line(error)}"
        ) from error
    if table.shape[1] < 2:
        raise InputError(f"{path} has one column; give two, cell and label, with a header")
    label = table.iloc[:, 1].set_axis(table.iloc[:, 0])
    if twice := name_some(label.index[label.index.duplicated()]):
        raise InputError(f"{path} has cells twice: {twice}; give each one label")
    found = label.reindex(pd.Index(cells))
    if found.isna().all():
        raise InputError(
            f"{path} has none of the cells (it has {name_some(label.index)}, the data "
            f"{name_some(cells)}); give the same names"
        )
    if n := int(found.isna().sum()):
        lacking = name_some(found.index[found.isna()])
        warnings.warn(
            f"{path} has no label for {n:,} of the {count_of(len(cells), 'cell')} ({lacking}), "
            f"which {'is' if n == 1 else 'are'} left out",
            InputNote,
            stacklevel=2,
        )
    return found


def _labels_in(wanted: object, known: list[str], argument: str, name: str) -> list[str]:
    wanted = [wanted] if isinstance(wanted, str) or not np.iterable(wanted) else list(wanted)
    wanted = [level_name(label) for label in wanted]
    if missing := [label for label in wanted if label not in known]:
        raise InputError(
            f"{argument} is {name_some(missing)}, and {name} has no such label; "
            f"it has {name_some(known)}"
        )
    if not wanted:
        raise InputError(f"{argument} names no label; give one, or leave it out")
    return wanted


def _mask(cells: Sequence[str], given: object, argument: str) -> np.ndarray:
    if getattr(given, "dtype", None) in ("bool", "boolean"):
        given = in_order_of(np.asarray(cells), given, argument)
    values = np.asarray(given)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"{argument} must be a mask or a list of cell names, not {given!r} (labels need "
            "groupby)"
        )
    if values.dtype == bool:
        if len(values) != len(cells):
            raise InputError(
                f"{argument} is a mask of {count_of(len(values), 'value')} for "
                f"{count_of(len(cells), 'cell')}; give one value for each cell"
            )
        return values
    if pd.isna(values).any():
        raise InputError(f"{argument} has missing values; give True or False for each cell")
    mask = pd.Index(cells).isin(values.astype(str))
    if missing := sorted(set(values.astype(str)) - set(cells)):
        raise InputError(f"{argument} has cells that are not in the data: {name_some(missing)}")
    return mask


def _refuse_small(groups: Groups) -> None:
    size = np.bincount(groups.unit[groups.unit >= 0], minlength=groups.n_units)
    for comparison in groups.comparisons:
        named = zip(comparison[:2], comparison.units, strict=True)
        for name, units in named:
            if (n := size[units].sum()) < FEWEST_CELLS:
                raise InputError(
                    f"group '{name}' has {count_of(n, 'cell')}; a comparison needs at least "
                    f"{FEWEST_CELLS} in each group"
                )


# ---- what the model says of the effects


@torch.no_grad()
def model_means(
    module: PairedMixtureVAE,
    q: Gaussian,
    groups: Groups,
    modality: str,
    n_samples: int,
    seed: int,
    design: np.ndarray | None = None,
) -> np.ndarray:
    """Mean decoded share of each unit at samples of z, (samples, units, features) float32.

    Of a unit of more cells, 1,000 of them drawn at random are decoded; all in the batch `design`.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for unit in range(groups.n_units):
        members = np.flatnonzero(groups.unit == unit)
        if len(members) > MODEL_CELLS:
            members = np.sort(rng.choice(members, MODEL_CELLS, replace=False))
        chosen.append(members)
    rows = np.concatenate(chosen)
    unit = np.repeat(np.arange(groups.n_units), [len(members) for members in chosen])
    mean, sd = q.mean[rows], (0.5 * q.log_var[rows]).exp()
    weight = 1 / np.maximum(np.bincount(unit, minlength=groups.n_units), 1)
    found = []
    for _ in range(n_samples):
        noise = torch.from_numpy(rng.standard_normal(mean.shape).astype(np.float32))
        z = module.prior.to_frame((mean + sd * noise).to(module.prior.mean.device)).cpu().numpy()
        sums, start = 0.0, 0
        for block in impute.decode_blocks(module, z, modality, None, 1.0, design):
            here = unit[start : start + len(block)]
            start += len(block)
            member = sp.csr_matrix(
                (weight[here], (here, np.arange(len(here)))), shape=(groups.n_units, len(here))
            )
            sums = sums + (member @ block).astype(np.float32)
        found.append(sums)
    return np.array(found)


def _model_effect(means: np.ndarray, n: np.ndarray, comparison: Comparison, centre: float):
    def of(units: list[int]) -> np.ndarray:
        weight = (n[units] / n[units].sum()).astype(np.float32)
        return np.log2(np.einsum("suf,u->sf", means[:, units], weight).astype(np.float64))

    effect = of(comparison.units[0]) - of(comparison.units[1]) - centre / np.log(2)
    return effect.mean(0), effect.std(0)


# ---- the table


def compare(
    counts: Matrix,
    names: np.ndarray,
    groups: Groups,
    means: np.ndarray,
    *,
    delta: float,
    fdr: float,
    library_size: float,
    wanted: np.ndarray | None = None,
    batch: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every comparison.

    Args:
        counts: Cells x features.
        names: Of the features.
        groups: Who is compared.
        means: What `model_means` found.
        delta: log2; effects within it count as none.
        fdr: Expected share of wrong calls among the features called.
        library_size: Counts per cell that means are given for.
        wanted: Features the table and its q-values are of; all when None. The prior is learnt
            from all.
        batch: Number of each cell's batch, (n,): cells are compared with those of their own
            batch. All are one batch when None.
        seed: Of the folds of features.

    Returns:
        `COLUMNS`, one line per feature and comparison, the most probable first within each.
    """
    batches = sums_by_batch(counts, groups.unit, groups.n_units, batch)
    n_cells = np.sum([part.n for part in batches], axis=0)
    wanted = np.arange(len(names)) if wanted is None else wanted
    tables, shifts = [], {}
    for comparison in groups.comparisons:
        pairs = sums_of_sides(batches, comparison)
        sides = [together(side) for side in zip(*pairs, strict=True)]
        for name, side in zip(comparison[:2], sides, strict=True):
            if not side.count.any():
                raise InputError(
                    f"group '{name}' has no count in this modality; there is nothing to compare"
                )
        evidence, centre = evidence_of(shared_batches(pairs, comparison))
        posterior = posterior_of(evidence, delta, seed)
        lfc_model, lfc_model_sd = _model_effect(means, n_cells, comparison, centre)
        q = q_values(posterior.prob[wanted])
        of_group, of_reference = (
            (side.count / side.size[0] * library_size, side.seen / side.n) for side in sides
        )
        table = pd.DataFrame(
            {
                "feature": names, "group": comparison.group, "reference": comparison.reference,
                "lfc": posterior.mean, "lfc_sd": posterior.sd,
                "lfc_low": posterior.low, "lfc_high": posterior.high,
                "lfc_model": lfc_model, "lfc_model_sd": lfc_model_sd,
                "mean_group": of_group[0], "mean_reference": of_reference[0],
                "detected_group": of_group[1], "detected_reference": of_reference[1],
                "prob_de": posterior.prob, "log_bayes_factor": posterior.log_bayes_factor,
            }
        ).iloc[wanted]  # fmt: skip
        table["q_value"], table["is_de"] = q, q <= fdr
        clear = np.abs(table["lfc"]) / table["lfc_sd"].clip(lower=STEP)
        tables.append(table.iloc[np.lexsort((-clear, q))])
        shifts[f"{comparison.group} / {comparison.reference}"] = centre / np.log(2)
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    table.attrs = {"delta": delta, "fdr": fdr, "typical_lfc": shifts}
    return table


def sums_of_sides(batches: list[Sums], comparison: Comparison) -> list[tuple[Sums, Sums]]:
    """Sums of both groups of a comparison in each batch."""
    return [tuple(part.of(units) for units in comparison.units) for part in batches]


def shared_batches(
    pairs: list[tuple[Sums, Sums]], comparison: Comparison
) -> list[tuple[Sums, Sums]]:
    """Those of the batches that both groups have cells of; where there is none, a refusal."""
    shared = [pair for pair in pairs if min(side.n for side in pair) >= FEWEST_CELLS]
    if not shared:
        raise InputError(
            f"no batch has {count_of(FEWEST_CELLS, 'cell')} of '{comparison.group}' and of "
            f"'{comparison.reference}', so that their difference cannot be told from that of the "
            "batches; compare groups that share batches, or fit a model without batches"
        )
    return shared
