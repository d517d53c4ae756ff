"""COCO's JSON and VOC's folders: the same objects as labels, counts or masks; every fault is named."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_sets import data_config, write_image

from vitrail.contracts import FileSource, MapFile
from vitrail.data.annotated import AnnotatedSource
from vitrail.data.inference import infer_task
from vitrail.data.maps import read_map
from vitrail.data.sources import open_source
from vitrail.data.split import make_split
from vitrail.data.voc import VOC_CLASSES, read_annotation
from vitrail.errors import BadImage, DataError, UsageError

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]
RUNS = {"size": [12, 10], "counts": [118, 2]}
COCO: dict[str, Any] = {
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 9, "name": "emu"}],
    "images": [
        {"id": 1, "file_name": "a.png", "height": 12, "width": 10},
        {"id": 2, "file_name": "b.png", "height": 12, "width": 10},
        {"id": 5, "file_name": "gone.png", "height": 12, "width": 10},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "segmentation": SQUARE, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "segmentation": [], "iscrowd": 0},
        {
            "id": 3,
            "image_id": 1,
            "category_id": 7,
            "segmentation": {"size": [12, 10], "counts": [118, 2]},
            "iscrowd": 1,
        },
        {"id": 4, "image_id": 5, "category_id": 7, "segmentation": SQUARE, "iscrowd": 0},
    ],
}


def write_coco(path: Path, content: Any = COCO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png")
    return write_coco(tmp_path / "set.json")


def opened(path: Path, task: str | None = None, **fields: Any) -> AnnotatedSource:
    source = open_source(data_config(path, **fields), task)
    assert isinstance(source, AnnotatedSource)
    return source


# ------------------------------------------------------------------------------------------------------------- COCO


def test_coco_tells_which_classes_an_image_shows(coco: Path) -> None:
    source = opened(coco)
    assert [(item.key, item.target) for item in source.items] == [
        ("images/a.png", ["cat", "dog"]), ("images/b.png", []), ("images/gone.png", ["cat"])
    ]  # fmt: skip
    assert infer_task(source).task == "multilabel"
    assert "1 image shows none of them; --task regress counts them, --task segment outlines them" in source.notes[-1]
    assert isinstance(source, FileSource)
    assert source.read(1, 3).shape == (12, 10, 3)
    with pytest.raises(BadImage, match="no such file"):
        source.read(2, 3)


def test_coco_counts_objects_but_not_crowds(coco: Path) -> None:
    source = opened(coco, "regress")
    assert [item.target for item in source.items] == [[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert source.target_names == ("cat", "dog", "emu")
    assert "1 crowd is not counted" in source.notes[-1]
    one = opened(coco, "regress", target="dog")
    assert [item.target for item in one.items] == [2.0, 0.0, 0.0]
    assert one.target_names == ("dog",)


def test_coco_draws_masks_when_they_are_read(coco: Path) -> None:
    source = opened(coco, "segment")
    assert source.target_names == ("background", "cat", "dog", "emu")
    mask = read_map(pickle.loads(pickle.dumps(source.items[0].target)))
    expected = np.zeros((12, 10), np.uint8)
    expected[2:6, 2:6], expected[10:, 9] = 2, 1
    assert np.array_equal(mask, expected)
    assert not read_map(source.items[1].target).any()
    assert "1 object has no outline and is ground" in source.notes[-1]
    assert infer_task(source).task == "segment"


def test_some_classes_can_be_chosen(coco: Path) -> None:
    assert [item.target for item in opened(coco, target="emu, cat").items] == [["cat"], [], ["cat"]]
    with pytest.raises(UsageError, match="unknown class 'dgo': did you mean 'dog'"):
        opened(coco, target="dgo")
    with pytest.raises(UsageError, match=r"for multilabel, regress .counts. or segment, not depth"):
        opened(coco, "depth")


@pytest.mark.parametrize(
    ("files", "images"),
    [
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json"], ["train2017", "val2017"]),
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train", "valid"]),
    ],
)
def test_several_files_are_the_splits(tmp_path: Path, files: list[str], images: list[str]) -> None:
    for file, folder in zip(files, images, strict=True):
        for name in ("a", "b"):
            write_image(tmp_path / folder / f"{name}.png")
        write_coco(tmp_path / file)
    source = opened(tmp_path)
    assert len(source.items) == 6
    assert [item.split for item in source.items] == ["train"] * 3 + ["val"] * 3
    assert source.items[3].key == f"{images[1]}/a.png"
    assert source.read(3, 3).shape == (12, 10, 3)


def test_images_that_lie_elsewhere_are_said(tmp_path: Path) -> None:
    write_image(tmp_path / "far" / "a.png")
    path = write_coco(tmp_path / "here" / "set.json")
    with pytest.raises(DataError, match=r"such as a.png, are not beside it: say where they are with data.images"):
        opened(path)
    assert opened(path, images=str(tmp_path / "far")).read(0, 3).shape == (12, 10, 3)
    assert opened(path, images="../far").read(0, 3).shape == (12, 10, 3)


def changed(**changes: Any) -> dict[str, Any]:
    """COCO with other values, `images__0__id` for the first image's id."""
    content = copy.deepcopy(COCO)
    for path, value in changes.items():
        *parents, leaf = (int(part) if part.isdigit() else part for part in path.split("__"))
        node: Any = content
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "is not COCO's: a JSON object"),
        ({"images": []}, "it has no list 'annotations'"),
        (changed(images=[]), "has no images"),
        (changed(images__1__id="2"), r"images\[1\] has no whole number 'id'"),
        (changed(images__1__id=1), r"images\[1\] has the id of images\[0\], 1"),
        (changed(images__1__file_name=None), r"images\[1\] has no text 'file_name'"),
        (changed(images__1__file_name="a.png"), "images/a.png is annotated as two images"),
        (changed(images__1__height=0), r"images\[1\] has no usable name or size"),
        (changed(annotations__1__category_id=8), r"annotations\[1\] has category 8, which is not there"),
        (changed(annotations__1__image_id=8), r"annotations\[1\] is of image 8, which is not there"),
        (changed(categories__1__name="cat"), r"categories\[1\] is there twice"),
        (changed(categories__1__id=True), r"categories\[1\] has no whole number 'id'"),
        (changed(annotations__0__segmentation=[[1, 2, 3, 4]]), r"annotations\[0\] has a segmentation that is neither"),
        (changed(annotations__0__segmentation=[[1, 2, 3, 4, 5, "6"]]), r"annotations\[0\] has a segmentation"),
        (changed(annotations__0__segmentation=[[1, 2, 3, 4, 5, 1e300]]), r"annotations\[0\] has a segmentation"),
        (
            changed(annotations__2__segmentation__counts=[3, 4]),
            r"annotations\[2\]: its run lengths do not cover 10 x 12",
        ),
        (changed(annotations__2__segmentation__counts="~"), r"annotations\[2\]: '~' does not belong"),
        (changed(annotations__2__segmentation__size=[10, 12]), r"annotations\[2\] has a segmentation"),
    ],
)
def test_a_fault_of_coco_is_named_with_its_place(coco: Path, content: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        opened(write_coco(coco, content))
    assert str(caught.value).count("\n") <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    "images", "annotations", "categories", "images__0", "annotations__0", "categories__0", "images__0__id",
    "images__0__file_name", "images__0__width", "annotations__0__segmentation", "annotations__2__segmentation__counts",
    "annotations__2__segmentation__size", "annotations__0__iscrowd", "annotations__0__category_id",
    "categories__0__name",
]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=JSON, task=st.sampled_from([None, "regress", "segment"]))
def test_any_json_is_annotations_or_an_error_in_words(coco: Path, place: str, value: Any, task: str | None) -> None:
    """Promise 24: parsers survive anything."""
    try:
        source = opened(write_coco(coco, changed(**{place: value})), task)
    except (DataError, UsageError):
        return
    for item in source.items:
        if task == "segment":
            with contextlib.suppress(BadImage):
                read_map(item.target)


# -------------------------------------------------------------------------------------------------------------- VOC


def annotation(*names: str, size: tuple[int, int] = (12, 10)) -> str:
    objects = "".join(f"<object><name>{name}</name><bndbox><xmin>1</xmin></bndbox></object>" for name in names)
    sides = f"<height>{size[0]}</height><width>{size[1]}</width>"
    return f"<annotation><filename>wrong.jpg</filename><size>{sides}</size>{objects}</annotation>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOC"
    for name, text in {
        "a": annotation("RBC", "RBC", "WBC"), "b": annotation("RBC"), "c": annotation(), "d": annotation("WBC")
    }.items():  # fmt: skip
        write_image(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(text)
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\nb\n")
    (sets / "val.txt").write_text("c\n")
    (sets / "trainval.txt").write_text("a\nb\nc\n")
    (sets / "RBC_train.txt").write_text("a 1\nb 1\n")
    return root


def test_voc_has_labels_counts_and_its_official_split(voc: Path) -> None:
    source = opened(voc)
    assert [(i.key, i.target, i.split) for i in source.items] == [
        ("JPEGImages/a.png", ["RBC", "WBC"], "train"), ("JPEGImages/b.png", ["RBC"], "train"),
        ("JPEGImages/c.png", [], "val"),
    ]  # fmt: skip
    assert [(f.key, f.reason) for f in source.ignored] == [
        ("JPEGImages/d.png", "in none of the lists in ImageSets/Main")
    ]
    assert [item.target for item in opened(voc, "regress", target="WBC,RBC").items] == [[1, 2], [0, 1], [0, 0]]


def test_trainval_is_the_training_split_where_there_is_no_other(voc: Path) -> None:
    sets = voc / "ImageSets" / "Main"
    for name in ("train", "val"):
        (sets / f"{name}.txt").unlink()
    (sets / "test.txt").write_text("d\n")
    assert [item.split for item in opened(voc).items] == ["train"] * 3 + ["test"]


def test_without_lists_every_annotated_image_is_a_sample(voc: Path) -> None:
    for path in (voc / "ImageSets" / "Main").glob("*.txt"):
        path.unlink()
    (voc / "Annotations" / "d.xml").unlink()
    source = opened(voc)
    assert [item.split for item in source.items] == [None] * 3
    assert [(f.key, f.reason) for f in source.ignored] == [("JPEGImages/d.png", "no Annotations/d.xml")]
    assert any("1 image is left out" in note for note in source.notes)


def test_voc_masks_are_named_where_the_classes_are_vocs_own(voc: Path) -> None:
    for name in "ab":
        (voc / "Annotations" / f"{name}.xml").write_text(annotation("cat"))
        (voc / "SegmentationClass").mkdir(exist_ok=True)
        Image.new("P", (10, 12)).save(voc / "SegmentationClass" / f"{name}.png")
    source = opened(voc, "segment")
    assert [item.target for item in source.items] == [MapFile(voc / f"SegmentationClass/{n}.png") for n in "ab"]
    assert ("JPEGImages/c.png", "no SegmentationClass/c.png") in [(f.key, f.reason) for f in source.ignored]
    assert source.target_names == ("background", *VOC_CLASSES)
    assert source.target_names[8] == "cat"


def test_voc_without_masks_has_nothing_to_segment(voc: Path) -> None:
    with pytest.raises(DataError, match="has boxes but no outlines or masks"):
        opened(voc, "segment")


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"train": "a\nzz\n"}, "lists zz, which has no Annotations/zz.xml"),
        ({"train": "a\nb\n", "val": "c\nb\n"}, "val.txt, line 2: b is in the train list as well"),
        ({"val": "a\n"}, "has no train.txt"),
    ],
)
def test_lists_that_cannot_be_obeyed_say_where(voc: Path, lists: dict[str, str], says: str) -> None:
    for path in (voc / "ImageSets" / "Main").glob("*.txt"):
        path.unlink()
    for name, text in lists.items():
        (voc / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    with pytest.raises(DataError, match=says):
        opened(voc)


NAMED = "<annotation><object><name>&x;</name></object></annotation>"
BOMB = f'<!DOCTYPE a [<!ENTITY y "ha"><!ENTITY x "&y;&y;&y;&y;">]>{NAMED}'
OUTSIDE = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>{NAMED}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "line 1: it declares a document type"),
        (OUTSIDE, "line 1: it declares a document type"),
        ("<annotation>\n<object>", "line 2: not XML: no element found"),
        ("<other/>", "<annotation> is expected, not <other>"),
        ("", "not XML"),
        ("<annotation><object><pose>x</pose></object></annotation>", "an object has no name"),
        ("<annotation><object><name> </name></object></annotation>", "an object has an empty name"),
        ("<annotation><size><width>x</width></size></annotation>", "width is 'x', which is no number"),
        ("<a>" * 100, "nested deeper"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "unknown encoding|not XML"),
    ],
)
def test_an_annotation_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(DataError, match=says):
        read_annotation(tmp_path / "x.xml")


@given(raw=st.binary(max_size=60) | st.text("<>/annotationobject name&;![]\"' \n", max_size=80).map(str.encode))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_an_annotation_or_an_error_in_words(tmp_path: Path, raw: bytes) -> None:
    """Promise 24: parsers survive anything."""
    (tmp_path / "x.xml").write_bytes(raw)
    with contextlib.suppress(DataError):
        read_annotation(tmp_path / "x.xml")


def test_the_names_of_parts_are_not_those_of_objects(tmp_path: Path) -> None:
    text = "<annotation><object><name>dog</name><part><name>head</name></part></object></annotation>"
    (tmp_path / "x.xml").write_text(text)
    assert read_annotation(tmp_path / "x.xml").names == ["dog"]


# --------------------------------------------------------------------------------------------------------- real cells

BCCD = Path(__file__).parents[3] / "shared" / "data" / "bccd" / "BCCD"


@pytest.mark.data
@pytest.mark.skipif(not BCCD.is_dir(), reason="needs ../shared/data/bccd")
def test_blood_cells_are_split_as_published_and_all_counted() -> None:
    source = opened(BCCD)
    split = make_split(source, range(364), [item.key for item in source.items], data_config(BCCD), "multilabel")
    assert (len(split.train), len(split.val), len(split.test)) == (205, 87, 72)
    counts = np.array([item.target for item in opened(BCCD, "regress", target="RBC,WBC,Platelets").items])
    assert counts.sum() == 4888  # ../shared/data/README.md
    labels = [set(item.target) for item in source.items]
    assert [{n for n, c in zip(("RBC", "WBC", "Platelets"), row, strict=True) if c} for row in counts] == labels
