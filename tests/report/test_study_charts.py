from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from made_studies import MODELS, PARTS, made
from matplotlib.figure import Figure

from vitrail.report import plots, study_axes
from vitrail.report import study_charts as charts

NAN = math.nan


def marks(figure: Figure) -> dict[str, tuple[str, str]]:
    """Name in the legend -> colour and mark."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    return {label: (handle.get_color(), handle.get_marker()) for handle, label in zip(handles, labels, strict=True)}


def test_a_model_looks_alike_in_every_chart_though_others_are_missing() -> None:
    order = ["a", "b", "c"]
    spans = {"a": None, "b": (0.5, 0.4, 0.6), "c": (0.6, 0.5, 0.7)}
    pareto = marks(charts.pareto({"b": 1.0, "c": 2.0}, spans, [], "ms", "accuracy", order=order))
    curves = marks(charts.curves({"c": charts.Curve([(10, (0.2, 0.1, 0.3))])}, "images", "error", order=order))
    power = marks(charts.power({"b": charts.Growth([(1, 2)]), "c": charts.Growth([(1, 2)])}, "N", "ms", order=order))
    assert curves["c"] == pareto["c"] == power["c"]
    assert pareto["b"] == power["b"] != pareto["c"]


def test_models_beyond_the_colours_are_still_told_apart() -> None:
    names = [f"model{n}" for n in range(10)]
    figure = charts.power({name: charts.Growth([(1, 2), (2, 3)], 1.0, (1.0, NAN, NAN)) for name in names}, "N", "ms")
    assert len(set(marks(figure).values())) == 10


def test_what_was_not_measured_is_not_drawn() -> None:
    figure = charts.pareto({"a": 1.0, "b": None}, {"a": (0.5, NAN, NAN), "b": (0.6, 0.5, 0.7)}, ["a"], "ms", "accuracy")
    assert set(marks(figure)) == {"a"}
    figure = charts.intervals({"a": None, "b": (NAN, NAN, NAN), "c": (0.5, 0.4, 0.6)}, "accuracy")
    assert sum(len(line.get_xdata()) == 1 for line in figure.axes[0].get_lines()) == 1
    figure = charts.bars_by_level({"blur": {"a": [0.5, None, 0.3]}}, "accuracy")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[0] == 0.5
    assert math.isnan(heights[1])


def test_points_and_their_intervals_are_what_was_given() -> None:
    curve = charts.Curve([(100, (0.5, 0.4, 0.7))], np.array([100.0, 1000.0]), np.array([0.5, 0.2]))
    figure = charts.curves({"a": curve}, "images", "error", until=100)
    drawn = [line.get_xydata().tolist() for line in figure.axes[0].get_lines()]
    assert drawn == [[[100, 0.4], [100, 0.7]], [[100, 0.5]], [[100.0, 0.5], [1000.0, 0.2]]]
    assert "predicted" in figure.axes[0].get_legend_handles_labels()[1]


def test_the_fitted_power_goes_through_what_it_says() -> None:
    growth = charts.Growth([(10, 100.0), (100, 10000.0)], 1.0, (2.0, 1.9, 2.1))
    figure = charts.power({"a": growth}, "N", "ms")
    assert figure.axes[0].get_lines()[1].get_xydata() == pytest.approx(np.array([[10, 100.0], [100, 10000.0]]))
    assert list(marks(figure)) == ["a: 2.00 (1.90 to 2.10)"]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.5, "0.5"), (20, "20"), (2000, "2,000"), (50_000, "50k"), (300_000, "0.3M"), (5e6, "5M"), (1e9, "1G"),
     (3e12, "3T"), (1e16, "1e16"), (1e-5, "1e-05")],
)  # fmt: skip
def test_numbers_of_an_axis_are_short(value: float, written: str) -> None:
    assert study_axes.written(value) == written


def test_numbers_of_an_axis_do_not_run_into_each_other() -> None:
    for spread in (1.0, 3.0, 20.0, 150.0, 1e4, 1e9):
        figure = charts.power({"a": charts.Growth([(100.0, 1.0), (100.0 * spread, 2.0)])}, "N", "ms")
        figure.draw_without_rendering()
        axes = figure.axes[0]
        low, high = axes.get_xlim()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        shown = [box for tick, box in zip(axes.get_xticks(), boxes, strict=False) if low <= tick <= high]
        assert shown, "an axis without a number cannot be read"
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(shown)), spread


def test_few_whole_sizes_are_the_numbers_of_their_axis() -> None:
    def numbers(sizes: list[float]) -> list[str]:
        figure = charts.power({"a": charts.Growth([(size, 1.0 + size) for size in sizes])}, "N", "ms")
        figure.draw_without_rendering()
        return [label.get_text() for label in figure.axes[0].get_xticklabels()]

    assert numbers([1, 2]) == ["1", "2"]
    assert numbers([64, 128, 256, 512, 1024]) == ["64", "128", "256", "512", "1,024"]
    assert numbers([100, 101, 5000]) != ["100", "101", "5,000"], "numbers would stand on each other's toes"
    assert numbers([0.7, 2.1]) != ["0.7", "2.1"]


@pytest.mark.parametrize("name", ["猫咪", "$\\frac{1}{0}$ $x^", "a\nb\x07", "_hidden", "", "x" * 300, "%s {x}"])
def test_no_name_stops_a_chart_or_warns(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in PARTS:
            for part in made(kind, (name,)).parts:
                for chart in part.charts:
                    plots.to_svg(chart.figure, chart.name, chart.alternative)


def test_equal_data_gives_equal_bytes() -> None:
    first, second = (made("cost", MODELS[:2]).parts[0].charts[0].figure for _ in range(2))
    assert plots.to_png(first) == plots.to_png(second)
    assert plots.to_svg(first, "a", "") == plots.to_svg(second, "a", "")


def test_every_colour_is_one_of_the_pages() -> None:
    for kind in ("cost", "scaling", "data-efficiency"):
        for part in made(kind).parts:
            for chart in part.charts:
                svg = plots.to_svg(chart.figure, chart.name, "")
                assert "#" not in svg.replace('href="#', "").replace("url(#", ""), kind
