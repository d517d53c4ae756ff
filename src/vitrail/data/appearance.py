"""What an image looks like in a few hundred bytes: how bright, how colourful, and a fingerprint that survives editing.

The fingerprint is perceptual: a copy that was re-encoded, resized, brightened or slightly cropped keeps nearly all its
bits. Source: the DCT hash of E. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
section 3.1.1, with the 64 lowest frequencies along diagonals instead of a square of them, and their signs instead of a
comparison with their median: a sign does not depend on the other coefficients.
"""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vitrail.contracts import Floats, Pixels

BITS = 64
SIDE = 16
"""Side of the thumbnail that confirms what the fingerprint suggests."""

_FIELD = 32
"""Side of the picture whose frequencies are taken."""

_POWERS = np.stack([np.arange(256) / 255, (np.arange(256) / 255) ** 2], axis=1)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as Pillow's."""
_LUMA_OF_RGBA = np.array([0.299, 0.587, 0.114, 0], np.float32)

_GREY_CHROMA = 6.0
"""Of 255: JPEG's rounding tints a grey image by less; a faint sepia is beyond."""


@dataclass(frozen=True)
class Appearance:
    """How one image looks.

    mean, std: of each channel over all pixels, values in [0, 1].  grey: no part of it has a colour (of three channels
    and more).  fingerprint: 64 bits.  thumbnail: luma (SIDE, SIDE) uint8, row by row.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey: bool
    fingerprint: int
    thumbnail: bytes

    def pack(self) -> list[Any]:
        """The fields for JSON."""
        thumbnail = base64.b64encode(self.thumbnail).decode()
        return [list(self.mean), list(self.std), self.grey, f"{self.fingerprint:016x}", thumbnail]

    @classmethod
    def unpack(cls, packed: Any) -> Appearance | None:
        """What `pack` gave, read back from JSON; None for anything else."""
        match packed:
            case [[*mean], [*std], bool(grey), str(bits), str(text)] if len(mean) == len(std) and len(bits) == 16:
                try:
                    thumbnail, fingerprint = base64.b64decode(text, validate=True), bytes.fromhex(bits)
                    look = cls(
                        tuple(map(float, mean)), tuple(map(float, std)), grey, int.from_bytes(fingerprint), thumbnail
                    )
                except (ValueError, TypeError):
                    return None
                return look if len(thumbnail) == SIDE * SIDE and len(fingerprint) == BITS // 8 else None
        return None


@dataclass(frozen=True, eq=False)
class Looks:
    """The appearances of n images as columns: some 300 bytes each.

    mean, std (n, C) float32.  grey (n,) bool.  fingerprints (n,) uint64.  thumbnails (n, SIDE * SIDE) uint8.
    """

    mean: Floats
    std: Floats
    grey: np.ndarray[Any, np.dtype[np.bool_]]
    fingerprints: np.ndarray[Any, np.dtype[np.uint64]]
    thumbnails: np.ndarray[Any, np.dtype[np.uint8]]

    @classmethod
    def room(cls, count: int, channels: int) -> Looks:
        """Columns of zeros, to be filled with `put`."""
        means = np.zeros((count, channels), np.float32)
        thumbnails = np.zeros((count, SIDE * SIDE), np.uint8)
        return cls(means, means.copy(), np.zeros(count, np.bool_), np.zeros(count, np.uint64), thumbnails)

    def put(self, row: int, seen: Appearance) -> None:
        """Fill one row."""
        self.mean[row], self.std[row], self.grey[row] = seen.mean, seen.std, seen.grey
        self.fingerprints[row] = seen.fingerprint
        self.thumbnails[row] = np.frombuffer(seen.thumbnail, np.uint8)

    def of(self, rows: Sequence[int]) -> Looks:
        """The given rows, in that order."""
        kept = np.array(rows, np.int64)
        if np.array_equal(kept, np.arange(len(self.grey))):
            return self
        columns = self.mean[kept], self.std[kept], self.grey[kept], self.fingerprints[kept], self.thumbnails[kept]
        return Looks(*columns)

    @property
    def brightness(self) -> Floats:
        """(n,) mean luma in [0, 1]."""
        bright: Floats = self.mean[:, :3] @ _LUMA if self.mean.shape[1] > 1 else self.mean[:, 0]
        return bright

    @property
    def contrast(self) -> Floats:
        """(n,) the largest standard deviation of a colour channel, in [0, 1]."""
        contrast: Floats = self.std[:, :3].max(axis=1)
        return contrast

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Looks):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    __hash__ = None  # type: ignore[assignment]


def look(pixels: Pixels) -> Appearance:
    """(H, W, C) uint8, C of 1, 3 or 4 -> how it looks; alpha counts in mean and std alone."""
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    counts = np.array(image.histogram(), dtype=np.float64).reshape(channels, 256)
    moments = (counts @ _POWERS / (height * width)).tolist()  # (C, 2)
    small = image.resize((_FIELD, _FIELD), Image.Resampling.BILINEAR, reducing_gap=1.5)
    field = np.asarray(small, dtype=np.float32).reshape(_FIELD * _FIELD, channels)
    if channels == 1:
        luma, grey = field, False
    else:
        luma = field @ (_LUMA if channels == 3 else _LUMA_OF_RGBA)
        chroma = field[:, :2] - field[:, 1:3]  # red - green, green - blue
        grey = float(np.abs(chroma).max()) <= _GREY_CHROMA
    luma = luma.reshape(_FIELD, _FIELD)
    quarters = luma[::2, ::2] + luma[1::2, ::2] + luma[::2, 1::2] + luma[1::2, 1::2]  # (16, 16)
    return Appearance(
        mean=tuple(round(mean, 4) for mean, _ in moments),
        std=tuple(round(math.sqrt(max(0.0, square - mean**2)), 4) for mean, square in moments),
        grey=grey,
        fingerprint=_fingerprint(luma),
        thumbnail=(quarters / 4 + 0.5).astype(np.uint8).tobytes(),
    )


def _fingerprint(luma: Floats) -> int:
    """(32, 32) -> the signs of its 64 lowest frequencies, the constant left out."""
    basis, order = _transform()
    frequencies = (basis @ luma @ basis.T).ravel()[order]
    return int.from_bytes(np.packbits(frequencies > 0).tobytes(), "big")


@functools.cache
def _transform() -> tuple[Floats, np.ndarray[Any, np.dtype[np.int64]]]:
    """Rows of the DCT-II, (n, 32), and where the lowest frequencies lie in the (n, n) transform, lowest first."""
    n = 11
    rows, places = np.arange(n)[:, None], np.arange(_FIELD)[None]
    basis = np.cos(np.pi * rows * (2 * places + 1) / (2 * _FIELD)).astype(np.float32)
    order = sorted(range(1, n * n), key=lambda at: (at // n + at % n, at))
    return basis, np.array(order[:BITS])
