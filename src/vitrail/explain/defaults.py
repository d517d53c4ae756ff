"""The method that a model is explained by where none is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from vitrail.errors import UsageError
from vitrail.explain.explainable import Explainable, unsuited
from vitrail.explain.methods import get_method, list_methods

BY_FAMILY: Mapping[str, str] = {
    "ViT": "rollout",
    "DeiT": "rollout",
    "Swin": "rollout",
    "SwinV2": "rollout",
    "PVT": "relevance",
    "PVTv2": "relevance",
    "ResNet": "mean_ablation",
    "ConvNeXt": "mean_ablation",
}
"""Class of the backbone -> method: of those of a few passes the one that was measured to be the best.

On small trained models and 100 images with one object at a known place (`benchmarks/pointing.py`, docs/log.md), hits of
the highest point in percent, and insertion less deletion (a mark at the centre: 40 to 42, and ViT .21, DeiT .27, Swin
.14, PVT v2 .11, ResNet .36, ConvNeXt .05):

             rollout   relevance  mean ablation  Grad-CAM   gradient x input
    ViT      99  .22   96  .13    38  -.04       31  -.03   90  .05
    DeiT    100  .31  100  .23    72   .03       54   .04   90  .14
    Swin     99  .17   93  .16    92  .05         4  -.08   57  .03
    PVT v2   98  .16   98  .16    97  .05        21  -.01   82  .06
    ResNet    -         -        100  .53        88  .51    89  .56
    ConvNeXt  -         -         85  .08        22  .01    62  .03

Of PVT's two that are alike, relevance has more than twice as much of its map on the object (41 % of it, not 17) and
tells classes apart. None of these takes more than 3 forward passes' time; integrated gradients say more for 80: ViT
100 % and .32 (rollout .20 on the same 48 images), ResNet 100 % and .57 (mean ablation .53). Swin V2 and PVT follow the
family that they are built like. With lesser objects of other classes in the image, rollout points at the one that
counts in 100 % on ViT but 74 % on Swin, whose raw attention does in 95 %; its gain is the highest there too.
"""

BY_ATTENTION, BY_MAPS = "rollout", "mean_ablation"
"""For models from elsewhere: with attention that can be seen, and without."""


def default_method(model: Explainable) -> str:
    """The name of the method for a model's family, where it can explain this one; else the first that can."""
    family = next((kind.__name__ for kind in type(model.backbone).__mro__ if kind.__name__ in BY_FAMILY), "")
    named = BY_FAMILY.get(family, BY_MAPS if unsuited(model) else BY_ATTENTION)
    return next((name for name in (named, BY_MAPS, *list_methods()) if not get_method(name).fits(model)), named)


def fitting(model: Explainable) -> list[str]:
    """Names of the methods that can explain a model, in alphabetical order."""
    return [name for name in list_methods() if not get_method(name).fits(model)]


def misfit(model: Explainable, reasons: Mapping[str, str]) -> UsageError:
    """For who asked for methods that do not fit a model: each with its reason, and the names of those that do."""
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    able = ", ".join(fitting(model))
    return UsageError(f"{why}; {f'methods that do: {able}' if able else 'no method fits this model'}")
