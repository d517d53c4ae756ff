"""What else may happen to a batch's images: RandAugment, ThreeAugment and jitter, as `colour_changes` has them.

Each draws its layers on the host: what happens to every image, in order.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vitrail.data.batched import operations, strengths
from vitrail.data.batched.layers import Layer
from vitrail.data.batched.randaugment import RandAugment
from vitrail.data.batched.whole import Draws, between, whole_below
from vitrail.data.colour_changes import BLUR, PUBLISHED_SIDE
from vitrail.settings import AugmentConfig


class Change(Protocol):
    """Something random that happens to images of one size."""

    def layers(self, draws: Draws, size: tuple[int, int]) -> list[Layer]:
        """What happens to each sample's image of (H, W), one after another."""


class ThreeAugment:
    """One of three, each as often: grey, solarised at half, blurred in proportion to the side (DeiT III)."""

    def layers(self, draws: Draws, size: tuple[int, int]) -> list[Layer]:
        """One."""
        drawn = draws.uniform("three", 2)
        kinds = whole_below(drawn[:, 0], 3)
        least, most = (radius * max(size) / PUBLISHED_SIDE for radius in BLUR)
        settings = strengths.gaussian(between(least, most, drawn[:, 1]), most)
        settings[kinds == 1, 0] = 128  # where solarising begins
        return [Layer((operations.grey, operations.solarize, operations.blur), kinds, settings)]


class Jitter:
    """Brightness, contrast and, of colour images, saturation, each by up to `strength`, in any order: torchvision's."""

    def __init__(self, strength: float, colours: bool) -> None:
        self._strength = strength
        both = (operations.brightness, operations.contrast)
        self._operations = (*both, operations.saturation) if colours else both

    def layers(self, draws: Draws, size: tuple[int, int]) -> list[Layer]:
        """One for each of them."""
        count = len(self._operations)
        drawn = draws.uniform("jitter", 2 * count)
        order = np.argsort(drawn[:, :count], axis=1, kind="stable")  # (B, count): each row a permutation
        factors = between(1 - self._strength, 1 + self._strength, drawn[:, count:])
        settings = [strengths.blend(np.take_along_axis(factors, kinds[:, None], 1)[:, 0], size) for kinds in order.T]
        return [Layer(self._operations, kinds, own, alpha=False) for kinds, own in zip(order.T, settings, strict=True)]


def changes_of(augment: AugmentConfig, channels: int) -> list[Change]:
    """What a config asks for, in order."""
    changes: list[Change] = []
    if augment.randaugment_ops:
        strength = (augment.randaugment_magnitude, augment.randaugment_spread)
        changes.append(RandAugment(augment.randaugment_ops, *strength))
    if augment.three:
        changes.append(ThreeAugment())
    if augment.jitter:
        changes.append(Jitter(augment.jitter, colours=channels > 1))
    return changes
