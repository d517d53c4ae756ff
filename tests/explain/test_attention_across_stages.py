"""Attention followed through every family, against one-hot tokens sent through the models' own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lively_families import asked, family, pictures
from one_hot import differentiated, observed, product
from torch import Tensor

from vitrail.assemble import VisionModel
from vitrail.explain.attention import attend
from vitrail.explain.explainable import cell_side, over_cells
from vitrail.explain.methods.relevance import relevance
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.target import Target

EVEN, RAGGED = (32, 48), (36, 44)
"""Grids that windows and strides divide, and grids that they do not: padding, remainders, shifts across both."""
CASES: list[tuple[str, tuple[int, int], dict[str, Any]]] = [
    ("vit", EVEN, {}),
    ("vit_mean", EVEN, {}),
    ("deit", EVEN, {}),
    ("swin", EVEN, {}),
    ("swin", RAGGED, {}),
    ("swin_v2", RAGGED, {}),
    ("pvt", EVEN, {}),
    ("pvt", RAGGED, {}),
    ("pvt_v2", EVEN, {}),
    ("pvt_v2", RAGGED, {}),
]
IDS = [f"{kind}-{size[0]}x{size[1]}" for kind, size, _ in CASES]


def starting(model: VisionModel) -> Tensor:
    """What the head reads, of the last grid's tokens."""
    names, stage = model.backbone.prefix_names, model.backbone.stages()[-1]
    start = torch.zeros(stage.prefix + stage.grid[0] * stage.grid[1])
    read = [place for place, name in enumerate(names) if model.pooling == "cls" and name in ("cls", "dist")]
    start[read or slice(stage.prefix, None)] = 1
    return start / start.sum()


def laid_out(model: VisionModel, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """A value of each cell of the first grid on its pixels, (H, W)."""
    grid = model.backbone.stages()[0].grid
    side = {"ViT": 8, "DeiT": 8, "Swin": 4, "SwinV2": 4, "PVT": 2, "PVTv2": 2}[type(model.backbone).__name__]
    return torch.kron(cells.reshape(grid), torch.ones(side, side))[: size[0], : size[1]]


@pytest.mark.parametrize(("kind", "size", "options"), CASES, ids=IDS)
def test_rollout_is_that_of_one_hot_tokens(kind: str, size: tuple[int, int], options: dict[str, Any]) -> None:
    model, images = family(kind, size=size, **options), pictures(2, size)
    calls = observed(model, images)
    for image, made in enumerate(rollout(model, images, asked(images))):
        rows = product(model, calls, lambda call: call.weights, image, renormalise=True)
        expected = laid_out(model, starting(model) @ rows, size)
        assert float(expected.std()) > 1e-4 * float(expected.mean())
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize(("kind", "size", "options"), CASES, ids=IDS)
def test_relevance_is_that_of_gradients_of_every_weight(
    kind: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    """Chefer et al., equations 5 and 6, with gradients that flow through the weights themselves."""
    model, images = family(kind, size=size, **options), pictures(2, size)
    target = asked(images, against=torch.tensor([0, 2]))
    calls, gradients = differentiated(model, images, target)
    for image, made in enumerate(relevance(model, images, target)):
        rows = product(
            model, calls, lambda call: (call.weights.detach() * gradients[call.name]).clamp(min=0), image, False
        )
        alone = product(model, calls, lambda call: torch.zeros_like(call.weights), image, False)
        expected = laid_out(model, starting(model) @ (rows - alone), size)
        assert float(expected.max()) > 0
        torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize(("kind", "size", "options"), CASES, ids=IDS)
def test_every_row_of_every_layer_sums_to_one_and_its_gaze_is_its_row(
    kind: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    model, images = family(kind, size=size, **options), pictures(2, size)
    attention = attend(model, images)
    assert len(attention.layers) == len(model.backbone.blocks())
    for layer in attention.layers:
        whole = layer.matrix()
        stage = attention.stages[layer.stage]
        tokens = stage.prefix + stage.grid[0] * stage.grid[1]
        assert whole.shape == (2, layer.heads, tokens, tokens)
        torch.testing.assert_close(whole.sum(dim=-1), torch.ones(2, layer.heads, tokens), rtol=0, atol=1e-5)
        shares = torch.rand(2, tokens, generator=torch.Generator().manual_seed(layer.stage))
        expected = torch.einsum("bq,baqk->bak", shares, whole)
        torch.testing.assert_close(layer.gaze(shares), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "size", "options"), CASES, ids=IDS)
def test_nothing_is_lost_on_the_way_but_what_prefix_tokens_keep(
    kind: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    model, images = family(kind, size=size, **options), pictures(2, size)
    attention = attend(model, images)
    target = asked(images, cell=(1, 1))
    spread = attention.back(attention.asked(target), lambda layer, shares: layer.gaze(shares).mean(dim=1))
    total = spread.sum(dim=(1, 2))
    if attention.stages[-1].prefix:
        assert bool((total < 1).all())
        assert bool((total > 0).all())
    else:
        torch.testing.assert_close(total, torch.ones(2))


def test_windows_see_nothing_of_one_another_and_padding_nothing_at_all() -> None:
    model, images = family("swin", size=RAGGED), pictures(2, RAGGED)
    first, shifted = attend(model, images).layers[:2]
    assert first.layout.grid == (9, 11)
    row, column = torch.arange(99) // 11, torch.arange(99) % 11
    for layer, moved in ((first, 0), (shifted, 1)):
        window = torch.stack([(row + moved) // 2, (column + moved) // 2])  # shifted windows begin one cell earlier
        together = (window[:, :, None] == window[:, None, :]).all(dim=0)
        whole = layer.matrix()
        assert float(whole[..., ~together].max()) < 1e-30
        assert float(whole[..., together].min()) > 0
        assert layer.layout.queries is not None
        assert bool(layer.layout.queries.padding().any())


def test_a_cells_gaze_begins_at_that_cell_in_every_stage() -> None:
    model, images = family("swin"), pictures()
    attention = attend(model, images)
    assert [stage.grid for stage in attention.stages] == [(8, 12), (4, 6)]
    shares = attention.at(attention.asked(asked(images, cell=(2, 5))), 0)
    expected = torch.zeros(8, 12)
    expected[4:6, 10:12] = 0.25
    torch.testing.assert_close(shares, expected.flatten().expand(2, -1))


def test_a_token_that_comes_late_is_asked_for_by_all_patches_before() -> None:
    """[CLS] of PVT is in the last stage only."""
    model, images = family("pvt"), pictures()
    attention = attend(model, images)
    last = attention.asked(asked(images))
    assert last[0].nonzero()[:, 0].tolist() == [0]
    early = attention.at(last, 1)
    torch.testing.assert_close(early, torch.full_like(early, 1 / early.shape[1]))


@pytest.mark.parametrize(("size", "grid", "side"), [((8, 12), (2, 3), 4), ((7, 10), (2, 3), 4), ((9, 9), (2, 2), 0)])
def test_a_region_of_pixels_is_shared_out_among_its_cells(
    size: tuple[int, int], grid: tuple[int, int], side: int
) -> None:
    region = torch.zeros(2, *size, dtype=torch.bool)
    region[0, 0, :5] = True
    shares = over_cells(region, grid, side)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    first = shares[0].reshape(grid)
    assert float(first[1:].sum()) == 0
    if side:
        torch.testing.assert_close(first[0, :2], torch.tensor([0.8, 0.2]))
        torch.testing.assert_close(shares[1, 0], torch.tensor(side * side / (size[0] * size[1])))


@pytest.mark.parametrize("kind", ["vit", "swin", "pvt_v2"])
def test_a_region_of_a_dense_answer_chooses_who_is_asked(kind: str) -> None:
    model, images = family(kind, "segment"), pictures()
    region = torch.zeros(2, 32, 48, dtype=torch.bool)
    region[:, :16, :8] = True
    attention = attend(model, images)
    shares = attention.asked(Target(torch.ones(2, dtype=torch.int64), region=region))
    stage = attention.stages[-1]
    inside = shares[0, stage.prefix :].reshape(stage.grid)
    high, wide = (cells * pixels // whole for cells, pixels, whole in zip(stage.grid, (16, 8), (32, 48), strict=True))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    if min(high, wide):
        torch.testing.assert_close(inside[:high, :wide].sum(), torch.tensor(1.0))
    whole = rollout(model, images, asked(images))
    assert not torch.allclose(rollout(model, images, asked(images, region=region)), whole)


@pytest.mark.parametrize(
    ("kind", "size", "sides"),
    [("vit", EVEN, [8]), ("swin", RAGGED, [4, 8]), ("pvt", RAGGED, [2, 4, 8, 16]), ("resnet", (30, 33), [2, 4, 8, 16])],
)
def test_cells_are_as_large_as_strides_say_beyond_the_image_too(
    kind: str, size: tuple[int, int], sides: list[int]
) -> None:
    model = family(kind, size=size)
    assert [cell_side(model, stage.grid) for stage in model.backbone.stages()] == sides
