"""How fast a loop is on this machine, measured on one that is thrown away: what a time limit is fitted to."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch

from vitrail.contracts import Batch
from vitrail.data.loader import EvalLoader
from vitrail.training.loop import Loop

WARM_UP = {"cuda": 5}
"""Updates before those that are timed, by device: kernels are chosen and loaded in them. Elsewhere one."""
WARM_IMAGES = 4
"""Validation images that are gone over before any are timed."""
PREFETCHED = 2
"""Batches that each worker has read ahead (torch's DataLoader): those are used up before anything is timed."""
READ = 4
"""Updates whose images are read twice, to tell reading from finding them kept."""
SPIN = 0.1
"""Seconds of computing that show how busy the machine is."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Speed:
    """Seconds that parts of a run take.

    startup: until the first batch is there, each time training begins.  image: a training image, with all that is done
    to it, once images that are kept are kept; first: what reading one for the first time adds.  evaluation,
    first_evaluation: the same of a validation image.  writing: a checkpoint and a model folder.  load: how often longer
    than its own computing one thread takes, since other processes want the cores; 1 where none do.
    """

    startup: float
    image: float
    first: float
    evaluation: float
    first_evaluation: float
    writing: float
    load: float


def measure(
    loop: Loop, validation: Callable[[int], EvalLoader], images: int, seconds: float, clock: Clock = time.monotonic
) -> Speed:
    """Time a throwaway `loop`, which learns and writes into its own folder meanwhile, for about `seconds`.

    validation: a loader of the first so many of the `images` to be validated on. At least two updates are made,
    however long they take. Raises what training raises.
    """
    with torch.random.fork_rng():
        ahead = loop.config.data.workers > 0 or loop.config.data.batched
        first = 0.0 if ahead else _reading(loop, 0.15 * seconds, clock)
        startup, image = _updates(loop, 0.6 * seconds, ahead, clock)
        loop.validation = validation(max(1, min(images, WARM_IMAGES)))
        loop.evaluate()  # metrics are loaded and kernels chosen in it: once, and not image by image
        # a validation image costs about a third of a training one, and is gone over twice
        loop.validation = validation(max(1, min(images, max(64, int(0.2 * seconds / (0.7 * image))))))
        before, again = _evaluations(loop, clock)
        began = clock()
        loop.save()
        loop.keep("best", loop.average.model, {}, loop.task)
        writing = clock() - began
    return Speed(startup, image, first, min(before, again), max(0.0, before - again), writing, machine_load(clock))


def _reading(loop: Loop, seconds: float, clock: Clock) -> float:
    """What reading a training image takes beyond finding it kept."""
    took: list[tuple[float, int]] = []
    for _ in range(2):
        began, read = clock(), 0
        with loop.make_batches(0, READ * loop.config.train.batch_size) as batches:
            for batch in batches:
                read += len(batch.keys)
                if not took and clock() - began > seconds:
                    break
                if took and read >= took[0][1]:
                    break
        took.append(((clock() - began) / read, read))
    return max(0.0, took[0][0] - took[1][0])


def _updates(loop: Loop, seconds: float, ahead: bool, clock: Clock) -> tuple[float, float]:
    """Seconds until the first batch, and of each training image once things run."""
    size, parts = loop.config.train.batch_size, loop.config.train.accumulate
    began = clock()
    stream = _endless(loop, (1 << 20) if ahead else READ)
    batches = [next(stream) for _ in range(parts)]
    startup = clock() - began
    pending = loop.update(batches)
    for _ in range(max(WARM_UP.get(loop.device, 1), PREFETCHED * loop.config.data.workers) - 1):
        pending = loop.update([next(stream) for _ in range(parts)])
    pending.read()
    _settle(loop.device)
    began, done = clock(), 0
    while not done or clock() - began < seconds:
        before, pending = pending, loop.update([next(stream) for _ in range(parts)])
        before.read()  # as in training: the host is one update ahead of the device, no more
        done += 1
    _settle(loop.device)
    took = clock() - began
    stream.close()
    return startup, took / (done * size)


def _endless(loop: Loop, steps: int) -> Generator[Batch, None, None]:
    """The batches of the first so many updates, again and again."""
    while True:
        with loop.make_batches(0, steps * loop.config.train.batch_size) as batches:
            yield from batches


def _evaluations(loop: Loop, clock: Clock) -> tuple[float, float]:
    """Seconds per image of a first evaluation and of a second."""
    took = []
    for _ in range(2):
        began = clock()
        result = loop.evaluate()
        took.append((clock() - began) / max(1, len(result.keys)))
    return took[0], took[1]


def machine_load(clock: Clock = time.monotonic) -> float:
    """Wall time over computing time of a thread that does nothing but compute."""
    began, computing = clock(), time.thread_time()
    while time.thread_time() - computing < SPIN:
        pass
    return max(1.0, (clock() - began) / SPIN)


def _settle(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
