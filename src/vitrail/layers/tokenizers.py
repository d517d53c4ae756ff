"""Pixels to patch tokens in ways that know more of images than cutting: for sets too small to learn it from.

Both leave as many tokens as patches, in the same order: positions, pyramids and explanations stay as they are.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.patch import PatchEmbed, patch_grid

Stem = Literal["patch", "conv", "shifted"]
"""How a ViT's pixels become tokens: cut patches, convolutions, or patches that see half of their neighbours."""

FACTORS = (2, 3)
"""A 3 x 3 kernel leaves no pixel unseen at these strides."""


def strides_to(patch: int) -> list[int]:
    """Strides of 2, then of 3, whose product is the patch; a patch that has another factor raises ValueError."""
    left, strides = patch, []
    for factor in FACTORS:
        while left % factor == 0:
            strides.append(factor)
            left //= factor
    if left != 1:
        raise ValueError(f"stem=conv goes to the patch in strides of 2 and 3, which {patch} is not made of")
    return strides


class ConvStem(nn.Module):
    """3 x 3 convolutions of stride 2 down to the patch, a 1 x 1 to the width: (B, C, H, W) -> (B, N, D), raster order.

    Each is followed by BatchNorm and ReLU; channels double up to D (Xiao et al. 2021, arXiv 2106.14881, section 4 and
    appendix A). Chosen over CCT's tokenizer (arXiv 2104.05704), whose pooling goes to stride 2 or 4 at a large width:
    this one ends at the patch that was asked for. A factor 3 of the patch is a stride of 3, where kernels stand side by
    side; a patch of one pixel is one convolution of stride 1.
    """

    def __init__(self, patch: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        strides = strides_to(patch) or [1]
        channels = [in_channels, *(max(1, width >> step) for step in reversed(range(len(strides))))]
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(channels[i], channels[i + 1], 3, stride, padding=int(stride < 3), bias=False),
                    nn.BatchNorm2d(channels[i + 1]),
                    nn.ReLU(inplace=True),
                )
                for i, stride in enumerate(strides)
            )
        )
        self.last = nn.Conv2d(channels[-1], width, 1)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.last(self.convolutions(images))  # (B, D, h, w)
        return tokens.flatten(2).transpose(1, 2)  # (B, N, D)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) for images of (H, W); UsageError where the patch does not divide them."""
        return patch_grid(size, self.patch)


class ShiftedPatchEmbed(nn.Module):
    """Shifted patch tokenization: (B, C, H, W) -> (B, N, D), raster order.

    The image and four copies of it, each shifted by half a patch along a diagonal and filled with zeros, lie on each
    other as 5C channels; their patches are normalised and mapped by one linear layer (Lee et al. 2021,
    arXiv 2112.13492, equations 2 to 4). A patch so sees half of each neighbour.
    """

    def __init__(self, patch: int, in_channels: int, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.patch = patch
        self.shift = max(1, patch // 2)
        seen = 5 * in_channels * patch**2
        self.norm = nn.LayerNorm(seen, eps=eps)
        self.linear = nn.Linear(seen, width)

    def forward(self, images: Tensor) -> Tensor:
        s, p = self.shift, self.patch
        batch, _, height, width = images.shape
        wide = F.pad(images, (s, s, s, s))
        shifted = [wide[..., y : y + height, x : x + width] for y in (0, 2 * s) for x in (0, 2 * s)]
        stacked = torch.cat([images, *shifted], dim=1)  # (B, 5C, H, W)
        cut = stacked.reshape(batch, -1, height // p, p, width // p, p)  # (B, 5C, h, P, w, P)
        patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, N, 5C P^2)
        tokens: Tensor = self.linear(self.norm(patches))  # (B, N, D)
        return tokens

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) for images of (H, W); UsageError where the patch does not divide them."""
        return patch_grid(size, self.patch)


def tokenizer(
    stem: Stem, patch: int, in_channels: int, width: int, eps: float
) -> PatchEmbed | ConvStem | ShiftedPatchEmbed:
    """The stem of that name."""
    if stem == "conv":
        return ConvStem(patch, in_channels, width)
    if stem == "shifted":
        return ShiftedPatchEmbed(patch, in_channels, width, eps)
    return PatchEmbed(patch, in_channels, width)
