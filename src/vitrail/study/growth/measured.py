"""One cell, measured: the time and the memory of one pass of one model at one image size, and of its attention."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.assemble import VisionModel, create_model
from vitrail.cost.clock import Timing, timed
from vitrail.cost.measure import forward_pass, most_allocated, settle, training_step
from vitrail.cost.trace import Precision
from vitrail.layers.attention import ScaledDotProduct
from vitrail.report.study_tables import plain
from vitrail.study.growth.counted import CLASSES, Counted, Kind, Operand
from vitrail.study.measure.records import restored
from vitrail.training.trial import machine_load

PART_SECONDS = 0.02
"""Of a round of a call that is one kind of many, as attention's are."""

Pass = Literal["forward", "step"]
PASSES: tuple[Pass, ...] = ("forward", "step")
WARM: Mapping[Pass, int] = {"forward": 1, "step": 2}
"""Calls before those that are timed, whose memory is measured: a first step has not yet what the optimizer keeps."""


@dataclass(frozen=True)
class Measured:
    """A cell. Seconds and FLOPs are of the whole batch; bytes at the fullest instant, weights included.

    seconds, attention: rounds of one pass, and of its attention alone.  load: how much longer than its own computing a
    thread takes here, since other processes want the cores, before and after; 1 where none do.  predicted: bytes that
    were foretold, None where nothing foretells them.  standing: bytes of what stands whatever the images.
    """

    model: str
    what: Pass
    size: int
    batch: int
    tokens: int
    flops: int
    attention_flops: int
    seconds: tuple[float, ...]
    attention: tuple[float, ...]
    load: tuple[float, float]
    memory: int
    predicted: int | None
    standing: int

    def record(self) -> dict[str, Any]:
        """For JSON; `Measured.of` reads it back."""
        record: dict[str, Any] = plain(self)
        return record

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Measured:
        """What `record` gave; KeyError, TypeError or ValueError for anything else."""
        return restored(cls, record)

    @property
    def time(self) -> float:
        """Seconds of one image, the best round."""
        return Timing(self.seconds).best / self.batch

    @property
    def attention_time(self) -> float:
        """Seconds of one image's attention, the best rounds; 0 of a model without."""
        return Timing(self.attention).best / self.batch if self.attention else 0.0

    @property
    def spread(self) -> float:
        """How much longer than the fastest round the slowest took, as a share."""
        return Timing(self.seconds).spread

    @property
    def growing(self) -> int:
        """Bytes beyond what stands whatever the images."""
        return self.memory - self.standing

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.size**2


def measure(counted: Counted, what: Pass, precision: Precision, device: str) -> Measured:
    """Measure a pass over blank images with fresh weights, whose values change no time.

    Attention's time is that of its inner operation, softmax(QK^T)V, called alone as often as a pass does, on tensors of
    the same shapes, strides and dtype; of a training step with its backward pass. Raises RuntimeError where memory does
    not suffice.
    """
    wait = partial(settle, device)
    before = machine_load()
    passing, memory = _warmed(counted, what, precision, device)
    found = timed(passing, wait)
    del passing
    gc.collect()
    attention = _attention(counted, what, precision, device, wait)
    load = (before, machine_load())
    step = what == "step"
    flops = counted.step_flops if step else counted.forward_flops
    inner = counted.attention_flops * (3 if step else 1)  # each product has two more in the backward pass
    return Measured(
        counted.model, what, counted.size, counted.batch, counted.tokens, flops * counted.batch, inner * counted.batch,
        found.rounds, attention, load, memory, counted.step_memory if step else None,
        counted.standing if step else counted.weights,
    )  # fmt: skip


def _warmed(counted: Counted, what: Pass, precision: Precision, device: str) -> tuple[Callable[[], None], int]:
    """A pass that has been made before, and the bytes it takes."""
    if device == "cuda":
        stood = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        passing = _made(counted, what, precision, device)
        return passing, torch.cuda.max_memory_allocated() - stood
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler says on stderr that it began, and ended
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        passing = _made(counted, what, precision, device)
    return passing, most_allocated(profile)


def _made(counted: Counted, what: Pass, precision: Precision, device: str) -> Callable[[], None]:
    net: VisionModel = create_model(counted.model, outputs=CLASSES, image_size=counted.size).to(device)
    passing = (training_step if what == "step" else forward_pass)(net, counted.batch, precision, device)
    for _ in range(WARM[what]):
        passing()
    settle(device)
    return passing


def _attention(
    counted: Counted, what: Pass, precision: Precision, device: str, wait: Callable[[], None]
) -> tuple[float, ...]:
    """Seconds of a pass's attention in each round: the sum over its calls, each kind timed by itself."""
    total: list[float] = []
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    for kind, times in counted.calls:
        call = _call(kind, what, dtype, device)
        call()
        rounds = [seconds * times for seconds in timed(call, wait, seconds=PART_SECONDS).rounds]
        total = rounds if not total else [one + more for one, more in zip(total, rounds, strict=True)]
    return tuple(total)


def _call(kind: Kind, what: Pass, dtype: torch.dtype, device: str) -> Callable[[], None]:
    core = ScaledDotProduct()
    step = what == "step"
    q, k, v = (_filled(operand, dtype, device, step) for operand in kind[:3])
    bias = None if kind[3] is None else _filled(kind[3], dtype, device, step)
    if not step:

        def forward() -> None:
            with torch.no_grad():
                core(q, k, v, bias)

        return forward
    learning = [tensor for tensor in (q, k, v, bias) if tensor is not None and tensor.requires_grad]
    with torch.no_grad():
        direction = torch.ones_like(core(q, k, v, bias))

    def both() -> None:
        torch.autograd.grad(core(q, k, v, bias), learning, direction)

    return both


def _filled(operand: Operand, dtype: torch.dtype, device: str, step: bool) -> Tensor:
    """A tensor as the model makes it, a view of a larger one where it is that there; its values are drawn by a key."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(operand.shape, generator=generator).to(device, dtype)
    made = torch.empty_strided(operand.shape, operand.strides, dtype=dtype, device=device)
    if 0 in operand.strides:  # expanded: one value stands in many places
        made = values[tuple(slice(0, 1) if not stride else slice(None) for stride in operand.strides)].expand_as(values)
    else:
        made.copy_(values)
    return made.detach().requires_grad_(step and operand.learns)
