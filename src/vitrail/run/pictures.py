"""The pictures of a report: single answers, images as the model sees them, explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageDraw

from vitrail.artifact import Artifact
from vitrail.contracts import Batch, Engine, Pixels
from vitrail.data.batched.store import ImageStore
from vitrail.data.loader import TrainLoader
from vitrail.data.mixing import MIX_GROUP, mix
from vitrail.data.order import Order
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import BadImage, UsageError
from vitrail.evaluate.evaluator import Evaluation
from vitrail.explain.explainer import explain
from vitrail.explain.explanation import Explanation
from vitrail.explain.overlay import as_rgb
from vitrail.explain.profile import Profile
from vitrail.explain.statistics import profile
from vitrail.explain.viewer.album import Album
from vitrail.explain.viewer.gaze import gaze, prepared
from vitrail.report.data import Gallery, Panel, Picture, Strip
from vitrail.report.section import Chosen, DenseSection, Section, fitted
from vitrail.run.prepare import Data
from vitrail.runtime.tiles import OVERLAP, starts
from vitrail.settings import Config
from vitrail.training.journal import Journal

SHOWN, DENSE = 12, 5
"""Pictures in a gallery of the report; of answers with a value per pixel, each is a strip of four."""
SEEN = 4
EXPLAINED = 8
LONG = 1.0
"""Seconds for one explanation, beyond which it is not made a second time to see how long it takes."""
SIDE = 512
"""Longest side of a picture that is kept until the page is written."""
OUTLINE = "#d55e00"


def explanations(
    artifact: Artifact, data: Data, results: Mapping[str, Evaluation], journal: Journal
) -> tuple[list[Explanation], str]:
    """Explanations of a few held-out images, the first of each class in turn, and why there are none if there are."""
    split = "test" if "test" in results else "val"
    if split not in results:
        return [], ""
    seen: dict[str, int] = {}
    order = []
    for index in data.indices(split):
        target = str(data.source.items[index].target) if artifact.task.name == "classify" else ""
        seen[target] = seen.get(target, 0) + 1
        order.append((seen[target], index))
    made = []
    for _, index in sorted(order)[:EXPLAINED]:
        item = data.source.items[index]
        try:
            pixels = data.source.read(index, artifact.preprocessor.channels)
            made.append(explain(artifact, pixels, item.key))
        except BadImage as error:
            journal.warn(f"not explained: {item.key}: {error.reason}")
        except UsageError as error:  # a model with no attention: one line, not one an image
            journal.say(f"no explanations: {error}")
            return [], str(error)
    return made, ""


def album(artifact: Artifact, explained: Sequence[Explanation]) -> Album:
    """The run's explain.html: the same explanations, with where every patch of their images looks."""
    made = Album()
    for explanation in explained:
        looked = None if made.full else gaze(artifact, explanation.image)
        made.add([explanation], looked, artifact.config.model.name)
    return made


def inside(artifact: Artifact, explained: Sequence[Explanation]) -> Profile | None:
    """What the model's attention and first weights are like on the whole, over the images that were explained."""
    shown = [prepared(artifact, explanation.image) for explanation in explained]
    return profile(artifact.model, torch.cat(shown)) if shown else None


def explaining(artifact: Artifact, data: Data, clock: Callable[[], float]) -> float:
    """How many seconds the explanations of a report will take, with their page and what the model is like inside.

    Those of one held-out image as often as there will be images, and the page's own; where that is quick, of its second
    time, since in the first much is loaded. 0 where the model cannot be explained.
    """
    indices = data.indices("test") if len(data.indices("test")) else data.indices("val")
    took = 0.0
    for index in [*indices[:1], *indices[:1]]:
        began = clock()
        try:
            pixels = data.source.read(index, artifact.preprocessor.channels)
            made = [explain(artifact, pixels, data.source.items[index].key)]
        except (BadImage, UsageError):
            return 0.0
        page = album(artifact, made)
        inside(artifact, made)
        image = clock() - began
        with TemporaryDirectory() as folder:
            page.write(Path(folder))
        written = clock() - began - image
        took = min(EXPLAINED, len(indices)) * image + written
        if image + written > LONG:
            break
    return took


def galleries(
    section: Section[Any], artifact: Artifact, engine: Engine, data: Data, result: Evaluation, view: Any,
    labels: Sequence[str],
) -> list[Gallery]:  # fmt: skip
    """The answers that the section chooses, with its words; those with a value per pixel are drawn beside the truth."""
    made = []
    for chosen in section.chosen(view, DENSE if section.dense else SHOWN):
        if section.dense:
            own = cast(DenseSection[Any], section)
            strips = _strips(own, artifact, engine, data, result, view, labels, chosen)
            gallery = Gallery(chosen.title, chosen.note, strips=strips)
        else:
            gallery = Gallery(chosen.title, chosen.note, _plain(section, data, result, view, labels, chosen))
        if gallery.pictures or gallery.strips:
            made.append(gallery)
    return made


def _plain(
    section: Section[Any], data: Data, result: Evaluation, view: Any, labels: Sequence[str], chosen: Chosen
) -> list[Picture]:
    made = []
    for row in chosen.rows:
        try:
            pixels = data.source.read(int(result.indices[row]), 3)
        except BadImage:
            continue  # it was readable when it was scored; the report is not worth failing for
        picture = fitted(Image.fromarray(pixels), SIDE)
        made.append(Picture(section.title(labels, view, row), result.keys[row], picture))
    return made


def _strips(
    section: DenseSection[Any], artifact: Artifact, engine: Engine, data: Data, result: Evaluation, view: Any,
    labels: Sequence[str], chosen: Chosen,
) -> list[Strip]:  # fmt: skip
    """The model is asked again: an evaluation keeps no maps."""
    made = []
    task, preprocessor = artifact.task, artifact.preprocessor
    for row in chosen.rows:
        index = int(result.indices[row])
        try:
            pixels = data.source.read(index, preprocessor.channels)
            truth = task.encode(data.source.items[index].target)
        except BadImage:
            continue  # as above
        spread = partial(preprocessor.to_image, size=pixels.shape[:2])
        (said,) = task.decode(engine(preprocessor(pixels)[None]), [result.keys[row]], [spread])
        panels = [Panel("image", as_rgb(pixels)), *section.panels(task, view, pixels, truth, said)]
        small = [Panel(panel.words, fitted(panel.image, SIDE)) for panel in panels]
        made.append(Strip(section.title(labels, view, row), result.keys[row], small))
    return made


def as_seen(section: Section[Any], artifact: Artifact, config: Config, data: Data, view: Any) -> Gallery:
    """The first images of training as they entered the model in step 1, and the same when nothing is random."""
    task, preprocessor = artifact.task, artifact.preprocessor
    batch = _first_batch(config, data, task)
    strips: list[Strip] = []
    for row in range(len(batch.keys)):
        if len(strips) == SEEN or not batch.weights[row] > 0:
            continue
        index = int(batch.indices[row])
        pixels = data.source.read(index, preprocessor.channels)
        shown = denormalised(preprocessor, batch.images[row].numpy())
        panels = [_outlined(preprocessor, pixels), Panel("in training", as_rgb(shown))]
        if section.dense:
            own = cast(DenseSection[Any], section)
            panels.append(own.target(task, view, shown, batch.targets[row].numpy()))
        if preprocessor.windows is None:
            panels.append(Panel("when evaluated", as_rgb(preprocessor.fit(pixels))))
        small = [Panel(panel.words, fitted(panel.image, SIDE)) for panel in panels]
        strips.append(Strip("", batch.keys[row], small))
    words = "The first training images, just as they entered the model in step 1"
    mixed = ", some of them mixed with another" if batch.mixing is not None else ""
    return Gallery("What the model sees", f"{words}{mixed}.", strips=strips)


def _first_batch(config: Config, data: Data, task: Any) -> Batch:
    """The first group of images of step 1, augmented and mixed as it was then."""
    count = min(MIX_GROUP, config.train.batch_size // config.train.accumulate)
    few = config.model_copy(
        update={
            "train": config.train.model_copy(update={"batch_size": count, "accumulate": 1}),
            # what is augmented in batches has other draws, and is kept to be: all of it is read again
            "data": config.data.model_copy(update={"workers": 0, **({} if config.data.batched else {"cache_mb": 0})}),
        }
    )
    store = None
    if config.data.batched:  # of these alone, not of the whole split
        order = Order(config.data_seed, len(data.split.train), config.augment.repeats)
        first = np.asarray(data.split.train)[order.samples(np.arange(count))]
        store = ImageStore(data.source, first, task, config, "cpu")
    with TrainLoader(data.source, data.split.train, task, few, 0, count, store=store) as loader:
        (batch,) = loader
    return mix(batch, config.augment, config.data_seed, 0)


def denormalised(preprocessor: Preprocessor, image: np.ndarray[Any, Any]) -> Pixels:
    """(C, H, W), normalised -> (H, W, C) uint8."""
    mean, std = (np.asarray(values, np.float64).reshape(-1, 1, 1) for values in (preprocessor.mean, preprocessor.std))
    return np.ascontiguousarray(np.rint(255 * np.clip(image * std + mean, 0, 1)).astype(np.uint8).transpose(1, 2, 0))


def _outlined(preprocessor: Preprocessor, pixels: Pixels) -> Panel:
    """The image with outlines of what is seen of it: the part that is cut out, or the windows."""
    height, width = pixels.shape[:2]
    boxes: list[tuple[float, ...]] = []
    words = "the image"
    if preprocessor.resize == "crop":
        box = preprocessor.geometry(height, width).box
        boxes = [box] if box != (0, 0, width, height) else []
        words += ", and what is cut out" if boxes else ""
    elif preprocessor.windows is not None:
        tall, wide = preprocessor.windows
        rows, columns = (starts(max(side, of), of, OVERLAP) for side, of in ((height, tall), (width, wide)))
        boxes = [(left, top, left + wide, top + tall) for top in rows for left in columns]
        words += f", and its {len(boxes)} windows" if len(boxes) > 1 else ", seen in one window"
    picture = fitted(as_rgb(pixels), SIDE)
    if boxes and max(picture.size) < SIDE // 4:  # lines as wide as a pixel would hide what they are around
        picture = picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST)
    scale, pen = picture.width / width, ImageDraw.Draw(picture)
    for number, (left, top, right, bottom) in enumerate(boxes):
        inset = 2 * (number % 3)  # so that edges that lie on one another can be told apart
        corners = [scale * left + inset, scale * top + inset, scale * right - 1 - inset, scale * bottom - 1 - inset]
        pen.rectangle(corners, outline=OUTLINE, width=max(1, picture.width // 160))
    return Panel(words, picture)
