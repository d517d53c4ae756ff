"""What a model's attention and weights are like on the whole: how far heads look, how sharply, and what is learned of
places and patches (ViT, arXiv 2010.11929, figures 7 and 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, CellMap
from vitrail.errors import UsageError
from vitrail.explain.attention import attend
from vitrail.explain.explainable import Explainable, cell_side, unseen
from vitrail.explain.layer import Layer
from vitrail.explain.passes import FORWARD, chunks
from vitrail.explain.profile import LayerProfile, Profile, even_distance

Found = TypeVar("Found")
FILTERS = 28
"""Of the paper's figure 7."""


@runtime_checkable
class Placed(Protocol):
    """A backbone that adds an embedding of its place to each patch."""

    def positions(self) -> Tensor | None:
        """Of the first grid's patches in raster order, (h * w, D); None where the model was made without."""


def reach(model: Explainable, images: Tensor) -> list[LayerProfile]:
    """Distance and entropy of every head of every layer over images (B, C, H, W), normalised; as many as there are.

    Raises UsageError where the model has no attention that can be seen.
    """
    sums: list[Tensor] = []
    layers: Sequence[Layer] = ()
    grids: list[tuple[int, int]] = []
    for chosen in chunks(len(images), images.shape[2:], FORWARD):
        attention = attend(model, images[chosen])
        layers = attention.layers
        grids = [attention.stages[layer.stage].grid for layer in attention.layers]
        sides = [cell_side(model, grid) for grid in grids]
        own = [_sums(layer, side) for layer, side in zip(attention.layers, sides, strict=True)]
        sums = own if not sums else [before + more for before, more in zip(sums, own, strict=True)]
    return [
        LayerProfile(grid, layer.call.k.shape[2], layer.layout.windows, away / attended, entropy / queries)
        for layer, grid, (away, attended, entropy, queries) in zip(
            layers, grids, (own.cpu().numpy() for own in sums), strict=True
        )
    ]


def profile(model: Explainable, images: Tensor) -> Profile:
    """All that is known of a model on the whole, over images (B, C, H, W), normalised; what it has none of is named."""
    size = (images.shape[2], images.shape[3])
    missing: list[str] = []

    def known(find: Callable[[], Found]) -> Found | None:
        try:
            return find()
        except UsageError as error:
            missing.append(str(error))
            return None

    lack = unseen(model)
    missing += [lack] if lack else []
    layers = [] if lack else reach(model, images)
    positions, filters = known(lambda: position_similarity(model)), known(lambda: patch_filters(model))
    return Profile(
        len(images), size,
        layers,
        even_distance(layers[0].grid, size) if layers else 0.0,
        None if positions is None else positions.cpu().numpy(),
        None if filters is None else filters.numpy(),
        tuple(missing),
    )  # fmt: skip


def _sums(layer: Layer, side: int) -> Tensor:
    """Over images and the queries that are patches, of each head (4, A) float64: attention times distance, attention
    to patches, entropy, queries."""
    layout = layer.layout
    windows, tokens, keys = layout.windows, layer.call.q.shape[2], layer.call.k.shape[2]
    device = layer.call.q.device
    standing = _standing(layout.queries, layout.grid, layout.prefix_queries, (windows, tokens), side, device)
    looked = _standing(layout.keys, layout.grid, layout.prefix_keys, (windows, keys), side, device)
    total = torch.zeros(4, layer.heads, dtype=torch.float64, device=device)
    for some, weights in layer.queries():
        counted = standing.shares[:, some].sum(dim=-1).double()  # (W, Q): 0 of prefix tokens and padding
        apart = _apart(standing, looked, some)  # (W, Q, T_k)
        there = looked.shares.sum(dim=-1).double()  # (W, T_k)
        seen = weights.double()  # (B, W, A, Q, T_k)
        total[0] += torch.einsum("bwaqk,wqk,wq->a", seen, apart, counted)
        total[1] += torch.einsum("bwaqk,wk,wq->a", seen, there, counted)
        total[2] -= torch.einsum("bwaqk,wq->a", torch.special.xlogy(seen, seen), counted)
        total[3] += len(weights) * counted.sum()
    return total


@dataclass(frozen=True, eq=False)
class _Standing:
    """places (W, T, M, 2) float64: centres of the cells of each token, pixels.  shares (W, T, M)."""

    places: Tensor
    shares: Tensor


def _standing(
    cells: CellMap | None, grid: tuple[int, int], prefix: int, size: tuple[int, int], side: int, device: torch.device
) -> _Standing:
    """Where the tokens of one call stand; prefix tokens stand nowhere."""
    windows, tokens = size
    if cells is None:
        numbers = torch.arange(tokens - prefix)[None, :, None].expand(windows, -1, 1)
        shares = torch.ones(numbers.shape)
    else:
        numbers, shares = cells.cells.clamp(min=0), cells.shares
    centres = torch.stack([numbers // grid[1], numbers % grid[1]], dim=-1).double() + 0.5
    blank = (windows, prefix, numbers.shape[2])
    places = torch.cat([centres.new_zeros(*blank, 2), centres], dim=1)
    return _Standing(side * places.to(device), torch.cat([torch.zeros(blank), shares], dim=1).to(device))


def _apart(queries: _Standing, keys: _Standing, some: Tensor) -> Tensor:
    """Mean distance from the cells of some queries to those of each key, (W, Q, T_k) float64."""
    asked, shares = queries.places[:, some], queries.shares[:, some].double()  # (W, Q, M, 2), (W, Q, M)
    distances = torch.cdist(asked.flatten(1, 2), keys.places.flatten(1, 2))  # (W, Q M, T_k M')
    split = distances.reshape(*shares.shape, *keys.shares.shape[1:])  # (W, Q, M, T_k, M')
    return torch.einsum("wqmkn,wqm,wkn->wqk", split, shares, keys.shares.double())


def position_similarity(model: Explainable) -> Tensor:
    """Cosine similarity of the embeddings of any two places: (h, w, h, w) float32 in [-1, 1], of the first grid.

    [i, j] is the map of the patch in row i, column j (ViT, figure 7, middle). Raises UsageError for a model that adds
    none.
    """
    backbone = model.backbone
    positions = backbone.positions() if isinstance(backbone, Placed) else None
    if positions is None:
        raise UsageError(f"{type(backbone).__name__} adds no position embeddings here: there are none to compare")
    grid = cast(Backbone, backbone).stages()[0].grid
    unit = torch.nn.functional.normalize(positions.detach().float(), dim=-1)  # (h * w, D)
    return (unit @ unit.T).reshape(*grid, *grid)


def patch_filters(model: Explainable, count: int = FILTERS) -> Tensor:
    """The main ways in which the first convolution's filters differ: (count, C, P, P) float32, strongest first.

    Principal components of its kernels, of unit length, as many as there are; the largest weight of each is positive
    (ViT, figure 7, left). Raises UsageError for a model that begins without a convolution.
    """
    stem = cast(Backbone, model.backbone).stem()
    kernels = next((part.weight for part in stem.modules() if isinstance(part, nn.Conv2d)), None)
    if kernels is None:
        raise UsageError(f"{type(model.backbone).__name__} begins without a convolution here: there are no filters")
    rows = kernels.detach().double().cpu().flatten(1)  # (D, C P P)
    _, strength, ways = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    components = ways[strength > 1e-6 * strength[0]][:count]  # beyond those there is only what rounding left
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    signed: Tensor = components * largest.sign()
    return signed.reshape(-1, *kernels.shape[1:]).float()
