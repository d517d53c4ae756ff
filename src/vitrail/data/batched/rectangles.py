"""Where a batch's random crops lie, and what of it is erased: drawn as torchvision draws them, for all at once."""

from __future__ import annotations

import numpy as np

from vitrail.data.batched.whole import TRIES, Bools, Doubles, Draws, Integers, between, first_that_fits, whole_below

ERASED = (0.02, 0.33)
"""Least and largest share of the area that is erased (Zhong et al. 2020)."""
ERASED_RATIO = (0.3, 3.3)
"""Height over width of what is erased."""


def crops(draws: Draws, sizes: Integers, scale: tuple[float, float], ratio: tuple[float, float]) -> Integers:
    """(B, 4) top, left, height, width of RandomResizedCrop's part of images of sizes (B, 2), height and width.

    scale: least and largest share of the area; ratio: of width over height. Where ten draws do not fit, the largest
    part in the middle that keeps the ratio.
    """
    height, width = sizes[:, 0], sizes[:, 1]
    drawn = draws.uniform("crop", 2 * TRIES + 2)
    areas = between(*scale, drawn[:, :TRIES]) * (height * width)[:, None]
    tall, wide, fits = _sides(areas, 1 / _aspects(ratio, drawn[:, TRIES : 2 * TRIES]))
    fits &= (wide <= width[:, None]) & (tall <= height[:, None])
    any_fits = fits.any(axis=1)
    narrow = width < height * ratio[0]
    broad = width > height * ratio[1]
    largest_tall = np.where(narrow, np.rint(width / ratio[0]).astype(np.int64), height)
    largest_wide = np.where(broad, np.rint(height * ratio[1]).astype(np.int64), width)
    tall = np.where(any_fits, first_that_fits(tall, fits), largest_tall)
    wide = np.where(any_fits, first_that_fits(wide, fits), largest_wide)
    top = np.where(any_fits, whole_below(drawn[:, -2], height - tall + 1), (height - tall) // 2)
    left = np.where(any_fits, whole_below(drawn[:, -1], width - wide + 1), (width - wide) // 2)
    return np.stack([top, left, tall, wide], axis=1)


def erasures(draws: Draws, size: tuple[int, int], share: float) -> Integers:
    """(B, 4) top, left, height, width of what RandomErasing erases of images of size (H, W); nothing is 0 high.

    share: of the images that lose something.
    """
    height, width = size
    drawn = draws.uniform("erase", 2 * TRIES + 3)
    areas = between(*ERASED, drawn[:, :TRIES]) * height * width
    tall, wide, fits = _sides(areas, _aspects(ERASED_RATIO, drawn[:, TRIES : 2 * TRIES]))
    fits &= (tall < height) & (wide < width)
    happens = (drawn[:, -3] < share) & fits.any(axis=1)
    tall, wide = (np.where(happens, first_that_fits(side, fits), 0) for side in (tall, wide))
    top, left = whole_below(drawn[:, -2], height - tall + 1), whole_below(drawn[:, -1], width - wide + 1)
    return np.stack([top, left, tall, wide], axis=1)


def _aspects(ratio: tuple[float, float], draws: Doubles) -> Doubles:
    """Uniform in the logarithm."""
    return np.exp(between(float(np.log(ratio[0])), float(np.log(ratio[1])), draws))


def _sides(areas: Doubles, aspects: Doubles) -> tuple[Integers, Integers, Bools]:
    """Heights and widths of areas of aspects, height over width, and whether both are at least a pixel."""
    tall, wide = np.rint(np.sqrt(areas * aspects)).astype(np.int64), np.rint(np.sqrt(areas / aspects)).astype(np.int64)
    return tall, wide, (tall > 0) & (wide > 0)
