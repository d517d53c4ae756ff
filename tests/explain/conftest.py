"""Tiny vision transformers whose attention is not flat, and images for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser, find_chromium

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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    path = find_chromium()
    if path is None:
        pytest.skip("needs a Chromium browser, and there is none on this machine")
    made = Browser(path, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The same, on a desktop's screen, with nothing complained of yet."""
    chromium.size(1200, 900)
    chromium.dark(False)
    chromium.complaints.clear()
    chromium.asked.clear()
    return chromium
