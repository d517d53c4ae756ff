"""Large images through a model of a fixed size: overlapping windows, blended so that no seam shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitrail.contracts import Engine, Floats

OVERLAP = 0.25
"""Least share of a window's side that it has in common with its neighbour."""


class TiledEngine:
    """Runs an engine of (H, W) pixels on images at least that large: (B, C, h, w) -> (B, Y, h, w).

    Each pixel's answer is the mean of those of the windows it is in, weighted by its distance from their edges, where
    a model sees least of what is around.
    """

    def __init__(self, engine: Engine, size: tuple[int, int], overlap: float = OVERLAP, batch_size: int = 8) -> None:
        assert 0 <= overlap < 1
        self.engine, self.size, self.overlap, self.batch_size = engine, size, overlap, batch_size

    def __call__(self, images: Floats) -> np.ndarray[Any, Any]:
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Floats) -> Floats:
        height, width = image.shape[1:]
        corners = [
            (top, left)
            for top in starts(height, self.size[0], self.overlap)
            for left in starts(width, self.size[1], self.overlap)
        ]
        rows, columns = (_ramp(side, self.overlap) for side in self.size)
        weight: Floats = rows[:, None] * columns  # (H, W)
        total: Floats | None = None
        weights = np.zeros((height, width), np.float32)
        for first in range(0, len(corners), self.batch_size):
            chosen = corners[first : first + self.batch_size]
            answers = self.engine(np.stack([self._cut(image, corner) for corner in chosen]))  # (b, Y, H, W)
            if total is None:
                total = np.zeros((answers.shape[1], height, width), np.float32)
            for (top, left), answer in zip(chosen, answers, strict=True):
                window = (slice(top, top + self.size[0]), slice(left, left + self.size[1]))
                total[(slice(None), *window)] += answer * weight
                weights[window] += weight
        assert total is not None, "an image has at least one window"
        total /= weights
        return total

    def _cut(self, image: Floats, corner: tuple[int, int]) -> Floats:
        top, left = corner
        return image[:, top : top + self.size[0], left : left + self.size[1]]


def starts(length: int, window: int, overlap: float) -> list[int]:
    """First pixels of the fewest windows that cover `length` pixels, evenly spaced, overlapping by a share at least."""
    assert length >= window, "the preprocessing pads an image to a window at least"
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [round(i * (length - window) / max(1, count - 1)) for i in range(count)]


def _ramp(side: int, overlap: float) -> Floats:
    """Weights along a window's side: 1 in the middle, falling to just above 0 over the share that overlaps."""
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return np.minimum(1, edge / max(1.0, side * overlap)).astype(np.float32)
