"""The images that methods are scored on, as the model takes them, and where in each the answer's object stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vitrail.contracts import Floats, LocatedSource, Source, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import BadImage, DataError
from vitrail.explain.explainer import centre_window
from vitrail.explain.question import output_names
from vitrail.explain.trust.pointing import Region

MOST = 0.5
"""An object that covers more of the image than this is hit by any map: nothing is learned from it."""


@dataclass(frozen=True)
class Sample:
    """One image. key: unique.  image (C, H, W): normalised; of large images the window at their centre.

    where: given the place of an output, the pixels (H, W) that the answer is about, None where that is not known.
    """

    key: str
    image: Floats
    where: Callable[[int], Region | None]


def nowhere(output: int) -> None:
    """Of an image of which nothing is known."""
    return


def samples(
    source: Source, indices: Sequence[int], preprocessor: Preprocessor, task: Task,
    unread: Callable[[str, str], None] | None = None,
) -> Iterator[Sample]:  # fmt: skip
    """Those of a source that can be read, in the order of `indices`. unread: told key and reason of the others; where
    nobody is told, the first of them raises BadImage.
    """
    for index in indices:
        try:
            pixels = source.read(index, preprocessor.channels)
        except BadImage as error:
            if unread is None:
                raise
            unread(source.items[index].key, error.reason)
            continue
        ready = preprocessor(pixels)
        window = centre_window(ready.shape[1:], preprocessor.windows)
        where = partial(_where, source, index, preprocessor, task, (pixels.shape[0], pixels.shape[1]), window)
        yield Sample(source.items[index].key, np.ascontiguousarray(ready[:, *window]), where)


def _where(
    source: Source, index: int, preprocessor: Preprocessor, task: Task, size: tuple[int, int],
    window: tuple[slice, ...], output: int,
) -> Region | None:  # fmt: skip
    """The pixels of the model that answer `output` is about; None where not known, not there, or nearly everywhere."""
    try:
        found = _on_image(source, index, task, size, output)
    except (BadImage, DataError):  # a target that cannot be used tells nothing of where
        return None
    if found is None or found.shape != size:
        return None
    blank = np.zeros(preprocessor.canvas(*size), bool)
    region: Region = preprocessor.fit_values(found, blank)[window].astype(bool)
    return region if 0 < region.mean() <= MOST else None


def _on_image(source: Source, index: int, task: Task, size: tuple[int, int], output: int) -> Any:
    if task.name == "segment":
        return np.asarray(task.encode(source.items[index].target)) == output
    names = output_names(task)
    if not isinstance(source, LocatedSource) or output >= len(names):
        return None
    return source.located(index, names[output], size)
