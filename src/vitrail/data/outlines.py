"""Masks from outlines: polygons and the run lengths of COCO, drawn onto pixels when a mask is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.errors import BadImage

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Classes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Outline:
    """Where one object is. value: of its pixels in the mask.

    polygons: each x0, y0, x1, y1, ... in pixels, (0, 0) the upper left corner of the image.  runs: lengths of runs
    of outside and inside in turn, column by column.  Of the two one is empty.
    """

    value: int
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """Outlines over an image of (height, width): called, it gives the mask (h, w) uint8, 0 where nothing is.

    Where objects overlap, the smaller one is on top. BadImage where an outline does not fit the image.
    """

    size: tuple[int, int]
    outlines: tuple[Outline, ...]
    max_pixels: int

    def __call__(self) -> Classes:
        height, width = self.size
        if height * width > self.max_pixels:
            raise BadImage(f"its annotation declares {width} x {height} pixels, more than {self.max_pixels:,}")
        mask = np.zeros(self.size, np.uint8)
        drawn = [(outline.value, inside(outline, self.size)) for outline in self.outlines]
        for value, pixels in sorted(drawn, key=lambda pair: -int(pair[1].sum())):
            mask[pixels] = value
        return mask


def inside(outline: Outline, size: tuple[int, int]) -> Mask:
    """The pixels of one object, (h, w): those whose centres lie in one of its polygons, or in its runs."""
    if outline.runs:
        return unrolled(outline.runs, size)
    mask = np.zeros(size, bool)
    for polygon in outline.polygons:
        mask |= filled(polygon, size)
    return mask


def filled(polygon: Sequence[float], size: tuple[int, int]) -> Mask:
    """The pixels of (height, width) whose centres lie in a polygon, by the even-odd rule.

    Every edge flips all pixels to its right in the rows that it crosses.
    """
    height, width = size
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    flips = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = min(y0, y1), max(y0, y1)
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))  # low <= centre < high
        crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        flips[rows, columns] ^= 1  # one edge meets a row once
    mask: Mask = np.logical_xor.accumulate(flips.astype(bool), axis=1)[:, :width]
    return mask


def unrolled(runs: Sequence[int], size: tuple[int, int]) -> Mask:
    """Run lengths of outside and inside in turn, down the columns -> (height, width); BadImage if they do not fit."""
    height, width = size
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise BadImage(f"its run lengths cover {sum(runs):,} pixels, not {width} x {height}")
    values = np.arange(len(runs)) % 2 == 1
    mask: Mask = np.repeat(values, runs).reshape(width, height).T
    return mask


def runs_of(text: str) -> tuple[int, ...]:
    """The run lengths that COCO writes as text: five bits to a character, differences from the run before the last.

    Raises ValueError for what is no such text. Source: `rleFrString` of the COCO API's maskApi.c.
    """
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            if place >= len(text):
                raise ValueError("run lengths end in the middle of a number")
            code = ord(text[place]) - 48
            if not 0 <= code < 64:
                raise ValueError(f"{text[place]!r} does not belong in run lengths")
            value |= (code & 31) << shift
            more = bool(code & 32)
            place, shift = place + 1, shift + 5
            if shift > 60:
                raise ValueError("a run length is too long")
            if not more and code & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    if min(runs, default=0) < 0:
        raise ValueError("a run length is negative")
    return tuple(runs)
