"""Which samples train, which choose, which judge: as the data says, else by the content of the files.

By content: within each class, samples stand in the order of their content's hash. The first of them are test, the
last are validation, those between train. So a file keeps its split when it is renamed or moved, and files that are
added push only a few others over a border, never between validation and test; the sizes are exact.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import Source
from vitrail.data.items import SPLITS, SplitName, check_held_out, class_names
from vitrail.data.split_file import read_split_file
from vitrail.errors import DataError, UsageError
from vitrail.settings import DataConfig

Indices = np.ndarray[Any, np.dtype[np.int64]]
Parts = dict[SplitName, list[int]]


@dataclass(frozen=True)
class Split:
    """Source indices of each split, ascending; test may be empty.

    how: one sentence for the screen and data.json.  fingerprint: hash over every sample's key, content and split.
    """

    train: Indices
    val: Indices
    test: Indices
    how: str
    fingerprint: str


def make_split(
    source: Source, usable: Sequence[int], content: Sequence[str], config: DataConfig, classes: bool = True
) -> Split:
    """Divide the usable samples of `source` into train, val and test.

    content: a hash of each sample by source index (`Audit.content`).  classes: targets are class names; sizes are then
    exact in every class, and each class must have two samples or more, at least one of them for training.

    A split file or the source's own splits are obeyed. What they leave open is cut from their training samples:
    validation where only test is given, both where neither is. Raises DataError for data that cannot be divided so.
    """
    items = source.items
    given, how = _given(source, usable, config)
    listed = [i for i in usable if i in given] if given else list(usable)
    label = {i: str(items[i].target) if classes else "" for i in listed}
    if classes:
        _check_classes(label, source.location)
    parts: dict[SplitName, list[int]] = {name: [] for name in SPLITS}
    for i in listed:
        parts[given.get(i, "train")].append(i)
    fractions = {
        "val": Fraction(0) if parts["val"] else Fraction(str(config.val_fraction)),
        "test": Fraction(0) if parts["val"] or parts["test"] else Fraction(str(config.test_fraction)),
    }
    if not parts["val"] and not fractions["val"]:
        raise UsageError("data.val_fraction is 0 and the data names no validation samples: nothing could be chosen")
    if sum(fractions.values()) >= 1:
        raise UsageError("data.val_fraction and data.test_fraction leave nothing to train on: lower them")
    if any(fractions.values()):
        pool = parts["train"]
        grouped = any(items[i].group is not None for i in pool)
        cut = (_cut_groups if grouped else _cut_samples)(source, pool, label, content, fractions)
        parts = {"train": cut["train"], "val": parts["val"] + cut["val"], "test": parts["test"] + cut["test"]}
        how = f"{how or 'the data names no splits'}; {_said(fractions, classes, grouped)}"
    if not parts["val"] or not parts["train"]:
        raise DataError(f"{source.location}: too few images to train and to validate: {how}")
    if classes:
        for name in ("val", "test"):
            held_out = {label[i] for i in parts[name]}
            check_held_out({label[i] for i in parts["train"]}, held_out, f"{source.location}: the {name} split")
    train, val, test = (np.array(sorted(parts[name]), dtype=np.int64) for name in SPLITS)
    return Split(train, val, test, how, _fingerprint(source, parts, content))


def split_record(split: Split, source: Source, classes: bool = True) -> dict[str, Any]:
    """What data.json says of a split: how it was made, classes in order, counts per split and class, fingerprint."""
    items = source.items
    record: dict[str, Any] = {"how": split.how, "fingerprint": split.fingerprint}
    indices: dict[SplitName, Indices] = {name: getattr(split, name) for name in SPLITS}
    record["images"] = {name: len(indices[name]) for name in SPLITS}
    if classes:
        names = class_names(items, split.train)
        counts = {name: Counter(str(items[int(i)].target) for i in indices[name]) for name in SPLITS}
        record["classes"] = list(names)
        record["counts"] = {name: {label: counts[name][label] for label in names} for name in SPLITS}
    return record


def shares(count: int, val: Fraction, test: Fraction) -> dict[SplitName, int]:
    """Sizes of the splits of `count` samples by largest remainder, with at least one to train and one to validate.

    Of a single sample, training gets it. A share of 0 gets none.
    """
    quotas: dict[SplitName, Fraction] = {"train": count * (1 - val - test), "val": count * val, "test": count * test}
    sizes: dict[SplitName, int] = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(SPLITS, key=lambda name: sizes[name] - quotas[name])
    for name in by_remainder[: count - sum(sizes.values())]:
        sizes[name] += 1
    needed: list[SplitName] = ["train"] if count == 1 or not val else ["train", "val"]
    for name in needed:
        if count and not sizes[name]:
            sizes[max(SPLITS, key=lambda other: sizes[other] - (other in needed))] -= 1
            sizes[name] += 1
    return sizes


def _given(source: Source, usable: Iterable[int], config: DataConfig) -> tuple[Mapping[int, SplitName], str]:
    if config.split_file:
        listed = read_split_file(Path(config.split_file).expanduser(), source)
        return listed.splits, f"split file {listed.how}"
    items = source.items
    own = {i: split for i in usable if (split := items[i].split) is not None}
    named = [name for name in SPLITS if name in own.values()]
    if not own:
        return {}, ""
    return own, f"the data's own {' and '.join(named)} {'splits' if len(named) > 1 else 'split'} obeyed"


def _said(fractions: Mapping[str, Fraction], classes: bool, grouped: bool) -> str:
    cut = " and ".join(f"{float(share):.3g} for {name}" for name, share in fractions.items() if share)
    if grouped:
        return f"{cut} cut from train in whole groups, by a hash of their names"
    return f"{cut} cut from {'each class of ' if classes else ''}train by content hash"


def _check_classes(label: Mapping[int, str], where: str) -> None:
    counts = Counter(label.values())
    if not counts:
        raise DataError(f"{where}: no image can be used")
    if len(counts) == 1:
        raise DataError(f"{where} has one class, '{next(iter(counts))}': a classifier needs two or more")
    single = sorted(name for name, count in counts.items() if count < 2)
    if single:
        more = f" (and {len(single) - 1} more classes)" if len(single) > 1 else ""
        raise DataError(
            f"{where}: class '{single[0]}'{more} has one usable image; two are needed, to train on and to validate on"
        )


def _cut_samples(
    source: Source,
    pool: Iterable[int],
    label: Mapping[int, str],
    content: Sequence[str],
    fractions: Mapping[str, Fraction],
) -> Parts:
    """Cut each class of `pool` by the order of (content, key)."""
    items = source.items
    by_class: dict[str, list[int]] = defaultdict(list)
    for i in pool:
        by_class[label[i]].append(i)
    parts: Parts = {"train": [], "val": [], "test": []}
    for members in by_class.values():
        members.sort(key=lambda i: (content[i], items[i].key))
        sizes = shares(len(members), fractions["val"], fractions["test"])
        first, last = sizes["test"], len(members) - sizes["val"]
        parts["test"] += members[:first]
        parts["train"] += members[first:last]
        parts["val"] += members[last:]
    return parts


def _cut_groups(
    source: Source,
    pool: Iterable[int],
    label: Mapping[int, str],
    content: Sequence[str],
    fractions: Mapping[str, Fraction],
) -> Parts:
    """Cut whole groups by the hash of their names; a group counts for the class that most of its samples have.

    A sample without a group is one of its own. Sizes come as near to the shares as whole groups allow.
    """
    items = source.items
    groups: dict[str, list[int]] = defaultdict(list)
    for i in pool:
        group = items[i].group
        groups[f"group {group}" if group is not None else f"key {items[i].key}"].append(i)
    by_class: dict[str, list[str]] = defaultdict(list)
    for group, members in groups.items():
        counts = Counter(label[i] for i in members)
        by_class[max(sorted(counts), key=lambda name: counts[name])].append(group)
    parts: Parts = {"train": [], "val": [], "test": []}
    for names in by_class.values():
        names.sort(key=lambda name: (hashlib.blake2b(name.encode(), digest_size=16).hexdigest(), name))
        total = sum(len(groups[name]) for name in names)
        val = _take(names[::-1], groups, total * fractions["val"], at_least_one=bool(fractions["val"]))
        test = _take([name for name in names if name not in val], groups, total * fractions["test"])
        parts["val"] += [i for name in names if name in val for i in groups[name]]
        parts["test"] += [i for name in names if name in test for i in groups[name]]
        parts["train"] += [i for name in names if name not in val | test for i in groups[name]]
    return parts


def _take(
    names: Sequence[str], groups: Mapping[str, list[int]], room: Fraction, at_least_one: bool = False
) -> set[str]:
    """The first groups that together come nearest to `room` samples; never the last group."""
    taken: set[str] = set()
    for name in names[:-1]:
        size = len(groups[name])
        if 2 * room < size and not (at_least_one and not taken):
            break
        taken.add(name)
        room -= size
    return taken


def _fingerprint(source: Source, parts: Parts, content: Sequence[str]) -> str:
    items = source.items
    lines = sorted(f"{items[i].key}\0{content[i]}\0{name}\n" for name, members in parts.items() for i in members)
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()
