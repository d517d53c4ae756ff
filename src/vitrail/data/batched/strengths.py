"""The host's half of an operation: how strong it is, settled in whole numbers (R, S) that the device works with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vitrail.data.batched.whole import Doubles, Settings

MAP_ONE = 2**16
"""A coefficient of 1 of an affine map."""
FACTOR_ONE = 2**14
"""A blend's factor of 1: with pixels of 8 bits, factors to 2 are what float32 computes exactly."""
BLUR_SUM = 2**15
"""What a blur's weights sum to, for the same reason."""

Settle = Callable[[Doubles, tuple[int, int]], Settings]
"""Strengths (R,), in a unit that the function names, and the images' (H, W) -> settings (R, S)."""


def nothing(strengths: Doubles, size: tuple[int, int]) -> Settings:
    """Of operations that know no strength."""
    return np.zeros((len(strengths), 1), np.int64)


def shear_x(slopes: Doubles, size: tuple[int, int]) -> Settings:
    """Pixels across for each pixel down."""
    return _map(1, slopes, 0, 0, 1, 0)


def shear_y(slopes: Doubles, size: tuple[int, int]) -> Settings:
    """Pixels down for each pixel across."""
    return _map(1, 0, 0, slopes, 1, 0)


def translate_x(shares: Doubles, size: tuple[int, int]) -> Settings:
    """Shares of the image's width; moved by whole pixels."""
    return _map(1, 0, -np.trunc(shares * size[1]), 0, 1, 0)


def translate_y(shares: Doubles, size: tuple[int, int]) -> Settings:
    """Shares of the image's height; moved by whole pixels."""
    return _map(1, 0, 0, 0, 1, -np.trunc(shares * size[0]))


def rotate(degrees: Doubles, size: tuple[int, int]) -> Settings:
    """Degrees against the clock, around the centre."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    y, x = size[0] / 2, size[1] / 2
    return _map(cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def blend(factors: Doubles, size: tuple[int, int]) -> Settings:
    """How much an image has of itself: 1 is all; the rest is a duller image's."""
    return np.rint(factors * FACTOR_ONE).astype(np.int64)[:, None]


def bits(kept: Doubles, size: tuple[int, int]) -> Settings:
    """Bits that are kept of each value, rounded -> the step between the values that are left."""
    return (2.0 ** (8 - np.rint(kept))).astype(np.int64)[:, None]


def threshold(least: Doubles, size: tuple[int, int]) -> Settings:
    """The least value that is inverted."""
    return np.ceil(least).astype(np.int64)[:, None]


def gaussian(deviations: Doubles, largest: float) -> Settings:
    """Standard deviations in pixels, none above `largest` -> weights of a Gaussian (R, 1 + ceil(3 largest)).

    The pixel's own and those of the pixels so far away, on either side.
    """
    away = np.arange(1 + int(np.ceil(3 * largest)))
    shares = np.exp(-0.5 * (away / deviations[:, None]) ** 2)
    sides = np.where(away > 0, 2, 1)
    weights: Settings = np.rint(BLUR_SUM * shares / (shares * sides).sum(axis=1, keepdims=True)).astype(np.int64)
    weights[:, 0] += BLUR_SUM - (weights * sides).sum(axis=1)
    return weights


def _map(*coefficients: float | Doubles) -> Settings:
    """a, b, c, d, e, f of a map from a pixel's place in the result to its place in the image, in pixels from the top
    left corner: x' = a x + b y + c, y' = d x + e y + f."""
    whole: Settings = np.rint(np.stack(np.broadcast_arrays(*coefficients), axis=-1) * float(MAP_ONE)).astype(np.int64)
    return whole
