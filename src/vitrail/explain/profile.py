"""What a model's attention and first weights are like on the whole, as arrays and in words; read without torch.

The figures 7 and 11 of the ViT paper (arXiv 2010.11929), for any family; `statistics` measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.contracts import Floats

Doubles = np.ndarray[Any, np.dtype[np.float64]]

NEARER = 0.05
"""By how much more alike neighbours' positions must be than those of other patches for nearness to show in them."""


@dataclass(frozen=True, eq=False)
class LayerProfile:
    """How the heads of one layer look at images.

    grid: (h, w) of its stage.  keys: tokens that a query may look at, T_k.  windows: in how many the grid is cut.
    distance (A,): pixels from a query's cell to the cells it looks at, weighted by attention and averaged over queries
    and images; what goes to prefix tokens is left out.  entropy (A,): of a patch's attention over all its keys, in
    nats, averaged alike; 0 looks at one, ln(keys) at all evenly.
    """

    grid: tuple[int, int]
    keys: int
    windows: int
    distance: Doubles
    entropy: Doubles


@dataclass(frozen=True, eq=False)
class Profile:
    """images: over how many.  size: their (H, W), pixels.  layers: none where attention cannot be seen.

    even: how far attention would look that is spread evenly over the whole image, pixels.  positions (h, w, h, w) in
    [-1, 1]: how alike the embeddings of two places are.  filters (K, C, P, P): principal components of the first
    convolution's.  missing: what there is none of, and why.
    """

    images: int
    size: tuple[int, int]
    layers: Sequence[LayerProfile] = ()
    even: float = 0.0
    positions: Floats | None = None
    filters: Floats | None = None
    missing: Sequence[str] = ()

    def words(self) -> Mapping[str, str]:
        """Name of a figure -> what it shows, of those that there are."""
        told: dict[str, str] = {}
        if self.layers:
            told |= {"attention_distance": self._distance(), "attention_entropy": self._entropy()}
        if self.positions is not None:
            told["position_similarity"] = _positions(self.positions)
        if self.filters is not None:
            told["patch_filters"] = (
                f"The {len(self.filters)} main ways in which the filters of the first layer differ, the strongest "
                "first. Trained ones are flat colours, edges and gratings; noise means that little was learned."
            )
        return told

    def record(self) -> dict[str, Any]:
        """For JSON: every layer and head, and the words."""
        layers = [
            {"grid": layer.grid, "keys": layer.keys, "distance": layer.distance, "entropy": layer.entropy}
            for layer in self.layers
        ]
        return {
            "images": self.images, "size": self.size, "even_distance": self.even, "layers": layers,
            "words": self.words(), "missing": list(self.missing),
        }  # fmt: skip

    def _distance(self) -> str:
        far = f"{self.even:.0f}" if self.even >= 10 else f"{self.even:.1f}"
        windowed = any(layer.windows > 1 for layer in self.layers)
        windows = " Within windows, heads can look no further than those." if windowed else ""
        return (
            f"How far each head looks on the mean over {_images(self.images)}: a dot a head, the line their mean."
            f"{_ends(self.layers, lambda layer: layer.distance, 'pixels')} Spread evenly over the whole image, "
            f"attention would look {far} pixels far. Heads far below that look at what is near, as "
            f"convolutions do; those at or above it look everywhere.{windows}"
        )

    def _entropy(self) -> str:
        first, last = self.layers[0].keys, self.layers[-1].keys
        keys = f"all {first:,} evenly" if first == last else f"all evenly, {first:,} at first and {last:,} at last"
        return (
            "How evenly each head looks, in nats: 0 is at a single token. As many tokens looked at evenly would be as "
            f"uncertain.{_ends(self.layers, lambda layer: np.exp(layer.entropy), 'of them')} The most is {keys}."
        )


def even_distance(grid: tuple[int, int], size: tuple[int, int]) -> float:
    """Mean distance of two cells drawn at random from a grid (h, w) over (H, W) pixels, pixels."""
    (down, rows), (across, columns) = (
        (np.arange(count) * side / count, (count - np.arange(count)) * np.where(np.arange(count) > 0, 2.0, 1.0))
        for count, side in zip(grid, size, strict=True)
    )
    apart = np.hypot(down[:, None], across[None, :])
    return float((apart * rows[:, None] * columns[None, :]).sum() / (grid[0] * grid[1]) ** 2)


def _ends(layers: Sequence[LayerProfile], values: Callable[[LayerProfile], Doubles], unit: str) -> str:
    """ " In the first layer 3 to 12 pixels, in the last 8 to 14." """

    def span(layer: LayerProfile) -> str:
        low, high = values(layer).min(), values(layer).max()
        digits = 0 if high >= 10 else 1
        low, high = f"{low:.{digits}f}", f"{high:.{digits}f}"
        return low if low == high else f"{low} to {high}"

    if len(layers) == 1:
        return f" In the one layer {span(layers[0])} {unit}."
    return f" In the first layer {span(layers[0])} {unit}, in the last {span(layers[-1])}."


def _positions(similarity: Floats) -> str:
    told = "A tile is one patch, and in it every patch is as bright as its position embedding is like that one's."
    near, far = beside(similarity)
    if not (np.isfinite(near) and np.isfinite(far)):
        return told
    means = "so nearness shows in them" if near - far >= NEARER else "so nearness hardly shows in them, as at first"
    return (
        f"{told} Neighbours' are alike by {near:.2f} on the mean, those of other patches by {far:.2f} (1 is the same, "
        f"0 unrelated): {means}."
    ).replace("-0.00", "0.00")


def beside(similarity: Floats) -> tuple[float, float]:
    """The mean similarity (h, w, h, w) of patches that touch, at a corner too, and of all others but each with itself.

    NaN where there are none.
    """
    height, width = similarity.shape[:2]
    flat = similarity.reshape(height * width, height * width)
    near, pairs = 0.0, 0
    rows, columns = (axis.ravel() for axis in np.indices((height, width)))
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            there = (rows + down >= 0) & (rows + down < height) & (columns + across >= 0) & (columns + across < width)
            if (down, across) != (0, 0) and there.any():
                places = np.flatnonzero(there)
                near += float(flat[places, places + down * width + across].sum(dtype=np.float64))
                pairs += len(places)
    rest = float(flat.sum(dtype=np.float64) - np.trace(flat, dtype=np.float64)) - near
    others = flat.size - len(flat) - pairs
    return near / pairs if pairs else np.nan, rest / others if others else np.nan


def _images(count: int) -> str:
    return "one image" if count == 1 else f"{count:,} images"
