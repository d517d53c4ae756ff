"""What training a model takes before it is trained: parameters, FLOPs, memory of each device, time and money.

Nothing is allocated and no device is needed: a step is traced on fake tensors (cost/trace.py), for as many devices as
are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch

from vitrail.assemble import VisionModel, create_model
from vitrail.contracts import Backbone
from vitrail.cost.count import parameters
from vitrail.cost.hardware import Expense, bytes_of, expense, peak_of, rate_of
from vitrail.cost.measure import Measured, measure
from vitrail.cost.memory import OUTSIDE, STATES, Setting, largest, memory
from vitrail.cost.trace import Kernels, Precision, Step, trace
from vitrail.errors import UsageError, unknown
from vitrail.models import variant

Parallel = Literal["one", "ddp", "fsdp", "fsdp-keep"]
"""one device; ddp: every device has all; fsdp: FSDP2 shards weights, gradients and states, and gathers each block's
weights when it needs them; fsdp-keep: gathered weights are kept from the forward to the backward pass."""

IMAGES_PER_DEVICE = 32
"""Where no batch is stated."""

IMAGES = 1_000_000
"""What time and money are for, where no number is stated."""

MEASURED_IMAGES = 8
"""Images a step at most, where utilisation is measured."""


@dataclass(frozen=True)
class Row:
    """One way to train: bytes of one device by what they are, at the fullest instant of a step.

    batch: images on one device at once.  largest: most images on one device at once that fit, fits: whether the stated
    batch does; None where no memory was stated.
    """

    parallel: Parallel
    precision: Precision
    recompute: bool
    batch: int
    memory: dict[str, int]
    largest: int | None
    fits: bool | None

    @property
    def peak(self) -> int:
        """Bytes in tensors."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class Plan:
    """What a model takes. FLOPs are of one image: two for each multiply-accumulate of convolutions, linear layers and
    attention. recomputed_flops: what recomputing adds to a training step."""

    model: str
    image_size: tuple[int, int]
    classes: int
    parameters: int
    forward_flops: int
    training_flops: int
    recomputed_flops: int
    device: Kernels
    devices: int
    batch: int
    accumulate: int
    optimizer: str
    ema: bool
    device_memory: int | None
    outside: int
    rows: tuple[Row, ...]
    expense: Expense | None
    measured: Measured | None = None


def plan(
    model: str, *, devices: int = 1, device_memory: str | int | None = None, image_size: int | None = None,
    patch_size: int | None = None, batch: int | None = None, accumulate: int = 1, precision: str = "bf16",
    optimizer: str = "adamw", ema: bool = False, classes: int = 1000, device: str = "cuda",
    parallel: str | None = None, recompute: bool | None = None, images: int | None = None, epochs: float = 1.0,
    hardware: str | None = None, peak: str | float | None = None, utilisation: float | None = None,
    price: float | None = None, measured: bool = False, progress: Callable[[int, int], None] | None = None,
) -> Plan:  # fmt: skip
    """What training `model` on so many devices takes.

    device_memory: of one, such as "80G".  batch: images per update over all devices, in `accumulate` micro-steps.
    precision: one or several of fp32, bf16 (autocast; FSDP2 by its own policy) and pure-bf16, between commas.
    device: whose kernels, cuda or cpu.  parallel: one or several of `Parallel` between commas; None is all that the
    number of devices allows.  recompute: None is both without and with.  images, epochs: what time and money are for.
    hardware: a known device, or peak: its FLOP/s ("989T"); utilisation: the share of them that is used, in (0, 1].
    measured: train some seconds here and take this machine's utilisation, and its speed where no peak is stated.
    Of several precisions, time and money are of the first.  price: money per hour of one device.  progress: told how
    many steps have been traced, of how many.

    Raises UsageError for unknown names (the nearest is offered) and what does not fit together.
    """
    _check(devices, accumulate, classes, epochs, images, utilisation, price, optimizer, device)
    if measured and utilisation is not None:
        raise UsageError("mfu: the utilisation is either stated or measured")
    kinds = _kinds(parallel, devices)
    precisions: list[Precision] = _chosen("precision", precision, get_args(Precision))
    limit = None if device_memory is None else bytes_of(device_memory)
    batch = devices * accumulate * IMAGES_PER_DEVICE if batch is None else batch
    share = _share(batch, devices, accumulate)
    row = variant(model)
    known = _speed(hardware, peak, precisions[0])
    shown = round((images or IMAGES) * epochs)
    if not shown:
        raise UsageError(f"epochs {epochs:g}: less than one image")

    def make() -> VisionModel:
        with torch.device("meta"):
            return create_model(model, outputs=classes, image_size=image_size, patch_size=patch_size)

    counted = parameters(first := make())
    size = cast(Backbone, first.backbone).image_size
    ways = [(p, kind, again) for p in precisions for kind in kinds for again in _both(recompute)]
    kernels = cast(Kernels, device)
    traces = _Traces(make, kernels, devices, len({_key(*way) for way in ways}), progress)
    rows = []
    for number, kind, again in ways:
        step = traces.step(number, kind, again)
        setting = Setting(kernels, optimizer, ema, accumulate, buckets=kind == "ddp")
        parts = memory(step, share, setting)
        most = None if limit is None else largest(step, setting, limit)
        fits = None if most is None else share <= most
        rows.append(Row(kind, number, again, share, parts, most, fits))
    again_flops = max(step.recomputed_flops for step in traces.steps.values())
    found = None
    if measured:
        fewer = min(share, MEASURED_IMAGES)
        traced = traces.steps.get(_key(precisions[0], "one", False)) if kernels == "cpu" else None
        whole = traced or trace(make(), precision=precisions[0], kernels="cpu")
        needs = sum(memory(whole, fewer, Setting("cpu")).values())
        found = measure(model, image_size, patch_size, classes, precisions[0], fewer, step.step_flops, needs)
        utilisation, known = found.utilisation, known or found.peak
    spent = None
    if utilisation is not None and known is not None:
        spent = expense(shown, step.step_flops, again_flops, devices, known, utilisation, price)
    return Plan(
        row.name, size, classes, counted, step.forward_flops, step.step_flops, again_flops, kernels, devices, batch,
        accumulate, optimizer, ema, limit, OUTSIDE[kernels], tuple(rows), spent, found,
    )  # fmt: skip


def _key(precision: Precision, kind: Parallel, again: bool) -> tuple[Precision, str, bool]:
    """Ways of one key are traced once: a device of DDP computes what one alone does."""
    return precision, kind if kind.startswith("fsdp") else "whole", again


class _Traces:
    """Steps, each traced when it is first asked for."""

    def __init__(
        self, make: Callable[[], VisionModel], kernels: Kernels, devices: int, number: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:  # fmt: skip
        self.make, self.kernels, self.devices, self.number, self.progress = make, kernels, devices, number, progress
        self.steps: dict[tuple[Precision, str, bool], Step] = {}

    def step(self, precision: Precision, kind: Parallel, again: bool) -> Step:
        """The step of one way to train."""
        key = _key(precision, kind, again)
        if key not in self.steps:
            sharded = kind.startswith("fsdp")
            self.steps[key] = trace(
                self.make(), precision=precision, kernels=self.kernels, again=again,
                shards=self.devices if sharded else 0, reshard=kind != "fsdp-keep",
            )  # fmt: skip
            if self.progress:
                self.progress(len(self.steps), self.number)
        return self.steps[key]


def _speed(hardware: str | None, peak: str | float | None, precision: Precision) -> float | None:
    """FLOP/s of one device at most; None where nothing was stated."""
    if hardware is not None and peak is not None:
        raise UsageError("peak: the speed is stated either by hardware or by peak")
    if hardware is not None:
        return peak_of(hardware, precision)
    if peak is None:
        return None
    rate = rate_of(peak)
    if not 0 < rate < float("inf"):
        raise UsageError(f"peak {rate:g}: more than 0 FLOP/s")
    return rate


def _both(recompute: bool | None) -> Iterator[bool]:
    yield from (False, True) if recompute is None else (recompute,)


def _kinds(parallel: str | None, devices: int) -> list[Parallel]:
    """The ways of spreading a model that are asked for, and that the number of devices allows."""
    known = get_args(Parallel)
    allowed: list[Parallel] = ["one"] if devices == 1 else [kind for kind in known if kind != "one"]
    kinds: list[Parallel] = allowed if parallel is None else _chosen("parallel", parallel, known)
    for kind in kinds:
        if kind not in allowed:
            raise UsageError(f"parallel {kind}: with {_devices(devices)} only {', '.join(allowed)}")
    return kinds


def _chosen(what: str, text: str, known: tuple[Any, ...]) -> list[Any]:
    """The names that stand in `text` between commas, each of `known`."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
    return list(dict.fromkeys(names))


def _share(batch: int, devices: int, accumulate: int) -> int:
    """Images on one device at once."""
    parts = devices * accumulate
    if batch < 1 or batch % parts:
        steps = f" in {accumulate} micro-steps" if accumulate > 1 else ""
        near = max(parts, round(batch / parts) * parts)
        raise UsageError(f"batch {batch} does not divide over {_devices(devices)}{steps}: take {near}, or another "
                         f"multiple of {parts}")  # fmt: skip
    return batch // parts


def _devices(number: int) -> str:
    return f"{number} device{'s'[: number > 1]}"


def _check(
    devices: int, accumulate: int, classes: int, epochs: float, images: int | None, utilisation: float | None,
    price: float | None, optimizer: str, device: str,
) -> None:  # fmt: skip
    for name, count in (("devices", devices), ("accumulate", accumulate), ("classes", classes), ("images", images)):
        if count is not None and count < 1:
            raise UsageError(f"{name} {count}: at least 1")
    if not 0 < epochs < float("inf"):
        raise UsageError(f"epochs {epochs:g}: more than 0")
    if utilisation is not None and not 0 < utilisation <= 1:
        raise UsageError(f"mfu {utilisation:g}: a share of the peak, in (0, 1], such as 0.4")
    if price is not None and not 0 <= price < float("inf"):
        raise UsageError(f"price {price:g}: 0 or more for an hour of one device")
    if optimizer not in STATES:
        raise unknown("optimizer", optimizer, STATES)
    if device not in get_args(Kernels):
        raise unknown("device", device, get_args(Kernels))
