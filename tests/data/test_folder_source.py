"""Trees of class folders: what is a sample, a class, a split, and what is said of the rest."""

from __future__ import annotations

import os
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import tree, write_image

from vitrail.contracts import FileSource
from vitrail.data.items import class_names
from vitrail.data.sources import FolderSource
from vitrail.errors import BadImage, DataError


def classes(source: FolderSource) -> dict[str, str]:
    return {item.key: item.target for item in source.items}


def reasons(source: FolderSource) -> dict[str, str]:
    return {failure.key: failure.reason for failure in source.ignored}


def test_a_class_is_its_first_folder_and_a_key_its_path(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"cat": 1, "dog/brown/old": 1, "dog": 1}))
    assert classes(source) == {"cat/0.png": "cat", "dog/0.png": "dog", "dog/brown/old/0.png": "dog"}
    assert source.path(2) == tmp_path / "dog/brown/old/0.png"
    assert isinstance(source, FileSource)
    assert source.location == str(tmp_path)
    assert source.name == tmp_path.name


def test_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"cat": 2, "dog": 2}))
    with Image.open(source.path(3)) as image:
        assert np.array_equal(source.read(3, 3), np.asarray(image))
    assert source.content(3) == source.path(3).read_bytes()


@pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL"])
@pytest.mark.parametrize("train", ["train", "Train"])
def test_folders_of_splits_are_known_in_any_case(tmp_path: Path, train: str, val: str) -> None:
    counts = {f"{s}/{c}": 2 for s in (train, val, "TEST") for c in ("cat", "dog")}
    source = FolderSource(tree(tmp_path, counts))
    assert [item.split for item in source.items if item.key.startswith(f"{val}/")] == ["val"] * 4
    assert {item.split for item in source.items} == {"train", "val", "test"}
    assert set(classes(source).values()) == {"cat", "dog"}


def test_labels_do_not_depend_on_folder_order(tmp_path: Path) -> None:
    """Promise 11: validation lacks the first class, so its folders count differently; names decide."""
    source = FolderSource(tree(tmp_path, {"train/ant": 2, "train/bee": 2, "train/cow": 2, "val/bee": 1, "val/cow": 1}))
    assert class_names(source.items, range(len(source.items))) == ("ant", "bee", "cow")
    assert {i.key: i.target for i in source.items if i.split == "val"} == {
        "val/bee/0.png": "bee",
        "val/cow/0.png": "cow",
    }


def test_a_class_that_train_lacks_is_named_with_the_nearest(tmp_path: Path) -> None:
    tree(tmp_path, {"train/cat": 2, "train/dog": 2, "test/Cat": 1, "test/dog": 1})
    with pytest.raises(DataError, match=r"test/ has class 'Cat', which train lacks: did you mean 'cat'\?"):
        FolderSource(tmp_path)


def test_names_may_hold_spaces_and_any_script(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"grüne Äpfel": 1, "梨 子": 1, "a,b\"c'": 1}))
    assert set(classes(source).values()) == {"grüne Äpfel", "梨 子", "a,b\"c'"}
    assert source.read(0, 3).shape == (12, 10, 3)


def test_accents_match_however_they_are_stored(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    source = FolderSource(tree(tmp_path, {f"train/{composed}": 1, "train/tea": 1, f"val/{apart}": 1}))
    assert set(classes(source).values()) == {composed, "tea"}


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "root", {"cat": 1, "dog": 1})
    write_image(tmp_path / "elsewhere" / "far.png", seed=5)
    (tmp_path / "root/cat/linked.png").symlink_to(tmp_path / "elsewhere/far.png")
    (tmp_path / "root/cat/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/cat/loop").symlink_to(tmp_path / "root/cat")
    (tmp_path / "root/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/dog/self.png").symlink_to("self.png")
    (tmp_path / "root/dog/itself").symlink_to("itself")
    source = FolderSource(tmp_path / "root")
    assert {key: name for key, name in classes(source).items() if "self" not in key} == {
        "cat/0.png": "cat",
        "cat/folder/far.png": "cat",
        "cat/linked.png": "cat",
        "dog/0.png": "dog",
    }
    assert reasons(source)["cat/loop/"] == reasons(source)["up/"] == "a link to a folder already read"


def test_two_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    tree(tmp_path, {"cat/a": 1, "cat/b": 1, "dog": 1})
    (tmp_path / "cat/a/to_b").symlink_to(tmp_path / "cat/b")
    (tmp_path / "cat/b/to_a").symlink_to(tmp_path / "cat/a")
    assert len(FolderSource(tmp_path).items) == 3  # each image once: a folder is read where it is met first


def test_a_link_to_nothing_is_a_bad_sample_not_a_missing_one(tmp_path: Path) -> None:
    tree(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat/gone.png").symlink_to("nowhere.png")
    source = FolderSource(tmp_path)
    (index,) = [i for i, item in enumerate(source.items) if item.key == "cat/gone.png"]
    with pytest.raises(BadImage, match="link to nothing"):
        source.content(index)


def test_what_is_no_sample_is_named_and_hidden_files_are_not(tmp_path: Path) -> None:
    tree(tmp_path, {"cat": 1, "dog": 1, "empty": 0})
    (tmp_path / "cat/notes.txt").write_text("meow")
    (tmp_path / "cat/.DS_Store").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    write_image(tmp_path / "stray.png")
    os.mkfifo(tmp_path / "dog/pipe.png")
    source = FolderSource(tmp_path)
    assert len(source.items) == 2
    assert reasons(source) == {
        "cat/notes.txt": "not an image file (.txt)",
        "dog/pipe.png": "not a regular file",
        "empty/": "a folder without images",
        "stray.png": "an image in no class folder",
    }


def test_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    tree(tmp_path, {"cat": 1, "dog": 1})
    try:
        os.link(tmp_path / "cat/0.png", os.fsencode(tmp_path / "cat") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert list(reasons(FolderSource(tmp_path)).values()) == ["its name is not UTF-8"]


def test_train_may_be_a_class_beside_others(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"train": 2, "bus": 2, "car": 2}))
    assert set(classes(source).values()) == {"train", "bus", "car"}
    assert {item.split for item in source.items} == {None}


def test_what_lies_beside_the_splits_is_named(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"train/cat": 2, "train/dog": 2, "test/cat": 1, "extra": 1}))
    assert len(source.items) == 5
    assert reasons(source) == {"extra/": "beside train/, but no split"}


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({}, "holds no images"),
        ({"cat": 0, "dog": 0}, "holds no images"),
        ({"": 3}, "holds 3 images but no class folders"),
        ({"train": 3, "test": 2}, "holds 5 images but no class folders"),
        ({"val/cat": 2, "test/cat": 2}, "no train/"),
        ({"train/cat": 2, "val/cat": 2, "valid/cat": 2}, "both val/ and valid/"),
        ({"train/cat": 2, "train/dog": 2, "other/cat": 2}, "a class, like other/"),
        ({"train/cat": 0, "val/cat": 2}, "train/ holds no images"),
    ],
)
def test_a_tree_that_cannot_be_used_says_why_in_two_lines(tmp_path: Path, counts: dict[str, int], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        FolderSource(tree(tmp_path, counts))
    assert str(caught.value).count("\n") <= 1


def test_a_pickled_source_is_small(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"cat": 20, "dog": 20}))
    raw = pickle.dumps(source)
    assert len(raw) < 100 * len(source.items)
    assert list(pickle.loads(raw).items) == list(source.items)
