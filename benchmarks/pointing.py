"""Do explanations point at the object? One model of each family is trained on images with one object at a known place.

    python benchmarks/pointing.py [--families vit,deit,...] [--images 120] [--dear] [--lesser] [--out FILE.json]

Ground as `shapes` draws it, on which one object is pasted at a random place. Its class is a shape and a colour of its
own, so that transformers learn it within a minute of one core (the shapes alone take them far longer, see docs/log.md):
nothing but the object tells it. The object covers 3 to 6.25 % of the image, which is the chance of a random point
without the tolerance of the pointing game.

With `--lesser` up to two objects of other classes lie beside it, of 30 % of its area each: the answer is that of the
largest, and a map of what catches the eye no longer points at the reason.

Every method that fits a model is scored on images of another seed: pointing, energy, deletion and insertion, beside a
random map and the centre prior, with 95 % bootstrap intervals over images; `--dear` takes those of many passes as well.
All figures are of one model of one seed: intervals say what another draw of images would give, not another training.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitrail.artifact import Artifact, load
from vitrail.contracts import Hints, Item, Pixels
from vitrail.data import shapes
from vitrail.data.pixels import with_channels
from vitrail.explain.defaults import default_method
from vitrail.explain.faithfulness import Plan, fitting, score
from vitrail.explain.methods import get_method
from vitrail.explain.trust.baselines import BASELINES
from vitrail.explain.trust.bootstrap import Estimate, mean
from vitrail.explain.trust.samples import samples
from vitrail.explain.trust.table import CASCADE, CENTRE, RANDOM, Measured, Trust
from vitrail.explain.trust.words import plain, share, verdict
from vitrail.run import start

TRAINED, HELD_OUT = 3000, 600
"""Images to train on; to choose the best epoch and test on."""

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "vit": {"name": "vit_tiny", "image_size": 32, "patch_size": 4, "width": 64, "heads": 4, "hidden": 128, "depth": 4},
    "deit": {
        "name": "deit_tiny_distilled", "image_size": 32, "patch_size": 4, "width": 64, "heads": 4, "hidden": 128,
        "depth": 4,
    },
    "swin": {
        "name": "swin_tiny", "image_size": 32, "patch_size": 2, "depths": (2, 2), "width": 32, "heads": (2, 4),
        "window": 4,
    },
    "pvt_v2": {
        "name": "pvt_v2_b0", "image_size": 48, "patch_size": 1, "depths": (1, 1, 1, 1), "widths": (16, 32, 64, 64),
        "heads": (1, 1, 2, 2),
    },
    "resnet": {"name": "resnet18", "image_size": 48, "patch_size": 1, "depths": (1, 1, 1, 1), "width": 16},
    "convnext": {"name": "convnext_tiny", "image_size": 48, "patch_size": 2, "depths": (1, 1, 1, 1), "width": 16},
}  # fmt: skip
"""The smallest of each whose last grid is one to point on: 8 x 8 cells, and 6 x 6 where four stages leave no more."""


class OneObject:
    """Drawn images with one object each, or with lesser ones beside it; keeps `contracts.LocatedSource`.

    Image n is a function of (seed, n).
    """

    name = location = "one object"
    target_names: tuple[str, ...] = ()

    def __init__(self, length: int, seed: int, size: int, lesser: bool = False) -> None:
        self.seed, self.size, self.lesser, self.hints = seed, size, lesser, Hints(native_size=size)
        kinds = shapes.CLASSES
        self.items = [Item(f"{seed}/{index}", kinds[index % len(kinds)]) for index in range(length)]

    def read(self, index: int, channels: int) -> Pixels:
        """(size, size, channels) uint8."""
        scene = shapes.scene(self.seed, index)
        others = [shape for shape in scene.shapes[1:] if self.lesser and shape.kind != scene.main.kind]
        painted = tuple(replace(shape, colour=_colour(shape.kind)) for shape in (scene.main, *others))
        return with_channels(shapes.draw(replace(scene, shapes=painted), self.size), channels)

    def content(self, index: int) -> bytes:
        """What the pixels are a function of."""
        return f"one object {self.seed} {self.size} {self.lesser} {index}".encode()

    def located(self, index: int, name: str, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """The pixels of the object that has the class, whatever was answered."""
        covered: np.ndarray[Any, np.dtype[np.bool_]] = shapes.cover(shapes.scene(self.seed, index).main, size[0]) >= 0.5
        return covered


def _colour(kind: str) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(shapes.CLASSES.index(kind) / len(shapes.CLASSES), 0.9, 0.9)


def train(family: str, epochs: float, folder: Path, images: int = TRAINED + HELD_OUT, lesser: bool = False) -> Artifact:
    """The best model of a family after so many epochs, by the settings that `vitrail train` would choose, save that no
    crop may lose the object and nothing changes its colour."""
    own = dict(FAMILIES[family])
    size = int(own.pop("image_size"))
    stated = {
        "data.source": "one object", "task.name": "classify", "device": "cpu", "threads": 1, "train.epochs": epochs,
        "train.batch_size": 32, "model.image_size": size, "model.name": own.pop("name"),
        "model.patch_size": own.pop("patch_size"), "augment.crop_scale": (1.0, 1.0), "augment.randaugment_ops": 0,
        "data.val_fraction": 0.1, "data.test_fraction": 0.06,
        **{f"model.options.{name}": value for name, value in own.items()},
    }  # fmt: skip
    return load(start(stated, out=folder, quiet=True, source=OneObject(images, 0, size, lesser)).folder)


def measure(
    artifact: Artifact, images: int, dear: bool = False, lesser: bool = False, methods: Sequence[str] | None = None,
    baselines: Sequence[str] = tuple(BASELINES), levels: Sequence[str] = (CASCADE[0], CASCADE[-1]),
) -> Trust:  # fmt: skip
    """The methods named, or all that fit, or those of them of few passes, on images that training has not seen."""
    able = fitting(artifact.model, methods)[0]
    names = [name for name in able if methods or dear or get_method(name).cost != "passes"]
    found = samples(held_out(artifact, images, lesser), range(images), artifact.preprocessor, artifact.task)
    return score(artifact.model, artifact.task, found, Plan(names, baselines, levels)).of_split("held-out")


def held_out(artifact: Artifact, images: int, lesser: bool = False) -> OneObject:
    """Images of another seed than those of training."""
    return OneObject(images, 1, artifact.preprocessor.size[0], lesser)


def accuracy(artifact: Artifact, images: int, lesser: bool = False) -> float:
    """On the images that are scored."""
    source = held_out(artifact, images, lesser)
    ready = np.stack([artifact.preprocessor(source.read(index, 3)) for index in range(images)])
    with torch.inference_mode():
        said = artifact.model.eval()(torch.from_numpy(ready)).argmax(dim=1).tolist()
    labels = artifact.task.state()["labels"]
    return float(np.mean([labels[place] == item.target for place, item in zip(said, source.items, strict=True)]))


def figures(trust: Trust, row: Measured) -> dict[str, Estimate]:
    """What is told of a row."""
    return {
        "pointing": mean(row.pointing),
        "over centre": mean(row.pointing - trust.of(CENTRE).pointing),
        "over random": mean(row.pointing - trust.of(RANDOM).pointing),
        "energy": mean(row.energy),
        "gain": mean(row.gain),
        "gain over centre": trust.over(row, CENTRE),
        **{f"shuffled {level}": mean(values) for level, values in row.sanity.items()},
    }


def table(trust: Trust, default: str) -> str:
    """The rows for a terminal, with the ends of each interval."""
    shares = ("pointing", "over centre", "over random", "energy")
    levels = list(dict.fromkeys(level for row in trust.rows for level in row.sanity))
    names = [*shares, "gain", "gain over centre", *(f"shuffled {level}" for level in levels)]
    lines = ["  ".join(["method (* default)".ljust(22), *(name.ljust(20) for name in names)])]
    for summary in trust.summaries:
        told = figures(trust, trust.of(summary.name))
        cells = [
            "" if name not in told else f"{show(told[name].value)} ({show(told[name].low)} to {show(told[name].high)})"
            for name in names
            for show in (share if name in shares else plain,)
        ]
        mark = " *" if summary.name == default else ""
        lines.append("  ".join([f"{summary.name}{mark}".ljust(22), *(cell.ljust(20) for cell in cells)]).rstrip())
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Train, measure, print."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    reader.add_argument("--families", default=",".join(FAMILIES), help="of " + ", ".join(FAMILIES))
    reader.add_argument("--epochs", type=float, default=3.0, help="of 3,000 images")
    reader.add_argument("--images", type=int, default=120, help="that are scored")
    reader.add_argument("--dear", action="store_true", help="methods of many passes as well")
    reader.add_argument("--methods", help="only these, of those that fit")
    reader.add_argument("--baselines", default=",".join(BASELINES), help="what hides: of " + ", ".join(BASELINES))
    reader.add_argument("--levels", default=f"{CASCADE[0]},{CASCADE[-1]}", help="what is shuffled, or nothing")
    reader.add_argument("--lesser", action="store_true", help="objects of other classes beside the one")
    reader.add_argument("--runs", type=Path, help="where runs are kept, and taken from where they are there already")
    reader.add_argument("--out", type=Path, help="the figures as JSON")
    asked = reader.parse_args(words)
    torch.set_num_threads(1)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for family in asked.families.split(","):
            folder = (asked.runs or Path(scratch)) / family
            began = time.process_time()
            artifact = load(folder) if folder.exists() else train(family, asked.epochs, folder, lesser=asked.lesser)
            trained = time.process_time() - began
            trust = measure(
                artifact, asked.images, asked.dear, asked.lesser, asked.methods.split(",") if asked.methods else None,
                asked.baselines.split(","), asked.levels.split(",") if asked.levels else (),
            )  # fmt: skip
            scored = time.process_time() - began - trained
            default, right = default_method(artifact.model), accuracy(artifact, asked.images, asked.lesser)
            print(
                f"\n{family}: accuracy {share(right)} on {asked.images} held-out images; {trained:.0f} s of one core to"
                f" train, {scored:.0f} s to score\n{table(trust, default)}\n{' '.join(verdict(trust))}",
                flush=True,
            )
            rows = {row.name: {name: vars(value) for name, value in figures(trust, row).items()} for row in trust.rows}
            results.append({"family": family, "default": default, "accuracy": right, "trained": trained, "rows": rows})
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
