"""Tables of images: columns found or said, splits and groups obeyed, every fault named with its row."""

from __future__ import annotations

import contextlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sets import data_config, tree, write_image

from vitrail.contracts import FileSource, MapFile
from vitrail.data.sources import TableSource
from vitrail.data.table_source import open_table
from vitrail.data.tables import read_table
from vitrail.errors import BadImage, DataError, VitrailError

HEADER = ["file", "label", "split"]
ROWS = [["photos/0.png", "cat", "train"], ["photos/1.png", "dog", "Valid"], ["photos/2.png", "cat", "test"]]


def source_of(path: Path, task: str | None = None, **fields: Any) -> TableSource:
    return open_table(read_table(path), data_config(path, **fields), task)


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
    source = source_of(write_table(tmp_path / f"set{suffix}"))
    assert [(i.key, i.target, i.split) for i in source.items] == [
        ("photos/0.png", "cat", "train"),
        ("photos/1.png", "dog", "val"),
        ("photos/2.png", "cat", "test"),
    ]
    assert source.path(1) == tmp_path / "photos/1.png"
    assert source.read(1, 3).shape == (12, 10, 3)
    assert source.name == "set"


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    source = source_of(write_table(tmp_path / "set.csv"))
    assert source.notes == (
        "images are in column 'file' (by its name)",
        "the target is column 'label' (by its name; --target chooses another)",
        "splits are in column 'split'",
    )


def test_columns_are_found_by_what_stands_in_them(tmp_path: Path) -> None:
    source = source_of(write_table(tmp_path / "set.csv", ["what", "where"], [["cat", "a.jpg"], ["dog", "b.jpg"]]))
    assert [(i.key, i.target) for i in source.items] == [("a.jpg", "cat"), ("b.jpg", "dog")]


def test_paths_may_be_absolute_and_missing_files_stay_samples(tmp_path: Path) -> None:
    far = write_image(tmp_path / "far" / "x.png")
    near = tmp_path / "here" / "y.png"
    table = write_table(
        tmp_path / "here" / "t.csv", ["path", "label"], [[str(far), "a"], [str(near), "b"], ["./z.png", "a"]]
    )
    source = source_of(table)
    assert [item.key for item in source.items] == [far.as_posix(), "y.png", "z.png"]
    assert source.read(0, 1).shape == (12, 10, 1)
    with pytest.raises(BadImage, match="no such file"):
        source.read(1, 3)


def test_the_target_and_the_group_can_be_said(tmp_path: Path) -> None:
    rows = [["a.png", "1", "cat", "p1"], ["b.png", "2", "dog", "p2"]]
    table = write_table(tmp_path / "t.csv", ["image", "count", "label", "patient"], rows)
    source = source_of(table, target="count", group="patient")
    assert [(i.target, i.group) for i in source.items] == [("1", "p1"), ("2", "p2")]
    assert source_of(table).items[0].group is None


def test_numbers_are_numbers_or_classes_as_the_task_wants(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": ["a.png", "b.png"], "count": [3, 4]}), tmp_path / "t.parquet")
    source = source_of(tmp_path / "t.parquet", task="regress")
    assert [item.target for item in source.items] == [3.0, 4.0]
    assert source.target_names == ("count",)
    guessed = source_of(tmp_path / "t.parquet")
    assert [item.target for item in guessed.items] == ["3", "4"]
    assert "whole numbers in 'count' are taken as classes (only 2 different); --task regress" in guessed.notes[-1]


def test_semicolons_tabs_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffimage;label\r\na b.png;Käse\r\n\r\nb.png;"x;y"\r\n'.encode())
    assert [(i.key, i.target) for i in source_of(tmp_path / "t.csv").items] == [("a b.png", "Käse"), ("b.png", "x;y")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("image,label\n", "has no rows"),
        ("image,label\na.png,cat\nb.png\n", "row 3: 1 cells, but the header has 2"),
        ("image,label\na.png,cat\n\nb.png,dog,7\n", "row 4: 3 cells"),
        ("image,label\na.png,cat\nb.png,\n", "row 3: column 'label' is empty"),
        ("image,label\n,cat\n", "row 2: column 'image' is empty"),
        ("\n\n", "is empty"),
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
        source_of(tmp_path / "t.csv")
    assert str(caught.value).count("\n") <= 1


def test_an_unknown_column_is_offered_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'lable': did you mean 'label'\?"):
        source_of(write_table(tmp_path / "t.csv"), target="lable")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "row 2: not JSON"),
        ("[1]", "row 2: a JSON object"),
        ('{"image": "b.png", "label": "x", "label": "y"}', "row 2: 'label' stands twice"),
        ('{"image": "b.png", "label": {"a": 1}}', r"row 2: column 'label' holds \{'a': 1\}"),
        ('{"image": ["b.png"], "label": "x"}', "row 2: column 'image' holds no path"),
        ('{"image": "b.png"}', "row 2: column 'label' is empty"),
    ],
)
def test_json_lines_are_checked_by_row(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a.png", "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=says):
        source_of(tmp_path / "t.jsonl")


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
        source = source_of(path)
        assert len(source.items) > 0
        assert np.unique([item.key for item in source.items]).size == len(source.items)


@pytest.mark.parametrize(("raw", "says"), [
    (b"image,label\na.png,cat\nb.png,d\xff\n", "line 3, is not UTF-8 text"),
    ("image,label\na.png,cat\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
])  # fmt: skip
def test_a_wrong_encoding_is_said_with_its_line(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(DataError, match=says):
        source_of(tmp_path / "t.csv")


# ------------------------------------------------------------------------------------------------- weights and strata


def numbered(path: Path, **columns: list[str]) -> Path:
    """A CSV of images 0.png, 1.png, ... with a label, and other columns."""
    count = len(next(iter(columns.values())))
    rows = [[f"{i}.png", "ab"[i % 2], *(cells[i] for cells in columns.values())] for i in range(count)]
    return write_table(path, ["image", "label", *columns], rows)


def test_weights_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    table = numbered(tmp_path / "t.csv", weight=["1", "0.5", "0"])
    assert [item.weight for item in source_of(table).items] == [1.0, 1.0, 1.0]
    source = source_of(table, weight="weight")
    assert [item.weight for item in source.items] == [1.0, 0.5, 0.0]
    assert "as much as 'weight' says" in source.notes[-1]


@pytest.mark.parametrize("cell", ["-1", "nan", "inf", "much", ""])
def test_a_weight_that_is_none_is_refused_with_its_row(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=r"row 3: (weight 'w' is|column 'w' is empty)"):
        source_of(numbered(tmp_path / "t.csv", w=["1", cell]), weight="w")


def test_weights_that_are_all_0_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every weight in column 'w' is 0"):
        source_of(numbered(tmp_path / "t.csv", w=["0", "0"]), weight="w")


def test_a_column_may_spread_evenly_over_the_splits(tmp_path: Path) -> None:
    table = numbered(tmp_path / "t.csv", kind=["grey", "colour"])
    assert source_of(table, stratify="kind").strata == ["grey", "colour"]
    assert source_of(table).strata is None
    with pytest.raises(DataError, match="no column 'knid': did you mean 'kind'"):
        source_of(table, stratify="knid")


# ----------------------------------------------------------------------------------------------------- where images are


def test_names_without_an_extension_are_found_in_the_folder_of_images(tmp_path: Path) -> None:
    tree(tmp_path, {"images": 3})
    table = write_table(tmp_path / "index.csv", ["name", "kind"], [["0", "x"], ["2", "y"], ["9", "x"]])
    source = source_of(table)
    assert [item.key for item in source.items] == ["images/0.png", "images/2.png", "images/9.png"]
    assert source.read(1, 3).shape == (12, 10, 3)
    assert any("names without an extension: images/0.png" in note for note in source.notes)
    with pytest.raises(BadImage, match="no such file"):
        source.read(2, 3)


def test_a_name_that_two_files_have_is_refused_with_its_row(tmp_path: Path) -> None:
    tree(tmp_path, {"images": 2})
    write_image(tmp_path / "images" / "1.tif")
    with pytest.raises(DataError, match=r"row 3: '1' could be images/1.png or images/1.tif"):
        source_of(write_table(tmp_path / "index.csv", ["name", "kind"], [["0", "x"], ["1", "y"]]))


def test_images_may_be_named_by_a_pattern(tmp_path: Path) -> None:
    tree(tmp_path, {"scans/p1": 1, "scans/p2": 2})
    rows = [["p1", "0", "a"], ["p2", "1", "b"]]
    table = write_table(tmp_path / "t.csv", ["patient", "slice", "label"], rows)
    source = source_of(table, images="scans/{patient}/{slice}.png")
    assert [item.key for item in source.items] == ["scans/p1/0.png", "scans/p2/1.png"]
    assert source.read(1, 1).shape == (12, 10, 1)
    with pytest.raises(DataError, match="no column 'pateint': did you mean 'patient'"):
        source_of(table, images="scans/{pateint}.png")
    with pytest.raises(DataError, match="names no column"):
        source_of(table, images="scans/x.png")


def test_masks_may_be_named_by_a_pattern(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["image", "label"], [["a.png", "x"], ["b.png", "y"]])
    source = source_of(table, target="masks/{label}.png")
    assert [item.target for item in source.items] == [
        MapFile(tmp_path / "masks/x.png"), MapFile(tmp_path / "masks/y.png")
    ]  # fmt: skip
    with pytest.raises(DataError, match="for the tasks segment and depth, not regress"):
        source_of(table, task="regress", target="masks/{label}.png")


def test_images_at_urls_are_read_where_the_table_names_them(tmp_path: Path) -> None:
    import fsspec

    raw = write_image(tmp_path / "x.png").read_bytes()
    with fsspec.open("memory://bucket/a b.png", "wb") as file:
        file.write(raw)
    rows = [["memory://bucket/a b.png", "a"], ["memory://bucket/gone.png", "b"], ["x.png", "a"]]
    source = source_of(write_table(tmp_path / "t.csv", ["image", "label"], rows))
    assert [item.key for item in source.items] == [row[0] for row in rows]
    assert not isinstance(source, FileSource)
    assert np.array_equal(source.read(0, 3), source.read(2, 3))
    assert source.content(0) == raw
    with pytest.raises(BadImage, match="no such file"):
        source.read(1, 3)
    with pytest.raises(BadImage, match="more than the limit"):
        source_of(tmp_path / "t.csv", max_pixels=100).read(0, 3)


def test_a_url_that_is_longer_than_a_file_may_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    from vitrail.data import image, remote

    with fsspec.open("memory://long.png", "wb") as file:
        file.write(bytes(1000))
    monkeypatch.setattr(image, "MAX_BYTES", 999)
    with pytest.raises(BadImage, match="longer than the limit of 999 bytes"):
        remote.read_bytes("memory://long.png")


def test_a_file_url_is_a_file(tmp_path: Path) -> None:
    image = write_image(tmp_path / "far" / "a b.png")
    (tmp_path / "here").mkdir()
    table = write_table(tmp_path / "here" / "t.csv", ["image", "label"], [[image.as_uri(), "a"], ["b.png", "b"]])
    source = source_of(table)
    assert isinstance(source, FileSource)
    assert source.path(0) == image
    assert source.read(0, 3).shape == (12, 10, 3)


def test_a_protocol_that_is_missing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def absent(name: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    table = write_table(tmp_path / "t.csv", ["image", "label"], [["s3://bucket/a.png", "a"]])
    with pytest.raises(DataError, match="images at s3://, which needs another package: Install s3fs"):
        source_of(table)


def test_a_protocol_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["image", "label"], [["smoke://signal/a.png", "a"]])
    with pytest.raises(DataError, match="smoke://, a protocol that fsspec does not know"):
        source_of(table)


# -------------------------------------------------------------------------------------------------- images in the table


@pytest.mark.parametrize("struct", [True, False])
def test_images_in_a_parquet_file_are_read_from_it(tmp_path: Path, struct: bool) -> None:
    raw = [write_image(tmp_path / f"{i}.png", seed=i).read_bytes() for i in range(3)]
    cells: list[Any] = [{"bytes": b, "path": None} for b in raw] if struct else raw
    labels = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": cells, "label": [0, 1, 0]}).replace_schema_metadata({"huggingface": json.dumps(labels)})
    parquet.write_table(table, tmp_path / "t.parquet")
    source = source_of(tmp_path / "t.parquet")
    assert [(item.key, item.target) for item in source.items] == [("t/1", "cat"), ("t/2", "dog"), ("t/3", "cat")]
    assert source.content(1) == raw[1]
    assert source.read(2, 3).shape == (12, 10, 3)
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < sum(map(len, raw)) + 2000
    assert again.content(2) == raw[2]


def test_a_cell_without_bytes_is_a_bad_image(tmp_path: Path) -> None:
    raw = write_image(tmp_path / "x.png").read_bytes()
    cells = [{"bytes": raw, "path": None}, {"bytes": None, "path": "elsewhere.png"}, {"bytes": b"no image", "path": ""}]
    parquet.write_table(pa.table({"image": cells, "label": ["a", "b", "a"]}), tmp_path / "t.parquet")
    source = source_of(tmp_path / "t.parquet")
    for index in (1, 2):
        with pytest.raises(BadImage):
            source.read(index, 3)


def test_an_empty_cell_of_images_is_named_with_its_row(tmp_path: Path) -> None:
    column = pa.array([b"x", None], pa.binary())
    parquet.write_table(pa.table({"image": column, "label": ["a", "b"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="row 2: column 'image' is empty"):
        source_of(tmp_path / "t.parquet")
