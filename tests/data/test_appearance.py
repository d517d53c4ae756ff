"""How an image looks: exact where it is a number, the same for the same picture where it is a fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import draw

from vitrail.data.appearance import Appearance, Looks, look
from vitrail.data.map_values import MOST_VALUES, MapValues, measure

shapes = st.tuples(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3, 4]))


@given(shapes, st.integers(0, 9))
def test_mean_and_deviation_are_numpys(shape: tuple[int, int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    seen = look(pixels)
    np.testing.assert_allclose(seen.mean, pixels.mean(axis=(0, 1)) / 255, atol=6e-5)
    np.testing.assert_allclose(seen.std, pixels.std(axis=(0, 1)) / 255, atol=6e-5)


@pytest.mark.parametrize(("blue", "grey"), [(0, True), (3, True), (40, False)])
def test_grey_is_grey_up_to_what_jpeg_does(blue: int, grey: bool) -> None:
    pixels = np.repeat(draw(0)[..., :1] // 2, 3, axis=2)
    pixels[..., 2] += np.uint8(blue)
    assert look(pixels).grey == grey


def test_a_small_coloured_thing_makes_a_grey_image_coloured() -> None:
    pixels = np.repeat(draw(0, 300, 400)[..., :1], 3, axis=2)
    assert look(pixels).grey
    pixels[100:112, 100:112] = (255, 0, 0)
    assert not look(pixels).grey


def test_the_fingerprint_knows_neither_scale_nor_brightness() -> None:
    small, large = look(draw(0, 64, 64)), look(np.repeat(np.repeat(draw(0, 64, 64), 3, axis=0), 3, axis=1))
    dark = look((draw(0, 64, 64) * 0.6).astype(np.uint8))
    assert (small.fingerprint ^ large.fingerprint).bit_count() <= 2
    assert (small.fingerprint ^ dark.fingerprint).bit_count() <= 2
    assert 16 <= (small.fingerprint ^ look(draw(1, 64, 64)).fingerprint).bit_count() <= 48


def test_an_image_of_one_pixel_has_a_look() -> None:
    assert look(np.full((1, 1, 3), 7, np.uint8)).std == (0, 0, 0)


@pytest.mark.parametrize("spoilt", [0, 1, 2, 3, 4])
def test_packed_looks_that_were_changed_are_none(spoilt: int) -> None:
    packed = look(draw(0)).pack()
    assert Appearance.unpack(packed) == look(draw(0))
    packed[spoilt] = ["x", 1.5, "?", packed[3] + "0", packed[4][:-8]][spoilt]
    assert Appearance.unpack(packed) is None


def test_columns_hold_what_was_put_and_keep_rows() -> None:
    seen = [look(draw(seed)) for seed in range(3)]
    looks = Looks.room(3, 3)
    for row, one in enumerate(seen):
        looks.put(row, one)
    assert looks.of([0, 1, 2]) == looks
    assert looks.of([2, 0]) != looks
    assert looks.of([2, 0]).fingerprints.tolist() == [seen[2].fingerprint, seen[0].fingerprint]
    np.testing.assert_allclose(looks.of([2]).mean[0], seen[2].mean, atol=1e-6)
    expected = [np.dot(one.mean, (0.299, 0.587, 0.114)) for one in seen]
    np.testing.assert_allclose(looks.brightness, expected, atol=1e-6)


numbers = st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64])


@given(numbers, st.integers(1, 500), st.integers(0, 9), st.booleans())
def test_what_stands_in_a_map(kind: type, pixels: int, seed: int, holes: bool) -> None:
    draws = np.random.default_rng(seed)
    values = draws.integers(0, 200, pixels).astype(kind)
    if holes and values.dtype.kind == "f":
        values[draws.random(pixels) < 0.5] = draws.choice([np.nan, np.inf, -np.inf])
    found = measure(values)
    finite = values[np.isfinite(values)]
    assert (found.pixels, found.missing) == (pixels, pixels - len(finite))
    assert found.distinct == len(set(finite.tolist()))
    if len(finite):
        assert (found.low, found.high) == (finite.min(), finite.max())
    if found.whole:
        assert sum(count for _, count in found.counts) == pixels
        assert dict(found.counts) == {int(v): int((values == v).sum()) for v in set(values.tolist())}
    assert MapValues.unpack(found.pack()) == found


def test_a_map_of_many_values_is_counted_but_not_listed() -> None:
    found = measure(np.arange(2**21 + 3, dtype=np.int64) - 5)  # in several bands
    assert (found.distinct, found.low, found.high, found.counts) == (2**21 + 3, -5, 2**21 - 3, ())
    assert measure(np.linspace(0, 1, 5000)).distinct == MOST_VALUES + 1
