"""Arrays by what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""A decoded image, (H, W, C) uint8, upright, C as asked for."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
"""Any float32 array; its shape stands where it is used."""
