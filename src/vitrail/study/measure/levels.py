"""How strongly images are changed to measure robustness: six kinds, three levels each, and where the numbers are from.

Levels 1, 2 and 3 are severities 1, 3 and 5 of Hendrycks and Dietterich 2019 (arXiv 1903.12261): of their CIFAR-10-C,
made of 32-pixel images, where the shorter side is under SMALL pixels, else of ImageNet-C, made of 224-pixel images.
Blur is in proportion to the side, but no less than published for 32 pixels: a blur of a fifth of a pixel is none. What
they do not have (shift, small rotation) has levels of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitrail.contracts import Pixels
from vitrail.seeding import generator
from vitrail.study import changes
from vitrail.study.changes import Places

LEVELS = (1, 2, 3)
SMALL = 96
"""Pixels of the shorter side below which an image has the levels of CIFAR-10-C."""
SIDE_OF_SMALL, SIDE_OF_LARGE = 32, 224
"""Pixels a side of the images that the published levels were made for."""
_PUBLISHED = f"severities 1, 3 and 5 of CIFAR-10-C under {SMALL} pixels a side, of ImageNet-C from there on"
_OURS = "levels of our own"


@dataclass(frozen=True)
class Kind:
    """A way to change an image. moves: whether things change their places, and a value per pixel with them.

    small, large: the strength at each level, of images under SMALL pixels and of others.  unit: of it, in words.
    """

    small: tuple[float, float, float]
    large: tuple[float, float, float]
    unit: str
    source: str
    moves: bool = False

    def strength(self, level: int, side: int) -> float:
        """At a level, for an image whose shorter side has so many pixels."""
        return (self.small if side < SMALL else self.large)[level - 1]

    def told(self) -> str:
        """The strengths at the three levels, with where they are from."""
        texts = [", ".join(f"{value:g}" for value in values) for values in (self.small, self.large)]
        numbers = texts[0] if texts[0] == texts[1] else f"{texts[0]} under {SMALL} pixels a side, else {texts[1]}"
        return f"{self.unit} {numbers} ({self.source})"


KINDS: Mapping[str, Kind] = {
    "jpeg": Kind((80, 58, 40), (25, 15, 7), "quality", _PUBLISHED),
    "blur": Kind((0.4, 0.7, 1.0), (1, 3, 6), "sigma in pixels of an image 32 or 224 wide,", _PUBLISHED),
    "noise": Kind((0.04, 0.08, 0.10), (0.08, 0.18, 0.38), "standard deviation, values in [0, 1],", _PUBLISHED),
    "brightness": Kind((0.05, 0.15, 0.3), (0.1, 0.3, 0.5), "added to the value of HSV", _PUBLISHED),
    "shift": Kind((1 / 32, 1 / 16, 1 / 8), (1 / 32, 1 / 16, 1 / 8), "share of the shorter side", _OURS, True),
    "rotation": Kind((5, 10, 20), (5, 10, 20), "degrees", _OURS, True),
}


def changed(pixels: Pixels, kind: str, level: int, seed: int, key: str) -> tuple[Pixels, Places | None]:
    """An image (h, w, C) uint8 at a level of a kind, and where its pixels come from where they moved.

    A pure function of its arguments: noise, and which way things move, are drawn from (seed, key) alone, so that levels
    differ in strength only.
    """
    size = pixels.shape[0], pixels.shape[1]
    side = min(size)
    strength = KINDS[kind].strength(level, side)
    rng = generator("robustness", kind, seed, key)
    if kind == "jpeg":
        return changes.jpeg(pixels, int(strength)), None
    if kind == "blur":
        larger = max(1.0, side / SIDE_OF_SMALL) if side < SMALL else side / SIDE_OF_LARGE
        return changes.blurred(pixels, strength * larger), None
    if kind == "noise":
        return changes.noisy(pixels, strength, rng), None
    if kind == "brightness":
        return changes.brightened(pixels, strength), None
    places = _shifted(size, strength, rng) if kind == "shift" else _turned(size, strength, rng)
    return changes.seen(pixels, places), places


def _shifted(size: tuple[int, int], share: float, rng: np.random.Generator) -> Places:
    """By whole pixels, one at least, in one of eight directions."""
    by = max(1, round(share * min(size)))
    down, right = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))[int(rng.integers(8))]
    return changes.shifted(size, by * down, by * right)


def _turned(size: tuple[int, int], degrees: float, rng: np.random.Generator) -> Places:
    return changes.turned(size, degrees * (1 if rng.integers(2) else -1))
