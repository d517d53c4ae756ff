"""Which fonts can draw a text: class names come in every script, and a picture must neither crash nor warn on one."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

MAIN = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""Ships with matplotlib, so pictures look the same on every machine; covers Latin, Greek, Cyrillic, much of Arabic."""

FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "AR PL UMing CN", "IPAGothic",
    "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Arial Unicode MS", "Microsoft YaHei", "SimHei",
    "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Emoji",
)  # fmt: skip
"""Families with outlines that draw what DejaVu cannot, where the machine has them. Colour emoji fonts hold bitmaps of
one size, which neither Pillow nor matplotlib can scale, so they are left out."""

MISSING = "\N{WHITE SQUARE}"


@functools.cache
def installed() -> tuple[tuple[str, Path], ...]:
    """(family, file) of the fonts that may be used on this machine, in order of preference, `MAIN` first."""
    files = {entry.name: Path(entry.fname) for entry in reversed(fontManager.ttflist) if entry.style == "normal"}
    return (("DejaVu Sans", MAIN), *((name, files[name]) for name in FALLBACKS if name in files))


@functools.cache
def _font(path: Path) -> FT2Font:
    return FT2Font(str(path))


@functools.lru_cache(maxsize=65536)
def _drawn_by(character: str) -> int | None:
    """Place in `installed()` of the first font with a glyph for `character`."""
    for place, (_, path) in enumerate(installed()):
        if _font(path).get_char_index(ord(character)):
            return place
    return None


def runs(text: str) -> list[tuple[Path, str]]:
    """Cut `text` into (font file, piece) so that each piece can be drawn whole.

    Line breaks and other control characters become spaces; a character that no font has becomes a white square;
    joiners and variation selectors, which only an absent emoji font would use, are left out.
    """
    pieces: list[tuple[int, str]] = []
    for character in text:
        drawn = _visible(character)
        if not drawn:
            continue
        place = _drawn_by(drawn)
        if place is None:
            drawn, place = MISSING, 0
        if pieces and pieces[-1][0] == place:
            pieces[-1] = (place, pieces[-1][1] + drawn)
        else:
            pieces.append((place, drawn))
    return [(installed()[place][1], piece) for place, piece in pieces]


def drawable(text: str) -> str:
    """`text` with every character that no font of this machine has replaced by a white square."""
    return "".join(piece for _, piece in runs(text))


def families(texts: Iterable[str] = ()) -> list[str]:
    """Font families, for matplotlib's `font.family`, that together draw all `drawable(text)`; "DejaVu Sans" first."""
    used = {path for text in texts for path, _ in runs(text)}
    return ["DejaVu Sans", *(name for name, path in installed()[1:] if path in used)]


def _visible(character: str) -> str:
    code = ord(character)
    if code in (0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF) or 0xFE00 <= code <= 0xFE0F:
        return ""
    return character if character.isprintable() else " "
