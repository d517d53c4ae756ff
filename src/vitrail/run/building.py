"""The model that a run trains."""

from __future__ import annotations

from typing import cast

from torch import nn

from vitrail.assemble import VisionModel, attach_head, build_model
from vitrail.contracts import Backbone, Task
from vitrail.errors import UsageError
from vitrail.layers.recompute import recompute
from vitrail.run.learners import refuse_learners, settle_learners
from vitrail.run.weights import Begun, Origin, begin
from vitrail.settings import Config
from vitrail.training.batch_statistics import has_batch_statistics


def make_model(config: Config, task: Task, backbone: nn.Module | None) -> VisionModel:
    """The model of a run's complete config, with its first values: what a checkpoint's are put into.

    backbone: from Python, in the place of one of the catalogue.  Raises UsageError for one that keeps no contract, and
    for batches too small for a model that learns from their statistics.
    """
    return begin_model(config, task, backbone, None)[0]


def begin_model(
    config: Config, task: Task, backbone: nn.Module | None, origin: Origin | None
) -> tuple[VisionModel, Begun | None]:
    """The same for a run that begins: with the weights it starts from, and the account of them, where there are any.

    Raises besides what `weights.begin` does.
    """
    if backbone is not None and not isinstance(backbone, Backbone):
        raise UsageError(f"{type(backbone).__name__} does not keep the Backbone contract of vitrail.contracts")
    head = config.model.pooling
    model = build_model(config, task) if backbone is None else attach_head(backbone, task, head, config.seed)
    refuse_learners(config)
    begun = begin(model, origin, config) if origin is not None else None
    settle_learners(model, config)
    if has_batch_statistics(model) and config.train.batch_size // config.train.accumulate < 2:
        parts = f" in {config.train.accumulate} micro-steps" if config.train.accumulate > 1 else ""
        raise UsageError(
            f"{config.model.name} learns from the statistics of a batch (BatchNorm), and batches of"
            f" {config.train.batch_size}{parts} leave one image alone: raise --batch-size"
        )
    if config.train.recompute:
        recompute(cast(Backbone, model.backbone).blocks())
    return model, begun
