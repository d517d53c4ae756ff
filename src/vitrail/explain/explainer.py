"""From a model, an image and a method to an `Explanation`; what `predict`, `run` and the command line call."""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch

from vitrail.contracts import Pixels, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain.defaults import default_method, fitting
from vitrail.explain.explainable import Explainable
from vitrail.explain.explanation import Explanation
from vitrail.explain.methods import get_method
from vitrail.explain.question import Mask, Question, answered, refuse
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
    the method or the model does not have.
    """
    model = artifact.model
    explainable: Explainable = model  # type: ignore[assignment]  # a protocol cannot say "a Module that has these"
    chosen = get_method(method or default_method(explainable))
    question = Question(target, against, region, reader, cell)
    if why := chosen.fits(explainable):
        raise UsageError(f"{chosen.name}: {why}; {_instead(explainable)}")
    refuse(question, chosen, explainable, output_names(artifact.task))
    if layer is not None and not chosen.by_layer:
        raise UsageError(f"{chosen.name} does not look at single layers: leave the layer out")
    if head is not None and not chosen.by_head:
        raise UsageError(f"{chosen.name} does not look at single heads: leave the head out, or use raw_attention")
    device = next(model.parameters()).device
    preprocessor = artifact.preprocessor
    ready = preprocessor(pixels)[None]  # (1, C, H, W)
    outputs = make_engine(model, str(device), preprocessor.windows)(ready)
    prediction = artifact.task.decode(outputs, [source], [partial(preprocessor.to_image, size=pixels.shape[:2])])[0]
    window = centre_window(ready.shape[2:], preprocessor.windows)
    asked = answered(question, chosen, artifact.task, outputs[0], preprocessor, window, device)
    images = torch.from_numpy(ready[:, :, *window]).to(device)  # (1, C, H, W), of one window
    raw = np.full(ready.shape[2:], np.nan, np.float32)
    computed = chosen.compute(explainable, images, asked.target, layer=layer, head=head)
    raw[window] = computed[0].detach().float().cpu().numpy()
    part = "centre window" if images.shape != ready.shape else ""
    return Explanation(
        raw=raw,
        image=pixels,
        prediction=prediction,
        method=chosen.name,
        where=", ".join(filter(None, (chosen.where(explainable, layer, head), asked.through, part))),
        target=asked.output,
        preprocessor=preprocessor,
    )


def _instead(model: Explainable) -> str:
    """The methods that fit a model, for one who asked for another."""
    able = fitting(model)
    return f"methods that do: {', '.join(able)}" if able else "no method fits this model"


def centre_window(size: tuple[int, ...], window: tuple[int, int] | None) -> tuple[slice, ...]:
    """Rows and columns of the window at the centre of (H, W) pixels; all of them where there are no windows."""
    sides = zip(size, window or size, strict=True)
    return tuple(slice((length - side) // 2, (length - side) // 2 + side) for length, side in sides)
