from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from vitrail.report import inventory, summary
from vitrail.report.data import ReportData
from vitrail.report.sections.classify import ClassifyView, calibration

Make = Callable[..., ReportData]


def scored(right: int, images: int, share: Sequence[float] = (0.5, 0.5), confidence: float = 0.9) -> ClassifyView:
    """`images` images with classes in these shares, `right` of them answered rightly, spread evenly."""
    targets = np.repeat(np.arange(len(share)), np.diff(np.round(np.cumsum([0, *share]) * images)).astype(int))
    said = targets.copy()
    wrong = np.linspace(0, images - 1, images - right).round().astype(int)
    said[wrong] = (said[wrong] + 1) % len(share)
    probabilities = np.full((images, len(share)), (1 - confidence) / (len(share) - 1), np.float32)
    probabilities[np.arange(images), said] = confidence
    return ClassifyView({}, probabilities, targets, [str(n) for n in range(images)])


def test_the_verdict_names_the_split_the_number_and_the_interval(make_run: Make) -> None:
    first = summary.verdict(make_run(["a", "b"], evaluations={"test": scored(180, 200)}))[0]
    assert first.startswith("Of the 200 test images, which it had never seen, the model puts 90.0% in the right class.")
    assert "between 85.1% and 93.4% (95% interval)" in first


@pytest.mark.parametrize(
    ("right", "share", "said"),
    [
        (104, (0.5, 0.5), "learned nothing to rely on"),
        (60, (0.5, 0.5), "does worse than"),
        (150, (0.6, 0.4), "beyond what chance"),
        (185, (0.25, 0.25, 0.25, 0.25), "right 3.7 times as often"),
        (130, (0.7, 0.3), "learned nothing to rely on"),
    ],
)
def test_the_verdict_weighs_the_result_against_guessing(
    right: int, share: tuple[float, ...], said: str, make_run: Make
) -> None:
    data = make_run([str(n) for n in range(len(share))], evaluations={"test": scored(right, 200, share)})
    assert said in summary.verdict(data)[1]


def test_without_a_test_split_the_page_says_that_val_flatters(make_run: Make, run_data: ReportData) -> None:
    data = make_run(evaluations={"val": run_data.evaluations["val"]})
    assert "by which its best epoch was chosen" in summary.verdict(data)[0]
    assert any("no test split" in caution for caution in summary.cautions(data))


def test_without_any_evaluation_nothing_is_claimed(make_run: Make) -> None:
    assert "cannot say" in summary.verdict(make_run(evaluations={}))[0]


def test_cautions_tell_of_few_images_absent_classes_and_leaks(make_run: Make) -> None:
    data = make_run(
        ["a", "b", "c"],
        evaluations={"test": scored(30, 50, (0.5, 0.5, 0.0))},
        audit={"duplicates": {"groups": 3, "across_classes": 1, "across_splits": 2}},
        warnings=["from the run"],
    )
    text = " ".join(summary.cautions(data))
    for words in ("from the run", "Only 50 test images", "“c”", "different labels (1 set)", "one split (2 sets)"):
        assert words in text


def test_no_caution_without_cause(make_run: Make) -> None:
    assert summary.cautions(make_run(["a", "b"], evaluations={"test": scored(180, 200)}, audit={}, warnings=())) == []


def epochs(losses: Sequence[float]) -> list[dict[str, Any]]:
    return [{"epoch": n, "val/loss": loss} for n, loss in enumerate(losses, 1)]


def test_training_notes_say_when_more_epochs_would_help_and_when_fewer(make_run: Make) -> None:
    falling = summary.training(make_run(history=epochs([3, 2, 1.5, 1.4]), best_epoch=4))
    assert any("more epochs" in note for note in falling)
    rising = summary.training(make_run(history=epochs([3, 1, 1.5, 2]), best_epoch=2))
    assert any("lowest after epoch 2 and rose by 100%" in note for note in rising)
    assert rising[0].startswith("The weights of epoch 2 of 4 were kept: best val")
    assert not any("more epochs" in note for note in rising)
    assert summary.training(make_run(history=epochs([3]), best_epoch=1)) == []


@pytest.mark.parametrize(
    ("confidence", "said"), [(0.8, "taken at its word"), (0.99, "too sure"), (0.6, "more often right")]
)
def test_calibration_is_put_in_words(confidence: float, said: str) -> None:
    sentence = calibration(scored(160, 200, confidence=confidence), "test")
    assert said in sentence
    assert sentence.startswith("On the test images")


@pytest.mark.parametrize("cell", ["", None, "nan", math.nan, math.inf, "text"])
def test_cells_that_hold_no_number_are_none(cell: Any) -> None:
    assert summary.number(cell) is None


def test_costs_are_put_in_words_and_unknown_ones_shown_as_they_are() -> None:
    cost = {
        "parameters": 5_717_416, "parameters_that_fill_in": 20_190,
        "gmacs": 1.2537, "train_seconds": 3725.0, "peak_memory_mb": 1310.0,
        "device": "cpu", "images_per_s": None, "joules_used": 12.5,
    }  # fmt: skip
    assert summary.cost_rows(cost) == [
        ("Parameters", "5.72 million"),
        ("Parameters that only fill in", "20,190"),
        ("Multiply-accumulates per image", "1.25 billion"),
        ("Training", "1 h 02 min"),
        ("Peak memory of the process", "1.3 GiB"),
        ("Device", "cpu"),
        ("Joules used", "12.5"),
    ]


@pytest.mark.parametrize(
    ("value", "said"), [((0.2, 1.0), "0.2, 1"), ((0.5,), "0.5"), (True, "on"), (0.00021, "0.00021"), ("small", "small")]
)
def test_settings_are_shown_without_the_signs_of_a_programme(value: Any, said: str) -> None:
    assert summary.setting(value) == said


@pytest.mark.parametrize(
    ("least", "most", "said"),
    [(1.0, 1.0, "all square"), (1.5, 1.5, "all 1.50 times as wide as high"), (1.0, 2.0, "1.00 to 2.00 times")],
)
def test_shapes_of_images_are_put_in_words(least: float, most: float, said: str) -> None:
    taken = inventory.take({"found": 2, "statistics": {"aspect": {"min": least, "median": least, "max": most}}}, {})
    assert any(name == "Shapes" and words.startswith(said) for name, words in taken.rows)
