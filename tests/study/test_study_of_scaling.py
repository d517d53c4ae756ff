"""A study of scaling: the family it grows, what it writes, that it goes on after Ctrl-C, what it refuses and says."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_compare import TINY, few_digits
from worlds_of_learning import scores

from vitrail.cli.main import main
from vitrail.errors import UsageError
from vitrail.models.vit import ViTConfig
from vitrail.run import Run
from vitrail.study import runner
from vitrail.study.compare_plan import PAGE
from vitrail.study.folder import Study
from vitrail.study.scaling import results, words
from vitrail.study.scaling.results import Results, Sized, Spent, at
from vitrail.study.scaling.sizes import DEPTH, HIDDEN, WIDTH, grown, shapes
from vitrail.study.statistics.budgets import best_size
from vitrail.study.statistics.recommendation import Measure
from vitrail.training.journal import duration

# ------------------------------------------------------------------------------------------------------- the family


def test_sizes_grow_by_the_exponents_of_the_table() -> None:
    assert (WIDTH, DEPTH, HIDDEN) == (0.22, 0.45, 0.60)  # reference/TABLES.md 3.1
    family = shapes("vit", 5)
    for small, large in pairwise(family):
        ratios = [b / a for a, b in zip(small.asked, large.asked, strict=True)]
        assert ratios == pytest.approx([2**WIDTH, 2**DEPTH, 2**HIDDEN])
    last = family[-1]
    assert (last.width, last.depth, last.heads, last.hidden) == (192, 12, 3, 768)  # vit_tiny itself


def test_rounding_keeps_shapes_near_what_was_asked_and_whole_in_heads() -> None:
    for shape in shapes("vit", 8, 16.0):
        width, depth, hidden = shape.asked
        assert shape.width % shape.heads == shape.hidden % 4 == 0
        assert abs(shape.width - width) <= 2 * shape.heads
        assert abs(shape.depth - depth) <= 0.5
        assert abs(shape.hidden - hidden) <= 2
        assert 40 <= shape.width / shape.heads <= 90


def test_a_step_from_sovit_150m_comes_near_sovit_400m() -> None:
    small = ViTConfig(width=880, depth=18, hidden=2320, heads=11, patch_size=14)  # reference/TABLES.md 3.1
    made = grown(small, "vit", 2.8)
    for got, published in ((made.width, 1152), (made.depth, 27), (made.hidden, 4304)):
        assert got == pytest.approx(published, rel=0.08)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("vitt", 5, 1.0), "did you mean 'vit'"),
        (("swin", 5, 1.0), "--family"),
        (("vit", 4, 1.0), "--sizes 4: give 5"),
        (("vit", 5, 0.0), "--largest 0"),
        (("vit", 12, 1e-9), "two sizes would be the same"),
    ],
)
def test_a_family_that_cannot_be_grown_is_refused_in_words(given: tuple[str, int, float], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        shapes(*given)


# -------------------------------------------------------------------------------- what is said of errors that are known


def study(table: Sequence[Sequence[float]], seeds: int = 2, images: int = 4000, step: float = 2.0) -> Results:
    """What errors (budgets, 5 sizes) say."""
    family = shapes("vit", 5)
    sizes = tuple(Sized(shape, int(4e5 * 2**place), 1e9 * 2**place) for place, shape in enumerate(family))
    truth = {at(s.label, b): error for b, row in enumerate(table) for s, error in zip(sizes, row, strict=True)}
    errors = scores(truth, seeds, images).errors()
    budgets = []
    for place in range(len(table)):
        names = [at(size.label, place) for size in sizes]
        seen = {size.label: errors.interval(name) for size, name in zip(sizes, names, strict=True)}
        optimum = best_size([size.parameters for size in sizes], errors.select(names))
        flops = 1e12 * step**place
        best = min(seen, key=lambda label: seen[label].value)
        budgets.append(Spent(flops, dict.fromkeys(seen, flops), seen, dict.fromkeys(seen, 9.0), best, optimum))
    law = results.law(budgets, errors)
    return Results("classify", "test", Measure(), seeds, errors.units, "test images", 0, sizes, tuple(budgets), law,
                   results.growth(budgets), {})  # fmt: skip


def bowl(budget: int, exponent: float = 0.5, bend: float = 0.05) -> list[float]:
    """Errors over sizes whose lowest lies where budget ^ exponent says, and falls as budget ^ -0.3."""
    centre = 1.0 + exponent * budget
    return [0.4 * 2 ** (-0.3 * budget) + bend * (place - centre) ** 2 for place in range(5)]


def test_the_best_size_and_its_growth_are_recovered_and_said() -> None:
    found = study([bowl(b) for b in range(5)])
    optimum = found.budgets[-1].optimum
    assert optimum is not None
    assert optimum.size.value == pytest.approx(4e5 * 2**3, rel=0.1)
    assert words.verdict(found)[1].startswith("The best size, by the curve through all sizes, is 3.2")
    assert found.growth is not None
    assert found.growth.exponent.value == pytest.approx(0.5, abs=0.05)
    assert words.of_growth(found)[0].startswith("The best size grows as the budget to the power of 0.5")


def test_error_that_falls_to_the_largest_size_is_said_to_and_no_growth_is_told() -> None:
    found = study([[0.5 - 0.06 * place - 0.01 * b for place in range(5)] for b in range(4)])
    assert "Error still falls at the largest size: the best is above 6.4 million" in words.verdict(found)[1]
    assert "cannot be told" in words.of_growth(found)[0] or "not told" in words.of_growth(found)[0]


def test_sizes_that_are_alike_have_no_best() -> None:
    found = study([[0.3] * 5] * 4, images=400)
    assert "too alike, or too few, to tell the best" in words.verdict(found)[1]
    assert words.best(found).count("vit-w") == 5
    assert "may do as well" in words.best(found)


def test_a_range_too_small_to_tell_the_exponent_is_said_to_be() -> None:
    said = " ".join(words.of_law(study([bowl(b) for b in range(5)], images=300, step=1.3)))
    assert "is too small to tell the exponent" in said
    assert "Its published exponents are of other data and far more compute, and are not compared." in said
    assert "5 points are few" in said


def test_too_few_budgets_have_no_law() -> None:
    found = study([bowl(b) for b in range(3)])
    assert found.law is None
    assert words.of_law(found) == [
        "A law of error and compute needs 4 budgets, and 5 for the published form; there are 3."
    ]


def test_a_budget_that_was_missed_is_not_to_be_built_on() -> None:
    table = [bowl(b) for b in range(4)] + [[0.02 + error - min(bowl(4)) for error in bowl(4)]]
    said = " ".join(words.of_law(study(table)))
    assert "Do not build on that: from the smaller budgets alone" in said
    seen = float(re.findall(r"and ([\d.]+) was seen", said)[0])
    assert seen == pytest.approx(2, abs=0.3)


def test_one_seed_is_said_to_leave_out_what_another_would_give() -> None:
    assert "Each was trained once" in words.verdict(study([bowl(b) for b in range(5)], seeds=1))[-1]


# ------------------------------------------------------------------------------------------------------ a whole study


def told(folder: Path, *more: str) -> list[str]:
    return [
        "study", "scaling", "digits", "--largest", "0.01", "--budgets", "2", "--rates", "1", "model.patch_size=4",
        *TINY, "--split-file", str(few_digits(folder)), *more,
    ]  # fmt: skip


def table(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_study_that_was_interrupted_goes_on_and_every_size_has_every_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, begun = runner.start, []

    def start(stated: Any, **given: Any) -> Run:
        begun.append(given["out"].name)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return real(stated, **given)

    out = tmp_path / "study"
    monkeypatch.setattr(runner, "start", start)
    assert main([*told(tmp_path, "--epochs", "2"), "--out", str(out)]) == 130
    study = Study.open(out, "scaling")
    assert (study.state, study.record["cells"][begun[3]]["state"]) == ("interrupted", "interrupted")
    assert main(["study", "scaling", "--resume", str(out)]) == 0
    assert len(begun) == 11, "the three that had finished were not begun again"
    last = [line for line in capsys.readouterr().err.splitlines() if line.endswith(" left)")][-1]
    assert last.endswith(f"; about {duration(PAGE)} left)"), "after the last cell the report alone is left"
    assert begun[3] == begun[4]
    rows = table(out / "results.csv")
    assert len(rows) == 10
    for budget in ("1", "2"):
        flops = [float(row["flops"]) for row in rows if row["budget"] == budget]
        assert max(flops) / min(flops) < 1.06, "all sizes have the same compute, but for rounding"
    largest = [row for row in rows if row["budget"] == "2"][-1]
    (cell,) = largest["cells"].split()
    run = Run.open(out / cell)
    assert run.config.train.epochs == float(largest["epochs"]) == 2
    assert run.metrics["test"]["accuracy"] == pytest.approx(1 - float(largest["error"]), abs=1e-5)
    assert float(largest["flops"]) == pytest.approx(2 * 160 * float(largest["flops_per_image"]), rel=1e-4)
    page = (out / "report.html").read_text()
    for anchor in ("budgets", "sizes", "method", "limits", "traces"):
        assert f'id="{anchor}"' in page
    assert "there are 2" in page
    assert (out / "figures" / "iso.png").is_file()
    assert np.isfinite([float(row["error_low"]) for row in rows]).all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "Give --time, such as --time 30m, or --epochs"),
        (["--family", "swin", "--epochs", "1"], "--family"),
        (["--budgets", "1", "--epochs", "1"], "--budgets 1: give 2"),
        (["--epochs", "1", "model.options.width=64"], "model.options.width is what the sizes differ in"),
        (["--time", "1s"], "is too little here"),
        (["--epochs", "1", "--time", "1m"], "leave one out"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    more: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*told(tmp_path), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
