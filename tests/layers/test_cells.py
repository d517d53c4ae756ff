"""Which cells a token stands for, against PyTorch's own windows, convolutions and pools."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from vitrail.layers.cells import kernel_cells, pooled_cells, window_cells

SIDES = st.integers(1, 9)


@given(SIDES, SIDES, st.integers(1, 4), st.integers(0, 3))
def test_windows_hold_every_cell_once(h: int, w: int, window: int, shift: int) -> None:
    placed = window_cells((h, w), (window, window), (shift, shift))
    assert placed.is_partition()
    assert int((~placed.padding()).sum()) == h * w
    torch.testing.assert_close(placed.dense().sum(-1), (~placed.padding()).float())


def test_a_shifted_window_holds_what_rolling_brings_there() -> None:
    placed = window_cells((4, 4), (2, 2), (1, 1))
    assert placed.cells[0, :, 0].tolist() == [5, 6, 9, 10]
    assert placed.cells[-1, :, 0].tolist() == [15, 12, 3, 0]


@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 4), st.integers(0, 1))
def test_convolution_tokens_reach_what_a_convolution_of_ones_sums(h: int, w: int, k: int, s: int, p: int) -> None:
    p = min(p, k // 2)
    if min(h, w) + 2 * p < k:
        return
    placed = kernel_cells((h, w), k, s, p)
    units = torch.eye(h * w).reshape(h * w, 1, h, w)
    reached = F.conv2d(units, torch.ones(1, 1, k, k), stride=s, padding=p).flatten(1).T  # (T, h w)
    torch.testing.assert_close(placed.dense()[0], reached / reached.sum(-1, keepdim=True))


@given(SIDES, SIDES, st.integers(1, 4))
def test_a_grid_padded_to_whole_strides_is_seen_once_everywhere(h: int, w: int, stride: int) -> None:
    placed = kernel_cells((h, w), stride, stride, ceil=True)
    assert placed.is_partition()
    padded = F.pad(torch.eye(h * w).reshape(h * w, 1, h, w), (0, -w % stride, 0, -h % stride))
    reached = F.conv2d(padded, torch.ones(1, 1, stride, stride), stride=stride).flatten(1).T  # (T, h w)
    torch.testing.assert_close(placed.dense()[0], reached / reached.sum(-1, keepdim=True))


def test_a_side_shorter_than_the_kernel_holds_one_token() -> None:
    placed = kernel_cells((2, 8), 4, 4)
    assert placed.cells.shape == (1, 2, 8)
    assert placed.is_partition()


@given(SIDES, SIDES, st.integers(1, 7), st.integers(1, 7))
def test_pooled_tokens_are_adaptive_average_pooling(h: int, w: int, rows: int, columns: int) -> None:
    placed = pooled_cells((h, w), (rows, columns))
    units = torch.eye(h * w).reshape(h * w, 1, h, w)
    torch.testing.assert_close(placed.dense()[0], F.adaptive_avg_pool2d(units, (rows, columns)).flatten(1).T)


@pytest.mark.parametrize(
    ("placed", "unseen", "twice"),
    [
        (kernel_cells((8, 8), 2, 2), 0, 0),
        (kernel_cells((7, 7), 2, 2), 13, 0),  # the last row and column are dropped
        (kernel_cells((4, 4), 3, 2, 1), 0, 7),
        (pooled_cells((8, 8), (7, 7)), 0, 64 - 4),
        (pooled_cells((14, 14), (7, 7)), 0, 0),
    ],
)
def test_what_is_unseen_or_counted_twice_is_declared(placed, unseen: int, twice: int) -> None:
    counts = placed.tokens_per_cell()
    assert (int((counts == 0).sum()), int((counts > 1).sum())) == (unseen, twice)
    assert placed.is_partition() == (unseen == twice == 0)
