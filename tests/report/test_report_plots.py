from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from vitrail.errors import TrainingError
from vitrail.report import plots
from vitrail.report.data import ReportData

Make = Callable[..., ReportData]


def test_every_figure_becomes_a_png_of_a_useful_size(run_data: ReportData, tmp_path: Path) -> None:
    paths = plots.write_figures(tmp_path / "figures", plots.draw(run_data))
    assert [path.name for path in paths] == [
        "loss.png", "metrics.png", "learning_rate.png", "reliability.png", "confusion.png",
    ]  # fmt: skip
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 400
            assert image.getpixel((0, 0))[:3] == (255, 255, 255)


def test_equal_data_gives_equal_bytes(make_run: Make) -> None:
    first, second = (plots.draw(make_run(["a", "b", "c"])) for _ in range(2))
    for name in first:
        assert plots.to_png(first[name]) == plots.to_png(second[name])
        assert plots.to_svg(first[name], name, "") == plots.to_svg(second[name], name, "")


def test_svg_is_whole_takes_the_pages_colours_and_asks_for_nothing(run_data: ReportData) -> None:
    figures = plots.draw(run_data)
    for name in ("loss", "metrics", "learning_rate", "reliability"):
        svg = plots.to_svg(figures[name], name, 'says "it" & more')
        root = ElementTree.fromstring(svg)
        assert root.attrib["aria-label"] == 'says "it" & more'
        assert "http" not in svg
        assert not re.search(r"(fill|stroke): #[0-9a-f]{6}", svg), "every colour is one of the page's"
        assert not re.search(r"<(style|metadata|script|image)", svg)
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert all(identity.startswith(f"{name}-") for identity in ids)
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
        assert set(used) <= set(ids)
        assert "".join(root.itertext()).strip(), "text stays text"


def test_drawn_curves_are_the_history(make_run: Make) -> None:
    history = [{"epoch": n, "train/loss": 2.0 / n, "val/loss": "" if n == 2 else 3.0 / n} for n in (1, 2, 3)]
    axes = plots.draw(make_run(history=history, best_epoch=3))["loss"].axes[0]
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines["train"] == [[1, 2.0], [2, 1.0], [3, 2.0 / 3]]
    assert lines["val"] == [[1, 3.0], [3, 1.0]]
    assert "kept" in lines


def test_lines_differ_in_more_than_colour(run_data: ReportData) -> None:
    axes = plots.draw(run_data)["metrics"].axes[0]
    dashes = [str(line._unscaled_dash_pattern) for line in axes.get_lines()]
    assert len(set(dashes)) == len(dashes)


@pytest.mark.parametrize(
    "name", ["猫咪", "🐈‍⬛🏳️‍🌈", "قطة", "$\\frac{1}{0}$ $x^", "a\nb\x07", "%s {x} \\", "x" * 300, ""]
)
def test_no_class_name_stops_a_figure_or_warns(name: str, make_run: Make) -> None:
    figures = plots.draw(make_run([name, "other"], images=50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key, figure in figures.items():
            assert plots.to_png(figure)
            assert plots.to_svg(figure, key, name)


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "train/loss": 1.0}], [{"epoch": 1, "val/loss": float("nan")}]])
def test_short_and_empty_histories_are_drawn_or_left_out(history: list[dict[str, float]], make_run: Make) -> None:
    figures = plots.draw(make_run(history=history, best_epoch=None))
    assert ("loss" in figures) == bool(history)
    for figure in figures.values():
        assert plots.to_png(figure)


def test_more_classes_than_can_be_read_are_not_drawn(make_run: Make) -> None:
    assert "confusion" not in plots.draw(make_run([f"class {n}" for n in range(51)], images=300))


def test_cells_of_the_confusion_figure_are_counts(make_run: Make) -> None:
    data = make_run(["a", "b", "c"], images=90, skill=1.0)
    matrix = data.evaluations["test"].confusion
    axes = plots.draw(data)["confusion"].axes[0]
    texts = {(int(t.get_position()[1]), int(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert texts == {(r, c): n for (r, c), n in np.ndenumerate(matrix) if n}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_the_users_own_matplotlib_settings_neither_matter_nor_change(run_data: ReportData) -> None:
    plain = plots.to_png(plots.draw(run_data)["loss"])
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert plots.to_png(plots.draw(run_data)["loss"]) == plain
        assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_loaded() -> None:
    code = "import sys, vitrail.report.html; assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_figures_that_cannot_be_written_are_told_in_words(run_data: ReportData, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("")
    with pytest.raises(TrainingError, match="cannot write figures"):
        plots.write_figures(tmp_path / "figures", {})


def test_png_has_no_date_and_no_author(run_data: ReportData) -> None:
    with Image.open(io.BytesIO(plots.to_png(plots.draw(run_data)["loss"]))) as image:
        assert set(image.info) <= {"dpi"}
