"""Folders of annotations as Pascal VOC has them: Annotations/*.xml beside JPEGImages/, splits in ImageSets/Main/."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from vitrail.contracts import Failure
from vitrail.data.annotated import Annotated, AnnotatedSource, Box
from vitrail.data.image import IMAGE_EXTENSIONS
from vitrail.data.items import SPLIT_WORDS, SPLITS, SplitName, is_text
from vitrail.data.tables import read_text
from vitrail.data.wording import counted
from vitrail.errors import DataError
from vitrail.settings import DataConfig

ANNOTATIONS, IMAGES, SETS, MASKS = "Annotations", "JPEGImages", "ImageSets", "SegmentationClass"
MOST_BYTES = 4 * 2**20
"""Of one annotation: VOC's own are some kilobytes."""
_NUMBER = re.compile(r"[+-]?\d{1,6}(\.\d*)?")
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Of Pascal VOC itself, in the order of the values 1 to 20 of its masks (VOC2012 development kit, section 4)."""


def is_voc(folder: Path) -> bool:
    """Whether a folder has the layout of Pascal VOC."""
    return (folder / ANNOTATIONS).is_dir() and (folder / IMAGES).is_dir()


def open_voc(folder: Path, config: DataConfig, task: str | None = None) -> AnnotatedSource:
    """The annotated images of a VOC folder, with its official split.

    An image without an annotation, or in none of the split's lists, is named in `ignored`; an annotation without an
    image stays a sample, for the audit to name as bad. For segment, the images that have a mask in SegmentationClass.

    Raises DataError where an annotation is not what it should be, with its file and line.
    """
    root = folder.absolute()
    notes: list[str] = []
    sets = "Segmentation" if task == "segment" and (root / SETS / "Segmentation").is_dir() else "Main"
    splits = _read_sets(root / SETS / sets, notes)
    pictures = sorted(path for path in (root / IMAGES).iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS)
    files = {path.stem: path for path in pictures if not path.name.startswith(".")}
    masks = {path.stem: path for path in sorted((root / MASKS).glob("*.png"))} if task == "segment" else {}
    images: list[Annotated] = []
    ignored: list[Failure] = []
    annotated = sorted(path for path in (root / ANNOTATIONS).glob("*.xml") if not path.name.startswith("."))
    for path in annotated:
        name = path.stem
        file = files.pop(name, root / IMAGES / f"{name}.jpg")
        key = f"{IMAGES}/{file.name}" if is_text(file.name) else ""
        if not key:
            ignored.append(Failure(repr(path.name), "its name is not UTF-8"))
        elif splits and name not in splits:
            ignored.append(Failure(key, f"in none of the lists in {SETS}/{sets}"))
        elif masks and name not in masks:
            ignored.append(Failure(key, f"no {MASKS}/{name}.png"))
        else:
            found = read_annotation(path)
            images.append(
                Annotated(
                    key, file, splits.get(name), found.size, tuple(found.names), mask=masks.get(name),
                    boxes=tuple(found.boxes),
                )
            )  # fmt: skip
    for name, file in files.items():
        ignored.append(Failure(f"{IMAGES}/{file.name}", f"no {ANNOTATIONS}/{name}.xml"))
    known = {f"{path.stem}" for path in annotated}
    absent = [name for name in splits if name not in known]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise DataError(f"{root / SETS / sets} lists {absent[0]}{more}, which has no {ANNOTATIONS}/{absent[0]}.xml")
    if ignored:
        notes.append(
            f"{counted(len(ignored), 'image is', 'images are')} left out, each named with its reason in the report"
        )
    classes = sorted({name for each in images for name in each.classes})
    source = AnnotatedSource(images, root.name, root, classes, config.target, task, config.max_pixels, ignored, notes)
    if task == "segment" and masks and set(classes) <= set(VOC_CLASSES):
        source.target_names = ("background", *VOC_CLASSES)
    return source


def _read_sets(folder: Path, notes: list[str]) -> dict[str, SplitName]:
    """Name of each listed image -> its split. trainval is train where there is no train list."""
    lists: dict[SplitName, Path] = {}
    for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        split = SPLIT_WORDS.get(path.stem.casefold())
        if split:
            lists[split] = path
    if "train" not in lists and (folder / "trainval.txt").is_file():
        lists["train"] = folder / "trainval.txt"
    splits: dict[str, SplitName] = {}
    for split in SPLITS:
        if split in lists:
            for number, line in enumerate(read_text(lists[split]).splitlines(), start=1):
                name = line.strip()
                if name and splits.setdefault(name, split) != split:
                    raise DataError(f"{lists[split]}, line {number}: {name} is in the {splits[name]} list as well")
    if splits and "train" not in splits.values():
        raise DataError(f"{folder} has no train.txt: nothing to train on")
    if splits:
        names = ", ".join(lists[split].name for split in SPLITS if split in lists)
        notes.append(f"the split is that of {folder.parent.name}/{folder.name}: {names}")
    return splits


# -------------------------------------------------------------------------------------------------------- annotations


@dataclass
class Annotation:
    """What one XML file says: the image's (height, width), (0, 0) unknown, the class of each object and its box.

    boxes: (left, top, right, bottom), half-open from 0, where VOC counts from 1 and includes the last pixel; None where
    a side is missing or no number.
    """

    size: tuple[int, int] = (0, 0)
    names: list[str] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)


def read_annotation(path: Path) -> Annotation:
    """Read one annotation; DataError, with the line, for what is none. A document type is refused: it could expand."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes are too many for one annotation")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    reader = _Reader()
    try:
        reader.parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise DataError(f"{path}, line {error.lineno}: not XML: {expat.ErrorString(error.code)}") from None
    except (_Refused, LookupError, ValueError) as error:  # an encoding that is unknown, or that bytes do not keep to
        raise DataError(f"{path}, line {reader.parser.CurrentLineNumber}: {error}") from None
    if reader.root != "annotation":
        raise DataError(f"{path}: <annotation> is expected, not <{reader.root}>")
    return reader.found


def _box(sides: Sequence[float | None]) -> Box | None:
    left, top, right, bottom = sides
    if left is None or top is None or right is None or bottom is None:
        return None
    return left - 1, top - 1, right, bottom


class _Refused(Exception):
    """What an annotation must not have."""


class _Reader:
    """Keeps the place in the tree and the text of the leaf there."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.found, self.root = Annotation(), ""
        self._place: list[str] = []
        self._words: list[str] = []
        self._named = False
        self._sides: dict[str, float] = {}

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.root = self.root or tag
        if len(self._place) > 20:
            raise _Refused("nested deeper than any annotation is")
        self._place.append(tag)
        self._words.clear()
        if self._place[1:] == ["object"]:
            self._named = False
            self._sides.clear()

    def _end(self, tag: str) -> None:
        text = "".join(self._words).strip()
        match self._place[1:]:
            case ["object", "name"]:
                if not text:
                    raise _Refused("an object has an empty name")
                self.found.names.append(text)
                self._named = True
            case ["object", "bndbox", "xmin" | "ymin" | "xmax" | "ymax" as side]:
                if _NUMBER.fullmatch(text):
                    self._sides[side] = float(text)
            case ["object"] if not self._named:
                raise _Refused("an object has no name")
            case ["object"]:
                sides = [self._sides.get(side) for side in ("xmin", "ymin", "xmax", "ymax")]
                self.found.boxes.append(_box(sides))
            case ["size", "height" | "width" as side]:
                if not text.isdecimal():
                    raise _Refused(f"{side} is {text[:40]!r}, which is no number")
                height, width = self.found.size
                self.found.size = (int(text), width) if side == "height" else (height, int(text))
        self._place.pop()
        self._words.clear()

    def _text(self, text: str) -> None:
        self._words.append(text)

    def _doctype(self, *what: object) -> None:
        raise _Refused("it declares a document type, which an annotation does not need and which is refused")
