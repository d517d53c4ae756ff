"""Counts of what is taken for what, as cells of a table that shades them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vitrail.report.data import percent
from vitrail.report.statistics import Counts


@dataclass(frozen=True)
class Cell:
    """kind: classes of the style sheet.  share: of the row, whole percent.  written: in the cell.  title: in words."""

    kind: str
    share: int
    written: str
    title: str


@dataclass(frozen=True)
class Matrix:
    """Rows of cells, None where nothing fell."""

    labels: Sequence[str]
    density: str
    rows: list[list[Cell | None]]


def matrix(
    counts: Counts, labels: Sequence[str], verb: str, *, of: Sequence[int] | None = None,
    written: Literal["count", "share"] = "count", right: bool = False,
) -> Matrix:  # fmt: skip
    """Counts (Y, Y), row the true class, as table cells. Large matrices show shades without numbers.

    verb: "cat: 3 of 9 VERB dog".  of: what a row is a share of, the sum of its counts if left out.  written: counts, or
    shares in percent where counts are of pixels.  right: no cell is an error.
    """
    many = len(labels)
    density = "roomy" if many <= 12 else "middling" if many <= 26 else "many dense"
    rows: list[list[Cell | None]] = []
    for true, row in enumerate(counts.tolist()):
        total = max(1, of[true] if of is not None else sum(row))
        cells: list[Cell | None] = []
        for said, count in enumerate(row):
            if not count:
                cells.append(None)
                continue
            share = round(100 * count / total)
            kind = ("r" if right or true == said else "w") + (" deep" if share > 55 else "")
            amount = f"{count} of {total}" if written == "count" else f"{percent(count / total)} of {total:,} pixels"
            text = f"{count}" if written == "count" else f"{share}" if share else "·"
            title = f"{labels[true]}: {amount} {verb} {labels[said]}"
            cells.append(Cell(kind, max(6, share), "" if many > 26 else text, title))
        rows.append(cells)
    return Matrix(labels, density, rows)
