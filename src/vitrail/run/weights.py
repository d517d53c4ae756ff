"""What training starts from (`--from`): read before the data is, fitted to it, and put into the model.

The source says what model it is; what is stated may differ from it in image size, in patch where a kernel can be
resized, and in Swin's window. The head comes along where every answer that is asked for has its row there, by name.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from vitrail.assemble import OWN_FIELDS, VisionModel
from vitrail.checkpoints.conversion import Read, read_model
from vitrail.checkpoints.layout import same
from vitrail.checkpoints.report import LoadReport
from vitrail.checkpoints.sources import SCHEMES
from vitrail.checkpoints.transfer import transfer, unlike
from vitrail.contracts import Backbone, Measured, Rows, Task
from vitrail.errors import UsageError
from vitrail.models import configure
from vitrail.settings import CUSTOM, NO_TASK, Config, Stated, build
from vitrail.training.journal import Journal
from vitrail.training.recipes import Pretrained, Reason

FREE = {"window", "drop_path_rule"}
"""Fields of a family's config that may be others than the weights': bias tables are resized, the rule is training's."""


@dataclass(frozen=True)
class Origin:
    """A source of weights, read whole: a model of ours at its own size.

    source: where it was found, absolute.  digest: of all weights, by our names: 64 hex digits.
    """

    source: str
    read: Read
    digest: str

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the family's config in which it departs from its row of the catalogue."""
        backbone = self.read.model.backbone
        measures = backbone.measures() if isinstance(backbone, Measured) else {}
        return {**measures, **self.read.config.model.options}

    def pretrained(self, head: bool) -> Pretrained:
        """What a recipe needs to know of it. head: whether its head comes along."""
        config, prepared = self.read.config, self.read.preprocessor
        return Pretrained(
            source=self.source,
            model=config.model.name,
            options=self.options,
            image_size=prepared.size[0],
            patch_size=config.model.patch_size,
            pooling=self.read.model.pooling,
            mean=prepared.mean,
            std=prepared.std,
            head=head,
            supervised=config.task.name != NO_TASK,
            seen=_seen(Path(self.source), config) if config.pretrain.mask_unit is not None else None,
        )


def _seen(source: Path, config: Config) -> float:
    """Images that a run of `vitrail pretrain` went over, as the run around its weights says; 0 where none is there."""
    for folder in (source, source.parent.parent):
        try:
            images = json.loads((folder / "data.json").read_bytes())["images"]["train"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return float(config.train.epochs * images)
    return 0.0


@dataclass(frozen=True)
class Begun:
    """What a model began with: the account of every tensor, and what became of the head, in a clause."""

    report: LoadReport
    head: str
    digest: str

    def say(self, journal: Journal) -> None:
        """Both on the screen."""
        journal.say(f"weights: {self.report}")
        journal.say(f"head: {self.head}")

    def record(self) -> dict[str, Any]:
        """For run.json: equal parts of all blocks in one row."""
        report = self.report
        parts = [dict(zip(("tensors", "state", "ours", "theirs", "how"), row, strict=True)) for row in report.rows()]
        told = {key: value for key, value in report.to_json().items() if key != "tensors"}
        return {**told, "blake2b": self.digest, "head": self.head, "tensors": parts}


# ------------------------------------------------------------------------------------------------- before the data


def open_weights(stated: Stated, backbone: nn.Module | None = None) -> Origin | None:
    """Read what `--from` names, whole; None where nothing is stated.

    Raises UsageError where there is nothing to read, where several models fit and --model says none, or where it is
    another than --model says; IntegrityError where it is damaged, does not add up or could run code.
    """
    config = build(stated)
    if config.model.weights is None:
        if config.model.new_head:
            raise UsageError("--new-head is about the head of what --from names: say what to begin with")
        return None
    source, named = located(config.model.weights), None
    if backbone is None and "model.name" in stated:
        named = config.model.name
    like = cast(Backbone, copy.deepcopy(backbone)) if backbone is not None else None
    read = read_model(source, named, any_head=True, backbone=like)
    return Origin(source, read, _digest(read.model))


def located(source: str) -> str:
    """A source as it can be found from any folder: a local path made absolute."""
    return source if source.startswith(tuple(SCHEMES)) else str(Path(source).absolute())


def settle_model(stated: Stated, origin: Origin | None, journal: Journal) -> tuple[Stated, tuple[Reason, ...]]:
    """What is stated, with the model that the weights are of, if there are any; and why.

    Raises UsageError where something stated would make another model of it.
    """
    if origin is None:
        return stated, ()
    config, why = origin.read.config, "the weights are of it"
    settled = {**stated, "model.weights": origin.source}
    reasons = [Reason("model.weights", origin.source, "as stated")]
    channels = config.data.channels
    if "data.channels" in stated and build(stated).data.channels != channels:
        raise UsageError(
            f"data.channels={stated['data.channels']}: the weights are for images of {channels}"
            f" channel{'s' * (channels > 1)}; leave it out"
        )
    chosen: Stated = {"model.name": config.model.name, "data.channels": channels}
    if config.model.name != CUSTOM:
        _refuse_other_options(stated, origin)
        chosen |= {f"model.options.{name}": value for name, value in origin.options.items()}
    for path, value in chosen.items():
        if path not in settled:
            settled[path] = value
            reasons.append(Reason(path, value, why))
    journal.say(f"from: {origin.read.report.model or 'a model from Python'} in {origin.source}")
    return settled, tuple(reasons)


def _refuse_other_options(stated: Stated, origin: Origin) -> None:
    """UsageError for a stated field of the family's config that the weights contradict."""
    name, own = origin.read.config.model.name, cast(Any, origin.read.model.backbone).config
    given = {path.rpartition(".")[2]: value for path, value in stated.items() if path.startswith("model.options.")}
    for option, value in given.items():
        if option in OWN_FIELDS:
            continue  # said in full where the model is built
        wanted = getattr(configure(name, **{**origin.read.config.model.options, option: value}), option)
        theirs = origin.options.get(option, getattr(own, option))
        if option not in FREE and not same(option, theirs, wanted):
            raise UsageError(
                f"model.options.{option}={value}: the weights are of a model with {option}={theirs}; leave it out"
            )


# --------------------------------------------------------------------------------------------------- with the data


def may_keep_head(stated: Stated, origin: Origin) -> bool:
    """Whether nothing speaks against the source's head before its answers are compared with those asked for."""
    config, read = build(stated), origin.read
    return not config.model.new_head and not read.headless and read.task.name == config.task.name


def settle_head(stated: Stated, origin: Origin, task: Task | None) -> tuple[Stated, tuple[Reason, ...], Pretrained]:
    """What is stated, with what goes with a head that is kept: its decoder, and the preprocessing it answered to.

    task: the one at hand; None where it is not known yet, and the source's answers are taken for those asked for.
    """
    kept = may_keep_head(stated, origin) and (task is None or isinstance(task.inherited(origin.read.task), Rows))
    settled, reasons = dict(stated), []
    if kept:
        theirs, prepared = origin.read.task, origin.read.preprocessor
        taken = {f"preprocess.{name}": getattr(prepared, name) for name in ("resize", "crop_fraction", "interpolation")}
        if settled.get("preprocess.resize", prepared.resize) != "crop":
            del taken["preprocess.crop_fraction"]  # which would do nothing
        if theirs.dense:
            taken["task.decoder"] = theirs.state()["decoder"]
        for path, value in taken.items():
            if path not in settled:
                settled[path] = value
                reasons.append(Reason(path, value, "as the head that is kept has it"))
    return settled, tuple(reasons), origin.pretrained(kept)


def begin(model: VisionModel, origin: Origin, config: Config) -> Begun:
    """Give a model its weights, all of them or none, and say what became of each and of the head.

    Raises UsageError where a stated patch cannot be met, IntegrityError where the weights do not fit.
    """
    rows = _inherited(model, origin, config)
    report = transfer(model, origin.read.model, origin.read.report, rows if isinstance(rows, Rows) else None)
    return Begun(report, _told(rows, model), origin.digest)


def _inherited(model: VisionModel, origin: Origin, config: Config) -> Rows | str:
    """The rows of the source's head to take over, or why none are."""
    read = origin.read
    if config.model.new_head:
        return "as stated"
    if read.headless:
        return "the weights come without one"
    if read.task.name != model.task.name:
        return f"theirs is for the task {read.task.name}"
    rows = model.task.inherited(read.task)
    return rows if isinstance(rows, str) else unlike(model, read.model) or rows


def _told(rows: Rows | str, model: VisionModel) -> str:
    if isinstance(rows, str):
        return f"a new one of {model.task.outputs} outputs, {rows if rows == 'as stated' else f'since {rows}'}"
    order = "" if list(rows.places) == sorted(rows.places) else ", in another order"
    return f"kept, {len(rows.places)} rows by name{order}" + ("" if rows.unchanged else ", rescaled to the units here")


def _digest(model: VisionModel) -> str:
    found = hashlib.blake2b(digest_size=32)
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
