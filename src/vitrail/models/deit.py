"""DeiT (Touvron et al. 2021, arXiv 2012.12877) and DeiT III (Touvron et al. 2022, arXiv 2204.07118).

The encoder is ViT's, trained on ImageNet alone. A distilled DeiT has a second token beside [CLS], which learns what a
teacher answers. DeiT III scales each residual branch, gives [CLS] no position, and drops blocks as often at the first
layer as at the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from pydantic import model_validator
from torch import nn

from vitrail.contracts import Published, Variant
from vitrail.layers.initialise import Draw, truncated_normal
from vitrail.models.vit import SIZES, ViT, ViTConfig, fit


class DeiTConfig(ViTConfig):
    """ViT's, and the distillation token."""

    distilled: bool = False

    @model_validator(mode="after")
    def _beside_cls(self) -> DeiTConfig:
        if self.distilled and not self.cls:
            raise ValueError("the distillation token stands beside [CLS]: set cls=true, or distilled=false")
        return self

    @property
    def leading(self) -> tuple[str, ...]:
        """[CLS] and the distillation token."""
        return ("cls",) * self.cls + ("dist",) * self.distilled  # no super(): torch.compile cannot follow a property's


class DeiT(ViT):
    """Images (B, C, H, W) -> `Features` at stride P, with ("cls", "dist") in front where it is distilled."""

    def __init__(self, config: DeiTConfig) -> None:
        super().__init__(config)
        self.dist_token = nn.Parameter(torch.empty(1, 1, config.width)) if config.distilled else None

    def leading_tokens(self) -> list[nn.Parameter]:
        """[CLS] and the distillation token, (1, 1, D) each."""
        return super().leading_tokens() + ([] if self.dist_token is None else [self.dist_token])

    def initialisers(self) -> Mapping[str, Draw]:
        """Tokens begin as everything else does in DeiT's code, and not near zero as in ViT's."""
        tokens = dict.fromkeys(("cls_token", "dist_token"), truncated_normal(0.02))
        return {**super().initialisers(), **tokens}


SHAPES: Mapping[str, Mapping[str, int]] = {
    **{size: SIZES[size][1] for size in ("tiny", "small", "base", "large", "huge")},
    "medium": {"width": 512, "depth": 12, "heads": 8, "hidden": 2048},
    "huge_52": {"width": 1280, "depth": 52, "heads": 16, "hidden": 5120},
    "giant_40": {"width": 1408, "depth": 40, "heads": 16, "hidden": 5632},
    "gigantic_48": {"width": 1664, "depth": 48, "heads": 16, "hidden": 6656},
}
"""ViT's sizes (DeiT, Table 1), and those that DeiT III adds."""
PLAIN: Mapping[str, object] = {}
DISTILLED: Mapping[str, object] = {"distilled": True}
THIRD: Mapping[str, object] = {"cls_position": False, "layer_scale": 1e-4, "drop_path_rule": "constant"}

FIRST_PAPER, THIRD_PAPER = "DeiT, Table 1", "DeiT III, models_v2.py of facebookresearch/deit"
ROWS: Sequence[tuple[str, str, Mapping[str, object], int, Sequence[int], str]] = (
    ("deit_tiny", "tiny", PLAIN, 16, (224,), f"{FIRST_PAPER} (Ti)"),
    ("deit_small", "small", PLAIN, 16, (224,), f"{FIRST_PAPER} (S)"),
    ("deit_base", "base", PLAIN, 16, (224, 384), f"{FIRST_PAPER} (B)"),
    ("deit_tiny_distilled", "tiny", DISTILLED, 16, (224,), f"{FIRST_PAPER} (Ti)"),
    ("deit_small_distilled", "small", DISTILLED, 16, (224,), f"{FIRST_PAPER} (S)"),
    ("deit_base_distilled", "base", DISTILLED, 16, (224, 384), f"{FIRST_PAPER} (B)"),
    ("deit3_tiny", "tiny", THIRD, 16, (224,), f"{THIRD_PAPER} (Ti)"),
    ("deit3_small", "small", THIRD, 16, (224, 384), f"{THIRD_PAPER} (S)"),
    ("deit3_medium", "medium", THIRD, 16, (224,), f"{THIRD_PAPER} (M)"),
    ("deit3_base", "base", THIRD, 16, (224, 384), f"{THIRD_PAPER} (B)"),
    ("deit3_large", "large", THIRD, 16, (224, 384), f"{THIRD_PAPER} (L)"),
    ("deit3_huge", "huge", THIRD, 14, (224,), f"{THIRD_PAPER} (H)"),
    ("deit3_huge_52", "huge_52", THIRD, 14, (224,), f"{THIRD_PAPER} (H-52)"),
    ("deit3_giant_40", "giant_40", THIRD, 14, (224,), f"{THIRD_PAPER} (g-40)"),
    ("deit3_gigantic_48", "gigantic_48", THIRD, 14, (224,), f"{THIRD_PAPER} (G-48)"),
)
"""Name, shape, how it departs from ViT, patch, image sizes, source."""

PUBLISHED: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("1k", "facebookresearch/deit README_deit.md"): {
        "deit_tiny_patch16_224": 0.722, "deit_small_patch16_224": 0.799, "deit_base_patch16_224": 0.818,
        "deit_base_patch16_384": 0.829, "deit_tiny_distilled_patch16_224": 0.745,
        "deit_small_distilled_patch16_224": 0.812, "deit_base_distilled_patch16_224": 0.834,
        "deit_base_distilled_patch16_384": 0.852,
    },
    ("1k", "DeiT (arXiv 2012.12877)"): {"deit_base_patch16_384": 0.831},
    ("1k", "timm results-imagenet.csv"): {
        "deit_tiny_patch16_224": 0.72190, "deit_small_patch16_224": 0.79856, "deit_base_patch16_224": 0.81980,
        "deit_base_patch16_384": 0.83108, "deit_tiny_distilled_patch16_224": 0.74538,
        "deit_small_distilled_patch16_224": 0.81204, "deit_base_distilled_patch16_224": 0.83384,
        "deit3_large_patch16_224": 0.84772,
    },
    ("1k", "facebookresearch/deit README_revenge.md"): {
        "deit3_small_patch16_224": 0.814, "deit3_small_patch16_384": 0.834, "deit3_medium_patch16_224": 0.830,
        "deit3_base_patch16_224": 0.838, "deit3_base_patch16_384": 0.850, "deit3_large_patch16_224": 0.849,
        "deit3_large_patch16_384": 0.858, "deit3_huge_patch14_224": 0.852,
    },
    ("21k -> 1k", "facebookresearch/deit README_revenge.md"): {
        "deit3_small_patch16_224": 0.831, "deit3_small_patch16_384": 0.848, "deit3_medium_patch16_224": 0.845,
        "deit3_base_patch16_224": 0.857, "deit3_base_patch16_384": 0.867, "deit3_large_patch16_224": 0.870,
        "deit3_large_patch16_384": 0.877, "deit3_huge_patch14_224": 0.872,
    },
}  # fmt: skip
"""Training sets and where a figure was read -> model -> ImageNet-1k top-1. Distilled: of the mean of both heads."""


def _variants() -> Iterator[Variant]:
    for begin, shape, options, patch, images, source in ROWS:
        for image in images:
            name = f"{begin}_patch{patch}_{image}"
            read = ((top1[name], data, where) for (data, where), top1 in PUBLISHED.items() if name in top1)
            published = tuple(Published(top1, image, where, data) for top1, data, where in read)
            config = DeiTConfig.model_validate({**SHAPES[shape], **options, "patch_size": patch, "image_size": image})
            crop = 0.9 if image == 224 else 1.0  # as timm evaluates: larger images are resized whole
            yield Variant(name, "deit", config, source, fit, published, "imagenet", crop)


VARIANTS = tuple(_variants())
SHORT: Mapping[str, str] = {begin: f"{begin}_patch{patch}_224" for begin, _, _, patch, _, _ in ROWS}
build = DeiT
