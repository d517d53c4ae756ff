"""Which parameters of a model learn: all, the head alone (a linear probe), or low-rank updates (LoRA) and the head."""

from __future__ import annotations

from typing import cast

from torch import nn

from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone
from vitrail.errors import UsageError
from vitrail.layers.lora import adapt
from vitrail.settings import CUSTOM, Config


def refuse_learners(config: Config) -> None:
    """UsageError where what is held fixed has learned nothing yet, or two options ask for different things."""
    train = config.train
    frozen, lora = train.freeze == "backbone", train.lora_rank > 0
    if frozen and lora:
        raise UsageError("train.freeze=backbone lets only the head learn, train.lora_rank more than that: choose one")
    option = "train.freeze=backbone" if frozen else f"train.lora_rank={train.lora_rank}"
    if (frozen or lora) and config.model.weights is None and config.model.name != CUSTOM:
        raise UsageError(
            f"{option} holds weights fixed, and from scratch they have learned nothing: name what to start from,"
            " --from RUN or a published checkpoint"
        )
    if frozen and config.distill.teacher and config.distill.kind == "feature":
        raise UsageError(
            "distill.kind=feature teaches the backbone, which train.freeze=backbone holds fixed: choose hard or soft"
        )


def settle_learners(model: VisionModel, config: Config) -> None:
    """Hold fixed what the config says, and add LoRA's parameters where it asks for them.

    To be called once the weights to start from are in the model. Raises UsageError as `adapt` does.
    """
    if config.train.freeze == "backbone":
        model.backbone.requires_grad_(False)
    if config.train.lora_rank:
        adapt(cast(Backbone, model.backbone), config.train.lora_rank, config.train.lora_alpha, config.seed)


def told(model: nn.Module) -> str:
    """How much of the model learns, in a line; empty where all of it does."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    learning, total = sum(n for n, learns in counts if learns), sum(n for n, _ in counts)
    return "" if learning == total else f"{learning:,} of {total:,} parameters learn, the others are held fixed"
