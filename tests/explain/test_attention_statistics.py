"""How far and how sharply heads look, and what is learned of places and patches: against sums written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from lively_families import FAMILIES, family, pictures
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.explain import figures
from vitrail.explain import layer as layers
from vitrail.explain.attention import attend
from vitrail.explain.statistics import patch_filters, position_similarity, reach

RAGGED = (36, 44)
SEEN = ["vit", "vit_map", "deit", "swin", "swin_v2", "pvt", "pvt_v2"]
SIDES = {"vit": (8,), "swin": (4, 8), "pvt": (2, 4, 8, 16)}


def size_of(kind: str) -> tuple[int, int]:
    return (32, 48) if kind.startswith(("vit", "deit")) else RAGGED


@pytest.mark.parametrize("kind", SEEN)
def test_distance_is_that_of_the_matrix_over_cells(kind: str) -> None:
    """Oracle: the whole matrix, cell by cell, times the distances of the cells' centres."""
    size = size_of(kind)
    model, images = family(kind, size=size), pictures(2, size)
    attention = attend(model, images)
    sides = SIDES["vit" if kind == "deit" else kind.split("_")[0]]
    for layer, made in zip(attention.layers, reach(model, images), strict=True):
        height, width = attention.stages[layer.stage].grid
        assert made.grid == (height, width)
        prefix = attention.stages[layer.stage].prefix
        over = layer.matrix()[:, :, prefix:, prefix:].double()
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double() * sides[layer.stage]
        apart = torch.linalg.vector_norm(places[:, None] - places[None, :], dim=-1)
        expected = (over * apart).sum(dim=(0, 2, 3)) / over.sum(dim=(0, 2, 3))
        np.testing.assert_allclose(made.distance, expected.numpy(), rtol=1e-5, atol=1e-5)
        assert made.distance.shape == (layer.heads,)


@pytest.mark.parametrize("kind", ["vit", "deit", "pvt_v2"])
def test_entropy_is_that_of_the_weights(kind: str) -> None:
    model, images = family(kind), pictures()
    for layer, made in zip(attend(model, images).layers, reach(model, images), strict=True):
        weights = layer.call.weights[:, :, layer.layout.prefix_queries :].double()
        expected = torch.distributions.Categorical(weights).entropy().mean(dim=(0, 2))
        np.testing.assert_allclose(made.entropy, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_padding_has_no_entropy_and_is_no_query() -> None:
    """Windows of 2 x 2 over 9 x 11 cells: those at the edges hold fewer tokens, and no head can be more even."""
    model, images = family("swin", size=RAGGED), pictures(2, RAGGED)
    with torch.no_grad():
        for block in model.backbone.blocks():
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
            block.attn.bias_table.zero_()
    first = reach(model, images)[0]
    evenly = (8 * 10 * math.log(4) + (8 + 10) * math.log(2)) / 99
    np.testing.assert_allclose(first.entropy, np.full(2, evenly), rtol=1e-7, atol=1e-7)
    assert first.grid == (9, 11)


@pytest.mark.parametrize("kind", ["vit", "swin", "pvt"])
def test_images_and_queries_may_go_in_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = family(kind), pictures(3)
    whole = reach(model, images)
    monkeypatch.setattr(layers, "AT_ONCE", 50)
    monkeypatch.setattr("vitrail.explain.statistics.FORWARD", 1)
    for one, other in zip(whole, reach(model, images), strict=True):
        np.testing.assert_allclose(one.distance, other.distance, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one.entropy, other.entropy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "deit", "pvt"])
def test_similar_positions_are_similar(kind: str) -> None:
    model = family(kind)
    grid = model.backbone.stages()[0].grid
    places = grid[0] * grid[1]
    owner = model.backbone if kind != "pvt" else model.backbone.levels[0]
    with torch.no_grad():  # direction 1 in the left half of the image, direction 2 in the right
        owner.pos_embed.zero_()
        columns = torch.arange(places) % grid[1]
        patches = owner.pos_embed[0, -places:]
        patches[columns < grid[1] // 2, 0] = 2.0
        patches[columns >= grid[1] // 2, 1] = 5.0
    made = position_similarity(model)
    assert made.shape == (*grid, *grid)
    left = made[0, 0]
    assert bool((left[:, : grid[1] // 2] == 1).all())
    assert bool((left[:, grid[1] // 2 :] == 0).all())


@pytest.mark.parametrize("kind", ["swin", "pvt_v2", "resnet"])
def test_a_model_without_positions_says_so(kind: str) -> None:
    with pytest.raises(UsageError, match="adds no position embeddings"):
        position_similarity(family(kind))


def test_a_vit_that_was_made_without_positions_says_so() -> None:
    with pytest.raises(UsageError, match="ViT adds no position embeddings here"):
        position_similarity(family("vit", position="none"))


def test_filters_are_the_principal_components() -> None:
    """Oracle: scikit-learn."""
    from sklearn.decomposition import PCA

    model = family("vit")
    kernels = model.backbone.stem().proj.weight.detach()
    expected = PCA(5).fit(kernels.double().flatten(1).numpy()).components_
    made = patch_filters(model, 5)
    assert made.shape == (5, 3, 8, 8)
    for own, other in zip(made.flatten(1).double().numpy(), expected, strict=True):
        np.testing.assert_allclose(own, other * np.sign(other[np.abs(other).argmax()]), atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_begins_with_filters(kind: str) -> None:
    made = patch_filters(family(kind), 7)
    assert 1 <= len(made) <= 7
    torch.testing.assert_close(made.flatten(1).norm(dim=1), torch.ones(len(made)))


def test_what_rounding_leaves_is_no_filter() -> None:
    """24 filters less their mean differ in 23 ways."""
    assert len(patch_filters(family("vit"))) == 23


def test_a_stem_without_a_convolution_says_so() -> None:
    with pytest.raises(UsageError, match="begins without a convolution"):
        patch_filters(family("vit", stem="shifted"))


def drawn(figure: Figure) -> Any:
    """Pixels of a figure, (height, width, 4) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_figures_show_every_head_every_place_and_every_filter() -> None:
    model, images = family("swin"), pictures()
    layers_ = reach(model, images)
    heads = sum(len(each.distance) for each in layers_)
    plain, marked = (figures.attention_distance(layers_, (32, 48), even) for even in (0.0, 17.5))
    for figure, more in ((plain, 0), (marked, 2), (figures.attention_entropy(layers_), 0)):
        lines = figure.axes[0].get_lines()
        assert sum(len(line.get_xdata()) for line in lines) == heads + len(layers_) + more
        assert drawn(figure).std() > 0
    assert marked.axes[0].get_ylim()[1] > 17.5
    similarity = position_similarity(family("vit")).numpy()
    (joined,) = (axes.get_images()[0].get_array() for axes in figures.position_similarity(similarity).axes[:1])
    assert joined.count() == 24 * 24  # the rest is clear
    assert np.array_equal(joined[5:9, 7:13], similarity[1, 1])
    filters = patch_filters(family("vit"), 10).numpy()
    (joined,) = (axes.get_images()[0].get_array() for axes in figures.patch_filters(filters).axes)
    assert joined[..., 3].sum() == 10 * 8 * 8
    np.testing.assert_allclose(joined[9:17, 9:17, :3], 0.5 + 0.5 * _tile(filters[8]), atol=1e-6)


def _tile(own: Any) -> Any:
    """A filter (C, P, P) as a picture (P, P, C), its largest weight 1."""
    return (own / np.abs(own).max()).transpose(1, 2, 0)


def test_of_a_fine_grid_one_place_in_two_is_drawn() -> None:
    axes = figures.position_similarity(np.random.default_rng(0).random((20, 24, 20, 24), np.float32)).axes[0]
    assert axes.get_images()[0].get_array().count() == 10 * 12 * 20 * 24


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_filters_of_any_number_of_channels_are_drawn(channels: int) -> None:
    assert drawn(figures.patch_filters(torch.randn(3, channels, 4, 4).numpy())).std() > 0


def test_attention_of_images_alone_is_what_is_averaged() -> None:
    model, images = family("vit"), pictures(2)

    def distances(some: Tensor) -> Any:
        return np.stack([layer.entropy for layer in reach(model, some)])

    np.testing.assert_allclose(distances(images), (distances(images[:1]) + distances(images[1:])) / 2, rtol=1e-7)
