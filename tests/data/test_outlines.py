"""Masks from outlines: COCO's run lengths against the COCO API's own words, polygons against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.data.outlines import Drawing, Mask, Outline, filled, runs_of, unrolled
from vitrail.errors import BadImage

RANDOM = [[1, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 1, 0], [1, 0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 1, 1],
          [1, 1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 0]]  # fmt: skip
DISC = (
    "[k4c0Q38H8J4L4L4L4L4M2N2M4M2N2N2N2N2N2N2N2O0O2N2N2O0O2O0O2O0O2O0O2O0O2O00000O2O00000O2O0000000000000000000000"
    "00000000000001N1000001N1000001N101N101N101N101N101N2N2N101N2N2N2N2N2N2N2N3L3N2N3L4L4L4L4L6H8Hao6"
)


def box() -> Mask:
    mask = np.zeros((9, 10), bool)
    mask[2:6, 3:8] = True
    mask[0, 9] = True
    return mask


def disc() -> Mask:
    rows, columns = np.mgrid[:120, :200]
    return (rows - 60) ** 2 + (columns - 90) ** 2 < 50**2


def far() -> Mask:
    mask = np.zeros((400, 600), bool)
    mask[:, 100:300] = True
    mask[399, 599] = True
    return mask


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("m04500000007ML", box()),
        ("031N10O113ON0O40L21NO", np.array(RANDOM, bool)),
        (DISC, disc()),
        ("PRW1PT^2oUe3QlaM", far()),
        ("0<", np.ones((3, 4), bool)),
        ("<", np.zeros((3, 4), bool)),
    ],
)
def test_run_lengths_are_those_of_the_coco_api(text: str, mask: Mask) -> None:
    """The texts are what pycocotools 2.0.11 wrote for these masks: `mask.encode(np.asfortranarray(mask))`."""
    assert np.array_equal(unrolled(runs_of(text), mask.shape), mask)


def written(runs: list[int]) -> str:
    """The inverse of `runs_of`, as `rleToString` of maskApi.c has it."""
    text = ""
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        more = True
        while more:
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            text += chr((code | 32 if more else code) + 48)
    return text


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_any_run_lengths_are_read_back(runs: list[int]) -> None:
    assert runs_of(written(runs)) == tuple(runs)


@given(st.text(max_size=30))
def test_any_text_is_run_lengths_or_an_error(text: str) -> None:
    try:
        assert min(runs_of(text), default=0) >= 0
    except ValueError:
        return


@pytest.mark.parametrize("runs", [(3, 4), (20,), (-1, 13)])
def test_run_lengths_that_do_not_fit_the_image_are_bad(runs: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match=r"not 4 x 3"):
        unrolled(runs, (3, 4))


def crosses(polygon: list[tuple[float, float]], x: float, y: float) -> bool:
    """Whether a point lies in a polygon: a ray to the left of it meets an odd number of edges."""
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (y0 <= y < y1) or (y1 <= y < y0):
            inside ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return inside


# quarters, so that crossings are computed without rounding and no centre is on one side here and on the other there
PLACES = st.integers(-8, 40).map(lambda quarters: quarters / 4)


@given(st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=8))
def test_a_polygon_has_the_pixels_whose_centres_lie_in_it(points: list[tuple[float, float]]) -> None:
    mask = filled([value for point in points for value in point], (7, 9))
    expected = [[crosses(points, column + 0.5, row + 0.5) for column in range(9)] for row in range(7)]
    assert np.array_equal(mask, expected)


def test_a_polygon_is_about_what_the_coco_api_draws() -> None:
    """pycocotools 2.0.11 gives 1624 pixels (`frPyObjects`); the polygon's area is 1630."""
    polygon = (10.0, 10.0, 50.5, 12.0, 60.0, 40.25, 30.0, 55.0, 8.0, 30.0)
    theirs = unrolled(
        runs_of(
            "i`05a1<I6O1O1O1O1O1O2N1O1O100O1O1O2N1O1O1O1O1O1O1OO100O100O100O100O101N100O100O100O100O103L4M3L4M3L4M3L4M"
            "3Lj6"
        ),
        (64, 64),
    )
    ours = filled(polygon, (64, 64))
    x, y = np.array(polygon[::2]), np.array(polygon[1::2])
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert ours.sum() == pytest.approx(area, abs=10)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


def test_the_parts_of_an_object_are_joined_and_the_smaller_object_is_on_top() -> None:
    whole = Outline(1, polygons=((0, 0, 6, 0, 6, 4, 0, 4),))
    parts = Outline(2, polygons=((0, 0, 1, 0, 1, 1, 0, 1), (4, 3, 6, 3, 6, 4, 4, 4)))
    mask = Drawing((4, 6), (parts, whole), max_pixels=100)()
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[2, 1, 1, 1, 1, 1], [1] * 6, [1] * 6, [1, 1, 1, 1, 2, 2]]


def test_a_mask_of_too_many_pixels_is_refused_before_it_is_made() -> None:
    with pytest.raises(BadImage, match="declares 1000000 x 1000000 pixels"):
        Drawing((10**6, 10**6), (), max_pixels=10**6)()
