"""Copying weights from a reference implementation, and comparing numbers with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Weights that no default hides: norms, biases and positions too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 1 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 and "weight" in name else 0.2
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference."""
    return float((ours - theirs).abs().max())


def close64(ours: Tensor, theirs: Tensor) -> bool:
    """float64: within 1e-9 x max(1, largest reference value)."""
    return worst(ours, theirs) <= 1e-9 * max(1.0, float(theirs.abs().max()))


def close32(ours: Tensor, theirs: Tensor) -> bool:
    """float32: within 1e-5 of the tensor's largest value."""
    return worst(ours, theirs) <= 1e-5 * float(theirs.abs().max())


def outputs_and_gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of a fixed non-trivial function of them, by parameter."""
    model.zero_grad()
    logits: Tensor = model(images)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).reshape(logits.shape)
    (logits * weights).sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
