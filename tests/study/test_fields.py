"""Receptive fields of models whose field is known: what counts, from how far, and what could count at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitrail.assemble import VisionModel, create_model
from vitrail.explain.profile import even_distance
from vitrail.study.reach.field import block_maps, central, even_radius, fields, radii, sized
from vitrail.study.reach.measured import _distances, _looks
from vitrail.study.reach.theory import sides, supports

SIZE = 17


def field_of(model: nn.Module, size: int = SIZE, images: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    """Fields (B, H, W) of the central cell of what a model makes of random images."""

    def maps(pixels: Tensor) -> Sequence[Tensor]:
        return [model(pixels)]

    torch.manual_seed(0)
    return fields(maps, torch.randn(images, 3, size, size))[0]


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_a_stack_of_convolutions_sees_as_far_as_theory_says(layers: int) -> None:
    torch.manual_seed(0)
    stack = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers)))
    found = field_of(stack)
    rows, columns = np.nonzero(found.mean(axis=0))
    side = 2 * layers + 1
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (SIZE // 2 - layers, SIZE // 2 + layers)
    assert len(rows) == side**2
    size = sized(found, (SIZE, SIZE))
    assert size.half.value <= size.most.value <= math.hypot(layers, layers) + 1e-6
    assert found.sum(axis=(1, 2)) == pytest.approx(1)


def test_the_field_of_deep_stacks_grows_with_the_root_of_their_depth() -> None:
    """Luo et al., section 2: of equal weights the gradient is a Gaussian, whose width grows so."""
    made = []
    for layers in (4, 16):
        stack = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(layers)))
        for layer in stack:
            nn.init.constant_(layer.weight, 1 / 27)
        made.append(sized(field_of(stack, 65), (65, 65)).half.value)
    assert made[1] / made[0] == pytest.approx(2, abs=0.4)


def test_a_mean_over_the_image_counts_every_pixel_alike() -> None:
    found = field_of(nn.AdaptiveAvgPool2d(1))
    assert found == pytest.approx(np.full_like(found, 1 / SIZE**2))
    size = sized(found, (1, 1))
    assert size.half.value == pytest.approx(even_radius((1, 1), (SIZE, SIZE), 0.5))
    assert size.beyond.value == pytest.approx(0)  # the one cell is the whole image


def test_what_comes_from_beyond_a_cell_is_told_from_what_is_its_own() -> None:
    patches = nn.Conv2d(3, 8, 4, stride=4)
    alone = sized(field_of(patches, 16), (4, 4))
    assert alone.beyond.value == pytest.approx(0)
    wider = nn.Conv2d(3, 8, 12, stride=4, padding=4)
    assert sized(field_of(wider, 16), (4, 4)).beyond.value > 0.5


def test_intervals_hold_the_value_and_shrink_with_images() -> None:
    near, far = np.zeros((9, 9)), np.full((9, 9), 1 / 81)
    near[4, 4] = 1.0
    made = np.stack([near, far] * 20)
    few, many = sized(made[:4], (9, 9)), sized(made, (9, 9))
    for size in (few, many):
        for interval in (size.half, size.most, size.beyond):
            assert interval.low <= interval.value <= interval.high
    assert many.beyond.half < 0.5 * few.beyond.half


def test_a_field_of_nothing_is_unknown_and_left_out() -> None:
    dead = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
    nn.init.constant_(dead[0].bias, -1e6)
    found = field_of(dead)
    assert np.isnan(found).all()
    assert not sized(found, (SIZE, SIZE)).half.known


def test_distances_are_from_the_centre_of_the_central_cell() -> None:
    assert central((4, 4)) == (2, 2)
    assert radii((1, 1), (3, 3))[1, 1] == 0
    assert radii((4, 4), (4, 4))[2, 2] == 0
    assert radii((2, 2), (4, 4))[2:, 2:] == pytest.approx(math.hypot(0.5, 0.5))


def test_the_same_images_give_the_same_fields_whatever_stands_beside_them() -> None:
    model = create_model("resnet18", image_size=32).eval()
    _, maps = block_maps(model)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert np.allclose(fields(maps, images)[:, :2], fields(maps, images[:2]), rtol=1e-4, atol=1e-9)


def test_what_could_count_in_a_cnn_grows_by_its_kernels() -> None:
    """7 x 7 at stride 2, a maximum of 3 x 3 at stride 2, then two convolutions of 3 x 3 a block."""
    field, stride, wanted = 7 + 2 * 2, 4, []
    for block in range(4):
        first = 2 if block == 2 else 1
        field += 2 * stride
        stride *= first
        field += 2 * stride
        wanted.append(field)
    masks = supports(create_model("resnet18", image_size=224))
    assert [sides(mask)[0] for mask in masks[:4]] == wanted
    assert masks[-1].mean() > 0.95


def test_a_vit_could_see_all_from_its_first_layer_and_windows_no_further_than_they_reach() -> None:
    vit = create_model("vit_tiny", image_size=32, patch_size=8, width=24, depth=2, heads=3, hidden=48)
    assert all(mask.all() for mask in supports(vit))
    swin = create_model("swin_tiny", image_size=64, patch_size=4, window=4, width=12, depths=(2, 2), heads=(1, 2))
    masks = supports(swin)
    assert sides(masks[0]) == (16, 16)  # its window of 4 x 4 cells
    assert sides(masks[1]) == (32, 32)  # the shifted one meets four of those
    assert masks[2].mean() > masks[1].mean()


def test_nothing_counts_that_could_not() -> None:
    model = create_model("swin_tiny", image_size=64, patch_size=4, window=4, width=12, depths=(2, 2), heads=(1, 2))
    _, maps = block_maps(model)
    found = fields(maps, torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    for field, mask in zip(found, supports(model), strict=True):
        assert (field[:, ~mask] == 0).all()
        assert (field.mean(axis=0)[mask] > 0).mean() > 0.9


def test_asking_leaves_the_model_as_it_was() -> None:
    model = create_model("pvt_v2_b0", image_size=32).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    supports(model)
    _, maps = block_maps(model)
    fields(maps, torch.randn(1, 3, 32, 32))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_even_attention_looks_as_far_as_two_cells_drawn_at_random() -> None:
    model: VisionModel = create_model(
        "vit_tiny", image_size=32, patch_size=4, width=24, depth=2, heads=3, hidden=48
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "qkv" in name:
                parameter.zero_()
    images = torch.randn(3, 3, 32, 32)
    for looks in _looks(model, images, [_distances(model, images)]):
        assert looks.heads == pytest.approx([even_distance((8, 8), (32, 32))] * 3)
        assert looks.mean.half == pytest.approx(0, abs=1e-9)
        assert looks.allowed == pytest.approx(even_distance((8, 8), (32, 32)))


def test_even_attention_within_windows_looks_as_far_as_those_allow() -> None:
    model = create_model("swin_tiny", image_size=64, patch_size=4, window=4, width=12, depths=(1, 1), heads=(1, 2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "qkv" in name or "bias_table" in name:
                parameter.zero_()
    images = torch.randn(2, 3, 64, 64)
    first, second = _looks(model.eval(), images, [_distances(model, images)])
    assert first.windows == 16
    assert first.heads == pytest.approx([even_distance((4, 4), (16, 16))])
    assert first.allowed == pytest.approx(first.heads[0])
    assert second.allowed == pytest.approx(even_distance((4, 4), (32, 32)))
