"""Four stages of residual convolutions on grids that halve: what ResNet and ConvNeXt share as backbones.

Their blocks are torchvision's; here stand the settings, the geometry and the contract around them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.contracts import CellMap, Fit, Stage
from vitrail.errors import UsageError
from vitrail.settings import Positive, Strict

Grid = tuple[int, int]
STAGES = 4

Size = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=1, le=512)]
"""No model comes near the limits: a config that does is a slip, or means harm."""


class ConvolutionalConfig(Strict):
    """What makes one model of four convolutional stages differ from another."""

    width: Size = 64
    """Channels of the stem; they double from stage to stage."""
    depths: tuple[Depth, Depth, Depth, Depth] = (2, 2, 2, 2)
    """Residual blocks of each stage."""
    patch_size: Literal[1, 2, 4] = 4
    """Stride of the stem, in pixels; each stage after the first halves the grid."""
    image_size: Positive | tuple[Positive, Positive] = 224
    """Pixels, one number for a square; any size will do."""
    in_channels: Positive = 3
    pooling: Literal["mean", "map", "seq"] = "mean"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth of the last block, growing linearly from 0 at the first."""

    @property
    def size(self) -> Grid:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage, inside its blocks."""
        return tuple(self.width << stage for stage in range(STAGES))

    def rates(self) -> list[list[float]]:
        """Stochastic depth of each block, stage by stage."""
        last = max(1, sum(self.depths) - 1)
        rates = iter([self.drop_path * i / last for i in range(sum(self.depths))])
        return [[next(rates) for _ in range(depth)] for depth in self.depths]


class Convolutional(nn.Module, ABC):
    """Geometry of a backbone of four stages; a family adds its modules and how they are chained.

    Any image size will do: grids are (ceil(H / s), ceil(W / s)) at strides s = P, 2P, 4P, 8P.
    """

    prefix_names: tuple[str, ...] = ()

    def __init__(self, config: ConvolutionalConfig, channels: Sequence[int]) -> None:
        super().__init__()
        self.in_channels = config.in_channels
        self.strides = tuple(config.patch_size << stage for stage in range(STAGES))
        self.channels = tuple(channels)
        self.width = self.channels[-1]
        self.image_size = config.size

    @property
    def grids(self) -> list[Grid]:
        """(h, w) of each stage."""
        height, width = self.image_size
        return [(-(-height // stride), -(-width // stride)) for stride in self.strides]

    def check(self, images: Tensor) -> Tensor:
        """The images, if they are (B, C, H, W) as the model is set to; UsageError otherwise."""
        got, want = tuple(images.shape[1:]), (self.in_channels, *self.image_size)
        if got != want:
            raise UsageError(
                f"images are {got} (C, H, W) and the model is set to {want}: set_image_size, or resize them"
            )
        return images

    @abstractmethod
    def levels(self) -> list[nn.Sequential]:
        """The blocks of each stage."""

    @abstractmethod
    def entry(self, grid: Grid) -> CellMap:
        """The cells of a stage over those of the stage before, which stand on `grid`."""

    def blocks(self) -> Sequence[nn.Module]:
        """The residual blocks of all stages, in order."""
        return [block for level in self.levels() for block in level]

    def stages(self) -> Sequence[Stage]:
        """Four, each on the cells of the one before."""
        before = (None, *self.grids[:-1])
        return [
            Stage(tuple(level), grid, entry=self.entry(last), merge=self.merging(number))
            if last
            else Stage(tuple(level), grid)
            for number, (level, grid, last) in enumerate(zip(self.levels(), self.grids, before, strict=True))
        ]

    def merging(self, number: int) -> nn.Module | None:
        """What makes the map of stage `number` of the one before, or None where its first block does."""
        return None

    def undecayed(self) -> Iterator[nn.Parameter]:
        """None beyond biases and norms: there are no tokens and no positions."""
        yield from ()

    def set_image_size(self, size: Grid) -> None:
        """Accept (H, W) from now on."""
        if min(size) < 1:
            raise UsageError(f"image size {size[0]} x {size[1]} has no pixels")
        self.image_size = (size[0], size[1])


class WholeStrideConv2d(nn.Conv2d):
    """A convolution whose kernel is its stride, on a map padded with zeros at the bottom and right to whole strides.

    (B, C, H, W) -> (B, D, ceil(H / s), ceil(W / s)): without the padding, rows and columns that are left over would
    not be seen.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=stride, stride=stride)
        self.side = stride

    def forward(self, maps: Tensor) -> Tensor:
        below, right = (-side % self.side for side in maps.shape[2:])
        return super().forward(F.pad(maps, (0, right, 0, below)) if below or right else maps)


LEAST = 4
"""Cells a side that the last stage should have; at the published 224 px it has 7."""


def fit(config: ConvolutionalConfig, image_size: int) -> Fit:
    """The largest patch of 4, 2 and 1 px that leaves the last stage 4 cells a side: 1 under 64 px."""
    patch = next((p for p in (4, 2) if image_size >= LEAST * 8 * p), 1)
    sides = [-(-image_size // (patch << stage)) for stage in range(STAGES)]
    enough = f"the largest that leaves the last {LEAST}" if sides[-1] >= LEAST else "the finest there is"
    why = (
        f"{image_size} px under a stem of stride {patch}: stages of {', '.join(map(str, sides))} cells a side, {enough}"
    )
    return Fit({"patch_size": patch}, why)
