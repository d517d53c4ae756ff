"""Curves of deletion and insertion against what can be worked out by hand, on a model that looks at one patch only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitrail.explain.trust.baselines import blurred, mean_colour
from vitrail.explain.trust.cells import on_pixels, pooled, ranks, scoring_grid
from vitrail.explain.trust.controls import centre_prior, random_map
from vitrail.explain.trust.curves import area, at_once, curves, passes, steps

GRID, SIZE = (4, 4), (16, 16)


def of_one_patch(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """1 where the patch at row 1, column 2 of 4 x 4 is shown, else 0: images are 1 where shown and 0 where hidden."""
    return images[:, 0, 4:8, 8:12].mean(dim=(1, 2))


def curves_of(cells: torch.Tensor, at: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Deletion and insertion of white images, hidden by black, in the order of cells (B, 16)."""
    images = torch.ones(len(cells), 3, *SIZE)
    order = ranks(cells, [f"image {n}" for n in range(len(cells))])
    ends = torch.tensor([[1.0], [0.0]]).expand(2, len(cells))
    return curves(of_one_patch, images, torch.zeros_like(images), order, GRID, at, ends)


def test_the_right_map_reaches_the_ideal_areas_and_the_wrong_one_the_worst() -> None:
    at = tuple(range(17))
    right = torch.zeros(1, 16)
    right[0, 1 * 4 + 2] = 1.0
    deletion, insertion = curves_of(torch.cat([right, -right]), at)
    assert deletion[0].tolist() == [1.0] + 16 * [0.0]
    assert insertion[0].tolist() == [0.0] + 16 * [1.0]
    assert area(deletion, at).tolist() == [0.5 / 16, 1 - 0.5 / 16]
    assert area(insertion, at).tolist() == [1 - 0.5 / 16, 0.5 / 16]


def test_a_random_order_has_half_the_area_and_its_gain_is_nothing_on_the_mean() -> None:
    cells = torch.stack([random_map(f"image {n}", GRID) for n in range(2000)])
    at = tuple(range(17))
    deletion, insertion = curves_of(cells, at)
    # the place of one cell in a random order is uniform over 16: mean 0.5, standard error 0.0065
    assert area(deletion, at).mean().item() == pytest.approx(0.5, abs=0.02)
    assert (area(insertion, at) + area(deletion, at)).sub(1).abs().max() < 1e-12


def test_insertion_in_one_order_is_deletion_in_the_other_turned_round() -> None:
    cells = torch.stack([random_map(f"image {n}", GRID) for n in range(5)])
    at = tuple(range(17))
    _, insertion = curves_of(cells, at)
    deletion, _ = curves_of(-cells, at)
    assert torch.equal(insertion, deletion.flip(1))


def test_steps_begin_with_single_cells_and_end_with_all() -> None:
    assert steps(16) == (0, 1, 2, 4, 6, 9, 12, 16)
    assert steps(256) == (0, 4, 16, 36, 64, 100, 144, 196, 256)
    assert steps(1) == (0, 1)
    assert passes(steps(256), 2) == 28


@given(st.integers(1, 400), st.floats(-3, 3), st.floats(-3, 3))
def test_the_area_of_a_straight_line_is_its_mean_however_uneven_the_steps(cells: int, start: float, end: float) -> None:
    at = steps(cells)
    line = torch.tensor([start + (end - start) * n / cells for n in at], dtype=torch.float64)
    assert area(line, at).item() == pytest.approx((start + end) / 2, abs=1e-9)


def test_one_cell_in_all_has_no_inner_step() -> None:
    ends = torch.tensor([[1.0], [0.25]])
    image = torch.ones(1, 3, 4, 4)
    order = torch.zeros(1, 1, dtype=torch.int64)
    deletion, insertion = curves(of_one_patch, image, image, order, (1, 1), (0, 1), ends)
    assert (deletion.tolist(), insertion.tolist()) == ([[1.0, 0.25]], [[0.25, 1.0]])


def test_equal_cells_are_taken_in_an_order_of_the_images_own() -> None:
    flat = torch.zeros(3, 16)
    order = ranks(flat, ["a", "b", "a"])
    assert order[0].tolist() == order[2].tolist() != order[1].tolist()
    assert sorted(order[0].tolist()) == list(range(16))
    rounded = flat + 0.1 + 1e-9 * torch.arange(16.0)
    assert torch.equal(ranks(rounded, ["a", "b", "a"]), order)
    steep = ranks(torch.arange(16.0)[None], ["a"])
    assert steep[0].tolist() == list(range(15, -1, -1))


def test_cells_have_the_mean_of_their_pixels_and_give_it_back() -> None:
    values = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in ((6, 8), (7, 9), (3, 4)):
        spread = on_pixels(values, (3, 4), size)
        assert spread.shape == (2, *size)
        assert torch.allclose(pooled(spread, (3, 4)), values)
    ramp = torch.arange(4.0).expand(1, 2, 4)
    assert pooled(ramp, (1, 2)).tolist() == [[0.5, 2.5]]


def test_what_is_not_finite_comes_last() -> None:
    maps = torch.tensor([[[float("nan"), -1.0], [float("-inf"), 2.0]]])
    assert pooled(maps, (2, 2)).tolist() == [[-1.0, -1.0, -1.0, 2.0]]
    assert pooled(torch.full((1, 2, 2), float("nan")), (2, 2)).tolist() == [[0.0] * 4]


def test_cells_are_patches_and_several_where_there_are_too_many() -> None:
    assert scoring_grid((14, 14)) == (14, 14)
    assert scoring_grid((56, 56)) == (14, 14)
    assert scoring_grid((64, 33)) == (16, 9)


def test_a_blur_keeps_what_is_even_and_spreads_a_point() -> None:
    even = torch.full((1, 3, 20, 30), 0.7)
    assert torch.allclose(blurred(even), even)
    dot = torch.zeros(1, 1, 21, 21)
    dot[0, 0, 10, 10] = 1.0
    spread = blurred(dot)[0, 0]
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    deviation = 0.1 * 21
    expected = np.exp(-(1**2) / (2 * deviation**2))
    assert (spread[10, 11] / spread[10, 10]).item() == pytest.approx(expected, abs=1e-4)
    corner = torch.zeros(1, 1, 21, 21)
    corner[0, 0, 0, 0] = 1.0
    assert blurred(corner).sum().item() == pytest.approx(1, abs=1e-5)  # the mirror gives back what would be lost


def test_the_mean_colour_is_each_images_own() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    hidden = mean_colour(images)
    assert torch.allclose(hidden[:, :, 0, 0], images.mean(dim=(2, 3)))
    assert hidden.shape == images.shape
    assert torch.equal(hidden[..., 0, 0], hidden[..., 3, 1])


def test_the_controls_know_only_the_image_s_key_and_size() -> None:
    assert torch.equal(random_map("a", GRID), random_map("a", GRID))
    assert not torch.equal(random_map("a", GRID), random_map("b", GRID))
    prior = centre_prior((8, 12))
    assert torch.equal(prior, prior.flip(0))
    assert torch.equal(prior, prior.flip(1))
    assert prior.argmax().item() in (3 * 12 + 5, 3 * 12 + 6, 4 * 12 + 5, 4 * 12 + 6)
    # a quarter of the side from the middle is one standard deviation
    assert centre_prior((1, 400))[0, 300].item() == pytest.approx(np.exp(-0.5), abs=0.01)


def test_large_images_go_through_in_smaller_chunks() -> None:
    assert at_once(torch.empty(1, 3, 224, 224), 64 * 224 * 224) == 64
    assert at_once(torch.empty(1, 3, 1024, 1024), 64 * 224 * 224) == 3
    assert at_once(torch.empty(1, 3, 4096, 4096), 64 * 224 * 224) == 1
