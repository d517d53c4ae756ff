"""How the answer changes where the image is covered, window by window; for anything that answers images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.explain.passes import FORWARD, chunks, rows
from vitrail.explain.target import Target

Answer = Callable[[Tensor, Target, Tensor], Tensor]
"""(images (N, C, H, W), target, which (N,) of the images asked about each is a copy of, on the CPU) -> scores (N,)."""


@dataclass(frozen=True)
class Covering:
    """Windows that slide over an image. window: (rows, columns).  step: (down, right), at most the window's sides."""

    window: tuple[int, int]
    step: tuple[int, int]

    def windows(self, size: tuple[int, int]) -> list[tuple[slice, slice]]:
        """Their places on (H, W) pixels, row by row, every pixel under one at least; the last ones are cut off."""
        down, across = (
            [slice(start, min(start + reach, side)) for start in _starts(side, reach, step)]
            for side, reach, step in zip(size, self.window, self.step, strict=True)
        )
        return [(upright, level) for upright in down for level in across]


def _starts(side: int, reach: int, step: int) -> range:
    assert 0 < step <= reach, "a larger step would leave pixels out"
    return range(0, max(1, math.ceil((side - reach) / step) + 1) * step, step)


def drops(answer: Answer, images: Tensor, target: Target, covering: Covering, cover: float = 0.0) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W) float32: by how much the score falls where a pixel is covered.

    The mean over the windows that hold it of score(image) - score(image with the window set to `cover`). Copies go
    through the model as many at once as the budget of a forward pass allows.
    """
    size = (images.shape[2], images.shape[3])
    places = covering.windows(size)
    which = torch.arange(len(images))  # on the CPU, where indices fit tensors of every device
    whole = torch.cat([answer(images[s], rows(target, s), which[s]) for s in chunks(len(images), size, FORWARD)])
    fallen = torch.zeros(len(images), *size, device=images.device)
    times = torch.zeros(size, device=images.device)
    for window in places:
        times[window] += 1
    for chosen in chunks(len(images) * len(places), size, FORWARD):
        copies = [divmod(number, len(places)) for number in range(chosen.start, chosen.stop)]
        owners = torch.tensor([owner for owner, _ in copies])  # (N,)
        covered = images[owners]  # (N, C, H, W), a copy
        for one, (_, place) in zip(covered, copies, strict=True):
            one[:, *places[place]] = cover
        fall = whole[owners] - answer(covered, rows(target, owners), owners)  # (N,)
        for by, (owner, place) in zip(fall, copies, strict=True):
            fallen[owner, *places[place]] += by
    return fallen / times
