"""A folder of images beside a folder of masks or maps, matched by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrail.contracts import Failure, Hints, MapFile
from vitrail.data import image
from vitrail.data.image_files import ImageFiles
from vitrail.data.items import SPLIT_WORDS, Items, SplitName, is_text
from vitrail.data.maps import MAP_EXTENSIONS
from vitrail.data.references import IMAGE_FOLDERS
from vitrail.data.tables import TABLE_EXTENSIONS
from vitrail.errors import DataError, nearest
from vitrail.settings import DataConfig

MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentation", "segmentations", "gt", "instances",
)  # fmt: skip
MAP_FOLDERS = ("depth", "depths", "depth_maps", "maps", "distance", "distances", "density", "densities", "heights")
SUFFIXES = ("", "_mask", "-mask", "_label", "_gt", "_depth", "_instances", "_seg", "_segmentation")
"""What a mask's name may have after the name of its image."""


@dataclass(frozen=True)
class Pairing:
    """Where images and their maps are: (folder of images, folder of maps, split) of each part, relative to the root."""

    parts: tuple[tuple[str, str, SplitName | None], ...]
    maps: str


class PairSource(ImageFiles):
    """Images with a mask or a map each: ROOT/images/NAME.jpg and ROOT/masks/NAME.png.

    Also with train/, val/ and test/ above both or below both. Names are matched without their extensions, folders
    below included; a mask may be called NAME_mask. Every image is a sample: one without a mask keeps the path where it
    should be, for the audit to name as bad. A mask without an image is named in `ignored`.

    Raises DataError where there is no such pair of folders, or two masks for one image.
    """

    hints = Hints()
    target_names: tuple[str, ...] = ()

    def __init__(self, root: Path, config: DataConfig, task: str | None = None) -> None:
        super().__init__(root, config.max_pixels)
        self.name = root.resolve().name or "root"
        pairing = find_pairs(self._root, config.target, task)
        if pairing is None:
            raise DataError(_absent(self._root, config.target))
        self.map_folder = pairing.maps
        ignored: dict[str, str] = {}
        keys: list[str] = []
        targets: list[MapFile] = []
        splits: list[SplitName | None] = []
        unmatched = 0
        for images, maps, split in pairing.parts:
            files = dict(_files(self._root, images, image.IMAGE_EXTENSIONS, ignored))
            found = _by_name(_files(self._root, maps, MAP_EXTENSIONS, ignored), files.values(), maps)
            extension = Counter(Path(path).suffix for path in found.values()).most_common(1)
            usual = extension[0][0] if extension else ".png"
            for key, name in sorted(files.items()):
                place = found.pop(name, None)
                unmatched += place is None
                keys.append(key)
                targets.append(MapFile(self._root / (place or f"{maps}{name}{usual}")))
                splits.append(split)
            ignored |= dict.fromkeys(found.values(), f"no image of that name in {images}")
        if not keys:
            raise DataError(f"{self._root} holds no images in {pairing.parts[0][0]}")
        ignored |= _beside(self._root, pairing)
        self.ignored = tuple(Failure(key, reason) for key, reason in sorted(ignored.items()))
        notes = [f"the target of each image is the file of its name in {pairing.maps}/ (--target names another folder)"]
        if unmatched:
            have = "has" if unmatched == 1 else "have"
            notes.append(f"{unmatched} of {len(keys)} images {have} no file of the same name in {pairing.maps}/")
        self.notes = tuple(notes)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        given = [splits[i] for i in order] if any(splits) else None
        self._items = Items([keys[i] for i in order], [targets[i] for i in order], given)


def find_pairs(root: Path, target: str | None = None, task: str | None = None) -> Pairing | None:
    """The folders of images and of masks below `root`, None where it has no such pair.

    target: the folder of masks by name; else the one with a usual name that suits `task`. Raises DataError where
    several would do.
    """
    inside = _folders(root)
    images = [name for name in inside if name.casefold() in IMAGE_FOLDERS]
    if images:
        return _beside_each_other(root, images[0], target, task)
    splits = {name: SPLIT_WORDS[name.casefold()] for name in inside if name.casefold() in SPLIT_WORDS}
    parts: list[tuple[str, str, SplitName | None]] = []
    maps = ""
    for name, split in splits.items():
        below = find_pairs(root / name, target, task) if not _has_splits(root / name) else None
        if below is None or len(below.parts) > 1:
            continue
        (folder, other, _), *_ = below.parts
        parts.append((f"{name}/{folder}", f"{name}/{other}", split))
        maps = maps or below.maps
    if not parts:
        return None
    _check_splits(root, [split for _, _, split in parts])
    return Pairing(tuple(parts), maps)


def target_folders(root: Path) -> list[Path]:
    """Folders called as those of masks and maps are, beside one of images, at the root or in a split."""
    places = [root, *(root / name for name in _folders(root) if name.casefold() in SPLIT_WORDS)]
    return [
        place / name
        for place in places
        for inside in [_folders(place)]
        if any(name.casefold() in IMAGE_FOLDERS for name in inside)
        for name in inside
        if name.casefold() in (*MASK_FOLDERS, *MAP_FOLDERS)
    ]


def _beside_each_other(root: Path, images: str, target: str | None, task: str | None) -> Pairing | None:
    maps = _map_folder(root, images, target, task)
    if maps is None:
        return None
    below = {name: SPLIT_WORDS[name.casefold()] for name in _folders(root / images) if name.casefold() in SPLIT_WORDS}
    if not below or any(_files(root, f"{images}/", image.IMAGE_EXTENSIONS, {}, deep=False)):
        return Pairing(((f"{images}/", f"{maps}/", None),), maps)
    _check_splits(root / images, list(below.values()))
    return Pairing(tuple((f"{images}/{n}/", f"{maps}/{n}/", split) for n, split in below.items()), maps)


def _map_folder(root: Path, images: str, target: str | None, task: str | None) -> str | None:
    inside = [name for name in _folders(root) if name != images]
    if target is not None:
        return target if target in inside else None
    wanted = MASK_FOLDERS if task == "segment" else (*MAP_FOLDERS, *MASK_FOLDERS)
    named = [name for name in inside if name.casefold() in wanted]
    holding = [name for name in named if any(_files(root, f"{name}/", MAP_EXTENSIONS, {}))]
    if task == "depth" and holding:  # a map before a mask
        holding = [n for n in holding if n.casefold() in MAP_FOLDERS] or holding
    if len(holding) > 1:
        raise DataError(f"{root}: which folder has the targets, {' or '.join(holding)}? Say it with --target")
    return holding[0] if holding else None


def _check_splits(root: Path, splits: list[SplitName | None]) -> None:
    for split in splits:
        if splits.count(split) > 1:
            raise DataError(f"{root} has two folders for the {split} split: keep one")
    if "train" not in splits:
        raise DataError(f"{root} has no train/: nothing to train on")


def _has_splits(folder: Path) -> bool:
    return any(name.casefold() in SPLIT_WORDS for name in _folders(folder))


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".") and is_text(e.name))
    except OSError:
        return []


def _files(
    root: Path, below: str, extensions: tuple[str, ...] | frozenset[str], ignored: dict[str, str], deep: bool = True
) -> Iterator[tuple[str, str]]:
    """(path from the root, path from `below` without its extension) of every file of these kinds, in order.

    Others are named in `ignored`. Links to folders are not followed.
    """
    for folder, names, files in os.walk(root / below):
        names[:] = sorted(name for name in names if not name.startswith(".") and deep)
        here = Path(folder).relative_to(root).as_posix()
        for name in sorted(files):
            path = f"{here}/{name}"
            if name.startswith("."):
                continue
            if not is_text(path):
                ignored[path.encode("utf-8", "backslashreplace").decode()] = "its name is not UTF-8"
            elif os.path.splitext(name)[1].lower() not in extensions:
                ignored[path] = f"not a file of {', '.join(sorted(extensions)[:4])}, ..."
            else:
                yield path, os.path.splitext(path[len(below) :])[0]


def _by_name(files: Iterator[tuple[str, str]], images: object, folder: str) -> dict[str, str]:
    """Name of the image -> path of its mask."""
    wanted = set(images)  # type: ignore[call-overload]
    found: dict[str, str] = {}
    for path, stem in files:
        names = [stem.removesuffix(suffix) for suffix in SUFFIXES if stem.endswith(suffix)]
        name = next((name for name in names if name in wanted), stem)
        if name in found:
            raise DataError(f"{folder} has two files for the image {name}: {found[name]} and {path}")
        found[name] = path
    return found


def _beside(root: Path, pairing: Pairing) -> dict[str, str]:
    """What lies at the top of the root and is neither."""
    used = {part.split("/")[0] for images, maps, _ in pairing.parts for part in (images, maps)}
    others = {}
    for entry in sorted(os.scandir(root), key=lambda e: e.name):
        if entry.name in used or entry.name.startswith(".") or not is_text(entry.name):
            continue
        if entry.is_dir():
            others[f"{entry.name}/"] = "neither the images nor the targets"
        elif Path(entry.name).suffix.lower() in TABLE_EXTENSIONS:
            others[entry.name] = "a table: give it as DATA to use its columns"
        else:
            others[entry.name] = "not in the folder of images"
    return others


def _absent(root: Path, target: str | None) -> str:
    inside = _folders(root)
    if target is not None and inside:
        close = nearest(target, inside)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(f'{name}/' for name in inside)}"
        return f"{root} has no pair of folders images/ and {target}/: {hint}"
    usual = "labels/, annotations/, instances/, depth/"
    return f"{root} has no images/ beside masks/ (or {usual}): name the folder of masks with --target"
