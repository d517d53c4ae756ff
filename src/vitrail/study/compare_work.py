"""The work of a comparison, phase by phase: rates are tuned, models trained on all images, then on parts, and measured.

What is decided on the way (epochs, rates, what is left out) is written to study.json before anything follows from it.
How much time is left is asked at declared points alone: after tuning, before each further round of seeds, and before
each size of the learning curves; never between the seeds of one round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from vitrail import durable
from vitrail.errors import Interrupted, TrainingError, UsageError, VitrailError, is_out_of_memory
from vitrail.report.study_tables import plain
from vitrail.settings import Stated
from vitrail.study import shares, splits
from vitrail.study.cells import Cell, name_of, statement
from vitrail.study.compare_asked import Asked
from vitrail.study.compare_plan import (
    ALL,
    LEAST_MEASURING,
    MOST_MEASURING,
    PAGE,
    divisions,
    fold_split,
    measuring,
    part_split,
    record,
    restored,
    training_seconds,
)  # fmt: skip
from vitrail.study.entries import Entry, in_order
from vitrail.study.folder import MEASURED, SPLITS, Study
from vitrail.study.ground import Ground
from vitrail.study.measure import Measured, measure
from vitrail.study.measure.records import kept
from vitrail.study.paces import slower
from vitrail.study.runner import Done, Runner
from vitrail.study.shares import Pace, Shares
from vitrail.training.journal import Journal


@dataclass
class Work:
    """The phases of one comparison and what they gave.

    full, parts: done cells by label, in the order of seeds; parts by fraction.  tuned: rate -> done, by label.
    """

    study: Study
    asked: Asked
    ground: Ground
    paces: dict[str, Pace]
    plan: Shares
    journal: Journal
    tuned: dict[str, dict[float, Done]] = field(default_factory=dict)
    full: dict[str, list[Done]] = field(default_factory=dict)
    parts: dict[str, dict[Fraction, list[Done]]] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """What is still to be done is what was planned, until less is decided."""
        self.dropped = list(self.plan.dropped)
        self._runner = Runner(self.study, self.ground.known, self.journal, self._left_after)

    # ---------------------------------------------------------------------------------------------------- the phases

    def go(self) -> None:
        """All phases. Raises TrainingError where no model can be trained, and Interrupted."""
        self._write_splits()
        self._tune()
        self._refit()
        self._train()
        self._train_on_parts()
        self._measure()

    def all_done(self) -> list[Done]:
        """Every cell that has ended, in the order of running."""
        return list(self._runner.done.values())

    @property
    def rates(self) -> dict[str, float]:
        """The multiple of the recipe's rate that was chosen for each model."""
        return {entry.label: self._rate(entry) for entry in self.asked.entries}

    def _tune(self) -> None:
        """Each rate for a part of the epochs, on validation images alone; a teacher's before its student's."""
        if len(self.plan.ask.rates) < 2:
            return
        self.journal.say("choosing learning rates")
        cells = {entry.label: self._tuning_cells(entry) for entry in in_order(self.asked.entries)}
        for entry in in_order(self.asked.entries):
            teacher = self._tuning_teacher(entry)
            done = {}
            for cell in cells[entry.label]:
                done[cell.rate] = self._run(replace(cell, taught_by=teacher), entry)
            self.tuned[entry.label] = done
            self._choose_rate(entry, done)

    def _choose_rate(self, entry: Entry, done: Mapping[float, Done]) -> None:
        """The best on validation; of equals, the nearest to the recipe's own."""
        task, scores = self.ground.task, {}
        for rate, one in done.items():
            score = one.val(task.headline)
            if score is not None:
                scores[rate] = score if task.maximise else -score
        if not scores:
            return
        best = max(scores, key=lambda rate: (scores[rate], -abs(rate - 1)))
        rates = {**(self.study.decided("rates") or {}), entry.label: best}
        self.study.decide("rates", rates)

    def _rate(self, entry: Entry) -> float:
        return float((self.study.decided("rates") or {}).get(entry.label, 1.0))

    def _refit(self) -> None:
        """The epochs of full runs, by what tuning really took; decided once."""
        final = self.study.decided("final")
        if final is None:
            ask = replace(self.plan.ask, rates=(1.0,))
            found = replace(self.plan, ask=ask)
            if self.asked.seconds is not None and self.tuned:
                self.paces = slower(self.paces, self._took(), self._said())
                try:
                    found = shares.share(self._training_left(), self.paces, ask, self.asked.equal, self.asked.limit)
                    for what in found.dropped:
                        self.journal.warn(f"too little time is left for {what}: left out")
                    found = replace(found, dropped=(*self.plan.dropped, *found.dropped))
                except UsageError:  # the machine has become slow: what was planned is kept, and rounds are dropped
                    self.journal.warn("training is slower than it was in the trial: less will fit than was planned")
            final = self.study.decide("final", record(found, self.paces))
        self.plan, self.paces = restored(final)
        self.dropped = list(self.plan.dropped)

    def _train(self) -> None:
        """Full runs in rounds: a seed of every model, or all folds of one repeat."""
        self.journal.say("training on all images")
        rounds = self._rounds()
        order = in_order(self.asked.entries)
        least = self.plan.ask.least // self.plan.ask.step
        for number, cells in enumerate(rounds):
            every = [cell for entry in order for cell in cells[entry.label]]
            if number >= least and not self._fits(f"round {number + 1}", every):
                self._drop(f"full runs after the first {number} of {len(rounds)} rounds")
                self.plan = replace(self.plan, ask=replace(self.plan.ask, seeds=number * self.plan.ask.step))
                break
            for entry in order:
                for cell in cells[entry.label]:
                    self.full.setdefault(entry.label, []).append(self._run(cell, entry))
        self._refuse_none("model")

    def _refuse_none(self, what: str) -> None:
        """TrainingError where no model, or whatever `what` calls it, has all its full runs."""
        if not self.whole():
            failed = next(done for each in self.full.values() for done in each if done.run is None)
            raise TrainingError(f"no {what} could be trained: {failed.cell.name}: {failed.reason}")

    def whole(self) -> list[str]:
        """The models of which every full run finished: those that can be compared."""
        return [e.label for e in self.asked.entries if all(d.run is not None for d in self.full.get(e.label, []))]

    def _train_on_parts(self) -> None:
        """Learning curves, from the smallest part up: what no time is left for is at the largest end of the cost."""
        if not self.plan.ask.fractions:
            return
        self.journal.say("training on parts of the images")
        order = [entry for entry in in_order(self.asked.entries) if entry.label in self.whole()]
        cells = {
            fraction: [(entry, cell) for seed in range(self._part_seeds()) for entry in order
                       for cell in [self._part_cell(entry, fraction, seed)]]
            for fraction in self.plan.ask.fractions
        }  # fmt: skip
        for fraction, each in cells.items():
            if not self._fits(f"part {fraction}", [cell for _, cell in each]):
                self._drop(f"learning curves from {fraction} of the images on")
                break
            for entry, cell in each:
                done = self._run(cell, entry)
                self.parts.setdefault(entry.label, {}).setdefault(fraction, []).append(done)

    def _part_seeds(self) -> int:
        return min(self.plan.ask.part_seeds, min(len(done) for done in self.full.values()))

    def _measure(self) -> None:
        """What the first full run of each model is like beside its score; a failure is said and goes no further."""
        self.journal.say("measuring speed, memory and robustness")
        labels = self.whole()
        for place, label in enumerate(labels):
            path = self.study.folder / MEASURED / f"{self.full[label][0].cell.name}.json"
            earlier = kept(path, Measured.of, self.journal.warn)
            if earlier is not None:
                self.measured[label] = earlier
                continue
            left = measuring(self.asked) if self.asked.seconds is None else self._left() - PAGE
            if self.asked.seconds is not None:  # measuring has parts that take what they take, about as much again
                left = left / (len(labels) - place) / 2
            seconds = max(LEAST_MEASURING, left)
            try:
                found = self._measured(label, min(seconds, MOST_MEASURING))
            except Interrupted:
                raise
            except VitrailError as error:
                self._fail_to_measure(label, str(error).splitlines()[0])
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._fail_to_measure(label, "out of memory")
                continue
            path.parent.mkdir(exist_ok=True)
            durable.write_file(path, json.dumps(plain(found.record()), indent=1) + "\n")
            self.measured[label] = found
            self.journal.say(f"  {label}: {found.speed.answer.p50.value * 1e3:.3g} ms an image")

    def _measured(self, label: str, seconds: float) -> Measured:
        run = self.full[label][0].run
        assert run is not None, "only what finished is measured"
        images = next((m.robustness.images for m in self.measured.values() if m.robustness), None)
        device = self.ground.config.device
        return measure(run, seconds, device, images, self.ground.known.source)

    def _fail_to_measure(self, label: str, reason: str) -> None:
        self.unmeasured[label] = reason
        self.journal.warn(f"{label} could not be measured: {reason}")

    # ----------------------------------------------------------------------------------------------------- the cells

    def _tuning_cells(self, entry: Entry) -> list[Cell]:
        epochs = shares.tuning_epochs(self.paces[entry.label], self.plan.epochs[entry.label])
        teacher = self._teacher(entry)
        return [
            Cell(name_of(entry, "tuning", rate=f"{rate:g}"), entry.label, "tuning", 0, epochs, "tuning", rate,
                 teacher=teacher)
            for rate in self.plan.ask.rates
        ]  # fmt: skip

    def _tuning_teacher(self, entry: Entry) -> str | None:
        """The teacher's tuning cell with the rate that was chosen for it."""
        teacher = self._compared(entry)
        if teacher is None:
            return None
        best = self._rate(teacher)
        cells = self._tuning_cells(teacher)
        return min(cells, key=lambda cell: abs(cell.rate - best)).name

    def _rounds(self) -> list[dict[str, list[Cell]]]:
        """For each round its cells by label."""
        ask = self.plan.ask
        return [
            {entry.label: [self._full_cell(entry, number, fold) for fold in range(ask.step)]
             for entry in self.asked.entries}
            for number in range(ask.seeds // ask.step)
        ]  # fmt: skip

    def _full_cell(self, entry: Entry, number: int, fold: int) -> Cell:
        if self.asked.folds:
            facts, split, seed = {"repeat": number, "fold": fold}, fold_split(number, fold), number
        else:
            facts, split, seed = {"seed": number}, ALL, number
        teacher = self._compared(entry)
        taught_by = name_of(teacher, "full", **facts) if teacher else None
        return Cell(
            name_of(entry, "full", **facts), entry.label, "full", seed, self.plan.epochs[entry.label], split,
            self._rate(entry), taught_by=taught_by, teacher=self._teacher(entry), facts=facts,
        )  # fmt: skip

    def _part_cell(self, entry: Entry, fraction: Fraction, seed: int) -> Cell:
        teacher = self._compared(entry)
        taught_by = name_of(teacher, "part", fraction=fraction, seed=seed) if teacher else None
        epochs = shares.part_epochs(self.plan.epochs[entry.label], fraction)
        return Cell(
            name_of(entry, "part", fraction=fraction, seed=seed), entry.label, "part", seed, epochs,
            part_split(fraction, seed), self._rate(entry), fraction, taught_by=taught_by, teacher=self._teacher(entry),
        )  # fmt: skip

    def _compared(self, entry: Entry) -> Entry | None:
        """The entry of the list that teaches this one."""
        return next((other for other in self.asked.entries if other.label == entry.teacher), None)

    def _teacher(self, entry: Entry) -> str | None:
        """A teacher from elsewhere, as `train` takes it."""
        return None if self._compared(entry) else entry.teacher

    def _run(self, cell: Cell, entry: Entry) -> Done:
        def stated() -> Stated:
            return statement(cell, entry, self.ground.common, self.study, self.ground.known)

        return self._runner.run(cell, stated)

    def _write_splits(self) -> None:
        """Every split file that a cell obeys; a resumed study has them already."""
        for name, division in divisions(self.ground, self.asked, self.plan.ask).items():
            folder = self.study.folder / SPLITS
            if not any((folder / f"{name}{suffix}").is_file() for suffix in (".csv", ".jsonl")):
                splits.write(folder / name, self.ground.data.source, division)

    # ------------------------------------------------------------------------------------------------------ the time

    def _left(self) -> float:
        """Seconds of --time that are left."""
        assert self.asked.seconds is not None, "asked only where there is a limit"
        return self.asked.seconds - self.study.gone()

    def _training_left(self) -> float:
        return training_seconds(self.asked, self._left())

    def _predicted(self, cell: Cell) -> float:
        pace = self.paces[cell.label]
        images = max(1, round(cell.fraction * pace.images)) if cell.fraction != 1 else None
        return pace.seconds(cell.epochs, images)

    def _left_after(self, cell: Cell) -> float | None:
        """Seconds that all that follows is going to take, by what cells took so far."""
        done = {*self._runner.done, cell.name}
        took, said = sum(self._took().values()), sum(self._said().values())
        rest = sum(self._predicted(other) for other in self._planned() if other.name not in done)
        rest *= took / said if said else 1.0
        return rest + len(self.asked.entries) * measuring(self.asked) + PAGE

    def _planned(self) -> Iterable[Cell]:
        """Every cell of every phase, as far as is decided."""
        if len(self.plan.ask.rates) > 1:
            yield from (cell for entry in self.asked.entries for cell in self._tuning_cells(entry))
        yield from self._trained()

    def _trained(self) -> Iterable[Cell]:
        """Of these, the cells whose scores are studied."""
        for each in self._rounds():
            yield from (cell for cells in each.values() for cell in cells)
        for fraction in self.plan.ask.fractions:
            for seed in range(self.plan.ask.part_seeds):
                yield from (self._part_cell(entry, fraction, seed) for entry in self.asked.entries)

    def _fits(self, what: str, cells: Sequence[Cell]) -> bool:
        """Whether there is time for these cells; what was decided once stays so."""
        if self.asked.seconds is None:
            return True
        decided = self.study.decided("fits") or {}
        if what not in decided:
            self.paces = slower(self.paces, self._took(), self._said())
            wanted = sum(map(self._predicted, cells))
            decided = self.study.decide("fits", {**decided, what: bool(wanted <= self._training_left())})
        return bool(decided[what])

    def _drop(self, what: str) -> None:
        self.dropped.append(what)
        self.journal.warn(f"no time is left for {what}")

    def _took(self) -> dict[str, float]:
        """Seconds of the finished cells of each model."""
        return _sums((done.cell.label, done.seconds) for done in self._finished())

    def _said(self) -> dict[str, float]:
        """What was said that they would take."""
        return _sums((done.cell.label, self._predicted(done.cell)) for done in self._finished())

    def _finished(self) -> Iterable[Done]:
        return (done for done in self._runner.done.values() if done.run is not None)


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for label, value in pairs:
        totals[label] = totals.get(label, 0.0) + value
    return totals
