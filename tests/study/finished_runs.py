"""The smallest finished runs there are, for what is measured of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitrail.run import Run, start

TINY: dict[str, Any] = {
    "model.image_size": 16, "model.patch_size": 4, "model.options.depth": 1, "model.options.width": 16,
    "model.options.heads": 2, "model.options.hidden": 32, "train.epochs": 1, "train.batch_size": 8, "device": "cpu",
    "threads": 1, "data.source": "shapes", "data.shapes.size": 16, "data.shapes.length": 60,
}  # fmt: skip


def finished(out: Path, **more: Any) -> Run:
    """A run on sixty drawn shapes; more: fields with "__" for the dot."""
    return start({**TINY, **{key.replace("__", "."): value for key, value in more.items()}}, out=out, quiet=True)
