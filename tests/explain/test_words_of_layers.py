"""Captions name the layers that a map by attention goes through."""

from __future__ import annotations

import pytest

import vitrail
from vitrail.explain.words import of_layers


@pytest.mark.parametrize(
    ("depth", "last", "said"),
    [
        (3, None, "all 3 layers"),
        (3, 1, "layers 0 to 1"),
        (3, 0, "layer 0"),
        (1, None, "the one layer"),
        (1, 0, "the one layer"),
    ],
)
def test_layers_are_named_as_one_or_several(depth: int, last: int | None, said: str) -> None:
    model = vitrail.create_model("vit_tiny", outputs=2, image_size=16, depth=depth, width=16, heads=2, hidden=32)
    assert of_layers(model, last) == f"{said}, mean of heads"
