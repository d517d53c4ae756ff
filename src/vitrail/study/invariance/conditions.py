"""What is done to the images as a model takes them: shifts, scales, mirrors, turns, and patches laid out anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vitrail.contracts import Pixels
from vitrail.seeding import generator
from vitrail.study import changes

SHIFTS = (1, 2, 4, 8)
"""Pixels of the model's input."""
SCALES = (0.8, 0.9, 1.1, 1.25)
TURNS = (5, 10, 20, 45, 90)
GRIDS = (2, 4, 8, 16)
"""Patches a side that are laid out anew."""
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))

CIRCULAR, EDGE, SCALE, FLIP, ROTATION, PATCHES = (
    "circular shift", "shift", "scale", "flip", "rotation", "patch permutation",
)  # fmt: skip
FAMILIES = (CIRCULAR, EDGE, SCALE, FLIP, ROTATION, PATCHES)
ACROSS, UPRIGHT = 1, 0
"""Amounts of FLIP: which axis is turned round."""


@dataclass(frozen=True)
class Condition:
    """A change at one strength. amount: pixels of a shift, factor of a scale, axis of a flip, degrees of a rotation,
    patches a side of a permutation.
    """

    family: str
    amount: float

    def __call__(self, pixels: Pixels, seed: int, key: str) -> Pixels:
        """(H, W, C) uint8 -> the same shape. What is drawn is drawn from (seed, key), alike for all amounts."""
        rng = generator("invariance", self.family, seed, key)
        if self.family in (CIRCULAR, EDGE):
            down, right = DIRECTIONS[int(rng.integers(len(DIRECTIONS)))]
            by = int(self.amount)
            if self.family == CIRCULAR:
                return changes.rolled(pixels, by * down, by * right)
            return changes.seen(pixels, changes.shifted(pixels.shape[:2], by * down, by * right))
        if self.family == SCALE:
            return changes.scaled(pixels, self.amount)
        if self.family == FLIP:
            return changes.flipped(pixels, int(self.amount))
        if self.family == ROTATION:
            sign = 1 if rng.integers(2) else -1
            return changes.seen(pixels, changes.turned(pixels.shape[:2], sign * self.amount))
        assert self.family == PATCHES, self.family
        return changes.shuffled(pixels, pixels.shape[0] // int(self.amount), rng)

    @property
    def told(self) -> str:
        """In words."""
        if self.family == PATCHES:
            return f"{self.amount:g} x {self.amount:g} patches laid out anew"
        if self.family == FLIP:
            return "left and right exchanged" if self.amount == ACROSS else "upside down"
        if self.family == SCALE:
            return f"{self.amount:g} times as large"
        if self.family == ROTATION:
            return f"turned by {self.amount:g}°"
        border = "what leaves comes in again" if self.family == CIRCULAR else "the edge is repeated"
        return f"shifted by {self.amount:g} px, {border}"


def conditions(sides: Collection[int], cells: Collection[int]) -> list[Condition]:
    """The same for all models of a study. sides: pixels a side of each model's images.  cells: pixels a side of the
    first grid's cells of each.

    A cell and half of one are among the shifts, the whole grid among the permutations, where images of all sides have
    them.
    """
    least = min(sides)
    shifts = sorted({by for by in {*SHIFTS, *cells, *(cell // 2 for cell in cells)} if 0 < by <= least // 4})
    grids = {*GRIDS, *(side // cell for side in sides for cell in cells if side % cell == 0)}
    cuts = sorted(grid for grid in grids if 1 < grid < least and all(side % grid == 0 for side in sides))
    amounts: dict[str, Sequence[float]] = {
        CIRCULAR: shifts, EDGE: shifts, SCALE: SCALES, FLIP: (ACROSS, UPRIGHT), ROTATION: TURNS, PATCHES: cuts,
    }  # fmt: skip
    return [Condition(family, amount) for family in FAMILIES for amount in amounts[family]]
