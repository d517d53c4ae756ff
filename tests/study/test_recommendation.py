"""The recommendation on constructed cases: right where it can be told, "cannot tell" and what would tell where not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from worlds import outcomes
from worlds_of_curves import SIZES, law, measured

from vitrail.study.statistics.candidates import Cost, cheapest, pareto
from vitrail.study.statistics.curves import fit_curve, hide_largest
from vitrail.study.statistics.folds import of_folds
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.joint import Joint, of_means
from vitrail.study.statistics.labels import Gain
from vitrail.study.statistics.recommendation import Measure, recommend
from vitrail.study.statistics.words import amount, labelling, listed, scored, sentences, span

NAMES = ("ResNet-18", "ViT-tiny", "Swin-T")
COSTS = {"ResNet-18": Cost(2.0, 11_000_000), "ViT-tiny": Cost(6.0, 5_700_000), "Swin-T": Cost(9.0)}


def scores(accuracies: list[float], seeds: int = 3, images: int = 687, seed_sd: float = 0.05, key: int = 0) -> Joint:
    made = outcomes(np.random.default_rng(key), accuracies, seeds, images, seed_sd)
    return of_means(dict(zip(NAMES, made.values(), strict=False)), resamples=500)


def test_the_clearly_best_model_is_recommended() -> None:
    found = recommend(scores([0.7, 0.85, 0.6]), Measure(), COSTS)
    assert (found.choice, found.reason, found.rivals) == ("ViT-tiny", "better than all others", ())
    assert found.sure is not None
    assert found.sure > 0.99
    assert all(c.first == "ViT-tiny" and c.verdict == "better" for c in found.comparisons)
    said = sentences(found)
    assert said[0] == "Take ViT-tiny. It is better here than every other model."
    assert any(
        "ViT-tiny is better than ResNet-18 here by" in s and "(95 %, 3 seeds, 687 test images)" in s for s in said
    )
    assert any("ResNet-18 is 3 times faster (2 ms an image against 6 ms an image)" in s for s in said)


def test_of_equals_the_cheapest_is_recommended() -> None:
    rng = np.random.default_rng(0)
    same = rng.random(3000) < 0.8
    joint = of_means({name: (same ^ (rng.random((3, 3000)) < 0.01)).astype(float) for name in NAMES[:2]}, resamples=500)
    found = recommend(joint, Measure(), COSTS)
    assert found.choice == "ResNet-18"
    assert found.comparisons[0].verdict == "equal"
    assert any("are equal here: they differ by less than 1 point" in s for s in sentences(found))
    dear = recommend(joint, Measure(), {"ResNet-18": Cost(9.0), "ViT-tiny": Cost(2.0)})
    assert dear.choice == "ViT-tiny"
    assert "ViT-tiny is 4.5 times faster than ResNet-18 (2 ms an image against 9 ms an image)." in sentences(dear)


def test_what_does_not_cost_less_is_not_called_cheaper() -> None:
    """The best score is unsure to one side, so the second is the safer choice, whatever it costs."""
    draws = np.stack([np.linspace(0.78, 0.801, 200), np.full(200, 0.797)], axis=1)
    none = np.zeros(2)
    joint = Joint(("ResNet-18", "ViT-tiny"), np.array([0.8, 0.797]), draws, np.zeros_like(draws), none, none, 500, 3)
    for costs in ({}, COSTS):
        found = recommend(joint, Measure(), costs)
        assert (found.choice, found.leading, found.reason) == ("ViT-tiny", "ResNet-18", "none is better")
        assert sentences(found)[0] == "Take ViT-tiny. No other can be better by more than 1 point."
    cheaper = recommend(joint, Measure(), {"ResNet-18": Cost(9.0), "ViT-tiny": Cost(2.0)})
    assert sentences(cheaper)[0].endswith("and of those of which that is true it costs least.")


def test_it_cannot_tell_where_nothing_can_be_told_and_says_what_would() -> None:
    found = recommend(scores([0.75, 0.80, 0.5], images=200), Measure(), COSTS)
    assert (found.choice, found.reason, found.leading) == (None, "cannot tell", "ViT-tiny")
    assert found.rivals == ("ResNet-18",)  # the third is out
    (need,) = found.needed
    assert need.images is not None
    assert 400 <= need.images <= 1600
    said = sentences(found)
    assert said[0].startswith("Cannot tell which model is best here. ViT-tiny has the best score, but ResNet-18 may")
    assert any("To tell ViT-tiny and ResNet-18 apart, or equal, it would take about" in s for s in said)
    assert [c.second for c in found.comparisons] == ["ResNet-18", "Swin-T"]  # the nearest first


def test_a_difference_as_small_as_what_matters_is_told_by_nothing() -> None:
    rng = np.random.default_rng(0)
    right = rng.permutation(np.arange(200) < 150).astype(float)
    other = right.copy()
    other[np.flatnonzero(right)[:12]], other[np.flatnonzero(right == 0)[:10]] = 0, 1
    found = recommend(of_means({"a": np.tile(right, (3, 1)), "b": np.tile(other, (3, 1))}), Measure(minimal=0.01))
    assert found.comparisons[0].together.value == pytest.approx(0.01)
    assert found.choice is None
    assert any("close to the least that matters" in s for s in sentences(found))


def test_a_wrong_model_is_recommended_as_seldom_as_stated() -> None:
    """Wrong: worse than the best by more than the least difference that matters."""
    wrong = told = 0
    for key in range(60):
        found = recommend(scores([0.75, 0.77, 0.75], images=150, seed_sd=0.1, key=key), Measure(minimal=0.01), COSTS)
        told += found.choice is not None
        wrong += found.choice in ("ResNet-18", "Swin-T")
    assert wrong / 60 <= 0.08
    assert told < 30


def test_one_seed_recommends_nothing() -> None:
    found = recommend(scores([0.9, 0.6], seeds=1), Measure())
    assert found.choice is None
    assert found.sure is None
    said = sentences(found)
    assert said[0] == "Cannot tell which model is best here: each was trained once. ResNet-18 has the best score."
    assert any("Train 3 or more" in s for s in said)


def test_too_few_images_recommend_nothing() -> None:
    found = recommend(scores([0.9, 0.6], images=6), Measure())
    assert found.choice is None
    assert any("too few test images (6)" in s for s in sentences(found))


def test_a_model_alone_is_the_only_one() -> None:
    found = recommend(scores([0.9]), Measure())
    assert (found.choice, found.reason) == ("ResNet-18", "the only one")
    assert sentences(found) == ["ResNet-18 is the only model that was trained."]


def test_errors_and_folds_read_as_such() -> None:
    rng = np.random.default_rng(0)
    folds = {"a": 3 + rng.normal(size=(2, 5)) * 0.05, "b": 4 + rng.normal(size=(2, 5)) * 0.05}
    measure = Measure("mae", "lower", minimal=0.1, unit="years", scale=1.0)
    found = recommend(of_folds(folds, 5, 300), measure)
    assert (found.choice, found.reason) == ("a", "better than all others")
    assert any("years (95 %, 2 x 5 folds, 300 test images)" in s for s in sentences(found))


@pytest.mark.parametrize(
    ("vit", "said"),
    [
        ((0.20, 0.6, 0.04), "times the images ViT-tiny is predicted to pass ResNet-18; it may take"),
        ((0.20, 0.3, 0.20), "Even with 100 times the images ViT-tiny is not predicted to pass ResNet-18."),
    ],
)
def test_what_more_images_would_change_is_said(vit: tuple[float, float, float], said: str) -> None:
    rng = np.random.default_rng(0)
    truths = {"ResNet-18": law(SIZES, 0.10, 0.2, 0.10), "ViT-tiny": law(SIZES, *vit)}
    joints = {n: measured(rng, t, tag=n, image_sd=0.0, seed_sd=0.002) for n, t in truths.items()}
    curves = {name: fit_curve(SIZES, joint) for name, joint in joints.items()}
    found = recommend(scores([0.85, 0.7]), Measure(), COSTS, curves)
    assert found.changes[0].first == "ViT-tiny"
    assert said in sentences(found)[-1]
    broken = truths["ViT-tiny"].copy()
    broken[-1] += 0.1
    hidden = {"ViT-tiny": hide_largest(SIZES, measured(rng, broken, image_sd=0.0, seed_sd=0.002))}
    doubted = recommend(scores([0.85, 0.7]), Measure(), COSTS, curves, hidden)
    assert doubted.unreliable == ("ViT-tiny",)
    assert "Do not build on that: the curve of ViT-tiny missed" in sentences(doubted)[-1]


def test_curves_that_leave_it_open_say_so() -> None:
    rng = np.random.default_rng(0)
    curves = {
        "ResNet-18": fit_curve(SIZES, measured(rng, law(SIZES, 0.10, 0.2, 0.10), tag="r", image_sd=0, seed_sd=0.03)),
        "ViT-tiny": fit_curve(SIZES, measured(rng, law(SIZES, 0.2, 0.3, 0.04), tag="v", image_sd=0, seed_sd=0.03)),
    }
    last = sentences(recommend(scores([0.9, 0.6]), Measure(), COSTS, curves))[-1]
    assert "not sure" in last or "cannot be told" in last


def test_the_front_holds_what_none_beats_in_both() -> None:
    found = pareto({"a": 0.9, "b": 0.8, "c": 0.85, "d": 0.9}, {"a": 5.0, "b": 1.0, "c": 6.0, "d": 5.5})
    assert found == ["b", "a"]


def test_costs_within_a_tenth_are_one_cost() -> None:
    costs = {"a": Cost(1.0), "b": Cost(1.05), "c": Cost(3.0)}
    assert cheapest(["a", "b", "c"], costs, {"a": 0.1, "b": 0.2, "c": 0.9}) == "b"
    assert cheapest(["a", "c"], {"a": Cost(1.0)}, {"a": 0.1, "c": 0.9}) == "c"  # not comparable


def gains(*rows: tuple[str, float, float, float]) -> list[Gain]:
    return [Gain(name, 300, Interval((low + high) / 2, low, high), first) for name, low, high, first in rows]


def test_the_class_to_label_is_named_only_if_it_stands_out() -> None:
    clear = labelling(gains(("cat", 0.004, 0.011, 0.95), ("dog", 0.0, 0.002, 0.05)))
    assert clear == "Label 300 more images of cat first: that is predicted to take 0.4 to 1.1 points off the error."
    close = labelling(gains(("cat", 0.004, 0.011, 0.5), ("dog", 0.003, 0.01, 0.48), ("cow", 0, 0.001, 0.02)))
    assert close == "Cannot tell which class to label first: cat and dog are predicted to gain about as much."
    assert "may gain nothing" in labelling(gains(("cat", 0.0, 0.01, 1.0)))
    assert "no classes" in labelling([])


def test_figures_have_the_digits_they_deserve() -> None:
    points = Measure()
    assert span(0.041, 0.092, points) == "4 to 9 points"
    assert span(0.0123, 0.0161, points) == "1.2 to 1.6 points"
    assert amount(0.01, points) == "1 point"
    assert amount(0.5, Measure("mae", "lower", 0.1, "years", 1.0)) == "0.5 years"
    assert scored(Interval(0.8123, 0.79, 0.8312), points) == "81.2 (79.0 to 83.1)"
    assert scored(Interval(0.8, math.nan, math.nan), points) == "80.0 (interval not known)"
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
