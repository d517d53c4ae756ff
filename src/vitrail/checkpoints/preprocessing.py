"""How an image is prepared, in the words of timm and of transformers, and in ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.contracts import Variant
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError

MEANS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""A variant's published normalisation -> mean and standard deviation on pixels scaled to [0, 1]."""

RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which transformers writes."""

Fields = dict[str, Any]
"""Fields of `Preprocessor`, without size and channels."""


def as_published(row: Variant, channels: int) -> Fields:
    """What was published for a row of the catalogue, with its channels; means of three colours become one for grey."""
    mean, std = MEANS[row.normalisation]
    fields: Fields = {"resize": "crop", "crop_fraction": row.crop_fraction, "interpolation": row.interpolation}
    return fitted({**fields, "mean": mean, "std": std}, channels)


def fitted(fields: Fields, channels: int) -> Fields:
    """The fields for so many channels: means of another number of colours become one."""
    made = {**fields, "channels": channels}
    for name in ("mean", "std"):
        if name in made and len(made[name]) not in (1, channels):
            made[name] = (sum(made[name]) / len(made[name]),)
    return made


def from_timm(config: Mapping[str, Any]) -> Fields:
    """A `pretrained_cfg`; fields it lacks are left out."""
    fields: Fields = {}
    for ours, theirs in (("mean", "mean"), ("std", "std"), ("crop_fraction", "crop_pct")):
        if config.get(theirs) is not None:
            fields[ours] = config[theirs]
    if config.get("interpolation") is not None:
        fields["interpolation"] = config["interpolation"]
    mode = config.get("crop_mode") or "center"
    fields["resize"] = {"center": "crop", "squash": "squash", "border": "letterbox"}.get(mode, mode)
    return checked(fields, "pretrained_cfg")


def to_timm(preprocessor: Preprocessor) -> dict[str, Any]:
    """The part of a `pretrained_cfg` that says how an image is prepared."""
    p = preprocessor
    mean, std = _per_channel(p)
    mode = {"crop": "center", "squash": "squash", "letterbox": "border"}[p.resize]
    return {
        "input_size": [p.channels, *p.size],
        "interpolation": p.interpolation,
        "crop_pct": p.crop_fraction if p.resize == "crop" else 1.0,
        "crop_mode": mode,
        "mean": mean,
        "std": std,
    }


def from_transformers(config: Mapping[str, Any]) -> tuple[Fields, tuple[str, ...]]:
    """A preprocessor_config.json, and in words what of it we do otherwise."""
    fields: Fields = {}
    notes: list[str] = []
    if config.get("do_normalize", True):
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
            if config.get(theirs) is not None:
                fields[ours] = config[theirs]
    else:
        fields |= {"mean": (0.0,), "std": (1.0,)}
    if config.get("resample") is not None:
        fields["interpolation"] = next((n for k, n in RESAMPLE.items() if k == config["resample"]), "another")
    size, crop = _sides(config.get("size")), _sides(config.get("crop_size"))
    shortest = "shortest_edge" in config["size"] if isinstance(config.get("size"), Mapping) else False
    if config.get("crop_pct") is not None and size:
        # ConvNeXt's processor: crops below 384 pixels, squashes from there on
        fields |= {"resize": "crop", "crop_fraction": config["crop_pct"]} if size < 384 else {"resize": "squash"}
    elif config.get("do_center_crop") and size and crop:
        fields |= {"resize": "crop", "crop_fraction": _fraction(crop, size)}
        if not shortest:
            notes.append(f"their processor stretches to {size} x {size} before it crops; ours keeps the sides' ratio")
    elif size:
        fields |= {"resize": "crop", "crop_fraction": 1.0} if shortest else {"resize": "squash"}
    return checked(fields, "preprocessor_config.json"), tuple(notes)


def side_of(config: Mapping[str, Any]) -> int:
    """The side of what their processor makes of an image; 0 where it does not say."""
    return _sides(config.get("crop_size")) or _sides(config.get("size"))


def to_transformers(preprocessor: Preprocessor) -> dict[str, Any]:
    """A preprocessor_config.json; UsageError for letterboxing, which it has no word for."""
    p = preprocessor
    if p.resize == "letterbox":
        raise UsageError("the huggingface layout cannot express resize=letterbox, which this model was trained with")
    mean, std = _per_channel(p)
    height, width = p.size
    shared = {
        "do_resize": True,
        "resample": next(number for number, name in RESAMPLE.items() if name == p.interpolation),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }
    if p.resize == "squash":
        size = {"height": height, "width": width}
        return {"image_processor_type": "ViTImageProcessor", "size": size, **shared}
    return {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": int(min(p.size) / p.crop_fraction)},
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_convert_rgb": p.channels == 3,
        **shared,
    }


def checked(fields: Fields, where: str) -> Fields:
    """The fields, refused with IntegrityError where `Preprocessor` would not take them."""
    for name in ("mean", "std"):
        if name in fields:
            values = fields[name]
            if not isinstance(values, Sequence) or not all(isinstance(v, (int, float)) for v in values):
                raise IntegrityError(f"{where}: {name} is no list of numbers")
            fields[name] = tuple(float(value) for value in values)
    if fields.get("interpolation", "bicubic") not in ("bilinear", "bicubic"):
        raise IntegrityError(f"{where}: interpolation '{str(fields['interpolation'])[:40]}' is none that we have")
    if fields.get("resize", "crop") not in ("crop", "squash", "letterbox"):
        raise IntegrityError(f"{where}: '{str(fields['resize'])[:40]}' is no way to resize that we have")
    fraction = fields.get("crop_fraction", 1.0)
    if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
        raise IntegrityError(f"{where}: a crop of {str(fraction)[:40]} is not a fraction of the image")
    return fields


def _fraction(crop: int, size: int) -> float:
    """The share that a crop has of a side, such that our whole-number arithmetic finds that side again."""
    fraction = min(1.0, crop / size)
    return math.nextafter(fraction, 0.0) if int(crop / fraction) < size else fraction


def _sides(size: Any) -> int:
    """The number in transformers' several ways to say a size; 0 where there is none."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    return size if isinstance(size, int) and size > 0 else 0


def _per_channel(preprocessor: Preprocessor) -> tuple[list[float], list[float]]:
    mean, std = preprocessor.mean, preprocessor.std
    channels = preprocessor.channels
    return (list(mean * channels) if len(mean) == 1 else list(mean)), (
        list(std * channels) if len(std) == 1 else list(std)
    )
