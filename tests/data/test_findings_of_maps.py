"""Every fault that can be planted in masks and maps of numbers is found, as just that fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pictures import Pictures, clean, depths, findings, masks, survey_of

from vitrail.data.findings.maps import meaning_of
from vitrail.data.findings.ranking import rank
from vitrail.data.findings.record import record_before_training
from vitrail.data.map_values import measure
from vitrail.settings import TaskConfig

Plant = Callable[[Pictures], Any]


def mask_of(value: Any) -> Plant:
    def plant(source: Pictures) -> None:
        source.pictures[5].target = value

    return plant


def spotted(dtype: type, value: int) -> Any:
    mask = masks(5).astype(dtype)
    mask[0, 0] = value
    return mask


def all_empty(source: Pictures) -> None:
    for picture in source.pictures:
        picture.target = np.zeros((36, 48), np.uint8)


def objects(source: Pictures) -> None:
    for i, picture in enumerate(source.pictures):
        picture.target = np.arange(36 * 48, dtype=np.uint16).reshape(36, 48) % (5 + 3 * i)


MASK_FAULTS: dict[str, tuple[Plant, set[str]]] = {
    "unreadable": (mask_of(np.array([["a"]])), {"unreadable_masks"}),
    "another size": (mask_of(masks(5)[:30]), {"mask_size_mismatch"}),
    "turned": (mask_of(masks(5).T), {"mask_size_mismatch"}),
    "unexpected value": (mask_of(spotted(np.uint8, 7)), {"unexpected_mask_values"}),
    "out of range": (mask_of(spotted(np.uint16, 300)), {"mask_values_out_of_range"}),
    "negative": (mask_of(spotted(np.int16, -1)), {"mask_values_out_of_range"}),
    "empty": (mask_of(np.zeros((36, 48), np.uint8)), {"empty_masks"}),
    "full": (mask_of(np.full((36, 48), 2, np.uint8)), {"empty_masks"}),
    "all empty": (all_empty, {"masks_all_empty"}),
    "objects": (objects, {"masks_number_objects"}),
    "not counted": (mask_of(spotted(np.uint8, 255)), set()),
    "missing": (mask_of(None), {"missing_masks"}),
}


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_a_planted_fault_of_masks_is_found_alone(fault: str) -> None:
    plant, expected = MASK_FAULTS[fault]
    source = clean(masks)
    plant(source)
    found = findings(source)
    assert set(found) == expected
    if fault in ("out of range", "negative"):  # 300 is a class to training, -1 is none
        assert found["mask_values_out_of_range"].severity == ("error" if fault == "negative" else "warning")
    if fault == "turned":
        assert "turned by a quarter" in found["mask_size_mismatch"].cases[0].words


MAP_FAULTS: dict[str, tuple[Any, set[str]]] = {
    "holes": (np.where(depths(5) < 1, np.nan, depths(5)), {"maps_with_holes"}),
    "nothing": (np.full((36, 48), np.nan, np.float32), {"maps_without_values"}),
    "negative": (depths(5) - 1, {"negative_map_values"}),
    "flat": (np.ones((36, 48), np.float32), {"empty_masks"}),
    "another size": (depths(5)[1:], {"mask_size_mismatch"}),
}


@pytest.mark.parametrize("fault", MAP_FAULTS)
def test_a_planted_fault_of_maps_is_found_alone(fault: str) -> None:
    value, expected = MAP_FAULTS[fault]
    source = clean(depths)
    source.pictures[5].target = value
    assert set(findings(source)) == expected


def test_what_the_task_says_decides_what_whole_numbers_are() -> None:
    source = clean(masks)
    source.pictures[5].target = spotted(np.uint16, 300)
    survey = survey_of(source)
    for task, expected in (
        (TaskConfig(name="segment"), ["mask_values_out_of_range"]),
        (TaskConfig(name="segment", ignore=300), []),
        (TaskConfig(name="segment", foreground=True), []),
        (TaskConfig(name="depth"), []),
    ):
        assert [finding.kind for finding in rank(replace(survey, task=task))] == expected
        audit = replace(survey.audit, maps=survey.maps)
        told = record_before_training(audit, source, None, task)
        assert [finding["kind"] for finding in told["findings"]] == expected


def test_what_the_values_of_maps_mean() -> None:
    draws = np.random.default_rng(0)
    assert meaning_of([measure(masks(i)) for i in range(9)]) == "classes"
    assert meaning_of([measure(depths(i)) for i in range(9)]) == "numbers"
    assert meaning_of([measure(draws.integers(500, 9000, (20, 20))) for _ in range(9)]) == "numbers"
    assert meaning_of([measure(np.arange(400) % (3 + 5 * i)) for i in range(12)]) == "objects"
