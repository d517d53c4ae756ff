"""The one attention: fused and written out, who looks at whom, and where on the image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import vitrail
from vitrail.layers.attention import AttentionLayout, ScaledDotProduct, SelfAttention, attention_weights
from vitrail.layers.cells import kernel_cells, window_cells


def _qkv(queries: int = 5, keys: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (queries, keys, keys)
    q, k, v = (torch.randn(2, 3, n, 4, generator=generator, dtype=torch.float64) for n in sizes)
    return q, k, v


@pytest.mark.parametrize("bias", ["none", "added", "hidden"])
def test_the_fused_kernel_and_the_written_matrix_agree(bias: str) -> None:
    q, k, v = _qkv()
    added = {"none": None, "added": torch.randn(3, 5, 7, dtype=torch.float64), "hidden": torch.zeros(5, 7).double()}[
        bias
    ]
    if bias == "hidden":
        assert added is not None
        added[:, 4:] = -torch.inf
    weights = attention_weights(q, k, added)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(ScaledDotProduct()(q, k, v, added), weights @ v)
    if bias == "hidden":
        assert float(weights[..., 4:].abs().max()) == 0


@pytest.mark.parametrize("bias", [False, True], ids=["without bias", "with bias"])
def test_training_in_bfloat16_on_a_cpu_answers_and_learns_as_in_float32(bias: bool) -> None:
    q, k, v = (tensor.bfloat16() for tensor in _qkv())
    added = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1)).bfloat16() if bias else None
    found = {}
    for dtype in (torch.bfloat16, torch.float64):
        leaves = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (q, k, v)]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            answer = ScaledDotProduct()(*leaves, None if added is None else added.to(dtype))
        assert answer.dtype is dtype
        answer.sum().backward()  # type: ignore[no-untyped-call]
        found[dtype] = [answer.detach(), *(leaf.grad for leaf in leaves)]
    for rough, exact in zip(found[torch.bfloat16], found[torch.float64], strict=True):
        assert rough is not None
        assert exact is not None
        torch.testing.assert_close(rough.double(), exact, rtol=2**-7, atol=2e-3)


@pytest.mark.parametrize("pooling", ["cls", "map"])
def test_a_hook_on_the_core_sees_every_attention_with_all_four_inputs(pooling: str) -> None:
    model = vitrail.create_model("vit_tiny", outputs=3, image_size=16, patch_size=8, depth=2, pooling=pooling)
    seen: list[tuple[int, ...]] = []
    owners = [m for m in model.modules() if any(isinstance(c, ScaledDotProduct) for c in m.children())]

    def look(module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        q, k, v, bias = inputs
        assert bias is None
        torch.testing.assert_close(attention_weights(q, k) @ v, output)
        seen.append((q.shape[2], k.shape[2]))

    for owner in owners:
        owner.core.register_forward_hook(look)
    model(torch.randn(1, 3, 16, 16))
    assert seen == [(5, 5), (5, 5)] + ([(1, 4)] if pooling == "map" else [])
    for owner, (queries, keys) in zip(owners, seen, strict=True):
        layout = owner.layout((2, 2))
        assert (queries - layout.prefix_queries, keys - layout.prefix_keys) == (4 if queries > 1 else 0, 4)


def test_the_core_has_no_parameters_and_no_state() -> None:
    assert list(ScaledDotProduct().state_dict()) == []


def test_global_attention_lays_one_token_on_one_cell() -> None:
    layout = SelfAttention(8, 2, prefix=2).layout((2, 3))
    assert layout == AttentionLayout((2, 3), prefix_queries=2, prefix_keys=2)
    weights = torch.rand(1, 2, 8, 8).softmax(-1)
    assert torch.equal(layout.matrix(weights), weights)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
def test_reduced_keys_spread_their_share_over_the_cells_they_cover(h: int, w: int, r: int, prefix: int) -> None:
    """A key that stands for r x r cells (spatial reduction) gives each 1 / r^2: cells partition, row sums stay."""
    keys = kernel_cells((h * r, w * r), kernel=r, stride=r)
    assert keys.is_partition()
    layout = AttentionLayout((h * r, w * r), prefix, prefix, keys=keys)
    weights = torch.rand(2, 3, prefix + h * r * w * r, prefix + h * w, dtype=torch.float64).softmax(-1)
    laid = layout.matrix(weights)
    assert laid.shape == (2, 3, prefix + h * r * w * r, prefix + h * r * w * r)
    torch.testing.assert_close(laid.sum(-1), weights.sum(-1))
    assert torch.equal(laid[..., :prefix], weights[..., :prefix])
    first = laid[..., prefix:].unflatten(-1, (h * r, w * r))[..., :r, :r]
    torch.testing.assert_close(first.sum((-1, -2)), weights[..., prefix])


@pytest.mark.parametrize("shift", [0, 1])
def test_windows_lay_their_rows_on_the_cells_they_hold(shift: int) -> None:
    """4 x 4 cells in windows of 3: padded cells neither look nor are looked at; each real cell looks in its window."""
    cells = window_cells((4, 4), (3, 3), (shift, shift))
    layout = AttentionLayout((4, 4), windows=4, queries=cells, keys=cells)
    hidden = cells.padding()[None, :, None, None, :]  # (1, W, 1, 1, T)
    scores = torch.randn(2, 4, 5, 9, 9, dtype=torch.float64).masked_fill(hidden, -torch.inf)
    weights = scores.softmax(-1)  # (B, W, A, T, T)
    laid = layout.matrix(weights.flatten(1, 2))
    assert laid.shape == (2, 5, 16, 16)
    torch.testing.assert_close(laid.sum(-1), torch.ones(2, 5, 16).double())
    window, token = ((cells.cells[..., 0] == 0).nonzero()[0]).tolist()
    other = int(cells.cells[window, -1, 0]) if shift == 0 else int(cells.cells[window, token, 0])
    place = int((cells.cells[window, :, 0] == other).nonzero()[0]) if other >= 0 else token
    torch.testing.assert_close(laid[:, :, 0, other], weights[:, window, :, token, place])
