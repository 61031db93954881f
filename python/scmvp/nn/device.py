"""Where tensors are, and where random numbers come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import InputError
from .distributed import own_device


def pick_device(device: str) -> torch.device:
    """'auto' is the GPU where torch sees one for this process."""
    if device == "auto":
        return own_device() or torch.device("cpu")
    try:
        picked = torch.device(device)
        torch.ones(1, device=picked).item()  # 'meta' has tensors, but no values
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"device {device!r} cannot be used by this PyTorch; use 'auto', 'cpu', or 'cuda' where "
            "there is a GPU"
        ) from error
    return picked


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch draws from `seed` inside, and from the caller's own stream afterwards.

    Only within `own_settings`, as the threads of a process share one stream.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
