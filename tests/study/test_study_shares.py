"""How the time is shared: equally, within it, and with less where it is short."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.errors import UsageError
from vitrail.run.timing import Part, Work
from vitrail.study.shares import ENOUGH, WORTH, Ask, Equal, Pace, part_epochs, share, stated
from vitrail.training.trial import Speed

SPEED = Speed(0.2, 1e-3, 0.0, 3e-4, 0.0, 0.1, 1.0)
WORK = Work(1000, 200, 200, 64, 300.0, 2.0)
WHOLE = Ask(3, (0.5, 1.0, 2.0), (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)))


def pace(image: float = 1e-3, flops: float = 1e8, recipe: float = 60) -> Pace:
    return Pace(Part(WORK, replace(SPEED, image=image)), flops, recipe)


TWO = {"slow": pace(4e-3, 4e8), "fast": pace(1e-3, 1e8)}


def spent(found: dict[str, float], ask: Ask = WHOLE, paces: dict[str, Pace] = TWO) -> dict[str, float]:
    return {label: ask.spends(paces[label], epochs) for label, epochs in found.items()}


@pytest.mark.parametrize("equal", ["time", "epochs", "flops"])
def test_what_is_equal_is_equal_and_all_of_it_fits(equal: Equal) -> None:
    found = share(3000, TWO, WHOLE, equal, "--time 50m")
    assert (found.ask, found.dropped) == (WHOLE, ())
    took = spent(dict(found.epochs))
    assert sum(took.values()) <= 3000
    slow, fast = found.epochs["slow"], found.epochs["fast"]
    if equal == "time":
        assert all(0.93 * 1500 <= seconds <= 1500 for seconds in took.values())
        assert fast > 2.5 * slow
    else:
        assert fast / slow == pytest.approx(1.0 if equal == "epochs" else 4.0, rel=0.03)
        assert sum(took.values()) > 0.93 * 3000


def test_what_is_dropped_is_dropped_in_the_declared_order() -> None:
    seen = [share(seconds, TWO, WHOLE, "time", "--time").dropped for seconds in range(3000, 100, -20)]
    orders = list(dict.fromkeys(seen))
    assert orders == [
        (),
        ("learning curves",),
        ("learning curves", "tuning of the learning rate"),
        ("learning curves", "tuning of the learning rate", "all but 2 of 3 full runs of each model"),
    ]
    for seconds in (3000, 1500, 900, 600):
        found = share(seconds, TWO, WHOLE, "time", "--time")
        if found.ask.seeds == 3:
            assert all(epochs >= WORTH * 60 for epochs in found.epochs.values())


def test_more_time_than_anyone_needs_is_not_spent() -> None:
    found = share(1e7, TWO, WHOLE, "time", "--time 100d")
    assert set(found.epochs.values()) == {ENOUGH * 60}


def test_too_little_time_says_how_much_would_do() -> None:
    with pytest.raises(
        UsageError, match=r"--time 10s is too little here: 2 models, 2 full runs each .* take \d+"
    ) as no:
        share(8, TWO, WHOLE, "time", "--time 10s")
    minutes, seconds = 0, 0
    told = str(no.value).split(" take ")[1].split(" of ")[0]
    minutes, _, seconds_text = told.rpartition("m") if "m" in told else ("0", "", told)
    seconds = int(seconds_text.rstrip("s") or 0) + 60 * int(minutes or 0)
    assert share(seconds, TWO, WHOLE, "time", "--time").ask.seeds == 2


@given(seconds=st.floats(60, 1e5), image=st.floats(1e-5, 1e-1), recipe=st.integers(20, 100))
def test_whatever_the_time_it_is_kept(seconds: float, image: float, recipe: int) -> None:
    paces = {"one": pace(image, recipe=recipe), "two": pace(1e-3, recipe=recipe)}
    try:
        found = share(seconds, paces, WHOLE, "time", "--time")
    except UsageError:
        return
    assert sum(spent(dict(found.epochs), found.ask, paces).values()) <= seconds * 1.001
    assert all(0 < epochs <= ENOUGH * recipe for epochs in found.epochs.values())


def test_a_part_of_the_images_has_the_root_of_its_share_of_the_updates() -> None:
    assert part_epochs(20, Fraction(1, 4)) == 40
    assert part_epochs(20, Fraction(1, 16)) == 80
    assert 1000 / 4 * part_epochs(20, Fraction(1, 4)) == 0.5 * 1000 * 20


def test_a_cnn_that_each_cell_trains_first_counts() -> None:
    alone, taught = pace(), replace(pace(), teacher=Part(WORK, SPEED))
    assert 1.3 < taught.seconds(40) / alone.seconds(40) < 1.6
    assert replace(alone, slower=2.0).seconds(40) == 2 * alone.seconds(40)


def test_stated_epochs_are_those_of_all_or_of_the_costliest() -> None:
    assert stated(12, TWO, "epochs") == {"slow": 12, "fast": 12}
    assert stated(12, TWO, "flops") == {"slow": 12, "fast": 48}
    assert stated(None, TWO, "epochs") == {"slow": 60, "fast": 60}
