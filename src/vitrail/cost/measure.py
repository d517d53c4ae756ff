"""The utilisation of this machine: how fast it trains a model, over how fast it multiplies matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitrail.assemble import VisionModel, create_model
from vitrail.cost.clock import timed
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
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
    if needs > free:
        raise UsageError(
            f"measure: {batch} images of {model} take {needs / 2**30:.1f} GiB in training, and {free / 2**30:.1f} GiB"
            f" are free here: state --mfu, or measure a smaller model"
        )
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    peak = _products(device, dtype)
    net = create_model(model, outputs=classes, image_size=image_size, patch_size=patch_size).to(device)
    if precision == "pure-bf16":
        net.to(dtype)
    rate = batch / _seconds(training_step(net, batch, precision, device), device)
    return Measured(device, batch, rate, peak, rate * training_flops / peak)


def training_step(net: VisionModel, batch: int, precision: str, device: str) -> Callable[[], None]:
    """What trains a model that stands on `device` each time it is called: forward pass, loss, backward pass and AdamW,
    of as many blank images, whose targets are all class 0."""
    images = _blank(net, batch, precision, device)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    targets = torch.zeros(batch, dtype=torch.int64, device=device)
    net.train()

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = net.task.loss(net(images), targets, None, train=True).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def forward_pass(net: VisionModel, batch: int, precision: str, device: str) -> Callable[[], None]:
    """What runs a model that stands on `device` each time it is called: in evaluation mode, without gradients, on as
    many blank images."""
    images = _blank(net, batch, precision, device)
    net.eval()

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            net(images)

    return forward


def _blank(net: VisionModel, batch: int, precision: str, device: str) -> Tensor:
    backbone: Any = net.backbone
    kind = torch.bfloat16 if precision == "pure-bf16" else torch.float32
    return torch.zeros((batch, backbone.in_channels, *backbone.image_size), device=device, dtype=kind)


def most_allocated(profile: Any, since: int = 0) -> int:
    """Most bytes that PyTorch's CPU allocator had given out at once, by the events of a `torch.profiler.profile` with
    profile_memory; what stood when it began is not counted. since: nanoseconds; the peak is looked for after them."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        if event.start_ns() >= since:
            most = max(most, now)
    return most


def _products(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one product of square matrices after another."""
    side = SIDE[device]
    one, other = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / _seconds(lambda: one @ other, device)


def _seconds(what: Callable[[], object], device: str) -> float:
    """Of one call, the best of a few rounds, each long enough for the clock."""
    what()
    return timed(what, partial(settle, device), seconds=LEAST_SECONDS / ROUNDS, rounds=ROUNDS).best


def free_memory() -> int:
    """Bytes of memory that nothing needs; without a system that says, as many as there may be."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return 2**62


def settle(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
