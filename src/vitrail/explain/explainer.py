"""From a model, an image and a method to an `Explanation`; what `predict`, `run` and the command line call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch

from vitrail.contracts import Floats, Pixels, Prediction, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain.defaults import default_method, misfit
from vitrail.explain.explainable import Explainable
from vitrail.explain.explanation import Explanation
from vitrail.explain.methods import Method, get_method
from vitrail.explain.question import Answered, Mask, Question, answered, instead, refuse, refuse_region
from vitrail.explain.question import output_names as output_names
from vitrail.runtime.torch_engine import make_engine


class Explained(Protocol):
    """What is explained: `artifact.Artifact` is one."""

    @property
    def model(self) -> torch.nn.Module:
        """An `Explainable`."""

    @property
    def preprocessor(self) -> Preprocessor:
        """How its images are prepared."""

    @property
    def task(self) -> Task:
        """How its outputs are read."""


def explain(
    artifact: Explained,
    pixels: Pixels,
    source: str,
    *,
    method: str | None = None,
    target: str | int | None = None,
    against: str | int | None = None,
    region: Mask | Literal["answer"] | None = None,
    reader: str | None = None,
    cell: tuple[int, int] | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> Explanation:
    """Explain what a model says of one image, (height, width, C) uint8 with the model's C.

    method: None is the default of the model's family.  target, against, region, reader, cell: see `Question`.  layer,
    head: which, negative from the end; None is the method's own choice. Of an image that the model goes over in
    windows, the one at its centre is explained; the answer is of the whole image.

    Raises UsageError for an unknown method or class, for a layer or head out of range (with the range), and for what
    the method or the model does not have; `question.NotHere`, a UsageError, where it is this image that has no such
    answer.
    """
    model = _explainable(artifact)
    chosen = get_method(method or default_method(model))
    question = Question(target, against, region, reader, cell)
    _refuse(chosen, model, question, artifact.task)
    if layer is not None and not chosen.by_layer:
        use = instead(model, lambda other: other.by_layer)
        raise UsageError(f"{chosen.name} does not look at single layers: leave the layer out{use}")
    if head is not None and not chosen.by_head:
        use = instead(model, lambda other: other.by_head)
        raise UsageError(f"{chosen.name} does not look at single heads: leave the head out{use}")
    posed = _pose(artifact, pixels, source, chosen, question)
    raw = np.full(posed.size, np.nan, np.float32)
    computed = chosen.compute(model, posed.images, posed.asked.target, layer=layer, head=head)
    raw[posed.window] = computed[0].detach().float().cpu().numpy()
    part = "centre window" if raw[posed.window].shape != raw.shape else ""
    return Explanation(
        raw=raw,
        image=pixels,
        prediction=posed.prediction,
        method=chosen.name,
        where=", ".join(filter(None, (chosen.where(model, layer, head), posed.asked.through, part))),
        target=posed.asked.output,
        preprocessor=artifact.preprocessor,
    )


def explain_heads(
    artifact: Explained, pixels: Pixels, method: str, question: Question | None = None
) -> Sequence[Floats]:
    """Every layer and head of a method on one image: of each layer (A, h, w), its heads over its own grid.

    Raises UsageError as `explain` does, and for a method that does not look at single heads.
    """
    model, chosen, question = _explainable(artifact), get_method(method), question or Question()
    _refuse(chosen, model, question, artifact.task)
    if chosen.per_head is None:
        use = instead(model, lambda other: other.per_head is not None)
        raise UsageError(f"{chosen.name} does not look at single heads: leave it out{use}")
    posed = _pose(artifact, pixels, "", chosen, question)
    layers = chosen.per_head(model, posed.images, posed.asked.target)
    return [layer[0].detach().float().cpu().numpy() for layer in layers]


@dataclass(frozen=True)
class _Posed:
    """A question about one image, ready for a method. images (1, C, H, W): of one window.  window: where that is in the
    model's pixels, which are `size` in all.
    """

    prediction: Prediction
    images: torch.Tensor
    asked: Answered
    window: tuple[slice, ...]
    size: tuple[int, ...]


def _pose(artifact: Explained, pixels: Pixels, source: str, method: Method, question: Question) -> _Posed:
    """Ask the model for its answer, and make of the question what methods compute with."""
    refuse_region(question, pixels.shape[:2])
    device = next(artifact.model.parameters()).device
    preprocessor = artifact.preprocessor
    ready = preprocessor(pixels)[None]  # (1, C, H, W)
    outputs = make_engine(artifact.model, str(device), preprocessor.windows)(ready)
    prediction = artifact.task.decode(outputs, [source], [partial(preprocessor.to_image, size=pixels.shape[:2])])[0]
    window = centre_window(ready.shape[2:], preprocessor.windows)
    asked = answered(question, method, artifact.task, outputs[0], preprocessor, window, device)
    images = torch.from_numpy(ready[:, :, *window]).to(device)
    return _Posed(prediction, images, asked, window, ready.shape[2:])


def _explainable(artifact: Explained) -> Explainable:
    model: Explainable = artifact.model  # type: ignore[assignment]  # a protocol cannot say "a Module that has these"
    return model


def _refuse(method: Method, model: Explainable, question: Question, task: Task) -> None:
    """UsageError for what a method cannot do with a model."""
    if why := method.fits(model):
        raise misfit(model, {method.name: why})
    refuse(question, method, model, output_names(task))


def centre_window(size: tuple[int, ...], window: tuple[int, int] | None) -> tuple[slice, ...]:
    """Rows and columns of the window at the centre of (H, W) pixels; all of them where there are no windows."""
    sides = zip(size, window or size, strict=True)
    return tuple(slice((length - side) // 2, (length - side) // 2 + side) for length, side in sides)
