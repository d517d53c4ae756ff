"""The Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929).

An image is cut into patches, each patch becomes a token, and an encoder of plain transformer blocks lets every token
look at every other from the first layer on. Sizes up to H: Table 1 of the paper and of DeiT. So400m (SoViT), g and G
(Zhai et al.), e (PaLI) and 22B have no [CLS] in their papers and pool by attention (MAP).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.contracts import Features, Fit, Published, Stage, Variant
from vitrail.errors import UsageError
from vitrail.layers.block import Activation, Block, BlockShape, ParallelBlock
from vitrail.layers.initialise import Draw, normal, truncated_normal
from vitrail.layers.norm import Norm, normalise
from vitrail.layers.position import resize_positions, sincos_2d
from vitrail.layers.pyramid import resampled, strides_of
from vitrail.layers.tokenizers import Stem, strides_to, tokenizer
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
    cls_position: bool = True
    """Whether [CLS] has a position of its own; without, positions are added to the patches before it joins them."""
    pooling: Literal["cls", "mean", "map", "seq"] = "cls"
    stem: Stem = "patch"
    """conv: convolutions of stride 2 down to the patch (arXiv 2106.14881).  shifted: patches that see half of each
    neighbour (SPT, arXiv 2112.13492)."""
    locality: bool = False
    """Heads learn their temperature, and no token looks at itself (LSA, arXiv 2112.13492)."""
    qkv_bias: bool = True
    qk_norm: bool = False
    """Queries and keys are normalised before they meet."""
    parallel: bool = False
    """Attention and MLP read the same tokens, side by side, instead of one after the other."""
    norm: Norm = "layer"
    layer_scale: Annotated[float, Field(ge=0)] = 0.0
    """First value of LayerScale; 0 has none."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth of the last block."""
    drop_path_rule: Literal["linear", "constant"] = "linear"
    """From 0 at the first block up to the last, or the same at all."""
    eps: Annotated[float, Field(gt=0)] = 1e-6
    """The norms', as in the JAX original and in timm; PyTorch's own default of 1e-5 gives other numbers."""
    activation: Activation = "gelu"

    @model_validator(mode="after")
    def _consistent(self) -> ViTConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.position == "sincos" and self.width % 4:
            raise ValueError(f"sincos positions need a width that is a multiple of 4, not {self.width}")
        if self.pooling == "cls" and not self.cls:
            raise ValueError("pooling=cls needs the CLS token: set cls=true, or pooling=mean")
        if self.stem == "conv":
            strides_to(self.patch_size)
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def leading(self) -> tuple[str, ...]:
        """Prefix tokens that stand before the registers."""
        return ("cls",) * self.cls

    @property
    def placed(self) -> int:
        """How many of those have a position; 0 where positions are the patches' alone."""
        return len(self.leading) if self.cls_position else 0

    def rates(self) -> list[float]:
        """Stochastic depth of each block."""
        last = max(1, self.depth - 1)
        return [self.drop_path * (i / last if self.drop_path_rule == "linear" else 1) for i in range(self.depth)]


class ViT(nn.Module):
    """Images (B, C, H, W) -> `Features` at stride P."""

    pos_embed: Tensor | None

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.width, self.in_channels = c.width, c.in_channels
        self.prefix_names = c.leading + ("register",) * c.registers
        self.strides = strides_of(c.patch_size)
        self.channels = (c.width,) * len(self.strides)
        self.patch_embed = tokenizer(c.stem, c.patch_size, c.in_channels, c.width, c.eps)
        self.image_size = c.size
        self.grid = self._grid(c.size)
        places = c.placed + self.grid[0] * self.grid[1]
        self.cls_token = nn.Parameter(torch.empty(1, 1, c.width)) if c.cls else None
        self.registers = nn.Parameter(torch.empty(1, c.registers, c.width)) if c.registers else None
        if c.position == "learned":
            self.pos_embed = nn.Parameter(torch.empty(1, places, c.width))
        elif c.position == "sincos":
            self.register_buffer("pos_embed", torch.empty(1, places, c.width), persistent=False)
        else:
            self.pos_embed = None
        kind = ParallelBlock if c.parallel else Block
        shape, prefix = self.block_shape(), len(self.prefix_names)
        self.encoder = nn.ModuleList(kind(shape, prefix, rate) for rate in c.rates())
        self.norm = normalise(c.norm, c.width, c.eps)

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        x = self.encode(self.embed(images))  # (B, T, D)
        prefix, tokens = x[:, : len(self.prefix_names)], x[:, len(self.prefix_names) :]  # (B, K, D), (B, N, D)
        maps = resampled(tokens, self.grid, self.config.patch_size) if pyramid else None
        return Features(tokens, self.grid, prefix, maps)

    def encode(self, tokens: Tensor) -> Tensor:
        """Tokens that know their places, prefix first, through the blocks and the last norm: (B, T, D) -> (B, T, D).

        Any number of patches may be left out: what is left looks at what is left (MAE, arXiv 2111.06377).
        """
        for block in self.encoder:
            tokens = block(tokens)  # (B, T, D)
        normed: Tensor = self.norm(tokens)
        return normed

    def embed(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, T, D): [CLS], registers, patches; registers have no position."""
        if tuple(images.shape[1:]) != (self.in_channels, *self.image_size):
            got, want = tuple(images.shape[1:]), (self.in_channels, *self.image_size)
            raise UsageError(
                f"images are {got} (C, H, W) and the model is set to {want}: set_image_size, or resize them"
            )
        x: Tensor = self.patch_embed(images)  # (B, N, D)
        leading = [token.expand(len(x), -1, -1) for token in self.leading_tokens()]
        placed = self.config.placed
        if self.pos_embed is not None and not placed:
            x = x + self.pos_embed
        if leading:
            x = torch.cat([*leading, x], dim=1)  # (B, 1 + N, D)
        if self.pos_embed is not None and placed:
            x = x + self.pos_embed
        if self.registers is not None:
            first, patches = x[:, : len(leading)], x[:, len(leading) :]
            x = torch.cat([first, self.registers.expand(len(x), -1, -1), patches], dim=1)  # (B, K + N, D)
        return x

    def leading_tokens(self) -> list[nn.Parameter]:
        """The tokens of `ViTConfig.leading`, (1, 1, D) each."""
        return [] if self.cls_token is None else [self.cls_token]

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        grid = self.patch_embed.grid(size)
        if self.config.locality and len(self.prefix_names) + grid[0] * grid[1] < 2:
            raise UsageError(
                f"locality=true: no token looks at itself, and an image of {size[0]} x {size[1]} in patches of"
                f" {self.config.patch_size} is one token; take a smaller patch"
            )
        return grid

    def block_shape(self) -> BlockShape:
        """What its blocks are made of."""
        return BlockShape(**{part.name: getattr(self.config, part.name) for part in fields(BlockShape)})

    def stem(self) -> nn.Module:
        """The patch embedding."""
        return self.patch_embed

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder blocks, in order."""
        return list(self.encoder)

    def stages(self) -> Sequence[Stage]:
        """One: every block works on the whole grid."""
        return [Stage(tuple(self.encoder), self.grid, len(self.prefix_names))]

    def positions(self) -> Tensor | None:
        """What is added to each patch for its place, (N, D); None where nothing is."""
        return None if self.pos_embed is None else self.pos_embed[0, self.config.placed :]

    def undecayed(self) -> Iterator[nn.Parameter]:
        """Tokens and learned positions."""
        for parameter in (*self.leading_tokens(), self.registers, self.pos_embed):
            if isinstance(parameter, nn.Parameter):
                yield parameter

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Accept (H, W) from now on: learned positions are resized, fixed ones computed anew."""
        grid = self._grid(size)
        if self.pos_embed is not None and grid != self.grid:
            placed = self.config.placed
            first, patches = self.pos_embed[:, :placed], self.pos_embed[:, placed:]
            if isinstance(self.pos_embed, nn.Parameter):
                resized = torch.cat([first, resize_positions(patches, self.grid, grid)], dim=1)
                self.pos_embed = nn.Parameter(resized.detach(), requires_grad=self.pos_embed.requires_grad)
            else:
                self.pos_embed = self.pos_embed.new_empty(1, placed + grid[0] * grid[1], self.width)
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
        """Write fixed positions, on the default device if they had no memory; [CLS] stands nowhere and gets zeros."""
        if self.config.position == "sincos" and self.pos_embed is not None:
            if self.pos_embed.is_meta:
                self.pos_embed = torch.empty_like(self.pos_embed, device=torch.get_default_device())
            self.pos_embed.zero_()
            self.pos_embed[0, self.config.placed :] = sincos_2d(self.grid, self.width).to(self.pos_embed)


SIZES: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "tiny": ("DeiT, Table 1 (Ti)", {"width": 192, "depth": 12, "heads": 3, "hidden": 768}),
    "small": ("DeiT, Table 1 (S)", {"width": 384, "depth": 12, "heads": 6, "hidden": 1536}),
    "base": ("ViT, Table 1 (B)", {"width": 768, "depth": 12, "heads": 12, "hidden": 3072}),
    "large": ("ViT, Table 1 (L)", {"width": 1024, "depth": 24, "heads": 16, "hidden": 4096}),
    "so400m": ("SoViT-400m (arXiv 2305.13035)", {"width": 1152, "depth": 27, "heads": 16, "hidden": 4304}),
    "huge": ("ViT, Table 1 (H)", {"width": 1280, "depth": 32, "heads": 16, "hidden": 5120}),
    "giant": ("Zhai et al. 2022, Table 2 (g)", {"width": 1408, "depth": 40, "heads": 16, "hidden": 6144}),
    "gigantic": ("Zhai et al. 2022, Table 2 (G)", {"width": 1664, "depth": 48, "heads": 16, "hidden": 8192}),
    "e": ("ViT-22B (arXiv 2302.05442), Table 1 (e)", {"width": 1792, "depth": 56, "heads": 16, "hidden": 15360}),
    "22b": ("ViT-22B (arXiv 2302.05442), Table 1 (22B)", {"width": 6144, "depth": 48, "heads": 48, "hidden": 24576}),
}
"""Name -> where its numbers stand, and they."""

CLS: Mapping[str, object] = {}
GAP: Mapping[str, object] = {"cls": False, "pooling": "mean"}
MAP: Mapping[str, object] = {"cls": False, "pooling": "map"}
PARALLEL: Mapping[str, object] = {**MAP, "parallel": True, "qk_norm": True, "qkv_bias": False, "norm": "rms"}
"""ViT-22B, section 2. Its norms have neither bias nor centring; its other biases stay."""

ROWS: Sequence[tuple[str, str, Mapping[str, object], Sequence[tuple[int, int]]]] = (
    *((f"vit_{size}_patch{{}}_{{}}", size, CLS, ((8, 224), (14, 224), (16, 224), (32, 224), (16, 384), (32, 384)))
      for size in ("tiny", "small", "base", "large")),
    ("vit_so400m_patch{}_siglip_{}", "so400m", MAP, ((14, 224), (14, 378))),
    ("vit_so400m_patch{}_siglip_gap_{}", "so400m", GAP, ((14, 224), (14, 378))),
    ("vit_huge_patch{}_{}", "huge", CLS, ((14, 224),)),
    ("vit_giant_patch{}_{}", "giant", CLS, ((14, 224),)),
    ("vit_giant_patch{}_map_{}", "giant", MAP, ((14, 224),)),
    ("vit_gigantic_patch{}_{}", "gigantic", CLS, ((14, 224),)),
    ("vit_gigantic_patch{}_map_{}", "gigantic", MAP, ((14, 224),)),
    ("vit_e_patch{}_{}", "e", CLS, ((14, 224),)),
    ("vit_e_patch{}_map_{}", "e", MAP, ((14, 224),)),
    ("vit_22b_patch{}_{}", "22b", PARALLEL, ((14, 224),)),
)  # fmt: skip
"""Name, size, how it departs from a plain ViT, and pairs of patch and image. So400m is named as in timm, after SigLIP;
g, G and e have timm's names with [CLS], and "map" in the name of the papers' own form."""

PUBLISHED: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("21k -> 1k", "AugReg, timm results-imagenet.csv"): {
        "vit_tiny_patch16_224": 0.75452, "vit_small_patch16_224": 0.81402, "vit_small_patch32_224": 0.76010,
        "vit_base_patch16_224": 0.84534, "vit_base_patch32_224": 0.80732, "vit_large_patch16_224": 0.85856,
        "vit_tiny_patch16_384": 0.78438, "vit_small_patch16_384": 0.83814, "vit_base_patch16_384": 0.86010,
        "vit_large_patch16_384": 0.87096,
    },
    ("21k -> 1k", "AugReg, google-research/vision_transformer README"): {
        "vit_tiny_patch16_384": 0.7822, "vit_small_patch32_384": 0.7958, "vit_small_patch16_384": 0.8373,
        "vit_base_patch32_384": 0.8359, "vit_base_patch16_384": 0.8549, "vit_large_patch16_384": 0.8559,
    },
    ("21k -> 1k", "AugReg2, timm results-imagenet.csv"): {"vit_base_patch16_224": 0.85108},
    ("21k -> 1k", "the paper's weights, timm results-imagenet.csv"): {
        "vit_base_patch16_224": 0.81782, "vit_base_patch16_384": 0.84212,
    },
    ("1k", "AugReg, timm results-imagenet.csv"): {
        "vit_small_patch16_224": 0.78842, "vit_base_patch32_224": 0.74908, "vit_base_patch16_224": 0.79154,
        "vit_small_patch16_384": 0.8113, "vit_base_patch16_384": 0.8110,
    },
    ("1k", "torchvision IMAGENET1K_V1"): {
        "vit_base_patch16_224": 0.81072, "vit_base_patch32_224": 0.75912, "vit_large_patch16_224": 0.79662,
        "vit_large_patch32_224": 0.76972,
    },
    ("1k", "Better plain ViT baselines (arXiv 2205.01580), 90 epochs"): {"vit_small_patch16_224": 0.765},
    ("1k", "Better plain ViT baselines (arXiv 2205.01580), 300 epochs"): {"vit_small_patch16_224": 0.800},
    ("1k", "ViT, Table 5"): {"vit_base_patch16_384": 0.7791},
    ("JFT-4B -> 1k", "ViT-22B, a linear layer on its frozen features"): {"vit_22b_patch14_224": 0.895},
}  # fmt: skip
"""Training sets and where a figure was read -> model -> ImageNet-1k top-1 at the size of its name."""
ENLARGED: Mapping[tuple[str, str], Mapping[tuple[str, int], float]] = {
    ("JFT-300M -> 1k", "ViT, Table 2"): {("vit_huge_patch14_224", 518): 0.8855},
    ("JFT-3B -> 1k", "Zhai et al. 2022 (arXiv 2106.04560)"): {
        ("vit_giant_patch14_map_224", 518): 0.902, ("vit_gigantic_patch14_map_224", 518): 0.9045,
    },
    ("JFT-3B -> 1k", "SoViT (arXiv 2305.13035)"): {
        ("vit_so400m_patch14_siglip_224", 224): 0.889, ("vit_so400m_patch14_siglip_224", 384): 0.900,
        ("vit_so400m_patch14_siglip_224", 518): 0.903,
    },
    ("JFT-3B -> 1k", "PaLI (arXiv 2209.06794)"): {("vit_e_patch14_map_224", 644): 0.909},
}  # fmt: skip
"""The same at the image size beside the model: large ones are published fine-tuned on larger images."""


def published(name: str, image: int) -> tuple[Published, ...]:
    """The figures of a model whose name says an image size."""
    at_name = [(top1[name], image, *key) for key, top1 in PUBLISHED.items() if name in top1]
    at_other = [
        (top1, size, *key) for key, all_of in ENLARGED.items() for (one, size), top1 in all_of.items() if one == name
    ]
    return tuple(Published(top1, size, where, data) for top1, size, data, where in at_name + at_other)


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
    for spelling, size, options, pairs in ROWS:
        source, numbers = SIZES[size]
        for patch, image in pairs:
            name = spelling.format(patch, image)
            config = ViTConfig.model_validate({**numbers, **options, "patch_size": patch, "image_size": image})
            crop = 0.9 if image == 224 else 1.0  # as timm evaluates: larger images are resized whole
            yield Variant(name, "vit", config, source, fit, published(name, image), "half", crop)


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {
    **{f"vit_{size}": f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")},
    **{f"vit_{size}": f"vit_{size}_patch14_224" for size in ("huge", "giant", "gigantic", "e", "22b")},
    "vit_so400m": "vit_so400m_patch14_siglip_224",
}
build = ViT
