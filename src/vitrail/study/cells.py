"""A cell of a study: one training, in a run folder of its own that `vitrail train` could have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from vitrail.run.prepare import Known
from vitrail.run.training import get_ready
from vitrail.settings import Stated
from vitrail.study.entries import Entry
from vitrail.study.folder import SPLITS, Study
from vitrail.training.journal import Journal

Role = Literal["tuning", "full", "part"]
ROLES: Mapping[Role, str] = {
    "tuning": "to choose the rate",
    "full": "on all training images",
    "part": "on part of the training images",
}


@dataclass(frozen=True)
class Cell:
    """One training. name: of its folder.  label: of its entry.  split: file in splits/, without suffix.

    rate: a multiple of the recipe's own learning rate.  fraction: of the training images.  teacher: the cell that
    teaches it, which trains before; or what `train --teacher` takes.  facts: what else tells it apart, for the tables.
    """

    name: str
    label: str
    role: Role
    seed: int
    epochs: float
    split: str
    rate: float = 1.0
    fraction: Fraction = Fraction(1)
    taught_by: str | None = None
    teacher: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """In words, for the screen and the report."""
        said = [self.label, ROLES[self.role] if self.fraction == 1 else f"on {self.fraction} of the images"]
        said += [f"rate x {self.rate:g}"] if self.role == "tuning" else []
        said += [f"{key} {value}" for key, value in (self.facts or {"seed": self.seed}).items()]
        return ", ".join([*said, f"{self.epochs:g} epoch{'s'[: self.epochs != 1]}"])


def name_of(entry: Entry, role: Role, **facts: Any) -> str:
    """A folder's name that sorts and tells: vit_tiny-full-seed-0, resnet18-part-1_8-seed-1, vit_tiny-tuning-rate-2."""
    words = [entry.folder, role]
    for key, value in facts.items():
        words += [*([] if key == "fraction" else [key]), str(value).replace("/", "_")]
    return "-".join(words)


def statement(cell: Cell, entry: Entry, common: Stated, study: Study, known: Known) -> Stated:
    """What `vitrail train` would be told for this cell: everything stated, and nothing that the recipe chooses.

    A rate that is not the recipe's own is a multiple of what the recipe chooses for just this cell.
    """
    path = split_path(study, cell.split)
    stated: Stated = {**common, **entry.stated, "data.split_file": str(path), "seed": cell.seed}
    stated["train.epochs"] = cell.epochs
    if cell.taught_by is not None:
        stated["distill.teacher"] = str(study.cell(cell.taught_by))
    elif cell.teacher is not None:
        stated["distill.teacher"] = cell.teacher
    if cell.rate != 1:
        ready = get_ready(stated, Journal(quiet=True), known=known)
        stated["train.lr"] = float(f"{cell.rate * ready.choice.config.train.lr:.3g}")
    return stated


def split_path(study: Study, name: str) -> Path:
    """The file of a split, whichever suffix it was written with."""
    folder = study.folder / SPLITS
    return next(
        (path for suffix in (".csv", ".jsonl") if (path := folder / f"{name}{suffix}").is_file()), folder / name
    )
