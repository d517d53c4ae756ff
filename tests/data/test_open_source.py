"""What DATA may be, and what is said when it is none of that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_sets import data_config, tree, write_image

from vitrail.contracts import DrawnMap
from vitrail.data.inference import infer_task
from vitrail.data.sources import DigitsSource, FolderSource, ShapesSource, TableSource, open_source
from vitrail.errors import BadImage, DataError, UsageError


def test_folders_tables_and_built_in_names_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "photos", {"cat": 1, "dog": 1})
    (tmp_path / "t.csv").write_text("image,label\nphotos/cat/0.png,cat\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source(data_config("photos")), FolderSource)
    assert isinstance(open_source(data_config("t.csv")), TableSource)
    assert isinstance(open_source(data_config("digits")), DigitsSource)
    assert isinstance(open_source(data_config("shapes")), ShapesSource)


def test_a_built_in_name_comes_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "digits", {"cat": 1, "dog": 1})
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source(data_config("digits")), DigitsSource)
    assert isinstance(open_source(data_config("./digits")), FolderSource)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("photo", "did you mean 'photos'?"),
        ("photos/cats", "did you mean 'photos/cat'?"),
        ("fotos/cat", "did you mean 'photos'?"),
        ("digit", "did you mean 'digits'?"),
        ("t.csw", "did you mean 't.csv'?"),
        ("zzzzzz", "built in are digits, shapes"),
        ("/nowhere/at/all", "/nowhere does not exist"),
        ("x" * 5000, "cannot open data"),
        ("a\0b", ""),
        ("~no_such_user/x", ""),
        ("", "no data given"),
    ],
)
def test_what_is_not_there_is_a_usage_error_with_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str
) -> None:
    tree(tmp_path / "photos", {"cat": 1, "dog": 1})
    (tmp_path / "t.csv").write_text("image,label\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_source(data_config(source))
    assert says in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.png is a file: give the folder"):
        open_source(data_config(write_image(tmp_path / "x.png")))


def test_a_folder_without_images_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        open_source(data_config(tmp_path))


def test_the_pixel_limit_reaches_the_decoder(tmp_path: Path) -> None:
    source = open_source(data_config(tree(tmp_path, {"cat": 1, "dog": 1}), max_pixels=100))
    with pytest.raises(BadImage, match="the limit of 100"):
        source.read(0, 3)


@pytest.mark.parametrize(
    ("source", "task", "fields", "says"),
    [
        ("digits", "regress", {}, "digits has a class per image and nothing else"),
        ("digits", None, {"target": "x"}, "--target x: that is for a table, a folder of masks, annotations or shapes"),
        ("digits", None, {"weight": "w"}, "data.weight w: that is for a table, which digits is not"),
        ("shapes", None, {"group": "g"}, "--group g: that is for a table"),
        ("shapes", None, {"images": "x"}, "data.images x: that is for a table or annotations"),
        ("photos", None, {"stratify": "kind"}, "data.stratify kind: that is for a table"),
        ("photos", "multilabel", {}, "a folder of classes, which multilabel cannot learn from"),
    ],
)
def test_what_data_cannot_obey_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, task: str, fields: dict[str, str], says: str
) -> None:
    tree(tmp_path / "photos", {"cat": 1, "dog": 1})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says):
        open_source(data_config(source, **fields), task)


@pytest.mark.parametrize(
    ("task", "kind"),
    [("classify", str), ("multilabel", list), ("regress", int), ("segment", DrawnMap), ("depth", DrawnMap)],
)
def test_shapes_has_a_truth_for_every_task(task: str, kind: type) -> None:
    source = open_source(data_config("shapes"), task)
    assert isinstance(source.items[0].target, kind)
    assert infer_task(source).task == task


def test_opening_splitting_and_preprocessing_load_no_torch() -> None:
    heavy = {"torch", "torchvision", "sklearn", "pyarrow"}
    code = "import sys, vitrail.data.sources, vitrail.data.split, vitrail.data.preprocess; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
