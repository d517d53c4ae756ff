"""How many epochs fit into a time: arithmetic on measured speeds, with a clock of our own."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.errors import UsageError
from vitrail.run.timing import MARGIN, MOST, TEACHER_SHARE, Deadline, Part, Work, fitting, rounded, takes
from vitrail.settings import seconds_of
from vitrail.training.trial import Speed


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


WORK = Work(train=1000, val=200, test=300, batch=50, checkpoint=300.0, finish=8.0)
SPEED = Speed(startup=0.5, image=0.01, first=0.002, evaluation=0.003, first_evaluation=0.002, writing=0.4, load=1.5)
PART = Part(WORK, SPEED)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("90s", 90),
        ("1h30m", 5400),
        ("600", 600),
        ("1.5h", 5400),
        ("1h 2m 3s", 3723),
        (45, 45),
        (0.5, 0.5),
    ],
)
def test_a_time_is_read_as_users_write_it(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10x", "0", "0m", "-5", "m", "1m1h", "nan", "inf", float("nan"), -3])
def test_what_is_no_time_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="write 1h30m, 10m, 90s"):
        seconds_of(text)


def test_a_deadline_counts_from_where_it_began() -> None:
    clock = Clock()
    deadline = Deadline(60, clock(), clock)
    clock.now += 10
    assert deadline.left() == 50
    clock.now += 5
    assert deadline.left() == 45


def test_every_part_of_a_run_takes_its_time() -> None:
    """Two epochs, counted by hand: what is done once, per image, per row and at the end."""
    once = 0.5 + 1000 * 0.002 + 200 * 0.002
    steps = 2 * 1000 * 0.01 * (1 + 0.4 / 300)
    rows = 2 * (200 * 0.003 + 0.4)
    end = 500 * 0.005 + 0.4 + 8 * 1.5
    assert takes(2, WORK, SPEED) == pytest.approx(once + steps + rows + end)
    trusting = 0.1 * 2 * 1000 * SPEED.evaluation  # a pass to score explanations with, for each tenth image trained on
    more = dataclasses.replace(WORK, scored=0.1, explaining=7.0)
    assert takes(2, more, SPEED) == pytest.approx(once + steps + rows + end + trusting + 7)
    bounded = dataclasses.replace(WORK, scored=0.1, scored_least=150.0, scored_most=250.0)
    assert [bounded.scoring(epochs) for epochs in (1, 2, 3)] == [0, 200, 250]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Speed)])
def test_nothing_measured_is_left_out(field: str) -> None:
    slower = dataclasses.replace(SPEED, **{field: getattr(SPEED, field) + 1.0})
    assert takes(0.5, WORK, slower) > takes(0.5, WORK, SPEED) + 0.9


@given(seconds=st.floats(60, 1e6), image=st.floats(1e-5, 0.02))
def test_the_most_that_fits_is_taken(seconds: float, image: float) -> None:
    clock = Clock()
    speed = dataclasses.replace(SPEED, image=image)
    epochs, _ = fitting(Deadline(seconds, clock(), clock), Part(WORK, speed))
    assert takes(epochs, WORK, speed) <= seconds * (1 - MARGIN)
    more = epochs + 1 if epochs >= 30 else epochs * 1.011
    assert epochs == MOST or takes(more, WORK, speed) > seconds * (1 - MARGIN)


def test_what_has_gone_by_does_not_count_again() -> None:
    clock = Clock()
    deadline = Deadline(600, clock(), clock)
    before, _ = fitting(deadline, PART)
    clock.now += 300
    assert fitting(deadline, PART)[0] < 0.6 * before


def test_a_teacher_has_half_of_its_students_epochs_where_that_takes_little() -> None:
    clock = Clock()
    deadline = Deadline(600, clock(), clock)
    quick = dataclasses.replace(SPEED, image=SPEED.image / 2)
    alone, none = fitting(deadline, PART)
    epochs, of_teacher = fitting(deadline, PART, Part(WORK, quick))
    assert none is None
    assert of_teacher == pytest.approx(epochs / 2, rel=0.05)
    assert 0.7 * alone < epochs < 0.8 * alone
    assert takes(epochs, WORK, SPEED) + takes(of_teacher, WORK, quick) <= 600 * (1 - MARGIN)


@given(seconds=st.floats(600, 1e5), slower=st.floats(2, 20))
def test_a_slow_teacher_leaves_its_student_the_larger_part(seconds: float, slower: float) -> None:
    clock = Clock()
    first = Part(WORK, dataclasses.replace(SPEED, image=slower * SPEED.image))
    epochs, of_teacher = fitting(Deadline(seconds, clock(), clock), PART, first)
    assert of_teacher is not None
    assert of_teacher <= epochs / 2 * 1.0001
    own, left = takes(of_teacher, WORK, first.speed), seconds * (1 - MARGIN)
    assert own <= TEACHER_SHARE * left * (1 + 1e-9)  # what halving is corrected by
    assert own + takes(epochs, WORK, SPEED) <= left
    assert own > 0.2 * left or of_teacher == pytest.approx(epochs / 2, rel=0.05)


def test_too_little_time_is_refused_with_the_least_that_would_do() -> None:
    clock = Clock()
    clock.now = 0.0
    deadline = Deadline(12, 0.0, clock)
    clock.now = 5.0
    with pytest.raises(
        UsageError, match=r"--time 12s is too little here: 5 s went .* at least --time (\S+) "
    ) as refused:
        fitting(deadline, PART)
    least = seconds_of(str(refused.value).split("at least --time ")[1].split()[0])
    assert fitting(Deadline(least, 0.0, clock), PART)[0] > 0
    with pytest.raises(UsageError, match="too little"):
        fitting(Deadline(least - 5, 0.0, clock), PART)


def test_a_large_set_gets_part_of_an_epoch() -> None:
    clock = Clock()
    large = dataclasses.replace(WORK, train=1_000_000, batch=256)
    epochs, _ = fitting(Deadline(3600, clock(), clock), Part(large, SPEED))
    assert 0.1 < epochs < 1
    assert takes(epochs, large, SPEED) <= 3600 * (1 - MARGIN)


@given(st.floats(0.02, 1e5))
def test_epochs_are_rounded_down_and_by_little(epochs: float) -> None:
    kept = rounded(epochs)
    assert kept <= epochs * (1 + 1e-9)
    assert kept > epochs * (1 - 1 / 30) - 1e-12
    assert kept == int(kept) if epochs >= 30 else len(f"{kept:.12g}".replace("0.", "").replace(".", "").strip("0")) <= 3
    assert math.isfinite(kept)
