"""Maps at other strides from one map."""

from __future__ import annotations

import pytest
import torch

from vitrail.layers.pyramid import resampled, strides_of


@pytest.mark.parametrize(
    ("patch", "strides"), [(16, (4, 8, 16, 32)), (14, (7, 14, 28)), (8, (2, 4, 8, 16)), (2, (1, 2, 4)), (1, (1, 2))]
)
def test_maps_stand_at_whole_strides(patch: int, strides: tuple[int, ...]) -> None:
    assert strides_of(patch) == strides
    height, width = 3 * patch, 5 * patch
    maps = resampled(torch.randn(2, 15, 4), (3, 5), patch)
    assert [m.shape for m in maps] == [(2, 4, -(-height // s), -(-width // s)) for s in strides]


def test_a_constant_map_stays_constant_and_the_grid_itself_is_untouched() -> None:
    tokens = torch.randn(1, 6, 4)
    assert torch.equal(resampled(tokens, (2, 3), 8)[2].flatten(2).transpose(1, 2), tokens)
    for level in resampled(torch.ones(1, 15, 4), (3, 5), 16):
        torch.testing.assert_close(level, torch.ones_like(level))
