"""Of what size images are seen, in what patches, and how their pixels are scaled."""

from __future__ import annotations

import re
from contextlib import suppress

from vitrail.contracts import Variant
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Facts, Pretrained, Wish

SMALL = 64
"""Images of fewer pixels a side are met by the family's own rule, whatever size the model was published at."""
ONE_GRID = ("vit", "deit")
"""Families whose tokens stand on one grid, as fine as their patch; the others' first grid is finer."""
NO_DETAIL_LOST = 96
"""Images of no more pixels a side are seen at their own size, whatever the recipe."""
PICTURES = 32
"""Pixels a side from which on a convolutional stem helps a ViT: on digits of 8 px it brings nothing (docs/log.md)."""
FINE = 16
"""Patches a side that a value per pixel needs at least: what patch 16 leaves of 256 pixels."""


def has_size(variant: Variant, name: str) -> bool:
    """Whether a model was named in full and its name has the image size it was published at."""
    return name == variant.name and str(max(variant.config.size)) in re.findall(r"\d+", name)


def choose_geometry(chooser: Chooser, at: tuple[int, str] | None = None, crop_fraction: Wish | None = None) -> None:
    """Image size, patch and what goes with it, pooling, and the preprocessing.

    What training starts from says its own. Else a model named with its size (`vit_tiny_patch16_224`) keeps its own
    patch and image size, unless the images are small. Every other is fitted to the images by its family's rule.

    at: the size that a published recipe trains at, and who says so; small images keep theirs.  crop_fraction: its own.
    """
    facts, variant = chooser.facts, chooser.variant
    begun = facts.pretrained
    own, name = variant.config, variant.name
    published, seen = max(own.size), chooser.stated.get("model.image_size", facts.native_size)
    sized = has_size(variant, chooser.stated.get("model.name", ""))
    if begun is not None:
        _continue(chooser, begun)
    elif sized and not 0 < seen < SMALL:
        chooser.pick("model.image_size", published, f"{name} is defined at this size")
        chooser.pick("model.patch_size", own.patch_size, f"{name} is defined with this patch")
    else:
        _fit(chooser, sized, published, at)
    wanted = f"{facts.task} asks all patches by attention"
    pooling, why = own.pooling, "as the model's table has it"
    if begun is not None:
        pooling, why = begun.pooling, "as the weights were trained"
    if facts.pooling and not (begun is not None and begun.head):
        pooling, why = facts.pooling, wanted
    chooser.pick("model.pooling", pooling, why)
    if facts.task != "classify":
        whole = "the whole image is seen: what lies at its edges counts"
        chooser.pick("preprocess.resize", "letterbox", whole)
    if crop_fraction is not None and chooser.stated.get("preprocess.resize", "crop") == "crop":
        chooser.pick("preprocess.crop_fraction", *crop_fraction)
    _scale(chooser)


def choose_stem(chooser: Chooser) -> None:
    """Convolutions instead of cut patches, where a ViT learns from few images; weights and full names keep theirs."""
    variant, named = chooser.variant, chooser.stated.get("model.name", "")
    if not hasattr(variant.config, "stem") or chooser.facts.pretrained is not None or has_size(variant, named):
        return
    if chooser.of("model.image_size") < PICTURES:
        return
    with_stem = {**variant.config.model_dump(), "patch_size": chooser.of("model.patch_size"), "stem": "conv"}
    with suppress(ValueError):  # a patch of other factors than convolutions step in is cut
        type(variant.config).model_validate(with_stem)
        chooser.pick(
            "model.options.stem", "conv", "few images: convolutions know of neighbours what patches must learn"
        )


def _scale(chooser: Chooser) -> None:
    """Mean and spread of pixels."""
    begun, variant = chooser.facts.pretrained, chooser.variant
    half = variant.normalisation == "half"
    mean: tuple[float, ...] = (0.5,) if half else (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.5,) if half else (0.229, 0.224, 0.225)
    if chooser.stated.get("data.channels", 3) != 3:
        mean, std = (0.5,), (0.5,)
    why = f"normalisation of the {variant.family} family"
    if begun is not None:
        mean, std, why = begun.mean, begun.std, "what the weights were trained with"
    chooser.pick("preprocess.mean", mean, why)
    chooser.pick("preprocess.std", std, why)


def _continue(chooser: Chooser, begun: Pretrained) -> None:
    """The size and shape that training starts from."""
    chooser.pick("model.image_size", begun.image_size, "the size that the weights were trained at")
    chooser.pick("model.patch_size", begun.patch_size, "the patch that the weights are for")
    for option, value in begun.options.items():
        if f"model.options.{option}" not in chooser.stated:
            chooser.pick(f"model.options.{option}", value, "the weights are of it")


def _fit(chooser: Chooser, sized: bool, published: int, at: tuple[int, str] | None) -> None:
    """The size that the images deserve, and the patch by the family's rule."""
    facts, variant, own = chooser.facts, chooser.variant, chooser.variant.config
    size, why = _image_size(facts)
    if sized:
        keep = f"--image-size {published} --patch-size {own.patch_size}"
        why += f"; under {SMALL} px the size in the name is not taken: {keep} keeps it"
    trains_at = None if 0 < facts.native_size <= NO_DETAIL_LOST else at
    size = chooser.pick("model.image_size", *(trains_at or (size, why)))
    if trains_at and size % own.patch_size == 0 and not facts.dense:
        chooser.pick("model.patch_size", own.patch_size, f"{variant.name} is defined with this patch")
        return
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
    if facts.dense and native > NO_DETAIL_LOST:
        side = min(256, round(native / 32) * 32)
        return side, f"the images are about {native} px, and every pixel has a value" + (
            "; more than 256 cost time" if side < native else ""
        )
    if 0 < native <= NO_DETAIL_LOST:
        return max(8, round(native / 8) * 8), f"the images are about {native} px: no detail is lost"
    if facts.images < 20_000:
        return 96, f"{facts.images} images from scratch: more pixels cost time and bring little"
    return 224, f"{facts.images} images of about {native} px"
