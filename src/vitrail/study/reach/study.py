"""The study as a whole: models one after another, so that a kill loses one at most."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitrail import durable
from vitrail.contracts import Source
from vitrail.errors import IntegrityError, Interrupted, UsageError, VitrailError, first_line
from vitrail.models import family_of
from vitrail.predict.naming import file_safe
from vitrail.report.statistics import Doubles
from vitrail.report.study_tables import write_json
from vitrail.run.ending import refuse_threads, threads
from vitrail.runtime.torch_engine import pick_device
from vitrail.study.folder import MEASURED, Study, refuse_place
from vitrail.study.invariance.subjects import Subject, fixed, open_subjects, same_images, samples
from vitrail.study.measure.records import kept
from vitrail.study.reach import page
from vitrail.study.reach.measured import Found, measure
from vitrail.study.reach.page import KIND
from vitrail.training.journal import Journal, duration

DATA = "shapes"
"""Where neither data nor a run is named: drawn on the spot."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for. models: folders and names.  data: None for what the first run held back.  images: at
    most.  seeds: of fresh weights.  time: seconds in all, None without a limit.  threads: of torch, 0 its own choice.
    """

    models: tuple[str, ...]
    data: str | None = None
    images: int = 16
    seeds: int = 2
    device: str = "auto"
    time: float | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        if not self.models:
            raise UsageError("which models? Give runs that train made, or names of the catalogue (vitrail models)")
        if self.images < 1:
            raise UsageError(f"--images {self.images}: one at least")
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
    """A new study. began: a reading of time.monotonic() from which the time counts.

    Raises UsageError and DataError as opening the models and the images does.
    """
    began = time.monotonic() if began is None else began
    refuse_place(KIND, out)
    opened = open_all(asked)
    specification = {**asdict(asked), "models": fixed(asked.models)}
    study = Study.create(KIND, name or opened.source.name, out, command, specification)
    study.since(began)
    return _go(study, asked, opened, quiet)


def resume(folder: str | Path, *, quiet: bool = False, began: float | None = None) -> Done:
    """Go on with a study: models that were measured are kept, the one in flight is measured anew."""
    began = time.monotonic() if began is None else began
    study = Study.open(folder, KIND)
    study.since(began)
    asked = Asked.of(study.specification)
    return _go(study, asked, open_all(asked), quiet)


def open_all(asked: Asked) -> Opened:
    """The models and the images; raises UsageError where a model is neither a folder nor in the catalogue."""
    pick_device(asked.device)
    untrained = not any(Path(model).exists() for model in asked.models)
    data = asked.data or (DATA if untrained else None)
    subjects, source, indices, split = open_subjects(asked.models, data, Journal(quiet=True))
    for subject in subjects:
        if not asked.seeds and subject.artifact is None:
            raise UsageError(f"{subject.name} is not trained, so --seeds 0 leaves nothing of it to measure")
    return Opened(subjects, source, indices, split)


def _go(study: Study, asked: Asked, opened: Opened, quiet: bool) -> Done:
    journal = Journal(quiet)
    with study.at_work(), threads(asked.threads):
        same_images(study, opened.source, opened.indices)
        found, pictures, failed = _all(study, asked, opened, pick_device(asked.device), journal)
        if not found:
            reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
            raise UsageError(f"no model could be measured: {reasons}")
        about = {
            "source": opened.source.name, "split": opened.split or "all", "command": " ".join(study.record["command"])
        }  # fmt: skip
        outputs = page.write(study, found, pictures, about, failed)
        study.mark("finished")
    return Done(study.folder, found, failed, outputs)


def _all(
    study: Study, asked: Asked, opened: Opened, device: str, journal: Journal
) -> tuple[list[Found], dict[str, dict[str, Doubles]], dict[str, str]]:
    """Every model that is not measured yet; a failure is written down, and the others go on."""
    found: list[Found] = []
    pictures: dict[str, dict[str, Doubles]] = {}
    failed: dict[str, str] = {}
    for number, subject in enumerate(opened.subjects, start=1):
        path = study.folder / MEASURED / f"{file_safe(subject.name)}.json"
        head = f"[{number}/{len(opened.subjects)}] {subject.name}"
        one = kept(path, partial(_read, path.with_suffix(".npz")), journal.warn)
        began = time.monotonic()
        if one is None and asked.time is not None and study.gone() >= asked.time:
            failed[subject.name] = "the time was over"
        elif one is None:
            try:
                one = _measured(subject, asked, opened, device)
                path.parent.mkdir(exist_ok=True)
                durable.write_arrays(path.with_suffix(".npz"), one[1])
                write_json(path, one[0].record())  # last: it says that the model is measured
            except Interrupted:
                raise
            except (VitrailError, RuntimeError, MemoryError) as error:
                failed[subject.name] = first_line(error)
        if one is None:
            study.note(subject.name, state="left out", reason=failed[subject.name])
            journal.say(f"{head}: left out, {failed[subject.name]}")
            continue
        found.append(one[0])
        pictures[subject.name] = one[1]
        study.note(subject.name, state="measured", reason="")
        journal.say(f"{head}: {len(one[0].states[0].sees)} layers, {duration(time.monotonic() - began)}")
    return found, pictures, failed


def _measured(subject: Subject, asked: Asked, opened: Opened, device: str) -> tuple[Found, dict[str, Doubles]]:
    channels = subject.preprocessor.channels
    chosen = samples(opened.source, opened.indices, asked.images, channels)
    shown = [(key, torch.from_numpy(subject.preprocessor(pixels))) for key, pixels in chosen]
    return measure(subject, family_of(subject.sketch().backbone), shown, asked.seeds, device)


def _read(pictures: Path, record: Mapping[str, Any]) -> tuple[Found, dict[str, Doubles]]:
    """What `_measured` gave; ValueError and others of its kind for anything else."""
    return Found.of(record), durable.read_arrays(pictures)
