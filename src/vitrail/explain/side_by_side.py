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
    places = _places(models or [""] * len(explanations))
    across, down = 1 + max(column for _, column in places), 1 + places[-1][0]
    width, height = across * (wide + 2 * GAP) - 2 * GAP, down * tall
    canvas = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN + 12), PAPER)
    pen = ImageDraw.Draw(canvas)
    for (down, across), (panel, lines) in zip(places, panels, strict=True):
        left, top = MARGIN + across * (wide + 2 * GAP), MARGIN + down * tall
        canvas.paste(panel, (left, top))
        for row, line in enumerate(lines):
            size, ink = (14, INK) if row == 0 else (12, MUTED)
            write(pen, (left, top + plain.height + 4 + 18 * row), line, size, ink, wide)
    draw_scale(canvas, pen, (MARGIN, MARGIN + height), min(width, 480))
    return canvas


def _places(models: Sequence[str]) -> list[tuple[int, int]]:
    """(row, column) of the image and of an explanation by each of the models, which follow one another: a model begins
    a row of its own where one of them has several.
    """
    apart = len(set(models)) < len(models) and len(set(models)) > 1
    places = [(0, 0)]
    for number, model in enumerate(models):
        row, column = places[-1]
        begins = column + 1 == ACROSS or (apart and number > 0 and model != models[number - 1])
        places.append((row + 1, 0) if begins else (row, column + 1))
    return places
