"""What runs a model, whatever it runs on."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from vitrail.contracts.arrays import Floats


class Engine(Protocol):
    """Runs a model: preprocessed images (B, C, H, W) float32 -> raw outputs, NumPy to NumPy."""

    def __call__(self, images: Floats) -> np.ndarray[Any, Any]:
        """Run one batch."""
