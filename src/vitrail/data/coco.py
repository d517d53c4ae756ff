"""Annotations as COCO writes them: one JSON file of images, categories and objects, or one for each split."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.contracts import Failure
from vitrail.data.annotated import Annotated, AnnotatedSource, Box
from vitrail.data.items import SPLIT_WORDS, SplitName, is_text
from vitrail.data.outlines import runs_of
from vitrail.data.references import IMAGE_FOLDERS
from vitrail.errors import DataError
from vitrail.settings import DataConfig

MOST_BYTES = 2 * 2**30
"""Of one JSON file: COCO's own of 118,000 images has 450 MB."""
BEGINS = ("instances_", "annotations_", "_annotations", "coco_", "")

Record = Mapping[str, Any]


def find_coco(folder: Path) -> list[Path]:
    """The COCO files of a folder: annotations/instances_*.json, or a *.coco.json at the top or in each split.

    [] where it has none. Of annotations/, captions and keypoints are passed over.
    """
    found = sorted((folder / "annotations").glob("instances*.json"))
    if not found:
        names = ("*.coco.json", "*_coco.json", "coco.json")
        places = [folder, *sorted(path for path in folder.glob("*") if path.name.casefold() in SPLIT_WORDS)]
        found = sorted({path for place in places for name in names for path in place.glob(name)})
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


def open_coco(paths: Sequence[Path], config: DataConfig, task: str | None = None) -> AnnotatedSource:
    """The images of COCO files; where there are several, each is one split, by its name or its folder's.

    Images are looked for where the JSON lies, in images/ beside it, and in a folder of the split's name; config.images
    states another. A file that is missing stays a sample, for the audit to name as bad; an image without any object
    shows nothing, and stays. Raises DataError for JSON that is not COCO's, naming the entry.
    """
    splits = [_split_of(path) for path in paths]
    if len(paths) == 1:
        splits = [None]
    for path, split in zip(paths, splits, strict=True):
        if len(paths) > 1 and split is None:
            listed = ", ".join(each.name for each in paths)
            raise DataError(f"which split is {path}? Of several COCO files ({listed}) each is to be train, val or test")
        if split is not None and splits.count(split) > 1:
            raise DataError(f"{paths[0].parent}: two COCO files are for the {split} split: keep one")
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    if root.name.casefold() == "annotations":
        root = root.parent
    images: list[Annotated] = []
    classes: list[str] = []
    ignored: list[Failure] = []
    for path, split in zip(paths, splits, strict=True):
        reader = _Reader(path)
        if not reader.images:
            raise DataError(f"{path} has no images")
        classes += [name for name in reader.names.values() if name not in classes]
        images += reader.read(root, _image_folder(path, reader, config.images), split)
    _refuse_twice(images, root)
    notes = [f"annotations are in {path.absolute().relative_to(root)}" for path in paths]
    name = paths[0].stem if len(paths) == 1 and root == paths[0].absolute().parent else root.name
    return AnnotatedSource(images, name, root, classes, config.target, task, config.max_pixels, ignored, notes)


def _split_of(path: Path) -> SplitName | None:
    """instances_train2017.json -> train; train/_annotations.coco.json -> train."""
    words = [path.name.split(".")[0].removeprefix(begin).rstrip("0123456789_-") for begin in BEGINS]
    for word in (*words, path.parent.name):
        if word.casefold() in SPLIT_WORDS:
            return SPLIT_WORDS[word.casefold()]
    return None


def _image_folder(path: Path, reader: _Reader, stated: str | None) -> Path:
    """Where the first images of a file are."""
    here = path.absolute().parent
    if stated is not None:
        return (here / stated) if not Path(stated).is_absolute() else Path(stated)
    stem = path.name.split(".")[0].rpartition("_")[2]
    places = [here, here.parent]
    folders = [*places, *(place / name for place in places for name in (stem, *_folders(place)))]
    folders += [place / stem for place in folders[2:]]
    names = reader.file_names(20)
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    raise DataError(
        f"the images of {path}, such as {names[0] if names else 'none'}, are not beside it: say where they are with"
        " data.images=FOLDER"
    )


def _box(stated: Any) -> Box | None:
    """[left, top, width, height] -> (left, top, right, bottom); None for what is no box: nothing is learned of it."""
    if not isinstance(stated, list) or len(stated) != 4:
        return None
    if not all(type(value) in (int, float) and abs(value) < 1e6 for value in stated):
        return None
    left, top, width, height = map(float, stated)
    return left, top, left + width, top + height


def _folders(place: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(place) if entry.name.casefold() in IMAGE_FOLDERS)
    except OSError:
        return []


def _refuse_twice(images: Sequence[Annotated], root: Path) -> None:
    seen: set[str] = set()
    for each in images:
        if each.key in seen:
            raise DataError(f"{root}: {each.key} is annotated as two images: give it one entry, in one split")
        seen.add(each.key)


class _Reader:
    """One JSON file, checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > MOST_BYTES:
                raise DataError(f"{path}: {path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,}")
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise DataError(f"{path} is not COCO's: a JSON object with images, categories and annotations is expected")
        self.images, self.objects, categories = (
            self._list(content, name) for name in ("images", "annotations", "categories")
        )
        self.names: dict[Any, str] = {}
        for place, category in enumerate(categories):
            number, name = self._field(category, "id", int, "categories", place), category.get("name")
            if not isinstance(name, str) or not name or not is_text(name):
                raise DataError(f"{path}: categories[{place}] has no name")
            if number in self.names or name in self.names.values():
                raise DataError(f"{path}: categories[{place}] is there twice ({name}, id {number})")
            self.names[number] = name

    def _list(self, content: Record, name: str) -> list[Record]:
        found = content.get(name)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise DataError(f"{self.path} is not COCO's: it has no list '{name}' of objects")
        return found

    def _field(self, record: Record, name: str, kind: type, where: str, place: int) -> Any:
        value = record.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            words = {int: "whole number", str: "text"}[kind]
            raise DataError(f"{self.path}: {where}[{place}] has no {words} '{name}'")
        return value

    def file_names(self, most: int) -> list[str]:
        """Names of the first images."""
        names = [self._field(each, "file_name", str, "images", place) for place, each in enumerate(self.images[:most])]
        return [name for name in names if "\0" not in name]

    def read(self, root: Path, folder: Path, split: SplitName | None) -> list[Annotated]:
        """Every image with its objects, keyed by its path below `root` where it lies there."""
        objects: dict[Any, list[int]] = {}
        for place, entry in enumerate(self.objects):
            objects.setdefault(self._field(entry, "image_id", int, "annotations", place), []).append(place)
        images = []
        seen: dict[Any, int] = {}
        for place, entry in enumerate(self.images):
            number = self._field(entry, "id", int, "images", place)
            if seen.setdefault(number, place) != place:
                raise DataError(f"{self.path}: images[{place}] has the id of images[{seen[number]}], {number}")
            name = self._field(entry, "file_name", str, "images", place)
            height, width = (self._field(entry, side, int, "images", place) for side in ("height", "width"))
            if not is_text(name) or "\0" in name or min(height, width) < 1:
                raise DataError(f"{self.path}: images[{place}] has no usable name or size")
            path = Path(os.path.normpath(folder / name))
            key = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
            images.append(self._image(key, path, split, (height, width), objects.pop(number, ())))
        for number, places in objects.items():
            raise DataError(f"{self.path}: annotations[{places[0]}] is of image {number}, which is not there")
        return images

    def _image(
        self, key: str, path: Path, split: SplitName | None, size: tuple[int, int], places: Sequence[int]
    ) -> Annotated:
        classes, counted, outlines, boxes = [], [], [], []
        for place in places:
            entry = self.objects[place]
            number = self._field(entry, "category_id", int, "annotations", place)
            if number not in self.names:
                raise DataError(f"{self.path}: annotations[{place}] has category {number}, which is not there")
            classes.append(self.names[number])
            counted.append(not entry.get("iscrowd"))
            outlines.append((self.names[number], *self._shape(entry.get("segmentation"), place, size)))
            boxes.append(_box(entry.get("bbox")))
        return Annotated(
            key, path, split, size, tuple(classes), tuple(counted), tuple(outlines), boxes=tuple(boxes)
        )  # fmt: skip

    def _shape(
        self, shape: Any, place: int, size: tuple[int, int]
    ) -> tuple[tuple[tuple[float, ...], ...], tuple[int, ...]]:
        """Polygons and runs of one object; both empty where it has only a box."""
        where = f"{self.path}: annotations[{place}]"
        fault = DataError(f"{where} has a segmentation that is neither polygons nor run lengths")
        if not shape:
            return (), ()
        if isinstance(shape, list):
            if not all(isinstance(each, list) and len(each) >= 6 and len(each) % 2 == 0 for each in shape):
                raise fault
            if not all(type(value) in (int, float) and abs(value) < 1e6 for each in shape for value in each):
                raise fault
            return tuple(tuple(map(float, each)) for each in shape), ()
        counts = shape.get("counts") if isinstance(shape, dict) else None
        try:
            runs = runs_of(counts) if isinstance(counts, str) else tuple(counts or ())
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: {error}") from None
        if not runs or any(type(run) is not int or run < 0 for run in runs) or shape.get("size") != list(size):
            raise fault
        if sum(runs) != size[0] * size[1]:
            raise DataError(f"{where}: its run lengths do not cover {size[1]} x {size[0]} pixels")
        return (), runs
