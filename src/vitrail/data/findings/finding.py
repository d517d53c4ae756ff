"""One thing that was found, with what it means and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vitrail.contracts import Source
from vitrail.data.wording import counted as counted

Severity = Literal["error", "warning", "note"]
"""error: training is refused, or its scores would be false.  warning: it may be spoiled.  note: good to know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Example:
    """One case of a finding: an image, a set of them, or a label. indices: of its samples in the source, in order."""

    keys: tuple[str, ...]
    words: str = ""
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A fault or a peculiarity of the data.

    kind: a stable name for scripts.  title: what it is, with the number.  meaning: why that matters.  remedy: what to
    do.  cases: every single one, the worst first where there is an order.
    """

    kind: str
    severity: Severity
    title: str
    meaning: str
    remedy: str
    cases: tuple[Example, ...] = ()

    @property
    def count(self) -> int:
        """How many cases there are."""
        return len(self.cases)

    @property
    def images(self) -> int:
        """How many samples are concerned."""
        return len({index for case in self.cases for index in case.indices})

    def record(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "count": self.count,
            "images": self.images,
            "meaning": self.meaning,
            "remedy": self.remedy,
            "cases": [{"files": list(case.keys), "words": case.words} for case in self.cases],
        }


def named(kind: str, files: Sequence[str], most: int = 4) -> str:
    """The files of a case in a line, as equals where the finding says that they are."""
    same = "duplicate" in kind or "content" in kind
    shown = (" = " if same else ", ").join(files[:most])
    return f"{shown} and {len(files) - most:,} more" if len(files) > most else shown


def of_samples(
    source: Source, groups: Iterable[Sequence[int]], words: Sequence[str] | None = None
) -> tuple[Example, ...]:
    """An example per group of source indices, with its words."""
    items = source.items
    found = [tuple(group) for group in groups]
    said = words if words is not None else [""] * len(found)
    return tuple(
        Example(tuple(items[i].key for i in group), text, group) for group, text in zip(found, said, strict=True)
    )


def listed(names: Iterable[str], most: int = 5) -> str:
    """'a', 'b' and 3 more."""
    given = list(names)
    shown = ", ".join(f"'{name}'" for name in given[:most])
    return f"{shown} and {len(given) - most:,} more" if len(given) > most else shown
