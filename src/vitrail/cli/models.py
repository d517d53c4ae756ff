"""`vitrail models [PATTERN]`: the catalogue, counted here, with published accuracies and where they are published."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from vitrail.cli.console import Counter, table
from vitrail.cli.layout import paragraph, terminal_width
from vitrail.cli.options import Call, Operands, Options
from vitrail.cli.verb import Outcome, Verb, command

if TYPE_CHECKING:
    from vitrail.cost.catalogue import CatalogueRow


@dataclass(frozen=True)
class ModelsOptions(Options):
    """None of its own."""


def models(call: Call[ModelsOptions]) -> Outcome:
    """Show the rows that match."""
    from vitrail.cost.catalogue import catalogue
    from vitrail.models import short_names

    counter = Counter("counting models", shown=not call.options.json)
    try:
        rows = catalogue(call.operands[0] if call.operands else "*", counter)
    finally:
        counter.close()
    full = {long: name for name, long in short_names().items() if name != long}
    if not call.options.json:
        _show(rows, full)
    matching = [full.get(row.name, row.name) for row in rows]
    handy = DEFAULT if DEFAULT in matching else matching[0]
    return Outcome(
        result={"models": [{**asdict(row), "short": full.get(row.name)} for row in rows]},
        next=[command("train", "PHOTOS", "--model", handy)],
    )


DEFAULT = "vit_tiny"
"""The model that is trained when none is named, and so the one offered first."""

HEADERS = ("model", "short", "params", "GMACs", "px", "top-1", "trained on", "from")
NUMBERS = ("params", "GMACs", "px", "top-1")


def _show(rows: list[CatalogueRow], short: Mapping[str, str]) -> None:
    """A table for each family, and under them what the numbers are and which source each accuracy is from."""
    sources: list[str] = []
    width = terminal_width()
    for family, members in itertools.groupby(rows, lambda row: row.family):
        cells = [_cells(row, short, sources) for row in members]
        shown = _family(cells)
        print(f"{family}\n{shown}")
        names = [row[1] for row in cells if row[1]]
        if names and not re.search(r"\bshort\b", shown):  # no room for their column
            print(paragraph(f"short names: {', '.join(names)}", width))
        print()
    counted = (
        "params (M: millions, B: billions) and GMACs (billions of multiply-accumulates of one image, which most papers"
        " call FLOPs) are counted here, with 1000 classes; px: side of the image."
    )
    print(paragraph(counted, width))
    if sources:
        best = "top-1: best published accuracy on ImageNet-1k; trained on: the data sets in order, 1k is ImageNet-1k;"
        print(paragraph(f"{best} from", width))
        for number, source in enumerate(sources, start=1):
            print(paragraph(f"[{number}] {source}", width, "  "))


def _cells(row: CatalogueRow, short: Mapping[str, str], sources: list[str]) -> list[str]:
    """A row's texts, in the order of HEADERS. sources: those met so far, to which this row's is added."""
    millions = row.parameters / 1e6
    size = f"{millions / 1e3:.2f} B" if millions >= 1e3 else f"{millions:.1f} M"
    cells = [row.name, short.get(row.name, ""), size, f"{row.gmacs:.2f}", str(row.image_size)]
    best = max(row.published, key=lambda figure: figure.accuracy, default=None)
    if best is None:
        return [*cells, "", "", ""]
    if best.source not in sources:
        sources.append(best.source)
    elsewhere = f" @{best.image_size}" if best.image_size != row.image_size else ""
    return [*cells, f"{best.accuracy:.1%}{elsewhere}", best.data, f"[{sources.index(best.source) + 1}]"]


LAYOUTS = (
    (HEADERS,),
    ((HEADERS[0], *HEADERS[2:]),),
    (HEADERS[:1], HEADERS[2:]),
    (HEADERS[:1], HEADERS[2:5], HEADERS[5:]),
)
"""The lines of a model, from the widest to the narrowest: which columns stand on each."""


def _family(rows: list[list[str]]) -> str:
    """The widest layout that fits; without a terminal the widest of all."""
    for lines in LAYOUTS:
        tables = []
        for all_columns in lines:
            columns = [column for column in all_columns if any(row[HEADERS.index(column)] for row in rows)]
            cells = [[row[HEADERS.index(column)] for column in columns] for row in rows]
            tables.append(table(columns, cells, numbers=NUMBERS, wide=True).splitlines())
        indented = [tables[0], *([f"  {line}" for line in part] for part in tables[1:])]
        head = indented[:1] if len(lines) == 1 else indented[1:]  # that a name is a name needs no header
        models = [
            line for model in zip(*(part[2:] for part in indented), strict=True) for line in model if line.strip()
        ]
        shown = "\n".join([*(line for part in head for line in part[:2] if line.strip()), *models])
        if not sys.stdout.isatty() or _fits(shown):
            break
    return shown


def _fits(text: str) -> bool:
    return max(map(len, text.splitlines())) <= terminal_width()


MODELS = Verb(
    name="models",
    summary="The models there are: parameters, multiply-accumulates, image size, published accuracy and its source.",
    options=ModelsOptions,
    operands=Operands("[PATTERN]", 0, 1),
    meanings={"PATTERN": "which of them, such as 'vit_base*' (quoted, or the shell will read it)"},
    function=models,
    examples=["vitrail models", "vitrail models 'swin*'", "vitrail models --json"],
)
