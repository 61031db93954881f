"""Adam, with steps that the code that computes a gradient can make itself."""

from __future__ import annotations

import math
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .kernels import Update


def set_prior(groups: list[dict[str, Any]], stage: str) -> None:
    """Make the prior of output weights as strong as a stage of the training has it.

    Args:
        groups: Of the optimizer; those of output weights have "prior", their weight decay in the
            end, and "early", by what it is multiplied in the stages before, by name.
        stage: 'KL warm-up', and then the name of the phase.
    """
    for group in groups:
        if "prior" in group:
            group["weight_decay"] = group["prior"] * group["early"].get(stage, 1.0)


class Adam(torch.optim.Adam):
    """PyTorch's Adam, with `update_of` for parameters whose gradient is never stored."""

    # without the guards for torch.compile, which take two seconds to load and are not needed here
    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))

    def update_of(self, parameter: Tensor) -> Update:
        """Begin the step of a parameter, which is made elsewhere and not in `step`.

        Args:
            parameter: (F, H); in `step`, it must have no gradient.
        """
        group = next(g for g in self.param_groups if any(p is parameter for p in g["params"]))
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
            state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)
        state["step"] += 1
        t, (beta1, beta2) = float(state["step"]), group["betas"]
        numbers = (
            group["lr"] / (1 - beta1**t),
            1 - beta1,
            1 - beta2,
            1 / math.sqrt(1 - beta2**t),
            group["eps"],
            group["weight_decay"],
        )
        return Update(state["exp_avg"], state["exp_avg_sq"], numbers)
