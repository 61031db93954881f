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

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .sparse import SparseRows

SMALLEST = 1e-30  # keeps logarithms finite where float32 underflows to 0
BLOCK_FEATURES = 2048  # 128 cells of them are 1 MB, half of a usual level-2 cache
_TABLE = 16  # counts below it are looked up, larger ones are computed


class Family:
    """A count distribution of mean m = scale_j * size_i * f_ij with one parameter per feature."""

    def __init__(self, parameter: Tensor):
        self.parameter = parameter  # (F,)
        self.scale: Tensor | None = None  # (F,), 1 when None

    def dense(self, m: Tensor, j: slice, kept: Tensor | None) -> Tensor:
        """Log-likelihood (B,) as if every count of a block were zero; turns m into P.

        Args:
            m: (B, f) means of the features j; P afterwards.
            j: Which features.
            kept: (B, f) block to fill for `parameter_gradient`; None where none is wanted.
        """
        raise NotImplementedError

    def at_nonzero(self, m: Tensor, x: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the counts that are not zero change, (nnz,) each.

        Returns:
            Log-likelihood, P, and what `parameter_gradient` lacks.
        """
        raise NotImplementedError

    def parameter_gradient(
        self, weight: Tensor, kept: Tensor, column_p: Tensor, j: slice
    ) -> Tensor:
        """Derivative of Σ_i weight_i log p_i but for `at_nonzero`, (f,).

        Args:
            weight: (B,).
            kept: What `dense` filled.
            column_p: Σ_i weight_i P_ij with the non-zeros in P, (f,).
            j: Which features.
        """
        raise NotImplementedError


class NegativeBinomial(Family):
    """NB of inverse dispersion exp(parameter); variance m + m^2 / theta."""

    def __init__(self, log_theta: Tensor):
        super().__init__(log_theta)
        self.theta = log_theta.exp()
        # Σ_{k<x} log(theta + k) and Σ_{k<x} 1 / (theta + k), (x, F), as differences of lgamma and
        # of digamma lose all digits where theta is large
        k = torch.arange(_TABLE, device=log_theta.device, dtype=torch.float64)
        rising = self.theta.double() + k[:, None]
        none = rising.new_zeros(1, len(log_theta))
        self.log_rising = torch.cat([none, rising.log().cumsum(0)])
        self.rising_slope = torch.cat([none, rising.reciprocal().cumsum(0)])

    def dense(self, m, j, kept):  # noqa: D102
        theta = self.theta[j]
        ratio = m / theta
        log1p = torch.log1p(ratio, out=kept)
        m.div_(ratio.add_(1)).neg_()
        return -(log1p @ theta)

    def at_nonzero(self, m, x, column):  # noqa: D102
        theta = self.theta.index_select(0, column)
        total = m + theta
        log_rising, slope = self._of_counts(x, column)
        log_lik = x * (m.clamp_min(SMALLEST).log() - total.log()) + (
            log_rising - _log_factorial(x)
        ).to(m.dtype)
        return log_lik, x * theta / total, theta * slope.to(m.dtype)

    def _of_counts(self, x: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Log Γ(x + theta) / Γ(theta) and its derivative in theta, (nnz,) float64."""
        place = x.clamp_max(_TABLE).long() * len(self.theta) + column
        log_rising = self.log_rising.view(-1).index_select(0, place)
        slope = self.rising_slope.view(-1).index_select(0, place)
        large = (x > _TABLE).nonzero()[:, 0]
        if len(large):
            t, x = self.theta[column[large]].double(), x[large].double()
            log_rising[large] = torch.lgamma(x + t) - torch.lgamma(t)
            slope[large] = torch.digamma(x + t) - torch.digamma(t)
        return log_rising, slope

    def parameter_gradient(self, weight, kept, column_p, j):  # noqa: D102
        # theta - theta^2 / (m + theta) is -P of a zero, (theta - x theta / (m + theta)) the rest's
        return -column_p - self.theta[j] * kept.t().mv(weight)


class ZeroInflatedPoisson(Family):
    """ZIP of mean m = size f: Poisson mean m / (1 - phi), phi = sigmoid(parameter)."""

    def __init__(self, logit: Tensor):
        super().__init__(logit)
        self.inflated = torch.sigmoid(logit).clamp_min_(SMALLEST)
        self.plain = torch.sigmoid(-logit)
        self.log_plain = nn.functional.logsigmoid(-logit)
        self.scale = 1 + logit.exp()

    def dense(self, m, j, kept):  # noqa: D102
        poisson_zero = torch.sub(self.log_plain[j], m).exp_()
        zero = poisson_zero + self.inflated[j]
        share = torch.div(poisson_zero, zero, out=kept)  # P(a zero is a Poisson zero)
        m.mul_(share).neg_()
        return zero.log_().sum(1)

    def at_nonzero(self, m, x, column):  # noqa: D102
        log_plain = self.log_plain.index_select(0, column)
        inflated = self.inflated.index_select(0, column)
        poisson_zero = (log_plain - m).exp()
        zero = poisson_zero + inflated
        share = poisson_zero / zero
        log_lik = x * m.clamp_min(SMALLEST).log() - m + log_plain - zero.log()
        log_lik -= _log_factorial(x).to(m.dtype)
        return log_lik, x - m * (1 - share), share - 1

    def parameter_gradient(self, weight, kept, column_p, j):  # noqa: D102
        return self.plain[j] * weight.sum() - kept.t().mv(weight) + self.inflated[j] * column_p


class Likelihood(NamedTuple):
    """What a decoder says of a batch."""

    log_lik: Tensor  # (B,), log p(counts|z)
    scores: Tensor  # (B, d), Σ_j f_ij loading_j; without gradient


def of_counts(
    family: type[Family],
    parameter: Tensor,
    h: Tensor,
    output: nn.Linear,
    counts: SparseRows,
    loading: Tensor,
    pool: Pool | None = None,
) -> Likelihood:
    """Log-likelihood of counts whose means are their library sizes times softmax(output(h)).

    Args:
        family: Which distribution.
        parameter: (F,), its parameter.
        h: (B, H), last hidden layer of the decoder.
        output: H to F.
        counts: (B, F).
        loading: (F, d), of which the scores of the shares are made.
        pool: Where memory is taken from; then only one backward pass can be made.
    """
    tensors = (h, output.weight, output.bias, parameter)
    with_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return Likelihood(*_OfCounts.apply(*tensors, family, counts, loading, pool, with_gradient))


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
    def forward(ctx, h, weight, bias, parameter, family, counts, loading, pool, with_gradient):
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
        # scores and sums of the rows in one product
        loading = torch.cat([loading, loading.new_ones(n_features, 1)], 1)
        sums = h.new_zeros(n_cells, loading.shape[1])
        for j in blocks.slices():
            sums.addmm_(blocks.of(e, j).sub_(shift[:, None]).exp_(), loading[j])
        total = sums[:, -1]
        per_e = counts.sums() / total

        p, kept = (memory(), memory()) if with_gradient else (None, None)
        log_lik, row_p = h.new_zeros(n_cells), h.new_zeros(n_cells)
        for j in blocks.slices():
            p_block, keep = (blocks.of(p, j), blocks.of(kept, j)) if with_gradient else (None, None)
            m = torch.mul(blocks.of(e, j), per_e[:, None], out=p_block)
            if family.scale is not None:
                m.mul_(family.scale[j])
            log_lik += family.dense(m, j, keep)
            row_p += m.sum(1)

        row, column, x = counts.row, counts.column, counts.value
        place = blocks.places(row, column)
        m = e.index_select(0, place) * per_e.index_select(0, row)
        if family.scale is not None:
            m *= family.scale.index_select(0, column)
        of_nonzeros, p_nonzero, at_parameter = family.at_nonzero(m, x, column)
        log_lik += counts.row_sums(of_nonzeros)
        if with_gradient:
            p.scatter_add_(0, place, p_nonzero)
            row_p += counts.row_sums(p_nonzero)
            ctx.save_for_backward(h, weight, row, column)
            ctx.inside = (e, p, kept, row_p / total, at_parameter)
            ctx.family, ctx.blocks, ctx.pool = family, blocks, pool
        elif pool is not None:
            pool.give_back(e)
        scores = sums[:, :-1] / total[:, None]
        ctx.mark_non_differentiable(scores)
        return log_lik, scores

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if ctx.inside is None:
            raise RuntimeError("memory from a pool serves one backward pass only")
        h, weight, row, column = ctx.saved_tensors
        e, p, kept, p_per_e, at_parameter = ctx.inside
        family, blocks = ctx.family, ctx.blocks
        weighted = h * grad[:, None]
        grad_h, grad_weight = torch.zeros_like(h), torch.empty_like(weight)
        grad_bias, grad_parameter = (weight.new_empty(len(weight)) for _ in range(2))
        for j in blocks.slices():
            p_block, kept_block = blocks.of(p, j), blocks.of(kept, j)
            column_p = p_block.t().mv(grad)
            grad_parameter[j] = family.parameter_gradient(grad, kept_block, column_p, j)
            by_logit = torch.addcmul(p_block, blocks.of(e, j), p_per_e[:, None], value=-1)
            torch.mm(by_logit.t(), weighted, out=grad_weight[j])
            torch.mv(by_logit.t(), grad, out=grad_bias[j])
            grad_h.addmm_(by_logit, weight[j])
        of_nonzeros = grad.index_select(0, row) * at_parameter
        grad_parameter.scatter_add_(0, column, of_nonzeros)
        grad_h *= grad[:, None]
        if ctx.pool is not None:
            ctx.pool.give_back(e, p, kept)
            ctx.inside = None
        return grad_h, grad_weight, grad_bias, grad_parameter, *(None,) * 5


def _log_factorial(x: Tensor) -> Tensor:
    """Log x! of whole numbers, (nnz,) float64."""
    table = torch.arange(_TABLE + 1, device=x.device, dtype=torch.float64).add_(1).lgamma_()
    found = table.index_select(0, x.clamp_max(_TABLE).long())
    large = (x > _TABLE).nonzero()[:, 0]
    if len(large):
        found[large] = torch.lgamma(x[large].double() + 1)
    return found
