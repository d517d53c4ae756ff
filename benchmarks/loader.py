"""How fast training images are read, decoded, augmented and batched.

    python benchmarks/loader.py --data ../shared/data/caltech24/images --image-size 64 --workers 0,1,2

Prints milliseconds per image: each step alone, in one thread, then whole batches for each number of workers, first with
nothing in memory and then, without workers, with every decoded image kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from vitrail.contracts import Source
from vitrail.data.augment import TrainTransform
from vitrail.data.cache import CachedSource
from vitrail.data.loader import TrainLoader
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sources import open_source
from vitrail.settings import Config, build

RECIPES: dict[str, dict[str, Any]] = {
    "crop, flip": {},
    "crop, flip, RandAugment 2/9, erase": {"augment.randaugment_ops": 2, "augment.erase": 0.25},
}


class Labels:
    """Class names as numbers."""

    def __init__(self, source: Source) -> None:
        self.names = sorted({str(item.target) for item in source.items})

    def encode(self, target: object) -> int:
        """Its place among the sorted names."""
        return self.names.index(str(target))

    def collate(self, encoded: Sequence[int]) -> torch.Tensor:
        """(B,) int64."""
        return torch.tensor(encoded)


def per_call(function: Callable[[int], object], calls: int) -> float:
    """Milliseconds of one call, best of three rounds."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for i in range(calls):
            function(i)
        best = min(best, time.perf_counter() - started)
    return 1e3 * best / calls


def steps(source: Source, config: Config, recipe: str) -> None:
    """One line for each thing that happens to an image."""
    count = min(200, len(source.items))
    images = [source.read(i, config.data.channels) for i in range(count)]
    transform, preprocessor = TrainTransform(config), Preprocessor.from_config(config)
    print(f"{'read and decode':<44}{per_call(lambda i: source.read(i, config.data.channels), count):8.3f}")
    print(f"{'preprocess':<44}{per_call(lambda i: preprocessor(images[i]), count):8.3f}")
    print(f"{f'augment ({recipe})':<44}{per_call(lambda i: transform(images[i], (0, i)), count):8.3f}")


def batches(source: Source, config: Config, epochs: int) -> list[float]:
    """Milliseconds per image of each epoch over whole batches."""
    size = config.train.batch_size
    per_epoch = len(source.items) // size
    took = []
    with TrainLoader(source, range(len(source.items)), Labels(source), config, 0, epochs * per_epoch * size) as loader:
        stream = iter(loader)
        next(stream)  # workers are up
        for _ in range(epochs):
            started, images = time.perf_counter(), 0
            for _, batch in zip(range(per_epoch - 1), stream, strict=False):
                images += len(batch.keys)
            took.append(1e3 * (time.perf_counter() - started) / max(images, 1))
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--workers", default="0,1,2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for recipe, fields in RECIPES.items():
        stated = {"data.source": options.data, "model.image_size": options.image_size, **fields}
        source = open_source(build(stated).data)
        print(f"\n{options.data}, {options.image_size} px, {recipe}: ms per image")
        steps(source, build(stated), recipe)
        for workers in map(int, options.workers.split(",")):
            config = build({**stated, "data.workers": workers, "data.cache_mb": 0})
            print(f"{f'batches of 64, {workers} workers':<44}{batches(source, config, 1)[0]:8.3f}")
        kept = CachedSource(source, 4096)
        print(f"{'batches of 64, 0 workers, images in memory':<44}{batches(kept, build(stated), 2)[1]:8.3f}")


if __name__ == "__main__":
    main()
