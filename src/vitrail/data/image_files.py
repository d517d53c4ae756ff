"""Samples that are image files below one folder."""

from __future__ import annotations

from pathlib import Path

from vitrail.contracts import Pixels
from vitrail.data import image
from vitrail.data.items import Items


class ImageFiles:
    """What every source of such files has in common. Its maker sets `_items`, whose keys are paths below `root`."""

    _items: Items

    def __init__(self, root: Path, max_pixels: int) -> None:
        self._root = root.absolute()
        self._max_pixels = max_pixels
        self.location = str(self._root)

    @property
    def items(self) -> Items:
        """All samples, sorted by key."""
        return self._items

    def path(self, index: int) -> Path:
        """The file of sample `index`."""
        return self._root / self._items[index].key

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index` to (H, W, channels) uint8; raises BadImage."""
        return image.read(self.path(index), channels, self._max_pixels)

    def content(self, index: int) -> bytes:
        """The file's bytes; raises BadImage."""
        return image.read_bytes(self.path(index))
