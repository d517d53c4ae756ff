"""Targets with a value per pixel: masks and maps of numbers, read as safely as images are."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import DrawnMap, MapFile
from vitrail.data import image
from vitrail.data.sizes import sized
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
    """An .npy file, whose header is compared with its length before anything is allocated."""
    file = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError):  # a header of another kind, an end
        raise BadImage("a NumPy file that cannot be used: its header is damaged or cut off") from None
    if dtype.hasobject:
        raise BadImage("a NumPy file that holds Python objects, not numbers")
    if math.prod(shape) * dtype.itemsize != len(raw) - file.tell():
        raise BadImage("a NumPy file that cannot be used: it is longer or shorter than it says")
    values = np.frombuffer(raw, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    return _checked(values, max_pixels)


def _checked(values: Values, max_pixels: int) -> Values:
    if values.dtype.kind not in "buif":
        raise BadImage(f"holds {values.dtype}, not numbers")
    if values.ndim not in (2, 3) or 0 in values.shape:
        shape = " x ".join(map(str, values.shape))
        raise BadImage(f"its shape is {shape or 'a scalar'}; (height, width) or (maps, height, width) is expected")
    if values.shape[-2] * values.shape[-1] > max_pixels:
        raise BadImage(f"has {sized(values.shape[-2:])} pixels, more than the limit of {max_pixels:,}")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
