"""DeiT III (Touvron et al. 2022, arXiv 2204.07118): ImageNet from scratch, the longer and simpler recipe.

    vitrail train IMAGENET --recipe deit3 --model deit3_small

Time: 800 epochs, 1.0e9 images seen; at the 1,053 images/s that timm publishes for training S/16 on one RTX 3090, some
11 days. Result: top-1 81.4 (S), 83.8 (B), 84.9 (L), 85.2 (H) (facebookresearch/deit, README_revenge.md). B and L are
trained at 192 px, H at 160, and fine-tuned at 224 for 20 epochs (AdamW, rate 1e-5, decay 0.1). Not reproduced here.

H has patches of 14, which do not divide 160: 154 is taken here. The commands name no clipping of gradients, but their
LAMB (apex's FusedLAMB, and timm's) clips the norm to 1 unless it is told otherwise.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.imagenet import Published, choose_published, widest

SOURCE = "DeiT III"
SIZES = ((384, 224, 4e-3, 0.05), (768, 192, 3e-3, 0.2), (1024, 192, 3e-3, 0.45), (1 << 16, 154, 3e-3, 0.6))
"""Up to this width: image size, rate at batch 2048, stochastic depth, of the published commands for S, B, L and H."""
OPTIONS = {"layer_scale": 1e-4, "drop_path_rule": "constant", "cls_position": False}


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    _, image_size, rate, drop_path = next(row for row in SIZES if widest(chooser) <= row[0])
    augment = {"crop_scale": (0.08, 1.0), "three": True, "jitter": 0.3, "repeats": 3, "mixup": 0.8, "cutmix": 1.0}
    augment |= {"randaugment_ops": 0, "erase": 0.0}
    choose_published(
        chooser,
        Published(
            SOURCE, image_size=image_size, epochs=800, batch=2048, rate=rate, min_lr=1e-5, warmup=5, weight_decay=0.05,
            clip=1.0, drop_path=drop_path, smoothing=0.0, augment=augment, crop_fraction=1.0, optimizer="lamb",
            binary=True, options=OPTIONS,
        ),
    )  # fmt: skip
    return chooser.choice()
