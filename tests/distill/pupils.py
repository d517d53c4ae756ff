"""Small models, batches and teachers for the tests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vitrail.assemble import VisionModel, create_model
from vitrail.contracts import Batch, Mixing, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.distill.teacher import Teacher

SIZE = 16
STUDENTS = Preprocessor(size=(SIZE, SIZE), channels=3, mean=(0.5,), std=(0.5,))
TEACHERS = Preprocessor(size=(SIZE, SIZE), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TINY: dict[str, Any] = {"image_size": SIZE, "patch_size": 4, "depth": 1, "width": 16, "heads": 2, "hidden": 32}


def vit(task: Task, name: str = "vit_tiny", **options: Any) -> VisionModel:
    """A ViT of one block on a 4 x 4 grid."""
    return create_model(name, task, **{**TINY, **options})


def resnet(task: Task, seed: int = 1) -> VisionModel:
    """A ResNet-18 an eighth as wide, with a pyramid at strides 1, 2, 4 and 8."""
    return create_model("resnet18", task, image_size=SIZE, patch_size=1, width=8, seed=seed)


def teacher(task: Task, seed: int = 1, preprocessor: Preprocessor = TEACHERS) -> Teacher:
    """A CNN that was not trained: it answers all the same."""
    return Teacher("a CNN", resnet(task, seed), preprocessor, "cpu")


def batch(targets: Sequence[int], first: int = 0, mixed: bool = False, failures: tuple[Any, ...] = ()) -> Batch:
    """Images that depend on their positions alone; mixed, each with the next."""
    count = len(targets)
    places = range(first, first + count)
    images = torch.stack([torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(p)) for p in places])
    mixing = None
    if mixed:
        partners, share = torch.arange(count).roll(-1), torch.linspace(0.6, 1.0, count)
        images = share[:, None, None, None] * images + (1 - share[:, None, None, None]) * images[partners]
        mixing = Mixing(partners, share)
    return Batch(
        images=images, targets=torch.tensor(targets), weights=torch.ones(count), positions=torch.tensor(list(places)),
        indices=torch.arange(count), keys=tuple(str(p) for p in places), failures=failures, mixing=mixing,
    )  # fmt: skip
