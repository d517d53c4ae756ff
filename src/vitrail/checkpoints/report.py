"""What became of every tensor, on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitrail.errors import IntegrityError

if TYPE_CHECKING:
    from rich.table import Table

State = Literal["used", "converted", "resized", "derived", "left out", "fresh", "missing", "left over", "differs"]
"""used: taken as it is, perhaps under another name.  converted: joined, cut, transposed, or cast.  resized: positions,
bias tables or patch kernels, to another grid.  derived: computed, not learned; ours computes its own.  left out: of a
head that was not wanted.  fresh: ours, of that new head.  missing, left over, differs (in shape): the load fails."""
FAULTS: tuple[State, ...] = ("missing", "left over", "differs")
MEANINGS = {"missing": "of the model are not in the file", "left over": "of the file are not in the model",
            "differs": "differ in shape"}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Tensors of ours, tensors of theirs, what became of them, and how in a few words."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    state: State
    note: str = ""


@dataclass(frozen=True)
class LoadReport:
    """The account of one load.

    layout: as detected.  model: the catalogue's name with its departures.  entries: every tensor of the model and of
    the file stands in just one.  parameters: values loaded.  notes: in words, what else a user should know.
    """

    source: Path
    layout: str
    entries: tuple[Entry, ...]
    parameters: int
    model: str = ""
    notes: tuple[str, ...] = ()

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of ours that have their values from the file."""
        return tuple(name for e in self.entries if e.state in ("used", "converted", "resized") for name in e.ours)

    def counts(self) -> dict[str, int]:
        """State -> tensors: of ours, or of theirs where ours has none."""
        counted: Counter[str] = Counter()
        for entry in self.entries:
            counted[entry.state] += len(entry.ours or entry.theirs)
        return dict(counted)

    def __str__(self) -> str:
        own = len(self.loaded) + self.counts().get("fresh", 0)
        beside = ", ".join(f"{n} {state}" for state, n in self.counts().items() if state not in ("used", "converted"))
        return (
            f"{len(self.loaded)} of {own} tensors ({self.parameters:,} values) from {self.source}, layout {self.layout}"
            + (f"; {beside}" if beside else "")
        )

    def to_json(self) -> dict[str, Any]:
        """The whole account, ready for `json.dumps`."""
        return {
            "source": str(self.source),
            "layout": self.layout,
            "model": self.model,
            "parameters": self.parameters,
            "counts": self.counts(),
            "tensors": [
                {"ours": list(e.ours), "theirs": list(e.theirs), "state": e.state, "note": e.note} for e in self.entries
            ],
            "notes": list(self.notes),
        }

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """The account with equal parts of all blocks as one: (tensors, state, ours, theirs, note)."""
        gathered: dict[tuple[str, str, str, str], int] = {}
        for entry in self.entries:
            ours, theirs = _family(entry.ours), _family(entry.theirs)
            key = (entry.state, ours, theirs, entry.note)
            gathered[key] = gathered.get(key, 0) + len(entry.ours or entry.theirs)
        return [(str(number), *key) for key, number in gathered.items()]

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table("tensors", "state", "ours", "theirs", "how", title=str(self), title_justify="left")
        for row in self.rows():
            table.add_row(*row)
        return table


def _family(names: Sequence[str]) -> str:
    """Names with every number but those of a few leading parts as N, so that blocks fall together."""
    shown = [".".join("N" if part.isdigit() else part for part in name.split(".")) for name in names]
    return " + ".join(_numbered(name) for name in shown)


def _numbered(name: str) -> str:
    return "/".join(
        part.rstrip("0123456789") + "N" if "_" in part and part[-1].isdigit() else part for part in name.split("/")
    )


def check(entries: Sequence[Entry], source: str | Path, model: str, hint: str = "") -> None:
    """Raise IntegrityError, with counts and names, where a tensor is missing, left over or of another shape."""
    told = []
    for state, meaning in MEANINGS.items():
        faults = [e for e in entries if e.state == state]
        names = [f"{name}{': ' + e.note if e.note else ''}" for e in faults for name in (e.ours or e.theirs)]
        if names:
            shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
            told.append(f"{len(names)} tensors {meaning} ({shown})")
    if told:
        fits = f"{source} does not fit {model}" if model else f"{source} does not fit the model"
        raise IntegrityError(f"{fits}, nothing was loaded: {'; '.join(told)}" + (f"; {hint}" if hint else ""))
