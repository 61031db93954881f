"""Fixed settings of NumPy and PyTorch for computations, independent of the caller's settings.

Most of them, and PyTorch's random numbers, belong to the whole process. The threads of a caller
therefore compute one after another.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from .threads import limited_threads

_one_after_another = threading.RLock()


@contextmanager
def own_settings(threads: int | None = None) -> Iterator[None]:
    """Inside, one thread of the process computes, with the settings that the package expects.

    Args:
        threads: CPU threads, as in `limited_threads`.
    """
    with (
        _one_after_another,
        limited_threads(threads),
        np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        _own_defaults_of_torch(),
    ):
        yield


@contextmanager
def _own_defaults_of_torch() -> Iterator[None]:
    """float32 on the CPU, with gradients and without autocast."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.inference_mode(False))  # gradients, too
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.is_autocast_enabled():  # on GPUs; elsewhere PyTorch would warn
            stack.enter_context(torch.autocast("cuda", enabled=False))
        if torch.empty(0).device.type != "cpu":  # this costs time at each operation
            stack.enter_context(torch.device("cpu"))
        yield
