"""The study as a whole: which models, and on how many images, all of them the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import UsageError
from vitrail.run.ending import threads
from vitrail.runtime.torch_engine import pick_device
from vitrail.study import subjects_study
from vitrail.study.invariance import page
from vitrail.study.invariance.conditions import Condition, conditions
from vitrail.study.invariance.measured import Found, measure
from vitrail.study.subjects import Subject, open_subjects, samples
from vitrail.study.subjects_study import SubjectsStudy, Turn
from vitrail.training.journal import Journal, duration

IMAGES = "images"
"""What is decided once, before the first model: how many."""
LEAST, TRIED = 16, 2
"""Images that --time leaves at the least, and those that the speed is tried on."""
SHARE = 0.85
"""Of the time that is left, what measuring may take; the rest is for the report and what the trial did not see."""


@dataclass(frozen=True)
class Asked(subjects_study.Asked):
    """What the user asked for. data: None for what the first run held back.  Everything else as in all studies of
    models.
    """

    data: str | None = None
    images: int = 128
    seeds: int = 3

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        super().__post_init__()
        if self.images < 2:
            raise UsageError(f"--images {self.images} is too few: an answer is compared with those of other images")


@dataclass(frozen=True, eq=False)
class Opened(subjects_study.Opened):
    """What a study works on, and what is done to the images."""

    conditions: list[Condition]


Work = subjects_study.Work[Asked, Opened]
Done = subjects_study.Done[Found]


class InvarianceStudy(SubjectsStudy[Asked, Opened, Found]):
    """`vitrail study invariance`. --time is kept by taking fewer images."""

    kind = page.KIND
    asks = Asked

    def opened(self, asked: Asked) -> Opened:
        """With the conditions that the sides and the grids of all models ask for."""
        subjects, source, indices, split = open_subjects(asked.models, asked.data, Journal(quiet=True))
        ways = conditions({subject.side for subject in subjects}, {subject.cell for subject in subjects})
        return Opened(subjects, source, indices, split, ways)

    def decisions(self, asked: Asked, opened: Opened, gone: Callable[[], float], journal: Journal) -> Mapping[str, Any]:
        """How many images there are and there is time for."""
        return {IMAGES: _affordable(asked, opened, gone, journal)}

    def measured(self, work: Work, subject: Subject, path: Path) -> Found:
        """Measure a model in all its states."""
        images = work.study.decided(IMAGES)
        shown = list(samples(work.opened.source, work.opened.indices, images, subject.preprocessor.channels))
        return measure(subject, shown, work.opened.conditions, work.asked.seeds, work.device)

    def restored(self, path: Path, record: Mapping[str, Any]) -> Found:
        """The record is all there is."""
        return Found.of(record)

    def tell(self, work: Work, turn: Turn, found: Found, took: float, again: bool) -> None:
        """Nothing of one that was measured before."""
        if not again:
            what = f"{len(found.states)} states, {len(work.opened.conditions)} changes, {found.images} images"
            turn.end("finished", f"{what}: {duration(took)}", seconds=round(took, 2))

    def tell_missing(self, turn: Turn, why: str, tried: bool) -> None:
        """It failed, or there was no time."""
        if tried:
            turn.end("failed", f"failed, {why}", why)
        else:
            turn.end("left out", "left out, the time is over", why)

    def write(
        self, work: Work, found: Sequence[Found], about: Mapping[str, str], failed: Mapping[str, str]
    ) -> list[Path]:
        """See `page`."""
        told = {**about, "strangers": _strangers(work.opened)}
        return page.write(work.study, found, work.opened.conditions, told, failed)


STUDY = InvarianceStudy()


def _affordable(asked: Asked, opened: Opened, gone: Callable[[], float], journal: Journal) -> int:
    """Images that there are and that there is time for, the same for all models. gone: seconds of the time so far."""
    there = min(asked.images, len(opened.indices))
    if asked.time is None:
        return there
    journal.say(f"trying how fast the models are, to fit them into {duration(asked.time)}")
    device = pick_device(asked.device)
    with threads(asked.threads):
        each = sum(_tried(subject, opened, device, asked.seeds) for subject in opened.subjects)
    left = SHARE * (asked.time - gone())
    afforded = int(left / each)
    if afforded < min(LEAST, there):
        needed = gone() + min(LEAST, there) * each / SHARE
        raise UsageError(
            f"--time {asked.time:g}s is too little here: {min(LEAST, there)} images, the fewest, take"
            f" {duration(needed)}; give that, name fewer models, or lower --seeds"
        )
    if afforded < there:
        journal.say(f"{afforded} images fit into the time, of {there}")
    return min(there, afforded)


def _tried(subject: Subject, opened: Opened, device: str, seeds: int) -> float:
    """Seconds that an image takes in all states of a model, from a few in its first ones."""
    few = list(samples(opened.source, opened.indices, TRIED, subject.preprocessor.channels))
    least = 0 if subject.artifact else 1
    began = time.monotonic()
    measure(subject, few, opened.conditions, least, device)
    took = (time.monotonic() - began) / len(few)
    return took * len(subject.states(seeds)) / len(subject.states(least))


def _strangers(opened: Opened) -> str:
    """A caution where another run's training may have seen the images; "" where none did."""
    own = opened.subjects[0].config.data
    others = [s.name for s in opened.subjects if s.artifact and s.config.data.source != own.source]
    if not others:
        return ""
    return f"{', '.join(others)} trained on other data: that their training saw none of these images is not known."
