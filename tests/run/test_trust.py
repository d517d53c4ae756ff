"""What a run's report says of its explanations: within a share of training, and in words where that is too little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_settings import SHAPES

from vitrail.assemble import create_model
from vitrail.explain.trust.table import ALONE
from vitrail.run import start, trust
from vitrail.run.trust import MOST, MOST_PASSES, afforded, costs, drawn


def test_a_short_run_leaves_it_out_and_says_why(tmp_path: Path) -> None:
    run = start({**SHAPES, "data.source": "shapes", "data.shapes.length": 120}, out=tmp_path / "r")
    page = (run.folder / "report.html").read_text()
    assert 'id="trust"' not in page
    assert "How far to trust these pictures is not known: scoring explanations on 16 images takes up to" in page
    assert "scoring explanations" not in (run.folder / "train.log").read_text()


def test_too_few_held_out_images_are_said_to_be_too_few(tmp_path: Path) -> None:
    run = start({**SHAPES, "data.source": "shapes"}, out=tmp_path / "r", quiet=True)
    assert "test images are too few to score explanations on" in (run.folder / "report.html").read_text()


@pytest.mark.parametrize("target", ["class", "mask"])
def test_a_run_that_can_afford_it_has_the_table_and_repeats_it_to_the_digit(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "SHARE", {"none": 60.0})
    stated = {**SHAPES, "data.source": "shapes", "data.shapes.length": 120, "data.target": target}
    tables = []
    for name in ("a", "b"):
        page = (start(stated, out=tmp_path / name).folder / "report.html").read_text()
        assert 'href="#trust"' in page
        tables.append(page[page.index('<section id="trust">') : page.index('<section id="seen">')])
    assert tables[0] == tables[1]
    assert "scoring explanations on " in (tmp_path / "a" / "train.log").read_text()
    assert "centre prior" in tables[0]
    assert (">Pointing<" in tables[0]) == (target == "class")  # a model that says ground alone names no object


@pytest.mark.parametrize("name", ["vit_tiny", "swin_tiny", "resnet18"])
def test_a_long_run_scores_part_by_part_and_every_plan_costs_no_more_than_there_is(name: str) -> None:
    """Shuffled models explain only the first few images: a plan of 48 takes less than 48 times that of one."""
    small = {"depth": 2} if name.startswith("vit") else {"depths": (1, 1, 1, 1)}
    model = create_model(name, "classify", 3, image_size=64, **small)
    plans = trust._plans(model)
    plan, count = afforded(model, plans, 1000, MOST_PASSES)
    assert (plan, count) == (plans[0], MOST)
    assert set(ALONE) < set(plan.levels)
    least, most = costs(model, 1000)
    assert most == plan.passes(model, MOST)
    for budget in (least - 1, least, 3 * least, most - 1):
        plan, count = afforded(model, plans, 1000, budget)
        assert bool(count) == (budget >= least)
        assert plan.passes(model, count) <= budget
        assert count in (0, MOST) or plan.passes(model, count + 1) > budget


def test_the_images_are_drawn_by_their_number_alone() -> None:
    assert drawn(range(100), 10) == drawn(np.arange(100), 10)
    assert drawn(range(5), 10) == [0, 1, 2, 3, 4]
    chosen = drawn(range(0, 1000, 10), 30)
    assert chosen == sorted(set(chosen))
    assert chosen != list(range(0, 300, 10))
