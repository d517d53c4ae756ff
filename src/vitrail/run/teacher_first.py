"""`--teacher auto`: a CNN on the same images, trained before its student, in a run folder of its own: RUN/teacher.

Its settings are written before the student's, so that a student that can be resumed finds what its teacher was to be.
A run that was stopped while its teacher learned goes on with the teacher.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vitrail.errors import Interrupted
from vitrail.run.beginning import read_reasons, write_beginning
from vitrail.run.building import make_model
from vitrail.run.ending import recorded
from vitrail.run.folder import Run, create
from vitrail.run.prepare import Data, choose_settings, make_task, show
from vitrail.run.teachers import AUTO, AUTO_MODEL
from vitrail.settings import Config
from vitrail.training import checkpoint
from vitrail.training.journal import Journal
from vitrail.training.recipes import Choice, Reason, complete

FOLDER = "teacher"
"""Inside of the student's run folder."""
SHARED = ("data.", "task.", "augment.")
"""Sections that a student and its teacher have in common: the teacher learns on what it will be asked about."""
ALSO_SHARED = (
    "preprocess.resize", "preprocess.crop_fraction", "preprocess.interpolation", "model.image_size", "seed",
    "data_seed", "threads", "train.batch_size", "train.accumulate", "train.precision",
    "train.checkpoint_seconds", "train.keep_checkpoints", "report.explanations",
)  # fmt: skip

TEACHER_EPOCHS = 0.5
"""Of its student's: a CNN need not learn from images what neighbouring pixels have to do with each other."""

Go = Callable[..., None]
"""Trains, evaluates and reports a run: (run, config, reasons, data, model, device, journal, again)."""


def settle_length(choice: Choice) -> Choice:
    """The choice with the epochs of a teacher that is trained first, and why, where it has one and they are open."""
    config = choice.config
    if config.distill.teacher != AUTO or config.distill.teacher_epochs is not None:
        return choice
    distill = config.distill.model_copy(update={"teacher_epochs": _epochs(config)})
    why = "half of its student's: a CNN learns from fewer images"
    reason = Reason("distill.teacher_epochs", distill.teacher_epochs, why)
    return replace(choice, config=config.model_copy(update={"distill": distill}), reasons=(*choice.reasons, reason))


def _epochs(config: Config) -> float:
    if config.distill.teacher_epochs is not None:
        return config.distill.teacher_epochs
    half = TEACHER_EPOCHS * config.train.epochs
    return math.ceil(half) if config.train.epochs >= 1 else half


def teacher_settings(config: Config, data: Data, device: str) -> Choice:
    """What the teacher is to be, from the student's complete config."""
    whole = complete(config)
    kept = {path: value for path, value in whole.items() if path.startswith(SHARED) or path in ALSO_SHARED}
    kept |= {"model.name": AUTO_MODEL, "train.epochs": _epochs(config)}
    return choose_settings(kept, data, device)


def begin_teacher(
    student: Run, config: Config, data: Data, device: str, record: Mapping[str, Any], command: Sequence[str]
) -> None:
    """Claim RUN/teacher and write there what the teacher is to be, a function of the student's complete config.

    It sees the same images, augmented alike, half as often; its rate, its decay and the like are by its own recipe.
    record: the student's data.json.
    """
    choice = teacher_settings(config, data, device)
    make_model(choice.config, make_task(choice.config, data), None)  # what cannot be is said before anything is written
    run = create(FOLDER, student.folder / FOLDER, command, choice.config)
    write_beginning(run, choice, data.audit, record)
    diary = Journal(quiet=True)
    diary.attach(run.folder)
    show(choice, diary)
    diary.close()


def teach_first(student: Run, data: Data, device: str, journal: Journal, go: Go) -> None:
    """Train the student's teacher to its report, or go on with it; nothing where it is finished."""
    run = Run.open(student.folder / FOLDER)
    config = run.config
    if run.status == "finished":
        return
    epochs = f"{config.train.epochs:g} epochs of {config.model.name}"
    journal.say(f"teacher: trained first, {epochs} on the same images, in {run.folder}")
    diary = Journal(journal.quiet)
    diary.attach(run.folder)
    reasons = read_reasons(run)
    again = bool(checkpoint.listed(run.folder / "checkpoints"))
    try:
        with recorded(run, diary):
            run.mark("running")
            model = make_model(config, make_task(config, data), None)
            go(run, config, reasons, data, model, device, diary, again=again)
    except Interrupted as stop:
        first = str(stop).splitlines()[0]
        resume = f"vitrail train --resume {shlex.quote(str(student.folder))}"
        raise Interrupted(f"the teacher was {first}\nGo on with: {resume}", stop.signal_number) from None
    journal.say("teacher: finished; now the student")
