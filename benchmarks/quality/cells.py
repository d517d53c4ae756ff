"""Trains the cells of a comparison, arm x seed, one after the other, and writes down what each came to.

A cell is a run folder of `vitrail train` under --out/cells; what is finished is never trained again, what was stopped
goes on. Each finished cell is a line of --out/results.jsonl. Rates are tuned first, on one seed and the validation
images alone, each arm on the same grid; then every seed is trained at the best rate. The test images are scored once a
cell, by the run itself. The same command, started a second time beside the first, takes a share of the cells.
"""

from __future__ import annotations

import argparse
import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from arms import Arm
from book import TUNING_SEED, Book, Cell
from commands import ask, command_of


def parser(doc: str | None, time_default: str, seeds: int = 3) -> argparse.ArgumentParser:
    """The options of every comparison."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="runs and results.jsonl; what is there is gone on with")
    made.add_argument("--only", default="", help="arms, with commas; all by default")
    made.add_argument("--seeds", type=int, default=seeds, help="seeds 0 to N-1")
    made.add_argument("--time", default=time_default, help="wall time of each cell (10m); equal for all arms")
    made.add_argument("--epochs", type=float, help="equal epochs instead of equal time")
    made.add_argument(
        "--processor-time",
        help="equal processor time instead of wall time (10m): epochs by a trial of each arm; other "
        "work on the machine changes nothing",
    )
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
    while missing := [cell for cell in _cells(options, wanted, arms, book) if not book.has(cell)]:
        ready = [cell for cell in missing if _ready(cell, arms, options, book)]
        if not ready:
            raise SystemExit(f"{missing[0].arm} learns from {arms[missing[0].arm].teacher}: train that too")
        if limit is not None:
            spent = time.monotonic() - started
            ready = [cell for cell in ready if spent + _expected(options, cell, book) <= limit]
            if not ready:
                print(f"{len(missing)} cells are left for another time: run the same command again")
                break
        for cell in ready:
            with _taken(cell.folder(options.out)) as mine:
                if mine and not book.has(cell):
                    print(f"{cell.arm}, seed {cell.seed}, rate {cell.rate or 'own'}", flush=True)
                    book.add(name, cell, arms[cell.arm], *_train(options, data, cell, arms, book))
                    break
        else:
            time.sleep(5)  # what could be trained now is being trained by another process
    print(f"table: python {Path(__file__).with_name('table.py').name} {book.path}")


def _ready(cell: Cell, arms: Mapping[str, Arm], options: argparse.Namespace, book: Book) -> bool:
    """Whether what the cell needs first is there: its teacher, and the rates' trials of its own arm."""
    arm = arms[cell.arm]
    rates = _grid(options)
    if cell.tuning:
        return True
    if options.stage == "all":
        tuned = arm.rate or cell.arm
        if rates and any(not book.has(Cell(tuned, TUNING_SEED, rate, tuning=True)) for rate in rates):
            return False
    return not arm.teacher or book.has(_teacher(cell, arm, arms, options, book))


def _teacher(cell: Cell, arm: Arm, arms: Mapping[str, Arm], options: argparse.Namespace, book: Book) -> Cell:
    return Cell(arm.teacher, cell.seed, book.best_rate(arms[arm.teacher].rate or arm.teacher, _grid(options)))


@contextmanager
def _taken(folder: Path) -> Iterator[bool]:
    """Whether the cell is this process's while the context lasts: no two train the same."""
    with _lock_of(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process has the folder, then have it."""
    with _lock_of(folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_of(folder: Path) -> IO[str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(folder.name + ".lock").open("w")


def _cells(options: argparse.Namespace, wanted: Sequence[str], arms: Mapping[str, Arm], book: Book) -> Iterator[Cell]:
    rates = _grid(options)
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
        fields["distill.teacher"] = str(_teacher(cell, arm, arms, options, book).folder(options.out))
    done = []

    def step(verb: str, stated: Mapping[str, Any], out: Path, share: float) -> None:
        command = command_of(verb, data, stated, out, _length(options, data, cell.arm, verb, stated, share))
        done.append((command, ask(command)))

    if arm.pretrain:
        before = folder.with_name(folder.name + "-pretraining")
        shared = {key: value for key, value in fields.items() if key.startswith(("model.", "data.", "seed", "threads"))}
        step("pretrain", shared | {"data_seed": cell.seed}, before, arm.pretrain)
        fields["model.weights"] = str(before)
        for key in [key for key in fields if key == "model.name" or key.startswith("model.options.")]:
            del fields[key]  # the weights say what the model is
    step("train", fields, folder, 1 - arm.pretrain)
    answer = done[-1][1]
    for of in ("seconds", "processor_seconds"):
        answer[of] = sum(each[of] for _, each in done)
    return answer, [" ".join(["vitrail", *command]) for command, _ in done]


def _grid(options: argparse.Namespace) -> list[float]:
    return [float(rate) for rate in options.rates.split(",") if rate]


def _length(
    options: argparse.Namespace, data: Sequence[str], arm: str, verb: str, fields: Mapping[str, Any], share: float
) -> list[str]:
    """The words for a share of a cell's length."""
    if options.processor_time is not None:
        budget = share * (seconds(options.processor_time) or 0.0)
        return ["--epochs", str(_epochs_for(budget, options, data, arm, verb, fields))]
    if options.epochs is not None:
        return ["--epochs", f"{options.epochs * share:.6g}"]
    return ["--time", f"{(seconds(options.time) or 0) * share:.6g}"]


TRIALS = (1, 4)
"""Epochs of the two runs that say what an epoch of an arm costs, and what a run costs without any."""
ENOUGH = 0.1
"""Share of its time that an arm's epochs are tried for at least: a few short ones are measured badly."""


def _epochs_for(
    budget: float, options: argparse.Namespace, data: Sequence[str], arm: str, verb: str, fields: Mapping[str, Any]
) -> int:
    """Epochs that an arm's command trains in so many seconds of processor time, imports and the final report included.

    Measured once an arm; the trials are kept in --out/trials.
    """
    place = options.out / "trials"

    def spent(name: str, epochs: int) -> float:
        command = command_of(verb, data, fields, place / f"{name}-{epochs}", ["--epochs", str(epochs)])
        return float(ask(command)["processor_seconds"])

    with _locked(place):
        spent("first", 1)  # what is done once for the data, as reading every file, is no arm's cost
        name = arm if verb == "train" else f"{arm}-{verb}"
        (least, most), few = TRIALS, spent(name, TRIALS[0])
        while (taken := spent(name, most) - few) < ENOUGH * budget:
            most *= 2
    epoch = taken / (most - least)
    return max(1, int((budget - (few - least * epoch)) / epoch))


def _expected(options: argparse.Namespace, cell: Cell, book: Book) -> float:
    """Seconds that a cell will take: what it is given, or what the arm's others took."""
    if options.epochs is None and options.processor_time is None:
        return seconds(options.time) or 0.0
    took = [line["seconds"] for line in book.lines if line["arm"] == cell.arm] or [x["seconds"] for x in book.lines]
    return max(took, default=0.0)


def seconds(text: str | None) -> float | None:
    """A time as `vitrail --time` takes it."""
    if text is None:
        return None
    from vitrail.settings import seconds_of

    return seconds_of(text)
