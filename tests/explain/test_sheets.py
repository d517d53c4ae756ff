"""Pictures of many maps at once: methods and models side by side, and every layer and head."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.contracts import Prediction
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.explanation import Explanation
from vitrail.explain.layer_grid import EDGE, GAP, TILE, layer_grid
from vitrail.explain.overlay import MARGIN, PAPER
from vitrail.explain.side_by_side import ACROSS, SIDE, side_by_side


def explanation(**changes: Any) -> Explanation:
    """A grey square of which the right half is hot."""
    raw = np.zeros((16, 16), np.float32)
    raw[:, 8:] = 1
    made = Explanation(
        raw=raw, image=np.full((40, 40, 3), 128, np.uint8), prediction=Prediction("a.jpg", answer="cat 81.2%"),
        method="rollout", where="all layers", target="", preprocessor=Preprocessor(size=(16, 16)),
    )  # fmt: skip
    return replace(made, **changes)


def brightness(picture: Image.Image, left: int, top: int, side: int) -> np.ndarray[Any, Any]:
    return np.asarray(picture)[top : top + side, left : left + side].sum(axis=2).mean(axis=0)


def test_the_image_stands_first_and_each_explanation_beside_it() -> None:
    mirrored = np.ascontiguousarray(explanation().raw[:, ::-1])
    picture = side_by_side([explanation(), explanation(raw=mirrored, method="grad_cam")])
    panel = SIDE // 2
    step = (picture.width - 2 * MARGIN + 12) // 3
    rises = []
    for place in range(3):
        row = brightness(picture, MARGIN + place * step, MARGIN, SIDE)
        rises.append(float(row[panel + 20 : SIDE - 20].mean() - row[20 : panel - 20].mean()))
    assert abs(rises[0]) < 1, "the image itself"
    assert rises[1] > 150
    assert rises[2] < -150


def test_models_methods_and_answers_change_the_words() -> None:
    made = [explanation(), explanation()]
    base = np.asarray(side_by_side(made, ["vit", "swin"]))
    others = [
        side_by_side(made, ["vit", "pvt"]),
        side_by_side([made[0], explanation(method="occlusion")], ["vit", "swin"]),
        side_by_side([made[0], explanation(prediction=Prediction("a.jpg", answer="dog 50.0%"))], ["vit", "swin"]),
    ]
    assert all(not np.array_equal(np.asarray(other), base) for other in others)


@pytest.mark.parametrize("count", [1, ACROSS - 1, ACROSS, 3 * ACROSS])
def test_many_explanations_take_further_rows_and_leave_no_panel_out(count: int) -> None:
    pixels = np.asarray(side_by_side([explanation() for _ in range(count)]))
    hot = (pixels.astype(int).sum(axis=2) > 550) & (pixels[..., 2] < 200)
    assert hot.sum() > 0.8 * count * SIDE * SIDE / 2


@pytest.mark.parametrize("label", ["猫咪", "a\nb", "$x^{", "word " * 200])
def test_no_label_or_model_stops_the_drawing(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        side_by_side([explanation(prediction=Prediction(label, answer=label), target=label)], [label])


def test_a_row_is_a_layer_and_a_column_a_head() -> None:
    maps = [np.zeros((heads, 2, 2), np.float32) for heads in (2, 3)]
    maps[1][2, 0, 1] = 5
    picture = layer_grid(np.full((40, 40, 3), 128, np.uint8), maps, "title", ("caption",))
    left, top = MARGIN + EDGE, MARGIN + 52

    def tile(layer: int, head: int) -> np.ndarray[Any, Any]:
        x, y = left + head * (TILE + GAP), top + layer * (TILE + GAP)
        return np.asarray(picture)[y : y + TILE, x : x + TILE].astype(int).sum(axis=2)

    hot = tile(1, 2)
    assert hot[10, -10] > hot[-10, 10] + 150
    assert (tile(0, 0) == tile(1, 1)).all(), "flat maps are all least"
    assert (tile(0, 2) == sum(PAPER)).all(), "the first layer has two heads"


def test_layers_may_have_grids_of_their_own() -> None:
    maps = [np.random.default_rng(0).random((2, side, side), np.float32) for side in (14, 7)]
    assert layer_grid(np.zeros((60, 40, 1), np.uint8), maps, "", ()).mode == "RGB"


def test_each_of_several_models_begins_a_row_where_it_has_several_maps() -> None:
    def shape(models: list[str]) -> tuple[int, ...]:
        return side_by_side([explanation() for _ in models], models).size

    beside, below, again = shape(["vit", "swin"]), shape(["vit", "vit", "swin"]), shape(["vit", "vit", "vit"])
    assert below[0] == beside[0], "the image and two maps above, one below"
    assert below[1] > again[1]
    assert again[0] > below[0]
