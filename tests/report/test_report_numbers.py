"""Figures in words: few digits, one style of percent, nothing rounded to a certainty that it has not."""

from __future__ import annotations

import math

import pytest

from vitrail.report.numbers import number, pixels_between, share, share_between

UNKNOWN = math.nan


@pytest.mark.parametrize(
    ("fraction", "said"),
    [
        (0.0, "0 %"), (0.0004, "under 0.1 %"), (0.007, "0.7 %"), (0.08, "8 %"), (0.123, "12 %"), (0.995, "99.5 %"),
        (0.9996, "over 99.9 %"), (1.0, "100 %"), (1.7, "170 %"), (UNKNOWN, "–"),
        (-0.0004, "over -0.1 %"), (-0.08, "-8 %"), (-0.123, "-12 %"),
    ],
)  # fmt: skip
def test_a_share_is_short_and_never_rounded_to_none_or_all(fraction: float, said: str) -> None:
    assert share(fraction) == said


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.62, 0.551, 0.694), "62 % (55 to 69 %)"),
        ((0.03, 0.0151, 0.049), "3.0 % (1.5 to 4.9 %)"),
        ((0.05, 0.003, 0.09), "5 % (0.3 to 9 %)"),
        ((0.0, 0.0, 0.0004), "0 % (0 to under 0.1 %)"),
        ((0.0002, 0.0001, 0.0003), "under 0.1 %"),
        ((0.0007, 0.0004, 0.0012), "up to 0.1 %"),
        ((1.066, 0.99, 1.137), "107 % (99 to 114 %)"),
        ((1.0, 0.93, 1.0), "100 % (93 to 100 %)"),
        ((1.0, 1.0, 1.0), "100 %"),
        ((0.1, -0.204, 0.4), "10 % (-20 to 40 %)"),
        ((0.4, UNKNOWN, UNKNOWN), "40 %"),
    ],
)
def test_a_share_has_as_many_digits_as_its_interval_deserves(ends: tuple[float, float, float], said: str) -> None:
    assert share_between(*ends) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (1234.5, "1,230"), (12.34, "12.3"), (0.01234, "0.0123"), (999.9, "1,000"), (2.0, "2"), (-1.5, "-1.5"),
     (math.inf, "infinite"), (UNKNOWN, "–")],
)  # fmt: skip
def test_a_number_has_three_digits_and_no_power_of_ten(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("ends", "said"),
    [((12.34, 11.9, 12.81), "12.3 (11.9 to 12.8)"), ((0.04, 0.03, 0.05), "under 0.1"), ((0.0, 0.0, 0.0), "0"),
     ((2.0, 2.01, 2.04), "2.0"), ((140.0, UNKNOWN, UNKNOWN), "140")],
)  # fmt: skip
def test_distances_have_one_decimal(ends: tuple[float, float, float], said: str) -> None:
    assert pixels_between(*ends) == said
