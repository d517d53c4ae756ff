"""Large images in overlapping windows: every pixel answered, no seam."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.runtime.tiles import TiledEngine, starts


def _identity(images: np.ndarray) -> np.ndarray:
    return images[:, :2]


@given(st.integers(1, 40), st.integers(0, 90), st.floats(0, 0.9))
def test_windows_cover_every_pixel_and_overlap_enough(window: int, more: int, overlap: float) -> None:
    length = window + more
    first = starts(length, window, overlap)
    assert first[0] == 0
    assert first[-1] + window == length
    step = max(1, int(window * (1 - overlap)))
    assert all(0 < b - a <= step for a, b in itertools.pairwise(first))


@given(st.integers(8, 40), st.integers(8, 40))
def test_an_engine_that_answers_pixel_by_pixel_is_blended_to_itself(height: int, width: int) -> None:
    image = np.random.default_rng(height * 100 + width).normal(size=(1, 3, height, width)).astype(np.float32)
    np.testing.assert_allclose(TiledEngine(_identity, (8, 8))(image), image[:, :2], rtol=1e-5, atol=1e-6)


def test_an_image_of_one_window_is_what_the_engine_says() -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(TiledEngine(_identity, (8, 8))(image), image[:, :2], rtol=1e-6)


def test_no_seam_shows_where_windows_disagree() -> None:
    """An engine that answers by the place in its window, 0 at the left edge to 1 at the right, jumps at every seam."""

    def place(images: np.ndarray) -> np.ndarray:
        ramp = np.linspace(0, 1, images.shape[3], dtype=np.float32)
        return np.broadcast_to(ramp, (len(images), 1, *images.shape[2:])).copy()

    image = np.zeros((1, 1, 32, 112), np.float32)
    pasted = np.concatenate([place(np.zeros((1, 1, 32, 32)))[0, 0]] * 4, axis=1)[:, :112]
    blended = TiledEngine(place, (32, 32))(image)[0, 0]
    assert np.abs(np.diff(pasted, axis=1)).max() == 1.0
    assert np.abs(np.diff(blended, axis=1)).max() < 0.2
    np.testing.assert_allclose(blended, np.broadcast_to(blended[:1], blended.shape), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    image = np.random.default_rng(1).normal(size=(1, 3, 20, 30)).astype(np.float32)
    seen: list[int] = []

    def engine(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return images.cumsum(axis=3)

    out = TiledEngine(engine, (8, 8), batch_size=batch_size)(image)
    np.testing.assert_allclose(out, TiledEngine(engine, (8, 8))(image), rtol=1e-6)
    assert max(seen[: len(seen) // 2] or seen) <= batch_size
