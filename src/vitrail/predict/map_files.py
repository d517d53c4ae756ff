"""What a prediction has per pixel, as files: masks as PNG with the values of mask files, maps as 16-bit PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from vitrail import durable
from vitrail.contracts import Floats, Prediction, Task
from vitrail.predict.naming import FileNames, file_safe

HIGHEST = 65_535
"""Of 16 bits; 0 is kept for pixels of which the model saw nothing."""

Integers = np.ndarray[Any, Any]


class MapWriter:
    """Writes the maps of predictions into a folder, and says in each row where they are.

    A mask is a PNG, 8 bits where its values allow. A map is a 16-bit PNG whose value v >= 1 means offset + scale * v in
    the map's unit, both of which stand in the row and in the file; 0 is unknown.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self._folder, self._names = folder, FileNames()
        self._maps: Sequence[str] = getattr(task, "names", ()) if task.dense else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What it adds to a row."""
        if not self._maps:
            return ("mask",)
        return tuple(f"{name}_{part}" for name in self._maps for part in ("file", "scale", "offset"))

    def __call__(self, prediction: Prediction) -> Prediction:
        """Write what there is; the prediction with the columns added and without its arrays.

        Raises TrainingError, in words, where the disk refuses.
        """
        if prediction.status != "ok":
            return prediction
        values = dict(prediction.values)
        if "mask" in prediction.arrays:
            values["mask"] = self._write(prediction, "-mask", prediction.arrays["mask"], {})
        for name, units in zip(self._maps, prediction.arrays.get("maps", ()), strict=False):
            stored, scale, offset = quantise(units)
            told = {"scale": repr(scale), "offset": repr(offset)}
            values[f"{name}_file"] = self._write(prediction, f"-{file_safe(name)}", stored, told)
            values |= {f"{name}_scale": repr(scale), f"{name}_offset": repr(offset)}
        return replace(prediction, values=values, arrays={})

    def _write(self, prediction: Prediction, ending: str, stored: Integers, told: dict[str, str]) -> str:
        path = self._folder / f"{self._names.of(prediction.source, ending)}.png"
        words = PngImagePlugin.PngInfo()
        for key, value in told.items():
            words.add_text(f"vitrail:{key}", value)
        raw = io.BytesIO()
        Image.fromarray(stored).save(raw, "PNG", pnginfo=words)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            durable.write_file(path, raw.getvalue())
        except OSError as error:
            raise durable.storage_error(error, f"cannot write {path}") from None
        return path.name


def quantise(units: Floats) -> tuple[Integers, float, float]:
    """Numbers (h, w), NaN unknown, -> (uint16 (h, w), scale, offset) with unit = offset + scale * value; 0 is unknown.

    The whole range is used, so no number moves by more than 1 / 131,068 of it.
    """
    known = np.isfinite(units)
    low, high = (float(f(units[known])) for f in (np.min, np.max)) if known.any() else (0.0, 0.0)
    scale = (high - low) / (HIGHEST - 1) or 1.0
    offset = low - scale
    places = np.rint((np.where(known, units, low).astype(np.float64) - offset) / scale)
    stored = np.where(known, np.clip(places, 1, HIGHEST), 0)
    return stored.astype(np.uint16), scale, offset
