"""What the shapes of a family's tensors show of its config: read once from our names, whatever the layout.

Heads, epsilon, activation and windows without a table leave no shape: they are not here, and nothing stands for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vitrail.errors import IntegrityError

Facts = dict[str, Any]
"""Fields of a family's config that the shapes of its tensors show."""
Shapes = Mapping[str, tuple[int, ...]]
"""Our names -> shapes."""
SOME = 1e-4
"""Stands for LayerScale that is there; what it began at leaves no trace and matters no more."""


def facts_of(family: str, ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    """Fields of the family's config. claimed: what a config says, for grids that are no square.

    Raises IntegrityError where a tensor has too few dimensions to be of the family.
    """
    read = FACTS.get(family)
    try:
        return {name: value for name, value in read(ours, claimed).items() if value is not None} if read else {}
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        raise IntegrityError(f"a tensor has fewer dimensions than in any {family}: it is no whole {family}") from None


def outputs_of(ours: Shapes) -> int:
    """Y, by the last layer of the head; 0 where there is none."""
    return next(iter(ours.get("head.fc.weight", ())), 0)


def _count(ours: Shapes, beginning: str) -> int:
    """How many numbers n, from 0 on, stand where `beginning` has {}."""
    number = 0
    while any(name.startswith(beginning.format(number)) for name in ours):
        number += 1
    return number


def _side(cells: int) -> int | None:
    side = math.isqrt(max(cells, 0))
    return side if side and side * side == cells else None


def _first(ours: Shapes, name: str, dimension: int = 0) -> int | None:
    return ours[name][dimension] if name in ours else None


def _each(ours: Shapes, levels: int, name: str, dimension: int = 0) -> tuple[int, ...] | None:
    """One dimension of a tensor of every level, or None where a level lacks it."""
    sizes = [_first(ours, name.format(level), dimension) for level in range(levels)]
    return tuple(size for size in sizes if size is not None) if sizes and None not in sizes else None


def _vit(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    kernel = ours.get("backbone.patch_embed.proj.weight", (None, None, None, None))
    width, channels, patch = kernel[0], kernel[1], kernel[-1]
    block = "backbone.encoder.0"
    has_cls, distilled = "backbone.cls_token" in ours, "backbone.dist_token" in ours
    registers = ours.get("backbone.registers", (1, 0, 0))[1]
    rows = ours.get("backbone.pos_embed", (1, 0, 0))[1]
    facts: Facts = {
        "width": width,
        "in_channels": channels,
        "patch_size": patch,
        "depth": _count(ours, "backbone.encoder.{}.") or None,
        "hidden": _first(ours, f"{block}.mlp.fc1.weight"),
        "cls": has_cls,
        "distilled": distilled,
        "registers": registers,
        "qkv_bias": f"{block}.attn.qkv.bias" in ours,
        "qk_norm": f"{block}.attn.q_norm.weight" in ours,
        "parallel": f"{block}.norm2.weight" not in ours,
        "norm": "layer" if f"{block}.norm1.bias" in ours else "rms",
        "layer_scale": SOME if f"{block}.scale1.gamma" in ours else 0.0,
        "pooling": "map" if "head.pool.probe" in ours else None if has_cls else "mean",
    }
    if rows and patch:
        facts |= _positions(rows, patch, has_cls + distilled, registers, claimed)
    return facts


def _positions(rows: int, patch: int, prefix: int, registers: int, claimed: Mapping[str, Any]) -> Facts:
    """The image size that so many positions are for, and whether [CLS] has one of them (timm's registers may, too)."""
    leading = dict.fromkeys((prefix, 0) if not registers else (prefix + registers, prefix, 0))
    wanted = claimed.get("image_size")
    if isinstance(wanted, tuple):  # no square: the config says the size, and what is left over are prefix rows
        over = rows - (wanted[0] // patch) * (wanted[1] // patch)
        return {"cls_position": over > 0} if prefix else {}
    sizes = {side * patch: count for count in leading if (side := _side(rows - count))}
    if not sizes:
        return {}
    size = wanted if wanted in sizes else next(iter(sizes))
    return {"image_size": size, **({"cls_position": sizes[size] > 0} if prefix else {})}


def _swin(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    levels = _count(ours, "backbone.levels.{}.")
    block = "backbone.levels.{}.blocks.0"
    tables = _each(ours, levels, f"{block}.attn.bias_table", 0)
    heads = _each(ours, levels, f"{block}.attn.bias_table", 1) or _each(ours, levels, f"{block}.attn.logit_scale")
    width, hidden = (_first(ours, f"{block.format(0)}.mlp.fc1.weight", d) for d in (1, 0))
    facts: Facts = {
        "width": width,
        "depths": tuple(_count(ours, f"backbone.levels.{level}.blocks.{{}}.") for level in range(levels)) or None,
        "heads": heads,
        "mlp_ratio": hidden / width if hidden and width else None,
        "patch_size": _first(ours, "backbone.patch_embed.proj.weight", 2),
        "in_channels": _first(ours, "backbone.patch_embed.proj.weight", 1),
    }
    if tables and len(set(tables)) == 1 and (side := _side(tables[0])):
        facts["window"] = (side + 1) // 2
    return facts


def _pvt_parts(ours: Shapes) -> Facts:
    levels = _count(ours, "backbone.levels.{}.")
    block = "backbone.levels.{}.blocks.0"
    widths, hidden = (_each(ours, levels, f"{block}.mlp.fc1.weight", d) for d in (1, 0))
    return {
        "widths": widths,
        "depths": tuple(_count(ours, f"backbone.levels.{level}.blocks.{{}}.") for level in range(levels)) or None,
        "mlp_ratios": tuple(h // w for h, w in zip(hidden, widths, strict=True)) if hidden and widths else None,
        "in_channels": _first(ours, "backbone.levels.0.patch_embed.proj.weight", 1),
    }


def _reductions(ours: Shapes, levels: int) -> tuple[int, ...]:
    """Kernels of the reducing convolutions; a level without one does not reduce."""
    kernels = (ours.get(f"backbone.levels.{level}.blocks.0.attn.sr.weight") for level in range(levels))
    return tuple(kernel[-1] if kernel else 1 for kernel in kernels)


def _pvt(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    facts = _pvt_parts(ours)
    facts["sr_ratios"] = _reductions(ours, len(facts["depths"] or ())) or None
    patch = facts["patch_size"] = _first(ours, "backbone.levels.0.patch_embed.proj.weight", 2)
    side = _side(ours.get("backbone.levels.0.pos_embed", (1, 0, 0))[1])
    if side and patch and not isinstance(claimed.get("image_size"), tuple):
        facts["image_size"] = side * patch
    return facts


def _pvt_v2(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    facts = _pvt_parts(ours)
    levels = len(facts["depths"] or ())
    # the linear variant has a 1 x 1 convolution in every level, the other none in the last, which does not reduce
    facts["linear"] = f"backbone.levels.{levels - 1}.blocks.0.attn.sr.weight" in ours
    if not facts["linear"]:
        facts["sr_ratios"] = _reductions(ours, levels) or None
    return facts


def _resnet(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    kernel = _first(ours, "backbone.body.conv1.weight", 2)
    depths = tuple(_count(ours, f"backbone.body.layer{stage}.{{}}.") for stage in (1, 2, 3, 4))
    return {
        "width": _first(ours, "backbone.body.conv1.weight"),
        "in_channels": _first(ours, "backbone.body.conv1.weight", 1),
        "depths": depths if all(depths) else None,
        "block": "bottleneck" if "backbone.body.layer1.0.conv3.weight" in ours else "basic",
        "patch_size": 1 if kernel == 3 else None,
    }


def _convnext(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    stem = "backbone.body.features.0.0.weight"
    depths = tuple(_count(ours, f"backbone.body.features.{step}.{{}}.") for step in (1, 3, 5, 7))
    return {
        "width": _first(ours, stem),
        "in_channels": _first(ours, stem, 1),
        "patch_size": _first(ours, stem, 2),
        "depths": depths if all(depths) else None,
    }


FACTS: Mapping[str, Callable[[Shapes, Mapping[str, Any]], Facts]] = {
    "vit": _vit,
    "deit": _vit,
    "swin": _swin,
    "swin_v2": _swin,
    "pvt": _pvt,
    "pvt_v2": _pvt_v2,
    "resnet": _resnet,
    "convnext": _convnext,
}
"""Family -> how its shapes are read."""
