"""The row of `timm:NAME`, made when it is asked for, and how its model meets images of one size."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from pydantic import create_model
from torch import nn

from vitrail.contracts import Fit, Variant
from vitrail.errors import unknown
from vitrail.layers.foreign import arguments_of
from vitrail.models.timm.config import Option, TimmConfig
from vitrail.models.timm.library import PREFIX, library, prefix_names_of, refusals


@cache
def find(name: str) -> Variant | None:
    """The row of `timm:NAME`, made when it is asked for; None for a name without the prefix.

    Raises UsageError where timm is not installed, or offers its nearest names where it has no such model.
    """
    if not name.startswith(PREFIX):
        return None
    timm, bare = library(), name.removeprefix(PREFIX)
    if bare.split(".")[0] not in timm.list_models() or not timm.is_model(bare):
        raise unknown("model", name, [PREFIX + known for known in timm.list_models()])
    with torch.device("meta"), refusals(bare):
        body = timm.create_model(bare, pretrained=False, num_classes=0)
    said = timm.get_pretrained_cfg(bare)
    config = _config(bare, body, said)
    return Variant(
        name,
        "timm",
        config,
        f"timm {timm.__version__}",
        fit,
        normalisation="half" if tuple(said.mean) == (0.5, 0.5, 0.5) else "imagenet",
        crop_fraction=float(said.crop_pct),
        interpolation="bilinear" if said.interpolation == "bilinear" else "bicubic",
        stochastic_depth="drop_path_rate" in config.arguments,
    )


def _config(name: str, body: nn.Module, said: Any) -> TimmConfig:
    """A class with the arguments that this model takes, and its values as timm has them."""
    arguments = arguments_of(type(body))
    free = [key for key in sorted(arguments) if not key.startswith(CLOSED) and not hasattr(TimmConfig, key)]
    fields: dict[str, Any] = {key: (Option, None) for key in free if key not in TimmConfig.model_fields}
    made = cast(type[TimmConfig], create_model("TimmConfig", __base__=TimmConfig, **fields))
    reductions = [entry["reduction"] for entry in getattr(body, "feature_info", None) or () if "reduction" in entry]
    patch = getattr(getattr(body, "patch_embed", None), "patch_size", None)
    made.stride = 4 if 4 in reductions else reductions[0] if reductions else patch[0] if patch else 1
    made.coarsest = max(reductions, default=made.stride)
    made.arguments = frozenset(arguments)
    one_grid = patch is not None and set(reductions) <= {made.stride} == {patch[0]}
    made.plain = one_grid and "patch_size" in arguments
    prefix, pool = prefix_names_of(body), str(getattr(body, "global_pool", "avg"))
    pooling = "cls" if pool == "token" and "cls" in prefix else "map" if pool == "map" else "mean"
    height, width = said.input_size[1:]
    size = height if height == width else (height, width)
    return made(name=name, patch_size=made.stride, image_size=size, pooling=cast(Any, pooling))


CLOSED = (
    "_", "args", "kwargs", "self", "num_classes", "in_chans", "img_size", "patch_size", "drop_path_rate", "global_pool",
    "drop_rate", "head_init", "head_hidden", "head_norm", "head_bias", "head_drop", "head_conv", "pool_include",
    "pretrained", "checkpoint", "cache", "device", "dtype", "cfg",
)  # fmt: skip
"""How arguments begin that are ours to set, that are about the classifier, or that would fetch or read files."""


LEAST = 64


def fit(config: TimmConfig, image_size: int) -> Fit:
    """A plain transformer: the largest patch that leaves 64 tokens, or 16 of an image under 32 px; else timm's own."""
    if not config.plain:
        left = -(-image_size // config.coarsest)
        more = "; a larger --image-size gives it more" if left < 4 else ""
        why = f"its stem has stride {config.stride}, which is fixed: {image_size} px end in {left} x {left} cells{more}"
        return Fit({"patch_size": config.stride}, why)
    wanted = LEAST if image_size >= 32 else 16
    fitting = [p for p in (16, 14, 12, 8, 7, 6, 4, 2) if image_size % p == 0 and (image_size // p) ** 2 >= wanted]
    patch = fitting[0] if fitting else 1
    side = image_size // patch
    return Fit(
        {"patch_size": patch}, f"{image_size}/{patch} = {side} patches a side: the largest that leaves {wanted} tokens"
    )
