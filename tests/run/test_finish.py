"""predictions.csv of a run: one row per sample, failures included, written as `predict` writes."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vitrail.contracts import Failure, Item
from vitrail.evaluate.evaluator import Evaluation
from vitrail.run.finish import write_predictions
from vitrail.tasks import create_task


TASK = create_task("classify", ["cat", "dog"])


def _evaluation(logits: Any, keys: tuple[str, ...], failures: tuple[Failure, ...]) -> Evaluation:
    count, outputs = np.arange(len(keys)), np.array(logits, np.float32)
    answers = tuple(TASK.decode(outputs, keys))
    return Evaluation({}, outputs, count, count.astype(np.float32), count, keys, failures, answers)


def test_every_sample_of_every_split_has_its_row_in_order(tmp_path: Path) -> None:
    items = [Item('cat/"a", b.png', "cat"), Item("cat/broken.png", "cat"), Item("dog/c.png", "dog")]
    splits = {"val": [2], "test": [1, 0]}
    data: Any = SimpleNamespace(source=SimpleNamespace(items=items), indices=splits.__getitem__)
    results = {
        "val": _evaluation([[0, 2]], ("dog/c.png",), ()),
        "test": _evaluation([[0, 0.5]], ('cat/"a", b.png',), (Failure("cat/broken.png", "truncated"),)),
    }
    write_predictions(tmp_path / "p.csv", TASK, data, results)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "status", "reason", "label", "confidence", "target", "split"],
        ["dog/c.png", "ok", "", "dog", "0.880797", "dog", "val"],
        ["cat/broken.png", "failed", "truncated", "", "", "cat", "test"],
        ['cat/"a", b.png', "ok", "", "dog", "0.622459", "cat", "test"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
