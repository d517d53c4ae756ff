"""AdamW, LAMB or SGD that a non-finite gradient cannot reach.

Gradients arrive as a sum over samples. Dividing by the number of samples, clipping and refusing the update when
anything is not finite all happen on the device inside the optimizer: the host need not wait to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.settings import TrainConfig
from vitrail.training.batch_statistics import Statistics
from vitrail.training.lamb import Lamb
from vitrail.training.layer_decay import layers


def groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """What learns, in groups of one weight decay and one `share` of the learning rate, lower layers first.

    Biases, norms and scales (one dimension), tokens and positions are not decayed. Tokens and positions are what the
    backbone and head themselves declare by `undecayed()`; no name is read. layer_decay: each layer's share is this
    much of the next one's; the last has all of the rate.
    """
    declared = {
        id(parameter) for module in model.modules() if hasattr(module, "undecayed") for parameter in _undecayed(module)
    }
    found: list[dict[str, Any]] = []
    by_layer = layers(model) if layer_decay < 1 else [list(model.parameters())]
    for above, parameters in zip(reversed(range(len(by_layer))), by_layer, strict=True):
        decayed: list[nn.Parameter] = []
        spared: list[nn.Parameter] = []
        for parameter in parameters:
            if parameter.requires_grad:
                (spared if parameter.ndim <= 1 or id(parameter) in declared else decayed).append(parameter)
        share = layer_decay**above
        for members, decay in ((decayed, weight_decay), (spared, 0.0)):
            if members:
                found.append({"params": members, "weight_decay": decay, "share": share})
    return found


def _undecayed(module: nn.Module) -> Iterable[nn.Parameter]:
    declared: Iterable[nn.Parameter] = module.undecayed()  # type: ignore[operator]
    return declared


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """What the config names. All three read `grad_scale` and `found_inf`."""
    sorted_in = groups(model, config.weight_decay, config.layer_decay)
    if config.optimizer == "lamb":
        return Lamb(sorted_in, lr=config.lr, betas=(config.beta1, config.beta2))
    if config.optimizer == "sgd":
        sgd = torch.optim.SGD(sorted_in, lr=config.lr, momentum=config.beta1, fused=True)
        if config.beta1:  # torch would make these at the first step without writing to them if that one is refused
            for parameter in (p for group in sgd.param_groups for p in group["params"]):
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(sorted_in, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


class Updater:
    """Applies one clipped update from summed gradients, or none if anything is not finite.

    `begin` stands before the forward passes of an update: a refused one leaves running statistics as they were then.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.config = config
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.statistics = Statistics(model)
        self.optimizer = _optimizer(model, config)

    def begin(self) -> None:
        """Remember what forward passes change by themselves."""
        self.statistics.keep()

    def update(self, lr: float, loss_sum: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """One update; returns (gradient norm before clipping, 1.0 where the update was refused), both on the device.

        loss_sum: the summed loss whose gradients stand in `.grad`. weight: the number of samples in that sum.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["share"]
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / weight
        finite = norm.isfinite() & loss_sum.isfinite()
        if self.statistics.fractions:
            finite &= self.statistics.finite()
        refused = (~(finite & (weight > 0))).float()
        shrink = (self.config.clip / (norm + 1e-6)).clamp(max=1.0) if self.config.clip else torch.ones_like(norm)
        # The fused kernels divide gradients by grad_scale and leave everything as it was where found_inf is 1: the
        # attributes are how torch's own GradScaler hands them over.
        self.optimizer.grad_scale = weight / shrink  # type: ignore[attr-defined]
        self.optimizer.found_inf = refused  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.statistics.back(refused > 0)
        return norm, refused

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state as flat tensors, "PARAMETER/exp_avg" and so on; those of Adam and LAMB begin with the
        first update."""
        named = dict(zip(map(id, self.parameters), self.names, strict=True))
        return {
            f"{named[id(parameter)]}/{key}": value
            for parameter, state in self.optimizer.state.items()
            for key, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        by_name = dict(zip(self.names, self.parameters, strict=True))
        self.optimizer.state.clear()
        for key, value in tensors.items():
            name, _, field = key.rpartition("/")
            parameter = by_name[name]
            self.optimizer.state[parameter][field] = value.to(parameter.device)
