"""What the cells say: exponents of growth, where one model becomes cheaper than another, the share of attention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.study.growth.measured import PASSES, Measured, Pass
from vitrail.study.statistics.growth import Exponent, TwoTerms, fit_exponent, fit_two_terms, overtakes
from vitrail.study.statistics.intervals import Interval

FLAT = 0.5
"""A local exponent below this at the smallest sizes: what a call costs whatever the image, not how it grows."""
LEAST = 4
"""Sizes that a law is fitted to."""


@dataclass(frozen=True)
class Law:
    """How one pass of one model grows; None where there are fewer than LEAST sizes.

    time, attention: exponents over N, tokens of the first grid.  memory: of what grows at all, over N.  flops: the
    exponent of time over FLOPs; 1 where time follows them.  terms: of seconds over pixels of an image.  dropped: sizes
    at which a call's own cost hides the growth of time.
    """

    model: str
    what: Pass
    cells: tuple[Measured, ...]
    dropped: tuple[int, ...]
    time: Exponent | None
    attention: Exponent | None
    memory: Exponent | None
    flops: Exponent | None
    terms: TwoTerms | None

    @property
    def largest(self) -> Measured:
        """At the largest size."""
        return self.cells[-1]


@dataclass(frozen=True)
class Crossing:
    """From `size` pixels a side on, `cheaper` takes less time than `dearer`, which took less before.

    predicted: beyond what was measured, by both models' two terms, where an interval belongs to it, infinite where it
    never happens; else between two measured sizes.  clear: at both of those every round of the one was faster than
    every round of the other.
    """

    what: Pass
    cheaper: str
    dearer: str
    size: Interval
    predicted: bool
    clear: bool = True


def laws(cells: Sequence[Measured]) -> list[Law]:
    """One for each model and pass, in the order they appear."""
    curves = dict.fromkeys((cell.model, what) for cell in cells for what in PASSES)
    made = [_law(model, what, [c for c in cells if (c.model, c.what) == (model, what)]) for model, what in curves]
    return [law for law in made if law is not None]


def _law(model: str, what: Pass, cells: Sequence[Measured]) -> Law | None:
    ordered = sorted(cells, key=lambda cell: cell.size)
    if not ordered:
        return None
    kept = growing(ordered)
    tokens = [cell.tokens for cell in kept]
    return Law(
        model, what, tuple(ordered), tuple(cell.size for cell in ordered[: len(ordered) - len(kept)]),
        _exponent(tokens, [cell.time for cell in kept]),
        _exponent([cell.tokens for cell in ordered], [cell.attention_time for cell in ordered]),
        _exponent([cell.tokens for cell in ordered], [cell.growing for cell in ordered]),
        _exponent([cell.flops / cell.batch for cell in kept], [cell.time for cell in kept]),
        fit_two_terms([cell.pixels for cell in kept], np.array([c.time for c in kept])) if len(kept) >= LEAST else None,
    )  # fmt: skip


def growing(cells: Sequence[Measured]) -> list[Measured]:
    """Without the smallest sizes, while time hardly changes from one to the next; LEAST are kept where there are."""
    return list(cells[_flat([cell.tokens for cell in cells], [cell.time for cell in cells]) :])


def _flat(sizes: Sequence[float], costs: Sequence[float]) -> int:
    """How many sizes, from the smallest, cost the same as the next whatever their size; LEAST are left."""
    first = 0
    while len(sizes) - first > LEAST and costs[first + 1] / costs[first] < (sizes[first + 1] / sizes[first]) ** FLAT:
        first += 1
    return first


def _exponent(sizes: Sequence[float], costs: Sequence[float]) -> Exponent | None:
    """Over the sizes at which the cost grows at all."""
    ascending = all(one < other for one, other in itertools.pairwise(sizes))
    if len(sizes) < LEAST or not ascending or min(costs) <= 0:
        return None
    first = _flat(sizes, costs)
    return fit_exponent(sizes[first:], np.array(costs[first:], np.float64))


def crossings(found: Sequence[Law]) -> list[Crossing]:
    """Of every two models in each pass: within the measured sizes where they cross there, else as predicted."""
    made = []
    for what in PASSES:
        curves = [law for law in found if law.what == what]
        for one, other in itertools.combinations(curves, 2):
            made += _measured_crossings(one, other) or _predicted(one, other)
    return made


def _measured_crossings(one: Law, other: Law) -> list[Crossing]:
    """Where the faster of the two changes, between neighbouring sizes, by the logarithms of time and pixels."""
    others = {cell.size: cell for cell in other.cells}
    pairs = [(cell, others[cell.size]) for cell in one.cells if cell.size in others]
    both = [(mine.size, math.log(mine.time / theirs.time), _apart(mine, theirs)) for mine, theirs in pairs]
    made = []
    for (size, gap, apart), (later, after, still) in itertools.pairwise(both):
        if gap * after < 0:
            part = gap / (gap - after)
            at = size * (later / size) ** part
            cheaper, dearer = (one, other) if after < 0 else (other, one)
            made.append(
                Crossing(one.what, cheaper.model, dearer.model, Interval(at, size, later), False, apart and still)
            )
    return made


def _apart(one: Measured, other: Measured) -> bool:
    """Whether no round of the one took as long as some round of the other."""
    mine, theirs = ([seconds / cell.batch for seconds in cell.seconds] for cell in (one, other))
    return max(mine) < min(theirs) or max(theirs) < min(mine)


def _predicted(one: Law, other: Law) -> list[Crossing]:
    """Beyond both curves; the model that is slower at the end of them may become the faster one."""
    if one.terms is None or other.terms is None:
        return []
    first_terms, second_terms = one.terms, other.terms
    common = {cell.size for cell in one.cells} & {cell.size for cell in other.cells}
    if not common:
        return []
    at = max(common)
    first, second = (next(cell.time for cell in law.cells if cell.size == at) for law in (one, other))
    cheaper, dearer = (one, other) if first > second else (other, one)
    cheaper_terms, dearer_terms = (first_terms, second_terms) if first > second else (second_terms, first_terms)
    pixels = overtakes(dearer_terms, cheaper_terms)
    size = Interval(*(math.sqrt(end) if math.isfinite(end) else end for end in (pixels.value, pixels.low, pixels.high)))
    if size.value < at:  # the fitted terms miss which of the two is faster at the end: they say nothing of beyond
        return []
    return [Crossing(one.what, cheaper.model, dearer.model, size, True)]
