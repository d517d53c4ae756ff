"""What is compared: each arm is the fields that `vitrail train` is given, and what has to be trained before it.

All arms of a data set see the same images at the same size, and have as many parameters as its ViT, within 10 %.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import vitrail
from vitrail.cost.count import parameters

Fields = Mapping[str, Any]
LIKE = 0.10
"""Largest relative difference in parameters."""


@dataclass(frozen=True)
class Arm:
    """fields: dotted paths of the config.  teacher: the arm whose run of the same seed teaches.  pretrain: share of the
    time, or of the epochs, that pretraining on the same images takes first.  rate: the arm whose tuned rate is taken;
    itself where empty.  parts: also score each head of a distilled model alone.
    """

    what: str
    fields: Fields
    teacher: str = ""
    pretrain: float = 0.0
    rate: str = ""
    parts: bool = False


@dataclass(frozen=True)
class Set:
    """A data set as the comparison takes it. vit: fields of its ViT, of model.options by their names alone.  naive: the
    patch of the naive ViT.
    """

    image_size: int
    outputs: int
    vit: Fields
    naive: int
    common: Fields = field(default_factory=dict)


def arms(data: Set) -> dict[str, Arm]:
    """Every arm by name, in the order in which they are to be trained: teachers before who learns from them."""
    vit = {"model.name": "vit_tiny", **options_of(data.vit)}
    deit = {"model.name": "deit_tiny_distilled", **options_of(data.vit)}
    target = count("vit_tiny", data, data.vit)
    patches, shifted = {"model.options.stem": "patch"}, {"model.options.stem": "shifted"}
    locality = {"model.options.locality": True}
    found = {
        "naive": Arm(
            f"ViT, patch {data.naive}, crop and flip only",
            {**vit, "recipe": "plain", "model.patch_size": data.naive, "model.pooling": "cls"},
        ),
        "recipe": Arm("ViT, the small recipe", vit),
        "resnet18": Arm("ResNet-18, 3 x 3 stem, the small recipe", sized("resnet18", data, target)),
        "swin": Arm("Swin", sized("swin_tiny_patch4_window7_224", data, target)),
        "pvt_v2": Arm("PVT v2", sized("pvt_v2_b0", data, target)),
        "patches": Arm("recipe, patches cut instead of convolutions", {**vit, **patches}, rate="recipe"),
        "shifted": Arm("recipe, shifted patches (SPT)", {**vit, **shifted}, rate="recipe"),
        "locality": Arm("recipe + locality attention (LSA)", {**vit, **locality}, rate="recipe"),
        "spt+lsa": Arm("recipe, SPT + LSA", {**vit, **shifted, **locality}, rate="recipe"),
        "seq": Arm("recipe + sequence pooling", {**vit, "model.pooling": "seq"}, rate="recipe"),
        "pretrained": Arm("recipe, pretrained on the same images for half the time", vit, pretrain=0.5, rate="recipe"),
        "pretrained+small": Arm(
            "the same, then the small recipe instead of fine-tuning's",
            {**vit, "recipe": "small"}, pretrain=0.5, rate="recipe",
        ),
        "soft": Arm(
            "DeiT: soft, through [CLS]", {**vit, "distill.kind": "soft"}, teacher="resnet18", rate="recipe"
        ),
        "hard": Arm(
            "DeiT: hard, through [CLS]", {**vit, "distill.kind": "hard"}, teacher="resnet18", rate="recipe"
        ),
        "token": Arm("DeiT: hard, by the token", deit, teacher="resnet18", rate="recipe", parts=True),
        "soft token": Arm(
            "DeiT: soft, by the token",
            {**deit, "distill.kind": "soft"}, teacher="resnet18", rate="recipe", parts=True,
        ),
        "teacher only": Arm(
            "soft, through [CLS], the targets' part a tenth",
            {**vit, "distill.kind": "soft", "distill.weight": 0.9}, teacher="resnet18", rate="recipe",
        ),
        "feature": Arm(
            "the teacher's feature map", {**vit, "distill.kind": "feature"}, teacher="resnet18", rate="recipe"
        ),
        "auto": Arm(
            "the teacher's feature map; the teacher trained within the same time",
            {**vit, "distill.kind": "feature", "distill.teacher": "auto"},
            rate="recipe",
        ),
    }  # fmt: skip
    return {
        name: Arm(a.what, {**data.common, **a.fields}, a.teacher, a.pretrain, a.rate, a.parts)
        for name, a in found.items()
    }


def options_of(options: Fields) -> dict[str, Any]:
    """As fields of the config."""
    return {f"model.options.{name}": value for name, value in options.items()}


def _swin(depth: int) -> Callable[[int], dict[str, Any]]:
    return lambda n: {"width": 3 * n, "depths": (2, 2, depth, 2), "heads": (3, 6, 12, 24)}


SHAPES: Mapping[str, Sequence[Callable[[int], dict[str, Any]]]] = {
    "resnet18": [lambda n: {"width": n}],
    "swin_tiny_patch4_window7_224": [_swin(6), _swin(4), _swin(2)],
    "pvt_v2_b0": [lambda n: {"widths": (n, 2 * n, 5 * n, 8 * n)}],
}
"""Model -> its options at a width of n, in each shape; what is preferred comes first."""
WIDEST = 256


def sized(model: str, data: Set, target: int) -> Fields:
    """Fields of `model` at the width nearest to so many parameters, in the first shape that has one within LIKE.

    Raises SystemExit where none has.
    """
    for shape in SHAPES[model]:
        above = bisect.bisect_left(range(1, WIDEST), target, key=lambda n: count(model, data, shape(n))) + 1
        off = {n: abs(count(model, data, shape(n)) / target - 1) for n in (max(1, above - 1), above)}
        nearest = min(off, key=lambda n: off[n])
        if off[nearest] <= LIKE:
            return {"model.name": model, **options_of(shape(nearest))}
    raise SystemExit(f"{model} comes in no size within {100 * LIKE:g} % of {target:,} parameters")


def count(model: str, data: Set, options: Fields) -> int:
    """Parameters at the data's size, with the patch that the family's rule takes there."""
    from vitrail.models import variant

    row = variant(model)
    fit = dict(row.fit(row.config, data.image_size).options)
    with torch.device("meta"):
        made = vitrail.create_model(model, outputs=data.outputs, image_size=data.image_size, **{**fit, **options})
    return parameters(made)
