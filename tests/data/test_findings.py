"""Every fault that can be planted is found, as just that fault, and clean data has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pictures import CONFIG, Picture, Pictures, classes, clean, depths, draw, findings, lists, masks, numbers, survey_of

from vitrail.contracts import Failure
from vitrail.data.audit import scan
from vitrail.data.findings.duplicates import find as find_duplicates
from vitrail.data.findings.ranking import rank
from vitrail.data.findings.record import record, statistics
from vitrail.data.findings.survey import Survey

KINDS = {"classes": classes, "lists": lists, "numbers": numbers, "masks": masks, "depths": depths}


@pytest.mark.parametrize("kind", KINDS)
def test_clean_data_has_no_findings(kind: str) -> None:
    assert findings(clean(KINDS[kind])) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_clean_data_with_groups_and_splits_has_no_findings(kind: str) -> None:
    source = clean(KINDS[kind])
    for i, picture in enumerate(source.pictures):
        picture.split, picture.group = ("train", "val", "test")[i // 2 % 3], f"patient {i // 6}{i // 2 % 3}"
    assert findings(source) == {}


# ------------------------------------------------------------------------------------------------- one fault at a time

Plant = Callable[[Pictures], Any]


def copy(source: Pictures, of: int, to: int) -> None:
    source.pictures[to].pixels = source.pictures[of].pixels


def darker(pixels: Any) -> Any:
    return (pixels * 0.8).astype(np.uint8)


def with_splits(source: Pictures) -> None:
    for i, picture in enumerate(source.pictures):
        picture.split = ("train", "val")[i // 2 % 2]


def with_groups(source: Pictures) -> None:
    for i, picture in enumerate(source.pictures):
        picture.group = f"patient {i // 4}"


def unreadable(source: Pictures) -> None:
    source.pictures[3].pixels = None


def constant(source: Pictures) -> None:
    source.pictures[4].pixels = np.full((36, 48, 3), 120, np.uint8)
    source.pictures[5].pixels = np.full((36, 48, 3), 90, np.uint8) + np.eye(36, 48, dtype=np.uint8)[..., None]


def dark(source: Pictures) -> None:
    source.pictures[6].pixels = (draw(6) // 20).astype(np.uint8)


def bright(source: Pictures) -> None:
    source.pictures[6].pixels = (255 - draw(6) // 20).astype(np.uint8)


def grey(source: Pictures) -> None:
    source.pictures[7].pixels = np.repeat(draw(7)[..., :1], 3, axis=2)


def coloured(source: Pictures) -> None:
    for i, picture in enumerate(source.pictures):
        if i != 7:
            picture.pixels = np.repeat(draw(i)[..., :1], 3, axis=2)


def size(source: Pictures) -> None:
    source.pictures[8].pixels = draw(8, 160, 216)


def shape(source: Pictures) -> None:
    source.pictures[9].pixels = draw(9, 20, 96)


def tiny(source: Pictures) -> None:
    source.pictures[9].pixels = draw(9, 6, 8)


def strip(source: Pictures) -> None:
    source.pictures[9].pixels = draw(9, 14, 150)


def stray(source: Pictures) -> None:
    source.ignored = (Failure("loose.jpg", "an image in no class folder"),)


def beside(source: Pictures) -> None:
    source.ignored = (Failure("notes.txt", "not an image file (.txt)"),)


def repeated(source: Pictures) -> None:
    copy(source, 0, 2)
    with_groups(source)


def conflict(source: Pictures) -> None:
    copy(source, 0, 1)
    with_groups(source)


def leak(source: Pictures) -> None:
    copy(source, 0, 2)
    with_splits(source)


def near(source: Pictures) -> None:
    source.pictures[2].pixels = darker(draw(0))
    with_groups(source)


def near_conflict(source: Pictures) -> None:
    source.pictures[1].pixels = darker(draw(0))
    with_groups(source)


def near_leak(source: Pictures) -> None:
    source.pictures[2].pixels = darker(draw(0))
    with_splits(source)


def two_groups(source: Pictures) -> None:
    with_groups(source)
    with_splits_by_group(source)
    copy(source, 0, 8)


def near_two_groups(source: Pictures) -> None:
    two_groups(source)
    source.pictures[8].pixels = darker(draw(0))


def with_splits_by_group(source: Pictures) -> None:
    for i, picture in enumerate(source.pictures):
        picture.split = ("train", "val")[i // 4 % 2]


def torn_group(source: Pictures) -> None:
    with_groups(source)
    with_splits_by_group(source)
    source.pictures[0].group = source.pictures[4].group


def twin(name: str) -> Plant:
    def plant(source: Pictures) -> None:
        for picture in source.pictures[1::4]:
            picture.target = name

    return plant


def small_class(source: Pictures) -> None:
    for picture in source.pictures[:6]:
        picture.target = "eel"


def broken_class(source: Pictures) -> None:
    for picture in source.pictures[:2]:
        picture.target, picture.pixels = "eel", None


def imbalance(source: Pictures) -> None:
    for i in range(48, 220):
        source.pictures.append(Picture(draw(i), "cat"))
    for i, picture in enumerate(source.pictures):
        picture.target = "dog" if i < 16 else "cat"


def absent(source: Pictures) -> None:
    for i, picture in enumerate(source.pictures):
        picture.target = ("cat", "dog", "eel")[i % 3]
        picture.split = "train" if i % 3 == 2 or i < 24 else "val"


CLASS_FAULTS: dict[str, tuple[Plant, set[str]]] = {
    "unreadable": (unreadable, {"unusable_files"}),
    "constant": (constant, {"constant_images"}),
    "dark": (dark, {"very_dark_images"}),
    "bright": (bright, {"very_bright_images"}),
    "grey": (grey, {"grey_among_colour"}),
    "coloured": (coloured, {"colour_among_grey"}),
    "size": (size, {"unusual_sizes"}),
    "shape": (shape, {"unusual_shapes"}),
    "tiny": (tiny, {"unusual_sizes", "tiny_images"}),
    "strip": (strip, {"unusual_shapes", "extreme_shapes"}),
    "stray": (stray, {"images_in_no_class"}),
    "beside": (beside, {"ignored_files"}),
    "repeated": (repeated, {"duplicates"}),
    "conflict": (conflict, {"duplicates_with_other_labels"}),
    "leak": (leak, {"duplicates_across_splits"}),
    "near": (near, {"near_duplicates"}),
    "near conflict": (near_conflict, {"near_duplicates_with_other_labels"}),
    "near leak": (near_leak, {"near_duplicates_across_splits"}),
    "two groups": (two_groups, {"content_in_two_groups", "duplicates"}),
    "near two groups": (near_two_groups, {"near_content_in_two_groups", "near_duplicates"}),
    "torn group": (torn_group, {"groups_across_splits"}),
    "twin by case": (twin("Cat"), {"spelling_twins"}),
    "twin by space": (twin("cat "), {"spelling_twins"}),
    "twin by invisible letter": (twin("ca\u200bt"), {"spelling_twins"}),
    "small class": (small_class, {"tiny_classes"}),
    "broken class": (broken_class, {"unusable_files", "unusable_classes"}),
    "imbalance": (imbalance, {"class_imbalance"}),
    "absent": (absent, {"classes_missing_from_a_split"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", CLASS_FAULTS)
def test_a_planted_fault_of_images_or_classes_is_found_alone(fault: str) -> None:
    plant, expected = CLASS_FAULTS[fault]
    source = clean(classes)
    plant(source)
    found = findings(source)
    assert set(found) == expected
    _check_form(source, found)


def _check_form(source: Pictures, found: dict[str, Any]) -> None:
    for finding in found.values():
        assert finding.images <= len(source.items)
        assert all(len(case.indices) in (0, len(case.keys)) for case in finding.cases)
        keys = [item.key for item in source.items]
        assert all(keys[i] == key for case in finding.cases for i, key in zip(case.indices, case.keys, strict=False))
        for text in (finding.title, finding.meaning, finding.remedy):
            assert text == text.strip() != ""
            assert "  " not in text


def empty_lists(source: Pictures) -> None:
    source.pictures[3].target = []
    source.pictures[4].target = ""


def label_once(source: Pictures) -> None:
    source.pictures[3].target = ["red", "rund"]


def label_twice(source: Pictures) -> None:
    source.pictures[3].target = ["red", "red"]


def label_twin(source: Pictures) -> None:
    for i in (3, 6, 9):
        source.pictures[i].target = ["Red "]


def lists_differ(source: Pictures) -> None:
    copy(source, 0, 1)
    with_groups(source)


def lists_agree(source: Pictures) -> None:
    copy(source, 1, 2)
    source.pictures[2].target = ["round", "red"]
    with_groups(source)


LIST_FAULTS: dict[str, tuple[Plant, set[str]]] = {
    "empty": (empty_lists, {"empty_lists"}),
    "once": (label_once, {"labels_that_stand_once"}),
    "twice": (label_twice, {"labels_listed_twice"}),
    "twin": (label_twin, {"spelling_twins"}),
    "copies whose lists differ": (lists_differ, {"duplicates_with_other_labels"}),
    "copies whose lists agree in another order": (lists_agree, {"duplicates"}),
}


@pytest.mark.parametrize("fault", LIST_FAULTS)
def test_a_planted_fault_of_lists_is_found_alone(fault: str) -> None:
    plant, expected = LIST_FAULTS[fault]
    source = clean(lists)
    plant(source)
    found = findings(source)
    assert set(found) == expected
    _check_form(source, found)


def number(value: Any) -> Plant:
    def plant(source: Pictures) -> None:
        source.pictures[5].target = value

    return plant


def same_number(source: Pictures) -> None:
    for picture in source.pictures:
        picture.target = 3


def numbers_differ(source: Pictures) -> None:
    copy(source, 0, 1)
    with_groups(source)


NUMBER_FAULTS: dict[str, tuple[Plant, set[str]]] = {
    "none": (number(None), {"missing_numbers"}),
    "nan": (number(float("nan")), {"missing_numbers"}),
    "empty": (number(""), {"missing_numbers"}),
    "no number": (number("n/a"), {"missing_numbers"}),
    "infinite": (number(float("-inf")), {"infinite_numbers"}),
    "too large": (number(2000.0), {"outlying_numbers"}),
    "zero for missing": (number(-99.0), {"outlying_numbers"}),
    "constant": (same_number, {"constant_number"}),
    "copies with other numbers": (numbers_differ, {"duplicates_with_other_labels"}),
}


@pytest.mark.parametrize("fault", NUMBER_FAULTS)
def test_a_planted_fault_of_numbers_is_found_alone(fault: str) -> None:
    plant, expected = NUMBER_FAULTS[fault]
    source = clean(numbers)
    plant(source)
    found = findings(source)
    assert set(found) == expected
    _check_form(source, found)


def test_each_of_several_numbers_is_looked_at_by_itself() -> None:
    source = clean(lambda i: [numbers(i), numbers(i + 100)])
    source.target_names = ("mass", "width")
    assert findings(source) == {}
    source.pictures[3].target = [numbers(3), 1e6]
    source.pictures[4].target = [None, 20.0]
    source.pictures[5].target = [1.0]
    found = findings(source)
    assert set(found) == {"outlying_numbers", "missing_numbers", "numbers_of_other_lengths"}
    assert "in 'width'" in found["outlying_numbers"].title
    assert found["outlying_numbers"].cases[0].keys == ("p/3",)
    assert "in 'mass'" in found["missing_numbers"].title
    assert found["numbers_of_other_lengths"].cases[0].keys == ("p/5",)


# ------------------------------------------------------------------------------------------------------- all together


def test_what_to_fix_first_comes_first_and_every_count_adds_up() -> None:
    source = clean(classes)
    for plant in (unreadable, constant, dark, grey, size, stray, small_class, torn_group):
        plant(source)
    copy(source, 10, 11)
    source.pictures[20].pixels = darker(draw(22))
    survey = survey_of(source)
    found = rank(survey)
    order = [("error", "warning", "note").index(finding.severity) for finding in found]
    assert order == sorted(order)
    assert found[0].severity == "error"
    for severity in ("error", "warning", "note"):
        images = [finding.images for finding in found if finding.severity == severity]
        assert images == sorted(images, reverse=True)
    told = record(survey, found)
    assert told["found"] == told["usable"] + told["bad"] == len(source.items)
    assert sum(c["usable"] + c["bad"] for c in told["classes"].values()) == told["found"]
    assert sum(c["usable"] + c["bad"] for c in told["splits"].values()) == told["found"]
    looks = told["statistics"]
    assert looks["grey"] + looks["coloured"] + looks["constant"] == sum(looks["brightness"]) == told["usable"]
    for finding in told["findings"]:
        assert finding["count"] == len(finding["cases"])
        assert finding["images"] <= told["found"]


def test_a_problem_that_stops_training_comes_first() -> None:
    survey = survey_of(clean(classes))
    stopped = Survey(survey.source, survey.audit, survey.splits, problems=("It is so.\nDo this.",))
    first = rank(stopped)[0]
    assert (first.kind, first.severity, first.title, first.remedy) == (
        "cannot_be_trained_on", "error", "It is so.", "Do this."
    )  # fmt: skip


def test_statistics_are_numpys_over_the_training_images() -> None:
    source = clean(classes)
    with_splits(source)
    told = statistics(survey_of(source))
    train = np.stack([p.pixels for p in source.pictures if p.split == "train" and p.pixels is not None]) / 255
    np.testing.assert_allclose(told["mean"], train.mean(axis=(0, 1, 2)), atol=2e-4)
    np.testing.assert_allclose(told["std"], train.std(axis=(0, 1, 2)), atol=2e-4)
    assert (told["of"], told["split"]) == (24, "train")


def test_without_near_duplicates_none_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    source = clean(classes)
    near(source)
    audit = scan(source, CONFIG)
    survey = Survey(source, audit, [""] * 48, near=False)
    assert list(find_duplicates(survey)) == []
    assert "near_duplicates" not in record(survey, [])


def test_grey_that_gives_the_class_away_is_said() -> None:
    source = clean(lambda i: "cat" if i % 4 == 0 else "dog")
    for i in range(0, 40, 4):
        source.pictures[i].pixels = np.repeat(draw(i)[..., :1], 3, axis=2)
    assert "Most of them are of class 'cat'" in findings(source)["grey_among_colour"].meaning
