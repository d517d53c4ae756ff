"""DeiT's table: what each head of a distilled model says alone, and what both say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vitrail.artifact import find, load
from vitrail.contracts import Features
from vitrail.data.loader import EvalLoader
from vitrail.data.sources import open_source
from vitrail.evaluate.evaluator import evaluate
from vitrail.heads.distilled import DistilledHead
from vitrail.run.folder import Run
from vitrail.run.prepare import divide, read_audit
from vitrail.runtime.torch_engine import make_engine, pick_device
from vitrail.training.journal import Journal


class One(nn.Module):
    """One layer of a distilled head."""

    def __init__(self, head: DistilledHead, which: int) -> None:
        super().__init__()
        self.head, self.which = head, which

    def forward(self, features: Features) -> Tensor:
        return self.head.both(features)[self.which]


def by_head(folder: Path) -> dict[str, dict[str, float]]:
    """Split -> {"class": accuracy, "distillation": accuracy, "both": accuracy} of a run's best model."""
    run, quiet = Run.open(folder), Journal(quiet=True)
    config = run.config
    source = open_source(config.data, config.task.name)
    data = divide(source, read_audit(source, config.data, quiet), config.data, quiet, config.task.name)
    device = pick_device()
    made = load(find(folder), device)
    model: Any = made.model
    head = cast(DistilledHead, model.head)
    found: dict[str, dict[str, float]] = {}
    for split in ("val", "test"):
        if not data.indices(split):
            continue
        found[split] = {}
        for name, layer in (("class", One(head, 0)), ("distillation", One(head, 1)), ("both", head)):
            model.head = layer
            batches = EvalLoader(source, data.indices(split), made.task, made.preprocessor, 256)
            with torch.inference_mode():
                result = evaluate(make_engine(model, device), batches, made.task)
            found[split][name] = result.metrics["accuracy"]
        model.head = head
    return found
