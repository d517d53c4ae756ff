"""Whether a map lies on the object that the answer is about, where it is known where that stands."""

from __future__ import annotations

from typing import Any

import numpy as np

Values = np.ndarray[Any, np.dtype[np.float64]]
Region = np.ndarray[Any, np.dtype[np.bool_]]

TOLERANCE = 1 / 16
"""Of the image's longer side: how far from the object a point may lie. It is 14 of 224 pixels; Zhang et al. have 15."""
EQUAL = 1e-6
"""Of the largest value: what differs by less is what rounding leaves of equal cells."""


def point(values: Values) -> tuple[float, float]:
    """Of a value per cell (h, w), where the highest is: (down, across) in shares of the image.

    Of several equal ones their middle: a map that is coarser than the cells then points at the middle of its own, and
    one that says nothing at the middle of the image.
    """
    highest = values.max()
    rows, columns = np.nonzero(values >= highest - EQUAL * np.abs(values).max())
    return float(rows.mean() + 0.5) / values.shape[0], float(columns.mean() + 0.5) / values.shape[1]


def hit(values: Values, region: Region) -> bool:
    """Whether the highest cell of (h, w) points at a region of pixels (H, W), or just beside it.

    The pointing game of Zhang et al. 2016 (arXiv 1608.00507), section 4.1.
    """
    height, width = region.shape
    down, across = point(values)
    rows, columns = np.nonzero(region)
    # from the point to the nearest pixel's own square
    below = np.maximum(0, np.abs(rows + 0.5 - down * height) - 0.5)
    beside = np.maximum(0, np.abs(columns + 0.5 - across * width) - 0.5)
    away = np.sqrt((below**2 + beside**2).min()) if len(rows) else np.inf
    return bool(away <= TOLERANCE * max(height, width))


def energy(values: Values, region: Region) -> float:
    """The share of a map's positive part (H, W) that lies in a region (H, W), in [0, 1].

    A map without a positive part says nothing, and has what a flat one has: the region's share of the image. The
    energy-based pointing game of Wang et al. 2020 (Score-CAM, arXiv 1910.01279), section 4.3.
    """
    positive = np.where(np.isfinite(values), np.maximum(values, 0), 0)
    total = positive.sum()
    return float(positive[region].sum() / total) if total > 0 else float(region.mean())
