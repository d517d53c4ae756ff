"""What may be done to an image before a model sees it: weaker pixels, other places. NumPy and Pillow, no draws unseen.

Each change is a pure function of the image and, where it draws, of a generator that its caller made from a key, so that
every model of a study meets the same pixels. Images are (h, w, C) uint8 of 1, 3 or 4 channels; a fourth is alpha, which
has a place but no colour: changes of colour leave it as it is.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from vitrail.contracts import Pixels
from vitrail.data.image import decode
from vitrail.data.preprocess import resample
from vitrail.report.statistics import Doubles

Values = np.ndarray[Any, Any]

Places = tuple[Doubles, Doubles]
"""For each pixel of the result, (h, w): the row and the column of the image it is taken from, fractions between."""


# ---------------------------------------------------------------------------------------------------- weaker pixels


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Stored as JPEG of that quality (1 to 95, Pillow's, colours at half resolution) and read again."""

    def stored(colour: Pixels) -> Pixels:
        raw = io.BytesIO()
        _picture(colour).save(raw, "JPEG", quality=quality)
        return decode(raw.getvalue(), colour.shape[2])

    return _on_colour(pixels, stored)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """A Gaussian blur; sigma in pixels. Pillow's, which is three box blurs of the same variance."""
    return _on_colour(pixels, lambda colour: _array(_picture(colour).filter(ImageFilter.GaussianBlur(sigma))))


def noisy(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Normal noise on every value, of standard deviation sigma where values are in [0, 1], cut off at both ends."""

    def added(colour: Pixels) -> Pixels:
        return _whole(colour.astype(np.float64) + 255 * sigma * rng.standard_normal(colour.shape))

    return _on_colour(pixels, added)


def brightened(pixels: Pixels, by: float) -> Pixels:
    """`by`, in [-1, 1], added to the value of HSV (the largest of red, green and blue); hue and saturation stay."""

    def lit(colour: Pixels) -> Pixels:
        value = colour.max(axis=2, keepdims=True).astype(np.float64)
        wanted = np.clip(value + 255 * by, 0, 255)
        return _whole(np.where(value > 0, colour * (wanted / np.maximum(value, 1)), wanted))

    return _on_colour(pixels, lit)


# ------------------------------------------------------------------------------------------------------ other places


def shifted(size: tuple[int, int], down: float, right: float) -> Places:
    """Everything moves down and to the right by so many pixels; (h, w) -> where each pixel comes from."""
    rows, columns = _grid(size)
    return rows - down, columns - right


def turned(size: tuple[int, int], degrees: float) -> Places:
    """Everything turns about the image's centre, counterclockwise as it is seen."""
    rows, columns = _grid(size)
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    angle = np.deg2rad(degrees)
    below, beside = rows - middle[0], columns - middle[1]
    # rows grow downwards: what is seen turning left is, in (column, row), a turn by minus the angle
    return (
        middle[0] + below * np.cos(angle) + beside * np.sin(angle),
        middle[1] + beside * np.cos(angle) - below * np.sin(angle),
    )


def seen(pixels: Pixels, places: Places) -> Pixels:
    """The image from other places, bilinear; beyond its edge stands the colour at the edge."""
    height, width = pixels.shape[:2]
    rows, columns = np.clip(places[0], 0, height - 1), np.clip(places[1], 0, width - 1)
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    return _whole(upper * (1 - down) + lower * down)


def carried(values: Values, places: Places, blank: Values) -> Values:
    """A map (..., h, w) from other places, each pixel that nearest to its place; beyond the edge `blank`, alike."""
    height, width = values.shape[-2:]
    rows, columns = np.rint(places[0]).astype(np.int64), np.rint(places[1]).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    taken = values[..., np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.where(inside, taken, blank.astype(values.dtype))


def rolled(pixels: Pixels, down: int, right: int) -> Pixels:
    """Moved down and to the right; what leaves at one edge comes in at the other."""
    return np.roll(pixels, (down, right), axis=(0, 1))


def flipped(pixels: Pixels, axis: int) -> Pixels:
    """The mirror image: axis 0 upside down, 1 left and right."""
    return np.ascontiguousarray(np.flip(pixels, axis))


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """What is shown becomes `factor` times as large about the centre, anti-aliased; gaps have the edge's colour."""
    height, width = pixels.shape[:2]
    if factor >= 1:
        tall, wide = height / factor, width / factor
        top, left = (height - tall) / 2, (width - wide) / 2
        return resample(pixels, (left, top, left + wide, top + tall), (height, width), "bilinear")
    tall, wide = max(1, round(height * factor)), max(1, round(width * factor))
    small = resample(pixels, (0.0, 0.0, float(width), float(height)), (tall, wide), "bilinear")
    above, before = (height - tall) // 2, (width - wide) // 2
    gaps = ((above, height - tall - above), (before, width - wide - before), (0, 0))
    return np.pad(small, gaps, mode="edge")


def shuffled(pixels: Pixels, patch: int, rng: np.random.Generator) -> Pixels:
    """The image cut into squares of `patch` pixels, which are laid out again in an order that is drawn.

    The sides must be multiples of the patch.
    """
    height, width, channels = pixels.shape
    assert height % patch == 0, "the caller picks a patch that divides"
    assert width % patch == 0, "the caller picks a patch that divides"
    down, across = height // patch, width // patch
    patches = pixels.reshape(down, patch, across, patch, channels).swapaxes(1, 2).reshape(-1, patch, patch, channels)
    again = patches[rng.permutation(len(patches))].reshape(down, across, patch, patch, channels)
    return np.ascontiguousarray(again.swapaxes(1, 2).reshape(height, width, channels))


def _grid(size: tuple[int, int]) -> Places:
    rows, columns = np.indices(size, dtype=np.float64)
    return rows, columns


def _on_colour(pixels: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """A change of the colours alone: alpha stays."""
    if pixels.shape[2] != 4:
        return change(pixels)
    return np.concatenate([change(np.ascontiguousarray(pixels[..., :3])), pixels[..., 3:]], axis=2)


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _array(picture: Image.Image) -> Pixels:
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _whole(values: Doubles) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
