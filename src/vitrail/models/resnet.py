"""The residual network (He et al. 2016, arXiv 1512.03385), of torchvision's own blocks: the CNN to measure against.

For images under 64 pixels the stem is one 3 x 3 convolution without pooling, as section 4.2 of the paper has it for
CIFAR. The stem for ImageNet would leave 32-pixel images a single cell in the end, which has been published more than
once as "ResNet on CIFAR" and costs it five points (reference table 2.6). Sizes: Table 1 of the paper; the bottleneck
halves the grid in its 3 x 3 convolution, as torchvision has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Literal, cast

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from vitrail.contracts import CellMap, Features, Published, Variant
from vitrail.layers.block import DropPath
from vitrail.layers.cells import kernel_cells
from vitrail.layers.convolutional import STAGES, Convolutional, ConvolutionalConfig, Grid, fit
from vitrail.layers.initialise import Draw, normal

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNetConfig(ConvolutionalConfig):
    """What makes one ResNet differ from another."""

    block: Literal["basic", "bottleneck"] = "basic"
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1 with four times the channels at the end."""
    eps: Annotated[float, Field(gt=0)] = 1e-5
    """BatchNorm's."""


class BranchNorm(nn.BatchNorm2d):
    """The norm that ends a residual branch, and stochastic depth of that branch (arXiv 1603.09382)."""

    def __init__(self, width: int, eps: float, drop_path: float) -> None:
        super().__init__(width, eps=eps)
        self.drop_path = DropPath(drop_path)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.drop_path(super().forward(maps))  # (B, C, h, w)
        return out


class ResNet(Convolutional):
    """Images (B, C, H, W) -> `Features` at stride 8P, with a pyramid at P, 2P, 4P, 8P; tokens are the last map's cells.

    P is 4 with the stem for ImageNet, 2 with the same and no pooling, 1 with a 3 x 3 convolution in its place.
    """

    def __init__(self, config: ResNetConfig) -> None:
        c = self.config = config
        expansion: int = BLOCKS[c.block].expansion
        super().__init__(c, [width * expansion for width in c.widths])
        kernel, stride = (3, 1) if c.patch_size == 1 else (7, 2)
        conv1 = nn.Conv2d(c.in_channels, c.width, kernel, stride, padding=kernel // 2, bias=False)
        bn1 = nn.BatchNorm2d(c.width, eps=c.eps)
        pool = [nn.MaxPool2d(3, 2, padding=1)] if c.patch_size == 4 else []
        # in a tuple, so that its parameters have one name: torchvision's
        self._stem = (nn.Sequential(conv1, bn1, nn.ReLU(inplace=True), *pool),)
        self.body = nn.ModuleDict({"conv1": conv1, "bn1": bn1})
        entering = (c.width, *self.channels)
        for number, (width, rates) in enumerate(zip(c.widths, c.rates(), strict=True)):
            blocks = [
                self._block(width, rate, entering[number] if i == 0 else self.channels[number], halves=i == 0 < number)
                for i, rate in enumerate(rates)
            ]
            self.body[f"layer{number + 1}"] = nn.Sequential(*blocks)

    def _block(self, width: int, drop_path: float, entering: int, halves: bool) -> nn.Module:
        """A block of torchvision, its last norm replaced by one that knows stochastic depth."""
        c = self.config
        made, leaving, stride = BLOCKS[c.block], width * BLOCKS[c.block].expansion, 2 if halves else 1
        shortcut = None
        if halves or entering != leaving:
            shortcut = nn.Sequential(conv1x1(entering, leaving, stride), nn.BatchNorm2d(leaving, eps=c.eps))
        block: nn.Module = made(entering, width, stride, shortcut, norm_layer=partial(nn.BatchNorm2d, eps=c.eps))
        setattr(block, "bn2" if c.block == "basic" else "bn3", BranchNorm(leaving, c.eps, drop_path))
        return block

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        x = self._stem[0](self.check(images))  # (B, width, h_1, w_1)
        maps = []
        for level in self.levels():
            x = level(x)  # (B, C_i, h_i, w_i)
            maps.append(x)
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, D)
        return Features(tokens, self.grids[-1], tokens[:, :0], tuple(maps) if pyramid else None)

    def stem(self) -> nn.Module:
        """The first convolution with its norm, and the pooling where there is one."""
        return self._stem[0]

    def levels(self) -> list[nn.Sequential]:
        """The blocks of each stage."""
        return [cast(nn.Sequential, self.body[f"layer{number + 1}"]) for number in range(STAGES)]

    def entry(self, grid: Grid) -> CellMap:
        """A stage begins with a 3 x 3 convolution of stride 2."""
        return kernel_cells(grid, 3, 2, 1)

    def initialisers_of(self, module: nn.Module) -> Mapping[str, Draw]:
        """Convolutions as Normal(0, sqrt(2 / fan_out)) (arXiv 1502.01852), as torchvision has it; norms are default."""
        if isinstance(module, nn.Conv2d):
            return {"weight": normal(math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size))))}
        return {}


V1, V2 = "torchvision IMAGENET1K_V1", "torchvision IMAGENET1K_V2"
ROWS: Mapping[str, tuple[Literal["basic", "bottleneck"], tuple[int, int, int, int], Mapping[str, float]]] = {
    "resnet18": ("basic", (2, 2, 2, 2), {V1: 0.69758}),
    "resnet34": ("basic", (3, 4, 6, 3), {V1: 0.73314}),
    "resnet50": ("bottleneck", (3, 4, 6, 3), {V1: 0.76130, V2: 0.80858}),
    "resnet101": ("bottleneck", (3, 4, 23, 3), {V1: 0.77374, V2: 0.81886}),
}
"""Name -> block, depths (ResNet, Table 1), ImageNet-1k top-1 at 224 px by where it was read."""


def _variants() -> Iterator[Variant]:
    for name, (block, depths, top1) in ROWS.items():
        published = tuple(Published(accuracy, 224, where, "1k") for where, accuracy in top1.items())
        config = ResNetConfig(block=block, depths=depths)
        yield Variant(
            name, "resnet", config, "ResNet, Table 1", fit, published, "imagenet",
            crop_fraction=0.875, interpolation="bilinear",
        )  # fmt: skip


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {name: name for name in ROWS}
"""The names carry neither patch nor image size, so each is its own short form."""
build = ResNet
