"""From inputs to predictions, in the order given, failures included. No torch is loaded before a model is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps

from vitrail.contracts import Backbone, Engine, Failure, Floats, Pixels, Prediction
from vitrail.data import image
from vitrail.data.dataset import as_pixels
from vitrail.data.pixels import with_channels
from vitrail.errors import BadImage, DataError

if TYPE_CHECKING:
    from vitrail.artifact import Artifact
    from vitrail.explain.explanation import Explanation

    Input = str | Path | Image.Image | np.ndarray[Any, Any] | Failure

Ready = tuple[Floats, tuple[int, int]]
"""An image as the model takes it, (C, H, W), and the (height, width) it has itself."""

READERS = 4
"""Threads that decode; the decoders leave Python's lock while they do."""


def load(path: str | Path, device: str = "auto", backbone: Backbone | None = None) -> Predictor:
    """The predictor of a run folder (its best model) or of a model folder.

    backbone: one like that it was trained with, where that came from Python; it is given the weights.

    Raises UsageError where there is no model or no such device, IntegrityError where the model was damaged.
    """
    from vitrail.artifact import load as load_artifact
    from vitrail.runtime.torch_engine import make_engine, pick_device

    chosen = pick_device(device)
    artifact = load_artifact(path, chosen, backbone)
    engine = make_engine(artifact.model, chosen, artifact.preprocessor.windows)
    return Predictor(artifact, engine, overlap=chosen != "cpu")


class Predictor:
    """A trained model that answers for images.

    artifact: what was loaded.  overlap: read the next batch while the engine works; on a CPU the two would only be in
    each other's way.

    An input is a path, a PIL image (its EXIF orientation is obeyed), or an array (H, W) or (H, W, C), uint8 or floats
    in [0, 1].
    """

    def __init__(self, artifact: Artifact, engine: Engine, overlap: bool = False) -> None:
        self.artifact = artifact
        self.engine = engine
        self.overlap = overlap

    @property
    def columns(self) -> tuple[str, ...]:
        """The task's columns, after path, status and reason."""
        return self.artifact.task.columns

    def predict(self, sources: Input | Sequence[Input], batch_size: int = 32) -> list[Prediction]:
        """One Prediction per input, in order; one that cannot be read has status "failed" and a reason."""
        if isinstance(sources, (str, Path, np.ndarray)) or not isinstance(sources, Sequence):
            sources = [sources]
        return list(self.stream(sources, batch_size))

    def stream(self, sources: Iterable[Input], batch_size: int = 32) -> Iterator[Prediction]:
        """The same, as it is made: inputs are taken a batch at a time, with `overlap` a batch ahead."""
        numbered = iter(enumerate(sources))
        if self.artifact.preprocessor.windows:
            batch_size = 1  # images keep their sizes, so no two need fit in one batch
        with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), "vitrail-read") as pool:

            def begin() -> list[tuple[str, Future[Ready]]]:
                taken = itertools.islice(numbered, batch_size)
                return [(_name(number, source), pool.submit(self._ready, source)) for number, source in taken]

            batch = begin()
            while batch:
                ahead = begin() if self.overlap else []
                yield from self._answer(batch)
                batch = ahead if self.overlap else begin()

    def explain(
        self,
        source: Input,
        method: str | None = None,
        target: str | int | None = None,
        *,
        against: str | int | None = None,
        region: np.ndarray[Any, np.dtype[np.bool_]] | Literal["answer"] | None = None,
        reader: str | None = None,
        cell: tuple[int, int] | None = None,
        layer: int | None = None,
        head: int | None = None,
    ) -> Explanation:
        """What the model looked at, by `method`; None is the default of the model's family.

        target: an output (class, label, number, map) by name or place, None for the largest.  against: another, for why
        this and not that.  region: of a model that answers for every pixel, where, (height, width) bool over the image,
        or "answer" for where the target is the answer.  reader: the token to read from, "cls" or "dist".  cell: (row,
        column) of the last grid of patches, whose gaze is shown instead of the answer's.  layer, head: which, where the
        method has them.
        Raises DataError for an input that cannot be read, UsageError for what the method or the model does not have.
        """
        from vitrail.explain.explainer import explain

        try:
            pixels = self.read(source)
        except BadImage as error:
            raise DataError(f"{_name(0, source)}: {error.reason}") from None
        return explain(
            self.artifact, pixels, _name(0, source), method=method, target=target, against=against, region=region,
            reader=reader, cell=cell, layer=layer, head=head,
        )  # fmt: skip

    def read(self, source: Input) -> Pixels:
        """The pixels of an input, (H, W, C) uint8, upright; raises BadImage."""
        channels = self.artifact.preprocessor.channels
        if isinstance(source, Failure):
            raise BadImage(source.reason)
        if isinstance(source, (str, Path)):
            return image.read(Path(source), channels, self.artifact.config.data.max_pixels)
        if isinstance(source, Image.Image):
            source = ImageOps.exif_transpose(source)
        return with_channels(as_pixels(source), channels)

    def prepare(self, source: Input) -> Floats:
        """An input as the model takes it, (C, H, W) float32; raises BadImage."""
        return self.artifact.preprocessor(self.read(source))

    def _ready(self, source: Input) -> Ready:
        pixels = self.read(source)
        height, width = pixels.shape[:2]
        return self.artifact.preprocessor(pixels), (height, width)

    def _answer(self, batch: Sequence[tuple[str, Future[Ready]]]) -> Iterator[Prediction]:
        """Predictions of one batch: those that could be read through the model together, the rest as failures."""
        ready: dict[int, Ready] = {}
        reasons: dict[int, str] = {}
        for place, (_, future) in enumerate(batch):
            try:
                ready[place] = future.result()
            except BadImage as error:
                reasons[place] = error.reason
        answers: Iterator[Prediction] = iter(())
        if ready:
            outputs = self.engine(np.stack([array for array, _ in ready.values()]))
            spread = [partial(self.artifact.preprocessor.to_image, size=size) for _, size in ready.values()]
            answers = iter(self.artifact.task.decode(outputs, [batch[place][0] for place in ready], spread))
        for place, (name, _) in enumerate(batch):
            yield next(answers) if place in ready else Prediction(name, "failed", reasons[place])


def _name(number: int, source: Input) -> str:
    if isinstance(source, Failure):
        return source.key
    return str(source) if isinstance(source, (str, Path)) else f"image {number}"
