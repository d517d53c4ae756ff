"""AdamW that a non-finite gradient cannot reach.

Gradients arrive as a sum over samples. Dividing by the number of samples, clipping and refusing the update when
anything is not finite all happen on the device inside the fused kernel: the host need not wait to know.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vitrail.settings import TrainConfig
from vitrail.training.batch_statistics import Statistics


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups, decayed and not: biases, norms and scales (one dimension), tokens and positions are not decayed.

    Tokens and positions are what the backbone and head themselves declare by `undecayed()`; no name is read.
    """
    declared = {
        id(parameter) for module in model.modules() if hasattr(module, "undecayed") for parameter in _undecayed(module)
    }
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (spared if parameter.ndim <= 1 or id(parameter) in declared else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


def _undecayed(module: nn.Module) -> Iterable[nn.Parameter]:
    declared: Iterable[nn.Parameter] = module.undecayed()  # type: ignore[operator]
    return declared


class Updater:
    """Applies one clipped AdamW update from summed gradients, or none if anything is not finite.

    `begin` stands before the forward passes of an update: a refused one leaves running statistics as they were then.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.config = config
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.statistics = Statistics(model)
        self.adamw = torch.optim.AdamW(
            groups(model, config.weight_decay), lr=config.lr, betas=(config.beta1, config.beta2), fused=True
        )

    def begin(self) -> None:
        """Remember what forward passes change by themselves."""
        self.statistics.keep()

    def update(self, lr: float, loss_sum: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """One update; returns (gradient norm before clipping, 1.0 where the update was refused), both on the device.

        loss_sum: the summed loss whose gradients stand in `.grad`. weight: the number of samples in that sum.
        """
        for group in self.adamw.param_groups:
            group["lr"] = lr
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / weight
        finite = norm.isfinite() & loss_sum.isfinite()
        if self.statistics.fractions:
            finite &= self.statistics.finite()
        refused = (~(finite & (weight > 0))).float()
        shrink = (self.config.clip / (norm + 1e-6)).clamp(max=1.0) if self.config.clip else torch.ones_like(norm)
        # The fused kernel divides gradients by grad_scale and leaves everything as it was where found_inf is 1: the
        # attributes are how torch's own GradScaler hands them over.
        self.adamw.grad_scale = weight / shrink  # type: ignore[attr-defined]
        self.adamw.found_inf = refused  # type: ignore[attr-defined]
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        self.statistics.back(refused > 0)
        return norm, refused

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state as flat tensors, "PARAMETER/exp_avg" and so on; empty before the first update."""
        named = dict(zip(map(id, self.parameters), self.names, strict=True))
        return {
            f"{named[id(parameter)]}/{key}": value
            for parameter, state in self.adamw.state.items()
            for key, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        by_name = dict(zip(self.names, self.parameters, strict=True))
        self.adamw.state.clear()
        for key, value in tensors.items():
            name, _, field = key.rpartition("/")
            parameter = by_name[name]
            self.adamw.state[parameter][field] = value.to(parameter.device)
