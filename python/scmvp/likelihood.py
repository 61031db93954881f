"""The output layer of a decoder and the likelihood of the counts, in one pass over the features.

The shares f = softmax(h W' + b) of B cells on F features, the log-likelihood of sparse counts of
means proportional to f, and every gradient are found block of features by block of features, so
that a block stays in the processor's cache from its product with W to its part of the gradient. The
formulas are those of `distributions`, which has them for means of any kind; here

- what depends on single counts (factorials, rising factorials) comes from tables, as most counts
  are 1 or 2, and only at the non-zeros;
- gradients are kept as P = m d log p / d m, which is finite at m = 0; that of the logits is
  P - f Σ_j P_j.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .sparse import SparseRows

SMALLEST = 1e-30  # keeps logarithms finite where float32 underflows to 0
BLOCK_FEATURES = 2048  # 128 cells of them are 1 MB, half of a usual level-2 cache
_TABLE = 16  # counts below it are looked up, larger ones are computed


class _Counts(NamedTuple):
    """The non-zeros of a batch, as the families look them up in tables."""

    value: Tensor  # (nnz,), x
    column: Tensor  # (nnz,) int64
    index: Tensor  # (nnz,) int64, x or the end of the table
    large: Tensor | None  # (few,) int64, which entries are beyond the table; None: not known

    @classmethod
    def of(cls, counts: SparseRows) -> _Counts:
        """Those of a batch."""
        index = counts.value.clamp_max(_TABLE).long()
        # how many there are a GPU could only tell if we waited for it
        on_cpu = counts.value.device.type == "cpu"
        large = (counts.value > _TABLE).nonzero()[:, 0] if on_cpu else None
        return cls(counts.value, counts.column, index, large)

    def log_factorial(self) -> Tensor:
        """Sum of log x!, float64."""
        table = torch.arange(_TABLE + 1, device=self.index.device, dtype=torch.float64)
        found = (table + 1).lgamma_().index_select(0, self.index)
        return self.completed(found, lambda x: torch.lgamma(x + 1), self.value).sum()

    def completed(self, found: Tensor, exact: Callable, *arguments: Tensor) -> Tensor:
        """What was found in a table, with entries beyond it computed in double precision."""
        if self.large is None:
            computed = exact(*(argument.double() for argument in arguments))
            return torch.where(self.value > _TABLE, computed, found)
        if len(self.large):
            found[self.large] = exact(*(argument[self.large].double() for argument in arguments))
        return found


class Family:
    """A count distribution of mean m = scale_j * size_i * f_ij with one parameter per feature.

    P is m d log p / d m. `slope` collects the derivative by the parameter.
    """

    dense_terms = True  # whether a zero's P is anything but -m

    def __init__(self, parameter: Tensor):
        self.scale: Tensor | None = None  # (F,), 1 when None
        self.slope = torch.zeros_like(parameter)

    def dense(self, m: Tensor, j: slice) -> Tensor:
        """Log-likelihood (B,) as if every count of a block were zero; turns m into P.

        Args:
            m: (B, f) means of the features j; P afterwards.
            j: Which features.
        """
        raise NotImplementedError

    def at_nonzero(self, m: Tensor, counts: _Counts) -> tuple[Tensor, Tensor]:
        """What the counts that are not zero change.

        Args:
            m: (nnz,) means.
            counts: The counts.

        Returns:
            Log-likelihood but for log x!, summed, and P (nnz,).
        """
        raise NotImplementedError


class Poisson(Family):
    """Poisson, and as the sum of m over a cell's features is its size, the multinomial.

    The parameter is not used.
    """

    dense_terms = False

    def at_nonzero(self, m, counts):  # noqa: D102
        return counts.value @ m.clamp_min(SMALLEST).log(), counts.value


class NegativeBinomial(Family):
    """NB of inverse dispersion exp(parameter); variance m + m^2 / theta."""

    def __init__(self, log_theta: Tensor):
        super().__init__(log_theta)
        self.theta = log_theta.exp()
        # Σ_{k<x} log(theta + k) and Σ_{k<x} 1 / (theta + k), (x, F): as differences of lgamma and
        # of digamma they lose all digits where theta is large
        k = torch.arange(_TABLE, device=log_theta.device, dtype=torch.float64)
        rising = self.theta.double() + k[:, None]
        none = rising.new_zeros(1, len(log_theta))
        self.log_rising = torch.cat([none, rising.log().cumsum(0)])
        self.rising_slope = torch.cat([none, rising.reciprocal().cumsum(0)])

    def dense(self, m, j):  # noqa: D102
        theta = self.theta[j]
        ratio = m / theta
        log1p = ratio.log1p()
        m.div_(ratio.add_(1)).neg_()
        # -theta log1p(m / theta) by log theta is -theta log1p - P
        self.slope[j] = -theta * _column_sums(log1p) - _column_sums(m)
        return -(log1p @ theta)

    def at_nonzero(self, m, counts):  # noqa: D102
        x, column = counts.value, counts.column
        theta = self.theta.index_select(0, column)
        total = m + theta
        log_rising, slope = self._rising(counts, theta)
        log_lik = x @ (m.clamp_min(SMALLEST).log() - total.log()) + log_rising.sum()
        p = x * theta / total
        self.slope.scatter_add_(0, column, theta * slope.to(m.dtype) - p)
        return log_lik, p

    def _rising(self, counts: _Counts, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Log Γ(x + theta) / Γ(theta) and its derivative in theta, (nnz,) float64."""
        place = torch.add(counts.column, counts.index, alpha=len(self.theta))
        log_rising = self.log_rising.view(-1).index_select(0, place)
        slope = self.rising_slope.view(-1).index_select(0, place)
        x = counts.value
        return (
            counts.completed(log_rising, lambda x, t: (x + t).lgamma() - t.lgamma(), x, theta),
            counts.completed(slope, lambda x, t: (x + t).digamma() - t.digamma(), x, theta),
        )


class ZeroInflatedPoisson(Family):
    """ZIP of mean m = size f: Poisson mean m / (1 - phi), phi = sigmoid(parameter)."""

    def __init__(self, logit: Tensor):
        super().__init__(logit)
        self.inflated = torch.sigmoid(logit).clamp_min_(SMALLEST)
        self.plain = torch.sigmoid(-logit)
        self.log_plain = nn.functional.logsigmoid(-logit)
        self.scale = 1 + logit.exp()

    def dense(self, m, j):  # noqa: D102
        poisson_zero = torch.sub(self.log_plain[j], m).exp_()
        zero = poisson_zero + self.inflated[j]
        share = poisson_zero.div_(zero)  # P(a zero is a Poisson zero)
        m.mul_(share).neg_()
        # by the logit with m fixed, and by way of m
        self.slope[j] = self.plain[j] * len(m) - _column_sums(share)
        self.slope[j] += self.inflated[j] * _column_sums(m)
        return zero.log_().sum(1)

    def at_nonzero(self, m, counts):  # noqa: D102
        x, column = counts.value, counts.column
        log_plain = self.log_plain.index_select(0, column)
        inflated = self.inflated.index_select(0, column)
        poisson_zero = (log_plain - m).exp()
        zero = poisson_zero + inflated
        share = poisson_zero / zero
        log_lik = x @ m.clamp_min(SMALLEST).log() + (log_plain - m - zero.log()).sum()
        p = x - m * (1 - share)
        self.slope.scatter_add_(0, column, share - 1 + inflated * p)
        return log_lik, p


def _column_sums(block: Tensor) -> Tensor:
    return block.t().mv(block.new_ones(len(block)))


class Scoring(NamedTuple):
    """How scores are made of shares f: Σ_j f_j r_j w_j / Σ_j f_j r_j, r the cell's row of `factor`.

    The last column of w is all ones.
    """

    weight: Tensor  # (F, d + 1), w
    factor: Tensor | None = None  # (n, F); None: r is 1
    kind: Tensor | None = None  # (B,) int64, which row of `factor` each cell has

    def add(self, sums: Tensor, total: Tensor, e: Tensor, j: slice) -> None:
        """Add the sums over the features j of e (B, f) to those of scores (B, d + 1), and of e."""
        if self.factor is not None:
            total += e.mv(e.new_ones(e.shape[1]))
            e = e * self.factor[:, j].index_select(0, self.kind)
        sums.addmm_(e, self.weight[j])


class Likelihood(NamedTuple):
    """What a decoder says of a batch."""

    log_lik: Tensor  # log p(counts|z), mean over cells
    scores: Tensor  # (B, d), of the shares; without gradient


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
        family: Which distribution.
        parameter: (F,), its parameter.
        h: (B, H), last hidden layer of the decoder.
        weight: (F, H), W.
        bias: (F,), b.
        counts: (B, F).
        scoring: How the scores of the shares are made.
        pool: Where memory is taken from; then only one backward pass can be made.
    """
    tensors = (h, weight, bias, parameter)
    with_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return Likelihood(*_OfCounts.apply(*tensors, family, counts, scoring, pool, with_gradient))


class Pool:
    """Memory for blocks, kept from step to step: new memory costs more than what is done in it."""

    def __init__(self):
        self._spare: list[Tensor] = []

    def take(self, size: int, like: Tensor) -> Tensor:
        """(size,) numbers of any value."""
        for i, spare in enumerate(self._spare):
            fits = size <= len(spare) <= 2 * size
            if fits and spare.dtype == like.dtype and spare.device == like.device:
                return self._spare.pop(i)[:size]
        return like.new_empty(size)

    def give_back(self, *taken: Tensor) -> None:
        """What nobody reads any more."""
        self._spare.extend(tensor if tensor._base is None else tensor._base for tensor in taken)

    def empty(self) -> None:
        """Free it."""
        self._spare.clear()


class _Blocks:
    """(B, F) numbers kept as contiguous blocks of features, one after the other."""

    def __init__(self, n_rows: int, n_columns: int, device: torch.device):
        # a GPU gains nothing from blocks, and each would cost it launches
        self.width = BLOCK_FEATURES if device.type == "cpu" else n_columns
        self.n_rows, self.n_columns = n_rows, n_columns

    def slices(self) -> list[slice]:
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


class _OfCounts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, weight, bias, parameter, family, counts, scoring, pool, with_gradient):
        n_cells, n_features = len(h), len(weight)
        blocks = _Blocks(n_cells, n_features, h.device)
        family = family(parameter)

        def memory() -> Tensor:
            size = n_cells * n_features
            return h.new_empty(size) if pool is None else pool.take(size, h)

        e = memory()  # exp(logit - shift), f but for the rows' sums
        shift = h.new_full((n_cells,), -torch.inf)
        for j in blocks.slices():
            logit = torch.addmm(bias[j], h, weight[j].t(), out=blocks.of(e, j))
            shift = torch.maximum(shift, logit.amax(1))
        sums = h.new_zeros(n_cells, scoring.weight.shape[1])
        # scores and sums of the rows in one product, where that gives both
        total = sums[:, -1] if scoring.factor is None else h.new_zeros(n_cells)
        for j in blocks.slices():
            scoring.add(sums, total, blocks.of(e, j).sub_(shift[:, None]).exp_(), j)
        size = counts.sums()
        per_e = size / total

        p = None
        if family.dense_terms:
            p = memory()
            log_lik, row_p = h.new_zeros(n_cells), h.new_zeros(n_cells)
            for j in blocks.slices():
                m = torch.mul(blocks.of(e, j), per_e[:, None], out=blocks.of(p, j))
                if family.scale is not None:
                    m.mul_(family.scale[j])
                log_lik += family.dense(m, j)
                row_p += m.sum(1)
        else:
            log_lik = -size

        place = blocks.places(counts.row, counts.column)
        m = e.index_select(0, place) * per_e.index_select(0, counts.row)
        if family.scale is not None:
            m *= family.scale.index_select(0, counts.column)
        nonzero = _Counts.of(counts)
        of_nonzeros, p_nonzero = family.at_nonzero(m, nonzero)
        log_lik = (log_lik.double().sum() + of_nonzeros - nonzero.log_factorial()) / n_cells
        if with_gradient:
            if family.dense_terms:
                row_p += counts.row_sums(p_nonzero)
                ctx.p_per_e = row_p / total
                p.scatter_add_(0, place, p_nonzero)
            else:
                # P is x - m, the sum of which over a cell is zero: it is the gradient of the logits
                for j in blocks.slices():
                    blocks.of(e, j).mul_(-per_e[:, None])
                e.scatter_add_(0, place, p_nonzero)
            ctx.save_for_backward(h, weight)
            ctx.inside = (e, p)
            ctx.slope, ctx.blocks, ctx.pool = family.slope, blocks, pool
        elif pool is not None:
            pool.give_back(e, *([] if p is None else [p]))
        scores = sums[:, :-1] / sums[:, -1:]
        ctx.mark_non_differentiable(scores)
        return log_lik.to(h.dtype), scores

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if ctx.inside is None:
            raise RuntimeError("memory from a pool serves one backward pass only")
        h, weight = ctx.saved_tensors
        (e, p), blocks = ctx.inside, ctx.blocks
        per_cell = grad / len(h)
        weighted = h * per_cell
        grad_h, grad_weight = torch.zeros_like(h), torch.empty_like(weight)
        grad_bias = weight.new_empty(len(weight))
        for j in blocks.slices():
            by_logit = blocks.of(e, j)
            if p is not None:
                by_logit = torch.addcmul(blocks.of(p, j), by_logit, ctx.p_per_e[:, None], value=-1)
            torch.mm(by_logit.t(), weighted, out=grad_weight[j])
            grad_bias[j] = _column_sums(by_logit)
            grad_h.addmm_(by_logit, weight[j])
        if ctx.pool is not None:
            ctx.pool.give_back(e, *([] if p is None else [p]))
            ctx.inside = None
        grads = (grad_h * per_cell, grad_weight, grad_bias * per_cell, ctx.slope * per_cell)
        return *grads, None, None, None, None, None
