"""The catalogue with its costs: a row per model, counted without allocating any, and remembered.

Counting a hundred models takes seconds, so what was counted stands in the user's cache, valid for the very code and
torch that counted it. The cache only saves time: whatever is wrong with it, the figures are counted again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vitrail import durable
from vitrail.assemble import create_model
from vitrail.contracts import Published
from vitrail.cost.count import Counted, gmacs, parameters
from vitrail.models import list_models, variant

CLASSES = 1000
"""Heads are counted as for ImageNet-1k, as the papers do."""

COUNTED = ("models/*.py", "layers/*.py", "heads/*.py", "tasks/classify.py", "assemble.py", "cost/*.py")
"""The code that a figure depends on, from the package's folder."""

Figures = tuple[int, float]
"""Parameters and GMACs."""


@dataclass(frozen=True)
class CatalogueRow:
    """One model: parameters and GMACs at `image_size` (pixels) with a 1000-class head, and its numbers' source."""

    name: str
    family: str
    image_size: int
    parameters: int
    gmacs: float
    source: str
    published: tuple[Published, ...]


def catalogue(pattern: str = "*", progress: Callable[[int, int], None] | None = None) -> list[CatalogueRow]:
    """Rows of all models whose name matches a shell pattern, in the order of their tables, or the row of one name.

    progress: told how many have been counted, of how many.  Raises UsageError with the nearest names where none is.
    """
    names = list_models(pattern) or [variant(pattern).name]  # short names and timm:NAME stand in no table
    known, counted = _Known(), Counted()
    rows = []
    for index, name in enumerate(names):
        if name not in known.figures:
            known.learn(name, figures(name, counted))
            if progress:
                progress(index + 1, len(names))
        count, cost = known.figures[name]
        row = variant(name)
        rows.append(CatalogueRow(name, row.family, max(row.config.size), count, cost, row.source, row.published))
    known.save()
    return rows


def figures(name: str, counted: Counted | None = None) -> Figures:
    """Parameters and GMACs of a model as its row says, with a 1000-class head. counted: as for `gmacs`."""
    with torch.device("meta"):
        model = create_model(name, outputs=CLASSES).requires_grad_(False).eval()
    return parameters(model), gmacs(model, variant(name).config.size, counted=counted)


class _Known:
    """Figures that were counted before by the same code."""

    def __init__(self) -> None:
        self.counted_by = _counted_by()
        self.learnt = False
        self.path: Path | None = None
        self.figures: dict[str, Figures] = {}
        try:
            self.path = durable.cache_folder() / "catalogue.json"
            content = json.loads(self.path.read_bytes())
        except (OSError, RuntimeError, ValueError):  # no home, no file, or no JSON in it
            return
        match content:
            case {"counted_by": self.counted_by, "figures": dict(entries)}:
                for name, entry in entries.items():
                    match entry:
                        case [int(count), float(cost)]:
                            self.figures[name] = count, cost

    def learn(self, name: str, counted: Figures) -> None:
        self.figures[name] = counted
        self.learnt = True

    def save(self) -> None:
        if self.path is None or not self.learnt:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            durable.write_file(self.path, json.dumps({"counted_by": self.counted_by, "figures": self.figures}))
        except OSError:
            pass


def _counted_by() -> str:
    """Changes with the code that counts and with what it counts: ours by content, others' by version."""
    package = Path(__file__).parents[1]
    told = hashlib.blake2b(digest_size=16)
    for path in sorted(path for pattern in COUNTED for path in package.glob(pattern)):
        told.update(path.read_bytes())
    for name in ("vitrail", "torch", "torchvision", "timm"):
        try:
            told.update(version(name).encode())
        except PackageNotFoundError:
            told.update(b"-")
    return told.hexdigest()
