"""Several processes that train one model, with PyTorch's own engine; `torchrun` starts them.

Each holds the whole model and trains on its part of every minibatch (docs/scale.md). In a process
that runs alone everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import InputError
from ..words import in_a_row

Items = TypeVar("Items", np.ndarray, Tensor)


class Ranks(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    def own_part(self, items: Items) -> Items:
        """Every `world`-th item, this process's part of what all have."""
        return items[self.rank :: self.world]


ALONE = Ranks()


def ranks() -> Ranks:
    """This process in its group, or alone."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return ALONE


@contextmanager
def joined() -> Iterator[Ranks]:
    """Inside, this process belongs to the group that `torchrun` started, if it was."""
    if (os.environ.get("WORLD_SIZE") or "1") == "1" or not dist.is_available():
        yield ALONE
        return
    _refuse_other_start()
    device = own_device()
    if device is not None:
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device is None else "nccl")
    try:
        yield ranks()
    finally:
        dist.destroy_process_group()


def _refuse_other_start() -> None:
    """Refuse to wait for processes that `torchrun` has not started."""
    given = {"LOCAL_RANK": "0"} | os.environ
    numbers = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")
    odd = [name for name in numbers if not given.get(name, "").isdecimal()]
    if not given.get("MASTER_ADDR"):
        odd.append("MASTER_ADDR")
    if not odd and int(given["RANK"]) >= int(given["WORLD_SIZE"]):
        odd = ["RANK"]
    if odd:
        raise InputError(
            f"the environment has WORLD_SIZE={given['WORLD_SIZE']} for several processes, but "
            f"{in_a_row(odd)} {'is' if len(odd) == 1 else 'are'} missing or not valid; start these "
            "processes with torchrun, or unset WORLD_SIZE"
        )


def own_device() -> torch.device | None:
    """The GPU of this process; None where there is no GPU for each."""
    given = os.environ.get("LOCAL_RANK", "")
    local = int(given) if given.isdecimal() else 0
    if local < torch.cuda.device_count():
        return torch.device("cuda", local)
    return None


class _SumOverRanks(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        return summed(values)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return summed(grad)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum over all processes, with gradient."""
    return _SumOverRanks.apply(values)


def summed(values: Tensor) -> Tensor:
    """Sum over all processes."""
    if ranks().world > 1:
        values = values.contiguous().clone()
        dist.all_reduce(values)
    return values


def from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by those of the first process."""
    if ranks().world > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)
