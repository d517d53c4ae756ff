"""`vitrail study KIND ...`: a kind for each question; each kind is a verb of its own, imported when called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.cli import layout
from vitrail.cli.verb import Verb
from vitrail.errors import UsageError, unknown

KINDS: Mapping[str, tuple[str, str]] = {
    "data-efficiency": (
        "vitrail.cli.study_data_efficiency:DATA_EFFICIENCY",
        "which model leads with how many images, and what more of them would bring",
    ),
    "scaling": ("vitrail.cli.study_scaling:SCALING", "which size for how much compute, and what more would bring"),
    "cost": ("vitrail.cli.study_cost:COST", "how time and memory grow with the size of an image, on this machine"),
    "reach": ("vitrail.cli.study_reach:REACH", "how far heads look, and from how far pixels count"),
    "invariance": ("vitrail.cli.study_invariance:INVARIANCE", "what of an answer stays when the image is changed"),
}
"""Kind -> "module:VERB", and what it asks."""


def study(words: Sequence[str]) -> int:
    """Run the kind that the first word names with the others; returns the exit code."""
    if not words or words[0] in ("-h", "--help"):
        if not words:
            raise UsageError(f"study what? One of {', '.join(KINDS)}; see vitrail study --help")
        print(overview(), end="")
        return 0
    return find(words[0])(words[1:])


def find(kind: str) -> Verb[Any]:
    """The verb of a kind; UsageError with the nearest name for one that is not there."""
    if kind not in KINDS:
        raise unknown("study", kind, KINDS)
    module, _, name = KINDS[kind][0].partition(":")
    verb: Verb[Any] = getattr(importlib.import_module(module), name)
    return verb


def overview() -> str:
    """The page of `vitrail study --help`."""
    width = layout.terminal_width()
    return layout.page(
        [
            layout.paragraph("usage: vitrail study KIND ... [--option value ...]", width),
            layout.paragraph(
                "What is said of vision transformers, measured on your images and your machine: one question each.",
                width,
            ),
            layout.entries("Kinds", [(kind, what) for kind, (_, what) in KINDS.items()], width),
            layout.examples([f"vitrail study {kind} --help" for kind in KINDS], width),
        ]
    )
