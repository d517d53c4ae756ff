"""The study as a whole: cells one after another, each kept as soon as it is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import torch

from vitrail.cost.measure import free_memory
from vitrail.cost.trace import Precision
from vitrail.errors import IntegrityError, UsageError, first_line, unknown
from vitrail.models import variant
from vitrail.report import numbers
from vitrail.report.study_tables import write_json
from vitrail.run.ending import refuse_threads, threads
from vitrail.runtime.torch_engine import pick_device
from vitrail.study.folder import MEASURED, Study, refuse_place
from vitrail.study.growth import page, words
from vitrail.study.growth.counted import Counted, count, sketch
from vitrail.study.growth.laws import LEAST, Crossing, Law, crossings, laws
from vitrail.study.growth.measured import Measured, measure
from vitrail.study.growth.order import FAILED, TIME, Cell, Forecasts, cells, smaller_left_out, time_needed
from vitrail.study.growth.page import KIND
from vitrail.study.measure.records import kept
from vitrail.training.journal import Journal, duration

MODELS = ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b0", "resnet18")
SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
SECONDS = 300.0
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Asked:
    """What the user asked for. sizes: pixels a side.  batch: images at once.  time: seconds in all.  threads: of torch,
    0 its own choice."""

    models: tuple[str, ...] = MODELS
    sizes: tuple[int, ...] = SIZES
    batch: int = 2
    time: float = SECONDS
    device: str = "auto"
    precision: str = "fp32"
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what measures nothing, naming the nearest right word."""
        if not self.models or not self.sizes:
            raise UsageError("nothing to measure: name a model and an image size at least")
        if self.batch < 1:
            raise UsageError(f"--batch {self.batch}: one image at least")
        refuse_threads(self.threads)
        for size in self.sizes:
            if size < 1:
                raise UsageError(f"--image-sizes {size}: one pixel at least")
        if self.precision not in get_args(Precision):
            raise unknown("precision", self.precision, get_args(Precision))
        for name in self.models:
            variant(name)

    @classmethod
    def of(cls, specification: dict[str, Any]) -> Asked:
        """What study.json kept; IntegrityError for anything else."""
        try:
            lists = {name: tuple(specification[name]) for name in ("models", "sizes")}
            return cls(**{**specification, **lists})
        except (TypeError, KeyError):
            raise IntegrityError("study.json does not say what was asked: start a new study") from None


@dataclass(frozen=True, eq=False)
class Done:
    """A finished study: its folder, what was measured and fitted, what was left out and why, the files it wrote, and
    the device.

    needed: seconds of --time that would have been enough for exponents; 0 where they were, or more time is no help.
    """

    folder: Path
    cells: list[Measured]
    laws: list[Law]
    crossings: list[Crossing]
    left_out: dict[Cell, str]
    needed: float
    outputs: list[Path]
    device: str


@dataclass(frozen=True)
class Planned:
    """A cell of a dry run. seconds: as expected before anything is measured, of a machine of ASSUMED FLOP/s."""

    cell: Cell
    counted: Counted
    seconds: float


def begin(
    asked: Asked, *, name: str | None = None, out: Path | None = None, command: Sequence[str] = (),
    quiet: bool = False, began: float | None = None,
) -> Done:  # fmt: skip
    """A new study. began: a reading of time.monotonic() from which the time counts.

    Raises UsageError for models and sizes that do not go together, before anything is written.
    """
    began = time.monotonic() if began is None else began
    refuse_place(KIND, out)
    device = _check(asked)
    study = Study.create(KIND, name or device, out, command, asdict(asked))
    study.since(began)
    return _go(study, asked, device, quiet)


def resume(folder: str | Path, *, quiet: bool = False, began: float | None = None) -> Done:
    """Go on with a study: cells that were measured are kept, the one in flight is measured anew."""
    began = time.monotonic() if began is None else began
    study = Study.open(folder, KIND)
    study.since(began)
    asked = Asked.of(study.specification)
    return _go(study, asked, _check(asked), quiet)


def planned(asked: Asked) -> list[Planned]:
    """The cells that `begin` would measure; nothing is written or run."""
    device = _check(asked)
    made, forecasts, counts = [], Forecasts(asked.time, free_memory()), _Counts(asked, device)
    for cell in cells(asked.models, asked.sizes):
        counted = counts.of(cell)
        made.append(Planned(cell, counted, forecasts.cell(counted, cell.what)))
    return made


def _check(asked: Asked) -> str:
    """The device; UsageError where a model and a size do not go together."""
    if asked.device not in DEVICES:
        raise unknown("device", asked.device, DEVICES)
    for model in asked.models:
        for size in asked.sizes:
            sketch(model, size)
    device = pick_device(asked.device)
    return device if device in DEVICES else "cpu"  # an allocator that says its peak is needed


@dataclass
class _Counts:
    """Of models at sizes, each counted once for both passes."""

    asked: Asked
    device: str
    known: dict[tuple[str, int], Counted] = field(default_factory=dict)

    def of(self, cell: Cell) -> Counted:
        key = cell.model, cell.size
        if key not in self.known:
            precision = cast(Precision, self.asked.precision)
            self.known = {key: count(cell.model, cell.size, self.asked.batch, precision, self.device)}
        return self.known[key]


def _go(study: Study, asked: Asked, device: str, quiet: bool) -> Done:
    journal = Journal(quiet)
    with study.at_work(), threads(asked.threads):
        _same_machine(study, device)
        found, left_out = _all(study, asked, device, journal)
        if not found:
            needed = _needed(study, asked, device, found, left_out)
            more = f". {words.more_time(needed)}" if needed else ""
            raise UsageError(f"nothing could be measured: {next(iter(left_out.values()))}{more}")
        fitted = laws(found)
        crossing = crossings(fitted)
        about = {
            "machine": _machine(device),
            "threads": f"{torch.get_num_threads()} thread{'s'[: torch.get_num_threads() > 1]}",
            "precision": asked.precision,
            "batch": str(asked.batch),
            "command": " ".join(study.record["command"]),
        }
        needed = 0.0 if any(law.time for law in fitted) else _needed(study, asked, device, found, left_out)
        outputs = page.write(study, found, fitted, crossing, left_out, needed, about)
        study.mark("finished")
    return Done(study.folder, found, fitted, crossing, left_out, needed, outputs, device)


def _needed(study: Study, asked: Asked, device: str, found: Sequence[Measured], left_out: dict[Cell, str]) -> float:
    """Seconds in which every model would have been measured at as many sizes as an exponent takes."""
    first = sorted(set(asked.sizes))[:LEAST]
    if len(first) < LEAST:
        return 0.0
    forecasts, counts = Forecasts(asked.time, _free(device)), _Counts(asked, device)
    for one in found:
        forecasts.learn(one)
    missing = [cell for cell, why in left_out.items() if cell.size in first and why.startswith(TIME)]
    return time_needed([(counts.of(cell), cell.what) for cell in missing], forecasts, study.gone())


def _all(study: Study, asked: Asked, device: str, journal: Journal) -> tuple[list[Measured], dict[Cell, str]]:
    """Every cell that is not measured yet; what is left out or fails is written down, and the others go on."""
    found: list[Measured] = []
    left_out: dict[Cell, str] = {}
    forecasts, counts = Forecasts(asked.time, _free(device)), _Counts(asked, device)
    order = list(cells(asked.models, asked.sizes))
    for number, cell in enumerate(order, start=1):
        path = study.folder / MEASURED / f"{cell.name}.json"
        head = f"[{number}/{len(order)}] {cell.model} {cell.size} px, {cell.what}"
        earlier = kept(path, Measured.of, journal.warn)
        if earlier is not None:
            found.append(earlier)
            forecasts.learn(earlier)
            continue
        why = again = smaller_left_out(cell, left_out)
        if not why and study.gone() >= forecasts.end:
            why = f"{TIME}: none was left"
        if not why:
            counted = counts.of(cell)
            why = forecasts.refusal(counted, cell.what, forecasts.end - study.gone())
        if not why:
            began = time.monotonic()
            try:
                one = measure(counted, cell.what, cast(Precision, asked.precision), device)
            except (RuntimeError, ValueError, MemoryError) as error:
                why = f"{FAILED}: {reason_of(error)}"
        if why:
            left_out[cell] = why
            study.note(cell.name, state="left out", reason=why)
            if not again:  # of a curve that has ended, the screen has said so
                journal.say(f"{head}: left out, and what is larger with it; {why}")
            continue
        path.parent.mkdir(exist_ok=True)
        write_json(path, one.record())
        found.append(one)
        forecasts.learn(one)
        took = time.monotonic() - began
        study.note(cell.name, state="measured", reason="", seconds=round(took, 2))
        left = duration(max(0.0, forecasts.end - study.gone()))
        journal.say(
            f"{head}: {numbers.number(1000 * one.time)} ms an image, {one.memory / 2**20:,.0f} MiB; {left} left"
        )
    return found, left_out


def reason_of(error: Exception) -> str:
    """Why a cell failed, in plain words where the error's own say it to the makers of models alone."""
    told = first_line(error)
    if "more than 1 value per channel" in told:
        return (
            "its last grid is one cell, and batch normalisation cannot train on one number per channel: give --batch 2"
            " or more, or larger images"
        )
    return told


def _same_machine(study: Study, device: str) -> None:
    """UsageError where the cells before were measured with another device or other threads."""
    now = f"{_machine(device)}, {torch.get_num_threads()} threads"
    before = study.decided("machine") or study.decide("machine", now)
    if before != now:
        raise UsageError(f"this study began on {before}, and this is {now}: times would not compare; start a new one")


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0] if names and names[0] else "cpu"
    except OSError:
        return "cpu"


def _free(device: str) -> int:
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else free_memory()
