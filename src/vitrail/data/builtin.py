"""The sets that need no file: real digits, and drawn shapes with the truth of every task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, overload

import numpy as np

from vitrail.contracts import DrawnMap, Failure, Hints, Item, Pixels, Source
from vitrail.data import shapes
from vitrail.data.items import Items
from vitrail.data.pixels import with_channels
from vitrail.errors import UsageError, unknown
from vitrail.settings import DataConfig, ShapesConfig


class DigitsSource:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey; their values 0..16 are spread over 0..255.

    Source: UCI ML hand-written digits (E. Alpaydin, C. Kaynak, 1998), the test part, as shipped with scikit-learn.
    """

    name = location = "digits"
    hints = Hints(flip=False, native_size=8)
    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: tuple[Failure, ...] = ()

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # here, because it is slow to import and only digits need it

        digits = load_digits()
        self._pixels: Pixels = ((digits.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[..., None]
        self._items = Items([f"digits/{i}" for i in range(len(self._pixels))], [str(t) for t in digits.target])

    @property
    def items(self) -> Items:
        """All digits, keyed by their place: digits/0 .. digits/1796."""
        return self._items

    def read(self, index: int, channels: int) -> Pixels:
        """(8, 8, channels) uint8."""
        return with_channels(self._pixels[index], channels)

    def content(self, index: int) -> bytes:
        """The pixels."""
        return bytes(self._pixels[index])


class ShapesSource:
    """Drawn images with the truth of every task; see `data.shapes` for what they show.

    target: which truth is the sample's target: class, labels, count, angle, size, mask, depth or box, or several of
    the numbers separated by commas; when None, the one that suits `task`. Every image is a pure function of (seed,
    index, size) and is drawn when read, as masks and maps are, so any length costs nothing.
    """

    name = location = "shapes"
    ignored: tuple[Failure, ...] = ()

    def __init__(self, config: ShapesConfig | None = None, target: str | None = None, task: str | None = None) -> None:
        self.config = config or ShapesConfig()
        self.notes: tuple[str, ...] = ()
        if target is None:
            target = _SUITS.get(task or "", "class")
            self.notes = (f"the target is {target} of {', '.join(_TARGETS)} (--target chooses another)",)
        names = [name.strip() for name in target.split(",")]
        for name in names:
            if name not in _TARGETS:
                raise unknown("target of shapes", name, _TARGETS)
        if len(names) > 1 and not (set(names) <= set(_NUMBERS) and len(set(names)) == len(names)):
            raise UsageError(f"--target {target}: of shapes, several targets are of {', '.join(_NUMBERS)}, each once")
        self.target_names = {"mask": ("background", *shapes.CLASSES)}.get(target, _named(names))
        self.hints = Hints(
            flip=not {"angle", "box"} & set(names), native_size=self.config.size
        )  # a mirror turns and moves
        self._names = names
        self._items = _ShapesItems(self.config, names)

    @property
    def items(self) -> Sequence[Item]:
        """All samples, each drawn up when asked for."""
        return self._items

    def read(self, index: int, channels: int) -> Pixels:
        """(size, size, channels) uint8."""
        pixels = shapes.draw(_scene(self.config, index), self.config.size)
        return with_channels(pixels, channels)

    def content(self, index: int) -> bytes:
        """What the pixels are a pure function of: nothing needs to be drawn to know it."""
        larger = "" if self.config.larger == 1 else f" {self.config.larger:g}"
        return f"shapes {self.config.seed} {self.config.size} {index}{larger}".encode()

    def located(self, index: int, name: str, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Where the objects stand that an answer called `name` is about, (S, S); None of depth, which is everywhere.

        The main object of its class, angle, size and box; of a label or a mask's class all objects of that shape; of
        the count all there are.
        """
        shown = _scene(self.config, index).shapes
        if "depth" in self._names or size != (self.config.size, self.config.size):
            return None
        if name in shapes.CLASSES and "class" not in self._names:
            shown = tuple(shape for shape in shown if shape.kind == name)
        elif name != "count":
            shown = shown[:1] if name != "background" else ()
        covers = [shapes.cover(shape, self.config.size) >= 0.5 for shape in shown]
        return np.logical_or.reduce(covers) if covers else None

    def truth(self, index: int) -> dict[str, Any]:
        """All that is known of image `index`.

        class: name of the main object's shape.  labels: names of all shapes in it, sorted.  count: objects, 1 to 3.
        angle: of the main object, degrees in [-90, 90).  size: share of the image that the main object covers.
        mask (S, S) uint8: 0 ground, else 1 + place in `shapes.CLASSES` of the object that covers most of the pixel.
        depth (S, S) float32: 1 to 10.  box: of the main object's mask, (left, top, right, bottom) pixels, half-open.
        """
        return {name: find(self.config, index) for name, find in _TRUTHS.items()}


class _ShapesItems(Sequence[Item]):
    def __init__(self, config: ShapesConfig, names: Sequence[str]) -> None:
        self._config, self._names = config, names

    def __len__(self) -> int:
        return self._config.length

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return Item(f"shapes/{place}", self._target(place))

    def __iter__(self) -> Iterator[Item]:
        return (self[i] for i in range(len(self)))

    def _target(self, place: int) -> Any:
        name, *others = self._names
        if others:
            return [float(_TRUTHS[each](self._config, place)) for each in self._names]
        if name in _DRAWN:
            return DrawnMap(partial(_TRUTHS[name], self._config, place))
        return _TRUTHS[name](self._config, place)


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """What numbers and maps are called, with their units; nothing where classes have names."""
    if names == ["box"]:
        return tuple(f"{side} (pixels)" for side in ("left", "top", "right", "bottom"))
    if not set(names) <= {*_NUMBERS, "depth"}:
        return ()
    return tuple("angle (degrees)" if name == "angle" else name for name in names)


def _scene(config: ShapesConfig, index: int) -> shapes.Scene:
    return shapes.scene(config.seed, index, config.larger)


def _class(config: ShapesConfig, index: int) -> str:
    return shapes.CLASSES[index % len(shapes.CLASSES)]


def _labels(config: ShapesConfig, index: int) -> list[str]:
    return sorted({shape.kind for shape in _scene(config, index).shapes})


def _count(config: ShapesConfig, index: int) -> int:
    return len(_scene(config, index).shapes)


def _angle(config: ShapesConfig, index: int) -> float:
    return _scene(config, index).main.angle


def _size(config: ShapesConfig, index: int) -> float:
    return _scene(config, index).main.area


def _mask(config: ShapesConfig, index: int) -> Pixels:
    mask = np.zeros((config.size, config.size), np.uint8)
    for shape in _scene(config, index).shapes:
        mask[shapes.cover(shape, config.size) >= 0.5] = 1 + shapes.CLASSES.index(shape.kind)
    return mask


def _depth(config: ShapesConfig, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    what = _scene(config, index)
    depth = shapes.ground_depth(what, config.size)
    for shape in what.shapes:
        depth[shapes.cover(shape, config.size) >= 0.5] = shape.depth
    return depth


def _box(config: ShapesConfig, index: int) -> tuple[int, int, int, int]:
    main = shapes.cover(_scene(config, index).main, config.size) >= 0.5
    rows, columns = np.flatnonzero(main.any(axis=1)), np.flatnonzero(main.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


_TRUTHS: Mapping[str, Callable[[ShapesConfig, int], Any]] = {
    "class": _class,
    "labels": _labels,
    "count": _count,
    "angle": _angle,
    "size": _size,
    "mask": _mask,
    "depth": _depth,
    "box": _box,
}

_NUMBERS = ("count", "angle", "size")
_DRAWN = ("mask", "depth")
_TARGETS = ("class", "labels", *_NUMBERS, *_DRAWN, "box")
_SUITS = {"classify": "class", "multilabel": "labels", "regress": "count", "segment": "mask", "depth": "depth"}


def _digits(config: DataConfig, task: str | None) -> Source:
    if task not in (None, "classify"):
        raise UsageError(f"digits has a class per image and nothing else: --task classify, not {task}")
    return DigitsSource()


BUILTIN: Mapping[str, Callable[[DataConfig, str | None], Source]] = {
    "digits": _digits,
    "shapes": lambda config, task: ShapesSource(config.shapes, config.target, task),
}
"""Name -> how it is opened."""
