"""The course of a study of cells: planned, begun in a folder of its own, and gone on with when it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from vitrail.contracts import Source
from vitrail.data.dataset import DatasetSource
from vitrail.errors import UsageError
from vitrail.settings import Stated
from vitrail.study.compare_asked import Asked, Wishes
from vitrail.study.compare_plan import divisions, first_plan, lines, record, restored, trial_seconds
from vitrail.study.compare_work import Work
from vitrail.study.entries import read_entries
from vitrail.study.folder import Study
from vitrail.study.ground import Ground, prepare
from vitrail.study.paces import try_all
from vitrail.study.shares import Pace, Shares
from vitrail.training.journal import Journal, duration

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", bound=Work)


@dataclass(frozen=True)
class Prepared:
    """A study before anything of it is written."""

    asked: Asked
    ground: Ground
    paces: dict[str, Pace]
    plan: Shares


@dataclass(frozen=True)
class Studied:
    """A finished study. data: as it was named.  said: what it says.  results: as results.json has them."""

    folder: Path
    data: str
    said: tuple[str, ...]
    results: dict[str, Any]
    warnings: tuple[str, ...]
    outputs: tuple[Path, ...]


def planned(asked: Asked, ground: Ground, journal: Journal, out: Path | None, began: float) -> Prepared:
    """Try how fast each model trains, and share the time; nothing is written.

    began: a reading of time.monotonic() from which --time counts. Raises UsageError and DataError for what cannot be.
    """
    divisions(ground, asked, asked.ask)  # what there cannot be is said before anything is tried
    paces = try_all(ground.plans, trial_seconds(asked), out, journal)
    return Prepared(asked, ground, paces, first_plan(asked, paces, time.monotonic() - began))


@dataclass(frozen=True)
class Course(Generic[W, R, T]):
    """How a study of one kind goes on once it is prepared.

    read: what was asked, from study.json.  work: its phases, of the same fields as `Work`.  results: what the finished
    cells say.  write: the files of the report, that report first.  told: what is handed back, of the work, the
    results, the warnings and the files.
    """

    kind: str
    read: Callable[[Mapping[str, Any]], Asked]
    work: Callable[[Study, Asked, Ground, dict[str, Pace], Shares, Journal], W]
    results: Callable[[W], R]
    write: Callable[[W, R], Sequence[Path]]
    told: Callable[[W, R, tuple[str, ...], tuple[Path, ...]], T]

    def begin(
        self, made: Prepared, journal: Journal, *, name: str | None = None, out: Path | None = None,
        command: Sequence[str] = (), began: float | None = None,
    ) -> T:  # fmt: skip
        """Make the study's folder and do all that was prepared."""
        source = made.ground.known.source
        study = Study.create(self.kind, name or source.name, out, command, made.asked.record())
        study.record["from_python"] = isinstance(source, DatasetSource)
        if began is not None:
            study.since(began)
        with study.at_work():
            study.decide("data", made.ground.fingerprint)
            study.decide("plan", record(made.plan, made.paces))
            return self._go(study, made, journal)

    def resume(
        self, folder: str | Path, journal: Journal, *, began: float | None = None, source: Source | None = None
    ) -> T:
        """Go on with a study: finished cells are kept, the one in flight goes on from its newest checkpoint.

        source: data from Python.  Raises UsageError for a folder that is none or is finished, DataError where the data
        changed.
        """
        study = Study.open(folder, self.kind)
        if study.state == "finished":
            page = study.folder / "report.html"
            raise UsageError(f"{study.folder} is finished: nothing to resume; its report is {page}")
        if study.record.get("from_python") and source is None:
            raise UsageError(f"{study.folder} has its data from Python: go on with {study.again}")
        study.since(time.monotonic() if began is None else began)
        with study.at_work():
            asked = self.read(study.specification)
            stated = {path: value for path, value in asked.stated.items() if path != "data.source"}
            ground = prepare(asked.data, asked.entries, stated, journal, source)
            if study.decided("plan") is None:  # killed before anything was decided
                study.decide("data", ground.fingerprint)
                paces = try_all(ground.plans, trial_seconds(asked), study.folder / "trial", journal)
                study.decide("plan", record(first_plan(asked, paces, study.gone()), paces))
            ground.same(study.decided("data"))
            plan, paces = restored(study.decided("plan"))
            return self._go(study, Prepared(asked, ground, paces, plan), journal)

    def _go(self, study: Study, made: Prepared, journal: Journal) -> T:
        """Do all the work, and say what it says."""
        work = self.work(study, made.asked, made.ground, dict(made.paces), made.plan, journal)
        journal.say(f"study: {study.folder}")
        work.go()
        found = self.results(work)
        outputs = self.write(work, found)
        study.mark("finished")
        if work.asked.seconds is not None:
            journal.say(f"took {duration(study.gone())} in all, {duration(work.asked.seconds)} were asked for")
        warnings = tuple(dict.fromkeys((*work.asked.why, *journal.warnings)))
        return self.told(work, found, warnings, tuple(outputs))


@dataclass(frozen=True)
class CourseOfModels(Course[W, R, T]):
    """The same of a study that is asked for models by name. settle: the specification.  least: models that it needs."""

    settle: Callable[[Ground, Wishes], Asked]
    least: int

    def prepare(
        self, data: str | Path, models: str, wishes: Wishes, stated: Stated, teacher: str | None, journal: Journal, *,
        source: Source | None = None, out: Path | None = None, began: float | None = None,
    ) -> Prepared:  # fmt: skip
        """Read the data, choose settings, try how fast each model trains, and share the time; nothing is written.

        began: a reading of time.monotonic() from which --time counts.
        """
        began = time.monotonic() if began is None else began
        wishes.check()
        ground = prepare(data, read_entries(models, teacher, self.least), stated, journal, source)
        made = planned(self.settle(ground, wishes), ground, journal, out, began)
        lines(made.asked, made.plan, made.paces, journal.say)
        return made
