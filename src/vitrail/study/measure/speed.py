"""How fast a model answers: one image at a time, from the array or from the file's bytes, and many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vitrail.contracts import Engine, Floats
from vitrail.cost.measure import settle
from vitrail.report.statistics import Doubles
from vitrail.seeding import generator
from vitrail.study.statistics.intervals import Interval, between

BATCHES = (1, 8, 32, 128)
"""Batch sizes that the most images a second are looked for among."""
WARM_UP = 3
"""Calls that are not timed: the first ones allocate memory and pick kernels."""
LEAST_CALLS, MOST_CALLS = 12, 1000
RESAMPLES = 1000


@dataclass(frozen=True)
class Latency:
    """Seconds from one image to its answer: the median and the 95th percentile of `calls`, with what chance among the
    calls could have made of them. It is this machine's, with the work it had besides.
    """

    p50: Interval
    p95: Interval
    calls: int


@dataclass(frozen=True)
class Rate:
    """images_per_s: at batches of so many."""

    batch: int
    images_per_s: float


@dataclass(frozen=True)
class Speed:
    """answer: from a prepared array to the raw output, at batch 1.  whole: from the file's bytes to the prediction,
    None where there were no bytes.  rates: at each batch size tried; `best` the fastest.  threads: of torch on a CPU.
    """

    device: str
    threads: int
    answer: Latency
    whole: Latency | None
    rates: tuple[Rate, ...]

    @property
    def best(self) -> Rate:
        """Of all batch sizes tried."""
        return max(self.rates, key=lambda rate: rate.images_per_s)


def speed(
    engine: Engine, image: Floats, device: str, seconds: float, whole: Sequence[Callable[[], Any]] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:  # fmt: skip
    """Time a model for about so many seconds, LEAST_CALLS at batch 1 at the least.

    image: (C, H, W), prepared.  whole: calls that each go from the bytes of an image to its answer.
    """
    shares = (0.3, 0.3, 0.4) if whole else (0.4, 0.0, 0.6)

    def once() -> None:
        engine(image[None])
        settle(device)

    answer = latency([once], seconds * shares[0], clock)
    from_bytes = latency(whole, seconds * shares[1], clock) if whole else None
    return Speed(
        device, torch.get_num_threads(), answer, from_bytes, _rates(engine, image, device, seconds * shares[2], clock)
    )


def latency(calls: Sequence[Callable[[], Any]], seconds: float, clock: Callable[[], float]) -> Latency:
    """Time the calls one after another, over and over: warmed up first, between LEAST_CALLS and MOST_CALLS in all."""
    for number in range(WARM_UP):
        calls[number % len(calls)]()
    taken: list[float] = []
    began = clock()
    while len(taken) < LEAST_CALLS or (len(taken) < MOST_CALLS and clock() - began < seconds):
        started = clock()
        calls[len(taken) % len(calls)]()
        taken.append(clock() - started)
    times = np.array(taken)
    drawn = generator("latency", len(times)).integers(len(times), size=(RESAMPLES, len(times)))
    return Latency(_quantile(times, times[drawn], 0.5), _quantile(times, times[drawn], 0.95), len(times))


def _quantile(times: Doubles, drawn: Doubles, share: float) -> Interval:
    return between(float(np.quantile(times, share)), np.quantile(drawn, share, axis=1))


def _rates(engine: Engine, image: Floats, device: str, seconds: float, clock: Callable[[], float]) -> tuple[Rate, ...]:
    """Of growing batches, until the time is over or twice a batch is no faster."""
    rates: list[Rate] = []
    end = clock() + seconds
    for batch in BATCHES:
        images = np.repeat(image[None], batch, axis=0)
        engine(images)
        settle(device)
        began, done = clock(), 0
        while not done or clock() - began < seconds / len(BATCHES):
            engine(images)
            settle(device)
            done += batch
        rates.append(Rate(batch, done / max(clock() - began, 1e-9)))
        slower = len(rates) > 1 and rates[-1].images_per_s < rates[-2].images_per_s
        if slower or clock() >= end:
            break
    return tuple(rates)
