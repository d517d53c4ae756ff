"""From scratch on small to middling sets, after CCT (arXiv 2104.05704) and SPT/LSA (arXiv 2112.13492).

    vitrail train PHOTOS

Time: about 120,000 images seen, some 20 minutes for vit_tiny at 64 px on two cores. Result of what it follows, on
CIFAR-10 without other data: 93.6 top-1 for ViT-Lite-7/4 after 300 epochs (CCT's paper), 93.6 for a ViT of 2.7 M
parameters after 100 (SPT_LSA_ViT's README); the same ViT without a recipe has 40.4 on CIFAR-100, with it 73.8. Not
reproduced here; what this recipe reaches on other sets is in docs/log.md.

AdamW with warm-up and cosine, 64 to 256 tokens by the family's rule, a convolutional stem for a ViT, and strong
augmentation and mixing once a run is long enough to need them.
"""

from __future__ import annotations

from vitrail.contracts import Variant
from vitrail.settings import Stated
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Choice, Facts
from vitrail.training.choices.geometry import choose_geometry, choose_stem
from vitrail.training.choices.machine import choose_machine
from vitrail.training.choices.scratch import choose_length, choose_regularisation


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """The whole config, with reasons."""
    chooser = Chooser(facts, variant, stated)
    choose_geometry(chooser)
    choose_stem(chooser)
    choose_length(chooser)
    choose_regularisation(chooser, strong=True)
    choose_machine(chooser)
    return chooser.choice()
