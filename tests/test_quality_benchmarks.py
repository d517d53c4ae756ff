"""The arithmetic and the bookkeeping of benchmarks/quality, without training anything."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "quality"
NAMES = ("arms", "book", "commands", "cells", "table", "cifar10_slice", "caltech24", "digits", "ablation")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The scripts, imported as they import each other."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)


def test_an_interval_is_that_of_a_paired_t_test(scripts: dict[str, ModuleType]) -> None:
    ours, theirs = {0: 0.61, 1: 0.66, 2: 0.64, 7: 0.1}, {0: 0.58, 1: 0.60, 2: 0.63, 8: 0.9}
    mean, half, count = scripts["table"].paired(ours, theirs)
    interval = stats.ttest_rel([0.61, 0.66, 0.64], [0.58, 0.60, 0.63]).confidence_interval(0.95)
    assert count == 3
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))
    assert scripts["table"].paired({0: 1.0}, {1: 1.0}) is None


def test_what_is_lost_without_a_part_decides_on_it(scripts: dict[str, ModuleType]) -> None:
    verdict = scripts["table"].verdict
    assert [verdict((-0.03, 0.01, 3)), verdict((0.03, 0.01, 3)), verdict((-0.03, 0.05, 3))] == ["keep", "drop", "open"]
    assert verdict((-0.03, float("inf"), 1)) == "open"


def test_models_of_an_arm_are_of_like_size(scripts: dict[str, ModuleType]) -> None:
    arms = scripts["arms"]
    data = scripts["digits"].DIGITS
    target = arms.count("vit_tiny", data, data.vit)
    for model in arms.SHAPES:
        fields = arms.sized(model, data, target)
        options = {key.removeprefix("model.options."): value for key, value in fields.items() if key != "model.name"}
        assert abs(arms.count(model, data, options) / target - 1) <= 0.1
    with pytest.raises(SystemExit, match="comes in no size within 10 %"):
        arms.sized("pvt_v2_b0", data, 100)


def test_every_arm_states_fields_that_there_are(scripts: dict[str, ModuleType]) -> None:
    from vitrail.settings import build

    data = scripts["digits"].DIGITS
    sets = {"digits": scripts["arms"].arms(data), "ablation": scripts["ablation"].arms(data)}
    for found in sets.values():
        for arm in found.values():
            build({"data.source": "digits", **arm.fields})
            assert arm.teacher in (*found, "")
            assert arm.rate in (*found, "")


def line(arm: str, seed: int, rate: float | None, tuning: bool, val: float) -> dict[str, object]:
    return {"arm": arm, "seed": seed, "rate": rate, "tuning": tuning, "val": {"accuracy": val}, "seconds": 10.0}


def test_rates_are_tuned_on_validation_before_seeds_are_trained(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    cells = scripts["cells"]
    book = scripts["book"].Book(tmp_path / "results.jsonl")
    options = argparse.Namespace(rates="0.1,0.2", stage="all", seeds=2)
    arm = scripts["arms"].Arm
    arms = {"recipe": arm("recipe", {}), "token": arm("token", {}, rate="recipe")}
    order = []
    for cell in cells._cells(options, ["recipe", "token"], arms, book):
        order.append(cell)
        with book.path.open("a") as file:
            file.write(json.dumps(line(cell.arm, cell.seed, cell.rate, cell.tuning, cell.rate or 0.0)) + "\n")
    assert [(c.arm, c.seed, c.rate) for c in order] == [
        ("recipe", 100, 0.1), ("recipe", 100, 0.2),
        ("recipe", 0, 0.2), ("token", 0, 0.2), ("recipe", 1, 0.2), ("token", 1, 0.2),
    ]  # fmt: skip


def test_what_is_written_down_is_not_trained_again(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(line("recipe", 0, None, False, 0.5)) + "\n")
    book = scripts["book"].Book(path)
    assert book.has(scripts["book"].Cell("recipe", 0, None))
    assert not book.has(scripts["book"].Cell("recipe", 1, None))
    assert not book.has(scripts["book"].Cell("recipe", 0, 0.1))


def test_a_slice_has_as_many_of_each_class_and_is_drawn_by_its_seed(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    for split, each in (("train", 40), ("test", 10)):
        with zipfile.ZipFile(tmp_path / f"cifar10_{split}.zip", "w") as archive:
            for label in ("cat", "dog"):
                for number in range(each):
                    archive.writestr(f"{split}/{label}/{number:04}.jpg", f"{label} {number}")
    unpack = scripts["cifar10_slice"].unpack
    made = unpack(tmp_path, tmp_path / "out", 0.25, 0)
    names = {
        split: sorted(p.relative_to(made / split) for p in (made / split).rglob("*.jpg")) for split in ("train", "test")
    }
    assert Counter(path.parts[0] for path in names["train"]) == {"cat": 10, "dog": 10}
    assert len(names["test"]) == 20
    other = unpack(tmp_path, tmp_path / "out", 0.25, 1)
    assert sorted(p.relative_to(other / "train") for p in (other / "train").rglob("*.jpg")) != names["train"]
    again = unpack(tmp_path, tmp_path / "elsewhere", 0.25, 0)
    assert sorted(p.relative_to(again / "train") for p in (again / "train").rglob("*.jpg")) == names["train"]
