"""Images beside masks: every layout, every image kept, and which task the masks ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_sets import MemorySource, data_config, write_image

from vitrail.contracts import DrawnMap, Failure, MapFile
from vitrail.data.audit import scan
from vitrail.data.inference import infer_task
from vitrail.data.map_audit import scan_maps
from vitrail.data.pairs import PairSource
from vitrail.data.sources import FolderSource, open_source
from vitrail.data.target_audit import target_faults, without
from vitrail.errors import DataError, UsageError


def write_mask(path: Path, values: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.tile(np.arange(3, dtype=np.uint8), (12, 4))[:, :10] if values is None else np.asarray(values)
    if path.suffix == ".npy":
        np.save(path, mask)
    else:
        Image.fromarray(mask).save(path)
    return path


def pairs(root: Path, names: str = "abc", images: str = "images", masks: str = "masks", values: Any = None) -> Path:
    for number, name in enumerate(names):
        write_image(root / images / f"{name}.png", seed=number)
        write_mask(root / masks / f"{name}.png", values)
    return root


def opened(root: Path, task: str | None = None, **fields: Any) -> PairSource:
    source = open_source(data_config(root, **fields), task)
    assert isinstance(source, PairSource)
    return source


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("imgs", "labels"), ("Images", "instances")])
def test_masks_are_matched_by_name(tmp_path: Path, images: str, masks: str) -> None:
    source = opened(pairs(tmp_path, images=images, masks=masks))
    assert [(item.key, item.target) for item in source.items] == [
        (f"{images}/{name}.png", MapFile(tmp_path / masks / f"{name}.png")) for name in "abc"
    ]
    assert source.read(0, 3).shape == (12, 10, 3)
    assert source.path(2) == tmp_path / images / "c.png"
    assert source.ignored == ()
    assert f"the file of its name in {masks}/" in source.notes[0]


@pytest.mark.parametrize("layout", [("{split}/images", "{split}/masks"), ("images/{split}", "masks/{split}")])
def test_splits_may_stand_above_or_below(tmp_path: Path, layout: tuple[str, str]) -> None:
    for split in ("train", "valid", "test"):
        pairs(tmp_path, "ab", *(part.format(split=split) for part in layout))
    source = opened(tmp_path)
    assert {(item.split, item.key.split("/")[-1]) for item in source.items} == {
        (split, name) for split in ("train", "val", "test") for name in ("a.png", "b.png")
    }
    assert all(item.target.path.is_file() for item in source.items)


def test_folders_below_and_endings_of_masks_are_understood(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "day 1" / "a.png")
    write_image(tmp_path / "images" / "b_mask.png")
    write_mask(tmp_path / "masks" / "day 1" / "a_mask.png")
    write_mask(tmp_path / "masks" / "b_mask.npy")
    assert [item.target.path.name for item in opened(tmp_path).items] == ["b_mask.npy", "a_mask.png"]


def test_an_image_without_a_mask_is_a_sample_that_cannot_be_used(tmp_path: Path) -> None:
    pairs(tmp_path)
    (tmp_path / "masks" / "b.png").unlink()
    write_mask(tmp_path / "masks" / "zz.png")
    source = opened(tmp_path)
    assert source.ignored == (Failure("masks/zz.png", "no image of that name in images/"),)
    assert "1 of 3 images has no file of the same name in masks/" in source.notes[1]
    audit, maps = scan(source, data_config(tmp_path)), scan_maps(source, data_config(tmp_path))
    assert maps is not None
    left = without(audit, source, target_faults(audit, maps))
    assert left.bad == (Failure("images/b.png", "its target: no such file"),)
    assert left.usable == (0, 2)
    assert left.found == len(left.usable) + len(left.bad)
    assert len(left.sizes) == len(left.formats) == 2
    assert left.looks is not None
    assert len(left.looks.mean) == 2
    assert [bool(content) for content in left.content] == [True, False, True]


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    write_mask(pairs(tmp_path) / "masks" / "a.npy")
    with pytest.raises(DataError, match=r"two files for the image a: masks/a.npy and masks/a.png"):
        opened(tmp_path)


def test_one_of_several_folders_of_targets_is_chosen_by_the_task_or_by_name(tmp_path: Path) -> None:
    pairs(tmp_path)
    pairs(tmp_path, masks="depth")
    assert opened(tmp_path, "segment").map_folder == "masks"
    assert opened(tmp_path, "depth").map_folder == "depth"
    assert opened(tmp_path, target="depth").map_folder == "depth"
    with pytest.raises(DataError, match=r"which folder has the targets, depth or masks\? Say it with --target"):
        opened(tmp_path)
    with pytest.raises(DataError, match=r"no pair of folders images/ and dpeth/: did you mean depth\?"):
        opened(tmp_path, "segment", target="dpeth")


def test_other_files_are_named(tmp_path: Path) -> None:
    pairs(tmp_path)
    (tmp_path / "index.csv").write_text("x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "masks" / "read.me").write_text("x")
    ignored = {failure.key: failure.reason for failure in opened(tmp_path).ignored}
    assert set(ignored) == {"index.csv", "notes/", "masks/read.me"}
    assert ignored["index.csv"] == "a table: give it as DATA to use its columns"


def test_class_folders_stay_class_folders(tmp_path: Path) -> None:
    for name in ("cats", "dogs", "masks"):
        write_image(tmp_path / name / "a.png")
    assert isinstance(open_source(data_config(tmp_path)), FolderSource)
    with pytest.raises(DataError, match="has no images/ beside masks/"):
        open_source(data_config(tmp_path), "segment")
    with pytest.raises(UsageError, match="a folder of classes, which regress cannot learn from"):
        open_source(data_config(tmp_path), "regress")
    with pytest.raises(UsageError, match=r"--target x: that is for a table, a folder of masks"):
        open_source(data_config(tmp_path, target="x"))


@pytest.mark.parametrize(
    ("splits", "says"),
    [(("train", "val", "valid"), "two folders for the val split"), (("val", "test"), "has no train/")],
)
def test_splits_that_cannot_be_obeyed_are_refused(tmp_path: Path, splits: tuple[str, ...], says: str) -> None:
    for split in splits:
        pairs(tmp_path, images=f"{split}/images", masks=f"{split}/masks")
    with pytest.raises(DataError, match=says):
        opened(tmp_path)


# ---------------------------------------------------------------------------------------------------- what they ask for

SHAPE = (12, 10)
FEW = np.arange(120).reshape(SHAPE) % 5
OBJECTS = np.arange(120).reshape(SHAPE) // 2
MILLIMETRES = 500 + 37 * np.arange(120).reshape(SHAPE)


@pytest.mark.parametrize(
    ("values", "suffix", "folder", "task", "foreground"),
    [
        (FEW.astype(np.uint8), ".png", "masks", "segment", False),
        (OBJECTS.astype(np.uint16), ".png", "masks", "segment", True),
        (FEW.astype(np.uint16), ".png", "masks", "segment", False),
        (FEW.astype(np.uint8), ".png", "instances", "segment", True),
        (MILLIMETRES.astype(np.uint16), ".png", "masks", "segment", False),  # 120 values: still as many classes
        (MILLIMETRES.astype(np.uint16), ".png", "depth", "depth", False),
        (FEW / 3, ".npy", "masks", "depth", False),
        ((FEW / 3).astype(np.float32), ".tif", "masks", "depth", False),
        (FEW.astype(np.float32), ".npy", "masks", "segment", False),
        (np.where(FEW == 0, np.nan, FEW), ".npy", "masks", "depth", False),
    ],
)
def test_the_values_of_maps_say_the_task(
    tmp_path: Path, values: np.ndarray[Any, Any], suffix: str, folder: str, task: str, foreground: bool
) -> None:
    for number, name in enumerate("abc"):
        write_image(tmp_path / "images" / f"{name}.png", seed=number)
        write_mask(tmp_path / folder / f"{name}{suffix}", values)
    found = infer_task(opened(tmp_path))
    assert found.task == task
    assert found.also.get("task.foreground", (False,))[0] == foreground
    stated = infer_task(opened(tmp_path, "segment", target=folder), "segment")
    assert ("task.foreground" in stated.also) == foreground


def test_many_depths_in_16_bits_are_no_classes(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        write_image(tmp_path / "images" / f"{name}.png", seed=number)
        write_mask(tmp_path / "masks" / f"{name}.png", (MILLIMETRES + number * 4440).astype(np.uint16))
    found = infer_task(opened(tmp_path))
    assert (found.task, "480 kinds" in found.why) == ("depth", True)


def test_a_mask_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    pairs(tmp_path, values=OBJECTS.astype(np.uint16))
    (tmp_path / "masks" / "a.png").write_bytes(b"no image")
    assert infer_task(opened(tmp_path)).also
    for name in "bc":
        (tmp_path / "masks" / f"{name}.png").write_bytes(b"")
    assert infer_task(opened(tmp_path)).task == "segment"


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (["cat", "dog"], "classify"),
        ([["cat"], []], "multilabel"),
        ([("cat",), ()], "multilabel"),
        ([1.5, 2], "regress"),
        ([[1.5, 2], [3, 4]], "regress"),
        ([np.float32(1), np.float32(2)], "regress"),
        ([None, "cat"], "classify"),
        ([DrawnMap(lambda: FEW), DrawnMap(lambda: FEW)], "segment"),
        ([FEW / 3, FEW / 3], "depth"),
    ],
)
def test_targets_say_the_task(targets: list[Any], task: str) -> None:
    assert infer_task(MemorySource(targets)).task == task


def test_targets_of_two_kinds_are_refused_with_their_samples() -> None:
    with pytest.raises(DataError, match="of two kinds: 0000 has class names, 0002 has numbers"):
        infer_task(MemorySource(["cat", "dog", 3.0]))
    with pytest.raises(DataError, match="its target is bytes, which no task can learn"):
        infer_task(MemorySource([b"cat"]))


NUCLEI = Path(__file__).parents[3] / "shared" / "data" / "dsb2018_nuclei"


@pytest.mark.data
@pytest.mark.skipif(not NUCLEI.is_dir(), reason="needs ../shared/data/dsb2018_nuclei")
def test_nuclei_are_segmented_from_the_folder_and_counted_from_the_table() -> None:
    source = open_source(data_config(NUCLEI))
    assert len(source.items) == 538
    found = infer_task(source)
    assert (found.task, found.also["task.foreground"][0]) == ("segment", True)
    counts = open_source(data_config(NUCLEI / "index.csv", target="n_nuclei", stratify="kind"))
    assert infer_task(counts).task == "regress"
    assert counts.target_names == ("n_nuclei",)
    assert counts.read(0, 3).shape == (256, 256, 3)
    masks = open_source(data_config(NUCLEI / "index.csv", target="instances/{name}.png"))
    assert infer_task(masks).also["task.foreground"][0]
    assert {item.split for item in masks.items} == {"train", "test"}
