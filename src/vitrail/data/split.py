"""Which samples train, which choose, which judge: as the data says, else by the content of the files.

By content: within each class or stratum, samples stand in the order of their content's hash. The first of them are
test, the last are validation, those between train. So a file keeps its split when it is renamed or moved, and files
that are added push only a few others over a border; the sizes are exact.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import Source
from vitrail.data.items import SPLITS, SplitName, check_held_out, class_names
from vitrail.data.split_cut import cut_groups, cut_samples, keep_labels_in_training, shares
from vitrail.data.split_file import read_split_file
from vitrail.data.strata import strata
from vitrail.data.wording import counted, enumerated
from vitrail.errors import DataError, UsageError
from vitrail.settings import DataConfig

__all__ = ["Split", "make_split", "shares", "split_record"]

Indices = np.ndarray[Any, np.dtype[np.int64]]


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

    def without(self, lost: Iterable[int]) -> Split:
        """The split with these source indices in none; it is still known by the fingerprint of all."""
        gone = np.array(sorted(lost), dtype=np.int64)
        parts = {name: getattr(self, name) for name in SPLITS}
        return replace(self, **{name: part[~np.isin(part, gone)] for name, part in parts.items()})


def make_split(
    source: Source, usable: Sequence[int], content: Sequence[str], config: DataConfig, task: str = "classify"
) -> Split:
    """Divide the usable samples of `source` into train, val and test.

    content: a hash of each sample by source index (`Audit.content`).  task: what targets are. Class names: sizes are
    exact in every class, and each class must have two samples or more, at least one of them for training. Otherwise
    sizes are exact over all, and nearly so for every set of labels (multilabel; no label is held out that training
    lacks), every range of numbers (regress), and every value of the column config.stratify.

    A split file or the source's own splits are obeyed. What they leave open is cut from their training samples:
    validation where only test is given, both where neither is. Raises DataError for data that cannot be divided so.
    """
    items = source.items
    given, how = _given(source, usable, config)
    listed = [i for i in usable if i in given] if given else list(usable)
    told = strata(source, listed, task, config.stratify)
    if task == "classify":
        _check_classes(told.classes, source.location)
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
        cut = (cut_groups if grouped else cut_samples)(source, pool, told, content, fractions)
        if task == "multilabel":
            keep_labels_in_training(source, cut, grouped)
        parts = {"train": cut["train"], "val": parts["val"] + cut["val"], "test": parts["test"] + cut["test"]}
        how = f"{how or 'the data names no splits'}; {_said(fractions, task == 'classify', grouped, told.how)}"
    if not parts["val"] or not parts["train"]:
        raise DataError(f"{source.location}: too few images to train and to validate: {how}")
    if task in ("classify", "multilabel"):
        what = "class" if task == "classify" else "label"
        for name in ("val", "test"):
            held_out = _names_in(source, parts[name])
            check_held_out(_names_in(source, parts["train"]), held_out, f"{source.location}: the {name} split", what)
    train, val, test = (np.array(sorted(parts[name]), dtype=np.int64) for name in SPLITS)
    return Split(train, val, test, how, _fingerprint(source, parts, content))


def split_record(split: Split, source: Source, task: str = "classify") -> dict[str, Any]:
    """What data.json says of a split: how it was made, images per split, fingerprint; and for class names the classes
    in order with counts per split, for lists of labels the labels and how many images of each split have each."""
    items = source.items
    record: dict[str, Any] = {"how": split.how, "fingerprint": split.fingerprint}
    indices: dict[SplitName, Indices] = {name: getattr(split, name) for name in SPLITS}
    record["images"] = {name: len(indices[name]) for name in SPLITS}
    if task == "classify":
        names = class_names(items, split.train)
        counts = {name: Counter(str(items[int(i)].target) for i in indices[name]) for name in SPLITS}
        record["classes"] = list(names)
        record["counts"] = {name: {label: counts[name][label] for label in names} for name in SPLITS}
    if task == "multilabel":
        having = {name: Counter(each for i in indices[name] for each in set(items[int(i)].target)) for name in SPLITS}
        record["labels"] = sorted({*map(str, having["train"]), *source.target_names})
        record["label_counts"] = {name: {label: having[name][label] for label in record["labels"]} for name in SPLITS}
    return record


def _names_in(source: Source, indices: Iterable[int]) -> set[str]:
    """Class or label names of these samples."""
    targets = (source.items[i].target for i in indices)
    return {str(name) for target in targets for name in ([target] if isinstance(target, str) else target)}


def _given(source: Source, usable: Iterable[int], config: DataConfig) -> tuple[Mapping[int, SplitName], str]:
    if config.split_file:
        listed = read_split_file(Path(config.split_file).expanduser(), source)
        return listed.splits, f"split file {listed.how}"
    items = source.items
    own = {i: split for i in usable if (split := items[i].split) is not None}
    named = [name for name in SPLITS if name in own.values()]
    if not own:
        return {}, ""
    left_out = sum(1 for _ in usable) - len(own)
    lost = counted(left_out, "image that is in none is", "images that are in none are")
    without = f" ({lost} left out)" if left_out else ""
    return own, f"the data's own {enumerated(named)} {'splits' if len(named) > 1 else 'split'} obeyed{without}"


def _said(fractions: Mapping[str, Fraction], classes: bool, grouped: bool, evenly: str) -> str:
    cut = " and ".join(f"{float(share):.3g} for {name}" for name, share in fractions.items() if share)
    over = f", evenly over {evenly}" if evenly else ""
    if grouped:
        return f"{cut} cut from train in whole groups{over}, by a hash of their names"
    return f"{cut} cut from {'each class of ' if classes else ''}train by content hash{over}"


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


def _fingerprint(source: Source, parts: Mapping[SplitName, Sequence[int]], content: Sequence[str]) -> str:
    items = source.items
    lines = sorted(f"{items[i].key}\0{content[i]}\0{name}\n" for name, members in parts.items() for i in members)
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()
