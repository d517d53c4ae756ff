"""The utilisation of this machine: how fast it trains a model, over how fast it multiplies matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vitrail.assemble import create_model
from vitrail.errors import UsageError

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices."""
LEAST_SECONDS = 2.0
ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """device: cpu or cuda.  batch: images a step.  images_per_s: of forward pass, backward pass and AdamW.  peak:
    FLOP/s of a product of matrices.  utilisation: the model's FLOPs a second over it."""

    device: str
    batch: int
    images_per_s: float
    peak: float
    utilisation: float


def measure(
    model: str, image_size: int | None, patch_size: int | None, classes: int, precision: str, batch: int,
    training_flops: int, needs: int,
) -> Measured:  # fmt: skip
    """Train `model` for some seconds here, on a GPU where there is one. needs: bytes that the plan says it takes.

    Raises UsageError where this machine has less memory than that.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else _free()
    if needs > free:
        raise UsageError(
            f"measure: {batch} images of {model} take {needs / 2**30:.1f} GiB in training, and {free / 2**30:.1f} GiB"
            f" are free here: state --mfu, or measure a smaller model"
        )
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    peak = _products(device, dtype)
    net: Any = create_model(model, outputs=classes, image_size=image_size, patch_size=patch_size).to(device)
    if precision == "pure-bf16":
        net.to(dtype)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    shape = (batch, net.backbone.in_channels, *net.backbone.image_size)
    kind = dtype if precision == "pure-bf16" else torch.float32
    images = torch.zeros(shape, device=device, dtype=kind)
    targets = torch.zeros(batch, dtype=torch.int64, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = net.task.loss(net(images), targets, None, train=True).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    rate = batch / _seconds(step, device)
    return Measured(device, batch, rate, peak, rate * training_flops / peak)


def _products(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one product of square matrices after another."""
    side = SIDE[device]
    one, other = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / _seconds(lambda: one @ other, device)


def _seconds(what: Callable[[], object], device: str) -> float:
    """Of one call, the best of a few rounds, each long enough for the clock."""
    what()
    best = float("inf")
    for _ in range(ROUNDS):
        _wait(device)
        started, calls, taken = time.perf_counter(), 0, 0.0
        while taken < LEAST_SECONDS / ROUNDS:
            what()
            _wait(device)
            calls += 1
            taken = time.perf_counter() - started
        best = min(best, taken / calls)
    return best


def _free() -> int:
    """Bytes of memory that nothing needs; without a system that says, as many as there may be."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return 2**62


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
