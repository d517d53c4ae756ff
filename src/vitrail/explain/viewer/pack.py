"""Numbers made small enough for a page: attention in 52 steps, maps in 256, deflated and written as base64.

Nothing that a page draws can show more: a row of attention is drawn from 0 to its own largest value.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from vitrail.contracts import Floats

STEPS = 51
"""Largest step of a quantised attention weight. 52 steps are 5.7 bits a weight where every step is as frequent as every
other: 2.7 MB for ViT-S/16 at 224 px at the very worst, so that its maps find room in 3 MB."""

Steps = np.ndarray[Any, np.dtype[np.uint8]]


def quantised(weights: Floats) -> Steps:
    """Attention (..., T_k) -> the same shape in whole steps q, with w = q^2 / sum of q^2 over the row.

    A row needs no scale, since it sums to 1. Roots are taken so that small weights keep their order: everything above
    1 / 10,000 of a row's largest weight has a step of its own or shares one with its neighbours in value.
    """
    most = np.maximum(weights.max(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    steps: Steps = np.rint(STEPS * np.sqrt(weights / most)).astype(np.uint8)
    return steps


LEVEL = 4
"""Of 9: a tenth larger than at 6, in a third of the time."""


def deflated(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """The bytes of arrays (little-endian, C order) one after another, in zlib's format, as base64."""
    squeezer = zlib.compressobj(LEVEL)
    parts = [squeezer.compress(array.astype(array.dtype.newbyteorder("<")).tobytes()) for array in arrays]
    return base64.b64encode(b"".join([*parts, squeezer.flush()])).decode()


MOST = 256
"""Longest side of a map on a page."""


def heat(values: Floats) -> dict[str, Any]:
    """A map (H, W) in 256 steps from its least value to its greatest, NaN as unseen; no larger than `MOST` a side.

    Larger maps are averaged over squares of pixels. A map where each patch has one value is kept as patches.
    """
    small = _patches(_averaged(values))
    low, high = (float(f(small)) for f in (np.nanmin, np.nanmax))
    flat = high - low <= 1e-6 * max(abs(low), abs(high))
    scaled = np.zeros_like(small) if flat else (small - low) / (high - low)
    return {
        "grid": list(small.shape),
        "low": low,
        "high": high,
        "data": deflated([np.rint(255 * scaled).astype(np.uint8)]),
    }


def heats(heads: Floats) -> dict[str, Any]:
    """Maps (A, h, w) of the heads of a layer, each in 256 steps from its own least value to its greatest."""
    low, high = heads.min(axis=(1, 2)), heads.max(axis=(1, 2))
    span = np.where(high > low, high - low, 1)[:, None, None]
    steps = np.rint(255 * (heads - low[:, None, None]) / span).astype(np.uint8)
    return {
        "grid": list(heads.shape[1:]),
        "low": [float(value) for value in low],
        "high": [float(value) for value in high],
        "data": deflated([steps]),
    }


def _averaged(values: Floats) -> Floats:
    factor = -(-max(values.shape) // MOST)
    if factor == 1:
        return values
    height, width = (-(-side // factor) * factor for side in values.shape)
    padded = np.pad(values, ((0, height - values.shape[0]), (0, width - values.shape[1])), mode="edge")
    cut: Floats = padded.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3))
    return cut


def _patches(values: Floats) -> Floats:
    """One value a patch, where rows and columns repeat in patches of one size; else the map as it is."""
    rows, columns = (_period(lines) for lines in (values, values.T))
    return values[::rows, ::columns]


def _period(lines: Floats) -> int:
    """The largest divisor of the number of lines after which alone a line differs from the one before it."""
    changes = np.flatnonzero((lines[1:] != lines[:-1]).any(axis=1)) + 1
    return int(np.gcd.reduce(np.append(changes, len(lines))))
