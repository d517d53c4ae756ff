"""predictions.csv of a run: one row per sample, failures included, written as `predict` writes."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitrail.contracts import Failure, Item, Task
from vitrail.errors import DataError
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


@pytest.mark.parametrize(
    ("names", "loss", "says"),
    [
        (["path"], "huber", "the target 'path' would stand in predictions.csv under the name of its column 'path'"),
        (["age", "status [x]"], "huber", "its column 'status': rename it in the data, and in --target"),
        (["reason"], "huber", "its column 'reason'"),
        (["split (cm)"], "huber", "its column 'split'"),
        (["a", "a_pred"], "huber", "'a' and 'a_pred' would both make a column 'a_pred' in .*: rename 'a_pred'"),
        (["a_std", "a"], "nll", "'a_std' and 'a' would both make a column 'a_std' in .*: rename 'a_std'"),
        (["a", "a [kg]"], "huber", "a target stands twice among a, a: rename one"),
        (["a_std", "a"], "huber", None),
        (["path_pred", "Path", "status_std"], "nll", None),
    ],
)
def test_numbers_whose_columns_would_be_taken_are_refused(names: list[str], loss: str, says: str | None) -> None:
    rows = [tuple(range(len(names))), tuple(range(5, 5 + len(names)))]
    config = TaskConfig(name="regress", loss=loss)
    if says is not None:
        with pytest.raises(DataError, match=says):
            create_task("regress", rows, config, names)
        return
    made = ["path", "status", "reason", *columns(create_task("regress", rows, config, names))]
    assert len(set(made)) == len(made)


def test_maps_of_one_name_or_none_are_refused() -> None:
    maps = [np.stack([np.eye(4), np.eye(4)])]
    for labels, says in ((("a [m]", "a [s]"), "a map stands twice among a, a"), (("", "b"), "a map has no name")):
        with pytest.raises(DataError, match=says):
            create_task("depth", maps, TaskConfig(name="depth", labels=labels))
    made = create_task("depth", maps, TaskConfig(name="depth", labels=("path", "path_mean")))
    assert len(set(columns(made))) == len(columns(made)) == 7


@pytest.mark.parametrize("label", ["a;b", ""])
def test_labels_that_a_list_in_a_cell_could_not_tell_apart_are_refused(label: str) -> None:
    says = "'a;b' has a ';', which parts one label from the next in predictions.csv: rename it" if label else "no name"
    with pytest.raises(DataError, match=says):
        create_task("multilabel", [[label, "c"], ["c"]])
    with pytest.raises(DataError, match=says.replace("label", "class")):
        create_task("segment", [np.eye(4, dtype=np.uint8)], TaskConfig(name="segment", labels=("c", label)))
    assert create_task("classify", ["a;b", "c"]).truth("a;b") == {"target": "a;b"}  # one class a cell
    assert create_task("multilabel", ["a; b", "c"]).truth("a; b") == {"target": "a;b"}  # one text: two labels
