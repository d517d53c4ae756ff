"""A model of timm that the catalogue has not, with its weights: timm's backbone under our pooling and classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.assemble import VisionModel, build_model, fill
from vitrail.checkpoints.layouts.timm import claims as claims_of
from vitrail.checkpoints.preprocessing import fitted
from vitrail.checkpoints.report import Entry, LoadReport
from vitrail.checkpoints.sources import Bundle
from vitrail.contracts import Task
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import list_models, variant
from vitrail.models.timm import PREFIX
from vitrail.settings import Config, build
from vitrail.tasks import restore

AGREEMENT = 1e-3
"""Largest difference of our logits from timm's own, relative to the largest of them."""


def timm_name(bundle: Bundle) -> str | None:
    """The name that timm gives to a model of its config.json which the catalogue has not; None for every other."""
    name = bundle.config.get("architecture")
    if not isinstance(name, str) or name.partition(".")[0] in list_models():
        return None
    try:
        import timm
    except ImportError:
        return None
    return name if timm.is_model(name.partition(".")[0]) else None


def read_timm(
    name: str, bundle: Bundle, source: str | Path, any_head: bool = False
) -> tuple[Config, VisionModel, Task, LoadReport, bool]:  # fmt: skip
    """The whole model: its config as a run's, itself, its task, the account of its tensors, whether it has no head.

    What it answers is compared with timm's own model once, on noise: a classifier that does more than pool and multiply
    is refused.  any_head: one without a classifier gets a fresh one, of two outputs.

    Raises UsageError for a model without a classifier or of such a kind, IntegrityError where a tensor is left over.
    """
    row = variant(PREFIX + name.partition(".")[0])
    claims = claims_of(bundle)
    weights = f"{_classifier(bundle)}.weight"
    headless = weights not in bundle.tensors
    if headless and not any_head:
        raise UsageError(f"{bundle.path} has no classification head: it can be no teacher, and has no answers")
    outputs = 2 if headless else len(bundle.tensors[weights])
    numbers = tuple(f"{i:0{len(str(outputs - 1))}d}" for i in range(outputs))
    labels = (not headless and claims.labels) or numbers
    if len(labels) != outputs or len(set(labels)) != outputs:
        raise IntegrityError(f"{bundle.path}: its config names {len(set(labels))} classes, its head has {outputs}")
    task = restore({"task": "classify", "labels": list(labels), "named": tuple(labels) != numbers})
    prepared = fitted(dict(claims.preprocess), row.config.in_channels)
    stated: dict[str, Any] = {
        "data.source": str(source),
        "model.name": row.name,
        "model.image_size": max(row.config.size),
        "model.patch_size": row.config.patch_size,
        "model.pooling": row.config.pooling,
    }
    stated |= {f"preprocess.{key}": value for key, value in prepared.items() if key != "channels"}
    config = build(stated)
    model = build_model(config, task).eval()
    renamed = {_ours(key, _classifier(bundle)): key for key in bundle.tensors}
    own = {name: tensor for name, tensor in model.state_dict().items() if headless and name.startswith("head.")}
    fill(model, {**own, **{ours: bundle.tensors[key] for ours, key in renamed.items()}}, bundle.path)
    if not headless:
        _compare(name, model, bundle.tensors, outputs, bundle.path)
    entries = tuple(Entry((ours,), (key,), "used") for ours, key in renamed.items())
    count = sum(tensor.numel() for tensor in bundle.tensors.values())
    return config, model, task, LoadReport(bundle.path, "timm", entries, count, row.name), headless


def _classifier(bundle: Bundle) -> str:
    """The name of the classifier among timm's modules."""
    said = bundle.config.get("pretrained_cfg")
    name = (said if isinstance(said, Mapping) else bundle.config).get("classifier")
    return name if isinstance(name, str) else "head"


def _ours(name: str, classifier: str) -> str:
    return f"head.fc{name.removeprefix(classifier)}" if name.startswith(f"{classifier}.") else f"backbone.body.{name}"


def _compare(name: str, model: VisionModel, tensors: Mapping[str, Tensor], outputs: int, path: Path) -> None:
    import timm

    whole = timm.create_model(name.partition(".")[0], pretrained=False, num_classes=outputs)
    whole.load_state_dict(dict(tensors))
    height, width = model.backbone.image_size  # type: ignore[misc]
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own, theirs = model(noise), whole.eval()(noise)
    if float((own - theirs).abs().max()) > AGREEMENT * max(1.0, float(theirs.abs().max())):
        raise UsageError(f"{path}: the classifier of timm's {name} does more than ours can: use another model")
