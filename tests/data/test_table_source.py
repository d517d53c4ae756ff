"""Tables of images: columns found or said, splits and groups obeyed, every fault named with its row."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sets import tree, write_image

from vitrail.data.sources import TableSource
from vitrail.errors import BadImage, DataError, VitrailError

HEADER = ["file", "label", "split"]
ROWS = [["photos/0.png", "cat", "train"], ["photos/1.png", "dog", "Valid"], ["photos/2.png", "cat", "test"]]


def write_table(path: Path, header: list[str] = HEADER, rows: list[list[str]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        path.write_text("\n".join(",".join(cells) for cells in [header, *rows]) + "\n", encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(header, r, strict=True))) + "\n" for r in rows), encoding="utf-8")
    else:
        parquet.write_table(pa.table({h: [r[i] for r in rows] for i, h in enumerate(header)}), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_kind_of_table_reads_the_same(tmp_path: Path, suffix: str) -> None:
    tree(tmp_path, {"photos": 3})
    source = TableSource(write_table(tmp_path / f"set{suffix}"))
    assert [(i.key, i.target, i.split) for i in source.items] == [
        ("photos/0.png", "cat", "train"),
        ("photos/1.png", "dog", "val"),
        ("photos/2.png", "cat", "test"),
    ]
    assert source.path(1) == tmp_path / "photos/1.png"
    assert source.read(1, 3).shape == (12, 10, 3)
    assert source.name == "set"


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    source = TableSource(write_table(tmp_path / "set.csv"))
    assert source.notes == (
        "image paths are in column 'file' (by its name)",
        "the target is column 'label' (by its name; --target chooses another)",
        "splits are in column 'split'",
    )


def test_columns_are_found_by_what_stands_in_them(tmp_path: Path) -> None:
    source = TableSource(write_table(tmp_path / "set.csv", ["what", "where"], [["cat", "a.jpg"], ["dog", "b.jpg"]]))
    assert [(i.key, i.target) for i in source.items] == [("a.jpg", "cat"), ("b.jpg", "dog")]


def test_paths_may_be_absolute_and_missing_files_stay_samples(tmp_path: Path) -> None:
    far = write_image(tmp_path / "far" / "x.png")
    near = tmp_path / "here" / "y.png"
    table = write_table(
        tmp_path / "here" / "t.csv", ["path", "label"], [[str(far), "a"], [str(near), "b"], ["./z.png", "a"]]
    )
    source = TableSource(table)
    assert [item.key for item in source.items] == [far.as_posix(), "y.png", "z.png"]
    assert source.read(0, 1).shape == (12, 10, 1)
    with pytest.raises(BadImage, match="no such file"):
        source.read(1, 3)


def test_the_target_and_the_group_can_be_said(tmp_path: Path) -> None:
    rows = [["a.png", "1", "cat", "p1"], ["b.png", "2", "dog", "p2"]]
    table = write_table(tmp_path / "t.csv", ["image", "count", "label", "patient"], rows)
    source = TableSource(table, target="count", group="patient")
    assert [(i.target, i.group) for i in source.items] == [("1", "p1"), ("2", "p2")]
    assert TableSource(table).items[0].group is None


def test_numbers_of_parquet_stay_numbers(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": ["a.png", "b.png"], "count": [3, 4]}), tmp_path / "t.parquet")
    assert [item.target for item in TableSource(tmp_path / "t.parquet").items] == [3, 4]


def test_semicolons_tabs_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffimage;label\r\na b.png;Käse\r\n\r\nb.png;"x;y"\r\n'.encode())
    assert [(i.key, i.target) for i in TableSource(tmp_path / "t.csv").items] == [("a b.png", "Käse"), ("b.png", "x;y")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("image,label\n", "has no rows"),
        ("image,label\na.png,cat\nb.png\n", "row 3: 1 cells, but the header has 2"),
        ("image,label\na.png,cat\n\nb.png,dog,7\n", "row 4: 3 cells"),
        ("image,label\na.png,cat\nb.png,\n", "row 3: column 'label' is empty"),
        ("image,label\n,cat\n", "row 2: column 'image' is empty"),
        ("image,label\na.png,cat\n./a.png,dog\n", "row 3: names the image of row 2 again"),
        ("image,label,split\na.png,cat,3\n", "row 2: 'split' is '3', which is none of train, val, test"),
        ("image,image\na.png,cat\n", "row 1: two columns are called 'image'"),
        ("image,a,b\nx.png,1,2\n", "which column is the target"),
        ("kind,label\n1,2\n", "no column of image paths"),
        ('image,label\n"a.png,cat\n', "row 2: unexpected end of data"),
    ],
)
def test_a_table_that_cannot_be_used_says_where(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        TableSource(tmp_path / "t.csv")
    assert str(caught.value).count("\n") <= 1


def test_an_unknown_column_is_offered_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'lable': did you mean 'label'\?"):
        TableSource(write_table(tmp_path / "t.csv"), target="lable")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "row 2: not JSON"),
        ("[1]", "row 2: a JSON object"),
        ('{"image": "b.png"}', "row 2: column 'label' is empty"),
    ],
)
def test_json_lines_are_checked_by_row(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a.png", "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=says):
        TableSource(tmp_path / "t.jsonl")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=200)
    | st.text(alphabet='image,label\n\r\t;"a.png{}[]:0\0\ufeff', max_size=80).map(str.encode)
)
def test_any_bytes_are_a_table_or_an_error_in_words(tmp_path: Path, suffix: str, raw: bytes) -> None:
    """Promise 24: parsers survive anything."""
    path = tmp_path / f"t{suffix}"
    path.write_bytes(raw)
    with contextlib.suppress(VitrailError):  # whatever else escapes is a bug
        source = TableSource(path)
        assert len(source.items) > 0
        assert np.unique([item.key for item in source.items]).size == len(source.items)
