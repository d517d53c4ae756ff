"""LoRA (Hu et al. 2021, arXiv 2106.09685): each linear layer of the blocks learns a change of low rank, and nothing
else but the head does; what is learned is folded into the weights when they are saved.

    vitrail train PHOTOS --from CHECKPOINT --recipe lora

Time: about fine-tuning's for as many images; a few hundredths of its memory for gradients and the optimizer's state.
Result: no figure is published for these models and sets, and none is measured here yet. Rank 8, since more brought
little to the paper's language models (section 7.2).
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
    begun = weights_of(chooser, "lora")
    choose_geometry(chooser)
    choose_transfer_length(chooser, begun, seen=60_000, least=10, most=50)
    chooser.pick("train.lora_rank", 8, "LoRA, section 7.2: more brings little")
    chooser.pick("train.lora_alpha", 16.0, "twice the rank: the changes count double")
    chooser.pick("train.lr", 1e-3, "what begins at nothing learns faster than what is trained")
    chooser.pick("train.min_lr", 0.0, "down to nothing")
    chooser.pick("train.weight_decay", 0.0, "the low rank is what keeps it from learning images by heart")
    chooser.pick("train.ema", 0.0, "the weights are good from the first step: an average would hold them back")
    choose_gentle(chooser, "few weights learn: little is needed against learning by heart")
    choose_machine(chooser)
    return chooser.choice()
