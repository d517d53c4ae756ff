"""Config to model: a backbone of the catalogue and the head of a task, and weights into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features, Task
from vitrail.errors import IntegrityError, UsageError
from vitrail.layers.initialise import fill_buffers, initialise
from vitrail.models import build_backbone, configure
from vitrail.settings import Config
from vitrail.tasks import numbered_task

OWN_FIELDS: Mapping[str, str] = {
    "image_size": "model.image_size",
    "patch_size": "model.patch_size",
    "pooling": "model.pooling",
    "in_channels": "data.channels",
    "drop_path": "train.drop_path",
}
"""Fields of a family's config that a run's config has under a name of its own."""


class VisionModel(nn.Module):
    """A backbone and the head of a task: images (B, C, H, W) -> outputs (B, Y), (B, Y, H, W) of a dense task."""

    def __init__(self, backbone: Backbone, task: Task, pooling: str) -> None:
        super().__init__()
        self.backbone = cast(nn.Module, backbone)
        self.head = task.head(backbone, pooling)
        self.task = task
        self.pooling = pooling

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.features(images, pyramid=self.task.dense), images.shape[2:])

    def answer(self, features: Features, size: Sequence[int]) -> Tensor:
        """The head's outputs, of images of (H, W) pixels; a dense task's head needs the pyramid among the features."""
        out: Tensor = self.head(features, tuple(size)) if self.task.dense else self.head(features)
        return out

    def features(self, images: Tensor, pyramid: bool = False) -> Features:
        """What the backbone says of the images."""
        features: Features = self.backbone(images, pyramid)
        return features


def create_model(
    name: str,
    task: str | Task = "classify",
    outputs: int = 10,
    *,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    in_channels: int = 3,
    pooling: str | None = None,
    drop_path: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> VisionModel:
    """A model with its first values, which depend on `seed` and the parameters' names alone.

    name: one of `list_models()` or a short form (`vit_tiny`).  task: a task's name, whose `outputs` labels are then
    "0", "1", ..., or a Task.  image_size: pixels, a number or (H, W).  drop_path: stochastic depth of the last block,
    in [0, 1).  options: fields of the family's config (`depth=6`).

    Raises UsageError for unknown names and options (the nearest is offered) and for sizes that do not fit.
    """
    given = {"image_size": image_size, "patch_size": patch_size, "pooling": pooling}
    stated = {key: value for key, value in given.items() if value is not None}
    if isinstance(task, str):
        task = numbered_task(task, outputs)
    return _assemble(name, task, {**stated, "in_channels": in_channels, "drop_path": drop_path, **options}, seed)


def build_model(config: Config, task: Task) -> VisionModel:
    """The model of a run's complete config, with its first values.

    Where the default device is meta it has shapes and no memory; `fill` then gives it both.
    Raises UsageError as `create_model` does, and for an option that the config has under a name of its own.
    """
    return _assemble(config.model.name, task, _stated(config), config.seed)


def build_trunk(config: Config) -> nn.ModuleDict:
    """The backbone of a run's complete config alone, as the entry "backbone", with the first values it has in a whole
    model. Where the default device is meta it has shapes and no memory."""
    family = configure(config.model.name, **_stated(config))
    whole = nn.ModuleDict({"backbone": cast(nn.Module, build_backbone(config.model.name, family))})
    if torch.get_default_device().type != "meta":
        initialise(whole, config.seed)
    return whole


def attach_head(backbone: Backbone, task: Task, pooling: str, seed: int) -> VisionModel:
    """A task's fresh head on a backbone made elsewhere, whose own values and device stay as they are."""
    model = VisionModel(backbone, task, pooling)
    initialise(model.head, seed, prefix="head.")
    return model.to(next(model.parameters()).device)


def fill(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Give every tensor of `model` its value from a file, all of them or none; one on the meta device gets memory.

    Raises IntegrityError, naming the tensors and the file, where one is missing, left over or of another shape: nothing
    is loaded in part. Values take the model's dtype.
    """
    own = model.state_dict()
    both = [name for name in own if name in tensors]
    shapes = {name: f"{_dims(tensors[name])} for {_dims(own[name])}" for name in both}
    faults = {
        "of the model are not in the file": sorted(own.keys() - tensors.keys()),
        "of the file are not in the model": sorted(tensors.keys() - own.keys()),
        "differ in shape": [f"{name}: {shapes[name]}" for name in both if tensors[name].shape != own[name].shape],
    }
    told = [f"{len(names)} tensors {what} ({_some(names)})" for what, names in faults.items() if names]
    if told:
        raise IntegrityError(f"{source} does not fit the model, nothing was loaded: {'; '.join(told)}")
    on_meta = any(tensor.is_meta for tensor in own.values())
    model.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own}, assign=on_meta)
    fill_buffers(model)


def _stated(config: Config) -> dict[str, Any]:
    """Fields of the family's config that a run's config states."""
    model = config.model
    for option in model.options:
        if option in OWN_FIELDS:
            raise UsageError(f"model.options.{option}: that is {OWN_FIELDS[option]}; set it there")
    stated = {
        "image_size": model.image_size,
        "patch_size": model.patch_size,
        "pooling": model.pooling,
        "in_channels": config.data.channels,
        "drop_path": config.train.drop_path,
    }
    return {**stated, **model.options}


def _assemble(name: str, task: Task, stated: Mapping[str, Any], seed: int) -> VisionModel:
    if task.pooling and "pooling" not in stated:
        stated = {**stated, "pooling": task.pooling}
    config = configure(name, **stated)
    target = torch.get_default_device()
    with torch.device("meta"):  # nothing is drawn or allocated before `initialise` does it
        model = VisionModel(build_backbone(name, config), task, config.pooling)
    if target.type != "meta":
        model.to_empty(device=target)
        initialise(model, seed)
    return model


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _dims(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"
