"""Pixels to patch tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
        return patch_grid(size, self.patch)


def patch_grid(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """(h, w) for images of (H, W) in patches of P; UsageError where the patch does not divide them."""
    height, width = size
    if height <= 0 or width <= 0 or height % patch or width % patch:
        smaller = [max(1, side // patch) * patch for side in size]
        larger = [max(1, -(-side // patch)) * patch for side in size]
        fitting = dict.fromkeys(_size(fits) for fits in (smaller, larger))
        raise UsageError(
            f"image size {height} x {width} is not divisible by the patch size {patch};"
            f" use {' or '.join(fitting)}, or another patch size"
        )
    return height // patch, width // patch


def resize_kernel(kernel: Tensor, side: tuple[int, int]) -> Tensor:
    """A patch kernel (D, C, p, q) for patches of another (rows, columns), so that resized patches give the same tokens.

    If B resizes a patch, bicubic and anti-aliased, the new kernel is the least-squares solution of B^T w' = w:
    FlexiViT's PI-resize (arXiv 2212.08013, equation 5). Exact where patches grow; computed in float64.
    """
    if tuple(kernel.shape[2:]) == tuple(side):
        return kernel
    rows, columns = kernel.shape[2:]
    pixels = torch.eye(rows * columns, dtype=torch.float64, device=kernel.device).reshape(-1, 1, rows, columns)
    resized = F.interpolate(pixels, size=side, mode="bicubic", antialias=True)  # (p q, 1, p', q')
    solve = torch.linalg.pinv(resized.flatten(1))  # (p' q', p q)
    made: Tensor = (kernel.double().flatten(2) @ solve.T).unflatten(2, side).to(kernel)
    return made


def _size(sides: list[int]) -> str:
    height, width = sides
    return str(height) if height == width else f"{height} x {width}"
