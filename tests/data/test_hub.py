"""Sets as Hugging Face's `datasets` keeps them: read without the library, but for a name on the hub."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from small_sets import data_config, write_image

from vitrail.contracts import FileSource
from vitrail.data.sources import FolderSource, TableSource, open_source
from vitrail.errors import DataError, UsageError

FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}


def table(tmp_path: Path, count: int = 4, start: int = 0, named: bool = True) -> pa.Table:
    raw = [write_image(tmp_path / "made" / f"{start + i}.png", seed=start + i).read_bytes() for i in range(count)]
    made = pa.table({
        "image": [{"bytes": each, "path": f"{i}.png"} for i, each in enumerate(raw)],
        "label": [i % 2 for i in range(count)],
    })  # fmt: skip
    if named:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    return made


def save(folder: Path, part: pa.Table) -> None:
    """What `Dataset.save_to_disk` writes: an Arrow stream, and two JSON files."""
    folder.mkdir(parents=True)
    half = part.num_rows // 2
    names = []
    for number, piece in enumerate((part.slice(0, half), part.slice(half))):
        names.append(f"data-{number:05d}-of-00002.arrow")
        with pa.OSFile(str(folder / names[-1]), "wb") as file, pa.ipc.new_stream(file, part.schema) as stream:
            stream.write_table(piece)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def opened(source: Path | str, task: str | None = None, **fields: Any) -> TableSource:
    found = open_source(data_config(source, **fields), task)
    assert isinstance(found, TableSource)
    return found


def test_a_saved_set_is_read(tmp_path: Path) -> None:
    save(tmp_path / "set", table(tmp_path, named=False))
    source = opened(tmp_path / "set")
    assert [(item.key, item.target) for item in source.items] == [
        ("set/0", "cat"), ("set/1", "dog"), ("set/2", "cat"), ("set/3", "dog")
    ]  # fmt: skip
    assert source.content(2) == (tmp_path / "made" / "2.png").read_bytes()
    assert source.read(3, 3).shape == (12, 10, 3)
    assert not isinstance(source, FileSource)
    assert pickle.loads(pickle.dumps(source)).content(3) == source.content(3)


def test_saved_splits_are_obeyed(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "test")):
        save(tmp_path / "set" / name, table(tmp_path, start=4 * number))
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    source = opened(tmp_path / "set")
    assert [item.split for item in source.items] == ["train"] * 4 + ["test"] * 4
    assert source.content(5) == (tmp_path / "made" / "5.png").read_bytes()


def test_a_folder_of_parquet_files_is_a_set(tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    for number, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001")):
        parquet.write_table(table(tmp_path, start=4 * number), tmp_path / "set" / "data" / f"{name}.parquet")
    source = opened(tmp_path / "set")
    assert [item.split for item in source.items] == ["train"] * 8 + ["val"] * 4
    assert source.items[11].target == "dog"
    assert source.content(9) == (tmp_path / "made" / "9.png").read_bytes()


def test_a_table_beside_class_folders_is_no_set(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "cat" / "a.png")
    parquet.write_table(table(tmp_path), tmp_path / "set" / "meta.parquet")
    assert isinstance(open_source(data_config(tmp_path / "set")), FolderSource)


def test_a_damaged_set_is_named(tmp_path: Path) -> None:
    save(tmp_path / "set", table(tmp_path))
    file = tmp_path / "set" / "data-00001-of-00002.arrow"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match=r"data-00001-of-00002.arrow is damaged"):
        opened(tmp_path / "set")
    file.unlink()
    with pytest.raises(DataError, match=r"names data-00001-of-00002.arrow, which is not there"):
        opened(tmp_path / "set")


@pytest.mark.parametrize("text", ["", "{}", '{"_data_files": 3}', '{"_data_files": [3]}', "[]"])
def test_a_state_that_is_none_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(DataError, match=r"state.json is damaged: "):
        opened(tmp_path)


def test_a_state_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "set", table(tmp_path))
    (tmp_path / "set" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../made/0.png"}]}))
    with pytest.raises(DataError, match=r"names 0.png, which is not there"):
        opened(tmp_path / "set")


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    parquet.write_table(table(tmp_path), tmp_path / "set" / "train-0.parquet")
    parquet.write_table(table(tmp_path).rename_columns(["image", "kind"]), tmp_path / "set" / "train-1.parquet")
    with pytest.raises(DataError, match=r"train-1.parquet has the columns image, kind, unlike train-0.parquet"):
        opened(tmp_path / "set")


# ----------------------------------------------------------------------------------------------------- names on the hub


class Part:
    """The part of `datasets.Dataset` that is used."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def with_format(self, kind: str) -> Part:
        assert kind == "arrow"
        return self

    def __getitem__(self, what: slice) -> pa.Table:
        return self.rows[what.start or 0 : what.stop]  # type: ignore[misc]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stub of the library `datasets`; what it was asked for."""
    asked: list[Any] = []

    def load_dataset(name: str, configuration: str | None) -> dict[str, Part]:
        asked.append((name, configuration))
        if name == "gone":
            raise ConnectionError("no such set\non the hub")
        return {"train": Part(table(tmp_path)), "test": Part(table(tmp_path, start=4))}

    stub = types.ModuleType("datasets")
    stub.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", stub)
    return asked


def test_a_set_on_the_hub_is_loaded_by_its_name(library: list[Any], tmp_path: Path) -> None:
    source = opened("hf:someone/pets:small", target="label")
    assert library == [("someone/pets", "small")]
    assert [(item.target, item.split) for item in source.items][:5] == [
        ("cat", "train"), ("dog", "train"), ("cat", "train"), ("dog", "train"), ("cat", "test")
    ]  # fmt: skip
    assert source.location == "hf:someone/pets:small"
    assert source.content(6) == (tmp_path / "made" / "6.png").read_bytes()


def test_what_the_hub_refuses_is_said_in_a_line(library: list[Any]) -> None:
    with pytest.raises(DataError, match=r"^hf:gone cannot be loaded: no such set on the hub$"):
        opened("hf:gone")


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'vitrail\[hub\]'"):
        opened("hf:someone/pets")
