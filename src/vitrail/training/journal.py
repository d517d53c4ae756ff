"""What a run writes down while it goes: results.csv per epoch, metrics.jsonl per step, train.log, and the screen."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vitrail import durable
from vitrail.errors import UsageError

PLAIN_SECONDS = 5.0
"""Time between two progress lines where there is no terminal."""

NARROW = 72
"""Columns of a terminal below which a bar would push out the numbers beside it."""


class Journal:
    """The diary of one run. What is said goes to `stream` (stderr) unless quiet, and to train.log.

    A run speaks before it has a folder; those lines are kept and written when `attach` names one.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.warnings: list[str] = []
        self.console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._log: TextIO = io.StringIO()
        self._folder: Path | None = None
        self._steps: TextIO | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()
        self._board: Any = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        assert self._folder is not None, "attach comes before anything is written"
        return self._folder

    def attach(self, folder: Path) -> None:
        """Write into `folder` from now on, beginning with what was said so far."""
        said = self._log.getvalue() if isinstance(self._log, io.StringIO) else ""
        self._folder = folder
        self._log = (folder / "train.log").open("a", encoding="utf-8", errors="backslashreplace")
        self._log.write(said)

    # -------------------------------------------------------------------------------------------------- the screen

    def note(self, text: str) -> None:
        """A line for train.log alone."""
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self._log.flush()

    def say(self, text: str, style: str = "") -> None:
        """A line for the user, and for train.log."""
        self.note(text)
        if not self.quiet:
            self.console.print(text, style=style, markup=False)

    def warn(self, text: str) -> None:
        """A line the user should not miss; it is repeated in the report and in --json."""
        self.warnings.append(text)
        self.say(f"warning: {text}", style="yellow")

    def start(self, what: str, total: int) -> None:
        """Begin a progress display of `total` units."""
        self.stop()
        self._last_line = time.monotonic()
        if self.quiet or not self.console.is_terminal:
            return
        bar = () if self._narrow else (BarColumn(bar_width=None),)
        self._bar = Progress(
            TextColumn("{task.description}"), *bar, MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True), console=self.console, transient=True, expand=False,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=total, note="")
        self._bar.start()

    def advance(self, what: str, done: int, total: int, note: str = "", eta: float | None = None) -> None:
        """Show where the work stands: the live bar, or every few seconds a plain line."""
        if self._bar is not None and self._task is not None:
            if self._narrow:
                note = note.rpartition(", ")[2]  # the speed
            self._bar.update(self._task, description=what, completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            left = f", {duration(eta)} left" if eta is not None else ""
            self.say(f"  {what} {done}/{total}{', ' + note if note else ''}{left}")

    @property
    def _narrow(self) -> bool:
        return self.console.width < NARROW

    def stop(self) -> None:
        """End the progress display, if there is one."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None

    # --------------------------------------------------------------------------------------------------- the files

    def rewind(self, step: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Make the files say what was true after update `step`, whatever a killed process wrote later."""
        steps = self.folder / "metrics.jsonl"
        kept: list[str] = []
        if steps.exists():
            for line in steps.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut off by a kill
        durable.write_file(steps, "".join(kept))
        self._steps = steps.open("a", encoding="utf-8")
        self.results(history)

    def results(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write results.csv: a row per epoch."""
        text = io.StringIO()
        if history:
            writer = csv.DictWriter(text, fieldnames=list(history[-1]), restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _short(value) for key, value in row.items()} for row in history)
        durable.write_file(self.folder / "results.csv", text.getvalue())
        if self._board is not None and history:
            row = history[-1]
            for key, value in row.items():
                if key != "epoch":
                    self._board.add_scalar(key, value, row["epoch"])
            self._board.flush()

    def step(self, record: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        assert self._steps is not None, "rewind opens metrics.jsonl"
        self._steps.write(json.dumps(record) + "\n")
        if self._board is not None and "loss" in record:
            self._board.add_scalar("train/step_loss", record["loss"], record["step"])

    def tensorboard(self) -> None:
        """Write TensorBoard events as well, into `tensorboard/`; UsageError without the extra."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            message = "train.tensorboard=true needs the extra: pip install 'vitrail[tensorboard]'"
            raise UsageError(message) from None
        self._board = SummaryWriter(log_dir=str(self.folder / "tensorboard"))

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self._log.flush()
        if self._steps is not None:
            self._steps.flush()

    def close(self) -> None:
        """Stop the display and close the files; also after a failed write, so nothing is raised twice."""
        self.stop()
        for file in (self._steps, self._log, self._board):
            if file is not None:
                try:
                    file.close()
                except OSError:
                    continue  # the disk is full: what could be written stands


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
