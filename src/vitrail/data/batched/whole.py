"""What is drawn for a batch on the host, before any pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.data.draws import uniforms

Doubles = np.ndarray[Any, np.dtype[np.float64]]
"""Draws, and what is made of them."""

Bools = np.ndarray[Any, np.dtype[np.bool_]]

Integers = np.ndarray[Any, np.dtype[np.int64]]

Settings = Integers
"""(R, S) whole numbers that an operation works with, for each of R images; it says what they are."""

TRIES = 10
"""How often a rectangle is drawn until one fits, in torchvision's transforms."""


@dataclass(frozen=True)
class Draws:
    """The draws of a batch's samples: a pure function of (data seed, epoch, place in the epoch) of each.

    epochs, places: (B,) int64.
    """

    seed: int
    epochs: Integers
    places: Integers

    def __len__(self) -> int:
        return len(self.places)

    def uniform(self, purpose: str, count: int) -> Doubles:
        """(B, count) in [0, 1); a purpose's draws are its own, whatever else is drawn."""
        drawn: Doubles = uniforms(self.seed, purpose, self.epochs, self.places, count).astype(np.float64)
        return drawn


def first_that_fits(values: Integers, fits: Bools) -> Integers:
    """Of (B, TRIES) each row's first value that fits; its first where none does."""
    picked: Integers = np.take_along_axis(values, fits.argmax(axis=1)[:, None], axis=1)[:, 0]
    return picked


def between(low: float, high: float, draws: Doubles) -> Doubles:
    """Uniform in [low, high)."""
    return low + (high - low) * draws


def whole_below(draws: Doubles, count: Integers | int) -> Integers:
    """Uniform whole numbers from 0 to count - 1."""
    return np.minimum((draws * count).astype(np.int64), count - 1)
