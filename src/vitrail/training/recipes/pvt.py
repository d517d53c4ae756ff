"""PVT (Wang et al. 2021, arXiv 2102.12122) and PVT v2 (arXiv 2106.13797): ImageNet from scratch.

    vitrail train IMAGENET --recipe pvt --model pvt_v2_b2

Time: 300 epochs, 3.8e8 images seen; not measured here, and no training speed is published. Result: top-1 75.1 (Tiny),
79.8 (Small), 81.2 (Medium), 81.7 (Large); 70.5 (b0), 78.7 (b1), 82.0 (b2), 83.1 (b3), 83.6 (b4), 83.8 (b5) at 224 px
(the PVT repository's README). Not reproduced here. Settings: classification/main.py and configs/, with a rate of 5e-4
for each 512 images of a batch.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.imagenet import RANDAUGMENT, Published, choose_published, total_depth

SOURCE = "PVT"
DEEP = 17
"""Blocks from which on the published configs clip gradients and drop more: M, L, and b3 to b5."""


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    deep = total_depth(chooser) >= DEEP
    augment = {"crop_scale": (0.08, 1.0), **RANDAUGMENT, "repeats": 3, "mixup": 0.8, "cutmix": 1.0, "erase": 0.25}
    choose_published(
        chooser,
        Published(
            SOURCE, image_size=224, epochs=300, batch=1024, rate=1e-3, min_lr=1e-5, warmup=5, weight_decay=0.05,
            clip=1.0 if deep else 0.0, drop_path=0.3 if deep else 0.1, smoothing=0.1, augment=augment,
            crop_fraction=0.875,
        ),
    )  # fmt: skip
    return chooser.choice()
