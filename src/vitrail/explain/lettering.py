"""Writes on a picture in whatever fonts can draw the text, and shortens what is too long for its place."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

from vitrail.explain import typeface


@cache
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def length(text: str, size: int) -> int:
    """Width of a text, pixels."""
    return round(sum(_font(path, size).getlength(piece) for path, piece in typeface.runs(text)))


def write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: tuple[int, int, int], width: int
) -> None:
    """Write `text` at (left, top), shortened in its middle to `width` pixels."""
    x, y = float(place[0]), place[1] + size  # all fonts stand on one baseline
    for path, piece in typeface.runs(shortened(text, size, width)):
        pen.text((x, y), piece, fill=colour, font=_font(path, size), anchor="ls")
        x += _font(path, size).getlength(piece)


def shortened(text: str, size: int, width: int) -> str:
    """`text`, or its beginning and end around an ellipsis: both matter in a path."""
    text = text[:2000]
    if length(text, size) <= width:
        return text
    kept = len(text)
    while kept > 2 and length(_around(text, kept), size) > width:
        kept -= max(1, kept // 20)
    return _around(text, kept)


def _around(text: str, kept: int) -> str:
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
