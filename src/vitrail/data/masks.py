"""Masks: targets with one whole number per pixel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from vitrail.data.maps import read_map
from vitrail.errors import BadImage, DataError

LIMIT = 2**53
"""Larger numbers are cut to this when a mask is read: no int64 holds all of them, and none is a class."""

HIGHEST = 65_535
"""The largest value of a class: more is in no PNG."""
UNTOLD = -1
"""In encoded masks: a pixel whose truth is not known; it counts in no loss and no metric."""

Stored = np.ndarray[Any, np.dtype[np.int64]]


def read_mask(target: Any) -> Stored:
    """A mask as stored, (h, w) int64. Raises BadImage where it has several maps, or what is no whole number."""
    stored = read_map(target)
    if stored.ndim != 2:
        raise BadImage(f"{len(stored)} maps, where a mask has one whole number per pixel")
    if stored.dtype.kind == "f" and not (np.isfinite(stored) & (stored == np.floor(stored))).all():
        raise BadImage("its mask has fractions, where a whole number per pixel is needed (maps are for --task depth)")
    if stored.dtype.kind == "f":
        stored = stored.astype(np.float64).clip(-LIMIT, LIMIT)
    elif stored.dtype == np.uint64:
        stored = np.minimum(stored, np.uint64(LIMIT))
    return stored.astype(np.int64)


def count_values(targets: Iterable[Any]) -> dict[int, int]:
    """How many pixels of the masks have each value; masks that cannot be used are the audit's to name.

    Raises DataError, with the reason, where none can be.
    """
    counts: dict[int, int] = {}
    usable, reason = False, ""
    for target in targets:
        try:
            stored = read_mask(target)
        except BadImage as error:
            reason = reason or error.reason
            continue
        usable = True
        values, pixels = np.unique(stored, return_counts=True)
        for value, count in zip(values.tolist(), pixels.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
    if not usable:
        raise DataError(f"no mask of the training images can be used{f': {reason}' if reason else ''}")
    return counts
