"""The run folder: who may write it, what state it is in, and the `Run` that stands for it."""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

import vitrail
from vitrail import durable
from vitrail.errors import IntegrityError, TrainingError, UsageError, first_line
from vitrail.settings import Config, build, flatten

if TYPE_CHECKING:
    from vitrail.predict.predictor import Predictor

ROOT = Path("runs")
"""Runs that `train` made stand in runs/train, those of `pretrain` in runs/pretrain."""
State = Literal["running", "finished", "interrupted", "failed"]


@dataclass
class Run:
    """A run that trained or pretrained: its folder, its final metrics per split, its warnings and what it wrote."""

    folder: Path
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)

    @classmethod
    def open(cls, path: str | Path, verb: str | None = None) -> Run:
        """The run in a folder that `verb` made, or any; UsageError when it is none, IntegrityError when damaged."""
        folder = Path(path)
        if not folder.is_dir():
            raise UsageError(f"{folder} is no run folder: no such folder")
        if not (folder / "run.json").is_file():
            raise UsageError(f"{folder} is no run folder: it has no run.json, which every run has")
        run = cls(folder)
        record = run.record
        if verb is not None and run.verb != verb:
            raise UsageError(f"{folder} is a run of {run.verb}, not of {verb}; what goes on with it: {run.again}")
        if not (folder / "args.yaml").is_file():
            raise UsageError(f"{folder} stopped before training began: {record.get('reason') or 'start it again'}")
        try:
            run.metrics = {
                str(k): {str(n): float(v) for n, v in m.items()} for k, m in record.get("metrics", {}).items()
            }
            run.warnings = [str(w) for w in record.get("warnings", [])]
        except (AttributeError, TypeError, ValueError):
            raise IntegrityError(f"{folder / 'run.json'} is damaged: restore it or start a new run") from None
        return run

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says."""
        path = self.folder / "run.json"
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or "state" not in record:
            raise IntegrityError(f"{path} is damaged: restore it or start a new run")
        return record

    @property
    def status(self) -> str:
        """running, finished, interrupted or failed."""
        return str(self.record["state"])

    @property
    def verb(self) -> str:
        """The verb that made it, "train" or "pretrain"."""
        return str(self.record.get("verb", "train"))

    @property
    def again(self) -> str:
        """The command that goes on with it."""
        return f"vitrail {self.verb} --resume {shlex.quote(str(self.folder))}"

    @property
    def took(self) -> float:
        """Seconds since the run began; with a limit on its time, since the command did."""
        record = self.record
        started = time.mktime(time.strptime(record["started"][:19], "%Y-%m-%dT%H:%M:%S"))
        return time.time() - started + float(record.get("time", {}).get("gone", 0.0))

    @property
    def config(self) -> Config:
        """The complete configuration in args.yaml."""
        path = self.folder / "args.yaml"
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
            return build(flatten(tree))
        except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError, UsageError) as error:
            reason = first_line(error)
            raise IntegrityError(f"{path} is damaged ({reason}): restore it or start a new run") from None

    @property
    def data(self) -> dict[str, Any]:
        """What data.json says: classes in order, counts, how the split was made, fingerprint."""
        path = self.folder / "data.json"
        try:
            record = json.loads(path.read_bytes())
            if isinstance(record, dict) and isinstance(record["fingerprint"], str):
                return record
        except (OSError, ValueError, KeyError, RecursionError):
            pass  # one message for every kind of damage
        raise IntegrityError(f"{path} is damaged: restore it or start a new run")

    def predictor(self) -> Predictor:
        """The best model of this run, ready to predict and explain."""
        from vitrail.predict.predictor import load

        return load(self.folder)

    def mark(self, state: State, **more: Any) -> None:
        """Rewrite run.json with a new state; fields not named keep their value."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        ended = {} if state == "running" else {"ended": now}
        record = {**self.record, "reason": "", **more, "state": state, **ended}
        durable.write_file(self.folder / "run.json", json.dumps(record, indent=1, default=str) + "\n")


def create(name: str, out: Path | None, command: Sequence[str], config: Config, verb: str = "train") -> Run:
    """Make a folder of its own for a run: `out`, or runs/VERB/NAME, counting up. The mkdir is the lock."""
    folder = claim_folder(ROOT / verb, name, out)
    run = Run(folder)
    record = {
        "state": "running",
        "reason": "",
        "verb": verb,
        "command": list(command),
        "seed": config.seed,
        "world_size": 1,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": versions(),
    }
    durable.write_file(folder / "run.json", json.dumps(record, indent=1) + "\n")
    return run


def claim_folder(root: Path, name: str, out: Path | None) -> Path:
    """Make a new folder, `out` or root/NAME, counting up, and only that: UsageError where `out` is there already."""
    return _claim(out) if out is not None else _count_up(root / _safe(name))


def refuse_place(out: Path | None, verb: str = "train") -> None:
    """What can be said before any work of where a run would go: UsageError if it is taken, TrainingError if closed.

    Nothing is made here: `create` claims the folder once the run can begin.
    """
    if out is not None and os.path.lexists(out):
        raise _taken(out)
    parent = standing(out, verb)
    doing = f"cannot create {out}" if out is not None else f"cannot create a run folder in {ROOT / verb}"
    if not parent.is_dir():
        raise TrainingError(f"{doing}: {parent} is no folder: choose another --out")
    if not os.access(parent, os.W_OK):
        raise durable.storage_error(PermissionError(errno.EACCES, ""), doing)


def standing(out: Path | None, verb: str = "train") -> Path:
    """The nearest thing that is there on the way to where a run would go."""
    wanted = out if out is not None else ROOT / verb / "run"
    return next(folder for folder in Path(os.path.abspath(wanted)).parents if os.path.lexists(folder))


def _taken(out: Path) -> UsageError:
    if out.is_dir():
        resume = f", or --resume {out}" if (out / "run.json").is_file() else ""
        return UsageError(f"--out {out} exists already: a run folder is never overwritten; choose another{resume}")
    return UsageError(f"--out {out} exists already: it is no folder; choose another")


def _claim(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.mkdir()
    except FileExistsError:
        raise _taken(out) from None
    except OSError as error:
        raise durable.storage_error(error, f"cannot create {out}") from None
    return out


def _count_up(base: Path) -> Path:
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise durable.storage_error(error, f"cannot create a run folder in {base.parent}") from None


def _safe(name: str) -> str:
    """A folder name from a data set's or user's name: no separators, not hidden, not empty."""
    kept = "".join("-" if c in "/\\:" or not c.isprintable() else c for c in name).strip(". ")
    return kept[:100] or "run"


def versions() -> dict[str, str]:
    """What the run depends on."""
    names = ("torch", "torchvision", "numpy", "pillow", "simplejpeg", "safetensors", "torchmetrics")
    installed = {name: metadata.version(name) for name in names}
    host = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    return {"vitrail": vitrail.__version__, **host, **installed, "cores": str(os.cpu_count())}
