"""An image and the values of its pixels never part."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import config

from vitrail.data.joint import JointTransform
from vitrail.data.preprocess import Preprocessor

UNKNOWN = -1


def _pair(height: int = 24, width: int = 36, seed: int = 0, block: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """An image of blocks of a few greys, and for each pixel which grey it has: the one can be told from the other."""
    classes = np.random.default_rng(seed).integers(0, 4, (-(-height // block), -(-width // block)))
    classes = classes.repeat(block, 0).repeat(block, 1)
    classes = classes[:height, :width]
    return np.repeat((classes * 60 + 30).astype(np.uint8)[..., None], 3, axis=2), classes.astype(np.int64)


def _transform(**fields: object) -> JointTransform:
    plain = {"augment__jitter": 0.0, "preprocess__mean": (0.0,), "preprocess__std": (1.0,)}
    return JointTransform(config(model__image_size=16, **{**plain, **fields}))


def _agreement(image: torch.Tensor, values: np.ndarray) -> float:
    """Share of known pixels whose grey is that of their class, away from edges, which resampling blurs."""
    said = np.rint((image[0].numpy() * 255 - 30) / 60)
    around = np.stack([np.roll(values, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])[:, 1:-1, 1:-1]
    inner = (around == around[0]).all(axis=0) & (values[1:-1, 1:-1] != UNKNOWN)
    assert inner.sum() >= 5
    return float((said[1:-1, 1:-1] == values[1:-1, 1:-1])[inner].mean())


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(["letterbox", "crop", "squash", "tile"]), st.sampled_from([0.2, 1.0]))
def test_image_and_values_go_through_the_same_geometry(key: int, resize: str, smallest: float) -> None:
    transform = _transform(preprocess__resize=resize, augment__crop_scale=(smallest, 1.0))
    pixels, classes = _pair(seed=key % 7)
    image, values = transform(pixels, classes, np.full((16, 16), UNKNOWN), (0, key))
    assert image.shape == (3, 16, 16)
    assert values.shape == (16, 16)
    assert set(np.unique(values)) <= {UNKNOWN, 0, 1, 2, 3}
    assert _agreement(image, values) > 0.97


def test_the_key_decides_and_the_callers_generator_is_left_alone() -> None:
    transform = _transform(augment__jitter=0.4, augment__crop_scale=(0.3, 1.0))
    pixels, classes = _pair()
    blank = np.full((16, 16), UNKNOWN)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = transform(pixels, classes, blank, (0, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    again, other = transform(pixels, classes, blank, (0, 1, 2)), transform(pixels, classes, blank, (0, 1, 3))
    assert torch.equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_jitter_changes_colours_and_no_value() -> None:
    pixels, classes = _pair()
    blank = np.full((16, 16), UNKNOWN)
    fields = {"augment__flip": False, "augment__crop_scale": (1.0, 1.0), "preprocess__resize": "squash"}
    plain, jittered = _transform(**fields), _transform(**fields, augment__jitter=0.5)
    (image, values), (varied, kept) = plain(pixels, classes, blank, (7,)), jittered(pixels, classes, blank, (7,))
    assert np.array_equal(values, kept)
    assert not torch.equal(image, varied)


def test_what_lies_outside_of_the_image_is_blank() -> None:
    _pixels, classes = _pair(8, 24)
    preprocessor = Preprocessor(size=(16, 16), resize="letterbox")
    fitted = preprocessor.fit_values(classes, np.full((16, 16), UNKNOWN))
    assert (fitted[:5] == UNKNOWN).all()
    assert (fitted[5:10] != UNKNOWN).all()
    small = Preprocessor(size=(16, 16), resize="tile").fit_values(classes[:, :10], np.full((16, 16), UNKNOWN))
    assert np.array_equal(small[:8, :10], classes[:, :10])
    assert (small[8:] == UNKNOWN).all()


def test_holes_stay_holes_and_do_not_spread() -> None:
    pixels, _ = _pair()
    truth = np.full((1, 24, 36), 5.0, np.float32)
    truth[0, :, 18:] = np.nan
    transform = _transform(augment__crop_scale=(0.5, 1.0), preprocess__resize="letterbox")
    _, values = transform(pixels, truth, np.full((1, 16, 16), np.nan, np.float32), (3,))
    assert values.dtype == np.float32
    assert set(np.unique(values[np.isfinite(values)])) == {5.0}


@given(st.integers(4, 30), st.integers(4, 30), st.sampled_from(["letterbox", "crop", "squash", "tile"]))
def test_values_stand_where_their_image_does(height: int, width: int, resize: str) -> None:
    """The column number of each pixel, as an image and as values: the two agree to a pixel's width."""
    preprocessor = Preprocessor(size=(16, 16), resize=resize, mean=(0.0,), std=(1.0,), interpolation="bilinear")
    columns = np.broadcast_to(np.arange(width) * 8, (height, width))
    image = preprocessor(np.repeat(columns[..., None], 3, axis=2).astype(np.uint8))[0] * 255
    blank = np.full(image.shape, -1)
    values = preprocessor.fit_values(columns, blank)
    assert values.shape == image.shape
    known = values >= 0
    scale = max(1.0, width / 16, height / 16)
    assert np.abs(image - values)[known].max() <= 8 * scale + 1
