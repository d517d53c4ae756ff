"""The study as a whole: which models, on which images, one after another, so that a kill loses one at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitrail.contracts import Source
from vitrail.errors import IntegrityError, Interrupted, UsageError, VitrailError, first_line
from vitrail.predict.naming import file_safe
from vitrail.report.study_tables import write_json
from vitrail.run.ending import refuse_threads, threads
from vitrail.runtime.torch_engine import pick_device
from vitrail.study.folder import MEASURED, Study, refuse_place
from vitrail.study.invariance import page
from vitrail.study.invariance.conditions import Condition, conditions
from vitrail.study.invariance.measured import Found, measure
from vitrail.study.invariance.page import KIND
from vitrail.study.invariance.subjects import Subject, fixed, open_subjects, same_images, samples
from vitrail.study.measure.records import kept
from vitrail.training.journal import Journal, duration

IMAGES = "images"
"""What is decided once, before the first model: how many."""
LEAST, TRIED = 16, 2
"""Images that --time leaves at the least, and those that the speed is tried on."""
SHARE = 0.85
"""Of the time that is left, what measuring may take; the rest is for the report and what the trial did not see."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for. models: folders and names.  data: None for what the first run held back.  images: at
    most.  seeds: of fresh weights.  time: seconds in all, None without a limit.  threads: of torch, 0 its own choice.
    """

    models: tuple[str, ...]
    data: str | None = None
    images: int = 128
    seeds: int = 3
    device: str = "auto"
    time: float | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        if not self.models:
            raise UsageError("which models? Give runs that train made, or names of the catalogue")
        if self.images < 2:
            raise UsageError(f"--images {self.images} is too few: an answer is compared with those of other images")
        if self.seeds < 0:
            raise UsageError(f"--seeds {self.seeds} is no number of seeds: 0 leaves fresh weights out")
        refuse_threads(self.threads)

    @classmethod
    def of(cls, specification: dict[str, Any]) -> Asked:
        """What study.json kept; IntegrityError for anything else."""
        try:
            return cls(**{**specification, "models": tuple(specification["models"])})
        except (TypeError, KeyError):
            raise IntegrityError("study.json does not say what was asked: start a new study") from None


@dataclass(frozen=True, eq=False)
class Opened:
    """What a study works on."""

    subjects: list[Subject]
    source: Source
    indices: list[int]
    split: str
    conditions: list[Condition]

    def states(self, seeds: int) -> int:
        """Of all models."""
        return sum(len(subject.states(seeds)) for subject in self.subjects)


@dataclass(frozen=True, eq=False)
class Done:
    """A finished study: its folder, what was found, what was not measured and why, and the files it wrote."""

    folder: Path
    found: list[Found]
    failed: dict[str, str]
    outputs: list[Path]


def begin(
    asked: Asked, *, name: str | None = None, out: Path | None = None, command: Sequence[str] = (),
    quiet: bool = False, began: float | None = None,
) -> Done:  # fmt: skip
    """A new study. began: a reading of time.monotonic() from which --time counts.

    Raises UsageError and DataError as opening the models and the images does, and where the time is too little.
    """
    began = time.monotonic() if began is None else began
    refuse_place(KIND, out)
    opened = _open(asked)
    journal = Journal(quiet)
    images = _affordable(asked, opened, lambda: time.monotonic() - began, journal)
    specification = {**asdict(asked), "models": fixed(asked.models)}
    study = Study.create(KIND, name or opened.source.name, out, command, specification)
    study.since(began)
    study.decide(IMAGES, images)
    return _go(study, asked, opened, journal)


def resume(folder: str | Path, *, quiet: bool = False, began: float | None = None) -> Done:
    """Go on with a study: models that were measured are kept, the one in flight is measured anew."""
    began = time.monotonic() if began is None else began
    study = Study.open(folder, KIND)
    study.since(began)
    asked = Asked.of(study.specification)
    return _go(study, asked, _open(asked), Journal(quiet))


def planned(asked: Asked) -> tuple[Opened, int]:
    """What `begin` would work on, and how many images a model would answer in all; nothing is written."""
    opened = _open(asked)
    images = min(asked.images, len(opened.indices))
    return opened, opened.states(asked.seeds) * (1 + len(opened.conditions)) * images


def _open(asked: Asked) -> Opened:
    pick_device(asked.device)
    subjects, source, indices, split = open_subjects(asked.models, asked.data, Journal(quiet=True))
    ways = conditions({subject.side for subject in subjects}, {subject.cell for subject in subjects})
    return Opened(subjects, source, indices, split, ways)


def _go(study: Study, asked: Asked, opened: Opened, journal: Journal) -> Done:
    device = pick_device(asked.device)
    with study.at_work(), threads(asked.threads):
        images = study.decided(IMAGES)
        if images is None:  # it was killed between its first file and its second
            images = study.decide(IMAGES, _affordable(asked, opened, study.gone, journal))
        same_images(study, opened.source, opened.indices)
        found, failed = _all(study, asked, opened, images, device, journal)
        if not found:
            raise UsageError(
                "no model could be measured: " + "; ".join(f"{name}: {why}" for name, why in failed.items())
            )
        about = {
            "source": opened.source.name,
            "split": opened.split or "all",
            "command": " ".join(study.record["command"]),
            "strangers": _strangers(opened),
        }
        outputs = page.write(study, found, opened.conditions, about, failed)
        study.mark("finished")
    return Done(study.folder, found, failed, outputs)


def _all(
    study: Study, asked: Asked, opened: Opened, images: int, device: str, journal: Journal
) -> tuple[list[Found], dict[str, str]]:
    """Every model that is not measured yet; a failure is written down, and the others go on."""
    found: list[Found] = []
    failed: dict[str, str] = {}
    for number, subject in enumerate(opened.subjects, start=1):
        path = study.folder / MEASURED / f"{file_safe(subject.name)}.json"
        earlier = kept(path, Found.of, journal.warn)
        if earlier is not None:
            found.append(earlier)
            continue
        head = f"[{number}/{len(opened.subjects)}] {subject.name}"
        if asked.time is not None and study.gone() >= asked.time:
            failed[subject.name] = "the time was over"
            study.note(subject.name, state="left out", reason=failed[subject.name])
            journal.say(f"{head}: left out, the time is over")
            continue
        began = time.monotonic()
        try:
            shown = list(samples(opened.source, opened.indices, images, subject.preprocessor.channels))
            one = measure(subject, shown, opened.conditions, asked.seeds, device)
        except Interrupted:
            raise
        except (VitrailError, RuntimeError, MemoryError) as error:
            failed[subject.name] = first_line(error)
            study.note(subject.name, state="failed", reason=failed[subject.name])
            journal.say(f"{head}: failed, {failed[subject.name]}")
            continue
        path.parent.mkdir(exist_ok=True)
        write_json(path, one.record())
        found.append(one)
        took = time.monotonic() - began
        study.note(subject.name, state="finished", reason="", seconds=round(took, 2))
        journal.say(
            f"{head}: {len(one.states)} states, {len(opened.conditions)} changes, {one.images} images: {duration(took)}"
        )
    return found, failed


def _affordable(asked: Asked, opened: Opened, gone: Callable[[], float], journal: Journal) -> int:
    """Images that there are and that there is time for, the same for all models. gone: seconds of the time so far."""
    there = min(asked.images, len(opened.indices))
    if asked.time is None:
        return there
    journal.say(f"trying how fast the models are, to fit them into {duration(asked.time)}")
    device = pick_device(asked.device)
    with threads(asked.threads):
        each = sum(_tried(subject, opened, device, asked.seeds) for subject in opened.subjects)
    left = SHARE * (asked.time - gone())
    afforded = int(left / each)
    if afforded < min(LEAST, there):
        needed = gone() + min(LEAST, there) * each / SHARE
        raise UsageError(
            f"--time {asked.time:g}s is too little here: {min(LEAST, there)} images, the fewest, take"
            f" {duration(needed)}; give that, name fewer models, or lower --seeds"
        )
    if afforded < there:
        journal.say(f"{afforded} images fit into the time, of {there}")
    return min(there, afforded)


def _tried(subject: Subject, opened: Opened, device: str, seeds: int) -> float:
    """Seconds that an image takes in all states of a model, from a few in its first ones."""
    few = list(samples(opened.source, opened.indices, TRIED, subject.preprocessor.channels))
    least = 0 if subject.artifact else 1
    began = time.monotonic()
    measure(subject, few, opened.conditions, least, device)
    took = (time.monotonic() - began) / len(few)
    return took * len(subject.states(seeds)) / len(subject.states(least))


def _strangers(opened: Opened) -> str:
    """A caution where another run's training may have seen the images; "" where none did."""
    own = opened.subjects[0].config.data
    others = [s.name for s in opened.subjects if s.artifact and s.config.data.source != own.source]
    if not others:
        return ""
    return f"{', '.join(others)} trained on other data: that their training saw none of these images is not known."
