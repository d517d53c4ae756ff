"""`--time`: as many epochs as fit into a limit on the whole run's wall time, at the speed that was measured.

A trial before the first step trains a throwaway model for a twentieth of the time. From its speed, what has gone by and
what comes after training, the number of epochs follows; from then on the run is one whose epochs were stated. What is
slower than in the trial, the machine having other work, makes the run longer, not shorter.
"""

from __future__ import annotations

import copy
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from vitrail.assemble import VisionModel
from vitrail.distill.teacher import Teacher
from vitrail.errors import UsageError
from vitrail.run import teachers
from vitrail.run.building import make_model
from vitrail.run.ending import threads
from vitrail.run.loops import make_loop
from vitrail.run.prepare import Data, make_task, preprocessor_of
from vitrail.run.teacher_first import teacher_settings
from vitrail.settings import Config, Stated, seconds_of
from vitrail.training.journal import Journal, duration
from vitrail.training.objective import Objective, Supervised
from vitrail.training.recipes import Reason
from vitrail.training.trial import Clock, Speed, measure

MARGIN = 0.05
"""Share of the time that is left when the trial ends, kept for what the trial did not see."""
TRIAL, TRIAL_SECONDS = 0.05, 20.0
"""Share of the time that the trial may take, and the most it takes."""
FINISH, DENSE_FINISH = 3.0, 5.0
"""Seconds of one core for explanations, pictures and report: 1.6 to 3 were measured."""
LEAST_EPOCHS, LEAST_UPDATES = 0.02, 8
"""Training that is shorter than both is refused."""
ROUND = 30
"""From so many epochs on, only whole ones: at most 3 % of the time is lost."""
MOST = 100_000


@dataclass(frozen=True)
class Deadline:
    """A limit on wall time. seconds: in all, since `began`, a reading of `clock`."""

    seconds: float
    began: float
    clock: Clock = time.monotonic

    @classmethod
    def of(cls, limit: str | float, began: float | None = None) -> Deadline:
        """Of a limit as users write it, from `began` (a reading of time.monotonic) or from now on."""
        return cls(seconds_of(limit), time.monotonic() if began is None else began)

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (self.clock() - self.began)

    def record(self) -> dict[str, float]:
        """For run.json: the seconds asked for, and those that had gone by."""
        return {"asked": self.seconds, "gone": round(self.seconds - self.left(), 2)}

    def share(self, part: float) -> Deadline:
        """A limit of its own, from now on: this part of what is left."""
        return Deadline(self.left() * part, self.clock(), self.clock)


@dataclass(frozen=True)
class Work:
    """What a run goes over. train, val, test: images of each split.  batch: images per update.  checkpoint: seconds
    between two.  finish: seconds of one core for explanations and report.
    """

    train: int
    val: int
    test: int
    batch: int
    checkpoint: float
    finish: float

    @classmethod
    def of(cls, config: Config, data: Data, dense: bool) -> Work:
        """That of a run."""
        train, val, test = (len(data.indices(split)) for split in ("train", "val", "test"))
        own = config.train
        return cls(train, val, test, own.batch_size, own.checkpoint_seconds, DENSE_FINISH if dense else FINISH)


@dataclass(frozen=True)
class Part:
    """A training within a run: the run's own, or its teacher's."""

    work: Work
    speed: Speed


def refuse_epochs(stated: Stated, deadline: Deadline | None) -> None:
    """UsageError where a number of epochs is stated beside a limit on the time."""
    if deadline is not None and "train.epochs" in stated:
        raise UsageError("--time and --epochs both say how long to train: leave one out")


def fit_epochs(
    deadline: Deadline, config: Config, data: Data, device: str, backbone: nn.Module | None, teacher: Teacher | None,
    out: Path | None, journal: Journal,
) -> Reason:  # fmt: skip
    """How many epochs fit, at the speed that a trial of this config has, and why.

    Raises UsageError where too little time is left.
    """
    journal.say(f"trying how fast training is, to fit it into {_short(deadline.seconds)}")
    place, parts = _standing(out), []
    with threads(config.threads):
        task = make_task(config, data)
        if config.distill.teacher == teachers.AUTO:
            first = teacher_settings(config, data, device).config
            speed = trial(deadline, place, first, data, make_model(first, task, None), Supervised(task), device)
            parts.append(Part(Work.of(first, data, task.dense), speed))
            # one that knows nothing yet answers as fast
            teacher = Teacher(teachers.AUTO, make_model(first, task, None), preprocessor_of(first), device)
        model = make_model(config, task, copy.deepcopy(backbone))
        uncached = config.model_copy(update={"distill": config.distill.model_copy(update={"cache_mb": 0})})
        objective = teachers.objective(teacher, uncached, model, data, Journal(quiet=True))
        try:
            speed = trial(deadline, place, config, data, model, objective, device)
        finally:
            objective.close()
    parts.append(Part(Work.of(config, data, task.dense), speed))
    epochs = fitting(deadline, parts)
    why = f"as many as fit into {_short(deadline.seconds)}, at {1 / speed.image:.3g} images/s, report included"
    return Reason("train.epochs", epochs, why)


def _standing(out: Path | None) -> Path:
    """The nearest folder that is there to where a run will be written."""
    return next(folder for folder in Path(os.path.abspath(out or Path("runs") / "run")).parents if folder.is_dir())


def trial(
    deadline: Deadline, where: Path, config: Config, data: Data, model: VisionModel, objective: Objective, device: str
) -> Speed:
    """The speed of a run of this config, tried on this model and objective, which are not to be used again.

    where: a folder in the file system of the run's own, so that writing is as fast; nothing stays in it.
    """
    seconds = min(TRIAL_SECONDS, TRIAL * deadline.left())
    if seconds <= 0:
        raise UsageError(f"--time {_short(deadline.seconds)} is over before training could begin: give more")
    with tempfile.TemporaryDirectory(prefix=".vitrail-trial-", dir=where) as place:
        began = deadline.clock()
        loop, validation = make_loop(Path(place), config, data, model, objective, device, Journal(quiet=True))
        making = deadline.clock() - began  # images are read onto the device in it, and will be again
        speed = measure(loop, validation, len(data.indices("val")), seconds, deadline.clock)
        return replace(speed, startup=speed.startup + making)


def takes(epochs: float, work: Work, speed: Speed) -> float:
    """Seconds from the trial's end to the report's, for so many epochs."""
    reading = min(epochs, 1.0) * work.train * speed.first + work.val * speed.first_evaluation
    training = epochs * work.train * speed.image
    training *= 1 + speed.writing / work.checkpoint  # checkpoints within long epochs
    rows = math.ceil(epochs) * (work.val * speed.evaluation + speed.writing)
    scoring = (work.val + work.test) * (speed.evaluation + speed.first_evaluation)  # the best model, from its folder
    return speed.startup + reading + training + rows + scoring + speed.writing + work.finish * speed.load


def fitting(deadline: Deadline, parts: Sequence[Part]) -> float:
    """The most epochs that fit, the same for each part: a run, and the teacher that is trained before it.

    Rounded down to whole ones or to three digits. Raises UsageError where next to none fit.
    """
    left = deadline.left() * (1 - MARGIN)

    def taken(epochs: float) -> float:
        return sum(takes(epochs, part.work, part.speed) for part in parts)

    least = max(max(LEAST_EPOCHS, LEAST_UPDATES * part.work.batch / part.work.train) for part in parts)
    if taken(least) > left:
        gone = deadline.seconds - deadline.left()
        raise UsageError(
            f"--time {_short(deadline.seconds)} is too little here: {duration(gone)} went into reading the data and a"
            f" trial, and {least:.2g} epochs with their evaluation and report take {duration(taken(least))}:"
            f" at least --time {_short(_up(gone + taken(least) / (1 - MARGIN)))} is needed"
        )
    low, high = least, float(MOST)
    if taken(high) <= left:
        return MOST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if taken(middle) <= left else (low, middle)
    return rounded(low * (1 + 1e-9))  # where a whole epoch is the limit, halving comes to it from below


def rounded(epochs: float) -> float:
    """Down to a whole number from ROUND on, to three digits below."""
    if epochs >= ROUND:
        return math.floor(epochs)
    digits = 2 - math.floor(math.log10(epochs))
    kept = float(round(math.floor(epochs * 10.0**digits * (1 + 1e-9)) / 10.0**digits, digits))
    return int(kept) if kept.is_integer() else kept


def _up(seconds: float) -> float:
    """Up to a time that one would state."""
    step = 5 if seconds < 120 else 60
    return math.ceil(seconds / step) * step


def _short(seconds: float) -> str:
    """As `--time` reads it: 1h30m, 10m, 90s."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or f"{seconds:.2g}s"
