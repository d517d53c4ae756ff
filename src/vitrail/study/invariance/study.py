"""The study as a whole: which models, on which images, one after another, so that a kill loses one at most."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitrail.contracts import Source
from vitrail.errors import DataError, IntegrityError, Interrupted, UsageError, VitrailError
from vitrail.predict.naming import file_safe
from vitrail.report.study_tables import write_json
from vitrail.run.ending import threads
from vitrail.runtime.torch_engine import pick_device
from vitrail.study.folder import MEASURED, Study, refuse_place
from vitrail.study.invariance import page
from vitrail.study.invariance.conditions import Condition, conditions
from vitrail.study.invariance.measured import Found, measure
from vitrail.study.invariance.page import KIND
from vitrail.study.invariance.subjects import Subject, open_subjects, samples
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
    fixed = {**asdict(asked), "models": [_fixed(model) for model in asked.models]}
    images = _affordable(asked, opened, lambda: time.monotonic() - began, _speaker(quiet))
    study = Study.create(KIND, name or opened.source.name, out, command, fixed)
    study.since(began)
    study.decide(IMAGES, images)
    return _go(study, asked, opened, quiet)


def resume(folder: str | Path, *, quiet: bool = False, began: float | None = None) -> Done:
    """Go on with a study: models that were measured are kept, the one in flight is measured anew."""
    began = time.monotonic() if began is None else began
    study = Study.open(folder, KIND)
    study.since(began)
    asked = Asked.of(study.specification)
    return _go(study, asked, _open(asked), quiet)


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


def _fixed(model: str) -> str:
    """A folder by its whole path, so that a study can be resumed from anywhere."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _go(study: Study, asked: Asked, opened: Opened, quiet: bool) -> Done:
    device = pick_device(asked.device)
    say = _speaker(quiet)
    with study.at_work(), threads(asked.threads):
        images = study.decided(IMAGES)
        if images is None:  # it was killed between its first file and its second
            images = study.decide(IMAGES, _affordable(asked, opened, study.gone, say))
        _same_images(study, opened)
        found, failed = _all(study, asked, opened, images, device, say)
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
    study: Study, asked: Asked, opened: Opened, images: int, device: str, say: Callable[[str], None]
) -> tuple[list[Found], dict[str, str]]:
    """Every model that is not measured yet; a failure is written down, and the others go on."""
    found: list[Found] = []
    failed: dict[str, str] = {}
    for number, subject in enumerate(opened.subjects, start=1):
        path = study.folder / MEASURED / f"{file_safe(subject.name)}.json"
        kept = _kept(path)
        if kept is not None:
            found.append(kept)
            continue
        head = f"[{number}/{len(opened.subjects)}] {subject.name}"
        if asked.time is not None and study.gone() >= asked.time:
            failed[subject.name] = "the time was over"
            study.note(subject.name, state="left out", reason=failed[subject.name])
            say(f"{head}: left out, the time is over")
            continue
        began = time.monotonic()
        try:
            shown = list(samples(opened.source, opened.indices, images, subject.preprocessor.channels))
            one = measure(subject, shown, opened.conditions, asked.seeds, device)
        except Interrupted:
            raise
        except (VitrailError, RuntimeError, MemoryError) as error:
            failed[subject.name] = _reason(error)
            study.note(subject.name, state="failed", reason=failed[subject.name])
            say(f"{head}: failed, {failed[subject.name]}")
            continue
        path.parent.mkdir(exist_ok=True)
        write_json(path, one.record())
        found.append(one)
        took = time.monotonic() - began
        study.note(subject.name, state="finished", reason="", seconds=round(took, 2))
        say(
            f"{head}: {len(one.states)} states, {len(opened.conditions)} changes, {one.images} images: {duration(took)}"
        )
    return found, failed


def _kept(path: Path) -> Found | None:
    """What was measured before; None where nothing was. IntegrityError for a damaged file."""
    if not path.is_file():
        return None
    try:
        return Found.of(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        raise IntegrityError(f"{path} is damaged: remove it, and the model is measured again") from None


def _affordable(asked: Asked, opened: Opened, gone: Callable[[], float], say: Callable[[str], None]) -> int:
    """Images that there are and that there is time for, the same for all models. gone: seconds of the time so far."""
    there = min(asked.images, len(opened.indices))
    if asked.time is None:
        return there
    say(f"trying how fast the models are, to fit them into {duration(asked.time)}")
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
        say(f"{afforded} images fit into the time, of {there}")
    return min(there, afforded)


def _tried(subject: Subject, opened: Opened, device: str, seeds: int) -> float:
    """Seconds that an image takes in all states of a model, from a few in its first ones."""
    few = list(samples(opened.source, opened.indices, TRIED, subject.preprocessor.channels))
    least = 0 if subject.artifact else 1
    began = time.monotonic()
    measure(subject, few, opened.conditions, least, device)
    took = (time.monotonic() - began) / len(few)
    return took * len(subject.states(seeds)) / len(subject.states(least))


def _same_images(study: Study, opened: Opened) -> None:
    """DataError where the images are not those that the study began with."""
    keys = sorted(opened.source.items[index].key for index in opened.indices)
    now = hashlib.blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()
    before = study.decided("fingerprint") or study.decide("fingerprint", now)
    if before != now:
        raise DataError(f"{opened.source.location} has other images than this study began with: start a new one")


def _strangers(opened: Opened) -> str:
    """A caution where another run's training may have seen the images; "" where none did."""
    own = opened.subjects[0].config.data
    others = [s.name for s in opened.subjects if s.artifact and s.config.data.source != own.source]
    if not others:
        return ""
    return f"{', '.join(others)} trained on other data: that their training saw none of these images is not known."


def _reason(error: BaseException) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first if isinstance(error, VitrailError) else f"{type(error).__name__}: {first}"


def _speaker(quiet: bool) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    return say
