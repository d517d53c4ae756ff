"""Each task's section: its numbers against scikit-learn, SciPy and NumPy, its words, its page."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import LABELS, MADE, report, scored, segment_arrays
from scipy.stats import bootstrap, pearsonr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    jaccard_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    root_mean_squared_error,
)
from test_report_page import NASTY, Page

from vitrail.data.masks import UNTOLD
from vitrail.report import deviation, plots, statistics, summary
from vitrail.report.data import ReportData
from vitrail.report.html import write_report
from vitrail.report.section import Section
from vitrail.report.sections import section_of
from vitrail.tasks import list_tasks
from vitrail.tasks.meters.maps import MOST_SAMPLED, DepthMeter

Made = tuple[Any, Any]
Report = Callable[..., ReportData]


@pytest.fixture
def report_of(run_data: ReportData) -> Report:
    """The report on a task by its name, made with options, or on a task and an evaluation."""

    def make(what: str | Made, **options: Any) -> ReportData:
        task, result = MADE[what](**options) if isinstance(what, str) else what
        return report(run_data, task, result)

    return make


def of(name: str, **options: Any) -> tuple[Section[Any], Any, Any, Any]:
    """Section, task, evaluation and view."""
    task, result = MADE[name](**options)
    section = section_of(name)
    return section, task, result, section.view(task, result)


def test_every_task_has_a_section_and_its_template() -> None:
    from vitrail.report import sections

    files = {path.stem for path in Path(sections.__file__).parent.glob("*.py")} - {"__init__"}
    templates = Path(sections.__file__).parent.parent / "templates" / "sections"
    assert files == set(list_tasks()) == {path.name.removesuffix(".html.j2") for path in templates.iterdir()}


def test_no_section_loads_torch_or_pyplot() -> None:
    code = (
        "import sys; from vitrail.report.sections import section_of; from vitrail.tasks import list_tasks;"
        "[section_of(name) for name in list_tasks()]; assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------------------------------------- intervals


def test_the_bootstraps_interval_is_scipys() -> None:
    values = np.random.default_rng(0).gamma(2, 3, 80)
    (ours,) = statistics.bootstrap(np.stack([np.ones(80), values], 1), lambda sums: sums[:, 1:] / sums[:, :1])
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1))
    assert ours is not None
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.15)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.15)


def test_draws_hold_as_many_images_as_there_are_and_few_of_very_many() -> None:
    assert all((drawn.sum(axis=1) == 7).all() for drawn in statistics.draws(7))
    assert sum(len(drawn) for drawn in statistics.draws(7)) == statistics.RESAMPLES
    assert sum(len(drawn) for drawn in statistics.draws(90_000)) == 222


ranked = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25)


@given(ranked)
def test_average_precision_is_scikit_learns_with_ties_and_weights(rows: list[tuple[int, bool, int]]) -> None:
    scores, present, weights = (np.array(column) for column in zip(*rows, strict=True))
    if not present.any():
        assert np.isnan(statistics.average_precision(scores, present)).all()
        return
    theirs = average_precision_score(present, scores)
    assert statistics.average_precision(scores, present)[0] == pytest.approx(theirs)
    if (present * weights).any():
        theirs = average_precision_score(present, scores, sample_weight=weights)
        drawn = np.stack([weights, np.ones(len(weights))]).astype(np.float64)
        assert statistics.average_precision(scores, present, drawn)[0] == pytest.approx(theirs)


# -------------------------------------------------------------------------------------------------------- multilabel


def test_scores_of_labels_are_scikit_learns(report_of: Report) -> None:
    section, task, result, view = of("multilabel")
    present, said = result.targets > 0.5, view.said
    theirs = precision_recall_fscore_support(present, said, zero_division=0)
    for score, precision, recall, f1, images in zip(view.scores, *theirs, strict=True):
        assert (score.precision or 0, score.recall or 0, score.f1) == pytest.approx((precision, recall, f1))
        assert score.images == images
        assert score.threshold == task.thresholds[score.index]
        assert score.average_precision == pytest.approx(
            average_precision_score(present[:, score.index], result.outputs[:, score.index]), abs=1e-6
        )
    assert view.exact == pytest.approx(accuracy_score(present, said))
    assert view.map == pytest.approx(result.metrics["map"], abs=1e-6)
    assert view.interval.low < view.map < view.interval.high
    assert view.floor == pytest.approx(present.mean())
    table = section.rows(report_of("multilabel"), view)
    assert [row[0] for row in table] == list(LABELS)
    assert len(table[0]) == len(section.columns)


def test_a_label_s_bar_stands_beside_the_average_precision_that_it_draws(tmp_path: Path, report_of: Report) -> None:
    page = write_report(tmp_path, report_of("multilabel")).read_text()
    beside = r'>([\d.]+)%</td><td class="bars optional"><span class="bar" style="width:([\d.]+)%'
    precisions = [f"{100 * score.average_precision:.1f}" for score in of("multilabel")[3].scores]
    assert sorted(re.findall(beside, page)) == sorted((value, value) for value in precisions)
    assert '>AP</th><th class="optional"></th></tr>' in page


def test_labels_that_go_together_and_those_that_are_confused_are_counted() -> None:
    task, _ = MADE["multilabel"](labels=("a", "b", "c"))
    task = type(task)(task.labels)  # thresholds of 0.5
    true = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]], np.float32)
    said = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    view = section_of("multilabel").view(task, scored(task, 8 * said - 4, true))
    assert view.together.tolist() == [[3, 1, 1], [1, 1, 0], [1, 0, 1]]
    assert view.mistaken.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert view.exact == 0.25
    titles = [section_of("multilabel").title(task.labels, view, row) for row in range(4)]
    assert titles == ["a; b", "b (misses a, wrongly b)", "b; c (misses a, wrongly b)", "c (wrongly c)"]


# ----------------------------------------------------------------------------------------------------------- regress


@pytest.mark.parametrize("targets", [1, 2])
def test_errors_of_numbers_are_scikit_learns_beside_the_mean(targets: int) -> None:
    _, task, result, view = of("regress", targets=targets)
    said = task.values(result.outputs)
    for place, named in enumerate(view.scored):
        true, answers, fared = view.true[:, place], said[:, place], named.of
        assert fared.mae.value == pytest.approx(mean_absolute_error(true, answers))
        assert fared.rmse.value == pytest.approx(root_mean_squared_error(true, answers))
        assert fared.r2.value == pytest.approx(r2_score(true, answers))
        assert fared.pearson.value == pytest.approx(pearsonr(true, answers).statistic)
        usual = np.full_like(true, task.mean[place])
        assert fared.usual_mae == pytest.approx(mean_absolute_error(true, usual))
        assert fared.usual_r2 == pytest.approx(r2_score(true, usual))
        assert fared.ratio.value == pytest.approx(fared.mae.value / fared.usual_mae)
        for figure in (fared.mae, fared.rmse, fared.r2, fared.pearson):
            assert figure.interval.low < figure.value < figure.interval.high
    assert [named.unit for named in view.scored] == ["kg", "years"][:targets]


def test_stated_intervals_are_held_against_the_truth(report_of: Report) -> None:
    section, _, _, view = of("regress", loss="nll", images=400)
    inside = np.abs(view.said - view.true) <= 1.6448536 * view.spread
    assert view.inside == inside.sum(axis=0).tolist()
    held = section.verdict(report_of("regress", loss="nll", images=400), view, "test")[-1]
    assert f"they hold {100 * inside.mean():.1f}%" in held
    assert section.rows(report_of("regress"), view)[0][-1] == pytest.approx(inside.mean())


@pytest.mark.parametrize(("skill", "says"), [(0.95, "of that"), (0.0, "learned nothing to rely on")])
def test_a_verdict_on_numbers_weighs_them_against_the_mean(skill: float, says: str, report_of: Report) -> None:
    said = summary.verdict(report_of("regress", skill=skill, images=400))
    assert said[0].startswith("On the 400 test images, which it had never seen, mass is off by ")
    assert " kg on average." in said[0]
    assert says in said[1]


def test_a_model_that_does_worse_than_the_mean_is_told_so(report_of: Report) -> None:
    task, result = MADE["regress"]()
    worse = scored(task, -3 * result.outputs, result.targets)
    assert "This model does worse." in summary.verdict(report_of((task, worse)))[1]


def test_a_split_of_one_value_says_that_nothing_can_be_said(report_of: Report) -> None:
    task, _ = MADE["regress"]()
    flat = scored(task, np.zeros((5, 1), np.float32), np.full((5, 1), task.mean[0], np.float32))
    view = section_of("regress").view(task, flat)
    assert view.scored[0].of.r2 is None
    assert view.scored[0].of.ratio is None or view.scored[0].of.usual_mae < 1e-5
    assert summary.verdict(report_of((task, flat)))


# ----------------------------------------------------------------------------------------------------------- segment


def test_scores_of_regions_are_scikit_learns() -> None:
    task, outputs, targets = segment_arrays()
    known, result = targets != UNTOLD, scored(task, outputs, targets)
    said, true = outputs.argmax(axis=1)[known], targets[known]
    view = section_of("segment").view(task, result)
    theirs = jaccard_score(true, said, average=None)
    assert view.ious == pytest.approx(theirs)
    assert view.miou == pytest.approx(theirs.mean())
    assert view.miou == pytest.approx(result.metrics["miou"])
    assert view.intervals[0].low < view.miou < view.intervals[0].high
    precision, recall, dice, pixels = precision_recall_fscore_support(true, said)
    for score in view.scores:
        i = score.index
        assert (score.dice, score.precision, score.recall) == pytest.approx((dice[i], precision[i], recall[i]))
        assert score.pixels == pixels[i]
        assert score.iou_interval.low <= score.iou <= score.iou_interval.high
    constant = np.zeros_like(true)
    assert view.floor == pytest.approx(jaccard_score(true, constant, average="macro", zero_division=0))
    assert f1_score(true, said, average="macro") == pytest.approx(result.metrics["dice"])


@pytest.mark.parametrize(("skill", "says"), [(3.0, "better than that"), (0.0, "does worse")])
def test_a_verdict_on_regions_weighs_them_against_one_answer_for_all(
    skill: float, says: str, report_of: Report
) -> None:
    said = summary.verdict(report_of("segment", skill=skill))
    assert said[0].startswith("On the 30 test images, which it had never seen, the model's regions")
    assert said[1].startswith("Answering “ground” for every pixel would give ")
    assert says in said[1]


def test_the_one_object_class_beside_a_ground_has_a_sentence_and_a_title(report_of: Report) -> None:
    task, result = MADE["segment"](labels=("ground", "nucleus"))
    section = section_of("segment")
    view = section.view(task, result)
    assert f"“nucleus” alone has an IoU of {100 * view.ious[1]:.1f}%" in summary.verdict(report_of((task, result)))[2]
    both, true, said = view.regions[3, :, 1]
    assert section.title(task.labels, view, 3) == f"IoU of nucleus {100 * both / (true + said - both):.1f}%"


def test_the_worst_images_are_those_of_the_largest_loss() -> None:
    for name in ("segment", "depth"):
        section, _, result, view = of(name)
        worst, best = section.chosen(view, 3)
        assert list(worst.rows) == np.argsort(-result.losses)[:3].tolist()
        assert list(best.rows) == np.argsort(result.losses)[:3].tolist()


# ------------------------------------------------------------------------------------------------------------- depth


def test_errors_of_pixels_are_numpys_over_known_pixels() -> None:
    task, result = MADE["depth"]()
    view = section_of("depth").view(task, result)
    (named,) = view.scored
    true, said = view.pixels(0)
    assert len(true) == view.sums[..., 0].sum() == 30 * (16 * 16 - 9), "few pixels are all in the sample"
    assert named.of.mae.value == pytest.approx(np.abs(said - true).mean())
    assert named.of.mae.value == pytest.approx(result.metrics["mae"])
    assert named.of.r2.value == pytest.approx(r2_score(true, said))
    assert named.of.usual_mae == pytest.approx(np.abs(true - task.mean[0]).mean())
    assert named.of.mae.interval.low < named.of.mae.value < named.of.mae.interval.high
    assert view.ends[0] == pytest.approx(tuple(np.quantile(true, [0.005, 0.995])))


def test_several_maps_have_errors_of_their_own(report_of: Report) -> None:
    section, _, result, view = of("depth", maps=2)
    assert [named.name for named in view.scored] == ["depth", "albedo"]
    assert {"mae/depth", "rmse/albedo", "r2"} <= set(result.metrics)
    assert "mae" not in result.metrics
    assert set(section.figures(report_of("depth", maps=2), view, "test")) >= {"said_against_true_2", "histogram_1"}


def test_it_is_said_over_how_many_pixels_ratios_are_where_some_truths_are_0(report_of: Report) -> None:
    section, _, _, view = of("depth")
    data, known = report_of("depth"), int(view.sums[..., 0].sum())
    assert view.positive < known or "relative" not in " ".join(section.verdict(data, view, "test"))
    said = section.verdict(data, replace(view, positive=known // 4), "test")[-1]
    assert f"the {known // 4:,} of the {known:,} known test pixels (25.0%) whose truth is above 0" in said
    whole = section.verdict(data, replace(view, positive=known), "test")
    assert not any("above 0" in words for words in whole)


@pytest.mark.parametrize("images", [3, 700])
def test_a_sample_of_pixels_is_every_so_many_th_of_all(images: int) -> None:
    import torch

    task, _ = MADE["depth"]()
    meter = cast(DepthMeter, task.meter())
    everything = torch.arange(images * 21 * 21, dtype=torch.float64).reshape(images, 1, 21, 21)
    for first in range(0, images, 37):
        meter.update(torch.zeros(len(everything[first : first + 37]), 1, 21, 21), everything[first : first + 37])
    kept = meter.sample[:, 1]
    assert len(kept) <= MOST_SAMPLED
    assert len(kept) > MOST_SAMPLED / 2 - 1 or len(kept) == images * 441
    assert len(set(np.diff(kept).tolist())) == 1
    assert kept[0] == 0


# ---------------------------------------------------------------------------------------------------------- the page


OWN = {
    "multilabel": ["classes", "together"],
    "regress": ["numbers"],
    "segment": ["classes", "confusion"],
    "depth": ["numbers"],
}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("multilabel", {}), ("regress", {}), ("regress", {"loss": "nll", "targets": 2}), ("segment", {}),
        ("segment", {"labels": ("ground", "cell")}), ("depth", {}), ("depth", {"maps": 2}),
    ],
)  # fmt: skip
def test_the_page_of_each_task_is_whole(name: str, options: dict[str, Any], tmp_path: Path, report_of: Report) -> None:
    path = write_report(tmp_path, report_of(name, **options))
    made, html = Page(path), path.read_text()
    assert made.open == []
    sections = [attributes["id"] for tag, attributes in made.elements if tag == "section"]
    assert sections == [
        "summary", "training", *OWN[name], "pictures", "attention", "seen", "data", "cost", "choices", "repeat",
    ]  # fmt: skip
    anchors = [value[1:] for tag, attributes in made.elements if tag == "a" for value in [attributes["href"]]]
    assert anchors == sections[1:]
    assert len(made.values("id")) == len(set(made.values("id")))
    for section in (*OWN[name], "pictures"):
        heading = re.search(rf'<section id="{section}">\s*<h2>(.*?)</h2>', html, re.DOTALL)
        assert heading
        assert '<span class="split">test</span>' in heading[1]
    for words in ("None", "nan", "Accuracy", "classes trained"):
        assert words not in made.text
    assert all(value.startswith("data:") for value in made.values("src"))
    assert len(html) < 1_500_000


@pytest.mark.parametrize("name", list(MADE))
def test_one_image_and_none_still_make_a_page(name: str, tmp_path: Path, report_of: Report) -> None:
    task, result = MADE[name](images=1)
    made = Page(write_report(tmp_path / "one", report_of((task, result))))
    assert made.open == []
    assert "nan" not in made.text
    data = replace(report_of((task, result)), evaluations={}, galleries=())
    assert "cannot say how good the model is" in Page(write_report(tmp_path / "none", data)).text


def test_names_of_the_users_cannot_break_out_of_any_page(tmp_path: Path, report_of: Report) -> None:
    task, result = MADE["segment"](labels=("ground", NASTY))
    first = Page(write_report(tmp_path / "a", report_of((task, result))))
    task, result = MADE["multilabel"](labels=("a", NASTY, "b"))
    second = Page(write_report(tmp_path / "b", report_of((task, result))))
    for made in (first, second):
        assert "script" not in {tag for tag, _ in made.elements}
        assert made.text.count(NASTY) > 3


@pytest.mark.parametrize("name", list(MADE))
def test_equal_data_gives_equal_pages(name: str, tmp_path: Path, report_of: Report) -> None:
    first = write_report(tmp_path / "a", report_of(name)).read_bytes()
    assert write_report(tmp_path / "a", report_of(name)).read_bytes() == first


@pytest.mark.parametrize("name", list(MADE))
def test_tables_have_their_columns_and_curves_their_metrics(name: str, report_of: Report) -> None:
    section, _, result, view = of(name)
    rows = section.rows(report_of(name), view)
    assert rows
    assert all(len(row) == len(section.columns) for row in rows)
    drawn = plots.draw(report_of(name))
    assert "loss" in drawn
    shown = {metric for curve in section.curves if curve.name in drawn for metric in curve.columns}
    assert {"f1_macro", "r2", "miou"} & set(result.metrics) <= shown


def test_a_figure_is_a_picture_of_the_numbers(report_of: Report) -> None:
    _, _, _, view = of("regress")
    axes = plots.draw(report_of("regress"))["said_against_true"].axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    assert points == pytest.approx(np.stack([view.true[:, 0], view.said[:, 0]], axis=1))
    assert axes.get_xlabel() == "true (kg)"
    off = np.asarray(plots.draw(report_of("regress"))["residuals"].axes[0].collections[0].get_offsets())
    assert off[:, 1] == pytest.approx((view.said - view.true)[:, 0])


def test_of_many_points_the_density_is_drawn_in_colours_the_page_can_change(report_of: Report) -> None:
    figure = plots.draw(report_of("depth"))["said_against_true"]
    assert len(figure.axes[0].collections[0].get_paths()) > 50
    svg = plots.to_svg(figure, "x", "y")
    assert "fill-opacity" in svg
    assert not re.search(r"(fill|stroke): #[0-9a-f]{6}", svg)


def test_deviations_of_a_single_image_have_no_interval() -> None:
    one = deviation.deviation(deviation.image_sums(np.array([3.0]), np.array([5.0]), 4.0))
    assert (one.mae.value, one.mae.interval, one.r2, one.usual_mae) == (2.0, None, None, 1.0)
