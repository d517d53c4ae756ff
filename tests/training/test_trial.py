"""What a trial measures, on a loop whose every part takes a known time by a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vitrail.settings import build
from vitrail.training.trial import PREFETCHED, READ, measure

SIZE, PARTS = 8, 2
FIRST_READ, READ_AGAIN, STEP, EVALUATED, READ_TO_EVALUATE, WRITTEN = 0.05, 0.01, 0.4, 0.02, 0.03, 0.7
START = 3.0
LOADED = 6.0
"""What the first evaluation takes once, however many images it is of."""


class Loop:
    """As much of a loop as a trial uses; `clock` moves with what it does."""

    device = "cpu"

    def __init__(self, workers: int = 0) -> None:
        self.now, self.workers = 0.0, workers
        fields = {"data.source": "digits", "train.batch_size": SIZE, "train.accumulate": PARTS, "data.workers": workers}
        self.config = build(fields)
        self.read: set[int] = set()
        self.validated: set[int] = set()
        self.updates, self.opened, self.closed = 0, 0, 0
        self.average, self.task, self.validation = SimpleNamespace(model=None), None, None
        self.kept: list[str] = []

    def clock(self) -> float:
        return self.now

    def make_batches(self, first: int, last: int) -> Any:
        loop = self

        class Batches:
            def __iter__(self) -> Iterator[Any]:
                loop.now += START if loop.workers else 0.0
                for place in range(first, last, SIZE // PARTS):
                    places = range(place, place + SIZE // PARTS)
                    if not loop.workers:
                        loop.now += sum(READ_AGAIN if p in loop.read else FIRST_READ for p in places)
                    loop.read |= set(places)
                    yield SimpleNamespace(keys=tuple(map(str, places)))

            def __enter__(self) -> Any:
                loop.opened += 1
                return self

            def __exit__(self, *_: object) -> None:
                loop.closed += 1

        return Batches()

    def update(self, batches: Any) -> Any:
        assert len(batches) == PARTS
        self.now += STEP * (5 if not self.updates else 1)  # the first is slow
        self.updates += 1
        return SimpleNamespace(read=lambda: [0.0])

    def evaluate(self) -> Any:
        count = self.validation or 0
        self.now += 0.0 if self.validated else LOADED
        again = len(self.validated) >= count
        self.validated |= set(range(count))
        self.now += count * (EVALUATED + (0.0 if again else READ_TO_EVALUATE))
        return SimpleNamespace(keys=range(count))

    def save(self) -> None:
        self.now += WRITTEN - 0.2

    def keep(self, which: str, *_: object) -> None:
        self.now += 0.2
        self.kept.append(which)


def tried(loop: Loop, images: int = 100, seconds: float = 20.0) -> Any:
    return measure(loop, lambda count: count, images, seconds, loop.clock)  # type: ignore[arg-type, return-value]


def test_each_part_is_measured_apart() -> None:
    loop = Loop()
    speed = tried(loop)
    assert speed.image == pytest.approx(STEP / SIZE + READ_AGAIN)
    assert speed.first == pytest.approx(FIRST_READ - READ_AGAIN)
    assert speed.evaluation == pytest.approx(EVALUATED)
    assert speed.first_evaluation == pytest.approx(READ_TO_EVALUATE)
    assert speed.writing == pytest.approx(WRITTEN)
    assert speed.load == 1.0
    assert loop.kept == ["best"]
    assert loop.read == set(range(READ * SIZE))
    assert loop.opened == loop.closed > 0


def test_the_start_of_workers_is_paid_once_and_what_they_read_ahead_is_not_counted() -> None:
    loop = Loop(workers=2)
    speed = tried(loop)
    assert speed.startup == pytest.approx(START)
    assert speed.image == pytest.approx(STEP / SIZE)
    assert speed.first == 0
    assert loop.updates > PREFETCHED * 2
    assert loop.opened == loop.closed == 1


def test_a_trial_takes_about_its_time() -> None:
    loop = Loop()
    tried(loop, images=10_000, seconds=60)
    assert 40 < loop.now < 80
    assert len(loop.validated) < 10_000


def test_two_updates_are_made_however_slow() -> None:
    loop = Loop()
    speed = tried(loop, seconds=0.001)
    assert loop.updates == 2
    assert speed.image >= STEP / SIZE + READ_AGAIN  # not all was read before: rather too slow than too fast
