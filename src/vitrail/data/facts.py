"""What is learnt of one sample by decoding it once: whether it can be used, and what about it is worth a word."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.contracts import MapFile, Pixels
from vitrail.data import image
from vitrail.data.appearance import Appearance, look
from vitrail.data.map_values import MapValues, measure
from vitrail.data.maps import read_map
from vitrail.errors import BadImage

TINY = 8
EXTREME_RATIO = 10
NEARLY_BLACK = 32


@dataclass(frozen=True)
class Facts:
    """One sample, or one target that is a file, decoded.

    reason: why it cannot be used, "" where it can.  content: hash of its bytes, "" where it cannot be used.
    width, height: upright, in pixels.  odd: clauses on what is noteworthy of a usable sample.
    lasting: the same file will give the same facts again; false after a failure that may pass, as of a network disk.
    look: how a usable image looks.  values: what stands in a usable mask or map, whose size is that of one map.
    """

    reason: str = ""
    content: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    odd: tuple[str, ...] = ()
    lasting: bool = True
    look: Appearance | None = None
    values: MapValues | None = None

    def pack(self) -> list[Any]:
        """The fields as a list for JSON."""
        plain = [self.reason, self.content, self.width, self.height, self.format, list(self.odd), self.lasting]
        return [*plain, self.look and self.look.pack(), self.values and self.values.pack()]

    @classmethod
    def unpack(cls, packed: Any) -> Facts | None:
        """What `pack` gave, read back from JSON; None for anything else."""
        match packed:
            case [str(), str(), int(), int(), str(), [*odd], bool(), seen, measured] if all(
                isinstance(word, str) for word in odd
            ):
                reason, content, width, height, kind, _, lasting, _, _ = packed
                appearance, values = Appearance.unpack(seen), MapValues.unpack(measured)
                complete = (appearance is None) == (seen is None) and (values is None) == (measured is None)
                if complete and bool(content) != bool(reason) and min(width, height) >= (0 if reason else 1):
                    return cls(reason, content, width, height, kind, tuple(odd), lasting, appearance, values)
        return None


def examine_file(path: Path, channels: int, max_pixels: int) -> Facts:
    """Read and decode one file, as training will."""
    try:
        raw = image.read_bytes(path)
    except BadImage as error:
        return Facts(reason=error.reason, lasting=False)
    try:
        decoded = image.examine(raw, channels, max_pixels)
    except BadImage as error:
        return Facts(reason=error.reason)
    kind, suffix = decoded.info.format, path.suffix.lower()
    odd = [*decoded.notes, *remarks(decoded.pixels)]
    if suffix in image.IMAGE_EXTENSIONS and suffix not in image.ACCEPTED[kind]:
        odd.insert(0, f"named {suffix} but its content is {kind}")
    if decoded.info.mode.endswith(";16") and int(decoded.pixels.max()) < NEARLY_BLACK:
        odd.append("nearly black: it uses less than an eighth of its 16-bit range")
    width, height = decoded.info.width, decoded.info.height
    return Facts("", digest(raw), width, height, kind, tuple(odd), look=look(decoded.pixels))


def examine_map(path: Path, channels: int, max_pixels: int) -> Facts:
    """Read one mask or map of numbers, as training will; `channels` is not of maps and is passed over."""
    try:
        raw = image.read_bytes(path)
    except BadImage as error:
        return Facts(reason=error.reason, lasting=False)
    try:
        values = read_map(MapFile(path), max_pixels)
    except BadImage as error:
        return Facts(reason=error.reason)
    height, width = values.shape[-2:]
    return Facts("", digest(raw), width, height, path.suffix.lower(), values=measure(values))


def remarks(pixels: Pixels) -> list[str]:
    """What is noteworthy of decoded pixels (H, W, C)."""
    height, width, _ = pixels.shape
    found = []
    if min(width, height) < TINY:
        found.append(f"tiny: {width} x {height} pixels")
    if max(width, height) >= EXTREME_RATIO * min(width, height):
        found.append(f"extreme shape: {width} x {height} pixels")
    first = pixels[0, 0]
    if width * height > 1 and all(bool((row == first).all()) for row in pixels):
        found.append("a single colour")
    return found


def digest(content: bytes) -> str:
    """blake2b-128 of a sample's content, as hex."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
