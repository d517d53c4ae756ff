"""Decoded images kept in memory, where all of them fit."""

from __future__ import annotations

from collections.abc import Sequence

from vitrail.contracts import Item, Pixels, Source


class CachedSource:
    """A source whose images are decoded once and then kept, as uint8, until they would take more than `limit_mb`.

    Past the limit nothing is kept any more: a cache that holds some of a larger set mostly costs memory. Reading gives
    the same bits either way. The pixels are read-only. A copy sent to another process starts empty.
    """

    def __init__(self, source: Source, limit_mb: int) -> None:
        self.name, self.location, self.hints = source.name, source.location, source.hints
        self.target_names = source.target_names
        self._source = source
        self._left = limit_mb * 2**20
        self._kept: dict[tuple[int, int], Pixels] = {}

    @property
    def items(self) -> Sequence[Item]:
        """Those of the source."""
        return self._source.items

    def read(self, index: int, channels: int) -> Pixels:
        """(H, W, channels) uint8, read-only; raises BadImage, which is not kept."""
        kept = self._kept.get((index, channels))
        if kept is not None:
            return kept
        pixels = self._source.read(index, channels).view()  # the source's own array stays as writable as it was
        self._left -= pixels.nbytes
        if self._left >= 0:
            pixels.flags.writeable = False
            self._kept[index, channels] = pixels
        else:
            self._kept.clear()
        return pixels

    def content(self, index: int) -> bytes:
        """Of the source."""
        return self._source.content(index)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}, "_left": 0}
