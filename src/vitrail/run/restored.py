"""Pictures of what a pretrained model fills in: the image, what it saw of it, and what it made of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Source
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.overlay import as_rgb
from vitrail.pretraining.masks import MaskedEvalLoader, Masking
from vitrail.pretraining.reconstruction import NoTargets, Reconstructor
from vitrail.report.data import Panel, Strip
from vitrail.report.section import fitted
from vitrail.run.pictures import denormalised

SHOWN = 6
SIDE = 192
"""Pixels of the longer side of a picture."""
GREY = 128
"""Of what was hidden."""


def pictures(
    model: Reconstructor, held_out: Sequence[int], source: Source, preprocessor: Preprocessor, masking: Masking,
    device: str,
) -> list[Strip]:  # fmt: skip
    """A few held-out images, evenly spaced, each as it is, as the model saw it, and filled in.

    held_out: indices in the source. An image that cannot be read is left out.
    """
    spaced = np.unique(np.linspace(0, len(held_out) - 1, SHOWN).round().astype(int))
    shown = [held_out[place] for place in spaced]
    (batch,) = MaskedEvalLoader(source, shown, NoTargets(), preprocessor, len(shown), 0, masking)
    good = batch.weights > 0
    if not bool(good.any()):
        return []
    images = batch.images[good].to(device)
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
