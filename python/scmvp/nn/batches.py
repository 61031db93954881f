"""Minibatches of paired cells: which cells come together, and their counts as tensors.

Matrices of counts are in memory (scipy's CSR) or on disk (`matrices.DiskRows`); both give the rows
asked for as CSR.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from ..data.matrices import DiskRows, Matrix
from .distributed import ALONE, Ranks
from .sparse import SparseRows

ORDERED_CELLS = 512  # cells at a time where their order does not matter
POOL_CELLS = 2048  # cells read from disk together, minibatches of which are drawn
RUN_CELLS = 64  # consecutive cells that a pool is made of


class PairedBatch(NamedTuple):
    """The counts of some cells in all modalities."""

    counts: dict[str, SparseRows]  # (B, F), by modality
    design: torch.Tensor | None = None  # (B, S), the cells' batches (module `covariates`)

    @property
    def n_cells(self) -> int:
        """B."""
        return next(iter(self.counts.values())).n_rows

    def to(self, device: torch.device) -> PairedBatch:
        """The same on another device, where the design is already."""
        return self._replace(counts={name: part.to(device) for name, part in self.counts.items()})


def take(counts: dict[str, Matrix], cells: np.ndarray | slice) -> PairedBatch:
    """Counts of some cells, in the order asked for."""
    return PairedBatch({name: SparseRows.from_csr(part[cells]) for name, part in counts.items()})


def even_chunks(cells: np.ndarray, size: int) -> list[np.ndarray]:
    """Split cells into chunks of nearly `size` whose sizes differ by at most one.

    A short last chunk would have its own, noisy batch-norm statistics.
    """
    return np.array_split(cells, n_chunks(len(cells), size))


def n_chunks(n_cells: int, size: int) -> int:
    """Number of the chunks that `even_chunks` makes."""
    return max(1, round(n_cells / size))


class Cells:
    """Paired counts as training and embedding read them, on one device."""

    def __init__(
        self,
        counts: dict[str, Matrix],
        device: torch.device,
        ranks: Ranks = ALONE,
        design: np.ndarray | None = None,
        part_paired: float = 1.0,
    ):
        """Take counts of the same cells.

        Args:
            counts: Cells x features, by modality.
            device: Device of the minibatches.
            ranks: This process among several.
            design: The cells' batches (module `covariates`), (n_cells, n_levels).
            part_paired: Which part of the cells has counts in all.
        """
        self.counts = counts
        self.part_paired = part_paired
        self.design = None if design is None else torch.from_numpy(design).to(device)
        self.device = device
        self.ranks = ranks
        self.on_disk = any(isinstance(part, DiskRows) for part in counts.values())
        self._resident: dict[str, ResidentRows] = {}
        if device.type == "cuda" and not self.on_disk and _fits(device, *counts.values()):
            self._resident = {name: ResidentRows(part, device) for name, part in counts.items()}

    def __len__(self) -> int:
        return next(iter(self.counts.values())).shape[0]

    def take(self, cells: np.ndarray) -> PairedBatch:
        """Counts of some cells, in the order asked for."""
        if self._resident:
            batch = PairedBatch({name: part.take(cells) for name, part in self._resident.items()})
        else:
            batch = take(self.counts, cells)
            batch = batch if self.device.type == "cpu" else batch.to(self.device)
        return self._with_design(batch, cells)

    def _with_design(self, batch: PairedBatch, cells: np.ndarray) -> PairedBatch:
        if self.design is None:
            return batch
        rows = torch.from_numpy(cells).to(self.device, non_blocking=True)
        return batch._replace(design=self.design.index_select(0, rows))

    @staticmethod
    def n_ordered(n_cells: int) -> int:
        """How many parts `ordered` makes of so many cells."""
        return -(-n_cells // ORDERED_CELLS)

    def ordered(self, cells: np.ndarray | None = None) -> Iterator[PairedBatch]:
        """Every one of `cells`, all when None, in their order."""
        cells = np.arange(len(self)) if cells is None else cells
        for start in range(0, len(cells), ORDERED_CELLS):
            yield self.take(cells[start : start + ORDERED_CELLS])

    def shuffled(
        self, cells: np.ndarray, batch_size: int, generator: np.random.Generator
    ) -> Iterator[tuple[Part, PairedBatch]]:
        """One epoch: every one of `cells` once, in random order, in minibatches of all ranks.

        Args:
            cells: In ascending order.
            batch_size: Cells of a minibatch over all ranks, nearly.
            generator: The same on all ranks, before and after.

        Yields:
            This rank's part of the minibatch, and its counts.
        """
        if self.on_disk:
            yield from self._from_disk(cells, batch_size, generator)
            return
        for chunk in even_chunks(generator.permutation(cells), batch_size):
            mine = self.ranks.own_part(chunk)
            yield Part(mine, len(chunk)), self.take(mine)

    def _from_disk(
        self, cells: np.ndarray, batch_size: int, generator: np.random.Generator
    ) -> Iterator[tuple[Part, PairedBatch]]:
        """Minibatches drawn from pools of short runs of neighbors, which one read each brings.

        While a pool is used up the next one is read.
        """
        rank, world = self.ranks
        runs = even_chunks(cells, RUN_CELLS)
        mixed = np.concatenate([runs[i] for i in generator.permutation(len(runs))])
        own = np.random.default_rng([generator.integers(1 << 63), rank])
        # sizes that go down by one along the ranks, as those of every `world`-th cell do: all draw
        # the same numbers for a minibatch, and the state of one is that of all in a checkpoint
        n_steps = n_chunks(len(cells), batch_size)
        of_ranks = [np.array_split(share, n_steps) for share in np.array_split(mixed, world)]
        n_all = [sum(map(len, parts)) for parts in zip(*of_ranks, strict=True)]
        steps = of_ranks[rank]
        per_pool = max(1, POOL_CELLS * world // batch_size)
        pools = [steps[i : i + per_pool] for i in range(0, len(steps), per_pool)]

        def load(pool: list[np.ndarray]) -> tuple[list[np.ndarray], dict[str, sp.csr_matrix]]:
            shuffled = own.permutation(np.concatenate(pool))
            parts = np.split(shuffled, np.cumsum([len(part) for part in pool])[:-1])
            return parts, {name: part[shuffled] for name, part in self.counts.items()}

        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(load, pools[0])
            sizes = iter(n_all)
            for i in range(len(pools)):
                parts, counts = coming.result()
                if i + 1 < len(pools):
                    coming = reader.submit(load, pools[i + 1])
                start = 0
                for part in parts:
                    rows = slice(start, start + len(part))
                    start += len(part)
                    batch = take(counts, rows).to(self.device)
                    yield Part(part, next(sizes)), self._with_design(batch, part)


class Part(NamedTuple):
    """One rank's cells of a minibatch."""

    cells: np.ndarray
    n_all: int  # cells of the minibatch over all ranks


class ResidentRows:
    """A CSR matrix that lives on a GPU, of which rows are taken without waiting for the device."""

    def __init__(self, matrix: sp.csr_matrix, device: torch.device):
        self.start = matrix.indptr.astype(np.int64)
        self.device = device
        self.column = torch.from_numpy(matrix.indices.astype(np.int32)).to(device)
        self.value = torch.from_numpy(matrix.data).to(device)

    @staticmethod
    def n_bytes(matrix: sp.csr_matrix) -> int:
        """Memory it takes."""
        return 8 * matrix.nnz

    def take(self, cells: np.ndarray) -> SparseRows:
        """Some rows, in the order asked for."""
        # sizes are known here, so that no shape depends on what the device has computed
        size = self.start[cells + 1] - self.start[cells]
        offset = np.concatenate([np.zeros(1, np.int64), size.cumsum()])
        shift, total = self.start[cells] - offset[:-1], int(offset[-1])
        size, shift, offset = (
            torch.from_numpy(part).to(self.device, non_blocking=True)
            for part in (size, shift, offset)
        )
        rows = torch.arange(len(cells), device=self.device)
        row = rows.repeat_interleave(size, output_size=total)
        place = torch.arange(total, device=self.device) + shift.index_select(0, row)
        column = self.column.index_select(0, place).long()
        return SparseRows(row, column, self.value.index_select(0, place), offset)


def _fits(device: torch.device, *matrices: sp.csr_matrix) -> bool:
    """Whether matrices may live on the GPU; half of what is free is left to the model."""
    free, _ = torch.cuda.mem_get_info(device)
    return sum(map(ResidentRows.n_bytes, matrices)) < free / 2
