"""Loops over the non-zeros of a minibatch, feature by feature, compiled by Numba where it is there.

A feature's weights stay in the processor's registers or its nearest cache while all cells that have
counts of it pass by, of which a minibatch holds few enough to be near, too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .sparse import ByFeature


class OfZeros(NamedTuple):
    """The gradient that zeros have: scale C_j + z_j v of weights, z_j of biases."""

    place: Tensor  # (F,), a feature's row in C; -1: its C is 0
    covariance: Tensor  # (n, H), C
    mean: Tensor  # (H,), v
    scale: np.floating
    grad_bias: Tensor  # (F,), z; becomes the whole gradient
    # (F,), how many steps have counts of a feature that rests in the others; 1: it never rests
    part_of_steps: Tensor


class Update(NamedTuple):
    """A step of Adam (Kingma and Ba, ICLR 2015) for one parameter of (F, H).

    A row that rests while there are no counts has all of the zeros' gradient and of the decay in
    the steps that it makes.
    """

    first: Tensor  # (F, H), the mean of its gradients
    second: Tensor  # (F, H), of their squares
    # rate / (1 - beta1^t), 1 - beta1, 1 - beta2, 1 / sqrt(1 - beta2^t), epsilon, and the weight
    # decay, which adds to the gradient
    numbers: tuple[float, ...]


@cache
def compiled() -> dict[str, Any] | None:
    """The loops by name; None without Numba."""
    try:
        import numba
    except ImportError:
        return None
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    found = {}
    for loop in (_logits, _gradients):
        try:
            found[loop.__name__] = numba.njit(cache=True, **options)(loop)
        except RuntimeError:  # no folder that a cache could be written to
            found[loop.__name__] = numba.njit(**options)(loop)
    return found


def logits(counts: ByFeature, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h_i w_j + b_j at the non-zeros, (nnz,).

    Args:
        counts: Counts of B cells and F features.
        h: (B, H).
        weight: (F, H), w.
        bias: (F,), b.
    """
    out = h.new_empty(len(counts.row))
    arrays = [part.numpy() for part in (counts.offset, counts.row, h, weight, bias, out)]
    _in_threads("_logits", counts.offset, lambda *bounds: (*arrays, *bounds))
    return out


def gradients(
    counts: ByFeature,
    p: Tensor,
    h: Tensor,
    weight: Tensor,
    zeros: OfZeros,
    grad_h: Tensor,
    found: Tensor | Update,
) -> None:
    """Gradients; that of the biases takes the place of z, what the counts do to h adds to grad_h.

    Args:
        counts: Counts of B cells and F features.
        p: (nnz,), the gradient of the logits at the non-zeros.
        h: (B, H).
        weight: (F, H).
        zeros: Contribution of the zeros.
        grad_h: (B, H).
        found: (F, H), filled with the gradient of the weights; or what to do with it, row by row.
    """
    parts = (counts.offset, counts.row, p, h, weight, *zeros)
    arrays = [part.numpy() if isinstance(part, Tensor) else part for part in parts]
    kind = arrays[3].dtype
    if isinstance(found, Update):
        rows, moments, numbers = None, (found.first.numpy(), found.second.numpy()), found.numbers
    else:
        rows, moments, numbers = found.numpy(), (found.numpy(),) * 2, ()
    arrays += [*moments, np.array(numbers, kind)]
    of_threads: list[np.ndarray] = []

    def arguments(*bounds: int) -> tuple:
        of_threads.append(np.zeros(h.shape, kind))
        own = np.empty((1, h.shape[1]), kind) if rows is None else rows
        return (*arrays, own, of_threads[-1], *bounds)

    _in_threads("_gradients", counts.offset, arguments)
    for part in of_threads:  # in their order, whichever thread was done first
        grad_h += torch.from_numpy(part)


def _in_threads(name: str, offset: Tensor, arguments: Any) -> None:
    """Run a loop over all features, in as many threads as PyTorch has, of as many non-zeros."""
    loops, threads = compiled(), torch.get_num_threads()
    assert loops is not None, "only called where Numba is"
    loop = loops[name]
    even = np.linspace(0, int(offset[-1]), threads + 1)[1:-1]
    bounds = [0, *np.searchsorted(offset.numpy(), even), len(offset) - 1]
    calls = [arguments(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)]
    if threads == 1:
        loop(*calls[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(loop, *call) for call in calls]:
            future.result()


def _logits(offset, row, h, weight, bias, out, first, last):
    for j in range(first, last):
        w, b = weight[j], bias[j]
        at, end = offset[j], offset[j + 1]
        while at + 4 <= end:  # four at a time, for the sums would wait for each other
            h0, h1, h2, h3 = h[row[at]], h[row[at + 1]], h[row[at + 2]], h[row[at + 3]]
            s0 = s1 = s2 = s3 = h.dtype.type(0)
            for k in range(len(w)):
                s0 += h0[k] * w[k]
                s1 += h1[k] * w[k]
                s2 += h2[k] * w[k]
                s3 += h3[k] * w[k]
            out[at], out[at + 1], out[at + 2], out[at + 3] = s0 + b, s1 + b, s2 + b, s3 + b
            at += 4
        while at < end:
            h0, s0 = h[row[at]], h.dtype.type(0)
            for k in range(len(w)):
                s0 += h0[k] * w[k]
            out[at] = s0 + b
            at += 1


def _gradients(
    offset,
    row,
    p,
    h,
    weight,
    place,
    covariance,
    mean,
    scale,
    grad_bias,
    part_of_steps,
    mean_grad,
    mean_square,
    numbers,
    rows,
    grad_h,
    first,
    last,
):
    for j in range(first, last):
        at, end = offset[j], offset[j + 1]
        part = part_of_steps[j] if len(numbers) else h.dtype.type(1)
        if at == end and part < 1:
            continue
        w, g, z = weight[j], rows[0 if len(numbers) else j], grad_bias[j]
        of_mean = z / part
        for k in range(len(w)):
            g[k] = of_mean * mean[k]
        if place[j] >= 0:
            c = covariance[place[j]]
            for k in range(len(w)):
                g[k] += scale * c[k]
        for i in range(at, end):
            of_cell, p0 = grad_h[row[i]], p[i]
            z += p0
            for k in range(len(w)):
                of_cell[k] += p0 * w[k]
        grad_bias[j] = z
        while at + 4 <= end:  # four at a time, to read and write g less often
            h0, h1, h2, h3 = h[row[at]], h[row[at + 1]], h[row[at + 2]], h[row[at + 3]]
            p0, p1, p2, p3 = p[at], p[at + 1], p[at + 2], p[at + 3]
            for k in range(len(w)):
                g[k] += p0 * h0[k] + p1 * h1[k] + p2 * h2[k] + p3 * h3[k]
            at += 4
        while at < end:
            h0, p0 = h[row[at]], p[at]
            for k in range(len(w)):
                g[k] += p0 * h0[k]
            at += 1
        if len(numbers):
            rate, less_mean, less_square = numbers[0], numbers[1], numbers[2]
            of_square, epsilon, decay = numbers[3], numbers[4], numbers[5] / part
            m, v = mean_grad[j], mean_square[j]
            for k in range(len(w)):
                d = g[k] + decay * w[k]
                a = m[k] + less_mean * (d - m[k])
                b = v[k] + less_square * (d * d - v[k])
                m[k], v[k] = a, b  # only now, for what is stored would have to be read again
                w[k] -= rate * a / (np.sqrt(b) * of_square + epsilon)
