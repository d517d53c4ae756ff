"""The course of a study of cells: planned, begun in a folder of its own, and gone on with when it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vitrail.contracts import Source
from vitrail.data.dataset import DatasetSource
from vitrail.errors import UsageError
from vitrail.study.compare_asked import Asked
from vitrail.study.compare_plan import divisions, first_plan, record, restored, trial_seconds
from vitrail.study.compare_work import Work
from vitrail.study.folder import Study
from vitrail.study.ground import Ground, prepare
from vitrail.study.paces import try_all
from vitrail.study.shares import Pace, Shares
from vitrail.training.journal import Journal, duration

T = TypeVar("T")
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


Go = Callable[[Study, Prepared], T]
"""Does all the work of a study, and returns what it says."""


def planned(asked: Asked, ground: Ground, journal: Journal, out: Path | None, began: float) -> Prepared:
    """Try how fast each model trains, and share the time; nothing is written.

    began: a reading of time.monotonic() from which --time counts. Raises UsageError and DataError for what cannot be.
    """
    divisions(ground, asked, asked.ask)  # what there cannot be is said before anything is tried
    paces = try_all(ground.plans, trial_seconds(asked), out, journal)
    return Prepared(asked, ground, paces, first_plan(asked, paces, time.monotonic() - began))


def begin(
    kind: str, made: Prepared, go: Go[T], *, name: str | None, out: Path | None, command: Sequence[str],
    began: float | None,
) -> T:  # fmt: skip
    """Make the study's folder and do all that was prepared."""
    source = made.ground.known.source
    study = Study.create(kind, name or source.name, out, command, made.asked.record())
    study.record["from_python"] = isinstance(source, DatasetSource)
    if began is not None:
        study.since(began)
    with study.at_work():
        study.decide("data", made.ground.fingerprint)
        study.decide("plan", record(made.plan, made.paces))
        return go(study, made)


def resume(
    kind: str, folder: str | Path, read: Callable[[Mapping[str, Any]], Asked], go: Go[T], journal: Journal,
    began: float | None = None, source: Source | None = None,
) -> T:  # fmt: skip
    """Go on with a study: finished cells are kept, the one in flight goes on from its newest checkpoint.

    read: what was asked, from study.json.  source: data from Python.  Raises UsageError for a folder that is none or is
    finished, DataError where the data changed.
    """
    study = Study.open(folder, kind)
    if study.state == "finished":
        raise UsageError(f"{study.folder} is finished: nothing to resume; its report is {study.folder / 'report.html'}")
    if study.record.get("from_python") and source is None:
        raise UsageError(f"{study.folder} has its data from Python: go on with {study.again}")
    study.since(time.monotonic() if began is None else began)
    with study.at_work():
        asked = read(study.specification)
        stated = {path: value for path, value in asked.stated.items() if path != "data.source"}
        ground = prepare(asked.data, asked.entries, stated, journal, source)
        if study.decided("plan") is None:  # killed before anything was decided
            study.decide("data", ground.fingerprint)
            paces = try_all(ground.plans, trial_seconds(asked), study.folder / "trial", journal)
            study.decide("plan", record(first_plan(asked, paces, study.gone()), paces))
        ground.same(study.decided("data"))
        plan, paces = restored(study.decided("plan"))
        return go(study, Prepared(asked, ground, paces, plan))


def carried_out(
    work: W, results: Callable[[W], T], write: Callable[[W, T], Sequence[Path]]
) -> tuple[T, tuple[Path, ...], tuple[str, ...]]:  # fmt: skip
    """Do all the work: what it found by `results`, the files of the report that `write` makes of it, and warnings."""
    study, journal = work.study, work.journal
    journal.say(f"study: {study.folder}")
    work.go()
    found = results(work)
    outputs = write(work, found)
    study.mark("finished")
    if work.asked.seconds is not None:
        journal.say(f"took {duration(study.gone())} in all, {duration(work.asked.seconds)} were asked for")
    return found, tuple(outputs), tuple(dict.fromkeys((*work.asked.why, *journal.warnings)))
