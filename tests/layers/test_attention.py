"""The one attention: fused and written out, who looks at whom, and where on the image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import vitrail
from vitrail.layers.attention import AttentionLayout, ScaledDotProduct, SelfAttention, attention_weights


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
    assert torch.equal(layout.on_grid(weights), weights)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
def test_reduced_keys_spread_their_share_over_the_cells_they_cover(h: int, w: int, r: int, prefix: int) -> None:
    """A key that stands for r x r cells (spatial reduction) gives each 1 / r^2: cells partition, row sums stay."""
    rows, columns = torch.meshgrid(torch.arange(h * r) // r, torch.arange(w * r) // r, indexing="ij")
    key_of_cell = (rows * w + columns).flatten()
    keys = torch.nn.functional.one_hot(key_of_cell, h * w).T.double() / r**2  # (h w, cells)
    layout = AttentionLayout((h * r, w * r), prefix, prefix, keys=keys)
    torch.testing.assert_close(keys.sum(dim=1), torch.ones(h * w).double())  # row-stochastic
    assert torch.equal((keys > 0).sum(dim=0), torch.ones(h * r * w * r, dtype=torch.int64))  # a partition
    weights = torch.rand(2, 3, prefix + h * w, dtype=torch.float64).softmax(-1)
    laid = layout.on_grid(weights)
    assert laid.shape == (2, 3, prefix + h * r * w * r)
    torch.testing.assert_close(laid.sum(-1), weights.sum(-1))
    assert torch.equal(laid[..., :prefix], weights[..., :prefix])
    first = laid[..., prefix:].reshape(2, 3, h * r, w * r)[..., :r, :r]
    torch.testing.assert_close(first.sum((-1, -2)), weights[..., prefix])
