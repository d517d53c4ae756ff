"""The figures and the numbers of docs/tour.md and docs/tour.zh-CN.md, from one run of this code.

    python benchmarks/tour/make.py [--runs FOLDER] [--pages]

Trains a small ViT and a small ResNet on scikit-learn's digits by the commands below, takes the ViT apart, shifts images
under both, counts the other families, writes the pictures and their numbers into docs/pictures/tour/, and puts the
numbers and the line numbers of both texts right: some 90 s of one core. What stands in `--runs` already is taken from
there. `--pages` puts the texts right and nothing else, which is enough where only the code has moved.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import families
import inside
import pages

from vitrail.report import plots

COMMANDS = {
    "vit": (
        "vitrail train digits --model vit_tiny --patch-size 2 --epochs 30 --lr 2e-3 model.options.depth=4"
        " model.options.width=96 model.options.heads=3 model.options.hidden=192 'augment.crop_scale=[0.85,1]'"
        " augment.mixup=0 train.drop_path=0 threads=1"
    ),
    "resnet": (
        "vitrail train digits --model resnet18 --epochs 10 --lr 2e-3 'model.options.depths=[1,1,1,1]'"
        " model.options.width=12 'augment.crop_scale=[0.85,1]' augment.mixup=0 threads=1"
    ),
    "invariance": "vitrail study invariance runs/vit runs/resnet --seeds 0 --images 64 --threads 1",
}
"""Folder -> what is run into it, as both texts say it; `runs` stands for the folder of all."""


SHIFTED = "invariance"
"""Name of the picture that the study of invariance drew."""


def run(name: str, folder: Path) -> Path:
    """Run a command unless its folder is there already; returns the folder."""
    out = folder / name
    if not out.exists():
        words = shlex.split(COMMANDS[name].replace("runs/", f"{shlex.quote(str(folder))}/"))[1:]
        subprocess.run([sys.executable, "-m", "vitrail", *words, "--out", str(out)], check=True)
    return out


def consistency(resnet: Path, study: Path) -> dict[str, str]:
    """The study's picture of shifts beside the others, and how often both models keep their answer under them."""
    shutil.copyfile(study / "figures" / "trained-shift.png", pages.PICTURES / f"{SHIFTED}.png")
    numbers = {}
    with (study / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["state"] == "trained" and row["family"] == "shift" and row["amount"] in ("1", "2"):
                ends = [float(row[f"stays{end}"]) for end in ("", "_low", "_high")]
                numbers |= pages.interval(f"shift.{row['name']}_{row['amount']}", *ends)
                numbers["shift.images"] = row["images"]
    _, said = inside.prediction(inside.read(resnet))
    _, trained = inside.training(inside.read(resnet))
    numbers["resnet.accuracy"], numbers["resnet.half"] = said["test.accuracy"], said["test.half"]
    return numbers | {"resnet.parameters": trained["parameters"], "resnet.epochs": trained["epochs"]}


def draw(folder: Path) -> dict[str, str]:
    """Write every picture of a run and of the families; returns their numbers."""
    read = inside.read(folder)
    figures, numbers = {}, {}
    with plots.style("tour"):
        for name, of_run in inside.FIGURES.items():
            figures[name], found = of_run(read)
            numbers |= found
        for name, of_families in families.FIGURES.items():
            figures[name], found = of_families()
            numbers |= found
    plots.write_figures(pages.PICTURES, figures)
    return numbers


def main(words: Sequence[str] | None = None) -> int:
    """Train, draw, put the texts right."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    reader.add_argument("--runs", type=Path, help="where runs are kept, and taken from where they are there already")
    reader.add_argument("--pages", action="store_true", help="put the numbers and lines of the texts right, no more")
    asked = reader.parse_args(words)
    if not asked.pages:
        with tempfile.TemporaryDirectory() as scratch:
            made = {name: run(name, asked.runs or Path(scratch)) for name in COMMANDS}
            numbers = draw(made["vit"]) | consistency(made["resnet"], made["invariance"])
        record = json.dumps({"commands": COMMANDS, "numbers": numbers}, indent=1, ensure_ascii=False)
        pages.NUMBERS.write_text(record + "\n", encoding="utf-8")
    for text in pages.TEXTS:
        pages.put_right(text, pages.measured())
    return 0


if __name__ == "__main__":
    sys.exit(main())
