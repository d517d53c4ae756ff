"""The Pyramid Vision Transformer (Wang et al. 2021, arXiv 2102.12122).

A transformer with the pyramid of a CNN: four stages on grids that halve, patches of 4 pixels in the first. Attention on
grids that fine is paid for by reducing the map that keys and values come from. Only the last stage has a [CLS] token.
Sizes: Table 1 of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn

from vitrail.contracts import Features, Fit, Published, Variant
from vitrail.layers.block import Mlp
from vitrail.layers.initialise import Draw, truncated_normal
from vitrail.layers.position import resize_positions
from vitrail.layers.reduction import Grid, ReducedAttention, ReducedBlock, ReducingEmbed, as_map
from vitrail.layers.stages import Level, Staged, StagesConfig, StageSizes, fit_stages


class PVTConfig(StagesConfig):
    """What makes one PVT differ from another."""

    pooling: Literal["cls", "mean", "map", "seq"] = "cls"

    @model_validator(mode="after")
    def _unreduced(self) -> PVTConfig:
        if self.sr_ratios[-1] != 1:
            raise ValueError(f"the last of sr_ratios must be 1, not {self.sr_ratios[-1]}: [CLS] stands on no grid")
        return self


class PVTLevel(Level):
    """One stage: patches, their positions (the row of [CLS] first, where there is one), blocks."""

    def __init__(self, config: PVTConfig, sizes: StageSizes, grid: Grid, prefix: int) -> None:
        c, s = config, sizes
        embed = ReducingEmbed(
            s.in_channels, s.width, s.stride, overlap=False, eps=c.reduction_eps, convolution=nn.Conv2d
        )
        super().__init__(embed, [self._block(c, s, prefix, rate) for rate in s.drop_path])
        self.prefix = prefix
        self.pos_embed = nn.Parameter(torch.empty(1, prefix + grid[0] * grid[1], s.width))

    @staticmethod
    def _block(config: PVTConfig, sizes: StageSizes, prefix: int, drop_path: float) -> ReducedBlock:
        attn = ReducedAttention(
            sizes.width, sizes.heads, sizes.ratio, eps=config.reduction_eps, convolution=nn.Conv2d, prefix=prefix
        )
        mlp = Mlp(sizes.width, sizes.hidden, config.activation)
        return ReducedBlock(sizes.width, attn, mlp, eps=config.eps, drop_path=drop_path)

    def forward(self, maps: Tensor, grid: Grid, cls: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, K + N, D)."""
        x: Tensor = self.patch_embed(maps)  # (B, N, D)
        if cls is not None:
            x = torch.cat([cls.expand(len(x), -1, -1), x], dim=1)  # (B, 1 + N, D)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x, grid)  # (B, K + N, D)
        return x

    def resize(self, old: Grid, new: Grid) -> None:
        """Positions of the patches to another grid; that of [CLS] stays."""
        cls, patches = self.pos_embed[:, : self.prefix], self.pos_embed[:, self.prefix :]
        resized = torch.cat([cls, resize_positions(patches, old, new)], dim=1)
        self.pos_embed = nn.Parameter(resized.detach(), requires_grad=self.pos_embed.requires_grad)

    def initialisers(self) -> Mapping[str, Draw]:
        return {"pos_embed": truncated_normal(0.02)}


class PVT(Staged):
    """Images (B, C, H, W) -> `Features` at stride 8P, with a pyramid at P, 2P, 4P, 8P.

    The pyramid holds what each stage hands on, and of the last the tokens after the final norm.
    """

    prefixes = (0, 0, 0, 1)
    prefix_names = ("cls",)

    def __init__(self, config: PVTConfig) -> None:
        super().__init__(config)
        self.config = config
        sized = zip(config.stages(), self.grids, self.prefixes, strict=True)
        self.levels = nn.ModuleList(PVTLevel(config, sizes, grid, prefix) for sizes, grid, prefix in sized)
        self.cls_token = nn.Parameter(torch.empty(1, 1, self.width))
        self.norm = nn.LayerNorm(self.width, eps=config.eps)

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        maps = [self.check(images)]
        for level, grid in zip(self.levels[:-1], self.grids, strict=False):
            maps.append(as_map(level(maps[-1], grid, None), grid))  # (B, D_i, h_i, w_i)
        x = self.norm(self.levels[-1](maps[-1], self.grids[-1], self.cls_token))  # (B, 1 + N, D)
        prefix, tokens = x[:, :1], x[:, 1:]  # (B, 1, D), (B, N, D)
        levels = (*maps[1:], as_map(tokens, self.grids[-1])) if pyramid else None
        return Features(tokens, self.grids[-1], prefix, levels)

    def merging(self, number: int) -> nn.Module:
        """The patches with their positions and, in the last stage, [CLS]."""
        level = cast(PVTLevel, self.levels[number])
        placed = [level.pos_embed, *([self.cls_token] if level.prefix else [])]
        return nn.ModuleList([level.patch_embed, nn.ParameterList(placed)])

    def positions(self) -> Tensor:
        """What is added to each patch of the first stage for its place, (N, D)."""
        first = cast(PVTLevel, self.levels[0])
        return first.pos_embed[0, first.prefix :]

    def undecayed(self) -> Iterator[nn.Parameter]:
        """[CLS] and the positions of each stage."""
        yield self.cls_token
        for level in self.levels:
            yield cast(PVTLevel, level).pos_embed

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Accept (H, W) from now on: the positions of each stage are resized to its grid."""
        old = self.grids
        super().set_image_size(size)
        for level, before, now in zip(self.levels, old, self.grids, strict=True):
            if before != now:
                cast(PVTLevel, level).resize(before, now)

    def initialisers(self) -> Mapping[str, Draw]:
        """[CLS]; everything else has the defaults of its kind."""
        return {"cls_token": truncated_normal(0.02)}


def fit(config: PVTConfig, image_size: int) -> Fit:
    """Patch and reduction ratios for images of this size: see `fit_stages`."""
    return fit_stages(config, image_size)


ROWS: Mapping[str, tuple[tuple[int, int, int, int], float]] = {
    "pvt_tiny": ((2, 2, 2, 2), 0.751),
    "pvt_small": ((3, 4, 6, 3), 0.798),
    "pvt_medium": ((3, 4, 18, 3), 0.812),
    "pvt_large": ((3, 8, 27, 3), 0.817),
}
"""Name -> depths (PVT, Table 1), ImageNet-1k top-1 at 224 px (whai362/PVT, classification/README.md)."""


def _variants() -> Iterator[Variant]:
    for name, (depths, top1) in ROWS.items():
        published = (Published(top1, 224, "whai362/PVT, classification/README.md", "1k"),)
        config = PVTConfig(depths=depths)
        yield Variant(name, "pvt", config, "PVT, Table 1", fit, published, "imagenet", crop_fraction=0.875)


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {name: name for name in ROWS}
"""The names carry neither patch nor image size, so each is its own short form."""
build = PVT
