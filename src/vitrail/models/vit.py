"""The Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929).

An image is cut into patches, each patch becomes a token, and an encoder of plain transformer blocks lets every token
look at every other from the first layer on. Sizes: Table 1 of the paper (B, L) and of DeiT (Ti, S).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.contracts import Features, Fit, Published, Stage, Variant
from vitrail.errors import UsageError
from vitrail.layers.block import Activation, Block
from vitrail.layers.initialise import Draw, normal, truncated_normal
from vitrail.layers.patch import PatchEmbed
from vitrail.layers.position import resize_positions, sincos_2d
from vitrail.layers.pyramid import resampled, strides_of
from vitrail.settings import Positive, Strict

Size = Annotated[int, Field(ge=1, le=65_536)]
"""No model comes near the limit: a config that does is a slip, or means harm."""


class ViTConfig(Strict):
    """What makes one ViT differ from another."""

    width: Size = 192
    depth: Annotated[int, Field(ge=1, le=512)] = 12
    heads: Size = 3
    hidden: Size = 768
    """Hidden width of the MLP."""
    patch_size: Positive = 16
    image_size: Positive | tuple[Positive, Positive] = 224
    """Pixels, one number for a square."""
    in_channels: Positive = 3
    cls: bool = True
    registers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Extra tokens that carry no position and are read by no head (arXiv 2309.16588)."""
    position: Literal["learned", "sincos", "none"] = "learned"
    pooling: Literal["cls", "mean", "map"] = "cls"
    qkv_bias: bool = True
    layer_scale: Annotated[float, Field(ge=0)] = 0.0
    """First value of LayerScale; 0 has none."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth of the last block, growing linearly from 0 at the first."""
    eps: Annotated[float, Field(gt=0)] = 1e-6
    """LayerNorm's, as in the JAX original and in timm; PyTorch's own default of 1e-5 gives other numbers."""
    activation: Activation = "gelu"

    @model_validator(mode="after")
    def _consistent(self) -> ViTConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.position == "sincos" and self.width % 4:
            raise ValueError(f"sincos positions need a width that is a multiple of 4, not {self.width}")
        if self.pooling == "cls" and not self.cls:
            raise ValueError("pooling=cls needs the CLS token: set cls=true, or pooling=mean")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size


class ViT(nn.Module):
    """Images (B, C, H, W) -> `Features` at stride P."""

    pos_embed: Tensor | None

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.width, self.in_channels = c.width, c.in_channels
        self.prefix_names = ("cls",) * c.cls + ("register",) * c.registers
        self.strides = strides_of(c.patch_size)
        self.channels = (c.width,) * len(self.strides)
        self.patch_embed = PatchEmbed(c.patch_size, c.in_channels, c.width)
        self.image_size = c.size
        self.grid = self.patch_embed.grid(c.size)
        places = c.cls + self.grid[0] * self.grid[1]
        self.cls_token = nn.Parameter(torch.empty(1, 1, c.width)) if c.cls else None
        self.registers = nn.Parameter(torch.empty(1, c.registers, c.width)) if c.registers else None
        if c.position == "learned":
            self.pos_embed = nn.Parameter(torch.empty(1, places, c.width))
        elif c.position == "sincos":
            self.register_buffer("pos_embed", torch.empty(1, places, c.width), persistent=False)
        else:
            self.pos_embed = None
        prefix = len(self.prefix_names)
        self.encoder = nn.ModuleList(
            Block(
                c.width, c.heads, c.hidden, prefix=prefix, eps=c.eps, qkv_bias=c.qkv_bias, layer_scale=c.layer_scale,
                drop_path=c.drop_path * i / max(1, c.depth - 1), activation=c.activation,
            )
            for i in range(c.depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(c.width, eps=c.eps)

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        x = self.embed(images)  # (B, T, D)
        for block in self.encoder:
            x = block(x)  # (B, T, D)
        x = self.norm(x)
        prefix, tokens = x[:, : len(self.prefix_names)], x[:, len(self.prefix_names) :]  # (B, K, D), (B, N, D)
        maps = resampled(tokens, self.grid, self.config.patch_size) if pyramid else None
        return Features(tokens, self.grid, prefix, maps)

    def embed(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, T, D): [CLS], registers, patches, with positions on CLS and patches."""
        if tuple(images.shape[1:]) != (self.in_channels, *self.image_size):
            got, want = tuple(images.shape[1:]), (self.in_channels, *self.image_size)
            raise UsageError(
                f"images are {got} (C, H, W) and the model is set to {want}: set_image_size, or resize them"
            )
        x: Tensor = self.patch_embed(images)  # (B, N, D)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, 1 + N, D)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        if self.registers is not None:
            cls, patches = x[:, : self.config.cls], x[:, self.config.cls :]
            x = torch.cat([cls, self.registers.expand(len(x), -1, -1), patches], dim=1)  # (B, K + N, D)
        return x

    def stem(self) -> nn.Module:
        """The patch embedding."""
        return self.patch_embed

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder blocks, in order."""
        return list(self.encoder)

    def stages(self) -> Sequence[Stage]:
        """One: every block works on the whole grid."""
        return [Stage(tuple(self.encoder), self.grid, len(self.prefix_names))]

    def undecayed(self) -> Iterator[nn.Parameter]:
        """Tokens and learned positions."""
        for parameter in (self.cls_token, self.registers, self.pos_embed):
            if isinstance(parameter, nn.Parameter):
                yield parameter

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Accept (H, W) from now on: learned positions are resized, fixed ones computed anew."""
        grid = self.patch_embed.grid(size)
        if self.pos_embed is not None and grid != self.grid:
            cls, patches = self.pos_embed[:, : self.config.cls], self.pos_embed[:, self.config.cls :]
            if isinstance(self.pos_embed, nn.Parameter):
                resized = torch.cat([cls, resize_positions(patches, self.grid, grid)], dim=1)
                self.pos_embed = nn.Parameter(resized.detach(), requires_grad=self.pos_embed.requires_grad)
            else:
                self.pos_embed = self.pos_embed.new_empty(1, self.config.cls + grid[0] * grid[1], self.width)
        self.image_size, self.grid = (size[0], size[1]), grid
        self.fill_buffers()

    def initialisers(self) -> Mapping[str, Draw]:
        """Tokens and positions; everything else has the defaults of its kind."""
        return {
            "cls_token": normal(1e-6),
            "registers": normal(1e-6),
            "pos_embed": truncated_normal(0.02),
        }

    def fill_buffers(self) -> None:
        """Write fixed positions, on the default device if they had no memory; CLS stands nowhere and gets zeros."""
        if self.config.position == "sincos" and self.pos_embed is not None:
            if self.pos_embed.is_meta:
                self.pos_embed = torch.empty_like(self.pos_embed, device=torch.get_default_device())
            self.pos_embed.zero_()
            self.pos_embed[0, int(self.config.cls) :] = sincos_2d(self.grid, self.width).to(self.pos_embed)


SIZES: Mapping[str, tuple[str, dict[str, int]]] = {
    "tiny": ("DeiT, Table 1 (Ti)", {"width": 192, "depth": 12, "heads": 3, "hidden": 768}),
    "small": ("DeiT, Table 1 (S)", {"width": 384, "depth": 12, "heads": 6, "hidden": 1536}),
    "base": ("ViT, Table 1 (B)", {"width": 768, "depth": 12, "heads": 12, "hidden": 3072}),
    "large": ("ViT, Table 1 (L)", {"width": 1024, "depth": 24, "heads": 16, "hidden": 4096}),
}
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "AugReg, ImageNet-21k then 1k, timm results-imagenet.csv": {
        "vit_tiny_patch16_224": 0.75452, "vit_small_patch16_224": 0.81402, "vit_small_patch32_224": 0.76010,
        "vit_base_patch16_224": 0.84534, "vit_base_patch32_224": 0.80732, "vit_large_patch16_224": 0.85856,
        "vit_tiny_patch16_384": 0.78438, "vit_small_patch16_384": 0.83814, "vit_base_patch16_384": 0.86010,
        "vit_large_patch16_384": 0.87096,
    },
    "AugReg, ImageNet-21k then 1k, google-research/vision_transformer README": {
        "vit_tiny_patch16_384": 0.7822, "vit_small_patch32_384": 0.7958, "vit_small_patch16_384": 0.8373,
        "vit_base_patch32_384": 0.8359, "vit_base_patch16_384": 0.8549, "vit_large_patch16_384": 0.8559,
    },
}  # fmt: skip
"""Where a figure was read -> model -> ImageNet-1k top-1."""


def fit(config: ViTConfig, image_size: int) -> Fit:
    """The largest patch that leaves 64 tokens, or 16 of an image under 32 pixels."""
    wanted = 64 if image_size >= 32 else 16
    patches = [p for p in (16, 14, 12, 8, 7, 6, 4, 2) if image_size % p == 0 and (image_size // p) ** 2 >= wanted]
    patch = patches[0] if patches else 1
    why = (
        f"{image_size}/{patch} = {image_size // patch} patches a side: the largest that leaves at least {wanted} tokens"
    )
    return Fit({"patch_size": patch}, why)


def _variants() -> Iterator[Variant]:
    for size, (source, numbers) in SIZES.items():
        for patch, image in ((8, 224), (14, 224), (16, 224), (32, 224), (16, 384), (32, 384)):
            name = f"vit_{size}_patch{patch}_{image}"
            published = tuple(Published(top1[name], image, where) for where, top1 in PUBLISHED.items() if name in top1)
            config = ViTConfig.model_validate({**numbers, "patch_size": patch, "image_size": image})
            yield Variant(name, "vit", config, source, fit, published, "half")


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {f"vit_{size}": f"vit_{size}_patch16_224" for size in SIZES}
build = ViT
