"""The work of a study of data efficiency: rates are tuned on all images, then seed by seed every model on every part.

A seed is a round: all models on all parts and on all images. How much time is left is asked before each further round,
never within one, so that every point of a curve has the same seeds.
"""

from __future__ import annotations

from fractions import Fraction

from vitrail.study.cells import Cell
from vitrail.study.compare_work import Work
from vitrail.study.entries import Entry, in_order


class WorkOnParts(Work):
    """The phases and what they gave: `full` and `parts` of `Work`, with as many seeds each."""

    def go(self) -> None:
        """All phases. Raises TrainingError where no model can be trained, and Interrupted."""
        self._write_splits()
        self._tune()
        self._refit()
        self._train_in_rounds()

    @property
    def seeds(self) -> int:
        """How many trainings every point has."""
        return min((len(done) for done in self.full.values()), default=0)

    def _train_in_rounds(self) -> None:
        ask = self.plan.ask
        self.journal.say("training on parts of the images, and on all")
        rounds = [self._round(seed, ask.fractions) for seed in range(ask.seeds)]
        for seed, cells in enumerate(rounds):
            if seed >= ask.least and not self._fits(f"seed {seed}", [cell for _, cell in cells]):
                self._drop(f"seeds after the first {seed} of {ask.seeds}")
                break
            for entry, cell in cells:
                done = self._run(cell, entry)
                if cell.fraction == 1:
                    self.full.setdefault(entry.label, []).append(done)
                else:
                    self.parts.setdefault(entry.label, {}).setdefault(cell.fraction, []).append(done)
        self._refuse_none("model")

    def _round(self, seed: int, fractions: tuple[Fraction, ...]) -> list[tuple[Entry, Cell]]:
        """From the smallest part up, teachers before those that they teach."""
        order = in_order(self.asked.entries)
        parts = [(entry, self._part_cell(entry, fraction, seed)) for fraction in fractions for entry in order]
        return [*parts, *((entry, self._full_cell(entry, seed, 0)) for entry in order)]
