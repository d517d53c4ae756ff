"""A value per pixel, from the tokens of any backbone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features
from vitrail.errors import unknown

DECODERS = ("linear", "pyramid")
FINEST = 4
"""Stride of the finest map that UPerNet fuses."""
BINS = (1, 2, 3, 6)
"""Of pyramid pooling (Zhao et al. 2017, arXiv 1612.01105, section 3.2)."""
GROUPS = 8
"""Group norm has no statistics of a batch: the same image gives the same map whatever stands beside it."""


class LinearDecoder(nn.Module):
    """One linear layer per pyramid level, added up: Features with a pyramid -> (B, Y, H, W).

    The same as one linear layer on all levels laid side by side. Where all levels come from one grid (a plain ViT), the
    finest says all there is.
    """

    def __init__(self, backbone: Backbone, outputs: int) -> None:
        super().__init__()
        used = 1 if len(backbone.stages()) == 1 else len(backbone.channels)
        self.stride = backbone.strides[0]
        self.levels = nn.ModuleList(
            nn.Conv2d(width, outputs, 1, bias=not i) for i, width in enumerate(backbone.channels[:used])
        )

    def forward(self, features: Features, size: tuple[int, int]) -> Tensor:
        maps = _pyramid(features)
        whole = sum(
            (_resize(level(x), maps[0].shape[2:]) for level, x in zip(self.levels, maps, strict=False)),
            start=maps[0].new_zeros(()),
        )  # (B, Y, H / s, W / s)
        return _to_pixels(whole, self.stride, size)

    def last(self) -> Sequence[nn.Module]:
        """The layers with a row per output."""
        return tuple(self.levels)


class PyramidDecoder(nn.Module):
    """Pyramid pooling, top-down fusion of all levels, a linear layer: Features with a pyramid -> (B, Y, H, W).

    After UPerNet (Xiao et al. 2018, arXiv 1807.10221, section 3), with group norm and GELU. Of one grid resampled (a
    plain ViT), maps finer than both its own and stride 4 are left out: they would cost most and say nothing new.
    """

    def __init__(self, backbone: Backbone, outputs: int, width: int = 128) -> None:
        super().__init__()
        own = backbone.strides[-1] // 2 if len(backbone.stages()) == 1 else 0
        self.first = sum(stride < min(FINEST, own) for stride in backbone.strides)
        self.stride = backbone.strides[self.first]
        used = backbone.channels[self.first :]
        top = used[-1]
        self.pools = nn.ModuleList(_layer(top, width, 1) for _ in BINS)
        self.gather = _layer(top + len(BINS) * width, width, 3)
        self.lateral = nn.ModuleList(_layer(channels, width, 1) for channels in used[:-1])
        self.smooth = nn.ModuleList(_layer(width, width, 3) for _ in used[:-1])
        self.fuse = _layer(len(used) * width, width, 3)
        self.out = nn.Conv2d(width, outputs, 1)

    def forward(self, features: Features, size: tuple[int, int]) -> Tensor:
        *finer, top = _pyramid(features)[self.first :]
        pooled = [
            _resize(layer(F.adaptive_avg_pool2d(top, bins)), top.shape[2:])
            for layer, bins in zip(self.pools, BINS, strict=True)
        ]
        levels = [lateral(x) for lateral, x in zip(self.lateral, finer, strict=True)]
        levels.append(self.gather(torch.cat([top, *pooled], dim=1)))
        for coarse, fine in pairwise(reversed(range(len(levels)))):
            levels[fine] = levels[fine] + _resize(levels[coarse], levels[fine].shape[2:])
        smoothed = [layer(x) for layer, x in zip(self.smooth, levels[:-1], strict=True)]
        spread = [_resize(x, levels[0].shape[2:]) for x in (*smoothed, levels[-1])]
        whole = self.out(self.fuse(torch.cat(spread, dim=1)))  # (B, Y, H / s, W / s)
        return _to_pixels(whole, self.stride, size)

    def last(self) -> Sequence[nn.Module]:
        """The layers with a row per output."""
        return (self.out,)


def decoder(kind: str, backbone: Backbone, outputs: int) -> nn.Module:
    """The decoder named "linear" or "pyramid"; UsageError for another name."""
    if kind not in DECODERS:
        raise unknown("decoder", kind, DECODERS)
    return LinearDecoder(backbone, outputs) if kind == "linear" else PyramidDecoder(backbone, outputs)


def _layer(channels: int, width: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, width), nn.GELU())


def _pyramid(features: Features) -> tuple[Tensor, ...]:
    assert features.pyramid, "whoever calls a dense head asks the backbone for its pyramid"
    return features.pyramid


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _to_pixels(x: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """A map at a stride -> the image's pixels: what a backbone had to pad at the bottom and right is cut off."""
    height, width = x.shape[2:]
    return _resize(x, (height * stride, width * stride))[:, :, : size[0], : size[1]]
