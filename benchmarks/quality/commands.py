"""A cell's commands: run each in a process of its own, go on with what was stopped, and say what it took."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "src"


def command_of(
    verb: str, data: Sequence[str], fields: Mapping[str, Any], out: Path, length: Sequence[str]
) -> list[str]:
    """The words after `vitrail`; those that go on with a run where it was stopped."""
    resumable = [*out.glob("checkpoints/step-*"), *out.glob("teacher/checkpoints/step-*")]
    if resumable and state(out) != "finished":
        return [verb, "--resume", str(out), "--json"]
    if out.exists() and state(out) != "finished":
        shutil.rmtree(out)  # it stopped before there was anything to go on from
    words = [f"{key}={_word(value)}" for key, value in fields.items()]
    return [verb, *data, *words, *length, "--out", str(out), "--json"]


def _word(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def state(out: Path) -> str:
    record = out / "run.json"
    return str(json.loads(record.read_text())["state"]) if record.exists() else ""


def ask(command: list[str]) -> dict[str, Any]:
    """Run a command in a process of its own, so that its time is that of the command, imports included."""
    resumed = "--resume" in command
    out = Path(command[command.index("--resume" if resumed else "--out") + 1])
    if state(out) != "finished":
        path = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])
        started, used = time.monotonic(), _used()
        done = subprocess.run(
            [sys.executable, "-m", "vitrail", *command],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(
                f"exit {done.returncode}: vitrail {' '.join(command)}\nRun the same command again to go on."
            )
        wall, processor = _spent(out)
        (out / "seconds.txt").write_text(f"{wall + time.monotonic() - started:.1f} {processor + _used() - used:.1f}")
    wall, processor = _spent(out)
    metrics = json.loads((out / "run.json").read_text())["metrics"]
    return {"run": out, "metrics": metrics, "seconds": wall, "processor_seconds": processor}


def _spent(out: Path) -> tuple[float, float]:
    """Seconds of wall and of processor time that the runs of a folder took, those that were stopped included."""
    kept = out / "seconds.txt"
    wall, processor = map(float, kept.read_text().split()) if kept.exists() else (0.0, 0.0)
    return wall, processor


def _used() -> float:
    """Processor seconds of the commands run so far."""
    of = resource.getrusage(resource.RUSAGE_CHILDREN)
    return of.ru_utime + of.ru_stime
