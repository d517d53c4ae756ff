"""What is said of learning curves whose truth is known: who leads where, what more images bring, what was missed."""

from __future__ import annotations

import numpy as np
import pytest
from worlds_of_learning import IMAGES, study

from vitrail.study.data_efficiency import words
from vitrail.study.data_efficiency.results import Results


def falling(first: float, exponent: float, floor: float = 0.0) -> list[float]:
    """Errors on `IMAGES` that follow a law."""
    return [float(first * (n / IMAGES[0]) ** -exponent + floor) for n in IMAGES]


PASSED = {"cnn": falling(0.30, 0.15), "vit": falling(0.60, 0.75)}
"""The CNN leads with few images, and is passed at 317."""


def text(found: Results) -> str:
    return " ".join(words.verdict(found))


def test_a_model_that_leads_with_few_images_and_is_passed_is_said_to_be() -> None:
    found = study(PASSED)
    few, many, passing = words.leading(found)
    assert few.startswith("With 100 training images cnn is best, with a test accuracy of 70")
    assert "better than vit by" in few
    assert many.startswith("With all 1,600 training images vit is best")
    assert passing == "vit passes cnn between 200 and 400 images."


def test_what_was_not_surely_passed_is_not_said_to_be() -> None:
    found = study({"cnn": [0.30, 0.25, 0.22, 0.20, 0.190], "vit": [0.60, 0.40, 0.30, 0.22, 0.186]}, images=300)
    assert "may be as good or better" in words.leading(found)[1]
    assert words.leading(found)[2].endswith("by the scores as they came out; it is not sure.")


def test_one_that_leads_everywhere_is_passed_by_none_and_by_whom_later_is_forecast() -> None:
    found = study({"cnn": falling(0.30, 0.15), "vit": falling(0.60, 0.30)})
    assert "cnn has the best score at each of the 5 sizes, at all of them surely; none passes it here." in text(found)
    (crossing,) = found.crossings
    assert (crossing.first, crossing.second) == ("vit", "cnn")
    truth = (0.60 / 0.30) ** (1 / 0.15) * IMAGES[0] / IMAGES[-1]
    assert crossing.factor.low < truth < crossing.factor.high
    assert f"With {crossing.factor.value:.2g} times the images vit" in text(found)


def test_more_images_help_a_curve_that_falls_and_hardly_one_that_is_flat() -> None:
    found = study({"steep": falling(0.5, 0.5), "flat": [0.12] * 5})
    by = {one.label: words.more(one, found) for one in found.learned}
    assert by["steep"].startswith("More images would help steep: twice as many by")
    assert "hardly help flat" in by["flat"]
    truth = falling(0.5, 0.5)[-1] * (1 - 2**-0.5)
    gain = found.gains["steep"][2]
    assert gain.low - 0.01 <= truth <= gain.high + 0.01
    double = next(one for one in found.learned if one.label == "steep").ahead[2]
    assert double.value == pytest.approx(1 - (falling(0.5, 0.5)[-1] - truth), abs=0.02)


def test_a_hidden_size_that_was_missed_is_said_and_its_forecast_not_to_be_built_on() -> None:
    broken = [*falling(0.5, 0.25)[:4], 0.05]  # what no law of the first four would say
    found = study({"surprising": broken, "lawful": falling(0.5, 0.25)})
    assert words.missed(found) == ["surprising"]
    said = text(found)
    assert "Checked, and missed: from the smaller sizes alone surprising was predicted to reach" in said
    assert "94.9 was seen" in said
    assert "the law from the smaller sizes alone holds the score with 1,600 of lawful" in said
    (doubted,) = [words.more(one, found) for one in found.learned if one.label == "surprising"]
    assert doubted.endswith("Do not build on that: the check below missed.")


def test_few_images_leave_more_open_than_many() -> None:
    wide, narrow = (study({"one": falling(0.5, 0.3)}, images=n).learned[0].ahead[10] for n in (100, 4000))
    assert wide.half > 2 * narrow.half
    assert words.leading(study({"one": falling(0.5, 0.3)}))[0].startswith("one goes from 49.9 (")


def test_equal_models_are_not_ranked() -> None:
    same = falling(0.3, 0.3)
    found = study({"a": same, "b": (np.array(same) + 0.0005).tolist()}, minimal=0.05)
    assert "differs by less than 5 points, which hardly matters" in text(found)
