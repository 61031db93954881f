"""Simulated cells: which profiles each mixes, how deep it is, and its counts.

Counts are drawn event by event, so the cost follows the number of counts and nothing of the size
cells x features is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

_EVENTS_PER_CHUNK = 2_000_000
_DEPTH_CORRELATION = 0.5

# The stages of a path, one row for each of its ends: from the first stage to that end.
Path = np.ndarray


@dataclass(frozen=True)
class Mixture:
    """A cell's profile: (1 - ambient) * ((1 - share) * first + share * second) + ambient * mean."""

    label: np.ndarray
    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    ambient: np.ndarray
    pseudotime: np.ndarray
    branch: np.ndarray


def path_of(n_types: int, branches: int) -> Path:
    """A trunk and branches of equal length; without branches the first type to the last."""
    each = n_types // (branches + 2) if branches > 1 else 0
    trunk = n_types - branches * each
    ends = trunk + np.arange(branches * each).reshape(branches, each)
    return np.hstack([np.tile(np.arange(trunk), (branches, 1)), ends])


def _places(path: Path, branch: np.ndarray, pseudotime: np.ndarray) -> tuple[np.ndarray, ...]:
    """Stage before and after each place, and how far it is from the one to the other."""
    place = pseudotime * (path.shape[1] - 1)
    step = np.minimum(place.astype(int), max(path.shape[1] - 2, 0))
    after = np.minimum(step + 1, path.shape[1] - 1)
    return path[branch, step], path[branch, after], place - step


def ahead(mixture: Mixture, path: Path, lead: float) -> Mixture:
    """The same cells further along the path."""
    if lead == 0:
        return mixture
    moved = np.clip(mixture.pseudotime + lead, 0, 1)
    first, second, share = _places(path, mixture.branch, moved)
    return replace(mixture, first=first, second=second, share=share)


def branch_names(path: Path, mixture: Mixture) -> pd.Categorical:
    """'trunk' up to the last stage that all ends have in common, then the branch."""
    on_trunk = np.isin(mixture.second, path[:, (path == path[0]).all(axis=0)])
    names = ["trunk", *(f"branch{number + 1}" for number in range(len(path)))]
    return pd.Categorical.from_codes(np.where(on_trunk, 0, mixture.branch + 1), names)


def draw_mixture(
    rng: np.random.Generator, n_cells: int, n_types: int, ambient: float, path: Path | None
) -> Mixture:
    """Cells of types, or along a path where there is one."""
    branch = np.zeros(n_cells, dtype=int)
    if path is not None:
        pseudotime = rng.uniform(0, 1, n_cells)
        if len(path) > 1:
            branch = rng.integers(len(path), size=n_cells)
        first, second, share = _places(path, branch, pseudotime)
        label = np.where(np.rint(share) > 0, second, first)
    else:
        # Unequal types, none of them rare enough to vanish.
        proportion = 0.3 / n_types + 0.7 * rng.dirichlet(np.full(n_types, 4.0))
        label = rng.choice(n_types, n_cells, p=proportion)
        label[:n_types] = np.arange(n_types)
        label = rng.permutation(label)
        first = second = label
        share = pseudotime = np.zeros(n_cells)
    # Beta around the mean, with a spread of about a third of it.
    concentration = 10.0 / max(ambient, 1e-3)
    level = np.zeros(n_cells)
    if ambient > 0:
        level = rng.beta(concentration * ambient, concentration * (1 - ambient), n_cells)
    return Mixture(label, first, second, share, level, pseudotime, branch)


def draw_depth(rng: np.random.Generator, n_cells: int, spread: float) -> dict[str, np.ndarray]:
    """Factors of the library sizes by modality, of median one; those of a cell correlate."""
    rna, other = rng.standard_normal((2, n_cells))
    atac = _DEPTH_CORRELATION * rna + np.sqrt(1 - _DEPTH_CORRELATION**2) * other
    return {"rna": np.exp(spread * rna), "atac": np.exp(spread * atac)}


@dataclass(frozen=True)
class Batches:
    """Batch of each cell, and what draws how its features change."""

    label: np.ndarray
    effect: float
    rng: np.random.Generator  # of its own, so that one batch is what it is without this part


def draw_batches(
    weights: Mixture, n_types: int, n_batches: int, effect: float, seed: int
) -> Batches:
    """Batches with a mix of types each."""
    rng = np.random.default_rng([seed, n_batches])
    share = rng.dirichlet(np.full(n_batches, 2.0), n_types)
    place = rng.random(len(weights.label))[:, None] > share.cumsum(1)[weights.label]
    return Batches(np.minimum(place.sum(1), n_batches - 1), effect, rng)


def ambient_profile(profile: np.ndarray, weights: Mixture) -> np.ndarray:
    """Mean profile of the cells, (features,)."""
    n_types = profile.shape[1]
    of_type = np.bincount(weights.first, 1 - weights.share, n_types)
    of_type += np.bincount(weights.second, weights.share, n_types)
    return profile @ (of_type / of_type.sum())


def draw_counts_of(
    batches: Batches,
    rng: np.random.Generator,
    profiles: np.ndarray,
    weights: Mixture,
    library: np.ndarray,
    theta: float,
) -> sp.csr_matrix:
    """`draw_counts` with each batch's own changes of the profiles."""
    labels = np.unique(batches.label)
    if len(labels) == 1:
        return draw_counts(rng, profiles, weights, library, theta)
    order, parts = [], []
    for label in labels:
        factor = np.exp(batches.effect * batches.rng.standard_normal(len(profiles)))
        changed = profiles * factor[:, None]
        cells = np.flatnonzero(batches.label == label)
        some = Mixture(*(getattr(weights, field.name)[cells] for field in fields(Mixture)))
        parts.append(draw_counts(rng, changed / changed.sum(0), some, library[cells], theta))
        order.append(cells)
    return sp.vstack(parts, format="csr")[np.argsort(np.concatenate(order))]


def draw_counts(
    rng: np.random.Generator,
    profiles: np.ndarray,
    weights: Mixture,
    library: np.ndarray,
    theta: float,
) -> sp.csr_matrix:
    """Negative binomial counts, cells x features, as a compound Poisson sum.

    NB(mean m, inverse dispersion t) is the sum of Poisson(t log(1 + m/t)) logarithmic variables
    with p = m / (m + t). Events are drawn at the larger rate m, then thinned to that rate.
    """
    n_features, n_profiles = profiles.shape
    cumulative = np.cumsum(profiles, axis=0)
    cumulative /= cumulative[-1]
    # Profile k occupies (k, k + 1]: one search finds a feature in the right profile.
    ladder = (cumulative + np.arange(n_profiles)).T.ravel()
    ambient = n_profiles - 1

    n_events = rng.poisson(library)
    chunk_of_cell = np.cumsum(n_events) // _EVENTS_PER_CHUNK
    blocks = []
    for chunk in np.unique(chunk_of_cell):
        cells = np.flatnonzero(chunk_of_cell == chunk)
        cell = np.repeat(cells, n_events[cells])
        second = rng.random(len(cell)) < weights.share[cell]
        source = np.where(second, weights.second[cell], weights.first[cell])
        source[rng.random(len(cell)) < weights.ambient[cell]] = ambient
        feature = np.searchsorted(ladder, source + rng.random(len(cell)), side="right")
        feature = np.minimum(feature - source * n_features, n_features - 1)

        share, level = weights.share[cell], weights.ambient[cell]
        of_type = (1 - share) * profiles[feature, weights.first[cell]]
        of_type += share * profiles[feature, weights.second[cell]]
        mean = (1 - level) * of_type + level * profiles[feature, ambient]
        ratio = mean * library[cell] / theta
        kept = rng.random(len(cell)) * ratio < np.log1p(ratio)
        size = rng.logseries(ratio[kept] / (1 + ratio[kept]))
        block = sp.csr_matrix(
            (size.astype(np.float32), (cell[kept] - cells[0], feature[kept])),
            shape=(len(cells), n_features),
        )
        blocks.append(block)
    counts = sp.vstack(blocks, format="csr", dtype=np.float32)
    counts.sum_duplicates()
    return counts
