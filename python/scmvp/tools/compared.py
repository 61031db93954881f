"""What a comparison of two groups of cells tells of features before any prior: the two tests.

Proportions of counts (module `effects`), or levels of two counts (module `levels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp

from ..data.matrices import Matrix, in_memory
from .effects import evidence_of
from .groups import FEWEST_CELLS, Comparison, Groups
from .levels import LevelSums, level_evidence, level_sums
from .posterior import Likelihood
from .sums import Sums, sums_by_batch, together

AnySums = TypeVar("AnySums", Sums, LevelSums)


class Tested(NamedTuple):
    """What is known of a comparison before its prior."""

    evidence: Likelihood
    centre: float  # natural logarithm, the effect of the typical feature
    decoded_centre: float  # that of decoded values: of mean counts where there is a background
    mean: list[np.ndarray]  # of the group and of the reference, (features,)
    detected: list[np.ndarray]  # proportion of cells with a count, alike


@dataclass
class Test(Generic[AnySums]):
    """Sums of the cells of each batch, from which any of the comparisons follows."""

    batches: list[AnySums]

    @property
    def n_cells(self) -> np.ndarray:
        """Number of cells of each unit, (units,)."""
        return np.sum([part.n for part in self.batches], axis=0)

    def of(self, comparison: Comparison) -> Tested:
        """One comparison."""
        raise NotImplementedError


@dataclass
class CountTest(Test[Sums]):
    """Counts of features, compared by their proportions."""

    above: list[Sums] | None  # the same of the counts above the background
    library_size: float

    @classmethod
    def of_counts(
        cls,
        counts: Matrix,
        groups: Groups,
        batch: np.ndarray | None,
        limit: np.ndarray | None,
        library_size: float,
    ) -> CountTest:
        """Sum the counts.

        Args:
            counts: Cells x features.
            groups: Who is compared.
            batch: Number of each cell's batch, (n,); None: one batch.
            limit: The largest count of each feature that is background, (f,); None where there is
                none.
            library_size: Counts per cell that means are given for.
        """
        above = None
        if limit is not None:
            above = sums_by_batch(_above(counts, limit), groups.unit, groups.n_units, batch)
        batches = sums_by_batch(counts, groups.unit, groups.n_units, batch)
        return cls(batches, above, library_size)

    def of(self, comparison: Comparison) -> Tested:
        """One comparison."""
        pairs = sums_of_sides(self.batches, comparison)
        shared = shared_batches(pairs)
        higher = None
        if self.above is not None:
            higher = sums_of_sides(self.above, comparison)
            higher = [higher[number] for number in shared]
        evidence, centre = evidence_of([pairs[number] for number in shared], higher)
        sides = [together(side) for side in zip(*pairs, strict=True)]
        decoded_centre = centre
        if self.above is not None:
            per_cell = [np.log(side.size[0] / side.n) for side in sides]
            decoded_centre += float(per_cell[0] - per_cell[1])
        mean = [side.count / side.size[0] * self.library_size for side in sides]
        detected = [side.seen / side.n for side in sides]
        return Tested(evidence, centre, decoded_centre, mean, detected)


class LevelTest(Test[LevelSums]):
    """Two counts of features, compared by the log odds of their levels."""

    @classmethod
    def of_counts(cls, counts: Matrix, groups: Groups, batch: np.ndarray | None) -> LevelTest:
        """The arguments are those of `CountTest.of_counts`."""
        return cls(level_sums(counts, groups.unit, groups.n_units, batch))

    def of(self, comparison: Comparison) -> Tested:
        """One comparison."""
        pairs = sums_of_sides(self.batches, comparison)
        evidence = level_evidence([pairs[number] for number in shared_batches(pairs)])
        sides = [together(side) for side in zip(*pairs, strict=True)]
        level = [side.level for side in sides]
        return Tested(evidence, 0.0, 0.0, level, [side.seen / side.n for side in sides])


def sums_of_sides(batches: list[AnySums], comparison: Comparison) -> list[tuple[AnySums, AnySums]]:
    """Sums of both groups of a comparison in each batch."""
    group, reference = comparison.units
    return [(part.of(group), part.of(reference)) for part in batches]


def shared_batches(pairs: list[tuple[AnySums, AnySums]]) -> list[int]:
    """Numbers of the batches that both groups have cells of."""
    return [
        number for number, pair in enumerate(pairs) if min(side.n for side in pair) >= FEWEST_CELLS
    ]


def _above(counts: Matrix, limit: np.ndarray) -> sp.csr_matrix:
    """The counts above a limit of their feature; of few features, so in memory."""
    found = in_memory(counts).copy()
    found.data[found.data <= limit[found.indices]] = 0
    found.eliminate_zeros()
    return found
