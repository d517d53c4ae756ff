"""Effective receptive fields (Luo et al. 2016, arXiv 1701.04128): which pixels count in what one cell becomes.

A random direction of the cell's output, its gradient with respect to the image, squared, and its mean over images: how
much of the cell's change comes from where. The pixels that could count at all are `theory`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone
from vitrail.explain.explainable import Explainable
from vitrail.explain.inner_maps import Place, held_by, on_grid
from vitrail.explain.passes import BACKWARD, chunks, evaluating
from vitrail.report.statistics import Doubles
from vitrail.seeding import derive_seed, generator
from vitrail.study.statistics.intervals import Interval, between

RESAMPLES = 1000
Maps = Callable[[Tensor], Sequence[Tensor]]
"""Images (B, C, H, W) -> the maps (B, D, h, w) whose central cells are asked, from shallow to deep."""


def central(grid: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the cell that is asked; of an even grid the one behind its centre."""
    return grid[0] // 2, grid[1] // 2


def fields(maps: Maps, images: Tensor, seed: int = 0) -> Doubles:
    """The field of the central cell of each map for each image (B, C, H, W): (L, B, H, W) float64, sums of 1.

    A field is NaN where nothing of the image counts, as where every path is through a dead ReLU. seed: of directions.
    """
    made: list[list[Doubles]] = []
    for chosen in chunks(len(images), images.shape[2:], BACKWARD):
        pixels = images[chosen].detach().clone().requires_grad_()
        found = maps(pixels)
        own = []
        for layer, held in enumerate(found):
            row, column = central((held.shape[2], held.shape[3]))
            cell = held[:, :, row, column]  # (B, D)
            direction = _directions(cell, seed, layer, chosen.start)
            (gradient,) = torch.autograd.grad(cell, pixels, direction, retain_graph=layer + 1 < len(found))
            own.append(gradient.double().square().sum(dim=1).cpu().numpy())  # (B, H, W)
        made.append(own)
    whole = np.stack([np.concatenate(chunk) for chunk in zip(*made, strict=True)])
    total = whole.sum(axis=(2, 3), keepdims=True)
    with np.errstate(invalid="ignore"):
        shares: Doubles = whole / np.where(total > 0, total, np.nan)
    return shares


def _directions(cell: Tensor, seed: int, layer: int, first: int) -> Tensor:
    """Of each image its own, whatever the images beside it: (B, D)."""
    drawn = []
    for image in range(len(cell)):
        source = torch.Generator().manual_seed(derive_seed("direction", seed, layer, first + image))
        drawn.append(torch.randn(cell.shape[1], generator=source))
    return torch.stack(drawn).to(cell)


def block_maps(model: Explainable) -> tuple[list[Place], Maps]:
    """Where each block of a model leaves its map, and what says those maps; the model is left as it was found."""
    stages = cast(Backbone, model.backbone).stages()
    places = [
        Place(block, False, stage.grid, stage.prefix, f"layer {number + 1}")
        for number, (stage, block) in enumerate((stage, block) for stage in stages for block in stage.blocks)
    ]

    def maps(images: Tensor) -> list[Tensor]:
        seen: dict[int, Tensor] = {}

        def noting(number: int) -> Callable[[nn.Module, Any, Any], None]:
            def note(module: nn.Module, args: Any, output: Any) -> None:
                seen[number] = on_grid(held_by(output, places[number].grid), places[number])

            return note

        hooks = [place.module.register_forward_hook(noting(n)) for n, place in enumerate(places)]
        try:
            with evaluating(model), torch.enable_grad():
                model.features(images)
        finally:
            for hook in hooks:
                hook.remove()
        return [seen[number] for number in range(len(places))]

    return places, maps


@dataclass(frozen=True)
class Size:
    """How large a field is. half, most: radius in pixels around the cell's centre that holds 50 and 90 % of it.
    beyond: the share of it outside of the cell itself. All over images, which are drawn again for the intervals.
    """

    half: Interval
    most: Interval
    beyond: Interval


def radii(grid: tuple[int, int], size: tuple[int, int]) -> Doubles:
    """Distance of every pixel's centre from that of the central cell, (H, W), pixels."""
    rows, columns = (
        np.arange(side) + 0.5 - (place + 0.5) * side / cells
        for place, cells, side in zip(central(grid), grid, size, strict=True)
    )
    away: Doubles = np.hypot(rows[:, None], columns[None, :])
    return away


def sized(found: Doubles, grid: tuple[int, int]) -> Size:
    """The size of fields (B, H, W) of the central cell of a grid; those that are NaN are left out."""
    size = (found.shape[1], found.shape[2])
    flat = found.reshape(len(found), -1)
    flat = flat[~np.isnan(flat).any(axis=1)]
    if not len(flat):
        unknown = Interval(np.nan, np.nan, np.nan)
        return Size(unknown, unknown, unknown)
    away = radii(grid, size).ravel()
    order = np.argsort(away, kind="stable")
    steps, starts = np.unique(np.round(away[order], 6), return_index=True)
    held = np.cumsum(np.add.reduceat(flat[:, order], starts, axis=1), axis=1)  # (B, radii): within each
    own = _own(grid, size).ravel()
    outside = np.clip(1 - flat[:, own].sum(axis=1), 0.0, 1.0)
    counts = np.concatenate(list(_draws(len(flat))))  # (R, B), rows sum to 1
    drawn = counts @ held
    return Size(
        between(_radius(held.mean(axis=0)[None], steps, 0.5)[0], _radius(drawn, steps, 0.5)),
        between(_radius(held.mean(axis=0)[None], steps, 0.9)[0], _radius(drawn, steps, 0.9)),
        between(float(outside.mean()), counts @ outside),
    )


def _radius(held: Doubles, steps: Doubles, share: float) -> Doubles:
    found: Doubles = steps[(held >= share - 1e-9).argmax(axis=1)]
    return found


def _own(grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The pixels whose centres lie in the central cell, (H, W)."""
    rows, columns = (
        np.floor((np.arange(side) + 0.5) * cells / side) == place
        for place, cells, side in zip(central(grid), grid, size, strict=True)
    )
    inside: np.ndarray[Any, np.dtype[np.bool_]] = rows[:, None] & columns[None, :]
    return inside


def _draws(count: int) -> Iterator[Doubles]:
    rng = generator("fields", count)
    yield rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count


def even_radius(grid: tuple[int, int], size: tuple[int, int], share: float) -> float:
    """The radius that holds a share of a field that is spread evenly over the whole image, pixels."""
    away = np.sort(radii(grid, size).ravel())
    return float(away[max(0, int(np.ceil(share * away.size)) - 1)])
