"""What became of every tensor, on both sides."""

from __future__ import annotations

import itertools
import re
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
LAST = re.compile(r"(weight|bias|scale|kernel|running_mean|running_var|num_batches_tracked)$")
NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+")
MEANINGS = {"missing": "of the model are not in the file", "left over": "of the file are not in the model",
            "differs": "differ in shape or kind"}  # fmt: skip
ALONE = {"missing": "of the model is not in the file", "left over": "of the file is not in the model",
         "differs": "differs in shape or kind"}  # fmt: skip


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
        """The account with parts of a kind as one: (tensors, state, ours, theirs, note).

        The number of a block is N there, and * the last part of a name (weight, bias, ...).
        """
        gathered: dict[tuple[str, str, str, str], int] = {}
        for entry in self.entries:
            key = (entry.state, _folded(entry.ours), _folded(entry.theirs), entry.note)
            gathered[key] = gathered.get(key, 0) + len(entry.ours or entry.theirs)
        return [(str(number), *key) for key, number in gathered.items()]

    def __rich__(self) -> Table:
        """The account for a screen, no name cut off."""
        from rich.table import Table

        table = Table(title=str(self), title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="")
        for heading in ("tensors", "state", "ours", "theirs", "how"):
            table.add_column(heading, justify="right" if heading == "tensors" else "left", overflow="fold")
        for row in self.rows():
            table.add_row(*row)
        return table


def _folded(names: Sequence[str]) -> str:
    """Names without the numbers of blocks and without last parts; several as one, braces around what differs."""
    shown = list(dict.fromkeys(NUMBER.sub("N", LAST.sub("*", name)) for name in names))
    if len(shown) < 2:
        return "".join(shown)
    before = _shared(shown)
    after = _shared([name[before:][::-1] for name in shown])
    between = ",".join(name[before : len(name) - after] for name in shown)
    return f"{shown[0][:before]}{{{between}}}{shown[0][len(shown[0]) - after :]}"


def _shared(texts: Sequence[str]) -> int:
    """How many characters all of them begin with."""
    alike = (len(set(characters)) == 1 for characters in zip(*texts, strict=False))
    return sum(1 for _ in itertools.takewhile(bool, alike))


def check(entries: Sequence[Entry], source: str | Path, model: str, hint: str = "") -> None:
    """Raise IntegrityError, with counts and names, where a tensor is missing, left over or of another shape."""
    told = []
    for state, meaning in MEANINGS.items():
        faults = [e for e in entries if e.state == state]
        names = [f"{name}{': ' + e.note if e.note else ''}" for e in faults for name in (e.ours or e.theirs)]
        if names:
            shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
            several = len(names) > 1
            told.append(f"{len(names)} tensor{'s' if several else ''} {meaning if several else ALONE[state]} ({shown})")
    if told:
        fits = f"{source} does not fit {model}" if model else f"{source} does not fit the model"
        raise IntegrityError(f"{fits}, nothing was loaded: {'; '.join(told)}" + (f"; {hint}" if hint else ""))
