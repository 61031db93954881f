"""The output layer of a decoder and the likelihood of the counts, in one pass over the features.

The expected proportions f = softmax(h W' + b) of F features in B cells, the log-likelihood of
sparse counts of means proportional to f, and every gradient are computed block of features by block
of features, so that a block stays in the processor's cache from its product with W to its part of
the gradient. With P = m d log p / d m of each mean m (module `families`) the gradient of the logits
is P - f Σ_j P_j.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .distributions import SMALLEST
from .families import Counts, Family, column_sums
from .sparse import SparseRows

BLOCK_FEATURES = 2048  # 128 cells of them are 1 MB, half of a usual level-2 cache
_SAFE = (1e-20, 1e30)  # sums of exponentials in which none that matters is 0 or infinite


class Scoring(NamedTuple):
    """How scores are made of f: Σ_j f_j r_j w_j / Σ_j f_j r_j, r the cell's row of `factor`.

    The last column of w is how often each feature counts, as a rule once.
    """

    weight: Tensor  # (F, d + 1), w
    factor: Tensor | None = None  # (n, F); None: r is 1
    kind: Tensor | None = None  # (B,) int64, which row of `factor` each cell has

    def add(self, sums: Tensor, total: Tensor, e: Tensor, j: slice) -> None:
        """Add the sums over the features j of e (B, f) to those of scores (B, d + 1), and of e."""
        if self.factor is not None and self.kind is not None:
            total += e.mv(self.weight[j, -1])
            e = e * self.factor[:, j].index_select(0, self.kind)
        sums.addmm_(e, self.weight[j])


class Likelihood(NamedTuple):
    """The likelihood of a minibatch and the scores of its expected proportions."""

    log_lik: Tensor  # log p(counts|z), mean over cells
    scores: Tensor  # (B, d), of the expected proportions; without gradient


def of_counts(
    family: type[Family],
    parameter: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    counts: SparseRows,
    scoring: Scoring,
    pool: Pool | None = None,
) -> Likelihood:
    """Log-likelihood of counts whose means are their library sizes times softmax(h W' + b).

    Args:
        family: Distribution of the counts.
        parameter: (F,), its parameter.
        h: (B, H), last hidden layer of the decoder.
        weight: (F, H), W.
        bias: (F,), b.
        counts: (B, F).
        scoring: How scores are made of the expected proportions.
        pool: Source of memory; then only one backward pass can be made.
    """
    tensors = (h, weight, bias, parameter)
    with_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return Likelihood(*_OfCounts.apply(*tensors, family, counts, scoring, pool, with_gradient))


class Pool:
    """Reusable memory for blocks: allocating it in each step costs more than computing in it."""

    def __init__(self):
        self._spare: list[Tensor] = []

    def take(self, size: int, like: Tensor) -> Tensor:
        """(size,) numbers of any value."""
        fitting = [
            i
            for i, spare in enumerate(self._spare)
            if size <= len(spare) <= 2 * size
            and spare.dtype == like.dtype
            and spare.device == like.device
        ]
        if not fitting:
            return like.new_empty(size)
        return self._spare.pop(min(fitting, key=lambda i: len(self._spare[i])))[:size]

    def take_gradients(self, *parameters: Tensor) -> None:
        """Take the gradients of an optimizer step that is done."""
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.is_contiguous():
                self.give_back(parameter.grad)
            parameter.grad = None

    def give_back(self, *taken: Tensor) -> None:
        """Return memory that is no longer read, of any shape; it may be longer than was taken."""
        for tensor in taken:
            storage = tensor.untyped_storage()
            size = storage.nbytes() // tensor.element_size()
            self._spare.append(tensor.detach().new_empty(0).set_(storage, 0, (size,), (1,)))


class Blocks:
    """(B, F) numbers kept as contiguous blocks of features, one after the other."""

    def __init__(self, n_rows: int, n_columns: int, device: torch.device):
        # a GPU gains nothing from blocks, and each would cost it launches
        self.width = BLOCK_FEATURES if device.type == "cpu" else n_columns
        self.n_rows, self.n_columns = n_rows, n_columns

    def slices(self) -> list[slice]:
        """Which features are in each block."""
        starts = range(0, self.n_columns, self.width)
        return [slice(start, min(start + self.width, self.n_columns)) for start in starts]

    def of(self, values: Tensor, j: slice) -> Tensor:
        """The block of features j, (B, f)."""
        return values[self.n_rows * j.start : self.n_rows * j.stop].view(self.n_rows, -1)

    def places(self, row: Tensor, column: Tensor) -> Tensor:
        """Where entries are kept."""
        if self.width >= self.n_columns:
            return row * self.n_columns + column
        start = column & -self.width  # the width is a power of 2
        width = (self.n_columns - start).clamp_max_(self.width)
        return torch.addcmul(column, row, width).add_(start, alpha=self.n_rows - 1)


def exponentials(
    e: Tensor, blocks: Blocks, h: Tensor, weight: Tensor, bias: Tensor, scoring: Scoring
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Fill e with exp(logit - shift), any shift of a cell.

    As a rule the shift is 0, as the logits are near the log proportions; then a block stays in the
    cache until it is done. On a GPU, we would have to wait to see whether there was an overflow.

    Returns:
        Sums of e for the scores, and over features (B,); the shift (B,), None where it is 0.
    """
    shift = None if h.device.type == "cpu" else _largest_logit(e, blocks, h, weight, bias)
    while True:
        sums = h.new_zeros(len(h), scoring.weight.shape[1])
        # scores and sums of the rows in one product, where that gives both
        total = sums[:, -1] if scoring.factor is None else h.new_zeros(len(h))
        for j in blocks.slices():
            block = blocks.of(e, j)
            if shift is None:
                torch.addmm(bias[j], h, weight[j].t(), out=block)
            else:
                block.sub_(shift[:, None])
            scoring.add(sums, total, block.exp_(), j)
        if shift is not None or _SAFE[0] < float(total.min()) <= float(total.max()) < _SAFE[1]:
            return sums, total, shift
        shift = _largest_logit(e, blocks, h, weight, bias)


def _largest_logit(e: Tensor, blocks: Blocks, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Fill e with the logits; the largest one of each cell."""
    largest = h.new_full((len(h),), -torch.inf)
    for j in blocks.slices():
        logit = torch.addmm(bias[j], h, weight[j].t(), out=blocks.of(e, j))
        largest = torch.maximum(largest, logit.amax(1))
    return largest


def concluded(
    ctx: Any, of_zeros: Tensor, of_nonzeros: Tensor, nonzero: Counts, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean log-likelihood and the scores, which have no gradient, of their parts."""
    log_lik = (of_zeros.double().sum() + of_nonzeros - nonzero.log_factorial()) / len(sums)
    scores = sums[:, :-1] / sums[:, -1:]
    ctx.mark_non_differentiable(scores)
    return log_lik.to(sums.dtype), scores


class _OfCounts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, weight, bias, parameter, family, counts, scoring, pool, with_gradient):
        blocks = Blocks(len(h), len(weight), h.device)
        family = family(parameter, ctx.needs_input_grad[3])
        memory = pool or Pool()
        e = memory.take(len(h) * len(weight), h)  # exp(logit - shift), f times its row sum
        sums, total, _ = exponentials(e, blocks, h, weight, bias, scoring)
        per_e = counts.sums() / total
        log_lik, row_p, p = family.of_zeros(e, blocks, per_e, memory)

        place = blocks.places(counts.row, counts.column)
        m = e.index_select(0, place) * per_e.index_select(0, counts.row)
        nonzero = Counts.of(counts.value, counts.column)
        of_nonzeros, p_nonzero = family.at_nonzero(m.clamp_min_(SMALLEST).log_(), nonzero)
        if with_gradient:
            row_p += counts.row_sums(p_nonzero)
            family.to_gradient(e, p, blocks, per_e, row_p / total)
            e.scatter_add_(0, place, p_nonzero)
            ctx.save_for_backward(h, weight)
            ctx.by_logit = e
            ctx.slope, ctx.blocks, ctx.pool = family.slope, blocks, pool
        else:
            memory.give_back(e)
        if p is not None:
            memory.give_back(p)
        return concluded(ctx, log_lik, of_nonzeros, nonzero, sums)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if ctx.by_logit is None:
            raise RuntimeError("memory from a pool serves one backward pass only")
        h, weight = ctx.saved_tensors
        by_logit, blocks, memory = ctx.by_logit, ctx.blocks, ctx.pool or Pool()
        per_cell = grad / len(h)
        weighted = h * per_cell
        grad_h = torch.zeros_like(h)
        grad_weight = memory.take(weight.numel(), weight).view_as(weight)
        grad_bias = weight.new_empty(len(weight))
        for j in blocks.slices():
            block = blocks.of(by_logit, j)
            torch.mm(block.t(), weighted, out=grad_weight[j])
            grad_bias[j] = column_sums(block)
            grad_h.addmm_(block, weight[j])
        if ctx.pool is not None:
            ctx.pool.give_back(by_logit)
            ctx.by_logit = None
        slope = None if ctx.slope is None else ctx.slope * per_cell
        grads = (grad_h * per_cell, grad_weight, grad_bias * per_cell, slope)
        return *grads, None, None, None, None, None
