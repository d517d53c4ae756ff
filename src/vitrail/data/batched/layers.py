"""One change for each image of a batch, of several kinds, each kind computed for all of its images at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitrail.data.batched.operations import Operation
from vitrail.data.batched.whole import Integers, Settings
from vitrail.data.transfer import to_device


@dataclass(frozen=True)
class Layer:
    """What happens to each image: operations[kinds[i]] with settings[i]. kinds (B,), settings (B, S).

    alpha: whether a fourth channel goes through it too, as a grey image.
    """

    operations: Sequence[Operation]
    kinds: Integers
    settings: Settings
    alpha: bool = True

    def __call__(self, images: Tensor, fill: Tensor) -> Tensor:
        """(B, C, H, W) float32 of whole numbers -> the same; fill (C,). It is the host that knows who goes where."""
        distinct = list(dict.fromkeys(self.operations))  # kinds may share one, apart in their settings alone
        groups = np.array([distinct.index(operation) for operation in self.operations])[self.kinds]
        order = np.argsort(groups, kind="stable")
        counts = np.bincount(groups, minlength=len(distinct)).tolist()
        places = to_device(np.stack([order, np.argsort(order, kind="stable")]), images.device)
        settings = to_device(self.settings[order], images.device)
        changed: list[Tensor] = []
        start = 0
        images = images[places[0]]
        for operation, count in zip(distinct, counts, strict=True):
            if count:
                rows = slice(start, start + count)
                changed.append(_apply(operation, images[rows], settings[rows], fill, self.alpha))
                start += count
        return torch.cat(changed)[places[1]]


def _apply(operation: Operation, images: Tensor, settings: Tensor, fill: Tensor, alpha: bool) -> Tensor:
    if images.shape[1] != 4:
        return operation(images, settings, fill)
    colour, fourth = images[:, :3], images[:, 3:]
    if alpha:
        fourth = operation(fourth, settings, fill[3:])
    return torch.cat([operation(colour, settings, fill[:3]), fourth], dim=1)
