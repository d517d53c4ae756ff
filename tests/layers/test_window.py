"""Shifted windows: every token comes back to its place, and sees just the neighbours that the definition gives it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitrail.layers.window import FAR, Windows

GRIDS = [(8, 8), (8, 12), (7, 9), (5, 4), (3, 11), (2, 2), (1, 1), (4, 4)]


def _same_window(windows: Windows) -> Tensor:
    """(N, N) bool by the definition: cell y is in window floor((y - shift) / size), the first part window being -1."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in windows.grid), indexing="ij")
    rows = (y.flatten() - windows.shift[0]).div(windows.size[0], rounding_mode="floor")
    columns = (x.flatten() - windows.shift[1]).div(windows.size[1], rounding_mode="floor")
    return (rows[:, None] == rows) & (columns[:, None] == columns)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shifted", [False, True])
def test_tokens_come_back_to_their_places(grid: tuple[int, int], shifted: bool) -> None:
    windows = Windows.over(grid, 4, shifted)
    tokens = torch.randn(2, grid[0] * grid[1], 12)
    q, k, v = windows.split(
        windows.rolled(tokens).repeat(1, 1, 1, 3) * torch.tensor([1.0, 2.0, 3.0]).repeat_interleave(12), 3
    )
    rows, columns = windows.across
    assert q.shape == (2, rows * columns * 3, windows.size[0] * windows.size[1], 4)
    for part, factor in ((q, 1), (k, 2), (v, 3)):
        torch.testing.assert_close(windows.joined(part, 3), tokens * factor)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shifted", [False, True])
def test_a_token_sees_its_window_and_nothing_else(grid: tuple[int, int], shifted: bool) -> None:
    windows = Windows.over(grid, 4, shifted)
    cells = windows.cells().cells[..., 0]  # (W, T)
    mask = windows.mask()
    mask = torch.zeros(*cells.shape, cells.shape[1]) if mask is None else mask[:, 0]
    seen = torch.zeros(grid[0] * grid[1], grid[0] * grid[1], dtype=torch.bool)
    for window, places in enumerate(cells.tolist()):
        for i, query in enumerate(places):
            for j, key in enumerate(places):
                if query >= 0 and key >= 0:
                    assert mask[window, i, j] in (0.0, FAR)
                    seen[query, key] |= mask[window, i, j] == 0
                elif query >= 0:
                    assert mask[window, i, j] == float("-inf")
                else:
                    assert mask[window, i, j] > float("-inf")
    assert torch.equal(seen, _same_window(windows))


def test_windows_are_clamped_and_shifted_side_by_side() -> None:
    assert Windows.over((9, 3), 4, True) == Windows((9, 3), (4, 3), (2, 0))
    assert Windows.over((4, 4), 4, True) == Windows((4, 4), (4, 4), (0, 0))
    assert Windows.over((9, 5), 4, False).shift == (0, 0)
    assert Windows.over((9, 5), 4, True).padded == (12, 8)


def test_offsets_index_a_table_whose_middle_is_nowhere() -> None:
    table = [(dy, dx) for dy in range(-6, 7) for dx in range(-6, 7)]  # the table of a window of 7
    for grid in ((7, 7), (3, 5), (1, 2)):
        index = Windows.over(grid, 7, False).offsets((7, 7))
        cells = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
        for i, (y, x) in enumerate(cells):
            for j, (other_y, other_x) in enumerate(cells):
                assert table[index[i, j]] == (y - other_y, x - other_x)


def test_offsets_of_a_table_that_is_not_square() -> None:
    index = Windows((9, 9), (2, 3), (0, 0)).offsets((2, 3))
    assert index.min() == 0
    assert index.max() == 3 * 5 - 1
    assert index.diagonal().unique().tolist() == [7]
