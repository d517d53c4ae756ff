"""Targets with a value per pixel: masks and maps of numbers, read as safely as images are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import DrawnMap, MapFile
from vitrail.data import image
from vitrail.errors import BadImage, DataError

MAP_EXTENSIONS = (".png", ".tif", ".tiff", ".npy", ".bmp", ".gif", ".webp", ".pgm")

Values = np.ndarray[Any, Any]


def read_map(target: Any, max_pixels: int = image.MAX_PIXELS) -> Values:
    """A source's target as stored values, (h, w) or several maps (M, h, w), integer or float.

    Raises BadImage where the file cannot be used, with the reason, DataError where the target is no map at all.
    """
    if isinstance(target, DrawnMap):
        target = target.draw()
    if isinstance(target, np.ndarray):
        return _checked(target, max_pixels)
    if not isinstance(target, MapFile):
        raise DataError(f"a mask or a map is expected, not {str(target)[:40]!r}")
    raw = image.read_bytes(target.path)
    return _numpy(raw, max_pixels) if raw.startswith(b"\x93NUMPY") else image.decode_values(raw, max_pixels)


def is_map_file(path: Path) -> bool:
    """Whether a file's name is that of a mask or a map."""
    return path.suffix.lower() in MAP_EXTENSIONS


def _numpy(raw: bytes, max_pixels: int) -> Values:
    try:
        return _checked(np.load(io.BytesIO(raw), allow_pickle=False), max_pixels)
    except BadImage:
        raise
    except (ValueError, EOFError, OSError, SyntaxError, MemoryError) as error:  # a header of another kind, an end
        reason = "holds Python objects" if "pickle" in str(error).lower() else "damaged or cut off"
        raise BadImage(f"a NumPy file that cannot be used: {reason}") from None


def _checked(values: Values, max_pixels: int) -> Values:
    if values.dtype.kind not in "buif":
        raise BadImage(f"holds {values.dtype}, not numbers")
    if values.ndim not in (2, 3) or 0 in values.shape:
        shape = " x ".join(map(str, values.shape))
        raise BadImage(f"its shape is {shape or 'a scalar'}; (height, width) or (maps, height, width) is expected")
    if values.shape[-2] * values.shape[-1] > max_pixels:
        raise BadImage(f"has {values.shape[-2]} x {values.shape[-1]} pixels, more than the limit of {max_pixels:,}")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
