"""Which model of the catalogue a set of tensors is: by what its config says, else by its shapes, else by asking."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vitrail.checkpoints.facts import Facts, facts_of, outputs_of
from vitrail.checkpoints.layout import Claims, Layout, same
from vitrail.checkpoints.table import Table
from vitrail.contracts import Variant
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import families, variant

ANCHORS = ("width", "widths", "linear")
"""Fields in which a model must be as the row that is named for it where heads and epsilon are then the row's."""
SAID_BY_LAYOUT = ("eps", "reduction_eps", "final_eps", "activation")
"""Fields that no shape shows and that a whole layout may have in common."""


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
        return _named(layout, known, claims, variant(name))
    found = [
        Identity(table, row, options, outputs)
        for table, facts, outputs in known
        for row, options in _candidates(layout, table, facts, claims)
    ]
    settled = [one for one in found if not one.options.keys() - _carried(layout, one.table.family, claims)] or found
    if not settled:
        table, facts, _ = known[0]
        raise UsageError(
            f"no {table.family} of the catalogue has these shapes ({_shown(facts)});"
            " name the one it is like with --model, whose heads and epsilon then hold"
        )
    if claims.unknown:
        names = ", ".join(dict.fromkeys(str(one) for one in settled[:8]))
        raise UsageError(
            f"its config says {claims.unknown}, which the catalogue has not; its tensors may be those of {names},"
            " and no tensor shows what it computes otherwise: where it is one of them, say which with --model"
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


def _named(layout: Layout, known: Sequence[tuple[Table, Facts, int]], claims: Claims, row: Variant
) -> Identity:  # fmt: skip
    """The row that was named, with the fields in which the tensors depart from it."""
    for table, facts, outputs in known:
        if table.family != row.family:
            continue
        stated = _stated(layout, table.family, facts, claims)
        for anchor in () if claims.complete else ANCHORS:
            if anchor in stated and not same(anchor, getattr(row.config, anchor, stated[anchor]), stated[anchor]):
                own = getattr(row.config, anchor)
                raise UsageError(
                    f"{row.name} has {anchor} {own}, and the tensors have {stated[anchor]}: it is another model"
                )
        return Identity(table, row, _departures(row, stated), outputs)
    fit = ", ".join(dict.fromkeys(table.family for table, _, _ in known))
    raise UsageError(f"{row.name} is of the family {row.family}, and the tensors are those of {fit}")


def _candidates(layout: Layout, table: Table, facts: Facts, claims: Claims) -> Iterable[tuple[Variant, Facts]]:
    """Rows of a family that the tensors may be of; with a complete config, at least the one that is nearest."""
    stated = _stated(layout, table.family, facts, claims)
    rows = families()[table.family].VARIANTS if table.family in families() else ()
    known = type(rows[0].config).model_fields if rows else {}
    if any(value and name not in known for name, value in facts.items()):
        return []  # it has what this family has not, such as a distillation token
    departing = [(row, _departures(row, stated)) for row in rows]
    free = {"image_size", *_carried(layout, table.family, claims)}
    fitting = [(row, options) for row, options in departing if not options.keys() - free]
    if fitting or not claims.complete or not departing:
        return fitting
    return [min(departing, key=lambda pair: len(pair[1]))]


def _carried(layout: Layout, family: str, claims: Claims) -> set[str]:
    """Fields that the layout says of every model in it, such as the tanh GELU of JAX: they tell no rows apart."""
    return {name for name in SAID_BY_LAYOUT if name in layout.fixed.get(family, {}) and name not in claims.fields}


def row_of(family: str, config: Any) -> tuple[Variant, Facts]:
    """The row of a family that a config departs from in the fewest fields, and those fields.

    A family of another library's models has no table of its own: there the config names the model.
    """
    stated = config.model_dump(exclude={"drop_path", "drop_path_rule"})
    rows = families()[family].VARIANTS or (variant(f"{family}:{config.name}"),)
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
    row, whole = one.row, one.row.config.model_copy(update=dict(one.options))
    graph = whole.model_dump(mode="json", exclude={"drop_path", "drop_path_rule", "layer_scale"})
    graph = {name: value for name, value in graph.items() if value is not False}  # a DeiT may be no more than a ViT
    prepared = () if claims.preprocess else (row.normalisation, row.crop_fraction, row.interpolation)
    return (json.dumps(graph, sort_keys=True), bool(getattr(whole, "layer_scale", 0)), prepared)


def _shown(facts: Facts) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
