"""`--time`: as many epochs as fit into a limit on the whole run's wall time, at the speed that was measured.

A trial before the first step trains a throwaway model for a twentieth of the time. From its speed, what has gone by and
what comes after training, the number of epochs follows; from then on the run is one whose epochs were stated. What is
slower than in the trial, the machine having other work, makes the run longer, not shorter.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from vitrail.artifact import Artifact
from vitrail.assemble import VisionModel
from vitrail.distill.teacher import Teacher
from vitrail.errors import UsageError
from vitrail.run import pictures, teachers
from vitrail.run.building import make_model
from vitrail.run.ending import threads
from vitrail.run.folder import standing
from vitrail.run.loops import Validation, make_loop
from vitrail.run.prepare import Data, make_task, preprocessor_of
from vitrail.run.teacher_first import TEACHER_EPOCHS, teacher_settings
from vitrail.run.trust import SHARE, costs
from vitrail.settings import Config, Stated, seconds_of
from vitrail.training.journal import Journal, duration
from vitrail.training.loop import Loop
from vitrail.training.objective import Objective, Supervised
from vitrail.training.recipes import Reason
from vitrail.training.trial import Clock, Speed, measure

MARGIN = 0.05
"""Share of the time that is left when the trial ends, kept for what the trial did not see."""
TRIAL, TRIAL_SECONDS = 0.05, 20.0
"""Share of the time that the trial may take, and the most it takes."""
TEACHER_SHARE = 0.3
"""The most of the time that goes to a teacher trained first: its student is what the time is for."""
FINISH, DENSE_FINISH = 2.2, 3.5
"""Seconds of one core for the report and its pictures, without explanations: 1.6 to 1.9 were measured."""
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


@dataclass(frozen=True)
class Work:
    """What a run goes over. train, val, test: images of each split.  batch: images per update.  checkpoint: seconds
    between two.  finish: seconds of one core for the report and its pictures.  explaining: seconds for its explanations
    and their page.  scored: passes to score explanations with, for each image that training goes over; none where that
    are fewer than `scored_least`, and at most `scored_most`.
    """

    train: int
    val: int
    test: int
    batch: int
    checkpoint: float
    finish: float
    explaining: float = 0.0
    scored: float = 0.0
    scored_least: float = 0.0
    scored_most: float = math.inf

    @classmethod
    def of(cls, config: Config, data: Data, dense: bool) -> Work:
        """That of a run without explanations."""
        train, val, test = (len(data.indices(split)) for split in ("train", "val", "test"))
        own = config.train
        return cls(train, val, test, own.batch_size, own.checkpoint_seconds, DENSE_FINISH if dense else FINISH)

    def explained(self, config: Config, model: VisionModel, seconds: float) -> Work:
        """The same of a model whose explanations take so many seconds; what is not explained is not scored."""
        least, most = costs(model, self.test or self.val) if seconds else (0, 0)
        share = SHARE[config.train.freeze]
        return replace(self, explaining=seconds, scored=share, scored_least=least, scored_most=most)

    def scoring(self, epochs: float) -> float:
        """Passes of the model to score explanations with, after so many epochs."""
        allowed = self.scored * epochs * self.train
        return min(self.scored_most, allowed) if allowed >= self.scored_least else 0.0


@dataclass(frozen=True)
class Part:
    """A training within a run, the run's own or its teacher's, and how fast it is."""

    work: Work
    speed: Speed


def refuse_epochs(stated: Stated, deadline: Deadline | None) -> None:
    """UsageError where a number of epochs is stated beside a limit on the time."""
    for path, option in (("train.epochs", "--epochs"), ("distill.teacher_epochs", "distill.teacher_epochs")):
        if deadline is not None and stated.get(path) is not None:
            raise UsageError(f"--time and {option} both say how long to train: leave one out")


def fit_epochs(
    deadline: Deadline, config: Config, data: Data, device: str, backbone: nn.Module | None, teacher: Teacher | None,
    out: Path | None, journal: Journal,
) -> tuple[Reason, ...]:  # fmt: skip
    """How many epochs fit, at the speed that a trial of this config has, and why; of a teacher trained first as well.

    Raises UsageError where too little time is left.
    """
    part, first = try_parts(deadline, config, data, device, backbone, teacher, out, journal)
    epochs, of_teacher = fitting(deadline, part, first)
    reasons = [reason_of(deadline, epochs, part.speed)]
    if of_teacher is not None:
        why = f"half of its student's, as without a limit, and at most {TEACHER_SHARE:.0%} of the time"
        reasons.append(Reason("distill.teacher_epochs", of_teacher, why))
    return tuple(reasons)


def try_parts(
    deadline: Deadline, config: Config, data: Data, device: str, backbone: nn.Module | None, teacher: Teacher | None,
    out: Path | None, journal: Journal,
) -> tuple[Part, Part | None]:  # fmt: skip
    """The training of this config, and that of a teacher it has trained first, each with the speed of a trial.

    Raises UsageError where no time is left for it.
    """
    with threads(config.threads):
        task, first = make_task(config, data), None
        if config.distill.teacher == teachers.AUTO:
            own = teacher_settings(config, data, device).config
            first = _tried(deadline, own, data, make_model(own, task, None), Supervised(task), device, out, journal)
            # one that knows nothing yet answers as fast
            teacher = Teacher(teachers.AUTO, make_model(own, task, None), preprocessor_of(own), device)
        model = make_model(config, task, copy.deepcopy(backbone))
        uncached = config.model_copy(update={"distill": config.distill.model_copy(update={"cache_mb": 0})})
        objective = teachers.objective(teacher, uncached, model, data, Journal(quiet=True))
        try:
            part = _tried(deadline, config, data, model, objective, device, out, journal)
        finally:
            objective.close()
    return part, first


def _tried(
    deadline: Deadline, config: Config, data: Data, model: VisionModel, objective: Objective, device: str,
    out: Path | None, journal: Journal,
) -> Part:  # fmt: skip
    """A training with its speed, tried on this model and objective, which are not to be used again."""

    def make(folder: Path) -> tuple[Loop, Validation]:
        return make_loop(folder, config, data, model, objective, device, Journal(quiet=True))

    data.kept.store(data.source, data.split.train, model.task, config, device, journal)  # which the run will use
    what = f"training {config.model.name}"
    speed = trial(deadline, make, len(data.indices("val")), out, "train", journal, what)
    artifact = Artifact(Path(), model.eval(), config, model.task, preprocessor_of(config))
    explaining = pictures.explaining(artifact, data, deadline.clock) if config.report.explanations else 0.0
    return Part(Work.of(config, data, model.task.dense).explained(config, model, explaining), speed)


def trial(
    deadline: Deadline, make: Callable[[Path], tuple[Loop, Validation]], images: int, out: Path | None, verb: str,
    journal: Journal, what: str = "training",
) -> Speed:  # fmt: skip
    """The speed of a loop that is made for this alone; nothing of it stays.

    make: given the folder it writes into, the loop and a loader of the first so many of the `images` to be validated
    on.  out, verb: where the run will stand: the folder is in the same file system, so that writing is as fast. Raises
    UsageError where no time is left for it.
    """
    seconds = min(TRIAL_SECONDS, TRIAL * deadline.left())
    if seconds <= 0:
        raise UsageError(f"--time {short_time(deadline.seconds)} is over before training could begin: give more")
    journal.say(f"trying how fast {what} is, to fit it into {short_time(deadline.seconds)}")
    with tempfile.TemporaryDirectory(prefix=".vitrail-trial-", dir=standing(out, verb)) as place:
        loop, validation = make(Path(place))
        return measure(loop, validation, images, seconds, deadline.clock)


def reason_of(deadline: Deadline, epochs: float, speed: Speed) -> Reason:
    """A number of epochs that fits, and why it is that."""
    why = f"as many as fit into {short_time(deadline.seconds)}, at {1 / speed.image:.3g} images/s, report included"
    return Reason("train.epochs", epochs, why)


def takes(epochs: float, work: Work, speed: Speed) -> float:
    """Seconds from the trial's end to the report's, for so many epochs."""
    reading = min(epochs, 1.0) * work.train * speed.first + work.val * speed.first_evaluation
    training = epochs * work.train * speed.image
    training *= 1 + speed.writing / work.checkpoint  # checkpoints within long epochs
    rows = math.ceil(epochs) * (work.val * speed.evaluation + speed.writing)
    scoring = (work.val + work.test) * (speed.evaluation + speed.first_evaluation)  # the best model, from its folder
    trusting = work.scoring(epochs) * speed.evaluation
    finish = work.finish * speed.load + work.explaining
    return speed.startup + reading + training + rows + scoring + trusting + speed.writing + finish


def fitting(deadline: Deadline, part: Part, teacher: Part | None = None) -> tuple[float, float | None]:
    """The most epochs that fit, and those of the teacher that is trained before, where there is one.

    The teacher has half as many, and fewer where they would take more than its share of the time. Rounded down to whole
    ones or to three digits. Raises UsageError where next to none fit.
    """
    left = deadline.left() * (1 - MARGIN)

    def of_teacher(epochs: float) -> float:
        assert teacher is not None, "asked for a teacher's alone"
        most = most_epochs(lambda e: takes(e, teacher.work, teacher.speed), TEACHER_SHARE * left)
        return rounded(max(least_epochs(teacher.work), min(most, TEACHER_EPOCHS * epochs)))

    def taken(epochs: float) -> float:
        first = takes(of_teacher(epochs), teacher.work, teacher.speed) if teacher is not None else 0.0
        return first + takes(epochs, part.work, part.speed)

    least = least_epochs(part.work)
    if taken(least) > left:
        gone = deadline.seconds - deadline.left()
        raise UsageError(
            f"--time {short_time(deadline.seconds)} is too little here: {duration(gone)} went into reading the data and"
            f" a trial, and {least:.2g} epochs with their evaluation and report take {duration(taken(least))}:"
            f" at least --time {short_time(rounded_up(gone + taken(least) / (1 - MARGIN)))} is needed"
        )
    epochs = rounded(max(least, most_epochs(taken, left)))
    return epochs, of_teacher(epochs) if teacher is not None else None


def least_epochs(work: Work) -> float:
    """Epochs below which training is refused."""
    return max(LEAST_EPOCHS, LEAST_UPDATES * work.batch / work.train)


def most_epochs(taken: Callable[[float], float], left: float) -> float:
    """The most epochs, up to MOST, that take no longer than what is left; 0 where none do."""
    low, high = 0.0, float(MOST)
    if taken(high) <= left:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if taken(middle) <= left else (low, middle)
    return low * (1 + 1e-9)  # where a whole epoch is the limit, halving comes to it from below


def rounded(epochs: float) -> float:
    """Down to a whole number from ROUND on, to three digits below."""
    if epochs >= ROUND:
        return math.floor(epochs)
    digits = 2 - math.floor(math.log10(epochs))
    kept = float(round(math.floor(epochs * 10.0**digits * (1 + 1e-9)) / 10.0**digits, digits))
    return int(kept) if kept.is_integer() else kept


def rounded_up(seconds: float) -> float:
    """Up to a time that one would state."""
    step = 5 if seconds < 120 else 60
    return math.ceil(seconds / step) * step


def short_time(seconds: float) -> str:
    """As `--time` reads it: 1h30m, 10m, 90s."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or f"{seconds:.2g}s"
