"""The rules by which findings judge: spelling, kinds of targets, outliers."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.data.findings.labels import fold
from vitrail.data.findings.robust import far_out, fences
from vitrail.data.findings.survey import kind_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cat", "cat "),
        ("hot dog", "hot-dog"),
        ("hot_dog", "hotdog"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
        ("STRASSE", "straße"),
        ("a\u00a0b", "a b"),
        ("a\u2013b", "a-b"),
        ("ｃａｔ", "cat"),
    ],
)
def test_twins_fold_alike(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1-2", "12"), ("v1.0", "v10"), ("cat", "cats"), ("café", "cafe"), ("a", "")]
)
def test_what_differs_in_meaning_does_not_fold_alike(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text(max_size=12))
def test_folding_is_done_once_and_knows_no_case(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert fold(name.upper()) == fold(name.upper().lower())


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        ([None, "", float("nan")], "none"),
        (["cat", None, "dog"], "class"),
        (["0", "1", "9"], "class"),
        (["0.5", "1", "n/a", *["2.5"] * 17], "numbers"),
        (["1.5", "a", "b"], "class"),
        ([1, 2.5, None], "numbers"),
        ([np.float32(1), np.int64(2)], "numbers"),
        ([[1.0, 2.0], [3.0, 4.0]], "numbers"),
        ([["a"], [], ["b"]], "labels"),
        ([["a"], "", None], "labels"),
        ([[], []], "labels"),
        (["a;b", "a"], "labels"),
    ],
)
def test_the_kind_of_targets(targets: list[Any], kind: str) -> None:
    assert kind_of(targets) == kind


@given(st.sets(st.integers(-1000, 1000), min_size=20, max_size=60), st.floats(1e8, 1e12), st.integers(1, 3))
def test_outliers_are_found_whatever_else_there_is(values: set[int], far: float, many: int) -> None:
    shifted = [float(value) for value in values]
    planted = list(range(len(shifted), len(shifted) + many))
    assert set(planted) <= set(far_out([*shifted, *[-far] * many]))
    assert set(planted) <= set(far_out([*(1e5 + value for value in shifted), *[far] * many]))
    assert far_out([2 * value for value in shifted]) == far_out(shifted)


def test_a_few_values_among_equal_ones_are_far_out() -> None:
    assert far_out([7.0] * 47 + [3000.0]) == [47]
    assert far_out([0.0] * 40 + [1.0] * 4) == []
    assert far_out([0.0] * 40 + [1.0] * 4, few=5) == [40, 41, 42, 43]
    assert far_out([0.0] * 40 + [1.0, 2.0, 3.0, 2.0, 1.0, 90.0]) == [45]


@pytest.mark.parametrize("spread", [0.1, 1.0, 100.0])
def test_normal_and_skewed_numbers_have_no_outliers(spread: float) -> None:
    draws = np.random.default_rng(0)
    assert far_out(draws.normal(5, spread, 2000)) == []
    assert far_out(np.exp(draws.normal(0, 1, 2000))) == []
    assert far_out([3.0] * 50) == []
    assert far_out([0.0] * 1000 + [1.0] * 60 + [2.0] * 8) == []


def test_fences_are_tukeys() -> None:
    assert fences([0, 1, 2, 3, 4]) == (1 - 3 * 2, 3 + 3 * 2)
