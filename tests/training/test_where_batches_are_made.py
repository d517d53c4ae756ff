"""Where batches are made is chosen by device, size and memory, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail.models import variant
from vitrail.training.recipes import Facts, choose

SMALL = frozenset({(32, 32)})


def chosen(sizes: Any = SMALL, device: str = "cpu", images: int = 5000, dense: bool = False, **stated: Any) -> Any:
    fields = {"data.source": "x", "model.name": "vit_tiny", **{k.replace("__", "."): v for k, v in stated.items()}}
    side = min(min(size) for size in sizes) if sizes else 32
    task: dict[str, Any] = {"task": "segment", "dense": True, "mixes": False, "smooths": False} if dense else {}
    if dense:
        fields["task.name"] = "segment"
    facts = Facts(images=images, classes=10, native_size=side, flip=True, device=device, sizes=sizes, **task)
    choice = choose(facts, variant("vit_tiny"), fields)
    (why,) = [reason.why for reason in choice.reasons if reason.field == "data.batched"]
    return choice.config.data.batched, why


@pytest.mark.parametrize(
    ("given", "batched", "why"),
    [
        ({}, True, "15 MB, and are augmented on the cpu"),
        ({"device": "cuda"}, True, "on the cuda in batches"),
        ({"device": "mps"}, False, "not tried on mps"),
        ({"sizes": frozenset({(500, 400)})}, False, "on a CPU only images of up to 32 px"),
        ({"sizes": frozenset({(500, 400)}), "device": "cuda", "images": 1000}, True, "MB"),
        ({"sizes": frozenset({(500, 400)}), "device": "cuda", "images": 90_000}, False, "more than data.cache_mb=1024"),
        ({"sizes": frozenset({(32, 32), (900, 32)})}, False, "on a CPU"),  # one panorama makes all frames wide
        ({"sizes": frozenset()}, False, "not known"),
        ({"dense": True, "device": "cuda"}, False, "segment"),
        ({"data__cache_mb": 14}, False, "15 MB, more than data.cache_mb=14"),
        ({"data__batched": False}, False, "as stated"),
        ({"device": "mps", "data__batched": True}, True, "as stated"),
    ],
)
def test_batches_are_made_where_it_pays_and_fits(given: dict[str, Any], batched: bool, why: str) -> None:
    is_batched, reason = chosen(**given)
    assert is_batched == batched
    assert why in reason
