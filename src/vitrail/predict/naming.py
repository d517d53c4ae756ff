"""Names of files made from inputs: short, and no two the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

LONGEST = 60
"""Characters of an input's name that are kept."""

MOST_BYTES = 100
"""Of an input's name, and of a map's: file systems allow 255 for both, a number, an extension, and what a file that is
being written has around its name."""

_UNSAFE = frozenset('/\\:*?"<>|%')
"""Not in a file's name on one system or another, and what stands in their place."""


class FileNames:
    """Gives out each name once: photo, photo-2, photo-3."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def of(self, source: str, ending: str = "") -> str:
        """A name, without its extension, for what is made of an input given as `source`."""
        return self._unused(f"{_cut(Path(source).stem[:LONGEST])}{ending}")

    def _unused(self, name: str) -> str:
        self._taken[name] += 1
        return name if self._taken[name] == 1 else self._unused(f"{name}-{self._taken[name]}")


def file_safe(name: str) -> str:
    """A name from anywhere as a part of a file's name: different for different names, and itself where it can be.

    What a file's name cannot have is written %XX, as in addresses; of a long name the end gives way to a digest.
    """
    raw = "".join(c if c.isprintable() and c not in _UNSAFE else _escaped(c) for c in name)
    if _bytes(raw) <= MOST_BYTES:
        return raw
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{_cut(raw, MOST_BYTES - len(digest) - 1)}%{digest}"


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _cut(name: str, most: int = MOST_BYTES) -> str:
    """As many of the first characters as have no more bytes."""
    while _bytes(name) > most:
        name = name[:-1]
    return name


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))
