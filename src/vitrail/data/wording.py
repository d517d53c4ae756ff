"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """1 image, 2,054 images."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
