"""How far numbers per pixel are off, in their own units.

Importing this module loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Floats

if TYPE_CHECKING:
    from torch import Tensor

MOST_SAMPLED = 100_000
"""Pixels of a split that are kept to be drawn."""
DELTA = 1.25
"""A pixel is right to the k-th degree where the larger of said / true and its inverse is below this to the k."""

Doubles = np.ndarray[Any, np.dtype[np.float64]]


class DepthMeter:
    """Sums over known pixels.

    names: of the maps.  usual: of each, what is always answered by one who never looks, in units.  values: raw outputs
    (B, M, H, W) -> the same in units.

    images: of each image in turn, (M, 7): known pixels, then over them the sums of |said - true|, its square, true, its
    square, |true - mean| and its square, where mean is the training set's.  relative: of each image, the pixels whose
    truth is positive, and the sum over them of |said - true| / true.  ratios: pixels with a positive truth, then
    over them the sums of |said - true| / true and of those right to the first, second and third degree.  sample: some
    pixels, evenly spaced over everything seen, as rows (map, true, said).
    """

    def __init__(self, names: Sequence[str], usual: Sequence[float], values: Callable[[Any], Floats]) -> None:
        self.names, self._values = tuple(names), values
        self._usual = np.asarray(usual)[:, None, None]
        self.ratios = np.zeros(5, np.float64)
        self.images: list[Doubles] = []
        self.relative: list[Doubles] = []
        self._sample: list[Doubles] = []
        self._kept, self._stride, self._next = 0, 1, 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        true = targets.cpu().numpy().astype(np.float64)  # (B, M, H, W)
        said = self._values(outputs.float().cpu().numpy()).astype(np.float64)
        known = np.isfinite(true)
        apart = np.where(known, said - true, 0.0)
        told = np.where(known, true, 0.0)
        off = np.where(known, true - self._usual, 0.0)
        parts = (known, np.abs(apart), apart**2, told, told**2, np.abs(off), off**2)
        self.images += list(np.stack([part.sum(axis=(2, 3)) for part in parts], axis=-1))  # (B, M, 7)
        above = told > 0
        shares = np.abs(apart) / np.where(above, told, 1.0) * above
        self.relative += list(np.stack([above.sum(axis=(1, 2, 3)), shares.sum(axis=(1, 2, 3))], axis=-1))  # (B, 2)
        said, positive = said[known], told[known]
        self._keep(np.stack([np.nonzero(known)[1], positive, said], axis=1))
        said, positive = said[positive > 0], positive[positive > 0]
        ratio = np.maximum(said, 1e-12) / positive
        ratio = np.maximum(ratio, 1 / ratio)
        relative = np.abs(said - positive) / positive
        self.ratios += [len(said), relative.sum(), *((ratio < DELTA**k).sum() for k in (1, 2, 3))]

    def _keep(self, rows: np.ndarray[Any, Any]) -> None:
        """Every stride-th of all rows; when they are too many, every other of those is dropped."""
        kept = rows[self._next :: self._stride]
        self._next = (self._next - len(rows)) % self._stride
        self._sample.append(kept)
        self._kept += len(kept)
        while self._kept > MOST_SAMPLED:
            whole = np.concatenate(self._sample)[::2]
            self._next += self._stride * (self._kept % 2)
            self._sample, self._kept, self._stride = [whole], len(whole), 2 * self._stride

    @property
    def sample(self) -> Doubles:
        """Rows (map, true, said) in units, at most MOST_SAMPLED."""
        return np.concatenate(self._sample) if self._sample else np.zeros((0, 3))

    def compute(self) -> dict[str, float]:
        if not self.images:
            return {}
        values: dict[str, float] = {}
        fits = []
        for name, sums in zip(self.names, np.sum(self.images, axis=0), strict=True):
            count, absolute, squared, total, squares = sums[:5].tolist()
            if not count:
                continue
            of = f"/{name}" if len(self.names) > 1 else ""
            values |= {f"mae{of}": absolute / count, f"rmse{of}": math.sqrt(squared / count)}
            spread = squares - total**2 / count
            if spread > 1e-12 * max(1.0, squares):
                fits.append(1 - squared / spread)
        if fits:
            values["r2"] = sum(fits) / len(fits)
        positive, relative, *right = self.ratios.tolist()
        if positive:
            values["abs_rel"] = relative / positive
            values |= {f"delta{k}": hits / positive for k, hits in enumerate(right, start=1)}
        return values
