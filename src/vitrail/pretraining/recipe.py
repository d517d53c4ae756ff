"""Settings of `vitrail pretrain`, chosen from the images, each with its reason.

After MAE (arXiv 2111.06377, table 8) for backbones that can leave patches out, and SimMIM (arXiv 2111.09886, appendix
A) for the others, made for small sets: the papers' rate of 1.5e-4 for 256 images is a batch of 4,096's, 2.4e-3, which
small batches reach by the square root, and their 800 to 1,600 epochs of a million images become as many updates as a
small set can use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from vitrail.assemble import build_trunk
from vitrail.contracts import Backbone, Variant
from vitrail.errors import UsageError
from vitrail.pretraining.autoencoder import SeesSome
from vitrail.pretraining.masks import unit_for
from vitrail.settings import NO_TASK, Stated, build
from vitrail.training.choices.augmentation import choose_augmentation
from vitrail.training.choices.chooser import Chooser, value_of
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.geometry import choose_geometry
from vitrail.training.choices.machine import choose_machine

USELESS: Mapping[str, str] = {
    "task.": "there are no targets",
    "distill.": "there are no targets for a teacher to give",
    "model.weights": "it begins from scratch; `vitrail train --from` goes on from what it leaves",
    "model.new_head": "there is no head",
    "augment.mixup": "two images in one are no image to fill in",
    "augment.cutmix": "two images in one are no image to fill in",
    "augment.mix_": "images are not mixed",
    "augment.erase": "squares are hidden already",
    "train.freeze": "everything learns",
    "train.lora_": "everything learns",
    "train.layer_decay": "nothing was learned before that lower layers should keep",
    "recipe": "there is one recipe",
}
"""Beginnings of fields -> why pretraining has no use for them."""


def refuse_useless(stated: Stated) -> None:
    """UsageError for a field that is stated, is not as it would be anyway, and would change nothing."""
    config, defaults = build(stated), build({"data.source": "any", "task.name": NO_TASK})
    for path in stated:
        for beginning, why in USELESS.items():
            if path.startswith(beginning) and value_of(config, path) != value_of(defaults, path):
                raise UsageError(f"{path}: pretraining has no use for it: {why}")


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons. Raises UsageError for a value that a field or the model refuses."""
    chooser = Chooser(facts, variant, {**stated, "task.name": NO_TASK})
    choose_geometry(chooser)
    chooser.pick("train.drop_path", 0.0, "as MAE has it: what is hidden is enough to regularise")
    _masking(chooser)
    _length(chooser)
    _images(chooser)
    choose_machine(chooser)
    return chooser.choice()


def _masking(chooser: Chooser) -> None:
    """What is hidden, and what fills it in."""
    with torch.device("meta"):
        backbone = cast(Backbone, build_trunk(build(chooser.stated))["backbone"])
    own, grid = chooser.stated, backbone.stages()[0].grid
    if isinstance(backbone, SeesSome):
        chooser.pick(
            "pretrain.mask_ratio", 0.75, "MAE: the encoder sees a quarter of the patches, at a quarter of cost"
        )
        patch = backbone.image_size[0] // grid[0]
        if own.get("pretrain.mask_unit") not in (None, patch):
            unit = own["pretrain.mask_unit"]
            raise UsageError(
                f"pretrain.mask_unit={unit}: what {variant_name(chooser)} leaves out are its patches of {patch}"
            )
        chooser.pick("pretrain.mask_unit", patch, "what is left out are patches")
        width = max(64, backbone.width // 2 // 32 * 32)
        chooser.pick("pretrain.decoder_width", width, "half the encoder's, as MAE has it, 64 at least")
        if own["pretrain.decoder_width"] % 4:
            raise UsageError(f"pretrain.decoder_width={own['pretrain.decoder_width']}: a multiple of 4 is needed")
        chooser.pick(
            "pretrain.decoder_depth", 2, "light: for fine-tuning one block is as good as eight (MAE, table 1a)"
        )
    else:
        for path in ("pretrain.decoder_width", "pretrain.decoder_depth"):
            if own.get(path) is not None:
                raise UsageError(f"{path}: {variant_name(chooser)} sees whole images, which one linear layer fills in")
        chooser.pick("pretrain.mask_ratio", 0.6, "SimMIM: the backbone sees the whole image, 60 % of it painted over")
        unit = unit_for(backbone.image_size, backbone.strides[-1])
        why = f"the coarsest stride, {backbone.strides[-1]} px, or half of it until 4 squares fit a side"
        chooser.pick("pretrain.mask_unit", unit, why)
    size, side = min(backbone.image_size), own["pretrain.mask_unit"]
    if (-(-size // side)) ** 2 < 4:
        raise UsageError(
            f"an image of {size} px in squares of {side} leaves too few to hide some and see some: take a smaller"
            f" {'--patch-size' if isinstance(backbone, SeesSome) else 'pretrain.mask_unit'}"
        )


def variant_name(chooser: Chooser) -> str:
    """The model as the user knows it."""
    return str(chooser.stated.get("model.name", chooser.variant.name))


def _length(chooser: Chooser) -> None:
    """Batch, epochs, rate, warm-up, and the rest of the optimizer."""
    n = chooser.facts.images
    batch = 64 if n < 5_000 else 128 if n < 50_000 else 256
    while batch > 8 and n < 4 * batch:
        batch //= 2
    batch = chooser.pick("train.batch_size", batch, f"{n} training images: some {n // batch} updates an epoch")
    epochs = max(20, min(400, round(300_000 / n)))
    epochs = chooser.pick("train.epochs", epochs, "about 300,000 images seen, between 20 and 400 epochs")
    rate = float(f"{2.4e-3 * (batch / 4096) ** 0.5:.1e}")
    chooser.pick("train.lr", rate, "MAE's and SimMIM's 2.4e-3 for 4,096 images, smaller with the root of the batch")
    chooser.pick("train.warmup_epochs", round(min(40.0, 0.05 * epochs), 2), "a twentieth of the run, as in MAE")
    chooser.pick("train.beta2", 0.95, "MAE's")
    chooser.pick("train.weight_decay", 0.05, "MAE's and SimMIM's")
    chooser.pick("train.min_lr", 0.0, "the cosine ends at nothing, as in MAE")


def _images(chooser: Chooser) -> None:
    """What is random of an image besides its mask."""
    photos = chooser.facts.flip and chooser.of("model.image_size") >= 32
    crops = ((0.2, 1.0), "MAE's") if photos else ((0.7, 1.0), "small or unmirrorable images: gentle crops")
    plain = "crops and mirroring are enough (MAE, table 1e)"
    wishes: dict[str, tuple[Any, str]] = {
        "crop_scale": crops,
        "randaugment_ops": (0, plain),
    }
    choose_augmentation(chooser, wishes)
