"""What a finished run is like beside its score: speed, memory, size, energy, robustness, calibration."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from vitrail.artifact import Artifact, load
from vitrail.contracts import Engine, FileSource, Source
from vitrail.cost.count import gmacs, parameters
from vitrail.cost.measure import settle
from vitrail.data import image
from vitrail.errors import BadImage, DataError
from vitrail.report.study_tables import plain
from vitrail.run.folder import Run
from vitrail.run.trust import drawn, held_out
from vitrail.runtime.torch_engine import make_engine, pick_device
from vitrail.study.measure.calibration import Calibration, calibration
from vitrail.study.measure.energy import Energy, energy
from vitrail.study.measure.memory import Memory, memory
from vitrail.study.measure.records import restored
from vitrail.study.measure.robustness import Robustness, Subject, robustness
from vitrail.study.measure.speed import Speed, speed

SPEED_SHARE, MOST_SPEED = 0.3, 30.0
"""Of the seconds given, and in all: percentiles of more calls hardly move."""
ENERGY_SHARE, MOST_ENERGY = 0.1, 10.0
TIMED_IMAGES = 8
"""Images whose bytes are turned into answers, in turn."""
LEAST_ROBUST = 32
"""Images that robustness is measured on however little time is left."""
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Measured:
    """A run beside its score. parameters: of its model.  gmacs: of one image.  disk: bytes of its weights.
    seconds: that measuring took.

    calibration, robustness: None where `uncalibrated`, `fragile` say why.
    """

    model: str
    device: str
    parameters: int
    gmacs: float
    disk: int
    speed: Speed
    memory: Memory
    energy: Energy
    calibration: Calibration | None
    uncalibrated: str
    robustness: Robustness | None
    fragile: str
    seconds: float

    def record(self) -> dict[str, Any]:
        """For JSON; `Measured.of` reads it back."""
        record: dict[str, Any] = plain(self)
        return record

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Measured:
        """What `record` gave. Raises KeyError or TypeError for anything else."""
        return restored(cls, record)


def measure(
    run: Run, seconds: float, device: str = "auto", robust_images: int | None = None, source: Source | None = None
) -> Measured:
    """Measure a finished run for about so many seconds, on its test split, or on val where there is none.

    robust_images: images that robustness is measured on, whatever time that takes, so that models of a study are
    measured on the same ones; None for as many as there is time for, the first of the same order.  source: the data,
    where they came from Python.

    A new process with PyTorch (some seconds) measures the memory, and robustness takes some images at the least, so
    that few seconds may become more. Raises what loading the run and opening its data does.
    """
    began = time.monotonic()
    chosen = pick_device(device)
    artifact = load(run.folder, chosen)
    preprocessor = artifact.preprocessor
    engine = make_engine(artifact.model, chosen, preprocessor.windows)
    own, indices, split = held_out(artifact, run.folder, artifact.config.data.source, source)
    fast, joules = _timed(artifact, engine, own, drawn(indices, min(TIMED_IMAGES, len(indices))), chosen, seconds)
    peaks = memory(artifact.folder, chosen, (1, fast.best.batch), fast.threads if chosen == "cpu" else 0)
    calibrated, uncalibrated = calibration(run, artifact.task.name, split)
    subject = Subject(engine, artifact.task, preprocessor, own, split)
    if robust_images is None:
        robust_images = _affordable(subject, drawn(indices, 1), began + seconds - time.monotonic())
    robust = robustness(subject, drawn(indices, min(robust_images, len(indices))))
    return Measured(
        model=artifact.config.model.name,
        device=chosen,
        parameters=parameters(artifact.model),
        gmacs=gmacs(artifact.model, preprocessor.size, preprocessor.channels),
        disk=(artifact.folder / WEIGHTS).stat().st_size,
        speed=fast,
        memory=peaks,
        energy=joules,
        calibration=calibrated,
        uncalibrated=uncalibrated,
        robustness=robust,
        fragile="" if robust else f"not measured: no {split} image could be read",
        seconds=round(time.monotonic() - began, 2),
    )


def _timed(
    artifact: Artifact, engine: Engine, source: Source, indices: Sequence[int], device: str, seconds: float
) -> tuple[Speed, Energy]:
    """Speed and energy on the first images that can be read; DataError where none can."""
    channels, most = artifact.preprocessor.channels, artifact.config.data.max_pixels
    stored: list[bytes] = []
    for index in indices:
        try:
            raw = _bytes(source, index, channels)
            image.decode(raw, channels, most)
            stored.append(raw)
        except BadImage:
            continue
    if not stored:
        raise DataError(f"no image of {source.location} could be read to time the model on")

    def answer(raw: bytes) -> None:
        prepared = artifact.preprocessor(image.decode(raw, channels, most))
        artifact.task.decode(engine(prepared[None]), ["timed"])

    first = artifact.preprocessor(image.decode(stored[0], channels, most))
    whole = [partial(answer, raw) for raw in stored]
    fast = speed(engine, first, device, min(MOST_SPEED, SPEED_SHARE * seconds), whole)
    many = np.repeat(first[None], fast.best.batch, axis=0)

    def work() -> int:
        engine(many)
        settle(device)
        return len(many)

    return fast, energy(work, device, min(MOST_ENERGY, ENERGY_SHARE * seconds))


def _bytes(source: Source, index: int, channels: int) -> bytes:
    """An image as a file holds it: its own, or as PNG where it is no file."""
    if isinstance(source, FileSource):
        return image.read_bytes(source.path(index))
    pixels = source.read(index, channels)
    raw = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(raw, "PNG")
    return raw.getvalue()


def _affordable(subject: Subject, one: Sequence[int], left: float) -> int:
    """How many images robustness can be measured on in what is left, at the speed of one; LEAST_ROBUST at the least."""
    robustness(subject, one)  # the first one also fills caches
    began = time.monotonic()
    robustness(subject, one)
    return max(LEAST_ROBUST, int(left / max(time.monotonic() - began, 1e-4)))
