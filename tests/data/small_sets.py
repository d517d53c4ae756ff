"""Small sets that the tests of data share: trees of images, a source in memory, targets without a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vitrail.contracts import Failure, Hints, Pixels
from vitrail.data.items import Items, SplitName
from vitrail.data.pixels import with_channels
from vitrail.errors import BadImage
from vitrail.settings import Config, DataConfig, build


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    """A PNG of random pixels, (height, width) = size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")
    return path


def tree(root: Path, counts: Mapping[str, int]) -> Path:
    """A tree of images: folder below root -> how many, each different."""
    for number, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            write_image(root / folder / f"{i}.png", seed=1000 * number + i)
    return root


class MemorySource:
    """Samples in memory that count how often each is decoded; `broken` ones raise BadImage."""

    name = location = "memory"
    target_names: tuple[str, ...] = ()
    hints = Hints()
    ignored: tuple[Failure, ...] = ()

    def __init__(
        self,
        targets: Sequence[Any],
        size: int = 8,
        broken: Sequence[int] = (),
        splits: Sequence[SplitName | None] | None = None,
        groups: Sequence[str | None] | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        self.items = Items(keys or [f"{i:04d}" for i in range(len(targets))], targets, splits, groups)
        self.size, self.broken = size, set(broken)
        self.decoded: list[int] = []

    def read(self, index: int, channels: int) -> Pixels:
        self.decoded.append(index)
        if index in self.broken:
            raise BadImage("broken on purpose")
        pixels = np.random.default_rng(index).integers(0, 256, (self.size, self.size + 2, 3), dtype=np.uint8)
        return with_channels(pixels, channels)

    def content(self, index: int) -> bytes:
        return self.items[index].key.encode()


class Names:
    """Class names as int64, in sorted order."""

    dense = False

    def __init__(self, names: Sequence[str]) -> None:
        self.names = sorted(set(names))

    def encode(self, target: Any) -> int:
        return self.names.index(str(target))

    def collate(self, encoded: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(encoded, dtype=torch.int64)


def data_config(source: str | Path = "memory", **fields: Any) -> DataConfig:
    """A DataConfig with some fields set."""
    return DataConfig(source=str(source), **fields)


def config(**fields: Any) -> Config:
    """A Config of tiny images and batches; fields with __ for the dot."""
    stated = {"data.source": "memory", "model.image_size": 8, "train.batch_size": 4}
    return build({**stated, **{key.replace("__", "."): value for key, value in fields.items()}})
