"""Four stages on grids that halve, each of spatially reduced attention: what PVT and PVT v2 share beyond the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.contracts import Fit, Stage
from vitrail.errors import UsageError
from vitrail.layers.block import Activation
from vitrail.layers.reduction import Grid, ReducingEmbed
from vitrail.settings import Positive, Strict

STAGES = 4
FOUR = range(STAGES)

Size = Annotated[int, Field(ge=1, le=65_536)]
Ratio = Annotated[int, Field(ge=1, le=64)]
Depth = Annotated[int, Field(ge=1, le=512)]
"""No model comes near the limits: a config that does is a slip, or means harm."""


class StagesConfig(Strict):
    """What makes one model of four stages differ from another; a tuple has a number for each stage."""

    widths: tuple[Size, Size, Size, Size] = (64, 128, 320, 512)
    depths: tuple[Depth, Depth, Depth, Depth] = (2, 2, 2, 2)
    heads: tuple[Size, Size, Size, Size] = (1, 2, 5, 8)
    mlp_ratios: tuple[Ratio, Ratio, Ratio, Ratio] = (8, 8, 4, 4)
    """Hidden width of the MLP over the stage's width."""
    sr_ratios: tuple[Ratio, Ratio, Ratio, Ratio] = (8, 4, 2, 1)
    """Side of the square of cells that becomes one key."""
    patch_size: Annotated[int, Field(ge=1, le=64)] = 4
    """Stride of the first stage, in pixels; each later stage halves the grid."""
    image_size: Positive | tuple[Positive, Positive] = 224
    """Pixels, one number for a square."""
    in_channels: Positive = 3
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth of the last block, growing linearly from 0 at the first."""
    eps: Annotated[float, Field(gt=0)] = 1e-6
    """Of the blocks' LayerNorms and of those that end a stage or the model."""
    reduction_eps: Annotated[float, Field(gt=0)] = 1e-5
    """Of the LayerNorms after a reducing convolution, in attention and in the patch embeddings. The authors' code
    leaves these at PyTorch's default and transformers does not, so a checkpoint says which it was trained with."""
    activation: Activation = "gelu"

    @model_validator(mode="after")
    def _divided(self) -> StagesConfig:
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"width {width} is not a multiple of heads {heads}")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    def stages(self) -> list[StageSizes]:
        """The same numbers, stage by stage."""
        last = max(1, sum(self.depths) - 1)
        rates = [self.drop_path * i / last for i in range(sum(self.depths))]
        starts = [sum(self.depths[:i]) for i in FOUR]
        return [
            StageSizes(
                in_channels=self.widths[i - 1] if i else self.in_channels,
                width=self.widths[i],
                heads=self.heads[i],
                hidden=self.mlp_ratios[i] * self.widths[i],
                ratio=self.sr_ratios[i],
                stride=2 if i else self.patch_size,
                drop_path=tuple(rates[starts[i] : starts[i] + self.depths[i]]),
            )
            for i in FOUR
        ]


@dataclass(frozen=True)
class StageSizes:
    """One stage: channels it takes, D, A, M, R, stride, and a rate of stochastic depth for each of its blocks."""

    in_channels: int
    width: int
    heads: int
    hidden: int
    ratio: int
    stride: int
    drop_path: tuple[float, ...]


class Level(nn.Module):
    """The modules of one stage: a coarser map, then blocks on it. Families add positions or a norm."""

    def __init__(self, patch_embed: ReducingEmbed, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)


class Staged(nn.Module):
    """Geometry of a backbone of four stages; a family adds how its levels are chained.

    Any image size will do: grids are (ceil(H / s), ceil(W / s)) at strides s = P, 2P, 4P, 8P.
    """

    prefixes = (0,) * STAGES
    """Leading tokens of each stage that stand nowhere."""
    prefix_names: tuple[str, ...] = ()

    def __init__(self, config: StagesConfig) -> None:
        super().__init__()
        self.width, self.in_channels = config.widths[-1], config.in_channels
        self.strides = tuple(config.patch_size * 2**i for i in FOUR)
        self.channels: tuple[int, ...] = config.widths
        self.image_size = config.size
        self.grids = self._grids(config.size)

    def _grids(self, size: tuple[int, int]) -> list[Grid]:
        return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.strides]

    def _levels(self) -> list[Level]:
        return cast(list[Level], list(cast(nn.ModuleList, self.levels)))

    def check(self, images: Tensor) -> Tensor:
        """The images, if they are (B, C, H, W) as the model is set to; UsageError otherwise."""
        got, want = tuple(images.shape[1:]), (self.in_channels, *self.image_size)
        if got != want:
            raise UsageError(
                f"images are {got} (C, H, W) and the model is set to {want}: set_image_size, or resize them"
            )
        return images

    def stem(self) -> nn.Module:
        """The first stage's patch embedding."""
        return self._levels()[0].patch_embed

    def blocks(self) -> Sequence[nn.Module]:
        """The blocks of all stages, in order."""
        return [block for level in self._levels() for block in level.blocks]

    def stages(self) -> Sequence[Stage]:
        """Four, each on the cells of the one before."""
        before = (None, *self.grids[:-1])
        return [
            Stage(tuple(level.blocks), grid, prefix, level.patch_embed.cells(last), self.merging(number))
            if last
            else Stage(tuple(level.blocks), grid, prefix)
            for number, (level, grid, prefix, last) in enumerate(
                zip(self._levels(), self.grids, self.prefixes, before, strict=True)
            )
        ]

    def merging(self, number: int) -> nn.Module:
        """What makes the tokens of stage `number` of those of the one before; a family adds what else it has there."""
        return self._levels()[number].patch_embed

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Accept (H, W) from now on."""
        if min(size) < 1:
            raise UsageError(f"image size {size[0]} x {size[1]} has no pixels")
        self.image_size, self.grids = (size[0], size[1]), self._grids(size)


THIRD = 8
KEYS = 4
"""Tokens a side that the third stage, which has most of the blocks, should have; keys a side that a stage should have.
At the published 224 px they are 14 and 7."""


def fit_stages(config: StagesConfig, image_size: int, pooled: bool = False) -> Fit:
    """The largest patch of 4, 2 or 1 px that leaves the third stage 8 tokens a side, and ratios that leave 4 keys.

    A ratio is the published one or that halved until at least 4 keys a side are left, or all there are. pooled: keys
    come from pooling, and there is no ratio to choose.
    """
    patch = next((p for p in (4, 2) if -(-image_size // (4 * p)) >= THIRD), 1)
    sides = [-(-image_size // (patch * 2**i)) for i in FOUR]
    shape = f"{image_size} px in patches of {patch}: stages of {_list(sides)} tokens a side"
    if pooled:
        return Fit({"patch_size": patch}, f"{shape}, each pooled to 7 x 7 keys")
    ratios = tuple(_ratio(side, ratio) for side, ratio in zip(sides, config.sr_ratios, strict=True))
    keys = [side // ratio for side, ratio in zip(sides, ratios, strict=True)]
    asked = "as published" if ratios == config.sr_ratios else f"at least {KEYS} where there are so many"
    why = f"{shape}, reduced {_list(ratios)} times to {_list(keys)} keys a side ({asked})"
    return Fit({"patch_size": patch, "sr_ratios": ratios}, why)


def _ratio(side: int, ratio: int) -> int:
    while ratio > 1 and side // ratio < KEYS:
        ratio //= 2
    return ratio


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
