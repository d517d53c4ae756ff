"""Swin Transformer (Liu et al. 2021, arXiv 2103.14030).

Attention stays inside windows, so that its cost grows with the number of tokens and not with its square; every second
block shifts the windows, so that neighbours across a border meet; and four levels halve the grid, so that there are
maps at strides 4, 8, 16 and 32 as a convolutional network has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from vitrail.contracts import Published, Variant
from vitrail.layers.block import DropPath, Mlp
from vitrail.layers.initialise import Draw, truncated_normal
from vitrail.layers.shifted_windows import Grid, ShiftedWindowBackbone, ShiftedWindowConfig, fit, quartets
from vitrail.layers.window import WindowedAttention


class SwinConfig(ShiftedWindowConfig):
    """What makes one Swin differ from another."""


class WindowAttention(WindowedAttention):
    """softmax(QK^T / sqrt(d) + bias of the offset) V in each window (equation 4): (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, heads: int, grid: Grid, window: int, shifted: bool) -> None:
        super().__init__(heads, grid, window, shifted)
        self.qkv = nn.Linear(width, 3 * width)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.windows.split(self.qkv(self.windows.rolled(x)), self.heads)  # each (B, W * A, T, d)
        y = self.core(q, k, v, self.bias(self.bias_table))  # (B, W * A, T, d)
        out: Tensor = self.proj(self.windows.joined(y, self.heads))  # (B, N, D)
        return out

    def initialisers(self) -> Mapping[str, Draw]:
        return {"bias_table": truncated_normal(0.02)}

    def undecayed(self) -> Iterator[nn.Parameter]:
        """The bias of each offset is a position."""
        yield self.bias_table


class SwinBlock(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x)) (equation 3): (B, N, D) -> (B, N, D)."""

    def __init__(self, config: SwinConfig, level: int, grid: Grid, shifted: bool, drop_path: float) -> None:
        super().__init__()
        width = config.widths[level]
        self.norm1 = nn.LayerNorm(width, eps=config.eps)
        self.attn = WindowAttention(width, config.heads[level], grid, config.window, shifted)
        self.norm2 = nn.LayerNorm(width, eps=config.eps)
        self.mlp = Mlp(width, int(width * config.mlp_ratio), config.activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))  # (B, N, D)
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))  # (B, N, D)
        return out


class PatchMerging(nn.Module):
    """2 x 2 tokens to one of twice the width, norm first: (B, N, D) -> (B, ceil(h/2) ceil(w/2), 2D)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps=eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        out: Tensor = self.reduction(self.norm(quartets(x, grid)))
        return out


class Swin(ShiftedWindowBackbone):
    """Images (B, C, H, W) -> `Features` at stride 8 P, maps at P, 2 P, 4 P and 8 P."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config, _Parts(config))


class _Parts:
    def __init__(self, config: SwinConfig) -> None:
        self.config = config

    def block(self, level: int, grid: Grid, shifted: bool, drop_path: float) -> nn.Module:
        return SwinBlock(self.config, level, grid, shifted, drop_path)

    def merging(self, width: int) -> nn.Module:
        return PatchMerging(width, self.config.eps)


SIZES = {
    "tiny": {"width": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24)},
    "small": {"width": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24)},
    "base": {"width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)},
    "large": {"width": 192, "depths": (2, 2, 18, 2), "heads": (6, 12, 24, 48)},
}
"""Section 3.3 of the paper; heads are 32 wide throughout."""
RESOLUTIONS = ((224, 7), (384, 12))
"""Pixels and window: section 4.1."""

PUBLISHED: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("1k", "microsoft/Swin-Transformer README"): {
        "swin_tiny_patch4_window7_224": 0.812, "swin_small_patch4_window7_224": 0.832,
        "swin_base_patch4_window7_224": 0.835, "swin_base_patch4_window12_384": 0.845,
    },
    ("1k", "timm results-imagenet.csv"): {
        "swin_tiny_patch4_window7_224": 0.81388, "swin_small_patch4_window7_224": 0.83228,
        "swin_base_patch4_window7_224": 0.83604, "swin_base_patch4_window12_384": 0.84478,
    },
    ("1k", "torchvision IMAGENET1K_V1"): {
        "swin_tiny_patch4_window7_224": 0.81474, "swin_small_patch4_window7_224": 0.83196,
        "swin_base_patch4_window7_224": 0.83582,
    },
    ("22k -> 1k", "microsoft/Swin-Transformer README"): {
        "swin_tiny_patch4_window7_224": 0.809, "swin_small_patch4_window7_224": 0.832,
        "swin_base_patch4_window7_224": 0.852, "swin_large_patch4_window7_224": 0.863,
        "swin_base_patch4_window12_384": 0.864, "swin_large_patch4_window12_384": 0.873,
    },
    ("22k -> 1k", "timm results-imagenet.csv"): {
        "swin_small_patch4_window7_224": 0.83330, "swin_base_patch4_window7_224": 0.85276,
        "swin_large_patch4_window7_224": 0.86320, "swin_base_patch4_window12_384": 0.86442,
        "swin_large_patch4_window12_384": 0.87142,
    },
}  # fmt: skip
"""Training sets and where a figure was read -> model -> ImageNet-1k top-1."""


def _variants() -> Iterator[Variant]:
    for size, numbers in SIZES.items():
        for image, window in RESOLUTIONS:
            name = f"swin_{size}_patch4_window{window}_{image}"
            read = ((top1[name], data, where) for (data, where), top1 in PUBLISHED.items() if name in top1)
            published = tuple(Published(top1, image, where, data) for top1, data, where in read)
            config = SwinConfig.model_validate({**numbers, "window": window, "image_size": image})
            source = f"Swin, section 3.3 (Swin-{size[0].upper()})"
            crop = (
                1.0 if image == 384 else 0.9
            )  # official evaluation: 384 is resized whole, smaller is cut from 256/224
            yield Variant(name, "swin", config, source, fit, published, "imagenet", crop)


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {f"swin_{size}": f"swin_{size}_patch4_window7_224" for size in SIZES}
build = Swin
