"""Samples where they lie: what a source holds, one item of it, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from vitrail.contracts.arrays import Pixels


@dataclass(frozen=True)
class MapFile:
    """A target that is a file beside the image, with a value per pixel: a mask or a map of numbers, not yet read."""

    path: Path


@dataclass(frozen=True)
class DrawnMap:
    """A target with a value per pixel that is made when it is read, (h, w) or (M, h, w): of outlines, of a dataset."""

    draw: Callable[[], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Item:
    """One sample of a source, before it is read.

    key: stable name, unique in the source: the path relative to its root with "/", or "digits/17".
    target: as the source says it: a class name, a list of names, a number or a list of them, a MapFile, a DrawnMap, or
    an array with a value per pixel (masks integer, maps float).  split: "train", "val" or "test" where the source
    dictates it, else None.  group: samples that must stay together.  weight: how much the sample counts in the training
    loss.
    """

    key: str
    target: Any
    split: Literal["train", "val", "test"] | None = None
    group: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Hints:
    """What a source knows of its images that a recipe should respect.

    flip: mirrored images keep their label (false for digits).  native_size: typical short side in pixels, 0 unknown.
    """

    flip: bool = True
    native_size: int = 0


class Source(Protocol):
    """A set of samples. Reading is random access, from any process."""

    name: str
    location: str
    hints: Hints
    target_names: tuple[str, ...]
    """What the source calls the numbers or maps of a target, the values of its masks, or its labels, were it that no
    image has one; () where it has no names."""

    @property
    def items(self) -> Sequence[Item]:
        """All samples in a stable order, unreadable ones included."""

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index` to (H, W, channels) uint8; raises BadImage with the reason."""

    def content(self, index: int) -> bytes:
        """Bytes that identify the content of a sample (the file's, or the pixels'); raises BadImage if unreadable."""


@runtime_checkable
class LocatedSource(Source, Protocol):
    """A source that knows where in its images things stand."""

    def located(self, index: int, name: str, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """The pixels of sample `index`, an image of (h, w), that show what an answer called `name` is about: (h, w).

        None where nothing of the kind is there, or where it is not known. Raises BadImage for what cannot be drawn.
        """


@runtime_checkable
class FileSource(Source, Protocol):
    """A source whose every sample is one image file."""

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
