"""Runs cells one after another, quietly, a line each on the screen; what is done is not done again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitrail.errors import IntegrityError, Interrupted, TrainingError, VitrailError, is_out_of_memory
from vitrail.run import Run, resume, start
from vitrail.run.prepare import Known
from vitrail.settings import Stated
from vitrail.study.cells import Cell
from vitrail.study.folder import Study
from vitrail.training import checkpoint
from vitrail.training.journal import Journal, duration


@dataclass(frozen=True)
class Done:
    """A cell that has ended. run: None where it failed, for a `reason`.  seconds: it took, over all resumes."""

    cell: Cell
    run: Run | None
    reason: str = ""
    seconds: float = 0.0

    @property
    def state(self) -> str:
        """In words, for the report."""
        return "finished" if self.run is not None else f"failed: {self.reason}"

    def val(self, metric: str) -> float | None:
        """A figure on validation images; None where it failed, or where they have no such figure."""
        return None if self.run is None else self.run.metrics.get("val", {}).get(metric)


class Runner:
    """Runs the cells of one study.

    known: its data, read once for all cells.  left: of the cells that are still to come, the seconds, for the screen;
    None where nobody knows.
    """

    def __init__(
        self, study: Study, known: Known, journal: Journal, left: Callable[[Cell], float | None] | None = None
    ) -> None:  # fmt: skip
        self.study, self.known, self.journal = study, known, journal
        self.left = left or (lambda cell: None)
        self.done: dict[str, Done] = {}

    def run(self, cell: Cell, stated: Callable[[], Stated]) -> Done:
        """Run a cell, go on with it, or read what it gave: its folder says which.

        stated: what `train` is told, asked for only where the cell begins. What a cell cannot do (not finite, out of
        memory, settings that do not fit so few images) is its own failure. Raises Interrupted, and TrainingError where
        nothing can be written any more.
        """
        earlier = self._earlier(cell)
        if earlier is not None:
            self.done[cell.name] = earlier
            return earlier
        before = float(self.study.record["cells"].get(cell.name, {}).get("seconds", 0.0))
        self.study.note(cell.name, what=cell.what, state="running", reason="", seconds=before)
        began = time.monotonic()
        run: Run | None = None
        reason = ""
        try:
            if cell.taught_by is not None and self.done[cell.taught_by].run is None:
                reason = f"its teacher, {cell.taught_by}, failed"
            else:
                run = self._train(cell, stated)
        except (Interrupted, KeyboardInterrupt):
            self.study.note(cell.name, state="interrupted", seconds=round(before + time.monotonic() - began, 2))
            raise
        except VitrailError as error:
            if isinstance(error, TrainingError) and isinstance(error.__cause__, OSError):
                raise  # the disk is full: no other cell would do better
            reason = str(error).splitlines()[0].rstrip(".")  # it becomes a part of sentences
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = "out of memory: lower --batch-size, or take smaller images"
        took = round(before + time.monotonic() - began, 2)
        made = Done(cell, run, reason, took)
        self.study.note(cell.name, state="finished" if run else "failed", reason=reason, seconds=took)
        self.done[cell.name] = made
        self._say(made)
        return made

    def _train(self, cell: Cell, stated: Callable[[], Stated]) -> Run:
        folder, command = self.study.cell(cell.name), self.study.record["command"]
        if _can_go_on(folder):
            try:
                return resume(folder, command=command, quiet=True, known=self.known)
            except IntegrityError as error:
                self.journal.warn(f"{folder} is damaged and is trained anew: {str(error).splitlines()[0]}")
        if folder.exists():
            shutil.rmtree(folder)  # killed before it had anything to go on from
        return start(stated(), out=folder, command=command, quiet=True, known=self.known)

    def _earlier(self, cell: Cell) -> Done | None:
        """How the cell ended in an earlier process, or None."""
        if cell.name in self.done:
            return self.done[cell.name]
        noted = self.study.record["cells"].get(cell.name, {})
        seconds = float(noted.get("seconds", 0.0))
        if noted.get("state") == "failed":
            return Done(cell, None, str(noted.get("reason", "")), seconds)
        folder = self.study.cell(cell.name)
        if (folder / "run.json").is_file():
            try:
                run = Run.open(folder, "train")
            except VitrailError:
                return None
            if run.status == "finished":
                if noted.get("state") != "finished":  # killed between its end and the note of it
                    self.study.note(cell.name, what=cell.what, state="finished", reason="", seconds=seconds)
                return Done(cell, run, "", seconds)
        return None

    def _say(self, made: Done) -> None:
        left = self.left(made.cell)
        rest = f"; about {duration(left)} left" if left is not None else ""
        if made.run is None:
            self.journal.warn(f"{made.cell.what}: failed: {made.reason}")
            return
        told = headline(made.run.metrics)
        self.journal.say(f"  {made.cell.what}: {told} ({duration(made.seconds)}{rest})")


def headline(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The first score of each split, as a run has it: "val accuracy 0.8123"."""
    said = []
    for split, values in metrics.items():
        name = next((name for name in values if name != "loss"), "loss")
        said.append(f"{split} {name} {values[name]:.4f}")
    return ", ".join(said)


def _can_go_on(folder: Path) -> bool:
    """Whether a run that stopped has what `resume` needs: settings, data, and a checkpoint of it or of its teacher."""
    files = ("run.json", "args.yaml", "data.json")
    if not all((folder / name).is_file() for name in files):
        return False
    places = (folder / "checkpoints", folder / "teacher" / "checkpoints")
    return any(checkpoint.listed(place) for place in places if place.is_dir())
