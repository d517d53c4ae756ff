"""Which model of the catalogue a set of tensors is: by what its config says, else by its shapes, else by asking."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vitrail.checkpoints.layout import Claims, Layout, same
from vitrail.checkpoints.table import Table
from vitrail.contracts import Variant
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import families, variant

Facts = dict[str, Any]
"""Fields of a family's config that the shapes of its tensors show."""


@dataclass(frozen=True)
class Identity:
    """A row of the catalogue, the fields in which the model departs from it, and the outputs of its head (0: none)."""

    table: Table
    row: Variant
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 0

    def __str__(self) -> str:
        departs = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return self.row.name + (f" with {departs}" if departs else "")


def identify(layout: Layout, tables: Sequence[Table], tensors: Mapping[str, Tensor], claims: Claims, named: str | None
) -> Identity:  # fmt: skip
    """The model that these tensors are.

    named: the model that the user says it is.  Raises UsageError where several models fit, listing them, where none
    does, or where the named one cannot be; IntegrityError where config and tensors contradict each other.
    """
    metas = {name: tensor.to("meta") for name, tensor in tensors.items()}
    known = []
    for table in tables:
        if claims.families and table.family not in claims.families:
            continue
        ours = {name: tuple(tensor.shape) for name, tensor in table.translate(metas).items()}
        known.append((table, facts_of(table.family, ours, claims.fields), outputs_of(ours)))
    if not known:
        says = " or ".join(sorted(claims.families))
        raise IntegrityError(f"its config says {says}, and its tensors are those of {tables[0].family}")
    name = named or claims.name
    if name is not None:
        return _named(layout, known, claims, variant(name), asked=named is not None)
    found = [
        Identity(table, row, options, outputs)
        for table, facts, outputs in known
        for row, options in _candidates(layout, table, facts, claims)
    ]
    settled = [one for one in found if not one.options] or found
    if not settled:
        table, facts, _ = known[0]
        raise UsageError(
            f"no {table.family} of the catalogue has these shapes ({_shown(facts)});"
            " name the one it is like with --model, whose heads and epsilon then hold"
        )
    if len({_function(one, claims) for one in settled}) > 1 or (
        settled[0].table.family in layout.unsaid and not claims.complete
    ):
        names = ", ".join(dict.fromkeys(str(one) for one in settled[:8])) + (", ..." if len(settled) > 8 else "")
        raise UsageError(
            f"its tensors may be those of {names}; heads, epsilon, activation, window and preprocessing leave no trace"
            " in them: say which with --model"
        )
    return settled[0]


def _named(layout: Layout, known: Sequence[tuple[Table, Facts, int]], claims: Claims, row: Variant, asked: bool
) -> Identity:  # fmt: skip
    """The row that was named, with the fields in which the tensors depart from it."""
    for table, facts, outputs in known:
        if table.family != row.family:
            continue
        stated = _stated(layout, table.family, facts, claims)
        for anchor in ("width", "widths", "linear"):
            if anchor in stated and not same(anchor, getattr(row.config, anchor, stated[anchor]), stated[anchor]):
                error = UsageError if asked else IntegrityError
                own = getattr(row.config, anchor)
                raise error(
                    f"{row.name} has {anchor} {own}, and the tensors have {stated[anchor]}: it is another model"
                )
        return Identity(table, row, _departures(row, stated), outputs)
    fit = ", ".join(dict.fromkeys(table.family for table, _, _ in known))
    raise UsageError(f"{row.name} is of the family {row.family}, and the tensors are those of {fit}")


def _candidates(layout: Layout, table: Table, facts: Facts, claims: Claims) -> Iterable[tuple[Variant, Facts]]:
    """Rows of a family that the tensors may be of; with a complete config, at least the one that is nearest."""
    stated = _stated(layout, table.family, facts, claims)
    rows = families()[table.family].VARIANTS if table.family in families() else ()
    departing = [(row, _departures(row, stated)) for row in rows]
    fitting = [(row, options) for row, options in departing if not options.keys() - {"image_size"}]
    if fitting or not claims.complete or not departing:
        return fitting
    return [min(departing, key=lambda pair: len(pair[1]))]


def row_of(family: str, config: Any) -> tuple[Variant, Facts]:
    """The row of a family that a config departs from in the fewest fields, and those fields."""
    stated = config.model_dump(exclude={"drop_path"})
    rows = families()[family].VARIANTS
    return min(((row, _departures(row, stated)) for row in rows), key=lambda pair: len(pair[1]))


def _stated(layout: Layout, family: str, facts: Facts, claims: Claims) -> Facts:
    for name, value in claims.fields.items():
        if name in facts and not same(name, value, facts[name]):
            raise IntegrityError(f"its config says {name}={value}, and its tensors have {facts[name]}")
    return {**layout.fixed.get(family, {}), **facts, **claims.fields}


def _departures(row: Variant, stated: Mapping[str, Any]) -> Facts:
    fields = type(row.config).model_fields
    own = {name: getattr(row.config, name) for name in stated if name in fields}
    return {name: stated[name] for name, value in own.items() if not same(name, value, stated[name])}


def _function(one: Identity, claims: Claims) -> tuple[Any, ...]:
    """What tells two candidates apart: the graph, and the preprocessing where the file does not bring it."""
    row = one.row
    graph = row.config.model_copy(update=dict(one.options)).model_dump_json(exclude={"drop_path", "layer_scale"})
    scaled = bool(getattr(row.config, "layer_scale", 0))
    prepared = () if claims.preprocess else (row.normalisation, row.crop_fraction, row.interpolation)
    return (graph, scaled, prepared)


def _shown(facts: Facts) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


# ---------------------------------------------------------------------------------------------- what shapes show

Shapes = Mapping[str, tuple[int, ...]]
"""Our names -> shapes."""


def outputs_of(ours: Shapes) -> int:
    """Y, by the last layer of the head; 0 where there is none."""
    return ours.get("head.fc.weight", (0,))[0]


def facts_of(family: str, ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    """Fields of the family's config that the shapes show. claimed: what a config says, for grids that are no square."""
    read = FACTS.get(family)
    return {name: value for name, value in read(ours, claimed).items() if value is not None} if read else {}


def count(ours: Shapes, template: str) -> int:
    """How many numbers n, from 0 on, make `template.format(n)` the beginning of a name."""
    number = 0
    while any(name.startswith(template.format(number)) for name in ours):
        number += 1
    return number


def _grid_side(cells: int) -> int | None:
    side = math.isqrt(max(cells, 0))
    return side if side * side == cells and side else None


def _vit(ours: Shapes, claimed: Mapping[str, Any]) -> Facts:
    width, channels, patch, _ = ours.get("backbone.patch_embed.proj.weight", (None, None, None, None))
    first = "backbone.encoder.0"
    has_cls, distilled = "backbone.cls_token" in ours, "backbone.dist_token" in ours
    prefix = has_cls + distilled
    rows = ours.get("backbone.pos_embed", (1, 0, 0))[1]
    facts: Facts = {
        "width": width,
        "in_channels": channels,
        "patch_size": patch,
        "depth": count(ours, "backbone.encoder.{}.") or None,
        "hidden": ours.get(f"{first}.mlp.fc1.weight", (None,))[0],
        "cls": has_cls,
        "distilled": distilled,
        "registers": ours.get("backbone.registers", (1, 0, 0))[1],
        "qkv_bias": f"{first}.attn.qkv.bias" in ours,
        "layer_scale": 1e-4 if f"{first}.scale1.gamma" in ours else 0.0,
        "pooling": "map" if "head.pool.probe" in ours else None if has_cls else "mean",
    }
    side = _grid_side(rows - prefix) or _grid_side(rows)
    if rows and side and patch and not isinstance(claimed.get("image_size"), (tuple, list)):
        facts["image_size"] = side * patch
    return facts


FACTS: dict[str, Callable[[Shapes, Mapping[str, Any]], Facts]] = {"vit": _vit}
"""Family -> how its shapes are read."""
