"""From a file's tensors to a model's, with every one on both sides entered in the account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.report import Entry, State
from vitrail.checkpoints.table import Link, Table, any_match
from vitrail.layers.patch import resize_kernel
from vitrail.layers.position import resize_bias_table

HEAD = "head.fc"
"""How the names of a head's last layers begin: what depends on the classes, and is left out for a new head."""


def gather(
    table: Table, model: Mapping[str, Tensor], tensors: Mapping[str, Tensor], config: Any, new_head: bool = False
) -> tuple[dict[str, Tensor], list[Entry]]:
    """Values for the names of `model`, and the account.

    model: name -> tensor of the wanted shape and dtype, with or without memory.  config: of its backbone.
    new_head: leave the file's head out and the model's as it is.
    """
    wanted = [name for name in model if not (new_head and name.startswith(HEAD))]
    fresh = [name for name in model if name not in wanted]
    if new_head and not any("head.pool.probe" in table.ours_of(name) for name in tensors):
        fresh += [name for name in wanted if name.startswith("head.pool.")]
        wanted = [name for name in wanted if name not in fresh]
    links, homeless = table.links(wanted)
    entries = [Entry((name,), (), "missing", "the layout has no place for it") for name in homeless]
    values: dict[str, Tensor] = {}
    taken: set[str] = set()
    for link in links:
        absent = [name for name in link.theirs if name not in tensors]
        if absent:
            note = "" if absent == list(link.ours) else f"expected as {' + '.join(absent)}"
            entries.append(Entry(link.ours, (), "missing", note))
            continue
        taken.update(link.theirs)
        made, state, note = _convert(link, tensors, model, config)
        entries.append(Entry(link.ours, link.theirs, state, note))
        values.update(made)
    entries += [Entry((name,), (), "fresh", "of the new head") for name in fresh]
    entries += [_left(table, name, model, new_head) for name in tensors if name not in taken]
    return values, entries


def _convert(
    link: Link, tensors: Mapping[str, Tensor], model: Mapping[str, Tensor], config: Any
) -> tuple[dict[str, Tensor], State, str]:
    """The values of one link, what became of them, and how."""
    given = [tensors[name] for name in link.theirs]
    try:
        made = list(link.how.read(given, config))
    except (RuntimeError, ValueError, IndexError):
        return {}, "differs", f"{' and '.join(map(dims, given))} cannot be {link.how.what or 'taken'}"
    state: State = "used" if all(a is b for a, b in zip(made, given, strict=False)) else "converted"
    note = link.how.what if state == "converted" else ""
    values = {}
    for name, value in zip(link.ours, made, strict=True):
        want = model[name]
        if value.shape != want.shape:
            resized = _resized(name, value, want)
            if resized is None:
                return {}, "differs", f"{dims(value)} for {dims(want)}"
            state, note, value = "resized", f"{dims(value)} to {dims(want)}", resized
        if value.dtype != want.dtype:
            if value.is_complex() or value.is_floating_point() != want.is_floating_point():
                return {}, "differs", f"{_kind(value)} for {_kind(want)}"
            state, note = ("converted" if state == "used" else state), f"{_kind(value)} to {_kind(want)}"
        values[name] = value.to(want.dtype).contiguous()
    return values, state, note


def _resized(name: str, value: Tensor, want: Tensor) -> Tensor | None:
    """A patch kernel or a bias table on another grid; positions are the family's own to resize."""
    if name.endswith("patch_embed.proj.weight") and value.ndim == want.ndim == 4 and value.shape[:2] == want.shape[:2]:
        return resize_kernel(value, (want.shape[2], want.shape[3]))
    if name.endswith("attn.bias_table") and value.ndim == want.ndim == 2 and value.shape[1] == want.shape[1]:
        return resize_bias_table(value, want.shape[0])
    return None


def _left(table: Table, name: str, model: Mapping[str, Tensor], new_head: bool) -> Entry:
    if any(any_match(text, [name]) for text in table.derived):
        return Entry((), (name,), "derived", "computed, ours has its own")
    ours = table.ours_of(name)
    of_head = any_match_of(table.head, name) or any(own.startswith("head.") for own in ours)
    if new_head and of_head:
        return Entry((), (name,), "left out", "of the old head")
    return Entry((), (name,), "left over")


def any_match_of(texts: Sequence[str], name: str) -> bool:
    """Whether one of the templates is this name."""
    return any(any_match(text, [name]) for text in texts)


def dims(tensor: Tensor) -> str:
    """A shape as 3 x 4."""
    return " x ".join(map(str, tensor.shape)) or "a scalar"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def expected(modules: Mapping[str, torch.nn.Module]) -> dict[str, Tensor]:
    """Name -> tensor of several modules under prefixes of their own."""
    return {f"{prefix}{name}": t for prefix, module in modules.items() for name, t in module.state_dict().items()}
