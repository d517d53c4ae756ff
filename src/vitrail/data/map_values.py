"""What the values of a mask or a map of numbers are, in a few hundred bytes: which, how many, and what is missing."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_VALUES = 300
"""Different values that are counted one by one; of more, as in depth or instances, only how many there are."""

_BAND = 2**20
"""Values looked at together, so that a large map needs little memory beside itself."""


@dataclass(frozen=True)
class MapValues:
    """The values of one target with a value per pixel.

    whole: integers.  pixels: values in all.  missing: of them not finite.  low, high: of the finite ones, 0 where
    there are none.  distinct: different finite values, for fractions at most MOST_VALUES + 1.  counts: (value, pixels)
    of whole values by value, empty where there are more than MOST_VALUES.
    """

    whole: bool
    pixels: int
    missing: int
    low: float
    high: float
    distinct: int
    counts: tuple[tuple[int, int], ...]

    def pack(self) -> list[Any]:
        """The fields for JSON."""
        counts = [list(pair) for pair in self.counts]
        return [self.whole, self.pixels, self.missing, self.low, self.high, self.distinct, counts]

    @classmethod
    def unpack(cls, packed: Any) -> MapValues | None:
        """What `pack` gave, read back from JSON; None for anything else."""
        match packed:
            case [bool(whole), int(pixels), int(missing), float(low), float(high), int(distinct), [*counts]]:
                pairs = [(pair[0], pair[1]) for pair in counts if _is_pair(pair)]
                if len(pairs) == len(counts) and math.isfinite(low) and math.isfinite(high):
                    return cls(whole, pixels, missing, low, high, distinct, tuple(pairs))
        return None


def measure(values: np.ndarray[Any, Any]) -> MapValues:
    """Numbers of any shape and kind -> what they are."""
    flat = values.reshape(-1)
    whole = values.dtype.kind in "bui"
    if not flat.size:
        return MapValues(whole, 0, 0, 0.0, 0.0, 0, ())
    if not whole:
        return _fractions(flat)
    counted: Counter[int] = Counter()
    for start in range(0, flat.size, _BAND):
        found, times = np.unique(flat[start : start + _BAND], return_counts=True)
        counted.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
    few = tuple(sorted(counted.items())) if len(counted) <= MOST_VALUES else ()
    return MapValues(True, flat.size, 0, float(min(counted)), float(max(counted)), len(counted), few)


def _fractions(flat: np.ndarray[Any, Any]) -> MapValues:
    finite, low, high = 0, math.inf, -math.inf
    seen: set[float] = set()
    for start in range(0, flat.size, _BAND):
        band = flat[start : start + _BAND]
        band = band[np.isfinite(band)]
        finite += band.size
        if band.size:
            low, high = min(low, float(band.min())), max(high, float(band.max()))
            if len(seen) <= MOST_VALUES:
                seen |= set(np.unique(band)[: MOST_VALUES + 1].tolist())
    if not finite:
        low = high = 0.0
    return MapValues(False, flat.size, flat.size - finite, low, high, min(len(seen), MOST_VALUES + 1), ())


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair)
