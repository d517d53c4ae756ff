"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719) for a batch: torchvision's operations and strengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrail.data.batched import operations, strengths
from vitrail.data.batched.affine import transform
from vitrail.data.batched.layers import Layer
from vitrail.data.batched.operations import Operation
from vitrail.data.batched.strengths import Settle
from vitrail.data.batched.whole import Bools, Doubles, Draws, Settings, whole_below
from vitrail.data.colour_changes import STRONGEST


@dataclass(frozen=True)
class _Entry:
    """An operation and its strength: `start` at magnitude 0, `end` at the most; signed: or as far the other way."""

    operation: Operation
    settle: Settle = strengths.nothing
    start: float = 0.0
    end: float = 0.0
    signed: bool = False


SPACE = {
    "Identity": _Entry(operations.identity),
    "ShearX": _Entry(transform, strengths.shear_x, 0.0, 0.3, signed=True),
    "ShearY": _Entry(transform, strengths.shear_y, 0.0, 0.3, signed=True),
    "TranslateX": _Entry(transform, strengths.translate_x, 0.0, 150 / 331, signed=True),
    "TranslateY": _Entry(transform, strengths.translate_y, 0.0, 150 / 331, signed=True),
    "Rotate": _Entry(transform, strengths.rotate, 0.0, 30.0, signed=True),
    "Brightness": _Entry(operations.brightness, strengths.blend, 1.0, 1.9, signed=True),
    "Color": _Entry(operations.saturation, strengths.blend, 1.0, 1.9, signed=True),
    "Contrast": _Entry(operations.contrast, strengths.blend, 1.0, 1.9, signed=True),
    "Sharpness": _Entry(operations.sharpness, strengths.blend, 1.0, 1.9, signed=True),
    "Posterize": _Entry(operations.posterize, strengths.bits, 8.0, 4.0),
    "Solarize": _Entry(operations.solarize, strengths.threshold, 255.0, 0.0),
    "AutoContrast": _Entry(operations.autocontrast),
    "Equalize": _Entry(operations.equalize),
}
"""torchvision's operations, in its order and by its names."""

_ENTRIES = tuple(SPACE.values())
_COLUMNS = 6
"""Settings that the operation with the most of them has."""


class RandAugment:
    """So many operations for each image. spread: see `colour_changes.RandAugment`."""

    def __init__(self, count: int, magnitude: int, spread: float) -> None:
        self._count, self._magnitude, self._spread = count, magnitude, spread

    def layers(self, draws: Draws, size: tuple[int, int]) -> list[Layer]:
        """What happens to each sample's image of (H, W), one after another."""
        return [self._layer(draws.uniform(f"randaugment {number}", 4), size) for number in range(self._count)]

    def _layer(self, drawn: Doubles, size: tuple[int, int]) -> Layer:
        kinds = whole_below(drawn[:, 0], len(_ENTRIES))
        magnitudes = np.full(len(drawn), float(self._magnitude))
        if self._spread:
            normal = np.sqrt(-2 * np.log(1 - drawn[:, 2])) * np.cos(2 * np.pi * drawn[:, 3])  # Box and Muller 1958
            magnitudes = np.clip(np.rint(magnitudes + self._spread * normal), 0, STRONGEST)
        settings = np.zeros((len(drawn), _COLUMNS), np.int64)
        for kind in np.unique(kinds):
            rows = kinds == kind
            found = settle(_ENTRIES[kind], magnitudes[rows], drawn[rows, 1] < 0.5, size)
            settings[rows, : found.shape[1]] = found
        return Layer(tuple(entry.operation for entry in _ENTRIES), kinds, settings)


def settle(entry: _Entry, magnitudes: Doubles, other_way: Bools, size: tuple[int, int]) -> Settings:
    """Settings of an operation at magnitudes (R,) up to STRONGEST; other_way (R,): against its sign, if it has one."""
    share = magnitudes / STRONGEST * np.where(other_way & entry.signed, -1.0, 1.0)
    return entry.settle(entry.start + share * (entry.end - entry.start), size)
