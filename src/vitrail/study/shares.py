"""How a study's time is shared: how many epochs each model gets, and what is left out where time is short.

A trial per model measures its speed; from then on epochs are fixed, the same for all seeds of a model, so that seeds do
not differ by the machine's mood. Every model has the same share of the time (or of epochs, or of training FLOPs) for
all that is done with it: full runs, tuning of the rate, parts of the images. A part f of the images is trained for
f^-0.5 times the epochs, f^0.5 of the updates: less than a full run, and more than equal epochs would leave it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from vitrail.errors import UsageError
from vitrail.run.teacher_first import TEACHER_EPOCHS
from vitrail.run.timing import Part, least_epochs, most_epochs, rounded, rounded_up, short_time, takes

Equal = Literal["time", "epochs", "flops"]

WORTH = 0.25
"""Of the recipe's own epochs, what every full run is to have before learning curves and tuning get any time."""
ENOUGH = 4.0
"""Of the recipe's own epochs, the most that a full run gets, however much time there is."""
LEAST = 0.02
"""Of the recipe's own epochs, the least that a full run is begun with."""
FEWEST_SEEDS = 2
TUNING = 0.25
"""Of a full run's epochs, those of a run that only tries a rate."""


@dataclass(frozen=True)
class Pace:
    """How long cells of one model take.

    part: its training and its speed; teacher: of one that each cell trains first.  flops: of training on one image.
    recipe: epochs that its recipe would take.  beginning: seconds before a cell trains.  slower: what cells took over
    what was said that they would.
    """

    part: Part
    flops: float
    recipe: float
    teacher: Part | None = None
    beginning: float = 1.0
    slower: float = 1.0

    def seconds(self, epochs: float, images: int | None = None) -> float:
        """Of a whole cell, on so many training images or all there are."""
        took = self.beginning
        for part, count in ((self.part, epochs), (self.teacher, teacher_epochs(epochs))):
            if part is not None:
                work = part.work if images is None else replace(part.work, train=images)
                took += takes(count, work, part.speed)
        return took * self.slower

    @property
    def images(self) -> int:
        """Training images there are."""
        return self.part.work.train

    @property
    def least(self) -> float:
        """Epochs below which nothing is begun."""
        return max(least_epochs(self.part.work), LEAST * self.recipe)


@dataclass(frozen=True)
class Ask:
    """What is trained of each model.

    seeds: full runs, which are dropped down to `least`, `step` at a time; repeats x folds where there are folds.
    rates: multiples of the recipe's own rate that are tried; one is no trial.  fractions: of the training images, below
    1, each with `part_seeds`.  lengths: of a full run, ascending to 1, each a training of its own.  keeps_parts:
    whether parts are what all is for, and have as many seeds as full runs, however few those become.
    """

    seeds: int
    rates: tuple[float, ...] = (1.0,)
    fractions: tuple[Fraction, ...] = ()
    part_seeds: int = 2
    least: int = FEWEST_SEEDS
    step: int = 1
    lengths: tuple[float, ...] = (1.0,)
    keeps_parts: bool = False

    def spends(self, pace: Pace, epochs: float) -> float:
        """Seconds for all cells of a model whose full runs have so many epochs."""
        return sum(pace.seconds(length, images) * count for length, images, count in self._kinds(pace, epochs))

    def flops(self, pace: Pace, epochs: float) -> float:
        """Training FLOPs of the same."""
        kinds = self._kinds(pace, epochs)
        return sum(pace.flops * length * (images or pace.images) * count for length, images, count in kinds)

    def _kinds(self, pace: Pace, epochs: float) -> Iterator[tuple[float, int | None, int]]:
        for length in self.lengths:
            yield epochs * length, None, self.seeds
        if len(self.rates) > 1:
            yield tuning_epochs(pace, epochs), None, len(self.rates)
        for fraction in self.fractions:
            yield part_epochs(epochs, fraction), max(1, round(fraction * pace.images)), self.part_seeds

    def less(self) -> Iterator[tuple[Ask, tuple[str, ...]]]:
        """Itself, and what is left as things are dropped in their order; with what was dropped, in words."""
        now, dropped = self, list[str]()
        yield now, ()
        if now.fractions and not now.keeps_parts:
            now, dropped = replace(now, fractions=()), [*dropped, "learning curves"]
            yield now, tuple(dropped)
        if len(now.rates) > 1:
            now, dropped = replace(now, rates=(1.0,)), [*dropped, "tuning of the learning rate"]
            yield now, tuple(dropped)
        while now.seeds > now.least:
            seeds = max(now.least, now.seeds - self.step)
            now = replace(now, seeds=seeds, part_seeds=min(now.part_seeds, seeds))
            yield now, (*dropped, f"all but {now.seeds} of {self.seeds} full runs of each model")


@dataclass(frozen=True)
class Shares:
    """What is trained, for how many epochs a model's full runs last, and what was dropped for want of time."""

    ask: Ask
    epochs: Mapping[str, float]
    dropped: tuple[str, ...] = ()


def part_epochs(epochs: float, fraction: Fraction) -> float:
    """Epochs on a fraction of the images: f^-0.5 times those on all, so f^0.5 of their updates."""
    return rounded(epochs * float(fraction) ** -0.5)


def tuning_epochs(pace: Pace, epochs: float) -> float:
    """Epochs of a run that only tries a rate."""
    return rounded(max(least_epochs(pace.part.work), TUNING * epochs))


def teacher_epochs(epochs: float) -> float:
    """Of a CNN that a cell trains first, as a run has it."""
    return math.ceil(TEACHER_EPOCHS * epochs) if epochs >= 1 else TEACHER_EPOCHS * epochs


def share(
    seconds: float, paces: Mapping[str, Pace], ask: Ask, equal: Equal, limit: str,
    whole: Callable[[float], float] = float,
) -> Shares:  # fmt: skip
    """Share so many seconds of training among models, leaving out what there is too little time for.

    limit: how the user said it, "--time 30m".  whole: of seconds of training, all that --time would have to be.  Raises
    UsageError, with the time that would do, where even the least is too much.
    """
    found: Shares | None = None
    for wanted, dropped in ask.less():
        epochs = fitted(seconds, paces, wanted, equal)
        if epochs is None:
            continue
        found = Shares(wanted, epochs, dropped)
        if all(epochs[label] >= WORTH * pace.recipe for label, pace in paces.items()):
            return found
    if found is None:
        *_, (least, _) = ask.less()
        shortest = least.lengths[0]
        lengths = _lengths(max(pace.least / unit for pace, unit in _units(paces, equal)) / shortest, paces, equal)
        if equal == "time":
            lengths = {label: pace.least / shortest for label, pace in paces.items()}
            worst = max(least.spends(pace, lengths[label]) for label, pace in paces.items())
            needed = worst * len(paces)
        else:
            needed = sum(least.spends(pace, lengths[label]) for label, pace in paces.items())
        epochs_each = f"{min(lengths.values()):.2g} epochs or more{_beside(least)}"
        raise UsageError(
            f"{limit} is too little here: {len(paces)} models, {least.seeds} full runs each of {epochs_each}, take"
            f" {short_time(rounded_up(needed))} of training alone, and {short_time(max(0.0, seconds))} are left for it:"
            f" at least --time {short_time(rounded_up(whole(needed)))} is needed, fewer models, or smaller images"
        )
    return found


def _beside(ask: Ask) -> str:
    """What is trained beside full runs, and cannot be dropped."""
    parts = f", and as many on each of {len(ask.fractions)} parts of the images" if ask.fractions else ""
    shorter = f", and {len(ask.lengths) - 1} shorter ones beside each" if len(ask.lengths) > 1 else ""
    return parts + shorter


def fitted(seconds: float, paces: Mapping[str, Pace], ask: Ask, equal: Equal) -> dict[str, float] | None:
    """The most epochs of each model's full runs with which all that is asked fits; None where next to none do."""
    if equal == "time":
        each = seconds / len(paces)
        made = {label: _most(ask, pace, each) for label, pace in paces.items()}
    else:
        most = most_epochs(lambda c: _total(ask, paces, _lengths(c, paces, equal)), seconds)
        cap = max(ENOUGH * pace.recipe / unit for pace, unit in _units(paces, equal))
        made = _lengths(min(most, cap), paces, equal)
    if any(not epochs * ask.lengths[0] >= paces[label].least for label, epochs in made.items()):
        return None
    return {label: rounded(epochs) for label, epochs in made.items()}


def stated(epochs: float | None, paces: Mapping[str, Pace], equal: Equal) -> dict[str, float]:
    """Epochs of each model where they are stated, or its recipe's own where not.

    With equal FLOPs the costliest model has those stated, and others as many more as they cost less.
    """
    if epochs is None:
        return {label: pace.recipe for label, pace in paces.items()}
    if equal != "flops":
        return dict.fromkeys(paces, epochs)
    most = max(pace.flops for pace in paces.values())
    return {label: rounded(epochs * most / pace.flops) for label, pace in paces.items()}


def _most(ask: Ask, pace: Pace, seconds: float) -> float:
    return min(ENOUGH * pace.recipe, most_epochs(lambda epochs: ask.spends(pace, max(epochs, 1e-6)), seconds))


def _units(paces: Mapping[str, Pace], equal: Equal) -> Sequence[tuple[Pace, float]]:
    """Each model's epochs for one unit of what is equal: an epoch, or the costliest model's FLOPs of one."""
    most = max(pace.flops for pace in paces.values())
    return [(pace, most / pace.flops if equal == "flops" else 1.0) for pace in paces.values()]


def _lengths(units: float, paces: Mapping[str, Pace], equal: Equal) -> dict[str, float]:
    each = _units(paces, equal)
    return {label: max(1e-6, units * unit) for label, (_, unit) in zip(paces, each, strict=True)}


def _total(ask: Ask, paces: Mapping[str, Pace], epochs: Mapping[str, float]) -> float:
    return sum(ask.spends(pace, epochs[label]) for label, pace in paces.items())
