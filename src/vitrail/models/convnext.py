"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545), made of torchvision's own blocks.

A convolutional network laid out like Swin: patches, four stages, LayerNorm, an MLP in each block, and a 7 x 7
convolution per channel where Swin has windowed attention. Sizes: section 3 of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, cast

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock, LayerNorm2d

from vitrail.contracts import CellMap, Features, Published, Variant
from vitrail.layers.block import Activation
from vitrail.layers.cells import kernel_cells
from vitrail.layers.convolutional import Convolutional, ConvolutionalConfig, Depth, Grid, Size, WholeStrideConv2d, fit
from vitrail.layers.initialise import Draw, constant, truncated_normal
from vitrail.layers.pooled_norm import PooledLayerNorm


class ConvNeXtConfig(ConvolutionalConfig):
    """What makes one ConvNeXt differ from another."""

    width: Size = 96
    depths: tuple[Depth, Depth, Depth, Depth] = (3, 3, 9, 3)
    layer_scale: Annotated[float, Field(gt=0)] = 1e-6
    """First value of LayerScale."""
    eps: Annotated[float, Field(gt=0)] = 1e-6
    """LayerNorm's."""
    final_eps: Annotated[float, Field(gt=0)] | None = None
    """Of the last norm, `eps` by default; the files of transformers have another there."""
    activation: Activation = "gelu"


class ConvNeXt(Convolutional):
    """Images (B, C, H, W) -> `Features` at stride 8P, with a pyramid at P, 2P, 4P, 8P; tokens are the last map's cells.

    The paper's last norm stands after pooling. Here each cell is normalised with the statistics of the mean of all, so
    that their mean is what the paper's classifier reads (see `PooledLayerNorm`).
    """

    def __init__(self, config: ConvNeXtConfig) -> None:
        c = self.config = config
        super().__init__(c, c.widths)
        norm = partial(LayerNorm2d, eps=c.eps)
        steps: list[nn.Module] = []
        for number, (width, rates) in enumerate(zip(c.widths, c.rates(), strict=True)):
            if number:
                before = c.widths[number - 1]
                steps.append(nn.Sequential(norm(before), WholeStrideConv2d(before, width, 2)))
            else:
                steps.append(nn.Sequential(WholeStrideConv2d(c.in_channels, width, c.patch_size), norm(width)))
            steps.append(nn.Sequential(*(self._block(width, rate) for rate in rates)))
        self.body = nn.ModuleDict({"features": nn.Sequential(*steps)})
        self.norm = PooledLayerNorm(self.width, eps=c.final_eps or c.eps)

    def _block(self, width: int, drop_path: float) -> nn.Module:
        """A block of torchvision with our epsilon and activation; its stochastic depth is torchvision's."""
        c = self.config
        block: nn.Module = CNBlock(width, c.layer_scale, drop_path, partial(nn.LayerNorm, eps=c.eps))
        if c.activation == "gelu_tanh":
            cast(nn.Sequential, block.block)[4] = nn.GELU(approximate="tanh")
        return block

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        x = self.check(images)
        maps = []
        for number, step in enumerate(self._features()):
            x = step(x)  # (B, C_i, h_i, w_i)
            if number % 2:
                maps.append(x)
        tokens = self.norm(x.flatten(2).transpose(1, 2))  # (B, N, D)
        last = tokens.transpose(1, 2).reshape(x.shape)  # (B, D, h, w)
        return Features(tokens, self.grids[-1], tokens[:, :0], (*maps[:-1], last) if pyramid else None)

    def _features(self) -> nn.Sequential:
        """Stem, blocks, and so on in turn: what makes a map coarser, then blocks on it."""
        return cast(nn.Sequential, self.body["features"])

    def stem(self) -> nn.Module:
        """The patches and their norm."""
        return self._features()[0]

    def levels(self) -> list[nn.Sequential]:
        """The blocks of each stage."""
        return [cast(nn.Sequential, step) for step in list(self._features())[1::2]]

    def entry(self, grid: Grid) -> CellMap:
        """A stage begins with a 2 x 2 convolution of stride 2."""
        return kernel_cells(grid, 2, 2, ceil=True)

    def merging(self, number: int) -> nn.Module:
        """The norm and the convolution before the stage's blocks."""
        return self._features()[2 * number]

    def undecayed(self) -> Iterator[nn.Parameter]:
        """LayerScale, which torchvision keeps as (D, 1, 1)."""
        for block in self.blocks():
            yield cast(nn.Parameter, block.layer_scale)

    def initialisers_of(self, module: nn.Module) -> Mapping[str, Draw]:
        """Convolutions and linear layers as truncated normal 0.02 with bias 0, as in the paper; norms are default."""
        if isinstance(module, CNBlock):
            return {"layer_scale": constant(self.config.layer_scale)}
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            return {"weight": truncated_normal(0.02), "bias": constant(0.0)}
        return {}


TORCHVISION, PAPER = "torchvision IMAGENET1K_V1", "ConvNeXt, Table 1"
ROWS: Mapping[str, tuple[int, tuple[int, int, int, int], float, Mapping[str, float]]] = {
    "convnext_tiny": (96, (3, 3, 9, 3), 224 / 236, {TORCHVISION: 0.82520, PAPER: 0.821}),
    "convnext_small": (96, (3, 3, 27, 3), 224 / 230, {TORCHVISION: 0.83616, PAPER: 0.831}),
    "convnext_base": (128, (3, 3, 27, 3), 224 / 232, {TORCHVISION: 0.84062, PAPER: 0.838}),
}
"""Name -> width and depths (ConvNeXt, section 3), torchvision's crop fraction, ImageNet-1k top-1 at 224 px by where it
was read."""


def _variants() -> Iterator[Variant]:
    for name, (width, depths, crop, top1) in ROWS.items():
        published = tuple(Published(accuracy, 224, where, "1k") for where, accuracy in top1.items())
        config = ConvNeXtConfig(width=width, depths=depths)
        yield Variant(
            name, "convnext", config, "ConvNeXt, section 3", fit, published, "imagenet",
            crop_fraction=crop, interpolation="bilinear",
        )  # fmt: skip


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {name: name for name in ROWS}
"""The names carry neither patch nor image size, so each is its own short form."""
build = ConvNeXt
