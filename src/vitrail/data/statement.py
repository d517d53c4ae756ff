"""What was stated of the data for one command, in the words of another: the same images, divided in the same way.

Help pages name READ_BY, so importing this module does not load the settings, which are slow to build.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail.settings import DataConfig, Stated

READ_BY = (
    "source", "target", "images", "weight", "stratify", "group", "split_file", "val_fraction", "test_fraction",
    "max_bad_fraction", "max_pixels", "channels", "shapes.length", "shapes.size", "shapes.seed",
)  # fmt: skip
"""Fields of the data that say what is read and how it is divided; the others are about training's speed."""


def restated(config: DataConfig) -> Stated:
    """Those fields that are not as they are by themselves, but for `source`."""
    plain = type(config)(source=config.source)
    return {f"data.{path}": _of(config, path) for path in READ_BY if _of(config, path) != _of(plain, path)}


def words(stated: Stated) -> list[str]:
    """Fields as a command line of `train` states them: --split-file FILE where there is an option, else path=value."""
    from vitrail.settings import SHORT

    short = {path: f"--{key.replace('_', '-')}" for key, path in SHORT.items()}
    said: list[str] = []
    for path, value in stated.items():
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        said += [short[path], written] if path in short else [f"{path}={written}"]
    return said


def _of(config: DataConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value
