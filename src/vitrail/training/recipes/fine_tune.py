"""Every weight of a trained model learns on, most of all those near its head: after MAE (arXiv 2111.06377) and BEiT
(arXiv 2106.08254), whose rate falls from block to block towards the pixels.

    vitrail train PHOTOS --from CHECKPOINT

Time: some 60,000 images seen, a tenth of a training from scratch on as many. Result on ImageNet with MAE's weights:
top-1 83.7 (B, 100 epochs), 86.0 (L, 50), 86.9 (H, 50) (facebookresearch/mae, FINETUNE.md). Not reproduced here.

After `vitrail pretrain` on a small set, `small` is what is picked: such weights have most still to learn.

Image size, patch, pooling and normalisation stay those of the weights. MAE's rate is 5e-4 (B) or 1e-3 (L, H) for each
256 images of a batch, and its layer decay 0.65 (B) or 0.75 (L, H); SimMIM's is 0.8 for Swin.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.augmentation import choose_augmentation, choose_drop_path, choose_smoothing
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts, Wish
from vitrail.training.choices.geometry import choose_geometry
from vitrail.training.choices.imagenet import RANDAUGMENT, widest
from vitrail.training.choices.length import choose_rate
from vitrail.training.choices.machine import choose_machine
from vitrail.training.choices.transfer import choose_transfer_length, weights_of

LARGE = 1024
"""Width from which on MAE's settings are those of L and H."""
LONG = 20
"""Epochs from which on mixed and erased images pay."""


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    begun = weights_of(chooser, "fine_tune")
    large = widest(chooser) >= LARGE
    choose_geometry(chooser)
    epochs = choose_transfer_length(chooser, begun, seen=60_000, least=10, most=50)
    choose_rate(chooser, 1e-3 if large else 5e-4, 256, "MAE")
    chooser.pick("train.min_lr", min(1e-6, chooser.of("train.lr")), "MAE")
    chooser.pick("train.layer_decay", *_layer_decay(variant, large))
    chooser.pick("train.weight_decay", 0.05, "MAE")
    chooser.pick("train.ema", 0.0, "the weights are good from the first step: an average would hold them back")
    rate = {1024: 0.2, 1280: 0.3}.get(widest(chooser), 0.3 if large else 0.1)
    choose_drop_path(chooser, rate, "MAE: 0.1 up to B, 0.2 of L, 0.3 of H")
    choose_augmentation(chooser, _wishes(facts, epochs))
    choose_smoothing(chooser, 0.1, "MAE")
    choose_machine(chooser)
    return chooser.choice()


def _layer_decay(variant: Variant, large: bool) -> Wish:
    if variant.family == "resnet":
        return 1.0, "ResNets are fine-tuned at one rate"
    if variant.family in ("vit", "deit"):
        return (0.75, "MAE: of L and H") if large else (0.65, "MAE: of B")
    return 0.8, "SimMIM: of Swin"


def _wishes(facts: Facts, epochs: int) -> dict[str, Wish]:
    """How much an image varies: photographs as in MAE, what has few pixels or one way up gently."""
    short = f"{epochs} epochs are too short for it to pay"
    if not facts.flip or 0 < facts.native_size < 32:
        gentle = "small or unmirrorable images: they would lose what tells them apart"
        crop: Wish = ((0.7, 1.0), gentle)
        return {"crop_scale": crop, "randaugment_ops": (0, gentle), **dict.fromkeys(MIXED, (0.0, gentle))}
    mixed = {name: (value, "MAE") if epochs >= LONG else (0.0, short) for name, value in MIXED.items()}
    colours = {name: (value, "MAE") for name, value in RANDAUGMENT.items()}
    if facts.dense:
        mixed["jitter"] = (0.2, "colours may vary, places not")
    return {"crop_scale": ((0.35, 1.0), "photographs"), **colours, **mixed}


MIXED = {"mixup": 0.8, "cutmix": 1.0, "erase": 0.25}
