"""What a study of data efficiency is asked: as a comparison is, with parts of the images as what it is for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

from vitrail.errors import UsageError
from vitrail.study import compare_asked
from vitrail.study.compare_asked import Wishes
from vitrail.study.ground import Ground
from vitrail.study.shares import FEWEST_SEEDS, Ask


class AskedOfParts(compare_asked.Asked):
    """Every part has as many seeds as all images have; where time is short tuning goes first, then seeds."""

    measures: ClassVar[bool] = False

    @property
    def ask(self) -> Ask:
        """What is trained of each model."""
        return Ask(self.seeds, self.rates, self.fractions, self.seeds, FEWEST_SEEDS, keeps_parts=True)


def settle(ground: Ground, wishes: Wishes) -> AskedOfParts:
    """The specification on this data. Raises UsageError for parts that leave a class without an image, or for none."""
    common = compare_asked.settle(ground, replace(wishes, folds=0))
    if not common.fractions:
        why = common.why[-1] if common.why else "--fractions none leaves nothing to study."
        raise UsageError(f"{why} Give --fractions, such as 1/8,1/4,1/2,1, or more images")
    rare = _rarest(ground)
    least = min(common.fractions)
    if rare is not None and least * rare[1] < 1:
        name, count = rare
        if wishes.fractions is not None:
            raise UsageError(
                f"--fractions {least}: class '{name}' has {count} training images, and {least} of them is none: give"
                f" parts of {Fraction(1, count)} or more, or more images of it"
            )
        common = replace(common, why=(*common.why, _overfull(name, count, least)))
    made = AskedOfParts.of(common.record())
    assert isinstance(made, AskedOfParts), "of makes what it is asked of"
    return made


def _rarest(ground: Ground) -> tuple[str, int] | None:
    """The class with the fewest training images, and how many; None where there are no classes."""
    if ground.task.name != "classify":
        return None
    items = ground.data.source.items
    counts = Counter(str(items[index].target) for index in ground.data.indices("train"))
    return min(sorted(counts.items()), key=lambda entry: entry[1])


def _overfull(name: str, count: int, least: Fraction) -> str:
    plural = "" if count == 1 else "s"
    return (
        f"Class '{name}' has {count} training image{plural}, and {least} of that is none: small parts keep one all the"
        " same, which is more than its share."
    )
