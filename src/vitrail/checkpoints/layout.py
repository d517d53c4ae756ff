"""What a file in `layouts/` offers: one published layout, all families in it, for reading and for writing."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.checkpoints import layouts
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import Table
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError, first_line, unknown

Tensors = Mapping[str, Tensor]

UNPUBLISHED: Mapping[str, tuple[Any, ...]] = {
    "stem": ("conv", "shifted"),
    "locality": (True,),
    "pooling": ("seq",),
}
"""Values of our configs' fields that no published layout has a place for."""


@dataclass(frozen=True)
class Claims:
    """What the files beside the tensors say of the model.

    name: of the catalogue.  families: that it may be of; empty where nothing is said.  fields: of the family's config,
    in our terms.  complete: whether they leave nothing open that no shape shows (heads, epsilon, ...).  labels: in the
    order of the outputs.  preprocess: fields of `Preprocessor` but its size and channels.  notes: in words.  task: that
    its head is for.  unknown: a name that they give the model and the catalogue has not: shapes alone then settle
    nothing.
    """

    name: str | None = None
    families: frozenset[str] = frozenset()
    fields: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    labels: tuple[str, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    task: str = "classify"
    unknown: str = ""


@dataclass(frozen=True)
class Outgoing:
    """A model on its way into a layout: its tensors under the layout's names, and all that a config may need.

    config: the backbone's, at the image size the model is set to.
    """

    tensors: Tensors
    name: str
    family: str
    config: Any
    labels: tuple[str, ...]
    preprocessor: Preprocessor
    task: str


@dataclass(frozen=True)
class Layout:
    """One published layout.

    fixed: family -> fields of its config that the layout leaves no choice in; a file has them, a model must.  unsaid:
    families whose bare tensors leave open what the layout lets vary and no shape shows.  suffix: of its file; "" for a
    folder.  containers: how its files come, likeliest first.
    """

    name: str
    title: str
    tables: tuple[Table, ...]
    fixed: Mapping[str, Mapping[str, Any]]
    write: Callable[[Outgoing, Path], Sequence[Path]]
    read: Callable[[Bundle], Claims] = lambda bundle: Claims()
    prepare: Callable[[Bundle], Tensors] = lambda bundle: bundle.tensors
    refuses: Callable[[str, Any], str] = lambda family, config: ""
    """(family, config) -> why a model cannot be written in this layout beyond what `fixed` says; "" where it can."""
    unsaid: frozenset[str] = frozenset()
    suffix: str = ""
    containers: tuple[str, ...] = ("safetensors",)

    def claims(self, bundle: Bundle) -> Claims:
        """What the files beside the tensors say; IntegrityError where that makes no sense."""
        try:
            claims = self.read(bundle)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
            why = first_line(error)
            raise IntegrityError(f"{bundle.path}: its config cannot be used: {why[:160]}") from None
        for name, value in claims.fields.items():
            if not _plain(value) or (name == "image_size" and not _size(value)):
                raise IntegrityError(f"{bundle.path}: its config says {name}={str(value)[:60]}, which cannot be")
        return claims

    def fitting(self, names: Sequence[str]) -> list[Table]:
        """The tables that a file with these names may be of."""
        return [table for table in self.tables if table.fits(names)]

    def table_for(self, family: str, config: Any) -> Table:
        """The table that a model is written by; UsageError in words where the layout cannot express it."""
        tables = [table for table in self.tables if table.family == family and table.keep(config)]
        if not tables:
            known = ", ".join(dict.fromkeys(table.family for table in self.tables))
            raise UsageError(f"the {self.name} layout has no place for a {family} model like this; it has {known}")
        for name, values in ({} if self.name == "vitrail" else UNPUBLISHED).items():
            own = getattr(config, name, None)
            if own in values:
                raise UsageError(f"the {self.name} layout cannot express {name}={own}: vitrail's own alone can")
        for name, value in self.fixed.get(family, {}).items():
            own = getattr(config, name, value)
            if not same(name, own, value):
                raise UsageError(
                    f"the {self.name} layout cannot express {name}={own} (a {family} in it has {value});"
                    " another layout can, such as vitrail"
                )
        why = self.refuses(family, config)
        if why:
            raise UsageError(f"the {self.name} layout cannot express {why}")
        return tables[0]


def _plain(value: Any) -> bool:
    """Whether it is a value that a config of ours may have."""
    simple = value is None or isinstance(value, (bool, int, float, str))
    return simple or (isinstance(value, (tuple, list)) and all(isinstance(v, (int, float)) for v in value))


def _size(value: Any) -> bool:
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    return len(sides) == 2 and all(isinstance(side, int) and 0 < side < 1 << 16 for side in sides)


def same(name: str, own: Any, other: Any) -> bool:
    """Whether two values of a config field make the same function; of LayerScale only whether it is there."""
    if name == "layer_scale":
        return bool(own) == bool(other)
    if isinstance(own, (list, tuple)) and isinstance(other, (list, tuple)):
        return tuple(own) == tuple(other)
    return bool(own == other)


@cache
def all_layouts() -> dict[str, Layout]:
    """Name -> layout, for every file in `layouts/`."""
    names = sorted(info.name for info in pkgutil.iter_modules(layouts.__path__))
    return {name: importlib.import_module(f"{layouts.__name__}.{name}").LAYOUT for name in names}


def layout_named(name: str) -> Layout:
    """The layout of a name; UsageError with the nearest otherwise."""
    if name not in all_layouts():
        raise unknown("layout", name, all_layouts())
    return all_layouts()[name]
