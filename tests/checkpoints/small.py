"""Small models of every family, with random weights, and the peers that a layout is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrail

GELU_TANH = {"activation": "gelu_tanh"}
ONE_EPSILON = {"reduction_eps": 1e-6}
PVT_SIZES = {"depths": (1, 1, 2, 1), "image_size": 64}
ENCODER = {"depth": 2, "image_size": 64}

MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", ENCODER),
    "vit-tanh": ("vit_tiny_patch16_224", {**ENCODER, **GELU_TANH}),
    "vit-map": ("vit_tiny_patch16_224", {**ENCODER, "cls": False, "pooling": "map"}),
    "vit-map-tanh": ("vit_tiny_patch16_224", {**ENCODER, "cls": False, "pooling": "map", **GELU_TANH}),
    "vit-mean": ("vit_tiny_patch16_224", {**ENCODER, "cls": False, "pooling": "mean"}),
    "vit-unplaced-tanh": ("vit_tiny_patch16_224", {**ENCODER, "cls_position": False, **GELU_TANH}),
    "vit-registers": ("vit_tiny_patch16_224", {**ENCODER, "registers": 3}),
    "vit-qk-norm": ("vit_tiny_patch16_224", {**ENCODER, "qk_norm": True}),
    "deit": ("deit_tiny_patch16_224", ENCODER),
    "deit-distilled": ("deit_tiny_distilled_patch16_224", ENCODER),
    "deit3": ("deit3_small_patch16_224", ENCODER),
    "swin": ("swin_tiny_patch4_window7_224", {"depths": (1, 2), "heads": (3, 6), "image_size": 56}),
    "swin_v2": ("swinv2_tiny_window8_256", {"depths": (1, 2), "heads": (3, 6), "image_size": 64}),
    "pvt": ("pvt_tiny", PVT_SIZES),
    "pvt-one-epsilon": ("pvt_tiny", {**PVT_SIZES, **ONE_EPSILON}),
    "pvt_v2": ("pvt_v2_b0", PVT_SIZES),
    "pvt_v2-one-epsilon": ("pvt_v2_b0", {**PVT_SIZES, **ONE_EPSILON}),
    "pvt_v2-linear": ("pvt_v2_b2_li", PVT_SIZES),
    "pvt_v2-linear-one-epsilon": ("pvt_v2_b2_li", {**PVT_SIZES, **ONE_EPSILON}),
    "resnet": ("resnet18", {"depths": (1, 1, 1, 1), "image_size": 64}),
    "resnet-bottleneck": ("resnet50", {"depths": (1, 1, 1, 1), "image_size": 64}),
    "convnext": ("convnext_tiny", {"depths": (1, 1, 2, 1), "image_size": 64}),
}
"""Case -> row of the catalogue and how it is made small; structure is the full model's."""

WRITABLE: Mapping[str, tuple[str, ...]] = {
    "vitrail": tuple(MODELS),
    "timm": (
        "vit", "vit-tanh", "vit-map", "vit-map-tanh", "vit-mean", "vit-unplaced-tanh", "vit-registers", "vit-qk-norm",
        "deit", "deit-distilled", "deit3", "swin", "swin_v2", "pvt_v2", "pvt_v2-linear", "resnet", "resnet-bottleneck",
        "convnext",
    ),
    "huggingface": (
        "vit", "vit-tanh", "deit", "deit-distilled", "swin", "swin_v2", "pvt-one-epsilon", "pvt_v2-one-epsilon",
        "pvt_v2-linear-one-epsilon", "resnet", "resnet-bottleneck", "convnext",
    ),
    "torchvision": ("vit", "swin", "swin_v2", "resnet", "resnet-bottleneck", "convnext"),
    "google": ("vit-tanh", "vit-map-tanh", "vit-unplaced-tanh"),
    "official": ("deit", "deit-distilled", "deit3", "swin", "swin_v2", "pvt", "pvt_v2", "pvt_v2-linear"),
}  # fmt: skip
"""Layout -> cases that it can express; every other pair is refused."""

PAIRS = [(layout, case) for layout, cases in WRITABLE.items() for case in cases]
SUFFIX = {"vitrail": ".safetensors", "torchvision": ".pth", "google": ".npz", "official": ".pth"}


def ours(case: str, seed: int = 0, **options: Any) -> nn.Module:
    """A small model of ours with weights that no default hides, in evaluation mode."""
    name, reduced = MODELS[case]
    model = vitrail.create_model(name, outputs=5, **{**reduced, **options})
    shake(model, seed)
    return model.eval()


def shake(model: nn.Module, seed: int = 0) -> None:
    """Random parameters and running statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(noise.abs() + 0.5)
            elif name.endswith("running_mean") or isinstance(tensor, nn.Parameter):
                fan = tensor[0].numel() if tensor.ndim > 1 else 25
                tensor.copy_(noise / max(1, fan) ** 0.5)
                if tensor.ndim == 1 and name.endswith("weight"):
                    tensor.add_(1.0)


def images(model: nn.Module, count: int = 2) -> Tensor:
    """Images that fit a model of ours."""
    height, width = model.backbone.image_size
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def destination(folder: Path, layout: str) -> Path:
    """A name of the form that a layout has."""
    return folder / f"weights{SUFFIX.get(layout, '')}"


@torch.no_grad()
def logits(model: nn.Module, pictures: Tensor) -> Tensor:
    """Outputs, also of transformers' models."""
    out = model(pictures)
    return getattr(out, "logits", out)


def close(a: Tensor, b: Tensor) -> bool:
    """float32: within 1e-5 of the largest value."""
    return float((a - b).abs().max()) <= 1e-5 * max(1.0, float(b.abs().max()))


def needs(library: str) -> Any:
    """A peer library, or a skip that says it is missing."""
    return pytest.importorskip(library, reason=f"needs {library}, whose files and models these are")
