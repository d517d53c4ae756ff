"""Start and resume a run of `vitrail pretrain`: images alone, hidden in part, filled in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitrail.contracts import Source
from vitrail.cost.count import gmacs, parameters
from vitrail.data.batched.store import ImageStore
from vitrail.data.dataset import DatasetSource
from vitrail.data.split import split_record
from vitrail.errors import DataError, UsageError
from vitrail.evaluate.evaluator import evaluate
from vitrail.models import variant
from vitrail.pretraining.build import make_reconstructor
from vitrail.pretraining.masks import MaskedEvalLoader, MaskedTrainLoader, Masking
from vitrail.pretraining.recipe import choose, refuse_useless
from vitrail.pretraining.reconstruction import FillIn, Guessing, Reconstructor, no_targets
from vitrail.report.pretrain_page import Pretraining, write_pretraining
from vitrail.run import restored
from vitrail.run.beginning import read_reasons, refuse_bad, refuse_finished, write_beginning
from vitrail.run.ending import recorded, threads
from vitrail.run.folder import Run, create, refuse_place, versions
from vitrail.run.images import open_images, split_images
from vitrail.run.loops import EVALUATION_BATCH, Kind, Validation, loop_of
from vitrail.run.prepare import Data, count_cores, preprocessor_of, read_audit, show, typical_short_side
from vitrail.run.timing import Deadline, Part, Work, fitting, reason_of, refuse_epochs, trial
from vitrail.runtime.torch_engine import fast_bf16, make_engine, pick_device
from vitrail.settings import CUSTOM, NO_TASK, Config, Stated, build, known_path
from vitrail.training.checkpoint import Progress
from vitrail.training.journal import Journal, duration
from vitrail.training.loop import Loop
from vitrail.training.memory import peak_memory_mb
from vitrail.training.recipes import Choice, Facts, Reason, refuse_idle, without_idle

VERB = "pretrain"


def pretrain(
    data: str | Path | Any,
    model: str = "vit_tiny",
    *,
    name: str | None = None,
    out: str | Path | None = None,
    time: str | float | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Pretrain on the images of `data`, whose targets are not looked at, and return the finished run.

    data: a folder at any depth, a table, a built-in name, or any map-style Dataset of (image, anything).  model: a name
    of `list_models()`.  time: of all of it, "10m" or seconds, instead of epochs.  fields: the options of `vitrail
    pretrain` and, with "__" for the dot, any config field (`pretrain__mask_ratio=0.6`).  `train(..., from_=run.folder)`
    goes on from it.

    Raises UsageError, DataError, TrainingError or Interrupted, as the command exits with 2, 3, 4 and 130 or 143.
    """
    stated: Stated = {known_path(key.replace("__", ".")): value for key, value in fields.items()}
    source = None
    if not isinstance(data, (str, Path)):
        source = DatasetSource(data, name or type(data).__name__.lower())
    stated |= {"data.source": str(data) if source is None else source.location, "model.name": model}
    deadline = Deadline.of(time) if time is not None else None
    where = Path(out) if out is not None else None
    return start(stated, name=name, out=where, quiet=quiet, source=source, deadline=deadline)


def start(
    stated: Stated,
    *,
    name: str | None = None,
    out: Path | None = None,
    command: Sequence[str] = (),
    quiet: bool = False,
    source: Source | None = None,
    deadline: Deadline | None = None,
) -> Run:
    """A new run from stated fields, to its report. `source` stands in for what the fields name.

    deadline: by when the report is to be there, instead of a stated number of epochs.
    """
    journal = Journal(quiet)
    refuse_place(out, VERB)
    refuse_epochs(stated, deadline)
    checked, device = _check_early(stated)
    source = source or open_images(checked.data)
    audit = read_audit(source, checked.data, journal, targets=False)
    refuse_bad(audit, checked, partial(create, name or source.name, out, command, checked, VERB))
    split, task = split_images(source, audit, checked.data)
    data = Data(source, audit, split)
    _tell(data, task, journal)
    choice = _choose(stated, data, device)
    if deadline is not None:
        choice = _fit_epochs(deadline, choice, stated, data, device, out, journal)
    show(choice, journal)
    model, masking = make_reconstructor(choice.config)
    run = create(name or source.name, out, command, choice.config, VERB)
    journal.attach(run.folder)
    journal.say(f"run: {run.folder}")
    with recorded(run, journal), threads(choice.config.threads):
        write_beginning(run, choice, audit, {**split_record(split, source, NO_TASK), "split_of": task})
        if deadline is not None:
            run.mark("running", time=deadline.record())
        _go(_Parts(run, choice.config, choice.reasons, data, model, masking, device, journal), again=False)
    return run


def resume(
    folder: str | Path, *, command: Sequence[str] = (), quiet: bool = False, source: Source | None = None
) -> Run:
    """Go on with a run in its own folder, from its newest whole checkpoint, to the same bits as if never stopped.

    Raises UsageError for a folder that is no run of `pretrain` or is finished, IntegrityError where it was damaged,
    DataError where the data is no longer what it was.
    """
    run = Run.open(folder, VERB)
    config = run.config
    refuse_finished(run)
    journal = Journal(quiet)
    device = pick_device(config.device)
    source = source or open_images(config.data)
    audit = read_audit(source, config.data, journal, targets=False)
    split, _ = split_images(source, audit, config.data)
    if split_record(split, source, NO_TASK)["fingerprint"] != run.data["fingerprint"]:
        raise DataError(
            f"the images in {source.location} are not those that {run.folder} was trained on (added, removed or changed"
            " files):\nrestore them, or pretrain anew"
        )
    reasons, (model, masking) = read_reasons(run), make_reconstructor(config)
    journal.attach(run.folder)
    with recorded(run, journal), threads(config.threads):
        run.mark("running", resumed_by=list(command))
        _go(_Parts(run, config, reasons, Data(source, audit, split), model, masking, device, journal), again=True)
    return run


def _check_early(stated: Stated) -> tuple[Config, str]:
    """What can be wrong before any image is read. Returns the unfilled config and the device."""
    refuse_useless(stated)
    config = build({**stated, "task.name": NO_TASK})
    if config.model.name == CUSTOM:
        raise UsageError("a model of the catalogue is pretrained: --model NAME; see `vitrail models`")
    facts = Facts(images=10_000, classes=0, native_size=64, flip=True)
    sized = "model.image_size" in stated  # else the size comes from the data, and a patch cannot be judged yet
    known = {path: value for path, value in stated.items() if sized or path != "model.patch_size"}
    preprocessor_of(choose(facts, variant(config.model.name), known).config)
    return config, pick_device(config.device)


def _choose(stated: Stated, data: Data, device: str) -> Choice:
    """Fill every open field from the images; see `pretraining.recipe`."""
    size = data.source.hints.native_size or typical_short_side(data.audit)
    images = len(data.split.train)
    facts = Facts(
        images=images,
        classes=0,
        native_size=size,
        flip=data.source.hints.flip,
        cores=count_cores(),
        device=device,
        fast_bf16=fast_bf16(device),
        sizes=frozenset(data.audit.sizes),
    )
    number = int(stated.get("threads", 0)) or torch.get_num_threads()
    row = variant(build(stated).model.name)
    choice = without_idle(choose(facts, row, {**stated, "device": device, "threads": number}), stated)
    refuse_idle(stated, choice.config)
    own = choice.config.train
    if own.batch_size % own.accumulate:
        raise UsageError(f"train.batch_size {own.batch_size} is not a multiple of train.accumulate {own.accumulate}")
    if own.batch_size > images:
        raise UsageError(f"--batch-size {own.batch_size} is more than the {images} training images: lower it")
    return choice


def _tell(data: Data, task: str, journal: Journal) -> None:
    split = data.split
    journal.say(f"split: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test; {split.how}")
    if len(split.test):
        journal.say("targets are not looked at, and images of test are not seen: the split is that of `vitrail train`")


@dataclass(frozen=True)
class _Parts:
    """All that a run is made of."""

    run: Run
    config: Config
    reasons: Sequence[Reason]
    data: Data
    model: Reconstructor
    masking: Masking
    device: str
    journal: Journal


def _fit_epochs(
    deadline: Deadline, choice: Choice, stated: Stated, data: Data, device: str, out: Path | None, journal: Journal
) -> Choice:
    """The choice again, for as many epochs as fit at the speed of a trial; UsageError where too little time is left."""
    config, images = choice.config, len(data.split.val)

    def make(folder: Path) -> tuple[Loop, Validation]:
        return _make_loop(folder, config, data, *make_reconstructor(config), device, Journal(quiet=True))

    with threads(config.threads):
        data.kept.store(data.source, data.split.train, no_targets(), config, device, journal)  # which the run will use
        speed = trial(deadline, make, images, out, VERB, journal)
    work = replace(Work.of(config, data, dense=False), test=0, scored=0)  # neither test nor explanations
    epochs, _ = fitting(deadline, Part(work, speed))
    chosen, own = _choose({**stated, "train.epochs": epochs}, data, device), reason_of(deadline, epochs, speed)
    return replace(chosen, reasons=tuple(own if r.field == own.field else r for r in chosen.reasons))


def _make_loop(
    folder: Path, config: Config, data: Data, model: Reconstructor, masking: Masking, device: str, journal: Journal
) -> tuple[Loop, Validation]:
    """The loop, which keeps model folders of the backbone and checkpoints in `folder`, and its validation."""
    task, preprocessor = no_targets(), preprocessor_of(config)

    def train(source: Source, first: int, last: int, store: ImageStore | None) -> MaskedTrainLoader:
        return MaskedTrainLoader(source, data.split.train, task, config, first, last, masking, device, store)

    def validate(source: Source, indices: list[int]) -> MaskedEvalLoader:
        return MaskedEvalLoader(source, indices, task, preprocessor, EVALUATION_BATCH, config.data.workers, masking)

    kind = Kind(VERB, lambda kept: nn.ModuleDict({"backbone": kept.get_submodule("backbone")}), train, validate)
    return loop_of(kind, folder, config, data, model, task, FillIn(), device, journal)


def _go(parts: _Parts, again: bool) -> None:
    """Train, and write the report."""
    config, masking, device, journal = parts.config, parts.masking, parts.device, parts.journal
    journal.say(f"hidden in every image: {masking.hidden} of {masking.units} squares of {masking.unit} px")
    if config.train.tensorboard:
        journal.tensorboard()
    loop, validation = _make_loop(parts.run.folder, config, parts.data, parts.model, masking, device, journal)
    if again:
        loop.resume()
    progress = loop.run()
    model, held_out = loop.average.model, validation(len(parts.data.split.val))
    assert isinstance(model, Reconstructor)
    guess = evaluate(make_engine(Guessing(model), device), held_out, no_targets()).metrics["loss"]
    _finish(replace(parts, model=model), progress, guess)


def _finish(parts: _Parts, progress: Progress, guess: float) -> None:
    """Write the report and mark the run finished."""
    run, config, journal = parts.run, parts.config, parts.journal
    best = progress.best if progress.best is not None else float("nan")
    run.metrics = {"val": {"loss": best, "loss_of_guess": guess}}
    run.warnings = journal.warnings
    record = split_record(parts.data.split, parts.data.source, NO_TASK)
    page = Pretraining(
        name=run.folder.name,
        config=config,
        history=progress.history,
        best_epoch=progress.best_epoch or None,
        loss=best,
        guess=guess,
        guessing=parts.model.guessing,
        hidden=f"{parts.masking.hidden} of {parts.masking.units}",
        unit=parts.masking.unit,
        pictures=restored.pictures(
            parts.model,
            parts.data.indices("val"),
            parts.data.source,
            preprocessor_of(config),
            parts.masking,
            parts.device,
        ),
        images=record["images"],
        split=str(record["how"]),
        reasons=[(r.field, r.value, r.why) for r in parts.reasons],
        cost=_cost(parts, progress),
        warnings=journal.warnings,
        command=shlex.join(run.record.get("command", [])),
        versions=versions(),
        targets=run.data["split_of"] != NO_TASK,
    )
    write_pretraining(run.folder, page)
    limit = run.record.get("time")
    run.mark(
        "finished",
        reason=progress.stopped,
        metrics=run.metrics,
        warnings=journal.warnings,
        failures=progress.failures,
        refused_updates=progress.refused,
        **({"time": {**limit, "took": round(run.took, 1)}} if limit else {}),
    )
    names = ("report.html", "results.csv", "model/best", "model/last")
    run.outputs = [run.folder / name for name in names if (run.folder / name).exists()]
    journal.say(f"val: loss {best:.4f} where hidden; {parts.model.guessing} there has {guess:.4f}")
    journal.say(f"best epoch {progress.best_epoch:g}, trained in {duration(progress.seconds)}")
    if limit:
        journal.say(f"took {duration(run.took)} in all, {duration(limit['asked'])} were asked for")


def _cost(parts: _Parts, progress: Progress) -> Mapping[str, Any]:
    preprocessor = preprocessor_of(parts.config)
    return {
        "parameters": parameters(parts.model.backbone),
        "parameters_that_fill_in": parameters(parts.model) - parameters(parts.model.backbone),
        "gmacs": gmacs(parts.model, preprocessor.size, preprocessor.channels + 1),
        "train_seconds": progress.seconds,
        "images_per_s": progress.history[-1]["images_per_s"] if progress.history else None,
        "peak_memory_mb": peak_memory_mb(parts.device),
        "device": parts.device,
        "seconds_to_report": parts.run.took,
        "seconds_asked": parts.run.record.get("time", {}).get("asked"),
    }
