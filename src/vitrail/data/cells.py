"""What the target cells of a table mean: class names, lists of names, numbers or files, checked row by row."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from vitrail.contracts import MapFile
from vitrail.data.maps import MAP_EXTENSIONS
from vitrail.data.tables import Table, missing
from vitrail.data.units import split_unit
from vitrail.data.wording import counted
from vitrail.errors import DataError

FEW = 20
"""Whole numbers of at most so many different values may be classes; more are a quantity."""
SLIPS = 0.05
"""Columns of which at most this share of the cells is neither 0 nor 1 look like labels with a slip of the pen."""
SEPARATORS = (";", "|")
CLASS_COLUMNS = ("label", "class", "category", "class_name", "label_name", "species", "class_id", "category_id")
"""Columns whose whole numbers are the numbers of classes, however many there are."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)

Kind = Literal["text", "whole", "number", "flag", "list", "file"]


@dataclass(frozen=True)
class Meaning:
    """Targets of a table's rows, in the form of one task.

    task: whose form it is; "" for files, of which only what stands in them says whether they are masks or maps.
    names: of the numbers, or of labels that have a column each, () where a target is named by its classes.
    notes: what was guessed.
    """

    targets: list[Any]
    task: str
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_targets(table: Table, columns: Sequence[str], task: str | None) -> Meaning:
    """The targets in `columns` as `task` wants them, or, where it is None, as they look.

    Raises DataError with the row for a cell that is empty or not what the others are; `multilabel` alone takes an empty
    cell, for an image without any label.
    """
    if task is None:
        return _guessed(table, columns)
    if task == "classify":
        return _classes(table, _only(columns, "one class per image"))
    if task == "multilabel":
        return _labels(table, columns)
    if task == "regress":
        return _numbers(table, columns)
    return _files(table, _only(columns, "one file per image"), task)


def _guessed(table: Table, columns: Sequence[str]) -> Meaning:
    kinds = {name: _kind(table, name) for name in columns}
    if len(columns) > 1:
        texts = [name for name, kind in kinds.items() if kind not in ("whole", "number", "flag")]
        if texts:
            raise DataError(
                f"{table.path}: several target columns must all be numbers, or 0 and 1, but '{texts[0]}' is not;"
                " name one column"
            )
        if all(kind == "flag" or _zero_or_one(table, name) for name, kind in kinds.items()):
            return _labels(table, columns)
        found = _numbers(table, columns)
        return Meaning(found.targets, found.task, found.names, (*found.notes, *_nearly_labels(table, columns)))
    (name, kind), *_ = kinds.items()
    if kind == "file":
        return _files(table, name, "")
    if kind == "number":
        return _numbers(table, columns)
    if kind == "whole":
        return _whole(table, name)
    if kind == "list":
        numeric = _lists_of_numbers(table, name)
        return _numbers(table, columns) if numeric else _labels(table, columns)
    cells = [str(cell) for cell in table.cells(name) if not missing(cell)]
    if kind == "text" and any(2 * sum(sign in cell for cell in cells) > len(cells) for sign in SEPARATORS):
        return _labels(table, columns)
    return _classes(table, name)


def _whole(table: Table, name: str) -> Meaning:
    """Whole numbers may be classes or a quantity: their name and how many differ decide, which is said.

    What has a unit is a quantity, however few differ.
    """
    values = {_float(cell) for cell in table.column(name)}
    plain, unit = split_unit(name)
    called = plain.casefold() in CLASS_COLUMNS
    if unit and not called:
        found = _numbers(table, [name])
        note = f"whole numbers in '{name}' are taken as a quantity (its name has a unit, {unit}); --task classify takes"
        note += " them as classes"
    elif called or len(values) <= FEW:
        why = "by the column's name" if called else f"only {len(values)} different"
        found = _classes(table, name)
        note = f"whole numbers in '{name}' are taken as classes ({why}); --task regress takes them as a quantity"
    else:
        found = _numbers(table, [name])
        note = f"whole numbers in '{name}' are taken as a quantity ({len(values)} different); --task classify takes"
        note += " them as classes"
    return Meaning(found.targets, found.task, found.names, (*found.notes, note))


# ------------------------------------------------------------------------------------------------------ one task each


def _classes(table: Table, name: str) -> Meaning:
    targets = []
    for place, cell in enumerate(table.column(name)):
        if not isinstance(cell, (str, int, float, Decimal)):
            raise table.fault(place, f"column '{name}' holds {_shown(cell)}, which is no class name")
        targets.append(_name(cell))
    return Meaning(targets, "classify")


def _labels(table: Table, columns: Sequence[str]) -> Meaning:
    if len(columns) > 1 or _zero_or_one(table, columns[0]):
        return _one_hot(table, columns)
    name = columns[0]
    targets: list[list[str]] = []
    cells = table.cells(name)
    texts = [cell for cell in cells if isinstance(cell, str)]
    separator = max(SEPARATORS, key=lambda sign: sum(sign in text for text in texts))
    empty = 0
    for place, cell in enumerate(cells):
        if isinstance(cell, str):
            labels = [part for part in (part.strip() for part in cell.split(separator)) if part]
        elif isinstance(cell, (list, tuple)):
            if any(missing(label) or not isinstance(label, (str, int)) for label in cell):
                raise table.fault(place, f"column '{name}' holds {_shown(cell)}, which is no list of names")
            labels = [_name(label) for label in cell]
        elif missing(cell):
            labels = []
        elif isinstance(cell, int):
            labels = [_name(cell)]
        else:
            raise table.fault(place, f"column '{name}' holds {_shown(cell)}, which is no list of names")
        if len(set(labels)) < len(labels):
            raise table.fault(place, f"column '{name}' has a label twice: {_shown(cell)}")
        empty += not labels
        targets.append(labels)
    notes = [f"labels in '{name}' are separated by '{separator}'"] if texts else []
    if empty:
        notes.append(f"{counted(empty, 'row has', 'rows have')} no label in '{name}': images that show none of them")
    return Meaning(targets, "multilabel", (), tuple(notes))


def _one_hot(table: Table, columns: Sequence[str]) -> Meaning:
    targets: list[list[str]] = [[] for _ in table.rows]
    notes = [f"a label per column: {', '.join(columns)}"]
    for name in columns:
        present = False
        for place, cell in enumerate(table.column(name)):
            value = _float(cell)
            if value not in (0, 1):
                raise table.fault(place, f"column '{name}' holds {_shown(cell)}, but labels in columns are 0 or 1")
            if value:
                targets[place].append(name)
                present = True
        if not present:
            notes.append(f"no row has a 1 in '{name}': it stays a label, of which nothing can be learned")
    return Meaning(targets, "multilabel", tuple(columns), tuple(notes))


def _nearly_labels(table: Table, columns: Sequence[str]) -> list[str]:
    """A note on columns that hold 0 and 1 but for few cells: labels with a slip of the pen, it may be."""
    odd = [
        (place, name, cell)
        for name in columns
        for place, cell in enumerate(table.column(name))
        if _float(cell) not in (0, 1)
    ]
    if not 0 < len(odd) <= SLIPS * len(table.rows) * len(columns):
        return []
    place, name, cell = min(odd)
    return [
        f"{', '.join(columns)} are 0 and 1 but for {counted(len(odd), 'cell')} (row {table.rows[place]}: '{name}' is"
        f" {_shown(cell)}), so they are taken as numbers; if they are labels, mend it: --task multilabel names each"
    ]


def _numbers(table: Table, columns: Sequence[str]) -> Meaning:
    if len(columns) == 1 and _kind(table, columns[0], mixed=True) == "list":
        return _number_lists(table, columns[0])
    rows = zip(*(_quantity(table, name) for name in columns), strict=True)
    targets: list[Any] = [list(row) if len(columns) > 1 else row[0] for row in rows]
    return Meaning(targets, "regress", tuple(columns))


def _quantity(table: Table, name: str) -> list[float]:
    values = []
    for place, cell in enumerate(table.column(name)):
        value = _float(cell)
        if value is None:
            hint = ": write decimals with a point" if isinstance(cell, str) and _float(cell.replace(",", ".")) else ""
            raise table.fault(place, f"column '{name}' holds {_shown(cell)}, which is no number{hint}")
        if not math.isfinite(value):
            raise table.fault(place, f"column '{name}' holds {_shown(cell)}: a finite number is expected")
        values.append(value)
    return values


def _number_lists(table: Table, name: str) -> Meaning:
    targets: list[list[float]] = []
    for place, cell in enumerate(table.column(name)):
        values = [_float(each) for each in cell] if isinstance(cell, (list, tuple)) else []
        if not values or any(value is None or not math.isfinite(value) for value in values):
            raise table.fault(place, f"column '{name}' holds {_shown(cell)}, which is no list of finite numbers")
        targets.append([value for value in values if value is not None])
    (width, _), *_ = Counter(map(len, targets)).most_common(1)
    for place, row in enumerate(targets):
        if len(row) != width:
            raise table.fault(place, f"column '{name}' has {counted(len(row), 'number')} where others have {width}")
    return Meaning(targets, "regress", tuple(f"{name}{i}" for i in range(width)))


def _files(table: Table, name: str, task: str) -> Meaning:
    folder = table.path.absolute().parent
    targets = []
    for place, cell in enumerate(table.column(name)):
        if not isinstance(cell, str) or "\0" in cell:
            raise table.fault(place, f"column '{name}' holds {_shown(cell)}, which is no file")
        if "://" in cell:
            raise table.fault(place, f"column '{name}' holds {cell}: masks and maps are read from files, not from URLs")
        targets.append(MapFile(folder / cell.strip()))
    return Meaning(targets, task)


# -------------------------------------------------------------------------------------------------------- what is there


def _kind(table: Table, name: str, mixed: bool = False) -> Kind:
    """What the cells of a column are. Raises DataError with the row of the first that is of another kind.

    mixed: do not look for others: the first says it.
    """
    kinds: dict[Kind, list[int]] = {}
    for place, cell in enumerate(table.cells(name)):
        if not missing(cell):
            kinds.setdefault(_of(table, name, place, cell), []).append(place)
            if mixed:
                break
    if not kinds:
        raise DataError(f"{table.path}: column '{name}' is empty from end to end")
    if set(kinds) == {"whole", "number"}:
        return "number"
    if len(kinds) == 1:
        return next(iter(kinds))
    if set(kinds) <= {"text", "whole"} and name.strip().casefold() in CLASS_COLUMNS:  # digits and letters, say
        return "text"
    if set(kinds) == {"text", "file"}:  # names that end as files do, and some that do not
        return "file" if len(kinds["file"]) > len(kinds["text"]) else "text"
    most = max(kinds, key=lambda kind: len(kinds[kind]))
    place = min(place for kind, places in kinds.items() if kind != most for place in places)
    words = {"text": "text", "whole": "numbers", "number": "numbers", "flag": "true or false", "list": "lists"}
    cell = _shown(table.cells(name)[place])
    advice = "; mend it, or take all as class names with --task classify" if "list" not in kinds else ""
    raise table.fault(place, f"column '{name}' holds {cell}, but mostly {words.get(most, 'files')}{advice}")


def _of(table: Table, name: str, place: int, cell: Any) -> Kind:
    if isinstance(cell, bool):
        return "flag"
    if isinstance(cell, str):
        value = _float(cell)
        if value is None:
            return "file" if Path(cell.strip()).suffix.lower() in MAP_EXTENSIONS else "text"
        return "whole" if value.is_integer() and "." not in cell else "number"
    if isinstance(cell, int):
        return "whole"
    if isinstance(cell, (float, Decimal)):
        return "number"
    if isinstance(cell, (list, tuple)):
        return "list"
    raise table.fault(place, f"column '{name}' holds {_shown(cell)}: a name, a number or a list is expected")


def _float(cell: Any) -> float | None:
    """A number as a cell holds it, None for anything else; NaN and infinity as they are."""
    if isinstance(cell, (int, float, Decimal)):  # bool too
        try:
            return float(cell)
        except OverflowError:
            return math.inf
    if isinstance(cell, str) and (_NUMBER.fullmatch(cell.strip()) or _NOT_FINITE.fullmatch(cell.strip())):
        return float(cell)
    return None


def _zero_or_one(table: Table, name: str) -> bool:
    cells = table.cells(name)
    return all(_float(cell) in (0, 1) for cell in cells if not missing(cell)) and any(not missing(c) for c in cells)


def _lists_of_numbers(table: Table, name: str) -> bool:
    """Lists of numbers, with fractions or as long as each other; else whole numbers name labels."""
    lists = [cell for cell in table.cells(name) if isinstance(cell, (list, tuple))]
    parts = [each for cell in lists for each in cell]
    if not parts or not all(isinstance(each, (int, float, Decimal)) for each in parts):
        return False
    return any(not isinstance(each, int) for each in parts) or len({len(cell) for cell in lists}) == 1


def _only(columns: Sequence[str], wanted: str) -> str:
    if len(columns) > 1:
        raise DataError(f"--target names {len(columns)} columns ({', '.join(columns)}), but the task takes {wanted}")
    return columns[0]


def _name(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "..."
