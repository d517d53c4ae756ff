"""What the splits are to have equal shares of: classes, sets of labels, ranges of numbers, or what a column says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.contracts import Source
from vitrail.errors import DataError, UsageError

COMMON = 8
"""A set of labels with fewer images is no stratum: its share of a tenth would be none."""
MOST_RANGES = 10
FEWEST_IN_RANGE = 10


@dataclass(frozen=True)
class Strata:
    """How samples are told apart when they are divided.

    classes: of each sample by source index; every class has its exact share, "" is one class for all.  within: the
    stratum inside its class, whose share is exact within one sample.  how: for the screen, "" where nothing was told
    apart but classes.
    """

    classes: Mapping[int, str]
    within: Mapping[int, str]
    how: str


def strata(source: Source, indices: Sequence[int], task: str, column: str | None) -> Strata:
    """The strata of these samples for a task. column: `data.stratify`, whose values the source has in `strata`."""
    items = source.items
    targets = {i: items[i].target for i in indices}
    classes = {i: str(target) if task == "classify" else "" for i, target in targets.items()}
    within, said = dict.fromkeys(indices, ""), []
    if task == "multilabel":
        within, said = _label_sets(targets), ["sets of labels"]
    elif task == "regress":
        within, said = _ranges(source, targets), ["ranges of the target"]
    own: Sequence[str] | None = getattr(source, "strata", None)
    if column is not None:
        if own is None:
            raise UsageError(f"data.stratify {column}: {source.location} has no columns to stratify by")
        within = {i: f"{own[i]}\0{stratum}" for i, stratum in within.items()}
        said.append(f"'{column}'")
    return Strata(classes, within, " and ".join(said))


def _label_sets(targets: Mapping[int, Any]) -> dict[int, str]:
    """The whole set of labels where it is common, else the rarest label of it."""
    sets = {i: tuple(sorted(map(str, labels))) for i, labels in targets.items()}
    common = Counter(sets.values())
    counts = Counter(label for labels in sets.values() for label in labels)
    found = {}
    for i, labels in sets.items():
        if common[labels] >= COMMON or not labels:
            found[i] = "\1".join(labels)
        else:
            found[i] = "rare\1" + min(labels, key=lambda label: (counts[label], label))
    return found


def _ranges(source: Source, targets: Mapping[int, Any]) -> dict[int, str]:
    """Which range of the numbers a sample is in, each with as many samples; of several numbers, of their mean rank."""
    if not targets:
        return {}
    read: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    for i, target in targets.items():
        try:
            read.append(np.atleast_1d(np.asarray(target, np.float64)))
        except (TypeError, ValueError):
            raise DataError(f"{source.items[i].key}: a number is expected, not {str(target)[:40]!r}") from None
        if read[-1].shape != read[0].shape:
            raise DataError(f"{source.items[i].key}: {read[-1].size} target values, others have {read[0].size}")
    rows = np.array(read)
    ranks = np.argsort(np.argsort(rows, axis=0, kind="stable"), axis=0, kind="stable").astype(np.float64)
    for column, numbers in zip(ranks.T, rows.T, strict=True):  # equal numbers have one rank: the order says nothing
        _, place = np.unique(numbers, return_inverse=True)
        column[:] = (np.bincount(place, weights=column) / np.bincount(place))[place]
    score = ranks.mean(axis=1)
    count = max(1, min(MOST_RANGES, len(score) // FEWEST_IN_RANGE))
    edges = np.quantile(score, np.arange(1, count) / count)
    return {i: f"{place:02d}" for i, place in zip(targets, np.searchsorted(edges, score, side="right"), strict=True)}
