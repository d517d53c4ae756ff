"""The images below a folder, whatever its layout: no classes, no splits, only files."""

from __future__ import annotations

from pathlib import Path

from vitrail.contracts import Failure, Hints, Item, Pixels
from vitrail.data import image
from vitrail.data.pairs import target_folders
from vitrail.predict.sources import expand


class LooseFiles:
    """Every image file below `root`, at any depth, keyed by its path from there; keeps `contracts.FileSource`.

    What stands in a folder of masks or maps beside one of images is no image, and is named in `ignored`.
    """

    hints = Hints()
    target_names: tuple[str, ...] = ()

    def __init__(self, root: Path, max_pixels: int) -> None:
        self.name = root.name
        self.location = str(root.absolute())
        self._root = root
        self._max_pixels = max_pixels
        found = list(expand([str(root)]))
        aside = tuple(f"{folder.relative_to(root).as_posix()}/" for folder in target_folders(root))
        keys = [Path(entry).relative_to(root).as_posix() for entry in found if isinstance(entry, str)]
        targets = [Failure(key, "a target, by the name of its folder") for key in keys if key.startswith(aside)]
        self.ignored = (*(entry for entry in found if isinstance(entry, Failure)), *targets)
        self.items = [Item(key, None) for key in keys if not key.startswith(aside)]

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._root / self.items[index].key

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index`; raises BadImage."""
        return image.read(self.path(index), channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The file's bytes; raises BadImage."""
        return image.read_bytes(self.path(index))
