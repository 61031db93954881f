"""CPU seconds of one epoch by term, beside what the machine's rates allow at best."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from data import cells_file

import scmvp
from scmvp.fit import training
from scmvp.nn import likelihood, zeros
from scmvp.nn.batches import Cells

REPEATS = 20


def profile(folder: Path, n_cells: int, shape: str, threads: int) -> None:
    """Print the table of a few epochs in which all terms of the loss are on."""
    warnings.simplefilter("ignore")
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, call: Callable) -> Callable:
        def wrapper(*arguments, **named):
            start = time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                spent[name] += time.process_time() - start

        return wrapper

    model = scmvp.SCMVP(scmvp.read(cells_file(folder, n_cells, shape)), n_clusters=10)
    trainer = training.Trainer
    for module, function in ((likelihood, likelihood._OfCounts), (zeros, zeros._OfSample)):
        module.of_counts = timed("likelihoods, forward", module.of_counts)
        function.backward = staticmethod(timed("likelihoods, backward", function.backward))
    Cells.take = timed("minibatches", Cells.take)
    trainer._evaluate = timed("held-out cells (all of it)", trainer._evaluate)
    trainer._refit_mixture = timed("mixture", trainer._refit_mixture)
    torch.optim.Adam.step = timed("optimizer", torch.optim.Adam.step)
    marks = []

    def callback(latest: dict) -> None:
        marks.append((time.process_time(), dict(spent)))

    model.train(max_epochs=6, threads=threads, callback=callback, progress=False)
    (start, before), (end, after) = marks[2], marks[-1]
    n = len(marks) - 3
    terms = {name: (after[name] - before.get(name, 0)) / n for name in after}
    whole = (end - start) / n
    terms["encoders, decoders' hidden layers, the rest"] = whole - sum(terms.values())
    print(f"{shape}, {n_cells} cells, {threads} threads, CPU seconds per epoch")
    for name, value in sorted(terms.items(), key=lambda item: -item[1]):
        print(f"  {name:45s} {value:7.3f}")
    print(f"  {'whole epoch':45s} {whole:7.3f}")
    best = floor(model, threads)
    for name, value in best.items():
        print(f"  floor: {name:38s} {value:7.3f}")
    print(f"  {'whole epoch over the floor':45s} {whole / sum(best.values()):7.2f}")


def floor(model: scmvp.SCMVP, threads: int) -> dict[str, float]:
    """Seconds per epoch of the products, of the special functions and of moving the numbers.

    At the rates that this machine shows on operands of the same shapes, alone in a loop.
    """
    torch.set_num_threads(threads)
    data, options = model._data, model.options
    n_steps = round(0.95 * len(data.cells) / 128)
    b, h, d = 128, options.n_hidden, options.n_components + 1
    genes, peaks = data.rna.shape[1], data.atac.shape[1]
    features = genes + peaks
    left, right = torch.randn(b, h), torch.randn(h, 2048)
    product = torch.empty(b, 2048)
    gemm = 2 * b * h * 2048 / best_of(lambda: torch.mm(left, right, out=product))
    source, target = torch.rand(b * features) + 0.1, torch.empty(b * features)
    copy = 8 * b * features / best_of(lambda: target.copy_(source))
    per_entry = {
        name: best_of(lambda f=f: f(source, out=target)) / (b * features)
        for name, f in (("exp", torch.exp), ("log", torch.log), ("log1p", torch.log1p))
    }
    flops = features * (3 * 2 * b * h + 2 * b * d)  # forward, two of the gradient, scores
    special = b * (
        features * per_entry["exp"]
        + genes * per_entry["log1p"]
        + peaks * (per_entry["exp"] + per_entry["log"])
    )
    # weights: read twice, gradient written, Adam reads four and writes three;
    # blocks: three written, and each read in either gradient or likelihood, or both
    moved = 4 * features * h * (2 + 1 + 7) + 4 * features * b * 7
    # non-zeros: place and value read, two blocks read and one changed there
    nonzeros = (data.rna.nnz + data.atac.nnz) / len(data.cells) * b
    moved += nonzeros * (20 + 4 * 4)
    return {
        f"products, {gemm / 1e9:.0f} GFLOP/s": n_steps * flops / gemm,
        "exp, log, log1p": n_steps * special,
        f"memory, {copy / 1e9:.0f} GB/s": n_steps * moved / copy,
    }


def best_of(call: Callable) -> float:
    """Seconds of the fastest of some runs."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
