"""What an explanation is: a signed map over the model's pixels, and what it takes to lay that over the image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail import durable
from vitrail.contracts import Floats, Pixels, Prediction
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain import overlay


@dataclass(frozen=True)
class Explanation:
    """One image, what the model said of it, and a map of what it looked at.

    raw: (H, W) float32 over the model's pixels, signed, not normalised.  image: (height, width, C) uint8, as read.
    prediction: of this image.  method: its name.  where: layer and head in words.  target: the class explained, "" for
    methods that explain none.
    """

    raw: Floats
    image: Pixels
    prediction: Prediction
    method: str
    where: str
    target: str
    preprocessor: Preprocessor

    @property
    def source(self) -> str:
        """The image's path or name, as given."""
        return self.prediction.source

    @cached_property
    def heatmap(self) -> Floats:
        """(height, width) of the image, float32 in [0, 1]: `raw` from its least value to its greatest.

        Zeros where the map is constant; NaN outside of the part that the model was shown.
        """
        height, width = self.image.shape[:2]
        spread = self.preprocessor.to_image(self.raw, (height, width)).astype(np.float64)
        low, high = np.nanmin(spread), np.nanmax(spread)
        flat = high - low <= 1e-6 * max(abs(low), abs(high))  # what rounding leaves of a constant map is no picture
        scaled = np.where(np.isnan(spread), np.nan, 0.0) if flat else (spread - low) / (high - low)
        return np.clip(scaled, 0, 1).astype(np.float32)

    @property
    def caption(self) -> str:
        """Method, layer and head, and the class where one was explained."""
        words = f"{self.method.replace('_', ' ')}: {self.where}"
        return f"{words}, for class {self.target}" if self.target else words

    @property
    def answer(self) -> str:
        """What the model said of the image, in a few words."""
        return self.prediction.answer

    def overlay(self) -> Image.Image:
        """The image beside itself under the heat map, with the answer, the scale and a caption; RGB."""
        return overlay.draw(self.image, self.heatmap, self.answer, (self.caption, self.source))

    def panels(self) -> Image.Image:
        """The same without words, for a page that has its own; RGB."""
        return overlay.panels(self.image, self.heatmap)

    def save(self, path: str | Path) -> Path:
        """Write the overlay as the path's suffix says (.png, .jpg, .webp), making its folder; returns the path.

        Raises UsageError for another suffix and TrainingError where the disk refuses.
        """
        return write_picture(self.overlay(), path)


def write_picture(picture: Image.Image, path: str | Path) -> Path:
    """Write a picture as the path's suffix says (.png, .jpg, .webp), making its folder; returns the path.

    Raises UsageError for another suffix and TrainingError where the disk refuses.
    """
    path = Path(path)
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"cannot write {path}: an explanation is saved as .png, .jpg or .webp")
    raw = io.BytesIO()
    picture.save(raw, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, raw.getvalue())
    except OSError as error:
        raise durable.storage_error(error, f"cannot write {path}") from None
    return path
