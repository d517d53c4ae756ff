"""Filling in painted squares, for any backbone (after SimMIM, Xie et al. 2021, arXiv 2111.09886).

Hidden squares have the mean colour, the backbone sees the whole image, and one linear layer gives the pixels. SimMIM
puts its mask token behind the patch embedding; painting pixels does it for stems of every kind.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone
from vitrail.pretraining.reconstruction import Reconstructor


class Inpainter(Reconstructor):
    """Predicts the pixels of the whole image from the last map, (B, C, H, W); those that were hidden count."""

    guessing = "painting the mean colour of what is visible"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.size, self.grid = backbone.image_size, backbone.stages()[-1].grid
        self.stride = next((s for s in backbone.strides if self._covers(s)), -(-self.size[0] // self.grid[0]))
        self.pixels = nn.Linear(backbone.width, self.stride**2 * backbone.in_channels)

    def _covers(self, stride: int) -> bool:
        return tuple(-(-side // stride) for side in self.size) == tuple(self.grid)

    def predict(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        tokens = self.backbone(pixels * (1 - hidden)).tokens  # (B, N, D)
        (h, w), s = self.grid, self.stride
        filled = self.pixels(tokens).reshape(len(pixels), h, w, -1, s, s)
        whole: Tensor = filled.permute(0, 3, 1, 4, 2, 5).reshape(len(pixels), -1, h * s, w * s)
        return whole[..., : self.size[0], : self.size[1]]

    def loss(self, prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        off = (prediction.float() - pixels.float()).abs() * hidden.float()
        return off.sum(dim=(1, 2, 3)) / (hidden.float().sum(dim=(1, 2, 3)) * pixels.shape[1])

    def guess(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """The mean colour of what is visible."""
        seen = 1 - hidden
        colour = (pixels * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True)
        return colour.expand_as(pixels)

    def painted(self, prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        return torch.where(hidden > 0, prediction.float(), pixels)
