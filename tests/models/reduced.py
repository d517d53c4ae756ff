"""Every structure of the catalogue at a size that a test can afford, found from the rows of the families alone.

Two rows have the same structure if their configs differ in numbers only, none of them 0 in one and not in the other.
The first row of each structure stands for it, with two blocks a stage, narrow, on small images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import vitrail
from vitrail.contracts import Backbone, Variant
from vitrail.errors import UsageError
from vitrail.models import configure, create_backbone, families, variant

SIDE = 64
"""Pixels: at this size every family's own rule leaves more than one token in its last stage."""
BLOCKS = 2
"""A stage: an ordinary block and, in Swin, a shifted one."""
WIDTHS, HEADS, DEPTHS = ("width", "widths", "hidden"), ("heads",), ("depth", "depths")
FEW = 3
"""Heads, where one number says how many."""
NARROWEST = 8
"""The least width of one head."""


@dataclass(frozen=True)
class Reduced:
    """One structure: the name of a row, and the options that make it small."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def backbone(self, **more: Any) -> Any:
        """With its first values, in evaluation mode."""
        return create_backbone(self.name, **{"image_size": SIDE, **self.options, **more}).eval()

    def model(self, outputs: int = 3, **more: Any) -> Any:
        """The same in a classifier."""
        return vitrail.create_model(self.name, outputs=outputs, **{"image_size": SIDE, **self.options, **more}).eval()

    def as_published(self) -> Reduced:
        """With the patch, window and ratios of its row, whatever images of 64 px (or nearly) would ask for."""
        row = variant(self.name)
        fitted, patch = row.fit(row.config, SIDE).options, row.config.patch_size
        kept = {key: value for key, value in self.options.items() if key not in fitted}
        return Reduced(self.name, {**kept, "image_size": SIDE // patch * patch})


def images(backbone: Backbone, batch: int = 2, seed: int = 0) -> Tensor:
    """Normal noise of the shape that the backbone takes."""
    shape = (batch, backbone.in_channels, *backbone.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def structures() -> list[Reduced]:
    """One for each structure of each family."""
    found: dict[Any, Reduced] = {}
    for row in (row for family in families().values() for row in family.VARIANTS):
        if (structure := _structure(row)) not in found:
            found[structure] = reduce(row)
    return list(found.values())


def reduce(row: Variant) -> Reduced:
    """A row with few, narrow blocks, on images of 64 px that it meets by its family's rule."""
    fitted = dict(row.fit(row.config, SIDE).options)
    shallow = {key: _few(value) for key, value in _own(row, DEPTHS)}
    shallow |= {key: min(FEW, heads) for key, heads in _own(row, HEADS) if isinstance(heads, int)}
    for divisor in (256, 128, 64, 32, 16, 8, 4, 2):
        narrow = {key: _divided(value, divisor) for key, value in _own(row, WIDTHS)}
        if not narrow or min(_smallest(value) for value in narrow.values()) < NARROWEST:
            continue
        options = {**fitted, **shallow, **narrow}
        try:
            config = configure(row.name, image_size=SIDE, **options)
        except UsageError:
            continue
        if all(width >= NARROWEST * heads for width, heads in _pairs(config)):
            return Reduced(row.name, options)
    return Reduced(row.name, {**fitted, **shallow})


def sizes(backbone: Any) -> list[tuple[int, int]]:
    """Image sizes that it takes: square and not, divided by its strides and not."""
    before, taken = backbone.image_size, []
    s = backbone.strides[-1]
    for size in ((2 * s, 2 * s), (3 * s, 2 * s), (48, 80), (40, 40), (36, 36), (40, 36), (33, 50)):
        try:
            backbone.set_image_size(size)
        except UsageError:
            assert any(side % backbone.strides[-1] for side in size), f"{size} is refused"
            continue
        taken.append(size)
    backbone.set_image_size(before)
    return taken


@torch.no_grad()
def stir(model: nn.Module, seed: int = 0) -> None:
    """Away from the first values: where a parameter begins as 0 or 1 it would hide what depends on it."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(noise.to(parameter) * (0.02 + 0.2 * float(parameter.abs().mean())))


def _structure(row: Variant) -> Any:
    return row.family, tuple((key, _sort(value)) for key, value in row.config.model_dump().items())


def _sort(value: Any) -> Any:
    """What is left of a setting when the size of its numbers does not matter."""
    if isinstance(value, (list, tuple)):
        return tuple(_sort(entry) for entry in value)
    return bool(value) if isinstance(value, (int, float)) else value


def _own(row: Variant, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in names:
        if name in type(row.config).model_fields:
            yield name, getattr(row.config, name)


def _few(value: Any) -> Any:
    return min(BLOCKS, value) if isinstance(value, int) else tuple(min(BLOCKS, depth) for depth in value)


def _divided(value: Any, divisor: int) -> Any:
    return value // divisor if isinstance(value, int) else tuple(width // divisor for width in value)


def _smallest(value: Any) -> int:
    return value if isinstance(value, int) else min(value)


def _pairs(config: Any) -> list[tuple[int, int]]:
    """Widths and heads, stage by stage."""
    heads = getattr(config, "heads", 1)
    widths = getattr(config, "widths", None) or getattr(config, "width", NARROWEST)
    several = [value if isinstance(value, tuple) else (value,) for value in (widths, heads)]
    return list(zip(*several, strict=False))
