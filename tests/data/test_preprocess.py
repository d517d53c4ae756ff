"""The one preprocessing: torchvision's geometry, nothing resampled without need, and a way back for maps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from small_sets import config
from torchvision.transforms import v2

from vitrail.contracts import Pixels
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError

MODES = ("crop", "squash", "letterbox")
sides = st.integers(1, 70)


def smooth(height: int, width: int, channels: int = 3) -> Pixels:
    """An image without sharp edges, different in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + c) + c) + np.cos(y / (9 - c)) for c in range(channels)]
    return np.rint(127.5 + 60 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(240, 300), (301, 97), (64, 64), (20, 33), (73, 72)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
def test_crop_is_torchvisions_resize_and_center_crop(
    height: int, width: int, interpolation: Any, fraction: float
) -> None:
    pixels = smooth(height, width)
    reference = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(int(56 / fraction), v2.InterpolationMode(interpolation), antialias=True),
            v2.CenterCrop(56),
        ]
    )
    on_pil = v2.Compose([*reference.transforms[1:], v2.PILToTensor()])
    ours = Preprocessor(size=(56, 56), interpolation=interpolation, crop_fraction=fraction)
    exact = on_pil(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)
    assert np.array_equal(ours.fit(pixels), exact)
    near = reference(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)
    assert np.abs(ours.fit(pixels).astype(int) - near).max() <= 2


def test_normalisation_is_torchvisions() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = smooth(9, 9)
    ours = Preprocessor(size=(9, 9), mean=mean, std=std)(pixels)
    reference = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(pixels)
    assert ours.dtype == np.float32
    assert np.abs(ours - reference.numpy()).max() < 2e-6


@pytest.mark.parametrize("mode", MODES)
@given(height=sides, width=sides, out=st.tuples(sides, sides), fraction=st.sampled_from([1.0, 0.9, 0.5]))
@settings(deadline=None, max_examples=60)
def test_any_image_fits_any_size(mode: Any, height: int, width: int, out: tuple[int, int], fraction: float) -> None:
    ours = Preprocessor(size=out, resize=mode, crop_fraction=fraction)
    geometry = ours.geometry(height, width)
    left, top, right, bottom = geometry.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    x0, y0, x1, y1 = geometry.place
    assert 0 <= x0 < x1 <= out[1]
    assert 0 <= y0 < y1 <= out[0]
    assert ours(smooth(height, width)).shape == (3, *out)
    if mode == "crop" and min(height, width) > 1:
        stretch = ((x1 - x0) / (right - left)) / ((y1 - y0) / (bottom - top))
        assert stretch == pytest.approx(1, abs=1.01 / min(out) + 1.01 / min(height, width))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(24, 24), (24, 40)])
def test_an_image_of_the_right_size_is_not_resampled(mode: Any, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(Preprocessor(size=size, resize=mode).fit(pixels), pixels)


def test_a_crop_at_scale_1_copies_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 41, 3), dtype=np.uint8)
    assert np.array_equal(Preprocessor(size=(24, 24)).fit(pixels), pixels[:, 8:32])


def test_a_letterbox_shows_all_and_pads_with_the_mean() -> None:
    ours = Preprocessor(size=(20, 20), resize="letterbox", mean=(0.2, 0.4, 0.6), std=(0.1,))
    fitted = ours.fit(np.full((10, 20, 3), 250, np.uint8))
    assert ours.geometry(10, 20).place == (0, 5, 20, 15)
    assert (fitted[5:15] == 250).all()
    assert (fitted[:5] == (51, 102, 153)).all()
    assert np.abs(ours(np.full((10, 20, 3), 250, np.uint8))[:, 0]).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_do_not_touch_each_other(channels: int) -> None:
    """A fourth channel is no alpha here: where it is 0, the colours stay."""
    pixels = smooth(50, 60, channels)
    ours = Preprocessor(size=(16, 16), channels=channels)
    alone = Preprocessor(size=(16, 16), channels=1)
    for c in range(channels):
        assert np.array_equal(ours.fit(pixels)[..., c], alone.fit(pixels[..., c : c + 1])[..., 0])


def test_one_value_stands_for_all_channels() -> None:
    pixels = smooth(8, 8)
    assert np.array_equal(
        Preprocessor(size=(8, 8), mean=(0.5,), std=(0.25,))(pixels),
        Preprocessor(size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)(pixels),
    )
    with pytest.raises(ValidationError, match="mean has 2 values for 3 channels"):
        Preprocessor(size=(8, 8), mean=(0.5, 0.5))
    with pytest.raises(UsageError, match="std has 3 values for 1 channels"):
        Preprocessor.from_config(config(data__channels=1, preprocess__std=(0.5, 0.5, 0.5)))


def test_a_very_long_image_costs_no_more_than_its_crop() -> None:
    pixels = np.zeros((2, 200_000, 3), np.uint8)
    assert Preprocessor(size=(224, 224)).fit(pixels).shape == (224, 224, 3)  # whole, it would be 224 x 22,400,000


def test_json_gives_an_equal_preprocessor_back() -> None:
    ours = Preprocessor.from_config(config(preprocess__resize="letterbox", preprocess__mean=(0.1, 0.2, 0.3)))
    assert Preprocessor.model_validate_json(ours.model_dump_json()) == ours
    assert Preprocessor.model_validate(json.loads(ours.model_dump_json())).size == (8, 8)


@pytest.mark.parametrize("mode", MODES)
@given(height=st.integers(2, 90), width=st.integers(2, 90), out=st.tuples(st.integers(2, 40), st.integers(2, 40)))
@settings(deadline=None, max_examples=60)
def test_a_map_goes_back_to_where_its_pixels_came_from(
    mode: Any, height: int, width: int, out: tuple[int, int]
) -> None:
    """A map that holds, at each model pixel, its place in the image must come back as the image's own places."""
    ours = Preprocessor(size=out, resize=mode)
    left, top, right, bottom = ours.geometry(height, width).box
    x0, y0, x1, y1 = ours.geometry(height, width).place
    across = left + (np.arange(out[1]) + 0.5 - x0) * (right - left) / (x1 - x0)
    down = top + (np.arange(out[0]) + 0.5 - y0) * (bottom - top) / (y1 - y0)
    step_x, step_y = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
    back_x = ours.to_image(np.broadcast_to(across, out).astype(np.float32), (height, width))
    back_y = ours.to_image(np.broadcast_to(down[:, None], out).astype(np.float32), (height, width))
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = ((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))[None, :]
    assert back_x.shape == (height, width)
    assert back_x.dtype == np.float32
    assert np.array_equal(~np.isnan(back_x), inside)
    # beyond the outermost pixel centres the outermost value holds: at most half a model pixel away
    wanted_x = np.broadcast_to(np.clip(x, left + step_x / 2, right - step_x / 2), (height, width))
    wanted_y = np.broadcast_to(np.clip(y, top + step_y / 2, bottom - step_y / 2)[:, None], (height, width))
    assert np.allclose(back_x[inside], wanted_x[inside], atol=1e-3)
    assert np.allclose(back_y[inside], wanted_y[inside], atol=1e-3)


def test_a_bright_spot_comes_back_where_it_was() -> None:
    pixels = np.zeros((90, 150, 3), np.uint8)
    pixels[60:66, 100:106] = 255
    for mode in MODES:
        ours = Preprocessor(size=(45, 45), resize=mode)
        back = ours.to_image(ours(pixels)[0], (90, 150))
        row, column = np.unravel_index(np.nanargmax(back), back.shape)
        assert abs(row - 62.5) < 3
        assert abs(column - 102.5) < 4
