"""The Pyramid Vision Transformer v2 (Wang et al. 2022, arXiv 2106.13797).

PVT with three changes: patches overlap, a depth-wise convolution inside the MLP tells a token what stands around it
(there are no positions, so any image size will do as it is), and keys may come from pooling to 7 x 7, whose cost is
linear in the number of pixels ("li"). Sizes: Table 1 of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from torch import Tensor, nn

from vitrail.contracts import Features, Fit, Published, Variant
from vitrail.layers.block import Activation, activate
from vitrail.layers.reduction import (
    FanOutConv2d,
    Grid,
    ReducedAttention,
    ReducedBlock,
    ReducingEmbed,
    as_map,
    as_tokens,
)
from vitrail.layers.stages import Level, Staged, StagesConfig, StageSizes, fit_stages


class PVTv2Config(StagesConfig):
    """What makes one PVT v2 differ from another."""

    pooling: Literal["mean", "map", "seq"] = "mean"
    linear: bool = False
    """Keys from pooling to 7 x 7 in every stage (sr_ratios then play no part), and a ReLU before the depth-wise
    convolution."""


class ConvMlp(nn.Module):
    """An MLP whose hidden map passes a depth-wise 3 x 3 convolution before the GELU: (B, N, D) on a grid -> (B, N, D).

    The convolution's zero padding is what tells a token where it stands. relu: rectify the hidden
    map first, as the linear variant does.
    """

    def __init__(self, width: int, hidden: int, activation: Activation, relu: bool) -> None:
        super().__init__()
        self.activation, self.relu = activation, relu
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = FanOutConv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        hidden: Tensor = self.fc1(x)  # (B, N, M)
        if self.relu:
            hidden = hidden.relu()
        hidden = as_tokens(self.dwconv(as_map(hidden, grid)))
        out: Tensor = self.fc2(activate(hidden, self.activation))  # (B, N, D)
        return out


class ConvBlock(ReducedBlock):
    """A block whose MLP sees the neighbours of a token."""

    def feed_forward(self, x: Tensor, grid: Grid) -> Tensor:
        out: Tensor = self.mlp(x, grid)
        return out


class PVTv2Level(Level):
    """One stage: overlapping patches, blocks, a norm."""

    def __init__(self, config: PVTv2Config, sizes: StageSizes) -> None:
        c, s = config, sizes
        embed = ReducingEmbed(
            s.in_channels, s.width, s.stride, overlap=True, eps=c.reduction_eps, convolution=FanOutConv2d
        )
        super().__init__(embed, [self._block(c, s, rate) for rate in s.drop_path])
        self.norm = nn.LayerNorm(s.width, eps=c.eps)

    @staticmethod
    def _block(config: PVTv2Config, sizes: StageSizes, drop_path: float) -> ConvBlock:
        attn = ReducedAttention(
            sizes.width, sizes.heads, sizes.ratio, eps=config.reduction_eps, convolution=FanOutConv2d,
            pooled=config.linear, activation=config.activation,
        )  # fmt: skip
        mlp = ConvMlp(sizes.width, sizes.hidden, config.activation, relu=config.linear)
        return ConvBlock(sizes.width, attn, mlp, eps=config.eps, drop_path=drop_path)

    def forward(self, maps: Tensor, grid: Grid) -> Tensor:
        """(B, C, H, W) -> (B, N, D)."""
        x: Tensor = self.patch_embed(maps)  # (B, N, D)
        for block in self.blocks:
            x = block(x, grid)  # (B, N, D)
        out: Tensor = self.norm(x)
        return out


class PVTv2(Staged):
    """Images (B, C, H, W) -> `Features` at stride 8P, with a pyramid at P, 2P, 4P, 8P: each stage after its norm."""

    def __init__(self, config: PVTv2Config) -> None:
        super().__init__(config)
        self.config = config
        self.levels = nn.ModuleList(PVTv2Level(config, sizes) for sizes in config.stages())

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        maps = [self.check(images)]
        for level, grid in zip(self.levels, self.grids, strict=True):
            tokens: Tensor = level(maps[-1], grid)  # (B, N_i, D_i)
            maps.append(as_map(tokens, grid))  # (B, D_i, h_i, w_i)
        return Features(tokens, self.grids[-1], tokens[:, :0], tuple(maps[1:]) if pyramid else None)

    def merging(self, number: int) -> nn.Module:
        """The norm that ends the stage before, and the patches."""
        return nn.ModuleList([cast(PVTv2Level, self.levels[number - 1]).norm, super().merging(number)])

    def undecayed(self) -> Iterator[nn.Parameter]:
        """None: there are neither tokens nor positions to learn."""
        yield from ()


def fit(config: PVTv2Config, image_size: int) -> Fit:
    """Patch and reduction ratios for images of this size: see `fit_stages`."""
    return fit_stages(config, image_size, pooled=config.linear)


ROWS: Mapping[str, tuple[dict[str, Any], float, float]] = {
    "pvt_v2_b0": ({"widths": (32, 64, 160, 256), "depths": (2, 2, 2, 2)}, 0.705, 0.70654),
    "pvt_v2_b1": ({"depths": (2, 2, 2, 2)}, 0.787, 0.78698),
    "pvt_v2_b2": ({"depths": (3, 4, 6, 3)}, 0.820, 0.82062),
    "pvt_v2_b2_li": ({"depths": (3, 4, 6, 3), "linear": True}, 0.821, 0.82200),
    "pvt_v2_b3": ({"depths": (3, 4, 18, 3)}, 0.831, 0.83120),
    "pvt_v2_b4": ({"depths": (3, 8, 27, 3)}, 0.836, 0.83710),
    "pvt_v2_b5": ({"depths": (3, 6, 40, 3), "mlp_ratios": (4, 4, 4, 4)}, 0.838, 0.83760),
}
"""Name -> what differs from `StagesConfig` (PVT v2, Table 1), ImageNet-1k top-1 at 224 px: the authors', timm's."""


def _variants() -> Iterator[Variant]:
    for name, (numbers, authors, timm) in ROWS.items():
        published = (
            Published(authors, 224, "whai362/PVT, classification/README.md", "1k"),
            Published(timm, 224, "timm results-imagenet.csv", "1k"),
        )
        config = PVTv2Config.model_validate(numbers)
        yield Variant(name, "pvt_v2", config, "PVT v2, Table 1", fit, published, "imagenet", crop_fraction=0.875)


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {name: name for name in ROWS}
"""The names carry neither patch nor image size, so each is its own short form."""
build = PVTv2
