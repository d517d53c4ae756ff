"""Every layer and head of a method on one picture: a row a layer, a column a head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vitrail.contracts import Floats, Pixels
from vitrail.explain.lettering import length, write
from vitrail.explain.overlay import INK, MARGIN, MUTED, NARROWEST, PAPER, as_rgb, draw_scale, fitted, heated

TILE, GAP, EDGE = 84, 4, 34


def layer_grid(photo: Pixels, layers: Sequence[Floats], title: str, lines: Sequence[str]) -> Image.Image:
    """Draw what each head of each layer says over what the model was shown; RGB.

    photo: (height, width, C), what the model was shown.  layers: of each (A, h, w), heads over its own grid; A and the
    grid may differ.  Each tile is coloured from its own least to its own greatest value.  title above, `lines` below.
    """
    plain = fitted(as_rgb(photo), TILE)
    step = (plain.width + GAP, plain.height + GAP)
    columns = max(len(heads) for heads in layers)
    inner = max(EDGE + columns * step[0], NARROWEST)
    top = MARGIN + 52
    bottom = top + len(layers) * step[1]
    canvas = Image.new("RGB", (inner + 2 * MARGIN, bottom + 30 + 20 * len(lines) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    write(pen, (MARGIN, MARGIN - 2), title, 18, INK, inner)
    for column in range(columns):
        words = f"head {column}" if plain.width > 50 else str(column)
        write(pen, (MARGIN + EDGE + column * step[0], top - 18), words, 12, MUTED, step[0])
    for row, heads in enumerate(layers):
        number = str(row)
        y = top + row * step[1]
        write(pen, (MARGIN + EDGE - 8 - length(number, 12), y + plain.height // 2 - 8), number, 12, MUTED, EDGE)
        for column, heat in enumerate(heads):
            canvas.paste(heated(plain, _scaled(heat)), (MARGIN + EDGE + column * step[0], y))
    draw_scale(canvas, pen, (MARGIN, bottom + 8), min(inner, 480))
    for place, line in enumerate(lines):
        write(pen, (MARGIN, bottom + 28 + 20 * place), line, 13, MUTED, inner)
    return canvas


def _scaled(heat: Floats) -> Floats:
    """(h, w) from its least value, 0, to its greatest, 1; zeros where it is constant."""
    low, high = float(heat.min()), float(heat.max())
    flat = high - low <= 1e-6 * max(abs(low), abs(high))
    scaled: Floats = np.zeros_like(heat) if flat else ((heat - low) / (high - low)).astype(np.float32)
    return scaled
