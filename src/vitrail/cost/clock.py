"""How long a call takes: rounds of it on a machine that others use too, the best of them, and how far they spread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5
ROUND_SECONDS = 0.1
"""A round repeats the call for so long, once at least."""
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
    seconds: float = ROUND_SECONDS, rounds: int = ROUNDS,
) -> Timing:  # fmt: skip
    """Time a call that has been made before. settle: waits until the device has done all that it was given.

    seconds: of a round.
    """
    found = []
    for _ in range(rounds):
        settle()
        began, calls, taken = clock(), 0, 0.0
        while not calls or taken < seconds:
            what()
            settle()
            calls += 1
            taken = clock() - began
        found.append(taken / calls)
    return Timing(tuple(found))
