"""Colours for masks, maps and errors, over or beside their image; the colour-blind can tell all apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image

from vitrail.contracts import Pixels
from vitrail.explain.overlay import as_rgb
from vitrail.report.statistics import Doubles

HUES = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2")
"""Okabe and Ito's; from the eighth class on they come again, lighter, then darker."""
WRONG = {"missed": "#d55e00", "invented": "#56b4e9", "another class": "#f0e442"}
UNKNOWN = (120, 120, 128)
COVER = 0.6
"""Share of its colour where a class lies over the image."""

VALUES = "viridis"
"""Rises evenly in lightness, so it reads alike in grey and with any colour vision."""
OFF = LinearSegmentedColormap.from_list("off", ["#0072b2", "#9fc8e4", "#f7f7f7", "#f0b48a", "#d55e00"])
"""Too little is blue, right is white, too much is orange."""

Whole = np.ndarray[Any, np.dtype[np.int64]]


def of_classes(values: Sequence[int]) -> list[tuple[int, int, int] | None]:
    """A colour for each class by its place; None for the ground, the value 0, which is left as the image is."""
    numbers = iter(range(len(values)))
    return [None if value == 0 else _hue(next(numbers)) for value in values]


def _hue(number: int) -> tuple[int, int, int]:
    base = HUES[number % len(HUES)]
    towards, share = ((0, 0.0), (255, 0.5), (0, 0.45))[number // len(HUES) % 3]
    red, green, blue = (
        round((1 - share) * int(base[i : i + 2], 16) + share * towards) for i in (1, 3, 5)
    )  # fmt: skip
    return red, green, blue


def laid_over(pixels: Pixels, classes: Whole, colours: Sequence[tuple[int, int, int] | None]) -> Image.Image:
    """Classes (h, w), -1 unknown, over the image (h, w, C) in grey where they are coloured; RGB."""
    image = as_rgb(pixels)
    shown = np.asarray(image, np.float64).copy()
    grey = np.asarray(image.convert("L"), np.float64)
    for index, colour in enumerate(colours):
        if colour is not None:
            here = classes == index
            shown[here] = COVER * np.array(colour) + (1 - COVER) * grey[here, None]
    shown[classes < 0] = UNKNOWN
    return _picture(shown)


def differing(pixels: Pixels, true: Whole, said: Whole, ground: int | None) -> Image.Image:
    """Where two masks (h, w) differ, over the image in faded grey. ground: the class that is no object, if there is."""
    shown = np.repeat(0.45 * np.asarray(as_rgb(pixels).convert("L"), np.float64)[..., None] + 120, 3, axis=2)
    wrong = (true != said) & (true >= 0) & (said >= 0)
    for kind, colour in WRONG.items():
        here = wrong & {
            "missed": said == ground, "invented": true == ground, "another class": (said != ground) & (true != ground)
        }[kind]  # fmt: skip
        shown[here] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    shown[(true < 0) | (said < 0)] = UNKNOWN
    return _picture(shown)


def scaled(values: Doubles, low: float, high: float) -> Image.Image:
    """Numbers (h, w) from `low` to `high` in colours, beyond them the colour of the end, NaN grey; RGB."""
    places = (values - low) / ((high - low) or 1.0)
    return _mapped(matplotlib.colormaps[VALUES](np.nan_to_num(places)), values)


def off(errors: Doubles, reach: float) -> Image.Image:
    """Errors (h, w) from -reach to reach in colours, NaN grey; RGB."""
    return _mapped(OFF(np.nan_to_num(0.5 + errors / (2 * (reach or 1.0)), nan=0.5)), errors)


def gradient(name: str) -> str:
    """CSS colours of a scale: "values" or "off"."""
    colours = matplotlib.colormaps[VALUES] if name == "values" else OFF
    return ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in 255 * colours(np.linspace(0, 1, 9))[:, :3])


def _mapped(colours: Doubles, values: Doubles) -> Image.Image:
    shown = 255 * colours[..., :3]
    shown[~np.isfinite(values)] = UNKNOWN
    return _picture(shown)


def _picture(shown: Doubles) -> Image.Image:
    return Image.fromarray(np.rint(shown).astype(np.uint8))
