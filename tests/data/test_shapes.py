"""The drawn set: repeatable, true to its truths, and useless to a model that sees pixels one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import RidgeClassifier

from vitrail.contracts import DrawnMap, Pixels
from vitrail.data import shapes
from vitrail.data.maps import read_map
from vitrail.data.sources import ShapesSource
from vitrail.errors import UsageError
from vitrail.settings import ShapesConfig

MANY = 3000
SCENES = [shapes.scene(0, index) for index in range(MANY)]
KINDS = np.array([scene.main.kind for scene in SCENES])


def test_an_image_depends_on_seed_and_index_alone() -> None:
    short, long = ShapesSource(ShapesConfig(length=10)), ShapesSource(ShapesConfig(length=10**9))
    assert np.array_equal(short.read(7, 3), long.read(7, 3))
    assert not np.array_equal(short.read(7, 3), short.read(8, 3))
    assert not np.array_equal(short.read(7, 3), ShapesSource(ShapesConfig(seed=1)).read(7, 3))
    assert long.items[10**9 - 1].key == "shapes/999999999"
    with pytest.raises(IndexError):
        short.items[10]


def test_the_same_scene_is_drawn_at_any_size() -> None:
    small, large = ShapesSource(ShapesConfig(size=32)), ShapesSource(ShapesConfig(size=128))
    assert small.read(3, 3).shape == (32, 32, 3)
    assert large.read(3, 1).shape == (128, 128, 1)
    assert np.mean(small.truth(3)["mask"] > 0) == pytest.approx(np.mean(large.truth(3)["mask"] > 0), abs=0.02)
    assert ShapesSource(ShapesConfig(size=16)).truth(3)["angle"] == large.truth(3)["angle"]


def test_larger_objects_are_the_same_but_larger_and_lie_whole_and_apart() -> None:
    for index in range(300):
        usual, large = shapes.scene(0, index), shapes.scene(0, index, 4.0)
        assert large.main.area == pytest.approx(4 * usual.main.area)
        assert (large.main.kind, large.main.angle, large.main.colour) == (
            usual.main.kind, usual.main.angle, usual.main.colour,
        )  # fmt: skip
        assert 1 <= len(large.shapes) <= len(usual.shapes)
        for i, one in enumerate(large.shapes):
            assert all(abs(c - 0.5) <= 0.5 - one.radius for c in one.centre)
            assert all(math.dist(one.centre, o.centre) > one.radius + o.radius for o in large.shapes[:i])
    assert np.mean([len(shapes.scene(0, index, 2.5).shapes) for index in range(300)]) > 1.9


def test_the_source_shows_and_counts_what_is_larger() -> None:
    source = ShapesSource(ShapesConfig(size=96, larger=4.0))
    assert np.mean(source.truth(0)["mask"] > 0) > 0.11
    assert all(source.truth(i)["count"] == len(shapes.scene(0, i, 4.0).shapes) for i in range(30))
    assert source.content(3) != ShapesSource(ShapesConfig(size=96)).content(3)
    assert shapes.LARGEST == 4


def test_classes_are_equally_many() -> None:
    assert {str(kind): int(np.sum(kind == KINDS)) for kind in shapes.CLASSES} == dict.fromkeys(
        shapes.CLASSES, MANY // 6
    )


def test_objects_cover_3_to_10_percent() -> None:
    source = ShapesSource(ShapesConfig(size=256))
    for index in range(60):
        scene = shapes.scene(0, index)
        assert 0.03 <= sum(shape.area for shape in scene.shapes) <= 0.1
        assert 0.03 <= scene.main.area <= 0.0625
        drawn = float(np.mean(source.truth(index)["mask"] > 0))
        assert drawn == pytest.approx(sum(shape.area for shape in scene.shapes), abs=0.002)


@pytest.mark.parametrize("kind", shapes.CLASSES)
def test_every_shape_has_the_area_it_says(kind: str) -> None:
    shape = shapes.Shape(kind, (0.52, 0.47), 0.05, 33.0, 2.0, (1.0, 0.0, 0.0))
    assert float(shapes.cover(shape, 512).mean()) == pytest.approx(0.05, rel=0.005)


def test_the_class_is_the_largest_by_far_and_nothing_overlaps() -> None:
    for scene in SCENES[:500]:
        assert all(shape.area <= 0.31 * scene.main.area for shape in scene.shapes[1:])
        for i, one in enumerate(scene.shapes):
            assert all(abs(c - 0.5) <= 0.5 - one.radius for c in one.centre)  # whole inside the image
            for other in scene.shapes[:i]:
                assert math.dist(one.centre, other.centre) > one.radius + other.radius


def test_centres_are_uniform_over_where_the_largest_object_fits() -> None:
    centres = np.array([scene.main.centre for scene in SCENES])
    low, high = shapes._MARGIN, 1 - shapes._MARGIN
    assert centres.min() >= low
    assert centres.max() <= high
    cells, _, _ = np.histogram2d(centres[:, 0], centres[:, 1], bins=6, range=[(low, high)] * 2)
    assert stats.chisquare(cells.ravel()).pvalue > 0.01


@pytest.mark.parametrize("value", ["x", "y", "area", "angle", "depth", "hue", "grey", "count"])
def test_nothing_else_depends_on_the_class(value: str) -> None:
    find = {
        "x": lambda s: s.main.centre[0],
        "y": lambda s: s.main.centre[1],
        "area": lambda s: s.main.area,
        "angle": lambda s: s.main.angle,
        "depth": lambda s: s.main.depth,
        "hue": lambda s: np.arctan2(s.main.colour[0] - s.main.colour[1], s.main.colour[2] - s.main.colour[0]),
        "grey": lambda s: s.grey,
        "count": lambda s: len(s.shapes),
    }[value]
    values = np.array([find(scene) for scene in SCENES])
    assert stats.kruskal(*(values[kind == KINDS] for kind in shapes.CLASSES)).pvalue > 0.01


def test_a_linear_model_on_pixels_is_near_chance() -> None:
    source = ShapesSource(ShapesConfig(size=24, length=2400))
    pixels = np.stack([source.read(i, 3).ravel() for i in range(2400)]) / 255
    labels = [source.items[i].target for i in range(2400)]
    model = RidgeClassifier(alpha=100.0).fit(pixels[:1600], labels[:1600])
    assert abs(model.score(pixels[1600:], labels[1600:]) - 1 / 6) < 0.1


def without_objects(index: int, size: int) -> Pixels:
    scene = shapes.scene(0, index)
    return shapes.draw(shapes.Scene((), scene.tilt, scene.grey, scene.tint, scene.waves, scene.noise), size)


def test_the_mask_is_what_was_drawn() -> None:
    source = ShapesSource(ShapesConfig(size=96))
    for index in range(12):
        changed = (source.read(index, 3) != without_objects(index, 96)).any(axis=2)
        truth, scene = source.truth(index), shapes.scene(0, index)
        touched = sum(shapes.cover(shape, 96) for shape in scene.shapes)
        assert not changed[touched == 0].any()
        assert np.mean(changed[truth["mask"] > 0]) > 0.99  # a pixel may by chance have the ground's colour
        assert np.array_equal(truth["mask"] > 0, touched >= 0.5)
        assert {shapes.CLASSES[v - 1] for v in np.unique(truth["mask"]) if v} == set(truth["labels"])


def test_truths_agree_with_each_other() -> None:
    source = ShapesSource(ShapesConfig(size=96))
    for index in range(24):
        truth, scene = source.truth(index), shapes.scene(0, index)
        left, top, right, bottom = truth["box"]
        main = shapes.cover(scene.main, 96) >= 0.5
        assert main[top:bottom, left:right].sum() == main.sum()
        assert main[top].any()
        assert main[:, right - 1].any()
        assert truth["class"] in truth["labels"]
        assert 1 <= len(truth["labels"]) <= truth["count"] <= 3
        assert -90 <= truth["angle"] < 90
        assert truth["depth"].dtype == np.float32
        assert truth["depth"][main] == pytest.approx(scene.main.depth)
        ground = truth["depth"][truth["mask"] == 0]
        assert ground.min() > 3.9
        assert ground.max() < 10.1


def test_the_shading_shows_the_angle() -> None:
    """A circle turned by 180 degrees is lit from the other side."""
    scene = next(s for s in SCENES if s.main.kind == "circle" and s.main.area > 0.055)
    image = shapes.draw(scene, 128).astype(float).sum(axis=2)
    inside = shapes.cover(scene.main, 128) == 1
    rows, columns = np.nonzero(inside)
    angle = math.radians(scene.main.angle)
    along = columns * math.cos(angle) + rows * math.sin(angle)
    assert np.corrcoef(along, image[inside])[0, 1] > 0.9


def test_any_truth_can_be_the_target() -> None:
    config = ShapesConfig(size=32, length=12)
    for name in ("class", "labels", "count", "angle", "size", "mask", "depth", "box"):
        source = ShapesSource(config, name)
        target = source.items[5].target
        assert np.array_equal(read_map(target) if isinstance(target, DrawnMap) else target, source.truth(5)[name])
    assert ShapesSource(config, "count").hints.flip
    assert not any(ShapesSource(config, name).hints.flip for name in ("angle", "box", "size,angle"))
    several = ShapesSource(config, "count,angle")
    assert several.items[5].target == [several.truth(5)["count"], several.truth(5)["angle"]]
    assert several.target_names == ("count", "angle (degrees)")
    with pytest.raises(UsageError, match="several targets are of count, angle, size"):
        ShapesSource(config, "count,mask")
    with pytest.raises(UsageError, match="did you mean 'count'"):
        ShapesSource(config, "coun")
