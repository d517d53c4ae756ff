"""Swin Transformer V2 (Liu et al. 2022, arXiv 2111.09883).

Made to be trained large and at one resolution, then used at another: norms stand after each branch, so that activations
do not grow with depth; attention compares directions, not lengths; and the bias of an offset is a small network's
answer to its logarithm, so that it exists for windows of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.contracts import Published, Variant
from vitrail.layers.block import DropPath, Mlp
from vitrail.layers.initialise import Draw, constant
from vitrail.layers.shifted_windows import Grid, PerLevel, ShiftedWindowBackbone, ShiftedWindowConfig, fit, quartets
from vitrail.layers.window import WindowedAttention
from vitrail.settings import Positive

SHARPEST = math.log(100.0)
"""The most that log(1 / temperature) may be: 0.01 is the least temperature (section 3.2)."""


class SwinV2Config(ShiftedWindowConfig):
    """What makes one Swin V2 differ from another."""

    window: Annotated[int, Field(ge=1, le=128)] = 8
    image_size: Positive | tuple[Positive, Positive] = 256
    pretrained_window: PerLevel | None = None
    """Side of the windows, by level, that the bias network was trained with; by default those of this config."""

    @model_validator(mode="after")
    def _a_window_a_level(self) -> Self:
        if self.pretrained_window is not None and len(self.pretrained_window) != len(self.depths):
            levels = len(self.pretrained_window)
            raise ValueError(f"pretrained_window has {levels} levels and depths has {len(self.depths)}")
        return self


class OffsetBias(nn.Module):
    """The network that gives each head its bias for an offset: (offsets, 2) -> (offsets, A) (section 3.3)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, 512)
        self.fc2 = nn.Linear(512, heads, bias=False)

    def forward(self, offsets: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.relu(self.fc1(offsets)))
        return 16 * torch.sigmoid(out)  # in (0, 16), as the official code bounds it


class CosineWindowAttention(WindowedAttention):
    """softmax(cos(Q, K) / temperature + bias of the offset) V in each window: (B, N, D) -> (B, N, D).

    pretrained: (rows, columns) of the window that offsets are measured by.
    """

    coordinates: Tensor  # (offsets, 2)

    def __init__(self, width: int, heads: int, grid: Grid, window: int, shifted: bool, pretrained: Grid | None) -> None:
        super().__init__(heads, grid, window, shifted)
        self.pretrained = self.windows.size if pretrained is None else pretrained
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.empty(width))  # keys have none, as in the official code
        self.v_bias = nn.Parameter(torch.empty(width))
        self.logit_scale = nn.Parameter(torch.empty(heads, 1, 1))
        self.cpb = OffsetBias(heads)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv: Tensor = self.qkv(self.windows.rolled(x))  # (B, h', w', 3D)
        qkv = qkv + bias.to(qkv.dtype)
        q, k, v = self.windows.split(qkv, self.heads)  # each (B, W * A, T, d)
        scale = self.logit_scale.clamp(max=SHARPEST).exp() * q.shape[-1] ** 0.5  # the core divides by sqrt(d)
        q = F.normalize(q, dim=-1) * scale.repeat(q.shape[1] // self.heads, 1, 1)
        y = self.core(q, F.normalize(k, dim=-1), v, self.bias(self.cpb(self.coordinates)))  # (B, W * A, T, d)
        out: Tensor = self.proj(self.windows.joined(y, self.heads))  # (B, N, D)
        return out

    def reach(self) -> Grid:
        """The network answers for just the offsets that occur."""
        return self.windows.size

    def initialisers(self) -> Mapping[str, Draw]:
        return {"q_bias": constant(0.0), "v_bias": constant(0.0), "logit_scale": constant(math.log(10.0))}

    def undecayed(self) -> Iterator[nn.Parameter]:
        """The temperature and the bias network, as in the official code."""
        yield self.logit_scale
        yield from self.cpb.parameters()

    def fill_buffers(self) -> None:
        """Write the coordinates of all offsets, besides what every windowed attention has."""
        super().fill_buffers()
        self.coordinates.copy_(log_offsets(self.reach(), self.pretrained))

    def allot(self, like: Tensor) -> None:
        """Memory for the coordinates too."""
        super().allot(like)
        down, right = self.reach()
        self.register_buffer("coordinates", like.new_empty((2 * down - 1) * (2 * right - 1), 2), persistent=False)


def log_offsets(window: Grid, pretrained: Grid) -> Tensor:
    """Log-spaced coordinates of all offsets in a window, ((2 rows - 1)(2 columns - 1), 2) float32, (down, right).

    sign(x) log2(1 + |x|) / log2(8) of x = 8 offset / (side - 1), where side is the pretrained window's. Within +-1.06
    inside that, a little more in a larger window (section 3.3; the factor 8 is the official code's).
    """
    scaled = [
        torch.arange(1 - side, side, dtype=torch.float32) / max(1, of - 1) * 8
        for side, of in zip(window, pretrained, strict=True)
    ]
    offsets = torch.stack(torch.meshgrid(*scaled, indexing="ij"), dim=-1).flatten(0, 1)
    return offsets.sign() * torch.log2(offsets.abs() + 1) / math.log2(8)


class BranchNorm(nn.LayerNorm):
    """The norm at the end of a branch. Weight and bias begin at 0, so that each block begins as the identity: the
    official code's `_init_respostnorm`."""

    def initialisers(self) -> Mapping[str, Draw]:
        return {"weight": constant(0.0), "bias": constant(0.0)}


class SwinV2Block(nn.Module):
    """x + LN(attention(x)), then x + LN(MLP(x)) (section 3.2): (B, N, D) -> (B, N, D)."""

    def __init__(self, config: SwinV2Config, level: int, grid: Grid, shifted: bool, drop_path: float) -> None:
        super().__init__()
        width, side = config.widths[level], config.pretrained_window and config.pretrained_window[level]
        pretrained = (side, side) if side else None
        self.attn = CosineWindowAttention(width, config.heads[level], grid, config.window, shifted, pretrained)
        self.norm1 = BranchNorm(width, eps=config.eps)
        self.mlp = Mlp(width, int(width * config.mlp_ratio), config.activation)
        self.norm2 = BranchNorm(width, eps=config.eps)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.norm1(self.attn(x)))  # (B, N, D)
        out: Tensor = x + self.drop_path(self.norm2(self.mlp(x)))  # (B, N, D)
        return out


class PatchMergingV2(nn.Module):
    """2 x 2 tokens to one of twice the width, norm last: (B, N, D) -> (B, ceil(h/2) ceil(w/2), 2D)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width, eps=eps)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        out: Tensor = self.norm(self.reduction(quartets(x, grid)))
        return out


class SwinV2(ShiftedWindowBackbone):
    """Images (B, C, H, W) -> `Features` at stride 8 P, maps at P, 2 P, 4 P and 8 P."""

    def __init__(self, config: SwinV2Config) -> None:
        super().__init__(config, _Parts(config))

    def measures(self) -> Mapping[str, Any]:
        """Fields of its config that keep what it computes at another size: the windows that offsets are measured by."""
        blocks = [cast(Any, level).blocks[0] for level in self.levels]
        return {"pretrained_window": tuple(max(block.attn.pretrained) for block in blocks)}


class _Parts:
    def __init__(self, config: SwinV2Config) -> None:
        self.config = config

    def block(self, level: int, grid: Grid, shifted: bool, drop_path: float) -> nn.Module:
        return SwinV2Block(self.config, level, grid, shifted, drop_path)

    def merging(self, width: int) -> nn.Module:
        return PatchMergingV2(width, self.config.eps)


SIZES = {
    "tiny": {"width": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24)},
    "small": {"width": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24)},
    "base": {"width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)},
    "large": {"width": 192, "depths": (2, 2, 18, 2), "heads": (6, 12, 24, 48)},
}
"""Section 3.5 of the paper; heads are 32 wide throughout."""
AT_192 = (12, 12, 12, 6)
"""Windows of a model that was trained with window 12 at 192 pixels, where the last grid has 6 cells a side: the
official configs' PRETRAINED_WINDOW_SIZES."""
ROWS: Mapping[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "window8_256": (("tiny", "small", "base"), {"window": 8, "image_size": 256}),
    "window16_256": (("tiny", "small", "base"), {"window": 16, "image_size": 256}),
    "window12_192": (("base", "large"), {"window": 12, "image_size": 192}),
    "window12to16_192to256": (("base", "large"), {"window": 16, "image_size": 256, "pretrained_window": AT_192}),
    "window12to24_192to384": (("base", "large"), {"window": 24, "image_size": 384, "pretrained_window": AT_192}),
}
"""End of the name -> sizes it exists in, and what it sets: the official configs/swinv2."""

PUBLISHED: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("1k", "microsoft/Swin-Transformer README"): {
        "swinv2_tiny_window8_256": 0.818, "swinv2_tiny_window16_256": 0.828, "swinv2_small_window8_256": 0.837,
        "swinv2_small_window16_256": 0.841, "swinv2_base_window8_256": 0.842, "swinv2_base_window16_256": 0.846,
    },
    ("1k", "timm results-imagenet.csv"): {
        "swinv2_small_window8_256": 0.83844, "swinv2_small_window16_256": 0.84216, "swinv2_base_window8_256": 0.84246,
        "swinv2_base_window16_256": 0.84608,
    },
    ("1k", "torchvision IMAGENET1K_V1"): {
        "swinv2_tiny_window8_256": 0.82072, "swinv2_small_window8_256": 0.83712, "swinv2_base_window8_256": 0.84112,
    },
    ("22k -> 1k", "microsoft/Swin-Transformer README"): {
        "swinv2_base_window12to16_192to256": 0.862, "swinv2_base_window12to24_192to384": 0.871,
        "swinv2_large_window12to16_192to256": 0.869, "swinv2_large_window12to24_192to384": 0.876,
    },
}  # fmt: skip
"""Training sets and where a figure was read -> model -> ImageNet-1k top-1."""


def _variants() -> Iterator[Variant]:
    for size, numbers in SIZES.items():
        for ending, (sizes, sets) in ROWS.items():
            if size in sizes:
                name = f"swinv2_{size}_{ending}"
                config = SwinV2Config.model_validate({**numbers, **sets})
                image = config.size[0]
                read = ((top1[name], data, where) for (data, where), top1 in PUBLISHED.items() if name in top1)
                published = tuple(Published(top1, image, where, data) for top1, data, where in read)
                source = f"Swin V2, section 3.5 (SwinV2-{size[0].upper()})"
                crop = 1.0 if image == 384 else 0.9  # as timm evaluates them
                yield Variant(name, "swin_v2", config, source, fit, published, "imagenet", crop)


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {
    "swinv2_tiny": "swinv2_tiny_window8_256",
    "swinv2_small": "swinv2_small_window8_256",
    "swinv2_base": "swinv2_base_window8_256",
    "swinv2_large": "swinv2_large_window12_192",
}
build = SwinV2
