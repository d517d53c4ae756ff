"""Sizes in words: width x height, as programs that show images say them."""

from __future__ import annotations

Size = tuple[int, ...]
"""(height, width) in pixels, as arrays have it."""


def sized(size: Size) -> str:
    """640 x 480, of (480, 640)."""
    height, width = size
    return f"{width} x {height}"


def misfit(target: Size, image: Size) -> str:
    """Why a target with a value per pixel is none of an image of this size, in a clause; "" where it fits."""
    if target == image:
        return ""
    turned = ", turned by a quarter" if target == image[::-1] else ""
    return f"{sized(target)} pixels, the image {sized(image)}{turned}"
