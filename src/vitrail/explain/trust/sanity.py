"""Whether a map has anything to do with what the model learned: it should change when that is taken away.

Adebayo et al. 2018 (arXiv 1810.03292), section 3: weights are randomised from the answer down, or one layer at a time
with the rest as trained, and the map of the same image and class is compared by the correlation of ranks. Here each
tensor keeps its own values in a random order: the scale of everything stays, attention does not become flat as with
fresh weights, and nothing that was learned is left.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone
from vitrail.explain.explainable import Explainable
from vitrail.explain.trust.table import ALONE
from vitrail.seeding import generator

Values = np.ndarray[Any, np.dtype[np.float64]]


def randomised(model: Explainable, level: str) -> Explainable:
    """A copy of a model, in evaluation mode, of whose weights those of a level of CASCADE or ALONE are shuffled.

    Every tensor is shuffled by a key of its own, the same on every device: levels differ in what is shuffled only.
    """
    changed = cast(nn.Module, copy.deepcopy(model)).eval()
    explainable = cast(Explainable, changed)
    wanted = {id(parameter) for part in _parts(explainable, level) for parameter in part.parameters()}
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if id(parameter) in wanted:
                order = generator("randomised weights", name).permutation(parameter.numel())
                parameter.copy_(parameter.flatten()[torch.from_numpy(order).to(parameter.device)].view_as(parameter))
    return explainable


def _parts(model: Explainable, level: str) -> Sequence[nn.Module]:
    """What is shuffled. Of a model with fewer than three blocks, several levels are the same."""
    if level == "all":
        return [cast(nn.Module, model)]
    backbone = cast(Backbone, model.backbone)
    if level == "stem alone":
        return [backbone.stem()]
    blocks = list(backbone.blocks())
    if level in ALONE:
        middle = len(blocks) // 2
        return {
            "first block alone": blocks[:1],
            "middle block alone": blocks[middle : middle + 1],
            "last block alone": blocks[-1:],
        }[level]
    count = {"head": 0, "last block": 1, "half": -(-len(blocks) // 2)}[level]
    return [model.head, *blocks[len(blocks) - count :]]


def rank_correlation(first: Values, second: Values) -> float:
    """Spearman's rho of two maps (n,), in [-1, 1], equal values sharing their mean rank; 0 where one is constant."""
    ranked = [_ranks(values) for values in (first, second)]
    centred = [values - values.mean() for values in ranked]
    lengths = [float(np.sqrt((values**2).sum())) for values in centred]
    return float((centred[0] * centred[1]).sum() / (lengths[0] * lengths[1])) if min(lengths) > 0 else 0.0


def _ranks(values: Values) -> Values:
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Values = (last - (counts + 1) / 2)[inverse]
    return shared


def correlations(maps: Tensor, others: Tensor) -> Iterator[float]:
    """Of each image's cells (B, N) and those of the randomised model."""
    for own, other in zip(maps.cpu().numpy(), others.cpu().numpy(), strict=True):
        yield rank_correlation(own, other)
