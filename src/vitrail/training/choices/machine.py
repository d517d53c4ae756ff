"""What depends on the machine."""

from __future__ import annotations

from vitrail.training.choices.chooser import Chooser


def choose_machine(chooser: Chooser) -> None:
    """The processes that read images."""
    cores = chooser.facts.cores
    workers = 0 if cores <= 2 else min(8, cores - 1)
    chooser.pick("data.workers", workers, f"{cores} cores")
