"""Training mode for what learns, evaluation mode for what does not."""

from __future__ import annotations

from torch import nn


def train_mode(model: nn.Module) -> None:
    """Every module in training mode but those that have parameters and none that learns: a frozen BatchNorm answers
    by its running statistics and leaves them alone, a frozen block is never dropped.
    """
    model.train()
    _still(model)


def _still(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
    elif not all(parameter.requires_grad for parameter in parameters):
        for part in module.children():
            _still(part)
