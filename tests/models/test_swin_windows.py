"""Attention in windows on grids of any size: what is padded reaches nobody, and the layout says who looked at whom."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitrail.layers.attention import attention_weights
from vitrail.layers.initialise import initialise
from vitrail.layers.shifted_windows import quartet_cells, quartets
from vitrail.layers.window import WindowedAttention
from vitrail.models import create_backbone
from vitrail.models.swin import WindowAttention
from vitrail.models.swin_v2 import CosineWindowAttention

HEADS, WINDOW = 2, 4
GRIDS = [(8, 8), (7, 9), (5, 4), (3, 11), (2, 3), (1, 1)]


def _attention(generation: int, grid: tuple[int, int], shifted: bool) -> WindowedAttention:
    attention = (
        WindowAttention(12, HEADS, grid, WINDOW, shifted)
        if generation == 1
        else CosineWindowAttention(12, HEADS, grid, WINDOW, shifted, None)
    )
    initialise(attention, 0)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return attention.double()


def _tokens(grid: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, grid[0] * grid[1], 12, generator=generator, dtype=torch.float64)


def _dense(attention: nn.Module, grid: tuple[int, int], x: Tensor) -> tuple[Tensor, Tensor]:
    """The same attention over the whole grid at once, by its definition: weights (B, A, N, N) and output."""
    if isinstance(attention, WindowAttention):
        q, k, v = attention.qkv(x).chunk(3, dim=-1)
    else:
        q, k, v = (x @ attention.qkv.weight.T).chunk(3, dim=-1)
        q, v = q + attention.q_bias, v + attention.v_bias
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q, k, v))  # (B, A, N, d)
    y, x_ = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    y, x_ = y.flatten(), x_.flatten()
    dy, dx = y[:, None] - y, x_[:, None] - x_
    shift = [WINDOW // 2 if attention.shifted and side > WINDOW else 0 for side in grid]
    rows, columns = (
        (y - shift[0]).div(WINDOW, rounding_mode="floor"),
        (x_ - shift[1]).div(WINDOW, rounding_mode="floor"),
    )
    together = (rows[:, None] == rows) & (columns[:, None] == columns)
    near_y, near_x = dy.clamp(1 - WINDOW, WINDOW - 1), dx.clamp(1 - WINDOW, WINDOW - 1)  # where it matters, unclamped
    if isinstance(attention, WindowAttention):
        table = attention.bias_table.unflatten(0, (2 * WINDOW - 1, -1))
        bias = table[near_y + WINDOW - 1, near_x + WINDOW - 1].permute(2, 0, 1)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + bias
    else:
        sides = [min(WINDOW, side) for side in grid]
        scaled = [8 * near.double() / max(1, side - 1) for near, side in zip((near_y, near_x), sides, strict=True)]
        offsets = torch.stack([s.sign() * torch.log2(1 + s.abs()) / 3 for s in scaled], dim=-1).float().double()
        bias = 16 * torch.sigmoid(attention.cpb.fc2(F.relu(attention.cpb.fc1(offsets)))).permute(2, 0, 1)
        cosine = F.cosine_similarity(q[:, :, :, None], k[:, :, None], dim=-1)
        scores = cosine * attention.logit_scale.exp() + bias
    weights = scores.masked_fill(~together, float("-inf")).softmax(dim=-1)
    return weights, attention.proj((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_on_any_grid_is_its_definition(generation: int, grid: tuple[int, int], shifted: bool) -> None:
    attention, x = _attention(generation, grid, shifted), _tokens(grid)
    torch.testing.assert_close(attention(x), _dense(attention, grid, x)[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("shifted", [False, True])
def test_what_stands_in_the_padding_reaches_no_real_token(generation: int, shifted: bool, monkeypatch) -> None:
    attention, x = _attention(generation, (7, 9), shifted), _tokens((7, 9))
    expected = attention(x)
    fills: list[Tensor] = []

    def filled(maps: Tensor, pad: tuple[int, ...]) -> Tensor:
        fill = torch.full((), 1e3, dtype=maps.dtype, requires_grad=True)
        fills.append(fill)
        inside = torch.nn.functional.pad(torch.ones_like(maps), pad) == 1
        return torch.where(inside, torch.nn.functional.pad(maps, pad), fill)

    monkeypatch.setattr("vitrail.layers.window.F", type("Padding", (), {"pad": staticmethod(filled)}))
    output = attention(x)
    assert len(fills) == 1
    torch.testing.assert_close(output, expected, atol=0, rtol=0)
    assert torch.autograd.grad(output.square().sum(), fills[0])[0] == 0


@pytest.mark.parametrize("generation", [1, 2])
def test_without_the_mask_padding_would_reach_them(generation: int) -> None:
    attention, x = _attention(generation, (7, 9), False), _tokens((7, 9))
    expected = attention(x)
    attention.mask.zero_()
    assert not torch.allclose(attention(x), expected)


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padding_and_tokens_of_no_length_give_no_nan(generation: int, dtype: torch.dtype) -> None:
    attention = _attention(generation, (5, 5), True).to(dtype)
    assert attention.windows.cells().padding().any()
    x = torch.zeros(1, 25, 12, dtype=dtype, requires_grad=True)  # zeros, where a direction has no length
    attention(x).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [x, *attention.parameters()])


class _Watch:
    """Keeps what the core was called with."""

    def __init__(self, attention: nn.Module) -> None:
        attention.core.register_forward_pre_hook(lambda core, args: self.__setattr__("args", args))


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shifted", [False, True])
def test_the_layout_says_which_cell_looked_at_which(generation: int, grid: tuple[int, int], shifted: bool) -> None:
    attention, x = _attention(generation, grid, shifted), _tokens(grid)
    watch = _Watch(attention)
    attention(x)
    q, k, _, bias = watch.args
    layout = attention.layout(grid)
    matrix = layout.matrix(attention_weights(q, k, bias))  # (B, A, N, N)
    count = grid[0] * grid[1]
    assert matrix.shape == (2, HEADS, count, count)
    torch.testing.assert_close(matrix.sum(dim=-1), torch.ones(2, HEADS, count, dtype=torch.float64))
    torch.testing.assert_close(matrix, _dense(attention, grid, x)[0], atol=1e-6, rtol=0)
    assert layout.keys.is_partition()
    assert layout.queries.is_partition()

    # each cell says its own name: what a query receives are the names of those it looked at
    windows = attention.windows
    names = torch.eye(count, dtype=torch.float64)[None].repeat(2, 1, 1)
    said = windows.split(windows.rolled(names).repeat(1, 1, 1, 3), 1)[2]  # (B, W, T, N)
    heard = attention.core(q, k, said.repeat_interleave(HEADS, dim=1), bias)  # (B, W * A, T, N)
    received = windows.joined(heard, HEADS).unflatten(-1, (HEADS, count)).transpose(1, 2)
    torch.testing.assert_close(matrix, received)


@pytest.mark.parametrize("grid", GRIDS)
def test_merging_stands_for_the_cells_it_was_made_of(grid: tuple[int, int]) -> None:
    count = grid[0] * grid[1]
    made_of = quartets(torch.eye(count)[None], grid).unflatten(-1, (4, count)).sum(dim=2)  # (1, ceil, N)
    dense = quartet_cells(grid).dense()
    torch.testing.assert_close(dense, made_of / made_of.sum(dim=-1, keepdim=True))
    assert quartet_cells(grid).is_partition()
    assert dense.shape[1] == -(-grid[0] // 2) * -(-grid[1] // 2)


@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny"])
def test_stages_and_layouts_fit_together_on_odd_grids(name: str) -> None:
    backbone = _small(name, image_size=(37, 50))
    stages = backbone.stages()
    assert [stage.grid for stage in stages] == [(10, 13), (5, 7), (3, 4)]
    assert [len(stage.blocks) for stage in stages] == [2, 2, 1]
    assert [block for stage in stages for block in stage.blocks] == list(backbone.blocks())
    assert stages[0].entry is None
    for before, stage in itertools.pairwise(stages):
        assert stage.entry.grid == before.grid
        assert stage.entry.cells.shape[1] == stage.grid[0] * stage.grid[1]
        assert stage.entry.is_partition()


def _small(name: str, **options):
    small = {"image_size": 32, "patch_size": 4, "width": 8, "heads": (1, 2, 2), "depths": (2, 2, 1), "window": 4}
    backbone = create_backbone(name, **{**small, **options})
    with torch.no_grad():  # away from a start where second-generation blocks do nothing
        for number, parameter in enumerate(backbone.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.2)
    return backbone


@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny"])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (37, 50), (3, 90)])
def test_a_model_set_to_a_size_equals_one_built_at_it(name: str, size: tuple[int, int]) -> None:
    backbone = _small(name, pretrained_window=(4, 4, 2)) if name == "swinv2_tiny" else _small(name)
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    built = _small(name, image_size=size, **({"pretrained_window": (4, 4, 2)} if name == "swinv2_tiny" else {}))
    images = torch.randn(2, 3, *size)
    backbone.set_image_size(size)
    torch.testing.assert_close(backbone(images).tokens, built(images).tokens)
    assert backbone.image_size == size
    assert all(torch.equal(state[key], value) for key, value in backbone.state_dict().items())


def test_the_second_generation_keeps_measuring_offsets_by_the_window_it_was_built_with() -> None:
    backbone = _small("swinv2_tiny")  # grids 8, 4 and 2
    spread = [block.attn.coordinates.abs().max() for block in backbone.blocks()]
    backbone.set_image_size((64, 64))  # grids 16, 8 and 4: the last window is 4 now and was 2
    wider = [block.attn.coordinates.abs().max() for block in backbone.blocks()]
    torch.testing.assert_close(spread[:4], wider[:4])
    assert wider[4] > spread[4]
    backbone.set_image_size((32, 32))
    torch.testing.assert_close([block.attn.coordinates.abs().max() for block in backbone.blocks()], spread)


@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny"])
def test_ordinary_passes_take_the_fused_kernel(name: str) -> None:
    backbone = _small(name, image_size=37)
    with torch.no_grad(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where it would fall back
        assert backbone(torch.randn(1, 3, 37, 37)).tokens.isfinite().all()


@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny"])
def test_buffers_follow_the_model_and_stay_out_of_files(name: str) -> None:
    backbone = _small(name, image_size=37)
    buffers = {key for key, _ in backbone.named_buffers()}
    assert any(key.endswith("attn.mask") for key in buffers)
    assert not buffers & backbone.state_dict().keys()
    images = torch.randn(1, 3, 37, 37)
    expected = backbone(images).tokens
    half = backbone.bfloat16()
    half.set_image_size((41, 30))
    half.set_image_size((37, 37))
    torch.testing.assert_close(half(images.bfloat16()).tokens.float(), expected, atol=0.15, rtol=0.1)
