"""The work of a study of scaling: rates are tuned, then every size is trained with every budget, smallest first.

How much time is left is asked before each budget, never between its sizes, so that every budget that is there has all
of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from vitrail.run.timing import rounded
from vitrail.study.cells import Cell, name_of
from vitrail.study.compare_plan import ALL
from vitrail.study.compare_work import Work
from vitrail.study.entries import Entry
from vitrail.study.runner import Done
from vitrail.study.scaling.asked import AskedOfSizes


@dataclass
class WorkOnSizes(Work):
    """The phases and what they gave. at: (label, place of the budget, smallest first) -> done cells, one a seed."""

    at: dict[tuple[str, int], list[Done]] = field(default_factory=dict)

    @property
    def sizes(self) -> AskedOfSizes:
        """What was asked."""
        return cast(AskedOfSizes, self.asked)

    def go(self) -> None:
        """All phases. Raises TrainingError where no size can be trained, and Interrupted."""
        self._write_splits()
        self._tune()
        self._refit()
        self._train_budgets()

    def epochs(self, label: str, budget: int) -> float:
        """Epochs of a size with a budget."""
        return rounded(self.plan.epochs[label] * self.plan.ask.lengths[budget])

    def flops(self, label: str, budget: int) -> float:
        """Training FLOPs of the same: images seen, times those of one."""
        pace = self.paces[label]
        return self.epochs(label, budget) * pace.images * pace.flops

    def _train_budgets(self) -> None:
        self.journal.say("training every size with every budget")
        ask = self.plan.ask
        rounds = [(seed, budget) for seed in range(ask.seeds) for budget in range(len(ask.lengths))]
        cells = {each: [(e, self._cell(e, *each)) for e in self.asked.entries] for each in rounds}
        for number, (seed, budget) in enumerate(rounds):
            every = [cell for _, cell in cells[seed, budget]]
            if number and not self._fits(f"budget {budget + 1}, seed {seed}", every):
                self._drop(f"budget {budget + 1} of {len(ask.lengths)} with seed {seed}, and what follows")
                break
            for entry, cell in cells[seed, budget]:
                done = self._run(cell, entry)
                self.full.setdefault(entry.label, []).append(done)
                self.at.setdefault((entry.label, budget), []).append(done)
        self._refuse_none("size")

    def _trained(self) -> Iterable[Cell]:
        ask = self.plan.ask
        for seed in range(ask.seeds):
            for budget in range(len(ask.lengths)):
                yield from (self._cell(entry, seed, budget) for entry in self.asked.entries)

    def _cell(self, entry: Entry, seed: int, budget: int) -> Cell:
        facts = {"budget": budget + 1, "seed": seed}
        return Cell(
            name_of(entry, "full", **facts), entry.label, "full", seed, self.epochs(entry.label, budget), ALL,
            self._rate(entry), facts=facts,
        )  # fmt: skip
