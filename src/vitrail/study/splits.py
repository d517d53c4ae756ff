"""The splits that a study's cells obey: nested parts of the training images, repeated folds, splits to tune on.

Each is a pure function of the data and a seed, and is written as a file that `data.split_file` reads, so that every
cell can be repeated by `vitrail train` alone. Groups stay whole. Classes, sets of labels or ranges of numbers have
their shares in each part, as `data.strata` tells them apart.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vitrail import durable
from vitrail.contracts import Source
from vitrail.data.audit import Audit
from vitrail.data.items import SPLITS, SplitName, is_text
from vitrail.data.split_cut import cut_groups, cut_samples, keep_labels_in_training
from vitrail.data.strata import strata
from vitrail.errors import DataError
from vitrail.run.prepare import Data

Division = dict[SplitName, list[int]]
"""Split -> source indices, ascending; a split without images may be missing."""


@dataclass(frozen=True)
class Unit:
    """What is drawn whole: an image, or a group of them. stratum: of most of its images.  tells: classes or labels that
    it has an example of."""

    members: tuple[int, ...]
    stratum: str
    tells: frozenset[str]
    place: bytes
    """Where it stands in its stratum, by a hash of the seed and of what it holds."""


def whole(data: Data) -> Division:
    """The data's own division."""
    return {name: data.indices(name) for name in SPLITS if data.indices(name)}


def for_tuning(division: Division) -> Division:
    """The same without test: what a choice may look at."""
    return {name: division[name] for name in ("train", "val")}


def part(data: Data, task: str, fraction: Fraction, seed: int, stratify: str | None = None) -> Division:
    """A fraction of the training images; val and test as they are.

    A smaller part of the same seed is inside each larger one. Every class, or label that any training image has, keeps
    an image or more, however small the part. Raises DataError where a part would hold less than two images.
    """
    train = data.indices("train")
    if fraction == 1:
        return whole(data)
    units = _in_order(_covering(_units(data, train, task, stratify, f"part {seed}")))
    wanted, kept = fraction * len(train), list[int]()
    needed = {told for unit in units for told in unit.tells}
    for unit in units:
        if not needed and 2 * len(kept) + len(unit.members) > 2 * wanted:
            break  # nearer to the size without it
        kept += unit.members
        needed -= unit.tells
    if len(kept) < 2:
        raise DataError(f"{fraction} of {len(train)} training images is too few to train on")
    return {**whole(data), "train": sorted(kept)}


def folds(
    data: Data, task: str, count: int, repeat: int, val_fraction: Fraction, stratify: str | None = None
) -> list[Division]:
    """`count` divisions of all usable images, whose tests are disjoint and together everything.

    repeat: another one shuffles anew.  Validation is cut from what is not tested, in the share `val_fraction` of all.
    Raises DataError where there are fewer images (or groups) than folds, of all or of a class, and where a fold would
    leave nothing to train or to validate on, or a class nothing to train on.
    """
    pool = sorted(index for name in SPLITS for index in data.indices(name))
    units = _units(data, pool, task, stratify, f"fold {repeat}")
    if len(units) < count:
        raise DataError(
            f"{data.source.location} has {len(units)} {_kind(units)}, fewer than {count} folds: give --folds"
            f" {max(2, len(units))} or fewer, or 0"
        )
    if task == "classify":
        _refuse_rare(units, count, data.source)
    of_fold: list[list[int]] = [[] for _ in range(count)]
    loads: dict[str, Counter[int]] = defaultdict(Counter)
    # large groups first, each to the fold that has least of its stratum, and least in all
    for unit in sorted(units, key=lambda unit: (-len(unit.members), unit.stratum, unit.place)):
        here = loads[unit.stratum]
        place = min(range(count), key=lambda k: (here[k], len(of_fold[k]), k))
        here[place] += len(unit.members)
        of_fold[place] += unit.members
    made: list[Division] = []
    for test in of_fold:
        rest = sorted(set(pool) - set(test))
        share = val_fraction * len(pool) / len(rest)
        cut = _cut(data, rest, task, min(share, Fraction(1, 2)), stratify)
        made.append({"train": sorted(cut["train"]), "val": sorted(cut["val"]), "test": sorted(test)})
        _refuse_thin(made[-1], units, task, count, data.source)
    return made


def write(path: Path, source: Source, division: Division) -> Path:
    """The division as a table with the columns path and split, as `data.split_file` reads it; returns its path.

    path: without suffix, which is .csv; .jsonl where a name is no text, which only that can hold.
    """
    rows = sorted((index, name) for name, members in division.items() for index in members)
    named = [(source.items[index].key, name) for index, name in rows]
    text = io.StringIO()
    if all(is_text(key) for key, _ in named):
        target = path.with_name(f"{path.name}.csv")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("path", "split"))
        table.writerows(named)
    else:
        target = path.with_name(f"{path.name}.jsonl")
        text.writelines(json.dumps({"path": key, "split": name}) + "\n" for key, name in named)
    target.parent.mkdir(exist_ok=True)
    durable.write_file(target, text.getvalue())
    return target


# ------------------------------------------------------------------------------------------------------------ the units


def _units(data: Data, indices: Sequence[int], task: str, stratify: str | None, key: str) -> list[Unit]:
    """Images, or groups of them, with their strata and their places, which `key` shuffles."""
    items, content = data.source.items, data.audit.content
    told = strata(data.source, indices, task, stratify)
    together: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        together[_whole(items[index])].append(index)
    made = []
    for name, members in together.items():
        kinds = Counter(f"{told.classes[i]}\0{told.within[i]}" for i in members)
        stratum = max(sorted(kinds), key=lambda kind: kinds[kind])
        tells = frozenset(each for i in members for each in _tells(items[i].target, task, data.audit, i))
        # by content, so that a renamed file keeps its place; by name where content is there twice
        what = "\0".join([key, *sorted(content[i] for i in members), name])
        place = blake2b(what.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        made.append(Unit(tuple(members), stratum, tells, place))
    return made


def _whole(item: Any) -> str:
    return f"group {item.group}" if item.group is not None else f"key {item.key}"


def _tells(target: Any, task: str, audit: Audit, index: int) -> list[str]:
    """The classes or labels that an image is an example of: what a part of the images must not lose."""
    if task == "classify":
        return [str(target)]
    if task == "multilabel":
        return [str(label) for label in target]
    values = audit.maps.facts[index].values if task == "segment" and audit.maps else None
    return [str(value) for value, _ in values.counts] if values else []


def _covering(units: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Units that together have an example of everything, rarest first, and the others."""
    having = Counter(told for unit in units for told in unit.tells)
    first: list[Unit] = []
    covered: set[str] = set()
    for told in sorted(having, key=lambda name: (having[name], name)):
        if told not in covered:
            unit = min((unit for unit in units if told in unit.tells), key=lambda unit: (len(unit.members), unit.place))
            first.append(unit)
            covered |= unit.tells
    chosen = {unit.place for unit in first}
    return first, [unit for unit in units if unit.place not in chosen]


def _in_order(parted: tuple[list[Unit], list[Unit]]) -> list[Unit]:
    """An order any beginning of which has a fair share of each stratum: the first come first, and count as their share.

    The i-th of n units of a stratum stands at (i + 1/2) / n.
    """
    first, rest = parted
    sizes = Counter(unit.stratum for unit in (*first, *rest))
    seen = Counter(unit.stratum for unit in first)
    placed = []
    for unit in sorted(rest, key=lambda unit: (unit.stratum, unit.place)):
        placed.append(((seen[unit.stratum] + 0.5) / sizes[unit.stratum], unit.place, unit))
        seen[unit.stratum] += 1
    return [*first, *(unit for _, _, unit in sorted(placed, key=lambda entry: entry[:2]))]


def _cut(data: Data, pool: Sequence[int], task: str, val: Fraction, stratify: str | None) -> Division:
    """Train and val of these images, as a run cuts them where the data names no splits."""
    source, content = data.source, data.audit.content
    told = strata(source, pool, task, stratify)
    grouped = any(source.items[i].group is not None for i in pool)
    parts = (cut_groups if grouped else cut_samples)(
        source, pool, told, content, {"val": val, "test": Fraction(0)}
    )  # fmt: skip
    if task == "multilabel":
        keep_labels_in_training(source, parts, grouped)
    return parts


def _refuse_rare(units: Sequence[Unit], count: int, source: Source) -> None:
    counts = Counter(told for unit in units for told in unit.tells)
    rare = [name for name in sorted(counts) if counts[name] < count]
    if rare:
        raise DataError(
            f"{source.location}: class '{rare[0]}' has {counts[rare[0]]} {_kind(units)}, fewer than {count} folds:"
            f" give --folds {max(2, min(counts.values()))} or fewer, or more images of it"
        )


def _refuse_thin(division: Division, units: Sequence[Unit], task: str, count: int, source: Source) -> None:
    """DataError where a fold could not be trained."""
    there = set(division["train"])
    lost = sorted({told for unit in units for told in unit.tells if task == "classify"})
    lost = [name for name in lost if not any(name in unit.tells and there & set(unit.members) for unit in units)]
    if there and division["val"] and not lost:
        return
    what = f"class '{lost[0]}' without any to train on" if lost else "nothing to train on, or nothing to validate on"
    raise DataError(
        f"{source.location}: {count} folds of {len(units)} {_kind(units)} leave {what}: add images, or give --folds 0"
        " for one split"
    )


def _kind(units: Sequence[Unit]) -> str:
    return "groups" if any(len(unit.members) > 1 for unit in units) else "images"
