"""The study as a whole: which models, on which images, and what is kept of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitrail import durable
from vitrail.errors import UsageError
from vitrail.models import family_of
from vitrail.predict.naming import file_safe
from vitrail.study import subjects_study
from vitrail.study.folder import MEASURED
from vitrail.study.reach import page
from vitrail.study.reach.measured import Found, measure
from vitrail.study.subjects import Subject, open_subjects, samples
from vitrail.study.subjects_study import Opened, SubjectsStudy, Turn
from vitrail.training.journal import Journal, duration

DATA = "shapes"
"""Where neither data nor a run is named: drawn on the spot."""


@dataclass(frozen=True)
class Asked(subjects_study.Asked):
    """What the user asked for. data: None for what the first run held back, and for drawn shapes where there is none.

    Everything else as in all studies of models.
    """

    data: str | None = None
    images: int = 16
    seeds: int = 2

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        super().__post_init__()
        if self.images < 1:
            raise UsageError(f"--images {self.images}: one at least")


Work = subjects_study.Work[Asked, Opened]
Done = subjects_study.Done[Found]


class ReachStudy(SubjectsStudy[Asked, Opened, Found]):
    """`vitrail study reach`. The mean fields of a model stand beside its record, as arrays."""

    kind = page.KIND
    asks = Asked

    def opened(self, asked: Asked) -> Opened:
        """UsageError also where a model would have no state to measure."""
        untrained = not any(Path(model).exists() for model in asked.models)
        data = asked.data or (DATA if untrained else None)
        subjects, source, indices, split = open_subjects(asked.models, data, Journal(quiet=True))
        for subject in subjects:
            if not asked.seeds and subject.artifact is None:
                raise UsageError(f"{subject.name} is not trained, so --seeds 0 leaves nothing of it to measure")
        return Opened(subjects, source, indices, split)

    def measured(self, work: Work, subject: Subject, path: Path) -> Found:
        """Measure a model, and keep its fields."""
        chosen = samples(work.opened.source, work.opened.indices, work.asked.images, subject.preprocessor.channels)
        shown = [(key, torch.from_numpy(subject.preprocessor(pixels))) for key, pixels in chosen]
        family = family_of(subject.sketch().backbone)
        found, pictures = measure(subject, family, shown, work.asked.seeds, work.device)
        path.parent.mkdir(exist_ok=True)
        durable.write_arrays(path.with_suffix(".npz"), pictures)
        return found

    def restored(self, path: Path, record: Mapping[str, Any]) -> Found:
        """A model whose fields are lost or damaged is one that was not measured."""
        durable.read_arrays(path.with_suffix(".npz"))
        return Found.of(record)

    def tell(self, work: Work, turn: Turn, found: Found, took: float, again: bool) -> None:
        """Also of one that was measured before."""
        turn.end("measured", f"{len(found.states[0].sees)} layers, {duration(took)}")

    def tell_missing(self, turn: Turn, why: str, tried: bool) -> None:
        """It is left out, whether it was begun or not."""
        turn.end("left out", f"left out, {why}", why)

    def write(
        self, work: Work, found: Sequence[Found], about: Mapping[str, str], failed: Mapping[str, str]
    ) -> list[Path]:
        """See `page`."""
        folder = work.study.folder / MEASURED
        pictures = {one.name: durable.read_arrays(folder / f"{file_safe(one.name)}.npz") for one in found}
        return page.write(work.study, found, pictures, about, failed)


STUDY = ReachStudy()
begin, resume = STUDY.begin, STUDY.resume
