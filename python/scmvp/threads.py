"""CPU threads of a computation: the same whatever the environment or the caller has set.

The order in which threads add numbers is part of a result's last digits, and these can decide to
which cluster a cell goes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401 - its BLAS has to be loaded to be limited
from threadpoolctl import threadpool_limits

from .imports import undisturbed

# Its OpenMP has to be loaded to be limited. What computations import from it is loaded here, too,
# where an interrupt cannot leave it half imported.
_SCIKIT_LEARN = ("sklearn.cluster", "sklearn.manifold", "sklearn.neighbors")


def default_threads() -> int:
    """Half of the CPUs this process may use, 1 to 8.

    OpenMP threads spin while they wait for each other: with as many threads as CPUs, any other
    work on the machine makes training several times slower than a single thread is.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cpus // 2, 1), 8)


@contextmanager
def limited_threads(threads: int | None = None) -> Iterator[None]:
    """PyTorch computes on so many CPU threads inside, NumPy, SciPy and scikit-learn on one.

    Their part is small, and on one thread it does not depend on the number of threads at all.

    Args:
        threads: Threads of PyTorch, where it is loaded; `default_threads()` when None.
    """
    undisturbed(*_SCIKIT_LEARN)
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    with threadpool_limits(limits=1):  # also PyTorch's OpenMP: its own number comes after
        try:
            if torch is not None:
                torch.set_num_threads(threads or default_threads())
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)
