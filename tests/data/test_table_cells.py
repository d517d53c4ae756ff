"""Target cells mean what a task wants of them, or, where no task is said, what they look like; faults name the row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.contracts import MapFile
from vitrail.data.cells import Meaning, read_targets
from vitrail.data.tables import Table
from vitrail.errors import DataError


def read(cells: Sequence[Any] | Mapping[str, Sequence[Any]], task: str | None = None, name: str = "t") -> Meaning:
    columns = dict(cells) if isinstance(cells, Mapping) else {name: list(cells)}
    count = len(next(iter(columns.values())))
    return read_targets(Table(Path("/sets/t.csv"), columns, range(2, count + 2)), list(columns), task)


@pytest.mark.parametrize(
    ("cells", "task", "targets"),
    [
        (["cat", "dog"], "classify", ["cat", "dog"]),
        ([True, False], "classify", ["true", "false"]),
        (["1.5", "2"], "regress", [1.5, 2.0]),
        (["-1e3", ".5"], "regress", [-1000.0, 0.5]),
        ([1.5, 2], "regress", [1.5, 2.0]),
        (["a;b", "b"], "classify", ["a;b", "b"]),
        (["a;b", "b; c", "a"], "multilabel", [["a", "b"], ["b", "c"], ["a"]]),
        (["a|b", "b|c"], "multilabel", [["a", "b"], ["b", "c"]]),
        ([["a"], [], ["b", "a"]], "multilabel", [["a"], [], ["b", "a"]]),
        ([[1, 7], [3]], "multilabel", [["1", "7"], ["3"]]),
        ([[0.5, 1], [2, 3]], "regress", [[0.5, 1.0], [2.0, 3.0]]),
        (["masks/a.png", "b.npy"], "", [MapFile(Path("/sets/masks/a.png")), MapFile(Path("/sets/b.npy"))]),
    ],
)
def test_targets_without_a_task_are_what_they_look_like(cells: list[Any], task: str, targets: list[Any]) -> None:
    found = read(cells)
    assert (found.task, found.targets) == (task, targets)


@pytest.mark.parametrize(
    ("cells", "name", "task"),
    [
        ([str(i % 20) for i in range(100)], "count", "classify"),
        ([str(i % 21) for i in range(100)], "count", "regress"),
        ([str(i) for i in range(100)], "label", "classify"),
    ],
)
def test_whole_numbers_are_classes_or_a_quantity_and_it_is_said_which(cells: list[str], name: str, task: str) -> None:
    found = read(cells, name=name)
    assert found.task == task
    other = "regress" if task == "classify" else "classify"
    assert f"--task {other} takes" in found.notes[-1]


def test_a_class_keeps_the_zeros_before_its_number() -> None:
    assert read(["007", "7"], "classify").targets == ["007", "7"]


@pytest.mark.parametrize("one", ["1", 1, True, 1.0])
def test_columns_of_0_and_1_are_a_label_each(one: Any) -> None:
    zero = type(one)(0)
    found = read({"cat": [one, zero, zero], "dog": [one, one, zero]})
    assert (found.task, found.targets) == ("multilabel", [["cat", "dog"], ["dog"], []])
    assert found.notes == ("a label per column: cat, dog",)
    assert found.names == ("cat", "dog")


def test_a_column_without_a_1_stays_a_label_and_is_said() -> None:
    found = read({"red": ["1", "0"], "blue": ["0", "1"], "green": ["0", "0"]})
    assert found.names == ("red", "blue", "green")
    assert found.notes[1:] == ("no row has a 1 in 'green': it stays a label, of which nothing can be learned",)


def test_labels_with_a_slip_of_the_pen_are_numbers_and_the_slip_is_said() -> None:
    columns = {name: [str((i + shift) % 2) for i in range(30)] for shift, name in enumerate(("red", "blue"))}
    assert read(columns).task == "multilabel"
    columns["blue"][4] = "2"
    found = read(columns)
    assert found.task == "regress"
    assert found.notes[-1].startswith(
        "red, blue are 0 and 1 but for 1 cell (row 6: 'blue' is '2'), so they are taken as"
    )
    assert read({"a": ["0", "1", "5"], "b": ["1", "0", "7"]}).notes == (), "those are numbers"


@pytest.mark.parametrize(
    ("name", "task"),
    [("size [px]", "regress"), ("age (years)", "regress"), ("size", "classify"), ("label (of the nurse)", "classify")],
)
def test_whole_numbers_with_a_unit_are_a_quantity_however_few_differ(name: str, task: str) -> None:
    found = read([str(i % 3) for i in range(30)], name=name)
    assert found.task == task
    assert ("its name has a unit, " in found.notes[-1]) == (task == "regress")


def test_one_column_of_0_and_1_is_one_label_where_labels_are_asked_for() -> None:
    assert read(["1", "0"], "multilabel", name="sick").targets == [["sick"], []]
    assert read(["1", "0"], name="sick").task == "classify"


def test_several_columns_of_numbers_are_several_numbers_with_their_names() -> None:
    found = read({"mass [kg]": ["1", "2"], "age": ["3.5", "1"]})
    assert (found.task, found.targets) == ("regress", [[1.0, 3.5], [2.0, 1.0]])
    assert found.names == ("mass [kg]", "age")


def test_an_image_without_any_label_is_one_for_multilabel_and_is_said() -> None:
    found = read(["a;b", "", None, "a"], "multilabel")
    assert found.targets == [["a", "b"], [], [], ["a"]]
    assert found.notes[-1] == "2 rows have no label in 't': images that show none of them"


@pytest.mark.parametrize(
    ("cells", "task", "says"),
    [
        (["1", "2", "n/a"], None, "row 4: column 't' holds 'n/a', but mostly numbers; mend it"),
        (["a", "b", "3"], None, "row 4: column 't' holds '3', but mostly text"),
        (["x", ["y"]], None, "row [23]: column 't' holds"),
        ([1.0, math.nan], None, "row 3: column 't' is empty"),
        (["1.5", "nan"], None, "row 3: column 't' holds 'nan': a finite number"),
        (["1.5", "inf"], "regress", "row 3: column 't' holds 'inf': a finite number"),
        (["1.5", "1,5"], "regress", "row 3: column 't' holds '1,5', which is no number: write decimals with a point"),
        (["1.5", "1_5"], "regress", "row 3: column 't' holds '1_5', which is no number"),
        (["1.5", ""], "regress", "row 3: column 't' is empty"),
        ([[1, 2], [3]], "regress", "row 3: column 't' has 1 number where others have 2"),
        ([[1.5], [1.5, 0], [2, 3]], None, "row 2: column 't' has 1 number where others have 2"),
        ([[1.5, 0], [2, 3], [4]], None, "row 4: column 't' has 1 number where others have 2"),
        ([[1.5, 0], [2, 3], []], None, r"row 4: column 't' holds \[\], which is no list of finite numbers"),
        ([[1, 2], [3, None]], "regress", "row 3: column 't' holds"),
        ([["a"], [None]], "multilabel", "row 3: column 't' holds"),
        (["a;b", "c;c"], "multilabel", "row 3: column 't' has a label twice"),
        ([["a"], [["b"]]], None, "row 3: column 't' holds"),
        ([["a"], ["b"]], "classify", r"row 2: column 't' holds \['a'\], which is no class name"),
        (["a.png", "s3://x/b.png"], "segment", "row 3: .* masks and maps are read from files, not from URLs"),
        (["a.png", 3], "segment", "row 3: column 't' holds 3, which is no file"),
        ([b"raw"], None, "row 2: column 't' holds b'raw': a name, a number or a list is expected"),
        (["", ""], None, "column 't' is empty from end to end"),
    ],
)
def test_a_cell_that_is_not_what_it_should_be_is_named_with_its_row(cells: list[Any], task: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read(cells, task)
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize(
    ("columns", "task", "says"),
    [
        ({"a": ["1"], "b": ["x"]}, None, "several target columns must all be numbers, or 0 and 1, but 'b' is not"),
        ({"a": ["1"], "b": ["2"]}, "classify", "names 2 columns .a, b., but the task takes one class per image"),
        ({"a": ["1"], "b": ["2"]}, "multilabel", "row 2: column 'b' holds '2', but labels in columns are 0 or 1"),
        ({"a": ["1"], "b": [""]}, "regress", "row 2: column 'b' is empty"),
        ({"a": ["a.png"], "b": ["b.png"]}, "segment", "the task takes one file per image"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(columns: dict[str, list[str]], task: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(columns, task)


def test_digits_and_letters_are_classes_where_the_column_is_called_so() -> None:
    assert read(["A", "7", "b"], name="label").targets == ["A", "7", "b"]


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(max_size=3)
NESTED = CELLS | st.lists(CELLS, max_size=3) | st.dictionaries(st.text(max_size=2), CELLS, max_size=2)


@given(
    columns=st.integers(1, 4).flatmap(
        lambda count: st.dictionaries(
            st.text(min_size=1, max_size=3), st.lists(NESTED, min_size=count, max_size=count), min_size=1, max_size=3
        )
    ),
    task=st.sampled_from([None, "classify", "multilabel", "regress", "segment", "depth"]),
)
def test_any_cells_are_targets_of_one_form_or_an_error_in_words(columns: dict[str, list[Any]], task: str) -> None:
    """Promise 24: parsers survive anything."""
    try:
        found = read(columns, task)
    except DataError:
        return
    assert len(found.targets) == len(next(iter(columns.values())))
    assert found.task in ("", task) or task is None
    forms = {"classify": str, "multilabel": list, "regress": (float, list)}
    assert all(isinstance(target, forms.get(found.task, MapFile)) for target in found.targets)
