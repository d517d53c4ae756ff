"""Which rows of a head for the same kind of task answer here: by name, in this standardisation, or why none do."""

from __future__ import annotations

import numpy as np
import pytest

from vitrail.contracts import Rows, Task
from vitrail.tasks import numbered_task, restore
from vitrail.tasks.classify import Classify
from vitrail.tasks.depth import Depth
from vitrail.tasks.multilabel import MultiLabel
from vitrail.tasks.regress import Regress
from vitrail.tasks.segment import Segment


def applied(rows: Rows | str, outputs: np.ndarray) -> np.ndarray:
    """What the new head would say where the old one says `outputs`, (B, Y) or (B, Y, H, W)."""
    assert isinstance(rows, Rows), rows
    shape = (-1, *(1,) * (outputs.ndim - 2))
    scale, shift = (np.reshape(v, shape) for v in (rows.scale, rows.shift))
    return outputs[:, list(rows.places)] * scale + shift


@pytest.mark.parametrize("task", [Classify, MultiLabel, lambda labels: Segment(labels, range(len(labels)))])
def test_classes_keep_their_rows_by_name(task) -> None:
    theirs, here = task(["cat", "dog", "owl"]), task(["owl", "cat"])
    assert here.inherited(theirs) == Rows((2, 0), (1.0, 1.0), (0.0, 0.0))
    assert task(["a", "cat", "dog"]).inherited(theirs).endswith("have 2 of the 3 names here")
    assert task(["a", "b"]).inherited(theirs).endswith("have none of the 2 names here")


def test_mask_values_may_differ() -> None:
    theirs = Segment(["road", "sky"], [7, 11])
    assert Segment(["road", "sky"], [1, 0]).inherited(theirs) == Rows((0, 1), (1.0, 1.0), (0.0, 0.0))


def test_numbers_are_no_names() -> None:
    """A published head of ten outputs is no classifier of digits."""
    digits = Classify([str(i) for i in range(10)])
    nameless = numbered_task("classify", 10)
    assert nameless.labels == digits.labels
    assert digits.inherited(nameless) == "its 10 classes have no names, only numbers"
    assert digits.inherited(restore(nameless.state())) == "its 10 classes have no names, only numbers"
    assert isinstance(digits.inherited(restore(digits.state())), Rows)


@pytest.mark.parametrize("loss", ["huber", "nll"])
@pytest.mark.parametrize("mine", ["huber", "nll"])
def test_numbers_stay_what_they_are_in_their_units(loss: str, mine: str) -> None:
    theirs = Regress(["mass", "age"], ["kg", ""], [10.0, -3.0], [2.0, 0.5], loss)
    here = Regress(["age", "mass"], ["", "kg"], [4.0, 1000.0], [3.0, 7.0], mine)
    rows = here.inherited(theirs)
    if mine == "nll" and loss != "nll":
        assert rows == "it says no deviations, as loss=nll does"
        return
    raw = np.random.default_rng(0).normal(size=(5, theirs.outputs))
    said = applied(rows, raw)
    assert here.values(said) == pytest.approx(theirs.values(raw)[:, ::-1], rel=1e-12)
    if mine == "nll":
        assert here.deviations(said) == pytest.approx(theirs.deviations(raw)[:, ::-1], rel=1e-12)


def test_the_same_standardisation_changes_no_bit() -> None:
    task = Regress(["mass"], ["kg"], [0.1 + 0.2], [1 / 3], "nll")
    assert task.inherited(task).unchanged
    assert Depth(["d"], [""], [0.1], [0.3]).inherited(Depth(["d"], [""], [0.1], [0.3])).unchanged


@pytest.mark.parametrize("loss", ["l1", "silog"])
def test_maps_stay_what_they_are_in_their_units(loss: str) -> None:
    theirs = Depth(["depth", "height"], ["m", "m"], [1.0, 2.0], [0.5, 0.25], loss=loss, scale=0.001)
    here = Depth(["height", "depth"], ["m", "m"], [0.0, 3.0], [2.0, 1.5], loss=loss)
    raw = np.random.default_rng(0).normal(size=(2, 2, 3, 4))
    assert here.values(applied(here.inherited(theirs), raw)) == pytest.approx(theirs.values(raw)[:, ::-1], rel=1e-6)


@pytest.mark.parametrize(
    ("here", "theirs", "why"),
    [
        (Regress(["mass"], ["g"], [0.0], [1.0]), Regress(["mass"], ["kg"], [0.0], [1.0]), "its 'mass' is in kg, and"),
        (Regress(["mass"], [""], [0.0], [1.0]), Regress(["mass"], ["kg"], [0.0], [1.0]), "and here in no unit"),
        (Regress(["mass"], [""], [0.0], [1.0]), Regress(["age"], [""], [0.0], [1.0]), "it answers 'age', not 'mass'"),
        (Depth(["d"], [""], [0.0], [1.0]), Depth(["d"], [""], [0.0], [1.0], loss="silog"), "it answers logarithms"),
        (Depth(["d"], [""], [0.0], [1.0], loss="silog"), Depth(["d"], [""], [0.0], [1.0]), "it answers numbers"),
    ],
)
def test_another_quantity_is_not_taken_over(here: Task, theirs: Task, why: str) -> None:
    said = here.inherited(theirs)
    assert isinstance(said, str)
    assert why in said
