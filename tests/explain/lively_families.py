"""A tiny model of every family on images of 32 x 48 pixels, with weights that bend what comes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitrail.assemble import VisionModel, create_model
from vitrail.contracts import Task
from vitrail.explain.target import Target

SIZE = (32, 48)
PLAIN: Mapping[str, Any] = {"patch_size": 8, "width": 24, "heads": 3, "hidden": 32, "depth": 3}
WINDOWED: Mapping[str, Any] = {"patch_size": 4, "width": 12, "depths": (2, 2), "heads": (2, 3), "window": 2}
REDUCED: Mapping[str, Any] = {
    "patch_size": 2, "widths": (8, 12, 16, 24), "depths": (1, 1, 1, 2), "heads": (1, 2, 2, 3),
    "mlp_ratios": (2, 2, 2, 2), "sr_ratios": (4, 2, 1, 1),
}  # fmt: skip
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vit": ("vit_tiny", {**PLAIN, "registers": 2}),
    "vit_mean": ("vit_tiny", {**PLAIN, "pooling": "mean", "cls": False}),
    "vit_map": ("vit_tiny", {**PLAIN, "pooling": "map", "cls": False}),
    "deit": ("deit_tiny_distilled", PLAIN),
    "swin": ("swin_tiny", WINDOWED),
    "swin_v2": ("swinv2_tiny", WINDOWED),
    "pvt": ("pvt_tiny", REDUCED),
    "pvt_v2": ("pvt_v2_b0", REDUCED),
    "resnet": ("resnet18", {"width": 8, "depths": (1, 1, 1, 1), "patch_size": 2}),
    "convnext": ("convnext_tiny", {"width": 8, "depths": (1, 1, 1, 1), "patch_size": 2}),
}


def family(kind: str, task: str | Task = "classify", size: tuple[int, int] = SIZE, **options: Any) -> VisionModel:
    """One of FAMILIES in evaluation mode; three outputs where the task is only named."""
    name, stated = FAMILIES[kind]
    model = create_model(name, task, 3, image_size=size, **{**stated, **options})
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim < 2 or parameter.shape[1:].numel() == 1:  # norms, biases, scales of layers
                parameter.add_(0.2 * noise)
            elif parameter.shape[0] == 1:  # tokens and positions
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(1.5 * noise / parameter.shape[1:].numel() ** 0.5)
    return model.eval()


def pictures(count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    """(count, 3, H, W), normalised."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def asked(images: Tensor, output: int = 1, **parts: Any) -> Target:
    """The same output of every image."""
    return Target(torch.full((len(images),), output), **parts)
