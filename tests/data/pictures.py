"""A source of drawn pictures in memory, clean until a test plants a fault in it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrail.contracts import Failure, Hints, Item, Pixels
from vitrail.data.audit import Audit, scan
from vitrail.data.findings.finding import Finding
from vitrail.data.findings.ranking import rank
from vitrail.data.findings.record import split_names
from vitrail.data.findings.survey import Survey
from vitrail.data.map_audit import scan_maps
from vitrail.data.split import make_split
from vitrail.errors import BadImage, DataError
from vitrail.settings import DataConfig

CONFIG = DataConfig(source="pictures")
TASKS = {"class": "classify", "labels": "multilabel", "numbers": "regress", "map": "segment"}


def draw(seed: int, height: int = 36, width: int = 48) -> Pixels:
    """(height, width, 3): a smooth pattern, different for every seed, as photos differ."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


@dataclasses.dataclass
class Picture:
    """One sample, to be spoilt. pixels: None is unreadable."""

    pixels: Pixels | None
    target: Any
    split: Any = None
    group: str | None = None
    content: bytes = b""


class Pictures:
    """Samples as they stand in `pictures`, keyed p/0, p/1, ..."""

    name = location = "pictures"
    hints = Hints()
    target_names: tuple[str, ...] = ()

    def __init__(self, pictures: list[Picture], ignored: tuple[Failure, ...] = ()) -> None:
        self.pictures, self.ignored = pictures, ignored

    @property
    def items(self) -> list[Item]:
        return [Item(f"p/{i}", p.target, p.split, p.group) for i, p in enumerate(self.pictures)]

    def read(self, index: int, channels: int) -> Pixels:
        pixels = self.pictures[index].pixels
        if pixels is None:
            raise BadImage("spoilt: on purpose")
        return pixels

    def content(self, index: int) -> bytes:
        picture = self.pictures[index]
        return picture.content or self.read(index, 3).tobytes()


def clean(targets: Callable[[int], Any], count: int = 48) -> Pictures:
    """Pictures with nothing wrong."""
    return Pictures([Picture(draw(i), targets(i)) for i in range(count)])


def classes(i: int) -> str:
    return "cat" if i % 2 else "dog"


def lists(i: int) -> list[str]:
    return [["red"], ["red", "round"], ["round"]][i % 3]


def numbers(i: int) -> float:
    return float(np.random.default_rng(i).normal(20, 3))


def masks(i: int) -> Any:
    mask = np.zeros((36, 48), np.uint8)
    mask[4 : 10 + i % 9, 5:20] = 1
    mask[20:30, 10 : 20 + i % 7] = 2
    return mask


def depths(i: int) -> Any:
    return (np.arange(36 * 48, dtype=np.float32).reshape(36, 48) + i) / 100


def survey_of(source: Any, divide: bool = True, maps: bool = True) -> Survey:
    """The survey that `check` makes of a source."""
    audit: Audit = scan(source, CONFIG)
    found = scan_maps(source, CONFIG) if maps else None
    task = TASKS[Survey(source, audit, (), found).kind]
    split = None
    if divide:
        with contextlib.suppress(DataError):  # as `check` does, which goes on to look at all else
            split = make_split(source, audit.usable, audit.content, CONFIG, task)
    return Survey(source, audit, split_names(source, split), found)


def findings(source: Any, divide: bool = True) -> dict[str, Finding]:
    """What is found, by kind, in order."""
    found = rank(survey_of(source, divide))
    assert len({finding.kind for finding in found}) == len(found) or any("numbers" in f.kind for f in found)
    return {finding.kind: finding for finding in found}


def write_pictures(root: Path, folders: dict[str, int], seed: int = 0) -> Path:
    """PNG files of pictures: folder below root -> how many."""
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.fromarray(draw(seed)).save(root / folder / f"{i}.png")
            seed += 1
    return root
