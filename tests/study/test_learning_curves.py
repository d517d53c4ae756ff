"""Power laws found again from noisy points, predictions beyond them, where curves cross, which class to label next."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from worlds_of_curves import SIZES, law, measured

from vitrail.study.statistics.crossing import crossing
from vitrail.study.statistics.curves import fit_curve, hide_largest
from vitrail.study.statistics.joint import Joint, of_means
from vitrail.study.statistics.labels import label_next
from vitrail.study.statistics.power_law import fit


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.5), st.floats(0.05, 3.5), st.floats(0, 0.3), st.floats(1, 1e9))
def test_points_on_a_law_give_the_law(a: float, b: float, c: float, unit: float) -> None:
    x = np.array(SIZES, np.float64) * unit
    found = fit(x, law(SIZES, a, b, c)[None], np.ones(5))
    assert found.at(x)[0] == pytest.approx(law(SIZES, a, b, c), abs=2e-5 * law(SIZES, a, b, c)[0])
    assert (found.a[0], found.b[0], found.c[0]) == pytest.approx((a, b, c), rel=0.1, abs=0.02)


def test_the_fit_is_as_near_as_scipys_from_the_truth() -> None:
    rng, x = np.random.default_rng(0), np.array(SIZES, np.float64)
    weights = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    for _ in range(15):
        errors = law(SIZES, 0.15, 0.4, 0.1) + rng.normal(size=5) * 0.01
        ours = fit(x, errors[None], weights)
        best, _ = curve_fit(lambda n, a, b, c: a * (n / 4000) ** -b + c, x, errors, p0=(0.15, 0.4, 0.1),
                            sigma=weights**-0.5, bounds=([0, 0.01, 0], [np.inf, 4, np.inf]))  # fmt: skip
        theirs = (weights / 15 * (best[0] * (x / 4000) ** -best[1] + best[2] - errors) ** 2).sum()
        assert ours.misfit[0] <= theirs * (1 + 1e-3) + 1e-12
        assert ((weights / 15 * (ours.at(x)[0] - errors) ** 2).sum()) == pytest.approx(ours.misfit[0], abs=1e-12)


@pytest.mark.parametrize(("a", "b", "c"), [(0.15, 0.35, 0.09), (0.15, 0.5, 0.0), (0.05, 1.0, 0.15)])
def test_laws_and_predictions_are_held_as_often_as_stated(a: float, b: float, c: float) -> None:
    rng = np.random.default_rng(0)
    truths = {"a": a * 4000**b, "b": b, "c": c}
    held: dict[str, list[bool]] = {key: [] for key in ("a", "b", "c", "2", "10", "hidden")}
    for _ in range(60):
        joint = measured(rng, law(SIZES, a, b, c))
        curve = fit_curve(SIZES, joint)
        for key, found in curve.parameters.items():
            if key in truths:
                held[key].append(found.holds(truths[key]))
        for times in (2, 10):
            held[str(times)].append(curve.predict(4000 * times).holds(a * times**-b + c))
        held["hidden"].append(hide_largest(SIZES, joint).held)
    assert {key for key, found in held.items() if np.mean(found) < 0.88} == set()
    assert np.mean([np.mean(found) for found in held.values()]) > 0.93


def test_a_law_of_compute_is_found_with_its_shift() -> None:
    compute = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    rng, held = np.random.default_rng(0), []
    for _ in range(10):
        joint = measured(rng, law(compute, 0.1, 0.35, 0.09, d=1.0), seed_sd=0.002, image_sd=0.003, resamples=100)
        curve = fit_curve(compute, joint, shifted=True)
        held.append([curve.parameters["b"].holds(0.35), curve.parameters["d"].holds(1.0)])
        held.append([curve.predict(1280).holds(0.1 * (1281 / 129) ** -0.35 + 0.09), curve.law.d[0] >= 0])
    assert np.mean(held) >= 0.9
    exact = fit(np.array(compute), law(compute, 0.1, 0.35, 0.09, d=1.0)[None], np.ones(8), shifted=True)
    assert (exact.b[0], exact.d[0], exact.c[0]) == pytest.approx((0.35, 1.0, 0.09), abs=0.03)


def test_a_curve_that_breaks_its_law_is_caught_by_the_hidden_size() -> None:
    truth = law(SIZES, 0.15, 0.4, 0.1)
    truth[-1] -= 0.06
    hidden = hide_largest(SIZES, measured(np.random.default_rng(0), truth))
    assert not hidden.held
    assert hidden.predicted.low > hidden.seen
    assert hidden.size == 4000


def test_a_curve_off_its_law_has_wider_intervals() -> None:
    rng = np.random.default_rng(0)
    smooth = measured(rng, law(SIZES, 0.15, 0.4, 0.1))
    rough = law(SIZES, 0.15, 0.4, 0.1) + np.array([0.03, -0.03, 0.03, -0.03, 0.03])
    jagged = measured(np.random.default_rng(0), rough)
    assert fit_curve(SIZES, jagged).predict(8000).half > 1.5 * fit_curve(SIZES, smooth).predict(8000).half


def test_where_curves_cross_is_held_as_often_as_stated() -> None:
    rng, held = np.random.default_rng(0), []
    slow, fast = law(SIZES, 0.10, 0.2, 0.10), law(SIZES, 0.20, 0.6, 0.04)
    factors = np.geomspace(1, 100, 20001)
    true = factors[np.argmax(0.20 * factors**-0.6 + 0.04 < 0.10 * factors**-0.2 + 0.10)]
    for _ in range(40):
        first = fit_curve(SIZES, measured(rng, fast, tag="f", image_sd=0.0))
        second = fit_curve(SIZES, measured(rng, slow, tag="s", image_sd=0.0))
        held.append(crossing(("vit", "cnn"), first, second).factor.holds(float(true)))
    assert np.mean(held) >= 0.9
    exact = [fit_curve(SIZES, measured(rng, truth, seed_sd=1e-6, image_sd=0.0)) for truth in (fast, slow)]
    assert crossing(("vit", "cnn"), *exact).factor.value == pytest.approx(true, rel=0.02)


def test_curves_that_do_not_cross_say_so() -> None:
    rng = np.random.default_rng(0)
    worse = fit_curve(SIZES, measured(rng, law(SIZES, 0.15, 0.4, 0.25), tag="w"))
    better = fit_curve(SIZES, measured(rng, law(SIZES, 0.15, 0.4, 0.05), tag="b"))
    never = crossing(("worse", "better"), worse, better)
    assert (never.factor.value, never.factor.high) == (math.inf, math.inf)
    assert never.share < 0.2
    already = crossing(("better", "worse"), better, worse)
    assert (already.factor.value, already.share) == (1.0, 1.0)
    other = fit_curve(SIZES, measured(rng, law(SIZES, 0.1, 0.4, 0.1), resamples=99))
    with pytest.raises(ValueError, match="same draws"):
        crossing(("a", "b"), better, other)


def test_a_draw_without_an_error_changes_neither_interval_nor_share() -> None:
    """A metric may not be defined on some drawn images; the law misses the middle point by more than chance."""

    def holed(joint: Joint) -> Joint:
        images = joint.images.copy()
        images[0] = math.nan
        return replace(joint, images=images)

    rng = np.random.default_rng(0)
    bent = law(SIZES, 0.15, 0.35, 0.09)
    bent[2] += 0.08
    joint = measured(rng, bent, resamples=1500)
    said, without = (fit_curve(SIZES, one).predict(8000) for one in (joint, holed(joint)))
    assert without.half == pytest.approx(said.half, rel=0.1)
    steep, flat = (measured(rng, law(SIZES, *terms)) for terms in ((0.3, 0.6, 0.03), (0.15, 0.2, 0.05)))
    found = crossing(("steep", "flat"), fit_curve(SIZES, steep), fit_curve(SIZES, holed(flat)))
    assert found.factor.known
    assert found.share == 1.0


def test_too_few_sizes_are_refused_in_words() -> None:
    joint = measured(np.random.default_rng(0), law(SIZES, 0.1, 0.4, 0.1))
    with pytest.raises(ValueError, match="4 sizes or more"):
        fit_curve(SIZES[:3], joint.select(joint.names[:3]))
    with pytest.raises(ValueError, match="5 sizes or more"):
        fit_curve(SIZES[:4], joint.select(joint.names[:4]), shifted=True)
    with pytest.raises(ValueError, match="ascending"):
        fit_curve(SIZES[::-1], joint)
    with pytest.raises(ValueError, match="above 0"):
        fit(np.zeros(5), np.ones((1, 5)), np.ones(5))


def test_errors_without_intervals_have_a_law_and_no_interval() -> None:
    few = of_means({str(size): np.full((2, 5), 1 - size**-0.3) for size in SIZES}).errors()
    curve = fit_curve(SIZES, few)
    assert curve.predict(8000).value == pytest.approx(8000**-0.3, rel=0.01)
    assert not curve.predict(8000).known
    assert not curve.parameters["b"].known


def test_the_class_that_gains_most_is_labelled_first() -> None:
    rng = np.random.default_rng(0)
    truths = {"flat": law(SIZES, 0.0, 1.0, 0.4), "steep": law(SIZES, 0.3, 0.8, 0.05), "rare": law(SIZES, 0.3, 0.8, 0.1)}
    curves = {name: fit_curve(SIZES, measured(rng, truth, tag=name)) for name, truth in truths.items()}
    gains = label_next(curves, {"flat": 0.5, "steep": 0.45, "rare": 0.05}, more=2000)
    assert gains[0].label == "steep"
    assert gains[0].first > 0.9
    assert gains[0].gain.holds(0.45 * 0.3 * (1 - 1.5**-0.8))
    alike = {name: fit_curve(SIZES, measured(rng, truths["steep"], tag=name)) for name in "xyz"}
    assert label_next(alike, dict.fromkeys("xyz", 1 / 3), more=300)[0].first < 0.9
