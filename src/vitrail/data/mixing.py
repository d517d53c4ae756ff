"""Mixup and CutMix, drawn for fixed groups of the global order.

The groups are of MIX_GROUP consecutive positions of a step's batch and mix among themselves. What a group does is a
pure function of (data seed, step, its number in the step), so it is the same however many micro-steps or processes
share the step, as long as none of them cuts a group in two. It is drawn on the host, and done where the images are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Batch, Mixing
from vitrail.data.transfer import to_device
from vitrail.seeding import generator
from vitrail.settings import AugmentConfig

MIX_GROUP = 8

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class _Plan:
    """What one group does. partners: within the group. share: of itself that a sample keeps. box: top, bottom, left,
    right of what it has of another."""

    how: Literal["mixup", "cutmix"]
    partners: Indices
    share: float
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


def mix(
    batch: Batch, config: AugmentConfig, data_seed: int, step: int, group: int = MIX_GROUP, first_group: int = 0
) -> Batch:
    """Mix a step's (or micro-step's) images, and say in `mixing` who was mixed with whom; targets stay as they are.

    first_group: number in the whole step of the batch's first group. In a group, all samples keep the same share of
    themselves: mixup (Zhang et al. 2018) draws it from Beta(a, a); CutMix (Yun et al. 2019) draws the box's area so,
    and the share is corrected to the area that is left inside the image. Each sample's partner is another one, where
    the group has more than one, and no copy of itself where images stand several times in a row (augment.repeats) and
    none fills more than half of the group. A sample whose partner failed keeps all of itself.
    """
    if not (config.mixup or config.cutmix):
        return batch
    images, good = batch.images, (batch.weights > 0).cpu().numpy()
    count, (height, width) = len(images), images.shape[-2:]
    partners, share, kept = np.arange(count), np.ones(count), np.ones(count)
    boxes = np.zeros((count, 4), np.int64)
    for number, start in enumerate(range(0, count, group)):
        rows = np.arange(start, min(start + group, count))
        first = int(batch.positions[start]) if config.repeats > 1 else 0
        plan = _plan(config, len(rows), first, height, width, (data_seed, step, first_group + number))
        if plan is None:
            continue
        partners[rows] = start + plan.partners
        rows = rows[good[partners[rows]]]
        share[rows], boxes[rows] = plan.share, plan.box
        kept[rows] = plan.share if plan.how == "mixup" else 1.0
    device = images.device
    mixing = Mixing(to_device(partners, device), to_device(share.astype(np.float32), device))
    others = images[mixing.partners]
    if (kept < 1).any():
        own, rest = (to_device(part.astype(np.float32), device)[:, None, None, None] for part in (kept, 1 - kept))
        images = images * own + others * rest
    if boxes.any():
        images = torch.where(_inside(to_device(boxes, device), height, width), others, images)
    return replace(batch, images=images, mixing=mixing)


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W) bool: which pixels lie in boxes (B, 4) of top, bottom, left, right."""
    top, bottom, left, right = boxes[:, :, None].unbind(dim=1)  # (B, 1) each
    y, x = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    return (((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None, :])[:, None]


def _plan(config: AugmentConfig, count: int, first: int, height: int, width: int, key: tuple[int, ...]) -> _Plan | None:
    rng = generator("mix", *key)
    if rng.uniform() >= config.mix_probability or count < 2:
        return None
    cut = rng.uniform() < 0.5 if config.mixup and config.cutmix else bool(config.cutmix)
    strength = config.cutmix if cut else config.mixup
    keep = float(rng.beta(strength, strength))
    partners = _partners(rng, count, first, config.repeats)
    if not cut:
        return _Plan("mixup", partners, keep)
    side = (1 - keep) ** 0.5
    top, bottom = _span(height, side, rng.uniform())
    left, right = _span(width, side, rng.uniform())
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return _Plan("cutmix", partners, kept, (top, bottom, left, right))


def _partners(rng: np.random.Generator, count: int, first: int, repeats: int) -> Indices:
    """For each of `count` > 1 samples, from position `first` of the endless order on, another one of them."""
    if repeats == 1:
        circle, step = rng.permutation(count), 1
    else:
        copies = np.unique((first + np.arange(count)) // repeats, return_inverse=True)[1]
        sizes = np.bincount(copies)
        images = rng.permutation(len(sizes))[copies]
        circle = np.lexsort((rng.permutation(count), images))  # the copies of an image side by side
        step = min(int(sizes.max()), count // 2)  # far enough to leave them
    partners = np.empty(count, np.int64)
    partners[circle] = np.roll(circle, -step)  # the one so many places on in a circle of all: never itself
    return partners


def _span(length: int, share: float, place: float) -> tuple[int, int]:
    """A stretch of share * length pixels around a uniform centre, clipped to the image."""
    middle, half = place * length, share * length / 2
    return max(0, round(middle - half)), min(length, round(middle + half))
