"""Start, resume and evaluate a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from vitrail.artifact import find
from vitrail.artifact import load as load_artifact
from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone, Source, Task
from vitrail.data.audit import refuse_if_too_bad
from vitrail.data.dataset import DatasetSource
from vitrail.data.sources import open_source
from vitrail.data.split import split_record
from vitrail.distill.teacher import Teacher
from vitrail.errors import DataError, UsageError
from vitrail.layers.lora import merged
from vitrail.report import geometry
from vitrail.run import finish, teachers
from vitrail.run.beginning import read_reasons, refuse_bad, refuse_finished, write_beginning
from vitrail.run.building import begin_model
from vitrail.run.ending import recorded, threads
from vitrail.run.folder import Run, create, refuse_place
from vitrail.run.learners import told
from vitrail.run.loops import make_loop
from vitrail.run.prepare import (
    Data,
    Known,
    check_early,
    check_model,
    choose_settings,
    divide,
    leave_out_strangers,
    make_task,
    read_audit,
    settle_task,
    show,
)
from vitrail.run.teacher_first import FOLDER, begin_teacher, settle_length, teach_first
from vitrail.run.timing import Deadline, fit_epochs, refuse_epochs
from vitrail.run.weights import Origin, may_keep_head, open_weights, settle_head, settle_model
from vitrail.runtime.torch_engine import make_engine, pick_device
from vitrail.settings import CUSTOM, Config, Stated, build, known_path
from vitrail.training import checkpoint
from vitrail.training.checkpoint import Progress
from vitrail.training.journal import Journal
from vitrail.training.recipes import Choice, Pretrained, Reason, complete

EVALUATION_BATCH = 64


def train(
    data: str | Path | Any,
    model: str | nn.Module | None = None,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    time: str | float | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Train on `data` and return the finished run.

    data: a folder, a table, a built-in name, or any map-style Dataset of (image, label).  model: a name of
    `list_models()` (by default `vit_tiny`), or an `nn.Module` that keeps the `Backbone` contract.  fields: the options
    of `vitrail train` (`epochs=20`, `image_size=64`) and, with "__" for the dot, any config field
    (`train__weight_decay=0.1`).

    Raises UsageError, DataError, TrainingError or Interrupted, as the command exits with 2, 3, 4 and 130 or 143.
    """
    named = {key.removesuffix("_").replace("__", "."): value for key, value in fields.items()}  # from_, Python's word
    stated: Stated = {known_path(key): str(v) if isinstance(v, Path) else v for key, v in named.items()}
    source = None
    if not isinstance(data, (str, Path)):
        source = DatasetSource(data, name or type(data).__name__.lower(), task=stated.get("task.name"))
    backbone = model if isinstance(model, nn.Module) else None
    stated["data.source"] = str(data) if source is None else source.location
    if model is not None:
        stated["model.name"] = model if isinstance(model, str) else CUSTOM
    if isinstance(backbone, Backbone):
        height, width = backbone.image_size
        if height != width:
            raise UsageError(f"a backbone from Python is trained on square images, not {height} x {width}")
        stated |= {"model.image_size": height, "data.channels": backbone.in_channels}
    where = Path(out) if out is not None else None
    deadline = Deadline.of(time) if time is not None else None
    return start(stated, name=name, out=where, quiet=quiet, source=source, backbone=backbone, deadline=deadline)


@dataclass(frozen=True)
class Ready:
    """All that a run is before its folder is there: every field chosen, the data divided, the task fitted.

    stated: with what was inferred.  inferred: why.  origin: what it starts from, teacher: one that is trained already.
    """

    stated: Stated
    inferred: tuple[Reason, ...]
    choice: Choice
    data: Data
    task: Task
    device: str
    origin: Origin | None
    pretrained: Pretrained | None
    teacher: Teacher | None

    def again(self, fitted: Sequence[Reason]) -> Ready:
        """With some fields settled besides, and all that follows from them."""
        stated = {**self.stated, **{reason.field: reason.value for reason in fitted}}
        choice = choose_settings(stated, self.data, self.device, self.pretrained)
        return replace(self, stated=stated, inferred=(*self.inferred, *fitted), choice=choice)


def get_ready(
    stated: Stated,
    journal: Journal,
    *,
    source: Source | None = None,
    known: Known | None = None,
    backbone: nn.Module | None = None,
    claim: Callable[[Source, Config], Run] | None = None,
) -> Ready:
    """What a run of these stated fields would be; nothing is written.

    source, known, backbone: stand in for what the fields name.  claim: makes the folder of a run whose data is too bad,
    which then lists what is. Raises UsageError and DataError for all that can be said before the first step.
    """
    device = check_early(stated)
    teachers.refuse_unused(build(stated))
    origin = open_weights(stated, backbone)
    stated, begins = settle_model(stated, origin, journal)
    checked = check_model(stated, origin.pretrained(may_keep_head(stated, origin)) if origin else None)
    teacher = teachers.open_named(checked, device)
    source = known.source if known else source or open_source(checked.data, stated.get("task.name"))
    stated, inferred = settle_task(stated, source, journal)
    stated, taught = teachers.settle(stated, teacher)
    inferred = (*inferred, *taught)
    for note in getattr(source, "notes", ()):
        journal.say(f"data: {note}")
    audit = known.audit if known else read_audit(source, checked.data, journal)
    make_folder = partial(claim, source, checked) if claim is not None else None
    refuse_bad(audit, checked, make_folder)
    data = divide(source, audit, checked.data, journal, str(stated["task.name"]))
    data = replace(data, kept=known.kept) if known else data
    stated, of_head, pretrained = _head(stated, origin, data)
    inferred = (*inferred, *begins, *of_head)
    choice = choose_settings(stated, data, device, pretrained)
    task = make_task(choice.config, data)
    data = leave_out_strangers(data, task, journal)
    refuse_bad(data.audit, checked, make_folder)
    teachers.check(choice.config, task, teacher)
    return Ready(stated, inferred, choice, data, task, device, origin, pretrained, teacher)


def start(
    stated: Stated,
    *,
    name: str | None = None,
    out: Path | None = None,
    command: Sequence[str] = (),
    quiet: bool = False,
    source: Source | None = None,
    known: Known | None = None,
    backbone: nn.Module | None = None,
    deadline: Deadline | None = None,
) -> Run:
    """A new run from stated fields, to its report. `source`, `known` and `backbone` stand in for what the fields name.

    deadline: by when the report is to be there, instead of a stated number of epochs.
    """
    journal = Journal(quiet)
    refuse_place(out)
    refuse_epochs(stated, deadline)

    def claim(source: Source, config: Config) -> Run:
        return create(name or source.name, out, command, config)

    ready = get_ready(stated, journal, source=source, known=known, backbone=backbone, claim=claim)
    data, device, teacher = ready.data, ready.device, ready.teacher
    if deadline is not None:
        ready = ready.again(
            fit_epochs(deadline, ready.choice.config, data, device, backbone, teacher, out, journal)
        )  # fmt: skip
    choice = settle_length(ready.choice)
    settled = {reason.field for reason in ready.inferred}
    choice = replace(choice, reasons=(*ready.inferred, *(r for r in choice.reasons if r.field not in settled)))
    show(choice, journal)
    journal.say(geometry.evaluated(choice.config))
    model, begun = begin_model(choice.config, ready.task, backbone, ready.origin)
    run = claim(data.source, choice.config)
    journal.attach(run.folder)
    journal.say(f"run: {run.folder}")
    if begun is not None:
        begun.say(journal)
        run.mark("running", weights=begun.record())
    with recorded(run, journal), threads(choice.config.threads):
        record = split_record(data.split, data.source, str(ready.stated["task.name"]))
        record |= {"notes": list(getattr(data.source, "notes", ()))}
        if choice.config.distill.teacher == teachers.AUTO:
            begin_teacher(run, choice.config, data, device, record, command)
        write_beginning(run, choice, data.audit, record)
        if deadline is not None:
            run.mark("running", time=deadline.record())
        _go(run, choice.config, choice.reasons, data, model, device, journal, again=False, teacher=teacher)
    return run


def _head(
    stated: Stated, origin: Origin | None, data: Data
) -> tuple[Stated, tuple[Reason, ...], Pretrained | None]:  # fmt: skip
    """What is stated with what goes with a head that is kept, and what the recipe needs to know of the weights.

    Masks and maps are gone through once only, when their task is made: until then the answers are taken to be the same.
    """
    if origin is None:
        return stated, (), None
    known = may_keep_head(stated, origin) and not origin.read.task.dense
    return settle_head(stated, origin, make_task(build(stated), data) if known else None)


def resume(
    folder: str | Path,
    *,
    command: Sequence[str] = (),
    quiet: bool = False,
    source: Source | None = None,
    known: Known | None = None,
    backbone: nn.Module | None = None,
) -> Run:
    """Go on with a run in its own folder, from its newest whole checkpoint, to the same bits as if never stopped.

    Raises UsageError for a folder that is no run or is finished, IntegrityError where it was damaged, DataError where
    the data is no longer what it was.
    """
    run = Run.open(folder, "train")
    config = run.config
    refuse_finished(run)
    journal = Journal(quiet)
    journal.attach(run.folder)
    device = pick_device(config.device)
    teacher = teachers.open_named(config, device)
    data = _same_data(run, config, source, journal, known)
    reasons = read_reasons(run)
    begun_before = config.distill.teacher != teachers.AUTO or checkpoint.listed(run.folder / "checkpoints")
    origin = None if begun_before else open_weights(complete(config), backbone)
    task = make_task(config, data)
    data = leave_out_strangers(data, task, journal)
    model, _ = begin_model(config, task, backbone, origin)
    teachers.check(config, model.task, teacher)
    with recorded(run, journal), threads(config.threads):
        run.mark("running", resumed_by=list(command))
        _go(run, config, reasons, data, model, device, journal, again=True, teacher=teacher)
    return run


def evaluate(
    folder: str | Path, split: str = "test", device: str = "auto", workers: int = 0, source: Source | None = None,
    journal: Journal | None = None,
) -> tuple[dict[str, float], list[Path]]:  # fmt: skip
    """Metrics of a run's best model on one of its splits, and the predictions file written.

    journal: what is warned of, samples that could not be read or judged; by default stderr.

    Raises DataError when the data changed since the run, the run has no such split, or more of the data cannot be used
    than data.max_bad_fraction allows; the predictions file then stands all the same.
    """
    run = Run.open(folder, "train")
    config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"workers": workers})})
    data = _same_data(run, config, source, Journal(quiet=True))
    if not data.indices(split):
        raise DataError(f"{run.folder} has no {split} split: its splits are {', '.join(_splits(data))}")
    artifact = load_artifact(find(run.folder), pick_device(device))
    data = leave_out_strangers(data, artifact.task, Journal(quiet=True))
    engine = make_engine(artifact.model, pick_device(device), artifact.preprocessor.windows)
    result = finish.evaluate_split(engine, artifact.task, artifact.preprocessor, config, data, split)
    path = run.folder / f"predictions_{split}.csv"
    finish.write_predictions(path, artifact.task, data, {split: result})
    failures = finish.late_failures({split: result}, {}, journal or Journal())
    refuse_if_too_bad(finish.without_failures(data, failures).audit, config.data.max_bad_fraction)
    return result.metrics, [path]


def _splits(data: Data) -> list[str]:
    return [split for split in ("train", "val", "test") if data.indices(split)]


def _same_data(
    run: Run, config: Config, source: Source | None, journal: Journal, known: Known | None = None
) -> Data:  # fmt: skip
    """The run's data again; DataError unless samples, contents and split are what they were."""
    task = config.task.name
    source = known.source if known else source or open_source(config.data, task)
    audit = known.audit if known else read_audit(source, config.data, journal)
    data = divide(source, audit, config.data, journal, task)
    data = replace(data, kept=known.kept) if known else data
    if split_record(data.split, source)["fingerprint"] != run.data["fingerprint"]:
        raise DataError(
            f"the images in {source.location} are not those that {run.folder} was trained on (added, removed or changed"
            " files):\nrestore them, or train anew; `vitrail predict` works on any image"
        )
    return data


def _go(
    run: Run, config: Config, reasons: Sequence[Reason], data: Data, model: VisionModel, device: str,
    journal: Journal, again: bool, teacher: Teacher | None = None,
) -> None:  # fmt: skip
    """Train, evaluate the best, write the report; where the teacher is `auto`, train that first."""
    if config.distill.teacher == teachers.AUTO:
        teach_first(run, data, device, journal, _go)
        teacher = teachers.open_teacher(str(run.folder / FOLDER), device)
        again = again and bool(checkpoint.listed(run.folder / "checkpoints"))  # it may have stopped before the student
    if teacher is not None:
        teachers.remember(run, teacher, config, model)
    if told(model):
        journal.say(told(model))
    if config.train.tensorboard:
        journal.tensorboard()

    objective = teachers.objective(teacher, config, model, data, journal)
    loop, _ = make_loop(run.folder, config, data, model, objective, device, journal)
    if again:
        loop.resume()
    try:
        progress: Progress = loop.run()
    finally:
        objective.close()
    backbone = cast(Backbone, merged(model).backbone) if config.model.name == CUSTOM else None
    artifact = load_artifact(find(run.folder), device, backbone)
    finish.finish(run, config, reasons, data, progress, artifact, device, journal)
