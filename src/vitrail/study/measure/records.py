"""What was measured, from the JSON that `report.study_tables.plain` made of it."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Kind = TypeVar("Kind")

_NOT_FINITE = {"infinite": math.inf, "minus infinite": -math.inf, "unknown": math.nan}


def kept(path: Path, read: Callable[[Mapping[str, Any]], Kind], warn: Callable[[str], None]) -> Kind | None:
    """What was measured before a resume; None where nothing was, or it is damaged, which `warn` is told.

    read: the record's way back.
    """
    if not path.is_file():
        return None
    try:
        return read(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        warn(f"{path} is damaged: measuring again")
        return None


def restored(kind: type[Kind], record: Mapping[str, Any]) -> Kind:
    """The dataclass `kind` with the fields of a record; a field that the record lacks has its default.

    Fields may be dataclasses, tuples of them, mappings by name, numbers and text, and any of these or None. Raises
    KeyError or TypeError where the record is of something else.
    """
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # a dataclass by contract
        if field.name in record:
            fields[field.name] = _value(hints[field.name], record[field.name], record.get(f"{field.name}_is"))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise KeyError(field.name)
    return kind(**fields)


def _value(hint: Any, value: Any, which: str | None = None) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and which is None:
            return None
        return _value(next(each for each in inner if each is not types.NoneType), value, which)
    if hint is float:
        return _NOT_FINITE[which or "unknown"] if value is None else float(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return restored(hint, value)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_value(inner[0], each) for each in value)
        return tuple(_value(one, each) for one, each in zip(inner, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        marked = {key for key in value if key.endswith("_is") and key.removesuffix("_is") in value}
        return {key: _value(inner[1], each, value.get(f"{key}_is")) for key, each in value.items() if key not in marked}
    return value
