"""How well classes per pixel are said: by area, and along the outlines.

Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.data.masks import UNTOLD

if TYPE_CHECKING:
    from torch import Tensor

SHOWN_CLASSES = 8
"""Up to so many classes, each has its own IoU among the metrics."""
BOUNDARY = 0.0075
"""Tolerance of the boundary score as a share of the image's diagonal (Csurka et al. 2013, section 3)."""


class SegmentMeter:
    """Counts pixels by true and said class; scores outlines image by image.

    confusion (Y, Y): known pixels, row the true class, column the said one.  images: of each image in turn, (3, Y)
    pixels rightly said, true and said to be of each class.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        count = len(self.labels)
        self.confusion = np.zeros((count, count), np.int64)
        self.outlines = np.zeros((2, count), np.float64)
        """Sum of boundary scores and number of images, per class."""
        self.images: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        said, true = outputs.argmax(dim=1).cpu(), targets.cpu()  # (B, H, W)
        count = len(self.labels)
        known = true != UNTOLD
        for row, pair in enumerate(true * count + said):
            counts = pair[known[row]].bincount(minlength=count * count).reshape(count, count).numpy()
            self.confusion += counts
            self.images.append(np.stack([np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)]))
        for index in range(count):
            scores = boundary_scores((said == index) & known, (true == index) & known)
            self.outlines[:, index] += float(scores.nansum()), int((~scores.isnan()).sum())

    def ious(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Intersection over union of each class, NaN where it neither is nor is said."""
        both = np.diag(self.confusion)
        either = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - both
        with np.errstate(invalid="ignore"):
            shares: np.ndarray[Any, np.dtype[np.float64]] = both / np.where(either > 0, either, np.nan)
        return shares

    def compute(self) -> dict[str, float]:
        ious, both = self.ious(), np.diag(self.confusion)
        present = ~np.isnan(ious)
        values: dict[str, float] = {}
        if present.any():
            sizes = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
            values["miou"] = float(ious[present].mean())
            values["dice"] = float((2 * both[present] / sizes[present]).mean())
            values["pixel_accuracy"] = float(both.sum() / self.confusion.sum())
        drawn = self.outlines[1] > 0
        if drawn.any():
            values["boundary_f1"] = float((self.outlines[0, drawn] / self.outlines[1, drawn]).mean())
        if len(self.labels) <= SHOWN_CLASSES:
            values |= {f"iou/{self.labels[i]}": float(ious[i]) for i in np.flatnonzero(present)}
        return values


def boundary_scores(said: Tensor, true: Tensor) -> Tensor:
    """F1 of the outlines of boolean masks (B, H, W) within 0.75 % of the diagonal: (B,), NaN where neither has any.

    Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?", section 3.
    """
    import torch

    height, width = said.shape[1:]
    reach = max(1, round(BOUNDARY * (height**2 + width**2) ** 0.5))
    outlines = [_outline(mask) for mask in (said, true)]
    near = [_dilate(outline, reach) for outline in outlines]
    sizes = [outline.sum(dim=(1, 2)) for outline in outlines]
    precision = (outlines[0] * near[1]).sum(dim=(1, 2)) / sizes[0].clamp(min=1)
    recall = (outlines[1] * near[0]).sum(dim=(1, 2)) / sizes[1].clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return torch.where(sizes[0] + sizes[1] > 0, f1, torch.nan)


def _outline(mask: Tensor) -> Tensor:
    """Pixels of a mask with a neighbour outside of it; the image's edge is no outline."""
    inside = mask.float()
    return inside * _dilate(1 - inside, 1)


def _dilate(mask: Tensor, reach: int) -> Tensor:
    import torch.nn.functional as F

    return F.max_pool2d(mask[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
