"""Better plain ViT baselines (Beyer et al. 2022, arXiv 2205.01580): ImageNet from scratch in 90 epochs.

    vitrail train IMAGENET --recipe plain_vit --model vit_small

Time: 6 to 7 hours on a TPUv3-8 (big_vision, vit_s16_i1k.py), under 6 hours on 8 A100 (EIFY/mup-vit). Result: S/16
76.5 top-1 after 90 epochs, 80.0 after 300 (big_vision); 76.9 with PyTorch and torchvision's RandAugment at its
magnitude of 10 (EIFY/mup-vit). Not reproduced here.

A mean over patches instead of [CLS], fixed sine-cosine positions and a linear head. Its decay of 1e-4 that follows the
schedule and not the rate is AdamW's 0.1 at a rate of 1e-3.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.imagenet import Published, choose_published

SOURCE = "Better plain ViT"
EPOCHS, WARMUP = 90, 8.0
"""10,000 of 112,603 updates warm up."""
OPTIONS = {"position": "sincos", "cls": False, "pooling": "mean"}


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    augment = {"crop_scale": (0.05, 1.0), "randaugment_ops": 2, "randaugment_magnitude": 10, "mixup": 0.2}
    augment |= {"jitter": 0.0, "cutmix": 0.0, "erase": 0.0}
    choose_published(
        chooser,
        Published(
            SOURCE, image_size=224, epochs=EPOCHS, batch=1024, rate=1e-3, min_lr=0.0, warmup=WARMUP, weight_decay=0.1,
            clip=1.0, drop_path=0.0, smoothing=0.0, augment=augment, crop_fraction=0.875, options=OPTIONS,
        ),
    )  # fmt: skip
    return chooser.choice()
