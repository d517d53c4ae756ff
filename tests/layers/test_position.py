"""Positions on another grid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from vitrail.layers.position import resize_positions, sincos_2d

SIDES = st.integers(1, 6)


@given(SIDES, SIDES, SIDES, SIDES)
def test_constant_positions_stay_constant_on_any_grid(h: int, w: int, new_h: int, new_w: int) -> None:
    constant = torch.tensor([1.5, -2.0]).expand(1, h * w, 2)
    resized = resize_positions(constant, (h, w), (new_h, new_w))
    torch.testing.assert_close(resized, torch.tensor([1.5, -2.0]).expand(1, new_h * new_w, 2), atol=1e-5, rtol=0)


def test_the_same_grid_keeps_every_bit() -> None:
    positions = torch.randn(1, 6, 4)
    assert resize_positions(positions, (2, 3), (2, 3)) is positions


def test_rows_stay_rows_and_columns_columns() -> None:
    ramp = torch.arange(4.0).repeat_interleave(5).reshape(1, 20, 1)  # the row's number, on a 4 x 5 grid
    resized = resize_positions(ramp, (4, 5), (8, 10)).reshape(8, 10)
    assert bool((resized[1:] > resized[:-1]).all())
    torch.testing.assert_close(resized, resized[:, :1].expand(8, 10))


def test_growing_is_bicubic_as_in_deit_and_torchvision() -> None:
    positions = torch.randn(1, 16, 3)
    maps = positions.reshape(1, 4, 4, 3).permute(0, 3, 1, 2)
    theirs = F.interpolate(maps, size=(8, 8), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 64, 3)
    # away from the border, where the antialiased kernel renormalises and the plain one repeats the edge
    inner = (resize_positions(positions, (4, 4), (8, 8)) - theirs).reshape(8, 8, 3)[3:5, 3:5]
    assert float(inner.abs().max()) < 0.2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(dtype: torch.dtype) -> None:
    assert resize_positions(torch.randn(1, 4, 2, dtype=dtype), (2, 2), (3, 3)).dtype == dtype


@given(SIDES, SIDES)
def test_no_two_cells_share_a_sincos_position(h: int, w: int) -> None:
    table = sincos_2d((h, w), 16)
    assert table.shape == (h * w, 16)
    assert float(table.abs().max()) <= 1
    distances = torch.cdist(table, table) + torch.eye(h * w) * 10
    assert float(distances.min()) > 0.1
