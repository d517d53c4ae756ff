"""A run that is killed and resumed ends with the bits of a run never killed."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["vitrail.run", "vitrail.report.html", "torchmetrics"])

IMAGES, BATCH, EPOCHS = 96, 8, 5
STATED: dict[str, Any] = {
    "data.source": "drawn",
    "data.val_fraction": 0.25,
    "data.test_fraction": 0.0,
    "model.image_size": 8,
    "model.patch_size": 4,
    "model.options.depth": 2,
    "model.options.width": 8,
    "model.options.heads": 2,
    "model.options.hidden": 16,
    "train.epochs": EPOCHS,
    "train.batch_size": BATCH,
    "train.ema": 0.9,
    "train.drop_path": 0.2,
    "train.checkpoint_seconds": 0.05,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    "augment.erase": 0.25,
    "augment.randaugment_ops": 1,
    "device": "cpu",
    "threads": 1,
}
STEPS = 45
"""5 epochs of 72 training images in batches of 8."""


class Drawn:
    """Noise with a class that can be learned: bright or dark."""

    classes = ("dark", "bright")

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(index)
        label = index % 2
        return (rng.integers(0, 128, (10, 9, 3)) + 100 * label).astype(np.uint8), label


def _die_at(phase: str, call: int) -> None:
    """Arrange for SIGKILL at the `call`-th time that this process enters a phase."""
    import vitrail.training.loop as loop
    from vitrail import durable
    from vitrail.data.dataset import DatasetSource

    seen = 0

    def deadly(real: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return wrapped

    if phase == "data":
        DatasetSource.read = deadly(DatasetSource.read)  # type: ignore[method-assign]
    elif phase == "backward":
        torch.Tensor.backward = deadly(torch.Tensor.backward)  # type: ignore[method-assign]
    elif phase == "update":
        loop.Updater.update = deadly(loop.Updater.update)  # type: ignore[method-assign]
    else:
        durable.os.fsync = deadly(os.fsync)  # type: ignore[attr-defined]


def _work(folder: str, phase: str, call: int, extra: dict[str, Any]) -> None:
    from vitrail.data.dataset import DatasetSource
    from vitrail.run import resume, start

    torch.set_num_threads(1)
    source = DatasetSource(Drawn(), "drawn")
    if phase:
        _die_at(phase, call)
    if (Path(folder) / "checkpoints").exists() and any((Path(folder) / "checkpoints").glob("step-*")):
        resume(folder, source=source, quiet=True)
    else:
        if Path(folder).exists():  # killed before its first checkpoint: nothing to resume, so begin again
            __import__("shutil").rmtree(folder)
        own = "model.name" in extra  # another family has options of its own
        stated = {k: v for k, v in STATED.items() if not (own and k.startswith("model."))}
        start(stated | extra, out=Path(folder), source=source, quiet=True)


def _run(folder: Path, phase: str = "", call: int = 0, **extra: Any) -> int:
    process = CONTEXT.Process(target=_work, args=(str(folder), phase, call, extra))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "hung"
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run never killed."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert _run(folder) == 0
    return folder


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted((folder / "checkpoints" / f"step-{STEPS}").glob("*.safetensors")):
        found |= {f"{path.name}:{name}": value for name, value in load_file(path).items()}
    for which in ("best", "last"):
        found |= {f"{which}:{n}": v for n, v in load_file(folder / "model" / which / "model.safetensors").items()}
    return found


def _rows(folder: Path) -> list[dict[str, str]]:
    timed = {"time", "images_per_s", "memory_mb"}
    rows = csv.DictReader((folder / "results.csv").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def _steps(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _assert_same(broken: Path, unbroken: Path) -> None:
    got, expected = _tensors(broken), _tensors(unbroken)
    assert got.keys() == expected.keys()
    assert len(expected) > 100
    assert [name for name in expected if not torch.equal(got[name], expected[name])] == []
    assert _rows(broken) == _rows(unbroken)
    assert len(_rows(broken)) == EPOCHS
    assert _steps(broken) == _steps(unbroken)
    assert (broken / "predictions.csv").read_text() == (unbroken / "predictions.csv").read_text()


def test_twenty_kills_at_random_steps_and_phases_change_no_bit(unbroken: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    folder, kills = tmp_path / "run", 0
    for _ in range(60):
        if kills == 20:
            break
        phase = rng.choice(["data", "backward", "update", "save"])
        code = _run(folder, phase, rng.randint(1, 60 if phase != "data" else 400))
        if code == 0:  # it finished before its time came: the next life begins from nothing
            _assert_same(folder, unbroken)
            __import__("shutil").rmtree(folder)
        else:
            assert code == -signal.SIGKILL
            kills += 1
    assert kills == 20
    while _run(folder) != 0:
        pytest.fail("the last life was not to be killed")
    _assert_same(folder, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_stop_writes_a_checkpoint_and_resumes_to_the_same_bits(
    unbroken: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = CONTEXT.Process(target=_work, args=(str(folder), "", 0, {}))
    process.start()
    steps = folder / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (steps.exists() and steps.stat().st_size) and not any(folder.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid or 0, number)
    process.join(60)
    if process.exitcode == 0:
        pytest.skip("the run was over before the signal arrived")
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "interrupted"
    assert signal.Signals(number).name in record["reason"]
    assert _run(folder) == 0
    _assert_same(folder, unbroken)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_bit(unbroken: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "run"
    assert _run(folder, **{"data.workers": workers}) == 0
    _assert_same(folder, unbroken)


def test_micro_steps_see_the_same_images_and_mix_the_same_partners(unbroken: Path, tmp_path: Path) -> None:
    """Two micro-steps of 8 are the step of 16 they add up to, but for rounding and the model's own draws."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    still = {"train.drop_path": 0.0, "train.batch_size": 16}
    assert _run(whole, **still) == 0
    assert _run(parts, **still, **{"train.accumulate": 2}) == 0
    for a, b in zip(_steps(whole), _steps(parts), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


RESNET = {
    "model.name": "resnet18",
    "model.image_size": 8,
    "model.options.width": 4,
    "model.options.depths": (1, 1, 1, 1),
}


def test_a_killed_run_with_running_statistics_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """BatchNorm's statistics are written by forward passes: one that was killed must not be remembered."""
    unbroken, folder = tmp_path / "unbroken", tmp_path / "run"
    assert _run(unbroken, **RESNET) == 0
    for phase, call in (("update", 20), ("backward", 9), ("save", 30)):
        assert _run(folder, phase, call, **RESNET) == -signal.SIGKILL
    assert _run(folder, **RESNET) == 0
    _assert_same(folder, unbroken)
    newest = max((folder / "checkpoints").glob("step-*"), key=lambda p: int(p.name.split("-")[1]))
    for file in ("model", "average"):
        tensors = load_file(newest / f"{file}.safetensors")
        assert int(tensors["backbone.body.bn1.num_batches_tracked"]) == STEPS
        assert sum("running_var" in name for name in tensors) > 8
