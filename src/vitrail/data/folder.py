"""A tree of class folders, with or without train/, val/ and test/ above them."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vitrail.contracts import Failure, Hints
from vitrail.data import image
from vitrail.data.image_files import ImageFiles
from vitrail.data.items import SPLIT_WORDS, Items, SplitName, check_held_out, is_text
from vitrail.errors import DataError


class FolderSource(ImageFiles):
    """Photos in a folder per class: ROOT/CLASS/.../photo.jpg, or ROOT/SPLIT/CLASS/.../photo.jpg.

    The class is the first folder's name (in Unicode's composed form); folders below it are only a part of the key.
    SPLIT is train, val (valid, validation) or test, in any case. Hidden files are passed over. `ignored` names every
    other file that is not a sample, and why. Links to files and folders are followed; a link that leads back to a
    folder already read is not. The order is that of the keys, whatever the file system says.

    Raises DataError where there is no image, no class folder, or a held-out class that train/ lacks.
    """

    hints = Hints()
    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, root: Path, max_pixels: int = image.MAX_PIXELS) -> None:
        super().__init__(root, max_pixels)
        self.name = root.resolve().name or "root"
        survey = _Survey(self._root)
        self.ignored = tuple(Failure(key, reason) for key, reason in sorted(survey.ignored.items()))
        keys = sorted(survey.found)
        splits = [survey.found[key][1] for key in keys] if survey.has_splits else None
        self._items = Items(keys, [survey.found[key][0] for key in keys], splits)


class _Survey:
    """One walk over a tree. `found`: key -> (class, split)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: dict[str, tuple[str, SplitName | None]] = {}
        self.ignored: dict[str, str] = {}
        self.loose: list[str] = []  # images that stand in no class folder
        folders = self._classes_in("")
        splits = self._split_folders(folders)
        self.has_splits = bool(splits)
        if splits:
            for name in folders:
                if name not in splits:
                    self._ignore(f"{name}/", "beside train/, but no split")
            for name, split in splits.items():
                for folder in self._classes_in(f"{name}/"):
                    self._read_class(f"{name}/{folder}/", folder, split)
        else:
            for folder in folders:
                self._read_class(f"{folder}/", folder, None)
        self._check()

    def _classes_in(self, prefix: str) -> list[str]:
        folders = []
        for entry in self._list(prefix):
            if _is_folder(entry):
                folders.append(entry.name)
            elif self._is_image(prefix, entry):
                self.loose.append(prefix + entry.name)
                self._ignore(prefix + entry.name, "an image in no class folder")
        return folders

    def _split_folders(self, folders: list[str]) -> dict[str, SplitName]:
        """The folders that are splits; none where the tree's first level is its classes."""
        named = {name: SPLIT_WORDS[name.casefold()] for name in folders if name.casefold() in SPLIT_WORDS}
        others = [name for name in folders if name not in named]
        by_split = defaultdict(list)
        for name, split in named.items():
            by_split[split].append(name)
        if "train" not in by_split:
            if named and not others:
                raise DataError(
                    f"{self.root} has {', '.join(f'{n}/' for n in named)} but no train/: nothing to train on"
                )
            return {}
        if others:
            # A class may be called "train", beside "bus": then it holds images itself, or nothing is called test.
            inside = [entry for name in by_split["train"] for entry in self._list(f"{name}/")]
            if not any(map(_is_folder, inside)) or any(self._is_image("", entry, False) for entry in inside):
                return {}
            if len(by_split) == 1:
                train = by_split["train"][0]
                raise DataError(
                    f"{self.root}: is {train}/ a class, like {others[0]}/ beside it, or the training split?\n"
                    f"Rename {train}/ if it is a class, or move {others[0]}/ away if it is not."
                )
        for split, names in by_split.items():
            if len(names) > 1:
                raise DataError(f"{self.root} has both {names[0]}/ and {names[1]}/ for the {split} split: keep one")
        return named

    def _read_class(self, prefix: str, folder: str, split: SplitName | None) -> None:
        """Take every image below `prefix`, each real folder once."""
        name = unicodedata.normalize("NFC", folder)  # one class, however its accents are stored
        above = [self.root, *(self.root / prefix).parents[: prefix.count("/") - 1]]
        seen = {_identity(path) for path in above}
        before = len(self.found)
        pending = [prefix]
        while pending:
            here = pending.pop()
            try:
                identity = _identity(self.root / here)
            except OSError as error:  # gone since it was listed, or not ours to see
                self._ignore(here, f"cannot be listed: {error.strerror}")
                continue
            if identity in seen:
                self._ignore(here, "a link to a folder already read")
                continue
            seen.add(identity)
            for entry in self._list(here):
                if _is_folder(entry):
                    pending.append(f"{here}{entry.name}/")
                elif self._is_image(here, entry):
                    self.found[here + entry.name] = (name, split)
        if len(self.found) == before:
            self.ignored.setdefault(prefix, "a folder without images")

    def _is_image(self, prefix: str, entry: os.DirEntry[str], note: bool = True) -> bool:
        """Whether a file counts as an image by its name; a broken link does, and the audit then names it as bad."""
        suffix = os.path.splitext(entry.name)[1].lower()
        regular = entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path) or not os.path.exists(entry.path)
        counts = suffix in image.IMAGE_EXTENSIONS and regular
        if note and not counts:
            reason = f"not an image file ({suffix or 'no extension'})" if regular else "not a regular file"
            self._ignore(prefix + entry.name, reason)
        return counts

    def _list(self, prefix: str) -> Iterator[os.DirEntry[str]]:
        """Entries of a folder in the order of their names, hidden ones left out."""
        try:
            with os.scandir(self.root / prefix) as opened:
                entries = sorted(opened, key=lambda entry: entry.name)
        except OSError as error:
            self._ignore(prefix or "./", f"cannot be listed: {error.strerror}")
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if is_text(entry.name):
                yield entry
            else:
                self._ignore(prefix + entry.name, "its name is not UTF-8")

    def _ignore(self, key: str, reason: str) -> None:
        self.ignored[key.encode("utf-8", "backslashreplace").decode()] = reason

    def _check(self) -> None:
        if "./" in self.ignored:
            raise DataError(f"{self.root} {self.ignored['./']}")
        if not self.found and self.loose:
            example = self.root / "CLASS" / Path(self.loose[0]).name
            raise DataError(
                f"{self.root} holds {len(self.loose)} images but no class folders: the class is read from the folder,\n"
                f"as in {example}. Or give a table (.csv) with a column of labels."
            )
        if not self.found:
            others = f" ({len(self.ignored)} other files or folders)" if self.ignored else ""
            raise DataError(f"{self.root} holds no images{others}: expected {self.root}/CLASS/image.jpg")
        by_split: dict[SplitName | None, set[str]] = defaultdict(set)
        for name, split in self.found.values():
            by_split[split].add(name)
        if self.has_splits:
            if not by_split["train"]:
                raise DataError(f"{self.root}: train/ holds no images: expected {self.root}/train/CLASS/image.jpg")
            for split in ("val", "test"):
                check_held_out(by_split["train"], by_split[split], f"{self.root}: {split}/")


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # a link to itself is no error
