"""What a study stands on: the data, read once for all cells, and each model's settings on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrail.contracts import Source, Task
from vitrail.data.sources import open_source
from vitrail.data.split import split_record
from vitrail.errors import DataError
from vitrail.run.prepare import Data, Known, check_early, read_audit, settle_task
from vitrail.settings import Config, Stated, build
from vitrail.study.entries import Entry, refuse_common
from vitrail.study.paces import Plan, plan
from vitrail.training.journal import Journal

FEW = 500
"""Images below which one test split says too little, and repeated folds are used."""


@dataclass(frozen=True)
class Ground:
    """common: fields stated for all cells, with the task.  plans: entry -> its settings.  data: its own division."""

    common: Stated
    known: Known
    plans: Mapping[str, Plan]

    @property
    def data(self) -> Data:
        """The data as `vitrail train` would divide it."""
        return next(iter(self.plans.values())).ready.data

    @property
    def task(self) -> Task:
        """The task, fitted to the training images."""
        return next(iter(self.plans.values())).ready.task

    @property
    def config(self) -> Config:
        """What is stated for all, with defaults for the rest."""
        return build(self.common)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """In the order of the list."""
        return tuple(plan.entry for plan in self.plans.values())

    @property
    def images(self) -> int:
        """All that can be used."""
        return sum(len(self.data.indices(split)) for split in ("train", "val", "test"))

    @property
    def fingerprint(self) -> str:
        """Of every image and how it is divided: a resumed study must find the same."""
        return str(split_record(self.data.split, self.data.source, self.task.name)["fingerprint"])

    def names_test(self) -> bool:
        """Whether the data, or a split file, says what test is."""
        config = self.config.data
        return config.split_file is not None or any(item.split == "test" for item in self.data.source.items)

    def same(self, fingerprint: str) -> None:
        """DataError unless the data is what it was."""
        if self.fingerprint != fingerprint:
            raise DataError(
                f"the images in {self.data.source.location} are not those that the study began with (added, removed or"
                " changed files): restore them, or begin a new study"
            )


def prepare(
    data: str | Path, entries: Sequence[Entry], stated: Stated, journal: Journal, source: Source | None = None
) -> Ground:  # fmt: skip
    """Open and look at the data once, and choose every model's settings on it.

    stated: fields that hold for all.  source: data from Python.  Raises UsageError and DataError as `train` would.
    """
    refuse_common(stated)
    common: Stated = {"report.explanations": False, **stated, "data.source": str(data)}
    for entry in entries:
        check_early({**common, **entry.stated})
    config = build(common)
    source = source or open_source(config.data, common.get("task.name"))
    common, _ = settle_task(common, source, journal)
    known = Known(source, read_audit(source, config.data, journal))
    plans = plan(entries, common, known, Journal(quiet=True))
    made = Ground(common, known, plans)
    counts = ", ".join(f"{len(made.data.indices(split))} {split}" for split in ("train", "val", "test"))
    journal.say(f"split: {counts}; {made.data.split.how}")
    return made
