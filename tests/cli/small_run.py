"""The smallest photos and the smallest training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

TINY = (
    "--model", "vit_tiny", "--image-size", "16", "--patch-size", "8", "--epochs", "1", "--batch-size", "8",
    "model.options.depth=1", "model.options.width=16", "model.options.heads=2", "model.options.hidden=16",
)  # fmt: skip
"""The smallest training there is."""


def draw_photos(root: Path, classes: dict[str, int], side: int = 20) -> Path:
    """A folder per class with so many images of noise, every one different, tinted by class."""
    draw = np.random.default_rng(0)
    for number, (name, images) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            pixels = draw.integers(0, 128, (side, side, 3), dtype=np.uint8)
            pixels[..., number % 3] += 127
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root
