"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """1 image, 2,054 images."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def enumerated(names: Sequence[str]) -> str:
    """train, val and test."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
