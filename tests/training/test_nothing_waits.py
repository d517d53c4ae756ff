"""No step waits for the device: nothing that training does between two steps asks it for a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail.assemble import build_model
from vitrail.contracts import Hints, Item, Pixels
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.data.preprocess import Preprocessor
from vitrail.distill.cache import AnswerCache
from vitrail.distill.lesson import Lesson
from vitrail.distill.objective import Distilled
from vitrail.distill.teacher import Teacher
from vitrail.runtime.torch_engine import make_engine
from vitrail.settings import build
from vitrail.tasks import create_task
from vitrail.training.journal import Journal
from vitrail.training.loop import Loop
from vitrail.training.objective import Objective, Supervised

STATED: dict[str, Any] = {
    "data.source": "memory", "data.batched": True, "model.image_size": 16,
    "train.batch_size": 16, "train.accumulate": 2, "train.epochs": 3, "train.warmup_epochs": 1.0, "train.ema": 0.9,
    "task.class_weights": "balanced", "task.label_smoothing": 0.1,
    "augment.randaugment_ops": 2, "augment.erase": 0.5, "augment.three": True, "augment.jitter": 0.3,
    "augment.mixup": 0.8, "augment.cutmix": 1.0,
}  # fmt: skip


class Noise:
    """Forty images of two classes."""

    name = location = "memory"
    hints = Hints()
    target_names: tuple[str, ...] = ()
    items = tuple(Item(str(i), "ab"[i % 3 == 0]) for i in range(40))

    def read(self, index: int, channels: int) -> Pixels:
        return np.random.default_rng(index).integers(0, 256, (20, 24, channels), dtype=np.uint8)

    def content(self, index: int) -> bytes:
        return str(index).encode()


def updates(folder: Path, device: str, watched: Callable[[], Any], stated: dict[str, Any]) -> int:
    """Train for some updates, `watched` from the second on, when all that is made once has been made."""
    config = build(stated)
    source, task = Noise(), create_task("classify", [item.target for item in Noise.items], config.task)
    model = build_model(config, task)
    objective: Objective = Supervised(task)
    if config.distill.teacher is not None:
        teacher = Teacher("a CNN", build_model(build(CNN), task), Preprocessor.from_config(build(CNN)), device)
        say = teacher.answers(Preprocessor.from_config(config))
        kept = AnswerCache(folder / "answers", 8, (2,), print)
        objective = Distilled(task, Lesson(say, kept), task.align(teacher.task), config.distill)
    validation = EvalLoader(source, range(8), task, Preprocessor.from_config(config), 8)
    loader = TrainLoader(source, range(40), task, config, 0, 16 * 6, device)
    loop = Loop(
        model=model, task=task, objective=objective, config=config, images=40, device=device,
        make_batches=lambda first, last: loader, validation=validation, make_engine=lambda m: make_engine(m, device),
        journal=Journal(quiet=True), keep=lambda *given: None, checkpoints=folder, allowed_failures=0,
    )  # fmt: skip
    stream, done = iter(loader), 0
    loop.update([next(stream), next(stream)]).read()
    with watched():
        while done < 5:
            batches = [next(stream), next(stream)]
            assert batches[0].images.device.type == device
            numbers = loop.update(batches)
            done += 1
    assert all(np.isfinite(numbers.read()))
    return done


class Asked(TorchDispatchMode):
    """Refuses what would read the device's numbers on the host."""

    asks = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.masked_select", "aten.equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(self.asks):
            raise AssertionError(f"{func} asks the device")
        if str(func).startswith("aten.index") and any(
            part is not None and isinstance(part, torch.Tensor) and part.dtype is torch.bool
            for listed in args[1:2]
            for part in (listed if isinstance(listed, (list, tuple)) else [listed])
        ):
            raise AssertionError(f"{func} by a mask asks the device how many are meant")
        return func(*args, **(kwargs or {}))


VIT: dict[str, Any] = {
    **STATED, "model.name": "vit_tiny", "model.patch_size": 8, "model.options.depth": 1, "model.options.width": 24,
    "model.options.heads": 2, "train.drop_path": 0.1,
}  # fmt: skip
CNN: dict[str, Any] = {
    **STATED, "model.name": "resnet18", "model.options.width": 4, "model.options.depths": (1, 1, 1, 1),
    "model.patch_size": 1, "model.pooling": "mean",
}  # fmt: skip
TAUGHT: dict[str, Any] = {**VIT, "model.name": "deit_tiny_distilled", "distill.teacher": "a CNN"}
EVERY = pytest.mark.parametrize("stated", [VIT, CNN, TAUGHT], ids=["vit", "cnn", "taught, answers kept"])


@EVERY
def test_no_step_asks_for_a_number(tmp_path: Path, stated: dict[str, Any]) -> None:
    """On the CPU, where asking costs nothing: the same calls would make the host wait for a GPU."""
    assert updates(tmp_path, "cpu", Asked, stated) == 5


def test_what_asks_is_found() -> None:
    values = torch.arange(4.0)
    for ask in (lambda: values.sum().item(), lambda: bool(values.any()), lambda: values[values > 1]):
        with pytest.raises(AssertionError, match="asks the device"), Asked():
            ask()


@contextmanager
def _strict() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, on which torch can say where the host waits")
@EVERY
def test_no_step_waits_for_a_gpu(tmp_path: Path, stated: dict[str, Any]) -> None:
    assert updates(tmp_path, "cuda", _strict, stated) == 5
