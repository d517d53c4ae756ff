"""How a model is asked for an explanation: in evaluation mode, a few images at a time, and left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Features
from vitrail.errors import UsageError
from vitrail.explain.explainable import Explainable, readers
from vitrail.explain.recorder import uncompiled
from vitrail.explain.target import Target

FORWARD = 32 * 224 * 224
BACKWARD = 8 * 224 * 224
"""Pixels that go through a model at once, without and with gradients: images of 1024 px go one by one. What a backward
pass keeps of ViT-B/16 is about 0.15 GB for 224 px."""


@contextmanager
def evaluating(model: Explainable) -> Iterator[None]:
    """Evaluation mode, as the code is written and not as it was compiled; each module's own mode is put back."""
    module = cast(nn.Module, model)
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        with uncompiled(module):
            yield
    finally:
        for part in training:
            part.training = True


def chunks(count: int, size: tuple[int, ...], budget: int) -> Iterator[slice]:
    """0 to count in runs of as many images of (H, W) as `budget` pixels hold, one at least."""
    together = max(1, budget // (size[0] * size[1]))
    for start in range(0, count, together):
        yield slice(start, min(count, start + together))


def rows(target: Target, chosen: slice | Tensor) -> Target:
    """What is asked of those images of a batch: a run of them, or places (N,) int64 on the CPU, which may repeat."""
    against = None if target.against is None else target.against[chosen]
    region = None if target.region is None else target.region[chosen]
    return replace(target, output=target.output[chosen], against=against, region=region)


def score(model: Explainable, images: Tensor, target: Target, rest: Features | None = None) -> Tensor:
    """What `target` asks of images (B, C, H, W): (B,) float32, with a gradient where that is enabled.

    Where the target names a reader, all other tokens that the head reads are held, at `rest` or else where they are: a
    change of the image, or a gradient, then comes to the answer through that token alone.

    Raises UsageError for a reader that the model does not have.
    """
    features = model.features(images, pyramid=model.task.dense)
    if target.reader is not None:
        features = _through(features, _place(model, target.reader), features if rest is None else rest)
    return _usable(target).score(model.answer(features, images.shape[2:]).float())


def _usable(target: Target) -> Target:
    """The same where it was made in inference mode, whose tensors no graph may hold."""
    made = (target.output, target.against, target.region)
    output, against, region = (t.clone() if t is not None and t.is_inference() else t for t in made)
    assert output is not None
    return replace(target, output=output, against=against, region=region)


def _place(model: Explainable, reader: str) -> int:
    if model.task.dense:
        raise UsageError("a model that answers for every pixel reads no such token: leave the reader out")
    return readers(model, reader)[0]


def _through(features: Features, place: int, rest: Features) -> Features:
    """The prefix token at `place` as it is, all others as in `rest` and constant."""
    held = rest.prefix.detach()
    prefix = torch.cat([held[:, :place], features.prefix[:, place : place + 1], held[:, place + 1 :]], dim=1)
    return replace(features, tokens=rest.tokens.detach(), prefix=prefix)
