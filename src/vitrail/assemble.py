"""Config to model: a backbone of the catalogue and the head of a task."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features, Task
from vitrail.errors import UsageError, unknown
from vitrail.layers.initialise import initialise
from vitrail.models import build_backbone, configure, variant
from vitrail.settings import Config
from vitrail.tasks import create_task, list_tasks


class VisionModel(nn.Module):
    """A backbone and the head of a task: images (B, C, H, W) -> outputs (B, Y)."""

    def __init__(self, backbone: Backbone, task: Task, pooling: str) -> None:
        super().__init__()
        self.backbone = cast(nn.Module, backbone)
        self.head = task.head(backbone, pooling)
        self.task = task
        self.pooling = pooling

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.backbone(images))
        return out

    def features(self, images: Tensor, pyramid: bool = False) -> Features:
        """What the backbone says of the images."""
        features: Features = self.backbone(images, pyramid)
        return features


def create_model(
    name: str,
    task: str | Task = "classify",
    outputs: int = 1000,
    *,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    in_channels: int = 3,
    pooling: str | None = None,
    seed: int = 0,
    **options: Any,
) -> VisionModel:
    """A model with its first values, which depend on `seed` and the parameters' names alone.

    name: one of `list_models()` or a short form (`vit_tiny`).  task: a task's name, whose labels are then "0", "1",
    ..., or a Task.  image_size: pixels, a number or (H, W).  options: fields of the family's config (`depth=6`).

    Raises UsageError for unknown names and options (the nearest is offered) and for sizes that do not fit.
    """
    row = variant(name)
    given = {"image_size": image_size, "patch_size": patch_size, "pooling": pooling, **options}
    stated = {key: value for key, value in given.items() if value is not None}
    config = configure(name, in_channels=in_channels, **stated)
    if isinstance(task, str):
        if task not in list_tasks():
            raise unknown("task", task, list_tasks())
        if outputs < 2:
            raise UsageError(f"a classifier needs at least two outputs, not {outputs}")
        digits = len(str(outputs - 1))
        task = create_task(task, [f"{i:0{digits}d}" for i in range(outputs)])
    with torch.device("meta"):
        model = VisionModel(build_backbone(row.name, config), task, config.pooling)
    return materialise(model, seed)


def materialise(model: VisionModel, seed: int) -> VisionModel:
    """Give a model that was built on the meta device memory, on the default device, and its first values.

    Where the default device is meta, it is left as it is: shapes without memory.
    """
    device = torch.get_default_device()
    if device.type != "meta":
        model.to_empty(device=device)
        initialise(model, seed)
    return model


def build_model(config: Config, task: Task) -> VisionModel:
    """The model of a run's complete config."""
    model = config.model
    options: dict[str, Any] = {"drop_path": config.train.drop_path, **model.options}
    return create_model(
        model.name, task, image_size=model.image_size, patch_size=model.patch_size,
        in_channels=config.data.channels, pooling=model.pooling, seed=config.seed, **options,
    )  # fmt: skip
