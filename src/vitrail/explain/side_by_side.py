"""One photograph under several heat maps: what methods, and models, say of the same image."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from vitrail.explain.explanation import Explanation
from vitrail.explain.lettering import write
from vitrail.explain.overlay import GAP, INK, MARGIN, MUTED, PAPER, as_rgb, draw_scale, fitted, heated

SIDE = 224
"""Longest side of each panel, pixels."""
NARROWEST = 150
"""Width of a panel's place where the image is narrow: its words need room."""
ACROSS = 5
"""Panels in a row, at most."""


def side_by_side(explanations: Sequence[Explanation], models: Sequence[str] = ()) -> Image.Image:
    """The image, then the image under each explanation, with method, layer and head, and answer under each; RGB.

    explanations: of one image, one or more.  models: the name of the model of each, to be told where there are several.
    """
    plain = fitted(as_rgb(explanations[0].image), SIDE)
    panels = [(plain, ["the image", explanations[0].source])]
    for number, made in enumerate(explanations):
        title = made.method.replace("_", " ")
        target = f"for {made.target}" if made.target else ""
        told = [title, models[number] if models else "", made.answer, made.where, target]
        panels.append((heated(plain, made.heatmap), [line for line in told if line]))
    wide, tall = max(plain.width, NARROWEST), plain.height + 8 + 18 * max(len(lines) for _, lines in panels) + MARGIN
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    width, height = across * (wide + 2 * GAP) - 2 * GAP, down * tall
    canvas = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN + 12), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (panel, lines) in enumerate(panels):
        left = MARGIN + number % across * (wide + 2 * GAP)
        top = MARGIN + number // across * tall
        canvas.paste(panel, (left, top))
        for row, line in enumerate(lines):
            size, ink = (14, INK) if row == 0 else (12, MUTED)
            write(pen, (left, top + plain.height + 4 + 18 * row), line, size, ink, wide)
    draw_scale(canvas, pen, (MARGIN, MARGIN + height), min(width, 480))
    return canvas
