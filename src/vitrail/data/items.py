"""The samples of a source, kept as columns: a million of them pickle to a worker in a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

from vitrail.contracts import Item
from vitrail.errors import DataError, nearest

SplitName = Literal["train", "val", "test"]

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

SPLIT_WORDS: Mapping[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""How folders, columns and list files spell a split, in any case."""


class Items(Sequence[Item]):
    """Items in a stable order, made when asked for.

    keys: unique.  targets: one per key.  splits, groups, weights: one per key, or None where the source says none.
    """

    def __init__(
        self,
        keys: Sequence[str],
        targets: Sequence[Any],
        splits: Sequence[SplitName | None] | None = None,
        groups: Sequence[str | None] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        assert len(set(keys)) == len(keys) == len(targets)
        assert all(column is None or len(column) == len(keys) for column in (splits, groups, weights))
        self._keys, self._targets, self._splits, self._groups = keys, targets, splits, groups
        self._weights = weights

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Item(
            self._keys[index],
            self._targets[index],
            self._splits[index] if self._splits is not None else None,
            self._groups[index] if self._groups is not None else None,
            self._weights[index] if self._weights is not None else 1.0,
        )

    def __iter__(self) -> Iterator[Item]:
        return (self[i] for i in range(len(self)))


def class_names(items: Sequence[Item], indices: Iterable[int]) -> tuple[str, ...]:
    """Names of the classes among `indices`, sorted: the order that is stored with a model's weights."""
    return tuple(sorted({str(items[int(i)].target) for i in indices}))


def check_held_out(train: Iterable[str], held_out: Iterable[str], where: str, what: str = "class") -> None:
    """Raise DataError where a held-out split has a class that training lacks, naming it and the nearest that exists.

    A training class that is missing from a held-out split is fine: classes are matched by name.
    """
    known = set(train)
    strangers = sorted(set(held_out) - known)
    if not strangers:
        return
    first = strangers[0]
    folded = {name.casefold(): name for name in known}
    close = [folded[first.casefold()]] if first.casefold() in folded else nearest(first, known)
    hint = f": did you mean '{close[0]}'?" if close else "."
    more = f" (and {len(strangers) - 1} more)" if len(strangers) > 1 else ""
    plural = {"class": "Classes"}.get(what, f"{what.capitalize()}s")
    raise DataError(f"{where} has {what} '{first}'{more}, which train lacks{hint} {plural} are matched by name.")


def at_row(source: object, index: int) -> str:
    """Where sample `index` is named, " (row 7)" as its table counts rows; "" where it is named in no table."""
    rows: Sequence[int] | None = getattr(source, "rows", None)
    return "" if rows is None else f" (row {rows[index]})"


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; file names of other encodings, read by Python, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
