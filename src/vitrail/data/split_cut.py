"""Cutting validation and test from training samples: exact in size, alike in what they hold, the same every time."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from vitrail.contracts import Source
from vitrail.data.items import SPLITS, SplitName
from vitrail.data.strata import Strata

Parts = dict[SplitName, list[int]]


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


def cut_samples(
    source: Source, pool: Iterable[int], told: Strata, content: Sequence[str], fractions: Mapping[str, Fraction]
) -> Parts:
    """Cut each class of `pool` to its exact sizes, spread over its strata, each in the order of (content, key)."""
    items = source.items
    classes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in pool:
        classes[told.classes[i]][told.within[i]].append(i)
    parts: Parts = {"train": [], "val": [], "test": []}
    for inside in classes.values():
        strata = [sorted(inside[name], key=lambda i: (content[i], items[i].key)) for name in sorted(inside)]
        total = sum(map(len, strata))
        sizes = shares(total, fractions["val"], fractions["test"])
        for members, (val, test) in zip(strata, _spread([len(m) for m in strata], sizes), strict=True):
            parts["test"] += members[:test]
            parts["train"] += members[test : len(members) - val]
            parts["val"] += members[len(members) - val :]
    return parts


def _spread(lengths: Sequence[int], sizes: Mapping[SplitName, int]) -> list[tuple[int, int]]:
    """How many of each stratum go to val and test: whole, summing to `sizes`, each running sum next to its exact share.

    Rounding the running sums, and not each share by itself, is what makes the sums exact.
    """
    total = sum(lengths)
    made: list[tuple[int, int]] = []
    seen = given_val = given_test = 0
    for length in lengths:
        seen += length
        test = min(length, _nearest(seen * sizes["test"], total) - given_test)
        val = min(length - max(0, test), _nearest(seen * sizes["val"], total) - given_val)
        made.append((max(0, val), max(0, test)))
        given_val, given_test = given_val + made[-1][0], given_test + made[-1][1]
    short = {"val": sizes["val"] - given_val, "test": sizes["test"] - given_test}
    for place in sorted(range(len(made)), key=lambda i: sum(made[i]) - lengths[i]):  # what small strata could not give
        free = lengths[place] - sum(made[place])
        val = min(short["val"], free)
        test = min(short["test"], free - val)
        made[place] = (made[place][0] + val, made[place][1] + test)
        short = {"val": short["val"] - val, "test": short["test"] - test}
    return made


def _nearest(part: int, whole: int) -> int:
    return (2 * part + whole) // (2 * whole)


def cut_groups(
    source: Source, pool: Iterable[int], told: Strata, content: Sequence[str], fractions: Mapping[str, Fraction]
) -> Parts:
    """Cut whole groups by the hash of their names; a group counts for the class and stratum most of its samples have.

    A sample without a group is one of its own. Sizes come as near to the shares as whole groups allow.
    """
    items = source.items
    groups: dict[str, list[int]] = defaultdict(list)
    for i in pool:
        group = items[i].group
        groups[f"group {group}" if group is not None else f"key {items[i].key}"].append(i)
    classes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, members in groups.items():
        label = _most(told.classes[i] for i in members)
        classes[label][_most(told.within[i] for i in members)].append(name)
    parts: Parts = {"train": [], "val": [], "test": []}
    for inside in classes.values():
        strata = [sorted(inside[name], key=lambda g: (_digest(g), g)) for name in sorted(inside)]
        val = _take([names[::-1] for names in strata], groups, fractions["val"], at_least_one=bool(fractions["val"]))
        left = [[name for name in names if name not in val] for names in strata]
        total = sum(len(groups[name]) for names in strata for name in names)
        rest = sum(len(groups[name]) for names in left for name in names)
        test = _take(left, groups, fractions["test"] * total / rest if rest else Fraction(0))
        for name in (name for names in strata for name in names):
            parts["val" if name in val else "test" if name in test else "train"] += groups[name]
    return parts


def _take(
    strata: Sequence[Sequence[str]], groups: Mapping[str, list[int]], share: Fraction, at_least_one: bool = False
) -> set[str]:
    """Of each stratum the first groups that together come nearest to their share; never all groups there are.

    What one stratum gives too much or too little is made up for by the next.
    """
    last = sum(map(len, strata)) - 1
    taken: set[str] = set()
    room = Fraction(0)
    for names in strata:
        room += share * sum(len(groups[name]) for name in names)
        for name in names:
            size = len(groups[name])
            if len(taken) >= last or 2 * room < size:
                break
            taken.add(name)
            room -= size
    if at_least_one and not taken and last > 0:
        taken.add(min((name for names in strata for name in names[:1]), key=lambda name: (len(groups[name]), name)))
    return taken


def keep_labels_in_training(source: Source, parts: Parts, grouped: bool) -> None:
    """Bring back to training a sample of every label that was all held out, in exchange for one that it can spare.

    Whole groups are brought back without an exchange: sizes are as near as groups allow anyway.
    """
    items = source.items
    labels = {i: set(map(str, items[i].target)) for members in parts.values() for i in members}
    counts = Counter(label for i in parts["train"] for label in labels[i])
    for name in ("val", "test"):
        for i in sorted(parts[name], key=lambda i: items[i].key):
            if i not in parts[name] or all(counts[label] for label in labels[i]):
                continue
            group = items[i].group
            moving = [j for j in parts[name] if grouped and group is not None and items[j].group == group] or [i]
            if len(moving) == len(parts[name]) and grouped:
                continue  # the split would be empty: what it lacks is said by the check that follows
            _move(parts, name, "train", moving, counts, labels)
            if not grouped:
                spared = sorted(parts["train"], key=lambda j: items[j].key)
                free = next((j for j in spared if j != i and all(counts[label] > 1 for label in labels[j])), None)
                if free is not None:
                    _move(parts, "train", name, [free], counts, labels)


def _move(
    parts: Parts, origin: SplitName, goal: SplitName, moving: Sequence[int], counts: Counter[str],
    labels: Mapping[int, set[str]],
) -> None:  # fmt: skip
    parts[origin] = [i for i in parts[origin] if i not in set(moving)]
    parts[goal] += moving
    for i in moving:
        for label in labels[i]:
            counts[label] += 1 if goal == "train" else -1


def _most(names: Iterable[str]) -> str:
    counts = Counter(names)
    return max(sorted(counts), key=lambda name: counts[name])


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
