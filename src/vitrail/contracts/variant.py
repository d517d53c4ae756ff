"""A row of a family's table of models: its configuration, what was published of it, how it meets a size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Published:
    """A published figure: ImageNet-1k top-1 as a fraction, at `image_size`, with the source in words.

    data: the training sets in order, "1k", "21k -> 1k" or "JFT-3B -> 1k", k for thousand classes of ImageNet.
    """

    accuracy: float
    image_size: int
    source: str
    data: str = ""


@dataclass(frozen=True)
class Fit:
    """How a family meets images of one size: fields of its config to set (patch_size, window, ...), and why."""

    options: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Variant:
    """A row of a family's table: a name users know, its configuration, and the paper's table it comes from.

    config: the family's frozen pydantic model.  fit: (config, image size in pixels) -> what the family sets to meet
    images of that size.  As published: normalisation "half" (mean = std = 0.5) or "imagenet", crop_fraction (the
    share of the resized image's side that evaluation keeps) and interpolation.
    """

    name: str
    family: str
    config: Any
    source: str
    fit: Callable[[Any, int], Fit]
    published: tuple[Published, ...] = ()
    normalisation: Literal["half", "imagenet"] = "half"
    crop_fraction: float = 0.9
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    stochastic_depth: bool = True
    """Whether the config's drop_path may be above 0."""
