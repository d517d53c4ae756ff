"""predictions.csv of a run: one row per sample, failures included, written as `predict` writes."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vitrail.contracts import Failure, Item, Task
from vitrail.evaluate.evaluator import Evaluation
from vitrail.run.finish import columns, write_predictions
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task


def _evaluation(task: Task, raw: Any, keys: tuple[str, ...], failures: tuple[Failure, ...] = ()) -> Evaluation:
    count, outputs = np.arange(len(keys)), np.array(raw, np.float32)
    answers = tuple(task.decode(outputs, keys))
    return Evaluation({}, outputs, count, count.astype(np.float32), count, keys, failures, answers)


def test_every_sample_of_every_split_has_its_row_in_order(tmp_path: Path) -> None:
    items = [Item('cat/"a", b.png', "cat"), Item("cat/broken.png", "cat"), Item("dog/c.png", "dog")]
    splits = {"val": [2], "test": [1, 0]}
    data: Any = SimpleNamespace(source=SimpleNamespace(items=items), indices=splits.__getitem__)
    task = create_task("classify", ["cat", "dog"])
    results = {
        "val": _evaluation(task, [[0, 2]], ("dog/c.png",)),
        "test": _evaluation(task, [[0, 0.5]], ('cat/"a", b.png',), (Failure("cat/broken.png", "truncated"),)),
    }
    write_predictions(tmp_path / "p.csv", task, data, results)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "status", "reason", "label", "confidence", "target", "split"],
        ["dog/c.png", "ok", "", "dog", "0.880797", "dog", "val"],
        ["cat/broken.png", "failed", "truncated", "", "", "cat", "test"],
        ['cat/"a", b.png', "ok", "", "dog", "0.622459", "cat", "test"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_a_true_number_stands_before_what_was_said_of_it_and_true_labels_after() -> None:
    assert columns(create_task("multilabel", [["a"], ["b"]])) == ["labels", "scores", "target", "split"]
    assert columns(create_task("segment", [np.eye(4, dtype=np.uint8)])) == ["classes", "shares", "split"]
    several = create_task("regress", [(1, 5), (2, 9)], TaskConfig(name="regress", loss="nll"), ["mass [kg]", "age"])
    assert columns(several) == ["mass", "mass_pred", "mass_std", "age", "age_pred", "age_std", "split"]


def test_numbers_have_their_truth_even_where_the_image_failed(tmp_path: Path) -> None:
    items = [Item("a.png", 12.5), Item("b.png", 7)]
    data: Any = SimpleNamespace(source=SimpleNamespace(items=items), indices={"test": [0, 1]}.__getitem__)
    task = create_task("regress", [10.0, 14.0], named=["target"])
    results = {"test": _evaluation(task, [[0.5]], ("a.png",), (Failure("b.png", "truncated"),))}
    write_predictions(tmp_path / "p.csv", task, data, results)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "path,status,reason,target,target_pred,split",
        "a.png,ok,,12.500000,13.000000,test",
        "b.png,failed,truncated,7.000000,,test",
    ]
