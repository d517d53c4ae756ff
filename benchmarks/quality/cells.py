"""Trains the cells of a comparison, arm x seed, one after the other, and writes down what each came to.

A cell is a run folder of `vitrail train` under --out/cells; what is finished is never trained again, what was stopped
goes on. Each finished cell is a line of --out/results.jsonl. Rates are tuned first, on one seed and the validation
images alone, each arm on the same grid; then every seed is trained at the best rate. The test images are scored once a
cell, by the run itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml
from arms import Arm

SOURCE = Path(__file__).resolve().parents[2] / "src"
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


def parser(doc: str | None, time_default: str, seeds: int = 3) -> argparse.ArgumentParser:
    """The options of every comparison."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="runs and results.jsonl; what is there is gone on with")
    made.add_argument("--only", default="", help="arms, with commas; all by default")
    made.add_argument("--seeds", type=int, default=seeds, help="seeds 0 to N-1")
    made.add_argument("--time", default=time_default, help="wall time of each cell (10m); equal for all arms")
    made.add_argument("--epochs", type=float, help="equal epochs instead of equal time")
    made.add_argument("--rates", default="", help="grid of rates to tune on, with commas; the recipes' own where empty")
    made.add_argument("--stage", choices=("tune", "score", "all"), default="all")
    made.add_argument("--time-left", help="begin no cell that would not end within this time")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a field of every cell")
    made.add_argument("--workers", type=int, help="processes that read images")
    made.add_argument("--threads", type=int, default=0)
    return made


def run(options: argparse.Namespace, name: str, data: Sequence[str], arms: Mapping[str, Arm]) -> None:
    """Train what is missing and say where the table comes from.

    name: of the data set, for results.jsonl.  data: the words after `vitrail train` that say what the images are.
    """
    wanted = [arm for arm in options.only.split(",") if arm] or list(arms)
    unknown = sorted(set(wanted) - set(arms))
    if unknown:
        raise SystemExit(f"no such arm: {', '.join(unknown)}; there are {', '.join(arms)}")
    options.out.mkdir(parents=True, exist_ok=True)
    book = Book(options.out / "results.jsonl")
    started, limit = time.monotonic(), seconds(options.time_left)
    left_out = 0
    for cell in _cells(options, wanted, arms, book):
        if book.has(cell):
            continue
        needed = _expected(options, cell, book)
        if limit is not None and time.monotonic() - started + needed > limit:
            left_out += 1
            continue
        print(f"{cell.arm}, seed {cell.seed}, rate {cell.rate or 'own'}", flush=True)
        book.add(name, cell, arms[cell.arm], *_train(options, data, cell, arms, book))
    if left_out:
        print(f"{left_out} cells are left for another time: run the same command again")
    print(f"table: python {Path(__file__).with_name('table.py').name} {book.path}")


def _cells(options: argparse.Namespace, wanted: Sequence[str], arms: Mapping[str, Arm], book: Book) -> Iterator[Cell]:
    rates = [float(rate) for rate in options.rates.split(",") if rate]
    if rates and options.stage != "score":
        for arm in dict.fromkeys(arms[arm].rate or arm for arm in wanted):
            yield from (Cell(arm, TUNING_SEED, rate, tuning=True) for rate in rates)
    if options.stage != "tune":
        for seed in range(options.seeds):
            for arm in wanted:
                yield Cell(arm, seed, book.best_rate(arms[arm].rate or arm, rates))


def _train(
    options: argparse.Namespace, data: Sequence[str], cell: Cell, arms: Mapping[str, Arm], book: Book
) -> tuple[dict[str, Any], list[str]]:
    """Run the cell's commands; returns the last one's answer, and the commands."""
    arm, folder = arms[cell.arm], cell.folder(options.out)
    fields = {**arm.fields, "seed": cell.seed, "data_seed": cell.seed, "threads": options.threads}
    fields |= dict(pair.split("=", 1) for pair in options.set)
    if cell.rate is not None:
        fields["train.lr"] = cell.rate
    if options.workers is not None:
        fields["data.workers"] = options.workers
    if arm.teacher:
        teacher = Cell(arm.teacher, cell.seed, book.best_rate(arms[arm.teacher].rate or arm.teacher, _grid(options)))
        if cell.tuning or not book.has(teacher):
            raise SystemExit(f"{cell.arm} learns from {arm.teacher}, seed {cell.seed}: train that first")
        fields["distill.teacher"] = str(teacher.folder(options.out))
    commands = []
    if arm.pretrain:
        before = folder.with_name(folder.name + "-pretraining")
        shared = {key: value for key, value in fields.items() if key.startswith(("model.", "data.", "seed", "threads"))}
        commands.append(
            _command("pretrain", data, shared | {"data_seed": cell.seed}, before, _length(options, arm.pretrain))
        )
        fields["model.weights"] = str(before)
        for key in [key for key in fields if key == "model.name" or key.startswith("model.options.")]:
            del fields[key]  # the weights say what the model is
    commands.append(_command("train", data, fields, folder, _length(options, 1 - arm.pretrain)))
    answers = [_ask(command) for command in commands]
    answers[-1]["seconds"] = sum(answer["seconds"] for answer in answers)
    return answers[-1], [" ".join(["vitrail", *command]) for command in commands]


def _grid(options: argparse.Namespace) -> list[float]:
    return [float(rate) for rate in options.rates.split(",") if rate]


def _length(options: argparse.Namespace, share: float) -> list[str]:
    if options.epochs is not None:
        return ["--epochs", f"{options.epochs * share:.6g}"]
    return ["--time", f"{(seconds(options.time) or 0) * share:.6g}"]


def _command(verb: str, data: Sequence[str], fields: Mapping[str, Any], out: Path, length: Sequence[str]) -> list[str]:
    """The words after `vitrail`; those that go on with a run where it was stopped."""
    resumable = [*out.glob("checkpoints/step-*"), *out.glob("teacher/checkpoints/step-*")]
    if resumable and _state(out) != "finished":
        return [verb, "--resume", str(out), "--json"]
    if out.exists() and _state(out) != "finished":
        shutil.rmtree(out)  # it stopped before there was anything to go on from
    words = [f"{key}={_word(value)}" for key, value in fields.items()]
    return [verb, *data, *words, *length, "--out", str(out), "--json"]


def _word(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _state(out: Path) -> str:
    record = out / "run.json"
    return str(json.loads(record.read_text())["state"]) if record.exists() else ""


def _ask(command: list[str]) -> dict[str, Any]:
    """Run a command in a process of its own, so that its time is that of the command, imports included."""
    resumed = "--resume" in command
    out = Path(command[command.index("--resume" if resumed else "--out") + 1])
    if _state(out) != "finished":
        path = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "vitrail", *command],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(
                f"exit {done.returncode}: vitrail {' '.join(command)}\nRun the same command again to go on."
            )
        spent = out / "seconds.txt"
        before = float(spent.read_text()) if spent.exists() else 0.0
        spent.write_text(f"{before + time.monotonic() - started:.1f}")
    record = json.loads((out / "run.json").read_text())
    spent = out / "seconds.txt"
    return {"run": out, "metrics": record["metrics"], "seconds": float(spent.read_text()) if spent.exists() else 0.0}


class Book:
    """results.jsonl: a line per finished cell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

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
            "command": commands, "seconds": answer["seconds"], "epochs": config["train"]["epochs"],
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
        self.lines.append(line)
        score = f"test {line['test']['accuracy']:.4f}" if line.get("test") else ""
        print(
            f"  {line['epochs']:g} epochs in {line['seconds']:.0f} s: val {line['val']['accuracy']:.4f} {score}",
            flush=True,
        )


def _speed(folder: Path) -> dict[str, Any]:
    """Parameters, images per second, and after how long which validation score was reached."""
    import csv

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


def _expected(options: argparse.Namespace, cell: Cell, book: Book) -> float:
    """Seconds that a cell will take: what it is given, or what the arm's others took."""
    if options.epochs is None:
        return seconds(options.time) or 0.0
    took = [line["seconds"] for line in book.lines if line["arm"] == cell.arm] or [x["seconds"] for x in book.lines]
    return max(took, default=0.0)


def seconds(text: str | None) -> float | None:
    """A time as `vitrail --time` takes it."""
    if text is None:
        return None
    from vitrail.settings import seconds_of

    return seconds_of(text)


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
