"""What is alike in all studies that measure models one after another: a kill loses one model at most."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from vitrail.contracts import Source
from vitrail.errors import IntegrityError, Interrupted, UsageError, VitrailError, first_line
from vitrail.predict.naming import file_safe
from vitrail.report.study_tables import write_json
from vitrail.run.ending import refuse_threads, threads
from vitrail.runtime.torch_engine import pick_device
from vitrail.study.folder import MEASURED, Study, refuse_place
from vitrail.study.measure.records import kept
from vitrail.study.subjects import Subject, fixed, same_images
from vitrail.training.journal import Journal


@dataclass(frozen=True)
class Asked:
    """What the user asked for. models: folders and names.  data: None for what the study takes by itself.  images: at
    most.  seeds: of fresh weights.  time: seconds in all, None without a limit.  threads: of torch, 0 its own choice.
    """

    models: tuple[str, ...]
    data: str | None
    images: int
    seeds: int
    device: str = "auto"
    time: float | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        if not self.models:
            raise UsageError("which models? Give runs that train made, or names of the catalogue (vitrail models)")
        if self.seeds < 0:
            raise UsageError(f"--seeds {self.seeds} is no number of seeds: 0 leaves fresh weights out")
        refuse_threads(self.threads)

    @classmethod
    def of(cls, specification: dict[str, Any]) -> Self:
        """What study.json kept; IntegrityError for anything else."""
        try:
            return cls(**{**specification, "models": tuple(specification["models"])})
        except (TypeError, KeyError):
            raise IntegrityError("study.json does not say what was asked: start a new study") from None


@dataclass(frozen=True, eq=False)
class Opened:
    """What a study works on: its models, and the samples that all of them meet."""

    subjects: list[Subject]
    source: Source
    indices: list[int]
    split: str


class Found(Protocol):
    """A measured model, as each study has its own."""

    @property
    def name(self) -> str:
        """Of the model, on the page."""

    def record(self) -> dict[str, Any]:
        """For JSON."""


AskedT = TypeVar("AskedT", bound=Asked)
OpenedT = TypeVar("OpenedT", bound=Opened)
FoundT = TypeVar("FoundT", bound=Found)


@dataclass(frozen=True, eq=False)
class Done(Generic[FoundT]):
    """A finished study: its folder, what was found, what was not measured and why, and the files it wrote."""

    folder: Path
    found: list[FoundT]
    failed: dict[str, str]
    outputs: list[Path]


@dataclass(frozen=True, eq=False)
class Work(Generic[AskedT, OpenedT]):
    """A study under way, on a device."""

    study: Study
    asked: AskedT
    opened: OpenedT
    device: str


@dataclass(frozen=True, eq=False)
class Turn:
    """A model's turn in a study: what is written down of it, and said. head: "[2/5] resnet18"."""

    study: Study
    journal: Journal
    name: str
    head: str

    def end(self, state: str, said: str, reason: str = "", **facts: float) -> None:
        """Write down a state and facts of the model in study.json, and say a line of it."""
        self.study.note(self.name, state=state, reason=reason, **facts)
        self.journal.say(f"{self.head}: {said}")


class SubjectsStudy(ABC, Generic[AskedT, OpenedT, FoundT]):
    """One kind of study. kind: that of `vitrail study KIND`.  asks: the class of what it is asked."""

    kind: str
    asks: type[AskedT]

    def begin(
        self, asked: AskedT, *, name: str | None = None, out: Path | None = None, command: Sequence[str] = (),
        quiet: bool = False, began: float | None = None,
    ) -> Done[FoundT]:  # fmt: skip
        """A new study. began: a reading of time.monotonic() from which the time counts.

        Raises UsageError and DataError as opening the models and the images does, and where the time is too little.
        """
        start = time.monotonic() if began is None else began
        refuse_place(self.kind, out)
        opened, journal = self.open(asked), Journal(quiet)
        decided = self.decisions(asked, opened, lambda: time.monotonic() - start, journal)
        specification = {**asdict(asked), "models": fixed(asked.models)}
        study = Study.create(self.kind, name or opened.source.name, out, command, specification)
        study.since(start)
        _decide(study, decided)
        return self._go(study, asked, opened, journal)

    def resume(self, folder: str | Path, *, quiet: bool = False, began: float | None = None) -> Done[FoundT]:
        """Go on with a study: models that were measured are kept, the one in flight is measured anew."""
        start = time.monotonic() if began is None else began
        study = Study.open(folder, self.kind)
        study.since(start)
        asked = self.asks.of(study.specification)
        return self._go(study, asked, self.open(asked), Journal(quiet))

    def open(self, asked: AskedT) -> OpenedT:
        """What a study would work on; nothing is written. Raises as `opened` does, and UsageError for the device."""
        pick_device(asked.device)  # before any model is read
        return self.opened(asked)

    # ------------------------------------------------------------------------------------------ what each study says

    @abstractmethod
    def opened(self, asked: AskedT) -> OpenedT:
        """The models and the images. Raises UsageError and DataError as `open_subjects` does."""

    def decisions(
        self, asked: AskedT, opened: OpenedT, gone: Callable[[], float], journal: Journal
    ) -> Mapping[str, Any]:
        """What is decided once, before the first model, by its name in study.json. gone: seconds of the time so far."""
        return {}

    @abstractmethod
    def measured(self, work: Work[AskedT, OpenedT], subject: Subject, path: Path) -> FoundT:
        """Measure a model. path: of its record, which is written afterwards; what belongs to it may stand beside."""

    @abstractmethod
    def restored(self, path: Path, record: Mapping[str, Any]) -> FoundT:
        """What `measured` gave, from its record at `path`; ValueError and others of its kind for anything else."""

    @abstractmethod
    def tell(self, work: Work[AskedT, OpenedT], turn: Turn, found: FoundT, took: float, again: bool) -> None:
        """Say that a model is measured. took: seconds.  again: whether it was so before a resume."""

    @abstractmethod
    def tell_missing(self, turn: Turn, why: str, tried: bool) -> None:
        """Say that a model is not measured. tried: whether it was begun."""

    @abstractmethod
    def write(
        self, work: Work[AskedT, OpenedT], found: Sequence[FoundT], about: Mapping[str, str],
        failed: Mapping[str, str],
    ) -> list[Path]:  # fmt: skip
        """The report and the tables; their paths, the report first. about: source, split and command in words."""

    # ------------------------------------------------------------------------------------------------------ the whole

    def _go(self, study: Study, asked: AskedT, opened: OpenedT, journal: Journal) -> Done[FoundT]:
        work = Work(study, asked, opened, pick_device(asked.device))
        with study.at_work(), threads(asked.threads):
            if not study.record["decided"]:  # a new one, or killed between its first file and its second
                _decide(study, self.decisions(asked, opened, study.gone, journal))
            same_images(study, opened.source, opened.indices)
            found, failed = self._all(work, journal)
            if not found:
                reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
                raise UsageError(f"no model could be measured: {reasons}")
            about = {
                "source": opened.source.name, "split": opened.split or "all",
                "command": " ".join(study.record["command"]),
            }  # fmt: skip
            outputs = self.write(work, found, about, failed)
            study.mark("finished")
        return Done(study.folder, found, failed, outputs)

    def _all(self, work: Work[AskedT, OpenedT], journal: Journal) -> tuple[list[FoundT], dict[str, str]]:
        """Every model that is not measured yet; a failure is written down, and the others go on."""
        study, limit = work.study, work.asked.time
        found: list[FoundT] = []
        failed: dict[str, str] = {}
        for number, subject in enumerate(work.opened.subjects, start=1):
            path = study.folder / MEASURED / f"{file_safe(subject.name)}.json"
            turn = Turn(study, journal, subject.name, f"[{number}/{len(work.opened.subjects)}] {subject.name}")
            began = time.monotonic()
            one = kept(path, partial(self.restored, path), journal.warn)
            again = one is not None
            if one is None and limit is not None and study.gone() >= limit:
                failed[subject.name] = "the time was over"
                self.tell_missing(turn, failed[subject.name], tried=False)
                continue
            if one is None:
                try:
                    one = self.measured(work, subject, path)
                except Interrupted:
                    raise
                except (VitrailError, RuntimeError, MemoryError) as error:
                    failed[subject.name] = first_line(error)
                    self.tell_missing(turn, failed[subject.name], tried=True)
                    continue
                path.parent.mkdir(exist_ok=True)
                write_json(path, one.record())  # last: it says that the model is measured
            found.append(one)
            self.tell(work, turn, one, time.monotonic() - began, again)
        return found, failed


def _decide(study: Study, decided: Mapping[str, Any]) -> None:
    for name, value in decided.items():
        study.decide(name, value)
