"""Training images one by one, as the loader makes them, against in batches on the device (data.batched).

    python benchmarks/batched.py --data cifar10 --image-size 32                  # one CPU thread, about a minute
    python benchmarks/batched.py --data cifar10 --image-size 32 --device cuda --workers 8 --batch-size 512

cifar10 is a folder of classes: `unzip ../shared/data/cifar10/cifar10_train.zip -d cifar10`. Prints images a second of
either, of images that are in memory already, best of --rounds taken in turn, for each recipe. One CPU thread is timed
by its own clock, which others on the machine cannot slow; all else by the wall's. On a GPU, batches of either way are
on it, and its queue is empty, before the clock stops.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from loader import Labels
from vitrail.contracts import Source
from vitrail.data.batched.store import ImageStore
from vitrail.data.cache import CachedSource
from vitrail.data.loader import TrainLoader
from vitrail.data.sources import open_source
from vitrail.data.transfer import batch_to_device
from vitrail.settings import Config, build

RECIPES: dict[str, dict[str, Any]] = {
    "crop, flip": {},
    "crop, flip, erase, RandAugment 2/9": {"augment.randaugment_ops": 2, "augment.erase": 0.25},
    "crop, flip, ThreeAugment, jitter": {"augment.three": True, "augment.jitter": 0.3},
}


class ClassLabels(Labels):
    """Class names as numbers."""

    dense = False


def images_per_second(loader: TrainLoader, config: Config, device: str) -> float:
    """Over all batches but the first, on the device."""
    with loader:
        stream = iter(loader)
        batch_to_device(next(stream), device)
        _finish(device)
        clock = time.process_time if device == "cpu" and one_thread(config) else time.perf_counter
        started, count = clock(), 0
        for batch in stream:
            batch_to_device(batch, device)
            count += len(batch.keys)
        _finish(device)
        took = clock() - started
    return count / took


def one_thread(config: Config) -> bool:
    """Whether all is done by one thread of this process."""
    return torch.get_num_threads() == 1 and not config.data.workers


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(source: Source, config: Config, count: int, batches: int, rounds: int, device: str) -> tuple[float, float]:
    """Images a second one by one, and in batches."""
    indices = np.arange(min(count, len(source.items)))
    both = [config.model_copy(update={"data": config.data.model_copy(update={"batched": b})}) for b in (False, True)]
    labels, last = ClassLabels(source), config.train.batch_size * (batches + 1)
    kept = source if config.data.workers else CachedSource(source, 4096)
    if not config.data.workers:
        for index in indices:
            kept.read(int(index), config.data.channels)
    started = time.perf_counter()
    store = ImageStore(source, indices, labels, both[1], device)
    print(
        f"  {len(indices)} images, {store.pixels.nbytes / 2**20:.0f} MB, read in {time.perf_counter() - started:.1f} s"
    )
    best = [0.0, 0.0]
    for _ in range(rounds):
        singly = TrainLoader(kept, indices, labels, both[0], 0, last)
        best[0] = max(best[0], images_per_second(singly, both[0], device))
        together = TrainLoader(source, indices, labels, both[1], 0, last, device, store)
        best[1] = max(best[1], images_per_second(together, both[1], device))
    return best[0], best[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="processes of the way one by one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} CPU thread(s)"
    print(f"{options.data}, {options.image_size} px, batches of {options.batch_size}, {where}")
    for recipe, fields in RECIPES.items():
        stated = {
            "data.source": options.data, "model.image_size": options.image_size, "data.cache_mb": 8192,
            "train.batch_size": options.batch_size, "data.workers": options.workers, **fields,
        }  # fmt: skip
        config = build(stated)
        source = open_source(config.data)
        print(recipe)
        measured = (options.images, options.batches, options.rounds, options.device)
        one, together = measure(source, config, *measured)
        print(f"  one by one {one:8.0f} images/s   in batches {together:8.0f} images/s   {together / one:5.2f} times")


if __name__ == "__main__":
    main()
