"""The likelihood in training on large matrices: zeros are estimated from a sample of features.

In each cell, nearly all features have no count. Everything they contribute - the sum of the
softmax, the scores of the reconstructed input, their log-likelihood and its gradients - is a sum
over features, estimated without bias from a sample in which each has a probability in proportion to
its counts (Horvitz and Thompson, JASA 1952; drawn systematically). With two sampled features for
each count, the noise that this adds to the gradient of a cell is less than that of its counts
themselves. The part of the counts that are not zero is exact (module `kernels`).

The zeros' gradient of a feature's own weights is not divided by its probability, which would make
it noisy. It is remembered from the last step that had the feature in its sample,

    Σ_i g_ij h_i = l (z_j v + C_j)    l = Σ_i l_i,  v = Σ_i l_i h_i / l,  z_j = Σ_i g_ij / l,
                                      C_j = Σ_i g_ij (h_i - v) / l

with v of the present step, z and C remembered (stochastic average gradient: Schmidt, Le Roux and
Bach, Math. Program. 2017). The first step after `forget` takes all features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import kernels
from .families import Counts, Family
from .likelihood import (
    Blocks,
    Likelihood,
    Pool,
    Scoring,
    concluded,
    exponentials,
)
from .sparse import SparseRows

PER_COUNT = 2.0  # features in the sample for each count of a mean cell
EARLY_EXTENT = 1 / 4  # of that sample before the annealing
_LEAST, _LEAST_RARE = 1 / 8, 1 / 64  # least probability to be sampled; of a rare feature
_FEWEST_FEATURES = 8192  # with fewer, matrix products do not dominate the run time
# Nanoseconds of an entry of a dense block, and of a count, in all passes: measured on one core
_DENSE, _COUNT = 13.0, 60.0
# For a feature with c counts, the gradient of its weights from the zeros is about 10 c times the
# weights, and that from the prior is precision times them. If c < precision / 100, it is rare.
_RARE = 0.01


class SampledZeros:
    """The sample of features that zeros are estimated from, and the gradients of the others."""

    def __init__(self, totals: Tensor, n_cells: int, precision: float = 0.0, extent: float = 1.0):
        """Compute the probabilities of the features.

        Args:
            totals: (F,), counts of each over all cells.
            n_cells: Number of these cells.
            precision: Precision of the prior of the weights. No covariance C is stored for features
                on which the prior acts more than the zeros.
            extent: Factor of the probabilities, 1 for the usual sample.
        """
        rare = totals <= _RARE * precision
        least = torch.where(rare, _LEAST_RARE, _LEAST).double()
        probability = (PER_COUNT * totals.double() / n_cells).maximum(least)
        self.probability = (extent * probability).clamp(max=1)
        self._until = self.probability.cumsum(0)
        self._mean = torch.where(rare, totals / n_cells, torch.inf)
        self.place = torch.where(rare, -1, (~rare).cumsum(0) - 1)  # (F,), row of C; -1: none
        self.zero: Tensor | None = None  # (F,), z
        self.covariance: Tensor | None = None  # (those that have it, H), C
        self.slope: Tensor | None = None  # (F,), of the family's parameter, per count
        # what the next backward pass does with the gradient of the weights instead of returning it
        self.update: kernels.Update | None = None

    @classmethod
    def where_it_pays(
        cls, totals: Tensor, n_cells: int, precision: float = 0.0, extent: float = 1.0
    ) -> SampledZeros | None:
        """A sample, or None where exact sums are about as fast or there is no compiler."""
        if len(totals) < _FEWEST_FEATURES or kernels.compiled() is None:
            return None
        zeros = cls(totals, n_cells, precision, extent)
        spared = _DENSE * float((1 - zeros.probability).sum())
        return zeros if spared > _COUNT * float(totals.sum()) / n_cells else None

    def forget(self) -> None:
        """Use all features in the next step."""
        self.zero = self.covariance = self.slope = None

    def draw(self, start: float) -> tuple[Tensor | slice, Tensor]:
        """Which features, (s,) int64 or all, and the inverse of how probable each was, (s,).

        Args:
            start: Start of the systematic sample, uniform on 0 to 1.
        """
        if self.zero is None:
            return slice(None), torch.ones_like(self.probability)
        reached = (self._until + start).floor()
        chosen = reached.diff(prepend=reached.new_zeros(1)) > 0
        index = chosen.nonzero()[:, 0]
        return index, self.probability[index].reciprocal()

    def part_of_steps(self, n_cells: int) -> Tensor:
        """(F,), how many steps of so many cells have counts of a rare feature; of others 1."""
        return -(-self._mean * n_cells).expm1()

    def remember(
        self, index: Tensor | slice, zero: Tensor, covariance: Tensor, slope: Tensor | None
    ) -> None:
        """Keep what a step computed for the features of its sample."""
        place = self.place[index]
        kept = (place >= 0).nonzero()[:, 0]
        if len(kept) < len(place):
            place, covariance = place.index_select(0, kept), covariance.index_select(0, kept)
        if self.zero is None or self.covariance is None:
            self.zero, self.slope, self.covariance = zero, slope, covariance
            return
        self.zero[index] = zero
        self.covariance.index_copy_(0, place, covariance)
        if slope is not None and self.slope is not None:
            self.slope[index] = slope


def of_counts(
    family: type[Family],
    parameter: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    counts: SparseRows,
    scoring: Scoring,
    pool: Pool,
    zeros: SampledZeros,
    start: float,
) -> Likelihood:
    """As `likelihood.of_counts`, for a training step; `start` is that of the sample."""
    tensors = (h, weight, bias, parameter)
    return Likelihood(*_OfSample.apply(*tensors, family, counts, scoring, pool, zeros, start))


def _rows(matrix: Tensor, index: Tensor | slice) -> Tensor:
    return matrix if isinstance(index, slice) else matrix.index_select(0, index)


class _OfSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, weight, bias, parameter, family, counts, scoring, pool, zeros, start):
        learned = ctx.needs_input_grad[3]
        index, inverse = zeros.draw(start)
        inverse = inverse.to(h.dtype)
        some = _rows(weight, index)
        sampled = family(parameter[index], learned)
        blocks = Blocks(len(h), len(some), h.device)
        e = pool.take(len(h) * len(some), h)
        weighted = Scoring(
            _rows(scoring.weight, index) * inverse[:, None],
            None if scoring.factor is None else scoring.factor[:, index],
            scoring.kind,
        )
        sums, total, shift = exponentials(e, blocks, h, some, bias[index], weighted)
        size = counts.sums()
        per_e = size / total
        log_lik, row_p, p = sampled.of_zeros(e, blocks, per_e, pool, inverse)

        known = counts.by_feature(len(weight))
        log_per_e = per_e.log()  # -inf of a cell without counts, which none of these is
        if shift is not None:
            log_per_e -= shift
        log_m = kernels.logits(known, h, weight, bias) + log_per_e.index_select(0, known.row)
        nonzero = Counts.of(known.value, known.column() if family.by_feature else None)
        whole = family(parameter, learned)
        of_nonzeros, p_nonzero = whole.at_nonzero(log_m, nonzero)
        if p_nonzero is known.value:
            row_p += size
        else:
            row_p.index_add_(0, known.row, p_nonzero)
        sampled.to_gradient(e, p, blocks, per_e, row_p / total)
        if p is not None:
            pool.give_back(p)

        ctx.save_for_backward(h, weight)
        ctx.inside = (e, some, known, p_nonzero)
        ctx.blocks, ctx.pool, ctx.zeros, ctx.size = blocks, pool, zeros, size
        ctx.index, ctx.inverse = index, inverse
        ctx.slopes = (sampled.slope, whole.slope)
        return concluded(ctx, log_lik, of_nonzeros, nonzero, sums)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if ctx.inside is None:
            raise RuntimeError("memory from a pool serves one backward pass only")
        h, weight = ctx.saved_tensors
        e, some, known, p_nonzero = ctx.inside
        ctx.inside = None
        zeros, blocks = ctx.zeros, ctx.blocks
        per_cell, total = grad / len(h), ctx.size.sum().clamp_min(1)
        mean = (ctx.size / total) @ h
        apart = (h - mean) / total
        zero, covariance = some.new_empty(len(some)), torch.empty_like(some)
        grad_h = torch.zeros_like(h)
        for j in blocks.slices():
            by_logit = blocks.of(e, j)
            torch.mm(by_logit.t(), apart, out=covariance[j])
            zero[j] = by_logit.sum(0) / total
            grad_h.addmm_(by_logit, some[j] * (ctx.inverse[j, None] * per_cell))
        ctx.pool.give_back(e)
        of_sample, of_nonzeros = ctx.slopes
        slope = None if of_sample is None else of_sample / total
        zeros.remember(ctx.index, zero, covariance, slope)

        scale = total * per_cell
        grad_bias = zeros.zero * scale
        part_of_steps = zeros.part_of_steps(len(h)).to(h.dtype)
        of_zeros = kernels.OfZeros(
            zeros.place, zeros.covariance, mean, scale.numpy()[()], grad_bias, part_of_steps
        )
        grad_weight = None
        if zeros.update is None:
            found = grad_weight = ctx.pool.take(weight.numel(), weight).view_as(weight)
        else:
            found = zeros.update
        kernels.gradients(known, p_nonzero * per_cell, h, weight, of_zeros, grad_h, found)
        if slope is not None:
            slope = (zeros.slope * total + of_nonzeros) * per_cell
        return grad_h, grad_weight, grad_bias, slope, None, None, None, None, None, None
