"""From a model, an image and a method to an `Explanation`; what `predict`, `run` and the command line call."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from vitrail.contracts import Pixels, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError, unknown
from vitrail.explain.attention import Explainable
from vitrail.explain.explanation import Explanation
from vitrail.explain.methods import Method, get_method
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


DEFAULT = "rollout"


def explain(
    artifact: Explained,
    pixels: Pixels,
    source: str,
    *,
    method: str = DEFAULT,
    target: str | int | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> Explanation:
    """Explain what a model says of one image, (height, width, C) uint8 with the model's C.

    target: a class by name or place in the model's order; None is the predicted one.  layer, head: which, negative
    from the end; None is the method's own choice.

    Raises UsageError for an unknown method or class, for a layer or head out of range (with the range), and for what
    the method or the model does not have.
    """
    chosen = get_method(method)
    _refuse(chosen, target, layer, head)
    model = artifact.model
    device = next(model.parameters()).device
    ready = artifact.preprocessor(pixels)[None]  # (1, C, H, W)
    images = torch.from_numpy(ready).to(device)
    outputs = make_engine(model, str(device), artifact.preprocessor.windows)(ready)
    prediction = artifact.task.decode(outputs, [source])[0]
    labels = [str(label) for label in artifact.task.state().get("labels", ())]
    wanted = _target(target, labels, int(np.argmax(outputs[0]))) if chosen.by_class else None
    explainable: Explainable = model  # type: ignore[assignment]  # a protocol cannot say "a Module that has these"
    index = None if wanted is None else torch.tensor([wanted], device=device)
    raw = chosen.compute(explainable, images, index, layer=layer, head=head)
    return Explanation(
        raw=raw[0].detach().float().cpu().numpy(),
        image=pixels,
        prediction=prediction,
        method=chosen.name,
        where=chosen.where(explainable, layer, head),
        target="" if wanted is None else labels[wanted],
        preprocessor=artifact.preprocessor,
    )


def _refuse(method: Method, target: str | int | None, layer: int | None, head: int | None) -> None:
    """UsageError for a choice that the method does not offer; better than an answer to another question."""
    if target is not None and not method.by_class:
        raise UsageError(f"{method.name} shows the same for every class: leave the target class out")
    if layer is not None and not method.by_layer:
        raise UsageError(f"{method.name} does not look at single layers: leave the layer out")
    if head is not None and not method.by_head:
        raise UsageError(f"{method.name} does not look at single heads: leave the head out, or use raw_attention")


def _target(target: str | int | None, labels: list[str], predicted: int) -> int:
    if target is None:
        return predicted
    if isinstance(target, str):
        if target not in labels:
            raise unknown("class", target, labels)
        return labels.index(target)
    if not 0 <= target < len(labels):
        raise UsageError(f"no class {target}: this model has {len(labels)}, 0 to {len(labels) - 1}")
    return target
