"""The catalogue with its costs: a row per model, counted without allocating any."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vitrail.assemble import create_model
from vitrail.contracts import Published
from vitrail.cost.count import gmacs, parameters
from vitrail.models import list_models, variant

CLASSES = 1000
"""Heads are counted as for ImageNet-1k, as the papers do."""


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


def catalogue(pattern: str = "*") -> list[CatalogueRow]:
    """Rows of all models whose name matches a shell pattern."""
    rows = []
    for name in list_models(pattern):
        row = variant(name)
        with torch.device("meta"):
            model = create_model(name, outputs=CLASSES)
        height, width = row.config.size
        cost = gmacs(model, (height, width))
        rows.append(
            CatalogueRow(name, row.family, max(height, width), parameters(model), cost, row.source, row.published)
        )
    return rows
