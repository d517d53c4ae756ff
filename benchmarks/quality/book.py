"""results.jsonl: what each finished cell came to, and on which machine."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml
from arms import Arm

TUNING_SEED = 100
"""Apart from the seeds that are reported."""


@dataclass(frozen=True)
class Cell:
    """One run: an arm at a rate (None: the recipe's own) and a seed."""

    arm: str
    seed: int
    rate: float | None
    tuning: bool = False

    def folder(self, out: Path) -> Path:
        """Where it is trained."""
        rate = "own" if self.rate is None else f"{self.rate:g}"
        return out / "cells" / self.arm / f"rate-{rate}-seed-{self.seed}"


class Book:
    """results.jsonl: a line per finished cell."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Those of other processes too."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def has(self, cell: Cell) -> bool:
        """Whether the cell is written down."""
        return self.find(cell) is not None

    def find(self, cell: Cell) -> dict[str, Any] | None:
        """Its line."""
        same = (
            line for line in self.lines if (line["arm"], line["seed"], line["rate"]) == (cell.arm, cell.seed, cell.rate)
        )
        return next(same, None)

    def best_rate(self, arm: str, rates: Sequence[float]) -> float | None:
        """The tuned rate of an arm, by its validation score; None, the recipe's own, where nothing was tuned."""
        tuned = [line for line in self.lines if line["arm"] == arm and line["tuning"] and line["rate"] in rates]
        return float(max(tuned, key=lambda line: line["val"]["accuracy"])["rate"]) if tuned else None

    def add(self, data: str, cell: Cell, arm: Arm, answer: dict[str, Any], commands: list[str]) -> None:
        """Write a finished cell down, at once and whole."""
        folder = answer["run"]
        config = yaml.safe_load((folder / "args.yaml").read_text())
        metrics = answer["metrics"]
        line = {
            "date": date.today().isoformat(), "machine": machine(), "versions": versions(), "data": data,
            "arm": cell.arm, "what": arm.what, "seed": cell.seed, "rate": cell.rate, "tuning": cell.tuning,
            "command": commands, "seconds": answer["seconds"], "processor_seconds": answer["processor_seconds"],
            "epochs": config["train"]["epochs"],
            "batch_size": config["train"]["batch_size"], "lr": config["train"]["lr"], **_speed(folder),
            "val": metrics["val"], "run": str(folder.relative_to(self.path.parent)),
        }  # fmt: skip
        if not cell.tuning:
            line["test"] = metrics.get("test")
            if arm.parts:
                from heads import by_head

                line["heads"] = by_head(folder)
        with self.path.open("a", encoding="utf-8") as book:
            book.write(json.dumps(line) + "\n")
        score = f"test {line['test']['accuracy']:.4f}" if line.get("test") else ""
        took = f"{line['seconds']:.0f} s, {line['processor_seconds']:.0f} s of a processor"
        print(f"  {line['epochs']:g} epochs in {took}: val {line['val']['accuracy']:.4f} {score}", flush=True)


def _speed(folder: Path) -> dict[str, Any]:
    """Parameters, images per second, and after how long which validation score was reached."""
    from vitrail.artifact import find, load
    from vitrail.cost.count import parameters

    rows = list(csv.DictReader((folder / "results.csv").open()))
    rates = sorted(float(row["images_per_s"]) for row in rows)
    curve = [(float(row["time"]), float(row["val/accuracy"])) for row in rows if row.get("val/accuracy")]
    return {
        "parameters": parameters(load(find(folder), "cpu").model),
        "images_per_s": rates[len(rates) // 2],
        "train_seconds": curve[-1][0] if curve else None,
        "seconds_to": {f"{goal:.2f}": t for goal in GOALS if (t := _reached(curve, goal)) is not None},
    }


GOALS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.94, 0.95, 0.96)


def _reached(curve: Sequence[tuple[float, float]], goal: float) -> float | None:
    return next((seconds for seconds, score in curve if score >= goal), None)


def machine() -> str:
    """The kind of machine, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores"
    names = [line.split(":")[1].strip() for line in _cpu() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _cpu() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def versions() -> dict[str, str]:
    """What the result depends on."""
    from vitrail.run.folder import versions as of_run

    kept = of_run()
    return {name: kept[name] for name in ("vitrail", "python", "torch", "torchvision")}
