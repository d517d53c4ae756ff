"""`vitrail models [PATTERN]`: the catalogue, counted here, with published accuracies and where they are published."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from vitrail.cli.console import table
from vitrail.cli.layout import paragraph, terminal_width
from vitrail.cli.options import Call, Operands, Options
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import unknown

if TYPE_CHECKING:
    from vitrail.cost.catalogue import CatalogueRow


@dataclass(frozen=True)
class ModelsOptions(Options):
    """None of its own."""


def models(call: Call[ModelsOptions]) -> Outcome:
    """Show the rows that match."""
    from vitrail.cost.catalogue import catalogue
    from vitrail.models import list_models, short_names

    pattern = call.operands[0] if call.operands else "*"
    short = short_names()
    pattern = short.get(pattern, pattern)
    rows = catalogue(pattern)
    if not rows:
        raise unknown("model", pattern, [*list_models(), *short])
    if not call.options.json:
        _show(rows, {full: name for name, full in short.items()})
    full = {long: name for name, long in short.items()}
    handy = next((full[row.name] for row in rows if row.name in full), rows[0].name)
    return Outcome(
        result={"models": [asdict(row) for row in rows]},
        next=[command("train", "PHOTOS", "--model", handy)],
    )


def _show(rows: list[CatalogueRow], short: dict[str, str]) -> None:
    """The table, and under it what its numbers are and which source each accuracy is from."""
    sources = list(dict.fromkeys(figure.source for row in rows for figure in row.published))
    cells = []
    for row in rows:
        best = max(row.published, key=lambda figure: figure.accuracy, default=None)
        accuracy = f"{best.accuracy:.1%} @{best.image_size} [{sources.index(best.source) + 1}]" if best else ""
        cells.append(
            [row.name, short.get(row.name, ""), f"{row.parameters / 1e6:.1f} M", f"{row.gmacs:.2f}",
             str(row.image_size), accuracy]
        )  # fmt: skip
    headers = ["model", "short", "parameters", "GMACs", "pixels", "published"]
    print(table(headers, cells, numbers=headers[2:5]))
    width = terminal_width()
    counted = "Parameters and GMACs (multiply-accumulates of one image) are counted here, with 1000 classes."
    print(f"\n{paragraph(counted, width)}")
    if sources:
        print(paragraph("Published: best ImageNet-1k top-1, at that image size, from", width))
        for number, source in enumerate(sources, start=1):
            print(f"  [{number}] {source}")


MODELS = Verb(
    name="models",
    summary="The models there are: parameters, multiply-accumulates, image size, published accuracy and its source.",
    options=ModelsOptions,
    operands=Operands("[PATTERN]", 0, 1),
    meanings={"PATTERN": "which of them, such as 'vit_base*' (quoted, or the shell will read it)"},
    function=models,
    examples=["vitrail models", "vitrail models 'vit_small*'", "vitrail models --json"],
)
