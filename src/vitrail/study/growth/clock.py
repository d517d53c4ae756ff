"""How long a call takes: rounds of it on a machine that others use too, the best of them, and how far they spread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5
ROUND_SECONDS = 0.1
"""A round repeats the call for so long, once at least."""
PART_SECONDS = 0.02
"""The same of a call that is one kind of many, as attention's are."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """rounds: seconds of one call in each round, in order."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        """Seconds of one call in the fastest round: what others' work added least to."""
        return min(self.rounds)

    @property
    def spread(self) -> float:
        """The slowest round over the fastest, less 1: 0 where all were alike."""
        return max(self.rounds) / self.best - 1


def timed(
    what: Callable[[], object], settle: Callable[[], None], clock: Clock = time.perf_counter,
    seconds: float | None = None,
) -> Timing:  # fmt: skip
    """Time a call that has been made before. settle: waits until the device has done all that it was given.

    seconds: of a round, ROUND_SECONDS by default.
    """
    least = ROUND_SECONDS if seconds is None else seconds
    rounds = []
    for _ in range(ROUNDS):
        settle()
        began, calls, taken = clock(), 0, 0.0
        while not calls or taken < least:
            what()
            settle()
            calls += 1
            taken = clock() - began
        rounds.append(taken / calls)
    return Timing(tuple(rounds))


def forecast(call: float, before: int) -> float:
    """Seconds that measuring a call of so many seconds takes. before: calls that are made before any is timed."""
    return before * call + ROUNDS * max(call, ROUND_SECONDS)
