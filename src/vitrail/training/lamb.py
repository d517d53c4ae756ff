"""LAMB (You et al. 2020, arXiv 1904.00962): Adam whose step for each tensor is as long as its weights are.

As DeiT III was trained with it (apex's FusedLAMB, which timm's `Lamb` follows): weight decay is part of the step whose
length is set, moments are corrected for their bias, and what weight decay spares is stepped as Adam does. Both clip
the gradient's norm to 1 by themselves; here that is `train.clip`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

EPS = 1e-6
"""apex's and timm's."""


class Lamb(torch.optim.Optimizer):
    """Keeps torch's own terms for a fused optimizer: before each step, `grad_scale` is what gradients are to be
    divided by and `found_inf` is 1.0 where nothing may change, both () on the device. The host waits for neither.
    """

    grad_scale: Tensor
    found_inf: Tensor

    def __init__(
        self, groups: Sequence[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float = EPS
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        refused = self.found_inf > 0
        states = [self._state(parameter) for parameter in parameters]
        steps, means, squares = ([state[key] for state in states] for key in ("step", "exp_avg", "exp_avg_sq"))
        gradients = torch._foreach_div([_gradient(p) for p in parameters], self.grad_scale)
        torch._foreach_add_(steps, 1 - self.found_inf)
        _take(means, torch._foreach_lerp(means, gradients, 1 - beta1), refused)
        moved = torch._foreach_mul(squares, beta2)
        torch._foreach_addcmul_(moved, gradients, gradients, 1 - beta2)
        _take(squares, moved, refused)
        done = torch.stack(steps)  # (parameters,)
        updates = torch._foreach_sqrt(squares)
        torch._foreach_div_(updates, _correction(beta2, done).sqrt().unbind())
        torch._foreach_add_(updates, group["eps"])
        updates = torch._foreach_div(means, updates)
        torch._foreach_div_(updates, _correction(beta1, done).unbind())
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
            torch._foreach_mul_(updates, (group["lr"] * _trust(parameters, updates)).unbind())
        else:
            torch._foreach_mul_(updates, group["lr"])
        _take(parameters, torch._foreach_sub(parameters, updates), refused)

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "only those with a gradient are stepped"
    return parameter.grad


def _correction(beta: float, steps: Tensor) -> Tensor:
    """1 - beta^steps without the digits that float32 loses where beta is near 1."""
    return -torch.expm1(steps * (math.log(beta) if beta else -math.inf))


def _take(old: Sequence[Tensor], new: Sequence[Tensor], refused: Tensor) -> None:
    """Write `new` over `old`, unless it was refused: a choice, not a product, which would let NaN through."""
    for before, after in zip(old, new, strict=True):
        torch.where(refused, before, after, out=before)


def _trust(parameters: Sequence[Tensor], updates: Sequence[Tensor]) -> Tensor:
    """|weights| / |step| of each tensor, (parameters,); 1 where either is nothing."""
    weights, steps = (torch.stack(torch._foreach_norm(list(tensors))) for tensors in (parameters, updates))
    return torch.where((weights > 0) & (steps > 0), weights / steps, 1.0)
