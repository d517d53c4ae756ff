"""DeiT (Touvron et al. 2021, arXiv 2012.12877): ImageNet from scratch, no other data.

    vitrail train IMAGENET --recipe deit --model deit_small_patch16_224

Time: 300 epochs, 3.8e8 images seen; at the 1,053 images/s that timm publishes for training S/16 on one RTX 3090, some
4 days. Result: top-1 72.2 (Ti), 79.9 (S), 81.8 (B) at 224 px (facebookresearch/deit, README_deit.md). Not reproduced
here. Settings: deit/main.py, with a rate of 5e-4 for each 512 images of a batch.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.imagenet import RANDAUGMENT, Published, choose_published

SOURCE = "DeiT"


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    augment = {"crop_scale": (0.08, 1.0), **RANDAUGMENT, "repeats": 3, "mixup": 0.8, "cutmix": 1.0, "erase": 0.25}
    choose_published(
        chooser,
        Published(
            SOURCE, image_size=224, epochs=300, batch=1024, rate=1e-3, min_lr=1e-5, warmup=5, weight_decay=0.05,
            clip=0.0, drop_path=0.1, smoothing=0.1, augment=augment, crop_fraction=0.875,
        ),
    )  # fmt: skip
    return chooser.choice()
