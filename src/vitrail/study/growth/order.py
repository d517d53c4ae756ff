"""Which cells are measured, in what order, and which are left out since they would take too long or too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vitrail.cost.clock import ROUND_SECONDS, ROUNDS
from vitrail.report.numbers import share
from vitrail.study.growth.counted import Counted
from vitrail.study.growth.measured import PART_SECONDS, PASSES, WARM, Measured, Pass

ASSUMED = 5e9
"""FLOP/s that are expected before any cell is measured: few machines have less."""
LARGEST_SHARE = 0.2
"""Of the time: a single cell that would take more is left out."""
PAGE, PAGE_SHARE = 8.0, 0.2
"""Seconds that are kept for fitting and drawing, at most, and as a share of the time."""
MEMORY_SHARE = 0.8
"""Of the memory that is free: what would take more is left out."""
TIME, MEMORY, FAILED = "too little time", "too little memory", "failed"
"""Why a cell is left out: each reason begins with one of these and a colon."""


@dataclass(frozen=True)
class Cell:
    """One pass of one model at one image size, pixels a side."""

    model: str
    what: Pass
    size: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.model}-{self.size}-{self.what}".replace(":", "-").replace("/", "-")


def cells(models: Sequence[str], sizes: Sequence[int]) -> Iterator[Cell]:
    """Sizes up in turns, so that whoever stops early has whole curves up to some size."""
    for size in sorted(set(sizes)):
        for model in dict.fromkeys(models):
            for what in PASSES:
                yield Cell(model, what, size)


@dataclass
class Forecasts:
    """What cells will take, by what cells before took. seconds: of the whole study.  free: bytes.

    rates: FLOP/s of the last cell of a model's pass, over all its rounds: other work slows what follows as well.
    """

    seconds: float
    free: int
    rates: dict[tuple[str, Pass], float] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """Seconds after which nothing is measured any more, since the page is to be written."""
        return self.seconds - min(PAGE, PAGE_SHARE * self.seconds)

    def learn(self, found: Measured) -> None:
        """Take a measured cell into account."""
        self.rates[found.model, found.what] = found.flops * len(found.seconds) / sum(found.seconds)

    def call(self, counted: Counted, what: Pass) -> float:
        """Seconds of one pass over the batch."""
        flops = counted.step_flops if what == "step" else counted.forward_flops
        known = self.rates.get((counted.model, what)) or min(self.rates.values(), default=ASSUMED)
        return flops * counted.batch / known

    def cell(self, counted: Counted, what: Pass) -> float:
        """Seconds of the whole cell, the model's attention alone included."""
        attention = ROUNDS * PART_SECONDS * len(counted.calls)
        call = self.call(counted, what)
        return (WARM[what] + 1) * call + ROUNDS * max(call, ROUND_SECONDS) + attention

    def refusal(self, counted: Counted, what: Pass, left: float) -> str:
        """Why a cell is left out, in words; "" where it is not. left: seconds."""
        takes = self.cell(counted, what)
        needs = counted.step_memory if what == "step" else counted.weights
        if needs > MEMORY_SHARE * self.free:
            return f"{MEMORY}: it would take {needs / 2**30:.1f} GiB, and {self.free / 2**30:.1f} are free"
        if takes > LARGEST_SHARE * self.seconds:
            return f"{TIME}: it would take about {_rounded(takes)} s, more than {share(LARGEST_SHARE)} of the time"
        if takes > left:
            return f"{TIME}: it would take about {_rounded(takes)} s, and {max(0.0, left):.0f} s are left"
        return ""


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def smaller_left_out(cell: Cell, left_out: Mapping[Cell, str]) -> str:
    """Why a cell is not even counted: a smaller size of the same curve was left out; "" where none was."""
    return next(
        (f"{why.partition(':')[0]}: {other.size} px was left out already" for other, why in left_out.items()
         if (other.model, other.what) == (cell.model, cell.what) and other.size < cell.size),
        "",
    )  # fmt: skip


def time_needed(missing: Iterable[tuple[Counted, Pass]], forecasts: Forecasts, gone: float) -> float:
    """Seconds in all in which missing cells would be measured too, beside those that took `gone`, and the page be
    written; 0 of none."""
    takes = [forecasts.cell(counted, what) for counted, what in missing]
    return max(gone + sum(takes) + PAGE, max(takes) / LARGEST_SHARE) if takes else 0.0
