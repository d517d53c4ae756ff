"""Start, resume and evaluate a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from vitrail import durable
from vitrail.artifact import find, save
from vitrail.artifact import load as load_artifact
from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone, Source, Task
from vitrail.data.audit import refuse_if_too_bad, write_bad_files
from vitrail.data.cache import CachedSource
from vitrail.data.dataset import DatasetSource
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.data.sources import open_source
from vitrail.data.split import split_record
from vitrail.errors import DataError, UsageError
from vitrail.report import geometry
from vitrail.run import finish
from vitrail.run.building import make_model
from vitrail.run.ending import recorded, threads
from vitrail.run.folder import Run, create, refuse_place
from vitrail.run.prepare import (
    Data,
    check_early,
    choose_settings,
    divide,
    make_task,
    preprocessor_of,
    read_audit,
    settle_task,
    show,
)
from vitrail.runtime.torch_engine import make_engine, pick_device
from vitrail.settings import CUSTOM, Config, Stated, known_path, to_yaml
from vitrail.training.checkpoint import Progress
from vitrail.training.journal import Journal
from vitrail.training.loop import Loop
from vitrail.training.objective import Supervised
from vitrail.training.recipes import Reason

EVALUATION_BATCH = 64


def train(
    data: str | Path | Any,
    model: str | nn.Module = "vit_tiny",
    *,
    name: str | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Train on `data` and return the finished run.

    data: a folder, a table, a built-in name, or any map-style Dataset of (image, label).  model: a name of
    `list_models()`, or an `nn.Module` that keeps the `Backbone` contract.  fields: the options of `vitrail train`
    (`epochs=20`, `image_size=64`) and, with "__" for the dot, any config field (`train__weight_decay=0.1`).

    Raises UsageError, DataError, TrainingError or Interrupted, as the command exits with 2, 3, 4 and 130 or 143.
    """
    stated: Stated = {known_path(key.replace("__", ".")): value for key, value in fields.items()}
    source = None
    if not isinstance(data, (str, Path)):
        source = DatasetSource(data, name or type(data).__name__.lower(), task=stated.get("task.name"))
    backbone = None if isinstance(model, str) else model
    stated["data.source"] = str(data) if source is None else source.location
    stated["model.name"] = model if isinstance(model, str) else CUSTOM
    if isinstance(backbone, Backbone):
        height, width = backbone.image_size
        if height != width:
            raise UsageError(f"a backbone from Python is trained on square images, not {height} x {width}")
        stated |= {"model.image_size": height, "data.channels": backbone.in_channels}
    where = Path(out) if out is not None else None
    return start(stated, name=name, out=where, quiet=quiet, source=source, backbone=backbone)


def start(
    stated: Stated,
    *,
    name: str | None = None,
    out: Path | None = None,
    command: Sequence[str] = (),
    quiet: bool = False,
    source: Source | None = None,
    backbone: nn.Module | None = None,
) -> Run:
    """A new run from stated fields, to its report. `source` and `backbone` stand in for what the fields name."""
    journal = Journal(quiet)
    refuse_place(out)
    checked, device = check_early(stated)
    source = source or open_source(checked.data, stated.get("task.name"))
    stated, inferred = settle_task(stated, source, journal)
    for note in getattr(source, "notes", ()):
        journal.say(f"data: {note}")
    audit = read_audit(source, checked.data, journal)
    try:
        refuse_if_too_bad(audit, checked.data.max_bad_fraction)
    except DataError as error:  # the list of bad files is what the user needs now: it gets a run folder all the same
        run = create(name or source.name, out, command, checked)
        write_bad_files(run.folder / "bad_files.csv", audit)
        run.mark("failed", reason=str(error))
        raise DataError(f"{error} Every one is named in {run.folder / 'bad_files.csv'}.") from None
    task = str(stated["task.name"])
    data = divide(source, audit, checked.data, journal, task)
    choice = choose_settings(stated, data, device)
    choice = replace(choice, reasons=(*inferred, *choice.reasons))
    show(choice, journal)
    journal.say(geometry.evaluated(choice.config))
    model = make_model(choice.config, make_task(choice.config, data), backbone)
    run = create(name or source.name, out, command, choice.config)
    journal.attach(run.folder)
    journal.say(f"run: {run.folder}")
    with recorded(run, journal), threads(choice.config.threads):
        durable.write_file(run.folder / "args.yaml", to_yaml(choice.config))
        write_bad_files(run.folder / "bad_files.csv", audit)
        reasons = [{"field": r.field, "value": r.value, "why": r.why} for r in choice.reasons]
        notes = list(getattr(source, "notes", ()))
        record = {**split_record(data.split, source, task), "notes": notes, "reasons": reasons}
        durable.write_file(run.folder / "data.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        _go(run, choice.config, choice.reasons, data, model, device, journal, again=False)
    return run


def resume(
    folder: str | Path,
    *,
    command: Sequence[str] = (),
    quiet: bool = False,
    source: Source | None = None,
    backbone: nn.Module | None = None,
) -> Run:
    """Go on with a run in its own folder, from its newest whole checkpoint, to the same bits as if never stopped.

    Raises UsageError for a folder that is no run or is finished, IntegrityError where it was damaged, DataError where
    the data is no longer what it was.
    """
    run = Run.open(folder)
    config = run.config
    if run.status == "finished":
        raise UsageError(f"{run.folder} is finished: nothing to resume; its report is {run.folder / 'report.html'}")
    journal = Journal(quiet)
    journal.attach(run.folder)
    device = pick_device(config.device)
    data = _same_data(run, config, source, journal)
    reasons = tuple(Reason(str(r["field"]), r["value"], str(r["why"])) for r in run.data.get("reasons", ()))
    model = make_model(config, make_task(config, data), backbone)
    with recorded(run, journal), threads(config.threads):
        run.mark("running", resumed_by=list(command))
        _go(run, config, reasons, data, model, device, journal, again=True)
    return run


def evaluate(
    folder: str | Path, split: str = "test", device: str = "auto", workers: int = 0, source: Source | None = None
) -> tuple[dict[str, float], list[Path]]:
    """Metrics of a run's best model on one of its splits, and the predictions file written.

    Raises DataError when the data changed since the run, or the run has no such split.
    """
    run = Run.open(folder)
    config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"workers": workers})})
    data = _same_data(run, config, source, Journal(quiet=True))
    if not data.indices(split):
        raise DataError(f"{run.folder} has no {split} split: its splits are {', '.join(_splits(data))}")
    artifact = load_artifact(find(run.folder), pick_device(device))
    engine = make_engine(artifact.model, pick_device(device), artifact.preprocessor.windows)
    result = finish.evaluate_split(engine, artifact.task, artifact.preprocessor, config, data, split)
    path = run.folder / f"predictions_{split}.csv"
    finish.write_predictions(path, artifact.task, data, {split: result})
    return result.metrics, [path]


def _splits(data: Data) -> list[str]:
    return [split for split in ("train", "val", "test") if data.indices(split)]


def _same_data(run: Run, config: Config, source: Source | None, journal: Journal) -> Data:
    """The run's data again; DataError unless samples, contents and split are what they were."""
    task = config.task.name
    source = source or open_source(config.data, task)
    data = divide(source, read_audit(source, config.data, journal), config.data, journal, task)
    if split_record(data.split, source)["fingerprint"] != run.data["fingerprint"]:
        raise DataError(
            f"the images in {source.location} are not those that {run.folder} was trained on (added, removed or changed"
            " files):\nrestore them, or train anew; `vitrail predict` works on any image"
        )
    return data


def _go(
    run: Run, config: Config, reasons: Sequence[Reason], data: Data, model: VisionModel, device: str,
    journal: Journal, again: bool,
) -> None:  # fmt: skip
    """Train, evaluate the best, write the report."""
    task, preprocessor = model.task, preprocessor_of(config)
    if config.train.tensorboard:
        journal.tensorboard()

    def keep(which: str, kept: nn.Module, metrics: dict[str, float], task: Task) -> None:
        card = {"run": run.folder.name, "data": data.source.name, "split": "val", "metrics": metrics}
        save(run.folder / "model" / which, kept, config, task, preprocessor, card)

    # one cache for training and validation; with workers, images are decoded in theirs
    source = data.source if config.data.workers else CachedSource(data.source, config.data.cache_mb)

    def make_batches(first: int, last: int) -> TrainLoader:
        return TrainLoader(source, data.split.train, task, config, first, last)

    validation = EvalLoader(
        source, data.split.val, task, preprocessor, EVALUATION_BATCH, config.data.workers,
    )  # fmt: skip
    loop = Loop(
        model=model, task=task, objective=Supervised(task), config=config, images=len(data.split.train), device=device,
        make_batches=make_batches, validation=validation,
        make_engine=lambda m: make_engine(m, device, preprocessor.windows), journal=journal, keep=keep,
        checkpoints=run.folder / "checkpoints",
        allowed_failures=int(config.data.max_bad_fraction * len(data.source.items)),
    )  # fmt: skip
    if again:
        loop.resume()
    progress: Progress = loop.run()
    backbone = cast(Backbone, model.backbone) if config.model.name == CUSTOM else None
    artifact = load_artifact(find(run.folder), device, backbone)
    finish.finish(run, config, reasons, data, progress, artifact, device, journal)
