"""Pixels to patch tokens."""

from __future__ import annotations

from torch import Tensor, nn

from vitrail.errors import UsageError


class PatchEmbed(nn.Module):
    """A convolution whose kernel and stride are the patch: (B, C, H, W) -> (B, N, D), N = HW / P^2, raster order.

    The same as cutting P x P patches and mapping each by one linear layer (ViT, equation 1).
    """

    def __init__(self, patch: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, width, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(images)  # (B, D, h, w)
        return tokens.flatten(2).transpose(1, 2)  # (B, N, D)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) for images of (H, W); UsageError where the patch does not divide them."""
        height, width = size
        if height <= 0 or width <= 0 or height % self.patch or width % self.patch:
            smaller = [max(1, side // self.patch) * self.patch for side in size]
            larger = [max(1, -(-side // self.patch)) * self.patch for side in size]
            fitting = dict.fromkeys(_size(fits) for fits in (smaller, larger))
            raise UsageError(
                f"image size {height} x {width} is not divisible by the patch size {self.patch};"
                f" use {' or '.join(fitting)}, or another patch size"
            )
        return height // self.patch, width // self.patch


def _size(sides: list[int]) -> str:
    height, width = sides
    return str(height) if height == width else f"{height} x {width}"
