"""From any published checkpoint to any other: find out what it is, build that model, fill it, write it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from vitrail import artifact, settings
from vitrail.assemble import OWN_FIELDS, VisionModel, attach_head, build_model, fill
from vitrail.checkpoints.account import expected, gather
from vitrail.checkpoints.door import (
    ANY,
    KNOWN,
    changed_shapes,
    marked_resized,
    numbered,
    of_one_layout,
    resize,
    settled,
    writable,
    write,
)
from vitrail.checkpoints.identify import Identity, identify
from vitrail.checkpoints.layout import Claims, Layout, all_layouts, layout_named
from vitrail.checkpoints.preprocessing import Fields, as_published, fitted
from vitrail.checkpoints.report import LoadReport, check
from vitrail.checkpoints.sources import Bundle, open_source
from vitrail.checkpoints.timm_whole import read_timm, timm_name
from vitrail.contracts import Backbone, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import configure, family_of, variant
from vitrail.settings import CUSTOM, NO_TASK, Config
from vitrail.tasks import numbered_task, restore


@dataclass(frozen=True)
class Converted:
    """What a conversion did: the account of the load, the layout written, the files."""

    report: LoadReport
    layout: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Read:
    """A published model as one of the catalogue, whole, with what is known of it.

    headless: the source brings no head that can be read; the one that stands here has fresh values.
    """

    model: VisionModel
    config: Config
    task: Task
    preprocessor: Preprocessor
    report: LoadReport
    headless: bool = False


STAND_IN = 2
"""Outputs of the head that stands where the source brings none."""


def convert(
    source: str | Path, dest: str | Path, to: str | None = None, model: str | None = None,
    new_head: int | None = None, image_size: int | None = None,
) -> Converted:  # fmt: skip
    """Read `source` in whatever layout it is and write `dest` in another.

    to: the layout to write; by default the form of `dest` says: a folder is Vitrail's model folder, .safetensors
    Vitrail's weights, .npz google; .pth is torchvision or official where the family is in only one of them.
    model: the catalogue's name where the files leave it open.  new_head: leave the classification head out and put a
    fresh one with so many outputs in its place.  image_size: pixels to set the model to; positions are resized.

    Raises UsageError where several models or layouts fit, where the target cannot express the model, or where `dest`
    exists; IntegrityError where a tensor is missing or left over, or where the source is damaged or could run code.
    """
    target = Path(dest)
    if target.exists():
        raise UsageError(f"{target} exists: choose another name, or remove it first")
    writable(target)
    if to is not None:
        layout_named(to)
    bundle = open_source(source)
    own = bundle.folder if {"format", "config"} <= bundle.config.keys() and not new_head else None
    read = _own(own, bundle, model, image_size) if own else _foreign(bundle, source, model, new_head, image_size)
    layout = layout_named(to) if to else _layout_of(target, read.model)
    if layout.name == "vitrail" and target.suffix.lower() != layout.suffix:
        _write_folder(target, read, source)
        files = sorted(path for path in target.iterdir() if path.is_file())
        return Converted(read.report, layout.name, tuple(files))
    return Converted(read.report, layout.name, tuple(write(layout, read.model, target, read.preprocessor)))


# ----------------------------------------------------------------------------------------------------------- reading


def read_model(
    source: str | Path, named: str | None = None, any_head: bool = False, backbone: Backbone | None = None
) -> Read:  # fmt: skip
    """The model that a model folder, a file, `hf-hub:ORG/NAME`, `timm:NAME` or `torchvision:NAME` is, in memory.

    named: the catalogue's name where the source leaves it open; it must be what the source is.  any_head: take also
    what has no head, or one that cannot be read.  backbone: a module like the one from Python that a folder is of.

    Raises UsageError and IntegrityError as `convert` does; a model of timm that the catalogue has not is timm's own.
    """
    bundle = open_source(source)
    if {"format", "config"} <= bundle.config.keys() and bundle.folder:
        if any_head and Config.model_validate(bundle.config["config"]).task.name == NO_TASK:
            return _pretrained(bundle.folder, bundle, named)
        return _own(bundle.folder, bundle, named, None, backbone)
    if backbone is not None:
        raise UsageError(f"{bundle.path} is of no backbone from Python: fill yours by vitrail.load_weights instead")
    theirs = timm_name(bundle)
    if theirs is not None:
        config, model, task, report, headless = read_timm(theirs, bundle, source, any_head)
        _refuse_another(bundle.path, config, named)
        return Read(model, config, task, Preprocessor.from_config(config), report, headless)
    return _foreign(bundle, source, named, None, None, any_head)


def _pretrained(folder: Path, bundle: Bundle, named: str | None) -> Read:
    """A folder of what was pretrained on images alone: its backbone, under a head that says nothing."""
    trunk = artifact.load_backbone(folder)
    _refuse_another(folder, trunk.config, named)
    backbone = cast(Backbone, trunk.backbone)
    pooling, task = "cls" if "cls" in backbone.prefix_names else "mean", numbered_task("classify", STAND_IN)
    model = attach_head(backbone, task, pooling, trunk.config.seed).eval()
    _, entries = gather(ANY, expected({"backbone.": trunk.backbone}), bundle.tensors, None)
    count = sum(tensor.numel() for tensor in bundle.tensors.values())
    report = LoadReport(bundle.path, "vitrail", tuple(entries), count, trunk.config.model.name)
    return Read(model, trunk.config, task, trunk.preprocessor, report, headless=True)


def _refuse_another(path: Path, config: Config, named: str | None) -> None:
    """UsageError where a source says which model it is, and another was named."""
    if named is None:
        return
    if config.model.name == CUSTOM or variant(named).name != variant(config.model.name).name:
        raise UsageError(f"{path} says that its model is {config.model.name}, not {named}: leave --model out")


def _own(
    folder: Path, bundle: Bundle, named: str | None, image_size: int | None, backbone: Backbone | None = None
) -> Read:  # fmt: skip
    """A model folder of ours, whose own reader checks it whole."""
    made = artifact.load(folder, backbone=backbone)
    config, preprocessor = made.config, made.preprocessor
    _refuse_another(folder, config, named)
    before = made.model.state_dict()
    _, entries = gather(ANY, before, bundle.tensors, None)
    if image_size and image_size != config.model.image_size:
        resizable: Any = made.model.backbone
        resizable.set_image_size((image_size, image_size))
        after = made.model.state_dict()
        entries = marked_resized(entries, changed_shapes(before, after))
        config = _at(config, resizable)
        preprocessor = preprocessor.model_copy(update={"size": (image_size, image_size)})
    count = sum(tensor.numel() for tensor in bundle.tensors.values())
    report = LoadReport(bundle.path, "vitrail", tuple(entries), count, config.model.name)
    return Read(made.model, config, made.task, preprocessor, report)


def _at(config: Config, backbone: Any) -> Config:
    """The config of a run for the image size that its backbone has been set to."""
    before, now = backbone.config, settled(backbone)
    fields = [name for name in type(now).model_fields if name != "image_size"]
    kept = {name: getattr(now, name) for name in fields if getattr(now, name) != getattr(before, name)}
    model = {"image_size": now.image_size, "options": {**config.model.options, **kept}}
    return config.model_copy(update={"model": config.model.model_copy(update=model)})


def _foreign(
    bundle: Bundle, source: str | Path, named: str | None, new_head: int | None, image_size: int | None,
    any_head: bool = False,
) -> Read:  # fmt: skip
    layout, tensors, tables = of_one_layout(bundle, variant(named).family if named else None)
    claims = layout.claims(bundle)
    identity = identify(layout, tables, tensors, claims, named)
    if any_head:
        _refuse_other(bundle, identity, named, lambda: identify(layout, tables, tensors, claims, None))
        if identity.outputs < 2 or claims.task != "classify":
            new_head = STAND_IN
    config = configure(identity.row.name, **identity.options)
    why = layout.refuses(identity.table.family, config)
    if why:
        raise IntegrityError(f"{bundle.path} is of a model that is another function there than here: {why}")
    task = _task(identity, claims, new_head, bundle)
    prepared = fitted({**as_published(identity.row, config.in_channels), **claims.preprocess}, config.in_channels)
    whole = _config(source, identity, config, prepared)
    if new_head:
        model = build_model(whole, task)
    else:
        with torch.device("meta"):  # the file brings the memory
            model = build_model(whole, task)
    values, entries = gather(identity.table, model.state_dict(), tensors, config, bool(new_head))
    hint = "" if identity.outputs or new_head else "it has no classification head: --new-head N gives it a fresh one"
    check(entries, bundle.path, str(identity), hint)
    if image_size and (image_size, image_size) != config.size:
        backbone: Any = model.backbone
        resized, changed = resize(backbone, values, (image_size, image_size))
        values, entries = values | resized, marked_resized(entries, changed)
        whole = _at(whole, backbone)
        with torch.device("cpu" if new_head else "meta"):
            model = build_model(whole, task)
    state = model.state_dict()
    fresh = {name: state[name] for entry in entries if entry.state == "fresh" for name in entry.ours}
    fill(model, {**values, **fresh}, bundle.path)
    count = sum(tensor.numel() for tensor in values.values())
    report = LoadReport(bundle.path, layout.name, tuple(entries), count, str(identity), (*bundle.notes, *claims.notes))
    return Read(model.eval(), whole, task, Preprocessor.from_config(whole), report, bool(new_head))


NOT_IN_NAMES = {"image_size", "in_channels", "drop_path_rule"}
"""Fields in which a model may depart from the row it is named for and still be what its name says."""


def _refuse_other(bundle: Bundle, taken: Identity, named: str | None, settle: Callable[[], Identity]) -> None:
    """UsageError where a file shows by itself which model it is, and another was named."""
    if named is None or not taken.options.keys() - NOT_IN_NAMES:
        return
    try:
        found = settle()
    except UsageError:  # it leaves open which of several it is
        return
    if found.row.name != taken.row.name:
        raise UsageError(f"{bundle.path} is of {found}, not of {named}: leave --model out")


def _task(identity: Identity, claims: Claims, new_head: int | None, bundle: Bundle) -> Task:
    """Classification with the file's class names, or numbered ones."""
    if claims.task != "classify" and not new_head:
        raise UsageError(f"{bundle.path} is for the task {claims.task}: give its model folder, or --new-head N")
    outputs = new_head or identity.outputs
    labels = claims.labels if not new_head else ()
    if labels and outputs and len(labels) != outputs:
        raise IntegrityError(
            f"{bundle.path}: its config names {len(labels)} classes, and its head has {outputs} outputs"
        )
    if outputs == 1:
        raise UsageError(f"{bundle.path} has a head of one output, which is no classifier: --new-head N replaces it")
    numbers = numbered(max(outputs, 2))
    names = tuple(unique(labels)) if labels else numbers
    # in the order of the outputs
    return restore({"task": "classify", "labels": list(names), "named": names != numbers})


def unique(labels: Sequence[str]) -> list[str]:
    """The labels, those that stand more than once with their number behind: ImageNet has two kinds of "crane"."""
    counted = Counter(labels)
    return [f"{label} ({i})" if counted[label] > 1 else label for i, label in enumerate(labels)]


def _config(source: str | Path, identity: Identity, config: Any, prepared: Fields) -> Config:
    """A run's config with this model in it: what its folder needs to be used and trained further."""
    if config.size[0] != config.size[1]:
        size = f"{config.size[1]} x {config.size[0]}"
        raise UsageError(f"a model folder is for square images, and this model is for {size} pixels")
    stated: settings.Stated = {
        "data.source": str(source),
        "data.channels": config.in_channels,
        "model.name": identity.row.name,
        "model.image_size": config.size[0],
        "model.patch_size": config.patch_size,
        "model.pooling": config.pooling,
    }
    stated |= {f"preprocess.{name}": value for name, value in prepared.items() if name != "channels"}
    for name, value in config.model_dump().items():
        own = getattr(identity.row.config, name)
        if name not in OWN_FIELDS and value != own and name != "drop_path":
            stated[f"model.options.{name}"] = value
    return settings.build(stated)


# ----------------------------------------------------------------------------------------------------------- writing


def _layout_of(dest: Path, model: VisionModel) -> Layout:
    """The layout that a destination's form says; UsageError where it says two."""
    suffix = dest.suffix.lower()
    if suffix not in KNOWN or suffix == ".safetensors":
        return layout_named("vitrail")
    family = family_of(model.backbone)
    fitting = [
        layout
        for layout in all_layouts().values()
        if layout.suffix == {".pt": ".pth", ".bin": ".pth"}.get(suffix, suffix)
        and any(table.family == family for table in layout.tables)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UsageError(f"no layout with {suffix} files has a place for a {family} model: give a folder, or --to")
    names = " or ".join(f"--to {layout.name}" for layout in fitting)
    raise UsageError(f"{dest} may be of several layouts: say {names}")


def _write_folder(dest: Path, read: Read, source: str | Path) -> None:
    model = read.report.model
    told: Mapping[str, Any] = {
        "run": dest.name,
        "origin": f"converted with Vitrail from `{source}` (layout {read.report.layout}), read as {model}",
    }
    dest.parent.mkdir(parents=True, exist_ok=True)
    artifact.save(dest, read.model, read.config, read.task, read.preprocessor, told)
