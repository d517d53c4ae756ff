"""Rows of predictions: what any reader of CSV and JSON gets back is what was written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.contracts import Prediction
from vitrail.errors import TrainingError, UsageError
from vitrail.predict.rows import csv_header, csv_row, json_row, table_file, table_path

COLUMNS = ("label", "confidence")
GOOD = Prediction("a.jpg", values={"label": "cat", "confidence": 0.98765432})
FAILED = Prediction("b.jpg", "failed", "truncated: the file ends")

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"))  # any Unicode, line ends and quotes included
BYTES = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda raw: b"\0" not in raw)
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)


def test_the_columns_are_path_status_reason_and_the_tasks() -> None:
    assert csv_header(COLUMNS) == "path,status,reason,label,confidence\n"
    assert csv_row(GOOD, COLUMNS) == "a.jpg,ok,,cat,0.987654\n"
    assert csv_row(FAILED, COLUMNS) == "b.jpg,failed,truncated: the file ends,,\n"
    assert json.loads(json_row(GOOD)) == {
        "path": "a.jpg", "status": "ok", "reason": "", "label": "cat", "confidence": 0.987654,
    }  # fmt: skip


@given(st.lists(st.tuples(NAMES, NAMES), max_size=4))
def test_csv_comes_back_from_pythons_reader(rows: list[tuple[str, str]]) -> None:
    text = csv_header(COLUMNS) + "".join(
        csv_row(Prediction(path, values={"label": label, "confidence": 0.5}), COLUMNS) for path, label in rows
    )
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert [(row[0], row[3]) for row in read[1:]] == rows
    assert {len(row) for row in read} == {5}


@given(NAMES | BYTES)
def test_a_json_row_is_one_line_that_gives_any_name_back(name: str) -> None:
    line = json_row(Prediction(name))
    line.encode("utf-8")  # it can be written
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert json.loads(line)["path"] == name


@given(BYTES)
def test_a_name_that_is_no_unicode_stands_in_csv_as_text(name: str) -> None:
    raw = csv_row(Prediction(name), COLUMNS).encode("utf-8")
    (row,) = csv.reader(io.StringIO(raw.decode("utf-8"), newline=""))
    assert row[0] == name.encode("utf-8", "backslashreplace").decode()


def test_out_is_a_file_by_its_suffix_else_a_folder(tmp_path: Path) -> None:
    assert table_path(tmp_path / "x.csv") == tmp_path / "x.csv"
    assert table_path(tmp_path / "x.JSONL") == tmp_path / "x.JSONL"
    assert table_path(tmp_path / "new") == tmp_path / "new" / "predictions.csv"
    (tmp_path / "v1.2").mkdir()
    assert table_path(tmp_path / "v1.2") == tmp_path / "v1.2" / "predictions.csv"
    with pytest.raises(UsageError, match=r"x\.txt: give FILE\.csv, FILE\.jsonl or a FOLDER"):
        table_path(tmp_path / "x.txt")


@pytest.mark.parametrize("name", ["a/b/p.csv", "p.jsonl"])
def test_a_file_holds_every_row(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with table_file(path, COLUMNS) as write:
        write(GOOD)
        write(FAILED)
        assert not path.exists()  # it appears whole or not at all
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == (3 if name.endswith("csv") else 2)
    assert list(path.parent.iterdir()) == [path]


def test_a_table_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old")

    def interrupted() -> None:
        with table_file(path, COLUMNS) as write:
            write(GOOD)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"), table_file(tmp_path / "file" / "p.csv", COLUMNS):
        pass
