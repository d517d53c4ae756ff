"""A study's folder: who may write it, what state it is in, what was asked and what was decided on the way.

study.json is rewritten whole at every step, so that whatever kills the process, `--resume` finds what was decided.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from vitrail import durable
from vitrail.errors import IntegrityError, Interrupted, TrainingError, UsageError, VitrailError
from vitrail.run.folder import claim_folder, standing, versions

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes from one study there
    fcntl = None  # type: ignore[assignment]

ROOT = Path("runs")
State = Literal["running", "finished", "interrupted", "failed"]
RECORD, LOCK = "study.json", ".lock"
CELLS, SPLITS, MEASURED = "cells", "splits", "measured"


def root_of(kind: str) -> Path:
    """Where studies of a kind stand: runs/compare, runs/study/KIND."""
    return ROOT / kind if kind == "compare" else ROOT / "study" / kind


class Study:
    """One study and its folder. kind: "compare", or that of `vitrail study KIND`.

    record: what study.json says: kind, state and why, command, specification, decided, cells, versions, times.
    """

    def __init__(self, kind: str, folder: Path, record: dict[str, Any]) -> None:
        self.kind, self.folder, self.record = kind, folder, record
        self._began = time.monotonic()
        self._gone = float(record.get("gone", 0.0))

    # ------------------------------------------------------------------------------------------------- make and open

    @classmethod
    def create(
        cls, kind: str, name: str, out: Path | None, command: Sequence[str], specification: Mapping[str, Any]
    ) -> Study:
        """A study in a folder of its own: `out`, or runs/compare/NAME or runs/study/KIND/NAME, counting up."""
        folder = claim_folder(root_of(kind), name, out)
        record = {
            "kind": kind,
            "state": "running",
            "reason": "",
            "command": list(command),
            "specification": dict(specification),
            "decided": {},
            "cells": {},
            "gone": 0.0,
            "started": _now(),
            "versions": versions(),
        }
        study = cls(kind, folder, record)
        study.write()
        return study

    @classmethod
    def open(cls, folder: str | Path, kind: str) -> Study:
        """The study in a folder; UsageError where there is none or it is of another kind, IntegrityError if damaged."""
        path = Path(folder)
        if not path.is_dir():
            raise UsageError(f"{path} is no study: no such folder")
        if not (path / RECORD).is_file():
            raise UsageError(f"{path} is no study: it has no {RECORD}, which every study has")
        record = _read(path)
        found = str(record["kind"])
        study = cls(found, path, record)
        if found != kind:
            raise UsageError(f"{path} is a study of another kind; what goes on with it: {study.again}")
        return study

    @property
    def again(self) -> str:
        """The command that goes on with it."""
        if self.record.get("from_python"):
            return f"vitrail.{self.kind}(DATA, resume={str(self.folder)!r})"
        verb = self.kind if self.kind == "compare" else f"study {self.kind}"
        return f"vitrail {verb} --resume {shlex.quote(str(self.folder))}"

    # --------------------------------------------------------------------------------------------------- what it says

    @property
    def state(self) -> str:
        """running, finished, interrupted or failed."""
        return str(self.record["state"])

    @property
    def specification(self) -> dict[str, Any]:
        """All that was asked for."""
        return dict(self.record["specification"])

    def cell(self, name: str) -> Path:
        """The run folder of a cell."""
        return self.folder / CELLS / name

    def gone(self) -> float:
        """Seconds of work so far, over all resumes."""
        return self._gone + time.monotonic() - self._began

    def since(self, began: float) -> None:
        """Count this process's time from an earlier reading of time.monotonic(): when its command was read."""
        self._began = began

    def decided(self, name: str) -> Any:
        """What was decided of something, or None."""
        return self.record["decided"].get(name)

    # ------------------------------------------------------------------------------------------------------ to change

    def decide(self, name: str, value: Any) -> Any:
        """Write down a decision, so that a resumed study does not make it again; returns it as JSON has it."""
        self.record["decided"][name] = json.loads(json.dumps(value))
        self.write()
        return self.record["decided"][name]

    def note(self, cell: str, **facts: Any) -> None:
        """Write down facts of a cell: its state, reason, seconds."""
        self.record["cells"][cell] = {**self.record["cells"].get(cell, {}), **facts}
        self.write()

    def mark(self, state: State, reason: str = "", **more: Any) -> None:
        """Write down a new state."""
        self.record |= {**more, "state": state, "reason": reason}
        if state != "running":
            self.record["ended"] = _now()
        self.write()

    def write(self) -> None:
        """study.json as it is now, with the time gone."""
        self.record["gone"] = round(self.gone(), 2)
        self.record["written"] = time.time()
        durable.write_file(self.folder / RECORD, json.dumps(self.record, indent=1, ensure_ascii=False) + "\n")

    # -------------------------------------------------------------------------------------------------------- to work

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the folder while working on it; whatever ends the work, study.json says it.

        UsageError where another process holds it. SIGTERM ends it as Ctrl-C does.
        """
        with _locked(self), _terminable():
            record = _read(self.folder)
            if record.get("written") != self.record.get("written"):  # another process has gone on with it since
                self.record, self._gone = record, float(record.get("gone", 0.0))
            if self.state == "running":
                self._count_lost_time()
            self.mark("running")
            try:
                yield
            except Interrupted as stop:
                self.mark("interrupted", _first_line(stop))
                raise Interrupted(f"interrupted.\nGo on with: {self.again}", stop.signal_number) from None
            except KeyboardInterrupt:
                self.mark("interrupted", "interrupted")
                raise Interrupted(f"interrupted.\nGo on with: {self.again}", signal.SIGINT) from None
            except OSError as error:
                failure = durable.storage_error(error, f"cannot write to {self.folder}")
                self._mark_failed(failure)
                raise TrainingError(f"{failure}\nThen go on with: {self.again}") from error
            except TrainingError as error:
                if not isinstance(error.__cause__, OSError):
                    self._mark_failed(error)
                    raise
                # a cell could not write: what is to go on is the study, not the cell alone
                failure = TrainingError(_first_line(error))
                self._mark_failed(failure)
                raise TrainingError(f"{failure}\nThen go on with: {self.again}") from error
            except Exception as error:
                self._mark_failed(error)
                raise

    def _mark_failed(self, error: Exception) -> None:
        known = isinstance(error, VitrailError)
        reason = str(error) if known else "".join(traceback.format_exception_only(error)).strip()
        try:
            self.mark("failed", reason)
        except OSError:
            return  # the disk is what failed: the message still reaches the screen

    def _count_lost_time(self) -> None:
        """Of a process that was killed, the seconds between its last note here and the last thing it wrote besides.

        The cell that it was running took them.
        """
        last = float(self.record.get("written", 0.0))
        written = [*(self.folder / CELLS).glob("*/*"), *(self.folder / MEASURED).glob("*")]
        newest = max((path.stat().st_mtime for path in written if path.is_file()), default=0.0)
        if last and newest > last:
            self._gone += newest - last
            for cell in self.record["cells"].values():
                if cell.get("state") == "running":
                    cell["seconds"] = round(float(cell.get("seconds", 0.0)) + newest - last, 2)


def refuse_place(kind: str, out: Path | None) -> None:
    """What can be said before any work of where a study would go: UsageError if taken, TrainingError if closed."""
    if out is not None and os.path.lexists(out):
        resume = f", or --resume {out}" if (out / RECORD).is_file() else ""
        raise UsageError(f"--out {out} exists already: a study's folder is never overwritten; choose another{resume}")
    parent = standing(out if out is not None else root_of(kind) / "study")
    doing = f"cannot create {out}" if out is not None else f"cannot create a folder in {root_of(kind)}"
    if not parent.is_dir():
        raise TrainingError(f"{doing}: {parent} is no folder: choose another --out")
    if not os.access(parent, os.W_OK):
        raise TrainingError(f"{doing}: {parent} cannot be written to: choose another --out")


@contextmanager
def _locked(study: Study) -> Iterator[None]:
    """The system lets go of the lock however the process ends."""
    if fcntl is None:
        yield
        return
    try:
        file = (study.folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise durable.storage_error(error, f"cannot write to {study.folder}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{study.folder} is being worked on by another process: wait for it, or stop it") from None
        except OSError:
            pass  # a file system without locks
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is raised as Interrupted where Python allows it, in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted("terminated", number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read(folder: Path) -> dict[str, Any]:
    """What study.json says; IntegrityError where it is damaged."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        texts = all(isinstance(record[key], str) for key in ("kind", "state"))
        if texts and all(isinstance(record[key], dict) for key in ("specification", "decided", "cells")):
            return record
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # one message for every kind of damage
    raise IntegrityError(f"{folder / RECORD} is damaged: restore it or start a new study")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
