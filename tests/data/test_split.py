"""Splits: obeyed where given, else by content: exact, stable, recorded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sets import MemorySource, data_config, tree

from vitrail.data.sources import FolderSource
from vitrail.data.split import Split, make_split, shares, split_record
from vitrail.errors import DataError, UsageError


def hashes(names: Sequence[object]) -> list[str]:
    return [hashlib.sha256(str(name).encode()).hexdigest() for name in names]


def split_of(targets: Sequence[Any], content: Sequence[str] | None = None, **fields: Any) -> Split:
    source = MemorySource(targets)
    config = data_config(**fields)
    return make_split(source, range(len(targets)), content or hashes(range(len(targets))), config)


def counts(split: Split, targets: Sequence[str]) -> list[dict[str, int]]:
    return [dict(Counter(targets[i] for i in part)) for part in (split.train, split.val, split.test)]


def test_sizes_are_exact_in_every_class() -> None:
    targets = ["a"] * 100 + ["b"] * 20 + ["c"] * 7
    split = split_of(targets)
    assert counts(split, targets) == [{"a": 70, "b": 14, "c": 5}, {"a": 15, "b": 3, "c": 1}, {"a": 15, "b": 3, "c": 1}]
    assert split.train.dtype == np.int64
    assert sorted([*split.train, *split.val, *split.test]) == list(range(127))
    assert list(split.val) == sorted(split.val)


@given(count=st.integers(1, 500), val=st.integers(1, 50), test=st.integers(0, 40))
def test_shares_are_whole_and_within_one_of_the_exact(count: int, val: int, test: int) -> None:
    sizes = shares(count, Fraction(val, 100), Fraction(test, 100))
    assert sum(sizes.values()) == count
    assert sizes["train"] >= 1
    assert sizes["val"] >= min(1, count - 1)
    exact = {"train": Fraction(100 - val - test, 100), "val": Fraction(val, 100), "test": Fraction(test, 100)}
    assert all(sizes[name] >= 0 for name in sizes)
    if all(count * share >= 1 for share in exact.values() if share):  # else the guarantee of one may move another
        assert all(abs(sizes[name] - count * exact[name]) < 1 for name in sizes)


def test_renaming_and_reordering_change_nothing() -> None:
    targets = ["a", "b"] * 40
    content = hashes(range(80))
    before = split_of(targets, content)
    order = np.random.default_rng(0).permutation(80)
    source = MemorySource([targets[i] for i in order], keys=[f"renamed {i}" for i in range(80)])
    after = make_split(source, range(80), [content[i] for i in order], data_config())
    for name in ("train", "val", "test"):
        assert {content[i] for i in getattr(before, name)} == {content[order[i]] for i in getattr(after, name)}


def test_added_files_move_few_and_none_between_validation_and_test() -> None:
    old, new = ["a"] * 200 + ["b"] * 200, ["a"] * 210 + ["b"] * 200
    content = hashes(
        [("old", i) for i in range(200)] + [("new", i) for i in range(10)] + [("b", i) for i in range(200)]
    )
    before = split_of(old, content[:200] + content[210:])
    after = split_of(new, content)
    where = [{c: name for name in ("train", "val", "test") for c in (contents[i] for i in getattr(s, name))}
             for s, contents in ((before, content[:200] + content[210:]), (after, content))]  # fmt: skip
    moved = [(where[0][c], where[1][c]) for c in where[0] if where[0][c] != where[1][c]]
    assert len(moved) <= 8
    assert not {("val", "test"), ("test", "val")} & set(moved)
    assert all(where[0][c] == where[1][c] for c in content[210:])  # the other class is untouched


def test_bad_samples_are_in_no_split() -> None:
    source = MemorySource(["a", "b"] * 10)
    usable = [i for i in range(20) if i not in (3, 4)]
    split = make_split(source, usable, hashes(range(20)), data_config())
    assert sorted([*split.train, *split.val, *split.test]) == usable


def test_the_datas_own_splits_are_obeyed() -> None:
    source = MemorySource(["a", "b"] * 3, splits=["train", "train", "val", "val", "test", "test"])
    split = make_split(source, range(6), hashes(range(6)), data_config())
    assert [list(part) for part in (split.train, split.val, split.test)] == [[0, 1], [2, 3], [4, 5]]
    assert split.how == "the data's own train, val and test splits obeyed"


def test_validation_is_cut_from_train_where_only_test_is_given() -> None:
    source = MemorySource(["a", "b"] * 30, splits=["train"] * 40 + ["test"] * 20)
    split = make_split(source, range(60), hashes(range(60)), data_config())
    assert list(split.test) == list(range(40, 60))
    assert len(split.val) == 6
    assert set(split.val) < set(range(40))
    assert split.how.endswith("0.15 for val cut from each class of train by content hash")


def test_no_test_is_cut_where_only_validation_is_given() -> None:
    source = MemorySource(["a", "b"] * 30, splits=["train"] * 40 + ["val"] * 20)
    split = make_split(source, range(60), hashes(range(60)), data_config())
    assert (len(split.train), len(split.val), len(split.test)) == (40, 20, 0)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["cat"] * 5, "one class, 'cat'"),
        (["cat"] * 5 + ["dog"], "class 'dog' has one usable image"),
        (["cat"] * 5 + ["dog", "emu"], r"class 'dog' \(and 1 more classes\) has one usable image"),
        ([], "no image can be used"),
    ],
)
def test_classes_that_cannot_be_learnt_are_named(targets: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        split_of(targets)


def test_a_class_of_two_trains_on_one_and_validates_on_one() -> None:
    targets = ["a"] * 10 + ["b"] * 2
    assert [part.get("b", 0) for part in counts(split_of(targets), targets)] == [1, 1, 0]


def test_a_held_out_class_that_train_lacks_is_named() -> None:
    source = MemorySource(["cat", "dog", "cat", "Cat", "Cat", "dog"], splits=["train"] * 2 + ["val"] * 4)
    with pytest.raises(DataError, match=r"the val split has class 'Cat', which train lacks: did you mean 'cat'\?"):
        make_split(source, range(6), hashes(range(6)), data_config())


@pytest.mark.parametrize("fields", [{"val_fraction": 0.0}, {"val_fraction": 0.5, "test_fraction": 0.5}])
def test_fractions_that_leave_nothing_are_usage_errors(fields: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="val_fraction"):
        split_of(["a", "b"] * 10, **fields)


def test_targets_that_are_no_classes_are_cut_as_one() -> None:
    source = MemorySource([i / 7 for i in range(40)])
    split = make_split(source, range(40), hashes(range(40)), data_config(), "regress")
    assert (len(split.train), len(split.val), len(split.test)) == (28, 6, 6)
    assert "classes" not in split_record(split, source, "regress")


@given(groups=st.lists(st.integers(0, 12), min_size=30, max_size=80), seed=st.integers(0, 100))
def test_groups_stay_together(groups: list[int], seed: int) -> None:
    targets = [str((g + seed) % 2) for g in groups]
    source = MemorySource(targets, groups=[f"g{g}" for g in groups])
    try:
        split = make_split(source, range(len(groups)), hashes(range(len(groups))), data_config())
    except DataError:
        assert (
            min(Counter(targets).values()) < 2
            or len({*zip(targets, groups, strict=True)}) <= 3
            or len(set(targets)) < 2
        )
        return
    found = [{groups[i] for i in part} for part in (split.train, split.val, split.test)]
    assert sum(map(len, found)) == len(set(groups))
    assert "whole groups" in split.how


def test_groups_come_near_the_shares() -> None:
    groups = [f"g{i // 4}" for i in range(400)]
    source = MemorySource([str(i // 4 % 3) for i in range(400)], groups=groups)
    split = make_split(source, range(400), hashes(range(400)), data_config())
    assert len(split.val) == pytest.approx(60, abs=6)
    assert len(split.test) == pytest.approx(60, abs=6)


def test_the_record_holds_classes_in_order_counts_and_a_fingerprint() -> None:
    targets = ["b"] * 20 + ["a"] * 40
    source, split = MemorySource(targets), split_of(targets)
    record = split_record(split, source)
    assert record["classes"] == ["a", "b"]
    assert record["counts"]["val"] == {"a": 6, "b": 3}
    assert record["images"] == {"train": 42, "val": 9, "test": 9}
    assert record["how"] == split.how
    other = split_of(targets, hashes([("changed", i) for i in range(60)]))
    assert record["fingerprint"] == split_of(targets).fingerprint != other.fingerprint
    assert split_of(targets, val_fraction=0.2).fingerprint != split.fingerprint


# --------------------------------------------------------------------------------------------------------- split files


@pytest.fixture
def animals(tmp_path: Path) -> FolderSource:
    return FolderSource(tree(tmp_path / "images", {"cat": 10, "dog": 10}))


def listed(source: FolderSource, split_file: Path, **fields: Any) -> Split:
    content = hashes(range(len(source.items)))
    return make_split(source, range(len(source.items)), content, data_config(split_file=str(split_file), **fields))


def write_lists(folder: Path, **lists: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def names(kind: str, *numbers: int) -> list[str]:
    return [f"{kind}/{n}.png" for n in numbers]


@pytest.mark.parametrize("given_as", ["train.txt", "test.txt", ""])
def test_lists_are_found_by_any_one_of_them(tmp_path: Path, animals: FolderSource, given_as: str) -> None:
    train = names("cat", 0, 1, 2, 3) + names("dog", 0, 1, 2, 3)
    write_lists(tmp_path / "lists", train=train, test=names("cat", 9) + names("dog", 9), classes=["cat", "dog"])
    split = listed(animals, tmp_path / "lists" / given_as)
    keys = [item.key for item in animals.items]
    assert {keys[i] for i in split.test} == {"cat/9.png", "dog/9.png"}
    assert {keys[i] for i in [*split.train, *split.val]} == set(train)
    assert len(split.val) == 2
    assert "split file train.txt, test.txt obeyed (10 files that it does not list are left out)" in split.how


def test_a_list_of_every_split_is_obeyed_exactly(tmp_path: Path, animals: FolderSource) -> None:
    folder = write_lists(
        tmp_path / "lists",
        train=[*names("cat", 0), "./dog/0.png", ""],
        valid=["cat\\1.png", str(tmp_path / "images/dog/1.png")],
        test=names("dog", 2),
    )
    split = listed(animals, folder)
    keys = [item.key for item in animals.items]
    assert [[keys[i] for i in part] for part in (split.train, split.val, split.test)] == [
        ["cat/0.png", "dog/0.png"],
        ["cat/1.png", "dog/1.png"],
        ["dog/2.png"],
    ]


def test_a_table_of_paths_and_splits_is_obeyed(tmp_path: Path, animals: FolderSource) -> None:
    table = tmp_path / "splits.csv"
    table.write_text(
        "path,split\ncat/0.png,train\ndog/0.png,train\ncat/1.png,val\ndog/1.png,Validation\ndog/2.png,test\n"
    )
    split = listed(animals, table)
    assert (len(split.train), len(split.val), len(split.test)) == (2, 2, 1)


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"train": ["cat/0.png", "cat/9x.png", "cow/1.png"]}, r"2 of the 3 .*: 'cat/9x.png' \(train.txt, line 2\)"),
        ({"train": names("cat", 0, 1), "test": ["cat/1.png"]}, "cat/1.png is in two splits: train .*test.txt, line 1"),
        ({"train": [""]}, "lists nothing"),
        ({"val": ["cat/0.png"], "valid": ["cat/1.png"], "train": ["cat/2.png"]}, "list the val split: keep one"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_obeyed_say_where(
    tmp_path: Path, animals: FolderSource, lists: dict[str, list[str]], says: str
) -> None:
    with pytest.raises(DataError, match=f"(?s){says}") as caught:
        listed(animals, write_lists(tmp_path / "lists", **lists) / "train.txt")
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trian.txt", "did you mean .*train.txt"),
        ("odd.txt", "lists are called train.txt"),
        ("x.pdf", "give a train.txt"),
    ],
)
def test_a_split_file_that_is_none_is_a_usage_error(
    tmp_path: Path, animals: FolderSource, name: str, says: str
) -> None:
    folder = write_lists(tmp_path / "lists", train=names("cat", 0), odd=["x"])
    (folder / "x.pdf").write_bytes(b"")
    with pytest.raises(UsageError, match=says):
        listed(animals, folder / name)


@pytest.mark.data
def test_the_official_split_of_real_photos_is_obeyed(shared_data: Path) -> None:
    source = FolderSource(shared_data / "caltech24" / "images")
    content = hashes([item.key for item in source.items])
    official = shared_data / "caltech24" / "train.txt"
    split = make_split(source, range(len(source.items)), content, data_config(split_file=str(official)))
    keys = [item.key for item in source.items]
    assert {keys[i] for i in split.test} == set((shared_data / "caltech24" / "test.txt").read_text().split())
    assert {keys[i] for i in [*split.train, *split.val]} == set(official.read_text().split())
    assert len(split_record(split, source)["classes"]) == 24


# ------------------------------------------------------------------------------------------------ what has no classes


def split_as(task: str, targets: Sequence[Any], **fields: Any) -> Split:
    groups = fields.pop("groups", None)
    source = MemorySource(targets, groups=groups)
    source.strata = fields.pop("strata", None)  # type: ignore[attr-defined]
    return make_split(source, range(len(targets)), hashes(range(len(targets))), data_config(**fields), task)


def parts_of(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.train, split.val, split.test)]


@given(numbers=st.lists(st.floats(-1e6, 1e6) | st.integers(0, 3).map(float), min_size=2, max_size=120))
def test_numbers_are_split_exactly(numbers: list[float]) -> None:
    parts = parts_of(split_as("regress", numbers))
    exact = shares(len(numbers), Fraction("0.15"), Fraction("0.15"))
    assert [len(part) for part in parts] == [exact["train"], exact["val"], exact["test"]]
    assert sorted(i for part in parts for i in part) == list(range(len(numbers)))


def test_every_range_of_numbers_has_its_share() -> None:
    numbers = np.random.default_rng(0).lognormal(size=400)
    split = split_as("regress", numbers.tolist())
    tenths = np.searchsorted(np.quantile(numbers, np.arange(1, 10) / 10), numbers)
    for part in (split.val, split.test):
        assert set(np.bincount(tenths[part], minlength=10)) <= {5, 6, 7}
    assert split.how.endswith("cut from train by content hash, evenly over ranges of the target")


def test_equal_numbers_are_one_range_and_several_are_ranked_together() -> None:
    counts = [float(i % 3) for i in range(300)]
    split = split_as("regress", counts)
    assert Counter(counts[i] for i in split.val) == {0.0: 15, 1.0: 15, 2.0: 15}
    several = split_as("regress", [[float(i), float(i) * 100] for i in range(200)])
    assert Counter(int(i) // 20 for i in several.val) == dict.fromkeys(range(10), 3)


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="0001: 2 target values, others have 1"):
        split_as("regress", [[1.0], [1.0, 2.0]] * 10)


LABELS = st.lists(st.sampled_from("abcdef"), unique=True, max_size=4)


@given(targets=st.lists(LABELS, min_size=10, max_size=80).filter(lambda sets: any(sets)))
def test_no_label_is_held_out_that_training_lacks(targets: list[list[str]]) -> None:
    split = split_as("multilabel", targets)
    exact = shares(len(targets), Fraction("0.15"), Fraction("0.15"))
    assert [len(part) for part in parts_of(split)] == [exact["train"], exact["val"], exact["test"]]
    known = {label for i in split.train for label in targets[i]}
    assert {label for labels in targets for label in labels} == known


def test_common_sets_of_labels_have_their_share_in_every_split() -> None:
    targets = [["a"], ["a", "b"], []] * 100 + [["c"]] * 2
    split = split_as("multilabel", targets)
    for part in (split.val, split.test):
        seen = Counter(tuple(targets[i]) for i in part)
        assert all(14 <= seen[labels] <= 16 for labels in ((), ("a",), ("a", "b")))
    record = split_record(split, MemorySource(targets), "multilabel")
    assert record["labels"] == ["a", "b", "c"]
    assert sum(counts["a"] for counts in record["label_counts"].values()) == 200
    assert "classes" not in record


def test_a_label_of_a_given_split_that_training_lacks_is_named() -> None:
    source = MemorySource([["cat"], ["dog"], ["cta"]], splits=["train", "train", "val"])
    with pytest.raises(
        DataError, match=r"the val split has label 'cta', which train lacks: did you mean 'cat'\? Labels"
    ):
        make_split(source, range(3), hashes(range(3)), data_config(), "multilabel")


@given(
    groups=st.lists(st.integers(0, 15), min_size=40, max_size=80),
    task=st.sampled_from(["regress", "multilabel", "segment"]),
)
def test_groups_stay_together_for_every_task(groups: list[int], task: str) -> None:
    targets: list[Any] = [["ab"[g % 2]] if task == "multilabel" else float(i) for i, g in enumerate(groups)]
    names = [f"g{g}" for g in groups]
    if len(set(groups)) < 4:
        return
    split = split_as(task, targets, groups=names)
    found = [{groups[i] for i in part} for part in parts_of(split)]
    assert sum(map(len, found)) == len(set(groups))


@pytest.mark.parametrize("task", ["classify", "regress", "segment"])
def test_a_column_is_spread_evenly_where_it_is_asked_for(task: str) -> None:
    kinds = ["grey" if i % 5 else "colour" for i in range(200)]
    targets: list[Any] = ["ab"[i % 2] if task == "classify" else float(i // 50) for i in range(200)]
    split = split_as(task, targets, strata=kinds, stratify="kind")
    for part in (split.val, split.test):
        assert Counter(kinds[i] for i in part) == {"grey": 24, "colour": 6}
    assert "evenly over" in split.how
    assert "'kind'" in split.how


def test_a_column_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(UsageError, match=r"data\.stratify kind: memory has no columns"):
        split_as("regress", [1.0] * 20, stratify="kind")


def test_samples_in_none_of_the_datas_splits_are_counted() -> None:
    source = MemorySource(["a", "b"] * 4, splits=["train", "train", "val", "val", "test", "test", None, None])
    split = make_split(source, range(8), hashes(range(8)), data_config())
    assert sum(map(len, parts_of(split))) == 6
    assert split.how.endswith("obeyed (2 images that are in none are left out)")


def test_adding_a_few_numbers_moves_a_few() -> None:
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=320).tolist()
    content = hashes(range(320))
    splits = [
        make_split(MemorySource(numbers[:n]), range(n), content[:n], data_config(), "regress") for n in (300, 320)
    ]
    where = [{i: name for name in ("train", "val", "test") for i in getattr(s, name).tolist()} for s in splits]
    assert sum(where[0][i] != where[1][i] for i in range(300)) <= 30
