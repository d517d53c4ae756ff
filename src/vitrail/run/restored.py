"""Pictures of what a pretrained model fills in: the image, what it saw of it, and what it made of the rest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitrail.data.preprocess import Preprocessor
from vitrail.explain.overlay import as_rgb
from vitrail.pretraining.masks import MaskedEvalLoader
from vitrail.pretraining.reconstruction import Reconstructor
from vitrail.report.data import Panel, Strip
from vitrail.report.section import fitted
from vitrail.run.pictures import denormalised

SHOWN = 8
SIDE = 192
"""Pixels of the longer side of a picture."""
GREY = 128
"""Of what was hidden."""


def pictures(
    model: Reconstructor, validation: MaskedEvalLoader, preprocessor: Preprocessor, device: str
) -> list[Strip]:
    """The first held-out images that can be read, each as it is, as the model saw it, and filled in."""
    batch = next(iter(validation))
    good = batch.weights > 0
    images = batch.images[good][:SHOWN].to(device)
    pixels, hidden = images[:, :-1], images[:, -1:]
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        filled = model.painted(model.predict(pixels, hidden), pixels, hidden)
    model.train(was_training)
    keys = [key for key, kept in zip(batch.keys, good.tolist(), strict=True) if kept]
    rows = zip(keys, pixels.cpu(), hidden.cpu(), filled.cpu(), strict=False)
    return [_strip(preprocessor, *row) for row in rows]


def _strip(preprocessor: Preprocessor, key: str, pixels: Tensor, hidden: Tensor, filled: Tensor) -> Strip:
    whole, made = (denormalised(preprocessor, image.numpy()) for image in (pixels, filled))
    seen = np.where(hidden[0].numpy()[..., None] > 0, np.uint8(GREY), whole)
    panels = (("the image", whole), ("what the model saw", seen), ("filled in", made))
    return Strip("", key, [Panel(words, fitted(as_rgb(shown), SIDE)) for words, shown in panels])
