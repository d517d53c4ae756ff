"""The smallest model and the shortest training of a whole run."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    "model.image_size": 16,
    "model.patch_size": 4,
    "model.options.depth": 1,
    "model.options.width": 16,
    "model.options.heads": 2,
    "model.options.hidden": 32,
    "train.epochs": 1,
    "train.batch_size": 8,
    "device": "cpu",
}
"""Of a plain ViT, stated."""

SHAPES: dict[str, Any] = {**TINY, "data.shapes.size": 16, "data.shapes.length": 60}
"""The same on sixty drawn shapes."""
