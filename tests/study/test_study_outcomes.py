"""Each image's outcome, kept by a run and brought together: its score is the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrail.errors import IntegrityError, UsageError
from vitrail.run import Run, outcomes, start
from vitrail.study.outcomes import MEASURES, gather, joint_of, measure_of, score_of

TINY: dict[str, Any] = {
    "data.source": "shapes", "data.shapes.size": 16, "data.shapes.length": 80, "model.name": "vit_tiny",
    "model.image_size": 16, "model.patch_size": 4, "model.options.depth": 1, "model.options.width": 16,
    "model.options.heads": 2, "model.options.hidden": 32, "train.epochs": 1, "train.batch_size": 8, "device": "cpu",
    "report.explanations": False,
}  # fmt: skip


@pytest.mark.parametrize("task", sorted(MEASURES))
def test_the_score_of_the_outcomes_is_the_runs_own(task: str, tmp_path: Path) -> None:
    target = {"regress": {"data.target": "count"}}.get(task, {})
    runs = {
        str(seed): start({**TINY, **target, "task.name": task, "seed": seed}, out=tmp_path / str(seed), quiet=True)
        for seed in (0, 1)
    }
    found = gather(runs, "test")
    assert len(found.keys) == 12
    assert found.lost == 0
    name = MEASURES[task].name
    for seed, run in runs.items():
        assert score_of(task, found.values[seed]) == pytest.approx(run.metrics["test"][name], abs=1e-5)
    joint = joint_of(task, {"vit": list(found.values.values())}, found.groups)
    assert joint.values[0] == pytest.approx(np.mean([run.metrics["test"][name] for run in runs.values()]), abs=1e-5)
    assert joint.interval("vit").known
    if task == "classify":
        assert not (runs["0"].folder / "explain.html").exists()
        assert "report.explanations=false" in (runs["0"].folder / "report.html").read_text()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"outcomes.npz is missing, damaged or without test"):
        gather({"a": Run(tmp_path)}, "test")
    (tmp_path / outcomes.FILE).write_bytes(b"no archive")
    with pytest.raises(IntegrityError, match=r"train that run anew"):
        gather({"a": Run(tmp_path)}, "test")


def test_the_least_difference_that_matters_is_declared() -> None:
    assert measure_of("classify", None).minimal == 0.01
    assert measure_of("classify", 2.5).minimal == 0.025
    assert measure_of("regress", None, best=5.0).minimal == pytest.approx(0.1)
    assert measure_of("regress", 0.3, best=5.0).minimal == 0.3
    with pytest.raises(UsageError, match="--minimal -1"):
        measure_of("classify", -1)
