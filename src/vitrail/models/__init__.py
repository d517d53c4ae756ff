"""One file, or folder, is one family: its config, its table of variants, its class. This folder is the catalogue.

A family's module offers VARIANTS (rows), SHORT (short name -> full name) and `build` (config -> backbone). One whose
models are another library's has no rows: its `find` makes the row of a name when it is asked for, or gives None.
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError

from vitrail.contracts import Backbone, Features, Variant
from vitrail.errors import UsageError, unknown
from vitrail.layers.initialise import initialise


def _register_features() -> None:
    """Make `Features` a pytree, so that compile and export take it; the grid is part of the structure."""
    torch.utils._pytree.register_pytree_node(
        Features,
        lambda f: ([f.tokens, f.prefix, *(f.pyramid or ())], (f.grid, f.pyramid is not None)),
        lambda leaves, context: _features(list(leaves), context),
        serialized_type_name="vitrail.Features",
        to_dumpable_context=lambda context: [list(context[0]), context[1]],
        from_dumpable_context=lambda dumped: (tuple(dumped[0]), dumped[1]),
    )


def _features(leaves: list[Any], context: tuple[tuple[int, int], bool]) -> Features:
    grid, has_pyramid = context
    return Features(leaves[0], grid, leaves[1], tuple(leaves[2:]) if has_pyramid else None)


_register_features()


@cache
def families() -> dict[str, ModuleType]:
    """Family name -> its module."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def family_of(backbone: object) -> str:
    """The family of a backbone of the catalogue; of one from elsewhere, the package that it is from."""
    return type(backbone).__module__.removeprefix(f"{__name__}.").partition(".")[0]


@cache
def _catalogue() -> dict[str, Variant]:
    return {row.name: row for module in families().values() for row in module.VARIANTS}


def list_models(pattern: str = "*") -> list[str]:
    """Full names of the catalogue that match a shell pattern, in the order of their tables."""
    return [name for name in _catalogue() if fnmatch.fnmatchcase(name, pattern)]


def short_names() -> dict[str, str]:
    """Short name -> full name."""
    return {short: full for module in families().values() for short, full in module.SHORT.items()}


def variant(name: str) -> Variant:
    """The row of a full or short name; UsageError with the nearest names otherwise."""
    short = short_names()
    row = _catalogue().get(short.get(name, name)) or next(filter(None, _found(name)), None)
    if row is None:
        raise unknown("model", name, dict.fromkeys([*_catalogue(), *short]))
    return row


def _found(name: str) -> Iterator[Variant | None]:
    """What families without rows of their own say to a name."""
    for module in families().values():
        if hasattr(module, "find"):
            yield module.find(name)


def configure(name: str, /, **options: Any) -> Any:
    """A variant's config with some of its fields replaced.

    Raises UsageError for a field the family does not have, offering the nearest, or for a value it refuses.
    """
    row = variant(name)
    for option in options:
        if option not in type(row.config).model_fields:
            raise unknown(f"{row.family} option", option, type(row.config).model_fields)
    try:
        return type(row.config).model_validate({**row.config.model_dump(), **options})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for i, part in enumerate(first["loc"]) if not i or isinstance(part, int))
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{row.name}: {where + ': ' if where else ''}{message}") from None


def build_backbone(name: str, config: Any) -> Backbone:
    """The family's module with memory but no values: whoever assembles the whole initialises it."""
    with torch.device("meta"):
        backbone: torch.nn.Module = families()[variant(name).family].build(config)
    target = torch.get_default_device()
    if target.type != "meta":
        backbone.to_empty(device=target)
    assert isinstance(backbone, Backbone)
    return backbone


def create_backbone(name: str, seed: int = 0, **options: Any) -> Backbone:
    """A backbone of the catalogue with its first values, equal to those it has inside `create_model(name, seed=seed)`.

    options: fields of the family's config, such as image_size, patch_size, in_channels, depth.
    """
    backbone = build_backbone(name, configure(name, **options))
    assert isinstance(backbone, torch.nn.Module)
    initialise(backbone, seed, prefix="backbone.")
    return backbone
