"""Each image's outcome, kept by a run and brought together: its score is the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrail.artifact import load
from vitrail.errors import IntegrityError, UsageError
from vitrail.run import Run, outcomes, start
from vitrail.settings import build
from vitrail.study.outcomes import MEASURES, blind, gather, joint_of, joint_of_folds, measure_of, score_of, scores_of
from vitrail.study.statistics.differences import compare
from vitrail.tasks import create_task
from vitrail.tasks.classify import Classify
from vitrail.tasks.regress import Regress
from vitrail.tasks.segment import Segment

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
    fitted = load(runs["0"].folder).task
    for seed, run in runs.items():
        assert score_of(fitted, found.values[seed]) == pytest.approx(run.metrics["test"][name], abs=1e-5)
    joint = joint_of(fitted, {"vit": list(found.values.values())}, found.groups)
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


def test_an_archive_that_was_cut_or_changed_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / outcomes.FILE
    np.savez_compressed(path, test_keys=np.array(["a", "b"]), test_values=np.ones((2, 1)))
    good = path.read_bytes()
    archive = good.index(b"PK\x01\x02")  # its list of files, whose fourth number says how they are packed
    inside = good.index(b"test_keys.npy") + 40
    changed = [good[:archive] + good[archive:].replace(b"PK\x01\x02", b"PK\x01\x03")]
    changed += [good[: archive + 10] + b"\x63" + good[archive + 11 :], good[:inside] + b"\xff" + good[inside + 1 :]]
    for bad in [*(good[:length] for length in range(0, len(good), 16)), *changed]:
        path.write_bytes(bad)
        with pytest.raises(IntegrityError, match="train that run anew"):
            outcomes.read(path, "test")


def test_the_least_difference_that_matters_is_declared() -> None:
    classes, height = Classify(("a", "b")), Regress(["height"], ["cm"], [0.0], [1.0])
    assert measure_of(classes, None).minimal == 0.01
    assert measure_of(classes, 2.5).minimal == 0.025
    assert measure_of(height, None, best=5.0).minimal == pytest.approx(0.1)
    assert measure_of(height, 0.3, best=5.0).minimal == 0.3
    assert measure_of(height, None).unit == "cm"
    with pytest.raises(UsageError, match="--minimal -1"):
        measure_of(classes, -1)


def test_errors_of_several_numbers_are_told_in_standard_deviations() -> None:
    task = Regress(["height", "price"], ["m", "EUR"], [1.0, 5e5], [0.1, 1e5])
    off = np.array([[0.1, 1e5], [0.2, 0.0]])
    assert score_of(task, off) == pytest.approx(1.0)  # else the price alone would decide
    assert measure_of(task, None, best=1.0).unit == "standard deviations"
    assert joint_of(task, {"a": [off] * 2, "b": [2 * off] * 2}, None).values == pytest.approx([1.0, 2.0])


def test_scores_stay_within_what_a_score_can_be() -> None:
    task, rng = Classify(("a", "b")), np.random.default_rng(0)
    found = joint_of_folds(task, {"a": [(rng.random((4, 1)) < 0.9).astype(float) for _ in range(2)]}, 2, 8)
    assert 0 <= found.interval("a").low < found.interval("a").high <= 1
    assert (found.draws > 1).any(), "else nothing was held back"


def test_models_right_on_the_same_few_images_may_still_differ() -> None:
    task, right = Classify(("a", "b")), np.array([[1.0], [0.0], [1.0], [1.0]])
    joint = joint_of_folds(task, {"a": [right] * 3, "b": [right] * 3}, 3, 12)
    (pair,) = compare(joint, 0.01)
    assert pair.verdict == "cannot tell"
    assert pair.together.high > 0.05
    many = joint_of_folds(task, {"a": [right] * 3, "b": [right] * 3}, 3, 3000)
    assert compare(many, 0.01)[0].verdict == "equal"


def test_a_fold_without_any_label_leaves_the_interval_unknown() -> None:
    task = create_task("multilabel", [["a"], ["b"]], build({"data.source": "x", "task.name": "multilabel"}).task)
    some = np.array([[0.9, 0.1, 1.0, 0.0], [0.2, 0.8, 0.0, 1.0]])
    none = np.array([[0.9, 0.1, 0.0, 0.0]])
    joint = joint_of_folds(task, {"a": [some, none]}, 2, 3)
    assert joint.values[0] == 1
    assert not joint.interval("a").known


@pytest.mark.parametrize(("task", "values", "targets", "trained", "score"), [
    ("classify", [[1.0]] * 4, ["a", "b", "b", "a"], ["b", "b", "a"], 0.5),
    ("regress", [[9.0]] * 2, [1.0, 5.0], [2.0, 4.0], 2.0),
    ("multilabel", [[0.9, 0.9, 1, 0], [0.1, 0.9, 0, 0]], [["a"], []], [["a"], ["b"]], 0.5),
])  # fmt: skip
def test_who_never_looks_scores_this(
    task: str, values: list[list[float]], targets: list[Any], trained: list[Any], score: float
) -> None:
    made = create_task(task, trained, build({"data.source": "x", "task.name": task}).task)
    found = blind(made, np.array(values), targets, trained)
    assert found is not None
    assert found.score == pytest.approx(score)


def test_the_largest_class_everywhere_is_what_a_mask_scores_unseen() -> None:
    task = Segment(("ground", "cat", "dog"), (0, 1, 2))
    values = np.array([[1.0, 0, 0, 3, 1, 0, 1, 1, 2], [0, 1, 0, 3, 1, 0, 0, 4, 0]])
    found = blind(task, values, [], [])
    assert found is not None
    assert found.score == pytest.approx(6 / 8 / 2)


def test_an_image_that_counts_twice_weighs_twice() -> None:
    outcomes = np.array([[1.0], [0.0], [0.0]])
    assert scores_of(Classify(("a", "b")), outcomes, np.array([[1.0, 1, 1], [4, 1, 0]])) == pytest.approx([1 / 3, 0.8])
