"""The look at every mask or map of numbers: which can be read, and what stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitrail.contracts import DrawnMap, MapFile, Source
from vitrail.data.facts import Facts
from vitrail.data.map_values import measure
from vitrail.data.maps import read_map
from vitrail.data.scan_files import Progress, scan_files
from vitrail.data.scan_worker import Limits
from vitrail.errors import BadImage, DataError
from vitrail.settings import DataConfig


@dataclass(frozen=True)
class MapAudit:
    """Facts of every target that is a mask or a map, by source index."""

    facts: Mapping[int, Facts]

    @property
    def unreadable(self) -> list[int]:
        """Source indices whose mask cannot be used, rising."""
        return [index for index, fact in sorted(self.facts.items()) if fact.reason]

    @property
    def readable(self) -> list[int]:
        """Source indices whose mask can be used, rising."""
        return [index for index, fact in sorted(self.facts.items()) if not fact.reason]


def scan_maps(
    source: Source, config: DataConfig, progress: Progress | None = None, workers: int | None = None
) -> MapAudit | None:
    """Read every target that has a value per pixel; None where no target has.

    Files are read in child processes and remembered, as images are (`scan_files`); arrays and drawn maps here.
    """
    report = progress or (lambda done, total: None)
    facts: dict[int, Facts] = {}
    places: list[int] = []
    paths: list[Path] = []
    for index, item in enumerate(source.items):
        if isinstance(item.target, MapFile):
            places.append(index)
            paths.append(item.target.path)
        elif isinstance(item.target, DrawnMap) or (isinstance(item.target, np.ndarray) and item.target.ndim > 1):
            facts[index] = _drawn(item.target, config.max_pixels)
    if paths:
        limits = Limits.of(config.channels, config.max_pixels, kind="map")
        for place, fact in scan_files(source.location, paths, limits, report, workers):
            facts[places[place]] = fact
    return MapAudit(facts) if facts else None


def _drawn(target: object, max_pixels: int) -> Facts:
    try:
        values = read_map(target, max_pixels)
    except (BadImage, DataError) as error:
        return Facts(reason=str(error))
    return Facts("", "drawn", values.shape[-1], values.shape[-2], values=measure(values))
