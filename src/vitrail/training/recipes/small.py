"""From scratch on small to middling sets, after CCT (arXiv 2104.05704) and SPT/LSA (arXiv 2112.13492).

AdamW with warm-up and cosine, strong augmentation and mixing once a run is long enough to need them.
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
    choose_regularisation(chooser, strong=True)
    choose_machine(chooser)
    return chooser.choice()
