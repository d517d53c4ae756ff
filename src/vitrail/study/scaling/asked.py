"""What a study of scaling is asked: a family, sizes, budgets and seeds, with as much compute for every size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vitrail.errors import UsageError
from vitrail.study import compare_asked
from vitrail.study.compare_asked import Wishes
from vitrail.study.ground import Ground
from vitrail.study.scaling.sizes import Shape
from vitrail.study.shares import Ask

BUDGETS = 5
"""A law with four parameters needs five budgets."""
FEWEST, MOST = 2, 9
RANGE = 16.0
"""The largest budget over the smallest."""


@dataclass(frozen=True)
class AskedOfSizes(compare_asked.Asked):
    """shapes: smallest first.  budgets: how many; every size has each of them."""

    shapes: tuple[Shape, ...] = ()
    budgets: int = BUDGETS

    measures: ClassVar[bool] = False

    @property
    def ask(self) -> Ask:
        """What is trained of each size."""
        return Ask(self.seeds, self.rates, (), 0, 1, lengths=self.lengths)

    @property
    def lengths(self) -> tuple[float, ...]:
        """Each budget over the largest, ascending."""
        return tuple(RANGE ** ((place + 1 - self.budgets) / (self.budgets - 1)) for place in range(self.budgets))

    def record(self) -> dict[str, Any]:
        """For study.json."""
        shapes = [{**vars(shape), "asked": list(shape.asked)} for shape in self.shapes]
        return {**super().record(), "shapes": shapes, "budgets": self.budgets}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> AskedOfSizes:
        """What `record` gave."""
        made = super().of(record)
        assert isinstance(made, AskedOfSizes), "of makes what it is asked of"
        shapes = tuple(Shape(**{**shape, "asked": tuple(shape["asked"])}) for shape in record["shapes"])
        return replace(made, shapes=shapes, budgets=record["budgets"])


def check(wishes: Wishes, budgets: int) -> None:
    """UsageError for what no data could mend. One seed is allowed, and said."""
    if wishes.time is None and wishes.epochs is None:
        raise UsageError("how much compute? Give --time, such as --time 30m, or --epochs of the largest size")
    replace(wishes, seeds=None if wishes.seeds == 1 else wishes.seeds).check()
    if not FEWEST <= budgets <= MOST:
        raise UsageError(f"--budgets {budgets}: give {FEWEST} to {MOST}")


def settle(ground: Ground, wishes: Wishes, shapes: tuple[Shape, ...], budgets: int) -> AskedOfSizes:
    """The specification on this data."""
    common = compare_asked.settle(ground, replace(wishes, folds=0, fractions="none", equal="flops"))
    whole = {**common.record(), "shapes": [{**vars(shape)} for shape in shapes], "budgets": budgets}
    return AskedOfSizes.of(whole)
