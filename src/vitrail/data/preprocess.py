"""From decoded pixels to a model's input when nothing is random: NumPy and Pillow, the same everywhere.

The resampling is Pillow's, anti-aliased, and the geometry of "crop" is that of torchvision's Resize and CenterCrop on
PIL images, so published weights see what they were measured with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError, model_validator

from vitrail.contracts import Floats, Pixels
from vitrail.errors import UsageError
from vitrail.settings import Config, Positive, Strict

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Values = np.ndarray[Any, Any]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Geometry:
    """Where an image's pixels stand in the model's: the rectangle `box` is stretched onto the rectangle `place`.

    Both are (left, top, right, bottom); box in the image's pixels, place in the model's.
    """

    box: tuple[float, float, float, float]
    place: tuple[int, int, int, int]


class Preprocessor(Strict):
    """Resize, crop or pad, scale and normalise. Callable: (h, w, C) uint8 -> (C, H, W) float32.

    size: (H, W).  resize: "crop" scales so that the size over crop_fraction is just covered, and cuts its centre;
    "squash" stretches; "letterbox" fits the whole image in and pads it with the mean colour; "tile" leaves every pixel
    as it is, and pads an image that is smaller than the size: (H, W) is then that of the windows to look through.
    mean, std: one value per channel or one for all, on pixels scaled to [0, 1]. An image that has the right size is not
    resampled.
    """

    size: tuple[Positive, Positive]
    channels: Positive = 3
    resize: Literal["crop", "squash", "letterbox", "tile"] = "crop"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (0.5,)

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Preprocessor:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        return self

    @classmethod
    def from_config(cls, config: Config) -> Preprocessor:
        """The preprocessing that a run's config describes; raises UsageError where it cannot be."""
        side = config.model.image_size
        try:
            return cls(size=(side, side), channels=config.data.channels, **config.preprocess.model_dump())
        except ValidationError as error:
            raise UsageError(f"preprocess: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None

    def __call__(self, pixels: Pixels) -> Floats:
        """(h, w, C) uint8 -> (C, H, W) float32, normalised."""
        return self.normalise(self.fit(pixels))

    def fit(self, pixels: Pixels) -> Pixels:
        """(h, w, C) uint8 -> (H, W, C) uint8, or larger with "tile" (see `canvas`): the geometry alone."""
        assert pixels.ndim == 3
        assert pixels.shape[2] == self.channels
        geometry = self.geometry(*pixels.shape[:2])
        left, top, right, bottom = geometry.place
        fitted = resample(pixels, geometry.box, (bottom - top, right - left), self.interpolation)
        whole = self.canvas(*pixels.shape[:2])
        if fitted.shape[:2] == whole:
            return fitted
        canvas = np.empty((*whole, self.channels), np.uint8)
        canvas[:] = self.mean_colour
        canvas[top:bottom, left:right] = fitted
        return canvas

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """The (H, W) that an image of (height, width) becomes: the size, but with "tile" no less than the image."""
        return (max(self.size[0], height), max(self.size[1], width)) if self.resize == "tile" else self.size

    @property
    def windows(self) -> tuple[int, int] | None:
        """(H, W) of the windows that an image is looked at through, None where it is looked at whole."""
        return self.size if self.resize == "tile" else None

    def fit_values(self, values: Values, blank: Values) -> Values:
        """A map (..., h, w) over an image's pixels -> (..., H, W) over the model's, by the geometry of its image.

        blank: what stands where the model has no pixel of the image, (..., H, W). No value is invented: each pixel
        takes that of the image's pixel under its centre.
        """
        geometry = self.geometry(*values.shape[-2:])
        (left, top, right, bottom), place = geometry.box, geometry.place
        rows = _under(top, bottom, place[3] - place[1], values.shape[-2])
        columns = _under(left, right, place[2] - place[0], values.shape[-1])
        fitted = values[..., rows[:, None], columns[None, :]]
        if fitted.shape[-2:] == blank.shape[-2:]:
            return fitted
        whole = blank.astype(fitted.dtype, copy=True)
        whole[..., place[1] : place[3], place[0] : place[2]] = fitted
        return whole

    def normalise(self, pixels: Pixels) -> Floats:
        """(H, W, C) uint8 -> (C, H, W) float32: (pixels / 255 - mean) / std."""
        scale, shift = self.scale_and_shift()
        return np.ascontiguousarray((pixels * scale + shift).transpose(2, 0, 1))

    def scale_and_shift(self) -> tuple[Floats, Floats]:
        """What pixels are multiplied by and what is then added to normalise them, per channel or one for all."""
        mean, std = (np.asarray(v, np.float64) for v in (self.mean, self.std))
        # one multiplication and one addition per pixel: scale and shift are rounded to float32 once
        return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    @property
    def mean_colour(self) -> tuple[int, ...]:
        """The pixel value nearest to the mean, one per channel."""
        values = np.clip(np.rint(np.asarray(self.mean) * 255), 0, 255).astype(int)
        return tuple(int(v) for v in np.broadcast_to(values, self.channels))

    def geometry(self, height: int, width: int) -> Geometry:
        """Which part of an image of (height, width) goes where."""
        out_height, out_width = self.size
        whole = (0.0, 0.0, float(width), float(height))
        if self.resize == "tile":
            return Geometry(whole, (0, 0, width, height))
        if self.resize == "squash":
            return Geometry(whole, (0, 0, out_width, out_height))
        if self.resize == "letterbox":
            scale = min(out_height / height, out_width / width)
            inner_height = min(out_height, max(1, round(height * scale)))
            inner_width = min(out_width, max(1, round(width * scale)))
            top, left = (out_height - inner_height) // 2, (out_width - inner_width) // 2
            return Geometry(whole, (left, top, left + inner_width, top + inner_height))
        full_height, full_width = self._covering(height, width)
        left, top = round((full_width - out_width) / 2), round((full_height - out_height) / 2)
        across, down = width / full_width, height / full_height
        right, bottom = min(width, (left + out_width) * across), min(height, (top + out_height) * down)
        return Geometry((left * across, top * down, right, bottom), (0, 0, out_width, out_height))

    def to_image(self, values: Floats, size: tuple[int, int]) -> Floats:
        """A map (H, W) over the model's pixels -> (height, width) over the image's, NaN outside of what was seen.

        Bilinear between the model's pixel centres; size is the image's (height, width).
        """
        height, width = size
        assert values.shape == self.canvas(height, width)
        geometry = self.geometry(height, width)
        columns = _back(width, geometry.box[0], geometry.box[2], geometry.place[0], geometry.place[2])
        rows = _back(height, geometry.box[1], geometry.box[3], geometry.place[1], geometry.place[3])
        between: Doubles = _interpolate(_interpolate(values.astype(np.float64), rows).T, columns).T
        return between.astype(np.float32)

    def _covering(self, height: int, width: int) -> tuple[int, int]:
        """Size (height, width) of the whole image once it is scaled to just cover size / crop_fraction."""
        need_height, need_width = (max(1, int(side / self.crop_fraction)) for side in self.size)
        if need_height * width >= need_width * height:
            return need_height, max(need_width, need_height * width // height)
        return max(need_height, need_width * height // width), need_width


def resample(
    pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int], interpolation: str
) -> Pixels:
    """Stretch the rectangle `box` (left, top, right, bottom) of an image onto (height, width) pixels, anti-aliased.

    Pixels around the box are seen by the filter at its edges, as if the whole image were stretched and then cut; the
    work does not grow with what is cut off. At scale 1 pixels are copied.
    """
    height, width = size
    left, top, right, bottom = box
    if (right - left, bottom - top) == (width, height) and left == int(left) and top == int(top):
        return np.ascontiguousarray(pixels[int(top) : int(bottom), int(left) : int(right)])
    if pixels.shape[2] == 3:
        resized = Image.fromarray(pixels).resize((width, height), _FILTERS[interpolation], box)
        return np.asarray(resized)
    # channel by channel: Pillow would take a fourth for alpha and weight the colours by it
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(pixels.shape[2])]
    return np.stack([np.asarray(band.resize((width, height), _FILTERS[interpolation], box)) for band in bands], axis=-1)


def _under(low: float, high: float, count: int, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each of `count` pixels stretched over [low, high), the pixel under its centre, of `length`."""
    places = low + (np.arange(count) + 0.5) * (high - low) / count
    return np.clip(np.floor(places), 0, length - 1).astype(np.int64)


def _back(length: int, low: float, high: float, first: int, last: int) -> Doubles:
    """Place of each of `length` image pixels among the model's, in pixels from the centre of pixel 0; NaN outside."""
    centres = np.arange(length) + 0.5
    places = first + (centres - low) * (last - first) / (high - low) - 0.5
    inside = (centres >= low) & (centres <= high)
    # half a pixel at either edge lies beyond the outermost centres, where the outermost value holds
    return np.where(inside, np.clip(places, first, last - 1), np.nan)


def _interpolate(values: Doubles, places: Doubles) -> Doubles:
    """Rows of `values` at fractional `places`, linearly between neighbours."""
    known = np.nan_to_num(places)
    below = np.floor(known).astype(np.int64)
    above = np.minimum(below + 1, len(values) - 1)
    part = (known - below)[:, None]
    mixed: Doubles = values[below] * (1 - part) + values[above] * part
    mixed[np.isnan(places)] = np.nan
    return mixed
