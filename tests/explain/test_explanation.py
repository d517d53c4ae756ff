from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitrail.contracts import Prediction
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import TrainingError, UsageError
from vitrail.explain import lettering, overlay, typeface
from vitrail.explain.explanation import Explanation


def explanation(raw: np.ndarray[Any, Any] | None = None, **changes: Any) -> Explanation:
    """A wide grey photograph, of which the model saw the middle, with a map that rises from left to right."""
    if raw is None:
        raw = np.tile(np.linspace(-2, 5, 16, dtype=np.float32), (16, 1))
    made = Explanation(
        raw=raw,
        image=np.full((40, 100, 3), 128, np.uint8),
        prediction=Prediction("photos/a.jpg", answer="cat 81.2%"),
        method="rollout",
        where="all 3 layers, mean of heads",
        target="",
        preprocessor=Preprocessor(size=raw.shape),  # type: ignore[arg-type]
    )
    return replace(made, **changes)


def test_the_heatmap_has_the_images_size_and_lies_between_0_and_1() -> None:
    heat = explanation().heatmap
    assert heat.shape == (40, 100)
    assert heat.dtype == np.float32
    assert (np.nanmin(heat), np.nanmax(heat)) == (0, 1)


def test_what_the_crop_left_out_is_nan_and_nothing_else() -> None:
    heat = explanation().heatmap
    assert np.isnan(heat[:, :30]).all()
    assert np.isnan(heat[:, 70:]).all()
    assert not np.isnan(heat[:, 30:70]).any()


def test_the_heatmap_keeps_the_order_of_a_signed_map() -> None:
    heat = explanation().heatmap[20, 30:70]
    assert (np.diff(heat) >= 0).all()
    assert heat[0] == 0
    assert heat[-1] == 1


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e-30])
def test_a_constant_map_is_no_picture(value: float) -> None:
    heat = explanation(np.full((16, 16), value, np.float32)).heatmap
    assert set(np.unique(heat[:, 30:70])) == {0}
    assert np.isnan(heat[:, :30]).all()


@given(height=st.integers(1, 70), width=st.integers(1, 70), resize=st.sampled_from(["crop", "squash", "letterbox"]))
def test_any_shape_of_image_can_be_drawn(height: int, width: int, resize: Any) -> None:
    raw = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    image = np.zeros((height, width, 3), np.uint8)
    made = explanation(raw, image=image, preprocessor=Preprocessor(size=(16, 16), resize=resize))
    assert made.heatmap.shape == (height, width)
    assert max(made.panels().size) >= overlay.SIDE
    assert made.overlay().width >= overlay.NARROWEST


@pytest.mark.parametrize("shape", [(1, 400), (400, 1)])
def test_what_is_said_of_a_line_of_pixels_can_be_seen(shape: tuple[int, int]) -> None:
    pair = overlay.panels(np.zeros((*shape, 3), np.uint8), np.linspace(0, 1, 400, dtype=np.float32).reshape(shape))
    assert min(pair.size) >= 12
    right = np.asarray(pair.crop((pair.width // 2 + 3, 0, *pair.size)), np.float64).sum(axis=2)
    along = right.mean(axis=shape.index(1))
    assert (np.diff(along[::8]) > 0).mean() > 0.9


def test_the_overlay_shows_image_and_heat_side_by_side() -> None:
    panels = np.asarray(explanation().panels())
    height, width = panels.shape[0], (panels.shape[1] - overlay.GAP) // 2
    left, right = panels[:, :width], panels[:, -width:]
    assert np.abs(left.astype(int) - 128).max() <= 1, "the image as it is"
    row = right[height // 2].astype(int)
    seen = row[int(0.32 * width) : int(0.68 * width)]
    assert seen[-1].sum() > seen[0].sum() + 150, "heat rises to the right, and the scale in lightness with it"
    assert (row[: int(0.28 * width)] == row[0]).all(), "what was not seen is faded and without colour"
    assert np.ptp(row[0]) == 0


def test_the_scale_rises_in_lightness_so_that_grey_print_and_any_eye_can_read_it() -> None:
    luminance = overlay.ramp(64) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()


def test_the_words_change_the_picture() -> None:
    base = np.asarray(explanation().overlay())
    for changes in (
        {"where": "layer 0 (of 0 to 2), head 1"},
        {"method": "raw_attention"},
        {"prediction": Prediction("photos/a.jpg", answer="dog 81.2%")},
        {"prediction": Prediction("photos/a.jpg", answer="cat 10.0%")},
        {"prediction": Prediction("photos/b.jpg", answer="cat 81.2%")},
    ):
        other = np.asarray(explanation(**changes).overlay())
        assert other.shape == base.shape
        assert not np.array_equal(other, base)


def test_an_explained_class_stands_in_the_caption() -> None:
    assert explanation(target="dog").caption == "rollout: all 3 layers, mean of heads, for class dog"


@pytest.mark.parametrize("label", ["猫咪", "🐈‍⬛", "قط", "a\nb\x00c", "$x^{", "", "word " * 200, "\ud800"])
def test_no_label_stops_the_drawing_or_warns(label: str) -> None:
    made = explanation(prediction=Prediction(label, answer=label))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made.overlay().width < 900


def test_text_is_shortened_in_its_middle() -> None:
    path = "beginning/" + "middle/" * 60 + "end.jpg"
    short = lettering.shortened(path, 13, 300)
    assert short.startswith("beginning")
    assert short.endswith("end.jpg")
    assert lettering.length(short, 13) <= 300


@given(st.text(max_size=40))
def test_every_drawable_character_has_a_glyph(text: str) -> None:
    fonts = dict(typeface.installed())
    for path, piece in typeface.runs(text):
        assert path in fonts.values()
        assert all(typeface._font(path).get_char_index(ord(character)) for character in piece)
    assert typeface.families([text])[0] == "DejaVu Sans"


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP")])
def test_saving_makes_the_folder_and_the_format_of_the_suffix(suffix: str, kind: str, tmp_path: Path) -> None:
    path = explanation().save(tmp_path / "deep" / "er" / f"a{suffix}")
    with Image.open(path) as image:
        assert image.format == kind


def test_saving_as_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.jpg or \.webp"):
        explanation().save(tmp_path / "a.txt")


def test_saving_where_nothing_can_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"):
        explanation().save(tmp_path / "file" / "a.png")


def test_equal_explanations_give_equal_files() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    explanation().overlay().save(first, "PNG")
    explanation().overlay().save(second, "PNG")
    assert first.getvalue() == second.getvalue()
