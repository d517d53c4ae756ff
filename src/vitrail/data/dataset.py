"""Any map-style dataset from Python as a source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vitrail.contracts import DrawnMap, Failure, Hints, Pixels
from vitrail.data.items import Items
from vitrail.data.pixels import with_channels
from vitrail.errors import BadImage, DataError


class MapDataset(Protocol):
    """What torch calls a map-style dataset: a length, and (image, label) at each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class DatasetSource:
    """The samples (image, label) of a map-style dataset, as it gives them.

    Image: PIL, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W); uint8, or floats in [0, 1]. Label: a
    class name, or a whole number that `dataset.classes` names where it has them, or a list of either; a fraction, or
    several numbers; an array, a tensor or a PIL image with a value per pixel. The dataset must give the same at every
    call: leave random transforms and normalisation to Vitrail. Every label is read once, at the start; a sample that
    raises has none, and is bad.

    task: whose form a label takes where it could be of two: a whole number without a name is a class, or for regress
    a number.

    Raises DataError where an item is no (image, label) pair or the dataset is empty.
    """

    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: tuple[Failure, ...] = ()

    def __init__(
        self, dataset: MapDataset, name: str = "dataset", hints: Hints | None = None, task: str | None = None
    ) -> None:
        self.name = self.location = name
        self.hints = hints or Hints()
        self._dataset, self._task = dataset, task
        classes = getattr(dataset, "classes", None)
        names = tuple(map(str, classes)) if isinstance(classes, Sequence) and not isinstance(classes, str) else ()
        keys = [f"{name}/{i}" for i in range(len(dataset))]
        if not keys:
            raise DataError(f"{name} is empty: it has no samples")
        self._items = Items(keys, [self._label(i, names) for i in range(len(keys))])

    @property
    def items(self) -> Items:
        """All samples, keyed by name and index."""
        return self._items

    def read(self, index: int, channels: int) -> Pixels:
        """(H, W, channels) uint8; raises BadImage, also for whatever the dataset raises."""
        return with_channels(as_pixels(self._pair(index)[0]), channels)

    def content(self, index: int) -> bytes:
        """The pixels and their shape; raises BadImage."""
        pixels = as_pixels(self._pair(index)[0])
        return repr(pixels.shape).encode() + pixels.tobytes()

    def _pair(self, index: int) -> tuple[Any, Any]:
        try:
            pair = self._dataset[index]
        except Exception as error:
            raise BadImage(f"the dataset raised {type(error).__name__}: {error}") from None
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise DataError(f"{self.name}[{index}] is no (image, label) pair but {type(pair).__name__}")
        return pair[0], pair[1]

    def _label(self, index: int, names: tuple[str, ...]) -> Any:
        try:
            label = as_plain(self._pair(index)[1])
        except BadImage:
            return None
        if isinstance(label, np.ndarray):  # read again when it is needed: all of them may not fit in memory
            return DrawnMap(partial(self._map, index))
        if isinstance(label, (list, tuple, set, frozenset)):
            return [self._named(index, each, names) for each in label]
        return self._named(index, label, names)

    def _named(self, index: int, label: Any, names: tuple[str, ...]) -> Any:
        if self._task == "regress" or not isinstance(label, int):
            return label
        if names:
            if not 0 <= label < len(names):
                raise DataError(f"{self.name}[{index}] has label {label}, but the dataset names {len(names)} classes")
            return names[label]
        return str(label)

    def _map(self, index: int) -> np.ndarray[Any, Any]:
        values = as_plain(self._pair(index)[1])
        if not isinstance(values, np.ndarray):
            raise BadImage("its label has a value per pixel no longer")
        return values


def as_plain(label: Any) -> Any:
    """A label as Python's own number, text or list, or an array where it has a value per pixel."""
    if isinstance(label, Image.Image):
        return np.asarray(label)
    if hasattr(label, "detach"):  # a tensor, known without loading torch
        label = label.detach().cpu().numpy()
    if isinstance(label, (np.ndarray, np.generic)):
        return label if label.ndim >= 2 else label.tolist()
    return label


def as_pixels(image: Any) -> Pixels:
    """PIL, array or tensor -> (H, W, 1, 3 or 4) uint8; raises BadImage."""
    if isinstance(image, Image.Image):
        if image.has_transparency_data:
            image = image.convert("RGBA")
        elif not image.mode.startswith(("I", "F")):
            image = image.convert("L" if image.mode in ("1", "L") else "RGB")
        array = np.asarray(image)
    elif hasattr(image, "detach"):  # a tensor, known without loading torch
        array = image.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise BadImage(f"no image: its shape is {array.shape}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise BadImage(f"its pixels are {array.dtype}: give uint8, or floats in [0, 1]")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise BadImage("its pixels are floats outside [0, 1]: leave normalisation out of the dataset")
    scaled: Pixels = np.rint(array * 255).astype(np.uint8)
    return scaled
