"""Masked autoencoders (He et al. 2021, arXiv 2111.06377): the encoder sees the visible patches alone.

At 75 % hidden it computes a quarter of its tokens, and a light decoder fills in the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone
from vitrail.layers.block import Block, BlockShape
from vitrail.layers.initialise import Draw, truncated_normal
from vitrail.layers.position import sincos_2d
from vitrail.pretraining.masks import Masking
from vitrail.pretraining.reconstruction import Reconstructor

HEAD_WIDTH = 32
"""d of the decoder's attention, as in the paper's decoder (512 wide, 16 heads)."""
EPS = 1e-6
"""Added to a patch's variance, as in the authors' code."""


@runtime_checkable
class SeesSome(Protocol):
    """A backbone that can leave patches out: a plain ViT, whose blocks take any number of tokens."""

    def embed(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K + N, D), tokens that know their places."""

    def encode(self, tokens: Tensor) -> Tensor:
        """Through the blocks and the last norm, (B, T, D) -> (B, T, D)."""


class MaskedAutoencoder(Reconstructor):
    """Predicts each hidden patch's pixels, normalised by its own mean and variance: (B, N, P * P * C).

    decoder: D -> `width`, a mask token for each hidden patch, fixed positions, `depth` blocks, a linear layer.
    """

    positions: Tensor
    guessing = "giving each patch its own mean colour"

    def __init__(self, backbone: Backbone, masking: Masking, width: int, depth: int) -> None:
        super().__init__(backbone)
        self.patch, self.grid = masking.unit, masking.grid
        self.prefix, self.visible = len(backbone.prefix_names), masking.units - masking.hidden
        self.bridge = nn.Linear(backbone.width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", torch.empty(1, masking.units, width), persistent=False)
        heads = width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1
        shape = BlockShape(width, heads, 4 * width)
        self.decoder = nn.ModuleList(Block(shape, self.prefix, 0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=shape.eps)
        self.pixels = nn.Linear(width, self.patch**2 * backbone.in_channels)

    def predict(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        backbone, where = cast(SeesSome, self.backbone), self._hidden_patches(hidden)
        # a stem that looks beyond its patch must find nothing there; to one that cuts it makes no difference
        tokens = backbone.embed(pixels * (1 - hidden))  # (B, K + N, D)
        prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        visible = where.argsort(dim=1, stable=True)[:, : self.visible, None]  # (B, V, 1), in raster order
        kept = patches.gather(1, visible.expand(-1, -1, patches.shape[2]))  # (B, V, D)
        encoded = self.bridge(backbone.encode(torch.cat([prefix, kept], dim=1)))  # (B, K + V, E)
        blank = self.mask_token.to(encoded.dtype).expand(len(tokens), patches.shape[1], -1)
        whole = blank.scatter(1, visible.expand(-1, -1, encoded.shape[2]), encoded[:, self.prefix :])  # (B, N, E)
        y = torch.cat([encoded[:, : self.prefix], whole + self.positions.to(whole.dtype)], dim=1)
        for block in self.decoder:
            y = block(y)  # (B, K + N, E)
        out: Tensor = self.pixels(self.norm(y[:, self.prefix :]))  # (B, N, P P C)
        return out

    def loss(self, prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        cut, (mean, deviation) = self._cut(pixels), self._statistics(pixels)
        off = (prediction.float() - (cut - mean) / deviation).square().mean(dim=2)  # (B, N)
        where = self._hidden_patches(hidden)
        return (off * where).sum(dim=1) / where.sum(dim=1)

    def guess(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        return torch.zeros_like(self._cut(pixels))  # each patch's own mean

    def painted(self, prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        """Each patch has the mean and the contrast of the true one, which the model is not asked for."""
        mean, deviation = self._statistics(pixels)
        (h, w), p = self.grid, self.patch
        filled = (prediction.float() * deviation + mean).reshape(len(pixels), h, w, p, p, -1)
        whole = filled.permute(0, 5, 1, 3, 2, 4).reshape(pixels.shape)
        return torch.where(hidden > 0, whole, pixels)

    def _hidden_patches(self, hidden: Tensor) -> Tensor:
        """(B, 1, H, W) of pixels -> (B, N) of patches."""
        return hidden[:, 0, :: self.patch, :: self.patch].flatten(1)

    def _cut(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, P * P * C) float32, raster order."""
        (h, w), p = self.grid, self.patch
        cut = pixels.float().reshape(len(pixels), -1, h, p, w, p)
        return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def _statistics(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each patch, (B, N, 1) each."""
        cut = self._cut(pixels)
        return cut.mean(dim=2, keepdim=True), (cut.var(dim=2, keepdim=True) + EPS).sqrt()

    def initialisers(self) -> Mapping[str, Draw]:
        return {"mask_token": truncated_normal(0.02)}

    def fill_buffers(self) -> None:
        """Write the fixed positions, on the default device if they had no memory."""
        if self.positions.is_meta:
            self.positions = torch.empty_like(self.positions, device=torch.get_default_device())
        self.positions[0] = sincos_2d(self.grid, self.positions.shape[2]).to(self.positions)

    def undecayed(self) -> list[nn.Parameter]:
        """The mask token."""
        return [self.mask_token]
