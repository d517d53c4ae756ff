"""The look that `vitrail check` takes: open, scan, settle the task, divide and fit, and go on past what is refused."""

from __future__ import annotations

from collections import Counter as Counted
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitrail.cli.console import Counter
from vitrail.errors import DataError

if TYPE_CHECKING:
    from vitrail.contracts import Source, Task
    from vitrail.data.findings.survey import Survey
    from vitrail.data.inference import Inference
    from vitrail.data.map_audit import MapAudit
    from vitrail.data.split import Split
    from vitrail.settings import Config, DataConfig, Stated


@dataclass(frozen=True)
class Looked:
    """What was looked at: the source with all that is known of it, how it would be divided, and for which task.

    inference: the task and why it is that one; None where it could not be settled.
    """

    survey: Survey
    split: Split | None
    inference: Inference | None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it cannot be trained on."""
        return self.survey.problems

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source guessed of columns, folders and cells."""
        return tuple(getattr(self.survey.source, "notes", ()))


def look(stated: Stated) -> Looked:
    """Open, scan, divide and fit. What keeps the data from being trained on is kept: all else is still looked at.

    Raises UsageError for what is stated and cannot be obeyed, and DataError where there is nothing to look at.
    """
    from vitrail.data.audit import refuse_if_too_bad, scan
    from vitrail.data.findings.record import split_names
    from vitrail.data.findings.survey import Survey
    from vitrail.data.inference import infer_task, refuse_unused
    from vitrail.data.map_audit import scan_maps
    from vitrail.data.sources import open_source
    from vitrail.data.split import make_split
    from vitrail.data.target_audit import target_faults, without
    from vitrail.settings import build
    from vitrail.tasks.segment import unknown_masks

    config, task = build(stated), stated.get("task.name")
    data = config.data
    problems: list[str] = []
    source: Source
    loose = False
    try:
        source = open_source(data, task)
    except DataError as error:
        found = _loose(data)
        if found is None:
            raise
        source, loose = found, True
        problems.append(str(error))
    inference = None
    if not loose:
        try:
            inference = infer_task(source, task)
        except DataError as error:
            problems.append(str(error))
        else:
            settled = {path: value for path, (value, _) in inference.also.items()}
            config = build({**settled, **stated, "task.name": inference.task})
            refuse_unused(config.task)
    counter = Counter("checked")
    audit = scan(source, data, progress=counter)
    counter.close()
    counter = Counter("read masks,")
    maps = None if loose else scan_maps(source, data, progress=counter)
    counter.close()
    trained = audit if maps is None else without(audit, source, target_faults(audit, maps))
    split, unknown = None, dict[int, str]()
    try:
        refuse_if_too_bad(trained, data.max_bad_fraction)
    except DataError as error:
        problems.append(str(error))
    if trained.usable and inference is not None:
        try:
            split = make_split(source, trained.usable, trained.content, data, inference.task)
            held_out = [int(index) for index in (*split.val, *split.test)]
            unknown = unknown_masks(_fit(config, source, split, maps), maps, held_out)
            if len(split.val) and not len(split.without(unknown).val):
                first = unknown[int(split.val[0])]
                problems.append(f"every validation mask has a value that no training mask has: {first}")
            elif unknown and len(trained.bad) <= data.max_bad_fraction * trained.found:  # else it is said already
                refuse_if_too_bad(without(trained, source, unknown), data.max_bad_fraction)
        except DataError as error:
            problems.append(str(error))
    survey = Survey(
        source, audit, split_names(source, split), maps, problems=tuple(problems), strangers=unknown,
        task=config.task if inference is not None else None,
    )  # fmt: skip
    return Looked(survey, split.without(unknown) if split is not None else None, inference)


def _fit(config: Config, source: Source, split: Split, maps: MapAudit | None) -> Task:
    """The task as training fits it. Masks whose values the scan has counted are not read again."""
    from vitrail.data.masks import count_values
    from vitrail.tasks import create_task
    from vitrail.tasks.segment import fit_counts

    items, train = source.items, [int(index) for index in split.train]
    if config.task.name != "segment" or maps is None:
        return create_task(config.task.name, [items[i].target for i in train], config.task, source.target_names)
    counts: Counted[int] = Counted()
    unread: list[int] = []
    for index in train:
        fact = maps.facts[index]
        known = fact.values.counts if fact.values is not None else ()
        if known and sum(pixels for _, pixels in known) == fact.width * fact.height:  # of one map, all whole numbers
            counts.update(dict(known))
        else:
            unread.append(index)
    if unread:
        counts.update(count_values(items[i].target for i in unread))
    return fit_counts(counts, config.task, source.target_names)


def _loose(config: DataConfig) -> Source | None:
    """What can be looked at where nothing can be trained on: images of any folder, rows of a table as they stand."""
    from vitrail.cli.loose_table import LooseTable
    from vitrail.run.loose import LooseFiles

    place = Path(config.source).expanduser()
    if place.is_dir():
        files = LooseFiles(place, config.max_pixels)
        return files if files.items else None
    try:
        return LooseTable(place, config)
    except DataError:
        return None
