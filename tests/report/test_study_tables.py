from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.errors import TrainingError
from vitrail.report.study_tables import plain, write_csv, write_json


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    exponent: Interval
    points: Any
    draws: Any


def strict(text: str) -> Any:
    """As a parser reads it that keeps to the standard."""

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_not_finite_is_null_and_said_beside_it(tmp_path: Path) -> None:
    value = {"crossing": Interval(4.0, float("-inf"), float("inf")), "share": float("nan"), "n": np.int64(3)}
    read = strict(write_json(tmp_path / "results.json", value).read_text())
    assert read == {
        "crossing": {"value": 4.0, "low": None, "low_is": "minus infinite", "high": None, "high_is": "infinite"},
        "share": None,
        "share_is": "unknown",
        "n": 3,
    }


def test_statistics_are_written_without_their_draws(tmp_path: Path) -> None:
    fitted = Fitted(Interval(1.0, 0.9, 1.1), np.array([[1.0, np.nan]]), np.zeros((4000, 2)))
    read = strict(write_json(tmp_path / "results.json", [fitted, Path("cells/a"), {"b", "a"}, True]).read_text())
    assert read == [
        {"exponent": {"value": 1.0, "low": 0.9, "high": 1.1}, "points": [[1.0, None]]}, "cells/a", ["a", "b"], True,
    ]  # fmt: skip


def test_numpys_numbers_are_marked_as_pythons_are() -> None:
    assert plain({"a": np.float32("inf"), "b": np.float64("nan")}) == {
        "a": None, "a_is": "infinite", "b": None, "b_is": "unknown",
    }  # fmt: skip


def test_no_key_is_lost() -> None:
    with pytest.raises(ValueError, match="'1'"):
        plain({1: "a", "1": "b"})
    with pytest.raises(ValueError, match="'a_is'"):
        plain({"a": float("nan"), "a_is": "b"})


def test_what_json_does_not_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        plain({"a": 1j})


def test_a_name_that_is_no_unicode_is_escaped(tmp_path: Path) -> None:
    assert strict(write_json(tmp_path / "r.json", {"file": "a\udcff.jpg"}).read_text())["file"] == "a\udcff.jpg"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_all_lists_of_numbers_and_text_become_json(value: Any) -> None:
    strict(json.dumps(plain(value), allow_nan=False))


def test_a_table_has_six_digits_and_leaves_open_what_is_not_known(tmp_path: Path) -> None:
    rows = [["vit", 0.123456789, None, np.float64("nan")], {"model": "a,b", "flops": 1.5e12, "high": float("inf")}]
    text = write_csv(tmp_path / "results.csv", ["model", "flops", "n", "high"], rows).read_text()
    assert text == 'model,flops,n,high\nvit,0.123457,,\n"a,b",1.5e+12,,inf\n'
    assert list(csv.DictReader(text.splitlines()))[1]["model"] == "a,b"


def test_a_row_that_does_not_fit_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Row 2 has 1 values for 2 columns"):
        write_csv(tmp_path / "r.csv", ["a", "b"], [[1, 2], [3]])
    with pytest.raises(ValueError, match="'c', which is no column"):
        write_csv(tmp_path / "r.csv", ["a", "b"], [{"a": 1, "c": 2}])
    assert not (tmp_path / "r.csv").exists()


def test_a_disk_that_refuses_is_said_in_words(tmp_path: Path) -> None:
    for write in (lambda path: write_json(path, {}), lambda path: write_csv(path, ["a"], [])):
        with pytest.raises(TrainingError, match="cannot write"):
            write(tmp_path / "missing" / "results")
