"""How what a user states becomes fields of a config: paths, short names, values as text, YAML, times."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError

from vitrail.errors import UsageError, unknown
from vitrail.settings.config import Config

Stated = dict[str, Any]
"""Dotted path of a config field -> the value a user gave it."""

SHORT: Mapping[str, str] = {
    "model": "model.name",
    "task": "task.name",
    "target": "data.target",
    "group": "data.group",
    "split_file": "data.split_file",
    "workers": "data.workers",
    "image_size": "model.image_size",
    "patch_size": "model.patch_size",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "train.lr",
    "precision": "train.precision",
    "from": "model.weights",
    "new_head": "model.new_head",
    "teacher": "distill.teacher",
}
"""The short options of `train` -> the field each one sets; `recipe`, `device`, `seed` are fields of the same name."""


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf field of the config as (dotted path, its annotation)."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from fields(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info.annotation


def known_path(key: str) -> str:
    """The dotted path that a key names: itself, its short form, or an entry of model.options; else UsageError."""
    path = SHORT.get(key.replace("-", "_"), key.replace("-", "_"))
    paths = dict(fields())
    if path in paths or (path.startswith("model.options.") and path.count(".") == 2):
        return path
    raise unknown("option", key, [*paths, *SHORT])


def state(key: str, text: str) -> Stated:
    """One `key=value` of a command line -> {dotted path: value}; the text is read by the field's type.

    Raises UsageError for an unknown key or a value that its field refuses.
    """
    path = known_path(key)
    if path.startswith("model.options."):
        return {path: _yaml(text, f"--{key}")}
    annotation = dict(fields())[path]
    if text.lower() in {"none", "null"} and type(None) in typing.get_args(annotation):
        return {path: None}
    return {path: _yaml(text, f"--{key}") if _needs_yaml(annotation) else text}


def _needs_yaml(annotation: Any) -> bool:
    """Whether pydantic would not read such a value from a text: lists, and numbers of which only some are allowed."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return not any(isinstance(choice, str) for choice in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return any(_needs_yaml(a) for a in typing.get_args(annotation))
    return origin in (tuple, list, dict)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Stated:
    """A nested mapping (args.yaml) -> dotted paths; keys that are no field raise UsageError with the nearest name."""
    flat: Stated = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        else:
            flat[known_path(path)] = value
    return flat


def build(stated: Stated) -> Config:
    """Stated fields over the defaults -> Config; raises UsageError naming the field and the value."""
    tree: dict[str, Any] = {}
    for path, value in stated.items():
        node = tree
        *parents, leaf = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error":  # words of our own, which say what was given
            raise UsageError(f"{where}: {first['ctx']['error']}") from None
        said = "a list in brackets is needed, [0.5,1]" if first["type"] == "tuple_type" else first["msg"].lower()
        given = "" if first["type"] == "missing" else f" (got {first['input']!r})"
        raise UsageError(f"{where}: {said}{given}") from None


def to_yaml(config: BaseModel) -> str:
    """The config as YAML in declaration order; `load` reads it back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load(path: Path) -> Stated:
    """Read a YAML config file into stated fields; raises UsageError on anything that is no config."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"cannot read config {path}: {str(reason).lower()}") from None
    tree = _yaml(text, str(path))
    if not isinstance(tree, dict):
        raise UsageError(f"config {path} holds no fields: expected a mapping such as 'train: {{epochs: 20}}'")
    return flatten(tree)


TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")


def seconds_of(time: str | float) -> float:
    """A time as users write it, "1h30m", "10m", "90s" or seconds; UsageError for anything else, and for none at all."""
    found = TIME.fullmatch(str(time).strip().lower().replace(" ", ""))
    seconds = (
        sum(float(number or 0) * unit for number, unit in zip(found.groups(), (3600, 60, 1), strict=True))
        if found
        else 0
    )
    if not 0 < seconds < 1e9:
        raise UsageError(f"time '{time}' is none: write 1h30m, 10m, 90s, or a number of seconds")
    return seconds


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None
