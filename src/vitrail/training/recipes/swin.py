"""Swin (Liu et al. 2021, arXiv 2103.14030) and Swin V2 (arXiv 2111.09883): ImageNet from scratch.

    vitrail train IMAGENET --recipe swin --model swin_tiny_patch4_window7_224

Time: 300 epochs, 3.8e8 images seen; at the 647 images/s that timm publishes for training Swin-T on one RTX 3090, some 7
days. Result: top-1 81.3 (T), 83.0 (S), 83.5 (B) at 224 px (paper). Not reproduced here. Settings: Swin's config.py and
configs/, with a rate of 5e-4 for each 512 images of a batch.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.imagenet import RANDAUGMENT, Published, choose_published, total_depth, widest

SOURCE = "Swin"


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    drop_path = 0.5 if widest(chooser) >= 128 else 0.3 if total_depth(chooser) > 12 else 0.2  # B, S, T
    augment = {"crop_scale": (0.08, 1.0), **RANDAUGMENT, "mixup": 0.8, "cutmix": 1.0, "erase": 0.25}
    size = 256 if variant.family == "swin_v2" else 224
    choose_published(
        chooser,
        Published(
            SOURCE, image_size=size, epochs=300, batch=1024, rate=1e-3, min_lr=5e-6, warmup=20, weight_decay=0.05,
            clip=5.0, drop_path=drop_path, smoothing=0.1, augment=augment, crop_fraction=0.875,
        ),
    )  # fmt: skip
    return chooser.choice()
