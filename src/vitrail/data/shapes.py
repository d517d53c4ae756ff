"""How an image of the set `shapes` is drawn: a pure function of (seed, index, size).

One main object of one of six shapes lies on hazy, textured, tilted ground, with up to two lesser objects beside it.
The image's class is the shape of the main object, the largest by far: three times the area of any other. Shape is
drawn apart from everything else, so colour, size, place, angle, depth and company say nothing of the class; a model
that sees pixels one by one cannot tell the shapes.

- The main object covers 3 to 6.25 % of the image, all objects together 3 to 10 %; `larger` times as much where asked,
  for small models and few images. Then a lesser object that finds no free place is left out.
- Its centre is uniform over the square in which the largest object of any shape still lies whole.
- Its angle, uniform in [-90, 90) degrees, is that of its outline and of its shading, dark to light; so circles have
  an angle as well, and no two angles look the same.
- Depth is seen as haze: what is farther is paler. Ground lies 4 to 10 deep, tilted any way; objects 1 to 3.

Edges are anti-aliased by supersampling. NumPy only.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vitrail.contracts import Floats, Pixels
from vitrail.seeding import generator

CLASSES = ("circle", "cross", "ring", "square", "star", "triangle")

MOST_OBJECTS = 3
MAIN_AREA = (0.03, 0.0625)
"""Share of the image that the main object covers."""
LESSER = 0.3
"""Area of a lesser object, as a share of the main one's; 0.0625 * (1 + 2 * 0.3) is the 10 %."""

LARGEST = 4.0
"""Up to which any object may be larger than that and still lie whole in the image."""
TRIES = 200
"""Places that a lesser object tries; of objects that are not enlarged it finds one at once."""

_SUPERSAMPLE = 4
_RING_HOLE, _CROSS_ARM, _STAR_WAIST = 0.55, 1 / 3, 0.5
_AREA: Mapping[str, float] = {
    "circle": math.pi,
    "cross": 4 * (2 * _CROSS_ARM - _CROSS_ARM**2) / (1 + _CROSS_ARM**2),
    "ring": math.pi * (1 - _RING_HOLE**2),
    "square": 2.0,
    "star": 10 * _STAR_WAIST * math.sin(math.pi / 5) / 2,
    "triangle": 3 * math.sqrt(3) / 4,
}
"""Area of each shape in a circle of radius 1: every class is drawn with the same areas, hence different radii."""
_MARGIN = math.sqrt(MAIN_AREA[1] / min(_AREA.values()))
_HAZE = np.array([0.82, 0.85, 0.9], np.float32)
_HAZE_DEPTH = 9.0

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Shape:
    """One object. centre (x, y) and radius in shares of the image's side; area as a share of the image's."""

    kind: str
    centre: tuple[float, float]
    area: float
    angle: float
    depth: float
    colour: tuple[float, float, float]

    @property
    def radius(self) -> float:
        """Of the circle around it."""
        return math.sqrt(self.area / _AREA[self.kind])


@dataclass(frozen=True)
class Scene:
    """Everything that an image shows, the main object first."""

    shapes: tuple[Shape, ...]
    tilt: tuple[float, float]
    grey: float
    tint: tuple[float, float, float]
    waves: tuple[tuple[float, float, float], ...]
    noise: int

    @property
    def main(self) -> Shape:
        """The object that gives the image its class."""
        return self.shapes[0]


@lru_cache(maxsize=10_000)
def scene(seed: int, index: int, larger: float = 1.0) -> Scene:
    """What image `index` shows. The shape of the main object goes round the classes; the rest is drawn.

    larger: area of every object in multiples of what it is else, 1 to LARGEST. Scenes are kept: a source's targets are
    asked for again and again.
    """
    rng = generator("shapes", seed, index)
    area = larger * float(rng.uniform(*MAIN_AREA))
    kinds = [CLASSES[index % len(CLASSES)], *(str(kind) for kind in rng.choice(CLASSES, rng.integers(MOST_OBJECTS)))]
    placed: list[Shape] = []
    for number, kind in enumerate(kinds):
        share = area if number == 0 else LESSER * area
        margin = _MARGIN * math.sqrt(larger * (1 if number == 0 else LESSER))
        angle, depth = float(rng.uniform(-90, 90)), float(rng.uniform(1, 3))
        colour = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.7, 1), rng.uniform(0.55, 1))
        for _ in range(
            TRIES
        ):  # lesser objects look for a place that is free; the first place of the main one always is
            x, y = (float(v) for v in rng.uniform(margin, 1 - margin, 2))
            shape = Shape(kind, (x, y), share, angle, depth, colour)
            if all(math.dist(shape.centre, s.centre) > 1.05 * (shape.radius + s.radius) for s in placed):
                placed.append(shape)
                break
    heading = rng.uniform(0, 2 * math.pi)
    waves = tuple(
        (float(rng.uniform(2, 12)), float(rng.uniform(0, math.pi)), float(rng.uniform(0, 2 * math.pi)))
        for _ in range(3)
    )
    tint = tuple(float(v) for v in rng.uniform(-0.12, 0.12, 3))
    return Scene(
        shapes=tuple(placed),
        tilt=(math.cos(heading), math.sin(heading)),
        grey=float(rng.uniform(0.25, 0.6)),
        tint=(tint[0], tint[1], tint[2]),
        waves=waves,
        noise=int(rng.integers(2**32)),
    )


def draw(what: Scene, size: int) -> Pixels:
    """The image, (S, S, 3) uint8."""
    image = _haze(_ground(what, size), ground_depth(what, size))
    for shape in what.shapes:
        rows, columns = _window(shape, size)
        place = _samples(size)
        along, _ = _turned(shape, place[columns], place[rows], shape.radius)
        paint = np.asarray(shape.colour, np.float32) * (0.7 + 0.3 * np.clip(along, -1, 1))[..., None]
        paint = _haze(paint, np.full_like(along, shape.depth))
        image[rows, columns] += cover(shape, size)[rows, columns, None] * (paint - image[rows, columns])
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def ground_depth(what: Scene, size: int) -> Floats:
    """(S, S) depth of the ground: a plane from 4 to 10."""
    place = _samples(size) - 0.5
    plane: Any = what.tilt[0] * place[None, :] + what.tilt[1] * place[:, None]
    steepest = 0.5 * (abs(what.tilt[0]) + abs(what.tilt[1]))
    depth: Floats = (7 + 3 * plane / steepest).astype(np.float32)
    return depth


def cover(shape: Shape, size: int) -> Floats:
    """(S, S) share of each pixel that the object covers, from 4 x 4 samples in each pixel."""
    rows, columns = _window(shape, size)
    k = _SUPERSAMPLE
    place = _samples(size * k)
    across, down = place[columns.start * k : columns.stop * k], place[rows.start * k : rows.stop * k]
    inside = _inside(shape.kind, *_turned(shape, across, down, shape.radius))
    coverage = np.zeros((size, size), np.float32)
    pixels = inside.reshape(len(down) // k, k, len(across) // k, k)
    coverage[rows, columns] = pixels.mean(axis=(1, 3), dtype=np.float32)
    return coverage


def _window(shape: Shape, size: int) -> tuple[slice, slice]:
    """The rows and columns of pixels outside which the object covers nothing."""
    x, y = (centre * size for centre in shape.centre)
    reach = shape.radius * size
    return slice(math.floor(y - reach), math.ceil(y + reach)), slice(math.floor(x - reach), math.ceil(x + reach))


def _samples(count: int) -> Floats:
    """Centres of `count` equal steps from 0 to 1."""
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def _turned(shape: Shape, across: Floats, down: Floats, unit: float) -> tuple[Floats, Floats]:
    """Points (down x across) in the object's own frame: centred, turned, in units of `unit`."""
    dx, dy = (across[None, :] - shape.centre[0]) / unit, (down[:, None] - shape.centre[1]) / unit
    cos, sin = math.cos(math.radians(shape.angle)), math.sin(math.radians(shape.angle))
    return (cos * dx + sin * dy).astype(np.float32), (cos * dy - sin * dx).astype(np.float32)


def _inside(kind: str, u: Floats, v: Floats) -> Mask:
    """Whether points lie in a shape that the unit circle encloses; its first corner, if any, is at (1, 0)."""
    if kind == "circle":
        return u * u + v * v <= 1
    if kind == "ring":
        square = u * u + v * v
        return (square <= 1) & (square >= _RING_HOLE**2)
    if kind == "square":
        return np.abs(u) + np.abs(v) <= 1
    if kind == "cross":
        reach = 1 / math.hypot(1, _CROSS_ARM)
        near, far = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
        return (far <= reach) & (near <= reach * _CROSS_ARM)
    if kind == "triangle":
        return (u >= -0.5) & (u + math.sqrt(3) * np.abs(v) <= 1)
    assert kind == "star"
    # fold the plane into the sector from a tip (1, 0) to the waist beside it: there the edge is one straight line
    turn = np.arctan2(v, u)
    sector = 2 * math.pi / 5
    folded: Floats = np.abs((turn + sector / 2) % sector - sector / 2)
    away = np.hypot(u, v)
    x, y = away * np.cos(folded), away * np.sin(folded)
    waist_x, waist_y = _STAR_WAIST * math.cos(sector / 2), _STAR_WAIST * math.sin(sector / 2)
    inside: Mask = (x - 1) * waist_y - y * (waist_x - 1) <= 0
    return inside


def _ground(what: Scene, size: int) -> Floats:
    """(S, S, 3) textured ground before the haze: three gratings and grain."""
    place = _samples(size)
    texture = np.zeros((size, size), np.float32)
    for frequency, heading, phase in what.waves:
        across = 2 * math.pi * frequency * (math.cos(heading) * place[None, :] + math.sin(heading) * place[:, None])
        texture += np.sin(across + phase)
    grain = np.random.Generator(np.random.PCG64(what.noise)).standard_normal((size, size), np.float32)
    grey = what.grey + 0.07 * texture + 0.05 * grain
    ground: Floats = grey[..., None] + np.asarray(what.tint, np.float32)
    return ground


def _haze(colour: Floats, depth: Floats) -> Floats:
    """Koschmieder's law: what is seen through haze fades exponentially with depth."""
    clear = np.exp(-depth / _HAZE_DEPTH)[..., None]
    hazed: Floats = (colour * clear + _HAZE * (1 - clear)).astype(np.float32)
    return hazed
