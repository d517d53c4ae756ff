"""The method that a model is explained by where none is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from vitrail.explain.explainable import Explainable, unsuited
from vitrail.explain.methods import get_method, list_methods

BY_FAMILY: Mapping[str, str] = {
    "ViT": "rollout",
    "DeiT": "rollout",
    "Swin": "rollout",
    "SwinV2": "rollout",
    "PVT": "rollout",
    "PVTv2": "rollout",
    "ResNet": "grad_cam",
    "ConvNeXt": "grad_cam",
}
"""Class of the backbone -> method."""

BY_ATTENTION, BY_MAPS = "rollout", "grad_cam"
"""For models from elsewhere: with attention that can be seen, and without."""


def default_method(model: Explainable) -> str:
    """The name of the method for a model's family, where it can explain this one; else the first that can."""
    family = next((kind.__name__ for kind in type(model.backbone).__mro__ if kind.__name__ in BY_FAMILY), "")
    named = BY_FAMILY.get(family, BY_MAPS if unsuited(model) else BY_ATTENTION)
    return next((name for name in (named, BY_MAPS, *list_methods()) if not get_method(name).fits(model)), named)


def fitting(model: Explainable) -> list[str]:
    """Names of the methods that can explain a model, in alphabetical order."""
    return [name for name in list_methods() if not get_method(name).fits(model)]
