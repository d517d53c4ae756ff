"""How far a model's explanations can be trusted: on a small sample for the run's report, or on as many as asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vitrail.artifact import Artifact
from vitrail.contracts import Source
from vitrail.data.sources import open_source
from vitrail.errors import DataError, UsageError
from vitrail.evaluate.evaluator import Evaluation
from vitrail.explain.defaults import default_method, misfit
from vitrail.explain.explainable import Explainable
from vitrail.explain.faithfulness import Plan, fitting, score
from vitrail.explain.methods import get_method
from vitrail.explain.trust.samples import samples
from vitrail.explain.trust.table import ALONE, CASCADE, Trust
from vitrail.run.loose import LooseFiles
from vitrail.run.prepare import Data, divide, leave_out_strangers, read_audit
from vitrail.seeding import generator
from vitrail.settings import Config, DataConfig
from vitrail.training.journal import Journal

MOST, LEAST = 48, 16
"""Images scored for a report: more would make intervals little narrower, fewer make them too wide to say anything."""
SHARE: Mapping[str, float] = {"none": 0.1, "backbone": 0.03}
"""Passes of the model for each image that training went over, by what was frozen: some 3 % of training's time, whose
every image goes through, back and into an update, or only through.
"""
MOST_PASSES = 20_000
"""Passes for a report, however long training was: enough for MOST images and every method that is not dear."""


def of_run(
    artifact: Artifact, data: Data, results: Mapping[str, Evaluation], seen: int, config: Config, journal: Journal
) -> tuple[Trust | None, str]:
    """Methods scored on a few held-out images, and why they are not where they are not.

    seen: images that training went over, repeats included: they bound what may be spent here, so that what is scored
    depends on the run alone and not on the machine's speed.
    """
    split = next((split for split in ("test", "val") if split in results), None)
    if split is None:
        return None, ""
    plans = _plans(artifact.model)
    if not plans:
        return None, ""
    budget = int(min(MOST_PASSES, SHARE[config.train.freeze] * seen))
    there = len(data.indices(split))
    if there < LEAST:
        return None, f"{there} {split} images are too few to score explanations on"
    plan, count = afforded(artifact.model, plans, there, budget)
    if not count:
        return None, (
            f"scoring explanations on {LEAST} images takes up to {plan.passes(artifact.model, LEAST):,} passes of the "
            f"model, too much beside so short a training"
        )
    journal.say(f"scoring explanations on {count} {split} images")
    chosen = drawn(data.indices(split), count)
    found = samples(
        data.source, chosen, artifact.preprocessor, artifact.task,
        lambda key, reason: journal.warn(f"not scored: {key}: {reason}"),
    )  # fmt: skip
    try:
        return score(artifact.model, artifact.task, found, plan).of_split(split), ""
    except UsageError as error:  # the run is not worth failing for
        return None, str(error)


def _plans(model: Explainable) -> list[Plan]:
    """What to measure, the most telling first, each cheaper than the one before; in the end the default alone.

    None where nothing can be scored.
    """
    cheap = [name for name in fitting(model)[0] if get_method(name).cost != "passes"]
    if not cheap:
        return []
    part_by_part = Plan(cheap, levels=(CASCADE[0], *ALONE, "all"))
    plans = [part_by_part, Plan(cheap, levels=("all",)), Plan(cheap, ("blur",), ("all",))]
    default = default_method(model)
    return plans + ([Plan([default], ("blur",), ("all",))] if default in cheap else [])


def afforded(model: Explainable, plans: Sequence[Plan], there: int, budget: int) -> tuple[Plan, int]:
    """The most telling plan that so many passes pay for, and on how many of the images that are there; else the last
    plan, on none. Part by part, the first plan, is taken where that takes no image away.
    """
    most = min(MOST, there)
    for plan in plans:
        least = most if plan is plans[0] else LEAST
        for count in range(most, least - 1, -1):
            if plan.passes(model, count) <= budget:
                return plan, count
    return plans[-1], 0


def costs(model: Explainable, there: int) -> tuple[int, int]:
    """Passes of the model that scoring takes at least, below which it is left out, and at most.

    there: images of the split that is scored. (0, 0) where nothing can be scored.
    """
    plans = _plans(model)
    if not plans or there < LEAST:
        return 0, 0
    most = max(plan.passes(model, min(MOST, there)) for plan in plans)
    return min(plan.passes(model, LEAST) for plan in plans), min(MOST_PASSES, most)


def drawn(indices: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]], count: int) -> list[int]:
    """So many of them, drawn by their number alone, in their order."""
    places = generator("images to score", len(indices)).permutation(len(indices))[:count]
    return [int(indices[place]) for place in sorted(places)]


def of_data(
    artifact: Artifact, run: Path, data: str, images: int, methods: Sequence[str] | None,
    say: Callable[[str], None], progress: Callable[[int], None], unread: Callable[[str, str], None],
) -> Trust:  # fmt: skip
    """Methods, all that fit the model where none are named, scored on some of the images of `data`.

    The run's own data are scored on what was held out; other data whole. unread: told key and reason of each image that
    cannot be read, which is left out.

    Raises UsageError and DataError where the data cannot be opened, DataError where none can be used.
    """
    source, indices, split = held_out(artifact, run, data)
    able, refused = fitting(artifact.model, methods)
    if not able:
        raise misfit(artifact.model, refused)
    plan = Plan(able)
    chosen = drawn(indices, images)
    passes = plan.passes(artifact.model, len(chosen))
    whose = f" {split}" if split else ""
    say(f"scoring {', '.join(able)} on {len(chosen):,}{whose} images: up to {passes:,} passes of the model")
    found = samples(source, chosen, artifact.preprocessor, artifact.task, unread)
    trust = score(artifact.model, artifact.task, found, plan, progress)
    return trust.of_split(split, refused)


def held_out(
    artifact: Artifact, run: Path, data: str, source: Source | None = None
) -> tuple[Source, Sequence[int], str]:
    """The source, which of its samples a model can be judged on, and their split: test, or val where there is none.

    Of other data than its own all of them, and "".  source: the run's own, where it came from Python.  Raises
    UsageError and DataError where the data cannot be opened, DataError where the run held nothing back.
    """
    own: DataConfig = artifact.config.data
    task = artifact.task.name
    if data != own.source:
        source = _other(data, own, task)
        return source, range(len(source.items)), ""
    journal = Journal(quiet=True)
    source = source or open_source(own, task)
    divided = leave_out_strangers(
        divide(source, read_audit(source, own, journal), own, journal, task), artifact.task, journal
    )
    for split in ("test", "val"):
        if divided.indices(split):
            return source, divided.indices(split), split
    raise DataError(f"{run} held no images back: name other data")


def _other(data: str, own: DataConfig, task: str) -> Source:
    """Data that the run has not seen. Only what is asked of images stays: columns and folders were those of the first.

    A folder that is none of this task's data is taken as the images in it: nothing but them is needed, save to know
    where things stand.
    """
    kept = {"source": data, "channels": own.channels, "max_pixels": own.max_pixels, "shapes": own.shapes}
    try:
        return open_source(DataConfig.model_validate(kept), task)
    except (UsageError, DataError):
        folder = Path(data).expanduser()
        if not folder.is_dir():
            raise
        return LooseFiles(folder, own.max_pixels)
