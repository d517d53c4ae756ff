"""Of what size images are seen, in what patches, and how their pixels are scaled."""

from __future__ import annotations

import re

from vitrail.contracts import Variant
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Facts

SMALL = 64
"""Images of fewer pixels a side are met by the family's own rule, whatever size the model was published at."""
ONE_GRID = ("vit", "deit")
"""Families whose tokens stand on one grid, as fine as their patch; the others' first grid is finer."""
FINE = 16
"""Patches a side that a value per pixel needs at least: what patch 16 leaves of 256 pixels."""


def has_size(variant: Variant, name: str) -> bool:
    """Whether a model was named in full and its name has the image size it was published at."""
    return name == variant.name and str(max(variant.config.size)) in re.findall(r"\d+", name)


def choose_geometry(chooser: Chooser) -> None:
    """Image size, patch and what goes with it, pooling, and the preprocessing.

    A model named with its size (`vit_tiny_patch16_224`) keeps its own patch and image size, unless the images are
    small. Every other is fitted to the images by its family's rule.
    """
    facts, variant = chooser.facts, chooser.variant
    own, name = variant.config, variant.name
    published, seen = max(own.size), chooser.stated.get("model.image_size", facts.native_size)
    sized = has_size(variant, chooser.stated.get("model.name", ""))
    if sized and not 0 < seen < SMALL:
        chooser.pick("model.image_size", published, f"{name} is defined at this size")
        chooser.pick("model.patch_size", own.patch_size, f"{name} is defined with this patch")
    else:
        _fit(chooser, sized, published)
    wanted = f"{facts.task} asks all patches by attention"
    chooser.pick(
        "model.pooling", facts.pooling or own.pooling, wanted if facts.pooling else "as the model's table has it"
    )
    if facts.task != "classify":
        whole = "the whole image is seen: what lies at its edges counts"
        chooser.pick("preprocess.resize", "letterbox", whole)
    half = variant.normalisation == "half"
    mean, std = ((0.5,), (0.5,)) if half else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    if chooser.stated.get("data.channels", 3) != 3:
        mean, std = (0.5,), (0.5,)
    chooser.pick("preprocess.mean", mean, f"normalisation of the {variant.family} family")
    chooser.pick("preprocess.std", std, f"normalisation of the {variant.family} family")


def _fit(chooser: Chooser, sized: bool, published: int) -> None:
    """The size that the images deserve, and the patch by the family's rule."""
    facts, variant, own = chooser.facts, chooser.variant, chooser.variant.config
    size, why = _image_size(facts)
    if sized:
        keep = f"--image-size {published} --patch-size {own.patch_size}"
        why += f"; under {SMALL} px the size in the name is not taken: {keep} keeps it"
    size = chooser.pick("model.image_size", size, why)
    fitted = variant.fit(own, size)
    options = {"patch_size": own.patch_size, **fitted.options}
    patch = options.pop("patch_size")
    if facts.dense and variant.family in ONE_GRID:
        fine = _fine_patch(patch, size)
        chooser.pick("model.patch_size", fine, f"{size}/{fine} = {size // fine} patches a side: a value per pixel")
    elif chooser.pick("model.patch_size", patch, fitted.why) == patch:  # the rest was chosen for this patch
        for option, value in options.items():
            chooser.pick(f"model.options.{option}", value, fitted.why)


def _fine_patch(patch: int, size: int) -> int:
    """The largest patch, no larger than `patch`, that leaves FINE patches a side; 1 pixel where none does."""
    return next((p for p in range(patch, 0, -1) if size % p == 0 and size // p >= FINE), 1)


def _image_size(facts: Facts) -> tuple[int, str]:
    """Pixels a side that the images deserve, and why."""
    native = facts.native_size
    if facts.dense and native > 96:
        side = min(256, round(native / 32) * 32)
        return side, f"the images are about {native} px, and every pixel has a value" + (
            "; more than 256 cost time" if side < native else ""
        )
    if 0 < native <= 96:
        return max(8, round(native / 8) * 8), f"the images are about {native} px: no detail is lost"
    if facts.images < 20_000:
        return 96, f"{facts.images} images from scratch: more pixels cost time and bring little"
    return 224, f"{facts.images} images of about {native} px"
