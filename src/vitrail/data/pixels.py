"""Pixels that come as arrays instead of files: their channels."""

from __future__ import annotations

import numpy as np

from vitrail.contracts import Pixels


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """(H, W, 1, 3 or 4) -> (H, W, channels), as `image.decode` does it.

    1 is luma (ITU-R 601), 3 RGB, 4 RGB and alpha (255 where there is none); alpha is laid over white for 1 and 3.
    """
    have = pixels.shape[2]
    assert have in (1, 3, 4)
    assert channels in (1, 3, 4)
    if have == channels:
        return np.ascontiguousarray(pixels)
    if have == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif have == 4:
        colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
        pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if channels == 4:
        return np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=2)
    if channels == 1:
        luma = pixels.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)  # Pillow's weights
        return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]
    return pixels
