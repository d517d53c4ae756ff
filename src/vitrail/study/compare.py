"""`vitrail compare`: several models on the same images, in the same time, from several seeds: one recommendation.

The order of things: `compare_asked` (what is asked), `ground` (the data and each model's settings), `compare_plan` (the
time of each part), `compare_work` (the cells), `compare_results` (what they say), `compare_page` (the report); `course`
takes them in that order.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.data.dataset import DatasetSource
from vitrail.errors import UsageError
from vitrail.report.study_tables import plain
from vitrail.settings import Stated, known_path
from vitrail.study import compare_page, shares
from vitrail.study.compare_asked import Asked, Wishes, settle
from vitrail.study.compare_results import Results, results, summary
from vitrail.study.compare_work import Work
from vitrail.study.course import CourseOfModels, Prepared
from vitrail.study.entries import DEFAULT
from vitrail.study.folder import Study, refuse_place
from vitrail.training.journal import Journal

KIND = "compare"


@dataclass(frozen=True)
class Compared:
    """A finished comparison. recommendation: the model to take, None where nothing can be told.  said: why, how sure,
    and what would change it, in sentences.  results: as results.json has them.
    """

    folder: Path
    recommendation: str | None
    said: tuple[str, ...]
    results: dict[str, Any]
    warnings: tuple[str, ...]
    outputs: tuple[Path, ...]


def compare(
    data: str | Path | Any,
    models: str | Sequence[str] = DEFAULT,
    *,
    seeds: int | None = None,
    time: str | float | None = None,
    epochs: float | None = None,
    equal: str | None = None,
    rates: Sequence[float] | None = None,
    folds: int | None = None,
    fractions: Sequence[Any] | None = None,
    minimal: float | None = None,
    teacher: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Compared:
    """Train several models alike on `data` and say which to take, and how sure that is.

    data: a folder, a table, a built-in name, or any map-style Dataset of (image, label).  models: names of
    `list_models()`, timm:NAME, or YAML files.  seeds, time, epochs, equal, rates, folds, fractions, minimal, teacher:
    as `vitrail compare --help` has them.  resume: the folder of a comparison of the same data to go on with; nothing
    else is stated then.  fields: config fields that hold for all, as `vitrail.train` takes them.

    Raises UsageError, DataError, TrainingError or Interrupted, as the command exits with 2, 3, 4 and 130 or 143.
    """
    began = clock.monotonic()
    named = {key.removesuffix("_").replace("__", "."): value for key, value in fields.items()}
    stated: Stated = {known_path(key): str(v) if isinstance(v, Path) else v for key, v in named.items()}
    journal = Journal(quiet)
    if resume is not None:
        open_ = (seeds, time, epochs, equal, rates, folds, fractions, minimal, teacher, name, out)
        if models != DEFAULT or fields or any(value is not None for value in open_):
            raise UsageError("resume goes on with what the study was asked: state the data alone")
        return _resumed(resume, data, journal, began)
    source = None
    if not isinstance(data, (str, Path)):
        source = DatasetSource(data, name or type(data).__name__.lower(), task=stated.get("task.name"))
        data = source.location
    wishes = Wishes(seeds, time, epochs, equal, rates, folds, fractions, minimal)
    listed = models if isinstance(models, str) else ",".join(map(str, models))
    place = Path(out) if out is not None else None
    refuse_place(KIND, place)
    made = COURSE.prepare(data, listed, wishes, stated, teacher, journal, source=source, out=place, began=began)
    return COURSE.begin(made, journal, name=name, out=place, began=began)


def _told(work: Work, found: Results, warnings: tuple[str, ...], outputs: tuple[Path, ...]) -> Compared:
    return Compared(
        work.study.folder, found.recommendation.choice, found.said, plain(summary(found)), warnings, outputs
    )


COURSE = CourseOfModels(KIND, Asked.of, Work, results, compare_page.write, _told, settle, least=2)


def _resumed(folder: str | Path, data: Any, journal: Journal, began: float) -> Compared:
    """Go on with a comparison. data: as it was given in Python."""
    source = None
    asked = Asked.of(Study.open(folder, KIND).specification)
    if not isinstance(data, (str, Path)):
        source = DatasetSource(data, asked.data, task=asked.stated.get("task.name"))
    elif str(data) != asked.data:
        raise UsageError(f"{folder} is a comparison on {asked.data}, not on {data}")
    return COURSE.resume(folder, journal, began=began, source=source)


def cost(made: Prepared) -> dict[str, Any]:
    """The plan as data: for each model its epochs and seconds, what was dropped."""
    ask, models = made.plan.ask, {}
    for label, pace in made.paces.items():
        epochs = made.plan.epochs[label]
        models[label] = {
            "epochs": epochs,
            "full_runs": ask.seeds,
            "rates": list(ask.rates) if len(ask.rates) > 1 else [],
            "rate_epochs": shares.tuning_epochs(pace, epochs) if len(ask.rates) > 1 else 0,
            "parts": [str(fraction) for fraction in ask.fractions],
            "part_seeds": ask.part_seeds,
            "seconds": round(ask.spends(pace, epochs), 1),
            "flops": ask.flops(pace, epochs),
            "images_per_s": 1 / pace.part.speed.image,
        }
    return {"models": models, "dropped": list(made.plan.dropped), "why": list(made.asked.why)}
