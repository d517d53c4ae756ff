"""What is done to images, each against a truth made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.contracts import Pixels
from vitrail.seeding import generator
from vitrail.study import changes
from vitrail.study.invariance.conditions import (
    ACROSS,
    CIRCULAR,
    EDGE,
    FLIP,
    PATCHES,
    ROTATION,
    SCALE,
    Condition,
    conditions,
)
from vitrail.study.measure.levels import KINDS, LEVELS, SMALL, changed


def photo(height: int = 12, width: int = 10, channels: int = 3, seed: int = 0) -> Pixels:
    """Smooth enough for JPEG, everywhere different."""
    rows, columns = np.mgrid[:height, :width]
    draw = np.random.default_rng(seed)
    base = 40 + 120 * (rows / height + columns / width)[..., None] / 2 + draw.integers(0, 9, (height, width, channels))
    return np.clip(base, 0, 255).astype(np.uint8)


def dot(height: int, width: int, row: int, column: int) -> Pixels:
    """One white pixel on black."""
    pixels = np.zeros((height, width, 1), np.uint8)
    pixels[row, column] = 255
    return pixels


# -------------------------------------------------------------------------------------------------- weaker pixels


def test_jpeg_of_low_quality_loses_more() -> None:
    whole = photo(32, 32)
    lost = [np.abs(changes.jpeg(whole, q).astype(int) - whole).mean() for q in (95, 40, 5)]
    assert 0 < lost[0] < lost[1] < lost[2]


@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_blur_spreads_a_pixel_by_its_sigma(sigma: float) -> None:
    blurred = changes.blurred(dot(41, 41, 20, 20), sigma)[..., 0].astype(float)
    share = blurred / blurred.sum()
    rows = np.arange(41)[:, None] - 20
    assert (share * rows).sum() == pytest.approx(0, abs=0.05)
    assert (share * rows**2).sum() == pytest.approx(sigma**2, rel=0.35)  # whole values lose the tails


def test_noise_has_the_stated_deviation_and_is_a_function_of_the_generator() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = changes.noisy(grey, 0.1, generator("a"))
    assert (noisy / 255).std() == pytest.approx(0.1, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert np.array_equal(noisy, changes.noisy(grey, 0.1, generator("a")))
    assert not np.array_equal(noisy, changes.noisy(grey, 0.1, generator("b")))


def test_brightness_is_added_to_the_value_and_keeps_the_hue() -> None:
    pixels = np.array([[[100, 50, 0], [0, 0, 0], [255, 128, 64]]], np.uint8)
    lit = changes.brightened(pixels, 0.2)  # 0.2 of 255 is 51
    assert lit.tolist() == [[[151, 76, 0], [51, 51, 51], [255, 128, 64]]]
    assert changes.brightened(np.full((1, 1, 1), 40, np.uint8), 0.2).item() == 91


@pytest.mark.parametrize("change", [
    lambda p: changes.jpeg(p, 20), lambda p: changes.blurred(p, 2.0), lambda p: changes.brightened(p, 0.3),
    lambda p: changes.noisy(p, 0.2, generator("x")),
])  # fmt: skip
def test_alpha_has_no_colour_to_change(change: object) -> None:
    pixels = photo(16, 16, 4)
    changed_pixels = change(pixels)  # type: ignore[operator]
    assert np.array_equal(changed_pixels[..., 3], pixels[..., 3])
    assert not np.array_equal(changed_pixels[..., :3], pixels[..., :3])


# ------------------------------------------------------------------------------------------------------ other places


def test_a_shift_moves_every_pixel_and_repeats_the_edge() -> None:
    pixels = photo(5, 6)
    moved = changes.seen(pixels, changes.shifted((5, 6), 2, -1))
    assert np.array_equal(moved[2:, :-1], pixels[:-2, 1:])
    assert np.array_equal(moved[0, :-1], pixels[0, 1:])
    assert np.array_equal(moved[:, -1], moved[:, -2])


def test_a_circular_shift_loses_nothing() -> None:
    pixels = photo(5, 6)
    moved = changes.rolled(pixels, 2, -1)
    assert np.array_equal(moved[2, 0], pixels[0, 1])
    assert np.array_equal(moved[0, -1], pixels[3, 0])
    assert np.array_equal(changes.rolled(moved, -2, 1), pixels)


def test_a_quarter_turn_is_numpys() -> None:
    pixels = photo(9, 9)
    assert np.array_equal(changes.seen(pixels, changes.turned((9, 9), 90)), np.rot90(pixels))
    assert np.array_equal(changes.seen(pixels, changes.turned((9, 9), -90)), np.rot90(pixels, -1))


def test_a_small_turn_goes_counterclockwise_about_the_centre() -> None:
    turned = changes.seen(dot(41, 41, 20, 34), changes.turned((41, 41), 30))[..., 0].astype(float)
    rows, columns = np.indices((41, 41))
    at = (turned * rows).sum() / turned.sum(), (turned * columns).sum() / turned.sum()
    # 14 to the right of the centre becomes 14 (cos 30, sin 30), up being fewer rows
    assert at == pytest.approx((20 - 7, 20 + 14 * np.cos(np.pi / 6)), abs=0.6)


def test_a_map_of_values_moves_with_its_pixels_and_is_blank_beyond() -> None:
    values = np.arange(20, dtype=np.int64).reshape(4, 5)
    blank = np.full((4, 5), -1)
    moved = changes.carried(values, changes.shifted((4, 5), 1, 2), blank)
    assert np.array_equal(moved[1:, 2:], values[:-1, :-2])
    assert (moved[0] == -1).all()
    assert (moved[:, :2] == -1).all()
    pair = changes.carried(np.stack([values, 2 * values]), changes.shifted((4, 5), 1, 2), np.stack([blank, blank]))
    assert np.array_equal(pair[0], moved)


def test_scaling_keeps_the_size_and_the_centre() -> None:
    pixels = dot(21, 21, 10, 10)
    larger, smaller = (
        changes.scaled(np.maximum(pixels, 20), 2.0),
        changes.scaled(np.full((20, 20, 3), 77, np.uint8), 0.5),
    )
    assert larger.shape == (21, 21, 1)
    assert larger.argmax() == 10 * 21 + 10
    assert (larger > 30).sum() > 1
    assert (smaller == 77).all()
    assert np.array_equal(changes.scaled(photo(), 1.0), photo())


def test_a_flip_is_its_own_undoing() -> None:
    pixels = photo()
    assert np.array_equal(changes.flipped(pixels, 1)[:, 0], pixels[:, -1])
    assert np.array_equal(changes.flipped(changes.flipped(pixels, 0), 0), pixels)


def test_shuffled_patches_are_whole_and_all_there() -> None:
    pixels = photo(12, 8)
    shuffled = changes.shuffled(pixels, 4, generator("order"))

    def patches(image: Pixels) -> set[bytes]:
        return {image[r : r + 4, c : c + 4].tobytes() for r in range(0, 12, 4) for c in range(0, 8, 4)}

    assert patches(shuffled) == patches(pixels)
    assert not np.array_equal(shuffled, pixels)
    assert len(patches(pixels)) == 6


# ----------------------------------------------------------------------------------------- the levels of robustness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [16, SMALL])
def test_levels_are_pure_and_grow(kind: str, side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    pixels = photo(side, side + 3) // 2 if KINDS[kind].moves else noise
    apart = []
    for level in LEVELS:
        one, places = changed(pixels, kind, level, 7, "a.png")
        again, _ = changed(pixels, kind, level, 7, "a.png")
        assert np.array_equal(one, again)
        assert one.shape == pixels.shape
        assert one.dtype == np.uint8
        assert (places is not None) == KINDS[kind].moves
        apart.append(np.abs(one.astype(int) - pixels).mean())
    assert 0 < apart[0] <= apart[1] <= apart[2]
    assert apart[0] < apart[2]


@pytest.mark.parametrize("kind", ["noise", "shift", "rotation"])
def test_what_is_drawn_depends_on_the_image_and_the_seed(kind: str) -> None:
    pixels = photo(32, 32)
    by_key = {changed(pixels, kind, 2, 0, f"{number}.png")[0].tobytes() for number in range(12)}
    by_seed = {changed(pixels, kind, 2, seed, "a.png")[0].tobytes() for seed in range(12)}
    assert len(by_key) > 1
    assert len(by_seed) > 1


def test_small_images_have_the_levels_of_small_images() -> None:
    assert KINDS["jpeg"].strength(1, SMALL - 1) == 80
    assert KINDS["jpeg"].strength(1, SMALL) == 25
    assert KINDS["noise"].strength(3, 32) == 0.10
    assert KINDS["blur"].strength(3, 224) == 6


# ------------------------------------------------------------------------------------- the conditions of invariance


@given(st.sampled_from([8, 16, 24, 32]), st.integers(0, 5))
def test_conditions_keep_the_shape_and_are_pure(side: int, seed: int) -> None:
    pixels = photo(side, side, seed=seed)
    for condition in conditions({side}, {4}):
        one = condition(pixels, seed, "key")
        assert one.shape == pixels.shape
        assert one.dtype == np.uint8
        assert np.array_equal(one, condition(pixels, seed, "key"))
        assert condition.told


def test_half_a_patch_and_the_own_grid_are_among_the_conditions() -> None:
    found = conditions({24}, {6})
    assert Condition(CIRCULAR, 3) in found
    assert Condition(EDGE, 3) in found
    assert Condition(PATCHES, 4) in found
    assert Condition(PATCHES, 16) not in found, "16 does not divide 24"
    shared = {condition.amount for condition in conditions({24, 16}, {4}) if condition.family == PATCHES}
    assert shared == {2, 4, 8}


def test_conditions_are_the_changes_they_say() -> None:
    pixels = photo(16, 16)
    assert np.array_equal(Condition(FLIP, ACROSS)(pixels, 0, "k"), pixels[:, ::-1])
    assert np.array_equal(Condition(SCALE, 1.25)(pixels, 0, "k"), changes.scaled(pixels, 1.25))
    turned = Condition(ROTATION, 90)(pixels, 0, "k")
    assert any(np.array_equal(turned, np.rot90(pixels, times)) for times in (1, 3))
    moved = Condition(CIRCULAR, 2)(pixels, 0, "k")
    ways = [changes.rolled(pixels, 2 * down, 2 * right) for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    assert any(np.array_equal(moved, way) for way in ways)
