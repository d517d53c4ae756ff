"""What `compare` is asked: the words of a user made into a specification, refused where it cannot be obeyed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

from vitrail.errors import DataError, UsageError, unknown
from vitrail.settings import Stated, seconds_of
from vitrail.study import splits
from vitrail.study.entries import Entry
from vitrail.study.ground import FEW, Ground
from vitrail.study.shares import FEWEST_SEEDS, Ask, Equal
from vitrail.study.statistics.curves import FEWEST

RATES = (0.5, 1.0, 2.0)
SEEDS, REPEATS = 3, 2
FOLDS = 5
PARTS = tuple(Fraction(1, 2**power) for power in (4, 3, 2, 1))
FEWEST_IN_PART = 32
"""Training images that the smallest part of a learning curve has, and two of each class."""
PART_SEEDS = 2
EQUALS: tuple[Equal, ...] = ("time", "epochs", "flops")


@dataclass(frozen=True)
class Asked:
    """A comparison as it was asked for. seconds: of --time, None where epochs say how long, or the recipe.

    seeds: of full runs, repeats where there are folds.  folds: 0 for one test split.  fractions: () for no learning
    curves.  why: what was chosen because nothing was stated, in sentences.
    """

    data: str
    entries: tuple[Entry, ...]
    stated: Stated
    seconds: float | None
    epochs: float | None
    equal: Equal
    rates: tuple[float, ...]
    seeds: int
    folds: int
    fractions: tuple[Fraction, ...]
    minimal: float | None
    why: tuple[str, ...] = ()

    measures: ClassVar[bool] = True
    """Whether models are measured beside their scores."""

    @property
    def ask(self) -> Ask:
        """What is trained of each model."""
        if self.folds:
            return Ask(self.seeds * self.folds, self.rates, (), 0, self.folds, self.folds)
        return Ask(self.seeds, self.rates, self.fractions, min(PART_SEEDS, self.seeds), FEWEST_SEEDS)

    @property
    def limit(self) -> str:
        """How long, as the user said it."""
        if self.seconds is not None:
            from vitrail.run.timing import short_time

            return f"--time {short_time(self.seconds)}"
        return f"--epochs {self.epochs:g}" if self.epochs is not None else "the recipe's own epochs"

    def record(self) -> dict[str, Any]:
        """For study.json."""
        entries = [{"label": e.label, "stated": dict(e.stated), "teacher": e.teacher} for e in self.entries]
        own = {
            name: getattr(self, name) for name in ("data", "seconds", "epochs", "equal", "seeds", "folds", "minimal")
        }
        lists = {"rates": list(self.rates), "fractions": [str(f) for f in self.fractions], "why": list(self.why)}
        return {**own, **lists, "entries": entries, "stated": dict(self.stated)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Asked:
        """What `record` gave."""
        entries = tuple(Entry(e["label"], e["stated"], e["teacher"]) for e in record["entries"])
        return cls(
            record["data"], entries, record["stated"], record["seconds"], record["epochs"], record["equal"],
            tuple(record["rates"]), record["seeds"], record["folds"], tuple(map(Fraction, record["fractions"])),
            record["minimal"], tuple(record["why"]),
        )  # fmt: skip


@dataclass(frozen=True)
class Wishes:
    """What a user stated of a comparison; None is open."""

    seeds: int | None = None
    time: str | float | None = None
    epochs: float | None = None
    equal: str | None = None
    rates: str | Sequence[float] | None = None
    folds: int | None = None
    fractions: str | Sequence[Any] | None = None
    minimal: float | None = None

    def check(self) -> None:
        """UsageError for what no data could mend, before any is read."""
        if self.time is not None and self.epochs is not None:
            raise UsageError("--time and --epochs both say how long to train: leave one out")
        if self.epochs is not None and not 0 < self.epochs <= 100_000:
            raise UsageError(f"--epochs {self.epochs:g}: give a number above 0, up to 100,000")
        if self.equal is not None and self.equal not in EQUALS:
            raise unknown("--equal", self.equal, EQUALS)
        if self.equal == "time" and self.time is None:
            raise UsageError("--equal time shares a time: give --time, such as --time 30m")
        if self.equal in ("epochs", "flops") and self.time is None and self.epochs is None:
            raise UsageError(f"--equal {self.equal} needs to know how much: give --time or --epochs")
        if self.folds is not None and (self.folds < 0 or self.folds == 1):
            raise UsageError(f"--folds {self.folds}: give 2 or more, or 0 for one test split")
        if self.seeds is not None and self.seeds < 1:
            raise UsageError(f"--seeds {self.seeds}: give {FEWEST_SEEDS} or more")
        if self.seeds == 1 and not self.folds:
            raise UsageError(
                "--seeds 1 says nothing of what another training of the same model would give, so no difference could"
                f" be told: give {FEWEST_SEEDS} or more"
            )
        if self.minimal is not None and not 0 <= self.minimal < math.inf:
            raise UsageError(f"--minimal {self.minimal:g}: the least difference that matters is 0 or more")
        self.grid()
        if self.parts() and self.folds:
            raise UsageError("--fractions needs one test split for all sizes, which --folds does not have: choose one")

    def grid(self) -> tuple[float, ...]:
        """The rates to try, ascending."""
        if self.rates is None:
            return RATES
        words = self.rates.split(",") if isinstance(self.rates, str) else self.rates
        try:
            found = sorted({float(word) for word in words})
        except ValueError:
            raise UsageError(f"--rates {self.rates}: give multiples of the recipe's rate, such as 0.5,1,2") from None
        if not found or not all(0 < rate <= 1000 for rate in found):
            raise UsageError(f"--rates {self.rates}: give multiples above 0 of the recipe's rate, such as 0.5,1,2")
        if len(found) == 1 and found != [1.0]:
            raise UsageError(
                f"--rates {self.rates}: one is no choice: give two or more, or 1 for the recipe's own rate"
            )
        return tuple(found)

    def parts(self) -> tuple[Fraction, ...] | None:
        """The fractions to train on besides all, ascending; () for none, None where nothing was stated."""
        if self.fractions is None:
            return None
        words = self.fractions.split(",") if isinstance(self.fractions, str) else list(map(str, self.fractions))
        if [word.strip().lower() for word in words] in (["none"], [""], []):
            return ()
        try:
            found = sorted({Fraction(word.strip()) for word in words} - {Fraction(1)})
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"--fractions {self.fractions}: give parts such as 1/8,1/4,1/2, or none") from None
        if not all(0 < fraction < 1 for fraction in found):
            raise UsageError(f"--fractions {self.fractions}: each is above 0 and at most 1")
        if len(found) + 1 < FEWEST:
            raise UsageError(
                f"--fractions {self.fractions}: a learning curve needs {FEWEST} sizes, all images among them: give"
                f" {FEWEST - 1} parts or more, or none"
            )
        return tuple(found)


def settle(ground: Ground, wishes: Wishes) -> Asked:
    """The specification on this data; what is open is chosen, and said in `why`.

    Raises UsageError and DataError for folds or parts that the data cannot have.
    """
    asked = Asked(
        str(ground.common["data.source"]), ground.entries, ground.common,
        seconds_of(wishes.time) if wishes.time is not None else None, wishes.epochs, _equal(wishes), wishes.grid(),
        wishes.seeds or SEEDS, 0, (), wishes.minimal,
    )  # fmt: skip
    folds, why = _folds(ground, wishes)
    asked = replace(asked, folds=folds, seeds=wishes.seeds or (REPEATS if folds else SEEDS), why=why)
    fractions, why = _fractions(ground, wishes, folds)
    return replace(asked, fractions=fractions, why=(*asked.why, *why))


def _equal(wishes: Wishes) -> Equal:
    for equal in EQUALS:
        if equal == wishes.equal:
            return equal
    return "time" if wishes.time is not None else "epochs"


def _folds(ground: Ground, wishes: Wishes) -> tuple[int, tuple[str, ...]]:
    """How many folds, and why where nobody said."""
    if wishes.folds is not None:
        return wishes.folds, ()
    images = ground.images
    if images >= FEW:
        return 0, ()
    if ground.names_test():
        return 0, (
            f"{images} images are few, but the data says which of them are test: that is obeyed, and intervals will be"
            " wide. --folds 5 would test on every image once.",
        )
    if wishes.parts():
        return 0, (f"{images} images are few: without --fractions they would be tested in repeated folds.",)
    count = next((count for count in range(FOLDS, 1, -1) if _can_be(ground, count, wishes.seeds or REPEATS)), 0)
    if not count:
        return 0, (f"{images} images are few, and too few for folds: intervals will be wide.",)
    return count, (
        f"{images} images are under {FEW}: one test split of them would say too little, so each is tested once in"
        f" {count} folds, and that again with other folds (--folds 0 for one split).",
    )


def _can_be(ground: Ground, folds: int, repeats: int) -> bool:
    """Whether the images can be cut into so many folds."""
    config = ground.config.data
    share = Fraction(str(config.val_fraction))
    try:
        for repeat in range(repeats):
            splits.folds(ground.data, ground.task.name, folds, repeat, share, config.stratify)
    except DataError:
        return False
    return True


def _fractions(ground: Ground, wishes: Wishes, folds: int) -> tuple[tuple[Fraction, ...], tuple[str, ...]]:
    """Parts of the training images, and why where nobody said."""
    stated = wishes.parts()
    if stated is not None:
        return stated, ()
    if folds:
        return (), ()
    images = len(ground.data.indices("train"))
    classes = ground.task.outputs if ground.task.name == "classify" else 0
    least = max(FEWEST_IN_PART, 2 * classes)
    found = tuple(fraction for fraction in PARTS if fraction * images >= least)
    if len(found) + 1 < FEWEST:
        return (), (f"{images} training images are too few for learning curves: the smallest part would have too few.",)
    return tuple(sorted(found)), ()
