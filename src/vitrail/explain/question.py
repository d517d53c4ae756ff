"""What a user asks about an image, by name, as the target that methods compute with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex, cast

import numpy as np
import torch

from vitrail.contracts import Backbone, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError, unknown
from vitrail.explain.defaults import fitting
from vitrail.explain.explainable import Explainable, unread
from vitrail.explain.methods import Method, get_method
from vitrail.explain.target import Target

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class NotHere(UsageError):
    """The model has such answers, and this image has none: what cannot be asked of one image may be of others."""


@dataclass(frozen=True)
class Question:
    """target: an output (class, label, number, map) by name or place; None is the largest, with the region "answer" the
    one that most pixels are given to.  against: another, whose value is taken off: why this and not that.  region: of
    a model that answers for every pixel, where: (height, width) bool over the image, or "answer" for where the output
    explained is the largest; None is everywhere.  reader: the prefix token to read from, "cls" or "dist".  cell: (row,
    column) of the last grid, whose gaze is shown instead.
    """

    target: str | int | None = None
    against: str | int | None = None
    region: Mask | Literal["answer"] | None = None
    reader: str | None = None
    cell: tuple[int, int] | None = None


@dataclass(frozen=True)
class Answered:
    """What was asked, of one image. target: for methods.  output: in words, "" where the method shows the same for all.
    through: from where it is read, in words, "" where that is the head's own way.
    """

    target: Target
    output: str
    through: str


def refuse(question: Question, method: Method, model: Explainable, labels: Sequence[str]) -> None:
    """UsageError for what the method or the model does not offer; better than an answer to another question."""
    where_said = isinstance(question.region, str)
    matters = method.by_class or (where_said and question.against is None)
    if (question.target, question.against) != (None, None) and not matters:
        use = instead(model, lambda other: other.by_class)
        raise UsageError(f"{method.name} shows the same for every class: leave the target class out{use}")
    named = [_place(name, labels) for name in (question.target, question.against) if name is not None]
    if len(named) == 2 and named[0] == named[1]:
        raise UsageError(f"'{labels[named[0]]}' cannot be set against itself: name another class, or leave it out")
    if question.region is not None and not model.task.dense:
        raise UsageError("this model answers once for the whole image: a region can be asked of a value per pixel only")
    if where_said and question.region != "answer":
        raise UsageError(f"no region '{question.region}': give a mask of the image's pixels, or 'answer'")
    if where_said and len(labels) < 2:
        raise UsageError("this model has one map, which is the largest everywhere: give a region of pixels, or none")
    if question.reader is not None and unread(model, question.reader) and not method.by_cell:
        use = instead(model, lambda other: other.by_cell)
        raise UsageError(f"the answer of this model is not read from {question.reader}: leave the reader out{use}")
    if question.cell is not None:
        for kind, other in (("reader", question.reader), ("region", question.region)):
            if other is not None:
                raise UsageError(f"a cell and a {kind} both say whose gaze is asked for: leave one of them out")
        if not method.by_cell:
            use = instead(model, lambda other: other.by_cell)
            raise UsageError(f"{method.name} does not follow the gaze of a single patch: leave the cell out{use}")
        height, width = cast(Backbone, model.backbone).stages()[-1].grid
        if np.shape(question.cell) != (2,) or not all(isinstance(part, SupportsIndex) for part in question.cell):
            raise UsageError(f"a cell is a row and a column of patches, such as (3, 4), not {question.cell!r}")
        if not (0 <= question.cell[0] < height and 0 <= question.cell[1] < width):
            where = f"{question.cell[0]},{question.cell[1]}"
            raise UsageError(f"no patch {where}: this model's last grid has {height} rows of {width}, counted from 0")


def refuse_region(question: Question, size: tuple[int, int]) -> None:
    """NotHere for a region that is no mask of an image of (height, width) pixels: it would be laid elsewhere."""
    if question.region is None or isinstance(question.region, str):
        return
    shape = np.shape(question.region)
    if shape != size:
        raise NotHere(
            f"a region says of each pixel of the image whether it is in it: this one has the shape {shape}, and the "
            f"image has {size[0]} rows of {size[1]}"
        )


def instead(model: Explainable, able: Callable[[Method], bool]) -> str:
    """ ", or use a, b or c": the methods that fit a model and can be asked so; "" where there are none."""
    names = [name for name in fitting(model) if able(get_method(name))]
    listed = names[-1:] if len(names) < 2 else [", ".join(names[:-1]), names[-1]]
    return f", or use {' or '.join(listed)}" if names else ""


def answered(
    question: Question,
    method: Method,
    task: Task,
    outputs: np.ndarray[Any, Any],
    preprocessor: Preprocessor,
    window: tuple[slice, ...],
    device: torch.device,
) -> Answered:
    """The target of one image, whose outputs are (Y,), or (Y, H, W) over the model's pixels; `window` is what is shown.

    Raises UsageError for outputs that the task does not have, and NotHere for a region that the window does not touch,
    or where the answer is what it should be set against.
    """
    labels = output_names(task)
    named = outputs[: len(labels)]  # a number may have its variance beside it, which is no output to explain
    if isinstance(question.region, str):
        largest = int(np.bincount(named.argmax(axis=0).ravel()).argmax())
    else:
        largest = int(np.argmax(named.reshape(len(named), -1).mean(axis=1)))
    wanted = largest if question.target is None else _place(question.target, labels)
    other = None if question.against is None else _place(question.against, labels)
    if other == wanted:
        raise NotHere(f"the answer is '{labels[wanted]}' itself, and cannot be set against it: name a target class")
    words = labels[wanted] if other is None else f"{labels[wanted]} and not {labels[other]}"
    region, where = None, ""
    if question.region is not None:
        seen = _seen(question.region, outputs, wanted, preprocessor, labels[wanted])[window]
        region = torch.from_numpy(seen.copy())[None].to(device)  # (1, H, W)
        if not region.any():
            raise NotHere("nothing of the region is in the part of the image that is explained: choose another")
        where = f"where the answer is {labels[wanted]}" if isinstance(question.region, str) else "in a region"
        words += " where the answer is that" if isinstance(question.region, str) else " in a region"
    target = Target(
        torch.tensor([wanted], device=device),
        None if other is None else torch.tensor([other], device=device),
        region,
        question.reader,
        question.cell,
    )
    through = [f"read from {question.reader}"] if question.reader else []
    through += [f"read {where}"] if where and not method.by_class else []
    through += [f"gaze of patch {question.cell[0]},{question.cell[1]}"] if question.cell is not None else []
    return Answered(target, words if method.by_class else "", ", ".join(through))


def output_names(task: Task) -> list[str]:
    """What the outputs of a task are called: classes, labels, numbers or maps, in order."""
    state = task.state()
    return [str(name) for key in ("labels", "targets", "maps") for name in state.get(key, ())]


def _seen(
    region: Mask | Literal["answer"], outputs: np.ndarray[Any, Any], wanted: int, preprocessor: Preprocessor, name: str
) -> Mask:
    """A region over the model's pixels, (H, W)."""
    if isinstance(region, str):
        said: Mask = outputs.argmax(axis=0) == wanted
        if not said.any():
            raise NotHere(f"the answer is '{name}' nowhere on this image: name another class, or no region")
        return said
    inside = np.asarray(region) != 0  # masks from files say 255, or the number of a class
    canvas = preprocessor.canvas(*inside.shape)
    fitted: Mask = preprocessor.fit_values(inside.astype(np.uint8), np.zeros(canvas, np.uint8)) > 0
    return fitted


def _place(output: str | int, labels: Sequence[str]) -> int:
    if isinstance(output, str):
        if output not in labels:
            raise unknown("class", output, labels)
        return list(labels).index(output)
    if not isinstance(output, SupportsIndex):
        raise UsageError(f"a class is told by its name or its number, not {output!r}")
    if not 0 <= output < len(labels):
        raise UsageError(f"no class {output}: this model has {len(labels)}, 0 to {len(labels) - 1}")
    return output
