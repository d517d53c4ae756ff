"""Draws a heat map over its image: Pillow, in colours that the colour-blind tell apart and that print in grey."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from vitrail.contracts import Floats, Pixels
from vitrail.explain.lettering import length, write

Doubles = np.ndarray[Any, np.dtype[np.float64]]

SIDE = 336
"""Longest side of each of the two panels, pixels."""
MARGIN, GAP, BAR = 14, 6, 10
THINNEST = 12
"""Shorter side of a panel: of a line of pixels nothing could be seen."""
NARROWEST = 420
"""Width of the picture where the image is narrow: the words need room."""
ENDS = ("least in this image", "most")
INK, MUTED, PAPER = (28, 35, 49), (91, 100, 115), (255, 255, 255)
COLOURS = "inferno"
"""Rises evenly in lightness from black to pale yellow: read alike with any colour vision, and in grey."""
DARKEST = 0.1
"""Where the colours begin: from black itself, a little more of it would look darker, not hotter."""
WEAKEST, STRONGEST = 0.4, 0.8
"""Share of the heat map's colour in the mixture where the map is 0 and 1; the rest is the image in grey, so that colour
always means heat."""


def draw(image: Pixels, heat: Floats, title: str, lines: Sequence[str]) -> Image.Image:
    """The image and, beside it, the image under its heat map; above them `title`, below the scale and `lines`.

    image (height, width, C) uint8, C 1, 3 or 4.  heat (height, width) in [0, 1]; NaN is drawn faded, as not seen.
    """
    pair = panels(image, heat)
    inner = max(pair.width, NARROWEST)
    top, below = MARGIN + 28, 26
    canvas = Image.new("RGB", (inner + 2 * MARGIN, top + pair.height + below + 20 * len(lines) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    left = MARGIN + (inner - pair.width) // 2
    write(pen, (MARGIN, MARGIN - 2), title, 18, INK, inner)
    canvas.paste(pair, (left, top))
    draw_scale(canvas, pen, (left, top + pair.height + 9), pair.width)
    for number, line in enumerate(lines):
        write(pen, (MARGIN, top + pair.height + below + 20 * number + 2), line, 13, MUTED, inner)
    return canvas


def panels(image: Pixels, heat: Floats) -> Image.Image:
    """The image and, beside it, the image under its heat map, without a word: for pages that have their own; RGB."""
    plain = fitted(as_rgb(image))
    pair = Image.new("RGB", (2 * plain.width + GAP, plain.height), PAPER)
    pair.paste(plain, (0, 0))
    pair.paste(heated(plain, heat), (plain.width + GAP, 0))
    return pair


def ramp(steps: int) -> Floats:
    """The scale from 0 to 1, as it looks over mid-grey: (steps, 3) in [0, 255]."""
    heat = np.linspace(0, 1, steps)
    return _mixed(heat, np.full((steps, 1), 128.0)).astype(np.float32)


def as_rgb(pixels: Pixels) -> Image.Image:
    """(height, width, C) uint8 -> RGB: grey is repeated, alpha is laid on white, further channels are left out."""
    channels = pixels.shape[2]
    if channels == 4:
        over = Image.fromarray(pixels)
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    if channels < 3:
        return Image.fromarray(pixels[..., 0]).convert("RGB")
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))


def fitted(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The image with its longest side at `side`; small ones keep their pixels visible, thin ones are drawn thicker."""
    scale = side / max(image.size)
    size = (max(THINNEST, round(image.width * scale)), max(THINNEST, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 4 else Image.Resampling.LANCZOS)


def heated(plain: Image.Image, heat: Floats) -> Image.Image:
    """An image under a heat map of its shape, whatever its size: in [0, 1], NaN drawn faded; RGB."""
    seen = ~np.isnan(heat)
    spread = Image.fromarray(np.nan_to_num(heat)).resize(plain.size, Image.Resampling.BILINEAR)
    mask = Image.fromarray(seen).convert("L").resize(plain.size, Image.Resampling.NEAREST)
    grey = np.asarray(plain.convert("L"), np.float64)[..., None]  # (H, W, 1)
    mixed = _mixed(np.asarray(spread), grey)
    faded = 0.2 * grey + 0.8 * 236
    return Image.fromarray(np.where(np.asarray(mask)[..., None] > 0, mixed, faded).round().astype(np.uint8))


def _mixed(heat: Floats | Doubles, grey: Doubles) -> Doubles:
    """Heat (...) in [0, 1] laid over grey (..., 1) -> (..., 3) in [0, 255]."""
    colour = _palette()[np.clip(np.rint(heat * 255), 0, 255).astype(np.uint8)]
    share = (WEAKEST + (STRONGEST - WEAKEST) * heat**2)[..., None]  # squared: lightness rises all along
    mixed: Doubles = share * colour + (1 - share) * grey
    return mixed


def draw_scale(canvas: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int], width: int) -> None:
    """The colours from least to most, with words at both ends."""
    x, y = corner
    low, high = ENDS
    start, stop = x + length(low, 12) + 6, x + width - length(high, 12) - 6
    write(pen, (x, y - 3), low, 12, MUTED, width)
    write(pen, (stop + 6, y - 3), high, 12, MUTED, width)
    if stop > start:
        colours = ramp(stop - start).round().astype(np.uint8)
        canvas.paste(Image.fromarray(np.repeat(colours[None], BAR, axis=0)), (start, y))


def colours() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The scale itself, from least to most: (256, 3) uint8."""
    return _palette().round().astype(np.uint8)


@cache
def _palette() -> Doubles:
    colours: Doubles = matplotlib.colormaps[COLOURS](np.linspace(DARKEST, 1, 256))[:, :3] * 255
    return colours
