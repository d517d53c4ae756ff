"""The images below a folder, whatever its layout: no classes, no splits, only files."""

from __future__ import annotations

from pathlib import Path

from vitrail.contracts import Failure, Hints, Item, Pixels
from vitrail.data import image
from vitrail.predict.sources import expand


class LooseFiles:
    """Every image file below `root`, at any depth, keyed by its path from there; keeps `contracts.FileSource`."""

    hints = Hints()
    target_names: tuple[str, ...] = ()

    def __init__(self, root: Path, max_pixels: int) -> None:
        self.name = root.name
        self.location = str(root.absolute())
        self._root = root
        self._max_pixels = max_pixels
        found = list(expand([str(root)]))
        self.ignored = tuple(entry for entry in found if isinstance(entry, Failure))
        paths = (Path(entry) for entry in found if isinstance(entry, str))
        self.items = [Item(path.relative_to(root).as_posix(), None) for path in paths]

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._root / self.items[index].key

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index`; raises BadImage."""
        return image.read(self.path(index), channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The file's bytes; raises BadImage."""
        return image.read_bytes(self.path(index))
