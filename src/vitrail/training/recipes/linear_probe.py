"""Only a linear layer learns, on features that stay as they are: what the weights know already, measured.

    vitrail train PHOTOS --from CHECKPOINT --recipe linear_probe

Time: a third of fine-tuning's or less for as many images, since nothing is computed backwards through the model. Result
on ImageNet with MAE's weights: top-1 68.0 (B), 75.8 (L), 76.6 (H) (facebookresearch/mae, FINETUNE.md). Not reproduced
here. Where features are to be adapted, `lora` and `fine_tune` do better; where a probe does as well, it is the cheaper.

AdamW at 1e-3 takes the place of the published LARS, which is for batches of 16,384.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.geometry import choose_geometry
from vitrail.training.choices.machine import choose_machine
from vitrail.training.choices.transfer import choose_gentle, choose_transfer_length, weights_of


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    begun = weights_of(chooser, "linear_probe")
    choose_geometry(chooser)
    choose_transfer_length(chooser, begun, seen=60_000, least=10, most=50)
    chooser.pick("train.freeze", "backbone", "a probe of what the weights know")
    chooser.pick("train.lr", 1e-3, "a single layer, whatever the batch")
    chooser.pick("train.min_lr", 0.0, "down to nothing")
    chooser.pick("train.weight_decay", 0.0, "MAE: too few weights to learn images by heart")
    chooser.pick("train.ema", 0.0, "a single layer needs no average")
    choose_gentle(chooser, "MAE: a probe wants images as they are")
    choose_machine(chooser)
    return chooser.choice()
