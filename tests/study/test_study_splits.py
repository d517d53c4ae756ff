"""Splits of a study: parts inside each other, folds that cover everything once, files that runs obey."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.contracts import Hints, Pixels
from vitrail.data.audit import Audit, scan
from vitrail.data.items import Items
from vitrail.data.sources import open_source
from vitrail.data.split import Split, make_split
from vitrail.errors import DataError
from vitrail.run.prepare import Data
from vitrail.settings import DataConfig
from vitrail.study import splits

EIGHTHS = [Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1)]


class Listed:
    """Samples that are only listed."""

    name = location = "listed"
    target_names: tuple[str, ...] = ()
    hints = Hints()

    def __init__(self, targets: Sequence[Any], groups: Sequence[str | None] | None = None) -> None:
        self.items = Items([f"{i:04d}" for i in range(len(targets))], targets, None, groups)

    def read(self, index: int, channels: int) -> Pixels:
        raise AssertionError("no image is read to divide them")

    def content(self, index: int) -> bytes:
        return self.items[index].key.encode()


def divided(targets: Sequence[Any], task: str = "classify", groups: Sequence[str | None] | None = None) -> Data:
    source, count = Listed(targets, groups), len(targets)
    content = tuple(hashlib.sha256(str(i).encode()).hexdigest() for i in range(count))
    audit = Audit(count, tuple(range(count)), (), (), (), ((8, 8),) * count, ("",) * count, content)
    return Data(source, audit, make_split(source, audit.usable, content, DataConfig(source="listed"), task))


def test_a_smaller_part_is_inside_a_larger_one_and_classes_keep_their_shares() -> None:
    targets = ["a"] * 300 + ["b"] * 100 + ["c"] * 4
    data = divided(targets)
    parts = [splits.part(data, "classify", fraction, 0) for fraction in EIGHTHS]
    for small, large in pairwise(parts):
        assert set(small["train"]) < set(large["train"])
    for fraction, part in zip(EIGHTHS, parts, strict=True):
        counts = Counter(targets[i] for i in part["train"])
        assert abs(len(part["train"]) - fraction * len(data.split.train)) <= 1
        assert abs(counts["a"] - fraction * 210) <= 1.5
        assert abs(counts["b"] - fraction * 70) <= 1.5
        assert counts["c"] >= 1
        assert (part["val"], part["test"]) == (data.indices("val"), data.indices("test"))
    assert parts[-1]["train"] == data.indices("train")


def test_a_part_is_a_function_of_data_and_seed_alone() -> None:
    data = divided(["a", "b"] * 60)
    first = splits.part(data, "classify", Fraction(1, 4), 0)
    assert first == splits.part(divided(["a", "b"] * 60), "classify", Fraction(1, 4), 0)
    assert first != splits.part(data, "classify", Fraction(1, 4), 1)


def test_however_small_a_part_keeps_every_class_and_label() -> None:
    many = divided([f"{i % 20}" for i in range(400)])
    least = splits.part(many, "classify", Fraction(1, 256), 0)
    assert sorted(Counter(many.source.items[i].target for i in least["train"]).values()) == [1] * 20
    labels = divided([["sky", "tree"], ["sky"], ["tree"], ["sky", "boat"]] * 30 + [["rare"]] * 3, "multilabel")
    kept = splits.part(labels, "multilabel", Fraction(1, 64), 0)["train"]
    assert {label for i in kept for label in labels.source.items[i].target} == {"sky", "tree", "boat", "rare"}
    with pytest.raises(DataError, match="too few to train on"):
        splits.part(divided([float(i) for i in range(30)], "regress"), "regress", Fraction(1, 64), 0)


def test_parts_of_numbers_span_their_range() -> None:
    data = divided([float(i) for i in range(400)], "regress")
    kept = [data.source.items[i].target for i in splits.part(data, "regress", Fraction(1, 8), 0)["train"]]
    assert len(kept) == 35
    assert {int(value // 100) for value in kept} == {0, 1, 2, 3}


def test_groups_stay_whole_in_parts_and_folds() -> None:
    rng = np.random.default_rng(0)
    groups = [f"patient {rng.integers(40)}" for _ in range(400)]
    data = divided(["ill" if int(g.split()[1]) % 4 == 0 else "well" for g in groups], groups=groups)
    made = [splits.part(data, "classify", Fraction(1, 4), 0), *splits.folds(data, "classify", 5, 0, Fraction(3, 20))]
    for division in made:
        holding = {name: {groups[i] for i in members} for name, members in division.items()}
        assert not holding["train"] & (holding["val"] | holding["test"])
        assert not holding["val"] & holding["test"]
    train = made[0]["train"]
    assert {groups[i] for i in train}.isdisjoint(groups[i] for i in data.indices("train") if i not in set(train))


def test_folds_test_every_image_once_and_have_equal_shares_of_each_class() -> None:
    targets = ["a"] * 63 + ["b"] * 22
    data = divided(targets)
    first, second = (splits.folds(data, "classify", 5, repeat, Fraction(3, 20)) for repeat in (0, 1))
    for made in (first, second):
        assert sorted(i for fold in made for i in fold["test"]) == list(range(85))
        for fold in made:
            assert sorted([*fold["train"], *fold["val"], *fold["test"]]) == list(range(85))
            counts = Counter(targets[i] for i in fold["test"])
            assert counts["a"] in (12, 13)
            assert counts["b"] in (4, 5)
            assert 10 <= len(fold["val"]) <= 16
            assert {targets[i] for i in fold["val"]} == {"a", "b"}
    assert [fold["test"] for fold in first] != [fold["test"] for fold in second]
    assert first == splits.folds(data, "classify", 5, 0, Fraction(3, 20))


def test_more_folds_than_a_class_has_images_are_refused_with_how_many_there_can_be() -> None:
    with pytest.raises(DataError, match="class 'b' has 4 images, fewer than 5 folds: give --folds 4"):
        splits.folds(divided(["a"] * 40 + ["b"] * 4), "classify", 5, 0, Fraction(3, 20))


@pytest.mark.parametrize(("targets", "task", "groups", "count", "says"), [
    ([1.0, 2.0, 3.0, 4.0] * 3, "regress", None, 20, "has 12 images, fewer than 20 folds: give --folds 12 or fewer"),
    ([1.0, 2.0, 3.0, 4.0] * 3, "regress", ["x", "y", "z"] * 4, 5, "has 3 groups, fewer than 5 folds"),
    ([1.0, 2.0, 3.0, 4.0] * 3, "regress", ["x", "y"] * 6, 2, "2 folds of 2 groups leave nothing to train on"),
    (["a", "b"] * 6, "classify", ["x", "y", "x", "z"] * 3, 2, "class 'a' has 1 groups, fewer than 2 folds"),
])  # fmt: skip
def test_folds_that_cannot_be_trained_or_tested_are_refused(
    targets: list[Any], task: str, groups: list[str] | None, count: int, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        splits.folds(divided(targets, task, groups), task, count, 0, Fraction(3, 20))


@pytest.mark.parametrize("rare", [2, 3])
def test_folds_leave_every_class_an_image_to_train_on(rare: int) -> None:
    data = divided(["a"] * rare + ["b"] * 20)
    for division in splits.folds(data, "classify", rare, 0, Fraction(3, 20)):
        assert {data.source.items[i].target for i in division["train"]} == {"a", "b"}


def test_tuning_never_sees_test() -> None:
    division = splits.whole(divided(["a", "b"] * 40))
    assert division["test"]
    assert splits.for_tuning(division) == {"train": division["train"], "val": division["val"]}


# ------------------------------------------------------------------------------------------------------ as files


def photos(root: Path) -> DataConfig:
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for name in (*map(str, range(8)), ' a, "b"', "c;d ", "é"):
            number = sum(map(ord, label + name))
            pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{name}.png")
    return DataConfig(source=str(root))


def table(root: Path) -> DataConfig:
    photos(root / "images")
    rows = [f"images/{label}/{i}.png,{i + 0.5},{label} {i // 2}" for label in ("cat", "dog") for i in range(8)]
    (root / "sizes.csv").write_text("\n".join(["image,size,group", *rows]) + "\n")
    return DataConfig(source=str(root / "sizes.csv"))


def masks(root: Path) -> DataConfig:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(20):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(
            root / "images" / f"{i}.png"
        )
        mask = np.zeros((9, 9), np.uint8)
        mask[2:5, 2:5] = 1 + (i == 3)
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    return DataConfig(source=str(root))


def built_in(name: str) -> Any:
    def make(root: Path) -> DataConfig:
        return DataConfig.model_validate({"source": name, "shapes": {"length": 60, "size": 16}})

    return make


KINDS = [
    (photos, "classify"), (table, "regress"), (masks, "segment"), (built_in("digits"), "classify"),
    (built_in("shapes"), "classify"), (built_in("shapes"), "multilabel"), (built_in("shapes"), "segment"),
    (built_in("shapes"), "depth"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "task"), KINDS, ids=["folder", "table", "masks", "digits", *["shapes"] * 4])
def test_files_that_are_written_are_obeyed_for_every_kind_of_data(kind: Any, task: str, tmp_path: Path) -> None:
    config = kind(tmp_path / "data")
    source = open_source(config, task)
    audit = scan(source, config)
    data = Data(source, audit, make_split(source, audit.usable, audit.content, config, task))
    small = splits.part(data, task, Fraction(1, 4), 0)
    for number, division in enumerate((small, splits.for_tuning(small))):
        path = splits.write(tmp_path / f"split-{number}", source, division)
        obeying = config.model_copy(update={"split_file": str(path)})
        again: Split = make_split(source, audit.usable, audit.content, obeying, task)
        found = {name: [int(i) for i in getattr(again, name)] for name in ("train", "val", "test")}
        assert {name: members for name, members in found.items() if members} == division
