"""One model, measured: how far its heads look and its cells see, trained and with fresh weights, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Backbone
from vitrail.cost.count import parameters
from vitrail.explain.explainable import Explainable, cell_side, unseen
from vitrail.explain.profile import even_distance
from vitrail.explain.statistics import reach
from vitrail.report.statistics import Doubles
from vitrail.report.study_tables import plain
from vitrail.study.measure.records import restored
from vitrail.study.reach.field import Size, block_maps, even_radius, fields, sized
from vitrail.study.reach.theory import sides, supports
from vitrail.study.statistics.intervals import Interval, over_images
from vitrail.study.subjects import State, Subject


@dataclass(frozen=True)
class Looks:
    """How far the heads of one layer look. heads: pixels, each the mean over images and seeds.  mean: over all heads.

    windows: in how many the grid is cut.  allowed: how far attention would look that is spread evenly over all a query
    may look at, pixels; the whole image where there are no windows.
    """

    heads: tuple[float, ...]
    mean: Interval
    windows: int
    allowed: float


@dataclass(frozen=True)
class Sees:
    """The field of the central cell after one layer. even: what `half` would be of a field spread over all the image.

    whole: share of the image's pixels that can count at all.  box: height and width of what holds those, pixels.
    """

    stage: int
    grid: tuple[int, int]
    size: Size
    even: float
    whole: float
    box: tuple[int, int]


@dataclass(frozen=True)
class StateFound:
    """One state of a model. looks: of the layers that attend.  sees: of all layers."""

    name: str
    seeds: int
    looks: tuple[Looks, ...]
    sees: tuple[Sees, ...]


@dataclass(frozen=True)
class Found:
    """A measured model. model: of the catalogue.  size: (H, W) of its images.  even: how far attention would look that
    is spread evenly over the image.  lack: why its attention is not seen, "" where it is.  images: keys.
    """

    name: str
    model: str
    family: str
    parameters: int
    where: str
    size: tuple[int, int]
    images: tuple[str, ...]
    even: float
    lack: str
    states: tuple[StateFound, ...]

    def record(self) -> dict[str, Any]:
        """For JSON; `of` reads it."""
        told: dict[str, Any] = plain(self)
        return told

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Found:
        """What `record` wrote."""
        return restored(cls, record)


def measure(
    subject: Subject, family: str, shown: Sequence[tuple[str, Tensor]], seeds: int, device: str
) -> tuple[Found, dict[str, Doubles]]:
    """Measure a model in each state on images, key and (C, H, W) as it takes them.

    Returns also the mean fields (H, W) to be drawn, by state and layer: "trained 1", ... The model is not touched.
    """
    images = torch.stack([image for _, image in shown]).to(device)
    names: dict[str, list[State]] = {}
    for state in subject.states(seeds):
        if state.placed:
            names.setdefault(state.name, []).append(state)
    pictures: dict[str, Doubles] = {}
    states = []
    masks = supports(subject.model(next(iter(names.values()))[0], "cpu"))
    sketch = subject.sketch()
    lack = unseen(sketch)
    for name, alike in names.items():
        looks: list[list[Doubles]] = []
        seen: list[Doubles] = []
        for state in alike:
            model = subject.model(state, device)
            if not lack:
                looks.append(_distances(model, images))
            places, maps = block_maps(model)
            seen.append(fields(maps, images))
        whole = np.mean(seen, axis=0)  # (L, B, H, W): an image's field is the mean over seeds
        states.append(StateFound(name, len(alike), _looks(model, images, looks), _sees(model, whole, masks)))
        for layer in shown_layers(len(places)):
            pictures[f"{name} {layer + 1}"] = _mean(whole[layer]).astype(np.float32)
    first = cast(Backbone, sketch.backbone).stages()[0].grid
    found = Found(
        subject.name, subject.config.model.name, family, parameters(sketch), subject.where,
        (images.shape[2], images.shape[3]), tuple(key for key, _ in shown),
        even_distance(first, (images.shape[2], images.shape[3])), lack, tuple(states),
    )  # fmt: skip
    return found, pictures


def shown_layers(count: int) -> list[int]:
    """The first layer, and the last of the first half and of all."""
    last = count - 1
    return sorted({0, last // 2, last})


def _mean(found: Doubles) -> Doubles:
    known = found[~np.isnan(found).any(axis=(1, 2))]
    mean: Doubles = known.mean(axis=0) if len(known) else np.zeros(found.shape[1:])
    return mean


def _distances(model: Explainable, images: Tensor) -> list[Doubles]:
    """Of each layer (B, A): the mean distance of each head, image by image."""
    each = [[layer.distance for layer in reach(model, images[n : n + 1])] for n in range(len(images))]
    return [np.stack(layer) for layer in zip(*each, strict=True)]


def _looks(model: Explainable, images: Tensor, found: Sequence[Sequence[Doubles]]) -> tuple[Looks, ...]:
    if not found:
        return ()
    layers = reach(model, images[:1])
    size = (images.shape[2], images.shape[3])
    made = []
    for number, layer in enumerate(layers):
        distances = np.mean([seed[number] for seed in found], axis=0)  # (B, A)
        side = cell_side(model, layer.grid)
        window = round((layer.keys) ** 0.5) if layer.windows > 1 else 0
        allowed = (
            even_distance((window, window), (window * side, window * side))
            if window
            else even_distance(layer.grid, size)
        )
        made.append(
            Looks(
                tuple(map(float, distances.mean(axis=0))), over_images(distances.mean(axis=1)), layer.windows, allowed
            )
        )
    return tuple(made)


def _sees(model: Explainable, found: Doubles, masks: Sequence[Any]) -> tuple[Sees, ...]:
    stages = cast(Backbone, model.backbone).stages()
    staged = [(number, stage.grid) for number, stage in enumerate(stages) for _ in stage.blocks]
    size = (found.shape[2], found.shape[3])
    return tuple(
        Sees(stage + 1, grid, sized(field, grid), even_radius(grid, size, 0.5), float(mask.mean()), sides(mask))
        for (stage, grid), field, mask in zip(staged, found, masks, strict=True)
    )
