"""What a choice depends on, and what a choice is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitrail.settings import Config

Wish = tuple[Any, str]
"""A value that is wanted for a field, and why."""


@dataclass(frozen=True)
class Pretrained:
    """What training starts from (`--from`), as far as settings depend on it.

    source: as the user wrote it.  model: its name, with the fields of its family's config in `options`.  image_size,
    pooling, mean, std: what it was trained with.  head: whether it brings a head that will be kept.  supervised:
    whether it was trained on targets, rather than on images alone.  seen: images that `vitrail pretrain` went over, an
    image once for each epoch; 0 where no run says it, None for what was trained elsewhere or on targets.
    """

    source: str
    model: str
    options: Mapping[str, Any]
    image_size: int
    patch_size: int
    pooling: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    head: bool
    supervised: bool = True
    seen: float | None = None


@dataclass(frozen=True)
class Facts:
    """What the choice depends on: training images, classes (0 where there are none), typical short side (pixels),
    whether mirroring is safe; of the task its name, whether its targets have a value per pixel, whether mixed images
    and label smoothing have a loss, and the pooling it wants; the device, and whether it multiplies bf16 faster than
    fp32; what training starts from, if it does; the sizes (width, height) that images have, where they are known.
    """

    images: int
    classes: int
    native_size: int
    flip: bool
    cores: int = 1
    task: str = "classify"
    dense: bool = False
    mixes: bool = True
    smooths: bool = True
    pooling: str | None = None
    device: str = "cpu"
    fast_bf16: bool = False
    pretrained: Pretrained | None = None
    sizes: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Reason:
    """One choice, for the screen and the report."""

    field: str
    value: Any
    why: str


@dataclass(frozen=True)
class Choice:
    """The complete config and why each chosen field is what it is."""

    config: Config
    reasons: tuple[Reason, ...]
