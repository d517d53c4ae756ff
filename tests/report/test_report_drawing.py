"""What the pictures' colours say, and what the page says of an image's way into the model."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from vitrail.data.joint import ZOOM
from vitrail.data.preprocess import Preprocessor
from vitrail.report import colours, geometry
from vitrail.report.matrix import matrix
from vitrail.runtime.tiles import OVERLAP
from vitrail.settings import Config, build


def config(**stated: Any) -> Config:
    return build({"data.source": "x", "model.image_size": 64, **{k.replace("__", "."): v for k, v in stated.items()}})


# --------------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("resize", "words"),
    [
        ("crop", "until its shorter side is 64 pixels, and 64 x 64 pixels are cut from its centre"),
        ("squash", "stretched to 64 x 64 pixels"),
        ("letterbox", "fitted into 64 x 64 pixels with its proportions kept"),
        ("tile", "in windows of 64 x 64 pixels, each of which shares a quarter"),
    ],
)
def test_the_sentence_names_the_geometry_that_the_preprocessing_has(resize: str, words: str) -> None:
    assert words in geometry.evaluated(config(preprocess__resize=resize))


def test_the_sentence_on_a_crop_holds_of_the_preprocessing() -> None:
    stated = config(preprocess__crop_fraction=0.8)
    assert "until its shorter side is 80 pixels" in geometry.evaluated(stated)
    left, top, right, bottom = Preprocessor.from_config(stated).geometry(160, 400).box
    assert (right - left, bottom - top) == (pytest.approx(64 * 160 / 80), pytest.approx(64 * 160 / 80))


def test_the_words_for_overlap_and_zoom_are_what_the_engine_and_the_training_do() -> None:
    assert OVERLAP == 0.25, "a quarter"
    assert pytest.approx((3 / 4, 4 / 3), abs=0.01) == ZOOM, "three quarters to four thirds"
    tiled = geometry.trained(config(preprocess__resize="tile"), dense=True)
    assert "three quarters to four thirds" in tiled


def test_what_is_random_is_named_and_what_is_not_is_not() -> None:
    everything = {
        "augment__randaugment_ops": 2, "augment__erase": 0.25, "augment__mixup": 0.8, "augment__cutmix": 1.0,
        "augment__jitter": 0.2, "augment__crop_scale": (0.35, 1.0), "augment__three": True, "augment__repeats": 3,
        "augment__mix_off_epochs": 10.0,
    }  # fmt: skip
    plain = geometry.trained(config(**everything), dense=False)
    for words in (
        "35 to 100% of the image's area", "mirrored", "RandAugment", "erased in 25%", "mixup or CutMix, but",
        "for the last 10 epochs", "ThreeAugment", "changed by up to 20%", "3 times in a row",
    ):  # fmt: skip
        assert words in plain
    dense = geometry.trained(config(**everything), dense=True)
    assert "changed by up to 20%" in dense
    assert "The target goes through the same geometry." in dense
    assert not any(words in dense for words in ("RandAugment", "ThreeAugment", "erased", "mixup"))
    nothing = geometry.trained(config(augment__crop_scale=(1, 1), augment__flip=False), dense=False)
    assert nothing == "In training it is the same."


# ---------------------------------------------------------------------------------------------------------- colours


def test_classes_have_colours_of_their_own_and_the_ground_has_none() -> None:
    hues = colours.of_classes(range(22))
    assert hues[0] is None
    assert len(set(hues)) == 22
    for first, second in combinations(hues[1:8], 2):
        assert first is not None
        assert second is not None
        assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 40
    assert None not in colours.of_classes([1, 2])


def test_a_mask_colours_its_objects_and_leaves_the_ground_as_it_is() -> None:
    pixels = np.full((2, 3, 3), (10, 200, 30), np.uint8)
    shown = np.asarray(colours.laid_over(pixels, np.array([[0, 1, -1], [0, 0, 1]]), [None, (255, 0, 0)]))
    assert shown[0, 0].tolist() == [10, 200, 30]
    assert shown[0, 1, 0] > 150 > shown[0, 1, 1]
    assert shown[0, 2].tolist() == list(colours.UNKNOWN)


def test_what_is_missed_invented_and_confused_looks_different() -> None:
    true, said = np.array([[0, 1, 0, 1, 1, -1]]), np.array([[0, 1, 1, 0, 2, 1]])
    shown = np.asarray(colours.differing(np.zeros((1, 6, 3), np.uint8), true, said, ground=0))[0].tolist()
    invented, missed, confused = (
        [int(colours.WRONG[kind][i : i + 2], 16) for i in (1, 3, 5)] for kind in ("invented", "missed", "another class")
    )
    assert shown[0] == shown[1]
    assert shown[2:] == [invented, missed, confused, list(colours.UNKNOWN)]
    without = np.asarray(colours.differing(np.zeros((1, 6, 3), np.uint8), true, said, ground=None))[0].tolist()
    assert without[2:5] == [confused] * 3


def test_colours_of_numbers_rise_in_lightness_and_end_at_the_scales_ends() -> None:
    shown = np.asarray(colours.scaled(np.linspace(0, 10, 50)[None], 2, 8), np.float64)[0]
    lightness = shown @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[10:40]) > 0).all()
    assert (shown[:10] == shown[0]).all()
    assert (shown[-9:] == shown[-1]).all()
    assert np.asarray(colours.scaled(np.array([[np.nan]]), 0, 1))[0, 0].tolist() == list(colours.UNKNOWN)


def test_too_little_is_blue_too_much_is_orange_and_right_is_white() -> None:
    low, right, high = np.asarray(colours.off(np.array([[-3.0, 0.0, 3.0]]), 2.0), int)[0]
    assert low[2] > low[0] + 100
    assert high[0] > high[2] + 100
    assert right.min() > 240


def test_gradients_are_those_of_the_pictures() -> None:
    ends = [np.asarray(colours.scaled(np.array([[value]]), 0, 1))[0, 0].tolist() for value in (0.0, 1.0)]
    first, *_, last = colours.gradient("values").split(", ")
    assert [first, last] == [f"rgb({r} {g} {b})" for r, g, b in ends]


# ----------------------------------------------------------------------------------------------------------- matrix


def test_cells_of_pixels_are_shares_and_cells_of_images_are_counts() -> None:
    counts = np.array([[900, 100], [1, 1999]])
    images, pixels = (matrix(counts, ["a", "b"], "said", written=kind) for kind in ("count", "share"))
    assert [[cell and cell.written for cell in row] for row in images.rows] == [["900", "100"], ["1", "1999"]]
    assert [[cell and cell.written for cell in row] for row in pixels.rows] == [["90", "10"], ["·", "100"]]
    assert pixels.rows[0][1] is not None
    assert pixels.rows[0][1].title == "a: 10.0% of 1,000 pixels said b"
