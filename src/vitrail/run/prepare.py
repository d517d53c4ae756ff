"""From what a user stated to everything a run needs: the data read, checked and split, and every field chosen."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from vitrail.assemble import build_model
from vitrail.contracts import Failure, Source, Task, Variant
from vitrail.data.audit import Audit, scan
from vitrail.data.batched.fit import refuse_if_unfit
from vitrail.data.inference import infer_task, refuse_unused
from vitrail.data.map_audit import scan_maps
from vitrail.data.preprocess import Preprocessor
from vitrail.data.split import Split, make_split
from vitrail.data.target_audit import target_faults, without
from vitrail.errors import DataError, UsageError, unknown
from vitrail.models import variant
from vitrail.run.kept import KeptImages
from vitrail.run.learners import refuse_learners, settle_learners
from vitrail.runtime.torch_engine import fast_bf16, pick_device
from vitrail.settings import CUSTOM, NO_TASK, Config, DataConfig, PretrainConfig, Stated, build
from vitrail.tasks import create_task, list_tasks, numbered_task
from vitrail.tasks.segment import unknown_masks
from vitrail.training.journal import Journal
from vitrail.training.recipes import (
    LEARNING,
    SMALL,
    Choice,
    Facts,
    Pretrained,
    Reason,
    choose,
    has_size,
    refuse_idle,
    refuse_unknown,
)


@dataclass(frozen=True)
class Data:
    """The samples of a run: where they come from, which can be used, and which split each is in; and, once they are
    decoded, their images."""

    source: Source
    audit: Audit
    split: Split
    kept: KeptImages = field(default_factory=KeptImages, compare=False)

    def indices(self, split: str) -> list[int]:
        """Source indices of "train", "val" or "test"."""
        return [int(i) for i in getattr(self.split, split)]

    def targets(self, split: str) -> list[object]:
        """Targets as the source says them."""
        return [self.source.items[i].target for i in self.indices(split)]

    def allowed_failures(self, config: Config) -> int:
        """How many more samples may turn out bad before data.max_bad_fraction of all are."""
        return int(config.data.max_bad_fraction * len(self.source.items)) - len(self.audit.bad)


@dataclass(frozen=True)
class Known:
    """Data that has been opened and looked at, and its images as far as they are decoded: what several runs on it in
    one process have in common, however each divides it."""

    source: Source
    audit: Audit
    kept: KeptImages = field(default_factory=KeptImages)


def settle_task(stated: Stated, source: Source, journal: Journal) -> tuple[Stated, tuple[Reason, ...]]:
    """What is stated with the task, inferred from the targets where it is not, and what goes with it; and why."""
    named = stated.get("task.name")
    found = infer_task(source, named)
    reasons = [Reason("task.name", found.task, found.why)]
    if named is None:
        journal.say(f"task: {found.task}, since {found.why} (--task chooses another)")
    settled = {**stated, "task.name": found.task}
    for path, (value, why) in found.also.items():
        if path not in stated:
            settled[path] = value
            reasons.append(Reason(path, value, why))
            journal.say(f"{path} = {value}: {why}")
    refuse_unused(build(settled).task)
    return settled, tuple(reasons)


def read_audit(source: Source, config: DataConfig, journal: Journal, targets: bool = True) -> Audit:
    """Scan every sample, and with `targets` every mask or map, with progress, and say what was found."""
    total = len(source.items)
    journal.start("checking images", total)
    try:
        audit = scan(source, config, progress=lambda done, of: journal.advance("checking images", done, of))
        maps = None
        if targets:
            maps = scan_maps(source, config, progress=lambda done, of: journal.advance("checking targets", done, of))
    finally:
        journal.stop()
    if maps is not None:
        audit = without(replace(audit, maps=maps), source, target_faults(audit, maps))
    bad = f"; {len(audit.bad)} cannot be used and are left out" if audit.bad else ", all readable"
    journal.say(f"data: {audit.found} images in {source.location}{bad}")
    _name(audit.bad, journal)
    return audit


def _name(bad: Sequence[Failure], journal: Journal) -> None:
    for failure in bad[:5]:
        journal.say(f"  {failure.key}: {failure.reason}")
    if len(bad) > 5:
        journal.say(f"  ... and {len(bad) - 5} more in bad_files.csv")


def divide(source: Source, audit: Audit, config: DataConfig, journal: Journal, task: str) -> Data:
    """Split the usable samples, and say how."""
    split = make_split(source, audit.usable, audit.content, config, task)
    counts = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    journal.say(f"split: {counts}; {split.how}")
    if not len(split.test):
        journal.warn("there is no test split: the final numbers are validation's, which also chose the best epoch")
    return Data(source, audit, split)


def leave_out_strangers(data: Data, task: Task, journal: Journal) -> Data:
    """The data without held-out samples whose masks have values that are no class of the task, fitted to training.

    Raises DataError where no validation sample is left.
    """
    lost = unknown_masks(task, data.audit.maps, [*data.indices("val"), *data.indices("test")])
    if not lost:
        return data
    journal.say(f"masks with values that no training mask has: {len(lost)}, left out")
    _name([Failure(data.source.items[index].key, reason) for index, reason in sorted(lost.items())], journal)
    split = data.split.without(lost)
    if not len(split.val):
        key, reason = data.source.items[min(lost)].key, lost[min(lost)]
        raise DataError(f"every validation mask has a value that no training mask has: {key}: {reason}")
    return Data(data.source, without(data.audit, data.source, lost), split)


def check_early(stated: Stated) -> str:
    """What can be wrong before weights or images are read: names, types, what contradicts. Returns the device."""
    config = build(stated)
    if config.task.name == NO_TASK or config.pretrain != PretrainConfig():
        raise UsageError(
            "these are settings of `vitrail pretrain`, which hides parts of images; train has no use for them"
        )
    if config.task.name not in list_tasks():
        raise unknown("task", config.task.name, list_tasks())
    refuse_unknown(config.recipe)
    refuse_learners(config)
    return pick_device(config.device)


def check_model(stated: Stated, pretrained: Pretrained | None = None) -> Config:
    """What can be wrong of the model before any image is read: its options, sizes, what of it is to learn.

    pretrained: what training starts from, whose model is stated.  Returns the unfilled config.
    """
    config = build(stated)
    if config.model.name != CUSTOM:
        _sketch(stated, pretrained)
    return config


def _sketch(stated: Stated, pretrained: Pretrained | None) -> None:
    """Build the model without memory, open fields filled for data of no kind in particular: its family says what fits.

    Where the image size will come from the data, a stated patch cannot be judged yet and is left out, or, where the
    model's name has a size, refused if it fits neither that nor any image that is too small for it.
    """
    config = build(stated)
    row, sides = variant(config.model.name), [SMALL]
    if "model.image_size" not in stated and pretrained is None:
        if has_size(row, config.model.name):
            sides += range(8, SMALL, 8)
        else:
            stated = {path: value for path, value in stated.items() if path != "model.patch_size"}
    refused = []
    for side in sides:
        try:
            return _build_without_memory(row, stated, side, pretrained)
        except UsageError as error:
            refused.append(error)
    raise refused[0]


def _of_task(name: str) -> dict[str, Any]:
    """The recipe's facts of a task."""
    task = numbered_task(name, 2)
    smooths = hasattr(task, "smoothing")
    return {"task": name, "dense": task.dense, "mixes": task.mixes, "smooths": smooths, "pooling": task.pooling}


def _build_without_memory(row: Variant, stated: Stated, side: int, pretrained: Pretrained | None) -> None:
    of_task = _of_task(build(stated).task.name) if "task.name" in stated else {}
    facts = Facts(images=10_000, classes=2, native_size=side, flip=True, pretrained=pretrained, **of_task)
    config = choose(facts, row, stated).config
    refuse_learners(config)
    refuse_idle(stated, config, LEARNING)
    preprocessor_of(config)
    with torch.device("meta"):
        settle_learners(build_model(config, numbered_task(config.task.name, 2)), config)


def make_task(config: Config, data: Data) -> Task:
    """The task fitted to the training split: its labels by name, in sorted order, or what its numbers are like."""
    return create_task(config.task.name, data.targets("train"), config.task, data.source.target_names)


def choose_settings(stated: Stated, data: Data, device: str, pretrained: Pretrained | None = None) -> Choice:
    """Fill every open field from the data, and from what training starts from; see `training.recipes`."""
    size = data.source.hints.native_size or typical_short_side(data.audit)
    config = build(stated)
    classes = len(set(map(str, data.targets("train")))) if config.task.name == "classify" else 0
    facts = Facts(
        images=len(data.split.train),
        classes=classes,
        native_size=size,
        flip=data.source.hints.flip,
        cores=count_cores(),
        device=device,
        fast_bf16=fast_bf16(device),
        pretrained=pretrained,
        sizes=frozenset(data.audit.sizes),
        **_of_task(config.task.name),
    )
    if pretrained is not None and "model.name" not in stated:
        stated = {**stated, "model.name": pretrained.model}
    name = build(stated).model.name
    row = variant("vit_tiny" if name == CUSTOM else name)
    threads = int(stated.get("threads", 0)) or torch.get_num_threads()
    choice = choose(facts, row, {**stated, "device": device, "threads": threads})
    refuse_idle(stated, choice.config)
    _check_mixing(choice.config)
    if choice.config.data.batched:
        refuse_if_unfit(choice.config)
    if choice.config.train.batch_size > facts.images:
        batch = choice.config.train.batch_size
        raise UsageError(f"--batch-size {batch} is more than the {facts.images} training images: lower it")
    return choice


def _check_mixing(config: Config) -> None:
    batch, parts = config.train.batch_size, config.train.accumulate
    if batch % parts:
        raise UsageError(f"train.batch_size {batch} is not a multiple of train.accumulate {parts}")
    mixes = config.augment.mixup or config.augment.cutmix
    if mixes and parts > 1 and (batch // parts) % 8:
        raise UsageError(
            f"{batch} images in {parts} micro-steps is {batch // parts} each; mixing needs a multiple of 8:"
            " change --batch-size or train.accumulate, or set augment.mixup=0 augment.cutmix=0"
        )


def preprocessor_of(config: Config) -> Preprocessor:
    """The one preprocessing of this run."""
    return Preprocessor.from_config(config)


def show(choice: Choice, journal: Journal) -> None:
    """Say what was chosen and why, before step 1."""
    journal.say("settings (field = value: why):")
    width = max(len(reason.field) for reason in choice.reasons)
    for reason in choice.reasons:
        journal.say(f"  {reason.field:<{width}} = {_shown(reason)}: {reason.why}")


def _shown(reason: Reason) -> str:
    value = reason.value
    return "[" + ", ".join(f"{v:g}" for v in value) + "]" if isinstance(value, (tuple, list)) else str(value)


def typical_short_side(audit: Audit) -> int:
    """Median of the shorter sides of the images, in pixels; DataError where there is none."""
    if not audit.sizes:
        raise DataError("no image can be used: see the reasons above")
    return round(statistics.median(min(size) for size in audit.sizes))


def count_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
