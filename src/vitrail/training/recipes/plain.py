"""The naive recipe, to measure against: crop, flip and AdamW, nothing else.

    vitrail train PHOTOS --recipe plain

Time: as `small`. Result: worse, which is what it is for; a 2.7 M ViT on CIFAR-100 has 40.4 without a recipe and 73.8
with SPT/LSA's (arXiv 2112.13492 and its code's issue 6). Not reproduced here.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.geometry import choose_geometry
from vitrail.training.choices.machine import choose_machine
from vitrail.training.choices.scratch import choose_length, choose_regularisation


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    choose_geometry(chooser)
    choose_length(chooser)
    choose_regularisation(chooser, strong=False)
    choose_machine(chooser)
    return chooser.choice()
