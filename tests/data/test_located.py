"""Where things stand in an image, as far as the data knows: drawn shapes, VOC's boxes, COCO's boxes and outlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrail.contracts import LocatedSource
from vitrail.data.annotated import AnnotatedSource
from vitrail.data.builtin import DigitsSource, ShapesSource
from vitrail.data.sources import open_source
from vitrail.settings import DataConfig, ShapesConfig

CONFIG = ShapesConfig(size=48, length=30)


def boxed(mask: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a mask, half-open."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_a_shape_of_the_class_is_located_where_its_box_is_whatever_was_answered() -> None:
    source = ShapesSource(CONFIG)
    assert isinstance(source, LocatedSource)
    for index in range(12):
        found = source.located(index, "star", (48, 48))
        assert found is not None
        assert boxed(found) == source.truth(index)["box"]


def test_shapes_of_a_label_are_those_of_its_name_and_none_where_there_are_none() -> None:
    source = ShapesSource(CONFIG, "labels")
    for index in range(12):
        truth = source.truth(index)
        for kind in ("star", "ring", "circle"):
            found = source.located(index, kind, (48, 48))
            assert (found is not None) == (kind in truth["labels"])
        circles = source.located(index, "circle", (48, 48))
        if circles is not None:  # objects do not touch, so the mask has each pixel of them
            assert np.array_equal(circles, truth["mask"] == 1)


def test_the_count_is_about_all_objects_and_depth_about_no_place() -> None:
    counts = ShapesSource(CONFIG, "count").located(3, "count", (48, 48))
    assert counts is not None
    assert np.array_equal(counts, ShapesSource(CONFIG).truth(3)["mask"] > 0)
    assert ShapesSource(CONFIG, "depth").located(3, "depth", (48, 48)) is None
    assert ShapesSource(CONFIG, "mask").located(3, "background", (48, 48)) is None


def test_digits_know_of_no_place() -> None:
    assert not isinstance(DigitsSource(), LocatedSource)


def voc(root: Path, objects: str) -> AnnotatedSource:
    """A folder of one image of 20 x 10 pixels."""
    for name in ("Annotations", "JPEGImages"):
        (root / name).mkdir()
    Image.new("RGB", (20, 10)).save(root / "JPEGImages" / "a.jpg")
    size = "<size><width>20</width><height>10</height></size>"
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    source = open_source(DataConfig(source=str(root)))
    assert isinstance(source, AnnotatedSource)
    return source


def test_boxes_of_voc_count_from_one_and_hold_their_last_pixel(tmp_path: Path) -> None:
    box = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox>"
    part = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    odd = "<object><name>dog</name><bndbox><xmin>x</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object>"
    source = voc(tmp_path, f"<object><name>cat</name>{box}{part}</object>{odd}<object><name>cow</name></object>")
    found = source.located(0, "cat", (10, 20))
    assert found is not None
    assert boxed(found) == (2, 1, 5, 4)
    assert found.sum() == 9
    assert source.located(0, "dog", (10, 20)) is None  # its box says nothing, and is no other's
    assert source.located(0, "cow", (10, 20)) is None
    assert source.items[0].target == ["cat", "cow", "dog"]


def test_coco_has_outlines_and_boxes_where_there_is_no_outline(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 10], "segmentation": [[4, 2, 8, 2, 8, 6, 4, 6]]},
            {"image_id": 1, "category_id": 2, "bbox": [10, 1, 3, 2.0]},
            {"image_id": 1, "category_id": 2, "bbox": [15, 8, 9, 9]},
            {"image_id": 1, "category_id": 2, "bbox": "nowhere"},
        ],
    }
    (tmp_path / "instances.coco.json").write_text(json.dumps(content))
    source = open_source(DataConfig(source=str(tmp_path)))
    assert isinstance(source, AnnotatedSource)
    cat, dog = (source.located(0, name, (10, 20)) for name in ("cat", "dog"))
    assert cat is not None
    assert dog is not None
    assert (boxed(cat), int(cat.sum())) == ((4, 2, 8, 6), 16)  # the outline, not the box around it
    assert int(dog.sum()) == 3 * 2 + 5 * 2  # the second box is cut at the image's edge
    assert dog[1:3, 10:13].all()
