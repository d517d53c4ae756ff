"""Tiny vision transformers whose attention is not flat, and images for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from vitrail.assemble import VisionModel, create_model
from vitrail.contracts import Task
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.target import Target
from vitrail.tasks.classify import Classify

LABELS = ("cat", "dog", "猫 <b>$x^</b>")


@dataclass(frozen=True)
class Small:
    """What `explain` needs of an artifact."""

    model: VisionModel
    preprocessor: Preprocessor
    task: Task


def small_model(**options: Any) -> VisionModel:
    """24 wide, 3 blocks, 3 heads, 16 patches. Fresh weights attend almost evenly, so queries and keys are scaled up."""
    stated = {"image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 32, "depth": 3} | options
    model = create_model("vit_tiny", Classify(LABELS), **stated)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("qkv.weight", "pool.q.weight", "pool.kv.weight")):
                parameter.mul_(15)
    return model.eval()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., VisionModel]:
    """`small_model`, for tests that choose its options."""
    return small_model


@pytest.fixture
def model() -> VisionModel:
    """The plain one: [CLS] is read."""
    return small_model()


@pytest.fixture
def images() -> torch.Tensor:
    """(2, 3, 32, 32), normalised."""
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small(model: VisionModel) -> Small:
    """A model with its preprocessing and task."""
    return Small(model, Preprocessor(size=(32, 32)), model.task)


@pytest.fixture
def photo() -> np.ndarray[Any, Any]:
    """(40, 60, 3) uint8: wider than high, so that a crop leaves both sides out."""
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def aim() -> Callable[..., Target]:
    """`aim(images, output)`: the same output of every image; further parts of a `Target` by name."""

    def aimed(images: torch.Tensor, output: int = 0, **parts: Any) -> Target:
        return Target(torch.full((len(images),), output), **parts)

    return aimed
