"""Who teaches a run (`--teacher`): a run, a model folder, a published model by name, or a CNN trained first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch

import vitrail
from vitrail.artifact import find
from vitrail.artifact import load as load_artifact
from vitrail.assemble import VisionModel
from vitrail.checkpoints.conversion import read_model
from vitrail.contracts import Backbone, Task
from vitrail.data.split import split_record
from vitrail.distill.cache import AnswerCache, make_room, place_for
from vitrail.distill.feature import WEIGHT, FeatureDistilled, final_grid, nearest_level
from vitrail.distill.lesson import Lesson, lesson_key
from vitrail.distill.objective import Distilled
from vitrail.distill.teacher import Teacher
from vitrail.errors import IntegrityError, UsageError
from vitrail.heads.distilled import DistilledHead
from vitrail.models import variant
from vitrail.run.folder import Run
from vitrail.run.prepare import Data, preprocessor_of
from vitrail.settings import CUSTOM, Config, DistillConfig, Kind, Stated, build
from vitrail.tasks import restore
from vitrail.training.journal import Journal
from vitrail.training.objective import Objective, Supervised
from vitrail.training.recipes import Reason
from vitrail.training.schedule import Schedule

AUTO = "auto"
AUTO_MODEL = "resnet18"
STUDENT = "deit_tiny_distilled"
PUBLISHED = ("torchvision:", "timm:", "hf-hub:")
WNID = re.compile(r"n\d{8}")
"""A class of ImageNet as its folders are called."""


# ------------------------------------------------------------------------------------------------------- the settings


def refuse_unused(config: Config) -> None:
    """UsageError for a setting of distillation that would be passed over in silence."""
    own, defaults = config.distill, DistillConfig()
    if own.teacher is None:
        for field in ("kind", "weight", "temperature", "cache_mb", "teacher_epochs"):
            if getattr(own, field) != getattr(defaults, field):
                raise UsageError(f"distill.{field} is for a run that has a teacher: add --teacher RUN, NAME or auto")
    elif own.kind != "soft" and own.temperature != defaults.temperature:
        raise UsageError(f"distill.temperature is for distill.kind=soft: {own.kind} has no use for it")
    if own.teacher not in (None, AUTO) and own.teacher_epochs is not None:
        raise UsageError("distill.teacher_epochs is for --teacher auto: any other has been trained already")


def settle(stated: Stated, teacher: Teacher | None) -> tuple[Stated, tuple[Reason, ...]]:
    """What is stated with what follows from having a teacher, and why; the task must be among it."""
    config = build(stated)
    if config.distill.teacher is None:
        return stated, ()
    found: dict[str, tuple[Any, str]] = {}
    kind = config.distill.kind
    if "distill.kind" not in stated:
        kind, why = _best_kind(config)
        found["distill.kind"] = (kind, why)
    reads_cls = stated.get("model.pooling", "cls") == "cls"  # beside which the second token stands
    if config.task.name == "classify" and kind != "feature" and config.model.weights is None and reads_cls:
        why = "vit_tiny with a second token that learns from the teacher: DeiT's best (arXiv 2012.12877, table 3)"
        found["model.name"] = (STUDENT, why)
    if kind == "feature":
        found["distill.weight"] = (WEIGHT, "2.5 times the loss on the targets, as tiny transformers have it")
    if teacher is not None:
        found["model.image_size"] = (max(teacher.preprocessor.size), "what the teacher takes")
    found = {path: pair for path, pair in found.items() if path not in stated}
    reasons = [Reason(path, value, why) for path, (value, why) in found.items()]
    shown = config.distill.teacher if config.distill.teacher != AUTO else f"auto: {AUTO_MODEL}, trained first"
    return {**stated, **{path: value for path, (value, _) in found.items()}}, (
        Reason("distill.teacher", shown, "as stated"),
        *reasons,
    )


def has_token(model: str, options: Mapping[str, Any]) -> bool:
    """Whether a model of the catalogue has a second token, which learns from a teacher."""
    if model == CUSTOM:
        return False
    return bool(options.get("distilled", getattr(variant(model).config, "distilled", False)))


def _best_kind(config: Config) -> tuple[Kind, str]:
    """How a teacher teaches best whose way was not stated, and why."""
    if config.task.name != "classify":
        return "hard", "the teacher's answers as targets, which every task has"
    if config.train.freeze == "backbone":
        return "soft", "the head learns alone, and a feature map would teach the rest"
    if has_token(config.model.name, config.model.options):
        return "hard", "the second token learns the teacher's decisions (DeiT, arXiv 2012.12877, table 3)"
    return "feature", "from few images the teacher's map brought most: docs/log.md"


def check(config: Config, task: Task, teacher: Teacher | None) -> None:
    """UsageError where the run cannot learn from its teacher: other images, other classes, another task."""
    if config.distill.teacher is None:
        return
    if config.distill.kind == "soft" and not task.softens:
        raise UsageError(f"distill.kind=soft: {task.name} answers with numbers, which have no softened form: use hard")
    if teacher is not None:
        _name_classes(teacher, task)
        teacher.refuse_other_images(preprocessor_of(config))
        if config.distill.kind != "feature":
            task.align(teacher.task)


# -------------------------------------------------------------------------------------------------------- the teacher


def open_named(config: Config, device: str) -> Teacher | None:
    """The teacher that the settings name, from files that are there or are fetched; None for none, and for auto."""
    name, kind = config.distill.teacher, config.distill.kind
    return None if name is None or name == AUTO else open_teacher(name, device, any_head=kind == "feature")


def open_teacher(name: str, device: str, any_head: bool = False) -> Teacher:
    """A teacher from a run, a model folder, `torchvision:NAME`, `timm:NAME`, `hf-hub:ORG/NAME` or a weights file.

    any_head: take also what has no head, such as a model that was pretrained on images alone.  Raises UsageError where
    there is none, IntegrityError where it is damaged or could run code.
    """
    path = Path(name)
    if name.startswith(PUBLISHED) or path.is_file():
        read = read_model(name, any_head=any_head)
        return Teacher(name, read.model, read.preprocessor, device, told=f"{name} ({read.report.model})")
    if not path.exists():
        raise UsageError(
            f"the teacher {name} is nowhere: give a run or model folder, torchvision:NAME, timm:NAME, or auto, which"
            f" trains {AUTO_MODEL} first"
        )
    if any_head:
        read = read_model(find(path), any_head=True)
        model, preprocessor, called = read.model, read.preprocessor, read.config.model.name
    else:
        made = load_artifact(find(path), device)
        model, preprocessor, called = made.model, made.preprocessor, made.config.model.name
    return Teacher(name, model, preprocessor, device, told=f"{called} ({name}{_score(path)})")


def _score(path: Path) -> str:
    """How good a run was on its validation images; "" where it was trained on no targets, or for a model folder."""
    if not (path / "run.json").is_file() or Run.open(path).verb != "train":
        return ""
    values = Run.open(path).metrics.get("val", {})
    headline = restore(json.loads((find(path) / "labels.json").read_bytes())).headline
    return f", val {headline} {values[headline]:.4f}" if headline in values else ""


def _name_classes(teacher: Teacher, task: Task) -> None:
    """Call a published classifier's classes as the student's folders are called, where those are ImageNet's."""
    wanted = list(task.state().get("labels", ()))
    told = teacher.task.state()
    known = len(told.get("labels", ())) == 1000 and teacher.name.startswith(PUBLISHED)
    if not known or told["task"] != "classify" or not all(WNID.fullmatch(str(label)) for label in wanted):
        return
    if len(wanted) == 1000:
        names = sorted(wanted)  # ImageNet's order of outputs is that of these names
    else:
        try:
            from timm.data.imagenet_info import ImageNetInfo
        except ImportError:
            raise UsageError(
                "to know ImageNet's classes by n01440764 and the like needs timm: pip install timm"
            ) from None
        names = list(ImageNetInfo().label_names())  # type: ignore[no-untyped-call]
    teacher.task = restore({"task": "classify", "labels": names})


# ------------------------------------------------------------------------------------------------------ the objective


def objective(teacher: Teacher | None, config: Config, model: VisionModel, data: Data, journal: Journal) -> Objective:
    """What the loop minimises: the task's loss, and the teacher's part of it where there is one."""
    task, distill = model.task, config.distill
    if teacher is None:
        return Supervised(task)
    student, seen = cast(Backbone, model.backbone), preprocessor_of(config)
    if distill.kind == "feature":
        level, grid = nearest_level(teacher, student), final_grid(student)
        say, what = teacher.maps(seen, level, grid), f"level {level} at {grid[0]} x {grid[1]}"
    else:
        say, what = teacher.answers(seen), "outputs"
    device = next(teacher.model.parameters()).device
    shape = tuple(say(torch.zeros(1, seen.channels, *seen.size, device=device)).shape[1:])
    libraries = {name: metadata.version(name) for name in ("torch", "torchvision", "pillow")}
    versions = json.dumps({"vitrail": vitrail.__version__, **libraries})
    fingerprint = split_record(data.split, data.source)["fingerprint"]
    key = lesson_key(config, teacher.digest(), what, fingerprint, task.dense, versions)
    lesson = Lesson(say, _cache(config, key, shape, data, journal), config.train.precision, journal.warn)
    if distill.kind == "feature":
        return FeatureDistilled(task, lesson, student, shape[0], distill, config.seed)
    return Distilled(task, lesson, task.align(teacher.task), distill)


def _cache(
    config: Config, key: Mapping[str, Any], shape: tuple[int, ...], data: Data, journal: Journal
) -> AnswerCache | None:  # fmt: skip
    if not config.distill.cache_mb:
        return None
    place = place_for(key)
    positions = Schedule(len(data.split.train), config.train).steps * config.train.batch_size
    needed = positions * (4 * torch.Size(shape).numel() + 1)
    if place is None or not make_room(place, needed, config.distill.cache_mb * 2**20):
        allowed = "there is no place for caches" if place is None else f"distill.cache_mb={config.distill.cache_mb}"
        journal.say(f"teacher: its answers would take {needed / 2**20:.0f} MiB ({allowed}): asked at every step")
        return None
    known = "kept from an earlier run are used" if any(place.glob("*.answers")) else "are kept for later runs"
    journal.say(f"teacher: its answers {known}, in {place}")
    micro = config.train.batch_size // config.train.accumulate
    return AnswerCache(place, micro, shape, journal.warn, key)


def sentence(teacher: Teacher, config: Config, model: VisionModel) -> str:
    """What taught the model and how, for the report."""
    own = config.distill
    ways = {
        "hard": "its decisions",
        "soft": f"its answers, softened at temperature {own.temperature:g}",
        "feature": "its feature map",
    }
    token = own.kind != "feature" and isinstance(model.head, DistilledHead)
    through = " by the distillation token" if token else ""
    return f"Taught by {teacher.told}: {ways[own.kind]}, learned{through} with {100 * own.weight:.0f}% of the loss."


def remember(run: Run, teacher: Teacher, config: Config, model: VisionModel) -> None:
    """Write into run.json what taught the run; IntegrityError where a resumed run's teacher is no longer the same."""
    before, now = run.record.get("teacher"), teacher.digest()
    if before is not None and before["weights"] != now:
        raise IntegrityError(
            f"the teacher {teacher.name} is not the one that {run.folder} began with (other weights or preprocessing):"
            "\nput that one back, or train anew"
        )
    run.mark("running", teacher={"name": teacher.name, "weights": now, "told": sentence(teacher, config, model)})
