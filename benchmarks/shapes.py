"""Is every kind of target learned by every family? `shapes`, five tasks, four small models, from random values.

    python benchmarks/shapes.py --out OUT [--only vit,depth] [--seeds 2]

Each cell is a run of `vitrail train` on one core, held to its test split beside the score of always giving the best
constant answer. Expected: some six minutes of one core for each seed; tests/run/test_shapes_learned.py holds seed 0
to floors well below what this prints.

What a transformer needs to learn an answer for the whole image from a few thousand images (measured, docs/log.md):

- pooling that starts as a mean (seq, mean); [CLS] and MAP, which must first find where to look, learn nothing yet;
- the plain ViT, a convolutional stem on 64 px; cut patches take ten times as many images;
- PVT v2, to begin from what the same model has learned of masks by shape (on other images: another seed); Swin, to
  count, of objects on ground: from random values it does not move from the mean at all;
- Swin, whose patches are cut too and which has no convolution anywhere, to tell shapes apart: objects of four times the
  area (then hardly a lesser one finds a place). At the usual area it has 0.36 of the classes after learning masks by
  shape, and no more at 64 px, with two blocks a level, attention pooling or batches of 8 and 16.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.data.builtin import ShapesSource
from vitrail.run import Run, start
from vitrail.settings import ShapesConfig

Fields = Mapping[str, Any]

COMMON: Fields = {
    "data.source": "shapes", "data.val_fraction": 0.06, "data.test_fraction": 0.2, "data.workers": 0,
    "recipe": "plain", "augment.crop_scale": (1.0, 1.0), "device": "cpu", "threads": 1,
}  # fmt: skip
"""No crops: they would cut off what is counted, and objects are small as it is."""

VIT: Fields = {
    "model.name": "vit_tiny", "model.patch_size": 4, "model.options.depth": 4, "model.options.width": 64,
    "model.options.heads": 4, "model.options.hidden": 128,
}  # fmt: skip
CONV_VIT: Fields = {
    "data.shapes.size": 64, "model.name": "vit_tiny", "model.patch_size": 8, "model.options.depth": 2,
    "model.options.width": 128, "model.options.heads": 4, "model.options.hidden": 256, "model.options.stem": "conv",
    "model.pooling": "seq",
}  # fmt: skip
SWIN: Fields = {
    "model.name": "swin_tiny", "model.patch_size": 2, "model.options.depths": (1, 1, 1), "model.options.width": 48,
    "model.options.heads": (2, 4, 4), "model.options.window": 8, "model.pooling": "mean",
}  # fmt: skip
LARGE_SWIN: Fields = {
    "data.shapes.size": 64, "model.name": "swin_tiny", "model.patch_size": 4, "model.options.depths": (2, 2),
    "model.options.width": 48, "model.options.heads": (2, 4), "model.options.window": 4, "model.pooling": "seq",
}  # fmt: skip
LARGER_THINGS: Fields = {
    "data.shapes.larger": 4.0, "model.name": "swin_tiny", "model.options.depths": (1, 1, 2, 1),
    "model.options.width": 24, "model.options.heads": (1, 2, 4, 4), "model.pooling": "mean",
}  # fmt: skip
PVT: Fields = {
    "model.name": "pvt_v2_b0", "model.patch_size": 2, "model.options.depths": (1, 1, 1, 1),
    "model.options.widths": (24, 48, 64, 64), "model.options.heads": (1, 2, 4, 4),
    "model.options.sr_ratios": (4, 2, 1, 1), "model.pooling": "mean",
}  # fmt: skip
RESNET: Fields = {"model.name": "resnet18", "model.options.depths": (1, 1, 1, 1), "model.options.width": 16}

SCORES: Mapping[str, tuple[str, str]] = {
    "class": ("classify", "accuracy"),
    "labels": ("multilabel", "map"),
    "count": ("regress", "r2"),
    "mask": ("segment", "miou"),
    "depth": ("depth", "r2"),
}
"""Target of `shapes` -> the task it is for, and the score that is looked at."""
DENSE: Mapping[str, Fields] = {
    "mask": {"task.foreground": True, "task.decoder": "linear"},
    "depth": {"task.decoder": "linear"},
}
OUTLINES: Fields = {"data.target": "mask", "task.foreground": False, "data.shapes.seed": 1}
OBJECTS: Fields = {"data.target": "mask", "task.foreground": True, "data.shapes.seed": 1}
"""What a model learns first where a cell says so: masks by shape, or of objects on ground, of images no cell sees."""


@dataclass(frozen=True)
class Cell:
    """One training: a model on one target. begins: the name in FIRST of what it learns before, or None."""

    model: Fields
    images: int
    epochs: float
    rate: float
    batch: int = 16
    begins: str | None = None

    def fields(self, target: str, seed: int) -> dict[str, Any]:
        """What is stated of the run."""
        size = self.model.get("data.shapes.size", 32)
        length = {"data.shapes.length": self.images, "train.epochs": self.epochs, "train.lr": self.rate}
        seeds = {"seed": seed, "data_seed": seed}
        shape = {"data.shapes.size": size, "model.image_size": size, "train.batch_size": self.batch}
        return {**COMMON, **shape, **self.model, **DENSE.get(target, {}), "data.target": target, **length, **seeds}


FIRST: Mapping[str, tuple[Cell, Fields]] = {
    "swin-objects": (Cell(LARGE_SWIN, 600, 3, 2e-3, batch=8), OBJECTS),
    "pvt_v2-outlines": (Cell(PVT, 3000, 2.7, 2e-3, batch=8), OUTLINES),
}
"""Name -> what is learned first, and of what."""
CELLS: Mapping[tuple[str, str], Cell] = {
    ("vit", "class"): Cell(CONV_VIT, 4000, 3, 7e-4),
    ("vit", "labels"): Cell(CONV_VIT, 3000, 3, 1e-3),
    ("vit", "count"): Cell(CONV_VIT, 1500, 3, 1e-3),
    ("vit", "mask"): Cell(VIT, 400, 4, 2e-3, batch=8),
    ("vit", "depth"): Cell(VIT, 400, 4, 2e-3, batch=8),
    ("swin", "class"): Cell(LARGER_THINGS, 3000, 5, 1e-3, batch=32),
    ("swin", "labels"): Cell(LARGER_THINGS, 2000, 5, 1e-3, batch=32),
    ("swin", "count"): Cell(LARGE_SWIN, 1500, 4, 1e-3, batch=8, begins="swin-objects"),
    ("swin", "mask"): Cell(SWIN, 400, 4, 2e-3, batch=8),
    ("swin", "depth"): Cell(SWIN, 400, 4, 2e-3, batch=8),
    ("pvt_v2", "class"): Cell(PVT, 2000, 2.5, 5e-4, begins="pvt_v2-outlines"),
    ("pvt_v2", "labels"): Cell(PVT, 2000, 2, 5e-4, begins="pvt_v2-outlines"),
    ("pvt_v2", "count"): Cell(PVT, 1500, 2, 5e-4, begins="pvt_v2-outlines"),
    ("pvt_v2", "mask"): Cell(PVT, 400, 4, 2e-3, batch=8),
    ("pvt_v2", "depth"): Cell(PVT, 400, 4, 2e-3, batch=8),
    ("resnet", "class"): Cell(RESNET, 2000, 3, 2e-3),
    ("resnet", "labels"): Cell(RESNET, 2000, 3, 2e-3),
    ("resnet", "count"): Cell(RESNET, 800, 4, 2e-3),
    ("resnet", "mask"): Cell(RESNET, 400, 4, 2e-3, batch=8),
    ("resnet", "depth"): Cell(RESNET, 400, 4, 2e-3, batch=8),
}
"""(family, target) -> how it is trained."""


def train(family: str, target: str, seed: int, out: Path, begun: Path | None = None) -> Run:
    """A cell's run in `out`. begun: the run of what it learns first (see `first`), where it has such."""
    cell = CELLS[family, target]
    fields = cell.fields(target, seed)
    if cell.begins is not None:
        assert begun is not None, "what the cell begins from was trained before"
        fields["model.weights"] = str(begun)
    return start(fields, out=out, quiet=True)


def first(name: str, seed: int, out: Path) -> Run:
    """What is learned first under a name of FIRST."""
    cell, of = FIRST[name]
    return start({**cell.fields("mask", seed), **of}, out=out, quiet=True)


def score(run: Run, target: str) -> float:
    """The cell's score on its test split."""
    return run.metrics["test"][SCORES[target][1]]


def trivial(run: Run, target: str) -> float:
    """The same score of the best constant answer: what the training images have most or on average."""
    config = run.config.data.shapes
    with (run.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        held = {int(row["path"].partition("/")[2]): row["split"] for row in csv.DictReader(file)}
    tested = [index for index, split in held.items() if split == "test"]
    trained = [index for index in range(config.length) if index not in held]
    truth = _truths(config, target)
    return _CONSTANT[target]([truth(index) for index in trained], [truth(index) for index in tested])


def _truths(config: ShapesConfig, target: str) -> Callable[[int], Any]:
    items = ShapesSource(config, target).items
    if target not in DENSE:
        return lambda index: items[index].target
    return lambda index: items[index].target.draw()


def _most_frequent(trained: Sequence[str], tested: Sequence[str]) -> float:
    answer = Counter(trained).most_common(1)[0][0]
    return float(np.mean([each == answer for each in tested]))


def _prevalence(trained: Sequence[Sequence[str]], tested: Sequence[Sequence[str]]) -> float:
    """Average precision of a score that is the same for all images is the share that has the label."""
    names = {name for labels in trained for name in labels}
    return float(np.mean([[name in labels for labels in tested] for name in names]))


def _mean(trained: Sequence[Any], tested: Sequence[Any]) -> float:
    answer, true = np.mean(np.asarray(trained, float)), np.asarray(tested, float)
    return float(1 - np.sum((true - answer) ** 2) / np.sum((true - true.mean()) ** 2))


def _all_ground(trained: Sequence[Any], tested: Sequence[Any]) -> float:
    """Ground everywhere: its IoU is its share, that of objects 0."""
    assert np.mean([np.mean(mask == 0) for mask in trained]) > 0.5
    return float(np.mean(np.asarray(tested) == 0)) / 2


_CONSTANT: Mapping[str, Callable[[Sequence[Any], Sequence[Any]], float]] = {
    "class": _most_frequent,
    "labels": _prevalence,
    "count": _mean,
    "mask": _all_ground,
    "depth": _mean,
}


def main() -> None:
    """Train the cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--only", default="", help="families and targets, with commas; all by default")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1")
    options = parser.parse_args()
    words = [word for word in options.only.split(",") if word]
    families, targets = ([word for word in words if word in {key[i] for key in CELLS}] for i in (0, 1))
    if unknown := set(words) - {*families, *targets}:
        parser.error(f"no such family or target: {', '.join(sorted(unknown))}")
    print("| model | target | score | seed | test | constant answer | images | seconds | and before |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in range(options.seeds):
        begun: dict[str, tuple[Path, float]] = {}
        for (family, target), cell in CELLS.items():
            if (families and family not in families) or (targets and target not in targets):
                continue
            if cell.begins and cell.begins not in begun:
                clock = time.process_time()
                run = first(cell.begins, seed, options.out / f"{cell.begins}-{seed}")
                begun[cell.begins] = run.folder, time.process_time() - clock
            before, took = begun[cell.begins] if cell.begins else (None, 0.0)
            clock = time.process_time()
            run = train(family, target, seed, options.out / f"{family}-{target}-{seed}", before)
            clock = time.process_time() - clock
            task, metric = SCORES[target]
            print(
                f"| {family} | {target} ({task}) | {metric} | {seed} | {score(run, target):.3f} | "
                f"{trivial(run, target):.3f} | {cell.images} | {clock:.0f} | {took:.0f} |",
                flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
