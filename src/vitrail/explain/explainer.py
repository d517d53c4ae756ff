"""From a model, an image and a method to an `Explanation`; what `predict`, `run` and the command line call."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from vitrail.contracts import Pixels, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError, unknown
from vitrail.explain.attention import Explainable
from vitrail.explain.explanation import Explanation
from vitrail.explain.methods import Method, get_method
from vitrail.explain.target import Target
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
    from the end; None is the method's own choice. Of an image that the model goes over in windows, the one at its
    centre is explained; the answer is of the whole image.

    Raises UsageError for an unknown method or class, for a layer or head out of range (with the range), and for what
    the method or the model does not have.
    """
    chosen = get_method(method)
    _refuse(chosen, target, layer, head)
    model = artifact.model
    explainable: Explainable = model  # type: ignore[assignment]  # a protocol cannot say "a Module that has these"
    if why := chosen.fits(explainable):
        raise UsageError(why)
    device = next(model.parameters()).device
    preprocessor = artifact.preprocessor
    ready = preprocessor(pixels)[None]  # (1, C, H, W)
    outputs = make_engine(model, str(device), preprocessor.windows)(ready)
    prediction = artifact.task.decode(outputs, [source], [partial(preprocessor.to_image, size=pixels.shape[:2])])[0]
    labels = output_names(artifact.task)
    wanted = _target(target, labels, _most(outputs[0]))
    asked = Target(torch.tensor([wanted], device=device))
    window = centre_window(ready.shape[2:], preprocessor.windows)
    images = torch.from_numpy(ready[:, :, *window]).to(device)  # (1, C, H, W), of one window
    raw = np.full(ready.shape[2:], np.nan, np.float32)
    computed = chosen.compute(explainable, images, asked, layer=layer, head=head)
    raw[window] = computed[0].detach().float().cpu().numpy()
    part = ", centre window" if images.shape != ready.shape else ""
    return Explanation(
        raw=raw,
        image=pixels,
        prediction=prediction,
        method=chosen.name,
        where=f"{chosen.where(explainable, layer, head)}{part}",
        target=labels[wanted] if chosen.by_class else "",
        preprocessor=preprocessor,
    )


def _refuse(method: Method, target: str | int | None, layer: int | None, head: int | None) -> None:
    """UsageError for a choice that the method does not offer; better than an answer to another question."""
    if target is not None and not method.by_class:
        raise UsageError(f"{method.name} shows the same for every class: leave the target class out")
    if layer is not None and not method.by_layer:
        raise UsageError(f"{method.name} does not look at single layers: leave the layer out")
    if head is not None and not method.by_head:
        raise UsageError(f"{method.name} does not look at single heads: leave the head out, or use raw_attention")


def output_names(task: Task) -> list[str]:
    """What the outputs of a task are called: classes, labels, numbers or maps, in order."""
    state = task.state()
    return [str(name) for key in ("labels", "targets", "maps") for name in state.get(key, ())]


def _most(outputs: np.ndarray[Any, Any]) -> int:
    """The output that is largest, (Y,), or largest on the whole image, (Y, H, W)."""
    return int(np.argmax(outputs.reshape(len(outputs), -1).mean(axis=1)))


def centre_window(size: tuple[int, ...], window: tuple[int, int] | None) -> tuple[slice, ...]:
    """Rows and columns of the window at the centre of (H, W) pixels; all of them where there are no windows."""
    sides = zip(size, window or size, strict=True)
    return tuple(slice((length - side) // 2, (length - side) // 2 + side) for length, side in sides)


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
