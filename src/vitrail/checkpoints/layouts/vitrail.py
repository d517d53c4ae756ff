"""Our own names: a model folder, or a safetensors file whose metadata says which model it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from vitrail.checkpoints.layout import Claims, Layout, Outgoing
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import Table, rows
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, VitrailError, first_line
from vitrail.models import configure, families, variant
from vitrail.settings import CUSTOM, Config


def claims(bundle: Bundle) -> Claims:
    """From a file's metadata; a model folder brings its whole config and is read by `artifact`."""
    if "config" in bundle.config:
        return _of_a_folder(bundle)
    said = bundle.config.get("model")
    if not isinstance(said, dict):
        return Claims()
    try:
        row = variant(str(said["name"]))
        config = configure(row.name, **said["options"])
        labels = tuple(str(label) for label in said["labels"])
        prepared = _prepared(said["preprocessor"])
        task = str(said["task"])
    except (KeyError, TypeError, ValueError, VitrailError) as error:
        why = first_line(error)
        raise IntegrityError(f"{bundle.path}: its metadata cannot be used: {why}") from None
    # whatever the file was given counts, not just where it departs from its row
    fields = config.model_dump(exclude={"drop_path"})
    return Claims(row.name, frozenset({row.family}), fields, True, labels, prepared, task=task)


def _of_a_folder(bundle: Bundle) -> Claims:
    try:
        config = Config.model_validate(bundle.config["config"])
        if config.model.name == CUSTOM:
            return Claims()
        row = variant(config.model.name)
        sizes = {"image_size": config.model.image_size, "patch_size": config.model.patch_size}
        whole = configure(row.name, **sizes, pooling=config.model.pooling, **config.model.options)
    except (ValueError, VitrailError) as error:
        raise IntegrityError(f"{bundle.path.parent / 'config.json'} cannot be used: {error}") from None
    fields = whole.model_dump(exclude={"drop_path", "in_channels"})
    prepared = config.preprocess.model_dump()
    return Claims(row.name, frozenset({row.family}), fields, True, (), prepared, task=config.task.name)


def _prepared(said: Any) -> dict[str, Any]:
    """A preprocessor's fields, checked, without those that the model has."""
    return Preprocessor.model_validate(said).model_dump(exclude={"size", "channels"})


NEEDS: Mapping[str, str] = {
    "vit": "backbone.encoder.{i}.norm1.weight",
    "deit": "backbone.encoder.{i}.norm1.weight",
    "swin": "backbone.levels.{s}.blocks.{b}.attn.bias_table",
    "swin_v2": "backbone.levels.{s}.blocks.{b}.attn.logit_scale",
    "pvt": "backbone.levels.{s}.pos_embed",
    "pvt_v2": "backbone.levels.{s}.blocks.{b}.mlp.dwconv.weight",
    "resnet": "backbone.body.conv1.weight",
    "convnext": "backbone.body.features.0.0.weight",
}
"""Family -> a tensor that tells it."""


def write(out: Outgoing, dest: Path) -> Sequence[Path]:
    """A safetensors file; a whole model folder is `artifact.save`'s."""
    options = out.config.model_dump(mode="json")
    said = {
        "name": out.name,
        "options": options,
        "labels": list(out.labels),
        "task": out.task,
        "preprocessor": out.preprocessor.model_dump(mode="json"),
    }
    told = json.dumps({"format": 1, "model": said})
    save_file(dict(out.tensors), dest, metadata={"format": "pt", "vitrail": told})
    return [dest]


LAYOUT = Layout(
    name="vitrail",
    title="Vitrail",
    tables=tuple(
        Table(
            family,
            rows(("backbone.**", "backbone.**"), ("head.**", "head.**")),
            needs=(NEEDS.get(family, "backbone.**"),),
        )
        for family in families()
    ),
    fixed={},
    read=claims,
    write=write,
    suffix=".safetensors",
)
