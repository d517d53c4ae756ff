"""The smallest comparison there is: two tiny ViTs on a few digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitrail.data.sources import open_source
from vitrail.settings import DataConfig

OPTIONS = "model.options.heads: 2, model.options.hidden: 16"
MODELS = f"""\
small: {{model: vit_tiny, model.patch_size: 4, model.options.depth: 1, model.options.width: 8, {OPTIONS}}}
wide: {{model: vit_tiny, model.patch_size: 4, model.options.depth: 1, model.options.width: 24, {OPTIONS}}}
"""
TINY = ["--image-size", "8", "--batch-size", "16", "--device", "cpu", "threads=1"]
"""Fields of all models, as words of a command line."""


def models(folder: Path) -> Path:
    """The file that names the two models."""
    path = folder / "models.yaml"
    path.write_text(MODELS)
    return path


def few_digits(folder: Path, count: int = 240, test: bool = True) -> Path:
    """A split file with some of the digits in it."""
    source = open_source(DataConfig(source="digits"), "classify")
    order = np.random.default_rng(0).permutation(len(source.items))[:count]
    names = ["train"] * (count - 80) + ["val"] * 40 + (["test"] if test else ["val"]) * 40
    rows = [f"{source.items[int(i)].key},{name}" for i, name in zip(order, names, strict=True)]
    path = folder / "few.csv"
    path.write_text("\n".join(["path,split", *rows]) + "\n")
    return path


def without_times(value: Any) -> Any:
    """A results.json without what another minute would measure differently."""
    times = ("seconds", "measured", "said", "pareto", "cost")
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in times}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value
