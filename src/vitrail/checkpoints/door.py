"""Weights from elsewhere into a model and out again, with every tensor accounted for on both sides.

A load is whole or refused: there is no partial load that looks like success. The layout is found out, not asked for;
one file in `layouts/` is one published layout.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vitrail.assemble import VisionModel, fill
from vitrail.checkpoints.account import expected, gather
from vitrail.checkpoints.facts import facts_of, outputs_of
from vitrail.checkpoints.identify import row_of
from vitrail.checkpoints.layout import Claims, Layout, Outgoing, all_layouts, layout_named, same
from vitrail.checkpoints.preprocessing import as_published
from vitrail.checkpoints.report import Entry, LoadReport, check
from vitrail.checkpoints.sources import Bundle, open_source
from vitrail.checkpoints.table import Table, rows
from vitrail.contracts import Measured
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError
from vitrail.layers.initialise import fill_buffers
from vitrail.models import family_of

UNSEEN = ("image_size", "patch_size", "drop_path", "drop_path_rule", "layer_scale")
"""Fields in which a file may differ from a model that takes its weights: resized, or of training alone."""
ANY = Table("", rows(("**", "**")), needs=())
"""For a module that is none of the catalogue: its names are its own."""


def load_weights(model: nn.Module, source: str | Path, new_head: bool = False) -> LoadReport:
    """Fill every tensor of `model` from a run or model folder, a file, `hf-hub:ORG/NAME` or `timm:NAME`.

    Any published layout is taken. Positions, bias tables and patch kernels of another size are resized.
    new_head: leave the file's classification head out and the model's own as it is; nothing else may be missing.

    Raises UsageError where there is no such source, or where its model computes something else (heads, epsilon, ...),
    and IntegrityError where a tensor is missing, left over or of another shape, where it is another family, or where
    the file is damaged or could run code. The model is then as it was.
    """
    bundle = open_source(source)
    config = getattr(getattr(model, "backbone", None), "config", None)
    own = model.state_dict()
    found = [] if config is None else recognise(bundle)
    if not found:
        if not own.keys() & bundle.tensors.keys():
            raise _of_no_layout(bundle)
        values, entries = gather(ANY, own, bundle.tensors, config, new_head)
        return _finish(model, values, entries, bundle, "vitrail")
    family = family_of(model.backbone)
    fitting = [
        (layout, tensors, table) for layout, tensors, tables in found for table in tables if table.family == family
    ]
    if not fitting:
        known = ", ".join(dict.fromkeys(table.family for _, _, tables in found for table in tables))
        raise IntegrityError(
            f"{bundle.path} does not fit the model, nothing was loaded: it is of {known}, not {family}"
        )
    layout, tensors, table = fitting[0]
    claims = layout.claims(bundle)
    native, facts = _facts(table, tensors, claims)
    said, own_config = {**layout.fixed.get(family, {}), **claims.fields}, config
    if isinstance(model.backbone, Measured) and native:
        said |= _measured(bundle, model.backbone, said, native)
        own_config = cast(Any, config).model_copy(update=dict(model.backbone.measures()))
    _agree(bundle, said, facts, own_config, new_head)
    head = expected({"head.": model.head}) if isinstance(model, VisionModel) else {}
    values, entries = through_twin(model.backbone, head, table, tensors, native, new_head)
    return _finish(model, values, entries, bundle, layout.name, claims.notes)


def recognise(bundle: Bundle) -> list[tuple[Layout, Mapping[str, Tensor], list[Table]]]:
    """The layouts that a file may be of, likeliest first: (layout, its tensors under the layout's names, tables)."""
    marked = "timm" if "architecture" in bundle.config else "huggingface" if "model_type" in bundle.config else ""

    def likelihood(layout: Layout) -> tuple[bool, bool, int]:
        """A config's own layout, then the papers' own where their wrapper "model" is there and last where it is not,
        then what usually comes in such a file."""
        usual = layout.containers.index(bundle.container) if bundle.container in layout.containers else 9
        return layout.name != marked, (layout.name == "official") != (bundle.wrapper == "model"), usual

    found = []
    for layout in sorted(all_layouts().values(), key=likelihood):
        tensors = layout.prepare(bundle)
        tables = layout.fitting(list(tensors))
        if tables:
            found.append((layout, tensors, tables))
    return found


def of_one_layout(bundle: Bundle, family: str | None = None) -> tuple[Layout, Mapping[str, Tensor], list[Table]]:
    """The layout that a file is of, likeliest first; IntegrityError where it is none of those known.

    family: that the file is said to be of; a layout with a place for it is likelier than any without.
    """
    found = recognise(bundle)
    if not found:
        raise _of_no_layout(bundle)
    return next((each for each in found if any(table.family == family for table in each[2])), found[0])


def _of_no_layout(bundle: Bundle) -> IntegrityError:
    names = ", ".join(sorted(bundle.tensors)[:3])
    return IntegrityError(
        f"{bundle.path} does not fit the model, nothing was loaded: {len(bundle.tensors)} tensors of no known layout"
        f" ({names}{', ...' if len(bundle.tensors) > 3 else ''})"
    )


def _facts(table: Table, tensors: Mapping[str, Tensor], claims: Claims) -> tuple[Any, Mapping[str, Any]]:
    """The image size that the file's positions are for, or None; and what its shapes show."""
    ours = table.translate({name: tensor.to("meta") for name, tensor in tensors.items()})
    facts = facts_of(table.family, {name: tuple(tensor.shape) for name, tensor in ours.items()}, claims.fields)
    return claims.fields.get("image_size", facts.get("image_size")), facts


def _agree(
    bundle: Bundle, said: Mapping[str, Any], facts: Mapping[str, Any], config: Any, new_head: bool
) -> None:  # fmt: skip
    """Refuse weights whose model computes something else by what no shape shows."""
    skipped = {*UNSEEN, *facts, *(("pooling",) if new_head else ())}
    for name, value in said.items():
        if name in skipped or not hasattr(config, name) or same(name, getattr(config, name), value):
            continue
        raise UsageError(
            f"{bundle.path} is of a model with {name}={value}, and yours has {name}={getattr(config, name)}:"
            f" create it with {name}={value!r}"
        )


def _measured(bundle: Bundle, backbone: Any, said: Mapping[str, Any], native: Any) -> Mapping[str, Any]:
    """By what a file's model measures at the image size its tensors are for, in fields of the backbone's config."""
    theirs = {name: said[name] for name in backbone.measures() if name in said}
    config = backbone.config.model_dump() | theirs | {"image_size": native}
    try:
        with torch.device("meta"):
            measured: Mapping[str, Any] = type(backbone)(type(backbone.config).model_validate(config)).measures()
    except ValidationError:
        raise IntegrityError(f"{bundle.path}: its config says {theirs}, which cannot be") from None
    return measured


def through_twin(
    backbone: Any, head: Mapping[str, Tensor], table: Table, tensors: Mapping[str, Tensor], native: Any,
    new_head: bool = False,
) -> tuple[dict[str, Tensor], list[Entry]]:  # fmt: skip
    """Values for a backbone of the catalogue and the tensors of its head, by full names, and the account.

    native: the image size that the tensors are for, a number or (H, W), or None.  Positions for another grid go through
    a backbone of that grid, which then resizes them.
    """
    config, own = backbone.config, expected({"backbone.": backbone})
    size = tuple(backbone.image_size)
    native_size = (native, native) if isinstance(native, int) else native and tuple(native)
    kernel = own.get("backbone.patch_embed.proj.weight")
    if native_size and kernel is not None and table.family in ("vit", "deit"):
        patch = _patch_of(table, tensors) or config.patch_size
        native_size = tuple(side // patch * config.patch_size for side in native_size)
    if not native_size or native_size == size:
        config = config.model_copy(update={"image_size": _side(size)})
        return gather(table, {**own, **head}, tensors, config, new_head)
    twin, config = twin_of(backbone, native_size)
    values, entries = gather(table, {**expected({"backbone.": twin}), **head}, tensors, config, new_head)
    if all(f"backbone.{name}" in values for name in twin.state_dict()):
        resized, changed = resize(twin, values, size)
        values, entries = values | resized, marked_resized(entries, changed)
    return values, entries


def settled(backbone: Any) -> Any:
    """The config of a backbone at the image size that is set: what it builds computes the same."""
    side = _side(backbone.image_size)
    config = backbone.config.model_copy(update={"image_size": side})
    kept = backbone.measures() if isinstance(backbone, Measured) else {}
    if not kept or same("image_size", side, backbone.config.image_size):
        return config
    twin, _ = twin_of(backbone, tuple(backbone.image_size))
    return config if cast(Measured, twin).measures() == kept else config.model_copy(update=dict(kept))


def twin_of(backbone: Any, size: tuple[int, int]) -> tuple[nn.Module, Any]:
    """A backbone like this one for another image size, without memory; and its config."""
    config = backbone.config.model_copy(update={"image_size": _side(size)})
    with torch.device("meta"):
        return type(backbone)(config), config


def resize(
    backbone: Any, values: Mapping[str, Tensor], size: tuple[int, int]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Fill a backbone without memory and set it to (H, W): its tensors by full name, and those that changed, how."""
    before = {name: values[f"backbone.{name}"] for name in backbone.state_dict()}
    backbone.load_state_dict(before, assign=True)
    fill_buffers(backbone)
    backbone.set_image_size(size)
    after = {f"backbone.{name}": tensor.detach() for name, tensor in backbone.state_dict().items()}
    return after, changed_shapes(values, after)


def changed_shapes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, str]:
    """Names whose tensors have other rows than before, and in a few words how many."""
    shapes = {name: (before[name].shape, tensor.shape) for name, tensor in after.items()}
    return {name: f"{old[1]} to {new[1]} positions" for name, (old, new) in shapes.items() if old != new}


def marked_resized(entries: Sequence[Entry], changed: Mapping[str, str]) -> list[Entry]:
    """The account with those entries as resized."""
    return [
        replace(e, state="resized", note=changed[e.ours[0]]) if e.ours and e.ours[0] in changed else e for e in entries
    ]


def _patch_of(table: Table, tensors: Mapping[str, Tensor]) -> int | None:
    ours = table.translate({name: tensor.to("meta") for name, tensor in tensors.items()})
    kernel = ours.get("backbone.patch_embed.proj.weight")
    return None if kernel is None else int(kernel.shape[-1])


def _side(size: Sequence[int]) -> int | tuple[int, ...]:
    return size[0] if size[0] == size[1] else tuple(size)


def _finish(
    model: nn.Module, values: dict[str, Tensor], entries: list[Entry], bundle: Bundle, layout: str,
    notes: tuple[str, ...] = (),
) -> LoadReport:  # fmt: skip
    headless = [e for e in entries if e.state in ("missing", "left over", "differs")]
    names = [name for e in headless for name in (e.ours or e.theirs)]
    hint = (
        "its head is another: new_head=True leaves it out"
        if names and all("head" in n or "fc." in n for n in names)
        else ""
    )
    check(entries, bundle.path, "", hint)
    own = model.state_dict()
    fresh = {name: own[name] for entry in entries if entry.state == "fresh" for name in entry.ours}
    fill(model, {**values, **fresh}, bundle.path)
    return LoadReport(
        bundle.path, layout, tuple(entries), sum(t.numel() for t in values.values()), "", (*bundle.notes, *notes)
    )


# --------------------------------------------------------------------------------------------------------- the way out


def save_weights(
    model: nn.Module, dest: str | Path, layout: str = "vitrail", preprocessor: Preprocessor | None = None
) -> list[Path]:
    """Write a model of the catalogue in a published layout, so that its own library loads it; returns what was written.

    layout: vitrail (one .safetensors), timm or huggingface (a folder with config and preprocessing), torchvision or
    official (.pth), google (.npz).  preprocessor: the model's; by default what was published for its row of the table.

    Raises UsageError where the layout cannot express the model, where `dest` exists or has the wrong form, and for a
    module that is none of the catalogue; OSError where it cannot be written.
    """
    chosen = layout_named(layout)
    if not isinstance(model, VisionModel) or not hasattr(model.backbone, "config"):
        raise UsageError("save_weights takes a model of the catalogue: vitrail.create_model, or a Predictor's")
    return write(chosen, model, Path(dest), preprocessor)


def write(layout: Layout, model: VisionModel, dest: Path, preprocessor: Preprocessor | None = None) -> list[Path]:
    """Write one layout; see `save_weights`."""
    backbone: Any = model.backbone
    family = family_of(backbone)
    config = settled(backbone)
    task = model.task.name
    if task != "classify" and layout.name != "vitrail":
        raise UsageError(
            f"the {layout.name} layout cannot express a model for the task {task}: it has classifiers alone"
        )
    table = layout.table_for(family, config)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    links, homeless = table.links(list(state))
    if homeless:
        some = ", ".join(homeless[:4])
        raise UsageError(f"the {layout.name} layout has no place for {len(homeless)} tensors of this model: {some}")
    theirs = {
        name: value.contiguous().clone()
        for link in links
        for name, value in zip(link.theirs, link.how.write([state[own] for own in link.ours], config), strict=True)
    }
    row, _ = row_of(family, config)
    labels = tuple(str(label) for label in model.task.state().get("labels", ())) or numbered(outputs_of_model(state))
    prepared = preprocessor or Preprocessor(size=tuple(backbone.image_size), **as_published(row, config.in_channels))
    out = Outgoing(theirs, row.name, family, config, labels, prepared, task)
    suffixes = (layout.suffix, ".pt") if layout.suffix == ".pth" else (layout.suffix,)
    if dest.suffix.lower() not in suffixes and not (layout.suffix == "" and dest.suffix.lower() not in KNOWN):
        form = f"a {layout.suffix} file" if layout.suffix else "a folder"
        raise UsageError(f"{dest}: the {layout.name} layout is {form}")
    return committed(dest, lambda temporary: layout.write(out, temporary), folder=not layout.suffix)


KNOWN = (".safetensors", ".npz", ".pth", ".pt", ".bin")


def writable(dest: Path) -> None:
    """UsageError where something that is no folder stands where one of the folders of `dest` would."""
    for parent in dest.parents:
        if parent.exists() and not parent.is_dir():
            raise UsageError(f"{dest} cannot be written: {parent} is a file, not a folder")


def committed(dest: Path, fill_in: Any, folder: bool) -> list[Path]:
    """Let `fill_in` write to a place beside `dest` and put it there in one step; what exists is never overwritten."""
    if dest.exists():
        raise UsageError(f"{dest} exists: choose another name, or remove it first")
    writable(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    temporary = dest.with_name(f".{dest.stem}.tmp-{os.getpid()}{dest.suffix}")
    try:
        if folder:
            temporary.mkdir()
        written = [Path(path) for path in fill_in(temporary)]
        for path in written:
            path.chmod(0o644)  # safetensors writes 0600
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(dest)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True) if folder else temporary.unlink(missing_ok=True)
        raise
    return [dest / path.name for path in written] if folder else [dest]


def numbered(count: int) -> tuple[str, ...]:
    """Labels where nothing names the classes: "0", "1", ..., as wide as the last."""
    return tuple(f"{i:0{len(str(count - 1))}d}" for i in range(count))


def outputs_of_model(state: Mapping[str, Tensor]) -> int:
    """Y of a model's tensors."""
    return outputs_of({name: tuple(tensor.shape) for name, tensor in state.items()})
