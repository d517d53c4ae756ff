"""From one model of ours into another of the same family, which may be for other images and other answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from vitrail.assemble import VisionModel, fill
from vitrail.checkpoints.account import dims, expected
from vitrail.checkpoints.door import through_twin
from vitrail.checkpoints.report import Entry, LoadReport, check
from vitrail.checkpoints.table import Table, rows
from vitrail.contracts import Rows
from vitrail.errors import UsageError
from vitrail.models import family_of


class Head(Protocol):
    """A head that says which of its layers depend on what is asked."""

    def last(self) -> Sequence[nn.Module]:
        """The layers with a row per output."""


def unlike(model: VisionModel, source: VisionModel) -> str:
    """Why the head of `source` cannot stand on `model`, whatever it answers, in a clause; "" where it can."""
    own, theirs = (type(each.head).__name__ for each in (model, source))
    if own != theirs:
        return f"it is a {theirs}, and a {own} is needed"
    if model.pooling != source.pooling and not model.task.dense:
        return f"it pools by {source.pooling}, and {model.pooling} is asked for"
    if _shapes(_trunk(model.head)) != _shapes(_trunk(source.head)):
        return "its parts are of other sizes"
    return ""


def transfer(model: VisionModel, source: VisionModel, read: LoadReport, inherited: Rows | None) -> LoadReport:
    """Fill `model`, all of it or nothing, from a model of ours that was read; the account of both steps as one.

    The backbones may differ in image size (positions and bias tables are resized), in patch (a plain ViT's kernel is)
    and in window.  inherited: the rows of the head's last layer to take over, None for a fresh one. What stands before
    that layer, such as attention pooling or a decoder, is taken over where it is the same.

    Raises UsageError where only another patch is in the way, and IntegrityError where anything else is.
    """
    family = family_of(model.backbone)
    table = Table(family, rows(("backbone.**", "backbone.**")), needs=())
    theirs = expected({"backbone.": source.backbone})
    if hasattr(model.backbone, "config"):
        native = cast(Any, source.backbone).image_size
        values, entries = through_twin(model.backbone, {}, table, theirs, native)
        _check_patch(entries, model, source)
    else:  # from Python
        values = {name: tensor for name, tensor in theirs.items() if name in expected({"backbone.": model.backbone})}
        entries = [Entry((name,), (name,), "used") for name in theirs]
    taken, of_head = _head(model, source, inherited)
    whole = _joined(read.entries, [*entries, *of_head])
    check(whole, read.source, read.model)
    own = model.state_dict()
    values = {**values, **taken}
    fill(model, {**{name: own[name] for e in of_head if e.state == "fresh" for name in e.ours}, **values}, read.source)
    return replace(read, entries=tuple(whole), parameters=sum(tensor.numel() for tensor in values.values()))


def _check_patch(entries: Sequence[Entry], model: VisionModel, source: VisionModel) -> None:
    """UsageError where tensors do not fit and the patch, which someone stated, is another."""
    own, theirs = (cast(Any, each.backbone).config.patch_size for each in (model, source))
    if own != theirs and any(entry.state in ("missing", "left over", "differs") for entry in entries):
        raise UsageError(
            f"--patch-size {own}: the weights are for patch {theirs}, and only the patches of a plain ViT or DeiT can"
            " be resized: leave it out"
        )


# ------------------------------------------------------------------------------------------------------------ the head


def _head(
    model: VisionModel, source: VisionModel, inherited: Rows | None
) -> tuple[dict[str, Tensor], list[Entry]]:  # fmt: skip
    """Values for the head, and the account: fresh is what none of theirs becomes."""
    own, theirs = expected({"head.": model.head}), expected({"head.": source.head})
    if unlike(model, source):
        return {}, [
            *(Entry((name,), (), "fresh", "of the new head") for name in own),
            *(Entry((), (name,), "left out", "of the old head") for name in theirs),
        ]
    before = _trunk(model.head)
    values = {name: theirs[name] for name in before}
    entries = [Entry((name,), (name,), "used") for name in before]
    last = [(name, own[name]) for name in own if name not in before]
    if inherited is None:
        entries += [Entry((name,), (), "fresh", "of the new head") for name, _ in last]
        return values, entries + [
            Entry((), (name,), "left out", "of the old head") for name in theirs if name not in before
        ]
    for name, tensor in last:
        values[name] = made = _rows(theirs[name], inherited)
        if made.shape != tensor.shape:
            entries.append(Entry((name,), (name,), "differs", f"{dims(made)} for {dims(tensor)}"))
            continue
        same = made.shape == theirs[name].shape and torch.equal(made, theirs[name])
        entries.append(Entry((name,), (name,), "used" if same else "converted", "" if same else _how(inherited)))
    return values, entries


def _rows(tensor: Tensor, inherited: Rows) -> Tensor:
    """A weight (Y', ...) or bias (Y',) of a last layer -> (Y, ...), computed in float64."""
    made = tensor[list(inherited.places)]
    if inherited.unchanged:
        return made
    scale, shift = (torch.tensor(each, dtype=torch.float64) for each in (inherited.scale, inherited.shift))
    scaled = made.double() * scale.reshape(-1, *(1,) * (made.ndim - 1))
    return (scaled + shift if made.ndim == 1 else scaled).to(tensor)


def _how(inherited: Rows) -> str:
    return "rows by name" if inherited.unchanged else "rows by name, rescaled to the units here"


def _trunk(head: nn.Module) -> dict[str, Tensor]:
    """The tensors of a head before its last layers, by full name."""
    last = {id(layer) for layer in cast(Head, head).last()}
    ends = {
        f"head.{path}.{name}"
        for path, module in head.named_modules()
        if id(module) in last
        for name, _ in module.named_parameters()
    }
    return {name: tensor for name, tensor in expected({"head.": head}).items() if name not in ends}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


# ---------------------------------------------------------------------------------------------------------- the account


def _joined(read: Sequence[Entry], moved: Sequence[Entry]) -> list[Entry]:
    """What became of the source's tensors on their way through the model that they were read as.

    moved: of that model's tensors, by the names they have in both.
    """
    became = {name: entry for entry in moved for name in entry.theirs}
    whole = []
    for entry in read:
        if entry.state == "fresh":  # of a stand-in head
            continue
        steps = [became[name] for name in entry.ours if name in became]
        changed = next((step for step in steps if step.state != "used"), None)
        if changed is None:
            whole.append(entry)
        else:
            note = ", ".join(filter(None, (entry.note, changed.note)))
            ours = tuple(name for step in steps for name in step.ours)
            whole.append(Entry(ours, entry.theirs, changed.state, note))
    return whole + [entry for entry in moved if not entry.theirs]
