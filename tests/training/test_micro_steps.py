"""One update of the loop: the same in micro-steps as at once, and unmixed near the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import vitrail
from vitrail.contracts import Batch
from vitrail.data.mixing import MIX_GROUP
from vitrail.settings import Config, build
from vitrail.tasks import numbered_task
from vitrail.training.journal import Journal
from vitrail.training.loop import Loop
from vitrail.training.objective import Objective, Supervised

MODEL: dict[str, Any] = {"image_size": 16, "patch_size": 4, "depth": 2, "width": 16, "heads": 2, "hidden": 32}
MIXED = {"augment.mixup": 0.8, "augment.cutmix": 1.0}
IMAGES = 64


def _config(**stated: Any) -> Config:
    return build({"data.source": "none", "train.batch_size": 32, "train.epochs": 4, **MIXED, **stated})


def _loop(config: Config, objective: Objective | None = None) -> Loop:
    task = numbered_task("classify", 5)
    return Loop(
        model=vitrail.create_model("vit_tiny", task, **MODEL), task=task, objective=objective or Supervised(task),
        config=config, images=IMAGES, device="cpu", make_batches=cast(Any, None), validation=cast(Any, ()),
        make_engine=lambda model: cast(Any, None), journal=Journal(quiet=True), keep=lambda *args: None,
        checkpoints=Path("none"), allowed_failures=0,
    )  # fmt: skip


def _batch(step: int) -> Batch:
    """32 images; one of them failed."""
    draws = torch.Generator().manual_seed(step)
    weights = torch.ones(32)
    weights[5] = 0
    rows = torch.arange(32)
    images = torch.randn(32, 3, 16, 16, generator=draws)
    images[5] = 0
    targets = torch.randint(5, (32,), generator=draws)
    return Batch(images, targets, weights, 32 * step + rows, rows, tuple(map(str, rows.tolist())))


def _cut(batch: Batch, parts: int) -> list[Batch]:
    names = ("images", "targets", "weights", "positions", "indices")
    size = len(batch.keys) // parts
    rows = [slice(start, start + size) for start in range(0, len(batch.keys), size)]
    return [replace(batch, keys=batch.keys[r], **{n: getattr(batch, n)[r] for n in names}) for r in rows]


def _after(parts: int, **stated: Any) -> Sequence[Tensor]:
    """The weights after four updates in so many micro-steps each."""
    loop = _loop(_config(**{"train.accumulate": parts, **stated}))
    for step in range(4):
        loop.update(_cut(_batch(step), parts))
    return [parameter.detach() for parameter in loop.model.parameters()]


def _distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "sgd"])
def test_a_batch_in_micro_steps_makes_the_update_of_the_batch_at_once(optimizer: str) -> None:
    stated = {"train.optimizer": optimizer, "train.clip": 0.5, "train.lr": 1e-2}
    begun = [p.detach() for p in vitrail.create_model("vit_tiny", numbered_task("classify", 5), **MODEL).parameters()]
    at_once, in_four = _after(1, **stated), _after(4, **stated)
    moved = _distance(begun, at_once)
    assert moved > 1e-3
    assert _distance(in_four, at_once) < 0.02 * moved
    assert _distance(_after(1, **stated, data_seed=1), at_once) > 0.05 * moved  # as other mixing would show


def test_mixing_ends_so_many_epochs_before_the_run() -> None:
    seen: list[bool] = []

    class Watching(Supervised):
        def forward(self, model: torch.nn.Module, batch: Batch) -> Tensor:
            seen.append(batch.mixing is not None)
            return super().forward(model, batch)

    loop = _loop(_config(**{"augment.mix_off_epochs": 1.5}), Watching(numbered_task("classify", 5)))
    for step in range(loop.schedule.steps):
        loop.update([_batch(step)])
    assert seen == [True] * 5 + [False] * 3  # 2 updates an epoch, of 4; the last 1.5 epochs are 3 updates
    assert 32 % MIX_GROUP == 0
